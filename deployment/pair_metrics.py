"""The metrics of signals that canary and baseline both decided. Pure.

The strongest evidence there is: the same signals, at the same time, with the same inputs. What is in the
market, or in the day, is in both arms. A signal on which both do alike says nothing for or against harm,
whatever they did; so harm is McNemar's test as a martingale: of the signals that are bad at one arm only, half
are the canary's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from deployment import evidence
from deployment.evidence import Split
from deployment.samples import Pairs, Segment
from deployment.verdict import Metric, Policy
from deployment.weighing import Bar, Seen, more, scaled, weigh

__all__ = ["add", "is_noisy", "pair_metrics"]

_WORDS = {
    "pairs.denied": "were denied by",
    "pairs.slow": "took too long at",
    "pairs.broken": "had no usable answer from",
}


def add(segments: Sequence[Segment], *, replayed: bool = False, of: Literal["pairs", "noise"] = "pairs") -> Pairs:
    """All segments' pairs together.

    Args:
        segments: Of one role.
        replayed: Whether those of replayed signals belong to them.
        of: Canary and baseline (`pairs`), or baseline and stable (`noise`).
    """
    pairs = [getattr(segment, of) for segment in segments]
    pairs += [segment.replayed for segment in segments if replayed]
    return Pairs(**{name: sum(getattr(each, name) for each in pairs) for name in Pairs.__struct_fields__})


def is_noisy(role: str, segments: Sequence[Segment], policy: Policy) -> bool:
    """Whether a role decides differently in two runs of the same code: by the policy, or as was seen."""
    return role in policy.noisy or any(segment.noise.different for segment in segments)


def pair_metrics(role: str, segments: Sequence[Segment], bar: Bar) -> Iterator[Metric]:
    """The metrics of one role; none is needed for a pass where no signal was given to both arms."""
    pairs = add(segments, replayed=bar.policy.replay)
    yield _different(role, segments, pairs, bar)
    # Where a release declares that it decides otherwise, so many refusals more, or fewer, are as declared. One that
    # is not is among the differences.
    denied = max(0, pairs.denied_first - pairs.declared), max(0, pairs.denied_second - pairs.declared)
    yield _paired(role, "pairs.denied", pairs.compared, denied, bar)
    yield _paired(role, "pairs.slow", pairs.compared, (pairs.slow_first, pairs.slow_second), bar)
    yield _paired(role, "pairs.broken", pairs.compared, (pairs.broken_first, pairs.broken_second), bar)


def _paired(role: str, name: str, compared: int, bad: tuple[int, int], bar: Bar) -> Metric:
    """A trouble that each arm may have alone. Fewer denials are as bad as more: a rule may have been missed."""
    policy, (first, second) = bar.policy, bad
    both_ways = name == "pairs.denied"
    observed = policy.observes(role, name)

    def harm(signals: int) -> float:
        one, other = scaled(first, signals, compared), scaled(second, signals, compared)
        up = evidence.excess(signals, one, other, policy.tolerance)
        return evidence.any_of(up, evidence.excess(signals, other, one, policy.tolerance)) if both_ways else up

    def health(signals: int) -> float:
        one, other = scaled(first, signals, compared), scaled(second, signals, compared)
        up = evidence.no_excess(signals, one, other, policy.limit)
        return evidence.all_of(up, evidence.no_excess(signals, other, one, policy.limit)) if both_ways else up

    return weigh(
        Seen(
            role=role,
            name=name,
            n=compared,
            x=first,
            control=second,
            can_fail=not observed,
            must_pass=compared > 0 and not observed,
            why=f"of {compared} signals that both decided {first} {_WORDS[name]} the canary alone, and {second}"
            " the baseline alone",
        ),
        harm,
        health,
        bar,
    )


def _different(role: str, segments: Sequence[Segment], pairs: Pairs, bar: Bar) -> Metric:
    """Decisions that differ, against how often two runs of the same code differ on the same signals.

    There is noise only of signals that the role decided itself, so less with each stage, and none of replayed ones.
    How often decisions differ may change with the market, so each segment's differences are held against its own
    noise; one without noise is no evidence of harm. Nor is it of health: what differs there is not excused.
    """
    policy, noise = bar.policy, add(segments, of="noise")
    compared, different, usual = pairs.compared, pairs.different, noise.different
    observed = policy.observes(role, "pairs.different")
    splits = [
        Split(
            each.pairs.compared / (each.pairs.compared + each.noise.compared),
            each.pairs.different + each.noise.different,
            each.pairs.different,
        )
        for each in segments
        if each.noise.compared
    ]
    # Noise of more signals than were compared must not speak for the canary.
    excused = scaled(usual, compared, noise.compared) if noise.compared > compared else usual

    def harm(signals: int) -> float:
        seen = splits if signals == compared else more(splits, signals, compared)
        return evidence.more_often(seen, policy.margin)

    def health(signals: int) -> float:
        own, other = scaled(different, signals, compared), scaled(excused, signals, compared)
        return evidence.no_excess(signals, own, other, policy.limit)

    why = f"of {compared} signals that both decided {different} were decided differently, undeclared"
    if is_noisy(role, segments, policy):
        why += f"; of {noise.compared} that the same code decided twice, {usual} were"
    return weigh(
        Seen(
            role=role,
            name="pairs.different",
            n=compared,
            x=different,
            control=usual,
            can_fail=not observed,
            must_pass=compared > 0 and not observed,
            why=why,
        ),
        harm,
        health,
        bar,
    )
