"""The operator's register: what is entered counts from the next signal on, and what nobody can read denies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from actors.register import Registrar
from ark.errors import ConfigError
from graveyard import ClientOrder, Source
from tests.actors.floor import LIVE, NOON, Floor, Registered, case_of, desk, live_floor, seen, short, start


@pytest.fixture
def floor(tmp_path: Path) -> Registered:
    return Registered(tmp_path)


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ('restricted = ["AAPL"]', "no_insider_trading"),
        ('restricted = [" aapl "]', "no_insider_trading"),
        ('no_trade = ["AAPL"]', "preserve_user_autonomy"),
        ('no_trade = ["aApL"]', "preserve_user_autonomy"),
        ('[sources]\ndesk = "private"', "no_insider_trading"),
        ('[sources]\n" Desk " = "private"', "no_insider_trading"),
        ('[sources]\ndesk = { standing = "news", embargo_until = 2023-11-14T22:13:21Z }', "no_insider_trading"),
        (
            '[sources]\ndesk = { standing = "news", embargo_until = 2023-11-14T23:13:21+01:00 }',
            "no_insider_trading",
        ),
        ('[sources]\ndesk = { standing = "news", embargo_until = 2023-11-14T22:13:21 }', "no_insider_trading"),
        ('[sources]\ndesk = { standing = "exchange", quarantined = true }', "validate_data_sources"),
        ('[sources]\ndesk = "promotional"', "no_pump_and_dump"),
        ('[[client_orders]]\nsymbol = "AAPL"\nside = "buy"\nquantity = 5', "no_front_running"),
        ('[[client_orders]]\nsymbol = " aapl "\nside = "buy"\nquantity = 0.5', "no_front_running"),
    ],
)
def test_an_entry_counts_with_the_next_signal_and_no_longer_than_it_stands(
    floor: Registered, entry: str, rule: str
) -> None:
    assert floor.decide().approved
    floor.enter(entry)
    assert floor.denied_by("AAPL", quantity=10.0) == [rule]
    floor.enter("")
    assert floor.decide(quantity=10.0).approved


@pytest.mark.parametrize(
    "entry",
    [
        'restricted = ["AAP", "AAPLX"]',
        'no_trade = ["MSFT"]',
        '[sources]\ndesk = { standing = "news", embargo_until = 2023-11-14T22:13:20Z }',
        '[sources]\nother = "private"',
        '[[client_orders]]\nsymbol = "AAPL"\nside = "sell"\nquantity = 5',
        '[[client_orders]]\nsymbol = "MSFT"\nside = "buy"\nquantity = 5',
        '[sources]\ndesk = "licensed"',
    ],
)
def test_an_entry_about_something_else_denies_nothing(floor: Registered, entry: str) -> None:
    floor.enter(entry)
    assert floor.decide().approved


def test_a_clients_order_to_sell_goes_before_a_short(floor: Registered) -> None:
    floor.enter('[[client_orders]]\nsymbol = "AAPL"\nside = "sell"\nquantity = 5')
    assert floor.denied_by(**short()) == ["no_front_running"]


def test_consent_and_an_empty_list_of_client_orders_are_what_live_trading_waits_for(tmp_path: Path) -> None:
    floor = live_floor(tmp_path, "")
    market = seen()
    assert floor.denied_by(market=market) == ["validate_data_sources", "no_front_running", "require_consent"]
    floor.enter('consents = ["live_trading"]\n[sources]\ndesk = "news"')
    assert floor.denied_by(market=market) == ["no_front_running"]
    floor.enter(LIVE)
    assert floor.decide(market=market).approved
    floor.enter(LIVE.replace('"live_trading"', ""))
    assert floor.denied_by(market=market) == ["require_consent"], "consent was revoked"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("restricted = [", "Invalid"),
        ("restrictde = []", "restrictde"),
        (f"restricted = {'[' * 3000}{']' * 3000}", "recursion"),
        (f"restricted = {'9' * 5000}", "digits"),
        ('restricted = "AAPL"', "restricted"),
        ('[sources]\ndesk = "friend"', "sources"),
        ("[[client_orders]]\nsymbol = 'A'\nside = 'buy'\nquantity = 0", "quantity"),
        ("[[client_orders]]\nsymbol = 'A'\nside = 'buy'\nquantity = nan", "quantity"),
        ("[[client_orders]]\nsymbol = 'A'\nside = 'hold'\nquantity = 1", "side"),
    ],
)
def test_what_cannot_be_understood_denies_naming_the_facts_and_tells_once(
    floor: Registered, text: str, words: str
) -> None:
    floor.enter(text)
    for _ in range(2):
        decision = floor.decide()
        assert [(each.rule, each.message.split(":")[0]) for each in decision.violations] == [
            ("no_insider_trading", "`restricted` is missing"),
            ("preserve_user_autonomy", "`no_trade` is missing"),
            ("require_consent", "`consents` is missing"),
        ]
    told = [fields for kind, fields in floor.context.events if kind == "register"]
    assert len(told) == 1
    assert told[0]["readable"] is False
    assert words in told[0]["message"]
    floor.enter("")
    assert floor.decide().approved
    assert [fields["readable"] for kind, fields in floor.context.events if kind == "register"] == [False, True]


@pytest.mark.parametrize("how", ["missing", "folder", "no text"])
def test_a_file_that_cannot_be_read_denies(floor: Registered, how: str) -> None:
    floor.path.unlink()
    if how == "folder":
        floor.path.mkdir()
    elif how == "no text":
        floor.path.write_bytes(b"restricted = ['\xff']")
    assert "no_insider_trading" in floor.denied_by()
    assert "preserve_user_autonomy" in floor.denied_by()
    assert len([kind for kind, _ in floor.context.events if kind == "register"]) == 1


def test_a_file_that_could_not_be_read_once_is_tried_again_with_the_next_signal(
    floor: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    floor.enter('restricted = ["MSFT"]')
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", deny)
        assert "no_insider_trading" in floor.denied_by()
    assert floor.decide().approved, "the permission was put right, which changes no time of the file"
    assert floor.denied_by("MSFT") == ["no_insider_trading"]


def deny(path: Path, **options: Any) -> str:
    raise PermissionError(13, "Permission denied", str(path))


def test_a_register_that_is_missing_at_the_start_denies_until_it_is_there(tmp_path: Path) -> None:
    floor = Floor(register=str(tmp_path / "register.toml"))
    assert "no_insider_trading" in floor.denied_by()
    (tmp_path / "register.toml").write_text("")
    assert floor.decide().approved


@pytest.mark.parametrize("path", ["register.toml", "./register.toml", "../register.toml"])
def test_a_relative_path_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="register must be an absolute path") as caught:
        start(desk(register=path))
    assert caught.value.field == "agents.hrm.settings.register"


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"restricted": ["aapl"]}, "no_insider_trading"),
        ({"no_trade": [" Aapl "]}, "preserve_user_autonomy"),
        ({"sources": {"DESK": "private"}}, "no_insider_trading"),
    ],
)
def test_what_stands_in_the_settings_counts_beside_the_file(tmp_path: Path, settings: Any, rule: str) -> None:
    assert Floor(**settings).denied_by() == [rule]
    both = Registered(tmp_path, 'restricted = ["MSFT"]', **settings)
    assert both.denied_by() == [rule]
    assert both.denied_by("MSFT")[0] == "no_insider_trading"


def test_a_register_that_cannot_be_read_is_told_of_without_any_signal(floor: Registered) -> None:
    floor.enter("restricted = [")
    floor.tick(1)
    floor.tick(1)
    assert [kind for kind, _ in floor.context.events] == ["register"]


def test_consents_of_settings_and_file_are_added(tmp_path: Path) -> None:
    path = tmp_path / "register.toml"
    path.write_text('consents = ["b"]')
    assert Registrar(path, consents=["a"]).current().consents == {"a", "b"}


@pytest.mark.parametrize("name", ["insider_tip", " Insider ", "INSIDER_TIP"])
def test_the_originals_forbidden_source_is_private_without_a_register(name: str) -> None:
    assert Registrar(None).current().source(name).standing == "private"


def test_a_source_that_nobody_entered_is_unregistered_and_its_name_is_cut() -> None:
    assert Registrar(None).current().source("x" * 100) == Source("x" * 64, "unregistered")


def test_without_a_file_nobody_knows_which_clients_wait(tmp_path: Path) -> None:
    assert Registrar(None).current().client_orders is None
    path = tmp_path / "register.toml"
    path.write_text("client_orders = []")
    registrar = Registrar(path)
    assert registrar.current().client_orders == ()
    path.write_text('[[client_orders]]\nsymbol = "aapl"\nside = "buy"\nquantity = 500')
    (order,) = registrar.current().client_orders or ()
    assert order == ClientOrder("AAPL", "buy", order.quantity)
    assert order.quantity == 500


def test_a_file_that_has_not_changed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "register.toml"
    path.write_text("client_orders = []")
    registrar = Registrar(path)
    first = registrar.current()
    read: list[Path] = []
    monkeypatch.setattr(Path, "read_text", lambda self, **options: read.append(self) or "")
    assert registrar.current() is first
    assert path not in read, "others may read theirs meanwhile, in threads of their own"


def test_a_file_that_was_put_in_place_with_the_same_size_and_time_is_read(floor: Registered) -> None:
    floor.enter('restricted = ["MSFT"]')
    assert floor.decide().approved
    status = floor.path.stat()
    fresh = floor.path.with_suffix(".new")
    fresh.write_text('restricted = ["AAPL"]')
    os.utime(fresh, ns=(status.st_atime_ns, status.st_mtime_ns))
    fresh.replace(floor.path)
    assert floor.denied_by() == ["no_insider_trading"]


def test_what_was_restricted_while_a_person_was_asked_denies(floor: Registered) -> None:
    large = case_of(quantity=90.0, signal={"ts": NOON})
    floor.hold(large)
    floor.enter('restricted = ["AAPL"]')
    answer = floor.answered(large, 1)
    assert answer.decision is not None
    assert [each.rule for each in answer.decision.violations] == ["no_insider_trading"]
