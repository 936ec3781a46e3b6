"""An agent's keys are for the release that it runs from, forwards and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ark.equipment import INSTALLED, Equipment
from ark.errors import AgentError, StateError
from ark.migration import MARK, Migrated, migrate, rehearse, release_of_keys, run_apart
from ark.state import Core

NEW = Equipment("a" * 64, "new", "2", "code-of-new", "new:Joey", "moves:up", "moves:down")
NEWEST = Equipment("b" * 64, "newest", "3", "code-of-newest", "newest:Joey", "moves:up", "moves:down")
BUGFIX = Equipment("c" * 64, "bugfix", "2.1", "code-of-bugfix", "bugfix:Joey")


def run(digest: str, way: Literal["up", "down"], keys: dict[str, Any]) -> dict[str, Any]:
    """Each release keeps the window under a name of its own, and knows the one of the release before alone."""
    names = {NEW.digest: ("window", "windows"), NEWEST.digest: ("windows", "frames")}[digest]
    before, after = names if way == "up" else reversed(names)
    assert before in keys, "it goes the same way twice"
    return {after if key == before else key: value for key, value in keys.items()}


def broken(digest: str, way: Literal["up", "down"], keys: dict[str, Any]) -> dict[str, Any]:
    """It must not be run any more, was removed, or fails."""
    raise AgentError("no key that this home trusts has signed it")


def runs(core: Core, equipment: Equipment, permanent: Equipment | None = None) -> str:
    """Joey starts from a release, on probation where another one is permanent; gives what was done."""
    done = migrate(core, "joey", equipment, permanent=(permanent or equipment).digest, run=run)
    return done.what if done is not None else ""


@pytest.fixture
def core() -> Core:
    return a_core()


def a_core() -> Core:
    core = Core()
    core.set("joey", "window", 7, requester="joey@installed")
    core.set("joey", "same", 1, requester="joey@installed")
    core.set("kyle", "window", 9, requester="kyle@installed")
    return core


def keys(core: Core) -> dict[str, Any]:
    return {each.key: each.value for each in core.entries("joey") if each.key != MARK}


def test_a_release_makes_the_keys_its_own_once_and_leaves_those_of_others_alone(core: Core) -> None:
    assert "up to" in runs(core, NEW, INSTALLED)
    assert keys(core) == {"windows": 7, "same": 1}
    revision = core.revision()
    assert runs(core, NEW, INSTALLED) == ""
    assert runs(core, NEW) == ""
    assert core.revision() == revision
    assert core.get("kyle", "window") == 9
    assert release_of_keys(core.get("joey", MARK)) == NEW.digest


def test_who_goes_back_without_an_undo_goes_down_first(core: Core) -> None:
    runs(core, NEW, INSTALLED)
    core.set("joey", "windows", 8, requester="joey@new")
    assert "down from" in runs(core, INSTALLED)
    assert keys(core) == {"window": 8, "same": 1}
    assert core.get("joey", MARK) is None


def test_an_undo_that_comes_after_the_way_down_still_takes_everything_back(core: Core) -> None:
    began = core.revision()
    runs(core, NEW, INSTALLED)
    core.set("joey", "windows", 8, requester=f"joey@{NEW.release}")
    runs(core, INSTALLED)
    undone = core.undo(
        began, of=lambda requester: requester == f"joey@{NEW.release}", by="deployer", reason="rolled back"
    )
    assert not undone.conflicts
    assert keys(core) == {"window": 7, "same": 1}
    assert core.get("joey", MARK) is None


def test_who_was_undone_needs_no_way_down(core: Core) -> None:
    began = core.revision()
    runs(core, NEW, INSTALLED)
    core.undo(began, of=lambda requester: requester == f"joey@{NEW.release}", by="deployer", reason="rolled back")
    assert runs(core, INSTALLED) == ""
    assert keys(core) == {"window": 7, "same": 1}


def test_a_later_release_without_migrations_goes_forwards_and_back_over_the_same_keys(core: Core) -> None:
    runs(core, NEW, INSTALLED)
    for equipment, permanent in ((BUGFIX, NEW), (BUGFIX, BUGFIX), (NEW, NEW)):
        assert runs(core, equipment, permanent) == ""
        assert keys(core) == {"windows": 7, "same": 1}


def test_the_way_back_to_a_release_that_went_up_itself_ends_in_its_own_keys(core: Core) -> None:
    runs(core, NEW, INSTALLED)
    before = core.get("joey", MARK)
    runs(core, NEWEST, NEW)
    assert keys(core) == {"frames": 7, "same": 1}
    assert runs(core, NEW) == f"down from {NEWEST.release}"
    assert keys(core) == {"windows": 7, "same": 1}
    assert core.get("joey", MARK) == before
    assert runs(core, INSTALLED) == f"down from {NEW.release}"
    assert keys(core) == {"window": 7, "same": 1}


def test_the_way_back_to_a_release_without_migrations_leads_to_the_keys_that_it_had(core: Core) -> None:
    for equipment, permanent in ((NEW, INSTALLED), (BUGFIX, NEW), (NEWEST, BUGFIX), (BUGFIX, BUGFIX)):
        runs(core, equipment, permanent)
    assert keys(core) == {"windows": 7, "same": 1}
    assert release_of_keys(core.get("joey", MARK)) == NEW.digest


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12))
def test_whatever_is_rolled_out_and_back_each_release_finds_its_own_keys(moves: list[tuple[int, bool]]) -> None:
    """Rollouts one step forwards at a time, on probation or for good, and back to any release before."""
    line = (INSTALLED, NEW, BUGFIX, NEWEST)
    names = ("window", "windows", "windows", "frames")
    core, permanent = a_core(), 0
    for wish, is_for_good in moves:
        target = min(wish, permanent + 1)
        if target > permanent:
            runs(core, line[target], line[permanent])
            assert keys(core) == {names[target]: 7, "same": 1}
        permanent = target if is_for_good else permanent
        runs(core, line[permanent])
        assert keys(core) == {names[permanent]: 7, "same": 1}


def test_nobody_goes_down_on_probation(core: Core) -> None:
    runs(core, NEW, INSTALLED)
    runs(core, NEWEST, NEW)
    for equipment in (NEW, INSTALLED):
        assert runs(core, equipment, NEWEST) == ""
        assert keys(core) == {"frames": 7, "same": 1}


def test_a_way_down_that_cannot_be_gone_leads_to_the_keys_that_were_there_before(core: Core) -> None:
    runs(core, NEW, INSTALLED)
    core.set("joey", "windows", 8, requester=f"joey@{NEW.release}")
    for way in (broken, lambda digest, way, keys: {**keys, "": 3}):
        revision = core.revision()
        done = migrate(core, "joey", INSTALLED, permanent="", run=way)  # type: ignore[arg-type]
        assert isinstance(done, Migrated)
        assert done.is_lossy
        assert done.what.startswith(f"back to revision 3, before {NEW.release} came, since ")
        assert keys(core) == {"window": 7, "same": 1}
        assert core.get("joey", MARK) is None
        core.undo(revision, of=lambda requester: True, by="ada", reason="once more")
        assert keys(core) == {"windows": 8, "same": 1}


def test_a_way_up_that_fails_writes_nothing(core: Core) -> None:
    revision = core.revision()
    with pytest.raises(AgentError, match="no key"):
        migrate(core, "joey", NEW, permanent="", run=broken)
    assert core.revision() == revision


def test_a_way_up_is_tried_without_a_trace_and_only_by_whoever_would_go_it(core: Core) -> None:
    revision = core.revision()
    rehearse(core, "joey", NEW, run=run)
    with pytest.raises(AgentError, match="no key"):
        rehearse(core, "joey", NEW, run=broken)
    with pytest.raises(StateError, match="key"):
        rehearse(core, "joey", NEW, run=lambda digest, way, keys: {**keys, "": 3})
    for equipment in (INSTALLED, BUGFIX):
        rehearse(core, "joey", equipment, run=broken)
    assert core.revision() == revision

    runs(core, NEW, INSTALLED)
    runs(core, NEWEST, NEW)
    for equipment in (INSTALLED, NEW, NEWEST):
        rehearse(core, "joey", equipment, run=broken)
    assert keys(core) == {"frames": 7, "same": 1}


def test_nobody_without_migrations_writes_anything() -> None:
    core = Core()
    assert runs(core, BUGFIX, INSTALLED) == ""
    assert runs(core, INSTALLED) == ""
    assert core.revision() == 0


def test_a_migration_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "moves.py").write_text(
        "def up(keys):\n    print('a word')\n    return {**keys, 'new': True}\n"
        "def wrong(keys):\n    raise ValueError('no such window')\n"
        "def nothing(keys):\n    return 3\n"
    )
    assert run_apart(str(tmp_path), "moves:up", {"a": 1}, within_s=30.0) == {"a": 1, "new": True}
    with pytest.raises(AgentError, match="no such window"):
        run_apart(str(tmp_path), "moves:wrong", {}, within_s=30.0)
    with pytest.raises(AgentError, match="no map"):
        run_apart(str(tmp_path), "moves:nothing", {}, within_s=30.0)
    assert not list(tmp_path.glob("__pycache__"))
