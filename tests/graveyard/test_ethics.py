"""Every rule: passes just inside, denies just outside, denies by name when its fact is missing."""

from __future__ import annotations

import dataclasses
from decimal import Decimal as D
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graveyard import CEILINGS, RULES, Account, Action, Facts, Limits, judge, rule, ruleset_digest

ACTION = Action("trade", "AAPL", "buy", "market", D(50), D(100), D(95), D(110), D(1))
SHORT = Action("trade", "AAPL", "sell", "market", D(50), D(100), D(105), D(90), D(1))
ACCOUNT = Account(D(100_000), D(100_000), {}, D(0))
FACTS = Facts(False, "", D(100))
FIVE = {name: D(100) for name in ("A", "B", "C", "D", "E")}


def rules_against(
    action: dict[str, Any] | None = None,
    account: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
    base: Action = ACTION,
    limits: Limits = CEILINGS,
) -> dict[str, str]:
    judgement = judge(
        dataclasses.replace(base, **(action or {})),
        dataclasses.replace(ACCOUNT, **(account or {})),
        dataclasses.replace(FACTS, **(facts or {})),
        limits,
    )
    assert judgement.approved == (not judgement.findings)
    assert judgement.rules_checked == tuple(each.name for each in RULES)
    return {finding.rule.name: finding.message for finding in judgement.findings}


def test_a_sound_action_passes_every_rule() -> None:
    assert rules_against() == {}
    assert rules_against(base=SHORT) == {}


INSIDE_AND_OUTSIDE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("emergency_halt_enabled", {}, {"facts": {"halted": True, "halt_reason": "drill"}}),
    ("require_hrm_approval", {"action": {"kind": "trade"}}, {"action": {"kind": "TRADE"}}),
    ("require_hrm_approval", {}, {"action": {"kind": "delete"}}),
    ("require_hrm_approval", {}, {"action": {"kind": ""}}),
    ("require_hrm_approval", {}, {"action": {"symbol": "aapl"}}),
    ("require_hrm_approval", {}, {"action": {"symbol": "АAPL"}}),  # noqa: RUF001
    ("require_hrm_approval", {}, {"action": {"side": "hold"}}),
    ("require_hrm_approval", {}, {"action": {"entry": "stop"}}),
    ("max_position_size", {"action": {"quantity": D(100)}}, {"action": {"quantity": D("100.000001")}}),
    (
        "max_position_size",
        {"account": {"exposures": {"AAPL": D(5000)}}},
        {"account": {"exposures": {"AAPL": D("5000.01")}}},
    ),
    (
        "max_position_size",
        {"action": {"quantity": D(100)}, "facts": {"market_price": D(99)}},
        {"action": {"quantity": D(100)}, "facts": {"market_price": D("100.01")}},
    ),
    (
        "max_position_size",
        {"action": {"quantity": D(100), "entry": "limit"}, "facts": {"market_price": D(101)}},
        {"action": {"quantity": D(100), "entry": "limit", "price": D("100.01")}},
    ),
    (
        "max_position_size",
        {"action": {"position_size_pct": D("0.10")}},
        {"action": {"position_size_pct": D("0.1001")}},
    ),
    (
        "max_leverage",
        {"account": {"exposures": {"B": D(195_000)}}},
        {"account": {"exposures": {"B": D("195000.01")}}},
    ),
    ("max_leverage", {"action": {"leverage": D("2.0")}}, {"action": {"leverage": D("2.01")}}),
    (
        "max_concurrent_trades",
        {"account": {"exposures": dict(list(FIVE.items())[:4])}},
        {"account": {"exposures": FIVE}},
    ),
    (
        "max_concurrent_trades",
        {"account": {"exposures": {**dict(list(FIVE.items())[:4]), "AAPL": D(100)}}},
        {"account": {"exposures": FIVE}},
    ),
    ("max_daily_loss", {"account": {"open_risk": D(4750)}}, {"account": {"open_risk": D("4750.01")}}),
    ("max_daily_loss", {"account": {"equity": D(95_250)}}, {"account": {"equity": D("95249.99")}}),
    (
        "max_daily_loss",
        {"account": {"equity": D(98_000), "open_risk": D(2750)}},
        {"account": {"equity": D(98_000), "open_risk": D("2750.01")}},
    ),
    (
        "max_daily_loss",
        {"account": {"equity": D(150_000), "open_risk": D(4750)}},
        {"account": {"equity": D(150_000), "open_risk": D("4750.01")}},
    ),
    (
        "require_stop_loss",
        {"action": {"stop_loss": D(90), "target": D(120)}},
        {"action": {"stop_loss": D("89.99")}},
    ),
    ("require_stop_loss", {"action": {"stop_loss": D("99.99")}}, {"action": {"stop_loss": D("99.991")}}),
    ("require_stop_loss", {}, {"action": {"stop_loss": D(100)}}),
    ("require_stop_loss", {}, {"action": {"stop_loss": D("100.01")}}),
    (
        "require_stop_loss",
        {"action": {"price": D("0.5"), "stop_loss": D("0.4999"), "target": D("0.6")}},
        {"action": {"price": D("0.5"), "stop_loss": D("0.49991"), "target": D("0.6")}},
    ),
    ("min_risk_reward", {"action": {"target": D("107.50")}}, {"action": {"target": D("107.49")}}),
    ("min_risk_reward", {}, {"action": {"target": D(90)}}),
]


