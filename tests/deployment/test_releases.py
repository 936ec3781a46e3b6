"""Releases: what is built is what is run, and nothing else is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import ark
from actors.joey import Joey
from actors.messages import Case, Market
from ark.agent import Agent
from ark.equipment import INSTALLED, ArmSpec, Equipment, write_permanent_releases
from ark.home import Home
from ark.host import load_object
from ark.message import MESSAGE_SCHEMA
from ark.migration import Migrated, migrate, of_releases
from ark.routing import Table, write_table
from ark.signal import Signal
from ark.state import Core, open_core
from ark.testing import TestContext, drive
from deployment import release_keys
from deployment.manifest import Environment
from deployment.releases import (
    Release,
    ReleaseError,
    build,
    examine,
    in_use,
    installed,
    open_release,
    remove,
    resolve,
)
from deployment.sources import from_folder
from tests.actors.test_patterns import EXAMPLES
from tests.node import ROOT

pytest.importorskip("cyclonedx", reason="python -m pip install 'ark-runtime[releases]'")

EXAMPLE = ROOT / "examples" / "release"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
DECLARATION = """\
name = "small"
version = "1"
[agents]
joey = "small:Small"
[migrations]
joey = "restart"
"""


def home_at(path: Path, *trusted: Ed25519PrivateKey) -> Home:
    home = Home(path)
    home.prepare()
    for number, key in enumerate(trusted):
        release_keys.trust(home, f"key{number}", key.public_key())
    return home


def make(home: Home, folder: Path = EXAMPLE, key: Ed25519PrivateKey | None = KEY) -> Release:
    return build(home, from_folder(folder), key=key, by="anna", at=1_800_000_000.0)[0]


def small(folder: Path, declaration: str = DECLARATION, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "ark-release.toml").write_text(declaration)
    for name, text in {"small": "class Small:\n    pass\n", **files}.items():
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_at(tmp_path / "home", KEY)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return make(home_at(tmp_path_factory.mktemp("built"), KEY))


def test_the_example_is_built_signed_and_read_only(home: Home) -> None:
    release = make(home)

    assert (release.name, release.version) == ("cautious-joey", "1.0.0")
    assert release.agents == {"joey": "cautious_joey:CautiousJoey"}
    assert release.signed_by == "key0"
    assert release.folder == home.path / "releases" / release.digest
    assert {path.stat().st_mode & 0o777 for path in release.folder.rglob("*") if path.is_file()} == {0o444}
    assert {path.stat().st_mode & 0o777 for path in [release.folder, release.folder / "code"]} == {0o555}
    assert open_release(home, release.digest[:6]) == release


def test_the_agent_of_the_example_does_what_its_release_declares(
    built: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(built.code))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    joey: Agent[Case] = load_object(built.agents["joey"])()
    features, more = EXAMPLES["dead_cat_bounce", "short"]
    signal = Signal("ACME", "short", 100.0, features={**features, **more})

    sizes = {}
    for name, agent in (("before", Joey()), ("after", joey)):
        desk = TestContext("joey")
        agent.setup(desk)
        answer = drive(agent, Case(signal=signal, market=Market(price=100.0)), desk)
        assert isinstance(answer, Case)
        assert answer.setup is not None
        sizes[name] = str(answer.setup.position_size_pct)

    assert built.manifest is not None
    assert sizes["before"] != sizes["after"]
    assert built.manifest.declares(agent="joey", path="setup.position_size_pct", symbol="ACME", **sizes)
    assert examine(Home(built.code.parents[2]) if built.code else Home(Path()), built.digest).faults == ()


def test_what_is_built_again_is_there_already(home: Home) -> None:
    first = build(home, from_folder(EXAMPLE), key=KEY, by="anna", at=1.0)
    again = build(home, from_folder(EXAMPLE), key=KEY, by="anna", at=2.0)

    assert (first[1], again[1]) == (True, False)
    assert first[0] == again[0]


def test_the_digest_is_what_the_documented_shell_command_says(built: Release) -> None:
    assert built.folder is not None
    text = sys.modules["deployment.content"].__doc__ or ""
    command = text[text.index("    { echo") :].replace("\\n", "\n")

    said = subprocess.run(["bash", "-c", command], cwd=built.folder, capture_output=True, text=True, check=True)

    assert said.stdout.split()[0] == built.digest


def imported_by_a_process(home: Home, release: Release, *, before: str = "") -> subprocess.CompletedProcess[str]:
    """Have a process of its own import a role's class as a worker does; it says from where."""
    program = (
        "import sys; from pathlib import Path; from ark.home import Home; import ark.agent_worker\n"
        f"{before}\n"
        "from ark.equipment import load_agent, permanent_releases\n"
        "home = Home(Path(sys.argv[1])); equipment = permanent_releases(home.permanent_file)['joey']\n"
        "found, _ = load_agent(home, 'joey', equipment, class_='actors.joey:Joey', path='')\n"
        "print(sys.modules[found.__module__].__file__)"
    )
    write_permanent_releases(home.permanent_file, {"joey": release.equipment("joey")})
    return subprocess.run(
        [sys.executable, "-c", program, str(home.path)], capture_output=True, text=True, check=False
    )


