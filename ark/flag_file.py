"""The signed file with the feature flags: `flags.json` in the home, the key that it trusts, and the last good copy.

A file counts if the key `keys/flags.pub` has signed it, and if it is not older than the one in force. One that
does not is refused and told of, and what was in force stays so, also over a restart: each file that counts is
copied to `data/flags-good.json`, and verified again when it is read from there. Where there never was a good one,
the defaults in the code are in force.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ark.errors import FlagError
from ark.files import replace_file
from ark.flags import LARGEST, Body, Signed, check, read
from ark.home import Home

__all__ = ["FRESH_S", "FlagFile", "fault_of_flags", "load", "public_key", "sign", "verify", "write"]

FRESH_S = 0.25
"""The file is looked at at most so often."""
FILE = "flags.json"
GOOD = "flags-good.json"
KEY = "flags.pub"

_DOMAIN = b"ark flags 1\n"
"""What the signature says first, so that none made for another purpose could pass for it."""
_canonical = msgspec.json.Encoder(order="deterministic")

_Seen = tuple[tuple[int, int, int] | None, ...]


def public_key(home: Home) -> Ed25519PublicKey | None:
    """The key that the home trusts; None where it trusts none.

    Raises:
        FlagError: Its file holds none.
    """
    path = home.keys / KEY
    try:
        found = serialization.load_pem_public_key(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise FlagError(f"{path} holds no public key: {error}", hint="put the right one there") from None
    if not isinstance(found, Ed25519PublicKey):
        raise FlagError(f"{path} holds no Ed25519 key", hint="put the right one there")
    return found


def load(home: Home, name: str = FILE) -> Signed | None:
    """What a file says, if it is signed by the key that the home trusts; None where there is no file.

    Raises:
        FlagError: It cannot be read, is malformed, or is not so signed.
    """
    path = (home.path if name == FILE else home.data) / name
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FlagError(f"{path} cannot be read: {error.strerror}") from None
    try:
        key = public_key(home)
        signed = read(content)
        if key is None:
            raise FlagError("no key is trusted for it", hint=f"put the public key into keys/{KEY}")
        verify(signed, key)
    except FlagError as error:
        raise FlagError(f"{path}: {error.message}", hint=error.hint) from None
    return signed


def fault_of_flags(home: Home) -> str:
    """What is wrong with the file in a home, in one line; empty for nothing."""
    flags = FlagFile(home, keeps=False)
    flags.look(0.0)
    return flags.fault


class FlagFile:
    """The flags in force, from the newest file that counts.

    Args:
        home: Whose.
        keeps: Whether a file that counts is copied for the next start.
        accepted: Called with what is in force from now on, after the first look.
        refused: Called once for each new reason why a file does not count.
    """

    def __init__(
        self,
        home: Home,
        *,
        keeps: bool = True,
        accepted: Callable[[Body], None] = lambda body: None,
        refused: Callable[[str], None] = lambda fault: None,
    ) -> None:
        self._home = home
        self._path = home.path / FILE
        self._keeps = keeps
        self._accepted = accepted
        self._refused = refused
        self._looked_at: float | None = None
        self._seen: _Seen = ()
        self.body: Body | None = None
        """What is in force; None for the defaults in the code."""
        self.fault = ""
        """Why the file does not count; empty where it does, or where there is none and never was."""

    def current(self) -> Body | None:
        """What is in force now, as of a moment ago."""
        now = time.monotonic()
        if self._looked_at is None or now - self._looked_at >= FRESH_S:
            self.look(now)
        return self.body

    def look(self, now: float) -> None:
        """Look whether there is another file, and take it if it counts.

        Args:
            now: Seconds on a clock that never goes back.
        """
        first, self._looked_at = self._looked_at is None, now
        if first:
            self._take_up()
        seen = (_stat(self._path), _stat(self._home.keys / KEY))
        if not first and seen == self._seen:
            return
        self._seen = seen
        try:
            self._take(first)
        except FlagError as error:
            if error.line != self.fault:
                self.fault = error.line
                self._refused(self.fault)

    def _take_up(self) -> None:
        """Begin with what was in force before; one that was spoilt does not count, as if it were not there."""
        try:
            kept = load(self._home, GOOD)
        except FlagError as error:
            self._refused(error.line)
            return
        self.body = None if kept is None else kept.body

    def _take(self, first: bool) -> None:
        signed = load(self._home)
        if signed is None:
            if self.body is not None:
                raise FlagError(
                    f"{self._path} is gone; what was in force stays so",
                    hint="put it back, or remove flags with `ark-run flag remove`",
                )
            return
        if self.body is not None and signed.body != self.body and signed.body.serial <= self.body.serial:
            raise FlagError(
                f"{self._path}: its serial {signed.body.serial} is not above {self.body.serial}, which is in force",
                hint="an older file does not count; `ark-run flag sign` makes it the newest",
            )
        self.fault = ""
        if signed.body == self.body:
            return
        self.body = signed.body
        if self._keeps:
            _keep(self._home, signed)
        if not first:
            self._accepted(self.body)


def sign(body: Body, key: Ed25519PrivateKey) -> bytes:
    """The file with a body, signed.

    Raises:
        FlagError: The flags are none.
    """
    check(body.flags)
    # What is signed is what a reader will have: 5 that is a percentage is 5.0 to him.
    try:
        body = msgspec.json.decode(msgspec.json.encode(body), type=Body)
    except (msgspec.ValidationError, OverflowError, UnicodeError) as error:
        raise FlagError(f"these flags cannot be kept: {error}", hint="see `ark-run flag set --help`") from None
    signed = Signed(1, body, key.sign(_message(body)).hex())
    content = msgspec.json.format(msgspec.json.encode(signed)) + b"\n"
    verify(read(content), key.public_key())
    return content


def verify(signed: Signed, key: Ed25519PublicKey) -> None:
    """Look whether a key has signed what is there.

    Raises:
        FlagError: It has not.
    """
    try:
        key.verify(bytes.fromhex(signed.signature), _message(signed.body))
    except (InvalidSignature, ValueError):
        raise FlagError(
            "its signature is not that of the trusted key over what it says",
            hint="look at it, and `ark-run flag sign` if you mean it",
        ) from None


def _message(body: Body) -> bytes:
    """The meaning of the body, however it is written down: what is verified is what is evaluated."""
    return _DOMAIN + _canonical.encode(body)


def write(home: Home, content: bytes) -> None:
    """Put a file in its place, all of it or nothing.

    Raises:
        FlagError: It cannot be written.
    """
    try:
        replace_file(home.path / FILE, content, durable=True)
    except OSError as error:
        raise FlagError(
            f"cannot write {home.path / FILE}: {error.strerror}", hint="make room, or see its mode"
        ) from None


def _keep(home: Home, signed: Signed) -> None:
    """Keep what counts for the next start. Where that fails, the next start reads the file itself."""
    with suppress(OSError):
        replace_file(home.data / GOOD, msgspec.json.encode(signed), durable=True)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
