"""Pages of metrics: what is counted stays, whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ark.errors import AgentError
from ark.meters import Exemplar, Meters, Series, read, read_pages
from ark.metrics import EDGES, EDGES_S, REGISTRY, Metric, edges
from tests.node import ROOT, wait_until

FILLED = {"agent": "kyle", "version": "1", "track": "stable"}


def page(folder: Path, name: str = "kyle", **options: object) -> Meters:
    return Meters(folder / f"{name}.page", process=name, filled=FILLED, **options)  # type: ignore[arg-type]


def found(folder: Path, name: str, process: str = "kyle") -> list[Series]:
    return [each for each in read(folder / f"{process}.page") if each.metric.name == name]


def test_a_counter_goes_on_where_the_process_before_left_it(tmp_path: Path) -> None:
    for _ in range(3):
        page(tmp_path).count("ark_agent_signals_total", 2, attempt="first")
    (series,) = found(tmp_path, "ark_agent_signals_total")
    assert (series.labels, series.value) == (("kyle", "1", "stable", "first"), 6.0)


def test_a_histogram_counts_a_value_at_an_edge_below_it(tmp_path: Path) -> None:
    meters = page(tmp_path)
    for value in (0.4, 0.400001, 0.12, 100.0):
        meters.observe("ark_agent_latency_seconds", value)
    (series,) = found(tmp_path, "ark_agent_latency_seconds")
    counted = {edge: count for edge, count in zip(series.edges, series.counts, strict=False) if count}
    assert counted == {0.4: 1.0, 0.5: 1.0, 0.12: 1.0}
    assert series.counts[-1] == 1.0
    assert series.value == pytest.approx(100.920001)


def test_each_bucket_keeps_the_newest_trace(tmp_path: Path) -> None:
    meters = page(tmp_path)
    for trace in ("one", "two"):
        meters.observe("ark_agent_latency_seconds", 0.3, trace_id=trace, at=5.0)
    (series,) = found(tmp_path, "ark_agent_latency_seconds")
    assert [each for each in series.exemplars if each] == [Exemplar("two", 0.3, 5.0)]


def test_a_total_that_is_kept_elsewhere_never_falls(tmp_path: Path) -> None:
    meters = page(tmp_path)
    for total in (5, 9, 3):
        meters.total("ark_signals_accepted_total", total)
    assert found(tmp_path, "ark_signals_accepted_total")[0].value == 9.0


@pytest.mark.parametrize(
    ("name", "labels", "words"),
    [
        ("ark_signals", {}, "there is no metric 'ark_signals'"),
        ("ark_halted", {}, "is a gauge, not a counter"),
        ("ark_agent_signals_total", {}, "was given none"),
        ("ark_agent_signals_total", {"attempt": "first", "trace": "x"}, "was given attempt, trace"),
    ],
)
def test_a_metric_that_is_not_in_the_registry_is_refused(
    tmp_path: Path, name: str, labels: dict[str, str], words: str
) -> None:
    with pytest.raises(AgentError, match=words):
        page(tmp_path).count(name, **labels)


def test_an_agent_may_have_metrics_of_its_own(tmp_path: Path) -> None:
    own = Metric(name="kyle_cups_total", kind="counter", help="Cups of tea.", labels=("kind",))
    page(tmp_path, own=(own,)).count("kyle_cups_total", kind="green")
    (series,) = found(tmp_path, "kyle_cups_total")
    assert (series.metric.help, series.labels, series.value) == ("Cups of tea.", ("green",), 1.0)


def test_labels_without_bounds_cost_one_page_and_are_counted(tmp_path: Path) -> None:
    meters = page(tmp_path)
    for number in range(5000):
        meters.count("ark_breaker_trips_total", breaker=f"b{number}")
    assert len(found(tmp_path, "ark_breaker_trips_total")) == 200
    assert found(tmp_path, "ark_series_dropped_total")[0].value == 4800.0
    meters.count("ark_breaker_trips_total", breaker="b7")
    assert sum(each.value for each in found(tmp_path, "ark_breaker_trips_total")) == 201.0


def test_a_page_that_is_full_drops_what_is_new_and_keeps_what_it_has(tmp_path: Path) -> None:
    meters = page(tmp_path, edges=tuple(float(number) for number in range(1, 300)))
    for number in range(200):
        meters.observe("ark_journal_commit_seconds", 0.5, owner=f"o{number}")
    kept = found(tmp_path, "ark_journal_commit_seconds")
    assert 0 < len(kept) < 200
    assert found(tmp_path, "ark_series_dropped_total")[0].value == 200 - len(kept)


def test_a_changed_agent_counts_anew_what_it_counts_otherwise_and_goes_on_with_the_rest(tmp_path: Path) -> None:
    gone, was, now = (
        Metric(name=name, kind=kind, help="", labels=("version",))
        for name, kind in (("gone", "gauge"), ("mine", "counter"), ("mine", "gauge"))
    )
    of_version = Metric(name="depth", kind="gauge", help="", labels=("version",))
    before = page(tmp_path, own=(gone, was, of_version))
    for name in ("gone", "depth"):
        before.gauge(name, 7)
    before.count("mine", 5)
    before.count("ark_agent_signals_total", 2, attempt="first")

    after = Meters(tmp_path / "kyle.page", process="kyle", filled={**FILLED, "version": "2"}, own=(now, of_version))
    after.gauge("mine", 3)
    after.count("ark_agent_signals_total", 4, attempt="first")
    after.gauge("depth", 1)

    told = {(each.metric.name, each.labels): each.value for each in read(tmp_path / "kyle.page")}
    assert told == {
        ("ark_series_dropped_total", ("kyle",)): 0.0,
        ("ark_agent_signals_total", ("kyle", "1", "stable", "first")): 2.0,
        ("ark_agent_signals_total", ("kyle", "2", "stable", "first")): 4.0,
        ("mine", ("2",)): 3.0,
        ("depth", ("2",)): 1.0,
    }


def test_a_total_is_never_seen_at_nothing_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meters = page(tmp_path)
    monkeypatch.setattr(meters, "write", lambda measured: None)  # dead before it comes to that
    meters.total("ark_signals_accepted_total", 7)
    assert [each.value for each in found(tmp_path, "ark_signals_accepted_total")] == [7.0]


def test_other_edges_begin_a_new_page(tmp_path: Path) -> None:
    page(tmp_path).observe("ark_agent_latency_seconds", 0.3)
    page(tmp_path, edges=edges((0.35,))).observe("ark_agent_latency_seconds", 0.34)
    (series,) = found(tmp_path, "ark_agent_latency_seconds")
    assert 0.35 in series.edges
    assert sum(series.counts) == 1.0


@settings(max_examples=200, deadline=None)
@given(junk=st.binary(max_size=400), at=st.integers(0, 300))
def test_a_page_that_is_damaged_gives_no_figures_or_sound_ones(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int
) -> None:
    folder = tmp_path_factory.mktemp("pages")
    page(folder).count("ark_agent_signals_total", attempt="first")
    path = folder / "kyle.page"
    content = bytearray(path.read_bytes())
    content[at : at + len(junk)] = junk
    path.write_bytes(bytes(content[: 256 << 10]))
    for series in read_pages(folder):
        assert len(series.labels) == len(series.metric.labels)
    page(folder).count("ark_agent_signals_total", attempt="first")
    assert found(folder, "ark_agent_signals_total")


KILLED = """
import sys
from pathlib import Path
from ark.meters import Meters
meters = Meters(Path(sys.argv[1]), process="kyle")
while True:
    meters.count("watchdog_quarantines_total", agent="kyle", reason="x", track="stable")
