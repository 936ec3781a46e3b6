"""The restart policy by the sentences of Erlang's documentation, and by ARK's own above `decide`."""

from __future__ import annotations

import pytest

from ark.errors import ConfigError
from supervisor.policy import (
    Action,
    Backoff,
    Begin,
    ChildSpec,
    Event,
    Exited,
    GiveUp,
    Isolate,
    KillChild,
    RaiseEpoch,
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
    WakeAt,
    decide,
    initial,
)
from supervisor.specification import RestartType, Strategy

IMMEDIATE = Backoff(base_s=0.0, cap_s=0.0)


class Tree:
    """A supervisor over the children a, b, c and d, all brought up, and what it orders from then on."""

    def __init__(
        self,
        strategy: Strategy = "one_for_one",
        restart: RestartType = "permanent",
        *,
        second: RestartType | None = None,
        intensity: int = 50,
        backoff: Backoff = IMMEDIATE,
        shutdown_s: float = 2.0,
        up: bool = True,
    ) -> None:
        children = tuple(
            ChildSpec(name, restart=second if second and name == "b" else restart, shutdown_s=shutdown_s)
            for name in "abcd"
        )
        self.spec = SupervisorSpec("tree", strategy, children, intensity, 30.0, backoff)
        self.state = initial(self.spec)
        self.now = 100.0
        if up:
            self.tell(Begin())
            for name in "abcd":
                self.ready(name)

    def tell(self, event: Event, *, later: float = 0.0) -> list[Action]:
        self.now += later
        self.state, actions = decide(self.spec, self.state, event, self.now, 0.5)
        return [action for action in actions if not isinstance(action, WakeAt)]

    def ready(self, name: str) -> list[Action]:
        return self.tell(Ready(name, self.incarnation(name)))

    def exit(self, name: str, reason: str = "died", *, normal: bool = False, later: float = 0.0) -> list[Action]:
        return self.tell(Exited(name, self.incarnation(name), reason, normal), later=later)

    def incarnation(self, name: str) -> int:
        child = self.state.child(name)
        assert child is not None
        return child.incarnation

    def __getitem__(self, name: str) -> str:
        child = self.state.child(name)
        assert child is not None
        return child.state

    def settle(self) -> str:
        """Let every child do as it is told, and write down the orders: `-d -c +b` for stopped and started."""
        words = []
        for _ in range(100):
            child = next((c for c in self.state.children if c.state in ("starting", "stopping")), None)
            if child is None:
                break
            words.append(("+" if child.state == "starting" else "-") + child.name)
            if child.state == "starting":
                self.ready(child.name)
            else:
                self.exit(child.name, "as told", normal=True)
        return " ".join(words)


# Order of starts and stops


def test_children_start_left_to_right_each_after_the_one_before_is_ready() -> None:
    tree = Tree(up=False)
    assert tree.tell(Begin()) == [StartChild("a", 1)]
    assert (tree["a"], tree["b"], tree["c"]) == ("starting", "waiting", "waiting")
    assert tree.ready("a") == [StartChild("b", 1)]
    assert tree.ready("b") == [StartChild("c", 1)]
    assert tree.ready("c") == [StartChild("d", 1)]
    assert tree.ready("d") == [Started()]


def test_children_stop_right_to_left_each_after_the_one_behind_is_gone() -> None:
    tree = Tree()
    assert tree.tell(Stop()) == [StopChild("d", 1, 2.0)]
    assert tree.exit("d", normal=True) == [StopChild("c", 1, 2.0)]
    assert tree.exit("c", normal=True) == [StopChild("b", 1, 2.0)]
    assert tree.exit("b", normal=True) == [StopChild("a", 1, 2.0)]
    assert tree.exit("a", normal=True) == [Stopped()]


def test_a_child_that_does_not_stop_within_its_budget_is_killed_until_it_is_gone() -> None:
    tree = Tree()
    tree.tell(Stop())
    assert tree.tell(Tick(), later=1.9) == []
    assert tree.tell(Tick(), later=0.2) == [KillChild("d", 1)]
    assert tree.tell(Tick(), later=0.5) == []
    assert tree.tell(Tick(), later=0.5) == [KillChild("d", 1)]
    assert tree.exit("d") == [StopChild("c", 1, 2.0)]


