"""The Mutable Core: revisions, undoing, reading as of a moment, writers that are killed, damaged files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ark.changes import LARGEST, Change, Group
from ark.errors import JournalError, StateError, StorageError
from ark.home import Home
from ark.revisions import by_release
from ark.state import FILE, Core, open_core, read_core
from tests.node import ROOT, wait_until

AGENTS = st.sampled_from(["joey", "kenny"])
KEYS = st.sampled_from(["a", "b"])
RELEASES = st.sampled_from(["one", "two"])
VALUES = st.integers(0, 9)


class Node(NamedTuple):
    """A write that stands, and what stood before it."""

    value: Any
    release: str
    revision: int
    under: Node | None


class Model(RuleBasedStateMachine):
    """Agents of two releases write, a person takes back; a chain of writes for each key says what must be."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.core = Core(clock=lambda: self.now)
        self.chains: dict[tuple[str, str], Node | None] = {}
        self.states: list[dict[tuple[str, str], Any]] = [{}]
        self.times = [0.0]

    def note(self, agent: str, key: str, revision: int, node: Node | None) -> None:
        assert revision == len(self.states)
        self.chains[agent, key] = node
        state = dict(self.states[-1])
        state.pop((agent, key), None)
        if node is not None and node.value is not None:
            state[agent, key] = node.value
        self.states.append(state)
        self.times.append(self.now)

    @rule(changes=st.lists(st.tuples(AGENTS, KEYS, st.none() | VALUES), min_size=1, max_size=3), release=RELEASES)
    def write(self, changes: list[tuple[str, str, Any]], release: str) -> None:
        group = Group(
            tuple(Change(key, value, agent, gone=value is None) for agent, key, value in changes), f"x@{release}"
        )
        (revisions,) = self.core.write([group])
        for (agent, key, value), revision in zip(changes, revisions, strict=True):
            self.note(agent, key, revision, Node(value, release, revision, self.chains.get((agent, key))))

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(agent=AGENTS, key=KEYS, steps=st.integers(1, 3))
    def roll_back(self, agent: str, key: str, steps: int) -> None:
        node = self.chains.get((agent, key))
        for step in range(steps):
            if node is None:
                assert self.core.roll_back(agent, key, steps=steps, requester="anna") is None, step
                return
            node = node.under
        done = self.core.roll_back(agent, key, steps=steps, requester="anna")
        assert done is not None
        assert (done.operation, done.value) == ("rollback", node.value if node else None)
        self.note(agent, key, done.revision, node)

    @rule(data=st.data(), release=RELEASES)
    def undo(self, data: st.DataObject, release: str) -> None:
        since = data.draw(st.integers(0, len(self.states) - 1))
        targets, conflicts = {}, set()
        for place, node in self.chains.items():
            top = node
            while top and top.release == release and top.revision > since:
                top = top.under
            if top is not node:
                targets[place] = top
            while top and top.revision > since:
                if top.release == release:
                    conflicts.add(top.revision)
                top = top.under

        planned = self.core.undo(since, of=by_release(release), by="anna", reason="bad", dry=True)
        done = self.core.undo(since, of=by_release(release), by="anna", reason="bad")

        assert {each.revision for each in done.conflicts} == conflicts
        assert planned.conflicts == done.conflicts
        assert [(each.key, each.revisions) for each in planned.taken] == [
            (each.key, each.revisions) for each in done.taken
        ]
        assert {(each.agent, each.key) for each in done.taken} == set(targets)
        newest = [max(each.revisions) for each in done.taken]
        assert newest == sorted(newest, reverse=True)
        for each in done.taken:
            self.note(each.agent, each.key, each.revision, targets[each.agent, each.key])
        again = self.core.undo(since, of=by_release(release), by="anna", reason="bad")
        assert not again.taken

    @rule(data=st.data())
    def look_back(self, data: st.DataObject) -> None:
        revision = data.draw(st.integers(0, len(self.states) - 1))
        known = {(each.agent, each.key): each.value for each in self.core.entries(revision=revision)}
        assert known == self.states[revision]
        assert self.core.get("joey", "a", revision=revision) == self.states[revision].get(("joey", "a"))
        at = data.draw(st.floats(0, self.now))
        assert self.core.revision_at(at) == max(n for n, time in enumerate(self.times) if time <= at)

    @invariant()
    def revisions_are_contiguous_and_the_present_is_shown(self) -> None:
        assert self.core.revision() == len(self.states) - 1
        assert {(each.agent, each.key): each.value for each in self.core.entries()} == self.states[-1]
        assert all(self.core.get(*place) == value for place, value in self.states[-1].items())

    def teardown(self) -> None:
        assert self.core.verify() == []
        self.core.close()


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)


