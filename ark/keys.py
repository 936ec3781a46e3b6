"""Clients' keys: who is let in, as what, and who no longer. Values in, values out; no sockets, no folders.

A client is known by its CURVE public key (here always as 40 characters of Z85). Its secret key is in its own key
file and nowhere else: the node keeps public keys only, so that whoever reads the home cannot come in as a client. A
person at the page is known by a token, of which the node keeps the digest.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence

import msgspec
import zmq
from zmq.utils import z85

from ark.config import RESERVED
from ark.door import DEADLINE
from ark.errors import ClientKeyError
from ark.protocol import Role

__all__ = [
    "Book",
    "Caller",
    "Key",
    "Refusal",
    "Refusals",
    "Token",
    "check_name",
    "digest",
    "fingerprint",
    "holder",
    "judge_failure",
    "judge_handshake",
    "new_token",
    "role_named",
]

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")
NOT_FOR_KEYS = frozenset((*RESERVED, DEADLINE, "guardian", "supervisor"))
"""Names under which the node itself acts; a key's name says in the records who did something."""
DOORS = {b"gateway": "connect", b"events": "subscribe"}
"""ZAP domains, and what a client wanted that came to their socket."""
_TOKEN = "ark_"
"""How a token begins, so that it is known as one where it turns up."""
LONGEST_FLOOD_S = 60.0
"""So long, at most, is nothing more told of a flood of refused attempts."""


class Key(msgspec.Struct, frozen=True):
    """What the node knows of one client.

    Attributes:
        name: Given once; a revoked key's name is never given again.
        role: What the client may do.
        public_key: The client's.
        created_at: Seconds since the epoch.
        created_by: Login name.
        revoked_at: Seconds since the epoch; None while it is good.
        revoked_by: Login name.
        revoke_reason: Why.
    """

    name: str
    role: Role
    public_key: str
    created_at: float
    created_by: str
    revoked_at: float | None = None
    revoked_by: str = ""
    revoke_reason: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the key opens anything."""
        return self.revoked_at is None


class Token(msgspec.Struct, frozen=True):
    """What the node knows of one person's token for the page.

    Attributes:
        name: In whose name it acts; given once, to a key or a token.
        role: What it may do.
        digest: Of the token, which is kept nowhere here.
        created_at, created_by, revoked_at, revoked_by, revoke_reason: As of a key.
    """

    name: str
    role: Role
    digest: str
    created_at: float
    created_by: str
    revoked_at: float | None = None
    revoked_by: str = ""
    revoke_reason: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the token opens anything."""
        return self.revoked_at is None


def new_token() -> str:
    """A secret that nobody guesses: 256 bits at random."""
    return _TOKEN + secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is kept of a token. It is no password: a slow hash would protect nothing that could be guessed."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def holder(secret: str, tokens: Iterable[Token]) -> Token | None:
    """The good token that a text is; None where it is none. How long it takes says nothing of how near it was."""
    given = digest(secret)
    found = None
    for token in tokens:
        if hmac.compare_digest(given, token.digest) and token.is_good:
            found = token
    return found


class Caller(msgspec.Struct, frozen=True):
    """Who a request comes from.

    Attributes:
        role: None where the client may do nothing at all.
        name: The key's name, or the fingerprint of one that is not known; "" for a client without a key.
        why: Where there is no role, the code of the reason.
        address: Where from, as far as it is known.
    """

    role: Role | None
    name: str = ""
    why: str = ""
    address: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """One attempt that was refused.

    Attributes:
        why: `unknown_key`, `revoked_key`, `no_key`, `wrong_node_key`, `no_handshake`, `too_many`, `wrong_token`,
            `forbidden` or `unreadable`.
        op: The operation; `connect` or `subscribe` for a client that did not come in, `act` for one at the page,
            `deliver` for a process of the node itself.
        client: The key's name, or its fingerprint where it is not known; "" where there is none.
        address: Where from, as far as it is known.
    """

    why: str
    op: str
    client: str = ""
    address: str = ""