def test_a_child_without_a_budget_is_killed_at_once() -> None:
    assert Tree(shutdown_s=0.0).tell(Stop()) == [KillChild("d", 1)]


def test_a_stop_during_the_start_does_not_start_the_rest() -> None:
    tree = Tree(up=False)
    tree.tell(Begin())
    assert tree.tell(Stop()) == [StopChild("a", 1, 2.0)]
    assert tree.ready("a") == []
    assert tree.exit("a", normal=True) == [Stopped()]


def test_a_stop_before_the_begin_stops_at_once() -> None:
    tree = Tree(up=False)
    assert tree.tell(Stop()) == [Stopped()]
    assert tree.tell(Begin()) == []


# Strategies and restart types: who is started again, in what order


@pytest.mark.parametrize("normal", [False, True])
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize(
    ("strategy", "recovery"),
    [
        ("one_for_one", "+b"),
        ("rest_for_one", "-d -c +b +c +d"),
        ("one_for_all", "-d -c -a +a +b +c +d"),
    ],
)
def test_the_failure_of_b_takes_along_whom_the_strategy_says(
    strategy: Strategy, recovery: str, restart: RestartType, normal: bool
) -> None:
    tree = Tree(strategy, second=restart)
    again = restart == "permanent" or (restart == "transient" and not normal)
    tree.exit("b", normal=normal)
    assert tree.settle() == (recovery if again else "")
    assert tree["b"] == ("running" if again else "stopped" if normal else "failed")


@pytest.mark.parametrize("strategy", ["rest_for_one", "one_for_all"])
def test_a_temporary_child_that_is_taken_along_is_not_started_again(strategy: Strategy) -> None:
    tree = Tree(strategy, second="temporary")
    tree.exit("a")
    assert tree.settle() == "-d -c -b +a +c +d"
    assert tree["b"] == "stopped"


@pytest.mark.parametrize("strategy", ["rest_for_one", "one_for_all"])
def test_a_transient_child_that_had_ended_is_started_with_the_others(strategy: Strategy) -> None:
    tree = Tree(strategy, second="transient")
    tree.exit("b", normal=True)
    tree.exit("a")
    assert tree.settle() == "-d -c +a +b +c +d"


@pytest.mark.parametrize(
    ("first", "then", "orders"),
    [("b", "a", "-d -c +a +b +c +d"), ("c", "b", "-d +b +c +d"), ("b", "d", "-c +b +c +d")],
)
def test_a_second_failure_while_siblings_are_stopped_joins_the_recovery(first: str, then: str, orders: str) -> None:
    tree = Tree("rest_for_one")
    tree.exit(first)
    tree.exit(then)
    assert tree.settle() == orders
    assert all(child.state == "running" for child in tree.state.children)


def test_a_second_failure_while_siblings_start_begins_anew() -> None:
    tree = Tree("rest_for_one")
    tree.exit("b")
    for name in "dc":
        tree.exit(name, normal=True)
    tree.ready("b")
    assert (tree["c"], tree["d"]) == ("starting", "waiting")
    tree.exit("a")
    assert tree.settle() == "-c -b +a +b +c +d"


def test_nothing_starts_while_siblings_are_being_stopped() -> None:
    tree = Tree("rest_for_one")
    assert tree.exit("b") == [StopChild("d", 1, 2.0)]
    assert tree.exit("d", normal=True) == [StopChild("c", 1, 2.0)]
    assert tree.exit("c", normal=True) == [RaiseEpoch("b failed: died"), StartChild("b", 2)]


def test_the_death_of_a_sibling_that_awaits_its_turn_is_no_failure() -> None:
    tree = Tree("rest_for_one", intensity=1)
    tree.exit("a")
    tree.exit("b")
    assert len(tree.state.restart_times) == 1
    assert tree.settle() == "-d -c +a +b +c +d"


