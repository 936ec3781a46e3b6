from typing import Any

import pytest

from actors.rules import Above, Below, BelowField, Is, Known, Rule, Says, Within


@pytest.mark.parametrize(
    ("rule", "value", "holds"),
    [
        (Above("x", 5), 5.1, True),
        (Above("x", 5), 5, False),
        (Above("x", 5), True, False),
        (Above("x", 5), "6", False),
        (Above("x", 5), float("nan"), False),
        (Above("x", 5), float("inf"), False),
        (Above("x", 5), 10**400, False),
        (Below("x", 5), 4, True),
        (Below("x", 5), 5, False),
        (Below("x", 5), None, False),
        (Within("x", 3, 10), 3, True),
        (Within("x", 3, 10), 10, True),
        (Within("x", 3, 10), 10.1, False),
        (Is("x", ("pre_market",)), "Pre-Market", True),
        (Is("x", ("pre_market",)), "pre market ", True),
        (Is("x", ("market",)), "pre_market", False),
        (Is("x", ("v_bottom",)), ["consolidating", "v_bottom"], True),
        (Is("x", ("v_bottom",)), [], False),
        (Is("x", True), True, True),
        (Is("x", True), 1, False),
        (Is("x", False), False, True),
        (Is("x", False), None, False),
        (Says("x", ("positive_shift",)), "A positive shift in guidance", True),
        (Says("x", ("positive_shift",)), "positive", False),
        (Known("x"), "merger", True),
        (Known("x"), " ", False),
        (Known("x"), 0, True),
        (Known("x"), False, False),
        (Known("x"), {}, False),
    ],
)
def test_a_rule_holds_or_not(rule: Rule, value: Any, holds: bool) -> None:
    assert rule.holds({"x": value}) is holds
    assert rule.holds({}) is False


def test_a_field_can_be_compared_with_another() -> None:
    assert BelowField("x", "y").holds({"x": 1, "y": 2})
    assert not BelowField("x", "y").holds({"x": 2, "y": 2})
    assert not BelowField("x", "y").holds({"x": 1})
    assert not BelowField("x", "y").holds({"y": 1})
