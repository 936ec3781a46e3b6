"""Which release is permanent: whole whatever happens, and never guessed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ark.equipment import INSTALLED, Equipment, permanent_releases, write_permanent_releases
from ark.errors import RoutingError

JOEY = Equipment("ab" * 32, "joey", "2.0.0", "/releases/joey", "joey.agent:Joey")


def test_what_is_written_is_read_and_no_file_is_the_installed_package_for_all(tmp_path: Path) -> None:
    path = tmp_path / "releases.json"
    assert permanent_releases(path) == {}
    write_permanent_releases(path, {"joey": JOEY, "hrm": INSTALLED})
    assert permanent_releases(path) == {"joey": JOEY, "hrm": INSTALLED}
    assert path.stat().st_mode & 0o077 == 0
    assert (JOEY.release, INSTALLED.release) == ("ab" * 6, "")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"roles": {"joey": {"digest": 5}}}', b"\xff\xfe", b"null"])
def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "releases.json"
    path.write_bytes(content)
    with pytest.raises(RoutingError, match="cannot be read") as refused:
        permanent_releases(path)
    assert "backup" in (refused.value.hint or "")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "releases.json"
    write_permanent_releases(path, {"joey": JOEY})

    def full(*arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            write_permanent_releases(path, {})
    assert permanent_releases(path) == {"joey": JOEY}
    write_permanent_releases(path, {})
    assert permanent_releases(path) == {}
