"""One pure check for each of the rules, and the judgement by all of them.

A check takes values and gives a word with the numbers it saw: `PASS`, `BREACH`, or `ASK` where a person has to
say yes. It reads no clock, no file and no state of its own. Its sentence is only put together where somebody
wants it: for a breach, or because every rule is to be explained (`telling`).

What every check keeps to:

- All numbers are `Decimal`; products are compared, never quotients, so that a limit is exact: an action
  exactly at a limit passes, the smallest step beyond is denied.
- A fact that is missing, or cannot be what it claims to be, is a denial that names the fact (`facts.Unknown`).
  There is no default that lets an action through. Only on paper, and only for facts that only a live market
  has, it is a warning.
- What the proposer claims can only count against him: the leverage and the share of equity that he names are
  judged beside the ones that follow from quantity, price and account, never instead of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation, getcontext, setcontext
from typing import Literal

from graveyard.facts import (
    Account,
    Action,
    Done,
    Facts,
    Source,
    Unknown,
    given,
    number,
    show,
    show_percent,
    signed,
)
from graveyard.rules import (
    CEILINGS,
    CLOSING_S,
    CLOSING_SHARE,
    CLOSING_SPANS,
    COLLAR,
    CRITICAL_LEVERAGE,
    CRITICAL_SHARE,
    DATA_KINDS,
    EXIT_SHARE,
    FORBIDDEN,
    FURTHEST_STOP,
    KINDS,
    LAYER_TICKS,
    LAYERS,
    LONGEST_SILENCE_S,
    MOST_HOPS,
    MOST_MESSAGES,
    MOST_REPEATS,
    OLDEST_PRICE_S,
    OUTSIZED_MOVE,
    OUTSIZED_VOLUME,
    RULES,
    SENSITIVITIES,
    SPOOF_CANCELS,
    SPOOF_ORDERS,
    STANDINGS,
    THIN_PRICE,
    THIN_VALUE,
    WASH_PAIRS,
    Limits,
    Rule,
    tick_of,
)

__all__ = ["Finding", "Judgement", "Statement", "judge"]

ZERO = Decimal(0)
_ONE = Decimal(1)
_NEVER = 253_402_300_800.0
"""The year 10,000; no clock that works says so."""
_EXACT = Context(prec=200, traps=[InvalidOperation])

_SYMBOL = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./:^=_-")
"""What a symbol is made of."""

Word = Literal["pass", "breach", "ask"]
Said = tuple[Word, str]
PASS: Said = ("pass", "")


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that speaks against an action, with the numbers it saw.

    Attributes:
        rule: The rule.
        message: What it saw, in words.
        denies: Whether it denies the action.
        asks: Whether it would let the action pass with a person's consent.
        mercy: Whether it only warns because a fact that only a live market has is missing on paper.
    """

    rule: Rule
    message: str
    denies: bool
    asks: bool = False
    mercy: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """What one rule says of an action, also where it passed.

    Attributes:
        rule: The rule.
        word: `pass`, `breach`, `ask`, or `unknown` where a fact is missing.
        text: The numbers it saw.
    """

    rule: Rule
    word: Literal["pass", "breach", "ask", "unknown"]
    text: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """Every finding, in the order of the rules, and the names of all rules that were judged.

    Attributes:
        findings: Rules that speak against the action, or warn.
        rules_checked: Names of all rules that were judged.
        statements: What each rule says, where that was asked for.
    """

    findings: tuple[Finding, ...]
    rules_checked: tuple[str, ...]
    statements: tuple[Statement, ...] = ()

    @property
    def denied(self) -> bool:
        """Whether something denies, or nothing was judged at all."""
        return not self.rules_checked or any(each.denies for each in self.findings)

    @property
    def asks(self) -> bool:
        """Whether nothing denies, but a person has to say yes."""
        return not self.denied and any(each.asks for each in self.findings)

    @property
    def approved(self) -> bool:
        """Whether nothing denies, and nobody has to be asked."""
        return not self.denied and not any(each.asks for each in self.findings)


def _is_trade(action: Action) -> bool:
    """Whether the action has to be judged as a trade: all that are not plainly something else."""
    return action.kind not in DATA_KINDS


def _exposures(account: Account) -> Mapping[str, Decimal]:
    if account.exposures is None:
        raise Unknown("`exposures` is missing")
    return account.exposures


