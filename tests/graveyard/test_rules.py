"""The rules as data: complete, frozen, as the original had them, and never looser than that."""

from __future__ import annotations

import dataclasses
import re
from decimal import Decimal as D
from typing import Any

import pytest

from graveyard import CATEGORIES, CEILINGS, RULES, Limits, Rule, judge, rule, rules, ruleset_digest, tick_of
from graveyard.rules import DATA_KINDS, FORBIDDEN, KINDS, SENSITIVITIES
from tests.graveyard.cases import LONG, NAMES, triple

ORIGINAL: dict[str, dict[str, tuple[Any, str]]] = {
    "trading": {
        "no_insider_trading": (True, "CRITICAL"),
        "no_market_manipulation": (True, "CRITICAL"),
        "no_pump_and_dump": (True, "HIGH"),
        "no_front_running": (True, ""),
    },
    "risk": {
        "max_position_size": (D("0.10"), "HIGH"),
        "max_daily_loss": (D("0.05"), "CRITICAL"),
        "max_leverage": (D("2.0"), "MEDIUM"),
        "require_stop_loss": (True, "MEDIUM"),
        "min_risk_reward": (D("1.5"), "MEDIUM"),
        "max_concurrent_trades": (5, "LOW"),
    },
    "governance": {
        "require_hrm_approval": (True, "HIGH"),
        "audit_all_actions": (True, ""),
        "user_override_allowed": (True, ""),
        "emergency_halt_enabled": (True, ""),
    },
    "privacy": {
        "protect_user_data": (True, "HIGH"),
        "require_consent": (True, ""),
        "anonymize_logs": (True, "MEDIUM"),
        "encrypt_credentials": (True, ""),
    },
    "integrity": {
        "immutable_graveyard": (True, "CRITICAL"),
        "watchdog_monitoring": (True, ""),
        "validate_data_sources": (True, "LOW"),
        "prevent_infinite_loops": (True, ""),
    },
    "autonomy": {
        "preserve_user_autonomy": (True, ""),
        "transparent_reasoning": (True, ""),
        "reversible_actions": (True, ""),
        "human_in_loop_critical": (True, ""),
    },
}
"""The 26 rules of ARK 1.0.0 by category, with their values, and the severities of those 14 that had one."""


@pytest.mark.parametrize(
    ("category", "name"),
    [pytest.param(category, name, id=f"G2 {name}") for category, named in ORIGINAL.items() for name in named],
)
def test_every_rule_has_the_value_and_the_severity_of_the_original(category: str, name: str) -> None:
    value, severity = ORIGINAL[category][name]
    found = rule(name)
    assert (found.category, found.value, type(found.value)) == (category, value, type(value))
    assert found.severity == severity or not severity
    assert found.severity in ("CRITICAL", "HIGH", "MEDIUM", "LOW")
    assert found.alarms == (found.severity == "CRITICAL")
    assert found.protects.endswith(".")
    assert found.source.startswith("The Graveyard of ARK 1.0.0")


def test_there_are_26_rules_and_14_severities_of_the_original() -> None:
    assert len(RULES) == len(set(NAMES)) == 26
    assert sum(bool(severity) for named in ORIGINAL.values() for _, severity in named.values()) == 14
    assert set(NAMES) == {name for named in ORIGINAL.values() for name in named}


def test_G3_six_categories_each_with_rules() -> None:
    assert set(CATEGORIES) == set(ORIGINAL)
    for category, named in ORIGINAL.items():
        assert {each.name for each in RULES if each.category == category} == set(named)


def test_all_rules_deny_but_the_one_that_asks_why() -> None:
    assert [each.name for each in RULES if not each.denies] == ["transparent_reasoning"]
    assert {each.name for each in RULES if each.halts} == {"immutable_graveyard", "max_daily_loss"}


def test_a_rule_that_does_not_exist_has_no_limit() -> None:
    with pytest.raises(KeyError):
        rule("max_position")


def test_rules_limits_kinds_and_inputs_cannot_be_written_to() -> None:
    things: list[Any] = [CEILINGS, *RULES, *triple(), judge(*triple())]
    for thing in things:
        for field in dataclasses.fields(thing):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(thing, field.name, None)
            with pytest.raises(dataclasses.FrozenInstanceError):
                delattr(thing, field.name)
        assert not hasattr(thing, "__dict__")
    for mapping in (KINDS, rules._BY_NAME):
        with pytest.raises(TypeError):
            mapping["trade"] = ""  # type: ignore[index]
    assert isinstance(RULES, tuple)
    assert all(isinstance(term, tuple) for each in RULES for term in each.terms)


def test_the_kinds_are_trades_data_and_nothing_else() -> None:
    assert set(KINDS) == {"trade", *DATA_KINDS}
    assert not set(KINDS) & set(FORBIDDEN)
    assert [kind for kind, way in KINDS.items() if not way] == ["share_data", "delete_data"]
    assert SENSITIVITIES == ("public", "internal", "personal", "secret")


