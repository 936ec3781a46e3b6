"""Kenny: sends what HRM approved to a broker, once, and says what became of it.

What he guarantees, and how:

- Nothing without HRM's word: the approval's tag, expiry and trace are checked before anything else, and the
  plan is read from the tagged bytes alone.
- One order for a trace: its `client_order_id` is derived from the trace id, the intent is committed before
  the broker is called, and after a crash the broker is asked before anything is sent.
- A halt and an expired approval stop an order up to the moment of sending, also one intended before a crash.
- Every reservation ends: whatever way an approved plan ends, a numbered fill tells HRM.
- While trading is halted no entry stays at the broker: those that work are cancelled within a tick, and before
  the broker is shown any price. The stops and targets of positions stay.
- No entry waits for longer than its plan allows.
- A position whose legs are gone is closed at the market within seconds: nobody may hold one without its stop.
- What HRM wants closed is closed, halted or not, and only once.

All of this survives kill -9: the broker commits what it did by itself, and its record of fills is the truth that
Kenny takes over. He asks it of every order that had not ended when he starts.
"""

from __future__ import annotations

import hashlib
import math
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any, Literal

import msgspec

from actors.approval import verify
from actors.brokers import Broker, Order, OrderRejected, OrderState, describe
from actors.brokers.matching import Costs
from actors.brokers.metered import MeteredBroker
from actors.brokers.paper import CASH, MARGIN, PaperBroker
from actors.desk import Desk
from actors.fills import FillLog
from actors.messages import Case, CloseWanted, Execution, FillsHead, FillsWanted, Plan
from actors.ratelimit import Limit
from actors.settings import read
from ark.agent import Agent, Context, Durability, Effect
from ark.differences import changes
from ark.errors import AgentError, AuthenticationError, ConfigError, ProposalError
from ark.message import Letter
from ark.signal import Signal

__all__ = ["Intent", "Kenny", "Settings", "client_order_id"]

RISK = "hrm"
"""The agent that keeps the reservations and hears of every fill."""
CHUNK = 500
"""So many fills are sent again at once; whoever is further behind asks again."""
PREFIX = "ark-"
"""What every client order id of ours begins with; orders of a person at the same broker do not."""
STATUSES = ("filled", "working", "denied", "expired", "failed")
"""What can become of an approved plan; see `actors.messages.Execution`."""
EXECUTED = ("filled", "working")
"""Those of them that are as they should be."""
PROTECTION_S = 5.0
"""Every so many seconds Kenny looks whether positions have their legs."""

