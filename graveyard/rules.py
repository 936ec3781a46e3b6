"""The rules as frozen data, the limits that may be tightened, and their digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

__all__ = [
    "APPROVABLE",
    "CEILINGS",
    "FURTHEST_STOP",
    "RULES",
    "TICK",
    "TICK_BELOW_ONE",
    "Limits",
    "Rule",
    "rule",
    "ruleset_digest",
    "tick_of",
]

TICK = Decimal("0.01")
"""The step of prices from 1 up, in the quote currency (US equities, SEC Rule 612)."""
TICK_BELOW_ONE = Decimal("0.0001")
"""The step of prices below 1."""
FURTHEST_STOP = Decimal("0.10")
"""The furthest that a stop may be from the entry, as a fraction of it; the pattern book uses all of it."""
APPROVABLE = ("trade",)
"""The kinds of action that there are checks for. What cannot be judged cannot be approved."""

_ONE = Decimal(1)

Severity = Literal["CRITICAL", "HIGH", "MEDIUM", "LOW"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        name: The rule's name, the same in decisions, settings and documents.
        category: `trading`, `risk`, `governance`, `privacy`, `integrity` or `autonomy`.
        value: The limit: a fraction, a multiple, a count, or True for "must hold".
        severity: How grave a breach is.
        denies: Whether a breach denies the action; otherwise it only warns.
        protects: What it protects, in words.
        source: Where the rule and its value come from.
        terms: Further constants that the check uses, as pairs of name and value.
    """

    name: str
    category: str
    value: Decimal | int | bool
    severity: Severity
    denies: bool
    protects: str
    source: str
    terms: tuple[tuple[str, str], ...] = ()


_BOOK = "The Graveyard of ARK 1.0.0"
RULES: tuple[Rule, ...] = (
    Rule(
        "emergency_halt_enabled", "governance", True, "HIGH", True,
        "That one word of a person stops all trading.",
        f"{_BOOK}, governance; Commission Delegated Regulation (EU) 2017/589, Article 12",
    ),
    Rule(
        "require_hrm_approval", "governance", True, "HIGH", True,
        "That nothing is done that the judge does not know how to judge.",
        f"{_BOOK}, governance; SEC Rule 15c3-5(d)",
        (("actions", " ".join(APPROVABLE)),),
    ),
    Rule(
        "max_position_size", "risk", Decimal("0.10"), "HIGH", True,
        "The account from one symbol: at most this fraction of the equity in it.",
        f"{_BOOK}, risk; Commission Delegated Regulation (EU) 2017/589, Article 15(1)",
    ),
    Rule(
        "max_leverage", "risk", Decimal("2.0"), "MEDIUM", True,
        "The account from owing more than it can bear: all exposure is at most this many times the equity.",
        f"{_BOOK}, risk; SEC Rule 15c3-5(c)(1)(i)",
    ),
    Rule(
        # LOW in the original, where LOW was to warn. It is a limit of the account like the rest, and denies:
        # a sixth trade that is only warned about is a trade too many.
        "max_concurrent_trades", "risk", 5, "LOW", True,
        "The account from more open trades than a person can follow: at most this many symbols at once.",
        f"{_BOOK}, risk",
    ),
    Rule(
        "max_daily_loss", "risk", Decimal("0.05"), "CRITICAL", True,
        "The account from one bad day: the day's loss, with all stops hit, is at most this fraction.",
        f"{_BOOK}, risk; Commission Delegated Regulation (EU) 2017/589, Article 15(4)",
    ),
    Rule(
        "require_stop_loss", "risk", True, "MEDIUM", True,
        "Every position from an open-ended loss.",
        f"{_BOOK}, risk; furthest distance from the pattern book",
        (("furthest", str(FURTHEST_STOP)), ("tick", str(TICK)), ("tick_below_one", str(TICK_BELOW_ONE))),
    ),
    Rule(
        "min_risk_reward", "risk", Decimal("1.5"), "MEDIUM", True,
        "The account from trades that cannot pay for the ones that fail.",
        f"{_BOOK}, risk",
    ),
)  # fmt: skip
_BY_NAME = {each.name: each for each in RULES}


def rule(name: str) -> Rule:
    """The rule of that name.

    Raises:
        KeyError: There is no such rule.
    """
    return _BY_NAME[name]


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers to judge by: those of the Graveyard, or stricter ones, never looser.

    Raises:
        ValueError: A limit is looser than the Graveyard's, or makes no sense; the message names both values.
    """

    max_position_size: Decimal = Decimal("0.10")
    max_leverage: Decimal = Decimal("2.0")
    max_concurrent_trades: int = 5
    max_daily_loss: Decimal = Decimal("0.05")
    min_risk_reward: Decimal = Decimal("1.5")

    def __post_init__(self) -> None:
        for name in ("max_position_size", "max_leverage", "max_concurrent_trades", "max_daily_loss"):
            value, ceiling = getattr(self, name), _BY_NAME[name].value
            _demand_number(name, value, type(ceiling))
            if value > ceiling:
                raise ValueError(f"{name} = {value} is looser than the Graveyard's {ceiling}")
        floor = _BY_NAME["min_risk_reward"].value
        _demand_number("min_risk_reward", self.min_risk_reward, Decimal)
        if self.min_risk_reward < floor:
            raise ValueError(f"min_risk_reward = {self.min_risk_reward} is looser than the Graveyard's {floor}")


def _demand_number(name: str, value: object, kind: type) -> None:
    if type(value) is not kind or (isinstance(value, Decimal) and not value.is_finite()):
        raise ValueError(f"{name} must be a {'whole ' if kind is int else ''}number, is {value!r}")
    if value <= 0:  # type: ignore[operator]
        raise ValueError(f"{name} must be above 0, is {value}")


CEILINGS = Limits()
"""The Graveyard's own limits."""


def tick_of(price: Decimal) -> Decimal:
    """The step of prices near this one."""
    return TICK if price >= _ONE else TICK_BELOW_ONE


def ruleset_digest(limits: Limits = CEILINGS) -> str:
    """SHA-256, in hexadecimal, over the canonical form of the rules with the limits in force.

    The canonical form is JSON without white space, keys sorted, a map for each rule in order, values as text.
    """
    rows = [
        {
            "name": each.name,
            "category": each.category,
            "value": _canonical(getattr(limits, each.name, each.value)),
            "severity": each.severity,
            "denies": each.denies,
            "protects": each.protects,
            "source": each.source,
            "terms": [list(term) for term in each.terms],
        }
        for each in RULES
    ]
    canonical = json.dumps(rows, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _canonical(value: Decimal | int | bool) -> str:
    return format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)