def _recent(account: Account) -> tuple[Done, ...]:
    if account.recent is None:
        raise Unknown("`recent` is missing: nobody knows what was done in the symbol")
    if type(account.recent) is not tuple:
        raise Unknown("`recent` is no list")
    return account.recent


def _sources(facts: Facts) -> tuple[Source, ...]:
    if not facts.sources:
        raise Unknown("`sources` is missing: nobody knows where the action descends from")
    return facts.sources


def _silence(name: str, value: float | None) -> float:
    """For how long a process gave no sign of life, seconds."""
    if value is None:
        raise Unknown(f"`{name}` is missing")
    if type(value) not in (float, int) or not value >= 0:  # NaN, too
        raise Unknown(f"`{name}` is {value!r}, no length of time")
    return value


def _count(name: str, value: int | None, missing: str = "") -> int:
    """How many, and no fewer than none."""
    if type(value) is not int or value < 0:
        raise Unknown(f"`{name}` is missing{missing}" if value is None else f"`{name}` is {value!r}, no count")
    return value


def _listed(name: str, value: frozenset[str] | None, what: str) -> frozenset[str]:
    """A list of names; a text, in which parts of names would be found, is none."""
    if type(value) is not frozenset:
        raise Unknown(f"`{name}` is missing: nobody knows {what}" if value is None else f"`{name}` is no list")
    return value


def _asked(action: Action, facts: Facts) -> Decimal:
    """What the action would add, at the worst price that it can be filled at.

    A limit to buy fills at its limit or below. Anything else may fill at the market, whatever was named.
    """
    quantity, price = number("quantity", action.quantity), number("price", action.price)
    market = number("market_price", facts.market_price)
    if action.entry == "limit" and action.side == "buy":
        return quantity * price
    return quantity * (price if price >= market else market)


def _last_price(facts: Facts) -> Decimal:
    """The newest price that the market showed.

    Raises:
        Unknown: There is none, or it is too old to say anything.
    """
    if facts.last_price is None:
        raise Unknown("`last_price` is missing: no bar or quote of the symbol is known", live=True)
    if facts.price_age_s is None:
        raise Unknown("`price_age_s` is missing: nobody knows how old `last_price` is", live=True)
    if _silence("price_age_s", facts.price_age_s) > OLDEST_PRICE_S:
        raise Unknown(f"`last_price` is {facts.price_age_s} s old, which says nothing about today", live=True)
    return number("last_price", facts.last_price)


