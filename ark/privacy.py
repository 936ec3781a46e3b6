"""Personal data and credentials: found in texts, masked in logs, kept out of settings and away from other users.

What is found: PEM blocks; values that are named as a credential; bearer tokens, passwords in addresses, and keys
and tokens of known shapes; long hexadecimal and base64 secrets; e-mail addresses, phone and card numbers, IBANs,
and account numbers that are named so. A secret of an unknown shape that nothing names, a name or a postal address
is not found.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

__all__ = [
    "MASK",
    "finds_personal",
    "home_is_private",
    "plaintext_credentials",
    "privacy_faults",
    "redact",
    "redaction_works",
]

MASK = "[redacted]"
"""What stands where something was masked."""

DIGESTS = frozenset(
    ("digest", "entry_hash", "fingerprint", "hash", "previous", "previous_hash", "public_key", "ruleset", "sha256")
)
"""Fields that hold digests, which look like secrets and are none."""

_NAMES = r"(?:pass(?:word|wd|phrase)|pwd|secrets?|(?:auth[_-]?)?token|credentials?|api[_-]?key|private[_-]?key"
_NAMES += r"|access[_-]?key|secret[_-]?key|key[_-]?id|cookie|authorization)"
_SHAPES: Mapping[str, str] = {
    "keep": r"(?<![\w-])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![\w-])",  # a UUID
    "private key": r"-----BEGIN [A-Z0-9 ]+-----(?s:.)*?(?:-----END [A-Z0-9 ]+-----|\Z)",
    # After the name anything up to a space counts, so that no shape of a secret slips through; not after a bare
    # "key" with a colon, as which messages name keys that are none.
    "credential": r"(?i:(?<![a-z])(?:[a-z]+[_-])*" + _NAMES + r"['\"]?[ \t]*[=:][ \t]*"
    r"|(?<![a-z_])key['\"]?=)(?P<value>(?!\[redacted\])(?:(?i:bearer|basic)\s+)?(?:'[^'\n]*'|\"[^\"\n]*\"|[^\s,;&]+))",
    "bearer token": r"(?i:(?<!\w)bearer\s+)(?P<bearer>(?=[^\s]*\d|[^\s]{20})[\w.~+/-]{8,}=*)",
    "password": r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)",
    "key of a service": r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA)[A-Z0-9]{16}|[PAC]K(?=[A-Z]*\d)[A-Z0-9]{16,24}"
    r"|(?:gh[pousr]_|github_pat_|glpat-|sk[-_]|pk[-_]|rk[-_]|xox[abprs]-)[\w-]{16,}|\d{8,10}:[\w-]{35}"
    r"|eyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]+)(?![A-Za-z0-9])",
    "e-mail address": r"(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)+",
    "IBAN": r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])",
    "card number": r"(?<![\w.+-])(?:[3-6]\d{12,18}|\d{4}(?:[ -]\d{4}){3}(?:[ -]\d{3})?|3\d{3}[ -]\d{6}[ -]\d{5})"
    r"(?![\w-]|\.\d)",
    "phone number": r"(?i:(?:phone|mobile|tel|fax)(?:[ _-]?(?:number|no))?['\"]?[.:= ]{1,3}['\"]?\+?)"
    r"\(?\d[\d ()./-]{5,18}\d"
    r"|(?<![\w.+])\+(?=(?:[ ()-]?\d){9,15}(?![\d.]\d))\d[\d ()-]{7,20}\d(?!\d)"
    r"|(?<![\w.-])(?:\(\d{3}\) ?|\d{3}-)\d{3}-\d{4}(?![\w-]|\.\d)",
    "account number": r"(?i:\b(?:account|acct)(?:[ _-]?(?:number|no|id))?['\"]?\.?\s?[:=#]?\s?['\"]?#?)"
    r"(?:[A-Z]{0,4}\d(?:[ -]?\d){5,})(?![\w]|\.\d)",
    "secret in hexadecimal": r"(?<![A-Za-z0-9])[0-9a-fA-F]{32,}+(?![A-Za-z0-9])",
    "secret in base64": r"(?<![\w+/-])[\w+/-]{32,}+={0,2}",
}
_GROUPS = {name: name.replace(" ", "_").replace("-", "_") for name in _SHAPES}
_KINDS = {group: name for name, group in _GROUPS.items()}
_ANY = re.compile("|".join(f"(?P<{_GROUPS[name]}>{shape})" for name, shape in _SHAPES.items()))
_SIGNS = re.compile(
    r"[=:@]|-----BEGIN|eyJ|[\w+/-]{16}|[A-Z]{2}\d\d|(?:\d[ ()./-]{0,3}){6}"
    r"|(?i:bearer|phone|mobile|tel|fax|account|acct)"
)
"""Without one of these a text can hold nothing of `_SHAPES`; most texts have none, and looking is quick."""
_OF_PERSONS = frozenset(("e-mail address", "IBAN", "card number", "phone number", "account number"))
"""The kinds that are no credentials."""

_NAMED = re.compile(rf"(?i)(?:.*[_.-])?(?:{_NAMES}|key)\Z")
_REFERENCE = re.compile(r"(?i)(?:env:\w+|keys/[\w.-]+|\$\{?\w+\}?)\Z")

_CANARIES = (
    "password=canary-of-a-password",
    "Bearer canary0123456789",
    "AKIACANARY0123456789",
    "canary@example.com",
    "4111 1111 1111 1111",
    "00c0ffee" * 8,
)
"""One of each sort, for `redaction_works`."""


def redact(text: str) -> str:
    """The text with personal data and credentials masked; a text without any comes back as it is."""
    while _SIGNS.search(text):
        masked = _ANY.sub(_masked, text)
        if masked == text:
            break
        text = masked
    return text


def finds_personal(text: str) -> str:
    """Which kind of personal data or credential a text contains, the first of them; "" for none."""
    return next(_kinds(text), "") if _SIGNS.search(text) else ""


def redaction_works() -> bool:
    """Whether the log masks: canaries are written through it, and none may come out.

    The whole way is taken, into a file in memory, so that a log whose masking was taken out is noticed: that of the
    node's chronicle, and that of a process's own log where this process has one.
    """
    from ark.log import Log  # it imports this module

    try:
        descriptor = os.memfd_create("canaries", os.MFD_CLOEXEC)
        try:
            log = Log(Path(f"/proc/self/fd/{descriptor}"))
            ways = [log.write]
            if "ark.logger" in sys.modules:
                ways.append(sys.modules["ark.logger"].Sink(log.append, agent="canaries").logger().info)
            for write in ways:
                write("canaries", texts=_CANARIES, nested={"fields": [{"password": _CANARIES[0]}]})
            written = os.pread(descriptor, 1 << 16, 0).decode().splitlines()
        finally:
            os.close(descriptor)
    except Exception:  # noqa: BLE001
        return False
    secrets = [each.rpartition("=")[2].removeprefix("Bearer ") for each in _CANARIES]
    return len(written) == len(ways) and all(
        MASK in line and not any(secret in line for secret in secrets) for line in written
    )


def home_is_private(path: Path | str) -> str:
    """What of a home others may see; "" where all is its owner's alone.

    The home and the folders in it have mode 0700, the keys 0600.

    Args:
        path: The home.
    """
    home = Path(path)
    try:
        folders = [home, *(each for each in sorted(home.iterdir()) if each.is_dir())]
        keys = sorted((home / "keys").glob("*")) if (home / "keys").is_dir() else []
        for each in (*folders, *keys):
            mode = stat.S_IMODE(each.stat().st_mode)
            if mode & 0o077:
                return f"{each} has mode {mode:04o}, open to others"
    except OSError as error:
        return f"{error.filename or home} cannot be looked at: {error.strerror}"
    return ""


def plaintext_credentials(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The settings, by their dotted names, that hold a credential in plain text.

    A credential belongs into the home's `keys/` or into the environment. A setting may name the place: its name
    ends in `_env`, `_file` or `_path` then, or its value begins with `env:`, `keys/` or `$`.
    """
    return tuple(_plaintext(settings, ""))


