"""The Watchdog's look at the seal: it halts, says why, and never touches a halt that stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ark.home import Home
from ark.seal import Report
from supervisor.watchdog import SealWatch


class Watch:
    """A `SealWatch` over a home, with the faults that the test sets."""

    def __init__(self, path: Path) -> None:
        self.home = Home(path)
        self.home.prepare()
        self.faults: tuple[str, ...] = ()
        self.seal = SealWatch(self.home, 1.0, lambda: Report(not self.faults, "", self.faults))

    def look(self, *faults: str) -> list[dict[str, str]]:
        self.faults = faults
        self.seal.look()
        return self.seal.found()

    def lines(self) -> list[dict[str, str]]:
        log = self.home.logs / "supervision.log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path / "home")


def test_a_sound_seal_changes_nothing(watch: Watch) -> None:
    assert watch.look() == []
    assert watch.home.halt_reason() is None
    assert watch.lines() == []


def test_a_fault_halts_and_is_told(watch: Watch) -> None:
    assert watch.look("rules.py was changed", "and more") == [{"reason": "rules.py was changed; and more"}]

    assert watch.home.halt_reason() == "the seal of the rule book is broken: rules.py was changed; and more"
    assert json.loads(watch.home.halt_file.read_bytes())["by"] == "watchdog"
    assert [(each["event"], each["reason"]) for each in watch.lines() if each["event"] == "seal_broken"] == [
        ("seal_broken", "rules.py was changed; and more")
    ]


def test_a_fault_that_lasts_is_told_once(watch: Watch) -> None:
    watch.look("rules.py was changed")

    assert watch.look("rules.py was changed") == []


def test_another_fault_is_told_and_the_first_halt_stands(watch: Watch) -> None:
    watch.look("rules.py was changed")

    assert watch.look("the signature of the seal is wrong") == [{"reason": "the signature of the seal is wrong"}]
    assert watch.home.halt_reason() == "the seal of the rule book is broken: rules.py was changed"


def test_a_halt_of_a_person_is_never_overwritten(watch: Watch) -> None:
    watch.home.halt("I saw something", by="operator", at=1.0)

    assert watch.look("rules.py was changed") == [{"reason": "rules.py was changed"}]
    assert watch.home.halt_reason() == "I saw something"


def test_a_repair_does_not_lift_the_halt(watch: Watch) -> None:
    watch.look("rules.py was changed")

    assert watch.look() == []
    assert watch.home.halt_reason() is not None


def test_who_resumes_while_the_fault_lasts_is_halted_again(watch: Watch) -> None:
    watch.look("rules.py was changed")
    watch.home.resume()

    assert watch.look("rules.py was changed") == [{"reason": "rules.py was changed"}]
    assert watch.home.halt_reason() is not None


def test_who_resumes_after_the_repair_is_not(watch: Watch) -> None:
    watch.look("rules.py was changed")
    watch.home.resume()

    assert watch.look() == []
    assert watch.home.halt_reason() is None
