"""The tree at work: whoever dies or hangs is replaced, isolation holds, poison is found out."""

from __future__ import annotations

import os
import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import msgpack
import psutil
import pytest

from ark.client import Client
from ark.errors import ArkError, RequestError
from ark.journal import open_for_reading
from tests.ark.wire_client import SIGNAL, Wire
from tests.node import ECHO, Node, comes_back, node, wait_until

QUICK = """
[watchdog]
interval_s = 0.5
"""
ORDER = ["gateway", "watchdog", "exporter", "pipeline"]
AGENTS = ["alpha", "beta", "omega"]


@pytest.fixture(scope="module")
def tree() -> Iterator[Node]:
    """A node whose Watchdog is in a hurry."""
    with node(ECHO + QUICK) as one:
        yield one


@pytest.fixture
def client(tree: Node) -> Iterator[Client]:
    """An operator; afterwards everything runs, and a signal passes."""
    with tree.client() as operator:
        yield operator
        tree.wait_ready()
        works(operator)


def works(client: Client) -> None:
    accepted = client.inject(SIGNAL)
    assert client.outcome(accepted["trace_id"], timeout_s=15.0)["status"] == "executed"


def pids(one: Node) -> dict[str, int]:
    return {child["name"]: child["pid"] for child in one.status()["children"]}


def rows(one: Node, name: str, query: str) -> list[Any]:
    connection = open_for_reading(one.home.data / f"{name}.db")
    try:
        return list(connection.execute(query))
    finally:
        connection.close()


# Death


@pytest.mark.parametrize("name", [*ORDER, *AGENTS])
def test_a_killed_child_is_back_and_takes_those_along_that_stand_on_it(
    name: str, tree: Node, client: Client
) -> None:
    before = pids(tree)
    os.kill(before[name], signal.SIGKILL)
    comes_back(tree, name, before[name])
    after = pids(tree)
    new = {each for each in before if after[each] != before[each]}
    if name in (*AGENTS, "exporter"):  # one_for_one, and who stands alone
        assert new == {name}
    else:  # rest_for_one; the pipeline's agents go with their supervisor
        assert new == {*ORDER[ORDER.index(name) :], *AGENTS} - {"exporter"}
    child = tree.child(name)
    assert child["restarts"] >= 1
    assert "SIGKILL" in child["reason"]


def test_a_killed_root_is_rebuilt_with_everything_below(tree: Node, client: Client) -> None:
    before = pids(tree)
    os.kill(before["root"], signal.SIGKILL)
    comes_back(tree, "root", before["root"])
    assert not set(before.values()) & set(pids(tree).values())
    assert tree.child("root")["restarts"] >= 1


def test_more_deaths_than_a_supervisor_bears_are_its_parents_affair() -> None:
    with node(ECHO + "[supervision]\nintensity = 3\nbackoff_base_s = 0.01\nbackoff_cap_s = 0.01\n") as one:
        supervisor = one.child("pipeline")["pid"]
        for _ in range(4):
            pid = one.child("alpha")["pid"]
            os.kill(pid, signal.SIGKILL)
            comes_back(one, "alpha", pid)
        assert one.child("pipeline")["pid"] != supervisor
        assert one.child("gateway")["restarts"] == 0
        with one.client() as operator:
            works(operator)


def test_a_tree_that_cannot_be_built_anew_at_once_is_tried_again() -> None:
    with node(ECHO) as one, socket.socket() as squatter:
        assert one.process is not None
        root = one.child("root")["pid"]
        gateway = one.child("gateway")["pid"]
        host, _, port = one.gateway.removeprefix("tcp://").rpartition(":")
        os.kill(one.process.pid, signal.SIGSTOP)
        os.kill(root, signal.SIGKILL)
        wait_until(lambda: not lives(gateway), "the gateway is gone")
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # A dead process's other threads may have its sockets for a moment longer.
        wait_until(lambda: takes(squatter, host, int(port)), "the port is free")
        squatter.listen()
        os.kill(one.process.pid, signal.SIGCONT)
        wait_until(lambda: "Address already in use" in one.output.read_text(), "it says why")
        squatter.close()
        comes_back(one, "root", root)
        with one.client() as operator:
            works(operator)


def takes(server: socket.socket, host: str, port: int) -> bool:
    try:
        server.bind((host, port))
    except OSError:
        return False
    return True


def lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


# Hangs


@pytest.mark.parametrize("name", ["alpha", "omega", "gateway", "exporter", "pipeline"])
def test_the_watchdog_notices_who_has_stopped_beating(name: str, tree: Node, client: Client) -> None:
    pid = tree.child(name)["pid"]
    os.kill(pid, signal.SIGSTOP)
    comes_back(tree, name, pid)
    assert "no heartbeat for" in tree.child(name)["reason"]