class Book:
    """Every key that was ever made, to be asked by public key.

    Args:
        keys: All of them, revoked ones included.
    """

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._keys = {key.public_key: key for key in keys}

    @property
    def good(self) -> frozenset[str]:
        """Public keys that open something."""
        return frozenset(public for public, key in self._keys.items() if key.is_good)

    def caller(self, public_key: str | None, address: str = "") -> Caller:
        """Who comes with a public key; None where a request came without one."""
        if public_key is None:
            return Caller(None, why="no_key", address=address)
        key = self._keys.get(public_key)
        if key is None:
            return Caller(None, fingerprint(public_key), "unknown_key", address)
        if not key.is_good:
            return Caller(None, key.name, "revoked_key", address)
        return Caller(key.role, key.name, address=address)


class Refusals:
    """Counts refused attempts, all of them, and says which to tell of: in a flood only a few each second, and soon
    only a few each minute. A stranger must not push all else out of a log that is put aside when it is large.

    Each reason has a flood of its own: who asks for too much must not drown the word of who has a revoked key.

    Args:
        most: So many of one reason are told of within one second. Where more came, that becomes two seconds, then
            four, and up to a minute; one again when no more came.
    """

    def __init__(self, most: int = 5) -> None:
        self.count = 0
        self._most = most
        self._floods: dict[str, _Flood] = {}

    def note(self, why: str, now: float) -> int | None:
        """Count one.

        Args:
            why: Its reason.
            now: Seconds on a clock that never goes back.

        Returns:
            How many of that reason before it were not told of, where this one is to be told; None where it is not.
        """
        self.count += 1
        flood = self._floods.get(why, _Flood(now))
        if now - flood.since >= flood.lasts_s:
            lasts_s = min(LONGEST_FLOOD_S, 2 * flood.lasts_s) if flood.kept_back else 1.0
            flood = msgspec.structs.replace(flood, since=now, told=0, lasts_s=lasts_s)
        if flood.told >= self._most:
            self._floods[why] = msgspec.structs.replace(flood, kept_back=flood.kept_back + 1)
            return None
        self._floods[why] = msgspec.structs.replace(flood, told=flood.told + 1, kept_back=0)
        return flood.kept_back


class _Flood(msgspec.Struct, frozen=True):
    """The refusals of one reason within some seconds: how many were told of, and how many not since then."""

    since: float
    told: int = 0
    kept_back: int = 0
    lasts_s: float = 1.0


def judge_handshake(request: Sequence[bytes], book: Book) -> tuple[list[bytes], Refusal | None]:
    """Answer one request of ZAP, the protocol in which libzmq asks whether a client may come in.

    Args:
        request: Version, id, domain, address, identity, mechanism; for CURVE the client's public key, 32 bytes.
        book: The keys.

    Returns:
        The answer's frames, and the refusal if it is one.
    """
    version, number, domain, address, _, mechanism, *credentials = request
    if mechanism == b"CURVE" and len(credentials) == 1 and len(credentials[0]) == 32:
        public_key = z85.encode(credentials[0])
        caller = book.caller(public_key.decode(), address.decode(errors="replace"))
    else:
        public_key, caller = b"", Caller(None, why="no_key", address=address.decode(errors="replace"))
    if caller.role is None:
        refusal = Refusal(caller.why, DOORS.get(domain, "connect"), caller.name, caller.address)
        return [version, number, b"400", b"not known here", b"", b""], refusal
    return [version, number, b"200", b"", public_key, b""], None


def judge_failure(code: int) -> str:
    """Why a client was sent away before it could show a key, from what libzmq says of its handshake.

    A client without a key that finds out first and closes looks like one that connects and says nothing.
    """
    if code == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
        return "no_key"
    return "wrong_node_key" if code == zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC else "no_handshake"


def fingerprint(public_key: str) -> str:
    """A short name for a key that has none."""
    return hashlib.sha256(public_key.encode()).hexdigest()[:12]


def check_name(name: str) -> None:
    """Raises ClientKeyError where a key cannot be named so."""
    if not NAME.fullmatch(name):
        raise ClientKeyError(
            f"{name[:40]!r} cannot be a key's name",
            hint="1 to 32 of a-z, 0-9, _ . and -, beginning with a letter or a digit",
            field="name",
        )
    if name in NOT_FOR_KEYS:
        raise ClientKeyError(f"{name!r} cannot be a key's name: the node acts under it", field="name")


def role_named(name: str) -> Role:
    """The role of that name; raises ClientKeyError where there is none."""
    try:
        return Role(name)
    except ValueError:
        known = ", ".join(role.value for role in Role)
        raise ClientKeyError(f"unknown role {name[:40]!r}", hint=f"one of {known}", field="role") from None