@pytest.mark.parametrize(("name", "inside", "outside"), INSIDE_AND_OUTSIDE)
def test_a_rule_passes_just_inside_and_denies_just_outside(
    name: str, inside: dict[str, Any], outside: dict[str, Any]
) -> None:
    assert rules_against(**inside) == {}
    assert name in rules_against(**outside)


SHORT_INSIDE_AND_OUTSIDE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "require_stop_loss",
        {"stop_loss": D(110), "target": D(85)},
        {"stop_loss": D("110.01"), "target": D(80)},
    ),
    ("require_stop_loss", {"stop_loss": D("100.01")}, {"stop_loss": D("99.99")}),
    ("min_risk_reward", {"target": D("92.50")}, {"target": D("92.51")}),
    ("max_position_size", {"quantity": D(100)}, {"quantity": D(101)}),
    ("max_position_size", {"entry": "limit"}, {"entry": "limit", "price": D(1), "quantity": D(101)}),
]


@pytest.mark.parametrize(("name", "inside", "outside"), SHORT_INSIDE_AND_OUTSIDE)
def test_a_short_is_judged_as_strictly_as_a_long(
    name: str, inside: dict[str, Any], outside: dict[str, Any]
) -> None:
    assert rules_against(inside, base=SHORT) == {}
    assert name in rules_against(outside, base=SHORT)


NEEDS: list[tuple[str, str, str]] = [
    ("emergency_halt_enabled", "facts", "halted"),
    ("max_position_size", "action", "quantity"),
    ("max_position_size", "action", "price"),
    ("max_position_size", "facts", "market_price"),
    ("max_position_size", "account", "equity"),
    ("max_position_size", "account", "exposures"),
    ("max_leverage", "action", "leverage"),
    ("max_leverage", "action", "quantity"),
    ("max_leverage", "action", "price"),
    ("max_leverage", "account", "equity"),
    ("max_leverage", "account", "exposures"),
    ("max_concurrent_trades", "account", "exposures"),
    ("max_daily_loss", "account", "equity"),
    ("max_daily_loss", "account", "day_start_equity"),
    ("max_daily_loss", "account", "open_risk"),
    ("max_daily_loss", "action", "quantity"),
    ("max_daily_loss", "action", "price"),
    ("max_daily_loss", "action", "stop_loss"),
    ("require_stop_loss", "action", "stop_loss"),
    ("require_stop_loss", "action", "price"),
    ("min_risk_reward", "action", "target"),
    ("min_risk_reward", "action", "stop_loss"),
    ("min_risk_reward", "action", "price"),
]
NONSENSE = [
    None, "100", 100.0, True, D("NaN"), D("sNaN"), D("Infinity"), D("-Infinity"), D(-1), D("1e308"), D("1e-308"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "where", "fact"), NEEDS)
def test_a_rule_whose_fact_is_missing_denies_and_names_the_fact(name: str, where: str, fact: str) -> None:
    arguments: dict[str, Any] = {where: {fact: None}}
    assert f"`{fact}` is missing" in rules_against(**arguments)[name]


