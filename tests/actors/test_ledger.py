"""The ledger keeps every end once, refuses to be changed, and any change that is made all the same is found."""

import tempfile
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from actors import ledger as module
from actors.ledger import GENESIS, Entry, Ledger, link, verify
from actors.messages import Execution
from ark.errors import JournalError
from ark.journal import open_database, open_for_reading
from tests.actors.cases import decision, trace

COLUMNS = ("seq", "trace_id", "symbol", "status", "at", "body", "prev", "hash")
UNGUARD = "".join(f"DROP TRIGGER ledger_is_{what};" for what in ("never_updated", "never_deleted_from", "a_chain"))


def entry(number: int, **changes: Any) -> Entry:
    facts: dict[str, Any] = {
        "trace_id": trace(number),
        "symbol": "AAPL",
        "status": "executed",
        "decision": decision(),
        "order": {"quantity": "10", "side": "buy"},
        "execution": Execution("filled", order={"quantity": "10", "side": "buy"}),
        "spans": ({"agent": "kyle", "version": "1", "in_ns": 1, "out_ns": 2},),
        "attempts": 1,
        "audit": {"complete": True, "disagreements": []},
        "reason": "",
        "at": 1_700_000_000.25 + number,
    }
    return Entry(**(facts | changes))


def filled(rows: int, connection: apsw.Connection | None = None) -> apsw.Connection:
    connection = connection or apsw.Connection(":memory:")
    ledger = Ledger(connection)
    for number in range(rows):
        ledger.append(entry(number))
    return connection


def test_each_row_carries_the_hash_of_the_row_before() -> None:
    connection = apsw.Connection(":memory:")
    ledger = Ledger(connection)
    first, second = ledger.append(entry(1)), ledger.append(entry(2))
    assert (first[0], first[2]) == (1, GENESIS.hex())
    assert (second[0], second[2]) == (2, first[1])
    body: Any = connection.execute("SELECT body FROM ledger WHERE seq = 2").fetchall()[0][0]
    assert second[1] == link(bytes.fromhex(first[1]), 2, body).hex()
    found = verify(connection)
    assert (found.ok, found.rows, found.head, found.first_bad) == (True, 2, second[1], None)


def test_an_empty_ledger_is_good() -> None:
    assert verify(filled(0)).head == GENESIS.hex()


def test_the_same_outcome_has_the_same_bytes_whatever_the_order_of_its_keys() -> None:
    one, other = apsw.Connection(":memory:"), apsw.Connection(":memory:")
    first = Ledger(one).append(entry(1, order={"a": "1", "b": "2"}))
    second = Ledger(other).append(entry(1, order={"b": "2", "a": "1"}))
    assert first == second


def test_a_row_can_be_found_again_as_it_was_answered() -> None:
    ledger = Ledger(apsw.Connection(":memory:"))
    seq, digest, prev = ledger.append(entry(7))
    found = ledger.find(trace(7))
    assert found is not None
    assert found.ledger == {"seq": seq, "hash": digest, "prev": prev}
    assert found.decision == decision()
    assert found.execution == entry(7).execution
    assert ledger.find(trace(8)) is None


def test_a_second_row_for_a_trace_is_refused_and_the_chain_goes_on() -> None:
    connection = filled(3)
    ledger = Ledger(connection)
    with pytest.raises(JournalError):
        ledger.append(entry(1, status="denied"))
    assert ledger.append(entry(3))[0] == 4
    assert verify(connection).rows == 4


def test_a_rollback_is_noticed_instead_of_breaking_the_chain() -> None:
    connection = filled(2)
    ledger = Ledger(connection)
    connection.execute("BEGIN")
    ledger.append(entry(2))
    connection.execute("ROLLBACK")
    with pytest.raises(JournalError):
        ledger.append(entry(3))
    ledger.append(entry(3))
    assert verify(connection).rows == 3


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET status = 'denied' WHERE seq = 1",
        "DELETE FROM ledger",
        "INSERT INTO ledger VALUES (9, 'x', 'x', 'x', 1.0, x'00', zeroblob(32), zeroblob(32))",
        "INSERT INTO ledger VALUES (3, 'x', 'x', 'x', 1.0, x'00', zeroblob(32), zeroblob(32))",
        "INSERT OR REPLACE INTO ledger SELECT seq, trace_id, 'IBM', status, at, body, prev, hash FROM ledger",
    ],
)
def test_the_database_itself_refuses_to_change_a_row(statement: str) -> None:
    connection = filled(2)
    with pytest.raises(apsw.ConstraintError):
        connection.execute(statement)
    assert verify(connection).rows == 2


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 6), st.sampled_from(COLUMNS[1:]), st.integers(0, 10_000), st.integers(1, 255))
def test_any_flipped_byte_of_any_column_is_found(row: int, column: str, position: int, flip: int) -> None:
    connection = filled(6)
    connection.execute(UNGUARD)
    value: Any = connection.execute(f"SELECT {column} FROM ledger WHERE seq = ?", (row,)).fetchall()[0][0]
    changed: Any
    if isinstance(value, float):
        changed = value + flip / 256
    else:
        raw = bytearray(value.encode() if isinstance(value, str) else value)
        raw[position % len(raw)] ^= flip
        changed = bytes(raw) if isinstance(value, bytes) else raw.decode("latin-1")
    # A trace id that became another row's cannot even be written.
    assume(column != "trace_id" or changed not in {trace(number) for number in range(6)})
    connection.execute(f"UPDATE ledger SET {column} = ? WHERE seq = ?", (changed, row))
    found = verify(connection)
    assert not found.ok
    assert found.first_bad == row
    assert found.rows == row - 1


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("DELETE FROM ledger WHERE seq = 1", 1),
        ("DELETE FROM ledger WHERE seq = 4", 4),
        ("UPDATE ledger SET seq = 99 WHERE seq = 3", 3),
        ("UPDATE ledger SET seq = -3 WHERE seq = 6", 0),
        ("INSERT INTO ledger SELECT 7, 'x', symbol, status, at, body, prev, hash FROM ledger WHERE seq = 6", 7),
    ],
)
def test_a_row_that_is_removed_moved_or_added_is_found(statement: str, first_bad: int) -> None:
    connection = filled(6)
    connection.execute(UNGUARD)
    connection.execute(statement)
    assert verify(connection).first_bad == first_bad


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 255))
def test_a_byte_flipped_in_the_file_itself_within_a_body_is_found(position: int, flip: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        connection = filled(30, open_database(path))
        bodies = [body for (body,) in connection.execute("SELECT body FROM ledger")]
        connection.close()
        content = bytearray(path.read_bytes())
        body = bodies[position % 30]
        found_at = content.find(body)
        while found_at >= 0:  # what a page split left behind is a copy that nobody reads
            content[found_at + position % len(body)] ^= flip
            found_at = content.find(body, found_at + 1)
        path.write_bytes(content)
        found = verify(open_for_reading(path))
        assert found.first_bad == position % 30 + 1


def test_a_walk_reads_in_chunks_and_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 10)
    seen: list[int] = []
    assert verify(filled(25), seen.append).rows == 25
    assert seen == [10, 20, 25]
