"""What HRM tells in figures: each decision once, and the account as it stands."""

from __future__ import annotations

from collections import Counter

import pytest

from actors.figures import DECISIONS, RULE_NAMES
from tests.actors.floor import DAY, Floor, case_of, trace

LARGE = case_of(quantity=90.0)
"""A plan that a person is asked about."""


def decided(floor: Floor) -> dict[tuple[str, str], float]:
    counted: Counter[tuple[str, str]] = Counter()
    for name, labels, value in floor.context.measured:
        if name == "ark_decisions_total":
            counted[labels["result"], labels["level"]] += int(value)
    return {key: value for key, value in counted.items() if value}


def test_every_rule_and_every_way_to_decide_is_there_from_the_beginning() -> None:
    floor = Floor()
    told = [(name, labels) for name, labels, value in floor.context.measured if not value]
    assert len({labels["rule_id"] for name, labels in told if name == "hrm_denials_total"}) == len(RULE_NAMES)
    assert {labels["breaker"] for name, labels in told if name == "ark_breaker_trips_total"} == {
        "CB-001", "CB-002", "CB-003",
    }  # fmt: skip
    assert len([each for name, each in told if name == "ark_decisions_total"]) == len(DECISIONS)
    assert floor.context.latest("graveyard_validations_total") == 0
    assert set(floor.decide().rules_checked) <= set(RULE_NAMES)


def test_each_decision_is_counted_with_each_rule_that_denied_it() -> None:
    floor = Floor()
    floor.decide()
    denied = floor.denied_by(quantity=500.0, leverage=9.0)
    assert len(denied) > 1
    for name in RULE_NAMES:
        counted = floor.context.counted("hrm_denials_total", rule_id=name, action_type="trade")
        assert counted == (name in denied), name
    assert decided(floor) == {("approved", "synthesis"): 1, ("denied", "graveyard"): 1}
    assert floor.context.latest("graveyard_validations_total") == 2


@pytest.mark.parametrize("approved", [True, False])
def test_what_a_person_is_asked_about_is_held_once_and_decided_once(approved: bool) -> None:
    floor = Floor()
    floor.hold(LARGE)
    floor.context.attempt = 2
    floor.restart()
    floor.hold(LARGE, 1)  # sent again, before he has answered
    assert decided(floor) == {("held", "graveyard"): 1}
    assert floor.context.counted("hrm_denials_total") == 0, "to be asked about is not to be denied"
    answer = floor.answered(LARGE, 1, approved=approved)
    assert decided(floor) == {("held", "graveyard"): 1, ("approved" if approved else "denied", "person"): 1}
    assert answer.decision is not None
    assert floor.context.counted("hrm_denials_total") == len(answer.decision.violations) == (not approved)
    assert floor.context.latest("graveyard_validations_total") == 2


def test_a_signal_without_a_plan_counts_nothing() -> None:
    floor = Floor()
    floor.bar("AAPL", 101.0)
    assert decided(floor) == {}
    assert floor.context.latest("graveyard_validations_total") == 0


def test_a_breaker_counts_when_it_opens_and_not_while_it_holds() -> None:
    floor = Floor()
    floor.decide()
    floor.fill(1, 1)
    for close in (55.0, 54.0):
        floor.bar("AAPL", close)
    assert floor.context.counted("ark_breaker_trips_total", breaker="CB-001") == 1
    assert floor.context.counted("ark_breaker_trips_total") == 1


