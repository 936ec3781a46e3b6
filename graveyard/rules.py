"""The rules as frozen data, the limits that may be tightened, and their digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Literal, get_args

__all__ = [
    "CATEGORIES",
    "CEILINGS",
    "FORBIDDEN",
    "KINDS",
    "RULES",
    "STANDINGS",
    "Limits",
    "Rule",
    "rule",
    "ruleset_digest",
    "tick_of",
]

TICK = Decimal("0.01")
"""The step of prices from 1 up, in the quote currency (US equities, SEC Rule 612)."""
TICK_BELOW_ONE = Decimal("0.0001")
"""The step of prices below 1."""
FURTHEST_STOP = Decimal("0.10")
"""The furthest that a stop may be from the entry, as a fraction of it; the pattern book uses all of it."""

KINDS = MappingProxyType(
    {
        "trade": "close the position, or cancel the order",
        "read_data": "nothing is changed",
        "write_data": "put the earlier version back",
        "share_data": "",
        "delete_data": "",
    }
)
"""The kinds of action that there are checks for, and how each is undone; empty: it cannot be. What cannot be
judged cannot be approved."""
DATA_KINDS = ("read_data", "write_data", "share_data", "delete_data")
FORBIDDEN = ("modify_graveyard", "update_ethics", "change_rules")
"""Kinds of action that are against the rule book itself, whoever proposes them."""
SENSITIVITIES = ("public", "internal", "personal", "secret")
Standing = Literal[
    "exchange", "filing", "news", "licensed", "model", "person", "promotional", "private", "unregistered"
]
STANDINGS: tuple[Standing, ...] = get_args(Standing)
"""What a source can be in the operator's register; `unregistered` if it does not stand there."""

WINDOW_S = 60.0
"""How far back the account's own orders, cancels and fills are looked at, seconds."""
MOST_MESSAGES = 1000
"""Orders and cancels in that time. Nautilus Trader's default is 100 a second; its order rate is a tenth here."""
MOST_REPEATS = 10
"""Equal orders (symbol, side, quantity, price) in that time; the limit of vn.py's DuplicateOrderRule."""
MOST_HOPS = 16
"""Agents that an action may have passed before it counts as going round in a circle."""
WASH_PAIRS = 3
"""Fills of a purchase and a sale of the same size, within a tick, in that time."""
SPOOF_ORDERS = 10
SPOOF_CANCELS = Decimal("0.9")
"""From so many orders on, the share of them that was cancelled must stay below."""
LAYERS = 3
LAYER_TICKS = 10
"""So many own levels on the other side, this near to each other, make a smaller order against them layering."""
COLLAR = Decimal("0.10")
"""How far a price may be from the newest one that the market showed, as a fraction of it."""
OLDEST_PRICE_S = 345_600.0
"""An older price says nothing about today's: four days, so that Friday's counts on the Tuesday after a holiday."""
CLOSING_S = 300.0
CLOSING_SHARE = Decimal("0.10")
"""In the last minutes of a session, the share of their usual volume that one order may be."""
CLOSING_SPANS = 78
"""So many times do those minutes go into a session of six and a half hours."""
THIN_VALUE = Decimal(1_000_000)
THIN_PRICE = Decimal(1)
"""A name is thin where less than this is traded in a usual day, in the quote currency, or its price is lower."""
OUTSIZED_MOVE = Decimal("0.15")
OUTSIZED_VOLUME = Decimal(3)
"""A move of the day is outsized from this fraction on, or from so many times the usual volume."""
EXIT_SHARE = Decimal("0.05")
"""What can be sold again: at most this share of a usual day's volume."""
CRITICAL_SHARE = Decimal("0.08")
CRITICAL_LEVERAGE = Decimal("1.5")
"""Above these a person is asked: the thresholds of the original's HRM."""
LONGEST_SILENCE_S = 3.0
"""A process that gave no sign of life for longer is taken for dead: the Watchdog's lease."""

_ONE = Decimal(1)

