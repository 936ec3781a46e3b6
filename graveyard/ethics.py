"""One pure check for each of the rules, and the judgement by all of them.

A check takes values and gives words: None where the rule has nothing to say against the action, otherwise why
it speaks against it, with the numbers it saw. It reads no clock, no file and no state of its own.

What every check keeps to:

- All numbers are `Decimal`; products are compared, never quotients, so that a limit is exact: an action
  exactly at a limit passes, the smallest step beyond is denied.
- A fact that is missing, or cannot be what it claims to be, is a denial that names the fact (`facts.number`).
  There is no default that lets an action through.
- What the proposer claims can only count against him: the leverage and the share of equity that he names are
  judged beside the ones that follow from quantity, price and account, never instead of them.

Only rules that are judged stand in `RULES`: a rule without a check would be a promise that nobody keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation, getcontext, setcontext

from graveyard.facts import Account, Action, Facts, Unknown, number, show, show_percent
from graveyard.rules import (
    APPROVABLE,
    CEILINGS,
    FURTHEST_STOP,
    RULES,
    Limits,
    Rule,
    rule,
    ruleset_digest,
    tick_of,
)

__all__ = [
    "CEILINGS",
    "RULES",
    "Finding",
    "Judgement",
    "Limits",
    "Rule",
    "judge",
    "rule",
    "ruleset_digest",
]

ZERO = Decimal(0)
_EXACT = Context(prec=200, traps=[InvalidOperation])


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that speaks against an action, with the numbers it saw."""

    rule: Rule
    message: str
    denies: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """Every finding, in the order of the rules, and the names of all rules that were judged."""

    findings: tuple[Finding, ...]
    rules_checked: tuple[str, ...]

    @property
    def approved(self) -> bool:
        """Whether nothing denies, and something was judged at all."""
        return bool(self.rules_checked) and not any(finding.denies for finding in self.findings)


def _exposures(account: Account) -> Mapping[str, Decimal]:
    if account.exposures is None:
        raise Unknown("`exposures` is missing")
    return account.exposures


def _asked(action: Action, facts: Facts) -> Decimal:
    """What the action would add, at the worst price that it can be filled at.

    A limit to buy fills at its limit or below. Anything else may fill at the market, whatever was named.
    """
    quantity, price = number("quantity", action.quantity), number("price", action.price)
    market = number("market_price", facts.market_price)
    if action.entry == "limit" and action.side == "buy":
        return quantity * price
    return quantity * (price if price >= market else market)


def _check_halt(action: Action, account: Account, facts: Facts, limits: Limits) -> str | None:
    """Emergency halt: while trading is halted, nothing is approved.

    Protects a person's power to stop everything. Needs `halted`.
    """
    if facts.halted is None:
        raise Unknown("`halted` is missing: nobody knows whether trading is halted")
    if facts.halted is not False:
        return f"trading is halted: {facts.halt_reason or 'no reason given'}"
    return None


def _check_approval(action: Action, account: Account, facts: Facts, limits: Limits) -> str | None:
    """Approved actions: only kinds that there are checks for, with a symbol, side and entry that are clear.

    The original let pass every kind that it did not know. Needs `kind`, `symbol`, `side`, `entry`.
    """
    if action.kind not in APPROVABLE:
        return f"`kind` is {action.kind!r}; only {', '.join(APPROVABLE)} can be approved"
    symbol = action.symbol
    if not (isinstance(symbol, str) and symbol and symbol.isascii() and symbol == symbol.strip().upper()):
        return f"`symbol` is {symbol!r}, not in ASCII capitals"
    if action.side not in ("buy", "sell"):
        return f"`side` is {action.side!r}, neither buy nor sell"
    if action.entry not in ("market", "limit"):
        return f"`entry` is {action.entry!r}, neither market nor limit"
    return None


def _check_position_size(action: Action, account: Account, facts: Facts, limits: Limits) -> str | None:
    """Position size: what is held, reserved and asked for in one symbol against the equity.

    Longs and shorts of a symbol are added: each has its own stop and target, so neither covers the other.
    Needs `quantity`, `price`, `market_price`, `exposures`, `equity`.
    """
    limit = limits.max_position_size
    if action.position_size_pct is not None:
        claimed = number("position_size_pct", action.position_size_pct)
        if claimed > limit:
            return f"`position_size_pct` is {show_percent(claimed)}; the limit is {show_percent(limit)}"
    new, equity = _asked(action, facts), number("equity", account.equity)
    held = number("exposures", _exposures(account).get(action.symbol, ZERO), zero=True)
    if held + new > limit * equity:
        return (
            f"{action.symbol} would come to {show(held + new)} (held and reserved {show(held)},"
            f" new {show(new)}), {show_percent((held + new) / equity)} of the equity {show(equity)};"
            f" the limit is {show_percent(limit)}"
        )
    return None


