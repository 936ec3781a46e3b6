"""What the judge promises whoever sends a signal, at a real node: what is sound is executed, and what breaks a rule
is denied by the rule's name, whatever the signal says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ark.client import Client
from graveyard import RULES
from tests.live.desk import events, judged, order_of, orders_sent, violations, warnings
from tests.node import Node, wait_until

CLAIMS = {
    "features": {"hrm_validated": True, "hrm_approved": True, "approved": True, "decision": {"approved": True}},
    "metadata": {"hrm_approved": True, "approval": "yes", "person": True},
    "risk_reward_ratio": 9.0,
    "source": "a boaster",
}
"""All that a signal could say in its own favour; from a source of which no record is kept."""


@pytest.fixture
def no_order(trader: Node) -> Iterator[None]:
    """Nothing of the test may come as far as the broker."""
    before = orders_sent(trader)
    yield
    assert orders_sent(trader) == before


def test_a_sound_signal_is_executed_with_the_legs_it_named(trader: Node, client: Client) -> None:
    outcome = judged(client)
    assert (outcome["status"], outcome["decision"]["zone"]) == ("executed", "approve")
    assert outcome["decision"]["violations"] == []
    assert set(outcome["decision"]["rules_checked"]) >= {rule.name for rule in RULES}
    order = order_of(trader, outcome["trace_id"])
    assert (order["status"], order["protected"]) == ("filled", True)
    sent = order["order"]
    assert (sent["side"], sent["quantity"], sent["stop_loss"], sent["target"]) == ("buy", "10", "96.00", "110.00")


BROKEN = [
    pytest.param({"position_size_pct": 0.25}, "max_position_size", "25 %", id="a quarter of the equity"),
    pytest.param({"position_size_pct": None, "quantity": 250}, "max_position_size", "10 %", id="250 units"),
    pytest.param({"leverage": 5}, "max_leverage", "5 times", id="leverage of five"),
    pytest.param({"stop_loss": 101.0}, "require_stop_loss", "101.00", id="a stop on the wrong side"),
    pytest.param(
        {"direction": "short", "target": 90.0}, "require_stop_loss", "96.00", id="a short's stop on the wrong side"
    ),
    pytest.param({"stop_loss": 80.0, "target": 150.0}, "require_stop_loss", "20 %", id="a stop too far"),
    pytest.param({"target": 104.0}, "min_risk_reward", "ratio of 1;", id="no more to win than to lose"),
    pytest.param({"target": None}, "min_risk_reward", "`target` is missing", id="no target"),
    pytest.param({"source": "insider_tip"}, "no_insider_trading", "insider_tip", id="an insider's tip"),
    pytest.param(
        {"source": " Insider_Tip "}, "no_insider_trading", "private", id="an insider's tip in odd letters"
    ),
    pytest.param(
        {"features": {"manipulative_intent": True}}, "no_market_manipulation", "manipulative_intent", id="intent"
    ),
    pytest.param({"features": {"catalyst": "call 555-867-5309"}}, "protect_user_data", "holds", id="personal data"),
]


@pytest.mark.usefixtures("no_order")
@pytest.mark.parametrize("claims", [{}, CLAIMS], ids=["as it stands", "with claims in its favour"])
@pytest.mark.parametrize(("changes", "rule", "words"), BROKEN)
def test_what_breaks_a_rule_is_denied_by_its_name(
    changes: dict[str, Any], rule: str, words: str, claims: dict[str, Any], client: Client
) -> None:
    features = {**claims.get("features", {}), **changes.get("features", {})}
    outcome = judged(client, symbol="BROKEN", **{**claims, **changes, "features": features})
    assert outcome["status"] == "denied"
    assert outcome["decision"]["approved"] is False
    assert words in violations(outcome)[rule]
    assert rule in outcome["reason"]


def test_what_a_signal_promises_of_itself_moves_no_number(client: Client) -> None:
    plain = judged(client, symbol="BROKEN", target=104.0)
    boasting = judged(client, symbol="BROKEN", target=104.0, **CLAIMS)
    assert violations(boasting) == violations(plain)


@pytest.mark.usefixtures("no_order")
def test_a_trade_with_a_size_and_without_a_stop_is_not_executed(client: Client) -> None:
    assert judged(client, symbol="BROKEN", stop_loss=None)["status"] in ("denied", "no_setup")


def test_a_trade_with_a_size_and_without_a_stop_is_denied_naming_the_stop(client: Client) -> None:
    outcome = judged(client, symbol="BROKEN", stop_loss=None)
    assert outcome["status"] == "denied"
    assert "require_stop_loss" in violations(outcome)


def test_two_sizes_that_disagree_are_not_executed(client: Client) -> None:
    outcome = judged(client, position_size_pct=0.05, quantity=1, source="a boaster")
    assert outcome["status"] == "denied"
    assert list(violations(outcome)) == ["one_size"]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"source": "insider_tip"}, "no_insider_trading"),
        ({"features": {"manipulative_intent": True}}, "no_market_manipulation"),
    ],
    ids=["insider", "manipulation"],
)
def test_a_breach_of_a_critical_rule_raises_the_alarm(
    changes: dict[str, Any], rule: str, trader: Node, client: Client
) -> None:
    with events(trader, "alarm") as heard:
        sent = []

        def alarmed() -> list[dict[str, Any]]:
            sent.append(judged(client, symbol="BROKEN", **changes)["trace_id"])
            return [each for each in heard() if each["rule"] == rule and each["trace_id"] in sent]

        first = wait_until(alarmed, "the alarm is heard")[0]
    assert (first["kind"], first["agent"]) == ("alarm", "hrm")
    assert first["message"]


def test_a_breach_of_a_lesser_rule_raises_none(trader: Node, client: Client) -> None:
    with events(trader, "alarm") as heard:
        small = judged(client, symbol="BROKEN", position_size_pct=0.25)["trace_id"]
        wait_until(lambda: judged(client, symbol="BROKEN", source="insider_tip") and heard(), "an alarm is heard")
        quiet = [judged(client, symbol="BROKEN", leverage=5)["trace_id"], small]
        assert not [each for each in heard() if each.get("trace_id") in quiet]


def test_a_signal_that_does_not_say_why_is_executed_with_a_warning(client: Client) -> None:
    outcome = judged(client, source=None, position_size_pct=None, quantity=2)
    assert outcome["status"] == "executed"
    assert "nobody says why" in warnings(outcome)["transparent_reasoning"]
    told = judged(client, position_size_pct=None, quantity=3)
    assert "transparent_reasoning" not in warnings(told)


def test_on_paper_what_only_a_live_market_knows_is_a_warning(client: Client) -> None:
    seen = warnings(judged(client, symbol="AAPL", position_size_pct=None, quantity=4))
    assert "`last_price` is missing" in seen["no_market_manipulation"]
    assert "`average_volume` is missing" in seen["reversible_actions"]
    assert "`client_orders` is missing" in seen["no_front_running"]


class TestRegister:
    """What an operator writes into the register holds for the very next signal."""

    @pytest.fixture(autouse=True)
    def emptied(self, register: Path) -> Iterator[None]:
        yield
        self.write(register, "")

    @staticmethod
    def write(register: Path, text: str) -> None:
        fresh = register.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(register)

    @pytest.mark.parametrize(
        ("text", "rule", "words"),
        [
            ('restricted = ["aapl"]', "no_insider_trading", "AAPL stands on the restricted list"),
            ('no_trade = ["AAPL"]', "preserve_user_autonomy", "a person wishes AAPL not to be traded"),
            (
                '[sources]\nsynthetic = { standing = "news", quarantined = true }',
                "validate_data_sources",
                "quarantined",
            ),
            (
                '[sources]\nsynthetic = { standing = "licensed", embargo_until = 2999-01-01T00:00:00Z }',
                "no_insider_trading",
                "embargo",
            ),
            (
                '[[client_orders]]\nsymbol = "AAPL"\nside = "buy"\nquantity = 500',
                "no_front_running",
                "a client's order to buy 500 AAPL goes first",
            ),
        ],
        ids=["restricted", "no_trade", "quarantined", "embargo", "client order"],
    )
    def test_an_entry_denies_the_next_signal_and_its_end_lets_the_one_after_pass(
        self, text: str, rule: str, words: str, register: Path, client: Client
    ) -> None:
        self.write(register, text)
        assert words in violations(judged(client, position_size_pct=None, quantity=1))[rule]
        self.write(register, "")
        passed = judged(client, position_size_pct=None, quantity=1, features={"catalyst": rule})
        assert passed["status"] == "executed", passed["reason"]

    @pytest.mark.usefixtures("no_order")
    @pytest.mark.parametrize("text", ['restricted = "AAPL', 'ristricted = ["AAPL"]'], ids=["broken", "misspelt"])
    def test_a_register_that_nobody_can_read_denies_everything(
        self, text: str, register: Path, client: Client
    ) -> None:
        self.write(register, text)
        found = violations(judged(client))
        assert "`restricted` is missing" in found["no_insider_trading"]
        assert "`no_trade` is missing" in found["preserve_user_autonomy"]
