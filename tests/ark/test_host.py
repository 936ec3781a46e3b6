"""How a process says that it cannot start, and whether another try may do better."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ark.home import Home
from ark.host import EXIT_BOOT, EXIT_FAILED

CANNOT_START = """
import sys
from ark.control import Control, Duty
from ark.host import _work

options = {"provisional": sys.argv[2] == "True"}
duty = Duty("joey", "pipeline", "agent", "nowhere:Nobody", 1, 1, sys.argv[1], {"logs": {}}, {}, options)
_work(duty, Control.pair()[1])
"""


@pytest.mark.parametrize(("provisional", "code"), [(False, EXIT_BOOT), (True, EXIT_FAILED)])
def test_what_cannot_start_on_probation_is_tried_again_with_whatever_it_is_to_run_then(
    tmp_path: Path, provisional: bool, code: int
) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    done = subprocess.run(
        [sys.executable, "-c", CANNOT_START, str(home.path), str(provisional)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "cannot import nowhere:Nobody" in (home.logs / "joey.log").read_text()
