"""What slips through a check that is written carelessly: odd types, odd prices, odd moments."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest

from graveyard import judge
from tests.graveyard.cases import SHORT, spoken, triple


def test_a_price_from_nowhere_is_denied_on_paper_in_the_last_minutes_too() -> None:
    changes: dict[str, Any] = {"live": False, "last_price": D(50), "average_volume": None}
    assert spoken(judge(*triple(**changes)))["no_market_manipulation"] == "deny"
    assert spoken(judge(*triple(**changes, session_left_s=10.0)))["no_market_manipulation"] == "deny"


def test_the_loss_of_a_sale_at_the_market_is_counted_from_what_the_market_gives() -> None:
    # It fills at 100, from where the stop is 10 away, not 5.
    named = triple(SHORT, price=D(105), stop_loss=D(110), target=D(90), open_risk=D(4700))
    assert judge(*named).denied


def test_a_claim_that_is_no_number_is_denied_by_each_rule_that_reads_it() -> None:
    small = spoken(judge(*triple(position_size_pct=D(0), person=True)))
    assert small == {"max_position_size": "deny", "human_in_loop_critical": "deny"}
    assert spoken(judge(*triple(position_size_pct=D(0), person=True, quantity=D(90)))) == small


@pytest.mark.parametrize("value", ["", [], {}], ids=repr)
@pytest.mark.parametrize("field", ["orders", "recent", "client_orders"])
def test_what_is_empty_and_of_another_kind_is_denied(field: str, value: Any) -> None:
    assert judge(*triple(**{field: value})).denied


@pytest.mark.parametrize("value", [0, False], ids=repr)
def test_own_orders_that_are_none_but_no_list_are_denied(value: Any) -> None:
    assert judge(*triple(orders=value)).denied


@pytest.mark.parametrize("value", [0, "", "no"], ids=repr)
def test_a_persons_answer_that_is_none_is_denied(value: Any) -> None:
    assert judge(*triple(person=value)).denied
