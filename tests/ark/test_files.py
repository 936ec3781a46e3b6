"""A file that is replaced is the old one or the new one, also on a disk that is full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ark.files import replace_file

FULL = """
import resource, signal, sys
from pathlib import Path
from ark.files import replace_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    replace_file(Path(sys.argv[1]), b"x" * 100_000, durable=sys.argv[2] == "durable")
except OSError:
    sys.exit(7)
"""
"""A process that can write a part of it, and no more."""


@pytest.mark.parametrize("durable", [True, False])
def test_the_new_content_is_there_and_nobody_else_can_read_it(tmp_path: Path, durable: bool) -> None:
    file = tmp_path / "releases.json"
    replace_file(file, b"old", durable=durable)
    replace_file(file, b"new", durable=durable)

    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["releases.json"]


@pytest.mark.parametrize("how", ["durable", "quick"])
def test_what_finds_no_room_leaves_the_old_content(tmp_path: Path, how: str) -> None:
    file = tmp_path / "releases.json"
    replace_file(file, b"old", durable=True)

    done = subprocess.run([sys.executable, "-c", FULL, str(file), how], check=False)

    assert done.returncode == 7
    assert file.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["releases.json"]
