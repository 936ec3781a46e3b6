"""The way back by the files of the home, without gateway and deploy actor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ark import interventions
from ark.cli import main
from ark.equipment import Equipment, permanent_releases, write_permanent_releases
from ark.errors import NodeError
from ark.home import Home
from ark.rollouts import shown_rollout
from ark.routing import Route, Table, write_table
from deployment.deploy_book import FILE, DeployBook, Kept
from deployment.emergency import NOTE, clear_note, go_back, read_note, way_back
from deployment.progress import create
from tests.deployment.rollouts import NEW, OLD, START, World, a_plan

EQUIPPED = Equipment(OLD, "joey", "1", "/nowhere", "joey:Joey")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home in which a rollout of Joey is under way."""
    home = Home(tmp_path / "home")
    home.prepare()
    show(home, "stage")
    write_permanent_releases(home.permanent_file, {"joey": EQUIPPED, "hrm": EQUIPPED})
    write_table(home.routes_file, Table(7, "r1", START, "r1", "symbol", {"joey": Route(0.25, 0.25)}, {}, {}, {}))
    return home


def show(home: Home, state: str, **further: Any) -> None:
    document = {"id": "r1", "state": state, "is_over": state in ("permanent", "rolled_back"), "since": START}
    home.rollout_file.write_text(json.dumps({**document, "stable": {"joey": OLD}, **further}))


def back(home: Home, to: str = "") -> list[str]:
    return go_back(home, way_back(home, to, by="ada", reason="wrong sizes", now=START))


def test_a_rollout_under_way_has_its_table_taken_away_and_a_note_left(home: Home) -> None:
    assert back(home) == []

    assert not home.routes_file.exists()
    assert permanent_releases(home.permanent_file) == {"joey": EQUIPPED, "hrm": EQUIPPED}
    note = read_note(home)
    assert note is not None
    assert (note.by, note.reason, note.rollout, note.roles, note.is_chosen) == (
        "ada", "wrong sizes", "r1", {"joey": OLD}, False,
    )  # fmt: skip
    (act,) = interventions.read(home)
    assert (act.act, act.by, act.details["rollout"]) == ("rollback", "ada", "r1")

    clear_note(home)
    assert read_note(home) is None


def test_the_package_that_is_installed_needs_no_release_to_go_back_to(home: Home) -> None:
    show(home, "permanent", stable={"joey": "", "hrm": OLD})
    write_permanent_releases(home.permanent_file, {"joey": Equipment(NEW), "hrm": EQUIPPED})

    back(home)

    assert permanent_releases(home.permanent_file) == {"hrm": EQUIPPED}


def test_a_release_that_cannot_be_run_still_gives_the_traffic_back(home: Home) -> None:
    show(home, "permanent")
    write_permanent_releases(home.permanent_file, {"joey": Equipment(NEW)})

    with pytest.raises(
        NodeError, match=r"no signal is the canary's any more, but the permanent .* there is no release"
    ):
        back(home)

    assert not home.routes_file.exists()
    assert permanent_releases(home.permanent_file) == {"joey": Equipment(NEW)}


def test_without_the_file_the_deploy_actors_book_is_asked(home: Home) -> None:
    home.rollout_file.unlink()
    world = World(a_plan(("joey",)))
    world.until("stage")
    book = DeployBook(home.data / FILE)  # open still, as the deploy actor has it that hangs
    book.keep(Kept(world.rollout))

    assert way_back(home, "", by="ada", reason="r", now=START).roles == {"joey": OLD}
    book.close()


def test_where_there_is_nothing_to_go_back_from_nothing_is_done(home: Home) -> None:
    show(home, "rolled_back")
    with pytest.raises(NodeError, match="r1 is rolled back already"):
        way_back(home, "", by="ada", reason="r", now=START)
    home.rollout_file.unlink()
    with pytest.raises(NodeError, match="nothing was ever rolled out"):
        way_back(home, "", by="ada", reason="r", now=START)
    assert way_back(home, "installed", by="ada", reason="r", now=START).roles == {"joey": "", "hrm": ""}
    assert not (home.data / NOTE).exists()


def test_a_rollout_that_brought_no_release_does_not_stand_before_a_permanent_one(home: Home) -> None:
    show(home, "rolled_back", id="r2")
    book = DeployBook(home.data / FILE)
    permanent = create(a_plan(("joey",)), START)
    book.keep(Kept(msgspec.structs.replace(permanent, state="permanent")), settled=True)
    frozen = create(msgspec.structs.replace(a_plan(("joey",)), id="r2"), START)
    book.keep(Kept(msgspec.structs.replace(frozen, state="rolled_back")), settled=True)
    book.close()
    write_permanent_releases(home.permanent_file, {"joey": Equipment(NEW)})

    note = way_back(home, "", by="ada", reason="r", now=START)

    assert (note.rollout, note.roles) == ("r1", {"joey": OLD})


def test_a_release_that_another_one_came_after_is_not_gone_back_from(home: Home) -> None:
    show(home, "permanent", roles={"joey": NEW})
    with pytest.raises(NodeError, match="joey has had another release since r1"):
        way_back(home, "", by="ada", reason="r", now=START)
    write_permanent_releases(home.permanent_file, {"joey": Equipment(NEW)})
    assert way_back(home, "", by="ada", reason="r", now=START).roles == {"joey": OLD}


@pytest.mark.parametrize(
    ("state", "named"), [("stage", "r1"), ("plan", "r1"), ("permanent", ""), ("rolled_back", ""), ("passed", "")]
)
def test_a_chosen_release_ends_only_a_rollout_that_is_under_way(home: Home, state: str, named: str) -> None:
    show(home, state)
    assert way_back(home, "installed", by="ada", reason="r", now=START).rollout == named


def test_a_disk_that_takes_no_note_does_not_keep_the_traffic_away(home: Home) -> None:
    (home.data / NOTE).mkdir()  # nothing can take its place

    (trouble,) = back(home)

    assert "supervisor stop deployer" in trouble
    assert not home.routes_file.exists()


def test_the_command_needs_no_node_with_now_and_says_what_it_did(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--home", str(home.path)]
    assert main(["rollback", "--reason", "wrong sizes", *place]) == 1
    assert "--now goes back without it" in capsys.readouterr().err
    assert home.routes_file.exists()

    assert main(["rollback", "--now", "--reason", "wrong sizes", "--by-name", "ben", *place]) == 0
    out = capsys.readouterr().out
    assert f"joey runs from {OLD[:12]}" in out
    assert not home.routes_file.exists()

    assert main(["rollback", "--now", "--reason", " ", *place]) == 1
    assert main(["rollback", "--now", "--reason", "again", "--json", *place]) == 0
    assert msgspec.json.decode(capsys.readouterr().out)["by_files"] is True
    assert main(["rollback", "--now", "--reason", "r", "--home", str(home.path / "nowhere")]) == 1
    assert "there is no home" in capsys.readouterr().err


def test_what_people_are_shown_is_the_rollout_of_the_moment(home: Home) -> None:
    shown = shown_rollout(home, START - 3.0)
    assert shown is not None
    assert shown["lease_s"] == 3.0

    show(home, "rolled_back")
    assert shown_rollout(home, START + 599.0) is not None
    assert shown_rollout(home, START + 601.0) is None
    home.rollout_file.write_text("[3")
    assert shown_rollout(home, START) is None
