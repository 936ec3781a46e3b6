"""Exports the ways of signals that have ended to a collector of OpenTelemetry, by OTLP over HTTP.

It reads them from the gateway's journal, whose rows are the queue (`ark.otlp_queue`): a collector that is down
costs a delay and no memory, and what waits lies where it lies anyway. Nothing is lost by a kill, of whomever; what
was under way then is sent once more, as the very same spans.

What an answer means is decided by `judge`, which is pure:

- 2xx: it is delivered. What the collector did not take of it is told, and not sent again.
- 400, 413 or 422: something in it is wrong. It is sent in smaller portions, until the one signal is known that it
  is, which is left out and told.
- Anything else, or no answer: it is tried again, without end, with the waits of `ark.http_post.backoff`: also where
  the address or the headers are wrong, which an operator can mend.

It runs on a thread of the exporter's process. No other thread waits for it.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import unquote, urlsplit

import ark
from ark.config import TracesConfig
from ark.home import Home
from ark.http_post import Answer, backoff, post
from ark.log import Log
from ark.otlp_encoding import encoder, refused_spans
from ark.otlp_queue import OtlpQueue
from ark.otlp_spans import exported_trace, is_wanted
from ark.traces import TraceDocument

__all__ = ["HEADERS_VARIABLE", "OtlpExport", "judge", "read_headers", "traces_address"]

HEADERS_VARIABLE = "OTEL_EXPORTER_OTLP_HEADERS"
"""The environment variable with the headers, where no file is named."""

MOST_TRACES = 64
"""In one request."""
TIMEOUT_S = 10.0
"""For connecting, and again for the whole answer."""
WRONG = frozenset((400, 413, 422))
"""Answers that say that the content is wrong."""

_LOOK_S = 1.0
_BEGINNING_S = 10.0
"""So long after the start the gateway may not have made its journal yet."""
_LARGEST_ANSWER = 1 << 16
_PATH = "/v1/traces"

Step: TypeAlias = Literal["delivered", "smaller", "left_out", "again"]


def judge(answer: Answer, count: int) -> Step:
    """Say what an answer means, by the rules above.

    Args:
        answer: What came of a try.
        count: How many signals were in it.
    """
    if 200 <= answer.status < 300:
        return "delivered"
    if answer.status in WRONG:
        return "smaller" if count > 1 else "left_out"
    return "again"


def traces_address(endpoint: str) -> str:
    """Where traces go, from an endpoint as OpenTelemetry's variables name it."""
    bare = endpoint.rstrip("/")
    return bare if bare.endswith(_PATH) else f"{bare}{_PATH}"


def read_headers(file: Path | None, environment: Mapping[str, str]) -> dict[str, str]:
    """The headers that prove to the collector who sends.

    Args:
        file: `NAME: VALUE`, a line for each; None for none.
        environment: Where they stand otherwise, as `NAME=VALUE`, with commas between them.

    Raises:
        OSError: The file cannot be read, or others can read it; the text says so.
    """
    if file is None:
        pairs = [each.partition("=") for each in environment.get(HEADERS_VARIABLE, "").split(",")]
        return {name.strip(): unquote(value.strip()) for name, _, value in pairs if name.strip()}
    if file.stat().st_mode & 0o077:
        raise PermissionError(0, f"{file} can be read by others: chmod 600 it")
    pairs = [each.partition(":") for each in file.read_text(errors="replace").splitlines()]
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}


