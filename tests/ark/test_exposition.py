"""What is exposed: as Prometheus, OpenMetrics and JSON read it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from ark.exposition import as_json, encode, gather
from ark.meters import Exemplar, Meters, Series, read_pages
from ark.metrics import REGISTRY, Metric
from ark.node_series import Facts, Usage, node_series, original_series
from ark.status import AlertStatus, ChildStatus

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
EDGES = (0.1, 0.4)
AT = 1000.0
TRACE = "0f8fad5b-d9cb-469f-a165-70867728950e"


def one(name: str, value: float, *labels: str) -> Series:
    return Series(REGISTRY[name], labels, value)


def latency(agent: str, *counts: float, version: str = "1", exemplars: Any = ()) -> Series:
    metric = REGISTRY["ark_agent_latency_seconds"]
    return Series(metric, (agent, version, "stable"), sum(counts) * 0.2, EDGES, counts, exemplars)


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """Every sample by its name and its labels' values."""
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in parse_text(text.decode())
        for sample in family.samples
    }


def child(name: str, **changes: Any) -> ChildStatus:
    facts: dict[str, Any] = {
        "parent": "pipeline",
        "kind": "agent",
        "state": "running",
        "pid": 7,
        "version": "1",
        "restarts": 0,
        "uptime_s": 1.0,
        "heartbeat_age_s": 0.1,
        "mailbox_depth": 3,
        "reason": None,
    }
    return ChildStatus(name=name, **(facts | changes))


def facts(**changes: Any) -> Facts:
    parts: dict[str, Any] = {
        "version": "1",
        "children": [child("kyle")],
        "ready": True,
        "halted": False,
        "alerts": [],
        "restarts": {"kyle": 4},
        "usages": {"kyle": Usage(4096, 9)},
        "journals": {"hrm": 512},
        "disk": (10, 20),
    }
    return Facts(**(parts | changes))


# Gathering


def test_what_two_processes_count_under_one_name_is_added_up() -> None:
    found = gather([one("ark_ledger_rows_total", 2.0), one("ark_ledger_rows_total", 3.0)])

    assert [each.value for each in found["ark_ledger_rows_total"]] == [5.0]


def test_of_a_gauge_the_last_one_holds() -> None:
    assert gather([one("ark_equity", 2.0), one("ark_equity", 3.0)])["ark_equity"][0].value == 3.0


@given(some.lists(some.tuples(*[some.integers(0, 1000)] * 3), min_size=1, max_size=5))
def test_histograms_are_added_up_bucket_by_bucket(parts: list[tuple[int, int, int]]) -> None:
    (found,) = gather(latency("kyle", *map(float, counts)) for counts in parts)["ark_agent_latency_seconds"]

    assert found.counts == tuple(float(sum(counts)) for counts in zip(*parts, strict=True))


def test_the_newest_exemplar_of_a_bucket_stays() -> None:
    old, new = (Exemplar(trace, 0.05, at) for trace, at in (("old", 1.0), ("new", 2.0)))
    exemplars = [(new, None, None), (old, old, None)]

    (found,) = gather(latency("kyle", 1.0, 1.0, 0.0, exemplars=each) for each in exemplars)[
        "ark_agent_latency_seconds"
    ]

    assert found.exemplars == (new, old, None)


def test_one_name_for_two_things_is_the_first_of_them() -> None:
    wrong = Series(Metric(name="ark_equity", kind="counter", help="no"), (), 1.0)
    lacking = Series(REGISTRY["ark_descriptors"], (), 1.0)

    found = gather([one("ark_equity", 2.0), wrong, lacking])

    assert [each.value for each in found["ark_equity"]] == [2.0]
    assert "ark_descriptors" not in found


# Text


def test_a_counter_a_gauge_and_a_histogram_are_read_as_what_they_are() -> None:
    found = gather(
        [one("ark_requests_total", 3.0, "inject", "ok"), one("ark_equity", 1.5), latency("hrm", 1, 2, 4)]
    )

    text, kind = encode(found, "")
    read = samples(text)

    assert kind.startswith("text/plain; version=0.0.4")
    assert read["ark_requests_total", "ok", "inject"] == 3.0
    assert read["ark_equity",] == 1.5
    labels = ("hrm", "stable", "1")
    buckets = {
        le: read["ark_agent_latency_seconds_bucket", "hrm", le, *labels[1:]] for le in ("0.1", "0.4", "+Inf")
    }
    assert buckets == {"0.1": 1.0, "0.4": 3.0, "+Inf": 7.0}
    assert read["ark_agent_latency_seconds_count", *labels] == 7.0
    assert read["ark_agent_latency_seconds_sum", *labels] == pytest.approx(1.4)


