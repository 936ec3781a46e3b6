"""The key book of a home: the public key of each client, and the node's own pair."""

from __future__ import annotations

from pathlib import Path

import msgspec
import zmq
from zmq.utils import z85

from ark.errors import ClientKeyError
from ark.home import Home
from ark.key_file import KeyFile
from ark.keys import Key
from ark.protocol import Role
from ark.shelf import Shelf

__all__ = ["KeyBook"]

_NODE_SECRET = "curve"


class KeyBook(Shelf[Key]):
    """`keys/clients` in a home, and `keys/curve`, the node's secret key.

    Args:
        home: The node's home; `prepare` was called on it before something is written.
    """

    def __init__(self, home: Home) -> None:
        super().__init__(home, Key)

    def node_pair(self) -> tuple[bytes, bytes]:
        """The node's public and secret key, Z85; made on first use.

        Raises:
            ClientKeyError: It cannot be made.
            NodeError: It can be read by others, or is not whole.
        """
        try:
            secret = z85.encode(self._home.secret(_NODE_SECRET))
        except OSError as error:
            raise ClientKeyError(f"cannot make {self._home.keys / _NODE_SECRET}: {error.strerror}") from error
        return zmq.curve_public(secret), secret

    @property
    def node_public_key(self) -> str:
        """By which clients know the node, Z85."""
        return self.node_pair()[0].decode()

    def has_good(self) -> bool:
        """Whether any key opens anything."""
        return any(key.is_good for key in self.all())

    def new(self, name: str, role: Role, file: Path, *, by: str, at: float) -> Key:
        """Make a pair: the public key goes into the book, the secret one into the client's file, mode 0600.

        Args:
            name: The key's name, never given before.
            role: What it opens.
            file: The client's file; it must not be there, nor be in the home.
            by: Who makes it.
            at: Seconds since the epoch.

        Raises:
            ClientKeyError: The name is taken or is none, or the file cannot be made.
        """
        self.check(name, file)
        public, secret = (each.decode() for each in zmq.curve_keypair())
        key = Key(name, role, public, at, by)
        mine = KeyFile(name, role, public, secret, self.node_public_key, at)
        self.give(key, file, msgspec.json.format(msgspec.json.encode(mine)) + b"\n")
        return key