Severity = Literal["CRITICAL", "HIGH", "MEDIUM", "LOW"]
Category = Literal["trading", "risk", "governance", "privacy", "integrity", "autonomy"]
CATEGORIES: tuple[Category, ...] = ("trading", "risk", "governance", "privacy", "integrity", "autonomy")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        name: The rule's name, the same in decisions, settings and documents.
        category: One of `CATEGORIES`.
        value: The limit: a fraction, a multiple, a count, or True for "must hold".
        severity: How grave a breach is. A breach of a CRITICAL rule also raises the alarm.
        protects: What it protects, in words.
        source: Where the rule and its value come from.
        terms: Further constants that the check uses, as pairs of name and value.
        denies: Whether a breach denies the action; otherwise it only warns.
        halts: Whether trading is halted where the rule is broken already, by the account or by the rule book
            itself, and not merely by what is proposed.
    """

    name: str
    category: Category
    value: Decimal | int | bool
    severity: Severity
    protects: str
    source: str
    terms: tuple[tuple[str, str], ...] = ()
    denies: bool = True
    halts: bool = False

    @property
    def alarms(self) -> bool:
        """Whether a breach raises the alarm."""
        return self.severity == "CRITICAL"


_BOOK = "The Graveyard of ARK 1.0.0"
_RTS6 = "Commission Delegated Regulation (EU) 2017/589, Article"
_15C3_5 = "SEC Rule 15c3-5"
_MAR = "Regulation (EU) 596/2014, Article"
RULES: tuple[Rule, ...] = (
    # In the order in which they are judged: first whether anybody may act at all, then what is proposed.
    Rule(
        "immutable_graveyard", "integrity", True, "CRITICAL",
        "The rule book itself: nobody trades by rules that somebody has changed.",
        f"{_BOOK}, integrity; SEC Release 34-70694 (Knight Capital)",
        (("forbidden", " ".join(FORBIDDEN)),),
        halts=True,
    ),
    Rule(
        "watchdog_monitoring", "integrity", True, "HIGH",
        "That nothing is done while nobody watches.",
        f"{_BOOK}, integrity; {_RTS6} 16",
        (("longest_silence_s", str(LONGEST_SILENCE_S)),),
    ),
    Rule(
        "emergency_halt_enabled", "governance", True, "HIGH",
        "That one word of a person stops all trading.",
        f"{_BOOK}, governance; {_RTS6} 12",
    ),
    Rule(
        "audit_all_actions", "governance", True, "HIGH",
        "That nothing is done that is not written down.",
        f"{_BOOK}, governance; {_RTS6} 28",
    ),
    Rule(
        "user_override_allowed", "governance", True, "HIGH",
        "That a person can still intervene: nothing is done while an operator's word could not come through.",
        f"{_BOOK}, governance; Commission Delegated Regulation (EU) 2017/584, Article 20(2)",
        (("longest_silence_s", str(LONGEST_SILENCE_S)),),
    ),
    Rule(
        "require_hrm_approval", "governance", True, "HIGH",
        "That nothing is done that the judge does not know how to judge.",
        f"{_BOOK}, governance; {_15C3_5}(d)",
        (("actions", " ".join(KINDS)), ("data_kinds", " ".join(DATA_KINDS))),
    ),
    Rule(
        # LOW in the original, where LOW was to warn. What a source that was found wrong says is not acted upon.
        "validate_data_sources", "integrity", True, "LOW",
        "The judgement from data that is wrong, old or made up.",
        f"{_BOOK}, integrity; {_RTS6} 15(1)(a)",
        (("standings", " ".join(STANDINGS)), ("oldest_price_s", str(OLDEST_PRICE_S))),
    ),
    Rule(
        "no_insider_trading", "trading", True, "CRITICAL",
        "Everybody else in the market from what only a few know.",
        f"{_BOOK}, trading; SEC Rule 10b5-1(b); {_15C3_5}(c)(2)(ii)",
    ),
    Rule(
        "transparent_reasoning", "autonomy", True, "LOW",
        "That a person can ask why, and be told.",
        f"{_BOOK}, autonomy; {_RTS6} 28",
        denies=False,
    ),
    Rule(
        "prevent_infinite_loops", "integrity", True, "HIGH",
        "The market and the account from a machine that goes round in a circle.",
        f"{_BOOK}, integrity; {_RTS6} 15(3)",
        (("window_s", str(WINDOW_S)), ("most_messages", str(MOST_MESSAGES)), ("most_repeats", str(MOST_REPEATS)),
         ("most_hops", str(MOST_HOPS))),
    ),
    Rule(
        "preserve_user_autonomy", "autonomy", True, "HIGH",
        "A person's standing wishes: what he does not want traded is not traded.",
        f"{_BOOK}, autonomy",
    ),
    Rule(
        "max_position_size", "risk", Decimal("0.10"), "HIGH",
        "The account from one symbol: at most this fraction of the equity in it.",
        f"{_BOOK}, risk; {_RTS6} 15(1)",
    ),
    Rule(
        "max_leverage", "risk", Decimal("2.0"), "MEDIUM",
        "The account from owing more than it can bear: all exposure is at most this many times the equity.",
        f"{_BOOK}, risk; {_15C3_5}(c)(1)(i)",
    ),
    Rule(
        # LOW in the original, too. It is a limit of the account like the rest, and denies: a sixth trade that is
        # only warned about is a trade too many.
        "max_concurrent_trades", "risk", 5, "LOW",
        "The account from more open trades than a person can follow: at most this many symbols at once.",
        f"{_BOOK}, risk",
    ),
    Rule(
        "max_daily_loss", "risk", Decimal("0.05"), "CRITICAL",
        "The account from one bad day: the day's loss, with all stops hit, is at most this fraction.",
        f"{_BOOK}, risk; {_RTS6} 15(4)",
        halts=True,
    ),
    Rule(
        "require_stop_loss", "risk", True, "MEDIUM",
        "Every position from an open-ended loss.",
        f"{_BOOK}, risk; furthest distance from the pattern book",
        (("furthest", str(FURTHEST_STOP)), ("tick", str(TICK)), ("tick_below_one", str(TICK_BELOW_ONE))),
    ),
    Rule(
        "min_risk_reward", "risk", Decimal("1.5"), "MEDIUM",
        "The account from trades that cannot pay for the ones that fail.",
        f"{_BOOK}, risk",
    ),
    Rule(
        "no_market_manipulation", "trading", True, "CRITICAL",
        "The market from prices and volumes that are only made to be seen.",
        f"{_BOOK}, trading; {_MAR} 12 and Delegated Regulation (EU) 2016/522, Annex II; {_RTS6} 13, 15(1)(a)",
        (("wash_pairs", str(WASH_PAIRS)), ("spoof_orders", str(SPOOF_ORDERS)),
         ("spoof_cancels", str(SPOOF_CANCELS)), ("layers", str(LAYERS)), ("layer_ticks", str(LAYER_TICKS)),
         ("collar", str(COLLAR)),
         ("closing_s", str(CLOSING_S)), ("closing_share", str(CLOSING_SHARE)),
         ("closing_spans", str(CLOSING_SPANS)), ("window_s", str(WINDOW_S))),
    ),
    Rule(
        "no_pump_and_dump", "trading", True, "HIGH",
        "Those who believe what is said about a thin name while it is moved.",
        f"{_BOOK}, trading; Delegated Regulation (EU) 2016/522, Annex II",
        (("thin_value", str(THIN_VALUE)), ("thin_price", str(THIN_PRICE)), ("outsized_move", str(OUTSIZED_MOVE)),
         ("outsized_volume", str(OUTSIZED_VOLUME))),
    ),
    Rule(
        "no_front_running", "trading", True, "HIGH",
        "Clients, whose orders go before the account's own.",
        f"{_BOOK}, trading; FINRA Rules 5270 and 5320",
    ),
    Rule(
        "protect_user_data", "privacy", True, "HIGH",
        "People from having their data kept open, or sent along with an order.",
        f"{_BOOK}, privacy; Regulation (EU) 2016/679, Articles 5(1)(c) and 32",
        (("sensitivities", " ".join(SENSITIVITIES)),),
    ),
    Rule(
        "require_consent", "privacy", True, "HIGH",
        "People from what they did not agree to: sharing of their data, and trading with their money.",
        f"{_BOOK}, privacy; Regulation (EU) 2016/679, Article 7",
    ),
    Rule(
        "anonymize_logs", "privacy", True, "MEDIUM",
        "People and accounts from turning up in a log.",
        f"{_BOOK}, privacy; Regulation (EU) 2016/679, Article 4(5)",
    ),
    Rule(
        "encrypt_credentials", "privacy", True, "HIGH",
        "The account from whoever reads a settings file; data on its way from whoever listens.",
        f"{_BOOK}, privacy; {_15C3_5}(c)(2)(iii)",
    ),
    Rule(
        "reversible_actions", "autonomy", True, "MEDIUM",
        "That what was done can be undone: a position no larger than what can be sold again.",
        f"{_BOOK}, autonomy",
        (("exit_share", str(EXIT_SHARE)),
         ("undone_by", "; ".join(f"{kind}: {way or 'nothing'}" for kind, way in KINDS.items()))),
    ),
    Rule(
        "human_in_loop_critical", "autonomy", True, "HIGH",
        "That a person has the last word on what is large, geared, or cannot be undone.",
        f"{_BOOK}, autonomy; thresholds of the original's HRM; {_RTS6} 15(3)",
        (("critical_share", str(CRITICAL_SHARE)), ("critical_leverage", str(CRITICAL_LEVERAGE))),
    ),
)  # fmt: skip
_BY_NAME = MappingProxyType({each.name: each for each in RULES})


def rule(name: str) -> Rule:
    """The rule of that name.

    Raises:
        KeyError: There is no such rule.
    """
    return _BY_NAME[name]


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers to judge by: those of the Graveyard, or stricter ones, never looser.

    Raises:
        ValueError: A limit is looser than the Graveyard's, or makes no sense; the message names both values.
    """

    max_position_size: Decimal = Decimal("0.10")
    max_leverage: Decimal = Decimal("2.0")
    max_concurrent_trades: int = 5
    max_daily_loss: Decimal = Decimal("0.05")
    min_risk_reward: Decimal = Decimal("1.5")

    def __post_init__(self) -> None:
        for name in ("max_position_size", "max_leverage", "max_concurrent_trades", "max_daily_loss"):
            value, ceiling = getattr(self, name), _BY_NAME[name].value
            _demand_number(name, value, type(ceiling))
            if value > ceiling:
                raise ValueError(f"{name} = {value} is looser than the Graveyard's {ceiling}")
        floor = _BY_NAME["min_risk_reward"].value
        _demand_number("min_risk_reward", self.min_risk_reward, Decimal)
        if self.min_risk_reward < floor:
            raise ValueError(f"min_risk_reward = {self.min_risk_reward} is looser than the Graveyard's {floor}")


