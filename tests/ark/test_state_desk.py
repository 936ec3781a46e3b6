"""What agents change in the Mutable Core: seen by themselves at once, by others once it is committed, made once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ark import Agent, Context, Durability, Effect, Hold, Signal
from ark.changes import Change
from ark.errors import StateError
from ark.revisions import Revision, by_release
from ark.simulator import Faults, Simulation
from ark.state import Core
from ark.state_desk import StateDesk
from ark.state_kinds import Settings
from ark.testing import TestContext, drive

SIGNALS = 8
SEEDS = 24


class Passed(msgspec.Struct):
    signal: Signal


def remember(context: Context, what: str) -> None:
    """Note a trace in a list and count it: what is done twice, or forgotten, shows in both."""
    traces = context.state.get(what, [])
    context.state.set(what, [*traces, context.trace_id])
    context.state.set(f"{what} count", context.state.get(f"{what} count", 0) + 1)


class Plain(Agent[Signal]):
    """Without a journal."""

    takes = Signal

    def handle(self, message: Signal, context: Context) -> Passed:
        remember(context, "handled")
        return Passed(message)


class Keeper(Agent[Passed]):
    """With a journal, and something to do outside; counts its starts."""

    takes = Passed
    intends = Passed
    durability = Durability.POWER

    def setup(self, context: Context) -> None:
        context.state.set("starts", context.state.get("starts", 0) + 1)

    def handle(self, message: Passed, context: Context) -> Any:
        remember(context, "handled")
        return Effect(message)

    def perform(self, intent: Passed, context: Context, *, again: bool) -> Passed:
        remember(context, "performed")
        return intent


class Last(Agent[Passed]):
    """Ends a signal."""

    takes = Passed
    durability = Durability.POWER

    def handle(self, message: Passed, context: Context) -> dict[str, Any]:
        remember(context, "handled")
        return {"trace_id": context.trace_id, "symbol": message.signal.symbol, "status": "executed"}


def signals() -> list[Signal]:
    return [Signal(symbol="AAPL", direction="long", price=1.0) for _ in range(SIGNALS)]


def test_every_signal_has_its_effect_on_the_state_once_whoever_died() -> None:
    kills = 0
    for seed in range(SEEDS):
        world = Simulation(
            [("plain", Plain), ("keeper", Keeper), ("last", Last)],
            seed=seed,
            faults=Faults(kills=12, crash_chance=0.06),
        )
        report = world.run(signals())
        kills += report.kills
        core = world.core
        for agent, what in (
            ("plain", "handled"),
            ("keeper", "handled"),
            ("keeper", "performed"),
            ("last", "handled"),
        ):
            assert core.get(agent, f"{what} count") == SIGNALS, (seed, agent, what)
            assert sorted(core.get(agent, what)) == sorted(report.outcomes), (seed, agent, what)
        origins = {each.origin for each in core.since(0)}
        assert len(origins) == 4 * SIGNALS + core.get("keeper", "starts"), seed
        assert core.revision() == 2 * 4 * SIGNALS + core.get("keeper", "starts"), seed
        assert core.verify() == []
    assert kills > 8 * SEEDS


def desk(core: Core, agent: str = "joey") -> StateDesk:
    return StateDesk(agent, "7", lambda: core)


def test_a_change_is_seen_by_itself_at_once_and_by_others_once_it_is_applied() -> None:
    core = Core()
    own, other = desk(core), desk(core, "kenny")
    core.set("joey", "old", 1, requester="anna")

    own.set("key", [1], "because")
    own.delete("old")

    assert own.get("key") == [1]
    assert own.all() == {"key": [1]}
    assert own.get("old", "gone") == "gone"
    assert other.get("key", agent="joey") is None
    own.apply(own.take())
    assert other.all(agent="joey") == {"key": [1]}
    newest: Revision = core.history("joey", "key")[0]
    assert (newest.requester, newest.reason) == ("joey@7", "because")


def test_what_the_agent_does_with_a_value_later_is_not_what_it_kept() -> None:
    core = Core()
    own, window = desk(core), [1]
    own.set("window", window)
    window.append(2)

    own.apply(own.take())

    assert core.get("joey", "window") == [1]


def test_what_cannot_be_kept_is_refused_where_it_is_asked_for() -> None:
    own = desk(Core())
    with pytest.raises(StateError):
        own.set("key", {1: 2})

    assert own.take() == []


def test_a_message_that_comes_again_after_its_changes_were_made_changes_nothing() -> None:
    core = Core()
    first = desk(core)
    first.turn_to("trace", "handle")
    first.set("count", 1)
    first.apply(first.take())

    second = desk(core)
    second.turn_to("trace", "handle", again=True)
    second.set("count", second.get("count", 0) + 1)
    assert second.get("count") == 1
    second.turn_to("next", "handle")
    second.set("count", second.get("count") + 1)
    second.apply(second.take())

    assert core.get("joey", "count") == 2


def test_settings_of_the_system_are_read_and_belong_to_persons() -> None:
    core = Core()
    Settings(core).set("fee", 0.5, requester="anna", description="basis points")

    assert desk(core).setting("fee") == 0.5
    assert desk(core).setting("other", 1) == 1


# A version on trial proposes, its role writes


def test_what_a_version_on_trial_changes_is_written_by_its_role_in_that_ones_name_once() -> None:
    core = Core()
    trial, role = StateDesk("joey", "new", lambda: core), StateDesk("joey", "old", lambda: core)
    for number, trace in enumerate(("one", "two"), 1):
        trial.turn_to(trace, "handle")
        trial.set("count", trial.get("count", 0) + 1)
        changes = trial.proposed(kept=True)
        assert trial.get("count") == number, "it sees what it proposed before its role has written it"
        role.turn_to(trace, "handle")
        assert role.adopt(changes, "new")
        assert role.get("count") == number
    role.apply(role.take())

    assert [each.requester for each in core.history("joey", "count")] == ["joey@new", "joey@new"]
    again = StateDesk("joey", "old", lambda: core)
    again.turn_to("two", "handle", again=True)
    again.set("count", 9)
    assert again.take() == [], "decided before, by whomever"
    core.undo(0, of=by_release("new"), by="deployer", reason="worse")
    trial._settled_at = -1.0
    trial.settle_proposed()
    assert trial.get("count", 0) == 0


def test_what_a_version_on_trial_was_merely_shown_changes_nothing() -> None:
    core = Core()
    trial = desk(core)
    trial.turn_to("one", "handle")
    trial.set("count", 1)

    assert trial.proposed(kept=False) == ()
    assert trial.get("count") is None
    assert trial.take() == []


def test_changes_of_a_version_on_trial_that_cannot_be_kept_end_nobody() -> None:
    role = desk(Core())
    role.turn_to("one", "handle")

    assert not role.adopt((Change("", 1),), "new")
    assert not role.adopt((Change("key", 1),), "new\n")
    assert role.adopt((Change("key", 1, agent="kenny", kind="config"),), "new")
    (group,) = role.take()
    assert [(each.agent, each.kind) for each in group.changes] == [("joey", "state")], (
        "it writes its own keys alone"
    )


class Asks(Agent[Signal]):
    """Writes before and after a person has ruled."""

    takes = Signal

    def handle(self, message: Signal, context: Context) -> Any:
        context.state.set("asked", context.now())
        return Hold(context.now() + 1, "may I?")


def test_in_a_test_the_changes_are_in_the_core_when_the_message_is_handled() -> None:
    context = TestContext("asks", now=7.0)

    drive(Asks(), signals()[0], context)

    assert context.core.get("asks", "asked") == 7.0
