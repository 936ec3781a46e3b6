"""The judge's whole decision as a pure function: what it was made from in, the verdict out.

The hierarchy: the Graveyard's veto; the operator's ruleset; the portfolio; the quality of the pattern; and the
weighted synthesis with its three zones. A level that denies ends it; what is weighed at the end has passed all
others. A person's consent is asked for where the Graveyard wants it or the synthesis is not sure, and counts for
nothing else: what a rule denies, nobody can allow.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

import graveyard.ethics
from actors.messages import Violation
from actors.ruleset_judge import Rulebook, RulesetStatement, judge_ruleset
from actors.ruleset_view import View
from actors.synthesis import (
    Claim,
    Record,
    context_level,
    graveyard_level,
    risk_level,
    synthesize,
    truth_level,
)
from actors.viewing import Recount
from graveyard import Account, Action, Facts, Finding, Judgement, Limits, Statement, judge
from graveyard.canaries import failing

__all__ = ["Inputs", "Verdict", "bound", "decide", "judge_fault"]

Zone: TypeAlias = Literal["approve", "hold", "deny"]

NEAR = 1e-9
"""So far may a pattern's confidence be from the one that is counted again: both are the same arithmetic."""
ZERO = Decimal(0)


class Inputs(msgspec.Struct, frozen=True):
    """All that a decision is made from; kept beside it, so that it can be explained later.

    Attributes:
        action, account, facts: What the Graveyard judges by.
        view: What the ruleset judges by.
        claims: What the signal says of itself, beside what is known of it.
        record: Of the signal's source, before this signal.
        recounted: The pattern's confidence and scores, counted again; None where the pattern does not hold.
        worst: The worst price that a unit may be filled at, quote currency.
    """

    action: Action
    account: Account
    facts: Facts
    view: View
    claims: tuple[Claim, ...]
    record: Record | None
    recounted: Recount | None
    worst: Decimal


class Verdict(msgspec.Struct, frozen=True):
    """What came out.

    Attributes:
        zone: `approve`, `hold` or `deny`.
        level: The level that decided.
        violations: What denies, or what a person is asked about.
        warnings: What merely warns.
        rules_checked: Names of all rules that were judged.
        score, levels: Of the synthesis; None and empty where an earlier level had already denied.
        alarms: Rules that raise the alarm, each with its message.
        statements: What each rule of the Graveyard says, where that was asked for.
        ruleset_statements: What each rule of the ruleset says, likewise.
    """

    zone: Zone
    level: str
    violations: tuple[Violation, ...]
    warnings: tuple[Violation, ...]
    rules_checked: tuple[str, ...]
    score: float | None = None
    levels: dict[str, float] = {}
    alarms: tuple[tuple[str, str], ...] = ()
    statements: tuple[Statement, ...] = ()
    ruleset_statements: tuple[RulesetStatement, ...] = ()


def decide(inputs: Inputs, limits: Limits, book: Rulebook, *, telling: bool = False) -> Verdict:
    """Judge one action on every level.

    Args:
        inputs: What is proposed, and what is known.
        limits: The Graveyard's, or stricter ones.
        book: The operator's ruleset.
        telling: Whether every rule should say what it saw; no level then spares the ones after it.
    """
    judgement = judge(inputs.action, inputs.account, inputs.facts, limits, telling=telling)
    warnings = tuple([_violation(each) for each in judgement.findings if not (each.denies or each.asks)])
    vetoed = judgement.denied
    if vetoed and not telling:
        return Verdict(
            "deny",
            "graveyard",
            _vetoes(judgement, inputs),
            warnings,
            judgement.rules_checked,
            alarms=_alarms(judgement),
        )
    by_ruleset = judge_ruleset(inputs.view, book, live=inputs.facts.live is not False, telling=telling)
    asks = tuple([_violation(each) for each in judgement.findings if each.asks])
    warnings += by_ruleset.warnings
    checked = judgement.rules_checked + by_ruleset.rules_checked
    score, levels, zone, level = None, {}, "deny", "graveyard"
    violations = _vetoes(judgement, inputs)
    if not vetoed:
        for level, found in (  # noqa: B007 - the level that denied, or else the last one
            ("ruleset", by_ruleset.violations),
            ("portfolio", _portfolio(inputs)),
            ("quality", _quality(inputs)),
        ):
            violations = found
            if found:
                break
        else:
            mercies = sum(each.mercy for each in judgement.findings)
            quality = len(judgement.findings) - mercies - len(asks) + by_ruleset.quality_warnings
            outcome = synthesize(_levels(inputs, limits, len(checked), quality), book.ruleset.synthesis)
            score, levels, zone, level = outcome.score, outcome.levels, outcome.zone, "synthesis"
            violations = () if zone == "approve" else (_unsure(outcome.score, outcome.zone, book),)
            if zone == "hold" and inputs.facts.person is True:
                zone, level, violations = "approve", "person", ()
            if zone != "deny" and asks:
                zone, level, violations = "hold", "graveyard", asks + violations
    return Verdict(
        zone,  # type: ignore[arg-type]
        level,
        violations,
        warnings,
        checked,
        score,
        levels,
        _alarms(judgement),
        judgement.statements,
        by_ruleset.statements,
    )