def _demand_number(name: str, value: object, kind: type) -> None:
    if type(value) is not kind or (isinstance(value, Decimal) and not value.is_finite()):
        raise ValueError(f"{name} must be a {'whole ' if kind is int else ''}number, is {value!r}")
    if value <= 0:  # type: ignore[operator]
        raise ValueError(f"{name} must be above 0, is {value}")


CEILINGS = Limits()
"""The Graveyard's own limits."""


def tick_of(price: Decimal) -> Decimal:
    """The step of prices near this one."""
    return TICK if price >= _ONE else TICK_BELOW_ONE


def ruleset_digest(limits: Limits = CEILINGS) -> str:
    """SHA-256, in hexadecimal, over the canonical form of the rules with the limits in force.

    The canonical form is JSON without white space, keys sorted, a map for each rule in order, values as text.
    """
    rows = [
        {
            "name": each.name,
            "category": each.category,
            "value": _canonical(each.value),
            "limit": _canonical(getattr(limits, each.name, each.value)),
            "severity": each.severity,
            "denies": each.denies,
            "halts": each.halts,
            "protects": each.protects,
            "source": each.source,
            "terms": [list(term) for term in each.terms],
        }
        for each in RULES
    ]
    canonical = json.dumps(rows, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _canonical(value: Decimal | int | bool) -> str:
    return format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)