def test_a_starting_sibling_that_awaits_its_turn_is_not_killed_for_being_slow() -> None:
    tree = Tree("rest_for_one", shutdown_s=30.0)
    tree.tell(Isolate("d", "noisy"))
    tree.exit("b", later=1.0)
    tree.tell(Restart("a", "asked"))
    tree.exit("d", normal=True)
    tree.exit("c", normal=True)
    tree.exit("a", normal=True)
    tree.ready("a")
    tree.tell(Release("d", "quiet"))
    assert [tree[name] for name in "abcd"] == ["running", "starting", "waiting", "waiting"]
    tree.ready("b")
    tree.ready("c")
    tree.tell(Restart("c", "asked"))
    assert (tree["c"], tree["d"]) == ("stopping", "starting")
    tree.exit("a", later=9.0)
    assert tree.tell(Tick(), later=5.0) == []
    assert tree.exit("d") == []
    assert tree.exit("c") == [StopChild("b", 2, 30.0)]


def test_under_one_for_one_a_restart_waits_for_nobody() -> None:
    tree = Tree(backoff=Backoff(first_s=1.0))
    tree.exit("a")
    tree.exit("c")
    assert (tree["a"], tree["c"]) == ("backoff", "backoff")
    tree.tell(Isolate("d", "noisy"))
    tree.exit("d", normal=True)
    assert tree.tell(Release("d", "quiet")) == [RaiseEpoch("d released: quiet"), StartChild("d", 2)]


def test_under_one_for_all_the_delay_belongs_to_the_group() -> None:
    tree = Tree("one_for_all", backoff=Backoff(first_s=1.0))
    tree.exit("c")
    assert tree.settle() == "-d -b -a"
    assert (tree["a"], tree["c"]) == ("waiting", "backoff")
    tree.tell(Tick(), later=1.0)
    assert tree.settle() == "+a +b +c +d"


# Intensity


def test_one_restart_more_than_the_intensity_and_it_gives_up_in_reverse_order() -> None:
    tree = Tree(intensity=2)
    tree.exit("b")
    tree.ready("b")
    tree.exit("c")
    tree.ready("c")
    assert tree.exit("b", "killed by signal 9") == [StopChild("d", 1, 2.0)]
    assert tree.exit("d", normal=True) == [StopChild("c", 2, 2.0)]
    assert tree.exit("c", normal=True) == [StopChild("a", 1, 2.0)]
    assert tree.exit("a", normal=True) == [GiveUp("3 restarts within 30 s, the last of b: killed by signal 9")]
    assert (tree["a"], tree["b"]) == ("stopped", "failed")


@pytest.mark.parametrize(("gap", "gives_up"), [(30.0, True), (30.1, False)])
def test_the_period_slides_and_its_bounds_belong_to_it(gap: float, gives_up: bool) -> None:
    tree = Tree(intensity=1)
    tree.exit("a")
    tree.ready("a")
    tree.exit("a", later=gap)
    assert (tree.state.phase == "giving_up") == gives_up


def test_with_an_intensity_of_zero_the_first_failure_is_one_too_many() -> None:
    tree = Tree(intensity=0)
    tree.exit("a")
    assert tree.state.phase == "giving_up"


def test_a_restart_that_fails_counts_as_another() -> None:
    tree = Tree(intensity=2)
    tree.exit("a")
    tree.exit("a", "boot: no such file")
    assert tree.state.phase == "running"
    tree.exit("a", "boot: no such file")
    assert tree.state.phase == "giving_up"


def test_ends_that_lead_to_no_restart_do_not_count() -> None:
    tree = Tree(restart="temporary", intensity=0)
    for name in "abcd":
        assert tree.exit(name) == []
    assert tree.state.phase == "running"


def test_a_stop_while_it_gives_up_is_obeyed() -> None:
    tree = Tree(intensity=0)
    tree.exit("a")
    tree.tell(Stop())
    tree.settle()
    assert tree.state.phase == "down"
    assert tree.tell(Stop()) == []


# Failures to start