def bound(inputs: Inputs, limits: Limits) -> tuple[Zone, tuple[Violation, ...]]:
    """The most that may be said, whatever the ruleset and all that is weighed say: the Graveyard's word, and the
    account's.

    Args:
        inputs, limits: As for `decide`.

    Returns:
        It, and what stands against more.
    """
    judgement = judge(inputs.action, inputs.account, inputs.facts, limits)
    denied = _vetoes(judgement, inputs) or _portfolio(inputs)
    if denied:
        return "deny", denied
    asks = tuple([_violation(each) for each in judgement.findings if each.asks])
    return ("hold" if asks else "approve"), asks


def judge_fault() -> str:
    """What is wrong with the judgement in this process; empty for nothing.

    Whether the names that `decide` uses still mean the rule book's own functions, and whether these still deny
    what each rule must deny: the last thing that a patched interpreter would have to fake.
    """
    if judge is not graveyard.ethics.judge:
        return "the judge's `judge` is not the rule book's"
    failed = failing(judge)
    return f"known-bad actions are let through: {'; '.join(failed)}" if failed else ""


def _violation(finding: Finding) -> Violation:
    rule = finding.rule
    return Violation(rule.name, rule.category, rule.severity, finding.message)


def _vetoes(judgement: Judgement, inputs: Inputs) -> tuple[Violation, ...]:
    """What the Graveyard denies; and first, where no unit is left to trade, why: the Graveyard sees only a 0."""
    found = tuple([_violation(each) for each in judgement.findings if each.denies])
    if not found:
        return found
    own = _portfolio(inputs)
    return own + found if inputs.action.quantity is not None and inputs.action.quantity.is_zero() else found + own


def _alarms(judgement: Judgement) -> tuple[tuple[str, str], ...]:
    return tuple(
        [(each.rule.name, each.message) for each in judgement.findings if each.denies and each.rule.alarms]
    )


def _portfolio(inputs: Inputs) -> tuple[Violation, ...]:
    """What the account itself has against it: a size that is named twice and differently, or that buys nothing."""
    action = inputs.action
    for claim in inputs.claims:
        if claim.name == "position_size_pct" and not claim.agrees:  # only where the sender named both
            message = (
                f"`position_size_pct` is {claim.claimed:.6g}, but `quantity` comes to {claim.known:.6g} of the"
                " equity; name one of them"
            )
            return (Violation("one_size", "portfolio", "MEDIUM", message),)
    if action.quantity is None or not action.quantity.is_zero() or action.position_size_pct is None:
        return ()
    message = (
        f"`position_size_pct` {action.position_size_pct} of the equity {inputs.account.equity} buys not one unit of"
        f" {action.symbol} at {inputs.worst}"
    )
    return (Violation("whole_units", "portfolio", "MEDIUM", message),)


def _quality(inputs: Inputs) -> tuple[Violation, ...]:
    """Whether the pattern is what it is said to be."""
    view = inputs.view
    if view.pattern is None:
        return ()
    claimed, found = view.confidence, inputs.recounted
    seen = "it does not hold"
    if found is not None:
        if claimed is None or not abs(found.confidence - claimed) <= NEAR:
            seen = f"it is {found.confidence:.4f}"
        elif found.scores.keys() != view.scores.keys() or not all(
            abs(found.scores[name] - value) <= NEAR for name, value in view.scores.items()
        ):
            seen = f"its scores are {found.scores}, not {view.scores}"
        else:
            return ()
    message = f"{view.pattern} is said to be sure to {claimed}; counted again, {seen}"
    return (Violation("pattern_quality", "quality", "HIGH", message),)


def _unsure(score: float, zone: str, book: Rulebook) -> Violation:
    bounds = book.ruleset.synthesis
    asked = f"{bounds.approve} approves" if zone == "hold" else f"{bounds.hold} is put before a person"
    return Violation("synthesis", "synthesis", "MEDIUM", f"the score is {score:.3f}; only from {asked}")


def _levels(inputs: Inputs, limits: Limits, judged: int, warnings: int) -> dict[str, float | None]:
    view, account, action = inputs.view, inputs.account, inputs.action
    return {
        "graveyard": graveyard_level(judged, warnings),
        "context": context_level(view.confidence, view.scores),
        "truth": truth_level(inputs.claims, inputs.record),
        "risk": risk_level(*_used(action, account, limits, inputs.worst)),
    }


def _used(action: Action, account: Account, limits: Limits, worst: Decimal) -> tuple[float, float, float]:
    """The shares of the limits of position, leverage and daily loss that would be used."""
    # Nothing comes here that the Graveyard did not find all of these in.
    assert action.quantity is not None
    assert action.price is not None
    assert action.stop_loss is not None
    assert account.equity is not None
    assert account.exposures is not None
    assert account.open_risk is not None
    assert account.day_start_equity is not None
    equity, start, new = account.equity, account.day_start_equity, action.quantity * worst
    held = account.exposures.get(action.symbol, ZERO)
    risk = account.open_risk + action.quantity * abs(action.price - action.stop_loss)
    return (
        float((held + new) / (equity * limits.max_position_size)),
        float(sum(account.exposures.values(), new) / (equity * limits.max_leverage)),
        float((max(start - equity, ZERO) + risk) / (start * limits.max_daily_loss)),
    )
