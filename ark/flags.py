"""Feature flags: what a flag says, and to whom. Pure: values in, values out. The file is in `ark.flag_file`.

A flag has rules, and a value for all to whom no rule applies; where it has none, they get the default that stands
in the code that asks, which must be the safe side. The first rule that applies counts. A rule names symbols,
agents, releases, or a percentage of the symbols, or several of these, which then all must be so. Whether a symbol
belongs to a percentage is decided by a hash of the flag's name and the symbol: one symbol always gets the same
answer, and a percentage that grows takes symbols in and none out. Without a symbol no percentage applies.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from ark.errors import FlagError

__all__ = [
    "Answer",
    "Body",
    "Flag",
    "Rule",
    "Signed",
    "Subject",
    "Value",
    "bucket",
    "check",
    "decide",
    "read",
]

Value: TypeAlias = bool | int | float | str

LARGEST = 1 << 20
"""Bytes of the file."""
_MOST = 1 << 53
"""The greatest number that every reader of JSON has exactly."""
Name: TypeAlias = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]
Word: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]
Reason = Literal["rule", "percentage", "value", "default"]


class Subject(msgspec.Struct, frozen=True):
    """Who asks, and about what.

    Attributes:
        agent, release: Who.
        symbol: Of the signal at hand; empty where there is none.
        trace_id: The signal's; for those who look at evaluations, no rule goes by it.
    """

    agent: str
    release: str = ""
    symbol: str = ""
    trace_id: str = ""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """To whom a flag says something of its own.

    Attributes:
        value: What it says.
        symbols, agents, releases: To whom; empty for all.
        percent: To so many percent of the symbols; to all where absent.
    """

    value: Value
    symbols: tuple[Word, ...] = ()
    agents: tuple[Word, ...] = ()
    releases: tuple[Word, ...] = ()
    percent: Annotated[float, Meta(ge=0, le=100)] | None = None

    @property
    def target(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], bool]:
        """Whom it is about; the percentage itself may change."""
        return self.symbols, self.agents, self.releases, self.percent is not None


class Flag(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One flag.

    Attributes:
        value: What it says to whom no rule applies; None for the default in the code.
        rules: In their order.
        reason: Why it is as it is.
    """

    value: Value | None = None
    rules: tuple[Rule, ...] = ()
    reason: str = ""


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is signed.

    Attributes:
        serial: Rises with each change; an older one never replaces a newer one.
        at: When it was signed, seconds since the epoch.
        by: By whom.
        flags: By name.
    """

    serial: Annotated[int, Meta(ge=1)]
    at: float
    by: str
    flags: Annotated[dict[Name, Flag], Meta(max_length=1000)]


class Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file.

    Attributes:
        format: The version of this format.
        body: What is signed.
        signature: Ed25519, 64 bytes in hexadecimal.
    """

    format: Literal[1]
    body: Body
    signature: str


class Answer(msgspec.Struct, frozen=True):
    """What a flag says.

    Attributes:
        value: That; None where the default in the code is meant.
        reason: What decided it.
        rule: Which rule, from 1; 0 for none.
    """

    value: Value | None
    reason: Reason
    rule: int = 0


def bucket(flag: str, symbol: str) -> float:
    """Where a symbol stands among all, from 0 to below 100, for ever the same."""
    digest = hashlib.sha256(f"{flag}\0{symbol}".encode()).digest()
    return int.from_bytes(digest[:6]) / (1 << 48) * 100


def decide(name: str, flag: Flag | None, subject: Subject) -> Answer:
    """What a flag says to somebody.

    Args:
        name: The flag's.
        flag: None where there is no such flag.
        subject: Who asks.
    """
    if flag is None:
        return Answer(None, "default")
    for number, rule in enumerate(flag.rules, 1):
        if _applies(name, rule, subject):
            return Answer(rule.value, "rule" if rule.percent is None else "percentage", number)
    return Answer(flag.value, "default" if flag.value is None else "value")


def _applies(name: str, rule: Rule, subject: Subject) -> bool:
    if rule.percent is not None and not (subject.symbol and bucket(name, subject.symbol) < rule.percent):
        return False
    named = ((rule.symbols, subject.symbol), (rule.agents, subject.agent), (rule.releases, subject.release))
    return all(one in some for some, one in named if some)


def check(flags: dict[str, Flag]) -> None:
    """Refuse flags that say different sorts of things, or nothing that can be compared.

    Raises:
        FlagError: It is so.
    """
    for name, flag in flags.items():
        values = [rule.value for rule in flag.rules] + ([] if flag.value is None else [flag.value])
        if not values:
            raise FlagError(f"flag {name} says nothing", hint="give it a value, or remove it", field=name)
        kinds = {_kind(value) for value in values}
        if len(kinds) > 1:
            raise FlagError(f"flag {name} says {' and '.join(sorted(kinds))}", hint="one sort of value", field=name)
        if any(not isinstance(value, str) and not abs(value) <= _MOST for value in values):
            raise FlagError(f"flag {name} says what is no number up to {_MOST}", field=name)


def _kind(value: Value) -> str:
    return "bool" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"


def read(content: bytes) -> Signed:
    """Read the file. The signature is not looked at.

    Raises:
        FlagError: It is no such file.
    """
    if len(content) > LARGEST:
        raise FlagError(f"it has {len(content)} bytes, and may have {LARGEST}")
    try:
        found = msgspec.json.decode(content, type=Signed)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FlagError(f"it cannot be read: {error}", hint="set flags with `ark-run flag set`") from None
    check(found.body.flags)
    return found
