"""The metrics of each arm's own signals, which no other arm has had. Pure.

Where traffic is split by symbol the arms have different symbols, and a difference of the arms may be one of the
symbols. So what pairs can answer is left to pairs, and counts speak only where those are silent: about a role
whose decisions are not compared, or are declared to change, and about answers that never came. They roll back only
where each signal is assigned by itself; where a key is, they make the rollout hold, so that a person looks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from deployment import evidence
from deployment.evidence import Split
from deployment.pair_metrics import add, is_noisy
from deployment.samples import Counts, Segment
from deployment.verdict import COUNTS, GUARD, Metric, Rule
from deployment.weighing import Bar, Seen, more, scaled, weigh

__all__ = ["count_metrics", "everywhere"]

_WORDS = {
    "counts.denied": "were denied",
    "counts.failed": "failed",
    "counts.late": "were late",
    "counts.slow": "took too long",
    "counts.broken": "had no usable answer",
}


def count_metrics(role: str, segments: Sequence[Segment], bar: Bar, *, changed: bool) -> Iterator[Metric]:
    """The metrics of one role.

    Args:
        role: The agent.
        segments: Its evidence.
        bar: What they are held against.
        changed: Whether the release, of whatever role, was seen to decide otherwise as it declares.
    """
    pairs = add(segments, replayed=bar.policy.replay)
    # Noise is in pairs of both directions alike, and weighed there. Symbols that differ are in counts alone.
    trusted = bar.policy.split == "signal" and is_noisy(role, segments, bar.policy)
    alike = pairs.compared > 0 and not pairs.declared and not trusted
    for name in COUNTS:
        silent = ""
        if name == "counts.denied" and changed:
            silent = "the release declares that it decides otherwise"
        elif name != "counts.broken" and alike:
            silent = "the same signals at both arms say more"
        yield _counted(role, name, segments, bar, silent=silent, paired=pairs.compared > 0)
    yield _guard(role, segments, bar)


def everywhere(role: str, segments: Sequence[Segment], bar: Bar) -> Iterator[Rule]:
    """Trouble that is not, or not only, the canary's: nobody is to blame, and the rollout holds."""
    policy, threshold = bar.policy, bar.threshold
    arms = {arm: _total([getattr(each, arm) for each in segments]) for arm in ("canary", "baseline", "stable")}
    late = {arm: f"{each.late} of {each.signals}" for arm, each in arms.items() if each.signals}
    own = arms["canary"]
    if evidence.above(own.signals, own.late, policy.late_allowed) >= threshold:
        said = ", ".join(f"{count} at the {arm}" for arm, count in late.items())
        yield Rule("late", "undecided", f"more outcomes are late than the objective allows: {said}", role)
    broken = {
        arm: f"{each.broken} of {each.trials}"
        for arm, each in arms.items()
        if evidence.above(each.trials, each.broken, policy.limit) >= threshold
    }
    if broken and broken.keys() != {"canary"}:
        said = ", ".join(f"{count} at the {arm}" for arm, count in broken.items())
        yield Rule("broken", "undecided", f"signals have no usable answer, and not only the canary's: {said}", role)
    noise = add(segments, of="noise")
    if evidence.above(noise.compared, noise.broken_first, policy.limit) >= threshold:
        said = (
            f"it had no usable answer to {noise.broken_first} of {noise.compared} signals that the stable one had"
        )
        yield Rule("baseline", "undecided", f"the baseline is no fair comparison: {said}", role)