def test_an_agents_process_imports_the_release_and_leaves_no_trace_in_it(tmp_path: Path, home: Home) -> None:
    release = make(home, small(tmp_path / "source"))

    said = imported_by_a_process(home, release)

    assert said.stdout.strip() == f"{release.code}/small.py"
    assert examine(home, release.digest).faults == ()


def test_a_home_that_was_copied_runs_what_it_verifies_and_not_what_it_was_copied_from(
    tmp_path: Path, home: Home
) -> None:
    release = make(home, small(tmp_path / "source"))
    shutil.copytree(home.path, tmp_path / "copy")

    said = imported_by_a_process(Home(tmp_path / "copy"), release)

    assert said.stdout.strip() == f"{tmp_path}/copy/releases/{release.digest}/code/small.py"


def test_a_module_that_comes_from_elsewhere_is_not_run_in_a_releases_name(tmp_path: Path, home: Home) -> None:
    brings = make(home, small(tmp_path / "source", other="", small="import other\nclass Small: ..."))
    said = imported_by_a_process(home, brings, before="import json; sys.modules['other'] = json")
    assert "other is imported from" in said.stderr
    assert "and not from the release that was verified in" in said.stderr

    (tmp_path / "actors").mkdir()
    (tmp_path / "actors" / "joey.py").write_text("class Joey:\n    pass\n")
    (tmp_path / "ark-release.toml").write_text(DECLARATION.replace("small:Small", "actors.joey:Joey"))
    lacks, _ = build(home, from_folder(tmp_path, ["actors"]), key=KEY, by="anna", at=1.0)
    said = imported_by_a_process(home, lacks)
    assert "and not from the release that was verified in" in said.stderr
    assert "__init__.py" in said.stderr


MIGRATES = """\
name = "moves"
version = "1"
agents = { joey = "moves:Moves" }
migrations = { joey = { up = "moves:up", down = "moves:down" } }
"""
MOVES = """\
class Moves: ...
def up(keys): return {"windows": keys["window"]}
def down(keys): return {"window": keys["windows"]}
"""


def migrated(tmp_path: Path, home: Home) -> tuple[Core, Release]:
    """The keys of an agent whose permanent release made them its own."""
    (tmp_path / "moves").mkdir()
    (tmp_path / "moves" / "ark-release.toml").write_text(MIGRATES)
    (tmp_path / "moves" / "moves.py").write_text(MOVES)
    core, release = open_core(home), make(home, tmp_path / "moves")
    core.set("joey", "window", 7, requester="joey@installed")
    migrate(core, "joey", release.equipment("joey"), permanent="", run=of_releases(home, "joey", within_s=30.0))
    core.set("joey", "windows", 8, requester=f"joey@{release.short}")
    return core, release


def test_the_way_down_is_verified_before_it_is_run_and_gone_without_it_where_it_must_not(
    tmp_path: Path, home: Home
) -> None:
    core, release = migrated(tmp_path, home)
    went = migrate(core, "joey", INSTALLED, permanent="", run=of_releases(home, "joey", within_s=30.0))
    assert (core.get("joey", "window"), went) == (8, Migrated(f"down from {release.short}"))
    migrate(core, "joey", release.equipment("joey"), permanent="", run=of_releases(home, "joey", within_s=30.0))

    release_keys.distrust(home, "key0")

    went = migrate(core, "joey", INSTALLED, permanent="", run=of_releases(home, "joey", within_s=30.0))
    assert went is not None
    assert went.is_lossy
    assert "must not be run: no key that this home trusts has signed it" in went.what
    assert core.get("joey", "window") == 8
    core.close()


