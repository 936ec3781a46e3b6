"""What holds for every test: reproducible hypothesis, no silent skips in CI, and no process left behind."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from collections.abc import Generator
from functools import cache
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

settings.register_profile("local", deadline=None, print_blob=True, max_examples=30)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.register_profile("soak", settings.get_profile("local"), max_examples=5_000)
settings.load_profile("ci" if os.environ.get("CI") or _STRICT else "local")

_SHARED = re.compile(r'^@pytest\.fixture\(scope="(module|session)"', re.MULTILINE)
_LONG = frozenset(("test_chaos", "test_kills", "test_night"))
"""Modules whose one test takes ten seconds and more, beside those that share a node."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LEFT] = []
    if hasattr(config, "workerinput"):
        gc.disable()  # eight thousand tests are made, and none is let go: each look at them all is in vain


def pytest_collection_finish() -> None:
    gc.enable()


@cache
def shares(module: Path) -> bool:
    """Whether the tests of a module share something that each worker would have to start for itself."""
    texts = (each.read_text() for each in (module, module.parent / "conftest.py") if each.exists())
    return any(_SHARED.search(each) for each in texts)


@cache
def starts_processes(module: Path) -> bool:
    """Whether the tests of a module start nodes: they take long, and mostly wait."""
    return "tests.node" in module.read_text()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes longest begins first; at the end what is quick fills the gaps."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: turn(item.path))


def turn(module: Path) -> int:
    """When a module's tests have their turn, the lowest number first."""
    if module.stem in _LONG or (shares(module) and starts_processes(module)):
        return 0
    return 1 if starts_processes(module) else 2


class ByNode(LoadScopeScheduling):  # type: ignore[misc]
    """Tests that share a node stay on one worker, in their order; the others go where one is free.

    Each worker would start a node, a browser and a Prometheus of its own for them.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.split("::", maxsplit=1)[0]
        return module if shares(self.config.rootpath / module) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByNode:
    config.option.loadscopereorder = False  # they are in order
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