def test_a_first_process_that_cannot_boot_ends_everything() -> None:
    tree = Tree(up=False)
    tree.tell(Begin())
    tree.ready("a")
    assert tree.exit("b", "boot: no module actors.b") == [StopChild("a", 1, 2.0)]
    assert tree.exit("a", normal=True) == [GiveUp("boot: b cannot start: no module actors.b")]


def test_a_first_process_that_dies_otherwise_is_tried_again_while_the_rest_waits() -> None:
    tree = Tree(up=False)
    tree.tell(Begin())
    assert tree.exit("a") == [RaiseEpoch("a failed: died"), StartChild("a", 2)]
    assert tree["b"] == "waiting"


def test_a_child_that_is_not_ready_in_time_is_killed_and_tried_again() -> None:
    tree = Tree(up=False)
    tree.tell(Begin())
    assert tree.tell(Tick(), later=10.0) == [KillChild("a", 1)]
    assert tree.ready("a") == []
    assert tree.exit("a") == [RaiseEpoch("a failed: not ready within 10 s"), StartChild("a", 2)]


def test_started_is_said_again_after_all_had_been_gone() -> None:
    tree = Tree("one_for_all")
    tree.exit("a")
    for name in "dcb":
        tree.exit(name, normal=True)
    said = [action for name in "abcd" for action in tree.ready(name)]
    assert said.count(Started()) == 1
    tree.exit("d")
    assert tree.settle() == "-c -b -a +a +b +c +d"


# Back-off


def test_the_delay_grows_from_nothing_to_its_cap_and_a_stable_run_resets_it() -> None:
    tree = Tree(backoff=Backoff(jitter=0.0))
    delays = []
    for _ in range(7):
        tree.exit("a")
        child = tree.state.child("a")
        assert child is not None
        delays.append(round(child.due - tree.now, 6) if child.state == "backoff" and child.due else 0.0)
        if child.state == "backoff":
            tree.tell(Tick(), later=delays[-1])
        tree.ready("a")
    assert delays == [0.0, 0.05, 0.1, 0.2, 0.4, 0.5, 0.5]
    tree.exit("a", later=10.0)
    assert tree["a"] == "starting"


def test_the_jitter_spreads_to_both_sides() -> None:
    backoff = Backoff(base_s=1.0, cap_s=8.0, jitter=0.2)
    assert backoff.delay(2, 0.0) == pytest.approx(0.8)
    assert backoff.delay(2, 0.5) == pytest.approx(1.0)
    assert backoff.delay(5, 0.999999) == pytest.approx(9.6, rel=1e-4)
    assert backoff.delay(100_000, 0.5) == pytest.approx(8.0)


# Isolation and the operators


def test_an_isolated_child_is_stopped_and_stays_down_until_it_is_released() -> None:
    tree = Tree("one_for_all", intensity=0)
    assert tree.tell(Isolate("b", "noisy")) == [StopChild("b", 1, 2.0)]
    assert tree.tell(Tick(), later=2.0) == [KillChild("b", 1)]
    assert tree.exit("b", "killed by signal 9") == []
    assert tree["b"] == "isolated"
    assert tree.state.restart_times == ()
    assert tree.tell(Restart("b", "please")) == []
    assert tree.tell(Release("b", "quiet")) == [RaiseEpoch("b released: quiet"), StartChild("b", 2)]


def test_a_recovery_passes_over_an_isolated_child() -> None:
    tree = Tree("rest_for_one")
    tree.tell(Isolate("c", "noisy"))
    tree.exit("c", normal=True)
    tree.exit("a")
    assert tree.settle() == "-d -b +a +b +d"
    assert tree["c"] == "isolated"


def test_isolation_beats_a_back_off_and_the_release_is_not_delayed() -> None:
    tree = Tree(backoff=Backoff(first_s=1.0))
    tree.exit("b")
    assert tree.tell(Isolate("b", "noisy")) == []
    assert tree.tell(Tick(), later=5.0) == []
    assert tree["b"] == "isolated"
    assert tree.tell(Release("b", "quiet")) == [RaiseEpoch("b released: quiet"), StartChild("b", 2)]


