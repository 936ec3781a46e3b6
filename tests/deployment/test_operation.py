"""The deploy actor without its process: what it writes, and what is left where it is killed or cannot write."""

from __future__ import annotations

import errno
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ark import interventions
from ark.config import Config
from ark.deploy_desk import Order, Reply
from ark.equipment import Equipment, permanent_releases, write_permanent_releases
from ark.errors import JournalError
from ark.home import Home
from ark.migration import MARK
from ark.protocol import Code
from ark.rollouts import read_rollout
from ark.routing import BASELINE, CANARY, OWN, Table, place_of, placed, read_table
from ark.state import open_core
from deployment import emergency, operation
from deployment.content import ReleaseError
from deployment.deploy_book import FILE, DeployBook, Kept
from deployment.desired import Task
from deployment.manifest import Manifest, Migration
from deployment.operation import Operation
from deployment.progress import Rollback, Rollout, State, create, is_active
from deployment.releases import Release
from tests.deployment.rollouts import NEW, OLD, START, a_plan

NEXT = "c" * 64
NODE = "1 2"


class Killed(BaseException):
    """The process ends here."""


class Bench:
    """A home, and one deploy actor after the other in it.

    Attributes:
        refused: Releases that must not be run.
        time, tick: What the clocks say.
        replies, said: What the actor answered, and what it told its supervisor.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self.refused: set[str] = set()
        self.time, self.tick = START, 5.0
        self.replies: list[Reply] = []
        self.said: list[dict[str, Any]] = []
        self.node = NODE
        self._numbers = count(1)
        self.actor: Operation

    def begin(self) -> Operation:
        """Start the actor, as its supervisor does again after a kill."""
        self.actor = Operation(
            self.home,
            Config(),
            say=lambda **words: self.said.append(words),
            reply=self.replies.append,
            clock=lambda: self.time,
            ticks=lambda: self.tick,
        )
        return self.actor

    def open(self, home: Home, digest: str) -> Release:
        if digest in self.refused:
            raise ReleaseError(f"the release {digest[:12]} must not be run: nobody trusts it")
        return Release(digest, "name", "1", {"joey": "a:B", "hrm": "a:C"}, Path("/nowhere") if digest else None)

    def order(self, op: str, **fields: Any) -> int:
        number = next(self._numbers)
        fields = {"by": "ada", "reason": "tested", **fields}
        self.actor.take(Order(number, op, asked_at=self.time, **fields))
        return number

    def look(self, passed: float = 0.1) -> None:
        self.time, self.tick = self.time + passed, self.tick + passed
        self.actor.look()

    def ask(self, op: str, **fields: Any) -> Reply:
        """Give an order, look, and give the reply."""
        number = self.order(op, **fields)
        self.look()
        return self.reply(number)

    def reply(self, number: int) -> Reply:
        (found,) = [each for each in self.replies if each.number == number]
        return found

    def keep(self, name: str, state: State, *, settled: bool = True, **fields: Any) -> Kept:
        """Put a rollout into the book as it would be in a state."""
        plan = msgspec.structs.replace(a_plan(**fields.pop("plan", {})), id=name)
        if state in ("rolled_back", "aborting"):
            fields.setdefault("rollback", Rollback("worse", "stage", "table", START + 600))
        since = {"at": START, "since": START, "deadline": START + 600}
        kept = Kept(msgspec.structs.replace(create(plan, START), state=state, **{**since, **fields}))
        book = DeployBook(self.home.data / FILE)
        book.keep(kept, settled=settled)
        book.begin_node(NODE)
        book.close()
        return kept

    def kept(self, name: str) -> Kept:
        book = DeployBook(self.home.data / FILE)
        found = book.find(name)
        book.close()
        assert found is not None
        return found

    def make_permanent(self, **roles: str) -> None:
        write_permanent_releases(
            self.home.permanent_file, {role: Equipment(digest) for role, digest in roles.items() if digest}
        )

    @property
    def permanent(self) -> dict[str, str]:
        return {role: each.digest for role, each in permanent_releases(self.home.permanent_file).items()}

    @property
    def events(self) -> list[str]:
        return [each["fields"].get("reason", "") for each in self.said if each.get("kind") == "rollout_trouble"]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    home = Home(tmp_path / "home")
    home.prepare()
    found = Bench(home)
    monkeypatch.setattr(operation, "open_release", found.open)
    monkeypatch.setattr(emergency, "open_release", found.open)
    for module in (operation, emergency):
        monkeypatch.setattr(module, "resolve", lambda home, which: which)
    monkeypatch.setattr(Operation, "_node_name", lambda self: found.node)
    return found


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*arguments: Any, **fields: Any) -> Any:
        raise error

    return fail


FULL = OSError(errno.ENOSPC, "No space left on device")

# Words to a rollout that has ended


@pytest.mark.parametrize("op", ["pause", "resume", "abort", "approve", "promote", "start"])
@pytest.mark.parametrize("state", ["rolled_back", "permanent"])
@pytest.mark.parametrize("named", ["r1", ""])
def test_no_word_to_an_ended_rollout_changes_what_trades(bench: Bench, op: str, state: State, named: str) -> None:
    bench.keep("r1", state)
    bench.make_permanent(joey=NEXT)
    bench.begin()
    if op == "start" and not named:
        return  # that begins another one
    reply = bench.ask(f"deploy.{op}", rollout=named)
    assert bench.permanent == {"joey": NEXT}
    assert not bench.actor.is_active
    already = op == "abort" and state == "rolled_back"
    assert reply.code == ("" if already else Code.REFUSED)


def test_a_permanent_release_is_undone_unless_another_one_came(bench: Bench) -> None:
    bench.keep("r1", "permanent")
    bench.make_permanent(joey=NEXT)
    bench.begin()
    assert "has had another release since" in bench.ask("deploy.undo").message
    bench.make_permanent(joey=NEW)
    assert not bench.ask("deploy.undo").code
    assert bench.permanent == {"joey": OLD}
    assert bench.kept("r1").rollout.state == "aborting"


def test_a_rollback_without_a_name_passes_over_what_brought_no_release(bench: Bench) -> None:
    bench.keep("r1", "permanent")
    bench.keep("r2", "rolled_back", rollback=None)
    bench.keep("r3", "passed", plan={"strategy": "aa"})
    bench.keep("r4", "plan", settled=False)
    bench.make_permanent(joey=NEW)
    bench.begin()
    assert bench.kept("r4").rollout.state == "rolled_back"
    assert not bench.ask("rollback").code
    assert bench.kept("r1").rollout.state == "aborting"


def test_a_rollback_after_one_that_went_by_itself_takes_no_further_release(bench: Bench) -> None:
    bench.keep("r1", "permanent")
    bench.keep("r2", "rolled_back")
    bench.make_permanent(joey=NEW)
    bench.begin()
    reply = bench.ask("rollback")
    assert "r2 is rolled back; there is nothing to undo" in reply.message
    assert "undo --rollout r1" in reply.message
    assert bench.permanent == {"joey": NEW}


def test_of_two_starts_at_once_the_second_is_refused_and_the_first_begins(bench: Bench) -> None:
    bench.begin()
    anna, ben = (bench.order("deploy.start", by=by, plan={"roles": {"joey": NEW}}) for by in ("anna", "ben"))
    bench.look()
    assert "is under way" in bench.reply(ben).message
    assert bench.reply(anna).fields["rollout"]["by"] == "anna"
    assert bench.reply(anna).fields["rollout"]["state"] == "shadow"


def test_a_word_and_a_start_in_one_moment_do_not_meet(bench: Bench) -> None:
    bench.keep("r1", "permanent")
    bench.make_permanent(joey=NEW)
    bench.begin()
    undo, start = bench.order("deploy.undo"), bench.order("deploy.start", plan={"roles": {"joey": NEXT}})
    bench.look()
    assert "r1 is under way" in bench.reply(start).message
    assert bench.reply(undo).fields["rollout"]["id"] == "r1"


def test_who_said_what_stands_among_the_acts(bench: Bench) -> None:
    bench.begin()
    name = bench.ask("deploy.start", plan={"roles": {"joey": NEW}}).fields["rollout"]["id"]
    bench.ask("deploy.pause", by="ben")
    bench.ask("deploy.pause", rollout="r0")
    bench.ask("rollback", by="eve")
    for _ in range(100):
        bench.look(10.0)
    assert not bench.actor.is_active
    bench.ask("rollback", to=NEXT, reason="the last good one")
    found = [(each.act, each.by, each.subject, each.reason) for each in interventions.read(bench.home)]
    assert found == [
        ("deploy.start", "ada", name, "tested"),
        ("deploy.pause", "ben", name, "tested"),
        ("rollback", "eve", name, "tested"),
        ("rollback", "ada", "", "the last good one"),
    ]
    assert bench.permanent["joey"] == NEXT


# A kill


@pytest.mark.parametrize(("state", "then"), [("permanent", NEW), ("rolled_back", OLD), ("passed", OLD)])
def test_an_end_that_was_written_down_and_not_made_so_is_made_so_by_the_next_process(
    bench: Bench, state: State, then: str
) -> None:
    bench.keep("r1", state, settled=False)
    bench.make_permanent(joey=OLD)
    bench.home.routes_file.write_text("{}")
    bench.home.rollout_file.write_text(msgspec.json.encode({"id": "r1", "state": "bake", "stable": {}}).decode())
    bench.begin()
    assert bench.actor.is_active
    bench.look()
    assert not bench.actor.is_active
    assert bench.permanent == {"joey": then}
    assert not bench.home.routes_file.exists()
    shown = read_rollout(bench.home, bench.time)
    assert shown is not None
    assert (shown["state"], shown["is_over"]) == (state, True)
    assert not bench.begin().is_active


def test_a_kill_before_the_permanent_releases_are_written_leaves_them_to_the_next_process(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.keep("r1", "bake", settled=False, was_ready=True)
    bench.make_permanent(joey=OLD)
    bench.begin()
    bench.actor.tree = [
        {"name": "joey", "state": "running", "release": NEW, "restarts": 0, "crashes": 0, "pid": None, "since": 0.0}
    ]
    number = bench.order("deploy.promote", full=True)
    with monkeypatch.context() as patched:
        patched.setattr(Operation, "_make_so", failing(Killed()))
        with pytest.raises(Killed):
            bench.look()
    assert (bench.kept("r1").rollout.state, bench.permanent) == ("permanent", {"joey": OLD})
    assert number not in [each.number for each in bench.replies]
    bench.begin()
    bench.look()
    assert bench.permanent == {"joey": NEW}


def test_a_node_that_restarted_ends_a_rollout_also_after_a_kill_in_between(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.keep("r1", "stage", settled=False, share=10.0)
    bench.node = "another start"
    bench.begin()
    with monkeypatch.context() as patched:
        patched.setattr(DeployBook, "keep", failing(Killed()))
        with pytest.raises(Killed):
            bench.look()
    bench.begin()
    bench.look()
    assert "the node restarted" in bench.kept("r1").rollout.history[-1].why
    bench.begin()
    bench.look()
    assert bench.kept("r1").rollout.restarts == 1


# What a release wrote


def rollout_at(state: State, share: float, **plan: Any) -> Rollout:
    return msgspec.structs.replace(create(a_plan(**plan), START), state=state, share=share)


def test_what_the_canary_wrote_in_a_stage_is_undone_and_nothing_of_others(bench: Bench) -> None:
    with_core = open_core(bench.home)
    for role in ("joey", "hrm"):
        with_core.set(role, "before", 1, requester=f"{role}@{NEW[:12]}")
    bench.keep("r1", "shadow", settled=False)
    actor = bench.begin()
    kept = Kept(rollout_at("shadow", 0.0))
    actor._keep(kept)
    assert kept.revision is None
    kept.rollout = rollout_at("stage", 10.0)
    actor._keep(kept)
    assert kept.revision == 2
    for role in ("joey", "hrm"):
        with_core.set(role, "since", 1, requester=f"{role}@{NEW[:12]}")
    actor._keep(kept)
    assert kept.revision == 2

    done = actor._tasks._undo(kept, [])

    assert done == "1 keys are back"
    assert with_core.get("joey", "since") is None
    assert [with_core.get("joey", "before"), with_core.get("hrm", "since")] == [1, 1]
    assert actor._tasks.changed == {"joey"}
    # Killed before anybody was restarted: whoever undoes it again finds nothing to undo, and whom to restart.
    again = bench.begin()._tasks
    assert again._undo(kept, []) == "1 keys are back"
    assert again.changed == {"joey"}
    with_core.close()


def test_an_aa_has_nothing_to_undo(bench: Bench) -> None:
    actor = bench.begin()
    kept = Kept(rollout_at("stage", 50.0, strategy="aa"))
    actor._keep(kept)
    assert kept.revision is None
    assert actor._tasks._undo(kept, []) == "the release has written nothing"


# Releases from before the state


def goes_up(release: Release) -> Release:
    """The same release, with ways of its own for Joey's state."""
    moves = {"joey": Migration("moves:up", "moves:down")}
    said = Manifest(1, "name", "1", dict(release.agents), 1, {**moves, "hrm": "restart"}, "")
    return msgspec.structs.replace(release, manifest=said)


