"""The digest of a release changes with all that counts, and with nothing else."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from deployment import content
from deployment.content import File, ReleaseError, check_code, check_path, digest, entries, is_left_out, scan

LETTERS = st.sampled_from("ab9._- é\u4e2d\U0001f600")
NAMES = st.text(LETTERS, min_size=1, max_size=6).filter(lambda name: name.strip("."))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
CONTENTS = st.builds(File, st.binary(min_size=1, max_size=9), st.booleans())
FILES = st.dictionaries(PATHS, CONTENTS, min_size=1, max_size=4)


def by_the_book(files: dict[str, File]) -> str:
    """The documented digest, written once more."""
    text = "ark release 1\n"
    for path, file in sorted(files.items(), key=lambda item: item[0].encode("utf-8")):
        mode = "100755" if file.executable else "100644"
        text += mode + " " + hashlib.sha256(file.content).hexdigest() + " " + path + "\n"
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def of(files: dict[str, File]) -> str:
    return digest(entries(files))


@settings(max_examples=50)
@given(FILES)
def test_the_digest_is_the_documented_one_in_whatever_order_files_come(files: dict[str, File]) -> None:
    assert of(files) == of(dict(reversed(files.items()))) == by_the_book(files)


@settings(max_examples=50)
@given(FILES, st.data())
def test_every_flipped_bit_changes_the_digest(files: dict[str, File], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(files)))
    text = bytearray(files[path].content)
    text[data.draw(st.integers(0, len(text) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    assert of(files | {path: File(bytes(text), files[path].executable)}) != of(files)


@settings(max_examples=50)
@given(FILES, PATHS, st.data())
def test_a_name_a_mode_a_file_more_and_a_file_less_change_the_digest(
    files: dict[str, File], path: str, data: st.DataObject
) -> None:
    assume(path not in files)
    one = data.draw(st.sampled_from(sorted(files)))
    rest = {name: file for name, file in files.items() if name != one}
    seen = {
        of(files),
        of(files | {one: File(files[one].content, not files[one].executable)}),
        of(files | {path: File(b"new")}),
        of(rest),
        of(rest | {path: files[one]}),
    }

    assert len(seen) == 5


@given(PATHS)
def test_what_a_system_names_files_can_be_in_a_release(path: str) -> None:
    check_path(path)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", "", "a\\b", "a\nb", "a\0b", "\udcff", "x" * 1001]
)
def test_a_path_that_leads_elsewhere_or_has_two_readings_is_refused(path: str) -> None:
    with pytest.raises(ReleaseError):
        check_path(path)


def test_hidden_files_and_notes_of_installers_are_left_out() -> None:
    names = [".git", ".env", "a/.x", "x-1.dist-info", "x.egg-info", "ark-release.toml"]

    assert [name for name in names if not is_left_out(name)] == []
    assert not is_left_out("a/ark-release.toml")
    assert not is_left_out("a.py")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("graveyard/__init__.py", "rules are sealed"),
        ("vendor/graveyard/rules.py", "rules are sealed"),
        ("graveyard.py", "rules are sealed"),
        ("ark/agent.py", "ARK's own package 'ark'"),
        ("supervisor.py", "ARK's own package 'supervisor'"),
        ("json/__init__.py", "Python's own module 'json'"),
        ("a/fast.so", "is compiled"),
        ("__pycache__/a.cpython-311.pyc", "is compiled"),
        ("b/__pycache__/data.txt", "is compiled"),
        ("colorsys.pyc", "is compiled"),
        ("graveyard.pyc", "is compiled"),
        ("a/b.pyo", "is compiled"),
    ],
)
def test_what_must_not_come_with_a_release_is_refused_with_the_reason(path: str, why: str) -> None:
    with pytest.raises(ReleaseError, match=why):
        check_code({"a.py": 1, path: 1})


def test_an_empty_release_is_none() -> None:
    with pytest.raises(ReleaseError, match="no file to release"):
        check_code({})


def test_everything_below_a_folder_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a" / "skipped").mkdir(parents=True)
    (tmp_path / "a" / "skipped" / "x").write_text("x")
    (tmp_path / "a" / "run").write_text("go")
    (tmp_path / "a" / "run").chmod(0o700)
    (tmp_path / "b").write_bytes(b"\0")
    seen = {path: (mode & 0o777, text) for path, mode, text in scan(tmp_path, lambda path: path == "a/skipped")}

    assert seen["a/run"] == (0o700, b"go")
    assert seen["b"][1] == b"\0"
    assert seen["a"][1] is None
    assert set(seen) == {"a", "a/run", "b"}


def test_links_sockets_pipes_and_borrowed_rights_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    outside = tmp_path / "secret"
    outside.write_text("secret")
    thing = folder / "thing"

    def refused(why: str) -> None:
        with pytest.raises(ReleaseError, match=why):
            list(scan(folder))
        thing.unlink()

    thing.symlink_to(outside)
    refused("symbolic link")
    thing.symlink_to(tmp_path, target_is_directory=True)
    refused("symbolic link")
    os.mkfifo(thing)
    refused("neither a file nor a folder")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(thing))
        refused("neither a file nor a folder")
    for mode in (0o4755, 0o2755, 0o1755):
        thing.write_text("")
        thing.chmod(mode)
        refused("runs as somebody else")


def test_a_file_that_becomes_a_link_while_it_is_read_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("harmless")
    (tmp_path / "a").write_text("")
    seen = scan(tmp_path)
    next(seen)
    (tmp_path / "b").unlink()
    (tmp_path / "b").symlink_to("/etc/hostname")

    with pytest.raises(ReleaseError, match="symbolic link"):
        next(seen)


def test_what_is_too_much_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(content.MOST_BYTES + 1)
    monkeypatch.setattr(content, "MOST_BYTES", 1_000)
    with pytest.raises(ReleaseError, match="is this the right folder"):
        list(scan(tmp_path))

    monkeypatch.setattr(content, "MOST_FILES", 1)
    (tmp_path / "sparse").write_text("")
    (tmp_path / "another").write_text("")
    with pytest.raises(ReleaseError, match="more than 1 files"):
        list(scan(tmp_path))