def test_a_release_of_what_is_not_isolated_changes_nothing() -> None:
    tree = Tree(backoff=Backoff(first_s=1.0))
    tree.exit("b")
    before = tree.state
    assert tree.tell(Release("b", "why not")) == []
    assert tree.state == before


def test_isolation_beats_a_kill_that_is_under_way() -> None:
    tree = Tree("rest_for_one", intensity=0)
    tree.tell(Restart("b", "hangs", kill=True))
    tree.tell(Isolate("b", "noisy"))
    assert tree.exit("b", "killed by signal 9") == []
    assert tree["b"] == "isolated"


def test_isolating_during_a_recovery_keeps_the_order_of_stops() -> None:
    tree = Tree("rest_for_one")
    tree.exit("a")
    assert tree.tell(Isolate("b", "noisy")) == [StopChild("b", 1, 2.0)]
    assert tree.exit("d", normal=True) == [StopChild("c", 1, 2.0)]
    assert tree.exit("c", normal=True) == []
    assert tree.exit("b", normal=True) == [RaiseEpoch("a failed: died"), StartChild("a", 2)]


def test_a_release_while_the_stop_is_under_way_starts_it_when_it_is_gone() -> None:
    tree = Tree()
    tree.tell(Isolate("b", "noisy"))
    assert tree.tell(Release("b", "quiet")) == []
    assert tree.exit("b", normal=True) == [RaiseEpoch("b released: quiet"), StartChild("b", 2)]


def test_what_was_isolated_before_a_new_supervisor_stays_isolated() -> None:
    tree = Tree(up=False)
    tree.state = initial(tree.spec, {"a": "noisy", "d": "too"})
    assert tree.tell(Begin()) == [StartChild("b", 1)]
    tree.ready("b")
    assert tree.ready("c") == [Started()]
    assert tree.tell(Release("a", "quiet")) == [RaiseEpoch("a released: quiet"), StartChild("a", 1)]


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_an_operators_stop_is_orderly_alone_no_failure_and_lasts_until_the_start(strategy: Strategy) -> None:
    tree = Tree(strategy, intensity=0)
    assert tree.tell(StopOne("b", "not now")) == [StopChild("b", 1, 2.0)]
    assert tree.tell(Tick(), later=2.0) == [KillChild("b", 1)]
    assert tree.exit("b", "killed by signal 9") == []
    assert tree["b"] == "stopped"
    assert tree.state.restart_times == ()
    assert tree.tell(Tick(), later=60.0) == []
    assert tree.tell(StartOne("b", "now")) == [RaiseEpoch("b started: now"), StartChild("b", 2)]


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("strategy", ["rest_for_one", "one_for_all"])
def test_a_recovery_passes_over_a_stopped_child(strategy: Strategy, restart: RestartType) -> None:
    tree = Tree(strategy, second=restart)
    tree.tell(StopOne("b", "not now"))
    tree.exit("b", normal=True)
    tree.exit("a")
    assert tree.settle() == "-d -c +a +c +d"
    assert tree["b"] == "stopped"


def test_a_stop_beats_a_back_off_and_a_kill_that_is_under_way() -> None:
    tree = Tree(backoff=Backoff(first_s=1.0), intensity=1)
    tree.exit("a")
    assert tree.tell(StopOne("a", "not now")) == []
    assert tree.tell(Tick(), later=5.0) == []
    tree.tell(Restart("b", "hangs", kill=True))
    tree.tell(StopOne("b", "not now"))
    assert tree.exit("b", "killed by signal 9") == []
    assert (tree["a"], tree["b"]) == ("stopped", "stopped")


def test_a_start_while_the_stop_is_under_way_starts_it_when_it_is_gone() -> None:
    tree = Tree()
    tree.tell(StopOne("b", "not now"))
    assert tree.tell(StartOne("b", "now")) == []
    assert tree.exit("b", normal=True) == [RaiseEpoch("b started: now"), StartChild("b", 2)]


def test_a_start_brings_back_what_had_ended_and_ends_a_back_off() -> None:
    tree = Tree(backoff=Backoff(first_s=1.0), second="temporary")
    tree.exit("a")
    assert tree.tell(StartOne("a", "now")) == [RaiseEpoch("a started: now"), StartChild("a", 2)]
    tree.exit("b")
    assert tree.tell(StartOne("b", "now")) == [RaiseEpoch("b started: now"), StartChild("b", 2)]


