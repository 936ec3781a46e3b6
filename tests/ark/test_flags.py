"""Feature flags: who gets what, which file counts, and what stays in force where one does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from ark.errors import FlagError
from ark.flag_desk import FileProvider, FlagDesk
from ark.flag_file import FILE, GOOD, KEY, FlagFile, fault_of_flags, load, sign, write
from ark.flags import Body, Flag, Rule, Signed, Subject, bucket, decide
from ark.home import Home
from ark.testing import TestContext

SIGNER = Ed25519PrivateKey.generate()
SYMBOLS = st.text("ABCDEFGH", min_size=1, max_size=5)


@pytest.fixture
def home() -> Iterator[Home]:
    with TemporaryDirectory(prefix="ark-") as folder:
        one = Home(Path(folder))
        one.prepare()
        pem = SIGNER.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (one.keys / KEY).write_bytes(pem)
        yield one


def body(serial: int = 1, **flags: Flag) -> Body:
    return Body(serial, 1.0, "anna", flags or {"new": Flag(value=True)})


def put(home: Home, what: Body, signer: Ed25519PrivateKey = SIGNER) -> None:
    write(home, sign(what, signer))


class Watched(FlagFile):
    """With what it told, and a clock that goes on with each look."""

    def __init__(self, home: Home) -> None:
        self.accepted: list[int] = []
        self.refused: list[str] = []
        super().__init__(home, accepted=lambda body: self.accepted.append(body.serial), refused=self.refused.append)

    def serial(self) -> int:
        self.look(0.0)
        return self.body.serial if self.body else 0


# To whom


def ask(flag: Flag, symbol: str = "AAPL", agent: str = "joey", release: str = "1", name: str = "new") -> Any:
    return decide(name, flag, Subject(agent, release, symbol)).value


def test_the_first_rule_that_applies_counts_and_all_that_a_rule_names_must_be_so() -> None:
    flag = Flag(
        value="others",
        rules=(
            Rule("both", symbols=("AAPL", "MSFT"), agents=("joey",)),
            Rule("release", releases=("2",)),
            Rule("symbol", symbols=("AAPL",)),
        ),
    )

    assert ask(flag) == "both"
    assert ask(flag, agent="kenny") == "symbol"
    assert ask(flag, agent="kenny", release="2") == "release"
    assert ask(flag, symbol="TSLA") == "others"
    assert ask(Flag(rules=(Rule(True, symbols=("AAPL",)),)), symbol="TSLA") is None


@given(symbol=SYMBOLS, low=st.floats(0, 100), high=st.floats(0, 100))
def test_a_percentage_that_grows_takes_symbols_in_and_none_out(symbol: str, low: float, high: float) -> None:
    low, high = sorted((low, high))
    few, many = (Flag(value=False, rules=(Rule(True, percent=percent),)) for percent in (low, high))

    assert 0 <= bucket("new", symbol) < 100
    assert ask(few, symbol) <= ask(many, symbol)
    assert ask(few, symbol) == ask(few, symbol)


def test_a_percentage_has_its_share_of_symbols_and_flags_do_not_choose_the_same() -> None:
    symbols = [f"SYM{number}" for number in range(4000)]
    quarter = Flag(value=False, rules=(Rule(True, percent=25),))
    one = {symbol for symbol in symbols if ask(quarter, symbol, name="one")}
    other = {symbol for symbol in symbols if ask(quarter, symbol, name="other")}

    assert 900 < len(one) < 1100
    assert 900 < len(other) < 1100
    assert 180 < len(one & other) < 320
    assert not any(ask(Flag(value=False, rules=(Rule(True, percent=0),)), symbol) for symbol in symbols)
    assert all(ask(Flag(value=False, rules=(Rule(True, percent=100),)), symbol) for symbol in symbols)


def test_the_place_of_a_symbol_is_the_same_in_every_version() -> None:
    assert round(bucket("joey.new_scorer", "AAPL"), 6) == 99.327542


def test_where_there_is_no_symbol_no_percentage_applies() -> None:
    assert ask(Flag(value=False, rules=(Rule(True, percent=100),)), symbol="") is False


# Which file counts


def test_where_no_file_ever_was_the_defaults_are_in_force_and_nothing_is_told(home: Home) -> None:
    flags = Watched(home)

    assert flags.serial() == 0
    assert (flags.fault, flags.refused) == ("", [])


def test_a_signed_file_is_taken_and_replaced_by_the_next(home: Home) -> None:
    put(home, body(1))
    flags = Watched(home)
    assert flags.serial() == 1

    put(home, body(2, new=Flag(value=False)))

    assert flags.serial() == 2
    assert flags.accepted == [2], "what is there at the beginning is no change"


def spoil(change: Callable[[dict[str, Any]], Any]) -> Callable[[Home], None]:
    def act(home: Home) -> None:
        known = json.loads((home.path / FILE).read_bytes())
        change(known)
        write(home, json.dumps(known).encode())

    return act


TAMPERED: dict[str, Callable[[Home], None]] = {
    "another value": spoil(lambda file: file["body"]["flags"]["new"].update(value=False)),
    "another serial": spoil(lambda file: file["body"].update(serial=9)),
    "another flag": spoil(lambda file: file["body"]["flags"].update(other={"value": True})),
    "a target taken away": spoil(lambda file: file["body"]["flags"]["few"]["rules"][0].pop("symbols")),
    "another signature": spoil(lambda file: file.update(signature="00" * 64)),
    "no signature": spoil(lambda file: file.pop("signature")),
    "a word that is none": spoil(lambda file: file["body"]["flags"]["new"].update(persent=5)),
    "a percentage beyond": spoil(lambda file: file["body"]["flags"]["few"]["rules"][0].update(percent=101)),
    "another format": spoil(lambda file: file.update(format=2)),
    "another key": lambda home: put(home, body(5), Ed25519PrivateKey.generate()),
    "garbage": lambda home: write(home, b"\xff\x00{"),
    "half of it": lambda home: write(home, (home.path / FILE).read_bytes()[:80]),
    "too much": lambda home: write(home, b" " * ((1 << 20) + 1)),
    "nothing": lambda home: write(home, b""),
    "gone": lambda home: (home.path / FILE).unlink(),
    "an older one": lambda home: put(home, body(2)),
    "another of the same serial": lambda home: put(home, body(3)),
    "no trusted key": lambda home: (home.keys / KEY).unlink(),
    "a folder": lambda home: ((home.path / FILE).unlink(), (home.path / FILE).mkdir())[0],
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_file_that_does_not_count_is_told_of_once_and_what_was_in_force_stays_so(home: Home, how: str) -> None:
    good = body(3, new=Flag(value=True), few=Flag(rules=(Rule(1, symbols=("AAPL",), percent=5),)))
    put(home, good)
    flags = Watched(home)
    assert flags.serial() == 3

    TAMPERED[how](home)

    assert flags.serial() == flags.serial() == 3
    assert flags.body == good
    assert flags.accepted == []
    assert flags.refused == [flags.fault]
    assert "\n" not in flags.fault
    assert fault_of_flags(home) == flags.fault


def test_what_was_in_force_stays_so_in_a_new_process(home: Home) -> None:
    put(home, body(3))
    Watched(home).look(0.0)
    TAMPERED["another value"](home)

    again = Watched(home)

    assert again.serial() == 3
    assert again.fault
    assert again.body is not None
    assert again.body.flags["new"].value is True


def test_a_good_copy_that_was_changed_by_hand_does_not_count(home: Home) -> None:
    put(home, body(3))
    Watched(home).look(0.0)
    copy = home.data / GOOD
    copy.write_bytes(copy.read_bytes().replace(b"true", b"false"))
    (home.path / FILE).unlink()

    again = Watched(home)

    assert again.serial() == 0
    assert len(again.refused) == 1


def test_once_the_file_is_mended_it_counts_again(home: Home) -> None:
    put(home, body(3))
    flags = Watched(home)
    flags.look(0.0)
    TAMPERED["garbage"](home)
    flags.look(0.0)

    put(home, body(4))

    assert flags.serial() == 4
    assert (flags.fault, flags.accepted) == ("", [4])
    assert fault_of_flags(home) == ""


def test_a_file_without_a_trusted_key_counts_as_soon_as_there_is_one(home: Home) -> None:
    pem = (home.keys / KEY).read_bytes()
    (home.keys / KEY).unlink()
    put(home, body(1))
    flags = Watched(home)
    assert flags.serial() == 0
    assert "no key is trusted" in flags.fault

    (home.keys / KEY).write_bytes(pem)

    assert flags.serial() == 1


def test_the_file_is_looked_at_four_times_a_second_at_most(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    monkeypatch.setattr("ark.flag_file.time.monotonic", lambda: now[0])
    put(home, body(1))
    flags = FlagFile(home)
    assert flags.current() == body(1)
    put(home, body(2))

    assert flags.current() == body(1)
    now[0] += 0.25
    assert flags.current() == body(2)


@pytest.mark.parametrize(
    "flag",
    [Flag(), Flag(value=1, rules=(Rule("a"),)), Flag(value=True, rules=(Rule(1),)), Flag(value=float("inf"))],
)
def test_flags_that_say_nothing_or_two_sorts_of_things_are_not_signed(flag: Flag) -> None:
    with pytest.raises(FlagError):
        sign(body(1, new=flag), SIGNER)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_.-]{0,9}", fullmatch=True),
        st.builds(
            Flag,
            value=st.booleans(),
            rules=st.lists(
                st.builds(
                    Rule,
                    value=st.booleans(),
                    symbols=st.lists(SYMBOLS, max_size=2).map(tuple),
                    percent=st.none() | st.floats(0, 100),
                ),
                max_size=2,
            ).map(tuple),
        ),
        max_size=3,
    )
)
@settings(max_examples=30, deadline=None)
def test_what_was_signed_is_what_is_read(flags: dict[str, Flag]) -> None:
    what = Body(1, 1.5, "anna", flags)

    assert msgspec.json.decode(sign(what, SIGNER), type=Signed).body == what


# Through OpenFeature


def desk(home: Home, name: str = "joey") -> FlagDesk:
    return FlagDesk(name, FileProvider(home))


def test_an_agent_gets_what_the_flag_says_in_the_type_that_it_asked_for(home: Home) -> None:
    put(
        home,
        body(
            1,
            on=Flag(value=True),
            share=Flag(value=1),
            ratio=Flag(value=0.5),
            word=Flag(value="a"),
            few=Flag(rules=(Rule(True, symbols=("AAPL",)),)),
        ),
    )
    ask, apple, tesla = desk(home).value, Subject("joey", "1", "AAPL"), Subject("joey", "1", "TSLA")

    assert ask("on", False, apple) is True
    assert (ask("share", 0, apple), ask("ratio", 0.1, apple), ask("word", "b", apple)) == (1, 0.5, "a")
    assert repr(ask("share", 0.0, apple)) == "1.0"
    assert (ask("few", False, apple), ask("few", False, tesla), ask("few", True, tesla)) == (True, False, True)


@pytest.mark.parametrize("default", [1, 1.5, "text", False])
def test_a_default_is_given_where_a_flag_is_missing_or_of_another_type(home: Home, default: Any) -> None:
    put(home, body(1, word=Flag(value="a"), on=Flag(value=True)))
    ask, subject = desk(home).value, Subject("joey")

    assert ask("nothing", default, subject) is default
    other = "on" if not isinstance(default, bool) else "word"
    assert ask(other, default, subject) is default


def test_a_provider_is_ready_before_it_is_asked_and_stale_where_its_file_does_not_count(home: Home) -> None:
    from openfeature import api

    put(home, body(1))
    heard: list[str] = []
    provider = FileProvider(home, refused=heard.append)
    one = FlagDesk("alone", provider)
    status = api.get_client("alone").get_provider_status
    assert status().value == "READY"

    TAMPERED["garbage"](home)
    provider._flags.look(1.0)

    assert status().value == "STALE"
    assert len(heard) == 1
    assert one.value("new", False, Subject("joey")) is True


def test_in_a_test_flags_are_what_the_test_says() -> None:
    context = TestContext()
    context.flags["on"] = True

    assert context.flag("on", False) is True
    assert context.flag("on", 1) == 1
    assert context.flag("other", 0.5) == 0.5


def test_nothing_is_loaded_where_there_is_nothing(home: Home) -> None:
    assert load(home) is None