"""


def test_kills_neither_set_a_counter_back_nor_double_it(tmp_path: Path) -> None:
    before = 0.0
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / "kyle.page")], cwd=ROOT, stdin=subprocess.DEVNULL
        )

        def risen(known: float = before) -> float:
            return max([0.0, *(each.value for each in found(tmp_path, "watchdog_quarantines_total"))]) - known

        try:
            seen = 0.0
            wait_until(lambda: risen() > 500, "it counts")
            for _ in range(200):
                now = risen()
                assert now >= seen
                seen = now
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(10)
        before += risen()


def test_every_metric_of_the_registry_has_a_sound_name_and_no_label_of_unbounded_values() -> None:
    for metric in REGISTRY.values():
        assert metric.name.replace("_", "").isalnum()
        assert (metric.kind == "counter") is metric.name.endswith("_total")
        assert not {"trace_id", "symbol", "reason_text", "pid"} & set(metric.labels)
        assert metric.help.endswith(".") or metric.help.endswith("runs.")
        assert not metric.derived_from or REGISTRY[metric.derived_from].kind == "histogram"


def test_every_limit_of_an_objective_is_an_edge() -> None:
    assert {0.12, 0.4} <= set(EDGES)
    assert 0.35 in edges((0.35,))
    assert list(EDGES) == sorted({*EDGES_S, 0.12, 0.4})
