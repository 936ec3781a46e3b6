"""The ends of processes that are nobody's children here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from ark.lineage import await_ends

SLEEPER = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPER!r}])"


@pytest.fixture
def grandchild() -> int:
    """A process whose parent is another one."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    return pid


def test_the_end_of_a_process_is_awaited(grandchild: int) -> None:
    os.kill(grandchild, signal.SIGKILL)

    await_ends([grandchild], within_s=10.0)

    assert not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE


def test_one_that_does_not_end_is_not_awaited_for_ever(grandchild: int) -> None:
    began = time.monotonic()

    await_ends([grandchild, grandchild], within_s=0.2)

    assert 0.2 <= time.monotonic() - began < 5.0
    os.kill(grandchild, signal.SIGKILL)


def test_one_that_is_gone_is_no_fault() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()

    await_ends([gone.pid], within_s=10.0)
