"""HRM's settings: the Graveyard's limits or stricter ones, the operator's ruleset, and a few of its own."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec

from actors.register import Registrar
from actors.ruleset_examination import read_ruleset
from actors.ruleset_judge import Rulebook
from actors.settings import read
from ark.errors import ConfigError
from graveyard import CEILINGS, LARGEST, Limits
from graveyard.rules import Standing

__all__ = ["LIMITS", "Policy"]

LIMITS = ("max_position_size", "max_leverage", "max_concurrent_trades", "max_daily_loss", "min_risk_reward")
"""The settings that are the Graveyard's own limits."""
LONGEST_APPROVAL_S = 86_400
"""No approval holds for longer than a day, in seconds."""
LONGEST_HOLD_S = 7 * 86_400
"""No decision waits for a person for longer than a week, in seconds."""
LONGEST_ENTRY_S = 90 * 86_400
"""No entry waits for its price for longer than a quarter, in seconds: the longest that brokers keep one."""


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
        currency: How the quote currency is called where money is shown to people.
        approval_ttl_s: How long an approval holds, seconds.
        hold_s: How long a decision waits for a person before it is refused, seconds.
        entry_ttl_s: How long an entry may wait for its price before it is cancelled, seconds.
        fractional: Whether a quantity computed from a share of equity may be a fraction of a unit.
        day: Whose days the daily loss is counted by: the `clock`'s (UTC), or, for a replay of old bars, the
            `bars`' own. Whoever sends bars decides then when a day ends: not for live trading.
        register: The operator's register, an absolute path to a TOML file; see `actors.register`.
        restricted: Symbols that must not be traded because of what is known inside, beside the register's.
        no_trade: Symbols that a person does not want traded, beside the register's.
        consents: What was consented to, beside the register's.
        sources: What sources are, by name, beside the register's.
        seal_interval_s: How often the rule book's seal is verified, in files and memory, seconds.
        ruleset: The operator's ruleset; see `actors.ruleset`.
    """

    max_position_size: Decimal = CEILINGS.max_position_size
    max_leverage: Decimal = CEILINGS.max_leverage
    max_concurrent_trades: int = CEILINGS.max_concurrent_trades
    max_daily_loss: Decimal = CEILINGS.max_daily_loss
    min_risk_reward: Decimal = CEILINGS.min_risk_reward
    starting_equity: Decimal = Decimal(100_000)
    currency: str = "USD"
    approval_ttl_s: float = 30.0
    hold_s: float = 300.0
    entry_ttl_s: float = 86_400.0
    fractional: bool = False
    day: Literal["clock", "bars"] = "clock"
    register: str = ""
    restricted: tuple[str, ...] = ()
    no_trade: tuple[str, ...] = ()
    consents: tuple[str, ...] = ()
    sources: dict[str, Standing] = {}
    seal_interval_s: float = 3.0
    ruleset: dict[str, Any] = {}

    @classmethod
    def of(cls, settings: Mapping[str, Any], agent: str) -> Policy:
        """Read an agent's settings.

        Raises:
            ConfigError: A setting is unknown, makes no sense, or is looser than the Graveyard.
        """
        policy = read(cls, settings, agent)
        place = f"agents.{agent}.settings"
        for name in LIMITS:
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
        for name, most in (
            ("approval_ttl_s", LONGEST_APPROVAL_S),
            ("hold_s", LONGEST_HOLD_S),
            ("entry_ttl_s", LONGEST_ENTRY_S),
            ("seal_interval_s", 10),
        ):
            value = getattr(policy, name)
            if not 0 < value <= most:
                raise ConfigError(f"{name} must be above 0, at most {most}, is {value}", field=f"{place}.{name}")
        if policy.register and not Path(policy.register).expanduser().is_absolute():
            raise ConfigError(
                f"register must be an absolute path, is {policy.register!r}",
                hint="the node does not run in the folder that it was started from",
                field=f"{place}.register",
            )
        policy.rules(place)
        return policy

    def rules(self, place: str = "agents.hrm.settings") -> Rulebook:
        """The operator's ruleset, examined and ready to judge by.

        Raises:
            ConfigError: A rule is looser than the Graveyard or the original, or makes no sense.
        """
        return Rulebook(read_ruleset(self.ruleset, CEILINGS, f"{place}.ruleset"), CEILINGS, f"{place}.ruleset")

    def registrar(self) -> Registrar:
        """The operator's register, kept up to date."""
        return Registrar(
            Path(self.register).expanduser() if self.register else None,
            restricted=self.restricted,
            no_trade=self.no_trade,
            consents=self.consents,
            sources=self.sources,
        )

    def limits(self) -> Limits:
        """The limits to judge by."""
        return Limits(**{name: getattr(self, name) for name in LIMITS})