def has_gone_up(bench: Bench, *steps: tuple[str, str]) -> None:
    """Joey's state is that of the last of these releases; each stands beside the permanent one when it came."""
    core = open_core(bench.home)
    mark = [{"digest": digest, "before": before, "revision": 1} for digest, before in steps]
    core.set("joey", MARK, mark, requester="joey")
    core.close()


def test_a_release_from_before_the_state_is_not_rolled_out_but_gone_back_to(bench: Bench) -> None:
    bench.make_permanent(joey=NEXT)
    has_gone_up(bench, (NEW, OLD), (NEXT, NEW))
    bench.begin()
    for digest, short in ((NEW, NEW[:12]), (OLD, OLD[:12]), ("", "installed")):
        plan = {"roles": {"joey": digest}}
        told = bench.ask("deploy.plan", plan=plan).fields["plan"]["conflict"]
        assert told.startswith(
            f"joey keeps its state as release {NEXT[:12]} does, and {short} is from before that;"
        )
        assert f"`ark-run rollback --to {short} --reason TEXT`" in told
        assert told in bench.ask("deploy.start", plan=plan).message
        assert not bench.actor.is_active
    assert not bench.ask("rollback", to=NEW).code
    assert bench.permanent["joey"] == NEW


def test_whatever_knows_the_state_is_rolled_out(bench: Bench) -> None:
    bench.make_permanent(joey=OLD)
    has_gone_up(bench, (NEW, ""))  # and the old one came after it, with no way of its own
    bench.begin()
    for roles in ({"joey": NEW}, {"joey": NEXT}, {"hrm": NEW}):
        assert bench.ask("deploy.plan", plan={"roles": roles}).fields["plan"]["conflict"] == ""
    assert (
        bench.ask("deploy.plan", plan={"roles": {"joey": OLD}, "strategy": "aa"}).fields["plan"]["conflict"] == ""
    )


