"""Keys as values, and the key book in a home: who is let in, as what, and who no longer."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from hypothesis import example, given
from hypothesis import strategies as st
from zmq.utils import z85

from ark import interventions
from ark.errors import ClientKeyError
from ark.home import Home
from ark.key_book import KeyBook
from ark.key_file import parse_key_file, read_key_file
from ark.keys import (
    NOT_FOR_KEYS,
    Book,
    Key,
    Refusal,
    Refusals,
    check_name,
    fingerprint,
    judge_failure,
    judge_handshake,
)
from ark.protocol import Role
from ark.token_book import TokenBook

NOW = 1_795_000_000.0
PAIRS = [zmq.curve_keypair() for _ in range(3)]
GOOD, REVOKED, UNKNOWN = (public.decode() for public, _ in PAIRS)
BOOK = Book(
    [
        Key("desk", Role.OPERATOR, GOOD, NOW, "anna"),
        Key("laptop", Role.INJECTOR, REVOKED, NOW, "anna", NOW + 1, "ben", "stolen"),
    ]
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    place = Home(tmp_path / "home")
    place.prepare()
    return place


@pytest.fixture
def book(home: Home) -> KeyBook:
    return KeyBook(home)


# Values


def test_a_good_key_has_its_role_and_its_name() -> None:
    caller = BOOK.caller(GOOD, "10.0.0.7")

    assert (caller.role, caller.name, caller.why, caller.address) == (Role.OPERATOR, "desk", "", "10.0.0.7")
    assert BOOK.good == {GOOD}


@pytest.mark.parametrize(
    ("public_key", "name", "why"),
    [(REVOKED, "laptop", "revoked_key"), (UNKNOWN, fingerprint(UNKNOWN), "unknown_key"), (None, "", "no_key")],
    ids=["revoked", "unknown", "none"],
)
def test_any_other_key_has_no_role_and_a_reason(public_key: str | None, name: str, why: str) -> None:
    caller = BOOK.caller(public_key)

    assert (caller.role, caller.name, caller.why) == (None, name, why)


@given(st.text(max_size=50))
def test_a_text_that_is_no_key_opens_nothing(text: str) -> None:
    assert BOOK.caller(text).role is None


def handshake(public_key: str, domain: bytes = b"gateway") -> list[bytes]:
    return [b"1.0", b"7", domain, b"10.0.0.7", b"", b"CURVE", z85.decode(public_key.encode())]


def test_a_good_key_is_let_in_and_named_to_libzmq() -> None:
    answer, refusal = judge_handshake(handshake(GOOD), BOOK)

    assert answer == [b"1.0", b"7", b"200", b"", GOOD.encode(), b""]
    assert refusal is None


@pytest.mark.parametrize(("domain", "op"), [(b"gateway", "connect"), (b"events", "subscribe"), (b"?", "connect")])
@pytest.mark.parametrize(
    ("public_key", "why", "client"),
    [(REVOKED, "revoked_key", "laptop"), (UNKNOWN, "unknown_key", fingerprint(UNKNOWN))],
    ids=["revoked", "unknown"],
)
def test_another_key_is_sent_away_and_told_of(
    public_key: str, why: str, client: str, domain: bytes, op: str
) -> None:
    answer, refusal = judge_handshake(handshake(public_key, domain), BOOK)

    assert answer[:3] == [b"1.0", b"7", b"400"]
    assert answer[4] == b""
    assert refusal == Refusal(why, op, client, "10.0.0.7")


@given(st.binary(max_size=20), st.lists(st.binary(max_size=64), max_size=3))
@example(b"NULL", [])
@example(b"PLAIN", [b"admin", b"secret"])
@example(b"CURVE", [b""])
def test_another_mechanism_never_comes_in(mechanism: bytes, credentials: list[bytes]) -> None:
    answer, refusal = judge_handshake([b"1.0", b"1", b"gateway", b"", b"", mechanism, *credentials], BOOK)

    assert answer[2] == b"400"
    assert refusal is not None


def test_what_libzmq_says_of_a_handshake_gives_the_reason() -> None:
    assert judge_failure(zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH) == "no_key"
    assert judge_failure(zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC) == "wrong_node_key"
    assert judge_failure(zmq.PROTOCOL_ERROR_ZMTP_MALFORMED_COMMAND_HELLO) == "no_handshake"
    assert judge_failure(errno.EPIPE) == "no_handshake"


@given(st.lists(st.floats(0, 3), max_size=200), st.integers(1, 5))
def test_every_refusal_is_counted_and_few_are_told_each_second(gaps: list[float], most: int) -> None:
    refusals = Refusals(most)
    now, told, kept_back = 0.0, [], 0
    for gap in gaps:
        now += gap
        before = refusals.note("forbidden", now)
        if before is not None:
            told.append(now)
            kept_back += before

    assert refusals.count == len(gaps)
    assert len(told) + kept_back <= len(gaps)
    assert all(sum(at <= each < at + 1.0 for each in told) <= 2 * most for at in told)
    assert gaps == [] or told


def test_what_was_kept_back_is_said_with_the_next_that_is_told() -> None:
    refusals = Refusals(2)

    assert [refusals.note("forbidden", 0.1 * n) for n in range(6)] == [0, 0, None, None, None, None]
    assert [refusals.note("forbidden", at) for at in (2.0, 2.1, 2.2)] == [4, 0, None]
    assert refusals.count == 9


def test_of_a_flood_that_lasts_an_hour_few_are_told_and_all_are_counted() -> None:
    refusals = Refusals()
    told = [refusals.note("no_handshake", 0.1 * n) for n in range(36_000)]

    assert 5 * 60 <= sum(each is not None for each in told) <= 5 * 67
    assert sum(1 + each for each in told if each is not None) >= 36_000 - 600, "and soon told of in a number"
    later = [refusals.note("no_handshake", 3_700.0 + 100 * n) for n in range(3)]
    assert later[1:] == [0, 0]
    assert [refusals.note("no_handshake", 4_000.0 + 1.5 * n) for n in range(9)] == [0] * 9, "all is forgotten"


def test_a_flood_of_one_reason_hides_no_other() -> None:
    refusals = Refusals(2)
    told = [refusals.note("forbidden", 0.0) for _ in range(100)]

    assert told.count(None) == 98
    assert refusals.note("revoked_key", 0.0) == 0
    assert refusals.count == 101


@pytest.mark.parametrize("name", ["a", "desk", "desk-2", "0", "a.b_c-d", "x" * 32])
def test_a_name_is_taken(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name", ["", "Desk", ".hidden", "-x", "_x", "a/b", "../a", "a b", "a\n", "ä", "x" * 33, *sorted(NOT_FOR_KEYS)]
)
def test_a_name_that_would_be_no_file_or_the_nodes_own_is_refused(name: str) -> None:
    with pytest.raises(ClientKeyError):
        check_name(name)


def test_the_nodes_own_names_are_refused() -> None:
    assert {"watchdog", "deadline", "operator", "gateway", "guardian", "supervisor", "deployer"} <= NOT_FOR_KEYS


@given(st.binary(max_size=200) | st.dictionaries(st.text(), st.text()).map(lambda d: json.dumps(d).encode()))
def test_bytes_that_are_no_key_file_are_refused_without_showing_them(content: bytes) -> None:
    with pytest.raises(ClientKeyError, match=r"^it is no key file \(make one"):
        parse_key_file(content)


# The book


def test_a_new_key_is_in_the_book_and_its_secret_in_the_clients_file_alone(
    home: Home, book: KeyBook, tmp_path: Path
) -> None:
    file = tmp_path / "desk.key"
    key = book.new("desk", Role.OPERATOR, file, by="anna", at=NOW)
    mine = read_key_file(file)

    assert (key.name, key.role, key.created_at, key.created_by) == ("desk", Role.OPERATOR, NOW, "anna")
    assert book.all() == [key]
    assert (mine.name, mine.role, mine.public_key) == ("desk", Role.OPERATOR, key.public_key)
    assert mine.node_public_key == book.node_public_key
    assert zmq.curve_public(mine.secret_key.encode()).decode() == key.public_key
    assert file.stat().st_mode & 0o777 == 0o600
    assert (book.folder / "desk.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in book.folder.iterdir()] == ["desk.json"]
    assert not list(holding(home, mine.secret_key.encode(), z85.decode(mine.secret_key.encode())))
    assert mine.secret_key not in repr(mine)


def holding(home: Home, *secrets: bytes) -> Iterator[Path]:
    """Files of a home that have a secret in them, as it is or in hexadecimal."""
    for path in home.path.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        if any(secret in content or secret.hex().encode() in content for secret in secrets):
            yield path


def test_the_nodes_own_pair_is_made_once_and_its_secret_is_for_the_owner_only(home: Home) -> None:
    public, secret = KeyBook(home).node_pair()

    assert KeyBook(home).node_pair() == (public, secret)
    assert zmq.curve_public(secret) == public
    assert (home.keys / "curve").stat().st_mode & 0o777 == 0o600


def test_a_name_is_given_once_also_after_its_key_was_revoked(book: KeyBook, tmp_path: Path) -> None:
    book.new("desk", Role.OPERATOR, tmp_path / "1", by="anna", at=NOW)
    with pytest.raises(ClientKeyError, match="'desk' is taken"):
        book.new("desk", Role.OPERATOR, tmp_path / "2", by="anna", at=NOW)
    book.revoke("desk", reason="gone", by="ben", at=NOW + 1)
    with pytest.raises(ClientKeyError, match="'desk' is taken, and revoked"):
        book.new("desk", Role.OPERATOR, tmp_path / "2", by="anna", at=NOW)

    assert not (tmp_path / "2").exists()


def test_a_damaged_file_opens_nothing_and_keeps_its_name(book: KeyBook, tmp_path: Path) -> None:
    book.new("desk", Role.OPERATOR, tmp_path / "1", by="anna", at=NOW)
    (book.folder / "desk.json").write_text("{")

    assert book.all() == []
    assert [path.name for path in book.damaged()] == ["desk.json"]
    with pytest.raises(ClientKeyError, match="is taken"):
        book.new("desk", Role.OPERATOR, tmp_path / "2", by="anna", at=NOW)


def test_a_copy_of_a_keys_file_opens_nothing(book: KeyBook, tmp_path: Path) -> None:
    key = book.new("desk", Role.OPERATOR, tmp_path / "1", by="anna", at=NOW)
    for name in ("a", "desk copy", "z"):
        shutil.copy(book.folder / "desk.json", book.folder / f"{name}.json")
    book.revoke("desk", reason="the laptop was stolen", by="ben", at=NOW + 1)

    assert Book(book.all()).caller(key.public_key).why == "revoked_key"
    assert [path.stem for path in book.damaged()] == ["a", "desk copy", "z"]


def test_a_revoked_key_stays_in_the_book_with_who_and_why(book: KeyBook, tmp_path: Path) -> None:
    book.new("desk", Role.OPERATOR, tmp_path / "1", by="anna", at=NOW)
    assert book.has_good()
    key = book.revoke("desk", reason="the laptop was stolen", by="ben", at=NOW + 1)

    assert not key.is_good
    assert (key.revoked_at, key.revoked_by, key.revoke_reason) == (NOW + 1, "ben", "the laptop was stolen")
    assert book.all() == [key]
    assert not book.has_good()
    with pytest.raises(ClientKeyError, match="revoked already, by ben: the laptop was stolen"):
        book.revoke("desk", reason="again", by="ben", at=NOW + 2)


def test_what_is_not_there_cannot_be_revoked_nor_anything_without_a_reason(book: KeyBook, tmp_path: Path) -> None:
    book.new("desk", Role.OPERATOR, tmp_path / "1", by="anna", at=NOW)
    with pytest.raises(ClientKeyError, match="there is no key 'dsk'"):
        book.revoke("dsk", reason="gone", by="ben", at=NOW)
    with pytest.raises(ClientKeyError, match="needs a reason"):
        book.revoke("desk", reason=" ", by="ben", at=NOW)


def test_a_file_is_not_overwritten_and_none_is_written_into_the_home(
    home: Home, book: KeyBook, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(home.path)
    (tmp_path / "there").write_text("mine")
    for file, words in (
        (tmp_path / "there", "is there already"),
        (home.path / "desk.key", "no secrets of clients"),
        (home.path / "none" / ".." / "desk.key", "no secrets of clients"),
        (tmp_path / "link" / "desk.key", "no secrets of clients"),
        (tmp_path / "none" / "desk.key", "cannot write"),
    ):
        with pytest.raises(ClientKeyError, match=words):
            book.new("desk", Role.OPERATOR, file, by="anna", at=NOW)

    assert (tmp_path / "there").read_text() == "mine"
    assert book.all() == []


def test_where_the_disk_is_full_nothing_is_left_of_a_key(
    book: KeyBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.new("first", Role.OPERATOR, tmp_path / "1", by="anna", at=NOW)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ClientKeyError, match="No space left on device"):
        book.new("second", Role.OPERATOR, tmp_path / "2", by="anna", at=NOW)
    with pytest.raises(ClientKeyError, match=r"first is still good \(delete .*first\.json"):
        book.revoke("first", reason="gone", by="anna", at=NOW)

    assert not (tmp_path / "2").exists()
    assert [path.name for path in book.folder.iterdir()] == ["first.json"]


def test_each_change_moves_the_stamp(book: KeyBook, tmp_path: Path) -> None:
    assert book.stamp() == 0
    book.new("desk", Role.OPERATOR, tmp_path / "1", by="anna", at=NOW)
    os.utime(book.folder, ns=(1, 1))
    book.revoke("desk", reason="gone", by="ben", at=NOW)

    assert book.stamp() > 1


def test_what_was_done_is_recorded_and_logged(home: Home, book: KeyBook, tmp_path: Path) -> None:
    key = book.new("desk", Role.OPERATOR, tmp_path / "1", by="anna", at=NOW)
    book.revoke("desk", reason="gone", by="ben", at=NOW)
    acts = [(act.act, act.subject, act.by, act.reason) for act in interventions.read(home)]
    lines = [json.loads(line) for line in (home.logs / "supervision.log").read_text().splitlines()]

    assert acts == [("key_new", "desk", "anna", ""), ("key_revoked", "desk", "ben", "gone")]
    assert [act.details["public_key"] for act in interventions.read(home)] == [key.public_key] * 2
    assert [(line["event"], line["name"], line["by"]) for line in lines] == [
        ("key_new", "desk", "anna"),
        ("key_revoked", "desk", "ben"),
    ]


def test_a_key_file_that_others_can_read_is_not_used(book: KeyBook, tmp_path: Path) -> None:
    file = tmp_path / "desk.key"
    book.new("desk", Role.OPERATOR, file, by="anna", at=NOW)
    file.chmod(0o640)
    with pytest.raises(ClientKeyError, match="can be read by others") as error:
        read_key_file(file)

    assert "chmod 600" in error.value.hint


def test_a_file_that_is_not_there_or_no_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClientKeyError, match=r"cannot read the key .*none"):
        read_key_file(tmp_path / "none")
    (tmp_path / "other").write_text("{}")
    (tmp_path / "other").chmod(0o600)
    with pytest.raises(ClientKeyError, match="other: it is no key file"):
        read_key_file(tmp_path / "other")


def test_a_name_is_given_once_over_keys_and_tokens(home: Home, book: KeyBook, tmp_path: Path) -> None:
    TokenBook(home).new("desk", tmp_path / "desk.token", by="anna", at=NOW)

    with pytest.raises(ClientKeyError, match="taken"):
        book.new("desk", Role.INJECTOR, tmp_path / "desk.key", by="anna", at=NOW)
    assert book.all() == []
