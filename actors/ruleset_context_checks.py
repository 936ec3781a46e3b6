"""The checks of the ruleset's stages `pattern`, `market`, `user` and `breakers`: what the plan stands on."""

from __future__ import annotations

from actors.breakers import longs_barred_until, size_factor, suspended_until
from actors.pattern_book import BOOK
from actors.ruleset import Ruleset, plain
from actors.ruleset_answers import (
    BREACH,
    ZERO,
    Answer,
    Check,
    Sentence,
    counted,
    measured,
    moment,
    percent,
    show,
    unknown,
    worse,
)
from actors.ruleset_view import View, market_type_of
from actors.sessions import day_in_new_york, in_regular_hours

__all__ = ["CHECKS"]

PATTERNS = frozenset(pattern.name for pattern in BOOK)
OWN_PLAN = Answer("silent", "the plan is the signal's own, and needs no pattern")
ANY_HOUR = Answer("silent", "regular_hours_only is off")
CRYPTO_HOURS = Answer("silent", "crypto has no session")
NO_QUIET_DAYS = Answer("silent", "no quiet days are listed")
SHORT = Answer("silent", "it concerns longs only")


def _check_confidence(view: View, rules: Ruleset) -> Answer | None:
    """PAT-001: a pattern that is sure enough."""
    if view.pattern is None and not view.from_pattern:
        return OWN_PLAN
    if not measured(view.confidence):
        return unknown("confidence", view.confidence)
    return None if view.confidence >= rules.min_confidence else BREACH


def _say_confidence(view: View, rules: Ruleset) -> str:
    sure = show(view.confidence or 0.0)
    return f"the confidence in {view.pattern} is {sure}; at least {show(rules.min_confidence)} is asked for"


def _check_pattern(view: View, rules: Ruleset) -> Answer | None:
    """PAT-002: a pattern's plan has a pattern, of the book."""
    if view.pattern is None and not view.from_pattern:
        return OWN_PLAN
    return None if view.pattern in PATTERNS else BREACH


def _say_pattern(view: View, rules: Ruleset) -> str:
    return f"the plan's pattern is {view.pattern or 'not named'}; one of the pattern book is asked for"


def _check_score(name: str, view: View, least: float) -> Answer | None:
    if view.pattern is None and not view.from_pattern:
        return OWN_PLAN
    value = view.scores.get(name)
    if not measured(value):
        return Answer("unknown", f"the score `{name}` is missing")
    return None if value >= least else BREACH


def _check_total(view: View, rules: Ruleset) -> Answer | None:
    """PAT-003: a setup that looks good on the whole."""
    return _check_score("weighted_total", view, rules.min_total_score)


def _check_technical(view: View, rules: Ruleset) -> Answer | None:
    """PAT-004: a setup whose chart looks good."""
    return _check_score("technical", view, rules.min_technical_score)


def _say_total(view: View, rules: Ruleset) -> str:
    total = show(view.scores.get("weighted_total", 0.0))
    return f"the setup's total score is {total}; at least {show(rules.min_total_score)} is asked for"


def _say_technical(view: View, rules: Ruleset) -> str:
    technical = show(view.scores.get("technical", 0.0))
    return f"the setup's technical score is {technical}; at least {show(rules.min_technical_score)} is asked for"


def _check_hours(view: View, rules: Ruleset) -> Answer | None:
    """MKT-001: equities in the exchange's regular session only."""
    if not rules.regular_hours_only:
        return ANY_HOUR
    if market_type_of(view.symbol) == "crypto":
        return CRYPTO_HOURS
    return None if in_regular_hours(view.now, rules.holidays) else BREACH


def _say_hours(view: View, rules: Ruleset) -> str:
    return f"it is {moment(view.now)}; the exchange's regular session is 9:30 to 16:00 in New York, on weekdays"


def _check_quiet_day(view: View, rules: Ruleset) -> Answer | None:
    """MKT-002: nothing is opened on days when one sentence moves everything."""
    if not rules.quiet_days:
        return NO_QUIET_DAYS
    return BREACH if day_in_new_york(view.now) in rules.quiet_days else None


def _say_quiet_day(view: View, rules: Ruleset) -> str:
    days = ", ".join([day.isoformat() for day in rules.quiet_days])
    return f"today is {day_in_new_york(view.now)}; quiet days are {days}"


def _check_volatility(view: View, rules: Ruleset) -> Answer | None:
    """MKT-003: no new positions in a panic. What the sender claims counts against him."""
    if view.claimed_volatility_index is not None and worse(
        view.claimed_volatility_index, than=rules.max_volatility_index, above=True
    ):
        claim, most = f"{view.claimed_volatility_index!s:.40}", show(rules.max_volatility_index)
        return Answer("breach", f"the signal itself names a volatility index of {claim}; at most {most} is allowed")
    if not measured(view.volatility_index):
        return unknown("volatility_index", view.volatility_index)
    return None if view.volatility_index <= rules.max_volatility_index else BREACH


