"""Node.js for tests: where it is, and whether its two packages are there."""

from __future__ import annotations

import shutil

import pytest

from tests.node import ROOT

PACKAGES = ROOT / "examples" / "node" / "node_modules"

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (PACKAGES / "zeromq").is_dir(),
    reason="Node.js or its packages are missing; get them with `make services`",
)
