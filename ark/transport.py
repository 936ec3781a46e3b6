"""Thespian's TCP transport, fenced.

As it comes, Thespian listens on every interface and unpickles whatever arrives: who reaches a port runs code. Here
each message carries an HMAC-SHA256 tag that is checked before anything is unpickled, and sockets are bound to one
address only. Both are done by replacing names in Thespian 4.0.1's modules, which is why that version is pinned;
`fence` refuses any other.
"""

from __future__ import annotations

import hmac
import pickle
from importlib.metadata import version
from typing import Any

import thespian.system.transport.IPBase as addresses
import thespian.system.transport.streamBuffer as stream
import thespian.system.transport.TCPTransport as tcp

from ark.errors import AuthenticationError, BootError

__all__ = ["BoundedBuffer", "TaggedPickle", "fence"]

_KNOWN_VERSION = "4.0.1"
_TAG_BYTES = 32
_LARGEST_FRAME = 4 << 20
"""Bytes; a duty carries the whole configuration, and nothing larger is ever said between supervisors."""
_LONGEST_PREFIX = 20


class TaggedPickle:
    """Pickle behind a tag: bytes that were not made with the secret are never unpickled.

    Args:
        secret: Shared by all processes of a node.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def dumps(self, message: Any) -> bytes:
        """The tag, then the pickle."""
        body = pickle.dumps(message)
        return hmac.digest(self._secret, body, "sha256") + body

    def loads(self, frame: bytes) -> Any:
        """Check the tag, then unpickle.

        Raises:
            AuthenticationError: The tag is not ours; the transport closes the connection on it.
        """
        tag, body = frame[:_TAG_BYTES], frame[_TAG_BYTES:]
        if not hmac.compare_digest(tag, hmac.digest(self._secret, body, "sha256")):
            raise AuthenticationError("a frame on a control port carries no valid tag")
        return pickle.loads(body)


class BoundedBuffer(stream.ReceiveBuffer):  # type: ignore[misc]
    """Thespian's buffer for one frame, which would gather whatever a length prefix promises, or none ends."""

    def addMore(self, buf: bytes) -> None:
        """Take bytes that arrived.

        Raises:
            AuthenticationError: They cannot be from us; the transport closes the connection on it.
        """
        super().addMore(buf)
        if self._size is None:
            if len(self._buf) > _LONGEST_PREFIX:
                raise AuthenticationError("a frame on a control port begins with no length")
        elif not 0 < self._size <= _LARGEST_FRAME:
            raise AuthenticationError(f"a frame on a control port claims {self._size} bytes")


def fence(secret: bytes, address: str = "127.0.0.1") -> None:
    """Fence Thespian in this process and all that it will fork. To be called before an actor system is made.

    Args:
        secret: For the tags.
        address: The only address to listen on.

    Raises:
        BootError: Another version of Thespian is installed.
    """
    installed = version("thespian")
    if installed != _KNOWN_VERSION:
        raise BootError(
            f"thespian {installed} is installed, but only {_KNOWN_VERSION} is known to be fenced",
            hint=f"pip install thespian=={_KNOWN_VERSION}",
        )
    serializer = TaggedPickle(secret)
    tcp.serializer = serializer
    tcp.ReceiveBuffer = BoundedBuffer
    tcp.ackMsg = stream.toSendBuffer(stream.ackPacket, serializer.dumps)
    tcp.ackDataErrMsg = stream.toSendBuffer(stream.ackDataErrPacket, serializer.dumps)

    def bind_address(self: Any) -> tuple[tuple[str, int]]:
        return ((address, self.bindname[1]),)

    addresses.IPActorAddress.bindArgs = property(bind_address)
