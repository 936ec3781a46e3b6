"""What Aletheia judges by: pure functions of a case and of who had it.

`audit` asks whether every agent had the signal, in order (`ark.continuity`), and whether their claims agree.
`conclude` says, in one status and one line, how the signal ended. No agent is believed about itself where another
agent, or the bytes that HRM tagged, say it too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import msgspec

from actors.messages import Case, Plan
from ark import continuity
from ark.message import Span

__all__ = ["Status", "audit", "conclude"]

Status = Literal["executed", "denied", "no_setup", "expired", "failed", "held"]

_plans = msgspec.msgpack.Decoder(Plan)


def audit(case: Case, spans: Sequence[Span], pipeline: Sequence[str], name: str) -> tuple[bool, list[str]]:
    """Compare what the agents say with who was there and with each other.

    Args:
        case: With all that the agents added.
        spans: Who had it before.
        pipeline: The names of all agents, in order.
        name: The name of the agent that asks; it and whoever comes after it is not expected in `spans`.

    Returns:
        Whether every agent before had the signal exactly once and in order (see `ark.continuity`), and every
        disagreement in words.
    """
    expected = tuple(pipeline[: pipeline.index(name)]) if name in pipeline else tuple(pipeline)
    gaps = continuity.faults(spans, expected)
    claims = list(_disagreements(case))
    return not gaps, gaps + claims


def _disagreements(case: Case) -> Iterator[str]:
    decision, approval, execution = case.decision, case.approval, case.execution
    approved = decision is not None and decision.approved
    if approved and approval is None:
        yield "the decision approves, but no approval came with it"
    if not approved and approval is not None:
        yield "an approval came without an approving decision"
    if approved and execution is None:
        yield "an approved plan has no execution"
    if execution is not None:
        executed = execution.status in ("filled", "working")
        if not approved:
            yield f"the execution is {execution.status} without an approving decision"
        if case.refusal is not None and execution.order is not None:
            yield "there is an order for a signal that was refused"
        if executed and execution.order is None:
            yield f"the execution is {execution.status} without an order"
        if execution.status in ("denied", "expired") and execution.order is not None:
            yield f"the execution is {execution.status} but has an order"
    if approval is None:
        return
    try:
        plan = _plans.decode(approval.plan)
    except msgspec.DecodeError:
        yield "the approved plan cannot be read"
        return
    if plan.trace_id != case.signal.trace_id:
        yield f"the plan is for trace {plan.trace_id}, the signal is {case.signal.trace_id}"
    if plan.symbol != case.signal.symbol:
        yield f"the plan is for {plan.symbol}, the signal for {case.signal.symbol}"
    if execution is None:
        return
    if execution.plan_sha256 != hashlib.sha256(approval.plan).hexdigest():
        yield "the execution is not of the approved plan"
    if execution.order is not None:
        yield from _differences(execution.order, plan)


def _differences(order: dict[str, Any], plan: Plan) -> Iterator[str]:
    """Where the broker's order is not the plan."""
    for name, wanted in (("symbol", plan.symbol), ("side", plan.side), ("type", plan.entry)):
        if order.get(name) != wanted:
            yield f"the order's {name} is {order.get(name)}, the plan's {wanted}"
    for name, number in (
        ("quantity", plan.quantity),
        ("entry_price", plan.price),
        ("stop_loss", plan.stop_loss),
        ("target", plan.target),
    ):
        if not _same(order.get(name), number):
            yield f"the order's {name} is {order.get(name)}, the plan's {number}"


def _same(text: Any, number: Decimal | None) -> bool:
    if text is None or number is None:
        return text is None and number is None
    try:
        return Decimal(text) == number
    except (InvalidOperation, TypeError, ValueError):
        return False


def conclude(case: Case) -> tuple[Status, str]:
    """How the signal ended, and why in one line; no reason for what was executed."""
    if case.refusal is not None and case.execution is None:
        return _refused(case.refusal)
    execution, decision = case.execution, case.decision
    if execution is not None:
        if execution.status in ("filled", "working"):
            return "executed", ""
        reason = f"{execution.code}: {execution.message}" if execution.message else execution.code
        if execution.status == "denied":
            return "denied", reason
        return ("expired" if execution.status == "expired" else "failed"), reason
    if decision is not None:
        if decision.approved:
            return "failed", "approved, but no execution came of it"
        if not decision.violations:
            return "denied", "denied without naming a rule"
        first = decision.violations[0]
        others = len(decision.violations) - 1
        return "denied", f"{first.rule}: {first.message}" + (f" (and {others} more)" if others else "")
    if case.setup is None:
        return "no_setup", "no pattern fits, and the signal brings no plan of its own"
    return "failed", "there is a setup, but nobody decided on it"


def _refused(refusal: tuple[str, str]) -> tuple[Status, str]:
    status, reason = refusal
    return ("expired" if status == "expired" else "denied"), reason
