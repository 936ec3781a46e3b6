"""List every rule with its value, and what it said today.

First the Graveyard's rules, which no setting loosens, with the limits in force where they are stricter; then the
operator's ruleset. Days are UTC. Works without a running node, too.
"""

from __future__ import annotations

import argparse
import json
import time
from decimal import Decimal
from typing import Any

from actors.books import Books
from actors.policy import LIMITS, Policy
from actors.ruleset import Ruleset
from actors.ruleset_book import RULESET_RULES, RulesetRule
from ark.errors import JournalError
from ark.home import Home
from ark.journal import open_for_reading
from graveyard import CATEGORIES, RULES

__all__ = ["HELP", "configure", "policy_of", "run"]

HELP = "every rule, its value, and what it said today"
JUDGE = "hrm"
"""The agent whose rules they are."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""


def policy_of(home: Home) -> Policy:
    """The judge's settings at the last start over a home; the defaults where there was none.

    Raises:
        ConfigError: They make no sense to this version.
    """
    agents = home.settings().get("agents", {})
    return Policy.of(agents.get(JUDGE, {}).get("settings", {}), JUDGE)


def run(arguments: argparse.Namespace) -> int:
    """Print the rules."""
    home = Home(arguments.home)
    policy = policy_of(home)
    counts = _counts(home)
    graveyard = [
        {
            "rule": rule.name,
            "category": rule.category,
            "value": _plain(getattr(policy, rule.name) if rule.name in LIMITS else rule.value),
            "ceiling": _plain(rule.value),
            "severity": rule.severity,
            "protects": rule.protects,
            "source": rule.source,
            "today": counts.get(rule.name, {}),
        }
        for rule in RULES
    ]
    ruleset = policy.rules().ruleset
    own = [
        {
            "rule": rule.title,
            "stage": rule.stage,
            "value": _value(rule, ruleset),
            "severity": ruleset.severity.get(rule.id, rule.severity),
            "enabled": rule.id not in ruleset.disabled,
            "today": counts.get(rule.title, {}),
        }
        for rule in RULESET_RULES
    ]
    if arguments.json:
        print(json.dumps({"graveyard": graveyard, "ruleset": own, "decisions_today": counts.get("", {})}, indent=2))
        return 0
    print("\n".join(_table(graveyard, own, counts)))
    return 0


def _value(rule: RulesetRule, ruleset: Ruleset) -> Any:
    """What stands behind a rule: its setting of the same name, or the ones that it looks at."""
    breakers = ruleset.breakers
    of_several = {
        "DATA-002": [ruleset.min_plausible_price, ruleset.max_plausible_price],
        "DATA-003": ruleset.max_age_s,
        "RISK-005": [ruleset.max_position_size_at_wide_range, ruleset.wide_range_atr],
        "CB-001": [breakers.day_loss.threshold, f"{breakers.day_loss.minutes} min"],
        "CB-002": [breakers.losing_run.threshold, f"x {breakers.losing_run.factor}"],
        "CB-003": [breakers.market.threshold, f"{breakers.market.minutes} min"],
    }
    value = of_several.get(rule.id, getattr(ruleset, rule.name, None))
    return _plain(tuple(value) if isinstance(value, list) else value)


def _counts(home: Home) -> dict[str, dict[str, int]]:
    """What each rule said today, by rule and word; nothing where nobody judged yet."""
    try:
        connection = open_for_reading(home.data / f"{JUDGE}.db")
    except JournalError:
        return {}
    found: dict[str, dict[str, int]] = {}
    try:
        for (rule, word), times in Books.counted(connection, int(time.time() // 86_400)).items():
            found.setdefault(rule, {})[word] = times
    finally:
        connection.close()
    return found


def _table(
    graveyard: list[dict[str, Any]], own: list[dict[str, Any]], counts: dict[str, dict[str, int]]
) -> list[str]:
    lines = [f"{'THE GRAVEYARD':28} {'VALUE':>10}  {'SEVERITY':9} TODAY"]
    for category in CATEGORIES:
        lines.append(category)
        for rule in graveyard:
            if rule["category"] == category:
                stricter = "" if rule["value"] == rule["ceiling"] else f"  (the Graveyard's: {rule['ceiling']})"
                lines.append(
                    f"  {rule['rule']:26} {_short(rule['value']):>10}  {rule['severity']:9} "
                    f"{_said(rule['today'])}{stricter}".rstrip()
                )
    lines.append("")
    lines.append(f"{'THE RULESET':42} {'VALUE':>26}  {'SEVERITY':9} TODAY")
    for rule in own:
        severity = rule["severity"] if rule["enabled"] else "off"
        lines.append(
            f"  {rule['rule']:40} {_short(rule['value']):>26}  {severity:9} {_said(rule['today'])}".rstrip()
        )
    decided = counts.get("", {})
    words = {"approve": "approved", "hold": "held", "deny": "denied"}
    lines.append("")
    lines.append("today " + ", ".join(f"{decided.get(zone, 0)} {word}" for zone, word in words.items()))
    return lines


def _said(today: dict[str, int]) -> str:
    return ", ".join(f"{word} {times}" for word, times in sorted(today.items()))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def _short(value: Any) -> str:
    if value is None:
        return ""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 26 else text[:25] + "…"
