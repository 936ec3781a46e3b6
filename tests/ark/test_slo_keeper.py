"""What is told of the objectives, and that neither kills nor disks make it wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ark.config import SloConfig
from ark.meters import Series
from ark.metrics import REGISTRY
from ark.slo import DAY_S, WINDOWS
from ark.slo_history import SloHistory
from ark.slo_keeper import SloKeeper, counted
from ark.slo_samples import COARSE_S, EVERY_S, Counts

NAMES = ("availability", "decision_latency", "hrm_latency", "audit_completeness", "ethics_drift")


def entry(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in document["slos"] if each["name"] == name)
    return found


def available(good: int, bad: int) -> dict[str, Counts]:
    return {"availability": Counts(good, bad)}


def kept(path: Path) -> SloKeeper:
    return SloKeeper(SloConfig(), SloHistory(path))


def seen(keeper: SloKeeper, now: float) -> tuple[int, int]:
    window = entry(keeper.document(now), "availability")["window"]
    return window["good"], window["bad"]


# The document


def test_the_document_has_the_originals_keys_and_says_what_is_unknown() -> None:
    keeper = SloKeeper(SloConfig())
    keeper.sample({name: Counts(0, 0) for name in NAMES}, 1000.0)
    keeper.sample({**available(90, 10), "decision_latency": Counts(96, 4)}, 1010.0)
    document = keeper.document(1011.0)
    assert [each["name"] for each in document["slos"]] == list(NAMES)
    assert {key: document[key] for key in ("total", "met", "violated", "unknown")} == {
        "total": 5,
        "met": 1,
        "violated": 1,
        "unknown": 3,
    }
    assert document["overall_compliance"] == 0.5
    assert (document["at"], document["sampled_at"]) == (1011.0, 1010.0)
    assert document["violations"] == [
        {"name": "availability", "current_value": 0.9, "target": 0.995, "operator": ">=", "timestamp": 1011.0}
    ]
    availability = entry(document, "availability")
    assert (availability["met"], availability["state"], availability["current_value"]) == (False, "violated", 0.9)
    assert availability["window"] == {"seconds": 300.0, "good": 90, "bad": 10, "whole": False}
    assert availability["budget"] == {
        "seconds": 30.0 * DAY_S,
        "good": 90,
        "bad": 10,
        "allowed": 0.5,
        "spent": 10,
        "remaining": -19.0,
        "exhausted": True,
    }
    assert availability["burn"]["rates"] == dict.fromkeys(WINDOWS, 20.0)
    assert availability["burn"]["alerts"][0] == {
        "severity": "page",
        "speed": "quick",
        "long": "1h",
        "short": "5m",
        "factor": 14.4,
        "enough_events": 14,
        "firing": True,
    }
    hrm = entry(document, "hrm_latency")
    assert (hrm["met"], hrm["state"], hrm["current_value"]) == (None, "unknown", None)
    assert entry(document, "ethics_drift")["burn"] is None
    json.dumps(document, allow_nan=False)


def test_before_anything_was_counted_all_is_unknown() -> None:
    document = SloKeeper(SloConfig()).document(0.0)
    assert (document["met"], document["violated"], document["unknown"]) == (0, 0, 5)
    assert document["overall_compliance"] is None
    assert document["violations"] == []
    assert document["sampled_at"] is None


def test_the_gauges_leave_out_what_is_not_known() -> None:
    keeper = SloKeeper(SloConfig())
    keeper.sample({name: Counts(0, 0) for name in NAMES}, 1000.0)
    keeper.sample(available(999, 1), 1010.0)
    gauges = {(each.metric.name, *each.labels): each.value for each in keeper.series(1011.0)}
    objectives = {key[1]: value for key, value in gauges.items() if key[0] == "ark_slo_objective_ratio"}
    assert objectives == {
        "availability": 0.995,
        "decision_latency": 0.95,
        "hrm_latency": 0.95,
        "audit_completeness": 1.0,
    }
    assert gauges["ark_slo_budget_remaining_ratio", "availability"] == pytest.approx(0.8)
    assert gauges["ark_slo_burn_rate", "availability", "5m"] == pytest.approx(0.2)
    assert not any(key[0] != "ark_slo_objective_ratio" and key[1] != "availability" for key in gauges)
    assert all(len(each.labels) == len(each.metric.labels) for each in keeper.series(1011.0))


# What the pages say


def series(name: str, value: float, *labels: str) -> Series:
    return Series(REGISTRY[name], labels, value)


def test_the_pages_counters_are_read_by_objective() -> None:
    assert counted(
        [
            series("ark_slo_events_total", 90.0, "availability", "good"),
            series("ark_slo_events_total", 10.0, "availability", "bad"),
            series("ark_slo_events_total", 80.0, "hrm_latency", "good"),
            series("ark_ethics_drift_total", 2.0),
            series("ark_signals_completed_total", 100.0),
        ]
    ) == {"availability": Counts(90, 10), "hrm_latency": Counts(80, 0), "ethics_drift": Counts(98, 2)}


def test_without_a_page_nothing_is_known() -> None:
    assert counted([]) == {}
    assert counted([series("ark_ethics_drift_total", 0.0)]) == {}


# Kills, resets, clocks


def test_a_kill_between_two_samples_loses_and_doubles_nothing(tmp_path: Path) -> None:
    path = tmp_path / "slo.db"
    keeper = kept(path)
    for second, (good, bad) in enumerate([(0, 0), (10, 1), (20, 1), (30, 3)]):
        keeper.sample(available(good, bad), 1000.0 + 5 * second)
        keeper.save()
    again = kept(path)  # the one before is simply left, as by kill -9
    assert seen(again, 1016.0) == (30, 3)
    again.sample(available(40, 4), 1020.0)
    assert seen(again, 1020.0) == (40, 4)
    assert seen(again, 1320.0) == (0, 0)


def test_a_gap_of_hours_falsifies_no_window_that_does_not_begin_in_it(tmp_path: Path) -> None:
    keeper = kept(tmp_path / "slo.db")
    keeper.sample(available(0, 0), 0.0)
    keeper.sample(available(100, 10), 600.0)
    keeper.save()
    again = kept(tmp_path / "slo.db")
    again.sample(available(500, 20), 7800.0)
    assert seen(again, 7800.0) == (400, 10)  # everything since the last sample before the window
    again.sample(available(510, 20), 8110.0)
    assert seen(again, 8110.0) == (10, 0)
    rates = entry(again.document(8110.0), "availability")["burn"]["rates"]
    assert rates["3d"] == pytest.approx(20 / 530 / 0.005)


def test_a_counter_that_reads_as_nothing_for_a_moment_is_not_believed(tmp_path: Path) -> None:
    keeper = kept(tmp_path / "slo.db")
    for at, good in ((0.0, 1000), (1.0, 0), (2.0, 1001)):
        keeper.sample(available(good, 0), at)
    assert seen(keeper, 2.0) == (1, 0)
    for at, good in ((3.0, 500), (4.0, 502), (5.0, 505)):
        keeper.sample(available(good, 0), at)
    assert seen(keeper, 5.0) == (4, 0)


def test_a_clock_that_is_set_back_does_not_stop_the_counting(tmp_path: Path) -> None:
    keeper = kept(tmp_path / "slo.db")
    for at, good in ((1000.0, 0), (1600.0, 10), (5000.0, 20), (1900.0, 30), (1920.0, 40)):
        keeper.sample(available(good, 0), at)
        keeper.save()
    assert seen(keeper, 1920.0) == (30, 0)  # since 1600
    again = kept(tmp_path / "slo.db")
    assert seen(again, 1920.0) == (30, 0)


def test_an_invariant_is_violated_by_what_was_found_already_counted() -> None:
    keeper = SloKeeper(SloConfig())
    keeper.sample({"audit_completeness": Counts(500, 1), **available(500, 1)}, 1000.0)
    document = keeper.document(1000.0)
    assert entry(document, "audit_completeness")["state"] == "violated"
    assert entry(document, "availability")["state"] == "unknown"


# The disk


def rows(path: Path) -> int:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        ((count,),) = connection.execute("SELECT count(*) FROM samples").fetchall()
        return int(count)
    finally:
        connection.close()


def test_the_file_holds_what_the_memory_holds_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "slo.db"
    keeper = kept(path)
    for step in range(2 * 24 * 12 + 1):
        keeper.sample(available(step, 0), COARSE_S / 3 * step * 2)
        if step % 50 == 0:
            keeper.save()
    keeper.close()
    again = kept(path)
    now = COARSE_S / 3 * 2 * 24 * 12 * 2
    for standing, other in zip(keeper.standings(now), again.standings(now), strict=True):
        assert standing == other
    assert rows(path) < 2 * 24 * 12 + 1


def test_what_could_not_be_written_is_written_when_there_is_room_again(tmp_path: Path) -> None:
    path = tmp_path / "slo.db"
    keeper = kept(path)
    keeper.sample(available(0, 0), 0.0)
    keeper.save()
    blocker = apsw.Connection(str(path))
    assert keeper._history is not None
    connection = keeper._history._open()
    connection.set_busy_timeout(0)
    blocker.execute("BEGIN IMMEDIATE")
    keeper.sample(available(10, 1), 20.0)
    keeper.save()
    assert "locked" in keeper.trouble
    assert seen(keeper, 20.0) == (10, 1)
    blocker.execute("ROLLBACK")
    blocker.close()
    keeper.sample(available(20, 1), 40.0)
    keeper.save()
    assert keeper.trouble == ""
    assert rows(path) == 3


def test_a_full_disk_costs_nothing_but_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "slo.db"
    keeper = kept(path)
    keeper.sample(available(0, 0), 0.0)
    keeper.save()
    assert keeper._history is not None
    connection = keeper._history._open()
    ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    monkeypatch.setattr(keeper._history, "close", lambda: None)  # another connection would know of no limit
    for step in range(1, 400):
        keeper.sample(available(10 * step, step), EVERY_S * step)
    keeper.save()
    assert "no space is left" in keeper.trouble
    assert rows(path) == 1
    assert seen(keeper, EVERY_S * 399) == (200, 20)
    again = kept(path)
    again.sample(available(4000, 400), EVERY_S * 400)
    assert seen(again, EVERY_S * 400) == (4000, 400)


@pytest.mark.parametrize("damage", [b"no database at all" * 100, b"SQLite format 3\0" + bytes(4080)])
def test_a_damaged_file_is_put_aside_and_a_new_one_is_begun(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "slo.db"
    path.write_bytes(damage)
    keeper = kept(path)
    assert "was damaged" in keeper.trouble
    keeper.sample(available(0, 0), 0.0)
    keeper.save()
    assert keeper.trouble == ""
    assert rows(path) == 1
    assert (tmp_path / "slo.db.damaged").read_bytes() == damage


def test_a_file_that_is_damaged_at_work_is_begun_anew_with_all_that_is_known(tmp_path: Path) -> None:
    path = tmp_path / "slo.db"
    keeper = kept(path)
    for step in range(100):
        keeper.sample(available(step, 0), EVERY_S * step)
    keeper.save()
    keeper.close()
    path.write_bytes(b"garbage" * 1000)
    keeper.sample(available(100, 0), EVERY_S * 100)
    keeper.save()
    keeper.save()
    assert rows(path) == 101


def test_a_file_that_can_only_be_read_later_goes_before_what_was_sampled_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "home" / "slo.db"
    first = kept(tmp_path / "slo.db")
    for at, good, bad in ((0.0, 0, 0), (100.0, 50, 5), (200.0, 60, 6)):
        first.sample(available(good, bad), at)
    first.close()
    keeper = kept(path)  # its folder is not there
    assert keeper.trouble
    keeper.sample(available(70, 7), 300.0)
    keeper.sample(available(80, 8), 320.0)
    keeper.save()
    assert seen(keeper, 320.0) == (10, 1)
    path.parent.mkdir()
    (tmp_path / "slo.db").rename(path)
    keeper.save()
    assert keeper.trouble == ""
    assert seen(keeper, 320.0) == (80, 8)
    assert seen(kept(path), 320.0) == (80, 8)


@settings(max_examples=25)
@given(
    steps=st.lists(
        st.tuples(
            st.floats(0.5, 1000.0),
            st.integers(0, 20),
            st.integers(0, 5),
            st.sampled_from(["", "", "save", "save", "kill", "restore"]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_kills_at_any_moment_never_make_a_window_wrong(
    steps: list[tuple[float, int, int, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Against every single event, with kills, and with homes that were stopped and put back from an older copy."""
    path = tmp_path_factory.mktemp("slo") / "slo.db"
    keeper = kept(path)
    keeper.sample(available(0, 0), 0.0)
    keeper.save()
    now, good, bad = 0.0, 0, 0
    happened: list[tuple[float, int, int]] = []
    for pause, more_good, more_bad, what in steps:
        now, good, bad = now + pause, good + more_good, bad + more_bad
        happened.append((now, more_good, more_bad))
        keeper.sample(available(good, bad), now)
        if what == "save":
            keeper.save()
        elif what == "kill":
            keeper = kept(path)
            keeper.sample(available(good, bad), now)
        elif what == "restore":
            keeper.close()
            good, bad = good // 2, bad // 2
            keeper = kept(path)
            keeper.sample(available(good, bad), now + 0.1)
            keeper.sample(available(good, bad), now + 0.2)
            keeper.save()
            now += 0.2
    inside = [(good, bad) for at, good, bad in happened if at > now - 300.0]
    counted_good, counted_bad = seen(keeper, now)
    assert counted_good >= sum(good for good, _ in inside)
    assert counted_bad >= sum(bad for _, bad in inside)
    assert counted_good <= sum(good for _, good, _ in happened)
    assert counted_bad <= sum(bad for _, _, bad in happened)
    whole = entry(keeper.document(now), "availability")["budget"]
    assert (whole["good"], whole["bad"]) == (
        sum(good for _, good, _ in happened),
        sum(bad for _, _, bad in happened),
    )
