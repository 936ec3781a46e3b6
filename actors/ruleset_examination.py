"""The examination of a ruleset: nothing looser than the Graveyard or the original is ever judged by."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any, NoReturn, TypeVar
from zoneinfo import ZoneInfoNotFoundError

import msgspec

from actors.breakers import BreakerSettings
from actors.pattern_book import BOOK
from actors.ruleset import CLAIMABLE, MARKET_FACTS, ORIGINAL_OVERRIDES, Override, Ruleset, plain
from actors.ruleset_book import RULESET_RULES, SEVERITIES, STAGES
from actors.sessions import new_york
from actors.synthesis import Thresholds
from ark.errors import ConfigError
from graveyard import CEILINGS, LARGEST, Limits
from graveyard.rules import FURTHEST_STOP

__all__ = ["PLACE", "read_ruleset", "validated"]

Kind = TypeVar("Kind", bound=msgspec.Struct)

PLACE = "agents.hrm.settings.ruleset"
"""Where a ruleset stands in the configuration, unless its agent has another name."""


def read_ruleset(settings: Mapping[str, Any], limits: Limits = CEILINGS, place: str = PLACE) -> Ruleset:
    """Read a ruleset from the configuration, and check it.

    Args:
        settings: What stands there: plain maps, lists, texts, numbers and dates.
        limits: The Graveyard's.
        place: Where it stands, for the errors.

    Raises:
        ConfigError: As `validated`; or a key is unknown, or a value of the wrong type.
    """
    return validated(_read(Ruleset, settings, place), limits, place)


def validated(ruleset: Ruleset, limits: Limits = CEILINGS, place: str = PLACE) -> Ruleset:
    """The ruleset, checked, with the original's overrides in it, and its words in the form they are compared in.

    Args:
        ruleset: As it was set.
        limits: The Graveyard's.
        place: Where the ruleset stands in the configuration, for the errors.

    Raises:
        ConfigError: A value is looser than it may be, or makes no sense; it names the field and both values.
    """
    check = _Examination(place)
    check.numbers(ruleset, limits)
    check.words(ruleset)
    check.rules(ruleset)
    check.breakers(ruleset.breakers)
    check.thresholds(ruleset.synthesis)
    if not ruleset.market_symbol.strip():
        check.refuse("market_symbol", "market_symbol is empty")
    if ruleset.regular_hours_only or ruleset.quiet_days:
        try:
            new_york()
        except ZoneInfoNotFoundError:
            name = "regular_hours_only" if ruleset.regular_hours_only else "quiet_days"
            check.refuse(name, f"{name} needs time zone data, and there is none", "install the package `tzdata`")
    return msgspec.structs.replace(
        ruleset,
        forbidden_catalyst_words=_plain_all(ruleset.forbidden_catalyst_words),
        forbidden_sources=_plain_all(ruleset.forbidden_sources),
        overrides=check.merged(ruleset),
    )


def _plain_all(texts: Collection[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(plain(text) for text in texts))


_LEAST = (
    "min_price",
    "min_average_volume",
    "min_plausible_price",
    "min_confidence",
    "min_total_score",
    "min_technical_score",
)
"""Settings that may not be below the original's."""
_MOST = (
    "max_age_s",
    "max_loss_per_trade",
    "wide_range_atr",
    "max_position_size_at_wide_range",
    "max_weekly_loss",
    "max_sector_share",
    "max_volatility_index",
    "max_holding_hours",
)
"""Settings that may not be above it."""
_FRACTIONS = frozenset({"min_confidence", "min_total_score", "min_technical_score"})
"""Settings that are no more than 1."""
_ORIGINAL = Ruleset()
_BY_ID = {rule.id: rule for rule in RULESET_RULES}
_PATTERNS = frozenset(pattern.name for pattern in BOOK)


