"""The restart policy beside a small model of what Erlang/OTP's documentation says, written from the documentation.

The model knows neither time-outs nor processes that are slow: every child comes up and goes down at once. It is
about who is terminated and who is restarted, in which order, and when a supervisor gives up. What OTP does not
have, the back-off, is held against its formula further down.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.policy import (
    Backoff,
    Begin,
    ChildSpec,
    Event,
    Exited,
    GiveUp,
    KillChild,
    Ready,
    StartChild,
    State,
    Stop,
    StopChild,
    Stopped,
    SupervisorSpec,
    Tick,
    decide,
    initial,
)
from supervisor.specification import RestartType, Strategy

NAMES = "abcde"
STRATEGIES: tuple[Strategy, ...] = ("one_for_one", "rest_for_one", "one_for_all")
RESTARTS: tuple[RestartType, ...] = ("permanent", "transient", "temporary")
AT_ONCE = Backoff(base_s=0.0, cap_s=0.0)


@dataclass
class Otp:
    """A supervisor as OTP's documentation describes it.

    Attributes:
        strategy: One of OTP's.
        restart: Each child's restart type, in start order.
        intensity: MaxR.
        period: MaxT, in seconds.
        running: Who runs, by position.
        restarts: When children were restarted.
        over: Whether it has terminated itself.
    """

    strategy: Strategy
    restart: list[RestartType]
    intensity: int
    period: float
    running: set[int] = field(default_factory=set)
    restarts: list[float] = field(default_factory=list)
    over: bool = False
    alone: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        self.running = set(range(len(self.restart)))

    def ends(self, child: int, normal: bool, now: float) -> str:
        """A child ends by itself; gives who is terminated (-) and who is started (+), in order."""
        self.running.discard(child)
        kind = self.restart[child]
        if kind == "temporary" or (kind == "transient" and normal):
            return ""
        self.restarts.append(now)
        if sum(1 for time in self.restarts if now - time <= self.period) > self.intensity:
            self.over = True
            return self._terminate(self.running)
        everybody = set(range(len(self.restart)))
        fate = {
            "one_for_one": {child},
            "rest_for_one": {each for each in everybody if each >= child},
            "one_for_all": everybody,
        }[self.strategy]
        # OTP has no such child; it would stand under a supervisor of its own, between this one and its siblings.
        fate = {child} if child in self.alone else fate - self.alone
        back = sorted(each for each in fate if each == child or self.restart[each] != "temporary")
        words = [self._terminate(self.running & fate), *(f"+{NAMES[each]}" for each in back)]
        self.running |= set(back)
        return " ".join(word for word in words if word)

    def _terminate(self, children: set[int]) -> str:
        gone = sorted(children, reverse=True)
        self.running = self.running - children
        return " ".join(f"-{NAMES[each]}" for each in gone)


class Ours:
    """`decide` with children that obey at once."""

    def __init__(self, spec: SupervisorSpec) -> None:
        self.spec = spec
        self.now = 0.0
        self.state: State = initial(spec)
        self.over = False

    def tell(self, event: Event) -> str:
        """Who is terminated and who is started because of an event, in order."""
        words: list[str] = []
        waiting: list[Event] = [event]
        while waiting:
            self.state, actions = decide(self.spec, self.state, waiting.pop(0), self.now, 0.5)
            for action in actions:
                match action:
                    case StartChild(name, incarnation):
                        words.append(f"+{name}")
                        waiting.append(Ready(name, incarnation))
                    case StopChild(name, incarnation) | KillChild(name, incarnation):
                        words.append(f"-{name}")
                        waiting.append(Exited(name, incarnation, "as told", normal=True))
                    case GiveUp() | Stopped():
                        self.over = True
        return " ".join(words)

    def ends(self, child: str, normal: bool) -> str:
        known = self.state.child(child)
        assert known is not None
        return self.tell(Exited(child, known.incarnation, "died", normal))

    @property
    def running(self) -> set[str]:
        return {child.name for child in self.state.children if child.state == "running"}


def supervisor(
    strategy: Strategy,
    restart: list[RestartType],
    intensity: int = 1000,
    period: float = 5.0,
    *,
    alone: frozenset[int] = frozenset(),
) -> Ours:
    children = tuple(
        ChildSpec(name, restart=kind, alone=number in alone)
        for number, (name, kind) in enumerate(zip(NAMES, restart, strict=False))
    )
    ours = Ours(SupervisorSpec("s", strategy, children, intensity, period, AT_ONCE))
    ours.tell(Begin())
    return ours


strategies = st.sampled_from(STRATEGIES)
kinds = st.lists(st.sampled_from(RESTARTS), min_size=1, max_size=5)
# Eighths of a second, so that the bound of a period is met exactly.
gaps = st.integers(0, 24).map(lambda eighths: eighths / 8)
ends = st.lists(st.tuples(gaps, st.integers(0, 4), st.booleans()), max_size=30)


@settings(max_examples=150, deadline=None)
@given(
    strategies,
    kinds,
    st.tuples(st.integers(0, 6), st.sampled_from([0.0, 0.5, 1.0, 5.0])),
    ends,
    st.frozensets(st.integers(0, 4), max_size=2),
)
def test_whoever_ends_otps_children_are_terminated_and_restarted_in_otps_order_until_otp_gives_up(
    strategy: Strategy,
    restart: list[RestartType],
    bound: tuple[int, float],
    ended: list[tuple[float, int, bool]],
    alone: frozenset[int],
) -> None:
    otp = Otp(strategy, restart, *bound, alone=alone)
    ours = supervisor(strategy, restart, *bound, alone=alone)
    for gap, child, normal in ended:
        ours.now += gap
        if child not in otp.running or otp.over:
            continue
        assert ours.ends(NAMES[child], normal) == otp.ends(child, normal, ours.now)
        assert ours.over == otp.over
        assert ours.running == {NAMES[each] for each in otp.running}


@given(kinds)
def test_child_processes_are_started_left_to_right_and_terminated_right_to_left(restart: list[RestartType]) -> None:
    names = NAMES[: len(restart)]
    children = tuple(ChildSpec(name, restart=kind) for name, kind in zip(names, restart, strict=True))
    ours = Ours(SupervisorSpec("s", "one_for_one", children))
    assert ours.tell(Begin()) == " ".join(f"+{name}" for name in names)
    assert ours.tell(Stop()) == " ".join(f"-{name}" for name in reversed(names))
    assert ours.over


@given(strategies, kinds, ends)
def test_a_permanent_child_is_always_restarted(
    strategy: Strategy, restart: list[RestartType], ended: list[tuple[float, int, bool]]
) -> None:
    ours = supervisor(strategy, restart)
    for _, child, normal in ended:
        if child < len(restart) and NAMES[child] in ours.running:
            ours.ends(NAMES[child], normal)
            assert {NAMES[each] for each, kind in enumerate(restart) if kind == "permanent"} <= ours.running


@given(strategies, kinds, ends)
def test_a_temporary_child_is_never_restarted_even_when_a_siblings_death_causes_it_to_be_terminated(
    strategy: Strategy, restart: list[RestartType], ended: list[tuple[float, int, bool]]
) -> None:
    ours = supervisor(strategy, restart)
    for _, child, normal in ended:
        if child < len(restart) and NAMES[child] in ours.running:
            words = ours.ends(NAMES[child], normal)
            assert not [n for n, kind in enumerate(restart) if kind == "temporary" and f"+{NAMES[n]}" in words]


@given(strategies, kinds, st.integers(0, 4), st.booleans())
def test_a_transient_child_is_restarted_only_if_it_terminates_abnormally(
    strategy: Strategy, restart: list[RestartType], child: int, normal: bool
) -> None:
    child %= len(restart)
    restart[child] = "transient"
    words = supervisor(strategy, restart).ends(NAMES[child], normal)
    assert (f"+{NAMES[child]}" in words) == (not normal)


@given(strategies, st.integers(0, 5), st.sampled_from([0.5, 2.0]), st.lists(gaps, min_size=1, max_size=20))
def test_if_more_than_max_r_restarts_occur_in_the_last_max_t_seconds_it_terminates_all_children_and_then_itself(
    strategy: Strategy, intensity: int, period: float, waits: list[float]
) -> None:
    ours = supervisor(strategy, ["permanent"] * 3, intensity, period)
    times: list[float] = []
    for wait in waits:
        ours.now += wait
        ours.ends("b", normal=False)
        times.append(ours.now)
        assert ours.over == (sum(time >= ours.now - period for time in times) > intensity)
        assert (not ours.running) == ours.over
        if ours.over:
            return


@given(strategies, st.integers(0, 3), st.integers(1, 3))
def test_when_a_supervisor_terminates_the_next_higher_one_restarts_it_or_terminates_itself(
    strategy: Strategy, below: int, above: int
) -> None:
    parent = supervisor("one_for_one", ["permanent"], intensity=above, period=1000.0)
    for lives in range(1, above + 2):
        child = supervisor(strategy, ["permanent"] * 2, intensity=below, period=1000.0)
        for crash in range(1, below + 2):
            child.ends("a", normal=False)
            assert child.over == (crash > below)
        assert parent.ends("a", normal=False) == ("+a" if lives <= above else "")
        assert parent.over == (lives > above)


# What OTP does not have


@settings(deadline=None)
@given(
    st.builds(
        Backoff,
        first_s=st.sampled_from([0.0, 0.5]),
        base_s=st.sampled_from([0.25, 1.0]),
        factor=st.sampled_from([1.0, 2.0, 3.0]),
        cap_s=st.sampled_from([0.25, 4.0]),
        jitter=st.sampled_from([0.0, 0.25]),
        stable_s=st.just(8.0),
    ),
    st.lists(st.tuples(st.sampled_from([0.0, 7.75, 8.0, 20.0]), st.floats(0, 1, exclude_max=True)), max_size=12),
)
def test_the_wait_grows_from_failure_to_failure_up_to_its_cap_within_the_jitter_and_anew_after_a_stable_run(
    backoff: Backoff, lives: list[tuple[float, float]]
) -> None:
    spec = SupervisorSpec("s", "one_for_one", (ChildSpec("a"),), 1000, 1000.0, backoff)
    state, _ = decide(spec, initial(spec), Begin(), 0.0, 0.5)
    now, in_a_row = 0.0, 0
    for incarnation, (life, random) in enumerate(lives, 1):
        state, _ = decide(spec, state, Ready("a", incarnation), now, random)
        died = now + life
        state, actions = decide(spec, state, Exited("a", incarnation, "died"), died, random)
        in_a_row = 1 if died - now >= 8.0 else in_a_row + 1
        wanted = backoff.first_s
        if in_a_row > 1:
            wanted = min(backoff.cap_s, backoff.base_s * backoff.factor ** (in_a_row - 2))
        child = state.child("a")
        assert child is not None
        if wanted == 0.0:
            assert StartChild("a", incarnation + 1) in actions
            now = died
            continue
        assert child.state == "backoff"
        assert child.due is not None
        waits = child.due - died
        assert wanted * (1 - backoff.jitter) - 1e-9 <= waits <= wanted * (1 + backoff.jitter) + 1e-9
        state, early = decide(spec, state, Tick(), died + waits / 2, random)
        assert StartChild("a", incarnation + 1) not in early
        now = child.due
        state, actions = decide(spec, state, Tick(), now, random)
        assert StartChild("a", incarnation + 1) in actions
