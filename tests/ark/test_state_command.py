"""`ark-run state`: what it prints and what it refuses, over a home without a node."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ark import interventions
from ark.cli import main
from ark.home import Home
from ark.state import open_core

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def home() -> Iterator[Home]:
    with TemporaryDirectory(prefix="ark-") as folder:
        one = Home(Path(folder))
        one.prepare()
        yield one


@pytest.fixture
def ark(home: Home, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> tuple[int, str, str]:
        code = main(["state", *words, "--home", str(home.path)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def told(ark: Run, *words: str) -> Any:
    _, out, err = ark(*words, "--json")
    assert not err
    return json.loads(out)


def test_what_is_set_is_shown_with_who_and_why(ark: Run, home: Home) -> None:
    assert ark("show")[1] == "there is nothing\n"

    code, out, _ = ark("set", "joey", "window", "[20, 50]", "--reason", "shorter")

    assert code == 0
    assert "nothing -> [20, 50]" in out
    assert "shorter" in out
    (shown,) = told(ark, "show")["keys"]
    assert (shown["agent"], shown["key"], shown["value"], shown["revision"]) == ("joey", "window", [20, 50], 1)
    (act,) = interventions.read(home)
    assert (act.act, act.subject, act.reason, act.details["revision"]) == (
        *("state_set", "joey window", "shorter"),
        1,
    )


def test_the_past_is_shown_by_revision_and_by_time(ark: Run) -> None:
    ark("set", "joey", "a", "1", "--reason", "x")
    ark("set", "joey", "a", "2", "--reason", "x")
    ark("set", "joey", "a", "--delete", "--reason", "x")

    assert [each["value"] for each in told(ark, "show", "--at", "2")["keys"]] == [2]
    assert told(ark, "show", "--at", "1h")["keys"] == []
    assert told(ark, "show", "--at", "0s")["revision"] == 3
    assert [each["value"] for each in told(ark, "history", "joey", "a")["revisions"]] == [None, 2, 1]
    assert len(told(ark, "history", "--limit", "2")["revisions"]) == 2


def test_settings_have_no_agent(ark: Run) -> None:
    ark("set", "--kind", "config", "fee", "0.5", "--reason", "x")

    assert [each["value"] for each in told(ark, "show", "--kind", "config")["keys"]] == [0.5]
    assert told(ark, "show")["keys"] == []
    assert "config fee" in ark("history", "--kind", "config", "fee")[1]


def test_what_a_release_wrote_is_taken_back_after_it_was_shown_and_conflicts_are_told(ark: Run, home: Home) -> None:
    core = open_core(home)
    for key, value, requester in (("a", 1, "joey@1"), ("a", 2, "joey@2"), ("b", 2, "joey@2"), ("b", 3, "anna")):
        core.set("joey", key, value, requester=requester)
    core.close()
    words = ("undo", "--since", "1", "--release", "2", "--reason", "worse")

    code, planned, _ = ark(*words, "--dry-run")
    assert code == 3
    assert "joey a  would be taken back to 1" in planned
    assert "joey b  left alone: anna wrote it later" in planned
    assert told(ark, "show")["revision"] == 4
    code, done, _ = ark(*words)
    assert (code, told(ark, "show")["revision"]) == (3, 5)
    assert "joey a  taken back to 1 (undoes 2; revision 5)" in done
    assert [act.act for act in interventions.read(home)] == ["state_undone"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("set", "joey", "a", "abc", "--reason", "x"), "no JSON"),
        (("set", "joey", "a", "--reason", "x"), "AGENT KEY VALUE"),
        (("set", "joey", "a", "NaN", "--reason", "x"), "cannot be kept"),
        (("set", "joey", "a", "1", "--reason", " "), "needs a reason"),
        (("set", "--kind", "truth", "a", "1", "--reason", "x"), "not set by hand"),
        (("undo", "--since", "7", "--release", "x", "--reason", "x"), "no revision 7"),
        (("show", "--at", "soon"), "no time"),
        (("show", "a", "b", "c"), "what is 'c'"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(ark: Run, words: tuple[str, ...], says: str) -> None:
    code, out, err = ark(*words)

    assert (code, out) == (1, "")
    assert says in err
    assert err.count("\n") == 1


def test_a_folder_that_is_no_home_is_said_to_be_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["state", "show", "--home", str(tmp_path / "x")]) == 1
    assert "no node's home" in capsys.readouterr().err
