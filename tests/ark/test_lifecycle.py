"""A node's beginning and end: who may start, what a refusal looks like, and that nothing is left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.node import BIN, ECHO, Node, is_alive, node, run, wait_until


@pytest.fixture
def as_a_shell_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes and commands are started as users start them."""
    monkeypatch.setattr("tests.node.FORKS", False)


@pytest.fixture(scope="module")
def running() -> Iterator[Node]:
    """A node that runs through the whole module, started as users start it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.node.FORKS", False)
        with node(ECHO) as one:
            patch.undo()
            yield one


def refused(one: Node, *extra: str) -> str:
    """Try to start; it must end with exit code 1 and one line, which is given back."""
    return refusal(run(one.command(*extra)))


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line with which a start was refused."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def leaves_nothing(one: Node) -> None:
    wait_until(lambda: not one.pids(), f"no process is left: {one.pids()}", within_s=2.0)
    assert list(one.home.run.glob("*.sock")) == []
    assert list(one.home.run.glob("box/*")) == []
    assert not one.home.node_file.exists()
    assert not one.home.is_locked()


def ends_within(one: Node, seconds: float) -> int:
    assert one.process is not None
    began = time.monotonic()
    code = one.process.wait(seconds + 5)
    assert time.monotonic() - began < seconds
    return code


# Refusals


def test_a_second_start_over_the_same_home_is_refused_and_names_the_first(running: Node) -> None:
    assert running.process is not None
    before = {child["name"]: child["pid"] for child in running.status()["children"]}
    line = refused(running)
    assert f"pid {running.process.pid}" in line
    assert {child["name"]: child["pid"] for child in running.status()["children"]} == before


@pytest.mark.parametrize("place", ["gateway", "events", "metrics"])
def test_a_taken_port_is_named(place: str, running: Node) -> None:
    with node(ECHO, start=False) as other:
        setattr(other, place, getattr(running, place))
        line = refused(other)
        assert getattr(running, place).removeprefix("tcp://") in line
        assert f"--{place}" in line
        assert other.pids() == []


def test_a_port_in_the_hands_of_a_stranger_is_named_too() -> None:
    with node(ECHO, start=False) as one, socket.socket() as stranger:
        stranger.bind(("127.0.0.1", int(one.gateway.rpartition(":")[2])))
        stranger.listen()
        assert one.gateway in refused(one)


@pytest.mark.parametrize("place", [".", "run", "data"])
def test_a_file_where_a_folder_should_be_is_named(place: str, tmp_path: Path) -> None:
    with node(ECHO, start=False) as one:
        one.home.path.joinpath("ark.toml").rename(tmp_path / "ark.toml")
        wrong = one.home.path / place
        if place == ".":
            one.home.path.rmdir()
        wrong.write_text("I am a file")
        line = refused(one, "--config", str(tmp_path / "ark.toml"))
        assert str(one.home.path) in line


def test_a_home_that_cannot_be_written_is_named() -> None:
    def without_power_over_modes() -> None:
        # Root may write anywhere by CAP_DAC_OVERRIDE (1); PR_CAPBSET_DROP (24) takes it away from what is executed.
        ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)

    with node(ECHO, start=False) as one:
        one.home.path.chmod(0o500)
        try:
            line = refusal(
                subprocess.run(
                    one.command(),
                    capture_output=True,
                    text=True,
                    timeout=30,
                    check=False,
                    preexec_fn=without_power_over_modes,
                )
            )
        finally:
            one.home.path.chmod(0o700)
        assert f"cannot write to the home {one.home.path}" in line


def test_a_damaged_word_on_who_is_isolated_is_named_before_anything_starts() -> None:
    """The supervisors died of it, each new tree as well, until the node gave up on `its root was killed`."""
    with node(ECHO, start=False) as one:
        one.home.prepare()
        (one.home.data / "isolated-pipeline.json").write_bytes(b"\0" * 40)
        line = refused(one)
        assert f"cannot read who is isolated from {one.home.data / 'isolated-pipeline.json'}: it is damaged" in line
        assert "delete it" in line


def test_a_home_too_long_for_unix_sockets_is_refused_with_the_number_of_characters(tmp_path: Path) -> None:
    long = Node(tmp_path / ("x" * 100), ECHO)
    line = refused(long)
    assert "characters too long" in line


def test_a_wrong_key_in_the_file_is_named_with_the_nearest_known_one() -> None:
    with node(ECHO + "\n[gateway]\nendpiont = 'tcp://127.0.0.1:5'\n", start=False) as one:
        line = refused(one)
        assert "gateway.endpiont" in line
        assert "did you mean 'endpoint'" in line


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[gateway", "ark.toml"),
        ("[watchdog]\ninterval_s = 'often'", "watchdog.interval_s"),
        ("[gateway]\nwindow = 0", "gateway.window"),
        ("[gateway]\nendpoint = 'tcp://0.0.0.0:5555'", "loopback"),
    ],
)
def test_a_wrong_setting_is_named(text: str, named: str) -> None:
    with node(text, start=False) as one:
        command = [each for each in one.command() if each not in ("--gateway", one.gateway)]
        done = run(command)
        assert done.returncode == 1
        assert named in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_file_that_is_not_there_is_named() -> None:
    with node(ECHO, start=False) as one:
        assert "/nowhere/ark.toml" in refused(one, "--config", "/nowhere/ark.toml")


@pytest.mark.parametrize(
    "class_", ["tests.echo_agents:Nobody", "tests.no_such_module:First", "tests.echo_agents:Passed"]
)
def test_an_agent_that_cannot_be_made_ends_the_start_with_one_line_and_leaves_nothing(class_: str) -> None:
    with node(ECHO.replace("tests.echo_agents:Middle", class_), start=False) as one:
        line = refused(one)
        assert class_ in line
        assert "Traceback" not in line
        leaves_nothing(one)


def test_an_agent_that_fails_in_its_setup_is_named_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "sour.py").write_text(
        "from ark import Agent, Signal\n"
        "class Sour(Agent[Signal]):\n"
        "    takes = Signal\n"
        "    def setup(self, context):\n"
        "        raise RuntimeError('no milk today')\n"
    )
    config = ECHO.replace("tests.echo_agents:First", "sour:Sour").replace(
        f'path = "{Path(__file__).parent.parent.parent}"', f'path = "{tmp_path}"', 1
    )
    with node(config, start=False) as one:
        line = refused(one)
        assert "alpha" in line
        assert "no milk today" in line
        leaves_nothing(one)


def test_of_two_starts_at_once_exactly_one_wins() -> None:
    with node(ECHO, start=False) as one:
        both = [
            subprocess.Popen(one.command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        try:
            wait_until(lambda: any(each.poll() is not None for each in both), "one is refused")
            loser = next(each for each in both if each.poll() is not None)
            winner = next(each for each in both if each is not loser)
            assert loser.returncode == 1
            assert loser.stderr is not None
            assert f"pid {winner.pid}" in loser.stderr.read()
            one.process = winner  # type: ignore[assignment]
            one.wait_ready()
            assert one.stop() == 0
        finally:
            for each in both:
                if each.poll() is None:
                    each.kill()
                for stream in (each.stdout, each.stderr):
                    assert stream is not None
                    stream.close()


# What runs


def test_nothing_but_loopback_listens(running: Node) -> None:
    listening = []
    for pid in running.pids():
        for connection in psutil.Process(pid).net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN or not connection.raddr:
                listening.append(connection.laddr)
    assert len(listening) >= len(running.status()["children"]) + 3
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_what_a_node_keeps_can_be_read_by_its_owner_only(running: Node) -> None:
    with running.client() as client:
        client.outcome(client.inject({"symbol": "A", "direction": "long", "price": 1.0})["trace_id"], timeout_s=5.0)
    for path in (running.home.path, *running.home.path.rglob("*")):
        if path.name in ("ark.toml", "output.txt"):  # the test's own
            continue
        mode = path.lstat().st_mode
        assert mode & 0o077 == 0, path


def test_supervisor_status_tells_by_its_exit_code_whether_a_node_runs(running: Node) -> None:
    pytest.importorskip("supervisor.cli")
    assert running.run("supervisor", "status").returncode == 0
    with node(ECHO, start=False) as other:
        done = other.run("supervisor", "status")
        assert done.returncode == 4
        assert "Traceback" not in done.stderr


# Ends


def test_a_signal_stops_the_node_within_five_seconds_and_leaves_nothing() -> None:
    with node(ECHO) as one:
        assert one.process is not None
        one.process.terminate()
        assert ends_within(one, 5.0) == 0
        leaves_nothing(one)
        assert "Traceback" not in one.output.read_text()


@pytest.mark.usefixtures("as_a_shell_does")
def test_ctrl_c_reaches_every_process_of_the_terminal_and_is_still_an_orderly_stop() -> None:
    with node(ECHO) as one:
        assert one.process is not None
        os.killpg(one.process.pid, signal.SIGINT)
        assert ends_within(one, 5.0) == 0
        leaves_nothing(one)
        assert "Traceback" not in one.output.read_text()


@pytest.mark.usefixtures("as_a_shell_does")
def test_a_stop_in_the_middle_of_the_start_leaves_nothing_either() -> None:
    with node(ECHO, start=False) as one:
        one.start(wait=False)
        wait_until(one.home.node_file.exists, "the start has begun")
        assert one.process is not None
        one.process.terminate()
        assert ends_within(one, 5.0) == 0
        leaves_nothing(one)


def test_a_stop_with_signals_in_flight_loses_none_of_them() -> None:
    with node(ECHO) as one:
        with one.client() as client:
            results = client.inject_many([{"symbol": "AAPL", "direction": "long", "price": 1.0}] * 2000)
        assert one.stop() == 0
        one.start()
        with one.client() as client:
            for each in results:
                assert client.outcome(each["trace_id"], timeout_s=10.0)["status"] == "executed"
        assert one.status()["signals"]["completed"] == 2000


@pytest.mark.usefixtures("as_a_shell_does")
def test_ark_run_stop_stops_the_node_and_waits_until_it_is_gone() -> None:
    with node(ECHO) as one:
        assert one.process is not None
        done = one.run("ark-run", "stop", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        assert f'"pid": {one.process.pid}' in done.stdout
        leaves_nothing(one)
        assert one.process.wait(5) == 0
        again = one.run("ark-run", "stop")
        assert again.returncode == 1
        assert again.stderr.startswith("error: no node runs over")
        assert again.stderr.count("\n") == 1


@pytest.mark.usefixtures("as_a_shell_does")
def test_when_the_starter_is_killed_the_whole_tree_goes_and_a_new_start_works_at_once() -> None:
    with node(ECHO) as one:
        assert one.process is not None
        pids = one.pids()
        assert len(pids) >= len(one.status()["children"]) + 3  # the starter, Thespian's admin and its logger
        one.process.kill()
        one.process.wait()
        one.start()  # at once: the old tree may be ending still
        wait_until(lambda: not any(map(is_alive, pids)), "everybody is gone", within_s=2.0)
        assert one.status()["ready"] is True


def test_nothing_outlives_a_starter_and_all_children_killed_at_once_and_another_home_is_left_alone(
    running: Node,
) -> None:
    before = {child["name"]: child["pid"] for child in running.status()["children"]}
    with node(ECHO) as one:
        assert one.process is not None
        pids = one.pids()
        for pid in (one.process.pid, *(child["pid"] for child in one.status()["children"])):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        one.process.wait()
        wait_until(lambda: not any(map(is_alive, pids)), "everybody is gone", within_s=2.0)
    assert {child["name"]: child["pid"] for child in running.status()["children"]} == before


def test_commands_without_a_node_say_so_in_one_line(tmp_path: Path) -> None:
    for command in (["inject", "-"], ["outcome", "x"], ["trace", "x"]):
        done = run([str(BIN / "ark-run"), *command, "--home", str(tmp_path)], input="{}")
        assert done.returncode == 1, done
        assert done.stderr.count("\n") == 1
        assert "no node runs over" in done.stderr