def test_the_root_notices_a_watchdog_that_has_stopped(tree: Node, client: Client) -> None:
    pid = tree.child("watchdog")["pid"]
    os.kill(pid, signal.SIGSTOP)
    comes_back(tree, "watchdog", pid)
    assert "no heartbeat for" in tree.child("watchdog")["reason"]


def test_the_guardian_notices_a_root_that_has_stopped(tree: Node, client: Client) -> None:
    pid = tree.child("root")["pid"]
    os.kill(pid, signal.SIGSTOP)
    comes_back(tree, "root", pid)
    assert "its root was stuck" in tree.output.read_text()


def test_a_node_that_stood_still_as_a_whole_blames_nobody(tree: Node, client: Client) -> None:
    before = pids(tree)
    everybody = tree.pids()
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    assert not threading.Event().wait(2.5)  # the pause itself, longer than anybody's patience
    for pid in reversed(everybody):
        os.kill(pid, signal.SIGCONT)
    works(client)
    beats = tree.child("alpha")["heartbeat_age_s"]
    wait_until(lambda: tree.status()["ready"], "it runs")
    assert beats < 1.0
    assert pids(tree) == before


# Operators


def test_a_restart_gives_a_new_process_and_is_no_failure_of_the_old(tree: Node, client: Client) -> None:
    before = pids(tree)
    reply = client.request("restart", agent="beta", reason="to see")
    assert (reply["agent"], reply["state"]) == ("beta", "running")
    after = pids(tree)
    assert {name for name in before if before[name] != after[name]} == {"beta"}


@pytest.mark.parametrize("name", ORDER)
def test_a_service_can_be_restarted_alone(name: str, tree: Node, client: Client) -> None:
    before = pids(tree)
    client.request("restart", agent=name, reason="to see")
    comes_back(tree, name, before[name])
    after = pids(tree)
    expected = {name, *(AGENTS if name == "pipeline" else ())}
    assert {each for each in before if before[each] != after[each]} == expected


@pytest.mark.parametrize("op", ["isolate", "release", "restart"])
@pytest.mark.parametrize(
    ("agent", "code", "words"),
    [
        ("beto", "unknown_agent", "did you mean 'beta'"),
        ("", "invalid", "`agent` is missing"),
        (None, "invalid", "`agent` is missing"),
        ("root", "unknown_agent", ""),
        (5, "invalid", "agent"),
    ],
)
def test_a_child_that_is_not_there_is_refused(op: str, agent: Any, code: str, words: str, client: Client) -> None:
    with pytest.raises(RequestError) as refused:
        client.request(op, agent=agent, reason="to see")
    assert (refused.value.code, refused.value.field) == (code, "agent")
    assert words in str(refused.value)


@pytest.mark.parametrize("op", ["isolate", "release"])
@pytest.mark.parametrize("agent", ORDER)
def test_only_agents_of_the_pipeline_can_be_isolated(op: str, agent: str, tree: Node, client: Client) -> None:
    with pytest.raises(RequestError) as refused:
        client.request(op, agent=agent, reason="to see")
    assert (refused.value.code, refused.value.field) == ("refused", "agent")


def test_an_operator_in_a_hurry_is_told_to_wait_and_does_no_harm(tree: Node, client: Client) -> None:
    before = pids(tree)
    frame = msgpack.packb({"v": 1, "op": "release", "agent": "beta", "reason": "in a hurry", "id": 1})
    with Wire(f"ipc://{tree.home.socket('operator')}", RCVHWM=0) as hurried:
        for _ in range(500):
            hurried.socket.send(frame)
        replies = [hurried.receive() for _ in range(500)]
    assert any(reply["ok"] for reply in replies)
    assert all(reply["ok"] or reply["error"]["code"] == "busy" for reply in replies)
    works(client)
    assert pids(tree) == before


def test_isolating_twice_and_releasing_twice_is_answered_as_it_stands(tree: Node, client: Client) -> None:
    for op, state in (
        ("isolate", "isolated"),
        ("isolate", "isolated"),
        ("release", "running"),
        ("release", "running"),
    ):
        assert client.request(op, agent="omega", reason="to see")["state"] == state


def test_a_halt_is_shown_with_its_reason_until_it_is_lifted(tree: Node, client: Client) -> None:
    with pytest.raises(RequestError) as refused:
        client.request("halt", reason=" ")
    assert refused.value.field == "reason"
    assert client.request("halt", reason="the market is mad")["halted"] is True
    status = tree.status()
    assert (status["halted"], status["halt_reason"]) == (True, "the market is mad")
    assert client.request("resume", reason="it is not")["halted"] is False
    status = tree.status()
    assert (status["halted"], status["halt_reason"]) == (False, None)