def test_a_start_of_what_runs_changes_nothing() -> None:
    tree = Tree()
    before = tree.state
    assert tree.tell(StartOne("b", "now")) == []
    assert tree.state == before


def test_an_isolated_child_can_neither_be_stopped_nor_started() -> None:
    tree = Tree()
    tree.tell(Isolate("b", "noisy"))
    tree.exit("b", normal=True)
    before = tree.state
    assert tree.tell(StopOne("b", "not now")) == []
    assert tree.tell(StartOne("b", "now")) == []
    assert tree.state == before


def test_a_stopped_child_that_is_isolated_is_started_by_its_release_and_by_nothing_else() -> None:
    tree = Tree()
    tree.tell(StopOne("b", "not now"))
    tree.exit("b", normal=True)
    tree.tell(Isolate("b", "noisy"))
    assert tree["b"] == "isolated"
    assert tree.tell(StartOne("b", "now")) == []
    assert tree.tell(Release("b", "quiet")) == [RaiseEpoch("b released: quiet"), StartChild("b", 2)]


def test_a_release_of_a_stopped_child_changes_nothing() -> None:
    tree = Tree()
    tree.tell(StopOne("b", "not now"))
    tree.exit("b", normal=True)
    before = tree.state
    assert tree.tell(Release("b", "quiet")) == []
    assert tree.state == before


def test_an_operators_restart_of_a_stopped_child_starts_it_and_the_watchdogs_does_not() -> None:
    tree = Tree()
    tree.tell(StopOne("b", "not now"))
    tree.exit("b", normal=True)
    assert tree.tell(Restart("b", "hangs", kill=True)) == []
    assert tree.tell(Restart("b", "now")) == [RaiseEpoch("b restarted: now"), StartChild("b", 2)]


def test_what_was_stopped_before_a_new_supervisor_stays_stopped() -> None:
    tree = Tree(up=False)
    tree.state = initial(tree.spec, {"d": "noisy"}, {"a": "not now", "d": "too"})
    assert tree.tell(Begin()) == [StartChild("b", 1)]
    tree.ready("b")
    assert tree.ready("c") == [Started()]
    assert (tree["a"], tree["d"]) == ("stopped", "isolated")
    assert tree.tell(StartOne("a", "now")) == [RaiseEpoch("a started: now"), StartChild("a", 1)]


def test_a_stop_of_the_whole_supervisor_is_no_operators_stop_of_its_children() -> None:
    tree = Tree()
    tree.tell(Stop())
    tree.settle()
    assert {child.desired for child in tree.state.children} == {"running"}


def test_a_temporary_child_that_a_person_wants_back_comes_back_also_from_a_siblings_recovery() -> None:
    tree = Tree("rest_for_one", second="temporary")
    tree.tell(Restart("b", "now"))
    tree.exit("a")
    assert tree.settle() == "-b -d -c +a +b +c +d"


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_an_operators_restart_is_orderly_alone_and_no_failure(strategy: Strategy) -> None:
    tree = Tree(strategy, intensity=0)
    assert tree.tell(Restart("b", "new settings")) == [StopChild("b", 1, 2.0)]
    assert tree.tell(Restart("b", "impatient")) == []
    assert tree.exit("b", normal=True) == [RaiseEpoch("b restarted: new settings"), StartChild("b", 2)]
    tree.ready("b")
    assert tree.state.restart_times == ()


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_a_process_that_is_not_ready_hears_nobody_so_a_restart_kills_it_at_once(strategy: Strategy) -> None:
    tree = Tree(strategy, intensity=0)
    tree.tell(Restart("b", "new settings"))
    tree.exit("b", normal=True)
    assert tree.tell(Restart("b", "the old ones")) == [KillChild("b", 2)]
    assert tree.tell(Restart("b", "impatient")) == []
    assert tree.exit("b", "killed by SIGKILL") == [RaiseEpoch("b restarted: the old ones"), StartChild("b", 3)]
    assert tree.state.restart_times == ()
    assert tree.ready("b") == []