@pytest.fixture
def core() -> Iterator[Core]:
    one = Core(clock=lambda: 5.0)
    yield one
    one.close()


@pytest.fixture
def home() -> Iterator[Home]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="ark-") as folder:
        one = Home(Path(folder))
        one.prepare()
        yield one


def test_a_revision_says_who_why_when_and_what_was_there_before(core: Core) -> None:
    core.set("joey", "window", [1], requester="joey@1")
    core.set("joey", "window", [1, 2], requester="anna", reason="too short")

    newest, first = core.history("joey", "window")

    assert (newest.revision, newest.at, newest.requester, newest.reason) == (2, 5.0, "anna", "too short")
    assert (newest.before, newest.value, newest.version, newest.operation) == ([1], [1, 2], 2, "update")
    assert (first.was_gone, first.before, first.operation) == (True, None, "create")


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3)


@given(value=st.recursive(SCALARS, nested, max_leaves=5))
@settings(max_examples=30, deadline=None)
def test_what_is_read_is_what_was_written_type_included(value: Any) -> None:
    core = Core()
    core.set("joey", "key", value, requester="anna")

    assert repr(core.get("joey", "key", "nothing")) == repr(value)


@pytest.mark.parametrize(
    "value", [float("nan"), (1, 2), {1: 2}, b"x", 1 << 64, {"a": [object()]}, "\ud800", "x" * (LARGEST + 1)]
)
def test_what_could_not_be_read_back_is_refused_and_nothing_of_its_group_is_written(core: Core, value: Any) -> None:
    with pytest.raises(StateError):
        core.write([Group((Change("good", 1, "joey"), Change("bad", value, "joey")), "anna")])

    assert core.revision() == 0


@pytest.mark.parametrize("name", ["", " a", "a\n", "x" * 201])
def test_names_that_nobody_could_type_are_refused(core: Core, name: str) -> None:
    with pytest.raises(StateError):
        core.set("joey", name, 1, requester="anna")
    with pytest.raises(StateError):
        core.set("joey", "key", 1, requester=name)


def test_none_and_empty_text_and_absence_are_three_things(core: Core) -> None:
    core.set("joey", "none", None, requester="anna")
    core.set("joey", "empty", "", requester="anna")

    assert core.get("joey", "none", "absent") is None
    assert core.get("joey", "empty", "absent") == ""
    assert core.get("joey", "other", "absent") == "absent"
    found = core.find("joey", "none")
    assert found is not None
    assert not found.gone


def test_history_cannot_be_changed_even_by_hand(core: Core) -> None:
    core.set("joey", "key", 1, requester="anna")

    for statement in (
        "UPDATE state_history SET value = '2'",
        "DELETE FROM state_history",
        "INSERT INTO state_history SELECT 9, kind, agent, 'other', value, value_type, details, timestamp, version,"
        " operation, requester, reason, previous, restores, origin FROM state_history",
    ):
        with pytest.raises(apsw.ConstraintError):
            core.connection.execute(statement)


def test_an_origin_is_written_once(core: Core) -> None:
    group = Group((Change("n", 1, "joey"), Change("m", 1, "joey")), "joey@1", origin="joey/trace/handle")

    assert core.write([group, group]) == [(1, 2), ()]
    assert core.write([group]) == [()]


def test_a_key_that_somebody_else_wrote_later_is_a_conflict_and_stays(core: Core) -> None:
    core.set("joey", "limit", 1, requester="anna")
    core.set("joey", "limit", 2, requester="joey@bad")
    core.set("joey", "other", 2, requester="joey@bad")
    core.set("joey", "limit", 3, requester="anna")

    done = core.undo(1, of=by_release("bad"), by="deployer", reason="rolled back")

    assert [(each.key, each.revisions, each.revision) for each in done.taken] == [("other", (3,), 5)]
    assert [(each.key, each.revision, each.later, each.requester) for each in done.conflicts] == [
        ("limit", 2, 4, "anna")
    ]
    assert core.get("joey", "limit") == 3
    assert core.get("joey", "other") is None