class TestTheAccount:
    def test_it_is_shown_at_once_and_then_when_it_has_changed(self) -> None:
        floor = Floor()
        assert floor.context.shown["portfolio"] == {
            "equity": "100000", "cash": "100000", "currency": "USD", "day_change": 0.0, "drawdown": 0.0,
            "positions": [], "opened": [],
        }  # fmt: skip
        floor.context.shown.clear()
        floor.tick()
        assert floor.context.shown == {}
        floor.decide()
        floor.fill(1, 1)
        assert floor.context.shown == {}, "a signal does not pay for it"
        floor.bar("AAPL", 90.0)
        floor.tick()
        assert floor.context.shown["portfolio"] == {
            "equity": "99500", "cash": "95000", "currency": "USD", "day_change": -0.005, "drawdown": 0.005,
            "positions": [
                {
                    "symbol": "AAPL", "side": "long", "quantity": "50", "entry_price": "100", "price": "90",
                    "value": "4500", "profit": "-500",
                }
            ],
            "opened": [{"symbol": "AAPL", "source": "desk", "band": "1e3.5"}],
        }  # fmt: skip
        figures = ("ark_equity", "ark_drawdown_ratio", "ark_open_positions", "ark_exposure_ratio")
        assert [floor.context.latest(name) for name in figures] == [99_500, 0.005, 1, pytest.approx(4500 / 99_500)]

    def test_what_is_promised_is_exposure_and_no_position(self) -> None:
        floor = Floor()
        floor.decide()
        floor.tick()
        assert floor.context.latest("ark_exposure_ratio") == 0.05
        assert floor.context.latest("ark_open_positions") == 0

    def test_what_opened_a_symbol_is_shown_until_nothing_of_it_is_held_or_promised(self) -> None:
        def opened() -> dict[str, tuple[str | None, str | None]]:
            floor.tick()
            shown = floor.context.shown["portfolio"]
            again = floor.restart() and floor.context.shown["portfolio"]
            assert again["opened"] == shown["opened"]
            return {each["symbol"]: (each["source"], each["band"]) for each in shown["opened"]}

        floor = Floor()
        floor.judge(case_of(signal={"source": "news"}))
        assert opened() == {"AAPL": ("news", "1e3.5")}, "the order works"
        floor.fill(1, 1, quantity=20)
        floor.judge(case_of(quantity=10.0, signal={"source": "desk"}))
        floor.judge(case_of("MSFT", quantity=10.0, signal={"source": "desk"}))
        both = {"AAPL": ("news", "1e3.5"), "MSFT": ("desk", "1e3")}
        assert opened() == both, "the second signal for a symbol has opened nothing"
        floor.fill(2, 1, quantity=30)
        assert opened() == both
        floor.fill(3, 1, "stop", 95, "sell", quantity=50)
        assert opened() == {**both, "AAPL": ("desk", "1e3")}
        floor.fill(4, 2, "cancel", 0, quantity=0)
        floor.fill(5, 3, "cancel", 0, quantity=0, symbol="MSFT")
        assert opened() == {}
        assert not floor.context.database.execute("SELECT * FROM hrm_origins").fetchall()

    def test_what_was_opened_without_ark_came_from_nobody_knows_where(self) -> None:
        floor = Floor()
        floor.fill(1, 7)
        floor.tick()
        assert floor.context.shown["portfolio"]["opened"] == [{"symbol": "AAPL", "source": None, "band": None}]

    def test_it_outlives_the_process_with_its_highest_equity(self) -> None:
        floor = Floor(currency="EUR")
        floor.decide()
        floor.fill(1, 1)
        floor.bar("AAPL", 120.0)
        floor.tick()
        floor.bar("AAPL", 110.0)
        floor.tick(DAY)
        before = floor.context.shown.pop("portfolio")
        floor.context.measured.clear()
        floor.restart()
        assert floor.context.shown["portfolio"] == before
        assert (before["currency"], before["equity"], before["positions"][0]["profit"]) == ("EUR", "100500", "500")
        assert before["drawdown"] == floor.context.latest("ark_drawdown_ratio") == pytest.approx(500 / 101_000)
        assert before["day_change"] == 0.0

    def test_an_account_that_only_ever_fell_keeps_what_it_began_with(self) -> None:
        floor = Floor()
        floor.decide()
        floor.fill(1, 1)
        floor.bar("AAPL", 90.0)
        floor.tick()
        before = floor.context.shown["portfolio"]
        floor.restart()
        assert floor.context.shown["portfolio"] == before
        assert before["drawdown"] == 0.005

    def test_an_account_that_owes_more_than_it_has_is_told_without_a_number_that_lies(self) -> None:
        floor = Floor(starting_equity="10")
        floor.fill(1, 7, quantity=1000)
        floor.bar("AAPL", 1.0)
        floor.tick()
        assert floor.context.latest("ark_equity") == 10 - 99_000
        assert floor.context.latest("ark_exposure_ratio") == float("inf")


def test_a_trace_names_no_series() -> None:
    floor = Floor()
    floor.decide()
    floor.tick()
    assert trace(1) not in str(floor.context.measured)
