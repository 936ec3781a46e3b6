"""One known-bad action for each rule, and one that is sound: whether the judge still knows them apart.

A seal over files does not see a process whose memory was changed. So the judge is asked, again and again, about
actions of which it is known what must be said. Each of them breaks one rule and no other, so that a rule that has
gone blind is named, and so is one that speaks where it should not. Nothing here reads a clock or a file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from graveyard.ethics import Judgement, judge
from graveyard.facts import Account, Action, ClientOrder, Facts, Source, WorkingOrder
from graveyard.rules import LONGEST_SILENCE_S, MOST_HOPS, RULES

__all__ = ["CANARIES", "SOUND", "Canary", "failing"]


@dataclass(frozen=True, slots=True)
class Canary:
    """An action of which it is known what one rule must say.

    Attributes:
        rule: The rule that it breaks, and the only one; empty for the sound one.
        action, account, facts: What is judged.
    """

    rule: str
    action: Action
    account: Account
    facts: Facts


_TRADE = Action(
    kind="trade",
    symbol="CANARY",
    side="buy",
    entry="market",
    quantity=Decimal(50),
    price=Decimal(100),
    stop_loss=Decimal(95),
    target=Decimal(110),
    leverage=Decimal(1),
    reasons=("canary",),
)
_DATA = Action(
    "delete_data", "", "", "", None, None, None, None, None, reasons=("canary",), sensitivity="internal"
)  # fmt: skip
_ACCOUNT = Account(
    equity=Decimal(100_000),
    day_start_equity=Decimal(100_000),
    exposures=MappingProxyType({}),
    open_risk=Decimal(0),
    realised_today=Decimal(0),
    unrealised_today=Decimal(0),
    orders=(),
    recent=(),
    messages=0,
)
_FACTS = Facts(
    halted=False,
    market_price=Decimal(100),
    now=1_700_000_000.0,
    live=True,
    seal_fault="",
    watchdog_age_s=0.0,
    gateway_age_s=0.0,
    ledger_writable=True,
    logs_redacted=True,
    home_private=True,
    credentials_sealed=True,
    personal="",
    hops=0,
    sources=(Source("canary", "exchange"),),
    restricted=frozenset(),
    no_trade=frozenset(),
    consents=frozenset({"live_trading"}),
    client_orders=(),
    last_price=Decimal(100),
    price_age_s=0.0,
    average_volume=Decimal(1_000_000),
    volume_ratio=Decimal(1),
    move=Decimal(0),
)
_ACTION_FIELDS = frozenset(Action.__dataclass_fields__)
_ACCOUNT_FIELDS = frozenset(Account.__dataclass_fields__)
_FACTS_FIELDS = frozenset(Facts.__dataclass_fields__)


def _canary(rule: str, action: Action = _TRADE, **changes: Any) -> Canary:
    """The sound action with some fields changed; no field's name is in two of action, account and facts."""

    def part(names: frozenset[str]) -> dict[str, Any]:
        return {name: value for name, value in changes.items() if name in names}

    return Canary(
        rule,
        replace(action, **part(_ACTION_FIELDS)),
        replace(_ACCOUNT, **part(_ACCOUNT_FIELDS)),
        replace(_FACTS, **part(_FACTS_FIELDS)),
    )


