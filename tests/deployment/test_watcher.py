"""What is seen of a rollout's processes: crashes that are crashes, and memory that is compared fairly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from deployment.deploy_book import FILE, DeployBook, Kept
from deployment.hard_rules import hard_rules
from deployment.observation import Watcher
from deployment.progress import create
from deployment.samples import Facts, Segment, Sightings
from deployment.tripwires import Tripwires, check
from deployment.verdict import Policy
from tests.deployment.rollouts import START, a_plan

MIB = 1024 * 1024


def child(name: str, state: str = "running", crashes: int = 0, **further: Any) -> dict[str, Any]:
    return {"name": name, "state": state, "crashes": crashes, "pid": None, "since": 0.0, **further}


def watching(facts: Facts | None = None, sightings: Sightings | None = None) -> Watcher:
    return Watcher(facts or Facts(), sightings or Sightings())


def again(watcher: Watcher) -> Watcher:
    """The watcher of the next deploy actor, which knows what was kept."""
    kept = Kept(create(a_plan(), START, 0), facts=watcher.facts, sightings=watcher.sightings)
    found = msgspec.json.decode(msgspec.json.encode(kept), type=Kept)
    return Watcher(found.facts, found.sightings)


# Crashes


def test_a_crash_and_an_isolation_are_counted_once() -> None:
    watcher = watching()
    for tree in (
        [child("joey", crashes=4), child("joey.canary")],
        [child("joey", crashes=4), child("joey.canary", crashes=2)],
        [child("joey", crashes=4), child("joey.canary", crashes=2)],
        [child("joey", crashes=4), child("joey.canary", "isolated", 2)],
        [child("joey", crashes=5), child("joey.canary", "isolated", 2)],
        [child("hrm", crashes=9)],
    ):
        watcher.see(tree, ["joey"])
    assert watcher.facts.crashes == {"canary": 2, "stable": 1}
    assert watcher.facts.quarantined == {"canary": 1}


def test_restarts_that_are_no_crashes_are_none_of_a_promoted_release() -> None:
    watcher = watching()
    watcher.see([child("joey", restarts=3)], ["joey"], "canary")
    watcher.see([child("joey", restarts=5)], ["joey"], "canary")
    assert watcher.facts.crashes == {}
    assert list(hard_rules(watcher.facts, Policy())) == []


def test_a_new_deploy_actor_counts_no_crash_twice_whatever_it_hears_first() -> None:
    watcher = watching()
    tree = [child("joey"), child("joey.canary", crashes=1)]
    watcher.see(tree, ["joey"])
    for _ in range(3):
        watcher = again(watcher)
        watcher.see([], ["joey"])
        watcher.see(tree, ["joey"])
    assert watcher.facts.crashes == {"canary": 1}


def test_what_happened_while_no_deploy_actor_was_there_is_counted() -> None:
    watcher = watching()
    watcher.see([child("joey"), child("joey.canary", crashes=1)], ["joey"])
    watcher = again(watcher)
    watcher.see([child("joey", crashes=1), child("joey.canary", "isolated", crashes=2)], ["joey"])
    assert watcher.facts.crashes == {"canary": 2, "stable": 1}
    assert watcher.facts.quarantined == {"canary": 1}


def test_a_supervisor_that_is_started_anew_counts_from_nothing() -> None:
    watcher = watching()
    for crashes in (3, 1, 2):
        watcher.see([child("joey"), child("joey.canary", crashes=crashes)], ["joey"])
    assert watcher.facts.crashes == {"canary": 5}


def under(pid: int, *children: dict[str, Any]) -> list[dict[str, Any]]:
    """A tree in which these children have a supervisor, by its process."""
    above = {"name": "rollout", "state": "running", "crashes": 0, "pid": pid, "incarnation": 1, "since": 1.0}
    return [above, *({**each, "parent": "rollout"} for each in children)]


@given(
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=3).map(sorted), min_size=1, max_size=5),
    st.sampled_from(["joey", "joey.canary"]),
)
def test_each_crash_counts_once_however_many_supervisors_have_counted(seen: list[list[int]], name: str) -> None:
    watcher = watching()
    watcher.see(under(0, child(name)), ["joey"])
    for pid, counts in enumerate(seen, 1):
        for crashes in counts:
            watcher = again(watcher)
            watcher.see(under(pid, child(name, crashes=crashes)), ["joey"])
    counted = {"canary" if name == "joey.canary" else "stable": sum(counts[-1] for counts in seen)}
    assert watcher.facts.crashes == {arm: crashes for arm, crashes in counted.items() if crashes}


def test_an_agent_that_was_not_in_sight_is_compared_with_what_was_seen_before() -> None:
    watcher = watching()
    watcher.see(under(1, child("joey", crashes=2)), ["joey"])
    watcher.see(under(1), ["joey"])
    watcher.see(under(1, child("joey", crashes=2)), ["joey"])
    assert watcher.facts.crashes == {}
    watcher.see(under(2), ["joey"])
    watcher.see(under(2, child("joey", crashes=2)), ["joey"])
    assert watcher.facts.crashes == {"stable": 2}


def test_an_arm_that_is_wanted_again_begins_anew() -> None:
    watcher = watching()
    for tree in (under(1, child("joey.canary", crashes=2)), under(1), under(1, child("joey.canary", crashes=2))):
        watcher.see(tree, ["joey"])
    assert watcher.facts.crashes == {"canary": 4}


def test_what_an_earlier_version_kept_says_nothing_of_supervisors_and_counts_nothing_twice() -> None:
    watcher = watching(sightings=Sightings(crashes={"joey.canary": 2}))
    watcher.see(under(1, child("joey.canary", crashes=2)), ["joey"])
    assert watcher.facts.crashes == {}
    watcher.see(under(2, child("joey.canary", crashes=2)), ["joey"])
    assert watcher.facts.crashes == {"canary": 2}


def test_what_crashed_before_the_promotion_is_known_when_it_comes() -> None:
    watcher = watching()
    watcher.see([child("joey", crashes=1), child("joey.canary", crashes=1)], ["joey"])
    watcher.see([child("joey", crashes=1), child("joey.canary", crashes=1)], ["joey"], "canary")
    assert list(hard_rules(watcher.facts, Policy())) == []
    watcher = again(watcher)
    watcher.see([child("joey", crashes=2), child("joey.canary", crashes=1)], ["joey"], "canary")
    assert watcher.facts.crashes_before_promotion == {"canary": 1}
    assert [rule.answer for rule in hard_rules(watcher.facts, Policy())] == ["fail"]


def test_why_a_process_crashed_last_is_known_of_each_arm() -> None:
    watcher = watching()
    watcher.see([child("joey"), child("joey.canary")], ["joey"])
    watcher.see([child("joey", reason="an operator's"), child("joey.canary", crashes=1, reason="odd")], ["joey"])
    watcher.see([child("joey", crashes=1, reason="x" * 1000), child("joey.canary", crashes=1)], ["joey"], "canary")
    assert watcher.facts.crash_reasons == {"canary": "x" * 300}
    assert again(watcher).facts.crash_reasons == {"canary": "x" * 300}


def test_looks_of_the_tripwires_outlive_the_deploy_actor(tmp_path: Path) -> None:
    kept = Kept(create(a_plan(), START, 0))
    kept.looks, _ = check((), [Segment("joey", 1)], Facts(), Tripwires(), now=START, since=START)
    book = DeployBook(tmp_path / FILE)
    book.keep(kept)
    book.close()
    found = DeployBook(tmp_path / FILE).find("r1")
    assert found is not None
    looks, _ = check(found.looks, [Segment("joey", 1)], Facts(), Tripwires(), now=START + 30, since=START)
    assert [look.at for look in looks] == [START, START + 30]


# Memory


class Arms:
    """Arms of two roles, each process with an id, an age and a size."""

    def __init__(self) -> None:
        self.watcher = watching()
        self.now = 1000.0
        self.processes = {
            f"{role}.{arm}": [number, 1.0, 120 * MIB]
            for number, (role, arm) in enumerate(
                ((role, arm) for role in ("joey", "hrm") for arm in ("canary", "baseline")), 1
            )
        }

    def weigh(self, *down: str) -> list[tuple[str, str]]:
        tree = [
            child(name, pid=None if name in down else pid, since=None if name in down else since)
            for name, (pid, since, _) in self.processes.items()
        ]
        sizes = {pid: int(size) for pid, _, size in self.processes.values()}
        self.watcher.weigh(tree, ["joey", "hrm"], self.now, resident=lambda pid: sizes[pid])
        self.now += 60.0
        return [(rule.name, rule.answer) for rule in hard_rules(self.watcher.facts, Policy())]

    def renew(self, name: str, size: int) -> None:
        self.processes[name] = [self.processes[name][0] + 100, self.now - 30.0, size]


def test_an_arm_that_was_down_when_the_others_were_weighed_first_is_no_leak() -> None:
    arms = Arms()
    assert arms.weigh("hrm.canary") == []
    assert arms.weigh() == []
    assert arms.watcher.facts.memory_bytes == dict.fromkeys(
        ("canary", "canary_first", "baseline", "baseline_first"), 240 * MIB
    )


def test_a_process_that_is_new_is_compared_with_the_other_from_then_on() -> None:
    arms = Arms()
    arms.weigh()
    for name in arms.processes:
        arms.processes[name][2] = 320 * MIB  # caches of both
    assert [answer for _, answer in arms.weigh()] == ["undecided"]
    arms.renew("joey.baseline", 120 * MIB)
    arms.renew("hrm.baseline", 120 * MIB)
    assert arms.weigh() == []


def test_a_leak_of_one_role_is_seen_beside_the_others() -> None:
    arms = Arms()
    arms.weigh()
    arms.processes["hrm.canary"][2] = 600 * MIB
    assert arms.weigh() == [("memory", "fail")]


@settings(max_examples=30)
@given(
    st.lists(st.sets(st.sampled_from(["joey.canary", "joey.baseline", "hrm.canary", "hrm.baseline"])), max_size=6)
)
def test_arms_that_never_grow_never_leak_whoever_is_down_when(downs: list[set[str]]) -> None:
    arms = Arms()
    assert all(arms.weigh(*down) == [] for down in downs)


def test_who_is_not_warm_yet_is_not_weighed() -> None:
    arms = Arms()
    arms.processes["hrm.canary"][1] = arms.now - 5.0
    arms.weigh()
    assert arms.watcher.facts.memory_bytes["canary"] == 120 * MIB
