"""The operator's ruleset as settings: the original's values, which may be made stricter and never looser.

The Graveyard is the ceiling: where it has a limit of the same name, an operator may choose anything up to that.
Where it has none, the original's own value is the bound. A ruleset that is looser anywhere is refused before
anything is judged by it, with both values and the field (`actors.ruleset_examination`).

What is tightened here may be tightened by name for a single pattern as well (`overrides`), and the original's
own overrides stand, whatever an operator adds.
"""

from __future__ import annotations

import unicodedata
from datetime import date
from decimal import Decimal

import msgspec

from actors.breakers import BreakerSettings
from actors.ruleset_book import STAGES, Severity
from actors.synthesis import Thresholds
from graveyard.rules import FURTHEST_STOP

__all__ = [
    "CLAIMABLE",
    "MARKET_FACTS",
    "ORIGINAL_OVERRIDES",
    "Override",
    "Ruleset",
    "for_pattern",
    "plain",
]

MARKET_FACTS = frozenset({"average_volume", "volume", "atr_share", "market_move", "volatility_index"})
"""Facts that come from a market's data: missing on paper they are a warning, with a live broker a denial. The
average true range is one of them, since it needs bars."""
CLAIMABLE = frozenset({"symbol", "price", "direction", "catalyst", "sources", "target"})
"""What else can be required; these come with the signal, so without them it is denied."""


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of one pattern, each at least as strict as the general one; None leaves that as it is.

    Attributes:
        max_position_size: Share of equity in the symbol.
        max_stop_distance: Of the stop from the entry, as a fraction of it.
        min_confidence: Of the pattern.
        min_risk_reward: What is to win for what is to lose.
    """

    max_position_size: Decimal | None = None
    max_stop_distance: Decimal | None = None
    min_confidence: float | None = None
    min_risk_reward: Decimal | None = None


ORIGINAL_OVERRIDES: dict[str, Override] = {
    "short_squeeze_setup": Override(max_position_size=Decimal("0.05"), min_confidence=0.75),
    "parabolic_blowoff": Override(max_position_size=Decimal("0.08"), max_stop_distance=Decimal("0.10")),
    "washout_reversal": Override(min_confidence=0.70, min_risk_reward=Decimal("3.0")),
}


class Ruleset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands under `[agents.hrm.settings.ruleset]`; without it, the original's values.

    Fractions are of 1 (0.02 for 2 %). "Only up", "only down" and "only more" say which way an operator may go; with
    a Graveyard's value in brackets, up to that.

    Attributes:
        min_price: ETH-001. The lowest price of what is traded, in the quote currency. Only up.
        forbidden_catalyst_words: ETH-002. None of these may be in the catalyst, in whatever case. Only more.
        forbidden_sources: ETH-003. No signal comes from these. Only more.
        min_average_volume: ETH-004. Units a day, on average. Only up.
        required_data: DATA-001. What must be known; of `CLAIMABLE` and `MARKET_FACTS`. Only more.
        min_plausible_price: DATA-002. No price is below. Only up.
        max_plausible_price: DATA-002. No price is above. The one value that may be loosened: the original's
            10,000 shuts out its own BTC-USD.
        max_age_s: DATA-003. Seconds since the signal was made. Only down.
        max_position_size: RISK-001, and the global limit. Share of equity in the symbol. Down, or up to the
            Graveyard's (0.10).
        require_stop_loss: RISK-002. Cannot be switched off.
        max_stop_distance: RISK-002. Of the stop from the entry. Down, or up to the Graveyard's (0.10).
        min_risk_reward: RISK-003. From the plan's own prices. Up, or down to the Graveyard's (1.5).
        max_loss_per_trade: RISK-004. What the stop may cost, as a share of equity. Only down.
        wide_range_atr: RISK-005. From this average true range on, as a share of the price, a range is wide. Only
            down.
        max_position_size_at_wide_range: RISK-005. Share of equity then. Only down.
        max_daily_loss: LIMIT-001. The day's loss with what this trade may lose. Down, or up to the Graveyard's
            (0.05).
        max_weekly_loss: LIMIT-002. The same for the week. Only down.
        max_open_positions: LIMIT-003. Symbols that are open or promised. Down, or up to the Graveyard's (5).
        max_sector_share: LIMIT-004. Share of equity in one sector. Only down.
        sectors: The sector of each symbol, for LIMIT-004, which says nothing of other symbols.
        min_confidence: PAT-001. Of the pattern. Only up.
        min_total_score: PAT-003. `weighted_total` of the scores. Only up.
        min_technical_score: PAT-004. Only up.
        regular_hours_only: MKT-001. Whether equities are traded in the exchange's regular session only; off in the
            original. Crypto has no session.
        holidays: MKT-001. Weekdays without a session.
        quiet_days: MKT-002. Days on which nothing is opened, such as those of the FOMC; dates in New York.
        max_volatility_index: MKT-003. The VIX, in points. Only down.
        directions: USER-001. Only fewer. The original's third, `swing`, is no side; it may stand here and allows
            nothing.
        market_types: USER-002. Only fewer.
        max_holding_hours: USER-003. How long the pattern expects to hold. Only down.
        severity: Graver severities by rule id, such as `{"RISK-003" = "error"}`. Only up.
        disabled: Ids of rules that are switched off: only of those that merely warn.
        strict: Whether a warning denies too. The original had it on. With warnings that paper trading cannot
            avoid (its market data is missing), it approved nothing; so it is off.
        stage_order: The stages in the order in which they are judged. `ethics`, `data` and `breakers` halt.
        overrides: Stricter limits by pattern, beside `ORIGINAL_OVERRIDES`.
        market_symbol: Whose fall trips CB-003.
        breakers: CB-001, CB-002 and CB-003.
        synthesis: From which scores on a plan is approved or held. Only up.
    """

    min_price: Decimal = Decimal("1.00")
    forbidden_catalyst_words: tuple[str, ...] = ("pump", "dump", "coordinated", "manipulation", "scheme")
    forbidden_sources: tuple[str, ...] = ("insider_tip",)
    min_average_volume: float = 100_000.0
    required_data: tuple[str, ...] = ("symbol", "price", "direction", "volume")
    min_plausible_price: Decimal = Decimal("0.01")
    max_plausible_price: Decimal = Decimal(10_000)
    max_age_s: float = 900.0
    max_position_size: Decimal = Decimal("0.10")
    require_stop_loss: bool = True
    max_stop_distance: Decimal = FURTHEST_STOP
    min_risk_reward: Decimal = Decimal("2.0")
    max_loss_per_trade: Decimal = Decimal("0.02")
    wide_range_atr: float = 0.05
    max_position_size_at_wide_range: Decimal = Decimal("0.05")
    max_daily_loss: Decimal = Decimal("0.02")
    max_weekly_loss: Decimal = Decimal("0.05")
    max_open_positions: int = 5
    max_sector_share: Decimal = Decimal("0.25")
    sectors: dict[str, str] = {}
    min_confidence: float = 0.65
    min_total_score: float = 0.60
    min_technical_score: float = 0.50
    regular_hours_only: bool = False
    holidays: tuple[date, ...] = ()
    quiet_days: tuple[date, ...] = ()
    max_volatility_index: float = 35.0
    directions: tuple[str, ...] = ("long", "short", "swing")
    market_types: tuple[str, ...] = ("equity", "crypto")
    max_holding_hours: float = 120.0
    severity: dict[str, Severity] = {}
    disabled: tuple[str, ...] = ()
    strict: bool = False
    stage_order: tuple[str, ...] = STAGES
    overrides: dict[str, Override] = {}
    market_symbol: str = "SPY"
    breakers: BreakerSettings = BreakerSettings()
    synthesis: Thresholds = Thresholds()


def for_pattern(ruleset: Ruleset, override: Override | None) -> Ruleset:
    """The ruleset as it holds for a pattern: of the general limits and its own, the stricter ones."""
    if override is None:
        return ruleset
    tighter = {
        name: (max if name.startswith("min") else min)(getattr(ruleset, name), value)
        for name in Override.__struct_fields__
        if (value := getattr(override, name)) is not None
    }
    return msgspec.structs.replace(ruleset, **tighter)


def plain(text: str) -> str:
    """A text in the form in which texts are compared, so that nobody hides a word.

    Case and width count for nothing, letters that cannot be seen are left out, blanks and hyphens are `_`.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    return text.casefold().strip().replace(" ", "_").replace("-", "_")
