"""What holds for every test: reproducible hypothesis, no silent skips in CI, and no process left behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# Each of the hundreds of processes that tests start would compile every module anew, two thirds of its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

_STRICT = bool(os.environ.get("ARK_NO_SKIPS"))
"""Set by `.ci/run`: a test that is skipped has failed."""
_LEFT = pytest.StashKey[list[str]]()

settings.register_profile("local", deadline=None, print_blob=True, max_examples=50)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.register_profile("soak", settings.get_profile("local"), max_examples=5_000)
settings.load_profile("ci" if os.environ.get("CI") or _STRICT else "local")

_SHARING = frozenset(
    ("test_client", "test_control_security", "test_front_door", "test_page", "test_prometheus", "test_slos")
)
"""Modules with one node for all their tests, beside those that are named so."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LEFT] = []


class ByNode(LoadScopeScheduling):  # type: ignore[misc]
    """Tests that share a node stay on one worker, in their order, and begin first; the others go where one is free.

    Each worker would start a node, a browser and a Prometheus of its own for them.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.split("::", maxsplit=1)[0]
        stem = Path(module).stem
        return module if stem in _SHARING or stem.endswith("_live") else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByNode:
    return ByNode(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if _STRICT and report.skipped and not hasattr(report, "wasxfail"):
        fail_instead(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    report = yield
    if _STRICT and report.skipped:
        fail_instead(report)
    return report


def fail_instead(report: Any) -> None:
    """Make a report of a skip one of a failure."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"a skip counts as a failure here: {reason}"


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what is left of the nodes that this process started, and say so; each xdist worker does it for itself."""
    left = session.config.stash[_LEFT]
    left += end_leftovers()
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left"] = left
    elif left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear from an xdist worker what it found."""
    node.config.stash[_LEFT] += getattr(node, "workeroutput", {}).get("left", [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for line in config.stash[_LEFT]:
        terminalreporter.write_line(f"LEFT BEHIND, and ended now: {line}", red=True)


def end_leftovers() -> list[str]:
    """Kill every process that names the home of a node of these tests; give what was killed."""
    module = sys.modules.get("tests.node")
    homes: list[Path] = getattr(module, "HOMES", [])
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]) if homes else ():
        line = " ".join(process.info["cmdline"] or ())
        if process.pid != os.getpid() and any(str(home) in line for home in homes):
            found.append(f"{process.pid} {line.strip()}")
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    return found
