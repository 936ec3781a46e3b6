"""What the gateway counts of outcomes is exact, and a violation is what the rule book itself denied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ark.message import OUTCOME, Envelope, encode
from ark.meters import Meters, read
from ark.tally import Limits, Tally
from tests.ark.doors import NOW, accept, end, open_door

MS = 1_000_000


def add(tally: Tally, status: str, *, took_s: float = 0.1, ruled: bool = False, **fields: Any) -> None:
    outcome = msgspec.msgpack.encode({"status": status, **fields})
    tally.add("t-1", status, outcome, took_s=took_s, ruled=ruled, now=1.0)


def shown(tally: Tally, folder: Path) -> dict[tuple[str, ...], float]:
    tally.show(Meters(folder / "gateway.page", process="gateway"))
    return {(each.metric.name, *each.labels): each.value for each in read(folder / "gateway.page")}


def events(tally: Tally, folder: Path, slo: str) -> tuple[float, float]:
    found = shown(tally, folder)
    return found["ark_slo_events_total", slo, "good"], found["ark_slo_events_total", slo, "bad"]


def test_outcomes_are_counted_by_their_status(tmp_path: Path) -> None:
    tally = Tally()
    for status in ("executed", "denied", "executed", "failed", "sat out", "left alone"):
        add(tally, status)
    found = shown(tally, tmp_path)
    assert tally.outcomes == {"executed": 2, "denied": 1, "failed": 1, "sat out": 1, "left alone": 1}
    assert found["ark_outcomes_total", "executed"] == 2
    assert found["ark_outcomes_total", "other"] == 2  # an agent's own words are no labels


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
    add(tally, status, **fields)
    assert tally.violations == violations


def test_text_that_is_none_is_no_violation() -> None:
    tally = Tally()
    words = b"\x81\xa8decision\x81\xa5level\xa2\xff\xfe"
    tally.add("t-1", "denied", words, took_s=0.1, ruled=False, now=1.0)
    assert (tally.outcomes["denied"], tally.violations) == (1, 0)


@pytest.mark.parametrize(
    ("order", "decision", "drift"),
    [
        ({"status": "filled"}, {"approved": True}, 0),
        ({"status": "filled"}, {"approved": False}, 1),
        ({"status": "working"}, None, 1),
        ({"status": "unknown"}, None, 0),
        (None, {"approved": False}, 0),
    ],
)
def test_an_order_that_nobody_approved_is_drift(
    tmp_path: Path, order: dict[str, str] | None, decision: dict[str, bool] | None, drift: int
) -> None:
    tally = Tally()
    add(tally, "executed", order=order, decision=decision)
    assert shown(tally, tmp_path)["ark_ethics_drift_total",] == drift


def test_the_objectives_are_counted_from_outcomes(tmp_path: Path) -> None:
    tally = Tally(limits=Limits(decision_s=0.4, judge_s=0.12))
    for status in ("executed", "denied", "no_setup", "failed", "expired"):
        add(tally, status)
    assert events(tally, tmp_path, "availability") == (3, 2)
    add(tally, "executed", took_s=0.4)
    add(tally, "executed", took_s=0.41)
    assert events(tally, tmp_path, "decision_latency") == (6, 1)
    for took_ms in (120, 121):
        add(tally, "executed", spans=[{"agent": "hrm", "version": "1", "in_ns": 5, "out_ns": 5 + took_ms * MS}])
    assert events(tally, tmp_path, "hrm_latency") == (1, 1)
    add(tally, "executed", audit={"complete": True, "disagreements": []}, ledger={"seq": 1})
    add(tally, "executed", audit={"complete": True, "disagreements": ["no"]}, ledger={"seq": 2})
    add(tally, "executed", audit={"complete": True}, ledger=None)
    assert events(tally, tmp_path, "audit_completeness") == (1, 2)


def test_an_outcome_without_a_row_in_the_ledger_is_no_complete_audit(tmp_path: Path) -> None:
    tally = Tally()
    add(tally, "failed", decision=None, order=None, spans=[], ledger=None)  # given up by the gateway alone
    assert events(tally, tmp_path, "audit_completeness") == (0, 1)
    add(tally, "executed")  # of a pipeline that has no ledger
    assert events(tally, tmp_path, "audit_completeness") == (0, 1)


def test_a_field_that_makes_no_sense_costs_nothing_but_itself(tmp_path: Path) -> None:
    tally = Tally()
    audit = {"complete": True, "disagreements": []}
    add(tally, "executed", spans="none", order={"status": "filled"}, audit=audit, ledger={"seq": 1})
    assert events(tally, tmp_path, "audit_completeness") == (1, 0)
    assert shown(tally, tmp_path)["ark_ethics_drift_total",] == 1


def test_what_a_person_was_asked_about_is_neither_late_nor_expired(tmp_path: Path) -> None:
    tally = Tally()
    add(tally, "expired", took_s=300.0, ruled=True)
    assert events(tally, tmp_path, "availability") == (1, 0)
    assert events(tally, tmp_path, "decision_latency") == (0, 0)


def test_the_counts_stand_in_the_journal_with_the_outcomes_that_they_count(tmp_path: Path) -> None:
    door = open_door(tmp_path)
    end(door, accept(door))
    one, other = accept(door), accept(door)
    end(door, one, "failed")
    door.finish(_outcome(other), NOW)  # not settled: its process is killed here
    door.intake.connection.close()
    again = open_door(tmp_path)
    assert again.tally.outcomes == {"executed": 1, "failed": 1}
    again.dispatcher.due(0.0)
    end(again, other)
    assert open_door(tmp_path).tally.outcomes == {"executed": 2, "failed": 1}


def test_a_home_that_was_never_counted_begins_with_what_its_journal_holds(tmp_path: Path) -> None:
    door = open_door(tmp_path)
    end(door, accept(door))
    door.intake.connection.execute("DELETE FROM tally")
    door.intake.connection.close()
    assert open_door(tmp_path).tally.outcomes == {"executed": 1}


def test_other_limits_count_latency_from_nothing(tmp_path: Path) -> None:
    tally = Tally()
    add(tally, "executed", took_s=0.3)
    other = Tally(tally.content, edges=(0.1, 0.35))
    add(other, "executed", took_s=0.2)
    other.show(Meters(tmp_path / "gateway.page", process="gateway", edges=(0.1, 0.35)))
    (series,) = [
        each for each in read(tmp_path / "gateway.page") if each.metric.name == "ark_decision_latency_seconds"
    ]
    assert series.counts == (0.0, 1.0, 0.0)
    assert [each.trace_id for each in series.exemplars if each] == ["t-1"]


def _outcome(trace_id: str) -> Envelope:
    return Envelope(OUTCOME, trace_id, "AAPL", 1, 1, 1, encode({"trace_id": trace_id, "status": "executed"}))
