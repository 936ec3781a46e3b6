"""The judge of a rollout: is the canary as good as what it would replace? Pure.

What passes has evidence of health, what fails has evidence of harm, and everything else is undecided: silence
proves nothing. `docs/judging.md` has the reasons and the figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from deployment.count_metrics import count_metrics, everywhere
from deployment.hard_rules import hard_rules, segments_since
from deployment.pair_metrics import add, is_noisy, pair_metrics
from deployment.samples import Difference, Facts, Segment
from deployment.verdict import GUARD, METRICS, Metric, Policy, Rule, Verdict
from deployment.weighing import Bar

__all__ = ["judge"]


def judge(
    segments: Iterable[Segment],
    facts: Facts,
    differences: Iterable[Difference],
    policy: Policy,
    *,
    answered: Iterable[Segment] = (),
) -> Verdict:
    """Judge a canary by all that is known of it.

    Ask as often as you like, and always with everything since the release was first shown a signal: both errors
    hold for the whole rollout then. What is asked of a stage besides (how long, how many signals at least) is the
    rollout's own to add.

    Args:
        segments: The evidence of every role and routing table, in any order.
        facts: What needs no statistics. A rollout that goes on after a hold gives what came since, see
            `hard_rules.since`.
        differences: Counter-examples.
        policy: What is asked for.
        answered: The evidence at the moment at which somebody answered for a hold. What is nobody's fault holds
            again only if it comes again; what speaks against the canary is not forgiven.
    """
    seen = list(answered)
    by_role: dict[str, list[Segment]] = {}
    for segment in segments:
        by_role.setdefault(segment.role, []).append(segment)
    deciding = sum(not policy.observes(role, metric) for role in by_role for metric in METRICS)
    bar = Bar(policy, math.log10(max(1, deciding) / policy.alpha))
    changed = any(add(each).declared for each in by_role.values())
    found = sorted((each for each in differences if not each.declared), key=lambda each: (each.at, each.trace_id))
    metrics: list[Metric] = []
    rules = list(hard_rules(facts, policy))
    for role, own in sorted(by_role.items()):
        metrics += pair_metrics(role, own, bar)
        metrics += count_metrics(role, own, bar, changed=changed)
        later = segments_since(own, seen)
        rules += everywhere(role, later, bar)
        rules += [
            Rule(each.name, "undecided", each.why, role)
            for each in count_metrics(role, later, bar, changed=changed)
            if each.holds
        ]
        rules += _different(role, own, found, policy)
        rules += _few(role, own, policy)
    return _answer(metrics, rules, found[0] if found else None)


def _answer(metrics: Sequence[Metric], rules: Sequence[Rule], example: Difference | None) -> Verdict:
    """The verdict: what is certain comes first, and every doubt before a pass."""
    harmed = [metric for metric in metrics if metric.harmed and metric.name != GUARD]
    missing = [metric for metric in metrics if metric.must_pass and not metric.healthy]
    needed = [metric for metric in metrics if metric.must_pass]
    to_fail = min(
        (metric.to_fail for metric in metrics if metric.can_fail and metric.to_fail is not None), default=None
    )
    waits = [metric.to_pass for metric in missing]
    to_pass = max((wait for wait in waits if wait is not None), default=0) if None not in waits and needed else None

    def verdict(answer: str, why: str, *, hold: bool = False) -> Verdict:
        return Verdict(
            answer,  # type: ignore[arg-type]
            why,
            hold,
            tuple(metrics),
            tuple(rules),
            example,
            to_pass if answer == "undecided" else None,
            to_fail if answer == "undecided" else None,
        )

    for rule in rules:
        if rule.answer == "fail":
            return verdict("fail", _of_role(rule.role, rule.why))
    invalid = {metric.role: metric for metric in metrics if metric.name == GUARD and metric.harmed}
    for metric in harmed:
        if metric.name.startswith("pairs.") or metric.role not in invalid:
            return verdict("fail", _of_role(metric.role, metric.why))
    for metric in invalid.values():
        return verdict("invalid", _of_role(metric.role, metric.why), hold=True)
    for rule in rules:
        if rule.name != "few":
            return verdict("undecided", _of_role(rule.role, rule.why), hold=True)
    for rule in rules:
        return verdict("undecided", _of_role(rule.role, rule.why))
    for metric in missing:
        return verdict("undecided", _of_role(metric.role, metric.why))
    if not needed:
        return verdict("undecided", "no metric decides anything: there is no evidence")
    return verdict("pass", f"{len(needed)} of {len(needed)} metrics that it takes have evidence of health")


def _different(
    role: str, segments: Sequence[Segment], found: Sequence[Difference], policy: Policy
) -> Iterator[Rule]:
    """An undeclared difference of a role that never differs from itself."""
    different = add(segments, replayed=policy.replay).different
    if different and not is_noisy(role, segments, policy) and not policy.observes(role, "pairs.different"):
        signals = "a signal" if different == 1 else f"{different} signals"
        why = f"canary and baseline decided {signals} differently, which is not declared"
        for each in (each for each in found if each.role == role):
            why += f": {each.symbol} {each.trace_id} at {each.path}, {each.canary!r} and {each.baseline!r}"
            break
        yield Rule("different", "fail", why, role)


def _few(role: str, segments: Sequence[Segment], policy: Policy) -> Iterator[Rule]:
    """Too few live signals, whatever replayed ones say."""
    live = max(add(segments).compared, sum(segment.canary.signals for segment in segments))
    if live < policy.minimum_signals:
        why = f"the canary decided {live} of the {policy.minimum_signals} live signals that it takes at least"
        yield Rule("few", "undecided", why, role)


def _of_role(role: str, why: str) -> str:
    return f"{role}: {why}" if role else why