class _Examination:
    """The checks of a ruleset, each of which refuses what it finds wrong."""

    def __init__(self, place: str) -> None:
        self.place = place

    def refuse(self, name: str, message: str, hint: str = "") -> NoReturn:
        raise ConfigError(message, hint=hint, field=f"{self.place}.{name}")

    def number(self, name: str, value: Decimal | float, *, zero: bool = False) -> None:
        """A finite number above 0 (or at 0, where that makes sense)."""
        # math.isfinite raises for a signalling NaN.
        finite = value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)
        label = name.rpartition(".")[2]
        if not finite:
            self.refuse(name, f"{label} must be a finite number, is {value}")
        if value < 0 or (value == 0 and not zero):
            self.refuse(name, f"{label} must be above 0, is {value}")

    def most(
        self, name: str, value: Decimal | float, bound: Decimal | float, whose: str = "the original's"
    ) -> None:
        self.number(name, value)
        if value > bound:
            self._looser(name, value, bound, whose)

    def least(
        self,
        name: str,
        value: Decimal | float,
        bound: Decimal | float,
        whose: str = "the original's",
        *,
        top: float = math.inf,
    ) -> None:
        self.number(name, value, zero=bound == 0)
        if value < bound:
            self._looser(name, value, bound, whose)
        if value > top:
            self.refuse(name, f"{name.rpartition('.')[2]} must be at most {top:g}, is {value}")

    def _looser(self, name: str, value: object, bound: object, whose: str) -> NoReturn:
        label = name.rpartition(".")[2]
        hint = "the ruleset may be made stricter, never looser"
        self.refuse(name, f"{label} = {value} is looser than {whose} {bound}", hint)

    def numbers(self, given: Ruleset, limits: Limits) -> None:
        graveyard = "the Graveyard's"
        self.most("max_position_size", given.max_position_size, limits.max_position_size, graveyard)
        self.most("max_daily_loss", given.max_daily_loss, limits.max_daily_loss, graveyard)
        self.most("max_open_positions", given.max_open_positions, limits.max_concurrent_trades, graveyard)
        self.most("max_stop_distance", given.max_stop_distance, FURTHEST_STOP, graveyard)
        self.most("max_plausible_price", given.max_plausible_price, LARGEST, graveyard)
        self.least("min_risk_reward", given.min_risk_reward, limits.min_risk_reward, graveyard)
        for name in _MOST:
            self.most(name, getattr(given, name), getattr(_ORIGINAL, name))
        for name in _LEAST:
            top = 1.0 if name in _FRACTIONS else math.inf
            self.least(name, getattr(given, name), getattr(_ORIGINAL, name), top=top)
        if given.require_stop_loss is not True:
            hint = "no position is opened without a stop"
            self.refuse("require_stop_loss", "require_stop_loss = False is looser than the Graveyard's True", hint)

    def words(self, given: Ruleset) -> None:
        for name in ("forbidden_catalyst_words", "forbidden_sources", "required_data"):
            there, original = _plain_all(getattr(given, name)), getattr(_ORIGINAL, name)
            if "" in there:
                self.refuse(name, f"{name} has an empty text in it")
            lacking = [word for word in original if word not in there]
            if lacking:
                hint = "more may be added, none left out"
                self.refuse(
                    name, f"{name} = {there} is looser than the original's {original}: {lacking} are missing", hint
                )
        self._known("required_data", given.required_data, MARKET_FACTS | CLAIMABLE)
        for name in ("directions", "market_types"):
            chosen = getattr(given, name)
            self._known(name, chosen, getattr(_ORIGINAL, name), looser=True)
            if not chosen:
                self.refuse(name, f"{name} is empty: nothing could be traded")
        for symbol, sector in given.sectors.items():
            if not (symbol.strip() and sector.strip()):
                self.refuse("sectors", f"sectors has an empty name in it: {symbol!r} = {sector!r}")

    def rules(self, given: Ruleset) -> None:
        self._known("severity", given.severity, _BY_ID)
        for id_, severity in given.severity.items():
            own = _BY_ID[id_].severity
            if SEVERITIES.index(severity) < SEVERITIES.index(own):
                self._looser(f"severity.{id_}", severity, own, "the original's")
        self._known("disabled", given.disabled, _BY_ID)
        for id_ in given.disabled:
            rule = _BY_ID[id_]
            if not rule.may_be_disabled:
                hint = "only what merely warns can be switched off"
                self.refuse(
                    "disabled", f"{rule.title} cannot be disabled: the original's severity is {rule.severity}", hint
                )
            if id_ in given.severity:
                self.refuse(
                    "disabled", f"{rule.title} is disabled, and its severity is raised: it must be one of the two"
                )
            if id_ == "MKT-001" and given.regular_hours_only:
                self.refuse("disabled", f"{rule.title} is disabled, and asked for by regular_hours_only")
        self._known("stage_order", given.stage_order, STAGES)
        if sorted(given.stage_order) != sorted(STAGES):
            wanted = ", ".join(STAGES)
            self.refuse("stage_order", f"stage_order = {given.stage_order} must have each of these once: {wanted}")

    def _known(self, name: str, given: Collection[str], known: Collection[str], *, looser: bool = False) -> None:
        for one in given:
            if one in known:
                continue
            near = difflib.get_close_matches(one, known, 1, 0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
            why = f"is looser than the original's {tuple(known)}" if looser else "is not known"
            self.refuse(name, f"{name}: {one!r} {why}", hint)

    def breakers(self, given: BreakerSettings) -> None:
        original = _ORIGINAL.breakers
        for name in ("day_loss", "losing_run", "market"):
            own, first = getattr(given, name), getattr(original, name)
            self.most(f"breakers.{name}.threshold", own.threshold, first.threshold)
            self.least(f"breakers.{name}.minutes", own.minutes, first.minutes)
        self.most("breakers.losing_run.factor", given.losing_run.factor, original.losing_run.factor)
        if given.losing_run.action == "suspend" and given.losing_run.minutes == 0:
            self.refuse("breakers.losing_run.minutes", "minutes = 0 suspends nothing, and the action is `suspend`")

    def thresholds(self, given: Thresholds) -> None:
        self.least("synthesis.approve", given.approve, _ORIGINAL.synthesis.approve, top=1.0)
        self.least("synthesis.hold", given.hold, _ORIGINAL.synthesis.hold, top=1.0)
        if given.hold > given.approve:
            self.refuse("synthesis.hold", f"hold = {given.hold} is above approve = {given.approve}")

    def merged(self, given: Ruleset) -> dict[str, Override]:
        """The overrides of operator and original: of two that there are for a pattern, the stricter one."""
        self._known("overrides", given.overrides, _PATTERNS)
        merged = dict(ORIGINAL_OVERRIDES)
        for pattern, override in given.overrides.items():
            first = ORIGINAL_OVERRIDES.get(pattern, Override())
            for name in Override.__struct_fields__:
                value, own = getattr(override, name), getattr(first, name)
                # The original's may be named again where the general limit has become stricter than it.
                if value is None or value == own:
                    continue
                field = f"overrides.{pattern}.{name}"
                bounds = [(getattr(given, name), "the general"), (own, "the original's")]
                for bound, whose in bounds:
                    if bound is not None and name.startswith("max"):
                        self.most(field, value, bound, whose)
                    elif bound is not None:
                        self.least(field, value, bound, whose, top=1.0 if name in _FRACTIONS else math.inf)
            stated = {name: getattr(override, name) for name in Override.__struct_fields__}
            merged[pattern] = msgspec.structs.replace(
                first, **{name: value for name, value in stated.items() if value is not None}
            )
        return merged


def _read(kind: type[Kind], settings: object, place: str) -> Kind:
    """A struct from plain values, key by key, so that an error names the very field."""
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{place} must be a table, is {settings!r}", field=place)
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for key, value in settings.items():
        where = f"{place}.{key}"
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, 1, 0.4)
            nearest = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(fields))}"
            raise ConfigError(f"unknown key {where!r}; {nearest}", field=where)
        wanted = fields[key].type
        if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
            values[key] = value if isinstance(value, wanted) else _read(wanted, value, where)
        elif key == "overrides" and isinstance(value, Mapping):
            values[key] = {str(name): _read(Override, each, f"{where}.{name}") for name, each in value.items()}
        else:
            try:
                values[key] = msgspec.convert(value, wanted)
            except msgspec.ValidationError as error:
                raise ConfigError(f"{where}: {error}", field=where) from error
    return kind(**values)
