"""One HTTP POST to a receiver outside of the node: what came of it is a value, whatever went wrong.

No redirect is followed, since what is sent and its token go nowhere but where they were sent; no proxy is used,
whatever the environment says. The whole answer has a deadline, also one that comes a byte at a time.
"""

from __future__ import annotations

import http.client
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult

__all__ = ["Answer", "backoff", "post", "retry_after"]

FIRST_WAIT_S = 1.0
SHORTEST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
LONGEST_RETRY_AFTER_S = 300.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one try.

    Attributes:
        status: The status code; 0 for no answer.
        retry_after_s: How long the receiver asks to wait, if it does.
        error: Why there is no answer.
        body: The beginning of its content, where that was asked for.
    """

    status: int = 0
    retry_after_s: float | None = None
    error: str = ""
    body: bytes = b""

    @property
    def text(self) -> str:
        """The answer for people."""
        return self.error or f"it answered {self.status}"


def backoff(failed: int, answer: Answer, lot: float) -> float:
    """After how many seconds the next try is.

    The waits double from 0.5 s to 60 s, with jitter, so that many nodes do not come back in one moment; what the
    receiver asks for lengthens a wait to five minutes at most.

    Args:
        failed: Tries in a row that came to nothing, this one included.
        answer: What came of this one.
        lot: For the jitter, at least 0 and below 1.
    """
    longest = min(FIRST_WAIT_S * 2.0 ** min(failed - 1, 16), LONGEST_WAIT_S)
    shortest = max(longest / 2, SHORTEST_WAIT_S)
    wait_s = shortest + (longest - shortest) * lot
    return max(wait_s, min(answer.retry_after_s or 0.0, LONGEST_RETRY_AFTER_S))


def retry_after(value: str | None, now: float) -> float | None:
    """The seconds that a header `Retry-After` asks for; None where it says nothing that can be understood.

    Args:
        value: Its value, seconds or a date.
        now: Seconds since the epoch.
    """
    if value is None:
        return None
    try:
        seconds = float(value) if value.strip().isdecimal() else parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError, TypeError, OSError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def post(
    address: SplitResult,
    body: bytes,
    headers: Callable[[], Mapping[str, str]],
    *,
    timeout_s: float,
    most_bytes: int = 0,
) -> Answer:
    """Try once. Whatever goes wrong is an answer, too.

    Args:
        address: Of the scheme `http` or `https`.
        body: The content.
        headers: Gives the headers; asked at each try, and what it raises is an answer as well.
        timeout_s: How long connecting may take, and again the whole answer.
        most_bytes: So much is read of the answer's content.
    """
    try:
        return _ask(address, body, {"Connection": "close", **headers()}, timeout_s, most_bytes)
    except TimeoutError:
        return Answer(error=f"no answer within {timeout_s:g} s")
    except socket.gaierror:
        return Answer(error="its name cannot be resolved")
    except ssl.SSLCertVerificationError as error:
        return Answer(error=f"its certificate is not accepted: {error.verify_message}")
    except OSError as error:
        return Answer(error=error.strerror or type(error).__name__)
    except http.client.HTTPException as error:  # its text may hold what came, which is nobody's business
        return Answer(error=f"its answer is no HTTP ({type(error).__name__})")
    except Exception as error:  # noqa: BLE001
        return Answer(error=f"it cannot be asked ({type(error).__name__})")


def _ask(
    address: SplitResult, body: bytes, headers: Mapping[str, str], timeout_s: float, most_bytes: int
) -> Answer:
    host = address.hostname or ""
    is_safe = address.scheme == "https"
    port = address.port or (443 if is_safe else 80)
    context = ssl.create_default_context() if is_safe else None
    connection = (
        http.client.HTTPSConnection(host, port, context=context)
        if context
        else http.client.HTTPConnection(host, port)
    )
    connection.sock = socket.create_connection((host, port), timeout_s)
    deadline = threading.Timer(timeout_s, _cut, [connection])
    deadline.daemon = True
    began = time.monotonic()
    try:
        if context:
            connection.sock = context.wrap_socket(
                connection.sock, server_hostname=host, do_handshake_on_connect=False
            )
        deadline.start()
        if isinstance(connection.sock, ssl.SSLSocket):
            connection.sock.do_handshake()
        target = (address.path or "/") + (f"?{address.query}" if address.query else "")
        connection.request("POST", target, body, headers)
        response = connection.getresponse()
        wait_s = retry_after(response.headers.get("Retry-After"), time.time())
        return Answer(response.status, wait_s, body=response.read(most_bytes) if most_bytes else b"")
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() - began >= timeout_s:  # it sent a byte now and then, until it was cut off
            raise TimeoutError from error
        raise
    finally:
        deadline.cancel()
        connection.close()


def _cut(connection: http.client.HTTPConnection) -> None:
    """End a connection under the thread that reads from it."""
    try:
        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
    except (OSError, AttributeError, TypeError):
        return
