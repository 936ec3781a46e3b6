"""HRM, the Arbiter: judges every plan by the Graveyard and its own books, and says what Kenny may do.

HRM believes nothing that a signal says about itself. Sizes are computed here, the risk-reward ratio is
computed again, and the account is HRM's own: what Kenny reported as filled, and what HRM itself has promised.

Exposure is reserved in the same transaction in which the approval is recorded, so that two plans can never
both use the same room. A reservation ends when its entry is filled or when Kenny reports `cancel`; he does so
for every approval that he lets go. It ends neither when the approval expires nor when the signal is buried: the
order may be working at the broker by then, and only Kenny knows.

A signal that comes again gets the answer that the journal recorded, with the approval of the first time: its
epoch may be older than the present one, so what bounds it is its expiry. Kenny accepts it until then if he
has never acted on that signal, and reports a `cancel` afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Literal

import msgspec

from actors.approval import approve
from actors.books import Books
from actors.messages import Case, Decision, Fill, FillsHead, FillsWanted, Plan, Setup, Violation
from actors.portfolio import Portfolio, Reservation
from actors.settings import read
from ark.agent import Agent, Context, Durability
from ark.errors import ConfigError
from ark.message import Letter
from graveyard import (
    CEILINGS,
    LARGEST,
    Account,
    Action,
    Facts,
    Finding,
    Judgement,
    Limits,
    judge,
    ruleset_digest,
    tick_of,
)

__all__ = ["HRM", "Policy", "quantity_for", "to_tick"]

EXECUTOR = "kenny"
"""Who is asked for fills."""
ASK_AGAIN_S = 1.0
"""A request for missing fills may be lost; it is repeated after this long, in seconds, and no sooner."""
FRACTION_OF_UNIT = Decimal("0.000001")
"""The step of quantities that are computed where fractions of a unit may be traded."""
WHOLE_UNIT = Decimal(1)
"""The same where they may not."""

ZERO = Decimal(0)
LONGEST_APPROVAL_S = 86_400
"""No approval holds for longer than a day, in seconds."""

_encode_plan = msgspec.msgpack.Encoder(decimal_format="string").encode
_LIMITS = ("max_position_size", "max_leverage", "max_concurrent_trades", "max_daily_loss", "min_risk_reward")


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """HRM's settings: the Graveyard's limits or stricter ones, and a few of its own.

    Attributes:
        max_position_size: Share of equity in one symbol.
        max_leverage: All exposure, times equity.
        max_concurrent_trades: Open symbols.
        max_daily_loss: Share of the day's first equity.
        min_risk_reward: What is to win for what is to lose.
        starting_equity: Cash of an account that is opened, in the quote currency; of no effect on one that is
            there already.
        approval_ttl_s: How long an approval holds, seconds.
        fractional: Whether a quantity computed from a share of equity may be a fraction of a unit.
        day: Whose days the daily loss is counted by: the `clock`'s (UTC), or, for a replay of old bars, the
            `bars`' own. Whoever sends bars decides then when a day ends: not for live trading.
    """

    max_position_size: Decimal = CEILINGS.max_position_size
    max_leverage: Decimal = CEILINGS.max_leverage
    max_concurrent_trades: int = CEILINGS.max_concurrent_trades
    max_daily_loss: Decimal = CEILINGS.max_daily_loss
    min_risk_reward: Decimal = CEILINGS.min_risk_reward
    starting_equity: Decimal = Decimal(100_000)
    approval_ttl_s: float = 30.0
    fractional: bool = False
    day: Literal["clock", "bars"] = "clock"

    @classmethod
    def of(cls, settings: Mapping[str, Any], agent: str) -> Policy:
        """Read an agent's settings.

        Raises:
            ConfigError: A setting is unknown, makes no sense, or is looser than the Graveyard.
        """
        policy = read(cls, settings, agent)
        place = f"agents.{agent}.settings"
        for name in _LIMITS:
            try:
                Limits(**{name: getattr(policy, name)})
            except ValueError as error:
                hint = "HRM may be stricter than the Graveyard, never looser"
                raise ConfigError(str(error), hint=hint, field=f"{place}.{name}") from error
        if not (policy.starting_equity.is_finite() and 0 < policy.starting_equity <= LARGEST):
            raise ConfigError(
                f"starting_equity must be above 0, is {policy.starting_equity}",
                field=f"{place}.starting_equity",
            )
        if not 0 < policy.approval_ttl_s <= LONGEST_APPROVAL_S:
            raise ConfigError(
                f"approval_ttl_s must be above 0, at most {LONGEST_APPROVAL_S}, is {policy.approval_ttl_s}",
                field=f"{place}.approval_ttl_s",
            )
        return policy

    def limits(self) -> Limits:
        """The limits to judge by."""
        return Limits(**{name: getattr(self, name) for name in _LIMITS})


def _number(value: float | None) -> Decimal | None:
    """A float as the decimal number that a person would write for it; NaN and infinities as they are."""
    return None if value is None else Decimal(str(value))


def to_tick(value: float, *, up: bool) -> Decimal:
    """A price on its tick; what is no price at all stays as it is, for the judge to see.

    The noise of binary arithmetic (110.00000000000001) is taken off first.
    """
    number = Decimal(f"{value:.8f}")
    if not number.is_finite() or not ZERO < number <= LARGEST:
        return number
    return number.quantize(tick_of(number), ROUND_CEILING if up else ROUND_FLOOR)


def quantity_for(share: Decimal, equity: Decimal, price: Decimal, *, fractional: bool) -> Decimal:
    """How many units a share of equity buys at a price: rounded down, never up."""
    room = share * equity
    if not (room.is_finite() and price.is_finite() and room > ZERO and ZERO < price <= LARGEST):
        return ZERO
    step = FRACTION_OF_UNIT if fractional else WHOLE_UNIT
    if not room / price < LARGEST:
        return LARGEST * LARGEST  # for the judge to deny
    return room // (price * step) * step


class HRM(Agent[Case]):
    """Takes a setup, gives a decision, and with it an approval that Kenny can verify."""

    takes = Case
    notices = Fill | FillsHead
    durability = Durability.POWER
    secrets = ("approval",)

    policy: Policy
    """HRM's settings."""
    portfolio: Portfolio
    """The account as HRM knows it."""
    ruleset: str
    """SHA-256 of the rules with the limits in force."""
    last_fill: int
    """Number of the last fill in the portfolio."""

    def setup(self, context: Context) -> None:
        """Read the settings and the books, and ask Kenny for what was filled meanwhile."""
        self.policy = Policy.of(context.settings, context.agent)
        self._limits = self.policy.limits()
        self.ruleset = ruleset_digest(self._limits)
        self._secret = context.secret("approval")
        self._books = Books(context.database)
        opened = context.now() if self.policy.day == "clock" else 0.0
        self.portfolio, self.last_fill = self._books.load(self.policy.starting_equity, opened)
        self._newest_fill = self.last_fill
        self._asked_at, self._asked_after = -math.inf, self.last_fill
        self._ask(context)

    def handle(self, message: Case, context: Context) -> Case:
        """Judge the case's plan. A case without one passes as it is; its bar still moves the marks."""
        now = context.now()
        market = message.market
        if self.policy.day == "clock":
            self._roll_day(now)
        elif market is not None and market.bar is not None:
            self._roll_day(market.bar.ts)
        symbol = message.signal.symbol
        if market is not None and market.bar is not None:
            close = Decimal(str(market.bar.close))
            if self.portfolio.mark(symbol, close, now):
                self._books.save_mark(self.portfolio, symbol)
        if self._newest_fill > self.last_fill:
            self._ask(context)
        if message.refusal is not None or message.setup is None:
            return message
        price = market.price if market is not None else message.signal.price
        return self._decide(message, message.setup, price, now, context)

    def _decide(self, case: Case, setup: Setup, market: float, now: float, context: Context) -> Case:
        symbol = case.signal.symbol
        account = self.portfolio.account()
        action, facts, worst = self._propose(case, setup, market, account, context.halted())
        judgement = judge(action, account, facts, self._limits)
        unsized = _unsized(setup, action, account, worst)
        decision = self._decision(judgement, unsized, setup, now)
        if not decision.approved:
            return msgspec.structs.replace(case, decision=decision)
        assert action.quantity is not None  # nothing without it is approved
        assert action.price is not None
        assert action.stop_loss is not None
        side = "buy" if setup.direction == "long" else "sell"
        plan = Plan(
            context.trace_id,
            symbol,
            side,  # type: ignore[arg-type]
            action.quantity,
            setup.entry,
            action.price,
            action.stop_loss,
            action.target,
        )
        self.portfolio.reserve(
            Reservation(
                context.trace_id,
                symbol,
                plan.side,
                plan.quantity,
                worst,
                plan.stop_loss,
                abs(plan.price - plan.stop_loss),
            )
        )
        self._books.save_reservation(self.portfolio, context.trace_id)
        approval = approve(
            self._secret,
            context.trace_id,
            _encode_plan(plan),
            context.epoch,
            now + self.policy.approval_ttl_s,
        )
        return msgspec.structs.replace(case, decision=decision, approval=approval)

    def _propose(
        self, case: Case, setup: Setup, market: float, account: Account, halted: str | None
    ) -> tuple[Action, Facts, Decimal]:
        """The plan as numbers, the facts to judge it by, and the worst price at which it may be filled.

        Prices move to their ticks in the direction that keeps the plan's word: the entry never worse, the
        stop never further, the target never nearer than was asked for.
        """
        long = setup.direction == "long"
        price = to_tick(setup.entry_price, up=not long)
        highest = Decimal(str(market))
        mark = self.portfolio.mark_of(case.signal.symbol)
        if mark is not None and highest.is_finite() and highest < mark.price:
            highest = mark.price
        worst = price
        if (setup.entry != "limit" or not long) and price.is_finite() and highest.is_finite():
            worst = price if price >= highest else highest
        share = _number(setup.position_size_pct)
        quantity = _number(setup.quantity)
        if quantity is None and share is not None and account.equity is not None:
            quantity = quantity_for(share, account.equity, worst, fractional=self.policy.fractional)
        action = Action(
            case.signal.action,
            case.signal.symbol,
            "buy" if long else "sell",
            setup.entry,
            quantity,
            price,
            None if setup.stop_loss is None else to_tick(setup.stop_loss, up=long),
            None if setup.target is None else to_tick(setup.target, up=long),
            _number(setup.leverage),
            share,
        )
        return action, Facts(halted is not None, halted or "", highest), worst

    def _decision(self, judgement: Judgement, unsized: tuple[Violation, ...], setup: Setup, now: float) -> Decision:
        violations = [*unsized, *[_violation(each) for each in judgement.findings if each.denies]]
        warnings = [_violation(each) for each in judgement.findings if not each.denies]
        return Decision(
            judgement.approved and not unsized,
            tuple(violations),
            tuple(warnings),
            judgement.rules_checked,
            self.ruleset,
            now,
            setup.pattern,
            setup.confidence,
        )

    def notice(self, notice: Fill | FillsHead, context: Context) -> None:
        """Take Kenny's fills in the order of their numbers; ask again where one is missing."""
        now = context.now()
        if self.policy.day == "clock":
            self._roll_day(now)
        self._newest_fill = max(self._newest_fill, notice.number)
        if isinstance(notice, Fill) and notice.number == self.last_fill + 1:
            self.portfolio.apply_fill(notice)
            self.last_fill = notice.number
            self._books.save_fill(self.portfolio, notice)
            return
        head = isinstance(notice, FillsHead)
        if notice.number > self.last_fill:
            self._ask(context, at_once=head and self.last_fill > self._asked_after)
        elif head and notice.number < self.last_fill:
            context.event("fills_behind", known=self.last_fill, reported=notice.number)

    def bury(self, letter: Letter, context: Context) -> None:
        """Take back what was reserved for a signal that was given up, where no Kenny will say what became of it.

        With Kenny in the pipeline the letter reaches him next: he cancels what still works and reports `cancel`.
        To release before that would leave an order at the broker that counts nowhere.
        """
        if EXECUTOR in context.pipeline:
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
        if EXECUTOR in context.pipeline and (at_once or abs(now - self._asked_at) >= ASK_AGAIN_S):
            self._asked_at, self._asked_after = now, self.last_fill
            context.send(EXECUTOR, FillsWanted(after=self.last_fill))


def _violation(finding: Finding) -> Violation:
    rule = finding.rule
    return Violation(rule.name, rule.category, rule.severity, finding.message)


def _unsized(setup: Setup, action: Action, account: Account, worst: Decimal) -> tuple[Violation, ...]:
    """A word of its own for a share of equity that does not buy a single unit."""
    if setup.quantity is not None or action.position_size_pct is None or action.quantity != 0:
        return ()
    message = (
        f"`position_size_pct` {action.position_size_pct} of the equity {account.equity} buys not one unit of"
        f" {action.symbol} at {worst}"
    )
    return (Violation("whole_units", "portfolio", "MEDIUM", message),)