def test_a_way_that_takes_too_long_is_given_up_before_the_agent_is_and_says_what_to_do(
    tmp_path: Path, home: Home
) -> None:
    core, _ = migrated(tmp_path, home)
    went = migrate(core, "joey", INSTALLED, permanent="", run=of_releases(home, "joey", within_s=0.001))
    assert went is not None
    assert went.is_lossy
    assert "the migration moves:down was not done 0.001 s after the start" in went.what
    core.close()


def test_a_release_that_an_agents_state_is_for_is_not_removed(tmp_path: Path, home: Home) -> None:
    core, release = migrated(tmp_path, home)

    with pytest.raises(ReleaseError, match=r"in use \(joey: its state\)"):
        remove(home, release.digest)

    migrate(core, "joey", INSTALLED, permanent="", run=of_releases(home, "joey", within_s=30.0))
    core.close()
    assert remove(home, release.digest) == release.digest
    (home.data / "state.db").write_bytes(b"no database" * 1000)
    with pytest.raises(ReleaseError, match="cannot tell which releases are in use"):
        in_use(home)


def test_what_is_installed_is_a_release_without_a_folder(home: Home) -> None:
    home.keep_settings({"agents": {"joey": {"class": "actors.joey:Joey"}}})

    for which in ("", "installed"):
        release = open_release(home, which)
        assert (release.digest, release.folder, release.code, release.signed_by) == ("", None, None, None)
        assert (release.version, release.agents) == (ark.__version__, {"joey": "actors.joey:Joey"})
    assert open_release(home, "installed", configured={"a": "b:C"}).agents == {"a": "b:C"}


def test_a_release_is_known_by_the_beginning_of_its_digest(home: Home) -> None:
    digest = make(home).digest

    assert resolve(home, digest[:4]) == resolve(home, digest.upper()) == digest
    for wrong, why in (
        (digest[:3], "too short"),
        ("f" * 64, "there is no release"),
        ("../..", "there is no release"),
    ):
        with pytest.raises(ReleaseError, match=why):
            resolve(home, wrong)


def test_a_key_that_is_trusted_no_more_opens_nothing(home: Home) -> None:
    digest = make(home).digest
    release_keys.distrust(home, "key0")

    with pytest.raises(ReleaseError, match="no key that this home trusts has signed it"):
        open_release(home, digest)


