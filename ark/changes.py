"""Changes of the Mutable Core as they are asked for, before they are revisions, and what of them can be kept."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from ark.errors import StateError

__all__ = ["Change", "Group", "Kind", "Row", "as_json", "check_change", "check_name", "prepare"]

LARGEST = 1 << 18
"""Bytes of one value, as JSON."""
LONGEST = 200
"""Characters of a name: a key's, an agent's, a requester's."""

Kind: TypeAlias = Literal["state", "config", "truth", "memory"]
"""What a key belongs to: an agent's own state, the settings of the whole system, the truth map, or a memory."""


class Change(msgspec.Struct, frozen=True):
    """One change that is asked for.

    Attributes:
        key: Which key of the agent's, or of the kind.
        value: What JSON can say; None with `gone`.
        agent: Whose; empty for `config` and `truth`, which belong to nobody.
        kind: What the key belongs to.
        gone: Whether the key is to be deleted.
        details: What else belongs to a key of this kind; see `ark.state_kinds`.
    """

    key: str
    value: Any = None
    agent: str = ""
    kind: Kind = "state"
    gone: bool = False
    details: dict[str, Any] = {}


class Group(msgspec.Struct, frozen=True):
    """Changes that belong together.

    Attributes:
        changes: In order.
        requester: Who asks for them.
        reason: Why; may be empty.
        origin: What they come from, where it may come again: a group whose origin is known is not written twice.
    """

    changes: tuple[Change, ...]
    requester: str
    reason: str = ""
    origin: str = ""


class _None(msgspec.Struct, forbid_unknown_fields=True):
    """Details of an agent's state: it has none."""


class _Config(msgspec.Struct, forbid_unknown_fields=True):
    """Details of a setting."""

    description: str = ""


class _Truth(msgspec.Struct, forbid_unknown_fields=True):
    """Details of a truth."""

    confidence: Annotated[float, Meta(ge=0, le=1)]
    sources: list[str]


class _Memory(msgspec.Struct, forbid_unknown_fields=True):
    """Details of a memory."""

    memory_type: Literal["embedding", "summary", "pattern"]
    metadata: dict[str, Any]
    expires_at: float | None


_DETAILS: dict[str, type] = {"state": _None, "config": _Config, "truth": _Truth, "memory": _Memory}


class Row(msgspec.Struct, frozen=True):
    """A change about to be written: its place, its value as JSON (None for none), and what it does."""

    kind: Kind
    agent: str
    key: str
    value: str | None
    value_type: str
    details: str
    operation: str
    restores: int | None = None


def check_change(change: Change) -> Any:
    """A copy of the value of a change that can be kept; None where it deletes.

    Raises:
        StateError: It cannot be kept.
    """
    text = prepare(change).value
    return None if text is None else msgspec.json.decode(text)


def prepare(change: Change) -> Row:
    """What is written for a change.

    Raises:
        StateError: It cannot be kept.
    """
    if change.kind in ("state", "memory"):
        check_name("agent", change.agent)
    elif change.agent:
        raise StateError(f"a key of kind {change.kind} belongs to no agent", field="agent")
    check_name("key", change.key)
    if change.gone:
        return Row(change.kind, change.agent, change.key, None, "", "{}", "delete")
    (value, value_type), (details, _) = as_json(change.value), as_json(change.details)
    try:
        msgspec.json.decode(details, type=_DETAILS[change.kind])
    except msgspec.DecodeError as error:
        raise StateError(f"a key of kind {change.kind} needs other details: {error}", field="details") from None
    return Row(change.kind, change.agent, change.key, value, value_type, details, "update")


def check_name(field: str, name: str) -> None:
    """Refuse what is no name of an agent, a key or a requester.

    Raises:
        StateError: It is none.
    """
    if not 0 < len(name) <= LONGEST or not name.isprintable() or name != name.strip():
        raise StateError(
            f"{field} {name[:LONGEST]!r} is no name", hint=f"1 to {LONGEST} printable characters", field=field
        )


def as_json(value: Any) -> tuple[str, str]:
    """A value as text, and the name of its type.

    Raises:
        StateError: What would be read is not what was written.
    """
    try:
        _check(value)
        text = msgspec.json.encode(value).decode()
    except (OverflowError, UnicodeError, RecursionError) as error:
        raise StateError(f"a value cannot be kept: {error}", field="value") from None
    if len(text) > LARGEST:
        raise StateError(
            f"a value has {len(text)} bytes, and may have {LARGEST}", hint="keep it in a file", field="value"
        )
    return text, "null" if value is None else type(value).__name__


def _check(value: Any) -> None:
    match value:
        case None | bool() | str():
            return
        case int() if type(value) is int and -(1 << 63) <= value < 1 << 64:
            return
        case float() if type(value) is float and math.isfinite(value):
            return
        case list() if type(value) is list:
            _check_all(value)
        case dict() if type(value) is dict and all(type(key) is str for key in value):
            _check_all(value.values())
        case _:
            raise StateError(
                f"a {type(value).__name__} cannot be kept: {value!r:.80}",
                hint="use None, bool, int of 64 bits, finite float, str, list, and dict with texts for keys",
                field="value",
            )


def _check_all(values: Iterable[Any]) -> None:
    for each in values:
        _check(each)
