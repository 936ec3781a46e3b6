"""The ends of processes that are nobody's children here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from ark.lineage import await_ends
from tests.node import ROOT, is_alive

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

    assert not is_alive(grandchild)


def test_one_that_does_not_end_is_not_awaited_for_ever(grandchild: int) -> None:
    began = time.monotonic()

    await_ends([grandchild, grandchild], within_s=0.2)

    assert 0.2 <= time.monotonic() - began < 5.0
    os.kill(grandchild, signal.SIGKILL)


ADOPTER = f"""
import os, signal, subprocess, sys
from ark.lineage import adopt_orphans, await_orphans
adopt_orphans()
parent = subprocess.Popen([sys.executable, "-c", {PARENT!r}], stdout=subprocess.PIPE, text=True)
grandchild = int(parent.stdout.readline())
parent.kill()
os.kill(grandchild, signal.SIGKILL)
await_orphans(within_s=10.0)
print(os.path.exists(f"/proc/{{grandchild}}"))
"""


def test_adopted_orphans_are_awaited_and_leave_nothing_behind() -> None:
    done = subprocess.run([sys.executable, "-c", ADOPTER], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"


def test_one_that_is_gone_is_no_fault() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()

    await_ends([gone.pid], within_s=10.0)
