"""What the deploy actor remembers, what it hears, and what it sees of the node."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ark.deploy_desk import Order
from ark.deploy_settings import DeployConfig
from ark.errors import ConfigError
from ark.home import Home
from ark.protocol import OPERATIONS
from ark.routing import Route
from ark.trial_page import TrialPage
from deployment.deploy_book import FILE, DeployBook, Kept
from deployment.desired import Task
from deployment.observation import differences, followed, segments, unapproved
from deployment.orders import WORDS, plan_of, wish_of, word_of
from deployment.progress import create
from deployment.tasks import _budget_in, _guarded
from tests.deployment.rollouts import NEW, OLD, START, a_plan

# What it remembers


def test_a_rollout_is_found_again_by_another_process_as_it_was_kept_last(tmp_path: Path) -> None:
    book = DeployBook(tmp_path / FILE)
    first = Kept(create(a_plan(), START, 0))
    second = Kept(create(msgspec.structs.replace(a_plan(), id="r2"), START, 3), revision=7)
    book.keep(first)
    book.keep(second)
    first.rollout = msgspec.structs.replace(first.rollout, state="permanent")
    book.keep(first)
    book.close()
    again = DeployBook(tmp_path / FILE)
    assert again.all() == [first, second]
    assert again.find("r2") == second
    assert again.find("r3") is None


def test_generations_are_never_used_again(tmp_path: Path) -> None:
    book = DeployBook(tmp_path / FILE)
    assert book.newest_generation == 0
    book.begin_table(4, "r1", [("joey", Route(0.1, 0.1))])
    book.begin_table(4, "r1", [("joey", Route(0.9, 0.1))])
    book.begin_table(5, "r2", [])
    assert book.newest_generation == 5
    assert book.tables("r1") == {4: {"joey": (0.1, 0.1)}}


def test_a_node_is_new_until_that_is_written_down(tmp_path: Path) -> None:
    book = DeployBook(tmp_path / FILE)
    assert book.node == ""
    for name in ("a", "b"):
        book.begin_node(name)
        assert book.node == name


def test_a_rollout_is_unsettled_until_that_is_said_of_it(tmp_path: Path) -> None:
    book = DeployBook(tmp_path / FILE)
    kept = Kept(msgspec.structs.replace(create(a_plan(), START, 0), state="permanent"))
    book.keep(kept)
    assert book.unsettled() == [kept]
    book.keep(kept, settled=True)
    assert book.unsettled() == []


# What it hears


def order(op: str = "deploy.start", **fields: Any) -> Order:
    return Order(1, op, "ada", **fields)


def test_every_word_is_an_operation_of_the_protocol() -> None:
    assert set(WORDS) <= set(OPERATIONS)


def test_a_wish_that_is_none_is_refused_by_its_field() -> None:
    for wrong in ({"role": {}}, {"roles": []}, {"release": 5}, {"settings": {"stages": [0]}, "roles": 3}):
        with pytest.raises(ConfigError, match="plan"):
            wish_of(order(plan=wrong))


def planned(roles: dict[str, str], **plan: Any) -> Any:
    permanent = {"joey": OLD, "hrm": ""}
    return plan_of(order(plan=plan), roles, name="r1", permanent=permanent, settings=DeployConfig(), now=START)


def test_a_plan_names_who_asked_and_what_is_permanent() -> None:
    plan = planned({"joey": NEW}, note="faster")
    assert (plan.by, plan.note, plan.roles, plan.stable["joey"]) == ("ada", "faster", {"joey": NEW}, OLD)


@pytest.mark.parametrize(
    ("roles", "plan", "field"),
    [
        ({"nobody": NEW}, {}, "plan.roles.nobody"),
        ({}, {}, "plan.release"),
        ({"joey": NEW}, {"settings": {"x": 1}}, None),
    ],
)
def test_a_plan_that_cannot_be_is_refused(roles: dict[str, str], plan: Any, field: str | None) -> None:
    with pytest.raises(ConfigError) as refused:
        planned(roles, **plan)
    assert field is None or refused.value.field == field


def test_what_overrules_needs_a_reason() -> None:
    for op in ("deploy.override", "rollback"):
        with pytest.raises(ConfigError, match="reason"):
            word_of(order(op))
        assert "it is on fire" in msgspec.structs.astuple(word_of(order(op, reason="it is on fire")))
    assert msgspec.structs.astuple(word_of(order("deploy.promote", full=True)))[:2] == ("promote", "ada")


# What it sees


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path)
    for page in (found.trials("joey"), found.differences("joey")):
        page.parent.mkdir(parents=True, exist_ok=True)
    return found


def test_evidence_is_told_by_role_and_table_and_other_tables_do_not_count(home: Home) -> None:
    page = TrialPage(home.trials("joey"), home.differences("joey"))
    for generation in (1, 2, 9):
        page.begin(generation, "r")
        page.count("canary_trials", generation)
        page.count("unapproved")
    tables = {1: {"joey": (0.1, 0.1)}, 2: {"joey": (0.25, 0.25), "hrm": (0.1, 0.1)}}
    found = segments(home, ["joey", "hrm"], tables, {"joey canary:2": (7, 1, 0, 0), "hrm stable:2": (3, 0, 0, 0)})
    assert [(each.role, each.generation) for each in found] == [("joey", 1), ("joey", 2), ("hrm", 2)]
    assert [each.canary.trials for each in found] == [1, 2, 0]
    assert (found[1].canary.signals, found[1].canary.denied, found[2].stable.signals) == (7, 1, 3)
    assert unapproved(home, ["joey", "hrm"], tables) == 2
    assert (followed(home, ["joey"]), followed(home, ["joey", "hrm"]), followed(home, [])) == (9, 0, 0)


def test_counter_examples_that_make_no_sense_are_passed_over(home: Home) -> None:
    whole = {
        "role": "joey", "trace_id": "t", "symbol": "A", "path": "setup", "canary": "1", "baseline": "2",
        "declared": False, "at": 1.0, "generation": 3, "kind": "pairs",
    }  # fmt: skip
    lines = [whole, whole | {"generation": 4}, whole | {"kind": "noise"}, whole | {"path": 5}, {"generation": 3}]
    home.differences("joey").write_bytes(b"\n".join(msgspec.json.encode(each) for each in lines) + b'\n{"gen')
    assert [each.path for each in differences(home, ["joey", "hrm"], [3])] == ["setup"]


@pytest.mark.parametrize("wrong", [{}, [], {"slos": 3}, {"slos": [{"budget": 5}]}, None])
def test_a_budget_that_cannot_be_read_raises_only_what_is_borne(wrong: Any) -> None:
    with suppress(ValueError, KeyError, TypeError):
        assert _budget_in(wrong)


def test_a_task_that_fails_in_any_way_is_told_as_such() -> None:
    def undo(kept: Kept, tree: Any) -> str:
        raise OSError(28, "No space left on device")

    done = _guarded(Task("undo", 2, 0.0), undo, Kept(create(a_plan(), START, 0)), [])
    assert (done.kind, done.attempt, done.ok) == ("undo", 2, False)
    assert "No space left" in done.detail
