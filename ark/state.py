"""The Mutable Core: what may change and be taken back, with every change kept. The ledger is not in here.

One SQLite file, `data/state.db`, in WAL mode, with the six tables of the original. Three of them and the memories
are views of the present; `state_history` is the truth. Each change is a row there with a number of its own, its
revision: 1, 2, 3 and on, over all keys together, without a gap, whoever writes from whatever process. A row says
who asked for the change (an agent as `joey@RELEASE`, a person by his login), why, when, what was there before, and
what is there now. Rows are never changed and never deleted; the tables themselves refuse it.

Taking something back is a change like any other: a new revision that restores what an earlier one had written.
`Core.undo` does that for everything that a requester wrote since a revision. A key that somebody else has written
since is not touched: that is a conflict, and is reported.

All changes of one call are one transaction, and have contiguous revisions. Writers of several processes wait for
each other (`BEGIN IMMEDIATE`), so a revision is given once, and what a killed process had not committed never was.

Wall clocks go back now and then: revisions are in order, times are what the writer's clock said.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import apsw
import msgspec

from ark.agent import Durability
from ark.changes import Change, Group, Kind, Row, as_json, check_name, prepare
from ark.errors import JournalError, StateError
from ark.home import Home
from ark.journal import open_database, open_for_reading
from ark.revisions import Conflict, Revision, Taken, Undoing, plan, stands_for
from ark.state_schema import SCHEMA, VIEWS
from ark.storage import naming, open_journal

__all__ = ["FILE", "Core", "open_core", "read_core"]

FILE = "state.db"
"""Its name in the home's data folder."""
_COLUMNS = (
    "h.revision, h.timestamp, h.kind, h.agent, h.key, h.version, h.operation, h.value, p.value, h.details,"
    " h.requester, h.reason, h.previous, h.restores, h.origin"
)
_ROWS = f"SELECT {_COLUMNS} FROM state_history h LEFT JOIN state_history p ON p.revision = h.previous"
_NEWEST = f"{_ROWS} WHERE h.kind = ? AND h.agent = ? AND h.key = ? ORDER BY h.revision DESC LIMIT ?"
_INSERT = f"INSERT INTO state_history VALUES ({', '.join('?' * 15)})"


def open_core(
    home: Home,
    *,
    clock: Callable[[], float] = time.time,
    check_s: float = 0.0,
    thorough: bool = False,
    beat: Callable[[], None] = lambda: None,
) -> Core:
    """The Mutable Core of a home, for reading and writing; made where there was none.

    Args:
        home: Whose.
        clock: Gives seconds since the epoch.
        check_s, thorough, beat: As in `ark.storage.open_journal`.

    Raises:
        StorageError: It is damaged, has vanished, or cannot be written.
    """
    connection = open_journal(home.data / FILE, Durability.POWER, check_s=check_s, thorough=thorough, beat=beat)
    try:
        return Core(connection, clock=clock)
    except BaseException:
        connection.close()
        raise


def read_core(home: Home) -> Core | None:
    """The same for reading alone; None where nothing was ever written.

    Raises:
        JournalError: It is damaged, or cannot be read.
    """
    path = home.data / FILE
    if not path.exists() or not path.stat().st_size:
        return None
    with naming(lambda: (FILE,)):
        connection = open_for_reading(path)
        core = Core(connection, prepared=True)
        known = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'state_history'").fetchone()
    if known is None:  # made a moment ago, and still without its tables
        core.close()
        return None
    return core


