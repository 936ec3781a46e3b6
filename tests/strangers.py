"""What strangers may send: messages that are changed at random, most of which still look like what they were."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec

__all__ = ["changed", "otherwise"]

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1 << 62, 0.0, -0.0, 1e308, -1e-308, math.nan, math.inf, -math.inf, "", "approve",
    "deny", "hold", "NaN", "-1", "1E+999999", "\0", "ä" * 5_000, b"", b"\xff" * 9, [], [[]], {}, {"": None},
    msgspec.msgpack.Ext(7, b"x"), "2020-01-01T00:00:00Z", ["x"] * 300,
)  # fmt: skip


def changed(die: random.Random, message: bytes) -> bytes:
    """A msgpack message with some of its leaves, or of its lists and maps, replaced by something else."""
    if die.random() < 0.05:
        return die.randbytes(die.randrange(9))
    if die.random() < 0.03:
        return b"\x91" * die.choice((50, 400, 5_000)) + b"\xc0"
    try:
        content = msgspec.msgpack.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return message
    for _ in range(die.choice((1, 1, 2, 3))):
        content = _change(die, content)
    return msgspec.msgpack.encode(content)


def otherwise(die: random.Random, message: bytes) -> bytes:
    """A msgpack message in which some numbers are others of the same kind, so that it can be read and is wrong."""

    def other(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: other(each) for key, each in value.items()}
        if isinstance(value, list):
            return [other(each) for each in value]
        moves = isinstance(value, int | float) and not isinstance(value, bool) and die.random() < 0.3
        return value + type(value)(1) if moves else value

    try:
        return msgspec.msgpack.encode(other(msgspec.msgpack.decode(message)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return message


def _change(die: random.Random, value: Any) -> Any:
    if isinstance(value, (list, dict)) and value and die.random() < 0.9:
        place = die.choice(list(value) if isinstance(value, dict) else list(range(len(value))))
        if isinstance(value, dict) and die.random() < 0.05:
            return {**value, die.choice(("x" * 300, "", 3)): die.choice(ODD)}
        copy = value.copy()
        copy[place] = _change(die, value[place])
        return copy
    if isinstance(value, float) and die.random() < 0.5:
        return value * die.choice((-1, 0, 0.5, 1.001, 2, 1e6))
    return die.choice(ODD)
