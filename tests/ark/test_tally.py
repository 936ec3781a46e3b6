"""Outcomes are counted by status, and a violation is what the rule book itself denied."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ark.door import Finished
from ark.tally import Tally


def ended(status: str, **fields: Any) -> Finished:
    return Finished("t-1", "AAPL", msgspec.msgpack.encode({"status": status, **fields}), status)


def test_outcomes_are_counted_by_their_status() -> None:
    tally = Tally()
    tally.add([ended("executed"), ended("denied"), ended("executed")])
    tally.add([ended("failed")])
    assert tally.outcomes == {"executed": 2, "denied": 1, "failed": 1}
    assert tally.violations == 0


@pytest.mark.parametrize(
    ("status", "fields", "violations"),
    [
        ("denied", {"decision": {"level": "graveyard"}}, 1),
        ("denied", {"decision": {"level": "ruleset"}}, 0),
        ("executed", {"decision": {"level": "graveyard"}}, 0),
        ("denied", {"decision": None}, 0),
        ("denied", {"decision": "in words of its own"}, 0),
        ("denied", {}, 0),
    ],
)
def test_a_violation_is_what_the_rule_book_denied(status: str, fields: dict[str, Any], violations: int) -> None:
    tally = Tally()
    tally.add([ended(status, **fields)])
    assert tally.violations == violations


def test_text_that_is_none_is_no_violation() -> None:
    tally = Tally()
    tally.add([Finished("t-1", "AAPL", b"\x81\xa8decision\x81\xa5level\xa2\xff\xfe", "denied")])
    assert (tally.outcomes["denied"], tally.violations) == (1, 0)