class Core:
    """Reads and writes the Mutable Core through one connection.

    Args:
        connection: The database, opened by `open_core`; one in memory for tests and the simulator.
        clock: Gives seconds since the epoch.
        prepared: Whether its tables are there, which a reader cannot make.
    """

    def __init__(
        self,
        connection: apsw.Connection | None = None,
        *,
        clock: Callable[[], float] = time.time,
        prepared: bool = False,
    ) -> None:
        self.connection = connection or open_database(":memory:")
        self._clock = clock
        if not prepared:
            with naming(lambda: (FILE,)), self._transaction():
                self.connection.execute(SCHEMA)

    def close(self) -> None:
        """Let the file go."""
        self.connection.close()

    # Reading

    def revision(self) -> int:
        """The newest revision; 0 before the first."""
        return self._number("SELECT max(revision) FROM state_history")

    def revision_at(self, at: float) -> int:
        """The newest revision that was written at a time or before it, seconds since the epoch; 0 for none."""
        return self._number("SELECT max(revision) FROM state_history WHERE timestamp <= ?", at)

    def find(self, agent: str, key: str, *, kind: Kind = "state", revision: int | None = None) -> Revision | None:
        """The revision by which a key has its value; None where it has none.

        Args:
            agent, key, kind: Which key.
            revision: As of that revision; now where absent.
        """
        known = self._rows(
            f"{_ROWS} WHERE h.kind = ? AND h.agent = ? AND h.key = ? AND h.revision <= ?"
            " ORDER BY h.revision DESC LIMIT 1",
            (kind, agent, key, _up_to(revision)),
        )
        return known[0] if known and not known[0].gone else None

    def get(self, agent: str, key: str, default: Any = None, *, revision: int | None = None) -> Any:
        """The value of an agent's key; see `find`."""
        if revision is None:
            with naming(lambda: (FILE,)):
                row = self.connection.execute(
                    "SELECT value FROM agents_state WHERE agent = ? AND key = ?", (agent, key)
                ).fetchone()
            return default if row is None else msgspec.json.decode(row[0])
        found = self.find(agent, key, revision=revision)
        return default if found is None else found.value

    def entries(
        self, agent: str | None = None, *, kind: Kind | None = "state", revision: int | None = None
    ) -> list[Revision]:
        """What there is, each as the revision by which it is so, by kind, agent and key.

        Args:
            agent: Of that agent alone.
            kind: Of that kind alone; None for all.
            revision: As of that revision; now where absent.
        """
        return self._rows(
            f"{_ROWS} WHERE h.revision IN (SELECT max(revision) FROM state_history WHERE revision <= ?1"
            " AND (?2 IS NULL OR kind = ?2) AND (?3 IS NULL OR agent = ?3) GROUP BY kind, agent, key)"
            " AND h.value IS NOT NULL ORDER BY h.kind, h.agent, h.key",
            (_up_to(revision), kind, agent),
        )

    def history(self, agent: str, key: str, *, kind: Kind = "state", limit: int = 1 << 31) -> list[Revision]:
        """The revisions of a key, newest first."""
        return self._rows(_NEWEST, (kind, agent, key, limit))

    def since(self, revision: int, *, limit: int = 1 << 31) -> list[Revision]:
        """What came after a revision, oldest first."""
        return self._rows(f"{_ROWS} WHERE h.revision > ? ORDER BY h.revision LIMIT ?", (revision, limit))

    def has(self, origin: str) -> bool:
        """Whether a group of that origin is written."""
        with naming(lambda: (FILE,)):
            return self._has(origin)

    def verify(self) -> list[str]:
        """What is not as it must be, in words: gaps, broken chains, and views that differ from the history."""
        with naming(lambda: (FILE,)):
            return list(self._verify())

    # Writing

    def write(self, groups: Sequence[Group]) -> list[tuple[int, ...]]:
        """Make changes, all in one transaction.

        Returns:
            The revisions of each group; none for one whose origin is known already.

        Raises:
            StateError: A value or a name cannot be kept; nothing is written then.
            JournalError: It cannot be written.
        """
        prepared = [(group, [prepare(change) for change in group.changes]) for group in groups]
        for group in groups:
            check_name("requester", group.requester)
        with naming(lambda: (FILE,)), self._transaction():
            at = self._clock()
            return [
                ()
                if group.origin and self._has(group.origin)
                else tuple(self._insert(row, at, group.requester, group.reason, group.origin) for row in rows)
                for group, rows in prepared
            ]

    def set(self, agent: str, key: str, value: Any, *, requester: str, reason: str = "") -> int:
        """Give an agent's key a value; gives the revision."""
        return self._one(Change(key, value, agent), requester, reason)

    def delete(self, agent: str, key: str, *, requester: str, reason: str = "", kind: Kind = "state") -> int:
        """Delete a key; gives the revision. Also for one that is not there: that it was asked for is kept."""
        return self._one(Change(key, agent=agent, kind=kind, gone=True), requester, reason)

    def roll_back(
        self, agent: str, key: str, *, requester: str, reason: str = "", steps: int = 1, kind: Kind = "state"
    ) -> Revision | None:
        """Take a key back by some changes, as a new revision.

        What was taken back before does not count again: twice one step is the same as two.

        Returns:
            The new revision; None where the key does not have so many changes. Nothing is written then.
        """
        if steps < 1:
            raise StateError("a rollback takes at least one step", field="steps")
        check_name("requester", requester)
        with naming(lambda: (FILE,)), self._transaction():
            rows = self._history_of((kind, agent, key))
            place = max(rows, default=0)
            for _ in range(steps):
                place = stands_for(rows, place)
                if not place:
                    return None
                place = rows[place].previous
            place = stands_for(rows, place)
            number = self._restore((kind, agent, key), rows.get(place), self._clock(), requester, reason)
            return self._rows(f"{_ROWS} WHERE h.revision = ?", (number,))[0]

    def undo(
        self,
        since: int,
        *,
        of: Callable[[str], bool],
        by: str,
        reason: str,
        dry: bool = False,
    ) -> Undoing:
        """Take back what somebody wrote after a revision, newest first, each key by one new revision.

        A change that somebody else's change of the same key has followed is a conflict and left as it is. What was
        taken back already is neither: to undo twice does nothing the second time.

        Args:
            since: The revision at which it began; that one itself stays.
            of: Whether a requester is the one whose changes are to go; see `by_release`.
            by, reason: Who asks for it, and why.
            dry: Whether only to say what would be done.

        Raises:
            StateError: There is no such revision yet, or nobody asks for it.
            JournalError: It cannot be read or written. Nothing is undone then.
        """
        check_name("requester", by)
        with naming(lambda: (FILE,)), self._transaction(writes=not dry):
            newest = self.revision()
            if not 0 <= since <= newest:
                raise StateError(f"there is no revision {since}", hint=f"the newest one is {newest}", field="since")
            places = {each.place: None for each in reversed(self.since(since)) if of(each.requester)}
            taken: list[Taken] = []
            conflicts: list[Conflict] = []
            at = self._clock()
            for place in places:
                rows = self._history_of(place)
                undone, target, left = plan(rows, since, of)
                conflicts.extend(left)
                if undone:
                    to = rows.get(target)
                    number = 0 if dry else self._restore(place, to, at, by, reason)
                    value = to.value if to else None
                    taken.append(Taken(*place, tuple(undone), target, number, value))
            conflicts.sort(key=lambda each: -each.revision)
            result = Undoing(tuple(taken), tuple(conflicts))
            if not dry and (taken or conflicts):
                told = {"since": since, "reason": reason, "taken": len(taken), "conflicts": len(conflicts)}
                self._log(by, "undo", told, "partial" if conflicts else "success")
            return result

    def log_action(
        self,
        agent: str,
        action_type: str,
        data: Any,
        *,
        result: Literal["success", "failure", "partial"] = "success",
        graveyard_approved: bool = False,
    ) -> None:
        """Add a line to the session log, which only ever grows and is no part of the revisions."""
        check_name("agent", agent)
        with naming(lambda: (FILE,)), self._transaction():
            self._log(agent, action_type, data, result, graveyard_approved)

    # Inside a transaction

    def _log(self, agent: str, action_type: str, data: Any, result: str, approved: bool = False) -> None:
        self.connection.execute(
            "INSERT INTO session_log (agent, action_type, action_data, result, graveyard_approved, timestamp)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (agent, action_type, as_json(data)[0], result, int(approved), self._clock()),
        )

    def _one(self, change: Change, requester: str, reason: str) -> int:
        return self.write([Group((change,), requester, reason)])[0][0]

    def _has(self, origin: str) -> bool:
        found = self.connection.execute(
            "SELECT 1 FROM state_history WHERE origin = ? AND origin != '' LIMIT 1", (origin,)
        ).fetchone()
        return found is not None

    def _insert(self, row: Row, at: float, requester: str, reason: str, origin: str = "") -> int:
        place = (row.kind, row.agent, row.key)
        before = self.connection.execute(
            "SELECT revision, version, value IS NULL FROM state_history"
            " WHERE kind = ? AND agent = ? AND key = ? ORDER BY revision DESC LIMIT 1",
            place,
        ).fetchone()
        previous, version, was_gone = before or (0, 0, 1)
        operation = "create" if row.operation == "update" and was_gone else row.operation
        revision = self.revision() + 1
        self.connection.execute(
            _INSERT,
            (
                *(revision, *place, row.value, row.value_type, row.details, at, version + 1),
                *(operation, requester, reason, previous, row.restores, origin),
            ),
        )
        self._show(row, at, version + 1, revision, requester)
        return revision

    def _restore(
        self, place: tuple[Kind, str, str], to: Revision | None, at: float, requester: str, reason: str
    ) -> int:
        if to is None or to.gone:
            value, value_type, details = None, "", "{}"
        else:
            (value, value_type), (details, _) = as_json(to.value), as_json(to.details)
        row = Row(*place, value, value_type, details, "rollback", to.revision if to else 0)
        return self._insert(row, at, requester, reason)

    def _show(self, row: Row, at: float, version: int, revision: int, requester: str) -> None:
        """Bring the table that shows the present up to date."""
        execute = self.connection.execute
        details = msgspec.json.decode(row.details)
        match row.kind, row.value:
            case "state", None:
                execute("DELETE FROM agents_state WHERE agent = ? AND key = ?", (row.agent, row.key))
            case "state", value:
                execute(
                    "INSERT OR REPLACE INTO agents_state VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (row.agent, row.key, value, row.value_type, at, version, revision, requester),
                )
            case "config", None:
                execute("DELETE FROM system_config WHERE key = ?", (row.key,))
            case "config", value:
                execute(
                    "INSERT OR REPLACE INTO system_config VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (row.key, value, row.value_type, details.get("description", ""), requester, at, revision),
                )
            case "truth", None:
                execute("DELETE FROM truth_map WHERE key = ?", (row.key,))
            case "truth", value:
                execute(
                    "INSERT INTO truth_map (key, truth_value, confidence, sources, timestamp, updated_by, revision)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
                    " truth_value = excluded.truth_value, confidence = excluded.confidence,"
                    " sources = excluded.sources, timestamp = excluded.timestamp,"
                    " updated_by = excluded.updated_by, revision = excluded.revision",
                    (
                        *(row.key, value, details["confidence"], as_json(details["sources"])[0]),
                        *(at, requester, revision),
                    ),
                )
            case "memory", None:
                execute("DELETE FROM memory_index WHERE id = ?", (row.key,))
            case "memory", value:
                execute(
                    "INSERT OR REPLACE INTO memory_index VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        *(row.key, row.agent, details["memory_type"], value, as_json(details["metadata"])[0]),
                        *(at, details["expires_at"], revision),
                    ),
                )

    def _history_of(self, place: tuple[Kind, str, str]) -> dict[int, Revision]:
        """The revisions of a key by number, newest first."""
        return {each.revision: each for each in self._rows(_NEWEST, (*place, -1))}

    def _rows(self, query: str, arguments: Sequence[Any]) -> list[Revision]:
        with naming(lambda: (FILE,)):
            return [_revision(row) for row in self.connection.execute(query, arguments)]

    def _number(self, query: str, *arguments: Any) -> int:
        with naming(lambda: (FILE,)):
            ((number,),) = self.connection.execute(query, arguments).fetchall()
        return int(number or 0)

    @contextmanager
    def _transaction(self, *, writes: bool = True) -> Iterator[None]:
        try:
            self.connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            yield
            self.connection.execute("COMMIT")
        except BaseException as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            if isinstance(error, apsw.BusyError):
                raise JournalError(
                    f"cannot write {FILE}: somebody else has locked it", hint="end the program that has it open"
                ) from error
            raise

    def _verify(self) -> Iterator[str]:
        count = self._number("SELECT count(*) FROM state_history")
        if count != self.revision():
            yield f"{count} revisions, and the newest is {self.revision()}"
        newest: dict[tuple[str, str, str], tuple[int, int]] = {}
        for revision, kind, agent, key, version, previous in self.connection.execute(
            "SELECT revision, kind, agent, key, version, previous FROM state_history ORDER BY revision"
        ):
            if (previous, version - 1) != newest.get((kind, agent, key), (0, 0)):
                yield f"revision {revision} does not follow the one before it of {agent} {key}"
            newest[kind, agent, key] = (revision, version)
        for kind, view in VIEWS.items():
            shown = {tuple(row) for row in self.connection.execute(view)}
            kept = {
                (each.agent, each.key, as_json(each.value)[0], each.revision)
                for each in self.entries(kind=kind)  # type: ignore[arg-type]
            }
            for agent, key, _, revision in sorted(shown ^ kept):
                yield f"{kind} {agent} {key} is not as revision {revision} has it"


def _revision(row: Sequence[Any]) -> Revision:
    revision, at, kind, agent, key, version, operation, value, before, details, *rest = row
    return Revision(
        revision,
        at,
        kind,
        agent,
        key,
        version,
        operation,
        None if value is None else msgspec.json.decode(value),
        None if before is None else msgspec.json.decode(before),
        value is None,
        before is None,
        msgspec.json.decode(details),
        *rest,
    )


def _up_to(revision: int | None) -> int:
    return (1 << 62) if revision is None else revision
