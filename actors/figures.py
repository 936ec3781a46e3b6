"""What HRM tells in figures: what came of the plans, and where the account stands."""

from __future__ import annotations

import math
from collections import Counter
from decimal import Decimal

from actors.books import Books
from actors.breakers import DAY_LOSS, LOSING_RUN, MARKET
from actors.messages import Decision
from actors.portfolio import Portfolio
from actors.ruleset_book import RULESET_RULES
from actors.statement import statement
from ark.agent import Context
from graveyard import RULES

__all__ = ["Figures"]

RULE_NAMES = (
    *[each.name for each in RULES],
    *[each.title for each in RULESET_RULES],
    *("one_size", "whole_units", "pattern_quality", "synthesis"),
)
"""All that can deny, by the names in violations; see `actors.judging` for the last ones."""
DECISIONS = (
    *[("approved", level) for level in ("synthesis", "person")],
    *[("held", level) for level in ("graveyard", "synthesis")],
    *[("denied", level) for level in ("graveyard", "ruleset", "portfolio", "quality", "synthesis", "person")],
)
"""What can come of a plan, and on which level that is decided."""
HIGHEST = "highest_equity"
"""The name under which the books keep the account's highest equity."""


class Figures:
    """Gathers what is told, since to tell it with each signal would cost each of them.

    Args:
        books: HRM's.
        portfolio: The account, as it was read from them.
        currency: What its money is counted in.
    """

    def __init__(self, books: Books, portfolio: Portfolio, currency: str) -> None:
        self._books = books
        self._portfolio = portfolio
        self._currency = currency
        kept = books.recall(HIGHEST)
        self._highest = None if kept is None else Decimal(kept.decode())
        self._edition: object = None
        self._denied: Counter[tuple[str, str]] = Counter()
        self._decided: Counter[tuple[str, str]] = Counter()

    def begin(self, context: Context) -> None:
        """Have all that is counted there from the beginning: nobody sees a count rise that begins with 1."""
        for name in RULE_NAMES:
            context.count("hrm_denials_total", 0, rule_id=name, action_type="trade")
        for result, level in DECISIONS:
            context.count("ark_decisions_total", 0, result=result, level=level)
        for breaker in (DAY_LOSS, LOSING_RUN, MARKET):
            context.count("ark_breaker_trips_total", 0, breaker=breaker)
        self.tell_account(context)

    def note(self, decision: Decision, action_type: str, *, held: bool = False) -> None:
        """Note a decision; `tell` counts it.

        Args:
            decision: HRM's.
            action_type: What was to be done, `trade`.
            held: Whether it is only asked for.
        """
        result = "held" if held else "approved" if decision.approved else "denied"
        self._decided[result, decision.level] += 1
        if result == "denied":
            for each in decision.violations:
                self._denied[each.rule, action_type] += 1

    def tell(self, context: Context) -> None:
        """Count what was noted in the batch at hand."""
        for (name, action_type), times in self._denied.items():
            context.count("hrm_denials_total", times, rule_id=name, action_type=action_type)
        for (result, level), times in self._decided.items():
            context.count("ark_decisions_total", times, result=result, level=level)
        self._denied.clear()
        self._decided.clear()

    def tell_account(self, context: Context) -> None:
        """Show where the account stands, if that has changed."""
        portfolio = self._portfolio
        if portfolio.edition is self._edition:
            return
        self._edition = portfolio.edition
        equity, exposure = portfolio.equity, portfolio.exposure
        if self._highest is None or equity > self._highest:
            self._highest = equity
            self._books.remember(HIGHEST, str(equity).encode())
        found = statement(portfolio, self._highest, self._currency)
        ratio = float(exposure / equity) if equity > 0 else math.inf
        context.gauge("ark_equity", float(equity))
        context.gauge("ark_exposure_ratio", ratio if exposure else 0.0)
        context.gauge("ark_drawdown_ratio", found.drawdown)
        context.gauge("ark_open_positions", len(found.positions))
        context.show("portfolio", found)
