"""Where a process is stuck, out of what `faulthandler` writes, and from a real process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.stack import ask, readable
from tests.node import wait_until

DUMP = """\
Thread 0x00007f1 (most recent call first):
  File "/srv/mine.py", line 31 in ask_the_model
  File "/srv/mine.py", line 12 in handle
  File "/srv/ark/agent_worker.py", line 100 in run
  File "/srv/ark/host.py", line 110 in _work
  File "/usr/lib/threading.py", line 975 in run
  File "/usr/lib/threading.py", line 995 in _bootstrap

Current thread 0x00007f2 (most recent call first):
  File "/srv/thespian/wait.py", line 5 in select
  File "/srv/main.py", line 1 in <module>
"""
STUCK = """
import sys, threading, time
from pathlib import Path
from ark.stack import listen
def _work():
    listen(Path(sys.argv[1]))
    print("listening", flush=True)
    spin()
def spin():
    while True:
        pass
threading.Thread(target=_work).start()
"""


def test_the_innermost_call_of_the_thread_that_works_comes_last() -> None:
    assert readable(DUMP).splitlines() == [
        'File "/srv/ark/agent_worker.py", line 100 in run',
        'File "/srv/mine.py", line 12 in handle',
        'File "/srv/mine.py", line 31 in ask_the_model',
    ]


@given(cut=st.integers(0, len(DUMP)))
def test_half_a_dump_gives_nothing_or_the_whole_stack(cut: int) -> None:
    assert readable(DUMP[:cut]) in ("", readable(DUMP))


@given(st.text())
def test_any_text_can_be_read(dump: str) -> None:
    readable(dump)


def test_a_process_in_an_endless_loop_says_where_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "stack"
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        wait_until(lambda: ask(process.pid, path).endswith("in spin"), "it says where it is")
        assert path.stat().st_mode & 0o777 == 0o600
        wait_until(lambda: ask(process.pid, path).endswith("in spin"), "and again")
        os.kill(process.pid, signal.SIGSTOP)
        assert ask(process.pid, path) == "", "a stopped one does not answer, and holds nobody up"
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def test_who_never_listened_is_not_asked(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert ask(process.pid, tmp_path / "none") == ""
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
    finally:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()
