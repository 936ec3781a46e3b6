"""An agent's keys are for the release that it runs from, forwards and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ark.equipment import INSTALLED, Equipment
from ark.errors import AgentError
from ark.migration import MARK, migrate, run_apart
from ark.state import Core

NEW = Equipment("a" * 64, "new", "2", "code-of-new", "new:Joey", "moves:up", "moves:down")
NEWER = Equipment("b" * 64, "newer", "3", "code-of-newer", "newer:Joey")


def run(code: str, place: str, keys: dict[str, Any]) -> dict[str, Any]:
    """Two functions that undo each other."""
    assert code == NEW.code
    if place == "moves:up":
        return {"windows": [keys["window"]], "same": keys["same"]}
    return {"window": keys["windows"][0], "same": keys["same"]}


@pytest.fixture
def core() -> Core:
    core = Core()
    core.set("joey", "window", 7, requester="joey@installed")
    core.set("joey", "same", 1, requester="joey@installed")
    core.set("kyle", "window", 9, requester="kyle@installed")
    return core


def keys(core: Core) -> dict[str, Any]:
    return {each.key: each.value for each in core.entries("joey") if each.key != MARK}


def test_a_release_makes_the_keys_its_own_once_and_leaves_those_of_others_alone(core: Core) -> None:
    assert "up to" in migrate(core, "joey", NEW, provisional=True, run=run)
    assert keys(core) == {"windows": [7], "same": 1}
    revision = core.revision()
    assert migrate(core, "joey", NEW, provisional=True, run=run) == ""
    assert migrate(core, "joey", NEW, provisional=False, run=run) == ""
    assert core.revision() == revision
    assert core.get("kyle", "window") == 9


def test_who_goes_back_without_an_undo_goes_down_first(core: Core) -> None:
    migrate(core, "joey", NEW, provisional=True, run=run)
    core.set("joey", "windows", [8, 9], requester="joey@new")
    assert "down from" in migrate(core, "joey", INSTALLED, provisional=False, run=run)
    assert keys(core) == {"window": 8, "same": 1}
    assert core.get("joey", MARK) is None


def test_an_undo_that_comes_after_the_way_down_still_takes_everything_back(core: Core) -> None:
    began = core.revision()
    migrate(core, "joey", NEW, provisional=True, run=run)
    core.set("joey", "windows", [8, 9], requester=f"joey@{NEW.release}")
    migrate(core, "joey", INSTALLED, provisional=False, run=run)
    undone = core.undo(
        began, of=lambda requester: requester == f"joey@{NEW.release}", by="deployer", reason="rolled back"
    )
    assert not undone.conflicts
    assert keys(core) == {"window": 7, "same": 1}
    assert core.get("joey", MARK) is None


def test_who_was_undone_needs_no_way_down(core: Core) -> None:
    began = core.revision()
    migrate(core, "joey", NEW, provisional=True, run=run)
    core.undo(began, of=lambda requester: requester == f"joey@{NEW.release}", by="deployer", reason="rolled back")
    assert migrate(core, "joey", INSTALLED, provisional=False, run=run) == ""
    assert keys(core) == {"window": 7, "same": 1}


def test_a_later_release_without_migrations_goes_forwards_and_back_over_the_same_keys(core: Core) -> None:
    migrate(core, "joey", NEW, provisional=True, run=run)
    assert migrate(core, "joey", NEWER, provisional=True, run=run) == ""
    assert migrate(core, "joey", NEW, provisional=False, run=run) == ""
    assert keys(core) == {"windows": [7], "same": 1}


def test_nobody_without_migrations_writes_anything() -> None:
    core = Core()
    assert migrate(core, "joey", NEWER, provisional=True, run=run) == ""
    assert migrate(core, "joey", INSTALLED, provisional=False, run=run) == ""
    assert core.revision() == 0


def test_a_migration_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "moves.py").write_text(
        "def up(keys):\n    print('a word')\n    return {**keys, 'new': True}\n"
        "def wrong(keys):\n    raise ValueError('no such window')\n"
        "def nothing(keys):\n    return 3\n"
    )
    assert run_apart(str(tmp_path), "moves:up", {"a": 1}) == {"a": 1, "new": True}
    with pytest.raises(AgentError, match="no such window"):
        run_apart(str(tmp_path), "moves:wrong", {})
    with pytest.raises(AgentError, match="no map"):
        run_apart(str(tmp_path), "moves:nothing", {})
    assert not list(tmp_path.glob("__pycache__"))