class OtlpExport:
    """Sends what has ended, on a thread of its own.

    Args:
        home: The node's home.
        settings: Where to, and how much of it.
        environment: Where the headers may stand.
        timeout_s: How long connecting may take, and again the whole answer.
        look_s: How often it looks for what has ended.
        waits: Gives the seconds until the next try, as `ark.http_post.backoff`.

    Raises:
        BootError: OpenTelemetry's packages are not installed.
    """

    def __init__(
        self,
        home: Home,
        settings: TracesConfig,
        *,
        environment: Mapping[str, str] = os.environ,
        timeout_s: float = TIMEOUT_S,
        look_s: float = _LOOK_S,
        waits: Callable[[int, Answer, float], float] = backoff,
    ) -> None:
        self._home = home
        self._address = urlsplit(traces_address(settings.otlp_endpoint))
        self._place = f"{self._address.scheme}://{self._address.netloc}"
        self._file = home.path / settings.otlp_headers_file if settings.otlp_headers_file else None
        self._share = settings.sample
        self._environment = environment
        self._timeout_s = timeout_s
        self._look_s = look_s
        self._waits = waits
        self._log = Log(home.logs / "supervision.log")
        self._encode = encoder(home.path.name)
        self._most = MOST_TRACES
        self._failed = 0
        self._trouble = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)

    @classmethod
    def of(cls, home: Home, settings: TracesConfig) -> OtlpExport | None:
        """The export that the settings name; None where they name none.

        Raises:
            BootError: OpenTelemetry's packages are not installed.
        """
        return cls(home, settings) if settings.otlp_endpoint else None

    @property
    def trouble(self) -> str:
        """What keeps it from exporting, in a sentence; empty for nothing."""
        return self._trouble

    def start(self) -> None:
        """Begin. The thread ends with its process."""
        self._thread.start()

    def stop(self, patience_s: float = 0.5) -> None:
        """Begin nothing more, and wait a moment for what is under way; another process goes on from there."""
        self._stopping.set()
        self._thread.join(patience_s)

    # The thread

    def _run(self) -> None:
        queue: OtlpQueue | None = None
        began = time.monotonic()
        wait_s = 0.0
        while not self._stopping.wait(wait_s):
            try:
                queue = queue or OtlpQueue(self._home)
                wait_s = self._round(queue)
            except Exception as error:  # noqa: BLE001
                if queue is not None:
                    queue.close()
                    queue = None
                if time.monotonic() - began > _BEGINNING_S:
                    self._bear(f"traces cannot be exported: {error or type(error).__name__}")
                wait_s = self._look_s
        if queue is not None:
            queue.close()

    def _round(self, queue: OtlpQueue) -> float:
        """Send one portion; gives the seconds until the next."""
        portion = queue.take(self._most)
        if portion is None:
            return self._look_s
        ended = [queue.document(record, time.time()) for record in portion if record.status]
        wanted = [document for document in ended if is_wanted(document, self._share)]
        if wanted:
            answer = self._post(wanted)
            match judge(answer, len(wanted)):
                case "again":
                    self._failed += 1
                    self._bear(f"{self._place} takes no traces: {answer.text}")
                    return self._waits(self._failed, answer, random.random())
                case "smaller":
                    self._most = max(1, len(portion) // 2)
                    return 0.0
                case "left_out":
                    reason = f"{self._place} does not take the trace of this signal: {answer.text}"
                    self._tell("otlp_left_out", reason, trace_id=wanted[0].trace_id)
                case "delivered":
                    self._take_delivery(answer)
        queue.done(portion)
        return 0.0

    def _post(self, documents: Sequence[TraceDocument]) -> Answer:
        try:
            body = self._encode([exported_trace(each) for each in documents])
        except Exception as error:  # noqa: BLE001
            return Answer(400, error=f"it cannot be encoded ({type(error).__name__})")
        return post(self._address, body, self._headers, timeout_s=self._timeout_s, most_bytes=_LARGEST_ANSWER)

    def _headers(self) -> dict[str, str]:
        return {
            **read_headers(self._file, self._environment),
            "Content-Type": "application/x-protobuf",
            "User-Agent": f"ark/{ark.__version__}",
        }

    def _take_delivery(self, answer: Answer) -> None:
        count, why = refused_spans(answer.body)
        if count:
            self._tell("otlp_refused", f"{self._place} did not take {count} spans: {why[:200]}")
        self._most = min(MOST_TRACES, self._most * 2)
        self._failed = 0
        if self._trouble:
            self._trouble = ""
            self._tell("otlp_works", f"{self._place} takes traces again")

    def _bear(self, trouble: str) -> None:
        if not self._trouble:
            self._tell("otlp_failing", trouble)
        self._trouble = trouble

    def _tell(self, event: str, reason: str, **fields: str) -> None:
        self._log.write(event, name="exporter", reason=reason, **fields)
