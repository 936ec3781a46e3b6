"""The restart policy against generated worlds: whatever the children do, the rules hold and all ends well."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.policy import (
    Backoff,
    Begin,
    ChildSpec,
    Event,
    Exited,
    GiveUp,
    Isolate,
    Ready,
    Release,
    Restart,
    StartChild,
    Started,
    StartOne,
    Stop,
    StopChild,
    StopOne,
    Stopped,
    SupervisorSpec,
    Tick,
    decide,
    initial,
)
from tests.supervisor.world import Trouble, World, begin, stop_at

NAMES = ("a", "b", "c", "d", "e")
NEVER = 1_000_000
STRATEGIES = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])
RESTARTS = st.sampled_from(["permanent", "permanent", "transient", "temporary"])
INTENSITIES = st.sampled_from([0, 1, 3, 10, NEVER])
BACKOFFS = st.sampled_from([Backoff(), Backoff(first_s=0.1), Backoff(base_s=0.0), Backoff(stable_s=0.0)])


@st.composite
def specifications(draw: st.DrawFn, intensity: st.SearchStrategy[int] = INTENSITIES) -> SupervisorSpec:
    children = tuple(
        ChildSpec(
            name,
            restart=draw(RESTARTS),
            shutdown_s=draw(st.sampled_from([0.0, 0.1, 0.5])),
            start_timeout_s=draw(st.sampled_from([0.2, 1.0])),
            alone=draw(st.sampled_from([False, False, False, True])),
        )
        for name in NAMES[: draw(st.integers(1, len(NAMES)))]
    )
    bound = draw(intensity)
    return SupervisorSpec("s", draw(STRATEGIES), children, bound, draw(st.sampled_from([0.5, 5.0])), draw(BACKOFFS))


@st.composite
def orders(draw: st.DrawFn) -> list[tuple[float, Event]]:
    name = st.sampled_from(NAMES)
    order = st.one_of(
        st.builds(Isolate, name, st.just("noisy")),
        st.builds(Release, name, st.just("looked at")),
        st.builds(StopOne, name, st.just("not now")),
        st.builds(StartOne, name, st.just("now")),
        st.builds(Restart, name, st.just("asked")),
        st.builds(Restart, name, st.just("hangs"), st.just(True)),
        st.builds(Restart, name, st.just("hangs"), st.just(True), st.integers(0, 4)),
    )
    return draw(st.lists(st.tuples(st.floats(0, 6), order), max_size=12))


TROUBLES = st.builds(
    Trouble,
    dies=st.sampled_from([0.0, 0.3, 0.9]),
    normal=st.sampled_from([0.0, 0.5]),
    hangs=st.sampled_from([0.0, 0.3]),
    lifetime_s=st.sampled_from([0.1, 3.0]),
)
SEEDS = st.integers(0, 2**32)


def world_of(spec: SupervisorSpec, seed: int, trouble: Trouble, said: list[tuple[float, Event]]) -> World:
    world = begin(World(spec, seed, trouble))
    known = {child.name for child in spec.children}
    for time, event in said:
        if getattr(event, "name", None) in known:
            world.at(time, event)
    return world


@settings(max_examples=60, deadline=None)
@given(specifications(), SEEDS, TROUBLES, orders())
def test_when_failures_stop_everything_wanted_runs_or_the_supervisor_gave_up(
    spec: SupervisorSpec, seed: int, trouble: Trouble, said: list[tuple[float, Event]]
) -> None:
    world = world_of(spec, seed, trouble, said)
    world.run(60)
    if world.ended:
        assert isinstance(world.log[-1][1], GiveUp)
        assert not any(world.alive.values())
        return
    for child in spec.children:
        known = world.state.child(child.name)
        assert known is not None
        if child.name in world.isolated:
            assert known.state == "isolated"
        elif child.name in world.stopped:
            assert known.state == "stopped"
        elif child.restart == "permanent":
            assert known.state == "running"
        else:
            assert known.state in ("running", "stopped", "failed")
            assert known.state != "failed" or child.restart == "temporary"
        assert world.alive[child.name] == ({known.incarnation} if known.state == "running" else set())
    assert any(isinstance(action, Started) for _, action in world.log)


@settings(max_examples=40, deadline=None)
@given(specifications(), SEEDS, TROUBLES, orders(), st.floats(0, 8))
def test_a_stop_is_obeyed_at_any_time_within_the_sum_of_the_budgets(
    spec: SupervisorSpec, seed: int, trouble: Trouble, said: list[tuple[float, Event]], time: float
) -> None:
    world = stop_at(world_of(spec, seed, trouble, said), time)
    world.run(time + sum(child.shutdown_s + 0.1 for child in spec.children) + 1.0)
    assert world.ended
    assert not any(world.alive.values())
    assert all(child.state in ("stopped", "isolated", "failed") for child in world.state.children)
    assert isinstance(world.log[-1][1], Stopped | GiveUp)


@settings(max_examples=30, deadline=None)
@given(specifications(st.just(NEVER)), SEEDS, TROUBLES, st.sampled_from(NAMES))
def test_an_isolated_child_stays_down_whatever_crashes_elsewhere(
    spec: SupervisorSpec, seed: int, trouble: Trouble, name: str
) -> None:
    name = name if any(child.name == name for child in spec.children) else spec.children[0].name
    world = begin(World(spec, seed, trouble))
    world.at(1.0, Isolate(name, "noisy"))
    world.run(30)
    assert not any(isinstance(a, StartChild) and a.name == name for time, a in world.log if time > 1.0)
    isolated = world.state.child(name)
    assert isolated is not None
    assert (isolated.state, isolated.desired) == ("isolated", "isolated")
    assert "noisy" in isolated.reason
    world.at(31.0, Release(name, "looked at"))
    world.run(40)
    released = world.state.child(name)
    assert released is not None
    assert released.state == "running"


@settings(max_examples=30, deadline=None)
@given(specifications(st.just(NEVER)), SEEDS, TROUBLES, st.sampled_from(NAMES), st.floats(0, 6))
def test_a_stop_beats_every_pending_restart_until_the_start(
    spec: SupervisorSpec, seed: int, trouble: Trouble, name: str, time: float
) -> None:
    name = name if any(child.name == name for child in spec.children) else spec.children[0].name
    world = begin(World(spec, seed, trouble))
    world.at(time, StopOne(name, "not now"))
    world.run(30)
    ordered = [at for at, action in world.log if isinstance(action, StartChild) and action.name == name]
    assert all(at <= time for at in ordered)
    stopped = world.state.child(name)
    assert stopped is not None
    assert (stopped.state, stopped.desired) == ("stopped", "stopped")
    assert "not now" in stopped.reason
    assert not world.alive[name]
    world.at(31.0, StartOne(name, "now"))
    world.run(40)
    started = world.state.child(name)
    assert started is not None
    assert started.state == "running"


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 5), STRATEGIES)
def test_a_calm_world_starts_in_order_and_stops_in_reverse(seed: int, count: int, strategy: str) -> None:
    spec = SupervisorSpec("s", strategy, tuple(ChildSpec(name) for name in NAMES[:count]))  # type: ignore[arg-type]
    world = stop_at(begin(World(spec, seed, Trouble(until_s=0))), 10.0)
    world.run(20)
    actions = [action for _, action in world.log]
    assert [a.name for a in actions if isinstance(a, StartChild)] == list(NAMES[:count])
    assert [a.name for a in actions if isinstance(a, StopChild)] == list(reversed(NAMES[:count]))
    assert sum(isinstance(a, Started) for a in actions) == 1
    assert isinstance(actions[-1], Stopped)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(0, 3), min_size=1, max_size=30),
    st.integers(0, 5),
    st.sampled_from([0.0, 1.0, 5.0]),
)
def test_more_than_intensity_restarts_within_the_period_and_not_one_less(
    gaps: list[float], intensity: int, period: float
) -> None:
    spec = SupervisorSpec("s", "one_for_one", (ChildSpec("a"),), intensity, period, Backoff(base_s=0.0, cap_s=0.0))
    state, _ = decide(spec, initial(spec), Begin(), 0.0, 0.5)
    now, crashes = 0.0, list[float]()
    for incarnation, gap in enumerate(gaps, 1):
        now += gap
        state, _ = decide(spec, state, Ready("a", incarnation), now, 0.5)
        state, actions = decide(spec, state, Exited("a", incarnation, "died"), now, 0.5)
        crashes.append(now)
        too_many = sum(time >= now - period for time in crashes) > intensity
        assert any(isinstance(action, GiveUp) for action in actions) == too_many
        assert any(isinstance(action, StartChild) for action in actions) != too_many
        if too_many:
            return


EVENTS = st.one_of(
    st.just(Begin()),
    st.just(Stop()),
    st.just(Tick()),
    st.builds(Ready, st.sampled_from((*NAMES, "nobody")), st.integers(0, 5)),
    st.builds(
        Exited,
        st.sampled_from((*NAMES, "nobody")),
        st.integers(0, 5),
        st.sampled_from(["x", "boot: x"]),
        st.booleans(),
    ),
    st.builds(Isolate, st.sampled_from((*NAMES, "nobody"))),
    st.builds(Release, st.sampled_from((*NAMES, "nobody"))),
    st.builds(StopOne, st.sampled_from((*NAMES, "nobody"))),
    st.builds(StartOne, st.sampled_from((*NAMES, "nobody"))),
    st.builds(
        Restart,
        st.sampled_from((*NAMES, "nobody")),
        st.just("r"),
        st.booleans(),
        st.sampled_from([None, 0, 1, 2]),
    ),
)


@settings(max_examples=100, deadline=None)
@given(
    specifications(),
    st.lists(st.tuples(EVENTS, st.sampled_from([0.0, 0.01, 1.0])), max_size=40),
    st.floats(0, 0.999),
)
def test_no_sequence_of_events_raises_or_starts_what_lives(
    spec: SupervisorSpec, events: list[tuple[Event, float]], random: float
) -> None:
    state, now = initial(spec), 0.0
    for event, gap in [(Begin(), 0.0), *events]:
        now += gap
        before = state
        state, actions = decide(spec, before, event, now, random)
        for action in actions:
            if isinstance(action, StartChild):
                old = before.child(action.name)
                assert old is not None
                gone = isinstance(event, Exited) and (event.name, event.incarnation) == (
                    old.name,
                    old.incarnation,
                )
                assert gone or not old.live
        assert [child.name for child in state.children] == [child.name for child in spec.children]
        assert all(
            child.due is None or child.state in ("starting", "stopping", "backoff") for child in state.children
        )
        again, none = decide(spec, state, event, now, random) if isinstance(event, Exited | Ready) else (state, [])
        assert again == state
        assert not any(isinstance(action, StartChild | StopChild) for action in none)