@pytest.mark.parametrize("value", [*NONSENSE, D(0)])
@pytest.mark.parametrize(
    ("where", "fact"), sorted({(w, f) for _, w, f in NEEDS if f not in ("halted", "exposures", "open_risk")})
)
def test_a_number_that_is_none_is_never_approved(where: str, fact: str, value: Any) -> None:
    arguments: dict[str, Any] = {where: {fact: value}}
    assert rules_against(**arguments)


@pytest.mark.parametrize("value", NONSENSE)
def test_open_risk_and_exposures_that_are_nonsense_are_never_approved(value: Any) -> None:
    assert "max_daily_loss" in rules_against(account={"open_risk": value})
    assert "max_leverage" in rules_against(account={"exposures": {"B": value}})
    assert "max_position_size" in rules_against(account={"exposures": {"AAPL": value}})


@pytest.mark.parametrize("halted", [True, None, 0, "no", ""])
def test_only_a_plain_no_means_not_halted(halted: Any) -> None:
    assert "emergency_halt_enabled" in rules_against(facts={"halted": halted})


def test_a_halt_says_its_reason() -> None:
    reason = rules_against(facts={"halted": True, "halt_reason": "drill at noon"})
    assert "drill at noon" in reason["emergency_halt_enabled"]


def test_a_denial_shows_the_numbers_it_saw() -> None:
    message = rules_against({"quantity": D(60)}, {"exposures": {"AAPL": D(5000)}})["max_position_size"]
    assert message == (
        "AAPL would come to 11000 (held and reserved 5000, new 6000), 11 % of the equity 100000; the limit is 10 %"
    )


def test_all_rules_are_judged_though_the_first_denies() -> None:
    wrong = rules_against(
        {"kind": "x", "quantity": D(5000), "leverage": D(9), "stop_loss": D(50), "target": D(101)},
        {"exposures": FIVE},
        {"halted": True},
    )
    assert list(wrong) == [each.name for each in RULES]


numbers = st.one_of(
    st.decimals(min_value=D("0.01"), max_value=D(300), places=2),
    st.decimals(min_value=D(-10), max_value=D("1e13"), places=4),
    st.decimals(),
    st.none(),
)


@st.composite
def actions(draw: st.DrawFn) -> Action:
    """Half of them close to the limits, half of them anything."""
    price: D | None
    stop: D | None
    target: D | None
    quantity: D | None
    leverage: D | None
    if draw(st.booleans()):
        price = draw(st.decimals(min_value=D(1), max_value=D(200), places=2))
        stop = price * draw(st.decimals(min_value=D("0.88"), max_value=D("1.12"), places=3))
        target = price + (price - stop) * draw(st.decimals(min_value=D("1.3"), max_value=D(3), places=2))
        quantity = draw(st.decimals(min_value=D(1), max_value=D(11_000), places=0)) / price
        leverage = draw(st.decimals(min_value=D("0.5"), max_value=D("2.5"), places=1))
    else:
        price, stop, target, quantity, leverage = (draw(numbers) for _ in range(5))
    return Action(
        draw(st.sampled_from(["trade", "trade", "trade", "delete"])),
        draw(st.sampled_from(["A", "F"])),
        draw(st.sampled_from(["buy", "sell"])),
        draw(st.sampled_from(["market", "limit"])),
        quantity, price, stop, target, leverage,
    )  # fmt: skip


accounts = st.builds(
    Account,
    st.one_of(st.just(D(100_000)), st.decimals(min_value=D(94_000), max_value=D(110_000), places=2), numbers),
    st.one_of(st.just(D(100_000)), numbers),
    st.one_of(
        st.dictionaries(st.sampled_from("ABCDEF"), st.decimals(min_value=D(0), max_value=D(60_000), places=2)),
        st.none(),
    ),
    st.one_of(st.decimals(min_value=D(0), max_value=D(6000), places=2), numbers),
)


def _fine(*values: D | None) -> bool:
    return all(value is not None and value.is_finite() and value > 0 for value in values)


