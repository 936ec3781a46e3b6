"""Kyle, the Seer: checks where a signal comes from and how old it is, and adds what bars say of its market.

He keeps the newest bars of each symbol in his journal, so that a process that takes over computes the same
figures. Shown a bar (`observe`), he makes a trade signal of it where the market does something unusual.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import OrderedDict
from contextlib import suppress
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from actors.indicators import market
from actors.messages import Case, Market
from actors.rate import Rate
from actors.settings import read
from actors.window import SIZE, USUAL_BARS, Row, Window
from ark.agent import Agent, Context, Durability
from ark.errors import ProposalError
from ark.journal import Journal
from ark.signal import Bar, Signal

__all__ = ["Kyle", "KyleSettings", "notable"]

AHEAD_S = 5.0
"""How far ahead of this machine's clock a sender's clock may be."""
SMALLEST = 1e-9
"""Prices of bars below this are denied: indicators take differences below 1e-14 for none."""

BREAKOUT_MOVE, BREAKOUT_VOLUME = 0.03, 1.5
MOMENTUM_MOVE = 0.02
ANOMALY_MOVE, ANOMALY_VOLUME = 0.01, 2.0

FEED = "bars"
"""The name of what brings the bars, whoever sends them, in the metrics."""

_cases = msgspec.msgpack.Decoder(Case)
_NO_BARS = Window()
"""For a symbol of which nothing is known; nobody adds a bar to it."""


class KyleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Kyle's settings, with their defaults.

    Attributes:
        max_age_s: The oldest signal that is still looked at (rule DATA-003: 15 minutes).
        blocked_sources: Sources whose signals are denied before anybody looks at them; upper and lower case are
            the same. Which sources are not to be traded on is for HRM's register to say.
        allowed_sources: If not empty, the only sources whose signals are looked at.
        max_bar_gap_s: A signal without a bar is described by the bars there are, if the newest began no
            longer before it than this. Older ones say nothing about its market.
        symbols_in_memory: How many symbols' bars are held in memory; the others are read when they are asked
            for.
    """

    max_age_s: Annotated[float, Meta(gt=0)] = 900.0
    blocked_sources: tuple[str, ...] = ()
    allowed_sources: tuple[str, ...] = ()
    max_bar_gap_s: Annotated[float, Meta(gt=0)] = 7 * 86_400.0
    symbols_in_memory: Annotated[int, Meta(ge=1)] = 2_000


_PLAN = ("quantity", "position_size_pct", "stop_loss", "target", "risk_reward_ratio")
"""What a signal may bring of a plan; a bar that Kyle makes a trade of has none."""


def notable(found: Market) -> Literal["long", "short"] | None:
    """The direction in which a bar is worth a trade, or None.

    Thresholds of the original's reasoner: breakout (moved more than 3 %, volume above 1.5 times the usual),
    momentum (moved more than 2 %), volume anomaly (volume above 2 times the usual; here also a move of 1 % or
    more, below which the original speaks of consolidation and the move names no side). The side is that of
    the move against the close before. Whether there is a pattern in it is for Joey to say.
    """
    move, volume = found.change_pct, found.volume_ratio
    if move is None or volume is None:
        return None
    size = abs(move)
    breakout = size > BREAKOUT_MOVE and volume > BREAKOUT_VOLUME
    anomaly = size >= ANOMALY_MOVE and volume > ANOMALY_VOLUME
    if not (breakout or anomaly or size > MOMENTUM_MOVE):
        return None
    return "long" if move > 0 else "short"


class Sighting(msgspec.Struct, frozen=True):
    """What another version of Kyle describes.

    Attributes:
        signal: As it was accepted.
        rows: The symbol's bars before it, oldest first, as `ts`, `open`, `high`, `low`, `close`, `volume`, `split`;
            with those of earlier signals that other versions have not given back yet.
        now: Seconds since the epoch.
    """

    signal: Signal
    rows: list[Row]
    now: float