_MOST_TOLD = 16
"""So many parts are told in which an order is not the one that was approved."""
_WAITED = "the plan's entry may not wait any longer"
_plans = msgspec.msgpack.Decoder(Plan)
_cases = msgspec.msgpack.Decoder(Case)
_replace = msgspec.structs.replace


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Kenny's settings.

    Attributes:
        max_actions_per_minute: Orders a minute; `KENNY_MAX_ACTIONS_PER_MINUTE` of the original.
        burst_limit: Orders that can go at once; `KENNY_BURST_LIMIT`.
        broker: Who takes the orders; only `paper` so far.
        cash: What a new paper account starts with, quote currency.
        margin: Times equity that the paper account carries.
        fee_per_share, fee_minimum, fee_maximum_pct, slippage_bps: See `actors.brokers.matching.Costs`.
    """

    max_actions_per_minute: float = 60.0
    burst_limit: int = 10
    broker: str = "paper"
    cash: Decimal = CASH
    margin: Decimal = MARGIN
    fee_per_share: Decimal = Costs().fee_per_share
    fee_minimum: Decimal = Costs().fee_minimum
    fee_maximum_pct: Decimal = Costs().fee_maximum_pct
    slippage_bps: Decimal = Costs().slippage_bps

    def __post_init__(self) -> None:
        if self.broker != "paper":
            raise ValueError(f"there is no broker {self.broker!r}; known here: paper")
        for name in ("cash", "margin", "fee_per_share", "fee_minimum", "fee_maximum_pct", "slippage_bps"):
            value = getattr(self, name)
            if not (value.is_finite() and value >= 0):
                raise ValueError(f"`{name}` must be 0 or more, is {value}")
        if self.slippage_bps >= 10_000:
            raise ValueError("`slippage_bps` must be below 10000")


class Intent(msgspec.Struct, frozen=True, array_like=True):
    """What Kenny is about to do.

    Attributes:
        case: The case to answer with; its approved plan is the order, its market is what the broker is shown.
        moment: Rises with every intent; see `actors.brokers.Broker`.
        client_order_id: The order to send; empty: only show the market.
    """

    case: Case
    moment: int
    client_order_id: str = ""


class Approved(msgspec.Struct, frozen=True):
    """What another version of Kenny makes an order of.

    Attributes:
        client_order_id: The one that the order has to have.
        plan: What HRM approved; its approval was verified here.
    """

    client_order_id: str
    plan: Plan


def client_order_id(trace_id: str) -> str:
    """The one order id of a signal: 44 characters, since brokers allow 48."""
    return PREFIX + hashlib.sha256(trace_id.encode()).hexdigest()[:40]


_intents = msgspec.msgpack.Decoder(Intent)


class Kenny(Agent[Case]):
    """See the module."""

    takes = Case
    weighs = Approved
    proposes = Order
    intends = Intent
    notices = FillsWanted | CloseWanted
    durability = Durability.POWER
    secrets = ("approval",)
    tick_s = 0.25

    def setup(self, context: Context) -> None:
        """Load the bucket and the orders at hand; take over what the broker did while Kenny was away."""
        settings = read(Settings, context.settings, context.agent)
        try:
            self._limit = Limit(settings.max_actions_per_minute, settings.burst_limit)
        except ConfigError as error:
            raise ConfigError(f"agents.{context.agent}.settings: {error.message}", field=error.field) from error
        broker = MeteredBroker(self.connect(settings, context), context)
        self.broker: Broker = broker
        self._broker_name = broker.name
        for status in STATUSES:
            context.count("ark_orders_total", 0, broker=self._broker_name, status=status)
        self._desk = Desk(context.database, self._limit, context.now())
        self._fills = FillLog(context.database)
        self._looked_at = -math.inf
        self._tell_success(context)
        self._take_over(context, announce=False)
        self._recollect()
        context.send(RISK, FillsHead(self._fills.head, self.broker.live))

    def connect(self, settings: Settings, context: Context) -> Broker:
        """Reach the broker. Override it to bring one of your own."""
        return PaperBroker(
            context.open("broker"),
            cash=settings.cash,
            margin=settings.margin,
            costs=Costs(
                settings.fee_per_share, settings.fee_minimum, settings.fee_maximum_pct, settings.slippage_bps
            ),
        )

    def handle(self, message: Case, context: Context) -> Case | Effect:
        """Refuse, or intend the order; or intend to show the market, where the broker waits for it."""
        case, order_id = message, ""
        if case.execution is not None:
            case = _replace(case, execution=None)
        if case.refusal is None and case.decision is not None and case.decision.approved:
            answer = self._decide(case, context)
            if isinstance(answer, Plan):
                order_id = client_order_id(context.trace_id)
            else:
                self._count(answer, context)
                case = _replace(case, execution=answer)
        if not order_id and not self._is_worth_showing(case):
            return case
        return Effect(Intent(case, self._desk.next_moment(), order_id))

    # Beside another version.

    def setup_arm(self, context: Context) -> None:
        """There is nothing to reach: no broker, no desk."""

    def case(self, message: Case, context: Context) -> Approved | None:
        """The plan that HRM approved, where there is one."""
        approval = message.approval
        if approval is None or message.refusal is not None or message.decision is None:
            return None
        try:
            verify(context.secret("approval"), context.trace_id, approval, context.now(), context.epoch)
            return Approved(client_order_id(context.trace_id), _plans.decode(approval.plan))
        except (AuthenticationError, msgspec.DecodeError):
            return None

    def propose(self, case: Approved, context: Context) -> Order:
        """The order that would be sent."""
        return _order(case.client_order_id, case.plan)

    def adopt(self, message: Case, proposal: Order, context: Context) -> Case | Effect:
        """Send the order, if it is the one that HRM approved.

        Raises:
            ProposalError: It is another one.
        """
        approved = self.case(message, context)
        if approved is not None:
            found = changes(_order(approved.client_order_id, approved.plan), proposal)
            if found:
                told = "; ".join(
                    f"{each.path} {each.after} instead of {each.before}" for each in found[:_MOST_TOLD]
                )
                raise ProposalError(f"its order is not the one that was approved: {told}")
        return self.handle(message, context)

    def recorded(self, most: int, context: Context) -> list[tuple[str, str, Approved]]:
        """The plans of the newest orders."""
        rows = context.database.execute("SELECT intent FROM ark_intents ORDER BY seq DESC LIMIT ?", (most,))
        found = []
        for (body,) in rows:
            intent = _intents.decode(body)
            if intent.client_order_id and intent.case.approval is not None:
                plan = _plans.decode(intent.case.approval.plan)
                found.append((plan.trace_id, plan.symbol, Approved(intent.client_order_id, plan)))
        return found[::-1]

    def proposed(self, answer: Any) -> Order | None:
        """The order of an intent."""
        intent = answer.intent if isinstance(answer, Effect) else None
        if intent is None or not intent.client_order_id or intent.case.approval is None:
            return None
        return _order(intent.client_order_id, _plans.decode(intent.case.approval.plan))

    def settle(self, context: Context) -> None:
        """Let no entry work on while trading is halted."""
        self._stop_entries(context)

    def performing(self, context: Context) -> AbstractContextManager[None]:
        """One commit of the broker's for all orders of a batch."""
        return self.broker.batch()

    def perform(self, intent: Intent, context: Context, *, again: bool) -> Case:
        """Show the market, then send the order; one commit at the broker for both."""
        case = intent.case
        execution = case.execution
        with self.broker.batch():
            self._stop_entries(context)  # before a price is shown that would fill them
            self._show(intent, context)
            if intent.client_order_id:
                execution = self._send(intent, context, again=again)
        self._take_over(context)
        if not intent.client_order_id:
            return case
        self._desk.settle(intent.client_order_id, context.trace_id, case.signal.symbol, "answered")
        if execution is not None:
            self._count(execution, context)
            symbol, status, code = case.signal.symbol, execution.status, execution.code
            context.log.info("order", symbol=symbol, status=status, code=code)
        if execution is None or execution.status not in EXECUTED:
            self._desk.end(intent.client_order_id)
        return _replace(case, execution=execution)

    def tick(self, context: Context) -> None:
        """Cancel what may not wait any longer, and see that every position has its legs."""
        self._stop_entries(context)
        self._expire(context)
        now = context.now()
        if abs(now - self._looked_at) >= PROTECTION_S:
            self._looked_at = now
            self._protect(context)
        self._take_over(context)
        if self._desk.keep_ends():
            self._tell_success(context)

    def notice(self, notice: FillsWanted | CloseWanted, context: Context) -> None:
        """Close what HRM wants closed, or send the fills that it lacks.

        The head comes last, also where nothing is lacking: until he has heard it, HRM does not know that.
        """
        if isinstance(notice, CloseWanted):
            self._close(notice, context)
            return
        for fill in self._fills.after(notice.after, CHUNK):
            context.send(RISK, fill)
        context.send(RISK, FillsHead(self._fills.head, self.broker.live))

    def bury(self, letter: Letter, context: Context) -> Case | None:
        """Say what the broker has of a signal that was given up; an entry that still works is cancelled.

        The broker is asked whatever the journals know: an outcome without an order must prove that there is none.
        """
        if context.agent in letter.records:
            return None
        order_id = client_order_id(letter.trace_id)
        stage = self._desk.stage(order_id)
        record = letter.records.get(RISK)
        case = None if record is None else _cases.decode(record)
        approval = None if case is None else case.approval
        state = self.broker.find(order_id)
        if stage is None and state is None and approval is None:
            return None
        if state is not None and state.status == "working":
            state = self.broker.cancel(order_id, at=context.now(), moment=self._desk.moment)
        self._take_over(context)
        self._desk.settle(order_id, letter.trace_id, letter.symbol, "buried")
        nothing = state is None or state.status == "rejected"
        if nothing:
            self._desk.end(order_id)
        if nothing and case is not None and approval is not None and stage in (None, "intended"):
            context.send(RISK, self._fills.cancel(letter.trace_id, case.signal, context.now()))
        if state is None:
            return None
        digest = "" if approval is None else _digest(approval.plan)
        execution = _execution(state, digest)
        if stage != "buried":  # a letter may pass more than once
            self._count(execution, context)
        return _replace(case or _case_of(letter, state), execution=execution)

    def _count(self, execution: Execution, context: Context) -> None:
        context.count("ark_orders_total", broker=self._broker_name, status=execution.status)
        self._desk.note_end(executed=execution.status in EXECUTED)

    def _tell_success(self, context: Context) -> None:
        share = self._desk.executed_share
        if share is not None:
            context.gauge("kenny_exec_success_rate", share)

    # Before an order.

    def _decide(self, case: Case, context: Context) -> Plan | Execution:
        """Look at an approved plan once, and note on the desk what came of it."""
        order_id, symbol = client_order_id(context.trace_id), case.signal.symbol
        if self._desk.stage(order_id) is not None:
            state = self.broker.find(order_id)
            order = None if state is None or state.status == "rejected" else describe(state)
            return Execution("failed", "ALREADY_ENDED", "the signal had ended before", order_id, order=order)
        answer = self._examine(case, context)
        if isinstance(answer, Plan):
            self._desk.intend(order_id, context.trace_id, symbol, answer.good_until)
        else:
            self._desk.settle(order_id, context.trace_id, symbol, "refused")
            context.log.info("no_order", symbol=symbol, status=answer.status, code=answer.code)
        return answer

    def _examine(self, case: Case, context: Context) -> Plan | Execution:
        """The plan that HRM approved, or why it is not sent."""
        approval = case.approval
        if approval is None:
            return self._end(case, context, "denied", "APPROVAL_INVALID", "approved without an approval")
        now = context.now()
        try:
            verify(context.secret("approval"), context.trace_id, approval, now, context.epoch)
            plan = _plans.decode(approval.plan)
        except AuthenticationError as error:
            if error.field == "expires":
                return self._end(case, context, "expired", "APPROVAL_EXPIRED", error.message)
            return self._end(case, context, "denied", "APPROVAL_INVALID", error.message)
        except msgspec.DecodeError as error:
            return self._end(case, context, "denied", "APPROVAL_INVALID", f"the plan is malformed: {error}")
        if (plan.trace_id, plan.symbol) != (context.trace_id, case.signal.symbol):
            return self._end(case, context, "denied", "APPROVAL_INVALID", "the plan is for another signal")
        reason = context.halted()
        if reason is not None:
            return self._end(case, context, "denied", "TRADING_HALTED", reason)
        if not now <= plan.good_until:
            return self._end(case, context, "expired", "ENTRY_EXPIRED", _WAITED)
        if self._desk.grant(now):
            return plan
        message = f"more than {self._limit.per_minute:g} orders a minute, {self._limit.burst} at once"
        return self._end(case, context, "denied", "RATE_LIMIT_EXCEEDED", message)

    def _end(
        self, case: Case, context: Context, status: Literal["denied", "expired"], code: str, message: str
    ) -> Execution:
        """End an approved plan without an entry, and have HRM release what it reserved."""
        context.send(RISK, self._fills.cancel(context.trace_id, case.signal, context.now()))
        digest = "" if case.approval is None else _digest(case.approval.plan)
        return Execution(status, code, message, client_order_id(context.trace_id), digest)

    def _is_worth_showing(self, case: Case) -> bool:
        """Whether the broker could do something with this market, as far as one can tell now."""
        market = case.market
        if market is None or case.refusal is not None:
            return False
        symbol = case.signal.symbol
        # What is intended is not at the broker yet; whether it is touched shows only when it is there.
        return self._desk.awaits(symbol) or self.broker.touches(symbol, market.bar, market.price)

    # While orders stand.

    def _stop_entries(self, context: Context) -> None:
        """While trading is halted: cancel every entry of ours that works at the broker, known here or not."""
        reason = context.halted()
        if reason is None:
            return
        entries = [state.order.client_order_id for state in self.broker.working()]
        cancelled = self._cancel([each for each in entries if each.startswith(PREFIX)], context)
        if cancelled:
            context.event("entries_cancelled", count=len(cancelled), reason=reason)

    def _expire(self, context: Context) -> None:
        """Cancel the entries that have waited for as long as their plans allow."""
        overdue = self._desk.overdue(context.now())
        for order_id in self._cancel(list(overdue), context):
            order = overdue[order_id]
            context.event(
                "entry_expired", trace_id=order.trace_id, symbol=order.symbol, good_until=order.good_until
            )

    def _protect(self, context: Context) -> None:
        """Close every position that should have a stop at the broker and has none."""
        for order_id in list(self._desk.held):
            state = self.broker.find(order_id)
            if state is None or state.status != "filled" or state.protected or state.order.stop_loss is None:
                continue
            trace_id = self._desk.trace_of(order_id)
            closed = self._leave(order_id, context)
            context.event("unprotected", trace_id=trace_id, symbol=state.order.symbol, closed=closed)

    def _close(self, notice: CloseWanted, context: Context) -> None:
        """End what came of a signal: an entry that works, or a position."""
        order_id = client_order_id(notice.trace_id)
        if self._cancel([order_id], context):
            what = "entry"
        elif self._leave(order_id, context):
            what = "position"
        else:  # HRM may not have heard how it ended
            context.send(RISK, FillsHead(self._fills.head, self.broker.live))
            return
        context.event("closed", trace_id=notice.trace_id, symbol=notice.symbol, what=what, reason=notice.reason)

    def _cancel(self, order_ids: list[str], context: Context) -> list[str]:
        """Cancel those entries that still work, in one commit of the broker's; give those that are cancelled now.

        Only what was just seen working: to cancel a filled order would take the legs off its position.
        """
        if not order_ids:
            return []
        cancelled = []
        with self.broker.batch():
            for order_id in order_ids:
                state = self.broker.find(order_id)
                if state is None or state.status != "working":
                    continue
                state = self.broker.cancel(order_id, at=context.now(), moment=self._desk.moment)
                if state is not None and state.status == "cancelled":
                    cancelled.append(order_id)
        self._take_over(context)
        return cancelled

    def _leave(self, order_id: str, context: Context) -> bool:
        """End a position at the market; say whether it is over by that."""
        state = self.broker.find(order_id)
        if state is None or state.status != "filled":
            return False
        state = self.broker.close(order_id, at=context.now(), moment=self._desk.moment)
        self._take_over(context)
        return state is not None and state.status == "closed"

    # At the broker.

    def _show(self, intent: Intent, context: Context) -> None:
        market = intent.case.market
        if market is None or intent.case.refusal is not None:
            return
        symbol, at = intent.case.signal.symbol, context.now()
        if market.bar is not None:
            self.broker.on_bar(symbol, market.bar, at=at, moment=intent.moment)
        else:
            self.broker.on_price(symbol, Decimal(repr(market.price)), at=at, moment=intent.moment)

    def _send(self, intent: Intent, context: Context, *, again: bool) -> Execution:
        case, order_id, now = intent.case, intent.client_order_id, context.now()
        approval = case.approval
        if approval is None:
            raise AgentError(f"the intent to send {order_id} holds no approval")
        # Asked also where nothing is known of an earlier try: a damaged journal may have lost it.
        state = self.broker.find(order_id)
        if state is None and again and self._desk.stage(order_id) == "buried":
            return Execution("failed", "ALREADY_ENDED", "the signal had been given up before", order_id)
        if state is None:
            plan = _plans.decode(approval.plan)
            order = _order(order_id, plan)
            reference = None if case.market is None else Decimal(repr(case.market.price))
            reason = context.halted()  # nothing takes time between this question and the call
            if reason is not None:
                return self._end(case, context, "denied", "TRADING_HALTED", reason)
            if not now <= approval.expires:
                message = "the approval expired before the order was sent"
                return self._end(case, context, "expired", "APPROVAL_EXPIRED", message)
            if not now <= plan.good_until:
                return self._end(case, context, "expired", "ENTRY_EXPIRED", _WAITED)
            try:
                state = self.broker.submit(order, at=now, moment=intent.moment, reference=reference)
            except OrderRejected as error:
                state = self.broker.find(order_id)
                if state is None:
                    return self._end(case, context, "denied", error.reason, error.message)
        if state.status == "rejected":
            return self._end(case, context, "denied", state.reason, state.message)
        return _execution(state, _digest(approval.plan))

    # After it.

    def _take_over(self, context: Context, *, announce: bool = True) -> None:
        """Take the broker's new fills into the record, in its order, and tell HRM."""
        while self._fills.broker_head < self.broker.head:
            for line in self.broker.fills(self._fills.broker_head):
                trace_id = self._desk.trace_of(line.client_order_id)
                if not trace_id and line.client_order_id.startswith(PREFIX):
                    # Each is committed before it is sent: what is not known here any more was lost.
                    context.halt(
                        f"{context.agent}'s journal is older than the broker's books: it does not know order"
                        f" {line.client_order_id}; see docs/operations.md"
                    )
                fill = self._fills.take(line, trace_id)
                if line.leg == "entry":
                    self._desk.hold(line.client_order_id)
                else:
                    self._desk.end(line.client_order_id)
                if announce:
                    context.send(RISK, fill)

    def _recollect(self) -> None:
        """Ask the broker what became of the orders that had not ended when an earlier process did."""
        for order_id in list(self._desk.open):
            state = self.broker.find(order_id)
            if state is None:
                if not self._desk.is_intended(order_id):
                    self._desk.end(order_id)
            elif state.status == "filled":
                self._desk.hold(order_id)
            elif state.status != "working":
                self._desk.end(order_id)


def _order(order_id: str, plan: Plan) -> Order:
    return Order(
        order_id,
        plan.symbol,
        plan.side,
        plan.quantity,
        plan.entry,
        plan.price,
        plan.stop_loss,
        plan.target,
    )


def _case_of(letter: Letter, state: OrderState) -> Case:
    """What stands in the place of HRM's answer where that is lost: the signal, as far as the order tells it."""
    direction: Literal["long", "short"] = "long" if state.order.side == "buy" else "short"
    return Case(Signal(letter.symbol, direction, float(state.order.price), trace_id=letter.trace_id))


def _execution(state: OrderState, digest: str) -> Execution:
    """What became of an order, in Kenny's words."""
    order_id = state.order.client_order_id
    order = describe(state)
    if state.status == "working":
        return Execution("working", "", "", order_id, digest, order)
    if state.status == "cancelled":
        return Execution("failed", "ORDER_CANCELLED", "cancelled before its entry", order_id, digest, order)
    if state.status == "rejected":
        return Execution("denied", state.reason, state.message, order_id, digest)
    return Execution("filled", "", "", order_id, digest, order)


def _digest(plan: bytes) -> str:
    return hashlib.sha256(plan).hexdigest()