def test_openmetrics_names_the_newest_trace_of_a_bucket() -> None:
    series = latency("hrm", 1.0, 0.0, 0.0, exemplars=(Exemplar(TRACE, 0.05, AT), None, None))

    text, kind = encode(gather([series]), OPENMETRICS)

    (family,) = parse_openmetrics(text.decode())
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert [sample.exemplar.labels for sample in family.samples if sample.exemplar] == [{"trace_id": TRACE}]
    assert family.unit == "seconds"


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text; version=abc", "text/plain; version=1.x", "version", ",;=,", "é" * 100]
)
def test_what_cannot_be_given_as_asked_is_given_as_text(accept: str) -> None:
    text, _ = encode(gather([one("ark_equity", 1.0)]), accept)

    assert b"ark_equity 1.0" in text


def test_a_name_that_is_none_costs_nothing_but_itself() -> None:
    bad = Series(Metric(name="", kind="gauge", help=""), (), 1.0)

    assert samples(encode(gather([bad, one("ark_equity", 1.0)]), "")[0]) == {("ark_equity",): 1.0}


@given(some.text(max_size=50), some.floats())
def test_whatever_stands_in_a_label_is_read_back_as_it_was(label: str, value: float) -> None:
    label = label.encode("utf-8", "replace").decode().replace("\r", "")
    text, _ = encode(gather([one("ark_setups_total", value, label)]), "")

    ((name, read),) = samples(text)
    assert (name, read) == ("ark_setups_total", label)


def test_every_metric_of_the_registry_can_be_told() -> None:
    series = [
        Series(metric, metric.labels, 1.0, *((EDGES, (1.0, 0.0, 0.0)) if metric.kind == "histogram" else ()))
        for metric in REGISTRY.values()
    ]
    text, _ = encode(gather(series), OPENMETRICS)

    names = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in parse_openmetrics(text.decode())
    }
    assert names == set(REGISTRY)


# JSON


def test_programs_get_the_originals_keys() -> None:
    found = gather(
        [one("ark_requests_total", 3.0, "inject", "ok"), one("ark_equity", 1.5), latency("hrm", 0, 4, 0)]
    )

    document = as_json(found, AT)

    assert document["counters"] == {"ark_requests_total{operation=inject,code=ok}": 3.0}
    assert document["gauges"] == {"ark_equity": 1.5}
    assert document["histograms"] == {
        "ark_agent_latency_seconds{agent=hrm,version=1,track=stable}": {
            "count": 4,
            "sum": pytest.approx(0.8),
            "avg": pytest.approx(0.2),
            "p50": pytest.approx(0.25),
            "p95": pytest.approx(0.385),
            "p99": pytest.approx(0.397),
            "min": 0.1,
            "max": 0.4,
        }
    }
    assert document["timestamp"] == AT


def test_a_histogram_in_which_nothing_is_has_no_percentiles() -> None:
    ((_, summary),) = as_json(gather([latency("hrm", 0, 0, 0)]), AT)["histograms"].items()

    assert summary == dict.fromkeys(("avg", "p50", "p95", "p99", "min", "max")) | {"count": 0, "sum": 0.0}


# What nobody counts


def test_the_tree_the_disk_and_the_files_have_their_series() -> None:
    read = samples(encode(gather(node_series(facts(), set())), "")[0])

    assert read["ark_child_up", "agent", "kyle", "1"] == 1.0
    assert read["ark_child_restarts_total", "kyle"] == 4.0
    assert read["ark_memory_bytes", "kyle"] == 4096.0
    assert read["ark_journal_bytes", "hrm"] == 512.0
    assert (read["ark_disk_free_bytes",], read["ark_disk_size_bytes",]) == (10.0, 20.0)
    assert (read["ark_ready",], read["ark_halted",], read["ark_seal_intact",]) == (1.0, 0.0, 1.0)


def test_what_is_not_known_is_not_there() -> None:
    gone = child("kyle", pid=None, state="backoff", heartbeat_age_s=None, mailbox_depth=None)
    read = samples(encode(gather(node_series(facts(alerts=None, disk=None, children=[gone]), set())), "")[0])

    assert read["ark_child_up", "agent", "kyle", "1"] == 0.0
    assert not {"ark_seal_intact", "ark_disk_free_bytes", "ark_heartbeat_age_seconds"} & {key[0] for key in read}


