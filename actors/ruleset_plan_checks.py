"""The checks of the ruleset's stages `ethics`, `data` and `risk`: the plan itself, and the account it is for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from math import isfinite

from actors.ruleset import MARKET_FACTS, Ruleset, plain
from actors.ruleset_answers import (
    BREACH,
    MISSING,
    ZERO,
    Answer,
    Check,
    Sentence,
    counted,
    measured,
    percent,
    show,
    unknown,
    worse,
)
from actors.ruleset_view import View

__all__ = ["CHECKS"]

NO_CATALYST = Answer("silent", "no catalyst is named")
NO_SOURCE = Answer("silent", "no source is named")
NO_SECTOR = Answer("silent", "the symbol stands in no sector of the settings")


def _check_min_price(view: View, rules: Ruleset) -> Answer | None:
    """ETH-001: no penny stocks, whose price one hand can move. The market's price and the entry are judged."""
    price, entry = view.price, view.entry
    if not counted(price):
        return unknown("price", price)
    if not counted(entry):
        return unknown("entry", entry)
    return None if price >= rules.min_price <= entry else BREACH


def _say_min_price(view: View, rules: Ruleset) -> str:
    prices = [show(value) for value in (view.price, view.entry) if value is not None]
    return f"market price and entry are {' and '.join(prices)}; at least {show(rules.min_price)} is asked for"


def _check_catalyst(view: View, rules: Ruleset) -> Answer | None:
    """ETH-002: no trade on what calls itself a manipulation. Any text within the catalyst is searched."""
    if not view.catalyst:
        return NO_CATALYST
    text = plain(" ".join(_texts(view.catalyst)))
    for word in rules.forbidden_catalyst_words:
        if word in text:
            return Answer("breach", f"the catalyst names {word!r}: {view.catalyst!s:.120}")
    return None


def _texts(value: object) -> Iterator[str]:
    """Every text within a value, keys of maps too."""
    if isinstance(value, Mapping):
        for pair in value.items():
            yield from _texts(pair)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from _texts(item)
    else:
        yield str(value)


def _check_source(view: View, rules: Ruleset) -> Answer | None:
    """ETH-003: no trade on what nobody may know."""
    if not view.sources:
        return NO_SOURCE
    for source in view.sources:
        if source and plain(str(source)) in rules.forbidden_sources:
            return Answer("breach", f"the signal comes from {source!s:.40}, which is forbidden")
    return None


def _check_average_volume(view: View, rules: Ruleset) -> Answer | None:
    """ETH-004: nothing so thin that the account itself would move it. What the sender claims counts against him."""
    if view.claimed_average_volume is not None and worse(
        view.claimed_average_volume, than=rules.min_average_volume, above=False
    ):
        claim = f"{view.claimed_average_volume!s:.40}"
        return Answer(
            "breach",
            f"the signal itself names an average volume of {claim};"
            f" at least {show(rules.min_average_volume)} is asked for",
        )
    if not measured(view.average_volume):
        return unknown("average_volume", view.average_volume)
    return None if view.average_volume >= rules.min_average_volume else BREACH


def _say_average_volume(view: View, rules: Ruleset) -> str:
    volume, least = view.average_volume, rules.min_average_volume
    return f"{show(volume or 0.0)} units are traded a day on average; at least {show(least)} is asked for"


def _absent(value: object) -> bool:
    if isinstance(value, Decimal):
        return not value.is_finite()
    if isinstance(value, float):
        return not isfinite(value)
    return value is None or value in ("", ())


def _check_required(view: View, rules: Ruleset) -> Answer | None:
    """DATA-001: what must be known is known. A fact that the signal should have brought is named first."""
    market = None
    for name in rules.required_data:
        value = getattr(view, name)
        if _absent(value):
            if name not in MARKET_FACTS:
                return unknown(name, value)
            market = market or unknown(name, value)
    return market


def _check_plausible_price(view: View, rules: Ruleset) -> Answer | None:
    """DATA-002: prices that a market can have."""
    price, entry = view.price, view.entry
    if not counted(price):
        return unknown("price", price)
    if not counted(entry):
        return unknown("entry", entry)
    least, most = rules.min_plausible_price, rules.max_plausible_price
    return None if least <= price <= most and least <= entry <= most else BREACH


