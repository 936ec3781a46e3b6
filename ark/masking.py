"""Any value as plain data that may be written down, its secrets and figures of the account masked.

`ark.privacy` finds secrets in texts by their shape. Here is what surrounds it: values of every type, masked whole
where the field that they stand under is named as a secret or as a figure of the account; names in texts that stand
before a value, in more spellings than are taken for a credential elsewhere, since masking too much costs nothing;
and secrets that are known, which need neither shape nor name. Nothing here raises, and nothing takes long: values
may be deep, large, cyclic, or break when they are looked at.
"""

from __future__ import annotations

import base64
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from typing import Any, Literal
from urllib.parse import unquote
from uuid import UUID

import msgspec

from ark.privacy import DIGESTS, MASK, redact

__all__ = ["Masker", "mask_fields", "secrets_of_environment", "spellings"]

LONGEST = 16 << 10
"""Characters of one text; what is longer is cut."""
MOST_CHARACTERS = 32 << 10
"""Characters of all texts of one value. Looking for secrets takes about a microsecond for each."""
DEEPEST = 12
MOST_VALUES = 2000
"""Levels, and values in all, beyond which nothing more is looked at."""
CUT = "[cut]"
"""What stands for what was too deep, too much, or met again within itself."""
SHORTEST_KNOWN = 8
"""A known secret that is shorter would be found in ordinary words."""

_SECRET = r"password|passwd|passphrase|pwd|secret|token|credential|cookie|authorization|bearer"
_KEYS = ("api", "private", "access", "signing", "encryption", "secret")
_SECRET_NAME = re.compile(rf"{_SECRET}|(?:{'|'.join(_KEYS)})key|keyid")
"""In a field's name without its separators, in lower case."""
_SECRET_WORDS = frozenset(("pass", "pw", "pin", "otp", "cvv", "ssn", "jwt", "auth", "passcode", "mnemonic"))
"""Such as the last word of a name."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ACCOUNT = frozenset(("equity", "cash", "balance", "balances", "holdings", "positions", "portfolio"))
_ACCOUNT_NAME = re.compile(r"(?:account|acct)s?(?:number|no|id|name|value)?\Z|buyingpower|networth")
_LABELS = ("name", "key", "header", "field")
"""What a map may call the name of its value, as in `{"name": "password", "value": ...}`."""
_ONE_NAME = re.compile(r"[\w.-]{1,64}:?")
_PLAIN = re.compile(r"[A-Za-z_.]{0,15}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Texts in which nothing can be found: most of what is written is of that kind."""

_VALUE = (
    r"(?!\[redacted\])(?:[bBrRuU]{0,2}\\+['\"][^\n]*"  # escaped quotes: where they end is not to be told
    r"|[bBrRuU]{0,2}'(?:[^'\\\n]|\\.)*'?|[bBrRuU]{0,2}\"(?:[^\"\\\n]|\\.)*\"?"
    r"|\w*[\[({<][^\n]*|(?:(?i:bearer|basic)\s+)?[^\s,;&]+)"
)
_NAMES = rf"(?:{_SECRET}|(?:{'|'.join(_KEYS)})[ _-]?key|key[_-]?id)"
_IN_TEXT = re.compile(
    r"(?i:(?:authorization|cookie)\\*['\"]?[ \t]*[=:]>?[ \t]*)(?P<header>[^\n]+)"
    rf"|(?i:{_NAMES}\w{{0,16}}\\*['\"]?[ \t]*(?:=>|:=|->|[=:]|%3[ad])[ \t]*)(?P<named>{_VALUE})"
    rf"|(?i:--?[\w-]{{0,40}}{_NAMES}[\w-]{{0,16}}[ \t]+)(?P<flag>(?!-){_VALUE})"
    r"|(?i:\bbasic\s+)(?P<basic>(?=[^\s]*\d|[^\s]{20})[\w.~+/-]{8,}=*)"
    rf"|(?i:(?<![a-z])(?:pass|pw|pin|otp|jwt|auth)=)(?P<short>{_VALUE})"
    r"|(?<!\w)(?P<raw>b'(?=[^'\n]*\\x)(?:[^'\\\n]|\\.)*'?|b\"(?=[^\"\n]*\\x)(?:[^\"\\\n]|\\.)*\"?)"
    r"|(?<=://)(?P<login>[^\s/@:]*:\S*|[^\s/@:]{16,})(?=@)"
    r"|(?i:(?<![a-z])(?:equity|cash|balances?|buying_?power|net_?worth|holdings|positions|portfolio)"
    r"(?:\\*['\"]?[ \t]*[=:]>?[ \t]*|[ \t]+(?:(?:of|is|was|at|now)[ \t]+)?(?=[-+$€£]?\d)))"
    r"(?P<figure>(?!\[redacted\])(?:\w*[\[({][^\n]*|['\"]?[-+$€£]?\d(?:[\d,._]*\d)?(?:[eE][-+]?\d+)?))"
)
_MARKS = re.compile(
    r"[=:]|\\x|->|--|-[a-zA-Z]|(?i:%3[ad]|basic\s|(?:equity|cash|balances?|worth|power|positions)\s)"
)
"""Without one of these nothing can be found by `_IN_TEXT`."""


