"""Aletheia: writes down how every signal ended, and what was done to the node; says where the agents disagree."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from actors.auditing import audit, conclude
from actors.interventions import Clerk
from actors.ledger import Entry, Ledger, outcome
from actors.messages import Case, Outcome
from actors.truth import TruthMap, truths
from ark.agent import MOST_RECORDED, Agent, Context, Durability
from ark.errors import JournalError, ProposalError
from ark.message import Letter, Span

__all__ = ["Aletheia"]

EXECUTOR = "kenny"
"""The agent whose record of a dead letter tells of an order."""
JUDGE = "hrm"
"""The agent whose record tells at least of the decision."""
UNKNOWN = "unknown"
"""The status of an order of which nobody can say whether it exists."""

_cases = msgspec.msgpack.Decoder(Case)


class Passed(msgspec.Struct, frozen=True):
    """What another version of Aletheia audits: the case, and who had it."""

    case: Case
    spans: tuple[Span, ...]


class Audit(msgspec.Struct, frozen=True):
    """What it finds: whether the audit is complete, who disagrees, and how the signal ended."""

    complete: bool
    disagreements: list[str]
    status: str
    reason: str


class Aletheia(Agent[Case]):
    """The last agent: gives the outcome that the front door answers.

    The ledger's row and the truths are committed together with the answer. A signal that has its row already
    gets the outcome that the row holds.
    """

    takes = Case
    weighs = Passed
    proposes = Audit
    durability = Durability.POWER
    recalls = True
    tick_s = 1.0

    def setup(self, context: Context) -> None:
        """Open the ledger and the truth map, and take in what was done to the node meanwhile."""
        self._ledger = Ledger(context.database)
        self._truths = TruthMap(context.database, context.agent)
        self._clerk = Clerk(context.database, self._ledger)
        self._newest: deque[tuple[str, Passed]] = deque(maxlen=MOST_RECORDED)
        self._trouble = ""
        self._take_acts(context)
        context.count("ark_audit_disagreements_total", 0)

    def tick(self, context: Context) -> None:
        """Take in what persons and the Watchdog did to the node."""
        self._take_acts(context)

    def _take_acts(self, context: Context) -> None:
        """What cannot be read is told of once, and tried again; signals do not wait for it."""
        try:
            self._clerk.take(context.interventions, context.now())
            self._trouble = ""
        except JournalError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                context.event("interventions_unread", reason=self._trouble)
        context.total("ark_ledger_rows_total", self._ledger.rows)

    def handle(self, message: Case, context: Context) -> Outcome:
        """Audit, conclude, write down."""
        return self._write_down(message, self._audit(message, context.spans, context), context)

    @staticmethod
    def _audit(message: Case, spans: tuple[Span, ...], context: Context) -> Audit:
        complete, disagreements = audit(message, spans, context.pipeline, context.agent)
        if message.signal.trace_id != context.trace_id:
            disagreements.append(f"the signal is {message.signal.trace_id}, its envelope {context.trace_id}")
        status, reason = conclude(message)
        return Audit(complete, disagreements, status, reason)

    # Beside another version.

    def setup_arm(self, context: Context) -> None:
        """There is no ledger to open."""

    def case(self, message: Case, context: Context) -> Passed:
        """The case, and who had it."""
        return Passed(message, context.spans)

    def propose(self, case: Passed, context: Context) -> Audit:
        """Audit, and write nothing down."""
        return self._audit(case.case, case.spans, context)

    def adopt(self, message: Case, proposal: Audit, context: Context) -> Outcome:
        """Write down what another version finds, where it does not say that something else became of the signal.

        Raises:
            ProposalError: It does.
        """
        own = self._audit(message, context.spans, context)
        if proposal.status != own.status:
            raise ProposalError(f"it says `{proposal.status}` of a signal that was `{own.status}`")
        return self._write_down(message, proposal, context)

    def recorded(self, most: int, context: Context) -> list[tuple[str, str, Passed]]:
        """The newest cases since this process began; the ledger keeps how they ended, and not all of them."""
        newest = list(self._newest)[-most:]
        return [(trace_id, passed.case.signal.symbol, passed) for trace_id, passed in newest]

    def proposed(self, answer: Any) -> Audit:
        """The audit behind an outcome."""
        return Audit(answer.audit["complete"], list(answer.audit["disagreements"]), answer.status, answer.reason)

    def _write_down(self, message: Case, found: Audit, context: Context) -> Outcome:
        status = found.status
        at = context.now()
        self._newest.append((context.trace_id, Passed(message, context.spans)))
        for truth in truths(message):
            self._truths.put(truth, at)
        execution = message.execution
        context.log.debug("outcome", symbol=message.signal.symbol, status=status)
        return self._append(
            Entry(
                context.trace_id,
                message.signal.symbol,
                status,
                message.decision,
                None if execution is None else execution.order,
                None if execution is None else msgspec.structs.replace(execution, order=None),
                _maps(context, at),
                context.attempt,
                {"complete": found.complete, "disagreements": found.disagreements},
                found.reason,
                at,
            ),
            context,
        )

    def recall(self, trace_id: str, context: Context) -> Outcome | None:
        """The outcome that the ledger holds: its row is the answer, and is written once."""
        return self._ledger.find(trace_id)

    def settle(self, context: Context) -> None:
        """Write the truths of the batch, each once, and tell how long the ledger is."""
        self._truths.write()
        context.total("ark_ledger_rows_total", self._ledger.rows)

    def bury(self, letter: Letter, context: Context) -> Outcome:
        """Write down a signal that the pipeline gave up on, with the order if there is one."""
        known = self._ledger.find(letter.trace_id)
        if known is not None:
            return known
        executed = _record(letter, EXECUTOR)
        case = executed or _record(letter, JUDGE)
        execution = None if case is None else case.execution
        reason = f"ended {letter.agent} at every try: {letter.reason}"
        order = None if execution is None else execution.order
        disagreements = []
        if executed is None and EXECUTOR in letter.records:
            order = {"status": UNKNOWN}
            disagreements.append(f"what {EXECUTOR} says of an order cannot be read: ask the broker")
        elif order is not None:
            disagreements.append(f"the signal was given up, but its order is {order.get('status')}")
        return self._append(
            Entry(
                letter.trace_id,
                letter.symbol,
                "failed",
                None if case is None else case.decision,
                order,
                None if execution is None else msgspec.structs.replace(execution, order=None),
                _maps(context, context.now()),
                letter.attempts,
                {"complete": False, "disagreements": disagreements},
                reason,
                context.now(),
            ),
            context,
        )

    def _append(self, entry: Entry, context: Context) -> Outcome:
        try:
            written = self._ledger.append(entry)
        except JournalError:
            known = self._ledger.find(entry.trace_id)
            if known is None:
                raise
            return known
        if entry.audit["disagreements"]:
            context.log.warning("disagreement", symbol=entry.symbol, disagreements=entry.audit["disagreements"])
            context.count("ark_audit_disagreements_total")
            context.event(
                "disagreement",
                trace_id=entry.trace_id,
                symbol=entry.symbol,
                status=entry.status,
                disagreements=entry.audit["disagreements"],
            )
        return outcome(entry, *written)


def _maps(context: Context, at: float) -> tuple[dict[str, Any], ...]:
    """The spans of all agents and of this one, as the front door gives them."""
    return tuple(
        [
            {"agent": each.agent, "version": each.version, "in_ns": each.in_ns, "out_ns": each.out_ns}
            | ({"track": each.track} if each.track else {})
            for each in (*context.spans, context.span(at))
        ]
    )


def _record(letter: Letter, agent: str) -> Case | None:
    """What an agent had answered; None where that is nothing, or cannot be read."""
    record = letter.records.get(agent)
    try:
        return None if record is None else _cases.decode(record)
    except msgspec.DecodeError:
        return None
