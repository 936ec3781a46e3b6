"""Dead letters in the gateway's journal: who may retry what, once, and durably or not at all."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark import interventions, protocol
from ark.delivery import STRIKES
from ark.door import Door
from ark.errors import RequestError
from ark.home import Home
from ark.intake import Intake
from ark.journal import open_database, open_for_reading
from ark.letter_desk import LetterDesk
from ark.letters import SCHEMA, DeadLetter, Letters, anew, can_read, in_short, obstacle, order_of, retry_id
from ark.message import OUTCOME, Envelope, encode
from ark.protocol import Code, Request
from ark.signal import Signal

NOW = 1_700_000_000.0
TRACEBACK = (
    'Traceback (most recent call last):\n  File "beta.py", line 3, in handle\n    1 / 0\nZeroDivisionError: zero'
)
SIGNAL = Signal("AAPL", "long", 100.0, ts=NOW - 60, metadata={"desk": "one"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


def door(path: Path) -> Door:
    return Door(Intake(open_database(path), NOW), epoch=1)


def died(one: Door, *, symbol: str = "AAPL", order: Any = None, times: int = STRIKES, **outcome: Any) -> str:
    """A signal that became a dead letter; gives its trace id."""
    trace_id, _ = one.take_in(msgspec.structs.replace(SIGNAL, symbol=symbol), NOW)
    one.settle()
    reason = f"exit code 70 in handle of {trace_id}: {TRACEBACK}"
    for number in range(times):
        one.strike([{"agent": "beta", "trace_id": trace_id, "reason": reason}], NOW + number)
    told = {"trace_id": trace_id, "status": "failed", "order": order, **outcome}
    one.finish(Envelope(OUTCOME, trace_id, symbol, 1, 1, 1, encode(told)), NOW)
    one.settle()
    return trace_id


def found(one: Door, trace_id: str) -> DeadLetter:
    letter = one.intake.letters.find(trace_id)
    assert letter is not None
    return letter


def listed(letters: Letters, *, everything: bool = False, limit: int = 1000) -> list[str]:
    return [each.trace_id for each in letters.list(limit=limit, everything=everything)]


# What the journal knows


def test_a_letter_has_all_that_is_known_of_it(path: Path) -> None:
    one = door(path)
    trace_id = died(one)
    whole = found(door(path), trace_id).whole()
    assert whole["signal"]["metadata"] == {"desk": "one"}
    assert (whole["accepted_at"], whole["died_at"]) == (NOW, NOW + STRIKES - 1)
    assert (whole["agent"], whole["strikes"], whole["order"], whole["obstacle"]) == ("beta", STRIKES, "none", "")
    assert whole["reason"].endswith(TRACEBACK)
    assert whole["outcome"]["status"] == "failed"
    assert whole["act"] is None


def test_letters_are_listed_newest_first_and_only_those_that_nobody_dealt_with(path: Path) -> None:
    one = door(path)
    assert listed(one.intake.letters) == []
    first, second, third = (died(one) for _ in range(3))
    one.drop(found(one, second), by="ada", reason="a test", now=NOW)
    one.settle()
    letters = Letters(can_read(open_for_reading(path)))
    assert listed(letters) == [third, first]
    assert listed(letters, limit=1) == [third]
    assert listed(letters, everything=True) == [third, second, first]
    for known in (letters, door(path).intake.letters, one.intake.letters):
        assert (known.open, known.ever) == (2, 3)


def test_a_signal_that_ended_well_is_no_letter(path: Path) -> None:
    one = door(path)
    trace_id, _ = one.take_in(SIGNAL, NOW)
    one.settle()
    assert one.intake.letters.find(trace_id) is None
    one.finish(
        Envelope(OUTCOME, trace_id, "AAPL", 1, 1, 1, encode({"trace_id": trace_id, "status": "executed"})), NOW
    )
    one.settle()
    assert one.intake.letters.find(trace_id) is None


def test_a_journal_of_an_older_version_is_read_and_then_opened(path: Path) -> None:
    one = door(path)
    trace_id = died(one)
    one.intake.connection.execute("DROP TABLE letters")
    before = list(one.intake.connection.execute("SELECT name FROM sqlite_schema ORDER BY name"))
    one.intake.connection.close()

    reading = can_read(open_for_reading(path))
    (letter,) = Letters(reading).list(limit=10)
    assert (letter.trace_id, letter.died_at, letter.act) == (trace_id, None, None)
    assert list(reading.execute("SELECT name FROM main.sqlite_schema ORDER BY name")) == before
    reading.close()

    again = door(path)
    assert again.intake.letters.open == 1
    again.drop(found(again, trace_id), by="ada", reason="old", now=NOW)
    again.settle()
    assert door(path).intake.letters.open == 0


# Retry and drop


def test_a_retry_is_a_signal_of_its_own_and_as_old_as_it_was(path: Path) -> None:
    one = door(path)
    trace_id = died(one)
    act = one.retry(found(one, trace_id), by="ada", reason="mended", fresh=False, now=NOW + 100)
    assert act is not None
    assert one.dispatcher.due(0.0) == []
    one.settle()
    (envelope,) = one.dispatcher.due(0.0)
    signal = msgspec.msgpack.decode(envelope.payload, type=Signal)
    assert envelope.trace_id == signal.trace_id == act.retry == retry_id(trace_id) != trace_id
    assert signal == msgspec.structs.replace(
        SIGNAL, trace_id=act.retry, metadata={"desk": "one", "retry_of": trace_id}
    )
    assert found(door(path), trace_id).act == act
    assert one.intake.outcome(trace_id) is not None, "the old outcome stands"


def test_a_fresh_retry_has_the_present_time(path: Path) -> None:
    one = door(path)
    assert anew(found(one, died(one)), now=NOW + 100).ts == NOW + 100


def test_a_retry_whose_signal_was_accepted_before_is_none(path: Path) -> None:
    one = door(path)
    trace_id = died(one)
    one.take_in(msgspec.structs.replace(SIGNAL, trace_id=retry_id(trace_id)), NOW)
    one.settle()
    assert one.retry(found(one, trace_id), by="ada", reason="x", fresh=False, now=NOW) is None
    one.settle()
    assert found(one, trace_id).act is None


@pytest.mark.parametrize("act", ["retry", "drop"])
@pytest.mark.parametrize("settled", [True, False])
def test_what_is_done_is_done_whole_or_not_at_all_whenever_the_process_dies(
    path: Path, act: str, settled: bool
) -> None:
    one = door(path)
    trace_id = died(one)
    accepted = one.intake.accepted
    letter = found(one, trace_id)
    if act == "retry":
        one.retry(letter, by="ada", reason="x", fresh=False, now=NOW)
    else:
        one.drop(letter, by="ada", reason="x", now=NOW)
    if settled:
        one.settle()
    one.intake.connection.close()
    again = door(path)
    assert (found(again, trace_id).act is not None) == settled
    assert again.intake.accepted - accepted == (settled and act == "retry")
    assert again.unfinished == (settled and act == "retry")


@given(st.uuids())
def test_the_id_of_a_retry_is_its_own_and_always_the_same(trace_id: uuid.UUID) -> None:
    first = retry_id(str(trace_id))
    assert first == retry_id(str(trace_id), 1) == str(uuid.UUID(first))
    assert len({str(trace_id), first, retry_id(str(trace_id), 2), retry_id(first)}) == 4


# Whether an order may exist


@pytest.mark.parametrize(
    ("outcome", "order"),
    [
        ({"status": "failed"}, "none"),
        ({"status": "failed", "order": None, "ledger": {"seq": 1}}, "none"),
        ({"status": "failed", "order": {"status": "filled"}, "ledger": {"seq": 1}}, "sent"),
        ({"status": "executed", "order": {"status": "cancelled"}}, "sent"),
        ({"status": "failed", "order": "of an agent of somebody's own"}, "sent"),
        ({"status": "failed", "order": {"status": "unknown"}, "ledger": {"seq": 1}}, "unknown"),
        ({"status": "failed", "order": None, "ledger": None}, "unknown"),
        ({"status": "failed", "order": {"status": "filled"}, "ledger": None}, "unknown"),
    ],
)
def test_only_an_outcome_from_the_ledger_proves_that_there_is_no_order(outcome: dict[str, Any], order: str) -> None:
    assert order_of(encode(outcome)) == order


def test_where_an_order_may_exist_the_obstacle_says_what_to_look_at(path: Path) -> None:
    one = door(path)
    assert obstacle(found(one, died(one))) == ""
    sent = found(one, died(one, order={"status": "filled", "client_order_id": "ark-1"}))
    assert "filled, client order id ark-1" in obstacle(sent)
    assert "look at the broker" in obstacle(sent)
    unknown = obstacle(found(one, died(one, symbol="ACME", ledger=None)))
    assert "not known" in unknown
    assert "ACME" in unknown


def test_a_letter_that_the_gateway_gave_up_alone_may_have_an_order(path: Path) -> None:
    one = door(path)
    trace_id = died(one, times=2 * STRIKES)
    assert found(one, trace_id).whole()["order"] == "unknown"


# In one line


def test_a_reason_in_short_says_how_it_ended_and_the_last_of_the_last_words() -> None:
    assert in_short(f"exit code 70 in handle of t-1: {TRACEBACK}", "t-1") == (
        "exit code 70 in handle: ZeroDivisionError: zero"
    )
    assert in_short("killed by SIGKILL in handle of t-1", "t-1") == "killed by SIGKILL in handle"
    assert in_short("") == ""


@given(st.text(), st.text())
def test_a_reason_in_short_is_one_line_that_is_not_long(reason: str, trace_id: str) -> None:
    short = in_short(reason, trace_id)
    assert len(short.splitlines()) <= 1
    assert len(short) <= 200


# The desk at the front door


class Desk:
    """A desk over a home, and what it told."""

    def __init__(self, home: Home, *, symbols: tuple[str, ...] = ()) -> None:
        self.home = home
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.door = door(home.data / "gateway.db")
        self.desk = LetterDesk(
            self.door,
            home,
            symbols=symbols,
            tell=lambda kind, **words: self.told.append((kind, words)),
            clock=lambda: NOW + 10,
        )

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        answer = self.desk.answer(Request(op, **fields), "ada")
        self.settle()
        return answer

    def settle(self) -> None:
        self.door.settle()
        self.desk.settled()

    def refused(self, op: str, **fields: Any) -> RequestError:
        with pytest.raises(RequestError) as caught:
            self.ask(op, **fields)
        return caught.value

    def recorded(self) -> list[tuple[str, str, str, str]]:
        return [(each.act, each.subject, each.by, each.reason) for each in interventions.read(self.home)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.prepare()
    return made


def test_what_was_done_is_recorded_and_told_once_it_is_committed(home: Home) -> None:
    one = Desk(home)
    first, second = died(one.door), died(one.door)
    answer = one.desk.answer(Request("retry", trace_id=first, reason="mended"), "ada")
    assert answer == {"trace_id": first, "act": "retried", "retry": retry_id(first)}
    assert (one.told, one.recorded()) == ([], [])
    one.settle()
    assert one.ask("drop", trace_id=second, reason="a test") == {"trace_id": second, "act": "dropped"}
    one.settle()
    assert one.recorded() == [("retry", first, "ada", "mended"), ("drop", second, "ada", "a test")]
    assert [kind for kind, _ in one.told] == ["retried", "dropped"]
    assert one.told[0][1]["retry"] == retry_id(first)
    assert Desk(home).desk.settled() is None
    assert len(one.recorded()) == 2, "it is told once"


def test_what_was_committed_before_a_death_is_recorded_at_the_next_start(home: Home) -> None:
    one = Desk(home)
    trace_id = died(one.door)
    one.desk.answer(Request("retry", trace_id=trace_id, reason="mended"), "ada")
    one.door.settle()
    one.door.intake.connection.close()
    again = Desk(home)
    again.settle()
    assert again.recorded() == [("retry", trace_id, "ada", "mended")]
    assert again.told[0][0] == "retried"


def test_what_was_recorded_before_a_death_is_not_recorded_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Desk(home)
    trace_id = died(one.door)
    one.desk.answer(Request("retry", trace_id=trace_id, reason="mended"), "ada")
    one.door.settle()
    with monkeypatch.context() as patched:
        patched.setattr(Letters, "tell", _die)
        with pytest.raises(InterruptedError):
            one.desk.settled()
    one.door.intake.connection.close()
    again = Desk(home)
    again.settle()
    assert again.recorded() == [("retry", trace_id, "ada", "mended")]


def test_what_could_not_be_recorded_is_recorded_at_the_next_start(home: Home) -> None:
    one = Desk(home)
    trace_id = died(one.door)
    file = home.data / interventions.FILE
    file.mkdir()
    one.ask("drop", trace_id=trace_id, reason="a test")
    one.door.intake.connection.close()
    file.rmdir()
    again = Desk(home)
    again.settle()
    assert again.recorded() == [("drop", trace_id, "ada", "a test")]
    again.door.intake.connection.close()
    Desk(home).settle()
    assert len(again.recorded()) == 1


def _die(*_: Any) -> None:
    raise InterruptedError


@pytest.mark.parametrize("first", ["retry", "drop"])
@pytest.mark.parametrize("second", ["retry", "drop"])
def test_a_letter_is_dealt_with_once_and_the_error_says_who_did_it(home: Home, first: str, second: str) -> None:
    one = Desk(home)
    trace_id = died(one.door)
    one.ask(first, trace_id=trace_id, reason="the first reason")
    error = one.refused(second, trace_id=trace_id, reason="again")
    assert (error.code, error.field) == (Code.REFUSED, "trace_id")
    assert "by ada: the first reason" in str(error)
    assert one.ask("dead_letters") == {"dead_letters": [], "count": 0}
    (letter,) = one.ask("dead_letters", all=True)["dead_letters"]
    assert letter["act"]["by"] == "ada"
    assert len(one.recorded()) == 1


def test_two_retries_in_one_round_are_one(home: Home) -> None:
    one = Desk(home)
    trace_id = died(one.door)
    request = Request("retry", trace_id=trace_id, reason="mended")
    one.desk.answer(request, "ada")
    with pytest.raises(RequestError):
        one.desk.answer(request, "bob")
    one.settle()
    assert len(one.door.dispatcher.due(0.0)) == 1


def test_a_retry_is_refused_where_an_order_may_exist_and_a_drop_is_not(home: Home) -> None:
    one = Desk(home)
    for trace_id in (died(one.door, order={"status": "filled"}), died(one.door, times=2 * STRIKES)):
        error = one.refused("retry", trace_id=trace_id, reason="mended")
        assert (error.code, error.field) == (Code.REFUSED, "trace_id")
        assert "broker" in str(error)
        one.ask("drop", trace_id=trace_id, reason="looked at it")
    assert one.door.dispatcher.due(0.0) == []


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"trace_id": None, "reason": "x"}, Code.INVALID, "trace_id"),
        ({"trace_id": "dead", "reason": " "}, Code.INVALID, "reason"),
        ({"trace_id": str(uuid.UUID(int=1)), "reason": "x"}, Code.UNKNOWN_TRACE, "trace_id"),
        ({"trace_id": "well", "reason": "x"}, Code.REFUSED, "trace_id"),
        ({"trace_id": "open", "reason": "x"}, Code.REFUSED, "trace_id"),
    ],
)
@pytest.mark.parametrize("op", ["retry", "drop"])
def test_what_cannot_be_dealt_with_is_refused_with_code_and_field(
    home: Home, op: str, fields: dict[str, Any], code: str, field: str
) -> None:
    one = Desk(home)
    known = {
        "dead": died(one.door),
        "well": one.door.take_in(SIGNAL, NOW)[0],
        "open": one.door.take_in(SIGNAL, NOW)[0],
    }
    one.settle()
    told = {"trace_id": known["well"], "status": "executed"}
    one.door.finish(Envelope(OUTCOME, known["well"], "AAPL", 1, 1, 1, encode(told)), NOW)
    one.settle()
    trace_id = fields["trace_id"]
    error = one.refused(op, trace_id=known.get(trace_id, trace_id), reason=fields["reason"])
    assert (error.code, error.field) == (code, field)


def test_a_symbol_that_is_not_taken_any_more_is_not_retried(home: Home) -> None:
    one = Desk(home, symbols=("MSFT",))
    assert "AAPL" in str(one.refused("retry", trace_id=died(one.door), reason="mended"))


def test_a_list_that_would_be_too_large_is_cut_and_tells_how_many_there_are(home: Home) -> None:
    one = Desk(home)
    count, reason = 700, "€" * 500
    for number in range(count):
        letter = found(one.door, died(one.door, symbol=f"S{number}"))
        one.door.drop(letter, by="ä" * 64, reason=reason, now=NOW)
    one.settle()
    answer = one.ask("dead_letters", all=True)
    reply = protocol.reply(msgspec.Raw(b"\xc0"), **answer)
    assert len(reply) <= protocol.LARGEST_MESSAGE
    assert 100 < len(answer["dead_letters"]) < count == answer["count"]


def test_one_letter_fits_a_reply_however_large_its_outcome_is(home: Home) -> None:
    one = Desk(home)
    trace_id = died(one.door, more="x" * protocol.LARGEST_MESSAGE)
    answer = one.ask("dead_letter", trace_id=trace_id)
    assert answer["dead_letter"]["outcome"] is None
    assert len(protocol.reply(msgspec.Raw(b"\xc0"), **answer)) <= protocol.LARGEST_MESSAGE


def test_reading_never_writes(path: Path) -> None:
    one = door(path)
    died(one)
    reading = can_read(open_for_reading(path))
    with pytest.raises(apsw.ReadOnlyError):
        reading.execute(SCHEMA.replace("IF NOT EXISTS letters", "more"))