def breaks_a_limit(action: Action, account: Account, facts: Facts) -> bool:
    """The limits once more, written the plain way with fractions."""
    if action.kind != "trade" or facts.halted is not False or account.exposures is None:
        return True
    if not _fine(
        action.quantity, action.price, action.stop_loss, action.target, action.leverage, account.equity,
        account.day_start_equity, facts.market_price,
    ):  # fmt: skip
        return True
    if account.open_risk is None or not account.open_risk.is_finite() or account.open_risk < 0:
        return True
    quantity, price, stop, target, market, equity, start = (
        Fraction(value)  # type: ignore[arg-type]
        for value in (
            action.quantity, action.price, action.stop_loss, action.target, facts.market_price,
            account.equity, account.day_start_equity,
        )
    )  # fmt: skip
    worst = price if action.side == "buy" and action.entry == "limit" else max(price, market)
    held = {symbol: Fraction(value) for symbol, value in account.exposures.items()}
    sign = 1 if action.side == "buy" else -1
    risk, reward = (price - stop) * sign, (target - price) * sign
    tick = Fraction(1, 100) if price >= 1 else Fraction(1, 10_000)
    return (
        Fraction(action.leverage or 0) > 2
        or held.get(action.symbol, 0) + quantity * worst > equity / 10
        or sum(held.values()) + quantity * worst > 2 * equity
        or len({*held, action.symbol}) > max(5, len(held))
        or max(start - equity, Fraction(0)) + Fraction(account.open_risk) + quantity * abs(price - stop)
        > start / 20
        or not tick <= risk <= price / 10
        or reward < risk * Fraction(3, 2)
    )


@given(actions(), accounts, st.decimals(min_value=D(1), max_value=D(200), places=2))
def test_no_action_that_breaks_a_limit_is_ever_approved(action: Action, account: Account, market: D) -> None:
    facts = Facts(False, "", market)
    judgement = judge(action, account, facts)
    assert not (judgement.approved and breaks_a_limit(action, account, facts))
    assert judge(action, account, facts) == judgement


@given(actions(), accounts)
def test_tightening_never_approves_more(action: Action, account: Account) -> None:
    tight = Limits(D("0.05"), D("1.5"), 3, D("0.02"), D("2.0"))
    if judge(action, account, FACTS, tight).approved:
        assert judge(action, account, FACTS).approved


def test_stricter_limits_are_applied_and_named() -> None:
    tight = Limits(max_position_size=D("0.04"))
    assert "the limit is 4 %" in rules_against(limits=tight)["max_position_size"]


@pytest.mark.parametrize(
    ("name", "value", "ceiling"),
    [
        ("max_position_size", D("0.1001"), "0.10"),
        ("max_leverage", D("2.1"), "2.0"),
        ("max_concurrent_trades", 6, "5"),
        ("max_daily_loss", D("0.06"), "0.05"),
        ("min_risk_reward", D("1.49"), "1.5"),
    ],
)
def test_looser_limits_are_refused_naming_both_values(name: str, value: Any, ceiling: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} = {value} is looser than the Graveyard's {ceiling}"):
        Limits(**{name: value})


@pytest.mark.parametrize("value", [D("NaN"), D(0), D(-1), 0.1, True, None, "0.1", D("Infinity")])
@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits)])
def test_a_limit_that_makes_no_sense_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: value})


def test_limits_rules_and_inputs_cannot_be_written_to() -> None:
    for thing, name in (
        (CEILINGS, "max_leverage"),
        (RULES[0], "value"),
        (ACTION, "kind"),
        (ACCOUNT, "equity"),
    ):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, None)


def test_the_graveyard_says_what_the_limits_are() -> None:
    for field in dataclasses.fields(Limits):
        assert getattr(CEILINGS, field.name) == rule(field.name).value
    assert {each.category for each in RULES} <= {
        "trading",
        "risk",
        "governance",
        "privacy",
        "integrity",
        "autonomy",
    }


def test_every_rule_is_covered_by_the_tables_above() -> None:
    assert {name for name, *_ in INSIDE_AND_OUTSIDE} == {each.name for each in RULES}


def test_the_digest_follows_the_limits_in_force() -> None:
    assert len(ruleset_digest()) == 64
    assert ruleset_digest() == ruleset_digest(Limits(max_position_size=D("0.1")))
    assert ruleset_digest() != ruleset_digest(Limits(max_position_size=D("0.09")))
