"""A client's key file: what it needs to come in, and to know that the node is the right one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import zmq
from zmq.utils import z85

from ark.errors import ClientKeyError
from ark.protocol import Role

__all__ = ["KeyFile", "parse_key_file", "read_key_file"]


class KeyFile(msgspec.Struct, frozen=True):
    """A client's own file: all that it needs to come in, its secret included.

    Attributes:
        name, role: As the node knows it.
        public_key, secret_key: The client's pair.
        node_public_key: By which the client knows the node.
        created_at: Seconds since the epoch.
    """

    name: str
    role: Role
    public_key: str
    secret_key: str
    node_public_key: str
    created_at: float = 0.0

    def __repr__(self) -> str:  # a secret must not get into a message by way of its holder
        return f"KeyFile({self.name!r})"


def read_key_file(path: Path | str) -> KeyFile:
    """A client's key file.

    Raises:
        ClientKeyError: It cannot be read, can be read by others, or is no key file.
    """
    place = Path(path).expanduser()
    try:
        mode = place.stat().st_mode
        content = place.read_bytes()
    except OSError as error:
        raise ClientKeyError(f"cannot read the key {place}: {error.strerror}") from error
    if mode & 0o077:
        raise ClientKeyError(f"the key {place} can be read by others", hint=f"chmod 600 {place}")
    try:
        return parse_key_file(content)
    except ClientKeyError as error:
        raise ClientKeyError(f"{place}: {error.message}", hint=error.hint) from None


def parse_key_file(content: bytes) -> KeyFile:
    """Read a client's key file.

    Raises:
        ClientKeyError: It is none; the message holds nothing of it.
    """
    try:
        found = msgspec.json.decode(content, type=KeyFile)
        whole = zmq.curve_public(found.secret_key.encode()).decode() == found.public_key
        whole = whole and len(z85.decode(found.node_public_key.encode())) == 32
    except (msgspec.DecodeError, UnicodeError, ValueError, KeyError, IndexError, zmq.ZMQError):
        whole = False
    if not whole:
        raise ClientKeyError("it is no key file", hint="make one with `ark-run keys new` where the node runs")
    return found