def test_an_operators_restart_ends_a_back_off_and_starts_what_had_ended() -> None:
    tree = Tree(backoff=Backoff(first_s=1.0), second="temporary")
    tree.exit("a")
    assert tree.tell(Restart("a", "now")) == [RaiseEpoch("a restarted: now"), StartChild("a", 2)]
    tree.exit("b")
    assert tree.tell(Restart("b", "now")) == [RaiseEpoch("b restarted: now"), StartChild("b", 2)]


def test_a_hanging_child_is_killed_at_once_and_counts_as_a_crash_for_that_reason() -> None:
    tree = Tree("rest_for_one", intensity=1)
    assert tree.tell(Restart("c", "no heartbeat for 3 s", kill=True, incarnation=1)) == [KillChild("c", 1)]
    assert tree.exit("c", "killed by signal 9") == [StopChild("d", 1, 2.0)]
    assert tree.exit("d", normal=True) == [RaiseEpoch("c failed: no heartbeat for 3 s"), StartChild("c", 2)]
    assert len(tree.state.restart_times) == 1


def test_a_verdict_about_an_older_process_leaves_the_new_one_alone() -> None:
    tree = Tree()
    tree.exit("c")
    tree.ready("c")
    assert tree.tell(Restart("c", "no heartbeat for 3 s", kill=True, incarnation=1)) == []


# Late, double and foreign notices


@pytest.mark.parametrize(
    "notice",
    [
        Exited("b", 1, "died"),
        Exited("b", 3),
        Exited("nobody", 1),
        Ready("b", 1),
        Ready("nobody", 1),
        Isolate("nobody"),
    ],
)
def test_notices_about_other_processes_change_nothing(notice: Event) -> None:
    tree = Tree()
    tree.exit("b")
    before = tree.state
    assert tree.tell(notice) == []
    assert tree.state == before


def test_restarts_are_counted_for_the_operator_whatever_their_cause() -> None:
    tree = Tree("rest_for_one")
    tree.exit("c")
    tree.settle()
    tree.tell(Restart("d", "new settings"))
    tree.settle()
    assert [child.restarts for child in tree.state.children] == [0, 0, 1, 2]


def test_crashes_are_counted_apart_from_what_was_ordered_and_from_what_a_sibling_took_along() -> None:
    def crashes() -> list[int]:
        return [child.crashes for child in tree.state.children]

    tree = Tree("rest_for_one", second="transient")
    tree.exit("c")
    tree.settle()
    assert crashes() == [0, 0, 1, 0]
    for order in (Restart("d", "new settings"), StopOne("d"), StartOne("d"), Isolate("d"), Release("d")):
        tree.tell(order)
        tree.settle()
    tree.exit("b", normal=True)
    assert crashes() == [0, 0, 1, 0]
    tree.tell(Restart("d", "hangs", kill=True))
    tree.exit("d", "killed by SIGKILL")
    tree.tell(Tick(), later=60.0)
    tree.exit("d", "killed by SIGKILL")
    assert crashes() == [0, 0, 1, 2]


# Specifications


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: ChildSpec(""), "name"),
        (lambda: ChildSpec("a", restart="sometimes"), "restart"),  # type: ignore[arg-type]
        (lambda: ChildSpec("a", kind="daemon"), "kind"),  # type: ignore[arg-type]
        (lambda: ChildSpec("a", shutdown_s=float("nan")), "shutdown_s"),
        (lambda: SupervisorSpec("s", "all_for_one"), "strategy"),  # type: ignore[arg-type]
        (lambda: SupervisorSpec("s", children=(ChildSpec("a"), ChildSpec("a"))), "children"),
        (lambda: SupervisorSpec("s", intensity=-1), "intensity"),
        (lambda: Backoff(factor=0.5), "backoff.factor"),
        (lambda: Backoff(jitter=1.0), "backoff.jitter"),
    ],
)
def test_a_specification_that_makes_no_sense_names_the_field(make: object, field: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.field == field