def test_the_step_of_prices_is_smaller_below_one() -> None:
    assert [tick_of(D(price)) for price in ("0.9999", "1", "1.0001", "5000")] == [
        D("0.0001"), D("0.01"), D("0.01"), D("0.01")
    ]  # fmt: skip


LIMITS = [field.name for field in dataclasses.fields(Limits)]


def test_the_limits_are_those_of_the_rules() -> None:
    assert set(LIMITS) == {each.name for each in RULES if type(each.value) is not bool}
    assert all(getattr(CEILINGS, name) == rule(name).value for name in LIMITS)


@pytest.mark.parametrize(
    ("name", "value", "ceiling"),
    [
        ("max_position_size", D("0.1001"), "0.10"),
        ("max_leverage", D("2.0000001"), "2.0"),
        ("max_concurrent_trades", 6, "5"),
        ("max_daily_loss", D("0.06"), "0.05"),
        ("min_risk_reward", D("1.49"), "1.5"),
    ],
)
def test_looser_limits_are_refused_naming_both_values(name: str, value: Any, ceiling: str) -> None:
    with pytest.raises(
        ValueError, match=rf"^{name} = {value} is looser than the Graveyard's {re.escape(ceiling)}$"
    ):
        Limits(**{name: value})


@pytest.mark.parametrize(
    "value",
    [D("NaN"), D("sNaN"), D(0), 0, D(-1), -1, 0.1, float("nan"), True, None, "0.1", D("Infinity")],
    ids=repr,
)
@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_that_makes_no_sense_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: value})


@pytest.mark.parametrize(
    ("name", "tight", "changes", "says"),
    [
        ("max_position_size", D("0.04"), {}, "the limit is 4 %"),
        ("max_leverage", D("1.2"), {"leverage": D("1.3")}, "the limit is 1.2"),
        ("max_concurrent_trades", 1, {"exposures": {"A": D(1)}}, "the limit is 1"),
        ("max_daily_loss", D("0.002"), {}, "the limit is 0.2 %"),
        ("min_risk_reward", D("2.5"), {}, "the limit is 2.5"),
    ],
)
def test_a_stricter_limit_is_applied_and_named(name: str, tight: Any, changes: Any, says: str) -> None:
    found = judge(*triple(LONG, **changes), Limits(**{name: tight})).findings
    assert [each.rule.name for each in found] == [name]
    assert says in found[0].message
    assert judge(*triple(LONG, **changes)).approved


def test_the_digest_follows_the_limits_in_force() -> None:
    assert re.fullmatch("[0-9a-f]{64}", ruleset_digest())
    assert ruleset_digest() == ruleset_digest(Limits(max_position_size=D("0.1")))
    assert len({ruleset_digest(), *(ruleset_digest(Limits(**{name: _tighter(name)})) for name in LIMITS)}) == 6


def _tighter(name: str) -> Any:
    return {"max_concurrent_trades": 4, "min_risk_reward": D(2)}.get(name, D("0.01"))


CHANGED: dict[str, Any] = {
    "name": "another", "category": "privacy", "value": D("0.01"), "severity": "LOW", "protects": "Nobody.",
    "source": "Nobody", "terms": (("other", "1"),), "denies": False, "halts": None,
}  # fmt: skip


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Rule)])
@pytest.mark.parametrize("at", range(26))
def test_the_digest_changes_with_every_field_of_every_rule(
    at: int, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, value = ruleset_digest(), CHANGED[field]
    was = getattr(RULES[at], field)
    value = not was if field in ("denies", "halts") else "HIGH" if value == was == "LOW" else value
    value = "risk" if value == was == "privacy" else value
    monkeypatch.setattr(
        rules, "RULES", (*RULES[:at], dataclasses.replace(RULES[at], **{field: value}), *RULES[at + 1 :])
    )
    assert ruleset_digest() != before


def test_the_digest_changes_with_the_order_of_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ruleset_digest()
    monkeypatch.setattr(rules, "RULES", RULES[::-1])
    assert ruleset_digest() != before


CONSTANTS = [
    name for name in vars(rules)
    if re.fullmatch("[A-Z][A-Z_]+", name) and name not in ("RULES", "CEILINGS", "CATEGORIES")
]  # fmt: skip


@pytest.mark.parametrize("name", CONSTANTS)
def test_every_constant_that_the_checks_use_stands_in_a_rule_and_so_in_the_digest(name: str) -> None:
    value = getattr(rules, name)
    text = " ".join(value) if isinstance(value, tuple) else str(value)
    key = {"KINDS": "actions"}.get(name, name.lower())
    if name == "KINDS":
        text = " ".join(value)
    terms = {term for each in RULES for term in each.terms}
    assert (key, text) in terms or (key.removesuffix("_stop"), text) in terms
