"""HRM at his desk, and the cases that come to him, for the tests of the judge."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from actors.hrm import HRM
from actors.joey import Joey
from actors.messages import Case, Decision, Fill, FillsHead, Market, Plan, Setup
from ark.agent import Hold
from ark.ruling import Ruling, rule
from ark.signal import Bar, Signal
from ark.testing import TestContext, drive

SECRET = b"shared with kenny alone"
RULING = b"shared with the gateway alone"
NOON = 1_700_000_000.0
"""A Tuesday, 2023-11-14, 22:13 UTC: the exchange is closed."""
DAY = 86_400.0
SQUEEZE = {
    "float": 15,
    "short_interest": 30,
    "volume_ratio": 3.0,
    "price_action": ["tight_consolidation"],
    "catalyst": "a contract was won",
    "rsi": 50,
}
"""Features in which Joey sees his pattern `squeezer`."""


def desk(**settings: Any) -> TestContext:
    """A context for HRM."""
    return TestContext("hrm", now=NOON, settings=settings, secrets={"approval": SECRET, "ruling": RULING})


def start(context: TestContext) -> HRM:
    """HRM in a new process, over whatever the context's databases hold."""
    hrm = HRM()
    hrm.setup(context)
    return hrm


def trace(number: int) -> str:
    """A trace id."""
    return f"{number:08d}-0000-4000-8000-000000000000"


def case_of(
    symbol: str = "AAPL",
    *,
    bar: Bar | None = None,
    market: Market | None = None,
    signal: dict[str, Any] | None = None,
    **changes: Any,
) -> Case:
    """A signal with its own plan: buy 50 at 100, stop at 95, target at 110. `changes` are made to the setup."""
    fields: dict[str, Any] = {
        "direction": "long", "pattern": None, "confidence": 0.0, "scores": {}, "entry": "market",
        "entry_price": 100.0, "stop_loss": 95.0, "target": 110.0, "quantity": 50.0,
        "position_size_pct": None, "leverage": 1.0,
    }  # fmt: skip
    fields.update(changes)
    own = {name: fields[name] for name in ("stop_loss", "target", "quantity", "position_size_pct", "leverage")}
    sent: dict[str, Any] = {
        "direction": fields["direction"], "price": 100.0, "ts": NOON, "source": "desk", **own, **(signal or {}),
    }  # fmt: skip
    market = market or Market(price=bar.close if bar else fields["entry_price"], bar=bar)
    return Case(Signal(symbol=symbol, **sent), market=market, setup=Setup(**fields))


def short(**changes: Any) -> dict[str, Any]:
    """The changes that make a short of `case_of`."""
    return {"direction": "short", "stop_loss": 105.0, "target": 90.0, **changes}


def planned_by_joey(symbol: str = "ACME", *, market: Market | None = None, **features: Any) -> Case:
    """A signal without a plan, and the setup that Joey makes of the pattern that he finds in it."""
    sent = Signal(symbol, "long", 100.0, ts=NOON, source="desk", features={**SQUEEZE, **features})
    case = Joey().handle(Case(sent, market=market or Market(price=100.0)), TestContext("joey"))
    assert case.setup is not None
    return case


def bar_at(close: float, ts: float = NOON) -> Bar:
    """A bar that opened where it closed."""
    return Bar(ts=ts, open=close, high=close, low=close, close=close, volume=1e6)


def seen(close: float = 100.0, at: float = NOON - 60, **changes: Any) -> Market:
    """A market of which everything is known that a live broker needs."""
    fields: dict[str, Any] = {
        "price": close, "bars": 60, "close": close, "close_at": at, "change_pct": 0.01, "volume_ratio": 1.0,
        "atr": 1.0, "facts": {"avg_volume": 1e6, "volume": 1e6},
    }  # fmt: skip
    return Market(**{**fields, **changes})


def plan_of(case: Case) -> Plan:
    """The plan that was approved."""
    assert case.approval is not None
    return msgspec.msgpack.decode(case.approval.plan, type=Plan)