def _say_plausible_price(view: View, rules: Ruleset) -> str:
    prices = [show(value) for value in (view.price, view.entry) if value is not None]
    bounds = f"{show(rules.min_plausible_price)} to {show(rules.max_plausible_price)}"
    return f"market price and entry are {' and '.join(prices)}; plausible are {bounds}"


def _check_age(view: View, rules: Ruleset) -> Answer | None:
    """DATA-003: no old signals, nor such as come from further ahead than they may be old."""
    if not measured(view.age_s):
        return unknown("age_s", view.age_s)
    return None if -rules.max_age_s <= view.age_s <= rules.max_age_s else BREACH


def _say_age(view: View, rules: Ruleset) -> str:
    return f"the signal is {show(view.age_s or 0.0)} s old; at most {show(rules.max_age_s)} s are allowed"


def _check_position(view: View, rules: Ruleset) -> Answer | None:
    """RISK-001: the account from one symbol."""
    share = view.share
    if not counted(share):
        return unknown("share", share)
    return None if ZERO < share <= rules.max_position_size else BREACH


def _say_position(view: View, rules: Ruleset) -> str:
    size = percent(view.share or ZERO)
    limit = percent(rules.max_position_size)
    return f"{view.symbol} would come to {size} of the equity; above 0 and at most {limit} is allowed"


def _distances(view: View) -> tuple[Decimal, Decimal] | Answer:
    """Entry, and the way from there to the stop: above 0 on the losing side."""
    entry, stop = view.entry, view.stop
    if not counted(entry):
        return unknown("entry", entry)
    if not counted(stop):
        return unknown("stop", stop)
    if view.direction == "long":
        return entry, entry - stop
    if view.direction == "short":
        return entry, stop - entry
    return Answer("unknown", f"`direction` is {view.direction!s:.40}, neither long nor short")


def _check_stop(view: View, rules: Ruleset) -> Answer | None:
    """RISK-002: every position has a stop, on the losing side and not too far."""
    found = _distances(view)
    if isinstance(found, Answer):
        return found
    entry, way = found
    return None if ZERO < way <= rules.max_stop_distance * entry else BREACH


def _say_stop(view: View, rules: Ruleset) -> str:
    limit = percent(rules.max_stop_distance)
    return (
        f"the stop of the {view.direction} stands at {show(view.stop or ZERO)}, the entry at"
        f" {show(view.entry or ZERO)}; it must be on the losing side, at most {limit} away"
    )


def _check_risk_reward(view: View, rules: Ruleset) -> Answer | None:
    """RISK-003: trades that can pay for those that fail. From the plan's prices; no claim is read."""
    found = _distances(view)
    if isinstance(found, Answer):
        return found
    entry, risk = found
    target = view.target
    if not counted(target):
        return unknown("target", target)
    reward = target - entry if view.direction == "long" else entry - target
    return None if risk > ZERO and reward >= rules.min_risk_reward * risk else BREACH


def _say_risk_reward(view: View, rules: Ruleset) -> str:
    entry, stop, target = view.entry or ZERO, view.stop or ZERO, view.target or ZERO
    way = show(abs(target - entry))
    least = show(rules.min_risk_reward)
    return (
        f"the way to the target is {way} ({show(entry)} to {show(target)}), to the stop {show(abs(entry - stop))};"
        f" at least {least} times as far is asked for"
    )


def _check_trade_loss(view: View, rules: Ruleset) -> Answer | None:
    """RISK-004: what one stop may cost."""
    risk = view.risk_share
    if not counted(risk):
        return unknown("risk_share", risk)
    return None if ZERO <= risk <= rules.max_loss_per_trade else BREACH


def _say_trade_loss(view: View, rules: Ruleset) -> str:
    risk, limit = percent(view.risk_share or ZERO), percent(rules.max_loss_per_trade)
    return f"the stop would cost {risk} of the equity; at most {limit} is allowed"


def _check_wide_range(view: View, rules: Ruleset) -> Answer | None:
    """RISK-005: smaller positions where prices jump. A position that is small anyway needs no range."""
    share = view.share
    if not counted(share):
        return unknown("share", share)
    if share <= rules.max_position_size_at_wide_range:
        return None
    if not measured(view.atr_share):
        return unknown("atr_share", view.atr_share)
    return None if view.atr_share < rules.wide_range_atr else BREACH


