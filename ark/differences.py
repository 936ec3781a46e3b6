"""Where two decisions differ: paths by the names of fields, however they travel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from ark.routing import Declared

__all__ = ["LONGEST_TEXT", "Change", "changes", "is_declared", "short"]

MOST = 1000
"""So many differences of one decision are looked at: no decision of ours has that many parts."""
LONGEST_TEXT = 120
"""Characters of what is told of one value."""
ABSENT = "(absent)"


class Change(msgspec.Struct, frozen=True):
    """One part in which two decisions differ.

    Attributes:
        path: Where, as `violations.0.rule`; empty for the whole.
        before, after: What the first and the second say there, as short text.
    """

    path: str
    before: str
    after: str


def changes(one: Any, other: Any, unlike: Sequence[str] = ()) -> list[Change]:
    """Every part in which the second differs from the first.

    All of them: whoever tells only of some must have seen the others, which may be what matters. Where there are
    more than `MOST`, the last one stands for the whole, so that nothing that was announced of parts excuses it.

    Args:
        one, other: Messages.
        unlike: Globs of paths that do not count.

    Raises:
        TypeError, ValueError, RecursionError: They cannot be compared.
    """
    found: list[Change] = []
    for change in _walk(one, other, ""):
        if any(fnmatchcase(change.path, glob) for glob in unlike):
            continue
        if len(found) == MOST:
            return [*found, Change("", "", "more parts differ than are looked at")]
        found.append(change)
    return found


def is_declared(change: Change, symbol: str, declared: Sequence[Declared]) -> bool:
    """Whether a release announces a change."""
    return any(
        all(
            glob is None or fnmatchcase(text, glob)
            for glob, text in (
                (each.path, change.path),
                (each.before, change.before),
                (each.after, change.after),
                (each.symbol, symbol),
            )
        )
        for each in declared
    )


def short(text: str) -> str:
    """A text, cut off where it is too long to be told."""
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def _walk(one: Any, other: Any, path: str) -> Iterator[Change]:
    if isinstance(one, msgspec.Struct) and type(one) is type(other):
        for name in one.__struct_fields__:
            yield from _walk(getattr(one, name), getattr(other, name), _join(path, name))
    elif isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}, key=str):
            yield from _walk(one.get(key, ABSENT), other.get(key, ABSENT), _join(path, str(key)))
    elif isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        for place in range(max(len(one), len(other))):
            left = one[place] if place < len(one) else ABSENT
            right = other[place] if place < len(other) else ABSENT
            yield from _walk(left, right, _join(path, str(place)))
    else:
        before, after = _plain(one), _plain(other)
        if before != after:
            yield Change(path, _text(before), _text(after))


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value) if isinstance(value, (msgspec.Struct, Decimal)) else value


def _join(path: str, part: str) -> str:
    return f"{path}.{part}" if path else part


def _text(value: Any) -> str:
    return short(value if isinstance(value, str) else repr(value))
