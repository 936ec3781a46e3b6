"""Joey, the Scholar: finds the pattern in what Kyle saw, says how sure he is, and makes a plan of it."""

from __future__ import annotations

from collections import Counter, deque
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from actors.messages import Case, Setup
from actors.page import CEILING, Direction
from actors.pattern_book import BOOK
from actors.patterns import Match, gather, match
from actors.planning import build
from actors.scoring import score
from actors.settings import read
from ark.agent import Agent, Context
from ark.errors import ProposalError
from ark.signal import Signal

__all__ = ["Joey", "JoeySettings"]

RECENT = 100
"""The mean confidence is that of so many setups."""
NONE = "none"
"""Stands for the pattern, in the metrics, where a signal has none."""


class JoeySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Joey's settings, with their defaults.

    Attributes:
        min_confidence: A pattern that is less sure makes no plan (the original's gate, PAT-001).
        max_share: The largest share of equity that a plan of Joey's own takes. Above 0.08 a person is asked for
            each (human_in_loop_critical); a size that the sender names stands as it is.
    """

    min_confidence: Annotated[float, Meta(ge=0, le=1)] = 0.65
    max_share: Annotated[float, Meta(gt=0, le=CEILING)] = 0.08


class Joey(Agent[Case]):
    """Takes a case, gives it on with a setup; without one there is nothing to do.

    - A trade with its own plan (a stop and a size) stands as it is. A pattern that fits it is named with it.
    - A trade without one needs a pattern of its side that is sure enough; the plan is the pattern's. A stop
      or a target that the sender named stands in it, on its right side of the entry, and so does a size: it
      may be too large, which is for HRM to say. With a size, but neither stop nor pattern, it goes on as it stands:
      the sender means to trade, and hears from HRM what is missing.
    - A bar that was only shown (`observe`) is searched on both sides. With a pattern it becomes a trade. A bar that
      is not newer than those before is not news, and not searched.
    """

    takes = Case

    def __init__(self) -> None:
        self._settings = JoeySettings()
        self._found: Counter[str] = Counter()
        self._confidences: deque[float] = deque(maxlen=RECENT)

    def setup(self, context: Context) -> None:
        self._settings = read(JoeySettings, context.settings, context.agent)
        for pattern in sorted({each.name for each in BOOK} | {NONE}):
            context.count("ark_setups_total", 0, pattern=pattern)

    def handle(self, message: Case, context: Context) -> Case:
        if message.refusal is not None:
            return message
        answer = self._search(message)
        found = answer.setup
        if found is None:
            context.log.debug("no_setup", symbol=message.signal.symbol)
        else:
            symbol, pattern = message.signal.symbol, found.pattern
            context.log.debug("setup", symbol=symbol, pattern=pattern, confidence=found.confidence)
        # He keeps no answers: what is sent again he finds again, and has counted already.
        if context.attempt == 1:
            setup = answer.setup
            pattern = None if setup is None else setup.pattern
            self._found[pattern or NONE] += 1
            if setup is not None and pattern is not None:
                self._confidences.append(setup.confidence)
        return answer

    def adopt(self, message: Case, proposal: Case, context: Context) -> Case:
        """Take the setup from another version, and nothing that is not Joey's.

        Raises:
            ProposalError: It changes what the sender said: the signal, or in the plan the side, a price, a leverage
                or a size that he named. Less than his size may be proposed.
        """
        signal, said = proposal.signal, message.signal
        if said.action == "observe" and signal.action == "trade":
            said = msgspec.structs.replace(said, action="trade", direction=signal.direction)
        if signal != said:
            raise ProposalError("it changes the signal itself")
        if proposal.setup is not None:
            _check_setup(proposal.setup, signal, own=message.signal.action == "trade")
        return msgspec.structs.replace(message, signal=signal, setup=proposal.setup)

    def refuses(self, proposal: Case) -> bool:
        """Whether it finds nothing to do."""
        return proposal.setup is None

    def settle(self, context: Context) -> None:
        """Count the setups of the batch."""
        if not self._found:
            return
        for pattern, times in self._found.items():
            context.count("ark_setups_total", times, pattern=pattern)
        self._found.clear()
        if self._confidences:
            context.gauge("joey_pattern_confidence_avg", sum(self._confidences) / len(self._confidences))

    def _search(self, message: Case) -> Case:
        signal = message.signal
        facts = gather(signal, message.market)
        if signal.action == "trade" and _has_plan(signal):
            matches = match(facts, signal.direction)
            best = matches[0] if matches else None
            return msgspec.structs.replace(message, setup=_as_it_stands(signal, facts, best))
        stale = "bar" in signal.features and (message.market is None or message.market.bar is None)
        if signal.action == "observe" and stale:
            return message
        sides: tuple[Direction, ...] = ("long", "short") if signal.action == "observe" else (signal.direction,)
        found = [
            (one, side)
            for side in sides
            for one in match(facts, side)
            if one.confidence >= self._settings.min_confidence
        ]
        found.sort(key=lambda pair: -pair[0].confidence)
        for one, direction in found:
            setup = _planned(signal, facts, one, direction, self._settings.max_share)
            if setup is not None:
                if signal.action == "observe":
                    signal = msgspec.structs.replace(signal, action="trade", direction=direction)
                return msgspec.structs.replace(message, signal=signal, setup=setup)
        if signal.action == "trade" and _has_size(signal):
            return msgspec.structs.replace(message, setup=_as_it_stands(signal, facts, None))
        return message


def _check_setup(setup: Setup, signal: Signal, *, own: bool) -> None:
    """See that a setup is one of the signal's; what the sender of a trade (`own`) named stays.

    Raises:
        ProposalError: It is none.
    """
    if signal.action != "trade" or setup.direction != signal.direction:
        raise ProposalError("its plan is not on the side of the signal")
    if setup.leverage != signal.leverage:
        raise ProposalError("it changes the leverage")
    if not own:
        return
    # Where a pattern makes the plan, a price on the wrong side of the entry gives way to the pattern's.
    named = _has_plan(signal) or (setup.pattern is None and _has_size(signal))
    side = 1 if setup.direction == "long" else -1
    for name, sent, planned, beyond in (
        ("stop", signal.stop_loss, setup.stop_loss, -side),
        ("target", signal.target, setup.target, side),
    ):
        stands = named or (sent is not None and (sent - setup.entry_price) * beyond > 0)
        if sent is not None and stands and planned != sent:
            raise ProposalError(f"it changes the {name} that the sender named")
    if _has_size(signal) and not (
        _at_most(setup.quantity, signal.quantity) and _at_most(setup.position_size_pct, signal.position_size_pct)
    ):
        raise ProposalError("it wants more than the sender named")


def _at_most(planned: float | None, named: float | None) -> bool:
    if planned is None or named is None:
        return planned is named
    return 0 < planned <= named


def _has_plan(signal: Signal) -> bool:
    return signal.stop_loss is not None and _has_size(signal)


def _has_size(signal: Signal) -> bool:
    return signal.quantity is not None or signal.position_size_pct is not None


def _as_it_stands(signal: Signal, facts: dict[str, Any], best: Match | None) -> Setup:
    return Setup(
        direction=signal.direction,
        pattern=None if best is None else best.pattern.name,
        confidence=0.0 if best is None else best.confidence,
        scores=score(facts, signal.direction, None if best is None else best.pattern.weights),
        entry="market",
        entry_price=signal.price,
        stop_loss=signal.stop_loss,
        target=signal.target,
        quantity=signal.quantity,
        position_size_pct=signal.position_size_pct,
        leverage=signal.leverage,
    )


def _planned(
    signal: Signal, facts: dict[str, Any], one: Match, direction: Direction, max_share: float
) -> Setup | None:
    """The setup of a pattern, with what a trade's sender decided himself left in it."""
    own = signal.action == "trade"
    plan = build(
        one.pattern,
        direction,
        facts["price"],
        facts,
        confidence=one.confidence,
        stop_loss=signal.stop_loss if own else None,
        target=signal.target if own else None,
    )
    if plan is None:
        return None
    quantity = signal.quantity if own else None
    size = signal.position_size_pct if own else None
    return Setup(
        direction=direction,
        pattern=one.pattern.name,
        confidence=one.confidence,
        scores=score(facts, direction, one.pattern.weights),
        entry=plan.entry,
        entry_price=plan.entry_price,
        stop_loss=plan.stop_loss,
        target=plan.target,
        quantity=quantity,
        position_size_pct=min(plan.position_size_pct, max_share) if quantity is None and size is None else size,
        leverage=signal.leverage,
        notes=plan.notes,
    )