class Floor:
    """HRM at his desk, with a new trace id for every case; on paper unless said otherwise."""

    def __init__(self, context: TestContext | None = None, *, live: bool = False, **settings: Any) -> None:
        self.context = context or desk(**settings)
        self.live = live
        self.count = 0
        self.hrm = start(self.context)
        self.head(0)

    def head(self, number: int) -> None:
        """Kenny says what the number of his newest fill is."""
        self.hrm.notice(FillsHead(number, self.live), self.context)

    def restart(self) -> HRM:
        """HRM in a new process, who has heard of Kenny."""
        self.hrm = start(self.context)
        self.head(self.hrm.last_fill)
        return self.hrm

    def take(self, case: Case, number: int | None = None) -> Case | Hold:
        """Take a case through HRM, with the next trace id or that of a number."""
        if number is None:
            self.count += 1
            number = self.count
        self.context.trace_id = trace(number)
        answer = drive(self.hrm, case, self.context)
        assert isinstance(answer, (Case, Hold))
        return answer

    def judge(self, case: Case, number: int | None = None) -> Case:
        """The same for a case that is not held."""
        answer = self.take(case, number)
        assert isinstance(answer, Case), answer
        return answer

    def hold(self, case: Case, number: int | None = None) -> Hold:
        """The same for a case that is held."""
        answer = self.take(case, number)
        assert isinstance(answer, Hold), answer
        return answer

    def decide(self, *args: Any, **kwargs: Any) -> Decision:
        decision = self.judge(case_of(*args, **kwargs)).decision
        assert decision is not None
        return decision

    def denied_by(self, *args: Any, **kwargs: Any) -> list[str]:
        decision = self.decide(*args, **kwargs)
        assert not decision.approved
        return [violation.rule for violation in decision.violations]

    def answered(self, case: Case, number: int, *, approved: bool = True, ruling: Ruling | None = None) -> Case:
        """The case comes again with a person's answer."""
        given = ruling or self.ruled(number, approved=approved)
        self.context.ruling, self.context.attempt = given, 2
        try:
            return self.judge(case, number)
        finally:
            self.context.ruling, self.context.attempt = None, 1

    def ruled(self, number: int, *, approved: bool = True, secret: bytes = RULING) -> Ruling:
        """A person's answer."""
        return rule(
            secret, trace(number), approved=approved, by="ada", reason="looked at it", at=self.context.clock
        )

    def fill(
        self, number: int, of: int, leg: Any = "entry", price: Any = 100, side: Any = "buy", **more: Any
    ) -> None:
        """Kenny reports a fill; 50 AAPL unless said otherwise."""
        fields: dict[str, Any] = {"symbol": "AAPL", "quantity": 50, "fee": 0, "at": self.context.clock, **more}
        for name in ("quantity", "fee"):
            fields[name] = Decimal(str(fields[name]))
        fill = Fill(number=number, trace_id=trace(of), leg=leg, price=Decimal(str(price)), side=side, **fields)
        self.hrm.notice(fill, self.context)

    def bar(self, symbol: str, close: float, **figures: Any) -> None:
        """A new bar of a symbol passes."""
        market = Market(price=close, bar=bar_at(close, self.context.clock), **figures)
        self.judge(Case(Signal(symbol, "long", close, action="observe"), market=market))

    def tick(self, seconds: float = 0.0) -> None:
        """Time passes, then HRM looks up."""
        self.context.clock += seconds
        self.hrm.tick(self.context)

    def alarms(self) -> list[str]:
        """The rules that raised the alarm so far."""
        return [str(fields["rule"]) for kind, fields in self.context.events if kind == "alarm"]

    def sent(self, kind: type) -> list[Any]:
        """The notices of a kind that were sent to Kenny so far."""
        return [notice for agent, notice in self.context.sent if agent == "kenny" and isinstance(notice, kind)]


class Registered(Floor):
    """A floor with a register, which the test may edit."""

    def __init__(self, path: Path, text: str = "", *, live: bool = False, **settings: Any) -> None:
        self.path = path / "register.toml"
        self.path.write_text(text)
        super().__init__(live=live, register=str(self.path), **settings)

    def enter(self, text: str) -> None:
        """Put another file in the register's place, as an editor does."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.path)


LIVE = """
consents = ["live_trading"]
client_orders = []

[sources]
desk = "licensed"
"""
"""A register by which a live broker may be traded through."""


def live_floor(path: Path, text: str = LIVE) -> Registered:
    """A floor before a live broker: the register is there, and the market's own symbols were seen."""
    floor = Registered(path, text, live=True)
    floor.bar("VIX", 15.0)
    floor.bar("SPY", 450.0, change_pct=0.001)
    return floor