class Kyle(Agent[Signal]):
    """Takes a signal, gives a case with the market, or with a refusal."""

    takes = Signal
    weighs = Sighting
    proposes = Case
    durability = Durability.PROCESS
    tick_s = 1.0

    def __init__(self) -> None:
        self._settings = KyleSettings()
        self._blocked: frozenset[str] = frozenset()
        self._allowed: frozenset[str] = frozenset()
        self._windows: OrderedDict[str, Window] = OrderedDict()
        self._figures: dict[str, Market] = {}
        """By symbol, what its window says; only of windows in memory that nothing was added to since."""
        self._ahead: dict[str, dict[str, Row]] = {}
        """By symbol and trace id, the new bars of signals that were put before another version: they are kept when
        those come back, and later signals of the symbol are described with them already."""
        self._ahead_epoch = 0
        self._taken = 0
        self._rate = Rate()
        self._newest: float | None = None
        """When the newest bar of all began."""

    def setup(self, context: Context) -> None:
        self._settings = read(KyleSettings, context.settings, context.agent)
        self._blocked = frozenset(source.strip().lower() for source in self._settings.blocked_sources)
        self._allowed = frozenset(source.strip().lower() for source in self._settings.allowed_sources)
        context.database.execute(
            "CREATE TABLE IF NOT EXISTS bars (symbol TEXT NOT NULL, ts REAL NOT NULL, open REAL NOT NULL, "
            "high REAL NOT NULL, low REAL NOT NULL, close REAL NOT NULL, volume REAL NOT NULL, "
            "split REAL NOT NULL, PRIMARY KEY (symbol, ts)) WITHOUT ROWID"
        )
        ((self._newest,),) = context.database.execute("SELECT max(ts) FROM bars").fetchall()  # type: ignore[assignment]
        self._measure(context)

    def tick(self, context: Context) -> None:
        """Tell how much comes in, also when nothing does."""
        self._measure(context)

    def _measure(self, context: Context) -> None:
        now = context.now()
        context.gauge("kyle_ingest_rate", self._rate.see(self._taken, now))
        if self._newest is not None:
            context.gauge("ark_feed_age_seconds", max(0.0, now - self._newest), feed=FEED)

    def handle(self, message: Signal, context: Context) -> Case:
        self._taken += 1
        self._fetch_back(message.symbol, context)
        return self._enrich(message, context.now(), context)

    # Beside another version.

    def case(self, message: Signal, context: Context) -> Sighting:
        """The signal, and what is known of its symbol, as if all earlier signals had come back."""
        symbol, now = message.symbol, context.now()
        if self._ahead_epoch != context.epoch:  # whatever was out will be sent again
            self._ahead_epoch = context.epoch
            self._ahead.clear()
        self._fetch_back(symbol, context)
        rows = _rows(context, symbol, math.inf, inclusive=True)
        rows = [*rows, *self._ahead.get(symbol, {}).values()][-SIZE:]
        bar = _bar_of(message, now) if self._refuse(message, now) is None else None
        if bar is not None and (not rows or bar.ts > rows[-1][0]):
            row = _row(bar, Window(rows[-USUAL_BARS:]))  # a split shows in those
            self._ahead.setdefault(symbol, {})[context.trace_id] = row
        return Sighting(message, rows, now)

    def _fetch_back(self, symbol: str, context: Context) -> None:
        """The signal at hand is here, and with no other version."""
        ahead = self._ahead.get(symbol)
        if ahead is not None:
            ahead.pop(context.trace_id, None)
            if not ahead:
                del self._ahead[symbol]

    def propose(self, case: Sighting, context: Context) -> Case:
        """Describe the signal by the bars that came with it, and remember none."""
        symbol = case.signal.symbol
        self._windows.pop(symbol, None)
        self._figures.pop(symbol, None)
        database = context.database
        with database:
            database.execute("DELETE FROM bars WHERE symbol = ?", (symbol,))
            database.executemany(
                "INSERT INTO bars VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [(symbol, *row) for row in case.rows]
            )
        return self._enrich(case.signal, case.now, context)

    def adopt(self, message: Signal, proposal: Case, context: Context) -> Case:
        """Keep the bar here, and give on what another version sees in it.

        Raises:
            ProposalError: It changes what the sender said, tells of a bar or a price that did not come with the
                signal, or says what only later agents may.
        """
        signal, said = proposal.signal, message
        if message.action == "observe" and signal.action == "trade":
            said = _traded(message, signal.direction)
        if signal != said:
            raise ProposalError("it changes the signal itself")
        if proposal.setup or proposal.decision or proposal.approval or proposal.execution:
            raise ProposalError("it speaks for agents that come after it")
        if proposal.market is not None:
            bar = _bar_of(message, context.now())
            if proposal.market.price != (message.price if bar is None else bar.close):
                raise ProposalError("its price is not that of the signal")
            new = bar is not None and bar.ts > self._window(message.symbol, context).newest
            if proposal.market.bar is not None and not (new and proposal.market.bar == bar):
                raise ProposalError("it tells of a bar that is not new with the signal")
        self.handle(message, context)  # not before: what is refused is handled then, and a bar is new but once
        return proposal

    def recorded(self, most: int, context: Context) -> list[tuple[str, str, Sighting]]:
        """The newest signals, each with the bars that were known before it, from the journal.

        Of bars that were let go since, the oldest signals have fewer before them than they had.
        """
        found: list[tuple[str, str, Sighting]] = []
        known: dict[str, list[Row]] = {}
        for trace_id, answer in Journal.newest_answers(context.database, most):
            with suppress(msgspec.DecodeError):  # of another version
                case = _cases.decode(answer.payload)
                symbol, market = case.signal.symbol, case.market
                # From the newest signal back: what a new bar is taken away with, no earlier signal has seen.
                rows = known.get(symbol)
                if rows is None:
                    rows = _rows(context, symbol, math.inf, inclusive=True, most=2 * SIZE)
                if market is not None and market.bar is not None:
                    rows = rows[: bisect_left(rows, market.bar.ts, key=_began)]
                known[symbol] = rows
                now = answer.spans[-1].in_ns / 1e9
                found.append((trace_id, symbol, Sighting(_accepted(case), rows[-SIZE:], now)))
        return found[::-1]

    def refuses(self, proposal: Case) -> bool:
        """Whether it refuses the signal."""
        return proposal.refusal is not None

    def _enrich(self, message: Signal, now: float, context: Context) -> Case:
        refusal = self._refuse(message, now)
        if refusal is not None:
            return self._refused(message, refusal, context)
        bar = None
        if "bar" in message.features:
            try:
                bar = _bar(message.features["bar"], now)
            except ValueError as error:
                return self._refused(message, ("denied", f"features.bar: {error}"), context)
        context.log.debug("taken", symbol=message.symbol, action=message.action)
        found = self._describe(message, bar, now, context)
        return Case(signal=_decide(message, found), market=found)

    @staticmethod
    def _refused(signal: Signal, refusal: tuple[str, str], context: Context) -> Case:
        status, reason = refusal
        context.log.info("refused", symbol=signal.symbol, status=status, reason=reason)
        return Case(signal=signal, refusal=refusal)

    def _refuse(self, signal: Signal, now: float) -> tuple[str, str] | None:
        source = signal.source.strip().lower()
        if source in self._blocked:
            return ("denied", f"source: {signal.source!r} is blocked")
        if self._allowed and source not in self._allowed:
            return ("denied", f"source: {signal.source!r} is not among the allowed sources")
        if signal.ts is None:
            return None
        age = now - signal.ts
        if age > self._settings.max_age_s:
            limit = self._settings.max_age_s
            return (
                "expired",
                f"ts: the signal is {age:.0f} s old, at most {limit:.0f} s are allowed (DATA-003)",
            )
        if age < -AHEAD_S:
            return ("denied", f"ts: the signal lies {-age:.0f} s in the future")
        return None

    def _describe(self, signal: Signal, bar: Bar | None, now: float, context: Context) -> Market:
        window = self._window(signal.symbol, context)
        if bar is None:
            at = now if signal.ts is None else signal.ts
            if window.newest > at:
                window = Window(_rows(context, signal.symbol, at, inclusive=True))
            elif window.newest >= at - self._settings.max_bar_gap_s:
                return self._described(signal.symbol, window, signal.price)
            if window.newest < at - self._settings.max_bar_gap_s:
                window = _NO_BARS
            return market(window, None, signal.price)
        if bar.ts > window.newest:
            self._newest = bar.ts if self._newest is None else max(self._newest, bar.ts)
            self._figures.pop(signal.symbol, None)
            row = _row(bar, window)
            context.database.execute("INSERT INTO bars VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (signal.symbol, *row))
            if window.append(row):
                context.database.execute(
                    "DELETE FROM bars WHERE symbol = ? AND ts < ?", (signal.symbol, window.oldest)
                )
            return market(window, bar, bar.close)
        earlier = Window(_rows(context, signal.symbol, bar.ts, inclusive=False))
        earlier.append(_row(bar, earlier))
        return market(earlier, None, bar.close)

    def _described(self, symbol: str, window: Window, price: float) -> Market:
        """The figures of a symbol's window, computed once for all signals until the next bar."""
        figures = self._figures.get(symbol)
        if figures is None:
            figures = self._figures[symbol] = market(window, None, price)
        return msgspec.structs.replace(figures, price=price)

    def _window(self, symbol: str, context: Context) -> Window:
        """The symbol's bars, from memory or from the journal; the symbol asked for longest ago is let go."""
        window = self._windows.get(symbol)
        if window is None:
            window = Window(_rows(context, symbol, float("inf"), inclusive=True))
            self._windows[symbol] = window
            if len(self._windows) > self._settings.symbols_in_memory:
                let_go, _ = self._windows.popitem(last=False)
                self._figures.pop(let_go, None)
        else:
            self._windows.move_to_end(symbol)
        return window


def _rows(context: Context, symbol: str, until: float, *, inclusive: bool, most: int = SIZE) -> list[Row]:
    """The newest bars of a symbol up to a time, oldest first."""
    found: list[Any] = context.database.execute(
        "SELECT ts, open, high, low, close, volume, split FROM bars "
        f"WHERE symbol = ? AND ts {'<=' if inclusive else '<'} ? ORDER BY ts DESC LIMIT ?",
        (symbol, until, most),
    ).fetchall()
    return found[::-1]


def _row(bar: Bar, before: Window) -> Row:
    split = before.split_before(bar)
    return (bar.ts, bar.open, bar.high, bar.low, bar.close, bar.volume, split)


def _bar(given: Any, now: float) -> Bar:
    """Validate the bar of a signal.

    Raises:
        ValueError: It is not a bar, begins in the future, or is too small; the message names the field.
    """
    bar = msgspec.convert(given, Bar)
    if bar.ts > now + AHEAD_S:
        raise ValueError(f"`ts` lies {bar.ts - now:.0f} s in the future")
    if bar.low < SMALLEST:
        raise ValueError(f"`low` is below {SMALLEST:g}, which is too small to count with")
    return bar


def _bar_of(signal: Signal, now: float) -> Bar | None:
    """The bar that came with a signal; None where none did, or none that is one."""
    try:
        return _bar(signal.features["bar"], now) if "bar" in signal.features else None
    except ValueError:
        return None


def _decide(signal: Signal, found: Market) -> Signal:
    """Make a trade of a new bar that is worth one. It has no plan of its own: that is for Joey to make."""
    if signal.action != "observe" or found.bar is None:
        return signal
    direction = notable(found)
    if direction is None:
        return signal
    return _traded(signal, direction)


def _traded(signal: Signal, direction: Literal["long", "short"]) -> Signal:
    return msgspec.structs.replace(signal, action="trade", direction=direction, **dict.fromkeys(_PLAN))


def _accepted(case: Case) -> Signal:
    """The signal of a case as it was accepted, as far as that can be told.

    Of a bar that was made a trade of, only the side that was found is known, and what it had of a plan is not. A
    trade without a plan that came with such a bar itself looks the same: it is a bar to look at then.
    """
    signal, found = case.signal, case.market
    if found is None or found.bar is None or notable(found) != signal.direction:
        return signal
    is_made = signal == _traded(signal, signal.direction)
    return msgspec.structs.replace(signal, action="observe") if is_made else signal


def _began(row: Row) -> float:
    return row[0]