def test_a_key_that_could_not_be_written_whole_hinders_no_other(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = make(home)

    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(ReleaseError, match="No space left"):
            release_keys.trust(home, "late", OTHER.public_key())
    assert [path.name for path in release_keys.folder(home).iterdir()] == ["key0.pub"]

    (release_keys.folder(home) / "late.pub").write_bytes(b"")
    assert open_release(home, release.digest) == release
    assert any("late.pub holds no public key" in note for note in examine(home, release.digest).notes)
    with pytest.raises(ReleaseError, match=r"no key that this home trusts.*; .*late\.pub holds no public key"):
        make(home, small(home.path.parent / "source"), OTHER)

    release_keys.trust(home, "late", OTHER.public_key())
    assert set(release_keys.trusted(home).keys) == {"key0", "late"}
    with pytest.raises(ReleaseError, match="late is another key already"):
        release_keys.trust(home, "late", KEY.public_key())


def test_an_unsigned_release_is_run_only_where_somebody_let_it_in(tmp_path: Path) -> None:
    home = home_at(tmp_path)
    release = make(home, key=None)

    assert release.signed_by is None
    assert examine(home, release.digest).unsigned


def test_a_release_that_was_unsigned_gets_its_signature_by_a_second_build(home: Home) -> None:
    assert make(home, key=None).signed_by is None
    assert make(home, key=KEY).signed_by == "key0"
    assert make(home, key=None).signed_by == "key0"


def test_what_cannot_be_run_here_is_not_kept(home: Home) -> None:
    with pytest.raises(ReleaseError, match="no key that this home trusts"):
        make(home, key=OTHER)

    assert [path.name for path in (home.path / "releases").iterdir() if not path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("environment", "field"),
    [
        (Environment(message_schema=MESSAGE_SCHEMA + 2), "message_schema"),
        (Environment(message_schema=MESSAGE_SCHEMA - 1), "message_schema"),
        (Environment(ark="0.2.0"), "ark"),
        (Environment(version_of=lambda name: None), "requires"),
        (Environment(version_of=lambda name: "0.1"), "requires"),
    ],
)
def test_where_it_does_not_fit_it_is_refused(built: Release, environment: Environment, field: str) -> None:
    assert built.folder is not None
    home = Home(built.folder.parents[1])

    with pytest.raises(ReleaseError) as caught:
        open_release(home, built.digest, environment=environment)

    assert caught.value.field == field


def test_messages_may_be_one_version_ahead_of_a_release(built: Release) -> None:
    assert built.folder is not None
    home = Home(built.folder.parents[1])

    assert open_release(home, built.digest, environment=Environment(message_schema=MESSAGE_SCHEMA + 1)) == built


def test_a_release_in_use_is_not_removed(home: Home) -> None:
    release = make(home)
    equipment, table = release.equipment("joey"), Table(generation=1, rollout="r1", lease_until=0.0)
    write_permanent_releases(home.permanent_file, {"joey": equipment, "hrm": INSTALLED})
    write_table(
        home.routes_file,
        msgspec.structs.replace(
            table, provisional={"kyle": equipment}, arms={"joey.canary": ArmSpec("joey", "canary", equipment)}
        ),
    )

    assert in_use(home) == {release.digest: ["joey: permanent", "kyle: provisional", "joey: canary"]}
    with pytest.raises(ReleaseError, match=r"in use \(joey: permanent, kyle: provisional, joey: canary\)"):
        remove(home, release.digest)

    home.routes_file.unlink()
    home.permanent_file.write_text("{")
    with pytest.raises(ReleaseError, match="cannot tell which releases are in use"):
        remove(home, release.digest)

    home.permanent_file.unlink()
    assert remove(home, release.digest) == release.digest
    assert list((home.path / "releases").iterdir()) == [home.path / "releases" / ".lock"]


def test_a_release_says_what_the_process_of_a_role_runs_from(built: Release) -> None:
    assert built.equipment("joey") == Equipment(
        built.digest, "cautious-joey", "1.0.0", str(built.code), "cautious_joey:CautiousJoey"
    )
    with pytest.raises(ReleaseError, match="brings no agent 'hrm'"):
        built.equipment("hrm")
    assert installed({"joey": "actors.joey:Joey"}).equipment("joey") == INSTALLED


TAMPERING: dict[str, Callable[[Path], object]] = {
    "another byte": lambda place: (place / "code/small.py").write_text("class Small:\n    pasS\n"),
    "another name": lambda place: (place / "code/small.py").rename(place / "code/smalL.py"),
    "a file more": lambda place: (place / "code/more.py").write_text(""),
    "a file less": lambda place: (place / "code/other.py").unlink(),
    "compiled code": lambda place: (place / "code/__pycache__").mkdir(),
    "another manifest": lambda place: (place / "manifest.json").write_text("{}"),
    "no signature": lambda place: (place / "release.dsse.json").unlink(),
    "no code": lambda place: (place / "code").rename(place / "core"),
    "a link": lambda place: (place / "code/link.py").symlink_to("small.py"),
}


@pytest.mark.parametrize("change", TAMPERING)
def test_a_release_that_was_tampered_with_is_refused(tmp_path: Path, home: Home, change: str) -> None:
    release = make(home, small(tmp_path / "source", other=""))
    place = release.folder
    assert place is not None
    for each in [place, *place.rglob("*")]:
        each.chmod(0o755 if each.is_dir() else 0o644)

    TAMPERING[change](place)
    for each in [place, *place.rglob("*")]:
        if not each.is_symlink():
            each.chmod(0o555 if each.is_dir() else 0o444)

    with pytest.raises(ReleaseError, match="must not be run"):
        open_release(home, release.digest)


@pytest.mark.parametrize("mode", [0o644, 0o464, 0o555, 0o4444])
def test_a_file_with_another_mode_is_refused(tmp_path: Path, home: Home, mode: int) -> None:
    release = make(home, small(tmp_path / "source"))
    assert release.code is not None
    (release.code / "small.py").chmod(mode)

    with pytest.raises(ReleaseError, match="must not be run"):
        open_release(home, release.digest)
