"""HRM, the Arbiter: judges every plan by the Graveyard, the ruleset and its own books, and says what Kenny may do.

HRM believes nothing that a signal says about itself. Sizes are computed here, the risk-reward ratio is
computed again, and the account is HRM's own: what Kenny reported as filled, and what HRM itself has promised.

Exposure is reserved in the same transaction in which the approval is recorded, so that two plans can never
both use the same room, whoever judged them: what another version allows is looked at once more, by the account
as it is then. A reservation ends when its entry is filled or when Kenny reports `cancel`; he does so for every
approval that he lets go, and for an entry whose time is over. It ends neither when the approval expires nor when
the signal is buried: the order may be working at the broker by then, and only Kenny knows.

A signal that comes again gets the answer that the journal recorded, with the approval of the first time: its
epoch may be older than the present one, so what bounds it is its expiry. Kenny accepts it until then if he
has never acted on that signal, and reports a `cancel` afterwards.

Where a person has to be asked, the plan is kept as the person sees it, to the last digit, and judged once more
when the answer comes: by the account and the facts of that moment.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec

from actors.approval import approve
from actors.books import Books
from actors.breakers import (
    BreakerAction,
    Breakers,
    after_close,
    after_day_pnl,
    after_market_move,
    size_factor,
)
from actors.figures import Figures
from actors.judging import Inputs, Verdict, bound, decide, judge_fault
from actors.knowledge import EXECUTOR, LEDGER, facts_of, is_alive, session_left_s
from actors.messages import (
    Case,
    CloseWanted,
    Decision,
    Fill,
    FillsHead,
    FillsWanted,
    Market,
    Setup,
    Violation,
)
from actors.policy import Policy
from actors.portfolio import Origin, Portfolio, Reservation
from actors.proposal import Proposal, propose
from actors.register import Register
from actors.sources import QUARANTINE_S, Sources
from actors.viewing import claims_in, recounted, view_of
from ark.agent import Agent, Context, Durability, Hold
from ark.errors import AuthenticationError, ProposalError
from ark.message import Letter
from ark.routing import key_of
from ark.ruling import Ruling, verify_ruling
from ark.seal import Sealing
from graveyard import Done, rule, ruleset_digest
from graveyard.rules import OLDEST_PRICE_S

__all__ = ["HRM"]

BEHIND = 5
"""So often in a row must Kenny say that he has lost fills before it is believed."""
ASK_AGAIN_S = 1.0
"""A request that may have been lost is repeated after this long, in seconds, and no sooner."""
PATIENCE_S = 5.0
"""So long HRM waits for what it needs to judge (Kenny's fills, signs of life), in seconds; then it denies."""
ALARM_EVERY_S = 1.0
"""One rule raises the alarm no more often than this, in seconds; how often it would have is counted."""
MOST_GIVEN = 1024
"""So many cases are with other versions of HRM at once."""
TIDY_EVERY_S = 60.0
"""How often what is not needed any more is let go, in seconds."""

VOLATILITY_INDEX = "VIX"
"""The symbol whose bars are the volatility index of the ruleset (MKT-003)."""

_STRICT = {"approve": 0, "hold": 1, "deny": 2}
_encode = msgspec.msgpack.Encoder(decimal_format="string").encode


class _Held(msgspec.Struct, frozen=True):
    """A plan that waits for a person: what he was asked, and what exactly would be done."""

    hold: Hold
    proposal: Proposal


_held = msgspec.msgpack.Decoder(_Held)
_inputs = msgspec.msgpack.Decoder(Inputs)
_breakers = msgspec.msgpack.Decoder(Breakers)
_closings = msgspec.msgpack.Decoder(dict[str, CloseWanted])


class _Ready(msgspec.Struct, frozen=True):
    """A case that is made ready to be judged."""

    trace_id: str
    received_ns: int
    proposal: Proposal
    register: Register
    inputs: Inputs


class HRM(Agent[Case]):
    """Takes a setup, gives a decision, and with it an approval that Kenny can verify.

    Another version of HRM judges what this one puts before it: the same inputs, down to the account. Exposure is
    reserved here alone, and what the Graveyard denies here is denied, whatever the other version says.
    """

    takes = Case
    weighs = Inputs
    proposes = Verdict
    unlike = ("violations.*.message", "warnings.*.message", "alarms.*.1")
    notices = Fill | FillsHead
    durability = Durability.POWER
    secrets = ("approval", "ruling")
    tick_s = 0.5
    sealing: type[Sealing] = Sealing
    """What looks at the rule book's seal."""

    policy: Policy
    """HRM's settings."""
    portfolio: Portfolio
    """The account as HRM knows it."""
    ruleset: str
    """SHA-256 of the Graveyard's rules with the limits in force."""
    last_fill: int
    """Number of the last fill in the portfolio."""
    breakers: Breakers
    """What the circuit breakers hold."""

    def setup(self, context: Context) -> None:
        """Read the settings and the books, verify the seal, and ask Kenny for what was filled meanwhile."""
        policy = self.policy = Policy.of(context.settings, context.agent)
        self._limits = policy.limits()
        self._rulebook = policy.rules()
        self._rules = self._rulebook.ruleset
        self.ruleset = ruleset_digest(self._limits)
        self._secret = context.secret("approval")
        self._registrar = policy.registrar()
        self._sealing = self.sealing(judge_fault, interval_s=policy.seal_interval_s)
        self._books = Books(context.database)
        opened = context.now() if policy.day == "clock" else 0.0
        self.portfolio, self.last_fill = self._books.load(policy.starting_equity, opened)
        self._sources = Sources(context.database)
        kept = self._books.recall("breakers")
        self.breakers = Breakers() if kept is None else _breakers.decode(kept)
        kept = self._books.recall("closing")
        self._closing: dict[str, CloseWanted] = {} if kept is None else _closings.decode(kept)
        self._asked_to_close_at = -math.inf
        kept = self._books.recall("market_now") if policy.day == "bars" else None
        self._market_now = self._market_kept = 0.0 if kept is None else float(kept)
        self._market_move: tuple[float, float] | None = None
        self._volatility: tuple[float, float] | None = None
        self._seen: dict[str, float] = {}
        self._number = self._books.last_judged()
        self._said: Counter[tuple[str, str]] = Counter()
        self._figures = Figures(self._books, self.portfolio, policy.currency)
        self._ready_case: _Ready | None = None
        self._given: OrderedDict[str, Inputs] = OrderedDict()
        self._verdict: Verdict | None = None
        self._alarms: dict[str, tuple[float, int]] = {}
        self._register_fault = ""
        self._tidied_at = context.now()
        self._newest_fill = self.last_fill
        self._behind = 0
        self._asked_at, self._asked_after = -math.inf, self.last_fill
        self._executed = EXECUTOR in context.pipeline
        self._needed = ["watchdog", "gateway", *[name for name in (LEDGER,) if name in context.pipeline]]
        self._live: bool | None = None if self._executed else False
        self._behind_since: float | None = context.now() if self._executed else None
        self._ask(context)
        self._sealed_at, self._seal_told = context.now(), ""
        self._tell_of_seal(context)
        self._figures.begin(context)
        context.total("graveyard_validations_total", self._number)

    def ready(self, context: Context) -> bool:
        """Signals wait until every fill that Kenny has is in the books, and those give signs of life without whom
        nothing may be approved: after a start, and while one of them is replaced. Not for ever.
        """
        current = not self._executed or (self._live is not None and self._newest_fill <= self.last_fill)
        if current and all(is_alive(context.beat_age(name)) for name in self._needed):
            self._behind_since = None
            return True
        if self._behind_since is None:
            self._behind_since = context.now()
        return abs(context.now() - self._behind_since) > PATIENCE_S

    def handle(self, message: Case, context: Context) -> Case | Hold:
        """Judge the case's plan. A case without one passes as it is; its bar still moves the marks."""
        now = context.now()
        self._verdict = None
        self._given.pop(context.trace_id, None)  # nobody else decides it
        if not self._is_ready(context):
            self._look(message, now, context)
        if message.refusal is not None or message.setup is None:
            return message
        return self._decide(message, message.setup, now, context)

    def _is_ready(self, context: Context) -> bool:
        """Whether `case` has looked at this very signal, at this very try."""
        ready = self._ready_case
        return ready is not None and (ready.trace_id, ready.received_ns) == (context.trace_id, context.received_ns)

    def _look(self, message: Case, now: float, context: Context) -> None:
        """Take in what the case tells of the market."""
        market = message.market
        if self.policy.day == "clock":
            self._market_now = now
            self._roll_day(now)
        elif market is not None and market.bar is not None:
            self._market_now = max(self._market_now, market.bar.ts)
            self._roll_day(market.bar.ts)
        if market is not None and market.bar is not None and self._is_believed(message.signal.source, now, context):
            self._see_bar(message.signal.symbol, market, now, context)
        if self._newest_fill > self.last_fill:
            self._ask(context)

    # Beside another version.

    def setup_arm(self, context: Context) -> None:
        """Read the settings; there is no account to know."""
        self.policy = Policy.of(context.settings, context.agent)
        self._limits = self.policy.limits()
        self._rulebook = self.policy.rules()

    def case(self, message: Case, context: Context) -> Inputs | None:
        """What the Graveyard, the ruleset and the books are asked about."""
        now = context.now()
        self._ready_case = None
        if context.attempt > 1 and self._books.held(context.trace_id) is not None:
            return None
        self._look(message, now, context)
        if message.refusal is not None or message.setup is None:
            return None
        self._ready_case = self._prepare(message, message.setup, now, context)
        inputs = self._ready_case.inputs
        self._given[context.trace_id] = inputs
        if len(self._given) > MOST_GIVEN:
            self._given.popitem(last=False)
        return inputs

    def propose(self, case: Inputs, context: Context) -> Verdict:
        """Judge, and do nothing else."""
        return decide(case, self._limits, self._rulebook)

    def adopt(self, message: Case, proposal: Verdict, context: Context) -> Case | Hold:
        """Go by another version's verdict, as far as the Graveyard allows, and the account as it is now.

        A release may change the ruleset, so this version's own objections do not bind another one. But each verdict
        was made on the account of the moment in which the plan was given away; where that has changed, and this
        version would not allow the plan, it decides itself.

        Raises:
            ProposalError: It lets pass what the Graveyard denies, or wants a person asked about, on the very inputs
                that it was given.
        """
        now = context.now()
        setup = message.setup
        assert setup is not None
        given = self._given.pop(context.trace_id, None)
        self._ready_case = self._prepare(message, setup, now, context)
        inputs = self._ready_case.inputs
        own = decide(inputs, self._limits, self._rulebook)
        if _STRICT[proposal.zone] >= _STRICT[own.zone]:
            return self._decide(message, setup, now, context, proposal)
        most, against = bound(inputs if given is None else given, self._limits)
        if _STRICT[proposal.zone] < _STRICT[most]:
            told = ", ".join(each.rule for each in against)
            raise ProposalError(f"it says `{proposal.zone}` where no more than `{most}` may be said: {told}")
        if given is not None and self._still_holds(proposal, given, inputs, own):
            return self._decide(message, setup, now, context, proposal)
        return self._decide(message, setup, now, context, own)  # what it was judged on has changed meanwhile

    def _still_holds(self, proposal: Verdict, given: Inputs, inputs: Inputs, own: Verdict) -> bool:
        """Whether what another version allows, and this one does not, was allowed on what is still so.

        By which rules the other one judges is not known here, so its word counts for the very account that it was
        given, and for no new objection: what two plans were given room for together, only one of them may have.
        """
        account, before = inputs.account, given.account
        same = (
            account.equity == before.equity
            and account.exposures == before.exposures
            and account.open_risk == before.open_risk
            and inputs.view.breakers == given.view.breakers
        )
        if not same or _STRICT[proposal.zone] < _STRICT[bound(inputs, self._limits)[0]]:
            return False
        then = decide(given, self._limits, self._rulebook)
        new = {each.rule for each in own.violations} - {each.rule for each in then.violations}
        return _STRICT[own.zone] <= _STRICT[then.zone] and not new

    def recorded(self, most: int, context: Context) -> list[tuple[str, str, Inputs]]:
        """What the newest decisions were made from."""
        bodies = [_inputs.decode(body) for body in self._books.newest_judged(most)]
        return [("", body.action.symbol, body) for body in bodies]

    def proposed(self, answer: Any) -> Verdict | None:
        """The verdict behind the last answer."""
        return self._verdict

    def refuses(self, proposal: Verdict) -> bool:
        """Whether it denies."""
        return proposal.zone == "deny"

    # One decision.

    def _prepare(
        self,
        case: Case,
        setup: Setup,
        now: float,
        context: Context,
        *,
        held: _Held | None = None,
        person: bool | None = None,
    ) -> _Ready:
        register = self._read_register(context)
        proposal = self._propose(case, setup) if held is None else held.proposal
        inputs = self._inputs(case, setup, proposal, register=register, person=person, now=now, context=context)
        return _Ready(context.trace_id, context.received_ns, proposal, register, inputs)

    def _decide(
        self, case: Case, setup: Setup, now: float, context: Context, verdict: Verdict | None = None
    ) -> Case | Hold:
        """Decide, or do what follows from a verdict."""
        ruling, held = context.ruling, None
        if ruling is not None or context.attempt > 1:
            body = self._books.held(context.trace_id)
            held = None if body is None else _held.decode(body)
        if held is not None and ruling is None:
            return held.hold  # sent again, before the gateway had written down that it is held
        person, forged = None, ""
        if ruling is not None:
            try:
                verify_ruling(context.secret("ruling"), context.trace_id, ruling)
                person = ruling.approved
                if held is None and person:
                    raise AuthenticationError("the plan that was asked about is not known here any more")
            except AuthenticationError as error:
                person, forged = False, error.message
                context.event("alarm", rule="human_in_loop_critical", trace_id=context.trace_id, message=forged)
        ready = self._ready_case if held is None and person is None and self._is_ready(context) else None
        self._ready_case = None
        if ready is None:
            ready = self._prepare(case, setup, now, context, held=held, person=person)
        proposal, register, inputs = ready.proposal, ready.register, ready.inputs
        if verdict is None:
            verdict = decide(inputs, self._limits, self._rulebook)
        self._verdict = verdict
        self._count(verdict)
        self._sound_alarms(verdict, context)
        self._number += 1
        self._books.save_judged(self._number, _encode(inputs))
        if verdict.zone == "hold" and person is None:
            return self._hold(verdict, proposal, setup, now, context)
        self._learn(case, inputs, register, now, context)
        if ruling is not None:
            self._books.drop_held(context.trace_id)
        decision = self._decision(verdict, setup, now, ruling, forged)
        self._figures.note(decision, proposal.action.kind)
        symbol, rules = case.signal.symbol, decision.violations  # their messages tell of the account
        if not decision.approved:
            context.log.info("denied", symbol=symbol, level=decision.level, rules=[each.rule for each in rules])
            return msgspec.structs.replace(case, decision=decision)
        context.log.debug("approved", symbol=symbol, level=decision.level)
        return self._approve(case, proposal, decision, now, context)

    def _propose(self, case: Case, setup: Setup) -> Proposal:
        return propose(
            case,
            setup,
            market=self._highest(case),
            equity=self.portfolio.equity,
            fractional=self.policy.fractional,
            factor=size_factor(self.breakers, self._market_now),
        )

    def _highest(self, case: Case) -> Decimal:
        """The highest price of the symbol that is credible now."""
        market = case.market
        highest = Decimal(str(market.price if market is not None else case.signal.price))
        mark = self.portfolio.mark_of(case.signal.symbol)
        if mark is not None and highest.is_finite() and highest < mark.price:
            return mark.price
        return highest

    def _inputs(
        self,
        case: Case,
        setup: Setup,
        proposal: Proposal,
        *,
        register: Register,
        person: bool | None,
        now: float,
        context: Context,
    ) -> Inputs:
        symbol = case.signal.symbol
        facts = facts_of(
            case,
            context,
            register,
            now=now,
            market_now=self._market_now,
            market_price=self._highest(case),
            live=self._live,
            seal_fault=self._seal_fault(context),
            quarantined=self._sources.is_quarantined(case.signal.source, now),
            session_left_s=self._session_left_s(symbol, now),
            person=person,
        )
        account = self.portfolio.account(symbol, now)
        if self._executed and (self._live is None or self._newest_fill > self.last_fill):
            # Kenny's fills are not all in: nobody knows what is held.
            account = replace(account, equity=None)
        view = view_of(
            case,
            setup,
            proposal,
            account,
            totals=self.portfolio.totals,
            breakers=self.breakers,
            sized_by=proposal.sized_by,
            sectors=self._rules.sectors,
            now=self._market_now or now,
            age_s=None if case.signal.ts is None else now - case.signal.ts,
            market_move=self._young(self._market_move),
            volatility=self._young(self._volatility),
        )
        fresh = facts.price_age_s is not None and facts.price_age_s <= OLDEST_PRICE_S
        return Inputs(
            proposal.action,
            account,
            facts,
            view,
            claims_in(case, proposal, account, fresh=fresh),
            self._sources.record(case.signal.source),
            recounted(case, setup),
            proposal.worst,
        )

    def _session_left_s(self, symbol: str, now: float) -> float | None:
        return session_left_s(symbol, now, self._rules.holidays) if self.policy.day == "clock" else None

    def _hold(self, verdict: Verdict, proposal: Proposal, setup: Setup, now: float, context: Context) -> Hold:
        """Ask a person."""
        decision = self._decision(verdict, setup, now, None, "")
        action = proposal.action
        self._figures.note(decision, action.kind, held=True)
        plan = {
            "symbol": action.symbol,
            "side": action.side,
            "quantity": str(action.quantity),
            "entry": action.entry,
            "price": str(action.price),
            "stop_loss": str(action.stop_loss),
            "target": None if action.target is None else str(action.target),
            "value": None if action.quantity is None else f"{action.quantity * proposal.worst:f}",
        }
        reason = verdict.violations[0].message if verdict.violations else "the judge is not sure"
        hold = Hold(
            now + self.policy.hold_s,
            f"{action.side} {action.quantity} {action.symbol} at {action.price}: {reason}",
            {"decision": msgspec.to_builtins(decision), "plan": plan},
        )
        self._books.save_held(context.trace_id, _encode(_Held(hold, proposal)))
        rules = [each.rule for each in verdict.violations]
        context.log.info("asks_a_person", symbol=action.symbol, rules=rules, until=hold.until)
        return hold

    def _approve(self, case: Case, proposal: Proposal, decision: Decision, now: float, context: Context) -> Case:
        """Reserve the exposure, and give Kenny HRM's word."""
        plan = proposal.plan(context.trace_id, now + self.policy.entry_ttl_s)
        self.portfolio.reserve(
            Reservation(
                context.trace_id,
                plan.symbol,
                plan.side,
                plan.quantity,
                proposal.worst,
                plan.stop_loss,
                _unit_risk(proposal),
                plan.price,
                plan.target,
                Origin(*[key_of(by, plan.symbol, case.signal) for by in ("source", "notional")]),
            )
        )
        self._books.save_reservation(self.portfolio, context.trace_id)
        self._note(plan.symbol, Done("order", now, plan.side, plan.quantity, plan.price))
        approval = approve(
            self._secret, context.trace_id, _encode(plan), context.epoch, now + self.policy.approval_ttl_s
        )
        return msgspec.structs.replace(case, decision=decision, approval=approval)

    def _decision(self, verdict: Verdict, setup: Setup, now: float, ruling: Ruling | None, forged: str) -> Decision:
        violations = verdict.violations
        level = verdict.level
        answer = None
        if ruling is not None:
            if not forged:
                answer = {
                    "approved": ruling.approved,
                    "by": ruling.by,
                    "reason": ruling.reason,
                    "at": ruling.at,
                }
            level = "person" if level in ("synthesis", "person") or not ruling.approved else level
            if not ruling.approved or forged:
                violations = _refused(violations, forged or f"{ruling.by} refused it: {ruling.reason}")
        return Decision(
            verdict.zone == "approve",
            violations,
            verdict.warnings,
            verdict.rules_checked,
            self.ruleset,
            now,
            setup.pattern,
            setup.confidence,
            verdict.zone,
            level,
            verdict.score,
            verdict.levels,
            answer,
            self._number,
            self._sealing.report.digest,
            self._rulebook.digest,
        )

    # What it learns.

    def _learn(self, case: Case, inputs: Inputs, register: Register, now: float, context: Context) -> None:
        """Keep the record of a registered source: whether what it claims agrees with what is known."""
        name = case.signal.source
        if register.source(name).standing == "unregistered":
            return
        before = self._sources.is_quarantined(name, now)
        self._sources.learn(name, inputs.claims, now)
        if not before and self._sources.is_quarantined(name, now):
            context.event("quarantined", source=name, until=now + QUARANTINE_S)

    def _is_believed(self, source: str, now: float, context: Context) -> bool:
        """Whether a source's bars may move what HRM holds for the market."""
        if self._sources.is_quarantined(source, now):
            return False
        known = self._read_register(context).source(source)
        return not known.quarantined and known.standing != "private"

    def _see_bar(self, symbol: str, market: Market, now: float, context: Context) -> None:
        bar = market.bar
        assert bar is not None
        # A case that waited behind another is looked at again when it is handled, after newer bars of its symbol.
        if bar.ts < self._seen.get(symbol, -math.inf):
            return
        self._seen[symbol] = bar.ts
        if self.portfolio.mark(symbol, Decimal(str(bar.close)), now):
            self._books.save_mark(self.portfolio, symbol)
            self._watch_losses(context)
        if symbol == self._rules.market_symbol and market.change_pct is not None:
            self._market_move = (market.change_pct, bar.ts)
            day = str(int(bar.ts // 86_400))
            state, actions = after_market_move(
                self.breakers, self._rules.breakers, market.change_pct, day, self._market_now
            )
            self._trip(state, actions, context)
        elif symbol == VOLATILITY_INDEX:
            self._volatility = (bar.close, bar.ts)

    def _young(self, seen: tuple[float, float] | None) -> float | None:
        """A figure of the market's own symbols, as long as it is not too old to say anything."""
        if seen is None or not self._market_now - seen[1] <= OLDEST_PRICE_S:
            return None
        return seen[0]

    def _watch_losses(self, context: Context) -> None:
        """Trip the day's breaker, and halt where the Graveyard's limit of the day's loss is reached."""
        totals = self.portfolio.totals
        start = totals.day_start_equity
        if not start > 0:
            return
        share = (self.portfolio.equity - start) / start
        state, actions = after_day_pnl(self.breakers, self._rules.breakers, share, self._market_now)
        self._trip(state, actions, context)
        limit = self._limits.max_daily_loss
        if share <= -limit and self._books.recall("halted_on") != str(totals.day).encode():
            # Once a day: a person who resumes knows of it, and every further plan is denied by the rule itself.
            self._books.remember("halted_on", str(totals.day).encode())
            message = f"the day's loss is {-share:.2%} of the day's first equity; the limit is {limit:.2%}"
            context.event("alarm", rule="max_daily_loss", message=message)
            context.halt(f"max_daily_loss: {message}")

    def _trip(self, state: Breakers, actions: tuple[BreakerAction, ...], context: Context) -> None:
        if state == self.breakers:
            return
        self.breakers = state
        self._books.remember("breakers", _encode(state))
        for breaker in sorted({action.breaker for action in actions}):
            context.count("ark_breaker_trips_total", breaker=breaker)
        for action in actions:
            context.event(
                "breaker", breaker=action.breaker, action=action.kind, until=action.until, reason=action.reason
            )
            if action.kind == "close_longs":
                self._close_longs(action.reason, context)

    def _close_longs(self, reason: str, context: Context) -> None:
        """Have what is long closed, and entries to become so cancelled."""
        longs = [(lot.trace_id, lot.symbol) for lot in self.portfolio.lots if lot.quantity > 0 and lot.trace_id]
        longs += [
            (each.trace_id, each.symbol) for each in self.portfolio.reservations.values() if each.side == "buy"
        ]
        for trace_id, symbol in longs:
            self._closing.setdefault(trace_id, CloseWanted(trace_id, symbol, reason))
        self._books.remember("closing", _encode(self._closing))
        self._ask_to_close(context)

    def _ask_to_close(self, context: Context) -> None:
        """Ask Kenny to close; again and again, until nothing is left of it. The notice may be lost."""
        if not self._executed:
            return
        self._asked_to_close_at = context.now()
        for trace_id, wanted in list(self._closing.items()):
            lot, promised = self.portfolio.lot(wanted.symbol, trace_id), self.portfolio.reservation(trace_id)
            if lot is None and promised is None:
                del self._closing[trace_id]
                self._books.remember("closing", _encode(self._closing))
            else:
                context.send(EXECUTOR, wanted)

    def _sound_alarms(self, verdict: Verdict, context: Context) -> None:
        now = context.now()
        for name, message in verdict.alarms:
            last, kept_back = self._alarms.get(name, (-math.inf, 0))
            if abs(now - last) < ALARM_EVERY_S:
                self._alarms[name] = (last, kept_back + 1)
                continue
            self._alarms[name] = (now, 0)
            context.event("alarm", rule=name, trace_id=context.trace_id, message=message, kept_back=kept_back)

    def _count(self, verdict: Verdict) -> None:
        for word, found in (("denied", verdict.violations), ("warned", verdict.warnings)):
            spoken = "asked" if verdict.zone == "hold" and word == "denied" else word
            for each in found:
                self._said[each.rule, spoken] += 1
        self._said["", verdict.zone] += 1

    def settle(self, context: Context) -> None:
        """Write what was counted in the batch, and how far the bars have come."""
        if self.policy.day == "bars" and self._market_now != self._market_kept:
            self._market_kept = self._market_now
            self._books.remember("market_now", repr(self._market_now).encode())
        self._sources.write()
        if self._said:
            day = int(context.now() // 86_400)
            for (name, word), times in self._said.items():
                self._books.count(day, name, word, times)
            self._said.clear()
            self._figures.tell(context)
            context.total("graveyard_validations_total", self._number)

    # From time to time.

    def tick(self, context: Context) -> None:
        """Verify the seal, roll the day, ask again for what did not come, let go of what is old.

        Show where the account stands, too.
        """
        now = context.now()
        if self.policy.day == "clock":
            self._market_now = now
            self._roll_day(now)
        self._watch_seal(context)
        self._read_register(context)
        if self._executed and (self._live is None or self._newest_fill > self.last_fill):
            self._ask(context)
        if self._closing and abs(now - self._asked_to_close_at) >= ASK_AGAIN_S:
            self._ask_to_close(context)
        if abs(now - self._tidied_at) >= TIDY_EVERY_S:
            self._tidied_at = now
            self._books.forget_before(now - TIDY_EVERY_S)
            oldest = self._market_now - OLDEST_PRICE_S
            self._seen = {symbol: ts for symbol, ts in self._seen.items() if ts >= oldest}
        self._figures.tell_account(context)

    def _seal_fault(self, context: Context) -> str:
        """What is wrong with the seal, as `tick` last found it; looked at here only where that was too long ago.

        The look takes some milliseconds, which no signal should have to wait for.
        """
        if not 0 <= context.now() - self._sealed_at <= 2 * self.policy.seal_interval_s:
            self._watch_seal(context)
        return "; ".join(self._sealing.report.faults)

    def _watch_seal(self, context: Context) -> None:
        self._sealed_at = context.now()
        self._sealing.faults(self._sealed_at)
        self._tell_of_seal(context)

    def _tell_of_seal(self, context: Context) -> None:
        """Raise the alarm once for each fault, also where somebody has halted already; halt where nobody has."""
        fault = "; ".join(self._sealing.report.faults)
        if fault and fault != self._seal_told:
            context.event("alarm", rule="immutable_graveyard", message=fault)
        self._seal_told = fault
        if fault and context.halted() is None:
            context.halt(f"immutable_graveyard: {fault}")

    def _read_register(self, context: Context) -> Register:
        register = self._registrar.current()
        if register.fault != self._register_fault:
            self._register_fault = register.fault
            context.event("register", readable=not register.fault, message=register.fault)
        return register

    # Fills.

    def notice(self, notice: Fill | FillsHead, context: Context) -> None:
        """Take Kenny's fills in the order of their numbers; ask again where one is missing."""
        now = context.now()
        if self.policy.day == "clock":
            self._market_now = now
            self._roll_day(now)
        self._newest_fill = max(self._newest_fill, notice.number)
        if isinstance(notice, Fill) and notice.number == self.last_fill + 1:
            self._take_fill(notice, context)
            return
        head = isinstance(notice, FillsHead)
        if isinstance(notice, FillsHead) and notice.live is not self._live:
            self._live = notice.live
            self._books.remember("live", b"live" if notice.live else b"paper")
        if notice.number > self.last_fill:
            self._ask(context, at_once=head and self.last_fill > self._asked_after)
        elif head and notice.number < self.last_fill:
            self._find_behind(notice.number, context)
        if head and notice.number >= self.last_fill:
            self._behind = 0

    def _find_behind(self, reported: int, context: Context) -> None:
        """Kenny knows of fewer fills than these books: his journal has lost some, and new ones would be taken for
        old. He is asked a few times: heads that an earlier process of his had sent may come late.
        """
        self._behind += 1
        if self._behind == 1:
            context.event("fills_behind", known=self.last_fill, reported=reported)
        if self._behind < BEHIND:
            context.send(EXECUTOR, FillsWanted(after=self.last_fill))
            return
        context.halt(
            f"{EXECUTOR}'s journal is older than {context.agent}'s: it knows of {reported} fills instead of"
            f" {self.last_fill}; see docs/operations.md"
        )

    def _take_fill(self, fill: Fill, context: Context) -> None:
        profit = self.portfolio.apply_fill(fill)
        self.last_fill = fill.number
        self._books.save_fill(self.portfolio, fill)
        if fill.sent:  # what never went out is no cancel that a market could see
            what = "cancel" if fill.leg == "cancel" else "fill"
            self._note(fill.symbol, Done(what, fill.at, fill.side, fill.quantity, fill.price))
        if profit is not None:
            state, actions = after_close(self.breakers, self._rules.breakers, profit, self._market_now)
            self._trip(state, actions, context)
        self._watch_losses(context)

    def _note(self, symbol: str, done: Done) -> None:
        self.portfolio.note(symbol, done)
        self._books.save_done(symbol, done)

    def bury(self, letter: Letter, context: Context) -> Any:
        """Take back what was reserved for a signal that was given up, where no Kenny will say what became of it.

        With Kenny in the pipeline the letter reaches him next: he cancels what still works and reports `cancel`.
        To release before that would leave an order at the broker that counts nowhere.
        """
        self._books.drop_held(letter.trace_id)
        if self._executed:
            return
        released = self.portfolio.release(letter.trace_id)
        if released is not None:
            self._books.save_reservation(self.portfolio, letter.trace_id)
            self._books.save_mark(self.portfolio, released.symbol)

    def _roll_day(self, now: float) -> None:
        if self.portfolio.roll_day(now):
            self._books.save_totals(self.portfolio, self.last_fill)

    def _ask(self, context: Context, *, at_once: bool = False) -> None:
        """Ask for the fills that are missing, once in a while, or at once where the last request was answered."""
        now = context.now()
        if self._executed and (at_once or abs(now - self._asked_at) >= ASK_AGAIN_S):
            self._asked_at, self._asked_after = now, self.last_fill
            context.send(EXECUTOR, FillsWanted(after=self.last_fill))


def _unit_risk(proposal: Proposal) -> Decimal:
    """What a unit loses at most if its entry is filled at the worst price and it ends at its stop."""
    action = proposal.action
    assert action.price is not None
    assert action.stop_loss is not None
    risk = abs(action.price - action.stop_loss)
    return max(risk, proposal.worst - action.stop_loss) if action.side == "buy" else risk


def _refused(violations: tuple[Violation, ...], message: str) -> tuple[Violation, ...]:
    """The violations with a person's own words, or with why his word was not believed."""
    own = rule("human_in_loop_critical")
    others = [each for each in violations if each.rule != own.name]
    return (Violation(own.name, own.category, own.severity, message), *others)
