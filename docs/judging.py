"""Writes the simulated table of `docs/judging.md`: `python -m docs.judging`. It takes some minutes.

The same streams of signals go to the judge and to the original's tripwires: an hour of the stable version alone,
then 10, 25, 50 and 100 % for ten minutes each, looked at twice a minute. Each signal is assigned by itself. The
random numbers have a seed, so the table comes out the same again.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeVar

import msgspec

from deployment.judge import judge
from deployment.samples import Counts, Facts, Pairs, Segment
from deployment.tripwires import Look, Tripwires, check
from deployment.verdict import Policy
from docs.generate import table

PAGE = Path(__file__).parent / "judging.md"
RUNS = 200
LOOK_S = 30
STAGES = ((0.1, 0.1), (0.25, 0.25), (0.5, 0.5), (1.0, 0.0))
"""The canary's and the baseline's share of the traffic."""
STAGE_S = 600
HOUR_S = 3600


@dataclass(frozen=True)
class Scenario:
    """What is true.

    Attributes:
        name: In words.
        rate: Signals a second.
        denied: The share of its signals that the old version denies, and the new one beside what it should.
        ratio: How many times as often the canary denies.
        late: The share of late signals at the old version;
        canary_late: at the canary.
    """

    name: str
    rate: float = 2.0
    denied: float = 0.01
    ratio: float = 1.0
    late: float = 0.001
    canary_late: float = 0.001


SCENARIOS = (
    Scenario("as good, 1 % denied, 2 signals a second"),
    Scenario("as good, 0.1 % denied", denied=0.001),
    Scenario("as good, 5 % denied", denied=0.05),
    Scenario("as good, 4.5 % late as ever", late=0.045, canary_late=0.045),
    Scenario("twice as often denied", ratio=2.0),
    Scenario("5 times as often denied", ratio=5.0),
    Scenario("never denies", ratio=0.0),
    Scenario("20 % late instead of 0.1 %", canary_late=0.2),
)


@dataclass(frozen=True)
class Moment:
    """What there is to see at a look.

    Attributes:
        now: Seconds since the canary has its first share.
        since: When the stage began.
        segments: The evidence.
    """

    now: float
    since: float
    segments: Sequence[Segment]


Sums = TypeVar("Sums", Counts, Pairs)
End = tuple[str, float]
"""`pass`, `fail` or `undecided`, and after how many seconds."""


def main() -> None:
    """Write the table anew."""
    begin, rows, end = "<!-- simulated -->\n", simulated(RUNS), "<!-- end of what is simulated -->"
    text = PAGE.read_text(encoding="utf-8")
    filled = re.sub(f"{begin}.*?{end}", lambda _: begin + rows + end, text, flags=re.DOTALL)
    PAGE.write_text(filled, encoding="utf-8")


def simulated(runs: int) -> str:
    """The table."""
    rows = []
    for scenario in SCENARIOS:
        ends: list[list[End]] = [[], [], []]
        for seed in range(runs):
            moments = list(stream(scenario, Random(seed)))
            for judged, found in zip((tripped, counted, paired), ends, strict=True):
                found.append(judged(moments))
        rows.append((scenario.name, *(said(each) for each in ends)))
    return table(
        ("the canary is", "the original's tripwires", "the judge, by counts alone", "the judge, with pairs"), rows
    )


def said(ends: Sequence[End]) -> str:
    """How rollouts ended: how many were rolled back and when half of those were, and how many passed."""
    failed = [at / 60 for answer, at in ends if answer == "fail"]
    passed = sum(answer == "pass" for answer, _ in ends)
    after = f" (after {statistics.median(failed):.1f} min)" if failed else ""
    return f"rolled back {len(failed) / len(ends):.1%}{after}, passed {passed / len(ends):.1%}"


def tripped(moments: Sequence[Moment]) -> End:
    """How a rollout ends by the tripwires."""
    history: tuple[Look, ...] = ()
    policy = Tripwires()
    for moment in moments:
        history, verdict = check(history, moment.segments, Facts(), policy, now=moment.now, since=moment.since)
        if moment.now > 0 and verdict.answer == "fail":
            return "fail", moment.now
    return verdict.answer, moments[-1].now


def paired(moments: Sequence[Moment]) -> End:
    """How a rollout ends by the judge, who sees pairs, too."""
    return by_judge(moments, lambda segment: segment)


def counted(moments: Sequence[Moment]) -> End:
    """How a rollout ends by the judge, who sees each arm's own signals only."""
    return by_judge(moments, lambda segment: msgspec.structs.replace(segment, pairs=Pairs()))


