"""Children that come late and go again: nobody else notices, and none of them is left behind."""

from __future__ import annotations

import pytest
from hypothesis import settings, stateful
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from ark.errors import ConfigError
from supervisor.policy import (
    Action,
    Begin,
    ChildSpec,
    Event,
    Exited,
    KillChild,
    RaiseEpoch,
    Ready,
    StartChild,
    StartOne,
    StopChild,
    StopOne,
    SupervisorSpec,
    Tick,
    decide,
    initial,
    with_child,
    without_child,
)

AGENTS = ("alpha", "beta")
ARMS = ("beta.canary", "beta.baseline")


def spec(name: str, *, alone: bool = False) -> ChildSpec:
    return ChildSpec(name, alone=alone, shutdown_s=1.0, start_timeout_s=5.0)


class Tree(RuleBasedStateMachine):
    """A supervisor of agents that run, beside whom arms are added, die, and are taken away at any moment."""

    @initialize()
    def begin(self) -> None:
        self.spec = SupervisorSpec(
            "root", strategy="one_for_all", intensity=1_000, children=tuple(spec(name) for name in AGENTS)
        )
        self.state = initial(self.spec)
        self.now = 0.0
        self.processes: dict[str, int] = {}
        self.quiet: list[str] = []
        self.decide(Begin())
        for name in AGENTS:
            self.decide(Ready(name, self.processes[name]))
        self.quiet = [*AGENTS]

    def decide(self, event: Event) -> None:
        self.state, actions = decide(self.spec, self.state, event, self.now, 0.5)
        for action in actions:
            self.do(action)

    def do(self, action: Action) -> None:
        if isinstance(action, (StartChild, StopChild, KillChild)):
            assert action.name not in self.quiet, "an arm disturbs an agent"
        assert not (self.quiet and isinstance(action, RaiseEpoch))
        if isinstance(action, StartChild):
            assert action.name not in self.processes, "two processes of one name"
            child = self.state.child(action.name)
            assert child is not None
            self.processes[action.name] = child.incarnation
        elif isinstance(action, KillChild):
            self.die(action.name)

    def die(self, name: str) -> None:
        if name in self.processes:
            self.decide(Exited(name, self.processes.pop(name), "signal 9"))

    @stateful.rule(name=st.sampled_from(ARMS))
    def add(self, name: str) -> None:
        if self.state.child(name) is None:
            self.spec, self.state = with_child(self.spec, self.state, spec(name, alone=True))
            self.decide(StartOne(name, "wanted"))

    @stateful.rule(name=st.sampled_from(ARMS))
    def remove(self, name: str) -> None:
        """As `supervisor.tree` does, which asks again and again."""
        child = self.state.child(name)
        if child is None:
            return
        if child.live and child.desired == "running":
            self.decide(StopOne(name, "not wanted"))
        self.spec, self.state = without_child(self.spec, self.state, name)
        if self.state.child(name) is None:
            assert name not in self.processes, "a process is left behind"

    @stateful.rule(name=st.sampled_from(ARMS))
    def dies(self, name: str) -> None:
        self.die(name)

    @stateful.rule(name=st.sampled_from(ARMS))
    def is_ready(self, name: str) -> None:
        if name in self.processes:
            self.decide(Ready(name, self.processes[name]))

    @stateful.rule(seconds=st.floats(0.01, 10))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.decide(Tick())

    @invariant()
    def who_has_a_process_is_known(self) -> None:
        if hasattr(self, "state"):
            assert self.processes.keys() <= {child.name for child in self.state.children}
            assert [child.name for child in self.spec.children] == [child.name for child in self.state.children]

    def teardown(self) -> None:
        if not hasattr(self, "state"):
            return
        for _ in range(3):
            for name in ARMS:
                self.remove(name)
            self.now += 5.0
            self.decide(Tick())
        for name in ARMS:
            self.remove(name)
        assert [child.name for child in self.state.children] == [*AGENTS]
        assert self.processes.keys() == set(AGENTS)


TestTree = Tree.TestCase
TestTree.settings = settings(max_examples=25, stateful_step_count=40)


def test_a_late_child_stands_alone_and_has_a_name_of_its_own() -> None:
    tree = SupervisorSpec("root", children=(spec("alpha"),))
    with pytest.raises(ConfigError, match="alone"):
        with_child(tree, initial(tree), spec("beta"))
    with pytest.raises(ConfigError, match="alpha"):
        with_child(tree, initial(tree), spec("alpha", alone=True))


def test_a_child_with_a_process_stays_and_a_stranger_changes_nothing() -> None:
    tree = SupervisorSpec("root", children=(spec("alpha"),))
    state, _ = decide(tree, initial(tree), Begin(), 0.0, 0.5)
    assert without_child(tree, state, "alpha") == (tree, state)
    assert without_child(tree, state, "nobody") == (tree, state)
