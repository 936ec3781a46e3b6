"""What is remembered of a source: how often its claims agreed, and when it was far off the market."""

from __future__ import annotations

import math
from pathlib import Path

import apsw
import pytest

from actors.breakers import Breakers
from actors.messages import Case, Market
from actors.sources import FAULTS, QUARANTINE_S, Sources
from actors.synthesis import Claim, Record
from ark.signal import Signal
from tests.actors.floor import NOON, Registered, bar_at, case_of, seen

REGISTER = '[sources]\ndesk = "news"\n'


def price(claimed: float, known: float = 100.0) -> Claim:
    return Claim("price", claimed, known, 0.005)


FAR = price(120.0)
NEAR = price(100.1)


@pytest.fixture
def sources() -> Sources:
    return Sources(apsw.Connection(":memory:"))


def test_claims_that_agree_and_that_do_not_are_counted(sources: Sources) -> None:
    assert sources.record("desk") is None
    sources.learn("desk", (NEAR, price(105.0)), NOON)
    sources.learn(" DESK ", (NEAR,), NOON)
    assert sources.record("Desk") == Record(2, 1)
    sources.learn("desk", (), NOON)
    assert sources.record("desk") == Record(2, 1)


@pytest.mark.parametrize(
    ("claim", "far"),
    [
        (price(110.0), False),
        (price(90.0), False),
        (price(110.01), True),
        (price(89.99), True),
        (price(math.nan), True),
        (price(math.inf), True),
        (price(100.0, math.nan), True),
        (Claim("risk_reward_ratio", 9.0, 1.0, 0.05), False),
    ],
)
def test_only_prices_beyond_the_collar_are_held_against_a_source(sources: Sources, claim: Claim, far: bool) -> None:
    for _ in range(FAULTS):
        sources.learn("desk", (claim,), NOON)
    assert sources.is_quarantined("desk", NOON) is far


def test_three_within_an_hour_quarantine_for_an_hour_after_the_last(sources: Sources) -> None:
    for number, at in enumerate((NOON, NOON + 1000, NOON + 3599), 1):
        assert not sources.is_quarantined("desk", at)
        sources.learn("desk", (FAR,), at)
        assert sources.is_quarantined("desk", at) is (number == FAULTS)
    assert sources.is_quarantined("desk", NOON + 3599 + QUARANTINE_S - 1)
    assert not sources.is_quarantined("desk", NOON + 3599 + QUARANTINE_S)
    assert not sources.is_quarantined("other", NOON + 3599)


def test_three_in_more_than_an_hour_do_not(sources: Sources) -> None:
    for at in (NOON, NOON + 1800, NOON + 3600, NOON + 5400, NOON + 7200):
        sources.learn("desk", (FAR,), at)
        assert not sources.is_quarantined("desk", at)


def test_one_that_goes_on_in_quarantine_stays_there(sources: Sources) -> None:
    for second in range(5):
        sources.learn("desk", (FAR,), NOON + second * 1000)
    assert sources.is_quarantined("desk", NOON + 4000 + QUARANTINE_S - 1)


def test_what_was_written_survives_and_what_was_not_does_not() -> None:
    connection = apsw.Connection(":memory:")
    first = Sources(connection)
    for _ in range(FAULTS):
        first.learn("desk", (FAR, NEAR), NOON)
    first.write()
    first.learn("desk", (FAR,), NOON)
    first.write()
    first.learn("lost", (NEAR,), NOON)
    second = Sources(connection)
    assert second.record("desk") == first.record("desk") == Record(3, 4)
    assert second.is_quarantined("desk", NOON + 1)
    assert second.record("lost") is None


# At HRM's desk.


def test_a_registered_source_that_is_far_off_three_times_is_denied_for_an_hour(tmp_path: Path) -> None:
    floor = Registered(tmp_path, REGISTER)
    lie = {"entry_price": 150.0, "stop_loss": 145.0, "target": 170.0, "signal": {"price": 150.0}}
    for _ in range(FAULTS):
        assert floor.denied_by(market=seen(), **lie) == ["no_market_manipulation"]
    told = [fields for kind, fields in floor.context.events if kind == "quarantined"]
    assert told == [{"source": "desk", "until": NOON + QUARANTINE_S}]
    decision = floor.decide("MSFT", market=seen())
    assert [each.rule for each in decision.violations] == ["validate_data_sources"]
    assert "was wrong too often and is quarantined" in decision.violations[0].message
    floor.restart()
    assert floor.denied_by("MSFT", market=seen()) == ["validate_data_sources"], "a restart forgets nothing"
    assert floor.decide("NVDA", market=seen(), signal={"source": "other"}).approved
    floor.context.clock += QUARANTINE_S
    assert floor.decide("MSFT", market=seen(), signal={"ts": floor.context.clock}).approved


def test_a_source_that_stands_in_no_register_leaves_no_record(tmp_path: Path) -> None:
    floor = Registered(tmp_path)
    for _ in range(FAULTS + 1):
        floor.decide(market=seen(), quantity=1.0, signal={"price": 150.0})
    assert floor.context.database.execute("SELECT count(*) FROM hrm_sources").fetchone() == (0,)


def test_a_price_is_not_held_against_a_bar_of_last_week(tmp_path: Path) -> None:
    floor = Registered(tmp_path, REGISTER)
    old = seen(at=NOON - 5 * 86_400)
    for _ in range(FAULTS + 1):
        floor.decide(market=old, quantity=1.0, signal={"price": 150.0})
    assert floor.hrm._sources.record("desk") is None


def test_a_good_record_raises_what_a_source_is_believed(tmp_path: Path) -> None:
    floor = Registered(tmp_path, REGISTER)
    levels = [floor.decide(f"S{number}", market=seen(), quantity=1.0).levels["truth"] for number in range(5)]
    assert levels == sorted(set(levels))
    assert floor.decide("S1", market=seen(), quantity=1.0, signal={"price": 105.0}).levels["truth"] < levels[0]


def test_what_is_held_for_a_person_is_counted_once(tmp_path: Path) -> None:
    floor = Registered(tmp_path, REGISTER)
    large = case_of(quantity=90.0, market=seen())
    floor.hold(large)
    assert floor.hrm._sources.record("desk") is None
    floor.answered(large, 1)
    assert floor.hrm._sources.record("desk") == Record(1, 0)


@pytest.mark.parametrize("entry", ['"private"', '{ standing = "exchange", quarantined = true }'])
def test_bars_of_a_source_that_is_not_to_be_listened_to_move_nothing(tmp_path: Path, entry: str) -> None:
    floor = Registered(tmp_path, f"[sources]\ndesk = {entry}\n")
    floor.decide("A", signal={"source": "other"})
    floor.fill(1, 1, symbol="A")
    fallen = Market(price=10.0, bar=bar_at(10.0), change_pct=-0.5)
    for symbol in ("A", "SPY", "VIX"):
        floor.judge(Case(Signal(symbol, "long", 10.0, action="observe", source="desk"), market=fallen))
    assert floor.hrm.portfolio.equity == 100_000
    assert floor.hrm.breakers == Breakers()
    assert floor.context.halt_reason is None
    for symbol in ("A", "SPY"):
        floor.judge(Case(Signal(symbol, "long", 10.0, action="observe", source="other"), market=fallen))
    assert floor.hrm.portfolio.equity == 95_500
    assert floor.hrm.breakers != Breakers()
