"""Replay OHLCV bars through a running node, and show what becomes of them.

Each bar goes through the front door as a signal with the action `observe`: Kyle looks at it, and where it is
notable makes a trade of it. FILE is a CSV with date or timestamp, open, high, low, close, volume and, optionally,
symbol.

examples:
  ark-run replay spy-daily.csv --symbol SPY
  ark-run replay minute.csv --rate 0          as fast as the node takes them
  ark-run replay --demo                       daily bars of AAPL, GOOG, IBM, MSFT, 2000 to 2013
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actors.feeds import as_signals, demo_bars, read_bars
from ark.client import Client
from ark.errors import ArkError, MessageError
from ark.signal import Bar

HELP = "replay OHLCV bars from a file"
_TICK_S = 0.1
_TELL_S = 2.0
_PATIENCE_S = 60.0
_FASTEST = 500


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="CSV files; several are merged by time")
    parser.add_argument("--symbol", help="the symbol, where a file has no such column (default: from its name)")
    parser.add_argument("--demo", action="store_true", help="the packaged sample bars instead of files")
    parser.add_argument("--rate", type=float, default=500.0, metavar="N", help="bars per second, 0: no limit (500)")
    parser.add_argument("--limit", type=int, default=None, metavar="N", help="stop after so many bars")


def run(arguments: argparse.Namespace) -> int:
    """Replay.

    Returns:
        0 when every bar has its outcome, 1 otherwise.
    """
    if bool(arguments.files) == arguments.demo:
        raise MessageError("name one or more files, or --demo", hint="see ark-run replay --help")
    if arguments.rate < 0:
        raise MessageError("--rate must be 0 or more", field="rate")
    signals = itertools.islice(as_signals(_bars(arguments)), arguments.limit)
    with (
        Client.for_home(arguments.home, timeout_s=_PATIENCE_S) as client,
        Client.for_home(arguments.home, timeout_s=_PATIENCE_S) as listener,
    ):
        tally = Tally(quiet=arguments.json)
        ear = threading.Thread(target=tally.listen, args=(listener,))
        ear.start()
        began = time.monotonic()
        try:
            _feed(client, signals, tally, arguments.rate)
            tally.complete(client)
        finally:
            tally.done = True
            ear.join()
        tally.finish(time.monotonic() - began, as_json=arguments.json)
    return int(tally.missing > 0)


def _bars(arguments: argparse.Namespace) -> Iterator[tuple[str, Bar]]:
    if arguments.demo:
        return demo_bars()
    feeds = [read_bars(path, arguments.symbol) for path in arguments.files]
    return heapq.merge(*feeds, key=lambda each: each[1].ts)


def _feed(client: Client, signals: Iterator[dict[str, Any]], tally: Tally, rate: float) -> None:
    """Inject in small batches, so many a second."""
    size = max(1, int(rate * _TICK_S)) if rate else _FASTEST
    due = time.monotonic()
    while batch := list(itertools.islice(signals, size)):
        for result in client.inject_many(batch):
            tally.injected(result)
        tally.tell()
        if rate:
            due += size / rate
            time.sleep(max(0.0, due - time.monotonic()))


class Tally:
    """Counts outcomes as they are published, and says from time to time how it goes."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._open: set[str] = set()
        self._early: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._statuses: Counter[str] = Counter()
        self._rules: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._sample: dict[str, str] = {}
        self._sent = 0
        self._told_at = time.monotonic()
        self._told_sent = 0
        self.missing = 0
        self.done = False

    def injected(self, result: dict[str, Any]) -> None:
        """Note what the door said of one bar."""
        with self._lock:
            self._sent += 1
            if result["status"] == "rejected":
                self._rejected[result["error"]["message"]] += 1
                return
            early = self._early.pop(result["trace_id"], None)
            if early is not None:
                self._count(early)
            else:
                self._open.add(result["trace_id"])

    def listen(self, listener: Client) -> None:
        """Take outcomes from the node until `done`."""
        for _, outcome in listener.events(["outcome."], until=lambda: self.done):
            with self._lock:
                if outcome["trace_id"] in self._open:
                    self._open.remove(outcome["trace_id"])
                    self._count(outcome)
                elif len(self._early) < 10_000:
                    self._early[outcome["trace_id"]] = outcome

    def complete(self, client: Client) -> None:
        """Ask for the outcomes that were not heard: publishing may drop, the journal does not."""
        with self._lock:
            left = sorted(self._open)
        for trace_id in left:
            try:
                outcome = client.outcome(trace_id, timeout_s=_PATIENCE_S)
            except ArkError:
                self.missing += 1
                continue
            with self._lock:
                if trace_id in self._open:
                    self._open.remove(trace_id)
                    self._count(outcome)

    def tell(self) -> None:
        """Say how it goes, every two seconds at most."""
        now = time.monotonic()
        if self._quiet or now - self._told_at < _TELL_S:
            return
        with self._lock:
            rate = (self._sent - self._told_sent) / (now - self._told_at)
            self._told_at, self._told_sent = now, self._sent
            line = f"{self._sent:7} accepted, {rate:6.0f}/s   {self._words()}"
            samples, self._sample = self._sample, {}
        print(line, flush=True)
        for text in samples.values():
            print(f"        {text}", flush=True)

    def finish(self, took_s: float, *, as_json: bool) -> None:
        """Say how it ended."""
        with self._lock:
            if as_json:
                facts = {
                    "bars": self._sent,
                    "seconds": round(took_s, 3),
                    "outcomes": dict(self._statuses),
                    "denied_by": dict(self._rules),
                    "rejected": dict(self._rejected),
                    "missing": self.missing,
                }
                print(json.dumps(facts))
                return
            print(f"{self._sent} bars replayed in {took_s:.1f} s: {self._words()}")
            for message, count in self._rejected.most_common(3):
                print(f"  rejected {count}: {message}")
            if self.missing:
                print(f"  {self.missing} have no outcome yet; see `supervisor status`")

    def _words(self) -> str:
        parts = [f"{status} {count}" for status, count in sorted(self._statuses.items())]
        if self._rules:
            parts.append("denied by " + ", ".join(f"{rule} {count}" for rule, count in self._rules.most_common(4)))
        return "   ".join(parts) or "no outcome yet"

    def _count(self, outcome: dict[str, Any]) -> None:
        status = outcome["status"]
        self._statuses[status] += 1
        if status == "denied":
            violations = (outcome.get("decision") or {}).get("violations") or []
            execution = outcome.get("execution") or {}
            names = [each["rule"] for each in violations] or [execution.get("code") or "source"]
            self._rules.update(names)
        if status in ("executed", "denied", "failed"):
            order = outcome.get("order") or {}
            told = (
                f"{order.get('side')} {order.get('quantity')}"
                if status == "executed"
                else outcome.get("reason", "")
            )
            self._sample[status] = f"{status:8} {outcome['symbol']:5} {told[:70]:70}  {outcome['trace_id']}"