def _check_seal(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Immutable Graveyard: the seal was verified, in file and memory, and nobody asks for other rules.

    Needs `seal_fault`.
    """
    if action.kind in FORBIDDEN:
        return "breach", f"`kind` is {action.kind}: nobody changes the rule book, whoever asks"
    if facts.seal_fault is None:
        raise Unknown("`seal_fault` is missing: nobody has verified the seal")
    if facts.seal_fault != "":
        return "breach", f"the seal of the rule book is broken: {facts.seal_fault}"
    return ("pass", "the seal was verified, in the files and in memory") if telling else PASS


def _check_watchdog(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Watchdog monitoring: it gave a sign of life a moment ago. Needs `watchdog_age_s`."""
    age_s = _silence("watchdog_age_s", facts.watchdog_age_s)
    if age_s <= LONGEST_SILENCE_S and not telling:
        return PASS
    text = f"the Watchdog's last sign of life is {age_s:.1f} s old; the limit is {LONGEST_SILENCE_S:g} s"
    return ("breach" if age_s > LONGEST_SILENCE_S else "pass"), text


def _check_halt(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Emergency halt: while trading is halted, nothing is approved. Needs `halted`."""
    if facts.halted is None:
        raise Unknown("`halted` is missing: nobody knows whether trading is halted")
    if facts.halted is not False:
        return "breach", f"trading is halted: {facts.halt_reason or 'no reason given'}"
    return ("pass", "trading is not halted") if telling else PASS


def _check_audit(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Audit: the ledger takes rows. Needs `ledger_writable`."""
    if not given("ledger_writable", facts.ledger_writable):
        return "breach", "the audit ledger takes no rows"
    return ("pass", "the audit ledger takes rows") if telling else PASS


def _check_override(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """User override: an operator's word could come through now. Needs `gateway_age_s`."""
    age_s = _silence("gateway_age_s", facts.gateway_age_s)
    if age_s <= LONGEST_SILENCE_S and not telling:
        return PASS
    text = (
        f"the door that operators come through gave its last sign of life {age_s:.1f} s ago;"
        f" the limit is {LONGEST_SILENCE_S:g} s"
    )
    return ("breach" if age_s > LONGEST_SILENCE_S else "pass"), text


def _check_approval(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Approved actions: only kinds that there are checks for, and each clear in what it is.

    The original let pass every kind that it did not know. Needs `kind`; for a trade `symbol`, `side` and
    `entry`, for data `sensitivity`.
    """
    if action.kind not in KINDS:
        return "breach", f"`kind` is {action.kind!r}; only {', '.join(KINDS)} can be approved"
    if not _is_trade(action):
        if action.sensitivity not in SENSITIVITIES:
            return "breach", f"`sensitivity` is {action.sensitivity!r}, none of {', '.join(SENSITIVITIES)}"
        return ("pass", f"{action.kind} of {action.sensitivity} data can be judged") if telling else PASS
    symbol = action.symbol
    if not (isinstance(symbol, str) and symbol and symbol.isascii() and set(symbol) <= _SYMBOL):
        return "breach", f"`symbol` is {symbol!r}, not in ASCII capitals"
    if action.side not in ("buy", "sell"):
        return "breach", f"`side` is {action.side!r}, neither buy nor sell"
    if action.entry not in ("market", "limit"):
        return "breach", f"`entry` is {action.entry!r}, neither market nor limit"
    return ("pass", f"a {action.entry} order to {action.side} {symbol} can be judged") if telling else PASS


def _check_sources(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Data sources: each is known and in good standing, and the market was seen lately.

    Needs `sources`; for a trade `last_price` and `price_age_s`.
    """
    sources = _sources(facts)
    for source in sources:
        if source.standing not in STANDINGS:
            return "breach", f"the source {source.name!r} has a standing that is none: {source.standing!r}"
        if source.quarantined is not False:
            return "breach", f"the source {source.name!r} was wrong too often and is quarantined"
    unregistered = [source.name for source in sources if source.standing == "unregistered"]
    if unregistered:
        raise Unknown(f"the source {unregistered[0]!r} stands in no register", live=True)
    if not _is_trade(action):
        return ("pass", _told(sources)) if telling else PASS
    last = _last_price(facts)
    return ("pass", f"{_told(sources)}; the market's newest price is {show(last)}") if telling else PASS


def _told(sources: tuple[Source, ...]) -> str:
    return "from " + ", ".join(f"{source.name!r} ({source.standing})" for source in sources)


def _check_insider(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Insider trading: the symbol is not restricted, and every source is public by now.

    Needs `restricted`, `sources`.
    """
    restricted = _listed("restricted", facts.restricted, "which symbols are restricted")
    if action.symbol in restricted:
        return "breach", f"{action.symbol} stands on the restricted list"
    sources = _sources(facts)
    for source in sources:
        if source.standing == "private":
            return "breach", f"the source {source.name!r} is private: what it says is not public"
        if not source.embargo_until <= facts.now < _NEVER:
            return "breach", f"what {source.name!r} says is under embargo until {source.embargo_until:.0f}"
    if not telling:
        return PASS
    return (
        "pass",
        f"{action.symbol or action.kind} is none of {len(restricted)} restricted symbols; {_told(sources)}",
    )


def _check_reasoning(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Transparent reasoning: somebody says why. Needs `reasons`."""
    reasons = [reason for reason in action.reasons if reason.strip()]
    if not reasons:
        return "breach", "nobody says why: no pattern, no source, no note"
    return ("pass", f"because of {'; '.join(reasons)}") if telling else PASS


def _check_loops(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Infinite loops: few hops, few messages, and not the same order again and again.

    Needs `hops`, `messages`; for a trade `recent`, `quantity`, `price`.
    """
    hops = _count("hops", facts.hops)
    messages = _count("messages", account.messages, ": nobody counts the account's orders and cancels")
    if hops > MOST_HOPS:
        return "breach", f"{hops} agents had it already; the limit is {MOST_HOPS}"
    if messages >= MOST_MESSAGES:
        return "breach", f"{messages} orders and cancels within a minute; the limit is {MOST_MESSAGES}"
    repeats = 0
    if _is_trade(action):
        recent = _recent(account)
        if recent:
            quantity, price = number("quantity", action.quantity), number("price", action.price)
            for done in recent:
                if done.what == "order" and done.side == action.side:
                    repeats += done.quantity == quantity and done.price == price
    if repeats < MOST_REPEATS and not telling:
        return PASS
    text = (
        f"{hops} agents had it, {messages} orders and cancels and {repeats} equal orders within a"
        f" minute; the limits are {MOST_HOPS}, {MOST_MESSAGES} and {MOST_REPEATS}"
    )
    return ("breach" if repeats >= MOST_REPEATS else "pass"), text


def _check_autonomy(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """User autonomy: a person's standing wishes. Needs `no_trade`."""
    no_trade = _listed("no_trade", facts.no_trade, "what a person wishes not to be traded")
    if action.symbol in no_trade:
        return "breach", f"a person wishes {action.symbol} not to be traded"
    return ("pass", f"none of a person's {len(no_trade)} standing wishes is against it") if telling else PASS


def _check_position_size(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Position size: what is held, reserved and asked for in one symbol against the equity.

    Longs and shorts of a symbol are added: each has its own stop and target, so neither covers the other.
    Needs `quantity`, `price`, `market_price`, `exposures`, `equity`.
    """
    if not _is_trade(action):
        return PASS
    limit = limits.max_position_size
    if action.position_size_pct is not None:
        claimed = number("position_size_pct", action.position_size_pct)
        if claimed > limit:
            return "breach", f"`position_size_pct` is {show_percent(claimed)}; the limit is {show_percent(limit)}"
    new, equity = _asked(action, facts), number("equity", account.equity)
    held = number("exposures", _exposures(account).get(action.symbol, ZERO), zero=True)
    broken = held + new > limit * equity
    if not broken and not telling:
        return PASS
    text = (
        f"{action.symbol} would come to {show(held + new)} (held and reserved {show(held)},"
        f" new {show(new)}), {show_percent((held + new) / equity)} of the equity {show(equity)};"
        f" the limit is {show_percent(limit)}"
    )
    return ("breach" if broken else "pass"), text


def _check_leverage(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Leverage: all exposure, held, reserved and new, against the equity; and the leverage that is asked for.

    Needs `leverage`, `quantity`, `price`, `market_price`, `exposures`, `equity`.
    """
    if not _is_trade(action):
        return PASS
    limit = limits.max_leverage
    claimed = number("leverage", action.leverage)
    if claimed > limit:
        return "breach", f"`leverage` is {show(claimed)} times the equity; the limit is {show(limit)}"
    equity = number("equity", account.equity)
    gross = _asked(action, facts)
    for value in _exposures(account).values():
        gross += number("exposures", value, zero=True)
    broken = gross > limit * equity
    if not broken and not telling:
        return PASS
    text = (
        f"all exposure would come to {show(gross)}, {show(gross / equity)} times the equity"
        f" {show(equity)}; the limit is {show(limit)}"
    )
    return ("breach" if broken else "pass"), text


def _check_concurrent_trades(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Concurrent trades: distinct symbols among positions, working orders and reservations.

    Adding to a symbol that is held is no new trade. Needs `exposures`.
    """
    if not _is_trade(action):
        return PASS
    held = _exposures(account)
    open_symbols = len(held) + (action.symbol not in held)
    broken = action.symbol not in held and open_symbols > limits.max_concurrent_trades
    if not broken and not telling:
        return PASS
    beside = ", ".join(sorted(each for each in held if each != action.symbol)) or "nothing"
    text = (
        f"{action.symbol} would be open symbol number {open_symbols} beside {beside};"
        f" the limit is {limits.max_concurrent_trades}"
    )
    return ("breach" if broken else "pass"), text


def _check_daily_loss(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Daily loss: realised and unrealised since the day began, and what all stops, this one too, would cost.

    A gain of the day does not buy more risk. Of two counts of the loss, by the equity and by the trades, the
    larger one counts. A purchase at the market is counted from the highest credible price. Needs
    `day_start_equity`, `equity`, `realised_today`, `unrealised_today`, `open_risk`, `quantity`, `price`,
    `market_price`, `stop_loss`.
    """
    if not _is_trade(action):
        return PASS
    start, equity = number("day_start_equity", account.day_start_equity), number("equity", account.equity)
    realised = signed("realised_today", account.realised_today)
    unrealised = signed("unrealised_today", account.unrealised_today)
    at_risk = number("open_risk", account.open_risk, zero=True)
    quantity, price = number("quantity", action.quantity), number("price", action.price)
    stop = number("stop_loss", action.stop_loss)
    own = quantity * abs(price - stop)
    if action.side == "buy" and action.entry != "limit":
        own = max(own, quantity * (number("market_price", facts.market_price) - stop))
    elif action.entry != "limit" and facts.last_price is not None:
        own = max(own, quantity * (stop - number("last_price", facts.last_price)))
    lost = max(start - equity, -(realised + unrealised), ZERO)
    broken = lost + at_risk + own > limits.max_daily_loss * start
    if not broken and not telling:
        return PASS
    text = (
        f"lost today {show(lost)}, at risk in open trades {show(at_risk)}, in this one {show(own)}:"
        f" together {show_percent((lost + at_risk + own) / start)} of the day's first equity"
        f" {show(start)}; the limit is {show_percent(limits.max_daily_loss)}"
    )
    return ("breach" if broken else "pass"), text


def _check_stop_loss(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Stop loss: on the losing side of the entry, at least a tick and at most `FURTHEST_STOP` away.

    Needs `price`, `stop_loss`, `side`.
    """
    if not _is_trade(action):
        return PASS
    price, stop = number("price", action.price), number("stop_loss", action.stop_loss)
    distance = price - stop if action.side == "buy" else stop - price
    if distance < ZERO:
        where = "below" if action.side == "buy" else "above"
        return "breach", f"`stop_loss` {stop:f} must be {where} the entry {price:f}"
    if distance < tick_of(price):
        return "breach", f"`stop_loss` {stop:f} is less than a tick from the entry {price:f}"
    broken = distance > FURTHEST_STOP * price
    if not broken and not telling:
        return PASS
    text = (
        f"`stop_loss` {stop:f} is {show_percent(distance / price)} from the entry {price:f};"
        f" the limit is {show_percent(FURTHEST_STOP)}"
    )
    return ("breach" if broken else "pass"), text


def _check_risk_reward(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Risk-reward: the way to the target over the way to the stop, from the plan's own prices.

    The ratio that a signal names for itself is never read. Needs `price`, `stop_loss`, `target`, `side`.
    """
    if not _is_trade(action):
        return PASS
    price, stop = number("price", action.price), number("stop_loss", action.stop_loss)
    target = number("target", action.target)
    risk, reward = (price - stop, target - price) if action.side == "buy" else (stop - price, price - target)
    if risk <= ZERO:
        return "breach", f"no risk to weigh: `stop_loss` {stop:f} is not on the losing side of {price:f}"
    broken = reward < limits.min_risk_reward * risk
    if not broken and not telling:
        return PASS
    text = (
        f"{show(reward)} to win for {show(risk)} to lose is a ratio of {show(reward / risk)};"
        f" the limit is {show(limits.min_risk_reward)}"
    )
    return ("breach" if broken else "pass"), text


def _check_manipulation(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Market manipulation: no trade with itself, no wash, no spoofing, no layering, no price from nowhere.

    Needs `orders`, `recent`, `quantity`, `price`, `market_price`, `last_price`, `price_age_s`; `average_volume`
    in the last minutes of a session.
    """
    if not _is_trade(action):
        return PASS
    if action.admits:
        return "breach", f"the proposer admits {', '.join(action.admits)}"
    if account.orders is None:
        raise Unknown("`orders` is missing: nobody knows what of the account waits at the broker")
    if type(account.orders) is not tuple:
        raise Unknown("`orders` is no list")
    quantity, price = number("quantity", action.quantity), number("price", action.price)
    if account.orders:
        found = _meets_own(action, account, facts, quantity, price)
        if found:
            return "breach", found
    recent = _recent(account)
    if len(recent) >= WASH_PAIRS:
        found = _pattern_of(recent, price)
        if found:
            return "breach", found
    left_s = None if facts.session_left_s is None else _silence("session_left_s", facts.session_left_s)
    closing = left_s is not None and left_s <= CLOSING_S
    if closing and facts.average_volume is not None:
        usual = number("average_volume", facts.average_volume) / CLOSING_SPANS
        if quantity > CLOSING_SHARE * usual:
            return "breach", (
                f"{show(quantity)} in the last minutes of the session, where {show(usual)} are usual;"
                f" the limit is {show_percent(CLOSING_SHARE)} of that"
            )
    last = _last_price(facts)
    broken = abs(price - last) > COLLAR * last
    if closing and facts.average_volume is None and not broken:
        raise Unknown("`average_volume` is missing, in the last minutes of the session", live=True)
    if not broken and not telling:
        return PASS
    text = (
        f"the price {price:f} is {show_percent(abs(price - last) / last)} from the market's newest {show(last)};"
        f" the limit is {show_percent(COLLAR)}"
    )
    if not broken:
        text = f"no trade with itself, {len(recent)} things done in the symbol within a minute; {text}"
    return ("breach" if broken else "pass"), text


def _meets_own(action: Action, account: Account, facts: Facts, quantity: Decimal, price: Decimal) -> str:
    """Whether the order would trade with the account's own orders, or lean on a wall of them."""
    buying = action.side == "buy"
    reach = price
    if action.entry != "limit":
        if buying:
            reach = max(price, number("market_price", facts.market_price))
        elif facts.last_price is not None:
            reach = min(price, number("last_price", facts.last_price))
    near = LAYER_TICKS * tick_of(price)
    levels: set[Decimal] = set()
    wall = ZERO
    for order in account.orders or ():
        if order.symbol != action.symbol or order.side == action.side:
            continue
        meets = order.price <= reach if buying else order.price >= reach
        if meets or (action.entry != "limit" and order.leg == "entry"):
            return f"it could trade with the account's own order to {order.side} at {show(order.price)}"
        if order.leg == "entry" and abs(order.price - price) <= near:
            levels.add(order.price)
            wall += order.quantity
    if len(levels) >= LAYERS and quantity < wall:
        return (
            f"{len(levels)} own orders over {show(wall)} on the other side, within {LAYER_TICKS} ticks: layering;"
            f" the limit is {LAYERS - 1}"
        )
    return ""


def _pattern_of(recent: tuple[Done, ...], price: Decimal) -> str:
    """Whether what was done in the symbol looks like wash trades or like spoofing."""
    orders = sum(done.what == "order" for done in recent)
    cancels = sum(done.what == "cancel" for done in recent)
    if orders >= SPOOF_ORDERS and cancels >= SPOOF_CANCELS * orders:
        return (
            f"{cancels} of {orders} orders within a minute were cancelled; the limit is"
            f" {show_percent(SPOOF_CANCELS)}"
        )
    pairs = _pairs_of([done for done in recent if done.what == "fill"], tick_of(price))
    if pairs >= WASH_PAIRS:
        return f"{pairs} purchases and sales of the same size within a tick and a minute: wash trades"
    return ""


def _pairs_of(fills: list[Done], tick: Decimal) -> int:
    """How many purchases can be paired with a sale of the same size and nearly the same price, each used once."""
    prices: dict[tuple[Decimal, str], list[Decimal]] = {}
    for done in fills:
        prices.setdefault((done.quantity, done.side), []).append(done.price)
    pairs = 0
    for (quantity, side), bought in prices.items():
        sold = prices.get((quantity, "sell")) if side == "buy" else None
        if sold is None:
            continue
        bought.sort()
        sold.sort()
        # Both from the lowest up: of two that are not near each other, the lower one finds no partner any more.
        at, across = 0, 0
        while at < len(bought) and across < len(sold):
            apart = bought[at] - sold[across]
            if -tick <= apart <= tick:
                pairs += 1
            at += apart <= tick
            across += apart >= -tick
    return pairs


def _check_pump(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Pump and dump: no outsized move of a thin name, and nothing of either where the source promotes.

    Needs `sources`, `price`, `average_volume`, `move`, `volume_ratio`.
    """
    if not _is_trade(action):
        return PASS
    promoting = [source.name for source in _sources(facts) if source.standing == "promotional"]
    price = number("price", action.price)
    move = None if facts.move is None else signed("move", facts.move)
    ratio = None if facts.volume_ratio is None else number("volume_ratio", facts.volume_ratio, zero=True)
    if move is not None and move < -_ONE:
        raise Unknown(f"`move` is {show_percent(move)}, below nothing")
    outsized = (move is not None and not -OUTSIZED_MOVE < move < OUTSIZED_MOVE) or (
        ratio is not None and not ratio < OUTSIZED_VOLUME
    )
    if facts.average_volume is None:
        thin, value = price < THIN_PRICE, None
    else:
        value = number("average_volume", facts.average_volume, zero=True) * price
        thin = price < THIN_PRICE or value < THIN_VALUE
    if (thin and outsized) or (promoting and (thin or outsized)):
        what = " and ".join([*(["thin"] if thin else ()), *(["moved out of all proportion"] if outsized else ())])
        who = f", and {promoting[0]!r} promotes it" if promoting else ""
        return "breach", f"{action.symbol} is {what}{who} ({_liquidity(price, value, facts)})"
    if value is None or move is None:
        missing = "average_volume" if value is None else "move"
        raise Unknown(f"`{missing}` is missing: nobody knows how {action.symbol} trades", live=not promoting)
    return ("pass", f"neither thin nor outsized ({_liquidity(price, value, facts)})") if telling else PASS


def _liquidity(price: Decimal, value: Decimal | None, facts: Facts) -> str:
    known = [f"price {show(price)}"]
    if value is not None:
        known.append(f"{show(value)} traded in a usual day, thin below {show(THIN_VALUE)}")
    if facts.move is not None:
        known.append(f"moved {show_percent(facts.move)}, outsized from {show_percent(OUTSIZED_MOVE)}")
    if facts.volume_ratio is not None:
        known.append(f"{show(facts.volume_ratio)} times the usual volume, outsized from {show(OUTSIZED_VOLUME)}")
    return ", ".join(known)


def _check_front_running(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Front running: no client waits with an order on the same side. Needs `client_orders`."""
    if not _is_trade(action):
        return PASS
    if facts.client_orders is None:
        raise Unknown("`client_orders` is missing: nobody knows which orders of clients wait", live=True)
    if type(facts.client_orders) is not tuple:
        raise Unknown("`client_orders` is no list")
    for order in facts.client_orders:
        if order.symbol == action.symbol and order.side == action.side:
            return "breach", f"a client's order to {order.side} {show(order.quantity)} {order.symbol} goes first"
    return ("pass", f"none of {len(facts.client_orders)} waiting orders of clients is ahead") if telling else PASS


def _check_user_data(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """User data: the node's home is closed to others, and nothing personal goes along in a text.

    Needs `home_private`, `personal`.
    """
    if not given("home_private", facts.home_private):
        return "breach", "what the node keeps can be read by others"
    if facts.personal is None:
        raise Unknown("`personal` is missing: nobody looked for personal data in the action's texts")
    if facts.personal != "":
        return "breach", f"a text of the action holds {facts.personal}"
    if action.kind == "share_data" and action.sensitivity == "secret":
        return "breach", "secret data is not shared, whoever asks"
    return ("pass", "what the node keeps is closed to others, no text holds personal data") if telling else PASS


def _check_consent(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Consent: to trade with somebody's money, and to use his data. Needs `consents`, `live`."""
    consents = _listed("consents", facts.consents, "what was consented to")
    if _is_trade(action):
        if facts.live is False:
            return ("pass", "on paper nobody's money is traded") if telling else PASS
        purpose = "live_trading"
    elif action.sensitivity == "personal" or action.subject:
        purpose = f"{action.kind}:{action.subject}"
    else:
        return ("pass", "it is nobody's data") if telling else PASS
    if purpose not in consents:
        return "breach", f"nobody consented to {purpose}"
    return ("pass", f"{purpose} was consented to") if telling else PASS


def _check_logs(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Logs: the log masks what must not be in it. Needs `logs_redacted`."""
    if not given("logs_redacted", facts.logs_redacted):
        return "breach", "the log lets through what it should mask"
    return ("pass", "the log masks credentials and personal data") if telling else PASS


def _check_credentials(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Credentials: none lies open, and data that is worth protecting is encrypted. Needs `credentials_sealed`."""
    if not given("credentials_sealed", facts.credentials_sealed):
        return "breach", "a credential lies open in a setting or a file"
    if not _is_trade(action) and action.sensitivity in ("personal", "secret") and action.encrypted is not True:
        return "breach", f"{action.kind} of {action.sensitivity} data without encryption"
    return ("pass", "no credential lies open") if telling else PASS


def _check_reversible(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Reversible: it can be undone, and a position is small enough to be sold again.

    What cannot be undone is for a person to allow, see `human_in_loop_critical`. Needs `average_volume`,
    `quantity`.
    """
    if not _is_trade(action):
        way = KINDS.get(action.kind, "")
        return ("pass", f"undone by: {way}" if way else "cannot be undone; a person is asked") if telling else PASS
    quantity = number("quantity", action.quantity)
    if facts.average_volume is None:
        raise Unknown("`average_volume` is missing: nobody knows how much can be sold again", live=True)
    usual = number("average_volume", facts.average_volume, zero=True)
    broken = quantity > EXIT_SHARE * usual
    if not broken and not telling:
        return PASS
    text = (
        f"{show(quantity)} units of {show(usual)} that are traded in a usual day;"
        f" the limit is {show_percent(EXIT_SHARE)}"
    )
    return ("breach" if broken else "pass"), text


def _check_person(action: Action, account: Account, facts: Facts, limits: Limits, telling: bool) -> Said:
    """Human in the loop: what is large, geared, or cannot be undone needs a person's yes.

    Large is the action itself; what its symbol comes to in many small ones is bounded by `max_position_size`, a
    little further up. Needs `person` for those; for a trade `quantity`, `price`, `market_price`, `exposures`,
    `equity`, `leverage`.
    """
    if facts.person is not None and not given("person", facts.person):
        return "breach", "a person refused it"
    if _is_trade(action):
        new, equity = _asked(action, facts), number("equity", account.equity)
        leverage, claimed = number("leverage", action.leverage), ZERO
        if action.position_size_pct is not None:
            claimed = number("position_size_pct", action.position_size_pct)
        gross = new
        for value in _exposures(account).values():
            gross += number("exposures", value, zero=True)
        critical = (
            new > CRITICAL_SHARE * equity
            or claimed > CRITICAL_SHARE
            or leverage > CRITICAL_LEVERAGE
            or gross > CRITICAL_LEVERAGE * equity
        )
        if not critical and not telling:
            return PASS
        text = (
            f"{show_percent(new / equity)} of the equity in one action, {show(gross / equity)} times the equity in"
            f" all, leverage {show(leverage)}; a person is asked above {show_percent(CRITICAL_SHARE)} or"
            f" {show(CRITICAL_LEVERAGE)} times"
        )
    else:
        critical = not KINDS.get(action.kind)
        text = f"{action.kind} {'cannot be undone' if critical else 'can be undone'}"
    if not critical:
        return ("pass", text) if telling else PASS
    if facts.person is True:
        return ("pass", f"{text}; a person allowed it") if telling else PASS
    return "ask", text


Check = Callable[[Action, Account, Facts, Limits, bool], Said]
_CHECKS: tuple[tuple[Rule, Check], ...] = tuple(
    zip(
        RULES,
        (
            _check_seal,
            _check_watchdog,
            _check_halt,
            _check_audit,
            _check_override,
            _check_approval,
            _check_sources,
            _check_insider,
            _check_reasoning,
            _check_loops,
            _check_autonomy,
            _check_position_size,
            _check_leverage,
            _check_concurrent_trades,
            _check_daily_loss,
            _check_stop_loss,
            _check_risk_reward,
            _check_manipulation,
            _check_pump,
            _check_front_running,
            _check_user_data,
            _check_consent,
            _check_logs,
            _check_credentials,
            _check_reversible,
            _check_person,
        ),
        strict=True,
    )
)
_CHECKED = tuple(each.name for each in RULES)


def judge(
    action: Action, account: Account, facts: Facts, limits: Limits = CEILINGS, *, telling: bool = False
) -> Judgement:
    """Judge an action by every rule, in their order; one finding does not spare the others.

    Args:
        action: What is proposed.
        account: The judge's own books.
        facts: The judge's own knowledge of the system and the market.
        limits: The numbers to judge by; `Limits` cannot be looser than the Graveyard.
        telling: Whether every rule should say what it saw, also where it passed.
    """
    findings: list[Finding] = []
    statements: list[Statement] = []
    on_paper = facts.live is False
    before = getcontext()
    setcontext(_EXACT)
    try:
        for rule, check in _CHECKS:
            try:
                word, text = check(action, account, facts, limits, telling)
            except Unknown as unknown:
                mercy = unknown.live and on_paper
                findings.append(Finding(rule, str(unknown), not mercy, mercy=mercy))
                if telling:
                    statements.append(Statement(rule, "unknown", str(unknown)))
                continue
            except Exception as error:  # noqa: BLE001 - what cannot be judged is denied, whatever the reason
                text = f"it could not be judged: {type(error).__name__}: {error}"
                findings.append(Finding(rule, text, True))
                if telling:
                    statements.append(Statement(rule, "unknown", text))
                continue
            if word == "ask":
                findings.append(Finding(rule, text, False, asks=True))
            elif word != "pass":
                findings.append(Finding(rule, text, rule.denies))
            if telling:
                statements.append(Statement(rule, word, text or "it concerns trades only"))
    finally:
        setcontext(before)
    return Judgement(tuple(findings), _CHECKED, tuple(statements))
