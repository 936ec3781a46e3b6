"""Cases at every stage of their way, for the tests of Kenny and Aletheia."""

from decimal import Decimal
from typing import Any

import msgspec

from actors.approval import approve
from actors.messages import Case, Decision, Market, Plan, Setup, Violation
from ark.signal import Bar, Signal

SECRET = b"0123456789abcdef0123456789abcdef"
NOW = 1_700_000_000.0
TRACE = "00000000-0000-4000-8000-000000000000"
VIOLATION = Violation("max_leverage", "risk_management", "HIGH", "leverage 3 is above 2")
_encoder = msgspec.msgpack.Encoder(decimal_format="string")


def trace(number: int) -> str:
    """A trace id."""
    return f"00000000-0000-4000-8000-{number:012d}"


def decision(approved: bool = True) -> Decision:
    """HRM's word."""
    return Decision(approved, () if approved else (VIOLATION,), (), ("max_leverage",), "0" * 64, NOW)


def case(trace_id: str = TRACE, symbol: str = "AAPL", price: float = 100.0, bar: Bar | None = None) -> Case:
    """A signal as it comes from Joey, without a setup."""
    signal = Signal(symbol, "long", price, trace_id=trace_id, ts=NOW)
    return Case(signal, market=Market(price if bar is None else bar.close, bar=bar))


def denied(trace_id: str = TRACE, symbol: str = "AAPL") -> Case:
    """A case that HRM denied."""
    return msgspec.structs.replace(case(trace_id, symbol), setup=_setup(100.0), decision=decision(False))


def approved(
    trace_id: str = TRACE,
    symbol: str = "AAPL",
    price: float = 100.0,
    *,
    bar: Bar | None = None,
    expires: float = NOW + 30,
    secret: bytes = SECRET,
    entry: str = "market",
    reference: float | None = None,
    **changes: Any,
) -> Case:
    """A case with HRM's approval: buy 10 at `price`, stop 5 % below, target 10 % above."""
    limit = Decimal(repr(price))
    plan = Plan(
        trace_id,
        symbol,
        "buy",
        Decimal(10),
        entry,  # type: ignore[arg-type]
        limit,
        limit * Decimal("0.95"),
        limit * Decimal("1.1"),
    )
    plan = msgspec.structs.replace(plan, **changes)
    base = case(trace_id, symbol, price if reference is None else reference, bar)
    return msgspec.structs.replace(
        base,
        setup=_setup(price),
        decision=decision(),
        approval=approve(secret, trace_id, _encoder.encode(plan), 1, expires),
    )


def _setup(price: float) -> Setup:
    return Setup("long", "squeezer", 0.8, {}, "market", price, price * 0.95, price * 1.1, 10.0, None, 1.0)


def encode(message: Any) -> bytes:
    """A message as it stands in a journal."""
    return _encoder.encode(message)
