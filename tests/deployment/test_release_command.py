"""`ark-run release`: one clear line for each mistake, and JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ark import interventions
from ark.cli import main
from ark.home import Home
from tests.node import ROOT

pytest.importorskip("cyclonedx", reason="python -m pip install 'ark-runtime[releases]'")

EXAMPLE = str(ROOT / "examples" / "release")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command over a home of this test's own; gives the exit code and what it said."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("ARK_HOME", str(tmp_path / "home"))

    def command(*arguments: object) -> tuple[int, str, str]:
        code = main(["release", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


def told(run: Run, *arguments: object) -> Any:
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_a_release_goes_from_one_home_to_another(run: Run, tmp_path: Path) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    public = told(run, "keygen", "--name", "anna")["public_key"]
    built = told(run, "build", EXAMPLE)
    assert (built["new"], built["signed_by"], built["unsigned"]) == (True, "anna", False)
    assert built["agents"] == {"joey": "cautious_joey:CautiousJoey"}
    assert told(run, "build", EXAMPLE)["new"] is False

    code, out, _ = run("export", built["digest"][:8], tmp_path / "x.tar")
    assert code == 0
    assert "cautious-joey 1.0.0 is in" in out

    code, _, err = run("import", tmp_path / "x.tar", "--home", other)
    assert code == 1
    assert err.startswith("error: the release is refused: no key that this home trusts has signed it")
    assert err.count("\n") == 1

    assert told(run, "trust", public, "--name", "anna", "--home", other) == {
        "trusted": "anna",
        "id": told(run, "trust")["keys"]["anna"],
    }
    taken = told(run, "import", tmp_path / "x.tar", "--digest", built["digest"], "--home", other)
    assert (taken["digest"], taken["signed_by"], taken["new"]) == (built["digest"], "anna", True)

    (shown,) = told(run, "list", "--home", other)["releases"]
    assert (shown["name"], shown["how"], shown["used"], shown["fault"]) == ("cautious-joey", "imported", [], "")
    code, out, _ = run("verify", "--home", other)
    assert code == 0
    assert "good" in out
    assert "signed by anna" in out

    acts = [(each.act, each.subject) for each in interventions.read(Home(other))]
    assert acts == [("release_key_trusted", "anna"), ("release_imported", built["digest"])]
    assert [each.act for each in interventions.read(Home(home))] == ["release_key_trusted", "release_built"]

    assert told(run, "trust", "--revoke", "anna", "--home", other) == {"revoked": "anna"}
    code, out, err = run("verify", "--home", other)
    assert code == 1
    assert "must NOT be run" in out
    assert "fault: " in err
    assert "MUST NOT BE RUN" in run("list", "--home", other)[1]

    assert told(run, "remove", built["digest"][:8], "--home", other) == {"digest": built["digest"]}
    assert told(run, "list", "--home", other) == {"releases": []}


def test_an_unsigned_release_is_taken_loudly(run: Run, tmp_path: Path) -> None:
    code, out, err = run("build", EXAMPLE, "--allow-unsigned")

    assert code == 0
    assert err.startswith("WARNING: this release is not signed.")
    assert "signed by    NOBODY" in out
    assert "UNSIGNED" in run("list")[1]
    assert "signed by NOBODY, and let in with --allow-unsigned" in run("verify")[1]
    (act,) = interventions.read(Home(tmp_path / "home"))
    assert act.details["unsigned"] is True


def test_what_uses_a_release_is_shown_and_keeps_it(run: Run, tmp_path: Path) -> None:
    digest = told(run, "build", EXAMPLE, "--allow-unsigned")["digest"]
    (tmp_path / "home" / "data" / "releases.json").write_text(json.dumps({"roles": {"joey": {"digest": digest}}}))

    assert "[joey: permanent]" in run("list")[1]
    code, _, err = run("remove", digest)
    assert code == 1
    assert "is in use (joey: permanent)" in err


def test_a_plain_folder_becomes_a_release_by_options(run: Run, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "mine.py").write_text("class Mine:\n    pass\n")

    code, _, err = run("build", tmp_path / "plain", "--allow-unsigned")
    assert code == 1
    assert "no ark-release.toml" in err
    assert "--agent ROLE=module:Class" in err

    options = ("--agent", "joey=mine:Mine", "--name", "mine", "--version", "1.2", "--allow-unsigned")
    made = told(run, "build", tmp_path / "plain", *options)
    assert (made["name"], made["version"], made["agents"]) == ("mine", "1.2", {"joey": "mine:Mine"})


def test_a_declaration_can_lie_elsewhere(run: Run, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "mine.py").write_text("def up(state): ...\nclass Mine:\n    pass\n")
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nversion = "1"\nagents.joey = "mine:Mine"\nmigrations.joey.up = "mine:up"\n'
    )
    options = ("build", tmp_path / "plain", "--manifest", tmp_path / "mine.toml", "--allow-unsigned")

    code, _, err = run(*options)
    assert code == 1
    assert "mine.toml: migrations.joey has no way down" in err

    code, _, err = run(*options, "--irreversible")
    assert code == 0
    assert "WARNING: there is no way back for the state of joey." in err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("build", EXAMPLE), "there is no key to sign with at"),
        (("build",), "nothing to build"),
        (("build", EXAMPLE, "--ref", "v1"), "are for --git"),
        (("build", EXAMPLE, "--git", "."), "are two sources"),
        (("build", str(ROOT), "--only", "ark", "--allow-unsigned"), "a release brings agents"),
        (("build", str(ROOT), "--only", "graveyard", "--allow-unsigned"), "no part of an agent's release"),
        (("build", EXAMPLE, "--agent", "mine:Mine", "--allow-unsigned"), "there is no role"),
        (("build", EXAMPLE, "--agent", "joey=joey:Joey", "--allow-unsigned"), "neither joey.py nor"),
        (("build", EXAMPLE, "--version", "one two", "--allow-unsigned"), "version"),
        (("keygen", "--name", "Anna B"), "is no name for a key"),
        (("trust", "nothing.pub"), "cannot read nothing.pub"),
        (("trust", "--revoke", "anna"), "there is no trusted key 'anna'"),
        (("import", "nothing.tar"), "No such file"),
        (("list",), "is no node's home"),
    ],
)
def test_a_mistake_is_told_in_one_line(run: Run, arguments: tuple[str, ...], why: str) -> None:
    code, out, err = run(*arguments)

    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert why in err
    assert err.count("\n") == 1


def test_a_key_is_never_written_over(run: Run, tmp_path: Path) -> None:
    facts = told(run, "keygen", "--no-trust")
    key = tmp_path / "config" / "ark" / "release.key"

    assert facts["trusted_as"] is None
    assert facts["key"] == str(key)
    assert key.stat().st_mode & 0o777 == 0o600
    assert "is there already" in run("keygen")[2]
    assert "that is the private half: name release.pub" in run("trust", key)[2]
    assert told(run, "trust") == {"keys": {}, "faults": []}

    key.chmod(0o644)
    assert "can be read by others" in run("build", EXAMPLE)[2]
