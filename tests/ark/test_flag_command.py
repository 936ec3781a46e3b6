"""`ark-run flag`: what it writes, prints and refuses, over a home without a node."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ark import interventions
from ark.cli import main
from ark.flag_file import FILE, KEY, load
from ark.home import Home

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def home() -> Iterator[Home]:
    with TemporaryDirectory(prefix="ark-") as folder:
        one = Home(Path(folder))
        one.prepare()
        yield one


@pytest.fixture
def ark(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["flag", *words, "--home", str(home.path)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def told(ark: Run, *words: str) -> Any:
    return json.loads(ark(*words, "--json")[1])


def test_a_flag_is_set_for_some_then_for_more_then_for_all_and_removed(ark: Run, home: Home) -> None:
    assert ark("list")[1].startswith("there are no flags")
    ark("set", "new", "true", "--percent", "10", "--reason", "a look")
    ark("set", "new", "true", "--symbol", "AAPL", "--symbol", "MSFT", "--reason", "pilots")
    ark("set", "new", "true", "--percent", "25", "--reason", "more")
    ark("set", "new", "false", "--reason", "the rest")

    said = told(ark, "list", "--for", "AAPL")
    assert said["serial"] == 4
    assert said["says"] == {"new": True}
    assert said["flags"]["new"] == {
        "value": False,
        "rules": [{"value": True, "percent": 25.0}, {"value": True, "symbols": ["AAPL", "MSFT"]}],
        "reason": "the rest",
    }
    code, out, _ = ark("list")
    assert code == 0
    assert out.splitlines() == [
        "new  everybody else gets false  (the rest)",
        "  1. true for 25 % of the symbols",
        "  2. true for symbol AAPL or MSFT",
    ]
    assert ark("remove", "new", "--rule", "2", "--reason", "x")[0] == 0
    assert len(told(ark, "list")["flags"]["new"]["rules"]) == 1
    assert ark("remove", "new", "--reason", "done")[0] == 0
    assert told(ark, "list")["flags"] == {}


def test_every_change_is_recorded_for_the_ledger_with_what_was_before(ark: Run, home: Home) -> None:
    ark("set", "size", "0.5", "--reason", "small")
    ark("set", "size", "1", "--reason", "larger")

    trusted, first, second = interventions.read(home)
    assert (trusted.act, first.act, second.act) == ("flag_key_trusted", "flag_set", "flag_set")
    assert (second.subject, second.reason, second.details["serial"]) == ("size", "larger", 2)
    assert (second.details["before"]["value"], second.details["after"]["value"]) == (0.5, 1)


def test_a_file_that_was_edited_by_hand_counts_once_it_is_signed(ark: Run, home: Home) -> None:
    ark("set", "new", "true", "--reason", "x")
    path = home.path / FILE
    path.write_bytes(path.read_bytes().replace(b"true", b"false"))

    code, out, _ = ark("verify")
    assert code == 1
    assert "signature" in out
    assert "NOT IN FORCE" in ark("list")[1]
    code, _, err = ark("set", "other", "true", "--reason", "x")
    assert code == 1, "what somebody else has put there is not signed unseen"
    assert "signature" in err
    assert ark("sign", "--reason", "I mean it")[0] == 0
    assert ark("verify")[0] == 0
    signed = load(home)
    assert signed is not None
    assert (signed.body.serial, signed.body.flags["new"].value) == (2, False)


def test_a_key_that_the_home_does_not_trust_signs_nothing(ark: Run, home: Home, tmp_path: Path) -> None:
    ark("set", "new", "true", "--reason", "x")

    code, _, err = ark("set", "new", "false", "--reason", "x", "--key", str(tmp_path / "other.key"))

    assert code == 1
    assert KEY in err
    assert told(ark, "list")["flags"]["new"]["value"] is True


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("set", "New", "true", "--reason", "x"), "cannot be kept"),
        (("set", "new", "true", "--percent", "101", "--reason", "x"), "no rule"),
        (("set", "new", "true", "--reason", " "), "needs a reason"),
        (("set", "old", "text", "--symbol", "A", "--reason", "x"), "one sort of value"),
        (("remove", "new", "--reason", "x"), "there is no flag new"),
        (("remove", "old", "--rule", "3", "--reason", "x"), "no rule 3"),
        (("set", "new", "1e999", "--reason", "x"), "no number"),
        (("set", "new", str(1 << 70), "--reason", "x"), "no number"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(ark: Run, words: tuple[str, ...], says: str) -> None:
    ark("set", "old", "true", "--reason", "x")

    code, out, err = ark(*words)

    assert (code, out) == (1, "")
    assert says in err
    assert err.count("\n") == 1


def test_to_sign_where_there_is_nothing_is_a_mistake(ark: Run) -> None:
    assert "flag set" in ark("sign", "--reason", "x")[2]
    assert ark("verify") == (0, "there is no file: every agent goes by its defaults\n", "")
