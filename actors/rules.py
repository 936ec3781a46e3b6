"""What a pattern asks of the facts: small frozen rules, each of which holds or does not.

A rule over a field that is absent, None, not a number (or not a text) does not hold: what is not known speaks
for no trade. Texts are compared without regard to case, and with `_` for blanks and hyphens. Where a field
holds a list of texts, one of them is enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

__all__ = [
    "Above",
    "Below",
    "BelowField",
    "Facts",
    "Is",
    "Known",
    "Rule",
    "Says",
    "Within",
    "number",
    "texts",
]

Facts = Mapping[str, Any]


def number(facts: Facts, field: str) -> float | None:
    """The finite number under a field, or None."""
    value = facts.get(field)
    if value is None:
        return None
    if type(value) is float:
        return value if math.isfinite(value) else None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            return None
        return value if math.isfinite(value) else None
    return None


def texts(facts: Facts, field: str) -> Iterator[str]:
    """The text under a field, or each text of the list there, in the form in which texts are compared."""
    value = facts.get(field)
    if value is None:
        return
    for item in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(item, str) and item.strip():
            yield item.strip().lower().replace(" ", "_").replace("-", "_")


class Above(msgspec.Struct, frozen=True):
    """The number is greater than the bound."""

    field: str
    bound: float

    def holds(self, facts: Facts) -> bool:
        value = number(facts, self.field)
        return value is not None and value > self.bound


class Below(msgspec.Struct, frozen=True):
    """The number is less than the bound."""

    field: str
    bound: float

    def holds(self, facts: Facts) -> bool:
        value = number(facts, self.field)
        return value is not None and value < self.bound


class Within(msgspec.Struct, frozen=True):
    """The number lies between two bounds, or on one of them."""

    field: str
    low: float
    high: float

    def holds(self, facts: Facts) -> bool:
        value = number(facts, self.field)
        return value is not None and self.low <= value <= self.high


class BelowField(msgspec.Struct, frozen=True):
    """The number is less than the number of another field."""

    field: str
    other: str

    def holds(self, facts: Facts) -> bool:
        value, other = number(facts, self.field), number(facts, self.other)
        return value is not None and other is not None and value < other


class Is(msgspec.Struct, frozen=True):
    """The text is one of these words, or the truth value is this one."""

    field: str
    words: tuple[str, ...] | bool

    def holds(self, facts: Facts) -> bool:
        if isinstance(self.words, bool):
            return facts.get(self.field) is self.words
        return any(text in self.words for text in texts(facts, self.field))


class Says(msgspec.Struct, frozen=True):
    """The text contains one of these words."""

    field: str
    words: tuple[str, ...]

    def holds(self, facts: Facts) -> bool:
        return any(word in text for text in texts(facts, self.field) for word in self.words)


class Known(msgspec.Struct, frozen=True):
    """There is something under the field: a text that is not empty, a number, or true."""

    field: str

    def holds(self, facts: Facts) -> bool:
        return (
            number(facts, self.field) is not None
            or facts.get(self.field) is True
            or any(True for _ in texts(facts, self.field))
        )


Rule = Above | Below | Within | BelowField | Is | Says | Known