def privacy_faults(home: Path | str, agents: Mapping[str, Any]) -> dict[str, str]:
    """What lies open that should not; see `ark.agent.Context.privacy_faults`.

    Args:
        home: The node's home.
        agents: The agents' settings by name.
    """
    return {
        "home": home_is_private(home),
        "credentials": ", ".join(plaintext_credentials({"agents": agents})),
        "log": "" if redaction_works() else "what should be masked comes out",
    }


def _plaintext(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _plaintext(each, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _plaintext(each, f"{name}[{number}]")
    elif isinstance(value, str) and value and not _REFERENCE.match(value) and _is_credential(name, value):
        yield name


def _is_credential(name: str, value: str) -> bool:
    return bool(_NAMED.match(name)) or not _OF_PERSONS.issuperset(_kinds(value))


def _kinds(text: str) -> Iterator[str]:
    for match in _ANY.finditer(text):
        kind = _kind(match)
        if kind:
            yield kind


def _masked(match: re.Match[str]) -> str:
    kind = _kind(match)
    if not kind:
        return match[0]
    inner = {"credential": "value", "bearer token": "bearer"}.get(kind)
    return match[0][: match.start(inner) - match.start()] + MASK if inner else MASK


def _kind(found: re.Match[str]) -> str:
    """What was found; "" for what only looks like it."""
    kind = next(_KINDS[group] for group in _KINDS if found[group] is not None)
    text = found[0]
    match kind:
        case "keep":
            return ""
        case "card number":
            is_one = _is_card(text)
        case "IBAN":
            is_one = _is_iban(text.replace(" ", ""))
        case "secret in base64":
            is_one = _is_random(text)
        case _:
            is_one = True
    return kind if is_one else ""


def _is_card(text: str) -> bool:
    """Whether the digits have the check digit of a card (Luhn)."""
    digits = [int(each) for each in text if each.isdigit()]
    doubled = [sum(divmod(2 * each, 10)) for each in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """Whether the check digits are those of an IBAN (ISO 7064, mod 97)."""
    return int("".join(str(int(each, 36)) for each in text[4:] + text[:4])) % 97 == 1


def _is_random(text: str) -> bool:
    """Whether a run of letters and digits looks drawn by lot: large, small and digits, often changing."""
    classes = ["d" if each.isdigit() else "u" if each.isupper() else "l" for each in text if each.isalnum()]
    changes = sum(one != other for one, other in pairwise(classes))
    return len(set(classes)) == 3 and changes >= 0.4 * len(classes)
