"""What the judge is asked for, and what it answers."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ark.errors import ConfigError
from deployment.samples import Difference

__all__ = ["COUNTS", "GUARD", "METRICS", "PAIRS", "Answer", "Metric", "Policy", "Rule", "Verdict"]

PAIRS = ("pairs.different", "pairs.denied", "pairs.slow", "pairs.broken")
"""What is judged by signals that canary and baseline both decided."""
COUNTS = ("counts.denied", "counts.failed", "counts.late", "counts.slow", "counts.broken")
"""What is judged by each arm's own signals."""
GUARD = "guard.share"
"""Whether the figures can be believed at all."""
METRICS = (*PAIRS, *COUNTS, GUARD)

Answer = Literal["pass", "fail", "undecided", "invalid"]
Risk = Annotated[float, Meta(gt=0, lt=0.5)]
Fraction = Annotated[float, Meta(gt=0, lt=1)]


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="sequential"):
    """How a canary is judged: sequential tests against a baseline that runs at the same time.

    Attributes:
        alpha: How often a release that is as good as the old one may be rolled back, over a whole rollout and all
            metrics together.
        beta: How often a harmful release may pass.
        harmful: By counts, a release is harmful when it has a trouble at least so many times as often as the
            control.
        limit: By pairs, it is harmful when the signals that are bad at the canary alone exceed those that are
            bad at the baseline alone by such a share of all signals.
        tolerance: By pairs, an excess up to this share of all signals is of no matter.
        margin: By counts, a difference up to this ratio is of no matter.
        late_allowed: The share of late signals that the objective allows. Beyond it the rollout holds.
        late_limit: By counts, the share of late or slow signals at which a release is harmful.
        minimum_signals: How many live signals the canary must have decided, by role, before it may pass.
        split: What the traffic is split by. `key`: an attribute as the symbol, so the shares of the table are
            shares of the symbols and not of the signals; `signal`: each signal by itself.
        share_margin: The ratio of odds up to which arms may differ in how many of their signals are counted.
        replay: Whether signals that were replayed count as pairs.
        noisy: Roles whose decisions differ between two runs of the same code.
        observe_only: Metrics, as `pairs.slow` or `hrm.pairs.slow`, that are shown and decide nothing.
        crashes: How many crashes of the canary, with none of the baseline, roll it back.
        memory_mb: By how many MiB the canary's memory must have grown since it was warm to be called a leak;
        memory_ratio: and by which ratio;
        memory_times: and by how many times what the baseline's grew.
    """

    alpha: Risk = 0.01
    beta: Risk = 0.05
    harmful: Annotated[float, Meta(gt=1, le=100)] = 2.0
    limit: Fraction = 0.01
    tolerance: Annotated[float, Meta(ge=0, lt=1)] = 0.001
    margin: Annotated[float, Meta(ge=1, lt=10)] = 1.1
    late_allowed: Fraction = 0.05
    late_limit: Fraction = 0.10
    minimum_signals: Annotated[int, Meta(ge=1, le=1_000_000)] = 50
    split: Literal["key", "signal"] = "key"
    share_margin: Annotated[float, Meta(ge=1, lt=2)] = 1.1
    replay: bool = True
    noisy: tuple[str, ...] = ()
    observe_only: tuple[str, ...] = ()
    crashes: Annotated[int, Meta(ge=1, le=1000)] = 3
    memory_mb: Annotated[float, Meta(gt=0, le=1_000_000)] = 64.0
    memory_ratio: Annotated[float, Meta(gt=1, le=100)] = 1.5
    memory_times: Annotated[float, Meta(ge=1, le=100)] = 4.0

    def __post_init__(self) -> None:
        if self.margin >= self.harmful:
            raise ConfigError(
                "a difference that is of no matter would be harmful",
                field="margin",
                hint=f"set it below `harmful`, which is {self.harmful:g}",
            )
        if self.tolerance >= self.limit:
            raise ConfigError(
                "an excess that is of no matter would be harmful",
                field="tolerance",
                hint=f"set it below `limit`, which is {self.limit:g}",
            )
        if self.late_allowed >= self.late_limit:
            raise ConfigError(
                "a share of late signals that is allowed would be harmful",
                field="late_allowed",
                hint=f"set it below `late_limit`, which is {self.late_limit:g}",
            )
        for name in self.observe_only:
            if not any(name == metric or name.endswith(f".{metric}") for metric in METRICS):
                raise ConfigError(
                    f"there is no metric {name}", field="observe_only", hint=f"there are {', '.join(METRICS)}"
                )

    def observes(self, role: str, metric: str) -> bool:
        """Whether a metric of a role is only looked at."""
        return metric in self.observe_only or f"{role}.{metric}" in self.observe_only


class Metric(msgspec.Struct, frozen=True):
    """What one metric of one role says. Evidence and thresholds are logarithms to the base of ten.

    Attributes:
        role: The agent.
        name: One of `METRICS`.
        n: How many signals it knows of: of both arms together by counts, that both decided by pairs.
        x: How many of them were bad at the canary; by pairs, at the canary alone.
        control: How many were bad at the control; by pairs, at the baseline alone.
        harm: Evidence that the canary is worse. At `harm_at` it fails.
        health: Evidence that it is not harmful. At `health_at` the metric is content.
        can_fail: Whether it may roll the release back.
        can_hold: Whether it may not, and makes the rollout hold instead: what it sees may be the canary's symbols.
        must_pass: Whether the release cannot pass without its health.
        to_pass, to_fail: How many more signals that takes if all goes on like so far; none if it does not lead
            there.
        why: What was seen, in plain words.
    """

    role: str
    name: str
    n: int
    x: int
    control: int
    harm: float
    harm_at: float
    health: float
    health_at: float
    can_fail: bool
    must_pass: bool
    to_pass: int | None
    to_fail: int | None
    why: str
    can_hold: bool = False

    @property
    def gates(self) -> bool:
        """Whether it decides anything."""
        return self.can_fail or self.can_hold or self.must_pass

    @property
    def harmed(self) -> bool:
        """Whether it rolls the release back."""
        return self.can_fail and self.harm >= self.harm_at

    @property
    def holds(self) -> bool:
        """Whether it makes the rollout hold, so that a person looks."""
        return self.can_hold and self.harm >= self.harm_at

    @property
    def healthy(self) -> bool:
        """Whether there is evidence enough that the release is not harmful."""
        return self.health >= self.health_at


class Rule(msgspec.Struct, frozen=True):
    """A rule without statistics, or a doubt, that has come true.

    Attributes:
        name: Which one.
        answer: `fail`; `invalid` where the figures cannot be believed; `undecided` where the rollout holds,
        because
            nobody can say that it is the canary's fault.
        why: What was seen, in plain words.
        role: The agent, where it is about one.
    """

    name: str
    answer: Literal["fail", "invalid", "undecided"]
    why: str
    role: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """The judge's answer.

    Attributes:
        answer: `pass` and `fail` have evidence; `undecided` has not enough; `invalid` has figures that cannot be
            believed.
        why: The reason in one line.
        hold: Whether the rollout should pause: the canary's share must not grow, and a person may want to look.
        metrics: What each metric says, by role.
        rules: What else speaks against passing.
        counterexample: A signal that canary and baseline decided differently, undeclared.
        to_pass, to_fail: About how many more signals it takes to either answer, if all goes on like so far.
    """

    answer: Answer
    why: str
    hold: bool = False
    metrics: tuple[Metric, ...] = ()
    rules: tuple[Rule, ...] = ()
    counterexample: Difference | None = None
    to_pass: int | None = None
    to_fail: int | None = None
