"""The original's three tripwires, as a policy that may be chosen instead of the judge's. Pure.

Denials more than three standard deviations above the stable version's, any quarantine of the canary within ten
minutes, and a p95 above 400 ms in three checks in a row: one of them rolls back. No alarm until the stage is
over is a pass. What that is worth stands in `docs/judging.md`, beside the judge's own figures.

It is the original's rule, mended only where it could not work at all:

- Its four queries gave constants. Here the figures are measured.
- Its baseline was never stored. Here it is the stable version's windows of the last hour, until now.
- With a standard deviation of 0, that is without denials, the tripwire was off. Here any denied share above the
  mean is more than three times nothing.
- Its counter and its baseline began anew with each stage. Here they go on.
- It compared denials a second of arms with unequal traffic, so a canary at 10 % had to be ten times worse to
  look equal. Here it compares the denied share of each arm's signals.
- Its code took six checks and its documents say three. Here it is three.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from deployment.samples import Facts, Segment
from deployment.verdict import Metric, Rule, Verdict

__all__ = ["Arm", "Look", "Tripwires", "check"]

Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class Tripwires(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="tripwires"):
    """The original's tripwires.

    Attributes:
        sigma: How many standard deviations above the mean of the stable version's windows the denied share may lie.
        quarantine_s: For how long a quarantine of the canary counts.
        late_allowed: The share of late signals above which the p95 is: 0.05, by what a p95 is.
        checks: In how many checks in a row the p95 must be too high.
        every_s: How long between two checks.
        window_s: Over how long a rate, and the p95, is taken.
        baseline_s: How far back the stable version's windows go.
        stage_s: After how long without an alarm a stage passes.
    """

    sigma: Annotated[float, Meta(gt=0, le=100)] = 3.0
    quarantine_s: Seconds = 600.0
    late_allowed: Annotated[float, Meta(gt=0, lt=1)] = 0.05
    checks: Annotated[int, Meta(ge=1, le=1000)] = 3
    every_s: Seconds = 30.0
    window_s: Seconds = 300.0
    baseline_s: Seconds = 3600.0
    stage_s: Seconds = 600.0


class Arm(msgspec.Struct, frozen=True, array_like=True):
    """What an arm had decided by the time of a look, and how much of it was denied or late."""

    signals: int = 0
    denied: int = 0
    late: int = 0


class Look(msgspec.Struct, frozen=True, array_like=True):
    """What was seen in a check.

    Attributes:
        at: When, in seconds.
        canary, stable: The arms by role, cumulative.
        quarantined: How often the Watchdog had isolated the canary.
    """

    at: float
    canary: dict[str, Arm]
    stable: dict[str, Arm]
    quarantined: int


def check(
    history: Sequence[Look],
    segments: Iterable[Segment],
    facts: Facts,
    policy: Tripwires,
    *,
    now: float,
    since: float,
) -> tuple[tuple[Look, ...], Verdict]:
    """Look, when it is time for it, and say what the tripwires say.

    Args:
        history: What this gave before, empty at first: it may be kept as it is, and goes on over stages.
        segments: The evidence of every role and routing table.
        facts: The quarantines.
        policy: The thresholds.
        now: The time, in seconds.
        since: When the stage began.
    """
    looks = tuple(look for look in history if look.at >= now - policy.baseline_s - policy.window_s)
    if not looks or now - looks[-1].at >= policy.every_s:
        looks = (*looks, _look(segments, facts, now))
    metrics: list[Metric] = []
    rules: list[Rule] = []
    latest = looks[-1]
    for role in sorted(latest.canary):
        latency = _latency(role, looks, policy)
        denials, denied = _denials(role, looks, policy)
        for metric, tripped in ((denials, denied), (latency, latency.harmed)):
            metrics.append(metric)
            if tripped:
                rules.append(Rule(metric.name, "fail", metric.why, role))
    before = [look for look in looks if look.at >= latest.at - policy.quarantine_s]
    if latest.quarantined > before[0].quarantined or (len(before) == len(looks) and latest.quarantined):
        rules.append(Rule("tripwire.quarantine", "fail", "the Watchdog isolated the canary"))
    if rules:
        of = f"{rules[0].role}: " if rules[0].role else ""
        return looks, Verdict("fail", of + rules[0].why, False, tuple(metrics), tuple(rules))
    if now - since >= policy.stage_s:
        why = f"no tripwire within {policy.stage_s:g} s"
        return looks, Verdict("pass", why, False, tuple(metrics))
    left = policy.stage_s - (now - since)
    return looks, Verdict("undecided", f"no tripwire so far, {left:.0f} s to go", False, tuple(metrics))


def _look(segments: Iterable[Segment], facts: Facts, now: float) -> Look:
    """What there is to see now."""
    canary: dict[str, Arm] = {}
    stable: dict[str, Arm] = {}
    for segment in segments:
        for arms, counts in ((canary, segment.canary), (stable, segment.stable)):
            arm = arms.get(segment.role, Arm())
            arms[segment.role] = Arm(
                arm.signals + counts.signals, arm.denied + counts.denied, arm.late + counts.late
            )
    return Look(now, canary, stable, facts.quarantined.get("canary", 0))


def _denials(role: str, looks: Sequence[Look], policy: Tripwires) -> tuple[Metric, bool]:
    """Whether the canary's denied share lies too far above the mean of the stable version's windows."""
    now = looks[-1]
    old = _before(looks, now.at - policy.window_s)
    canary = _since(now.canary, old.canary, role)
    shares = []
    end = now
    while True:
        begin = _before(looks, end.at - policy.window_s)
        if end.at - begin.at < policy.window_s:
            break
        arm = _since(end.stable, begin.stable, role)
        if arm.signals:
            shares.append(arm.denied / arm.signals)
        end = begin
    share = canary.denied / canary.signals if canary.signals else 0.0
    known = len(shares) >= 2
    mean, spread = (statistics.mean(shares), statistics.stdev(shares)) if known else (0.0, 0.0)
    bound = mean + policy.sigma * spread if known else 1.0
    tripped = known and share > bound + 1e-12  # beyond what rounding does
    why = f"of the canary's {canary.signals} signals {canary.denied} were denied, {share:.1%}"
    why += f", where {bound:.1%} is the most" if known else ", with nothing yet to compare that with"
    return _metric("tripwire.denials", role, (canary.signals, canary.denied), (share, bound), why), tripped


def _latency(role: str, looks: Sequence[Look], policy: Tripwires) -> Metric:
    """In how many of the last checks in a row the canary's p95 was too high."""
    row = 0
    for look in reversed(looks):
        arm = _since(look.canary, _before(looks, look.at - policy.window_s).canary, role)
        if arm.late <= policy.late_allowed * arm.signals:
            break
        row += 1
    arm = _since(looks[-1].canary, _before(looks, looks[-1].at - policy.window_s).canary, role)
    why = f"of the canary's {arm.signals} signals {arm.late} were late; too many in {row} checks in a row"
    return _metric("tripwire.latency", role, (arm.signals, arm.late), (row, policy.checks), why)


def _metric(name: str, role: str, counts: tuple[int, int], of: tuple[float, float], why: str) -> Metric:
    """A tripwire as a metric: what was measured, of what is the bound. There is no evidence of health in it."""
    return Metric(
        role=role,
        name=name,
        n=counts[0],
        x=counts[1],
        control=0,
        harm=of[0],
        harm_at=of[1],
        health=0.0,
        health_at=0.0,
        can_fail=True,
        must_pass=False,
        to_pass=None,
        to_fail=None,
        why=why,
    )


def _before(looks: Sequence[Look], at: float) -> Look:
    """The last look at a time or before it, or the first of all."""
    found = looks[0]
    for look in looks:
        if look.at > at:
            break
        found = look
    return found


def _since(now: dict[str, Arm], then: dict[str, Arm], role: str) -> Arm:
    """What an arm did between two looks."""
    new, old = now.get(role, Arm()), then.get(role, Arm())
    return Arm(new.signals - old.signals, new.denied - old.denied, new.late - old.late)