SOUND = _canary("")
"""The known-good action: every rule lets it pass."""
CANARIES: tuple[Canary, ...] = (
    _canary("immutable_graveyard", seal_fault="canary"),
    _canary("watchdog_monitoring", watchdog_age_s=LONGEST_SILENCE_S + 1),
    _canary("emergency_halt_enabled", halted=True),
    _canary("audit_all_actions", ledger_writable=False),
    _canary("user_override_allowed", gateway_age_s=LONGEST_SILENCE_S + 1),
    _canary("require_hrm_approval", kind="Trade"),
    _canary("validate_data_sources", sources=(Source("canary", "news", quarantined=True),)),
    _canary("no_insider_trading", restricted=frozenset({"CANARY"})),
    _canary("transparent_reasoning", reasons=()),
    _canary("prevent_infinite_loops", hops=MOST_HOPS + 1),
    _canary("preserve_user_autonomy", no_trade=frozenset({"CANARY"})),
    _canary("max_position_size", exposures=MappingProxyType({"CANARY": Decimal(5001)})),
    _canary("max_leverage", exposures=MappingProxyType({"OTHER": Decimal(195_001)}), person=True),
    _canary("max_concurrent_trades", exposures=MappingProxyType(dict.fromkeys("ABCDE", Decimal(1)))),
    _canary("max_daily_loss", realised_today=Decimal(-4751)),
    _canary("require_stop_loss", stop_loss=Decimal(89), target=Decimal(120)),
    _canary("min_risk_reward", target=Decimal(107)),
    _canary(
        "no_market_manipulation",
        orders=(WorkingOrder("CANARY", "sell", Decimal(50), Decimal(100)),),
    ),
    _canary("no_pump_and_dump", sources=(Source("canary", "promotional"),), move=Decimal("0.5")),
    _canary("no_front_running", client_orders=(ClientOrder("CANARY", "buy", Decimal(1)),)),
    _canary("protect_user_data", personal="canary"),
    _canary("require_consent", consents=frozenset()),
    _canary("anonymize_logs", logs_redacted=False),
    _canary("encrypt_credentials", credentials_sealed=False),
    _canary("reversible_actions", quantity=Decimal(80), average_volume=Decimal(1500), price=Decimal(1000),
            market_price=Decimal(1000), last_price=Decimal(1000), stop_loss=Decimal(990),
            target=Decimal(1020), equity=Decimal(1_000_000), day_start_equity=Decimal(1_000_000)),
    _canary("human_in_loop_critical", _DATA),
)  # fmt: skip
"""For each rule an action that it alone must speak against, in the order of the rules."""
_RULES = MappingProxyType({each.name: each for each in RULES})
_CHECKED = tuple(each.name for each in RULES)
_ASKING = "human_in_loop_critical"


def failing(judge: Callable[[Action, Account, Facts], Judgement] = judge) -> tuple[str, ...]:
    """Ask the judge about the sound action and about one known-bad action for each rule.

    Args:
        judge: The judge that is tried: the Graveyard's own, with the Graveyard's own limits.

    Returns:
        What came out wrong, a sentence each; empty if the judge still judges. Whatever the judge raises is
        among it: this does not raise.
    """
    wrong = []
    for canary in (SOUND, *CANARIES):
        try:
            found = _wrong_with(canary, judge(canary.action, canary.account, canary.facts))
        except Exception as error:  # noqa: BLE001 - a judge that fails is what is looked for here
            found = f"{_called(canary)} could not be judged: {type(error).__name__}: {error}"
        if found:
            wrong.append(found)
    return tuple(wrong)


def _called(canary: Canary) -> str:
    return f"the canary of {canary.rule}" if canary.rule else "the sound canary"


def _wrong_with(canary: Canary, judgement: Judgement) -> str:
    """What is wrong with a judgement of a canary; empty for nothing."""
    if judgement.rules_checked != _CHECKED:
        return f"{_called(canary)} was judged by {len(judgement.rules_checked)} rules, not by all {len(_CHECKED)}"
    others = [each.rule.name for each in judgement.findings if each.rule.name != canary.rule]
    if others:
        how = "denied" if judgement.denied else "spoken against"
        return f"{_called(canary)} was {how} by {', '.join(others)}"
    if not canary.rule:
        return "" if judgement.approved and not judgement.findings else "the sound canary was not approved"
    rule = _RULES[canary.rule]
    asks = canary.rule == _ASKING
    if not judgement.findings:
        return f"{canary.rule} let its canary pass"
    finding = judgement.findings[0]
    denies = rule.denies and not asks
    if (finding.denies, finding.asks, finding.mercy) != (denies, asks, False):
        return f"{canary.rule} spoke against its canary, but {_how(finding.denies, finding.asks)}"
    if (judgement.denied, judgement.asks) != (denies, asks):
        return f"{canary.rule} spoke against its canary, and it passed all the same"
    return ""


def _how(denies: bool, asks: bool) -> str:
    return "denied it" if denies else "asked a person" if asks else "only warned"