def _check_leverage(action: Action, account: Account, facts: Facts, limits: Limits) -> str | None:
    """Leverage: all exposure, held, reserved and new, against the equity; and the leverage that is asked for.

    Needs `leverage`, `quantity`, `price`, `market_price`, `exposures`, `equity`.
    """
    limit = limits.max_leverage
    claimed = number("leverage", action.leverage)
    if claimed > limit:
        return f"`leverage` is {show(claimed)} times the equity; the limit is {show(limit)}"
    equity = number("equity", account.equity)
    gross = _asked(action, facts)
    for value in _exposures(account).values():
        gross += number("exposures", value, zero=True)
    if gross > limit * equity:
        return (
            f"all exposure would come to {show(gross)}, {show(gross / equity)} times the equity"
            f" {show(equity)}; the limit is {show(limit)}"
        )
    return None


def _check_concurrent_trades(action: Action, account: Account, facts: Facts, limits: Limits) -> str | None:
    """Concurrent trades: distinct symbols among positions, working orders and reservations.

    Adding to a symbol that is held is no new trade. Needs `exposures`.
    """
    held = _exposures(account)
    if action.symbol not in held and len(held) + 1 > limits.max_concurrent_trades:
        return (
            f"{action.symbol} would be open symbol number {len(held) + 1} beside"
            f" {', '.join(sorted(held))}; the limit is {limits.max_concurrent_trades}"
        )
    return None


def _check_daily_loss(action: Action, account: Account, facts: Facts, limits: Limits) -> str | None:
    """Daily loss: realised and unrealised since the day began, and what all stops, this one too, would cost.

    A gain of the day does not buy more risk. Needs `day_start_equity`, `equity`, `open_risk`, `quantity`,
    `price`, `stop_loss`.
    """
    start, equity = number("day_start_equity", account.day_start_equity), number("equity", account.equity)
    at_risk = number("open_risk", account.open_risk, zero=True)
    quantity, price = number("quantity", action.quantity), number("price", action.price)
    own = quantity * abs(price - number("stop_loss", action.stop_loss))
    lost = start - equity if start > equity else ZERO
    if lost + at_risk + own > limits.max_daily_loss * start:
        return (
            f"lost today {show(lost)}, at risk in open trades {show(at_risk)}, in this one {show(own)}:"
            f" together {show_percent((lost + at_risk + own) / start)} of the day's first equity"
            f" {show(start)}; the limit is {show_percent(limits.max_daily_loss)}"
        )
    return None


def _check_stop_loss(action: Action, account: Account, facts: Facts, limits: Limits) -> str | None:
    """Stop loss: on the losing side of the entry, at least a tick and at most `FURTHEST_STOP` away.

    Needs `price`, `stop_loss`, `side`.
    """
    price, stop = number("price", action.price), number("stop_loss", action.stop_loss)
    distance = price - stop if action.side == "buy" else stop - price
    if distance < ZERO:
        where = "below" if action.side == "buy" else "above"
        return f"`stop_loss` {stop:f} must be {where} the entry {price:f}"
    if distance < tick_of(price):
        return f"`stop_loss` {stop:f} is less than a tick from the entry {price:f}"
    if distance > FURTHEST_STOP * price:
        return (
            f"`stop_loss` {stop:f} is {show_percent(distance / price)} from the entry {price:f};"
            f" the limit is {show_percent(FURTHEST_STOP)}"
        )
    return None


def _check_risk_reward(action: Action, account: Account, facts: Facts, limits: Limits) -> str | None:
    """Risk-reward: the way to the target over the way to the stop, from the plan's own prices.

    The ratio that a signal names for itself is never read. Needs `price`, `stop_loss`, `target`, `side`.
    """
    price, stop = number("price", action.price), number("stop_loss", action.stop_loss)
    target = number("target", action.target)
    risk, reward = (price - stop, target - price) if action.side == "buy" else (stop - price, price - target)
    if risk <= ZERO:
        return f"no risk to weigh: `stop_loss` {stop:f} is not on the losing side of {price:f}"
    if reward < limits.min_risk_reward * risk:
        return (
            f"{show(reward)} to win for {show(risk)} to lose is a ratio of {show(reward / risk)};"
            f" the limit is {show(limits.min_risk_reward)}"
        )
    return None


Check = Callable[[Action, Account, Facts, Limits], "str | None"]
_CHECKS: tuple[tuple[Rule, Check], ...] = tuple(
    zip(
        RULES,
        (
            _check_halt,
            _check_approval,
            _check_position_size,
            _check_leverage,
            _check_concurrent_trades,
            _check_daily_loss,
            _check_stop_loss,
            _check_risk_reward,
        ),
        strict=True,
    )
)
_CHECKED = tuple(each.name for each in RULES)


def judge(action: Action, account: Account, facts: Facts, limits: Limits = CEILINGS) -> Judgement:
    """Judge an action by every rule, in their order; one finding does not spare the others.

    Args:
        action: What is proposed.
        account: The judge's own books.
        facts: The judge's own knowledge of the system and the market.
        limits: The numbers to judge by; `Limits` cannot be looser than the Graveyard.
    """
    findings: list[Finding] = []
    before = getcontext()
    setcontext(_EXACT)
    try:
        for each, check in _CHECKS:
            try:
                message = check(action, account, facts, limits)
            except Unknown as unknown:
                message = str(unknown)
            if message is not None:
                findings.append(Finding(each, message, each.denies))
    finally:
        setcontext(before)
    return Judgement(tuple(findings), _CHECKED)
