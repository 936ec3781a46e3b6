"""Every block of code in the README, run as it is written; only addresses and placeholders are filled in."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from actors.redis_entries import read_entry
from ark import cli
from ark.acts import read_act
from ark.config import ENVIRONMENT, MetricsConfig
from supervisor import cli as supervisor_cli
from tests.javascript import PACKAGES, needs_node
from tests.node import BIN, ROOT, Node, node, wait_until

TEXT = (ROOT / "README.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
DOOR = "tcp://127.0.0.1:5555"
BARS = """\
date,open,high,low,close,volume
2013-01-02,145.1,146.2,144.7,146.1,192059000
2013-01-03,145.9,146.4,145.3,145.7,144761800
"""


def blocks(language: str) -> list[str]:
    return [body for name, body in BLOCKS if name == language]


PROGRAMS = [body for body in blocks("python") if DOOR in body]
LINES = [line for body in blocks("sh") for line in body.splitlines()]
ELSEWHERE = [
    line
    for page in ("operations.md", "rules.md")
    for body in re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs" / page).read_text(), re.DOTALL | re.MULTILINE)
    for line in body.splitlines()
]


@pytest.fixture(scope="module")
def running() -> Iterator[Node]:
    with node() as one:
        yield one


def test_the_blocks_are_the_ones_that_these_tests_know() -> None:
    assert {name for name, _ in BLOCKS} == {"sh", "text", "python", "js", "toml"}
    assert len(PROGRAMS) == 2
    assert len(blocks("js")) == 1


@pytest.mark.parametrize("program", PROGRAMS, ids=["raw", "client"])
def test_a_python_program_gets_an_outcome(program: str, running: Node) -> None:
    command = [sys.executable, "-c", program.replace(DOOR, running.gateway)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert re.search("executed|no_setup", done.stdout)


@pytest.mark.node
@needs_node
def test_the_node_program_gets_an_outcome(running: Node, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    (tmp_path / "readme.mjs").write_text(blocks("js")[0].replace(DOOR, running.gateway))
    command = ["node", str(tmp_path / "readme.mjs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert "status: 'executed'" in done.stdout


def test_the_agent_and_its_configuration_are_the_tested_examples() -> None:
    (agent,) = [body for body in blocks("python") if "Agent[Case]" in body]
    (toml,) = blocks("toml")

    assert agent == (ROOT / "examples" / "quiet_hours.py").read_text()
    assert (ROOT / "examples" / "ark.toml").read_text().endswith(toml)


@pytest.mark.parametrize("line", dict.fromkeys([*LINES, *ELSEWHERE]))
def test_a_command_line_is_one_that_there_is(line: str) -> None:
    program, *rest = shlex.split(line, comments=True)
    if program == "echo":
        program, *rest = rest[rest.index("|") + 1 :]
    match program:
        case "ark-run":
            commands = {each.name: each.load() for each in entry_points(group="ark.commands")}
            cli._parser(commands).parse_args(rest)
        case "supervisor":
            supervisor_cli._parser().parse_args(rest)
        case "make":
            assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        case "sqlite3":
            assert "data/gateway.db" in line
        case "python3":
            compile(rest[1], line, "exec")
        case "pip":
            extra = rest[1].removeprefix("ark-runtime[").removesuffix("]")
            assert re.search(rf"^{extra} = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
        case "export":
            assert rest[0].partition("=")[0] in ENVIRONMENT
        case "prometheus":
            config, storage, listen = rest
            assert storage.startswith("--storage.tsdb.path=/")
            assert (ROOT / "deployment" / config.removeprefix("--config.file=/etc/ark-monitoring/")).is_file()
            assert listen.startswith("--web.listen-address=127.0.0.1:")
            assert not listen.endswith(MetricsConfig().listen)
        case "redis-cli":
            fields = [each.encode() for each in rest[3:]]
            assert read_entry(rest[1], b"1-0", dict(zip(fields[::2], fields[1::2], strict=True))).error is None
        case "curl":
            assert rest[0] == f"{MetricsConfig().listen}/act"
            assert rest[2].startswith("Authorization: Bearer ")
            read_act(rest[-1].encode())
        case "useradd":
            assert f"\nUser={rest[-1]}\n" in (ROOT / "deployment/systemd/ark.service").read_text()
        case "chmod":
            assert all(list((ROOT / "graveyard").glob(Path(each).name)) for each in rest[1:])
        case "cp":
            assert (ROOT / rest[0]).is_file()
        case "systemctl":
            assert rest[-1] in ("daemon-reload", "ark")
        case "sudo":
            assert rest[:3] == ["-u", "ark", "ARK_HOME=/var/lib/ark"]
            assert rest[3] == "/opt/ark/bin/supervisor"
            supervisor_cli._parser().parse_args(rest[4:])
        case _:
            assert line in ("source .venv/bin/activate", "kill -9 PID")


def test_the_commands_do_as_they_are_typed(tmp_path: Path) -> None:
    """All of them, in the order of the README, but those that start a node or make something."""
    with node() as one:
        (tmp_path / "examples").symlink_to(ROOT / "examples")
        (tmp_path / ".ark").symlink_to(one.home.path)
        (tmp_path / "bars.csv").write_text(BARS)
        environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "ARK_HOME": str(one.home.path)}
        trace_id = ""
        for line in LINES:
            if line.split()[0] in ("make", "source") or line.startswith("ark-run start"):
                continue
            if line == "kill -9 PID":
                kill_kenny(one)
                continue
            typed = line.replace("TRACE_ID", trace_id)
            done = subprocess.run(
                ["bash", "-c", typed],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, f"{typed}\n{done.stdout}{done.stderr}"
            if "inject" in line:
                trace_id = done.stdout.split()[0]
        assert trace_id
        assert one.process is not None
        assert one.process.wait(10) == 0


def kill_kenny(one: Node) -> None:
    pid = one.child("kenny")["pid"]
    os.kill(pid, signal.SIGKILL)

    def is_back() -> bool:
        return one.child("kenny")["pid"] not in (pid, None) and one.status()["ready"]

    wait_until(is_back, "kenny is back")