def spellings(secret: bytes | str) -> frozenset[str]:
    """The ways in which a secret is usually written: as it is, in hexadecimal, in base64, quoted."""
    raw = secret.encode(errors="surrogateescape") if isinstance(secret, str) else secret
    found = {raw.hex(), raw.hex().upper(), base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
    found |= {each.rstrip("=") for each in found} | {repr(raw)[2:-1]}
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        pass
    else:
        found |= {text, repr(text)[1:-1], msgspec.json.encode(text).decode()[1:-1]}
    return frozenset(each for each in found if len(each) >= SHORTEST_KNOWN)


def secrets_of_environment(environment: Mapping[str, str]) -> frozenset[str]:
    """Values of variables that are named as a secret, unless they name a file; passwords in addresses; and those of
    OpenTelemetry's headers that are named as a secret."""
    found = {value for name, value in environment.items() if _kind(name) == "secret" and not os.path.exists(value)}
    found |= {login[1] for value in environment.values() if (login := re.search(r"://[^\s/@:]*:(\S+)@", value))}
    headers = (
        each.partition("=") for each in unquote(environment.get("OTEL_EXPORTER_OTLP_HEADERS", "")).split(",")
    )
    found |= {value.split()[-1] for name, _, value in headers if value.strip() and _kind(name.strip()) == "secret"}
    return frozenset(each for each in found if len(each) >= SHORTEST_KNOWN)


class Masker:
    """Makes plain data of values, masked.

    Args:
        known: Secrets that are masked wherever they stand, whatever they look like.
    """

    def __init__(self, known: Iterable[bytes | str] = ()) -> None:
        texts = {each for secret in known for each in spellings(secret)}
        longest_first = sorted(texts, key=lambda each: (-len(each), each))
        self._known = re.compile("|".join(map(re.escape, longest_first))) if texts else None

    def __call__(self, value: Any, name: str = "") -> Any:
        """The value as plain data: maps with text keys, lists, texts, numbers, booleans, None.

        Args:
            value: Anything.
            name: The field that it is the value of. Where that is a secret's or one of the account, it is masked
                whole; a digest's is left alone.
        """
        return _Walk(self.text).value(value, name, 0)

    def text(self, text: str) -> str:
        """The text with its secrets masked; one that is too long is cut before anything is looked for in it."""
        if len(text) > LONGEST:
            text = _cut(text[:LONGEST])
        if not text.isascii():
            text = text.encode("utf-8", "replace").decode()
        if self._known is not None:
            text = self._known.sub(MASK, text)
        if _PLAIN.fullmatch(text):
            return text
        if _MARKS.search(text):
            text = _IN_TEXT.sub(_masked, text)
        return redact(text)


class _Walk:
    """One way through a value, which comes to an end whatever the value is."""

    def __init__(self, text: Callable[[str], str]) -> None:
        self._text = text
        self._left = MOST_VALUES
        self._characters = MOST_CHARACTERS
        self._within: set[int] = set()

    def value(self, value: Any, name: str, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        self._left -= 1
        if self._left < 0:
            return CUT
        try:
            return self._masked(value, name, depth)
        except Exception as error:  # noqa: BLE001
            return f"[{type(value).__name__} that cannot be shown: {type(error).__name__}]"

    def _masked(self, value: Any, name: str, depth: int) -> Any:
        if isinstance(value, str) and name in DIGESTS and re.fullmatch(r"[0-9a-f]{8,128}", value):
            return str.__str__(value)
        kind = _kind(name) if name else ""
        if kind and not self._is_harmless(value, name):
            return MASK
        if isinstance(value, Enum):
            value = value.value
        if isinstance(value, str):
            return self._told(str.__str__(value))
        if isinstance(value, float):
            return float(value)
        if isinstance(value, int):
            return int(value) if -(1 << 63) <= value < 1 << 63 else self._told(str(int(value)))
        if isinstance(value, bytes | bytearray | memoryview):
            return self._bytes(bytes(value))
        if isinstance(value, Decimal | UUID | PurePath | datetime | date | time | timedelta):
            return self._told(str(value))
        if isinstance(value, BaseException):
            return self._told(f"{type(value).__name__}: {value}")
        return self._structure(value, depth)

    @staticmethod
    def _is_harmless(value: Any, name: str) -> bool:
        """What stands under a secret's name and is none: nothing, or how many tokens there are."""
        return value in ("", b"") if isinstance(value, str | bytes) else _counts(name) and isinstance(value, int)

    def _structure(self, value: Any, depth: int) -> Any:
        if id(value) in self._within or depth >= DEEPEST:
            return CUT
        self._within.add(id(value))
        try:
            if isinstance(value, Mapping):
                return self._map(value.items(), depth)
            if isinstance(value, msgspec.Struct):
                return self._map(((each, getattr(value, each)) for each in value.__struct_fields__), depth)
            if is_dataclass(value) and not isinstance(value, type):
                return self._map(((each.name, getattr(value, each.name)) for each in fields(value)), depth)
            if isinstance(value, tuple) and hasattr(value, "_asdict"):
                return self._map(value._asdict().items(), depth)
            if isinstance(value, list | tuple | set | frozenset | deque):
                if isinstance(value, tuple) and _is_named_pair(value):
                    return self._pair(value)
                return self._list(value, depth)
        finally:
            self._within.discard(id(value))
        return self._told(value.__qualname__ if isinstance(value, type) else repr(value))

    def _map(self, items: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        label = ""
        for key, each in items:
            name = key if isinstance(key, str) else ""
            if name in _LABELS and isinstance(each, str):
                label = each
            shown = key if type(key) is str and _PLAIN.fullmatch(key) else self.value(key, "", depth + 1)
            under = label if name == "value" and _kind(label) else name
            found[shown if isinstance(shown, str) else self._told(repr(shown))] = self.value(each, under, depth + 1)
            if self._left < 0:
                break
        return found

    def _list(self, items: Iterable[Any], depth: int) -> list[Any]:
        """A list; what comes after a secret's name is masked in pairs, as headers are, and on a command line."""
        found: list[Any] = []
        before = ""
        for each in items:
            if _is_named_pair(each):
                found.append(self._pair(each))
            else:
                found.append(self.value(each, before, depth + 1))
            is_option = isinstance(each, str) and each.startswith("-") and _is_secrets_name(each)
            before = each if is_option else ""
            if self._left < 0:
                break
        return found

    def _pair(self, pair: Sequence[Any]) -> list[Any]:
        return [self._told(pair[0]), MASK]

    def _bytes(self, value: bytes) -> str:
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return f"[{len(value)} bytes]"
        return self._told(text) if text.isprintable() else f"[{len(value)} bytes]"

    def _told(self, text: str) -> str:
        if self._characters <= 0:
            return CUT
        self._characters -= len(text)
        return self._text(text)


mask_fields: Callable[..., Any] = Masker()
"""Masks without any secrets known; see `Masker.__call__`."""


@lru_cache(maxsize=1024)
def _kind(name: str) -> Literal["", "secret", "account"]:
    """What a field is named as."""
    if len(name) > 128:
        name = name[-128:]
    words = [word.lower() for word in _WORD.findall(name)]
    joined = "".join(words)
    is_key = len(words) > 1 and words[-1] == "key" and words[-2] != "public"
    if is_key or _SECRET_NAME.search(joined) or (words and words[-1] in _SECRET_WORDS):
        return "secret"
    return "account" if not _ACCOUNT.isdisjoint(words) or _ACCOUNT_NAME.search(joined) else ""


def _is_secrets_name(value: Any) -> bool:
    return isinstance(value, str) and _ONE_NAME.fullmatch(value) is not None and _kind(value) == "secret"


def _is_named_pair(value: Any) -> bool:
    """Whether a value is a secret's name and the secret."""
    return isinstance(value, list | tuple) and len(value) == 2 and _is_secrets_name(value[0])


def _cut(text: str) -> str:
    """A text without its last word, which may be a part of a secret that cannot be known by its part."""
    *_, word = text.rsplit(None, 1) or [""]
    return text[: -min(len(word), 512)] + CUT


def _counts(name: str) -> bool:
    return name.lower().endswith("tokens")


def _masked(found: re.Match[str]) -> str:
    group = found.lastgroup
    assert group is not None
    start, end = found.span(group)
    return found[0][: start - found.start()] + MASK + found[0][end - found.start() :]
