"""The same code is the same release, whether it comes from a folder, a commit or a wheel."""

from __future__ import annotations

import os
import stat
import subprocess
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ark.home import Home
from deployment import content, release_keys
from deployment.content import ReleaseError
from deployment.releases import build, examine
from deployment.sources import Source, from_folder, from_git, from_wheel

pytest.importorskip("cyclonedx", reason="python -m pip install 'ark-runtime[releases]'")

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
DECLARATION = """\
name = "small"
version = "1.0"
agents = { joey = "small.agent:Small" }
migrations = { joey = "restart" }
"""
FILES = {
    "ark-release.toml": DECLARATION,
    "small/__init__.py": "",
    "small/agent.py": "class Small:\n    pass\n",
    "small/data.txt": "$Format:%H$\r\n",
    "small/tool.sh": "#!/bin/sh\n",
}
METADATA = """\
Metadata-Version: 2.1
Name: Small.Agents
Version: 3.2
Requires-Dist: msgspec>=0.20
Requires-Dist: ark-runtime>=0.1
Requires-Dist: pytest; extra == "test"
"""
PURE = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def folder_of(path: Path) -> Path:
    for name, text in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(text.encode())
    (path / "small/tool.sh").chmod(0o755)
    return path


def wheel_of(
    path: Path, extra: dict[str, tuple[bytes, int]] | None = None, wheel: str = PURE, compression: int = 0
) -> Path:
    files = {name: (text.encode(), 0o100644) for name, text in FILES.items()}
    files["small/tool.sh"] = (files["small/tool.sh"][0], 0o100755)
    files["small-3.2.dist-info/METADATA"] = (METADATA.encode(), 0o100644)
    files["small-3.2.dist-info/WHEEL"] = (wheel.encode(), 0o100644)
    with zipfile.ZipFile(path, "w") as archive:
        for name, (text, mode) in (files | (extra or {})).items():
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            archive.writestr(member, text, compression)
    return path


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Anna", "-c", "user.email=anna@example.org", "-c", "init.defaultBranch=main")
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-C", str(folder), *who, "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A commit whose checkout looks different: line ends, `export-subst`, and something that was not committed."""
    folder = tmp_path / "repository"
    folder_of(folder / "agents")
    (folder / ".gitattributes").write_text("*.txt export-subst\n*.py filter=evil\n")
    git(folder.parent, "init", "-q", str(folder))
    git(folder, "config", "filter.evil.smudge", f"touch {folder.parent}/ran; cat")
    git(folder, "config", "core.autocrlf", "false")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    git(folder, "tag", "v1")
    return folder


def digest_of(home: Home, source: Source) -> str:
    return build(home, source, key=KEY, by="anna", at=1.0)[0].digest


def test_a_folder_a_commit_and_a_wheel_of_one_code_are_one_release(tmp_path: Path, repository: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    release_keys.trust(home, "anna", KEY.public_key())
    (repository / "agents" / "small" / "agent.py").write_text("changed since")
    # The wheel states requirements of its own; here the declaration has the last word.
    declared = (DECLARATION + 'requires = []\nark = ">=0.1"\n').encode()
    sources = [
        from_folder(folder_of(tmp_path / "folder")),
        from_git(repository, "v1", "agents"),
        from_wheel(wheel_of(tmp_path / "small.whl")),
    ]

    digests = {digest_of(home, source._replace(declaration=declared)) for source in sources}

    assert len(digests) == 1
    assert sources[0].files == sources[1].files == sources[2].files
    assert [path for path, file in sources[0].files.items() if file.executable] == ["small/tool.sh"]
    assert {source.declaration for source in sources} == {DECLARATION.encode()}
    assert not (tmp_path / "ran").exists(), "a filter of the repository was run"


def test_where_a_release_comes_from_stands_in_the_signed_statement(tmp_path: Path, repository: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    release_keys.trust(home, "anna", KEY.public_key())
    commit = git(repository, "rev-parse", "HEAD")

    digest = digest_of(home, from_git(repository, "main", "agents/"))

    statement = examine(home, digest).statement
    assert statement["subject"] == [{"name": "small-1.0", "digest": {"sha256": digest}}]
    assert statement["predicate"]["source"] == {"kind": "git", "commit": commit, "subdirectory": "agents"}
    assert statement["predicate"]["created"] == "1970-01-01T00:00:01Z"


def test_a_folder_knows_its_commit_and_whether_something_was_changed(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    assert from_folder(repository / "agents").origin == {"kind": "folder", "commit": commit, "modified": False}

    (repository / "agents" / "new.py").write_text("")
    assert from_folder(repository / "agents").origin == {"kind": "folder", "commit": commit, "modified": True}


def test_what_differs_from_the_commit_is_found_by_its_bytes(tmp_path: Path, repository: Path) -> None:
    def is_modified(*only: str) -> bool:
        return bool(from_folder(repository / "agents", only).origin["modified"])

    agents = repository / "agents"
    (agents / ".env").write_text("secret")
    (repository / "elsewhere.py").write_text("")
    assert not is_modified()
    (agents / "small" / "tool.sh").chmod(0o644)
    assert is_modified()
    (agents / "small" / "tool.sh").chmod(0o755)
    (agents / "small" / "data.txt").rename(tmp_path / "data.txt")
    assert is_modified()
    (tmp_path / "data.txt").rename(agents / "small" / "data.txt")
    (agents / "other.py").write_text("")
    assert (is_modified(), is_modified("small")) == (True, False)
    (agents / "ark-release.toml").write_text(DECLARATION + "requires = []\n")
    assert is_modified("small")


def test_a_build_from_a_folder_runs_no_program_that_its_repository_names(tmp_path: Path, repository: Path) -> None:
    trace = f"touch {tmp_path}/ran"
    for name, program in (
        ("filter.evil.clean", f"{trace}; cat"),
        ("filter.evil.process", trace),
        ("core.fsmonitor", trace),
        ("core.sshCommand", trace),
        ("core.pager", trace),
    ):
        git(repository, "config", name, program)
    agent = repository / "agents" / "small" / "agent.py"
    agent.write_text(agent.read_text().replace("pass", "..."))  # another content, and of the same length no more
    assert from_folder(repository / "agents").origin["modified"]

    blob = git(repository, "rev-parse", "v1:agents/small/agent.py")
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    for name, text in (
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.url", f"ext::touch {tmp_path}/ran"),
        ("protocol.ext.allow", "always"),
    ):
        git(repository, "config", name, text)
    with pytest.raises(ReleaseError, match="lacks the object"):
        from_git(repository, "v1", "agents")
    assert not (tmp_path / "ran").exists()


def test_a_commit_that_is_not_there_is_told_in_a_line(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "none").mkdir()
    for folder, ref, below, why in (
        (repository, "v2", "", "has no commit 'v2'"),
        (repository, "--help", "", "has no commit '--help'"),
        (repository, "v1", "elsewhere", "has no folder 'elsewhere'"),
        (repository, "v1", "../..", "leads out"),
        (tmp_path / "none", "v1", "", "not a git repository"),
    ):
        with pytest.raises(ReleaseError, match=why):
            from_git(folder, ref, below)


def test_links_and_submodules_of_a_commit_are_refused(repository: Path) -> None:
    (repository / "agents" / "passwords").symlink_to("/etc/passwd")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "two")
    with pytest.raises(ReleaseError, match="passwords is a symbolic link"):
        from_git(repository, "HEAD", "agents")

    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{git(repository, 'rev-parse', 'v1')},agents/a")
    git(repository, "commit", "-qm", "three")
    with pytest.raises(ReleaseError, match="a is a submodule"):
        from_git(repository, "HEAD", "agents")


def test_a_wheel_states_name_version_and_what_it_requires(tmp_path: Path) -> None:
    known = from_wheel(wheel_of(tmp_path / "small.whl")).known

    assert known == {"name": "small-agents", "version": "3.2", "requires": ["msgspec>=0.20"], "ark": ">=0.1"}


@pytest.mark.parametrize(
    ("name", "mode", "why"),
    [
        ("../small.py", 0o100644, "leads out"),
        ("/small.py", 0o100644, "leads out"),
        ("small\\x.py", 0o100644, "no name that a release can hold"),
        ("small/link", stat.S_IFLNK | 0o777, "symbolic link"),
        ("small/pipe", stat.S_IFIFO | 0o644, "neither a file nor a folder"),
        ("small/root", 0o104755, "runs as somebody else"),
        ("small-3.2.data/scripts/x", 0o100755, "put elsewhere by an installation"),
        ("graveyard/rules.py", 0o100644, "rules are sealed"),
        ("ark/agent.py", 0o100644, "ARK's own package"),
        ("small/fast.so", 0o100755, "is compiled"),
        ("small/__pycache__/agent.cpython-311.pyc", 0o100644, "agent.cpython-311.pyc is compiled"),
    ],
)
def test_a_wheel_that_reaches_beyond_itself_is_refused(tmp_path: Path, name: str, mode: int, why: str) -> None:
    with pytest.raises(ReleaseError, match=why):
        from_wheel(wheel_of(tmp_path / "small.whl", {name: (b"", mode)}))


def test_a_file_that_is_no_wheel_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "text.whl").write_text("x")
    with pytest.raises(ReleaseError, match="is no wheel"):
        from_wheel(tmp_path / "text.whl")
    with zipfile.ZipFile(tmp_path / "zip.whl", "w") as archive:
        archive.writestr("small.py", "")
    with pytest.raises(ReleaseError, match=r"no \.dist-info"):
        from_wheel(tmp_path / "zip.whl")
    with pytest.raises(ReleaseError, match="made for one platform"):
        from_wheel(wheel_of(tmp_path / "x.whl", wheel=PURE.replace("true", "false")))
    with pytest.raises(ReleaseError, match="No such file"):
        from_wheel(tmp_path / "nothing.whl")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_wheel_is_refused_or_as_it_was(tmp_path: Path, data: st.DataObject) -> None:
    whole = wheel_of(tmp_path / "small.whl", compression=data.draw(st.sampled_from((0, 8, 14))))
    text = bytearray(whole.read_bytes())
    text[data.draw(st.integers(0, len(text) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / "damaged.whl").write_bytes(text)

    with suppress(ReleaseError):
        found = from_wheel(tmp_path / "damaged.whl")
        contents = {file.content for file in from_wheel(whole).files.values()}
        assert {file.content for file in found.files.values()} <= contents


def test_a_wheel_that_swells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MOST_BYTES", 100_000)
    with zipfile.ZipFile(tmp_path / "bomb.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("small.py", bytes(10_000_000))

    assert (tmp_path / "bomb.whl").stat().st_size < 20_000
    with pytest.raises(ReleaseError, match="more than"):
        from_wheel(tmp_path / "bomb.whl")


def test_a_commit_that_holds_compiled_modules_is_refused(repository: Path) -> None:
    (repository / "agents" / "small" / "agent.pyc").write_bytes(b"x")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "two")
    with pytest.raises(ReleaseError, match=r"small/agent\.pyc is compiled"):
        from_git(repository, "HEAD", "agents")
    assert from_folder(repository / "agents").origin["modified"] is False


def test_what_is_hidden_or_compiled_by_python_does_not_come_along_from_a_folder(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "folder")
    expected = from_folder(folder).files
    for name in (".env", ".git/config", "small/__pycache__/x.pyc", "small/agent.pyc", "small.egg-info/PKG-INFO"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("secret")
    (folder / ".link").symlink_to("/")

    assert from_folder(folder).files == expected


def test_one_package_can_be_taken_alone(tmp_path: Path, repository: Path) -> None:
    folder = folder_of(tmp_path / "folder")
    (folder / "graveyard").mkdir()
    (folder / "graveyard" / "rules.py").write_text("")
    (folder / "other.py").write_text("")

    assert set(from_folder(folder, ["small"]).files) == set(from_git(repository, "v1", "agents", ["small"]).files)
    assert set(from_folder(folder, ["other"]).files) == {"other.py"}
    with pytest.raises(ReleaseError, match="rules are sealed"):
        from_folder(folder)