def by_judge(moments: Sequence[Moment], seen: Callable[[Segment], Segment]) -> End:
    """How a rollout ends by the judge; it passes if it does in the end."""
    policy = Policy(split="signal")
    answer = "undecided"
    for moment in moments:
        if moment.now <= 0:
            continue
        verdict = judge([seen(each) for each in moment.segments if each.generation], Facts(), [], policy)
        answer = verdict.answer
        if answer == "fail":
            return answer, moment.now
    return answer, moments[-1].now


def stream(scenario: Scenario, random: Random) -> Iterator[Moment]:
    """Everything there is to see, look by look."""
    before = Segment("hrm", 0)
    for now in range(-HOUR_S, 0, LOOK_S):
        before = later(before, scenario, random)
        yield Moment(now + LOOK_S, 0.0, [before])
    done = [before]
    for stage, (canary, baseline) in enumerate(STAGES):
        segment = Segment("hrm", stage + 1, canary, baseline)
        for now in range(stage * STAGE_S, (stage + 1) * STAGE_S, LOOK_S):
            segment = later(segment, scenario, random)
            yield Moment(now + LOOK_S, stage * STAGE_S, [*done, segment])
        done.append(segment)


def later(segment: Segment, scenario: Scenario, random: Random) -> Segment:
    """A segment when so much more has come as comes between two looks."""
    expected = scenario.rate * LOOK_S
    canary, baseline = segment.canary_share, segment.baseline_share
    wrong = scenario.denied * scenario.ratio
    arms = {
        "canary": more(segment.canary, canary * expected, wrong, scenario.canary_late, random),
        "baseline": more(segment.baseline, baseline * expected, scenario.denied, scenario.late, random),
        "stable": more(segment.stable, (1 - canary - baseline) * expected, scenario.denied, scenario.late, random),
    }
    if not segment.generation:
        return msgspec.structs.replace(segment, **arms)
    compared = poisson(expected, random)
    # What the old version denies the new one denies as well, and more, or less, of it.
    first = poisson(compared * max(0.0, wrong - scenario.denied), random)
    second = poisson(compared * max(0.0, scenario.denied - wrong), random)
    pairs = Pairs(
        compared=compared,
        different=first + second,
        denied_first=first,
        denied_second=second,
        slow_first=poisson(compared * scenario.canary_late * (1 - scenario.late), random),
        slow_second=poisson(compared * scenario.late * (1 - scenario.canary_late), random),
    )
    return msgspec.structs.replace(segment, pairs=add(segment.pairs, pairs), **arms)


def more(counts: Counts, expected: float, denied: float, late: float, random: Random) -> Counts:
    """An arm's counts when more signals have come."""
    signals = poisson(expected, random)
    return add(
        counts,
        Counts(
            trials=signals,
            signals=signals,
            denied=min(signals, poisson(signals * denied, random)),
            late=min(signals, poisson(signals * late, random)),
        ),
    )


def add(one: Sums, other: Sums) -> Sums:
    """Two counts together."""
    return type(one)(**{name: getattr(one, name) + getattr(other, name) for name in one.__struct_fields__})


def poisson(mean: float, random: Random) -> int:
    """A random number of events."""
    count, product, bound = 0, random.random(), math.exp(-mean)
    while product > bound:
        count += 1
        product *= random.random()
    return count


if __name__ == "__main__":
    main()