def test_what_a_release_wrote_over_somebody_elses_later_value_gives_that_back(core: Core) -> None:
    for value, requester in ((1, "joey@bad"), (2, "anna"), (3, "joey@bad")):
        core.set("joey", "limit", value, requester=requester)

    done = core.undo(0, of=by_release("bad"), by="deployer", reason="rolled back")

    assert core.get("joey", "limit") == 2
    assert [each.revisions for each in done.taken] == [(3,)]
    assert [each.revision for each in done.conflicts] == [1]


def test_undoing_an_undoing_brings_back_what_it_took(core: Core) -> None:
    core.set("joey", "limit", 1, requester="joey@new")
    core.undo(0, of=by_release("new"), by="anna", reason="looked bad")

    done = core.undo(1, of=lambda requester: requester == "anna", by="ben", reason="was good")

    assert core.get("joey", "limit") == 1
    assert not done.conflicts


def test_an_undoing_since_a_revision_that_is_not_there_is_refused(core: Core) -> None:
    with pytest.raises(StateError, match="no revision 7"):
        core.undo(7, of=by_release("x"), by="anna", reason="")


# Several processes

_WRITER = """
import sys
from pathlib import Path
from ark.changes import Change, Group
from ark.home import Home
from ark.state import open_core
core, name = open_core(Home(Path(sys.argv[1]))), sys.argv[2]
number = 0
while True:
    changes = tuple(Change(f"key{each}", number, name) for each in range(3))
    revisions = core.write([Group(changes, f"{name}@1", origin=f"{name}{number}")])[0]
    print(number, *revisions, flush=True)
    number += 1
"""


def writer(home: Home, name: str, output: Path) -> subprocess.Popen[bytes]:
    with open(output, "wb") as file:
        return subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(home.path), name],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def test_writers_that_are_killed_leave_contiguous_revisions_and_whole_groups(home: Home) -> None:
    outputs = {name: home.path / name for name in ("joey", "kenny")}
    writers = {name: writer(home, name, output) for name, output in outputs.items()}
    try:
        for name, output in outputs.items():
            wait_until(lambda output=output: output.read_bytes().count(b"\n") > 20, f"{name} has written")
            os.kill(writers[name].pid, signal.SIGKILL)
    finally:
        for each in writers.values():
            each.kill()
            each.wait(10)

    core = open_core(home)
    told = [
        [int(word) for word in line.split()]
        for output in outputs.values()
        for line in output.read_text().splitlines()[:-1]
    ]
    written = core.since(0)
    assert core.verify() == []
    assert [each.revision for each in written] == [*range(1, core.revision() + 1)]
    assert core.revision() % 3 == 0
    for first in written[::3]:
        group = written[first.revision - 1 : first.revision + 2]
        assert {(each.origin, each.value) for each in group} == {(first.origin, first.value)}
    for number, *revisions in told:
        assert [written[revision - 1].value for revision in revisions] == [number] * 3
    assert core.set("joey", "after", 1, requester="anna") == len(written) + 1
    core.close()


# Files


def test_nothing_is_read_where_nothing_was_ever_written(home: Home) -> None:
    assert read_core(home) is None


def test_a_reader_sees_what_a_writer_has_just_committed(home: Home) -> None:
    writing = open_core(home)
    reading = read_core(home)
    assert reading is not None

    writing.set("joey", "key", 1, requester="anna")

    assert reading.get("joey", "key") == 1
    with pytest.raises(JournalError):
        reading.set("joey", "key", 2, requester="anna")
    writing.close()
    reading.close()


def test_a_damaged_file_is_named_with_what_to_do(home: Home) -> None:
    open_core(home).close()
    (home.data / FILE).write_bytes(b"no database at all" * 500)

    for opening in (open_core, read_core):
        with pytest.raises(JournalError, match=r"state\.db"):
            opening(home)


def test_a_file_that_has_vanished_is_not_made_anew(home: Home) -> None:
    open_core(home).close()
    (home.data / FILE).unlink()

    with pytest.raises(StorageError, match="vanished"):
        open_core(home)


def test_one_who_waits_for_a_lock_too_long_says_so(home: Home) -> None:
    one, other = open_core(home), open_core(home)
    one.connection.execute("BEGIN IMMEDIATE")
    other.connection.set_busy_timeout(10)

    with pytest.raises(JournalError, match="locked"):
        other.set("joey", "key", 1, requester="anna")

    one.connection.execute("ROLLBACK")
    other.set("joey", "key", 1, requester="anna")
    one.close()
    other.close()
