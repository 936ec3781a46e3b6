"""What the original's tests of its mutable core ask for, and what its code got wrong, asked of this one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import pytest

from ark.errors import StateError
from ark.home import Home
from ark.state import Core, open_core
from ark.state_kinds import Memories, Settings, Truths
from ark.state_schema import VIEWS


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def core(clock: Clock) -> Iterator[Core]:
    one = Core(clock=clock)
    yield one
    assert one.verify() == []
    one.close()


def put(core: Core, value: Any, agent: str = "joey", key: str = "key") -> int:
    return core.set(agent, key, value, requester=f"{agent}@1")


def test_the_six_tables_are_there(core: Core) -> None:
    tables = {name for (name,) in core.connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}

    assert tables - {"sqlite_sequence"} == {
        *("agents_state", "state_history", "memory_index", "system_config", "session_log", "truth_map")
    }
    assert len(VIEWS) == 4


def test_keys_of_agents_are_written_read_and_kept_apart(core: Core) -> None:
    for agent in ("joey", "kenny", "hrm"):
        for key in ("a", "b", "c"):
            put(core, f"{agent} {key}", agent, key)

    assert core.get("joey", "a") == "joey a"
    assert {each.key: each.value for each in core.entries("hrm")} == {"a": "hrm a", "b": "hrm b", "c": "hrm c"}
    assert len(core.entries()) == 9
    assert Core().entries() == []


def test_an_update_keeps_the_last_value_and_all_before_it(core: Core) -> None:
    for value in (1, 2, 3):
        put(core, value)

    assert core.get("joey", "key") == 3
    assert [each.value for each in core.history("joey", "key")] == [3, 2, 1]
    assert [each.version for each in core.history("joey", "key")] == [3, 2, 1]


def test_a_deleted_key_is_gone_and_its_history_is_not(core: Core) -> None:
    put(core, 1)
    core.delete("joey", "key", requester="anna")

    assert core.get("joey", "key") is None
    assert [each.operation for each in core.history("joey", "key")] == ["delete", "create"]
    assert put(core, 2) == 3
    assert core.history("joey", "key")[0].operation == "create"


@pytest.mark.parametrize(("steps", "value"), [(1, 3), (2, 2), (3, 1), (4, None)])
def test_a_rollback_of_some_steps_gives_what_was_there(core: Core, steps: int, value: int | None) -> None:
    for each in (1, 2, 3, 4):
        put(core, each)

    done = core.roll_back("joey", "key", steps=steps, requester="anna")

    assert done is not None
    assert (done.revision, done.version, done.operation) == (5, 5, "rollback")
    assert core.get("joey", "key") == value
    assert [each.value for each in core.history("joey", "key")][1:] == [4, 3, 2, 1], "what was undone is kept"


def test_versions_never_repeat_after_a_rollback(core: Core) -> None:
    put(core, 1)
    put(core, 2)
    core.roll_back("joey", "key", requester="anna")
    put(core, 3)

    assert [each.version for each in core.history("joey", "key")] == [4, 3, 2, 1]


def test_a_rollback_of_an_unknown_key_gives_none_and_writes_nothing(core: Core) -> None:
    assert core.roll_back("joey", "key", requester="anna") is None
    assert core.revision() == 0


def test_threads_and_readers_lose_nothing() -> None:
    with TemporaryDirectory(prefix="ark-") as folder:
        home = Home(Path(folder))
        home.prepare()
        keeper = open_core(home)
        put(keeper, 0, "shared", "always")

        def write(agent: str) -> None:
            core = open_core(home)
            for key in range(10):
                put(core, key, agent, str(key))
                assert core.get("shared", "always") == 0
            core.close()

        with ThreadPoolExecutor(5) as pool:
            list(pool.map(write, [f"agent{each}" for each in range(5)]))

        assert len(keeper.entries()) == 51
        assert keeper.revision() == 51
        assert keeper.verify() == []
        keeper.close()


def test_memories_are_kept_by_sort_with_what_belongs_to_them_until_they_expire(core: Core, clock: Clock) -> None:
    memories = Memories(core, clock)
    memories.add("joey", "pattern", [0.1, 0.2], requester="joey@1", metadata={"symbol": "AAPL"})
    memories.add("joey", "summary", "a calm day", requester="joey@1", ttl_s=1.0)
    memories.add("kenny", "pattern", "other", requester="kenny@1")

    assert [each.content for each in memories.get("joey")] == ["a calm day", [0.1, 0.2]]
    assert [each.metadata for each in memories.get("joey", "pattern")] == [{"symbol": "AAPL"}]
    clock.now += 1.5
    assert [each.memory_type for each in memories.get("joey")] == ["pattern"]
    with pytest.raises(StateError):
        memories.add("joey", "dream", "x", requester="joey@1")  # type: ignore[arg-type]


def test_what_a_release_remembered_is_forgotten_with_it(core: Core, clock: Clock) -> None:
    memories = Memories(core, clock)
    memories.add("joey", "pattern", "old", requester="joey@1")
    memories.add("joey", "pattern", "new", requester="joey@2")

    core.undo(0, of=lambda requester: requester == "joey@2", by="anna", reason="bad")

    assert [each.content for each in memories.get("joey")] == ["old"]


def test_settings_are_written_and_read_and_keep_their_description(core: Core) -> None:
    known = Settings(core)
    known.set("fee", 1, requester="anna", description="basis points")
    known.set("fee", 2, requester="ben")
    known.set("on", False, requester="ben")

    assert (known.get("fee"), known.get("fee", revision=1), known.get("on"), known.get("x", 9)) == (2, 1, False, 9)
    ((description, updater),) = core.connection.execute(
        "SELECT description, updater FROM system_config WHERE key = 'fee'"
    )
    assert (description, updater) == ("basis points", "ben")


def test_the_session_log_grows_and_is_never_a_revision(core: Core) -> None:
    for number in range(10):
        core.log_action("kenny", "order", {"number": number}, result="success", graveyard_approved=True)
    core.log_action("hrm", "judge", {}, result="failure")

    rows = core.connection.execute("SELECT agent, result, graveyard_approved FROM session_log").fetchall()
    assert len(rows) == 11
    assert rows[-1] == ("hrm", "failure", 0)
    assert core.revision() == 0
    with pytest.raises(apsw.ConstraintError):
        core.log_action("hrm", "judge", {}, result="maybe")  # type: ignore[arg-type]


def test_a_truth_has_its_confidence_its_sources_and_who_wrote_it(core: Core) -> None:
    truths = Truths(core)
    truths.set("price:AAPL", 190.0, confidence=0.9, sources=["kyle"], requester="aletheia@1")
    truths.set("price:AAPL", 191.0, confidence=0.8, sources=["kyle", "joey"], requester="aletheia@1")
    truths.set("other", True, confidence=1.0, sources=[], requester="aletheia@1")

    now, before = truths.get("price:AAPL"), truths.get("price:AAPL", revision=1)
    assert now is not None
    assert before is not None
    assert (now.value, now.confidence, now.sources) == (191.0, 0.8, ("kyle", "joey"))
    assert (before.value, now.updated_by) == (190.0, "aletheia@1")
    assert truths.get("nothing") is None


def test_a_confidence_of_five_is_refused(core: Core) -> None:
    with pytest.raises(StateError):
        Truths(core).set("price:AAPL", 1, confidence=5.0, sources=[], requester="anybody")
