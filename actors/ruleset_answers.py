"""What a check of the operator's ruleset can say, and how it reads and shows figures.

A check gives None where the plan passes, otherwise an `Answer`: a breach; a fact that is unknown; or silence,
where the rule has nothing to say about such a plan. Its sentence is neutral, so that the same one explains a
pass and a denial, and it is only made where somebody wants to read it.

What every check keeps to:

- A value exactly at a limit passes, the smallest step beyond is a breach. Money is `Decimal`, and prices are
  compared as products, never as quotients.
- A fact that is missing, or is no finite number, is never taken for a good one.
- What a sender claims can only count against him.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from math import isfinite
from typing import Literal, TypeGuard

import msgspec

from actors.ruleset import MARKET_FACTS, Ruleset
from actors.ruleset_view import View

__all__ = [
    "BREACH",
    "MISSING",
    "ZERO",
    "Answer",
    "Check",
    "Sentence",
    "counted",
    "measured",
    "moment",
    "percent",
    "show",
    "unknown",
    "worse",
]

ZERO = Decimal(0)


class Answer(msgspec.Struct, frozen=True):
    """What a check says that does not simply pass.

    Attributes:
        word: `breach`, `unknown` (a fact is missing), or `silent` (the rule has nothing to say).
        text: Why; empty for a breach that the rule's own sentence tells.
        market: Whether the missing fact is one that only a live market has.
    """

    word: Literal["breach", "unknown", "silent"]
    text: str = ""
    market: bool = False


Check = Callable[[View, Ruleset], "Answer | None"]
Sentence = Callable[[View, Ruleset], str]

BREACH = Answer("breach")
"""A breach that the rule's own sentence tells."""
MISSING = {name: Answer("unknown", f"`{name}` is missing", name in MARKET_FACTS) for name in View.__struct_fields__}


def unknown(name: str, value: object = None) -> Answer:
    """The answer where a field of the view is missing, or no finite number."""
    if value is None or value in ("", ()):
        return MISSING[name]
    return Answer("unknown", f"`{name}` is {value!s:.40}, not a finite number", name in MARKET_FACTS)


def counted(value: object) -> TypeGuard[Decimal]:
    """Whether it is a finite `Decimal`."""
    return type(value) is Decimal and value.is_finite()


def measured(value: float | None) -> TypeGuard[float]:
    """Whether it is a finite number."""
    return value is not None and isfinite(value)


def worse(claim: object, *, than: float, above: bool) -> bool:
    """Whether a sender's own figure speaks against him; a claim that is no number says nothing, a NaN does."""
    if isinstance(claim, bool) or not isinstance(claim, (int, float)):
        return False
    return not (claim <= than if above else claim >= than)


def show(value: Decimal | float) -> str:
    """A number for people, with up to ten digits."""
    return f"{float(value):.10g}"


def percent(value: Decimal | float) -> str:
    """A fraction for people, as a percentage."""
    return f"{float(value) * 100:.10g} %"


def moment(at: float) -> str:
    """A time for people."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