def _say_wide_range(view: View, rules: Ruleset) -> str:
    atr = "not known" if view.atr_share is None else percent(view.atr_share)
    limit, wide = percent(rules.max_position_size_at_wide_range), percent(rules.wide_range_atr)
    return (
        f"{view.symbol} would come to {percent(view.share or ZERO)} of the equity, its average true range is {atr};"
        f" at most {limit} is allowed from a range of {wide} on"
    )


def _check_loss(name: str, share: Decimal | None, view: View, limit: Decimal) -> Answer | None:
    if not counted(share):
        return unknown(name, share)
    risk = view.risk_share
    if not counted(risk):
        return unknown("risk_share", risk)
    return None if (risk - share if share < ZERO else risk) <= limit else BREACH


def _check_daily_loss(view: View, rules: Ruleset) -> Answer | None:
    """LIMIT-001: what the day has lost, with what this stop may cost. A gain does not buy more risk."""
    return _check_loss("day_pnl_share", view.day_pnl_share, view, rules.max_daily_loss)


def _check_weekly_loss(view: View, rules: Ruleset) -> Answer | None:
    """LIMIT-002: the same for the week."""
    return _check_loss("week_pnl_share", view.week_pnl_share, view, rules.max_weekly_loss)


def _say_loss(period: str, share: Decimal | None, view: View, limit: Decimal) -> str:
    return (
        f"the {period}'s profit and loss is {percent(share or ZERO)}, the stop would cost"
        f" {percent(view.risk_share or ZERO)}; a loss of {percent(limit)} in all is allowed"
    )


def _say_daily_loss(view: View, rules: Ruleset) -> str:
    return _say_loss("day", view.day_pnl_share, view, rules.max_daily_loss)


def _say_weekly_loss(view: View, rules: Ruleset) -> str:
    return _say_loss("week", view.week_pnl_share, view, rules.max_weekly_loss)


def _check_open_positions(view: View, rules: Ruleset) -> Answer | None:
    """LIMIT-003: no more symbols at once than one can follow. Adding to one that is open is no new position."""
    if view.open_positions is None:
        return MISSING["open_positions"]
    return None if view.open_positions < rules.max_open_positions else BREACH


def _say_open_positions(view: View, rules: Ruleset) -> str:
    return f"{view.open_positions} other symbols are open; with this one at most {rules.max_open_positions} may be"


def _check_sector(view: View, rules: Ruleset) -> Answer | None:
    """LIMIT-004: the account from one sector."""
    if view.symbol not in rules.sectors:
        return NO_SECTOR
    share = view.sector_share
    if not counted(share):
        return unknown("sector_share", share)
    return None if share <= rules.max_sector_share else BREACH


def _say_sector(view: View, rules: Ruleset) -> str:
    sector, limit = rules.sectors.get(view.symbol, ""), percent(rules.max_sector_share)
    return f"{sector} would come to {percent(view.sector_share or ZERO)} of the equity; at most {limit} is allowed"


CHECKS: dict[str, tuple[Check, Sentence]] = {
    "ETH-001": (_check_min_price, _say_min_price),
    "ETH-002": (_check_catalyst, lambda view, rules: "the catalyst names no forbidden word"),
    "ETH-003": (_check_source, lambda view, rules: "the signal comes from no forbidden source"),
    "ETH-004": (_check_average_volume, _say_average_volume),
    "DATA-001": (_check_required, lambda view, rules: f"known are {', '.join(rules.required_data)}"),
    "DATA-002": (_check_plausible_price, _say_plausible_price),
    "DATA-003": (_check_age, _say_age),
    "RISK-001": (_check_position, _say_position),
    "RISK-002": (_check_stop, _say_stop),
    "RISK-003": (_check_risk_reward, _say_risk_reward),
    "RISK-004": (_check_trade_loss, _say_trade_loss),
    "RISK-005": (_check_wide_range, _say_wide_range),
    "LIMIT-001": (_check_daily_loss, _say_daily_loss),
    "LIMIT-002": (_check_weekly_loss, _say_weekly_loss),
    "LIMIT-003": (_check_open_positions, _say_open_positions),
    "LIMIT-004": (_check_sector, _say_sector),
}
"""By rule id: the check, and its sentence."""