def test_alerts_are_counted_by_fault_and_a_broken_seal_is_one() -> None:
    def alert(fault: str, severity: str) -> AlertStatus:
        return AlertStatus(
            name="node",
            fault=fault,
            severity=severity,
            answer="halt",
            state="raised",
            reason="",
            advice="",
            count=1,
            since=0,
        )

    standing = [alert("mailbox", "warning"), alert("mailbox", "warning"), alert("seal", "emergency")]
    stood: set[tuple[str, str]] = set()
    read = samples(encode(gather(node_series(facts(alerts=standing), stood)), "")[0])

    assert read["ark_alerts_standing", "mailbox", "warning"] == 2.0
    assert read["ark_seal_intact",] == 0.0

    read = samples(encode(gather(node_series(facts(alerts=standing[:1]), stood)), "")[0])
    assert read["ark_alerts_standing", "mailbox", "warning"] == 1.0
    assert read["ark_alerts_standing", "seal", "emergency"] == 0.0, "what is cleared falls to 0"
    assert read["ark_seal_intact",] == 1.0


# What the original had


def test_the_originals_names_are_made_from_the_better_ones() -> None:
    found = gather(
        [
            latency("hrm", 1, 2, 0),
            latency("hrm", 1, 0, 0, version="2"),
            latency("kyle", 5, 0, 0),
            one("ark_agent_signals_total", 7.0, "kyle", "1", "stable", "first"),
            one("ark_agent_signals_total", 1.0, "kyle", "1", "stable", "again"),
            one("ark_agent_failures_total", 2.0, "kyle", "1", "stable"),
            one("ark_signals_completed_total", 9.0),
            Series(REGISTRY["ark_journal_commit_seconds"], ("hrm",), 1.0, EDGES, (3.0, 0.0, 0.0)),
        ]
    )

    read = samples(
        encode(gather(original_series(found, [child("kyle"), child("hrm", state="isolated")], {})), "")[0]
    )

    assert read["hrm_eval_latency_ms_bucket", "100.0"] == 2.0
    assert read["hrm_eval_latency_ms_count",] == 4.0
    assert read["hrm_eval_latency_ms_sum",] == pytest.approx(800.0)
    assert read["eval_duration_bucket", "0.1"] == 2.0
    assert read["handle_latency_ms_count", "kyle"] == 5.0
    assert read["state_operations_total", "hrm", "commit"] == 3.0
    assert read["handle_success_total", "kyle"] == 6.0
    assert read["handle_failure_total", "kyle", "failed"] == 2.0
    assert read["kyle_operations_total", "kyle"] == 8.0
    assert read["signals_processed_total",] == 9.0
    assert (read["active_agents",], read["quarantine_count",]) == (1.0, 1.0)


def test_a_count_that_is_a_difference_never_falls_between_two_figures_of_a_page() -> None:
    told: dict[str, float] = {}

    def success(answered: float, failed: float) -> float:
        found = gather(
            [
                one("ark_agent_signals_total", answered, "kyle", "1", "stable", "first"),
                one("ark_agent_failures_total", failed, "kyle", "1", "stable"),
            ]
        )
        return next(
            each.value for each in original_series(found, [], told) if each.metric.name == "handle_success_total"
        )

    assert [success(10, 2), success(11, 2), success(11, 3), success(12, 3)] == [8.0, 9.0, 9.0, 9.0]
    assert success(1, 0) == 1.0, "a page that was begun anew begins anew"


# Pages


def test_a_page_that_is_torn_or_garbage_gives_no_wrong_number(tmp_path: Path) -> None:
    meters = Meters(
        tmp_path / "kyle.page", process="kyle", filled={"agent": "kyle", "version": "1", "track": "stable"}
    )
    meters.count("ark_agent_signals_total", 5, attempt="first")
    whole = (tmp_path / "kyle.page").read_bytes()
    used = int.from_bytes(whole[8:16], "little")

    told = set()
    for length in range(0, used + 8, 8):
        (tmp_path / "kyle.page").write_bytes(whole[:length])
        told |= {each.value for each in gather(read_pages(tmp_path)).get("ark_agent_signals_total", ())}

    assert told <= {5.0}
    assert math.inf not in told
