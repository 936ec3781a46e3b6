"""Rollouts on a real node under load, one after the other: the good one stays, the bad ones are gone at once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from ark.migration import MARK, release_of_keys
from ark.routing import Table, place_of, placed, read_table
from ark.state import open_core
from deployment.releases import in_use
from supervisor.rendering import status_lines
from tests.chaos.load import made_up_trace
from tests.node import comes_back, ended, wait_until
from tests.rollout.faults import LONG, UNCOMPARED, Planted, Row, first_live, play, traffic_after
from tests.rollout.flips import flip
from tests.rollout.kills import kill_once
from tests.rollout.scene import Rollouts, percentile, rollouts

pytest.importorskip("cyclonedx", reason="python -m pip install 'ark-runtime[releases]'")
pytestmark = pytest.mark.timeout(180)

SLOW_MACHINE_S = 3.0
"""What is done at once may take so long where others use the machine."""


@pytest.fixture(scope="module")
def played() -> Iterator[Rollouts]:
    with rollouts(seed=random.Random().randrange(1 << 30), rate=100.0) as one:
        yield one


def check(row: Row) -> None:
    assert not row.differs, row


def test_a_fault_in_live_traffic_takes_all_of_it_from_the_canary(played: Rollouts) -> None:
    check(play(played, Planted("joey", "raises", why="usable answer")))


def test_a_judge_that_lets_pass_what_the_graveyard_denies_is_overruled_and_gone(played: Rollouts) -> None:
    check(play(played, Planted("hrm", "approves", settings=UNCOMPARED, why="nobody had approved")))


def test_a_wrong_order_never_reaches_the_broker(played: Rollouts) -> None:
    check(play(played, Planted("kenny", "wrong order", settings=UNCOMPARED, why="nobody had approved")))


def test_a_good_release_becomes_permanent_and_can_be_undone(played: Rollouts) -> None:
    release = played.plant("joey", "good")
    began = time.time()
    played.start("joey", release)
    document = played.finish()
    assert document["state"] == "permanent", document["last"]
    wait_until(lambda: played.is_clean({"joey": release}), "joey runs it", 30.0)
    arms = {each.arm for each in played.decided("joey", began)}
    assert {"canary", "baseline", "stable"} <= arms
    played.ask("deploy.undo", reason="the test goes on")
    assert played.finish()["state"] == "rolled_back"
    wait_until(lambda: played.is_clean({"joey": ""}), "joey runs what is installed", 30.0)


def running(played: Rollouts) -> set[str]:
    return {each["name"] for each in played.one.status()["children"] if each["state"] == "running"}


def test_what_a_release_made_of_the_state_is_undone_with_it(played: Rollouts) -> None:
    def kept() -> dict[str, Any]:
        return {each.key: each.value for each in core.entries("joey")}

    def runs(release: str) -> None:
        wait_until(lambda: played.is_clean({"joey": release}), "joey runs it", 30.0)

    trigger = played.trigger()
    with closing(open_core(played.home)) as core:
        core.set("joey", "window", 7, requester="ada")
        release = played.plant("joey", "good", trigger=str(trigger), migrates=True)
        played.start("joey", release)
        document = played.finish()
        assert document["state"] == "permanent", document["last"]
        runs(release)
        assert (kept()["windows"], release_of_keys(kept()[MARK])) == (7, release)

        trigger.touch()
        wait_until(lambda: kept()["windows"] > 20, "joey keeps another value")
        assert "joey: its state" in in_use(played.home)[release]
        before = played.ask("deploy.plan", plan={"roles": {"joey": "installed"}})["plan"]["conflict"]
        assert "`ark-run rollback --to installed" in before
        played.ask("deploy.undo", reason="the test goes on")
        assert played.finish()["state"] == "rolled_back"
        runs("")
        assert kept() == {"window": 7}
        assert any("migrated down from" in each.reason for each in core.history("joey", MARK))
        began = time.time()
        wait_until(lambda: played.decided("joey", began), "joey decides")


def test_what_the_canary_opened_stays_with_it_whatever_source_comes_next(played: Rollouts) -> None:
    def table() -> Table:
        found = read_table(played.home.routes_file)
        assert found is not None
        return found

    def send(source: str, **more: Any) -> tuple[str, str]:
        """How a signal for the symbol ends, and which arm decided it."""
        trace_id = made_up_trace(played.die)
        plan = {"direction": "long", "price": 100.0, "stop_loss": 99.0, "target": 102.0}
        client.inject({"trace_id": trace_id, "symbol": "HELD", **plan, "source": source, **more})
        outcome = wait_until(lambda: ended(client, trace_id), "the signal has ended")
        (arm,) = [each.arm for each in played.decided("joey", began) if each.trace_id == trace_id]
        return outcome["status"], arm

    def decides(source: str) -> str:
        return send(source, position_size_pct=0.5)[1]  # too large to open anything

    began = time.time()
    played.start("joey", played.plant("joey", "good"), by="source", **LONG)
    played.reach_share(50)
    names = [f"source {number}" for number in range(100)]
    places = {placed(place_of(table().salt, name), table().roles["joey"]): name for name in names}
    canary, baseline = places["canary"], places["baseline"]
    with played.one.client() as client:
        wait_until(lambda: decides(baseline) == "baseline", "a source is the baseline's")
        opening = {"position_size_pct": 0.005}
        wait_until(lambda: send(canary, **opening) == ("executed", "canary"), "the canary opens a position")
        wait_until(lambda: table().pins.get("HELD") == "canary", "it is pinned")
        wait_until(lambda: decides(baseline) == "canary", "the other source's signals are the canary's")
        pid = played.one.child("deployer")["pid"]
        os.kill(pid, signal.SIGKILL)
        comes_back(played.one, "deployer", pid)
        since = len(played.leases)
        wait_until(lambda: len(played.leases) > since, "the lease was renewed")
        assert table().pins["HELD"] == "canary"
        wait_until(lambda: decides(baseline) == "canary", "they still are")
        bar = {"ts": time.time(), "open": 100.0, "high": 103.0, "low": 97.0, "close": 100.0, "volume": 1e5}
        send("", action="observe", features={"bar": bar})
        wait_until(lambda: "HELD" not in table().pins, "the position is closed")
        wait_until(lambda: decides(baseline) == "baseline", "its signals are the baseline's again")
    played.ask("deploy.abort", reason="seen enough")
    assert played.finish()["state"] == "rolled_back"


@pytest.mark.parametrize("when", ["shadow", "promoting"])
def test_a_way_up_that_fails_takes_the_release_back_and_is_named(played: Rollouts, when: str) -> None:
    trigger, pid = played.trigger(), played.one.child("joey")["pid"]
    with closing(open_core(played.home)) as core:
        core.set("joey", "window", 7, requester="ada")
        revision = core.revision()
        fails = "raise ValueError('no such window')"
        release = played.plant("joey", "good", trigger=str(trigger), migrates=True, up=fails)
        if when == "shadow":  # it is tried there, over a copy
            trigger.touch()
        played.start("joey", release, shadow_s=600.0)
        if when == "promoting":
            wait_until(lambda: "joey.canary" in running(played), "its canary has tried it and runs", 30.0)
            trigger.touch()
            played.ask("deploy.promote", full=True, reason="to see the way up fail")
        document = played.finish()
        wait_until(lambda: played.is_clean({"joey": ""}), "joey runs what is installed", 30.0)

        assert {each.key: each.value for each in core.entries("joey")} == {"window": 7}
        assert not [each for each in core.since(revision) if "migrated" in each.reason]
    assert document["state"] == "rolled_back"
    why = "the migration planted:up failed: ValueError: no such window"
    assert {each["source"] for each in document["history"] if each["target"] == "aborting"} == {when}
    assert why in document["explanation"][1]
    assert why in "\n".join(status_lines(played.one.status()))
    assert {each["restarts"] for each in played.one.status()["children"] if each["kind"] == "supervisor"} == {0}
    assert (played.one.child("joey")["pid"] == pid) is (when == "shadow")


def test_without_a_living_deploy_actor_the_canary_has_no_traffic_after_the_lease(played: Rollouts) -> None:
    began = time.time()
    played.start("joey", played.plant("joey", "good"), **LONG)
    played.reach_share(50)
    first_live(played, "joey", began)
    pid = played.one.child("deployer")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: time.time() > played.leases[-1][1] + 0.5, "the lease has run out")
        lease = played.leases[-1][1]
        wait_until(lambda: len(played.decided("joey", lease + 0.5)) > 20, "Joey decides alone")
        assert traffic_after(played.decided("joey", began), lease) < 0.1
    finally:
        os.kill(pid, signal.SIGCONT)
    played.ask("deploy.abort", reason="seen enough")
    assert played.finish()["state"] == "rolled_back"


def test_whoever_is_killed_the_rollout_ends_legally(played: Rollouts) -> None:
    release = played.plant("joey", "good")
    killed = kill_once(played, release, ("deployer", "joey", "joey.canary"), delay_s=4.0)
    assert not killed.differs, killed
    assert not played.after_its_lease("joey")


def test_all_traffic_goes_back_within_a_second_of_a_flip(played: Rollouts) -> None:
    seen = flip(played, {role: played.plant(role, "good") for role in ("joey", "hrm")}, 10)
    assert seen.decided > 50
    assert percentile(seen.back_s, 0.9) < 1.0
    assert max(seen.back_s) < SLOW_MACHINE_S


def test_after_all_of_it_nothing_is_lost_doubled_or_out_of_order(played: Rollouts) -> None:
    played.settle()
    assert played.one.stop() == 0
    ended = played.audit()
    assert ended["executed"] > 50
    assert not ended["failed"]
    assert not ended["expired"]
