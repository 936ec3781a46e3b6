"""Where two decisions differ: paths into what msgspec makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from ark.routing import Declared

__all__ = ["LONGEST_TEXT", "Change", "changes", "is_declared"]

LONGEST_TEXT = 120
"""Characters of what is told of one value."""
MOST = 16
"""So many differences of one decision are told."""
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
    """Every part in which the second differs from the first, `MOST` at the most.

    Args:
        one, other: Messages.
        unlike: Globs of paths that do not count.
    """
    if one == other:
        return []
    found: list[Change] = []
    for change in _walk(msgspec.to_builtins(one), msgspec.to_builtins(other), ""):
        if not any(fnmatchcase(change.path, glob) for glob in unlike):
            found.append(change)
            if len(found) == MOST:
                break
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


def _walk(one: Any, other: Any, path: str) -> Iterator[Change]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}, key=str):
            yield from _walk(one.get(key, ABSENT), other.get(key, ABSENT), _join(path, str(key)))
    elif isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        for place in range(max(len(one), len(other))):
            left = one[place] if place < len(one) else ABSENT
            right = other[place] if place < len(other) else ABSENT
            yield from _walk(left, right, _join(path, str(place)))
    elif one != other:
        yield Change(path, _text(one), _text(other))


def _join(path: str, part: str) -> str:
    return f"{path}.{part}" if path else part


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
