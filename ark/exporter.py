"""The exporter: metrics and health over HTTP, from the node's own status at the moment of the question."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import zmq
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from ark.blackbox import BlackBox
from ark.client import Client
from ark.config import Config
from ark.control import Control, Duty
from ark.errors import ArkError

__all__ = ["ExporterWorker", "expose", "measure"]

_ANSWER_S = 2.0


def measure(status: dict[str, Any]) -> Iterator[Metric]:
    """Turn a status into metrics; see DESIGN section 4 for the status."""
    # Not known while the gateway waits for its journal: a metric that is absent is better than one that is wrong.
    signals = {key: value for key, value in status["signals"].items() if value is not None}
    for name, key, text in (
        ("ark_signals_accepted", "accepted", "Signals that were accepted, over the life of the home."),
        ("ark_signals_completed", "completed", "Signals that have their outcome."),
        ("ark_dead_letters", "dead_letters_ever", "Signals that the pipeline gave up on."),
    ):
        if key in signals:
            yield CounterMetricFamily(name, text, value=signals[key])
    for name, key, text in (
        ("ark_signals_in_flight", "in_flight", "Accepted signals without an outcome that are not held."),
        ("ark_signals_held", "held", "Signals that wait for a person."),
        ("ark_dead_letters_open", "dead_letters", "Dead letters that nobody has dealt with."),
    ):
        if key in signals:
            yield GaugeMetricFamily(name, text, signals[key])
    yield GaugeMetricFamily("ark_halted", "1 while trading is halted.", int(status["halted"]))
    up = GaugeMetricFamily("ark_child_up", "1 while the child runs.", labels=["name", "kind", "version"])
    restarts = CounterMetricFamily("ark_child_restarts", "Starts after the first one.", labels=["name"])
    beats = GaugeMetricFamily(
        "ark_heartbeat_age_seconds", "Seconds since the child's loop went round.", labels=["name"]
    )
    depths = GaugeMetricFamily("ark_mailbox_depth", "Envelopes sent and not yet taken.", labels=["name"])
    for child in status["children"]:
        up.add_metric([child["name"], child["kind"], child["version"]], int(child["state"] == "running"))
        restarts.add_metric([child["name"]], child["restarts"])
        if child["heartbeat_age_s"] is not None:
            beats.add_metric([child["name"]], child["heartbeat_age_s"])
        if child["mailbox_depth"] is not None:
            depths.add_metric([child["name"]], child["mailbox_depth"])
    yield from (up, restarts, beats, depths)


class _Measured(Collector):
    def __init__(self, status: dict[str, Any]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        return measure(self._status)


def expose(status: dict[str, Any]) -> bytes:
    """A status as Prometheus text."""
    registry = CollectorRegistry()
    registry.register(_Measured(status))
    return generate_latest(registry)


class ExporterWorker:
    """The worker of the exporter's process."""

    def __init__(self, duty: Duty, control: Control, box: BlackBox) -> None:
        self._control = control
        self._box = box
        self._epoch = duty.epoch
        config = msgspec.convert(duty.config, Config)
        self._beat_s = config.watchdog.interval_s / 4
        host, _, port = config.metrics.listen.rpartition(":")
        self._address = (host, int(port))
        self._home = Path(duty.home)

    def prepare(self) -> None:
        """Listen."""
        self._server = ThreadingHTTPServer(self._address, _handler(self._home))
        self._server.daemon_threads = True

    def run(self) -> None:
        """Serve until told to stop."""
        threading.Thread(target=self._server.serve_forever, name="http", daemon=True).start()
        poller = zmq.Poller()
        poller.register(self._control.fileno(), zmq.POLLIN)
        while True:
            ready = poller.poll(int(self._beat_s * 1000))
            if ready and any(words.get("do") == "stop" for words in self._control.hear()):
                self._server.server_close()
                return
            self._box.beat(epoch=self._epoch, handled=0, received=0, sent=0)


def _ask(home: Path) -> dict[str, Any]:
    with Client.for_home(home, timeout_s=_ANSWER_S) as client:
        return client.status()


def _handler(home: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                match self.path.split("?")[0]:
                    case "/metrics":
                        self._answer(200, CONTENT_TYPE_LATEST, expose(_ask(home)))
                    case "/healthz" | "/readyz":
                        self._health(self.path == "/readyz")
                    case _:
                        self._answer(404, "text/plain", b"try /metrics, /healthz, /readyz\n")
            except ArkError as error:
                self._answer(503, "application/json", json.dumps({"status": "down", "reason": str(error)}).encode())
            except (BrokenPipeError, ConnectionResetError):
                return

        def _health(self, ready: bool) -> None:
            status = _ask(home)
            down = [child["name"] for child in status["children"] if child["state"] != "running"]
            good = status["ready"] if ready else not down
            word = ("ready" if ready else "healthy") if good else ("not_ready" if ready else "unhealthy")
            body = json.dumps({"status": word, "down": down, "halted": status["halted"]})
            self._answer(200 if good else 503, "application/json", body.encode())

        def _answer(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            return

    return Handler
