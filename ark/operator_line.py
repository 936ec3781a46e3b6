"""The exporter's way to the gateway: one request at a time, as an operator's, in an asyncio loop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import zmq
import zmq.asyncio

from ark.errors import NodeError, RequestError

__all__ = ["OperatorLine"]


class OperatorLine:
    """Asks the gateway over its operators' socket.

    Args:
        place: The Unix socket.
    """

    def __init__(self, place: Path) -> None:
        self._endpoint = f"ipc://{place}"
        self._context: zmq.asyncio.Context | None = None

    async def ask(self, op: str, *, within_s: float, **fields: Any) -> dict[str, Any]:
        """Ask for one operation, once.

        Each request has a connection of its own, so that one that got no answer in time does not come to a gateway
        that is started later.

        Args:
            op: The operation.
            within_s: How long to wait for its answer.
            fields: The operation's fields.

        Raises:
            RequestError: The gateway said no.
            NodeError: No answer came in time, or none that can be read.
        """
        # The context has threads, which are not needed before somebody asks.
        self._context = self._context or zmq.asyncio.Context()
        line = self._context.socket(zmq.DEALER)
        try:
            line.setsockopt(zmq.LINGER, 0)
            line.setsockopt(zmq.RECONNECT_IVL, 20)
            line.connect(self._endpoint)
            async with asyncio.timeout(within_s):
                await line.send(msgspec.msgpack.encode({"v": 1, "op": op, "id": 1, **fields}))
                answer = msgspec.msgpack.decode(await line.recv(), type=dict[str, Any])
        except TimeoutError:
            raise NodeError(f"the gateway gave no answer within {within_s:g} s") from None
        except (zmq.ZMQError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise NodeError(f"the gateway gave no answer that can be read: {error}") from error
        finally:
            line.close(0)
        if not answer.get("ok"):
            error_body = answer.get("error") or {}
            raise RequestError(
                str(error_body.get("message", "refused")),
                code=str(error_body.get("code", "error")),
                field=error_body.get("field"),
            )
        return answer

    def close(self) -> None:
        """Let go of everything."""
        if self._context is not None:
            self._context.destroy(linger=0)
