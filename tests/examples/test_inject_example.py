"""`examples/inject.py`, run against a real node, with nothing of ARK in its reach."""

from __future__ import annotations

import subprocess
import sys

from tests.node import ROOT, Node

SCRIPT = ROOT / "examples" / "inject.py"
_WITHOUT_ARK = """
import runpy, sys
for name in ("ark", "actors", "graveyard", "supervisor", "deployment"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_pyzmq_and_msgpack_are_enough_to_inject_a_signal_and_read_its_outcome(running: Node) -> None:
    command = [sys.executable, "-c", _WITHOUT_ARK, str(SCRIPT), running.gateway]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    accepted, ended = done.stdout.splitlines()
    assert "'status': 'accepted'" in accepted
    assert "'status': 'executed'" in ended


def test_the_example_signals_end_in_three_different_ways(running: Node) -> None:
    done = running.run("ark-run", "inject", str(ROOT / "examples" / "signals.jsonl"))

    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["executed", "denied", "no_setup"]