def test_nobody_goes_up_untried_unless_it_is_to_be_now(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    opens = bench.open
    monkeypatch.setattr(operation, "open_release", lambda home, digest: goes_up(opens(home, digest)))
    bench.begin()
    refused = bench.ask("rollback", to=NEW)
    assert f"joey's state would have to go up to {NEW[:12]}, which no canary has tried" in refused.message
    assert f"`ark-run deploy start --release {NEW[:12]}`" in refused.message
    assert bench.permanent == {}
    assert not bench.ask("rollback", to=NEW, now=True).code
    assert bench.permanent == {"joey": NEW, "hrm": NEW}

    has_gone_up(bench, (NEW, ""), (NEXT, NEW))
    assert not bench.ask("rollback", to=NEW).code
    (bench.home.data / "state.db").write_bytes(b"no database" * 1000)
    assert not bench.ask("rollback", to=NEXT).code


def test_state_that_cannot_be_read_is_not_taken_for_none(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployment.tasks.read_core", failing(JournalError("state.db is damaged")))
    bench.keep("r1", "stage", settled=False, share=10.0)
    bench.begin()
    bench.look()
    assert "state.db is damaged" in bench.events[0]
    bench.look()
    assert bench.kept("r1").rollout.state == "aborting"
    assert bench.kept("r1").revision is None


# Positions


def show(bench: Bench, document: Any) -> None:
    """HRM shows the account."""
    path = bench.home.shown("hrm", "portfolio")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(document))


def show_opened(bench: Bench, *opened: tuple[str, str, str]) -> None:
    """HRM shows where what is open came from: each a symbol, a source, and a band of notional."""
    shown = [dict(zip(("symbol", "source", "band"), each, strict=True)) for each in opened]
    show(bench, {"positions": [], "opened": shown})


def table(bench: Bench) -> Table:
    found = read_table(bench.home.routes_file)
    assert found is not None
    return found


def keys_of(found: Table, arm: str) -> list[str]:
    """Keys that lie with an arm."""
    names = [f"key{number}" for number in range(100)]
    return [name for name in names if placed(place_of(found.salt, name), found.roles["joey"]) == arm]


@pytest.mark.parametrize("by", ["symbol", "source", "notional"])
def test_what_is_opened_is_pinned_to_the_arm_that_its_signal_lay_with_over_kills_too(bench: Bench, by: str) -> None:
    show_opened(bench, ("OLD", "desk", "1e3"))
    bench.keep("r1", "stage", settled=False, share=25.0, plan={"roles": ("joey", "hrm"), "by": by})
    bench.begin()
    bench.look()
    assert table(bench).pins == {"OLD": OWN}, "it was there before the canary decided anything"

    keys = {arm: keys_of(table(bench), arm)[0] for arm in (CANARY, BASELINE, OWN)}
    symbols = {arm: key if by == "symbol" else f"S-{arm}" for arm, key in keys.items()}
    old, new = ("OLD", "desk", "1e3"), [(symbols[arm], key, key) for arm, key in keys.items()]
    expected = {"OLD": OWN, **{symbols[arm]: arm for arm in keys}}
    show_opened(bench, old, *new)
    bench.look()
    assert table(bench).pins == expected
    before = bench.home.routes_file.stat().st_ino
    bench.look()
    assert bench.home.routes_file.stat().st_ino == before, "nothing has changed"

    bench.begin()
    show(bench, "no account")
    bench.look()
    assert table(bench).pins == expected
    kept = bench.actor._kept
    assert kept is not None
    next_one = kept.rollout.generation + 1
    kept.rollout = msgspec.structs.replace(kept.rollout, share=50.0, generation=next_one)
    show_opened(bench, *new)
    bench.look()
    assert table(bench).roles["joey"].canary == 0.5
    del expected["OLD"]
    assert table(bench).pins == expected


def test_what_is_opened_while_nobody_renews_the_lease_is_the_agents_own(bench: Bench) -> None:
    show_opened(bench)
    bench.keep("r1", "stage", settled=False, share=50.0, plan={"by": "source"})
    bench.begin()
    bench.look()
    key = keys_of(table(bench), CANARY)[0]
    show_opened(bench, ("A", key, "none"))
    bench.look()
    bench.time += 60.0
    show_opened(bench, ("A", key, "none"), ("B", key, "none"))
    bench.begin()
    bench.look()
    assert table(bench).pins == {"A": CANARY, "B": OWN}


@pytest.mark.parametrize(("by", "arm"), [("symbol", CANARY), ("source", OWN), ("notional", OWN)])
def test_of_a_judge_that_shows_positions_alone_only_the_symbols_are_known(bench: Bench, by: str, arm: str) -> None:
    bench.keep("r1", "stage", settled=False, share=50.0, plan={"by": by})
    bench.begin()
    bench.look()
    symbol = keys_of(table(bench), CANARY)[0]
    show(bench, {"equity": "1", "positions": [{"symbol": symbol, "side": "long"}]})
    bench.look()
    assert table(bench).pins == {symbol: arm}


# Clocks


def test_a_clock_that_is_set_back_by_an_hour_leaves_the_table_in_force(bench: Bench) -> None:
    bench.keep("r1", "stage", settled=False, share=10.0)
    bench.begin()
    bench.look()
    bench.time -= 3600.0
    bench.look()
    for _ in range(30):
        table = read_table(bench.home.routes_file)
        assert table is not None
        assert table.is_in_force(bench.time)
        bench.look(0.5)


def test_a_clock_that_is_set_back_does_not_stop_the_judge(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.keep("r1", "stage", settled=False, share=10.0)
    bench.begin()
    judged = []
    monkeypatch.setattr(operation, "judge", lambda *arguments, **further: judged.append(arguments))
    bench.look()
    bench.time -= 3600.0
    for _ in range(4):
        bench.look(0.5)
    assert len(judged) == 5


# What cannot be done


def test_a_release_that_is_trusted_no_more_is_not_begun_with(bench: Bench) -> None:
    bench.begin()
    assert not bench.ask("deploy.plan", plan={"roles": {"joey": NEW}}).code
    bench.refused.add(NEW)
    assert "nobody trusts it" in bench.ask("deploy.start", plan={"roles": {"joey": NEW}}).message
    assert not bench.actor.is_active


def test_a_release_that_is_trusted_no_more_turns_its_rollout_back(bench: Bench) -> None:
    bench.make_permanent(joey=OLD)
    bench.keep("r1", "bake", settled=False)
    bench.refused.add(NEW)
    bench.begin()
    number = bench.order("deploy.pause")
    bench.look()
    assert "nobody trusts it" in bench.reply(number).message
    assert not bench.home.routes_file.exists()
    for _ in range(1000):
        if bench.actor.is_active:
            bench.look(1.0)
    assert not bench.actor.is_active
    assert bench.kept("r1").rollout.state == "rolled_back"
    assert any("nobody trusts it" in each.why for each in bench.kept("r1").rollout.history)
    assert bench.permanent == {"joey": OLD}


def test_a_release_before_that_is_trusted_no_more_does_not_keep_an_end_from_ending(bench: Bench) -> None:
    bench.make_permanent(joey=NEW)
    bench.keep("r1", "rolled_back", settled=False)
    bench.refused.add(OLD)
    bench.begin()
    bench.look()
    assert not bench.actor.is_active
    assert "nobody trusts it" in bench.kept("r1").rollout.troubles[-1]
    assert not bench.begin().is_active


def test_a_full_disk_turns_a_rollout_back_and_every_order_is_answered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.begin()
    with monkeypatch.context() as patched:
        patched.setattr(operation, "write_table", failing(FULL))
        reply = bench.ask("deploy.start", plan={"roles": {"joey": NEW}})
        assert "No space left" in reply.message
        assert not bench.ask("deploy.abort").code
        with monkeypatch.context() as full:
            full.setattr(DeployBook, "keep", failing(FULL))
            bench.look(2.0)
            assert bench.ask("deploy.status").fields["rollout"]["state"] == "aborting"
    for _ in range(300):
        bench.look(1.0)
    assert not bench.actor.is_active
    assert len(bench.events) < 10


def test_an_end_that_a_full_disk_keeps_from_being_written_is_written_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.keep("r1", "permanent", settled=False)
    bench.begin()
    with monkeypatch.context() as patched:
        patched.setattr(operation, "write_permanent_releases", failing(FULL))
        bench.look()
        bench.look()
    assert bench.permanent == {}
    bench.look()
    assert bench.permanent == {"joey": NEW}
    assert bench.kept("r1").rollout.state == "permanent"


def test_releases_that_cannot_be_read_are_answered_with_the_reason(bench: Bench) -> None:
    bench.keep("r1", "stage", settled=False, share=10.0)
    bench.home.permanent_file.write_text("{")
    bench.begin()
    bench.look()
    assert "cannot be read" in bench.events[0]
    assert "cannot be read" in bench.ask("rollback", to=NEXT).message
    bench.home.permanent_file.unlink()
    bench.look()
    assert is_active(bench.kept("r1").rollout)


# The note


def by_files(bench: Bench, to: str = "") -> None:
    note = emergency.way_back(bench.home, to, by="eve", reason="wrong sizes", now=bench.time)
    emergency.go_back(bench.home, note)


def test_a_rollback_that_was_also_asked_for_in_vain_is_kept_once(bench: Bench) -> None:
    bench.keep("r1", "stage", settled=False, share=10.0)
    bench.begin()
    bench.look()
    by_files(bench)
    assert not bench.ask("rollback", by="eve", reason="wrong sizes").code
    assert not bench.ask("deploy.abort", by="ben").code
    assert [each.by for each in interventions.read(bench.home)] == ["eve", "ben"]


def test_an_idle_deploy_actor_obeys_the_note_by_itself(bench: Bench) -> None:
    bench.keep("r1", "permanent")
    bench.make_permanent(joey=NEW)
    bench.begin()
    bench.look()
    by_files(bench)
    bench.look()
    assert bench.kept("r1").rollout.history[-1].by == "eve"
    assert bench.kept("r1").rollout.state == "aborting"


def test_a_release_chosen_by_the_files_undoes_nothing_of_a_permanent_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emergency, "_roles_of", lambda home, to: {"joey": to})
    bench.keep("r1", "permanent", plan={"roles": ("joey", "hrm")})
    bench.make_permanent(joey=NEW, hrm=NEW)
    bench.begin()
    by_files(bench, NEXT)
    bench.look()
    assert bench.permanent == {"joey": NEXT, "hrm": NEW}
    assert bench.kept("r1").rollout.state == "permanent"
    assert emergency.read_note(bench.home) is None


@pytest.mark.parametrize("asked", [True, False])
def test_a_chosen_release_is_waited_for_and_no_other_one_decides_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    monkeypatch.setattr(emergency, "_roles_of", lambda home, to: {"joey": to})
    bench.make_permanent(joey=OLD)
    bench.keep("r1", "bake", settled=False)
    bench.begin()
    bench.look()
    if asked:
        bench.ask("rollback", to=NEXT)
    else:
        by_files(bench, NEXT)
    bench.look()
    table = read_table(bench.home.routes_file)
    assert table is not None
    assert table.roles["joey"].baseline == 0
    assert bench.permanent["joey"] == NEXT
    bench.actor.tree = [
        {
            "name": "joey",
            "state": "running",
            "release": NEXT,
            "restarts": 0,
            "crashes": 0,
            "pid": None,
            "since": 0.0,
        }
    ]
    for _ in range(100):
        bench.look(0.5)
        if not bench.actor.is_active:
            break
    ended = bench.kept("r1").rollout
    assert ended.state == "rolled_back"
    assert [each for each in ended.troubles if "come back" in each or "joey runs" in each] == []
    assert bench.permanent["joey"] == NEXT


def test_the_health_of_a_way_back_is_that_of_the_chosen_release(bench: Bench) -> None:
    actor = bench.begin()
    back = Rollback("w", "bake", "health", START, chosen={"joey": NEXT})
    kept = Kept(msgspec.structs.replace(rollout_at("aborting", 0.0), rollback=back))
    tree = [{"name": "joey", "state": "running", "release": NEXT}]
    assert "release to go back to" in actor._tasks._health(kept, tree)
    assert Task("health", 1, 0.0) == operation.desired(kept.rollout, START).task
