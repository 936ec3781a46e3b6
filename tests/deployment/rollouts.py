"""A rollout in a world that does as it is told: what tests of rollouts share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from ark.deploy_settings import DeployConfig
from deployment.gates import Budget
from deployment.plan import Plan, make_plan
from deployment.progress import Alarm, Answer, Entry, Inputs, Moved, Rollout, TaskResult, Word, create, is_over
from deployment.rollout import desired, step

START = 1_790_000_000.0
NEW, OLD = "a" * 64, "b" * 64
ROLLOUT = msgspec.json.Decoder(Rollout)


class Said(msgspec.Struct, frozen=True):
    """A verdict, as the judge gives it."""

    answer: Literal["pass", "fail", "undecided", "invalid"] = "undecided"
    why: str = "it takes more signals"
    hold: bool = False
    to_pass: int | None = None
    to_fail: int | None = None


PASS, FAIL = Said("pass", "as good as the baseline"), Said("fail", "five times the denials")
UNDECIDED, INVALID = Said(), Said("invalid", "the shares are not as assigned")


def a_plan(
    roles: Sequence[str] = ("joey",),
    strategy: Literal["canary", "blue-green", "aa"] = "canary",
    **settings: Any,
) -> Plan:
    """A plan for these roles, from the old release to the new one."""
    new = OLD if strategy == "aa" else NEW
    config = msgspec.convert({"two_people": ["hrm"], **settings}, DeployConfig)
    return make_plan(
        "r1", dict.fromkeys(roles, new), dict.fromkeys(roles, OLD), strategy=strategy, settings=config, by="ada"
    )


class World:
    """One rollout, and a world that makes at each look what was desired at the one before.

    Attributes:
        rollout: As it was kept last.
        now: The time, seconds since the epoch.
        verdict: What the judge says.
        signals: How many the arms see under each table.
        budget: How the error budget stands.
        broken: What does not become so: `arms`, `table`, `roles`, `undo`, `health`, `validation`.
        answers: What operators were told.
    """

    def __init__(self, plan: Plan, *, begun: bool = True, generation: int = 0) -> None:
        self.rollout = create(plan, START, generation)
        self.now = START
        self.verdict: Said | None = UNDECIDED
        self.signals = 1_000_000
        self.budget = Budget()
        self.broken: set[str] = set()
        self.answers: list[Answer] = []
        self.moves: list[Entry] = []
        self.alarms: list[Alarm] = []
        self._world = Inputs()
        self._seen: TaskResult | None = None
        if begun:
            self.say("start")

    def inputs(self, **further: Any) -> Inputs:
        """What is so now: what was desired, but for what is broken."""
        wanted = desired(self.rollout, self.now)
        task = wanted.task
        result = None
        if task is not None and task.not_before <= self.now:
            result = TaskResult(task.kind, task.attempt, task.kind not in self.broken, "as tested")
        return Inputs(
            verdict=self.verdict,
            warm={} if "arms" in self.broken else wanted.arms,
            running={} if "roles" in self.broken else {**wanted.permanent, **wanted.provisional},
            generation=0 if "table" in self.broken or wanted.table is None else wanted.table.generation,
            signals=self.signals,
            budget=self.budget,
            task=result,
            **further,
        )

    def look(self, passed: float = 1.0, *, lost: bool = False, **further: Any) -> Rollout:
        """Let time pass, and look.

        Args:
            passed: How much, seconds.
            lost: Whether the deploy actor dies before it has kept what came of it.
            further: More of `Inputs`.
        """
        self.now += passed
        rollout, effects = step(self.rollout, self.now, self.inputs(**further))
        if not lost:
            self.rollout = ROLLOUT.decode(msgspec.json.encode(rollout))
            assert self.rollout == rollout
            self.answers += [each for each in effects if isinstance(each, Answer)]
            self.alarms += [each for each in effects if isinstance(each, Alarm)]
            self.moves += [each.entry for each in effects if isinstance(each, Moved)]
        return self.rollout

    def say(self, do: str, passed: float = 0.0, **further: Any) -> Answer:
        """Say a word, and give the answer."""
        self.look(passed, words=[msgspec.convert({"do": do, **further}, Word)])
        return self.answers[-1]

    def go(self, seconds: float, every: float = 1.0) -> Rollout:
        """Look at equal distances for so long."""
        end = self.now + seconds
        while self.now < end:
            self.look(min(every, end - self.now))
        return self.rollout

    def until(self, *states: str, within: float = 20_000.0, every: float = 5.0) -> Rollout:
        """Go on until it is in one of these states."""
        end = self.now + within
        while self.rollout.state not in states:
            assert self.now < end, f"still {self.rollout.state}"
            self.look(every)
        return self.rollout

    def end(self, every: float = 5.0) -> Rollout:
        """Go on until it is over."""
        return self.until("permanent", "rolled_back", "passed", within=500_000.0, every=every)

    @property
    def is_over(self) -> bool:
        return is_over(self.rollout)

    @property
    def steps(self) -> list[str]:
        """The states that it came to, with the canary's share in stages."""
        return [f"{each.target} {each.share:g}" if each.target == "stage" else each.target for each in self.moves]
