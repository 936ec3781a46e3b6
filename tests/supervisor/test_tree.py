"""What a supervisor process does by itself, beside the policy: the root watches the Watchdog."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ark.blackbox import BlackBox, read
from ark.equipment import INSTALLED, Equipment
from ark.home import Home
from supervisor.transitions import Child, ChildState, Leaving, Restart, State
from supervisor.tree import Process, Supervisor
from tests.node import wait_until


@pytest.mark.parametrize(("state", "is_replaced"), [("running", True), ("starting", False), ("stopping", False)])
def test_a_watchdog_is_judged_by_its_beats_only_while_it_runs(
    tmp_path: Path, state: ChildState, is_replaced: bool
) -> None:
    """What it reads while it starts may be slow: to kill it for that keeps the whole node from starting."""
    home = Home(tmp_path)
    home.prepare()
    BlackBox(home.box("watchdog"), incarnation=1)
    hung: list[dict[str, Any]] = []
    root = SimpleNamespace(
        _home=home,
        _state=State((Child("watchdog", state=state, incarnation=1),)),
        _processes={"watchdog": Process(1, None, None, os.getpid(), 0.0)},
        _patience_s=0.01,
        _late_rounds=0,
        _hung=hung.append,
    )

    def is_late() -> bool:
        box = read(home.box("watchdog"))
        return box is not None and box.beat_age_s > 0.01

    wait_until(is_late, "its last beat is old")
    for _ in range(6):
        Supervisor._watch_the_watchdog(cast(Supervisor, root))
    assert [words["name"] for words in hung] == ["watchdog"] * is_replaced


@pytest.mark.parametrize(
    ("state", "leaving", "is_restarted"),
    [
        ("running", "", True),
        ("starting", "", True),  # a release that hangs while it starts
        ("backoff", "", True),  # one that cannot start
        ("starting", "sibling", False),
        ("stopping", "operator", False),
        ("waiting", "", False),
        ("isolated", "", False),
        ("stopped", "", False),
    ],
)
def test_an_agent_that_has_the_wrong_release_comes_back_with_the_right_one_also_before_it_is_ready(
    state: ChildState, leaving: Leaving, is_restarted: bool
) -> None:
    decided: list[Any] = []
    silent = SimpleNamespace(write=lambda *_, **__: None, error=lambda *_, **__: None)
    pipeline = SimpleNamespace(
        _duty=SimpleNamespace(options={"equips": True}),
        _routes=SimpleNamespace(look=lambda: False),
        _state=State((Child("alpha", state=state, incarnation=2, leaving=leaving), Child("beta", state="running"))),
        _equipped={"alpha": Equipment(digest="a" * 64), "beta": INSTALLED},
        _equipment_of=lambda name: INSTALLED,
        _log=silent,
        _own_log=silent,
        _event=lambda *_, **__: None,
        _decide=decided.append,
    )
    Supervisor._look_at_routes(cast(Supervisor, pipeline))
    expected = [Restart("alpha", "to run from release installed")] if is_restarted else []
    assert decided == expected
