"""When the tree is healthy, and when the node is ready."""

from __future__ import annotations

from typing import Any

import pytest

from ark.blackbox import NO_WORK, Reading
from ark.health import Verdict, judge

NAMES = ["root", "gateway", "exporter", "pipeline", "kyle", "kenny"]
LIMITS = dict.fromkeys(NAMES, 2.0) | {"kenny": 30.0}
NEEDED = frozenset(("gateway", "pipeline", "kyle", "kenny"))
NOW = 1000.0


def child(name: str, **changes: Any) -> dict[str, Any]:
    pid = 100 + NAMES.index(name)
    same = {"name": name, "state": "running", "desired": "running", "pid": pid, "since": NOW - 60.0, "reason": None}
    return same | changes


def box(name: str, **changes: Any) -> Reading:
    figures = {"pid": 100 + NAMES.index(name), "beat_age_s": 0.1, "reason": ""} | changes
    rest = dict.fromkeys(("incarnation", "epoch", "loops", "handled", "received", "sent"), 0)
    return Reading(**rest, **figures, trace_id="", handler="", concern="", work=NO_WORK)


def look(
    tree: dict[str, dict[str, Any] | None] | None = None,
    boxes: dict[str, Reading | None] | None = None,
    seal: str = "",
    full: str = "",
) -> Verdict:
    """A sound tree with some changes; None takes a child out of it."""
    children = {name: child(name) for name in NAMES} | (tree or {})
    known = [each for each in children.values() if each is not None]
    return judge(
        known, {name: box(name) for name in NAMES} | (boxes or {}), LIMITS, NEEDED, NOW, seal=seal, full=full
    )


def names(verdict: Verdict) -> list[tuple[str, str]]:
    return [(fault.name, fault.fault) for fault in verdict.faults]


def test_a_tree_in_which_everybody_runs_and_beats_is_healthy_and_ready() -> None:
    assert look() == Verdict()


@pytest.mark.parametrize("state", ["starting", "backoff", "failed", "stopped"])
def test_a_child_that_should_run_and_does_not_is_named_with_its_reason(state: str) -> None:
    verdict = look({"kyle": child("kyle", state=state, pid=None, reason="killed by SIGKILL")})

    assert names(verdict) == [("kyle", "down")]
    assert verdict.faults[0].reason == f"{state}: killed by SIGKILL"
    assert not verdict.is_ready


@pytest.mark.parametrize("state", ["isolated", "stopped"])
def test_what_was_put_aside_makes_the_node_less_than_whole(state: str) -> None:
    aside = {"state": state, "desired": state, "pid": None, "reason": "too many failures"}

    agent = look({"kenny": child("kenny", **aside)})
    service = look({"exporter": child("exporter", **aside)})

    assert names(agent) == [("kenny", state)]
    assert not agent.is_ready
    assert not service.is_healthy
    assert service.is_ready


def test_agents_whose_supervisor_is_down_are_missing() -> None:
    verdict = look({"pipeline": child("pipeline", state="starting", pid=None), "kyle": None, "kenny": None})

    assert names(verdict) == [("pipeline", "down"), ("kyle", "missing"), ("kenny", "missing")]


def test_nothing_is_well_before_anything_is_known() -> None:
    assert {fault.fault for fault in judge([], {}, LIMITS, NEEDED, NOW).faults} == {"missing"}


def test_who_beats_too_seldom_is_late_each_by_his_own_limit() -> None:
    verdict = look(boxes={name: box(name, beat_age_s=2.5) for name in ("root", "kyle", "kenny")})

    assert names(verdict) == [("root", "late"), ("kyle", "late")]
    assert [fault.name for fault in verdict.hinders] == ["kyle"]
    assert "2.5 s" in verdict.faults[0].reason


@pytest.mark.parametrize("found", [None, box("kyle", pid=7, beat_age_s=50.0)])
def test_a_process_that_has_not_beaten_yet_is_late_from_its_beginning_on(found: Reading | None) -> None:
    assert look({"kyle": child("kyle", since=NOW - 1.0)}, {"kyle": found}).is_healthy
    assert names(look({"kyle": child("kyle", since=NOW - 3.0)}, {"kyle": found})) == [("kyle", "late")]


def test_who_waits_for_his_file_does_no_work_whatever_he_beats() -> None:
    verdict = look(boxes={"gateway": box("gateway", reason="storage: gateway.db is read-only")})

    assert names(verdict) == [("gateway", "waits")]
    assert not verdict.is_ready


def test_the_last_words_of_the_process_before_are_not_this_ones() -> None:
    fresh = {"kyle": child("kyle", since=NOW - 1.0)}
    assert look(fresh, {"kyle": box("kyle", pid=7, reason="storage: kyle.db is read-only")}).is_healthy
    assert look(boxes={"kyle": box("kyle", reason="something else")}).is_healthy


def test_a_broken_seal_is_nothing_healthy_though_the_node_does_its_work_and_denies() -> None:
    verdict = look(seal="the seal of the rule book is broken: rules.py")

    assert names(verdict) == [("node", "seal")]
    assert verdict.is_ready


def test_a_front_door_that_is_full_is_not_ready_and_nothing_is_amiss() -> None:
    verdict = look(full="20000 signals wait for their outcome")

    assert verdict.is_healthy
    assert [(fault.name, fault.fault) for fault in verdict.hinders] == [("gateway", "full")]