def _say_volatility(view: View, rules: Ruleset) -> str:
    index, most = show(view.volatility_index or 0.0), show(rules.max_volatility_index)
    return f"the volatility index is at {index}; at most {most} is allowed"


def _check_direction(view: View, rules: Ruleset) -> Answer | None:
    """USER-001: only sides that the operator wants traded."""
    return None if view.direction in rules.directions else BREACH


def _say_direction(view: View, rules: Ruleset) -> str:
    return f"the direction is {view.direction!s:.40}; allowed are {', '.join(rules.directions)}"


def _check_market_type(view: View, rules: Ruleset) -> Answer | None:
    """USER-002: only markets that the operator wants traded. A claim that contradicts the symbol is a breach."""
    found = market_type_of(view.symbol)
    claim = view.claimed_market_type
    if claim is not None and plain(str(claim)) != found:
        return Answer("breach", f"{view.symbol} is {found}, and the signal calls it {claim!s:.40}")
    return None if found in rules.market_types else BREACH


def _say_market_type(view: View, rules: Ruleset) -> str:
    return f"{view.symbol} is {market_type_of(view.symbol)}; allowed are {', '.join(rules.market_types)}"


def _check_holding(view: View, rules: Ruleset) -> Answer | None:
    """USER-003: nothing that ties money up for longer than the operator wants."""
    if not view.from_pattern:
        return OWN_PLAN
    if not measured(view.holding_hours):
        return unknown("holding_hours", view.holding_hours)
    return None if view.holding_hours <= rules.max_holding_hours else BREACH


def _say_holding(view: View, rules: Ruleset) -> str:
    hours, most = show(view.holding_hours or 0.0), show(rules.max_holding_hours)
    return f"{view.pattern} is held for up to {hours} h; at most {most} h are allowed"


def _check_day_loss(view: View, rules: Ruleset) -> Answer | None:
    """CB-001: no new entries while any breaker suspends them, or while the day is as bad as trips it."""
    share = view.day_pnl_share
    if not counted(share):
        return unknown("day_pnl_share", share)
    if share <= -rules.breakers.day_loss.threshold:
        return BREACH
    found = suspended_until(view.breakers, view.now)
    if found is None:
        return None
    return Answer("breach", f"{found[1]} suspended new entries until {moment(found[0])}")


def _say_day_loss(view: View, rules: Ruleset) -> str:
    limit = percent(-rules.breakers.day_loss.threshold)
    share = percent(view.day_pnl_share or ZERO)
    return f"the day's profit and loss is {share}; at {limit} new entries are suspended"


def _check_losing_run(view: View, rules: Ruleset) -> Answer | None:
    """CB-002: after a run of losses no size passes that was not reduced."""
    state, run = view.breakers, rules.breakers.losing_run
    factor = size_factor(state, view.now)
    if state.losses_in_a_row >= run.threshold and run.factor < factor:
        factor = run.factor
    if view.sized_by <= factor:
        return None
    by = f"sizes are to be multiplied by {show(factor)}, this one was by {show(view.sized_by)}"
    return Answer("breach", f"{state.losses_in_a_row} losses in a row: {by}")


def _say_losing_run(view: View, rules: Ruleset) -> str:
    run = rules.breakers.losing_run
    return (
        f"{view.breakers.losses_in_a_row} losses in a row, the size was multiplied by {show(view.sized_by)};"
        f" from {run.threshold} losses on it is by {show(run.factor)}"
    )


def _check_market(view: View, rules: Ruleset) -> Answer | None:
    """CB-003: no new longs into a falling market."""
    if view.direction != "long":
        return SHORT
    barred = longs_barred_until(view.breakers, view.now)
    if barred is not None:
        return Answer("breach", f"the market fell: no new longs until {moment(barred)}")
    if not measured(view.market_move):
        return unknown("market_move", view.market_move)
    return None if view.market_move > -rules.breakers.market.threshold else BREACH


def _say_market(view: View, rules: Ruleset) -> str:
    move, limit = percent(view.market_move or 0.0), percent(-rules.breakers.market.threshold)
    return f"{rules.market_symbol} is at {move} on the day; at {limit} no longs are opened"


CHECKS: dict[str, tuple[Check, Sentence]] = {
    "PAT-001": (_check_confidence, _say_confidence),
    "PAT-002": (_check_pattern, _say_pattern),
    "PAT-003": (_check_total, _say_total),
    "PAT-004": (_check_technical, _say_technical),
    "MKT-001": (_check_hours, _say_hours),
    "MKT-002": (_check_quiet_day, _say_quiet_day),
    "MKT-003": (_check_volatility, _say_volatility),
    "USER-001": (_check_direction, _say_direction),
    "USER-002": (_check_market_type, _say_market_type),
    "USER-003": (_check_holding, _say_holding),
    "CB-001": (_check_day_loss, _say_day_loss),
    "CB-002": (_check_losing_run, _say_losing_run),
    "CB-003": (_check_market, _say_market),
}
"""By rule id: the check, and its sentence."""
