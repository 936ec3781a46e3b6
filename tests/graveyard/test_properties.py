"""Properties of the judge over generated actions, accounts and facts, beside a plain computation with fractions."""

from __future__ import annotations

import dataclasses
import decimal
from decimal import Decimal as D
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from graveyard import RULES, Account, Action, Done, Facts, Limits, judge
from graveyard.rules import FORBIDDEN, KINDS, SENSITIVITIES, STANDINGS
from tests.graveyard.cases import ACCOUNT, DATA, FACTS, LONG, NOW, SHORT, client, resting, source, spoken

Given = tuple[Action, Account, Facts]
SYMBOLS = ["A", "B", "F"]
wild = st.one_of(
    st.decimals(min_value=D(-10), max_value=D("1e13"), places=4),
    st.decimals(),
    st.none(),
    st.sampled_from([D("1e308"), D("-1e308"), D("1e-308"), D(0), D("-0"), D("sNaN")]),
)


def mostly(usual: st.SearchStrategy[Any], odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Nearly always the usual, so that what is generated comes close to being approved."""
    return st.integers(0, 39).flatmap(lambda number: odd if number == 39 else usual)


def money(low: str, high: str) -> st.SearchStrategy[Any]:
    return mostly(st.decimals(min_value=D(low), max_value=D(high), places=2), wild)


@st.composite
def actions(draw: st.DrawFn) -> Action:
    """Mostly trades close to the limits."""
    buying = draw(st.booleans())
    price = draw(st.sampled_from([D(100), D("99.50"), D("100.25"), D("0.80"), D(111), D("90.5")]))
    sign = 1 if buying else -1
    distance = price * draw(
        st.sampled_from([D("0.05"), D("0.1"), D("0.02"), D("0.1001"), D("0.00005"), D(0), D("-0.01")])
    )
    ratio = draw(st.sampled_from([D(2), D("1.5"), D("1.49"), D(3)]))
    value = draw(st.sampled_from([D(1000), D(5000), D(7999), D(8001), D(9999), D(10_000), D(10_001)]))

    def odd(usual: Any) -> Any:
        return draw(mostly(st.just(usual), wild))

    return Action(
        draw(mostly(st.just("trade"), st.sampled_from([*KINDS, *FORBIDDEN, "TRADE", ""]))),
        draw(st.sampled_from(SYMBOLS)),
        "buy" if buying else "sell",
        draw(st.sampled_from(["market", "limit"])),
        odd(value / price),
        odd(price),
        odd(price - sign * distance),
        odd(price + sign * distance * ratio),
        draw(mostly(st.sampled_from([D(1), D("1.5"), D("1.6"), D(2), D("2.01")]), wild)),
        draw(mostly(st.sampled_from([None, D("0.05"), D("0.09"), D("0.11")]), wild)),
        draw(st.sampled_from([(), ("note",), ("", " ")])),
        draw(mostly(st.just(()), st.just(("manipulative_intent",)))),
        draw(st.sampled_from(["", "ann"])),
        draw(st.sampled_from([*SENSITIVITIES, ""])),
        draw(st.sampled_from([True, False, None])),
    )


accounts = st.builds(
    Account,
    mostly(st.sampled_from([D(100_000), D(99_000), D(120_000)]), wild),
    mostly(st.just(D(100_000)), wild),
    mostly(
        st.dictionaries(
            st.sampled_from("ABCDEF"), st.sampled_from([D(1), D(1000), D(5000), D(60_000)]), max_size=6
        ),
        st.one_of(st.none(), st.dictionaries(st.sampled_from("ABF"), st.decimals(), max_size=2)),
    ),
    money("0", "6000"),
    mostly(st.sampled_from([D(0), D(-1000), D(-4000), D(3000)]), wild),
    mostly(st.sampled_from([D(0), D(-1000), D(500)]), wild),
    mostly(
        st.lists(
            st.builds(
                lambda side, price, symbol, leg: resting(side, price, symbol=symbol, leg=leg),
                st.sampled_from(["buy", "sell"]),
                st.sampled_from(["50", "99.99", "100", "100.01", "100.05", "101", "150"]),
                st.sampled_from(SYMBOLS),
                st.sampled_from(["entry", "target"]),
            ),
            max_size=3,
        ).map(tuple),
        st.none(),
    ),
    mostly(
        st.lists(
            st.builds(
                Done,
                st.sampled_from(["order", "cancel", "fill"]),
                st.just(NOW),
                st.sampled_from(["buy", "sell"]),
                st.sampled_from([D(10), D(50)]),
                st.sampled_from([D(100), D("100.01")]),
            ),
            max_size=24,
        ).map(tuple),
        st.none(),
    ),
    mostly(st.sampled_from([0, 999]), st.sampled_from([None, 1000, 10**9])),
)
FLAG = mostly(st.just(True), st.sampled_from([False, None]))
AGE = mostly(st.sampled_from([0.0, 3.0]), st.sampled_from([None, 3.1, -1.0, float("nan"), float("inf")]))
facts = st.builds(
    Facts,
    mostly(st.just(False), st.sampled_from([True, None])),
    st.sampled_from(["", "drill"]),
    mostly(st.sampled_from([D(100), D("100.5"), D("0.8")]), wild),
    st.just(NOW),
    st.sampled_from([True, False, None]),
    mostly(st.just(""), st.sampled_from(["broken", None])),
    AGE,
    AGE,
    FLAG,
    FLAG,
    FLAG,
    FLAG,
    mostly(st.just(""), st.sampled_from(["a name", None])),
    mostly(st.integers(0, 16), st.sampled_from([None, 17])),
    mostly(
        st.lists(
            st.builds(
                lambda standing, quarantined, until: source(standing, quarantined=quarantined, embargo_until=until),
                mostly(st.sampled_from(["exchange", "news"]), st.sampled_from([*STANDINGS, "odd"])),
                mostly(st.just(False), st.just(True)),
                mostly(st.sampled_from([0.0, NOW]), st.sampled_from([NOW + 1, float("nan")])),
            ),
            min_size=1,
            max_size=2,
        ).map(tuple),
        st.sampled_from([None, ()]),
    ),
    mostly(st.just(frozenset({"F"})), st.sampled_from([None, frozenset({"A"})])),
    mostly(st.just(frozenset({"C"})), st.sampled_from([None, frozenset({"A"})])),
    mostly(
        st.just(frozenset({"live_trading", "read_data:ann"})), st.sampled_from([None, frozenset()])
    ),
    st.sampled_from([True, None, True, None, False]),
    mostly(st.sampled_from([(), (client("buy", "C"),)]), st.sampled_from([None, (client("buy", "A"),)])),
    mostly(st.sampled_from([D(100), D("91.5"), D("0.8")]), wild),
    mostly(st.sampled_from([0.0, 345_600.0]), st.sampled_from([None, 345_601.0, -1.0, float("nan")])),
    mostly(st.sampled_from([D(1_000_000), D(9000), D(3000)]), wild),
    mostly(st.sampled_from([D(1), D(4), None]), st.none()),
    mostly(st.sampled_from([D(0), D("0.2"), D("-0.15")]), st.none()),
    st.sampled_from([None, 3600.0, 300.0, 0.0]),
)  # fmt: skip
situations = st.tuples(actions(), accounts, facts)


def _fraction(value: D | None, *, zero: bool = False) -> Fraction | None:
    if value is None or not value.is_finite():
        return None
    number = Fraction(value)
    within = Fraction(1, 10**9) <= number <= 10**12 or (zero and number == 0)
    return number if within else None


def breaks_a_limit(action: Action, account: Account, known: Facts, limits: Limits) -> bool:
    """The limits on what a trade may be once more, written the plain way with fractions."""
    quantity, price, stop = (_fraction(each) for each in (action.quantity, action.price, action.stop_loss))
    target, leverage = _fraction(action.target), _fraction(action.leverage)
    equity, start, market = (
        _fraction(each) for each in (account.equity, account.day_start_equity, known.market_price)
    )
    at_risk = _fraction(account.open_risk, zero=True)
    if None in (quantity, price, stop, target, leverage, equity, start, market, at_risk, account.exposures):
        return True
    assert all((quantity, price, stop, target, leverage, equity, start, market))
    held = {symbol: _fraction(value, zero=True) for symbol, value in (account.exposures or {}).items()}
    gains = (account.realised_today, account.unrealised_today)
    if None in held.values() or any(each is None or not each.is_finite() for each in gains):
        return True
    worst = price if (action.side, action.entry) == ("buy", "limit") else max(price, market)
    fall = max(abs(price - stop), worst - stop) if action.side == "buy" else abs(price - stop)
    sign = 1 if action.side == "buy" else -1
    risk, reward = (price - stop) * sign, (target - price) * sign
    claimed = action.position_size_pct
    size, times, trades, loss, ratio = (
        Fraction(getattr(limits, field.name)) for field in dataclasses.fields(limits)
    )
    lost = max(start - equity, -sum((Fraction(each or 0) for each in gains), Fraction(0)), Fraction(0))
    return (
        leverage > times
        or (claimed is not None and ((share := _fraction(claimed)) is None or share > size))
        or (held.get(action.symbol) or 0) + quantity * worst > size * equity
        or sum(each or 0 for each in held.values()) + quantity * worst > times * equity
        or (action.symbol not in held and len(held) + 1 > trades)
        or lost + (at_risk or 0) + quantity * fall > loss * start
        or not (Fraction(1, 100) if price >= 1 else Fraction(1, 10_000)) <= risk <= price / 10
        or reward < ratio * risk
        or (known.last_price is not None and _off_the_market(price, known))
        or (known.average_volume is not None and _not_sold_again(quantity, known))
    )


def is_critical(action: Action, account: Account, known: Facts) -> bool | None:
    """Whether a person has to be asked about a trade, once more with fractions; None where a fact is no number."""
    quantity, price, market, leverage, equity = (
        _fraction(each)
        for each in (action.quantity, action.price, known.market_price, action.leverage, account.equity)
    )
    claimed = Fraction(1, 10**9) if action.position_size_pct is None else _fraction(action.position_size_pct)
    held = {symbol: _fraction(value, zero=True) for symbol, value in (account.exposures or {}).items()}
    if None in (quantity, price, market, leverage, equity, claimed, account.exposures, *held.values()):
        return None
    assert all((quantity, price, market, leverage, equity, claimed))
    new = quantity * (price if (action.side, action.entry) == ("buy", "limit") else max(price, market))
    gross = sum(each or 0 for each in held.values()) + new
    return max(new / equity, claimed) > Fraction(8, 100) or max(gross / equity, leverage) > Fraction(3, 2)


def _off_the_market(price: Fraction, known: Facts) -> bool:
    age_s = known.price_age_s
    if age_s is None or not 0 <= age_s <= 345_600:
        return known.live is not False
    last = _fraction(known.last_price)
    return last is None or abs(price - last) > last / 10


def _not_sold_again(quantity: Fraction, known: Facts) -> bool:
    usual = _fraction(known.average_volume, zero=True)
    return usual is None or quantity > usual / 20


def must_not_pass(action: Action, account: Account, known: Facts) -> bool:
    """What else nobody may approve, whatever the numbers are."""
    sources = known.sources or ()
    return (
        action.kind not in KINDS
        or known.halted is not False
        or known.seal_fault != ""
        or not (known.ledger_writable and known.logs_redacted and known.home_private and known.credentials_sealed)
        or not (_alive(known.watchdog_age_s) and _alive(known.gateway_age_s))
        or known.personal != ""
        or known.hops is None or known.hops > 16
        or account.messages is None or account.messages >= 1000
        or not sources
        or any(each.standing not in STANDINGS or each.standing == "private" or each.quarantined for each in sources)
        or any(not each.embargo_until <= known.now for each in sources)
        or (known.live is not False and any(each.standing == "unregistered" for each in sources))
        or known.restricted is None or action.symbol in known.restricted
        or known.no_trade is None or action.symbol in known.no_trade
        or known.consents is None
        or known.person is False
    )  # fmt: skip


def _alive(age_s: float | None) -> bool:
    return age_s is not None and 0 <= age_s <= 3


@settings(max_examples=150)
@given(situations)
def test_no_action_that_breaks_a_limit_is_ever_approved(situation: Given) -> None:
    action, account, known = situation
    judgement = judge(*situation)
    if must_not_pass(*situation):
        assert judgement.denied
    if action.kind == "trade" and breaks_a_limit(action, account, known, Limits()):
        assert judgement.denied
    if action.kind == "trade" and known.live is not False:
        for fact in ("client_orders", "last_price", "price_age_s", "average_volume", "move"):
            assert judgement.denied or getattr(known, fact) is not None
    if action.kind == "trade" and action.admits:
        assert judgement.denied


@given(situations, st.sampled_from(["0.05", "0.1"]), st.sampled_from([1, 4]), st.sampled_from(["0.01", "0.05"]))
def test_tightening_never_approves_more(situation: Given, size: str, trades: int, loss: str) -> None:
    tight = Limits(D(size), D("1.5"), trades, D(loss), D(2))
    strict, usual = judge(*situation, tight), judge(*situation)
    assert strict.denied or not usual.denied
    assert usual.approved or not strict.approved
    assert set(spoken(usual)) <= set(spoken(strict))
    if strict.approved and situation[0].kind == "trade":
        assert not breaks_a_limit(*situation, tight)


@given(situations)
def test_a_person_is_asked_about_what_is_critical_and_about_nothing_else(situation: Given) -> None:
    action, account, known = situation
    action, known = dataclasses.replace(action, kind="trade"), dataclasses.replace(known, person=None)
    critical = is_critical(action, account, known)
    word = spoken(judge(action, account, known)).get("human_in_loop_critical")
    assert word == {True: "ask", False: None}.get(critical, word)
    assert word is not None or critical is not None, "what is no number is not passed over"


SUMS = ("max_position_size", "max_leverage", "max_daily_loss")


@given(
    situations,
    st.sampled_from([*"ABCDEFG"]),
    st.sampled_from([D(0), D(1), D(3000), D(50_000)]),
    st.sampled_from([D(0), D(1), D(4000)]),
    st.lists(
        st.builds(
            lambda side, price, leg: resting(side, price, symbol="A", leg=leg),
            st.sampled_from(["buy", "sell"]),
            st.sampled_from(["99.99", "100.01", "100.02", "100.03"]),
            st.sampled_from(["entry", "target"]),
        ),
        max_size=3,
    ).map(tuple),
)
def test_adding_exposure_held_or_promised_never_approves_what_was_not_approved_before(
    situation: Given, symbol: str, value: D, risk: D, waiting: tuple[Any, ...]
) -> None:
    action, account, known = situation
    held, at_risk = dict(account.exposures or {}), account.open_risk
    if account.exposures is not None and _fraction(held.get(symbol, D(0)), zero=True) is not None:
        # To hold the symbol already makes an order no new trade, though nothing else about it any better.
        if symbol != action.symbol or symbol in held:
            held[symbol] = held.get(symbol, D(0)) + value
    else:
        held = account.exposures  # type: ignore[assignment]
    more = dataclasses.replace(
        account,
        exposures=held,
        open_risk=at_risk if _fraction(at_risk, zero=True) is None else at_risk + risk,
        orders=account.orders if account.orders is None else (*account.orders, *waiting),
    )
    before, after = judge(*situation), judge(action, more, known)
    assert before.approved or not after.approved
    assert after.denied or not before.denied
    assert set(spoken(before)) <= set(spoken(after))


@given(situations, st.sampled_from([D("1.000001"), D("1.01"), D("1.5"), D(10), D("1e9")]))
def test_a_larger_quantity_never_gets_fewer_findings(situation: Given, times: D) -> None:
    action, account, known = situation
    if _fraction(action.quantity) is None:
        return
    # A wall of own orders is one to a smaller order only, and a larger one equals none that went out before.
    account = dataclasses.replace(
        account,
        orders=account.orders and tuple(each for each in account.orders if each.leg == "target"),
        recent=account.recent and tuple(each for each in account.recent if each.what != "order"),
    )
    larger = dataclasses.replace(action, quantity=action.quantity * times)
    few, many = judge(action, account, known), judge(larger, account, known)
    assert set(spoken(few)) <= set(spoken(many))
    assert many.denied or not few.denied
    assert few.approved or not many.approved


@given(situations, st.sampled_from([D("0.001"), D("0.3"), D("0.5"), D("0.99")]))
def test_splitting_an_action_never_avoids_a_limit(situation: Given, share: D) -> None:
    action, account, known = situation
    known = dataclasses.replace(known, person=None)
    numbers = (action.quantity, action.price, action.stop_loss, known.market_price)
    if None in map(_fraction, numbers) or account.exposures is None:
        return
    with decimal.localcontext() as context:
        context.prec = 200
        quantity, price, stop, market = numbers
        first, at_market = quantity * share, action.entry == "market"
        worst = max(price, market) if at_market or action.side == "sell" else price
        fall = abs(price - stop)
        if at_market and action.side == "buy":
            fall = max(fall, market - stop)
        elif at_market and _fraction(known.last_price) is not None:
            fall = max(fall, stop - known.last_price)
        held, at_risk = dict(account.exposures), account.open_risk
        if _fraction(held.get(action.symbol, D(0)), zero=True) is not None:
            held[action.symbol] = held.get(action.symbol, D(0)) + first * worst
        if _fraction(at_risk, zero=True) is not None:
            at_risk += first * fall
        then = dataclasses.replace(account, exposures=held, open_risk=at_risk)
        halves = [dataclasses.replace(action, quantity=each) for each in (first, quantity - first)]
    whole = spoken(judge(action, account, known))
    split = {**spoken(judge(halves[1], then, known)), **spoken(judge(halves[0], account, known))}
    assert {each for each in SUMS if each in whole} <= set(split)


@given(situations)
def test_judging_is_the_same_again_in_any_context_and_when_telling(situation: Given) -> None:
    first = judge(*situation)
    with decimal.localcontext() as context:
        context.prec, context.rounding = 2, decimal.ROUND_UP
        context.traps = dict.fromkeys(context.traps, True)
        before = context.copy()
        assert judge(*situation) == first
        assert decimal.getcontext() is context
        assert (context.prec, context.flags) == (before.prec, before.flags)
    told = judge(*situation, telling=True)
    assert (told.findings, told.rules_checked) == (first.findings, first.rules_checked)
    assert [each.rule for each in told.statements] == list(RULES)
    assert all(each.text for each in told.statements)
    speaking = {each.rule.name for each in told.statements if each.word != "pass"}
    assert speaking == {each.rule.name for each in first.findings}
    assert first.statements == ()


@given(situations)
def test_a_judgement_is_one_of_denied_asking_and_approved(situation: Given) -> None:
    judgement = judge(*situation)
    assert [judgement.denied, judgement.asks, judgement.approved].count(True) == 1
    assert [each.rule for each in judgement.findings] == [each for each in RULES if each.name in spoken(judgement)]
    assert all(not each.mercy for each in judgement.findings) or situation[2].live is False
    assert all(not (each.mercy and each.denies) for each in judgement.findings)


@given(
    situations,
    st.one_of(st.sampled_from([D(1), D("0.5"), D("1.7"), D(2), D("2.5")]), st.decimals()),
    st.one_of(st.none(), st.sampled_from([D("0.01"), D("0.08"), D("0.09"), D("0.2")]), st.decimals()),
    st.lists(st.text(max_size=5), max_size=3).map(tuple),
    st.lists(st.sampled_from(["manipulative_intent", "insider", "hrm_approved", "HRM"]), max_size=2).map(tuple),
)
def test_nothing_that_a_proposer_says_of_himself_turns_a_denial_into_a_pass(
    situation: Given, leverage: D, claimed: D | None, reasons: tuple[str, ...], admits: tuple[str, ...]
) -> None:
    action, account, known = situation
    modest = dataclasses.replace(action, leverage=D(1), position_size_pct=None, admits=())
    saying = dataclasses.replace(
        action, leverage=leverage, position_size_pct=claimed, reasons=reasons, admits=admits
    )
    plain, said = judge(modest, account, known), judge(saying, account, known)
    assert said.denied or not plain.denied
    assert plain.approved or not said.approved
    against = set(spoken(plain)) - {"transparent_reasoning"}
    assert against <= set(spoken(said))


@given(
    situations,
    st.text(max_size=12).filter(lambda kind: kind not in KINDS),
)
def test_unknown_kinds_are_denied_and_judged_as_trades(situation: Given, kind: str) -> None:
    action, account, known = situation
    judgement = judge(dataclasses.replace(action, kind=kind), account, known)
    assert spoken(judgement)["require_hrm_approval"] == "deny"
    as_trade = spoken(judge(dataclasses.replace(action, kind="trade"), account, known))
    assert set(as_trade) <= set(spoken(judgement))


@given(
    st.sampled_from(["0", "0.005", "0.01", "4", "5", "9.99", "10", "10.01", "-1"]),
    st.sampled_from(["7.4", "7.5", "14.9", "15", "15.1", "20", "-3"]),
    st.sampled_from(["1", "79", "80", "81", "99", "100", "101"]),
    accounts,
)
def test_longs_and_shorts_are_judged_alike(distance: str, reward: str, quantity: str, account: Account) -> None:
    # Nothing that waits or was done, for that has a side of its own.
    account = dataclasses.replace(account, orders=(), recent=())
    said = []
    for base, sign in ((LONG, 1), (SHORT, -1)):
        action = dataclasses.replace(
            base, quantity=D(quantity), stop_loss=100 - sign * D(distance), target=100 + sign * D(reward)
        )
        said.append(spoken(judge(action, account, FACTS)))
    assert said[0] == said[1]


@given(st.sampled_from(["buy", "sell"]), st.integers(-30, 30), st.booleans(), st.sampled_from(["entry", "target"]))
def test_own_orders_of_longs_and_shorts_are_mirrored(side: str, ticks: int, limit: bool, leg: str) -> None:
    entry = "limit" if limit else "market"
    said = []
    for base, sign in ((LONG, 1), (SHORT, -1)):
        other = side if sign == 1 else {"buy": "sell", "sell": "buy"}[side]
        order = resting(other, str(100 + sign * ticks * D("0.01")), leg=leg)
        account = dataclasses.replace(ACCOUNT, orders=(order,))
        said.append(spoken(judge(dataclasses.replace(base, entry=entry), account, FACTS)))
    assert said[0] == said[1]


@given(st.sampled_from([*KINDS, *FORBIDDEN, "x"]), situations)
def test_data_is_never_approved_where_nobody_may_act(kind: str, situation: Given) -> None:
    _, account, known = situation
    action = dataclasses.replace(DATA, kind=kind)
    if must_not_pass(action, account, known):
        assert judge(action, account, known).denied


def test_one_finding_does_not_spare_the_others() -> None:
    worst = dataclasses.replace(
        LONG, kind="x", quantity=D(5000), leverage=D(9), stop_loss=D(50), target=D(101), reasons=(), admits=("all",)
    )
    account = dataclasses.replace(ACCOUNT, exposures={name: D(1) for name in "BCDEG"}, messages=1000)
    nothing = Facts(None, market_price=D(100), sources=(source("private"), source("odd")), average_volume=D(1))
    nothing = dataclasses.replace(nothing, move=D(1), person=False)
    assert list(spoken(judge(worst, account, nothing))) == [each.name for each in RULES]
