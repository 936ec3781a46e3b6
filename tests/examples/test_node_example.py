"""`examples/node/inject.mjs`, run by Node.js against a real node."""

from __future__ import annotations

import subprocess

import pytest

from tests.javascript import needs_node
from tests.node import ROOT, Node

SCRIPT = ROOT / "examples" / "node" / "inject.mjs"


@pytest.mark.node
@needs_node
def test_a_node_program_injects_a_signal_and_prints_its_outcome(running: Node) -> None:
    done = subprocess.run(
        ["node", str(SCRIPT), running.gateway], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "status: 'accepted'" in done.stdout
    assert "status: 'executed'" in done.stdout


def test_it_has_about_a_dozen_lines() -> None:
    lines = [line for line in SCRIPT.read_text().splitlines() if line and not line.startswith("//")]

    assert len(lines) <= 15
