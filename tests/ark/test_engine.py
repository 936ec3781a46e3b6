"""The root of the tree as the guardian holds it."""

from __future__ import annotations

import os
import select
import subprocess
import sys

from ark.engine import _handle


def is_dead(handle: int) -> bool:
    return bool(select.select([handle], [], [], 0)[0])


def test_a_root_that_died_before_anybody_looked_is_a_dead_root_and_no_error() -> None:
    """It ended `ark-run start` with a traceback, and the node with it."""
    process = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
    process.wait()
    handle = _handle(process.pid)
    try:
        assert is_dead(handle)
    finally:
        os.close(handle)


def test_a_root_that_lives_is_not_taken_for_dead() -> None:
    handle = _handle(os.getpid())
    try:
        assert not is_dead(handle)
    finally:
        os.close(handle)
