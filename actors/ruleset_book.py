"""The rules of the operator's ruleset as data: the original's ids, in the order in which they are judged.

The original's five global limits and three circuit breakers had no rules of their own that anybody evaluated;
they are rules here like the others, `LIMIT-...` and `CB-...`. Its limit on a position is RISK-001.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "HALTING",
    "RULESET_RULES",
    "SEVERITIES",
    "STAGES",
    "RulesetRule",
    "Severity",
    "Stage",
]

Severity = Literal["warning", "error", "critical"]
SEVERITIES: tuple[Severity, ...] = ("warning", "error", "critical")
"""From the mildest to the gravest. A warning denies nothing unless the ruleset is strict; the others deny."""

Stage = Literal["ethics", "data", "risk", "pattern", "market", "user", "breakers"]
STAGES: tuple[Stage, ...] = ("ethics", "data", "risk", "pattern", "market", "user", "breakers")
"""The original's stages, in its order."""
HALTING: frozenset[Stage] = frozenset({"ethics", "data", "breakers"})
"""A stage of these that denies ends the judgement: what comes after it is not judged any more."""


class RulesetRule(msgspec.Struct, frozen=True):
    """One rule.

    Attributes:
        id: The original's, such as `ETH-001`.
        name: What it is about; the setting of that name, where there is one.
        stage: The stage in which it is judged; the category of a violation.
        severity: How grave a breach is, unless an operator raised it.
        may_be_disabled: Whether an operator may switch it off: what only warns, or was off in the original.
    """

    id: str
    name: str
    stage: Stage
    severity: Severity

    @property
    def may_be_disabled(self) -> bool:
        return self.severity == "warning"

    @property
    def title(self) -> str:
        """Id and name, as a violation names the rule."""
        return f"{self.id} {self.name}"


RULESET_RULES: tuple[RulesetRule, ...] = (
    RulesetRule("ETH-001", "min_price", "ethics", "critical"),
    RulesetRule("ETH-002", "forbidden_catalyst_words", "ethics", "critical"),
    RulesetRule("ETH-003", "forbidden_sources", "ethics", "critical"),
    RulesetRule("ETH-004", "min_average_volume", "ethics", "error"),
    RulesetRule("DATA-001", "required_data", "data", "error"),
    RulesetRule("DATA-002", "plausible_price", "data", "error"),
    RulesetRule("DATA-003", "max_age", "data", "warning"),
    RulesetRule("RISK-001", "max_position_size", "risk", "error"),
    RulesetRule("RISK-002", "require_stop_loss", "risk", "error"),
    RulesetRule("RISK-003", "min_risk_reward", "risk", "warning"),
    RulesetRule("RISK-004", "max_loss_per_trade", "risk", "error"),
    RulesetRule("RISK-005", "max_position_size_at_wide_range", "risk", "warning"),
    RulesetRule("LIMIT-001", "max_daily_loss", "risk", "error"),
    RulesetRule("LIMIT-002", "max_weekly_loss", "risk", "error"),
    RulesetRule("LIMIT-003", "max_open_positions", "risk", "error"),
    RulesetRule("LIMIT-004", "max_sector_share", "risk", "error"),
    RulesetRule("PAT-001", "min_confidence", "pattern", "error"),
    RulesetRule("PAT-002", "pattern_exists", "pattern", "error"),
    RulesetRule("PAT-003", "min_total_score", "pattern", "warning"),
    RulesetRule("PAT-004", "min_technical_score", "pattern", "warning"),
    RulesetRule("MKT-001", "regular_hours_only", "market", "warning"),
    RulesetRule("MKT-002", "quiet_days", "market", "warning"),
    RulesetRule("MKT-003", "max_volatility_index", "market", "warning"),
    RulesetRule("USER-001", "directions", "user", "error"),
    RulesetRule("USER-002", "market_types", "user", "error"),
    RulesetRule("USER-003", "max_holding_hours", "user", "warning"),
    RulesetRule("CB-001", "day_loss_breaker", "breakers", "critical"),
    RulesetRule("CB-002", "losing_run_breaker", "breakers", "critical"),
    RulesetRule("CB-003", "market_breaker", "breakers", "critical"),
)
"""Every rule: the original's 22, four of its global limits, its three breakers."""
