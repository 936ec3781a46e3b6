"""What an operator reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ark.status import StatusDocument
from supervisor.rendering import absent, as_json, event_line, is_well, status_lines, tree_lines


def child(name: str, parent: str | None = "pipeline", **facts: Any) -> dict[str, Any]:
    return {
        "name": name,
        "parent": parent,
        "kind": "agent",
        "state": "running",
        "pid": 123,
        "version": "0.1.0",
        "restarts": 2,
        "uptime_s": 62.7,
        "heartbeat_age_s": 0.24,
        "mailbox_depth": 0,
        "reason": "killed by signal 9",
        **facts,
    }


def status_of(*children: dict[str, Any], **facts: Any) -> dict[str, Any]:
    return {
        "state": "running",
        "halted": False,
        "halt_reason": None,
        "ready": True,
        "children": list(children),
        "signals": {"accepted": 7, "in_flight": 1, "completed": 6, "held": 0, "dead_letters": 0},
        **facts,
    }


TREE = status_of(
    child("root", None, kind="supervisor", mailbox_depth=None),
    child("gateway", "root"),
    child("pipeline", "root", kind="supervisor"),
    child("kyle"),
    child("joey", state="isolated", pid=None, uptime_s=None, heartbeat_age_s=None, reason="odd confidence"),
)


def test_a_running_child_stands_as_supervisorctl_users_expect() -> None:
    assert status_lines(status_of(child("kyle")))[0] == (
        "kyle                             RUNNING   pid 123, uptime 0:01:02, version 0.1.0, restarts 2, "
        "heartbeat 0.2 s ago, mailbox 0"
    )


def test_a_child_that_runs_says_what_keeps_it_from_its_work() -> None:
    lines = status_lines(status_of(child("feed", concern="waits for Redis")))
    assert " RUNNING   waits for Redis, pid " in lines[0]


def test_a_child_that_does_not_run_says_why() -> None:
    assert status_lines(TREE)[4] == (
        "joey                             ISOLATED  odd confidence, version 0.1.0, restarts 2, mailbox 0"
    )


def test_signals_and_a_halt_stand_below_the_children() -> None:
    assert status_lines(status_of(child("kyle"), halted=True, halt_reason="news"))[1:] == [
        "signals:                         accepted 7, in flight 1, completed 6, held 0, dead letters 0",
        "trading:                         HALTED    news (`ark-run resume` lifts it)",
    ]


def test_long_names_keep_the_columns() -> None:
    lines = status_lines(status_of(child("a" * 40), child("b")))
    assert lines[0].index("RUNNING") == lines[1].index("RUNNING") == 41


def test_long_uptimes_are_told_in_days() -> None:
    assert "uptime 3 days, 0:00:05" in status_lines(status_of(child("kyle", uptime_s=259205.9)))[0]


def test_the_tree_is_drawn_by_parent() -> None:
    assert [line[:12].rstrip() for line in tree_lines(TREE)] == [
        "root",
        "├── gateway",
        "└── pipeline",
        "    ├── kyle",
        "    └── joey",
    ]
    assert "ISOLATED  odd confidence" in tree_lines(TREE)[4]


def test_children_of_an_unknown_parent_are_still_drawn() -> None:
    assert [line.split("  ")[0] for line in tree_lines(status_of(child("kyle"), child("joey")))] == ["kyle", "joey"]


@pytest.mark.parametrize(
    ("status", "well"),
    [
        (status_of(child("kyle")), True),
        (status_of(child("kyle"), child("joey", state="backoff")), False),
        (status_of(child("kyle"), halted=True), False),
        (status_of(child("kyle"), ready=False), False),
        (status_of(state="starting", ready=False), False),
        (absent(None), False),
    ],
)
def test_all_is_well_only_while_all_run_and_nothing_is_halted(status: dict[str, Any], well: bool) -> None:
    assert is_well(status) == well


def test_json_is_passed_through_with_unknown_keys_and_without_the_envelope() -> None:
    later = {**TREE, "new_key": {"nested": [1]}}
    assert json.loads(as_json({"v": 1, "id": 3, "ok": True, **later})) == later


def test_the_document_of_no_node_has_every_key_and_keeps_the_halt() -> None:
    assert absent("news").keys() == set(StatusDocument.__struct_fields__) >= TREE.keys()
    assert absent("news")["halted"] is True
    assert "HALTED" in "\n".join(status_lines(absent("news")))


def test_nothing_that_came_from_elsewhere_reaches_the_terminal_raw() -> None:
    hostile = "bad\x1b[2J\nkyle RUNNING\x07"
    lines = status_lines(status_of(child("joey", state="failed", reason=hostile)))
    assert len(lines) == 2
    assert "\x1b" not in lines[0]
    assert "\x07" not in lines[0]
    assert "\x1b" not in event_line({"at": 0, "kind": "exited", "name": "joey", "reason": hostile})


def test_an_event_is_one_line_with_its_subject_first() -> None:
    event = {"at": 1.5, "kind": "exited", "name": "kyle", "reason": "killed by signal 9", "pid": 12, "trace_id": ""}
    assert event_line(event)[19:] == "  exited       kyle         killed by signal 9, pid=12"
    logged = {"at": None, "event": "dead_letter", "agent": "kenny", "trace_id": "t-1"}
    assert event_line(logged)[19:] == "  dead_letter  kenny        trace_id=t-1"


ANYTHING = st.one_of(st.none(), st.text(max_size=8), st.integers(0, 9), st.booleans())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["name", "parent", "state", "reason", "version"]), ANYTHING), max_size=6
    )
)
def test_whatever_a_newer_node_says_can_be_drawn(children: list[dict[str, Any]]) -> None:
    assert len(status_lines({"children": children})) >= 1
    assert len(tree_lines({"children": children})) <= len(children)