def _counted(role: str, name: str, segments: Sequence[Segment], bar: Bar, *, silent: str, paired: bool) -> Metric:
    """A trouble of single signals. Fewer denials are as bad as more: a rule may have been missed.

    Args:
        role, name: Of the metric.
        segments: The role's evidence.
        bar: What it is held against.
        silent: Why it cannot blame the canary, if so.
        paired: Whether there are pairs to pass by.
    """
    policy, both_ways = bar.policy, name == "counts.denied"
    limit = policy.late_limit if name in ("counts.late", "counts.slow") else policy.limit
    # Whoever never decided beside the canary (the stable one, where canary and baseline share all between them)
    # says nothing about it, and must not be asked to confirm a difference either.
    beside = [each for each in segments if each.canary_share > 0] or segments
    controls = [arm for arm in ("baseline", "stable") if any(_share(each, arm) > 0 for each in beside)]
    figures = {
        arm: [_figures(name, getattr(each, arm)) for each in segments] for arm in ("canary", "baseline", "stable")
    }
    units = {arm: sum(unit for unit, _ in each) for arm, each in figures.items()}
    bad = {arm: sum(count for _, count in each) for arm, each in figures.items()}
    everybody = units["canary"] + sum(units[arm] for arm in controls)

    def splits(first: str, second: str) -> list[Split]:
        found = []
        for segment, (units_one, bad_one), (units_two, bad_two) in zip(
            segments, figures[first], figures[second], strict=True
        ):
            one, two = float(units_one), float(units_two)
            if policy.split == "signal":
                one, two = _share(segment, first), _share(segment, second)
            if bad_one + bad_two and one and two:
                found.append(Split(one / (one + two), bad_one + bad_two, bad_one))
        return found

    own = [splits("canary", arm) for arm in controls]

    def grown(signals: int) -> list[list[Split]]:
        return own if signals == everybody else [more(each, signals, everybody) for each in own]

    def differ(events: list[Split]) -> float:
        up = evidence.more_often(events, policy.margin)
        return evidence.any_of(up, evidence.more_often(evidence.turned(events), policy.margin)) if both_ways else up

    def harm(signals: int) -> float:
        return evidence.average([differ(each) for each in grown(signals)])

    def rare(signals: int, arms: Sequence[str]) -> float:
        given = sum(units[arm] for arm in arms)
        given = scaled(given, signals, everybody) if everybody else signals
        return evidence.no_excess(given, scaled(sum(bad[arm] for arm in arms), signals, everybody), limit=limit)

    def health(signals: int) -> float:
        # Harmful is who has it often and much more often than the control: either is evidence against that.
        against = grown(signals)
        up = evidence.average(
            [
                rare(signals, ["canary"]),
                evidence.average([evidence.unlike_twice(each, policy.harmful) for each in against]),
            ]
        )
        if not both_ways:
            return up
        other = [evidence.unlike_twice(evidence.turned(each), policy.harmful) for each in against]
        return evidence.all_of(up, evidence.average([rare(signals, controls), evidence.average(other)]))

    if not silent and len(controls) == 2 and harm(everybody) >= bar.threshold:
        if differ(splits("baseline", "stable")) >= bar.threshold:
            silent = "baseline and stable run the same code and differ as well"
        elif min(differ(each) for each in own) < math.log(1 / policy.beta):
            silent = "it does not differ from both baseline and stable"
    speaks = not policy.observes(role, name) and not silent
    other = sum(bad[arm] for arm in controls)
    rest = everybody - units["canary"]
    why = f"of {units['canary']} signals of the canary {bad['canary']} {_WORDS[name]}, of {rest} others {other}"
    return weigh(
        Seen(
            role=role,
            name=name,
            n=everybody,
            x=bad["canary"],
            control=other,
            can_fail=speaks and policy.split == "signal",
            must_pass=not policy.observes(role, name) and not paired,
            why=f"{why} ({silent})" if silent else why,
            can_hold=speaks and policy.split == "key",
        ),
        harm,
        health,
        bar,
    )


def _guard(role: str, segments: Sequence[Segment], bar: Bar) -> Metric:
    """Whether signals are counted where they belong.

    Where each signal is assigned by itself, the arms must have signals by their shares. Where a key as the
    symbol is, there is no telling how many those are; but outcomes must come to the arms as their answers did. What
    a person is asked about has its outcome from the role, whoever held it.
    """
    policy, splits = bar.policy, []
    # Nobody counts what the role's own process answers: its outcomes alone would be too many.
    counted = ["canary", "baseline", *(["stable"] if any(each.stable.trials for each in segments) else [])]
    for segment in segments:
        own = segment.canary
        arms = [each for each in (getattr(segment, arm) for arm in counted) if each.trials]
        if policy.split == "signal":
            shared = sum(_share(segment, arm) for arm in counted)
            share = segment.canary_share / shared if shared else 0.0
            splits.append(Split(share, sum(each.trials for each in arms), own.trials))
        else:
            answered, all_answered = _answered([own]), _answered(arms)
            share = answered / all_answered if all_answered else 0.0
            # Without trials of its own, outcomes are those of the role's process, once that runs the release.
            ended = own.signals if own.trials else 0
            splits.append(Split(share, sum(each.signals for each in arms), ended))
    events, first = sum(each.events for each in splits), sum(each.first for each in splits)
    expected = sum(each.events * each.share for each in splits)
    what = "signals" if policy.split == "signal" else "outcomes"
    return weigh(
        Seen(
            role=role,
            name=GUARD,
            n=events,
            x=first,
            control=events - first,
            can_fail=not policy.observes(role, GUARD),
            must_pass=False,
            why=f"of {events} {what} {first} are the canary's, where its share makes {expected:.0f}",
        ),
        lambda signals: evidence.off_share(
            splits if signals == events else more(splits, signals, events), policy.share_margin
        ),
        lambda signals: 0.0,
        bar,
    )


def _figures(name: str, counts: Counts) -> tuple[int, int]:
    """Of how many signals of an arm a metric knows, and how many of them were bad."""
    what = name.removeprefix("counts.")
    units = {"broken": counts.trials, "slow": counts.trials - counts.broken}.get(what, counts.signals)
    return units, getattr(counts, what)


def _answered(arms: Sequence[Counts]) -> int:
    """How many signals arms gave an answer to that is sent on, and has an outcome."""
    return sum(max(0, each.trials - each.broken - each.held) for each in arms)


def _share(segment: Segment, arm: str) -> float:
    """An arm's share of the traffic."""
    shares = {"canary": segment.canary_share, "baseline": segment.baseline_share}
    return shares.get(arm, max(0.0, 1 - segment.canary_share - segment.baseline_share))


def _total(counts: Sequence[Counts]) -> Counts:
    """All counts together."""
    return Counts(**{name: sum(getattr(each, name) for each in counts) for name in Counts.__struct_fields__})
