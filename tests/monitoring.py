"""Prometheus and Alertmanager for tests: processes of their own on free ports, with files in a folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.node import free_ports, wait_until

ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
"""Debian's name, and everybody else's."""


def needs(tool: str) -> Any:
    """A test that needs an external program is skipped without it, and says how to get it."""
    there = ALERTMANAGER if tool == "alertmanager" else shutil.which(tool)
    return pytest.mark.skipif(there is None, reason=f"{tool} is missing; get it with `make services`")


def run_tool(*command: str | Path, input: str | None = None) -> str:
    """Run a tool, and give what it says.

    Raises:
        AssertionError: It has failed; with what it said.
    """
    ran = subprocess.run(
        [str(part) for part in command],
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        # Go collects garbage less often: for processes of two seconds that is a sixth of their work.
        env={**os.environ, "GOGC": "400"},
    )
    assert ran.returncode == 0, f"{' '.join(map(str, command))}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


class Prometheus:
    """A server, and the questions one can ask it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **parameters: str) -> Any:
        """What its API answers.

        Raises:
            AssertionError: It answers that something is wrong.
        """
        body = urllib.parse.urlencode(parameters).encode() if parameters else None
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}", data=body, timeout=20) as answer:
                said = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error
        assert said["status"] == "success", said
        return said["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series that an expression gives now: `metric` and `value`, a number."""
        found = self.ask("query", query=expr)
        assert found["resultType"] == "vector", expr
        return [{**each, "value": float(each["value"][1])} for each in found["result"]]

    def value(self, expr: str) -> float | None:
        """The one value that an expression gives now, None for none."""
        found = self.query(expr)
        assert len(found) <= 1, f"{expr}: {found}"
        return float(found[0]["value"]) if found else None


@contextmanager
def prometheus(folder: Path, config: dict[str, Any]) -> Iterator[Prometheus]:
    """A Prometheus with a configuration, gone at the end whatever happened."""
    port = free_ports(1)[0]
    file = folder / "prometheus.json"  # JSON is YAML
    file.write_text(json.dumps(config))
    options = [
        f"--config.file={file}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    ]
    server = Prometheus(f"http://127.0.0.1:{port}")
    with _running(["prometheus", *options], folder / "prometheus.txt", f"{server.url}/-/ready"):
        yield server


@contextmanager
def alertmanager(folder: Path, config: Path) -> Iterator[str]:
    """An Alertmanager with a configuration; gives its address."""
    assert ALERTMANAGER is not None
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    options = [
        f"--config.file={config}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",  # alone
        f"--storage.path={folder / 'alertmanager'}",
        "--log.level=warn",
    ]
    with _running([ALERTMANAGER, *options], folder / "alertmanager.txt", f"{url}/-/ready"):
        yield url


@contextmanager
def _running(command: list[str], output: Path, ready: str) -> Iterator[None]:
    with open(output, "wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)

    def answers() -> bool:
        assert process.poll() is None, output.read_text()
        try:
            with urllib.request.urlopen(ready, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    try:
        wait_until(answers, f"{command[0]} answers")
        yield
    finally:
        process.kill()
        process.wait(10)
