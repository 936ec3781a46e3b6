"""The tokens of a home, with which persons act through the page."""

from __future__ import annotations

import time
from pathlib import Path

from ark.home import Home
from ark.keys import Token, digest, holder, new_token
from ark.protocol import Role
from ark.shelf import Shelf

__all__ = ["TokenBook"]

_SETTLED_NS = 1_000_000_000
"""Two changes within so long may leave a folder with one time of change."""


class TokenBook(Shelf[Token]):
    """`keys/tokens` in a home.

    Args:
        home: The node's home; `prepare` was called on it before something is written.
    """

    def __init__(self, home: Home) -> None:
        super().__init__(home, Token)
        self._known: list[Token] = []
        self._stamp = -1
        self._is_settled = False

    def new(self, name: str, file: Path, *, by: str, at: float) -> Token:
        """Make a token for one person: it goes into that person's file, mode 0600, and its digest into the book.

        Args:
            name: In whose name it acts, never given before.
            file: Where it goes; it must not be there, nor be in the home.
            by: Who makes it.
            at: Seconds since the epoch.

        Raises:
            ClientKeyError: The name is taken or is none, or the file cannot be made.
        """
        self.check(name, file)
        secret = new_token()
        token = Token(name, Role.OPERATOR, digest(secret), at, by)
        self.give(token, file, secret.encode() + b"\n")
        return token

    def holder(self, secret: str) -> Token | None:
        """The good token that a text is; None where it is none. What was revoked counts no more at once."""
        if not self._is_settled or self.stamp() != self._stamp:
            self._stamp = self.stamp()
            self._is_settled = abs(time.time_ns() - self._stamp) > _SETTLED_NS
            self._known = self.all()
        return holder(secret, self._known)