def test_a_halt_outlives_a_restart_and_can_be_made_without_a_node() -> None:
    with node(ECHO, start=False) as one:
        assert one.run("ark-run", "halt", "--reason", "before the start").returncode == 0
        one.start()
        assert one.status()["halt_reason"] == "before the start"
        one.kill_everything()
        wait_until(lambda: not one.home.is_locked(), "every process is gone")
        one.start()
        assert one.status()["halt_reason"] == "before the start"
        assert one.run("ark-run", "resume", "--reason", "to see").returncode == 0
        assert one.status()["halted"] is False


# Isolation


def test_an_isolated_agent_receives_nothing_and_gets_everything_in_order_on_its_release() -> None:
    with node(ECHO) as one:
        with one.client() as client:
            works(client)
            client.request("isolate", agent="beta", reason="under suspicion")
            seen = rows(one, "beta", "SELECT count(*) FROM seen")
            ids = [str(uuid.uuid4()) for _ in range(1500)]
            signals = [{**SIGNAL, "trace_id": each, "symbol": f"S{n % 7}"} for n, each in enumerate(ids)]
            assert {each["status"] for each in client.inject_many(signals)} == {"accepted"}
            still_isolated(one)

        supervisor = one.child("pipeline")["pid"]
        os.kill(supervisor, signal.SIGKILL)
        wait_until(lambda: one.child("pipeline")["pid"] not in (None, supervisor), "its supervisor is back")
        wait_until(lambda: is_up(one, "omega"), "the others are back")
        still_isolated(one)

        assert one.stop() == 0
        one.start(wait=False)
        wait_until(lambda: is_up(one, "omega"), "the node is back")
        still_isolated(one)
        assert one.status()["ready"] is False
        assert one.status()["signals"]["in_flight"] == 1500
        assert rows(one, "beta", "SELECT count(*) FROM seen") == seen

        with one.client() as client:
            assert client.request("release", agent="beta", reason="it was not its fault")["state"] == "running"
            for each in ids:
                assert client.outcome(each, timeout_s=20.0)["status"] == "executed"
        assert [each for (each,) in rows(one, "omega", "SELECT trace_id FROM ended ORDER BY number")][1:] == ids
        wait_until(lambda: one.status()["ready"], "all is well")


def still_isolated(one: Node) -> None:
    child = one.child("beta")
    assert (child["state"], child["pid"], child["reason"]) == ("isolated", None, "under suspicion")


def is_up(one: Node, name: str) -> bool:
    try:
        return bool(one.child(name)["state"] == "running")
    except (ArkError, StopIteration):
        return False


# Poison


@pytest.mark.parametrize(("culprit", "how"), [("alpha", "exit code 9"), ("beta", "ValueError: poison")])
def test_a_signal_that_ends_its_agent_three_times_is_a_dead_letter_and_those_around_it_are_not(
    culprit: str, how: str
) -> None:
    with node(ECHO) as one, one.client() as client:
        told: list[dict[str, Any]] = []
        done = threading.Event()
        ears = threading.Thread(target=listen, args=(one, told, done))
        ears.start()
        ids = [str(uuid.uuid4()) for _ in range(501)]
        signals = [{**SIGNAL, "trace_id": each, "symbol": f"S{n % 3}"} for n, each in enumerate(ids)]
        poison = ids[250]
        signals[250]["metadata"] = {"poison": culprit}
        client.inject_many(signals)
        outcomes = {each: client.outcome(each, timeout_s=20.0) for each in ids}
        done.set()
        ears.join()

        failed = outcomes.pop(poison)
        assert {each["status"] for each in outcomes.values()} == {"executed"}
        assert failed["status"] == "failed"
        assert failed["names"][0] == culprit
        assert how in failed["names"][1]
        assert f"in handle of {poison}" in failed["names"][1]

        status = one.status()
        assert status["signals"]["dead_letters"] == 1
        assert status["signals"]["completed"] == 501
        restarts = {child["name"]: child["restarts"] for child in status["children"]}
        assert restarts.pop(culprit) == 3
        assert set(restarts.values()) == {0}
        assert rows(one, "omega", "SELECT count(*), count(DISTINCT trace_id) FROM ended") == [(501, 501)]
        letters = [each for each in told if each["kind"] == "dead_letter"]
        assert [(each["trace_id"], each["agent"], each["strikes"]) for each in letters] == [(poison, culprit, 3)]


def listen(one: Node, told: list[dict[str, Any]], done: threading.Event) -> None:
    with one.client() as ears:
        for _, content in ears.events(["event."], until=done.is_set):
            told.append(content)
