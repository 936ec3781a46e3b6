"""The page's document: lines over time, rows of outcomes, and when it has changed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from ark.page_feed import OUTCOMES, Sample, Samples, document, outcome_row, percentile, significant

EDGES = (0.1, 0.2, 0.4)


def state(**changes: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "node": {"version": "1", "ready": True, "halted": False, "halt_reason": None, "uptime_s": 1.0, "at": 5.0},
        "children": [{"name": "kyle", "state": "running", "heartbeat_age_s": 0.1, "uptime_s": 3.0}],
        "signals": {"accepted": 1},
        "alerts": [],
        "series": {"at": [1], "throughput": [0.0], "p50_ms": [None], "p95_ms": [None]},
        "outcomes": [],
        "portfolio": None,
        "slos": [],
    }
    return document(**(parts | changes))


# Lines over time


def test_a_point_is_the_difference_of_two_samples() -> None:
    samples = Samples()
    samples.add(Sample(100.0, 10.0, EDGES, (1.0, 1.0, 0.0, 0.0)))
    samples.add(Sample(102.0, 30.0, EDGES, (1.0, 11.0, 0.0, 0.0)))

    assert samples.lines() == {"at": [102], "throughput": [10.0], "p50_ms": [150.0], "p95_ms": [195.0]}


def test_a_second_in_which_nothing_ended_has_no_latency() -> None:
    samples = Samples()
    for at in (100.0, 101.0):
        samples.add(Sample(at, 10.0, EDGES, (1.0, 1.0, 0.0, 0.0)))

    assert samples.lines() == {"at": [101], "throughput": [0.0], "p50_ms": [None], "p95_ms": [None]}


@pytest.mark.parametrize("second", [Sample(101.0), Sample(101.0, 3.0, EDGES, (0.0, 0.0, 0.0, 0.0))])
def test_a_count_that_is_not_known_or_begins_anew_makes_a_hole_and_no_number(second: Sample) -> None:
    samples = Samples()
    samples.add(Sample(100.0, 10.0, EDGES, (1.0, 1.0, 0.0, 0.0)))
    samples.add(second)

    assert samples.lines() == {"at": [101], "throughput": [None], "p50_ms": [None], "p95_ms": [None]}


def test_the_oldest_points_are_let_go() -> None:
    samples = Samples(most=3)
    for at in range(10):
        samples.add(Sample(float(at), float(at)))

    assert samples.lines()["at"] == [7, 8, 9]


def test_a_clock_that_was_set_back_makes_no_point() -> None:
    samples = Samples()
    samples.add(Sample(100.0, 1.0))
    samples.add(Sample(50.0, 2.0))
    samples.add(Sample(51.0, 4.0))

    assert samples.lines()["throughput"] == [2.0]


# Percentiles


@given(
    some.lists(some.floats(0.0, 0.39), min_size=1, max_size=50),
    some.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_a_percentile_lies_in_the_bucket_of_the_value_with_its_rank(values: list[float], share: float) -> None:
    uppers = (*EDGES, float("inf"))
    counts = [0.0] * len(uppers)
    for value in values:
        counts[next(index for index, upper in enumerate(uppers) if value <= upper)] += 1
    rank = max(0, -(-len(values) * int(share * 100) // 100) - 1)
    exact = sorted(values)[rank]
    bucket = next(index for index, upper in enumerate(uppers) if exact <= upper)

    found = percentile(EDGES, counts, share)

    assert found is not None
    assert (0.0, *EDGES)[bucket] <= found <= EDGES[bucket]


def test_what_is_beyond_the_last_edge_is_told_as_that_edge() -> None:
    assert percentile(EDGES, (0.0, 0.0, 0.0, 5.0), 0.5) == 0.4


def test_nothing_has_no_percentile() -> None:
    assert percentile(EDGES, (0.0, 0.0, 0.0, 0.0), 0.5) is None
    assert percentile((), (), 0.5) is None
    assert percentile(EDGES, (3.0, -1.0, 0.0, 0.0), 0.5) is None


# Outcomes


def test_a_row_names_the_rules_that_denied() -> None:
    violations = [{"rule": "G07", "message": "no stop"}, {"rule": "G08"}]
    row = outcome_row(
        {"trace_id": "t", "symbol": "AAPL", "status": "denied", "decision": {"violations": violations}}, 7.0
    )

    assert row["rules"] == ["G07: no stop", "G08"]
    assert (row["symbol"], row["status"], row["reason"], row["at"]) == ("AAPL", "denied", None, 7.0)


@pytest.mark.parametrize("decision", [None, "no", {}, {"violations": None}, {"violations": ["G07"]}])
def test_an_outcome_of_another_pipeline_is_shown_as_far_as_it_goes(decision: Any) -> None:
    assert outcome_row({"status": "executed", "decision": decision}, None)["rules"] == []


def test_only_the_newest_outcomes_are_shown() -> None:
    assert len(state(outcomes=[{"trace_id": str(each)} for each in range(50)])["outcomes"]) == OUTCOMES


# Change


def test_clocks_and_ages_alone_are_no_change() -> None:
    before = state()
    after = state(
        node=before["node"] | {"at": 6.0, "uptime_s": 2.0},
        children=[{"name": "kyle", "state": "running", "heartbeat_age_s": 0.2, "uptime_s": 4.0}],
        series={"at": [1, 2], "throughput": [0.0, 0.0], "p50_ms": [None, None], "p95_ms": [None, None]},
    )

    assert significant(before) == significant(after)


@pytest.mark.parametrize(
    "change",
    [
        {"children": [{"name": "kyle", "state": "starting"}]},
        {"signals": {"accepted": 2}},
        {"series": {"at": [2], "throughput": [1.0], "p50_ms": [None], "p95_ms": [None]}},
        {"portfolio": {"equity": 1}},
    ],
)
def test_everything_else_is_one(change: dict[str, Any]) -> None:
    assert significant(state()) != significant(state(**change))


def test_the_document_is_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(state())) == state()
