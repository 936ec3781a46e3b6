"""What HRM knows of the system and the market, gathered anew for each judgement."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

from actors.knowledge import facts_of, session_left_s
from actors.messages import Case, Market
from actors.register import Registrar
from ark.message import Span
from ark.testing import TestContext
from graveyard import Facts, Source
from tests.actors.floor import NOON, case_of, desk, seen

REGISTER = Registrar(None, sources={"desk": "news"}).current()


def gathered(case: Case | None = None, context: TestContext | None = None, **changes: Any) -> Facts:
    given: dict[str, Any] = {
        "now": NOON, "market_now": NOON, "market_price": D(100), "live": False, "seal_fault": "",
        "quarantined": False, "session_left_s": None, "person": None, **changes,
    }  # fmt: skip
    return facts_of(case or case_of(), context or desk(), given.pop("register", REGISTER), **given)


def test_where_all_is_well_everything_is_known() -> None:
    facts = gathered(case_of(market=seen()))
    assert (facts.halted, facts.seal_fault, facts.watchdog_age_s, facts.gateway_age_s) == (False, "", 0.0, 0.0)
    assert facts.ledger_writable
    assert facts.logs_redacted
    assert facts.home_private
    assert facts.credentials_sealed
    assert (facts.personal, facts.hops, facts.person) == ("", 0, None)
    assert facts.sources == (Source("desk", "news"),)
    assert (facts.last_price, facts.price_age_s, facts.average_volume) == (D("100.0"), 60.0, D("1000000.0"))
    assert (facts.volume_ratio, facts.move) == (D("1.0"), D("0.01"))


def test_the_halt_and_its_reason_are_the_nodes() -> None:
    context = desk()
    context.halt_reason = "drill"
    assert (gathered(context=context).halted, gathered(context=context).halt_reason) == (True, "drill")


@pytest.mark.parametrize("live", [None, True, False])
@pytest.mark.parametrize("person", [None, True, False])
def test_what_the_judge_was_told_is_passed_on(live: bool | None, person: bool | None) -> None:
    facts = gathered(live=live, person=person, seal_fault="broken", session_left_s=5.0)
    assert (facts.live, facts.person, facts.seal_fault, facts.session_left_s) == (live, person, "broken", 5.0)


@pytest.mark.parametrize(
    ("age", "free", "pipeline", "writable"),
    [
        (0.0, 64 << 20, ("hrm", "aletheia"), True),
        (3.0, 64 << 20, ("hrm", "aletheia"), True),
        (3.01, 64 << 20, ("hrm", "aletheia"), False),
        (None, 64 << 20, ("hrm", "aletheia"), False),
        (math.nan, 64 << 20, ("hrm", "aletheia"), False),
        (0.0, (64 << 20) - 1, ("hrm", "aletheia"), False),
        (0.0, None, ("hrm", "aletheia"), False),
        (0.0, 64 << 20, ("hrm",), False),
    ],
)
def test_the_ledger_takes_rows_while_its_process_works_and_there_is_room(
    age: float | None, free: int | None, pipeline: tuple[str, ...], writable: bool
) -> None:
    context = desk()
    context.beats["aletheia"] = age
    context.free = free
    context.pipeline = pipeline
    assert gathered(context=context).ledger_writable is writable


def test_each_thing_that_lies_open_is_a_fact_of_its_own() -> None:
    for place, fact in (("log", "logs_redacted"), ("home", "home_private"), ("credentials", "credentials_sealed")):
        context = desk()
        context.faults[place] = "open"
        facts = gathered(context=context)
        assert [
            name for name in ("logs_redacted", "home_private", "credentials_sealed") if not getattr(facts, name)
        ] == [fact]


@pytest.mark.parametrize(
    ("signal", "found"),
    [
        ({"source": "bob@example.com"}, "e-mail address"),
        ({"features": {"catalyst": "card 4111 1111 1111 1111"}}, "card number"),
        ({"features": {"catalyst": "a contract was won"}}, ""),
        ({"features": {"catalyst": 5}}, ""),
        ({"metadata": {"owner": "bob@example.com"}}, ""),
    ],
)
def test_personal_data_is_looked_for_in_the_texts_that_go_along(signal: Any, found: str) -> None:
    assert gathered(case_of(signal=signal)).personal == found


def test_hops_are_the_agents_that_had_it_before() -> None:
    context = desk()
    context.spans = tuple(Span("kyle", "1", 0, 0) for _ in range(3))
    assert gathered(context=context).hops == 3


def test_a_source_that_was_wrong_too_often_is_quarantined_whatever_the_register_says() -> None:
    assert gathered(quarantined=True).sources == (Source("desk", "news", quarantined=True),)
    register = Registrar(None).current()
    assert gathered(register=register).sources == (Source("desk", "unregistered"),)


def test_a_register_that_cannot_be_read_leaves_nothing_known(tmp_path: Path) -> None:
    facts = gathered(register=Registrar(tmp_path / "missing.toml").current())
    assert {facts.restricted, facts.no_trade, facts.consents, facts.client_orders} == {None}


# The market.


@pytest.mark.parametrize("market", [None, Market(100.0), seen(close_at=None), Market(100.0, close_at=NOON)])
def test_without_a_bar_nothing_was_seen(market: Market | None) -> None:
    case = Case(case_of().signal, market=market)
    facts = gathered(case)
    assert {facts.last_price, facts.price_age_s, facts.average_volume, facts.volume_ratio, facts.move} == {None}


def test_what_the_sender_claims_of_the_market_is_no_fact() -> None:
    facts = gathered(
        case_of(signal={"features": {"avg_volume": 1e9, "volume_ratio": 1.0, "price_change_percent": 0}})
    )
    assert (facts.average_volume, facts.volume_ratio, facts.move) == (None, None, None)


def test_a_bar_is_as_old_as_its_beginning_and_never_younger_than_now() -> None:
    assert gathered(case_of(market=seen(at=NOON - 86_400))).price_age_s == 86_400
    assert gathered(case_of(market=seen(at=NOON + 3))).price_age_s == 0.0
    replayed = gathered(case_of(market=seen(at=1e9)), market_now=1e9 + 60)
    assert replayed.price_age_s == 60


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("figure", "fact"), [("volume_ratio", "volume_ratio"), ("change_pct", "move"), ("close", "last_price")]
)
def test_a_figure_that_is_no_number_is_left_for_the_rule_book_to_refuse(figure: str, fact: str, bad: float) -> None:
    found = getattr(gathered(case_of(market=seen(**{figure: bad}))), fact)
    assert not found.is_finite()


# The session.

NEW_YORK_SUMMER = dt.timezone(dt.timedelta(hours=-4))


def at(day: int, hour: int, minute: int = 0, second: int = 0) -> float:
    """A moment of June 2024 in New York."""
    return dt.datetime(2024, 6, day, hour, minute, second, tzinfo=NEW_YORK_SUMMER).timestamp()


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        (at(12, 9, 29, 59), None),
        (at(12, 9, 30), 6.5 * 3600),
        (at(12, 15, 55), 300.0),
        (at(12, 15, 59, 59), 1.0),
        (at(12, 16), None),
        (at(15, 12), None),
        (at(19, 12), None),
    ],
    ids=["before", "opening", "five to four", "last second", "closed", "Saturday", "holiday"],
)
def test_how_long_the_exchange_is_open(moment: float, left: float | None) -> None:
    assert session_left_s("AAPL", moment, (dt.date(2024, 6, 19),)) == left


@pytest.mark.parametrize("symbol", ["BTC/USD", "BTC-USD"])
def test_crypto_has_no_session(symbol: str) -> None:
    assert session_left_s(symbol, at(12, 15, 55)) is None
