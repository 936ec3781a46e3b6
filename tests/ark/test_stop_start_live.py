"""Stopped means stopped: whatever dies meanwhile, until an operator starts it again or the node begins anew."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from ark import interventions
from ark.client import Client
from ark.commands.approve import login_name
from ark.errors import ArkError, RequestError
from tests.ark.wire_client import SIGNAL
from tests.node import ECHO, Node, comes_back, node, wait_until

AGENTS = ["alpha", "beta", "omega"]
DEGRADED = 3
LEAVER = ECHO.replace("tests.echo_agents:First", "tests.leaving_agents:Leaver")


@pytest.fixture(scope="module")
def tree() -> Iterator[Node]:
    with node(ECHO) as one:
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


def state(one: Node, name: str) -> tuple[str, str] | None:
    """A child's state and its reason; None while nobody knows of it."""
    try:
        child = one.child(name)
    except (ArkError, StopIteration):
        return None
    return child["state"], child["reason"] or ""


def runs(one: Node, name: str) -> bool:
    return (state(one, name) or ("", ""))[0] == "running"


def acts(one: Node) -> list[tuple[str, str, str, str]]:
    return [(each.act, each.subject, each.by, each.reason) for each in interventions.read(one.home)]


def test_a_stopped_agent_stays_down_through_the_death_of_its_supervisor_and_of_the_root(
    tree: Node, client: Client
) -> None:
    stopped = tree.run("supervisor", "stop", "beta", "--reason", "looking at it")
    assert (stopped.returncode, stopped.stdout) == (0, "beta: stopped\n")
    ids = [str(uuid.uuid4()) for _ in range(50)]
    client.inject_many([{**SIGNAL, "trace_id": each} for each in ids])
    for supervisor in ("pipeline", "root"):
        pid = tree.child(supervisor)["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_until(
            lambda supervisor=supervisor, pid=pid: runs(tree, supervisor) and tree.child(supervisor)["pid"] != pid,
            f"{supervisor} is back",
        )
        wait_until(lambda: runs(tree, "alpha") and runs(tree, "omega"), "the others are back")
        assert state(tree, "beta") == ("stopped", "looking at it")
    assert tree.run("supervisor", "status").returncode == DEGRADED
    assert tree.status()["signals"]["in_flight"] == 50
    started = tree.run("supervisor", "start", "beta")
    assert (started.returncode, started.stdout) == (0, "beta: running\n")
    assert {client.outcome(each, timeout_s=20.0)["status"] for each in ids} == {"executed"}
    tree.wait_ready()
    assert tree.run("supervisor", "status").returncode == 0


@pytest.mark.parametrize("name", ["watchdog", "exporter", "pipeline"])
def test_a_service_and_the_pipeline_can_be_stopped_alone_and_started(name: str, tree: Node, client: Client) -> None:
    before = {child["name"]: child["pid"] for child in tree.status()["children"]}
    assert client.request("stop", agent=name, reason="not now")["state"] == "stopped"
    assert state(tree, name) == ("stopped", "not now")
    assert tree.run("supervisor", "status").returncode == DEGRADED
    accepted = client.inject(SIGNAL)
    if name == "pipeline":
        with pytest.raises(RequestError, match="the supervisor of alpha does not run now"):
            client.request("restart", agent="alpha", reason="now")
    assert client.request("start", agent=name)["state"] == "running"
    assert client.outcome(accepted["trace_id"], timeout_s=20.0)["status"] == "executed"
    tree.wait_ready()
    after = {child["name"]: child["pid"] for child in tree.status()["children"]}
    assert {each for each in before if before[each] != after[each]} == {
        name,
        *(AGENTS if name == "pipeline" else ()),
    }


def test_what_makes_no_sense_is_refused_with_what_to_do_instead(tree: Node, client: Client) -> None:
    def refused(*command: str) -> str:
        ended = tree.run("supervisor", *command)
        assert ended.returncode == 1
        assert ended.stderr.count("\n") == 1
        return ended.stderr

    assert "use `supervisor restart`, or `ark-run stop`" in refused("stop", "gateway", "--reason", "x")
    assert "did you mean 'beta'" in refused("stop", "beto", "--reason", "x")
    client.request("isolate", agent="beta", reason="noisy")
    for command in (("stop", "beta", "--reason", "x"), ("start", "beta"), ("restart", "beta")):
        assert "`supervisor release` starts it" in refused(*command)
    client.request("release", agent="beta", reason="quiet")
    client.request("stop", agent="beta", reason="not now")
    assert "`supervisor start` starts it" in refused("release", "beta", "--reason", "x")
    client.request("start", agent="beta")
    with pytest.raises(RequestError, match="stop needs a `reason`"):
        client.request("stop", agent="beta")


def test_a_restart_starts_what_was_stopped_and_an_isolation_of_it_waits_for_the_release(
    tree: Node, client: Client
) -> None:
    client.request("stop", agent="beta", reason="not now")
    assert client.request("stop", agent="beta", reason="still not")["state"] == "stopped"
    assert client.request("restart", agent="beta", reason="now")["state"] == "running"
    client.request("stop", agent="beta", reason="not now")
    assert client.request("isolate", agent="beta", reason="noisy")["state"] == "isolated"
    assert client.request("release", agent="beta", reason="quiet")["state"] == "running"
    assert client.request("start", agent="beta")["state"] == "running"


def test_an_isolation_outlives_the_node_and_a_stop_does_not() -> None:
    with node(ECHO) as one:
        with one.client() as client:
            client.request("stop", agent="alpha", reason="not now")
            client.request("isolate", agent="omega", reason="noisy")
        one.kill_everything()
        wait_until(lambda: not one.home.is_locked(), "every process is gone")
        one.start(wait=False)
        wait_until(lambda: runs(one, "alpha"), "what was stopped runs")
        assert state(one, "omega") == ("isolated", "noisy")


def test_every_order_is_kept_with_who_gave_it(tree: Node, client: Client) -> None:
    before = acts(tree)
    given = [("isolate", "noisy"), ("release", "quiet"), ("stop", "not now"), ("start", ""), ("restart", "")]
    for op, reason in given:
        client.request(op, agent="beta", reason=reason, by="anna")
    with pytest.raises(RequestError):
        client.request("stop", agent="gateway", reason="x", by="anna")
    assert tree.run("ark-run", "halt", "--reason", "news").returncode == 0
    assert tree.run("ark-run", "resume", "--reason", "no news").returncode == 0
    pid = tree.child("gateway")["pid"]
    assert tree.run("supervisor", "restart", "gateway").returncode == 0
    comes_back(tree, "gateway", pid)
    assert acts(tree)[len(before) :] == [
        *((op, "beta", "anna", reason) for op, reason in given),
        ("halt", "", login_name(), "news"),
        ("resume", "", login_name(), "no news"),
        ("restart", "gateway", login_name(), ""),
    ]


# Each child's own specification


@pytest.mark.parametrize(
    ("restart", "how", "expected"),
    [
        ("transient", {"leave": True}, "stopped"),
        ("temporary", {"leave": True}, "stopped"),
        ("temporary", {"poison": "alpha"}, "failed"),
        ("transient", {"poison": "alpha"}, "running"),
    ],
)
def test_whether_an_agent_comes_back_is_its_restart_types_affair(
    restart: str, how: dict[str, Any], expected: str
) -> None:
    config = LEAVER.replace("[agents.alpha]\n", f'[agents.alpha]\nrestart = "{restart}"\n')
    with node(config) as one, one.client() as client:
        trace_id = client.inject({**SIGNAL, "metadata": how})["trace_id"]
        if expected == "running":
            assert client.outcome(trace_id, timeout_s=20.0)["status"] == "failed"  # after three deaths
            one.wait_ready()
        else:
            wait_until(lambda: (state(one, "alpha") or ("", ""))[0] == expected, f"alpha has {expected}")
            assert one.run("supervisor", "status").returncode == DEGRADED


def test_an_agent_gets_the_time_to_stop_that_its_settings_give_it() -> None:
    with node(start=False) as one:
        goodbye = one.home.path / "goodbye"
        config = ECHO.replace("tests.echo_agents:First", "tests.leaving_agents:Sleeper")
        config = config.replace("[agents.alpha]\n", "[agents.alpha]\nshutdown_s = 10.0\n")
        settings = f'[agents.alpha.settings]\ngoodbye = "{goodbye}"\n[supervision]\nshutdown_s = 0.1\n'
        (one.home.path / "ark.toml").write_text(config + settings)
        one.start()
        assert one.stop() == 0
        assert goodbye.read_text() == "goodbye"


def test_the_strategy_of_the_pipeline_says_whom_a_death_takes_along() -> None:
    config = ECHO.replace("[pipeline]\n", '[pipeline]\nstrategy = "rest_for_one"\n')
    with node(config) as one:
        before = {child["name"]: child["pid"] for child in one.status()["children"]}
        os.kill(before["beta"], signal.SIGKILL)
        comes_back(one, "beta", before["beta"])
        after = {child["name"]: child["pid"] for child in one.status()["children"]}
        assert {each for each in before if before[each] != after[each]} == {"beta", "omega"}


# Giving up, from the agent to the command line


def test_an_agent_that_cannot_stay_up_ends_in_the_last_line_of_the_start_after_a_bounded_number_of_tries() -> None:
    config = ECHO.replace("tests.echo_agents:First", "tests.leaving_agents:Mayfly")
    limits = "[supervision]\nintensity = 1\nperiod_s = 60.0\nbackoff_cap_s = 0.02\nrebuilds = 1\n"
    with node(config + limits, start=False) as one:
        one.start(wait=False)
        assert one.process is not None
        assert one.process.wait(60) == 1
        log = [line for line in (one.home.logs / "supervision.log").read_text().splitlines() if "gave_up" in line]
        # Each pipeline bears one death, each root one pipeline, and the start one tree.
        assert [line.count('"name":"pipeline"') for line in log] == [1, 1, 0, 1, 1, 0]
        assert one.output.read_text().count("building it anew") == 1
        last = one.output.read_text().splitlines()[-1]
        assert last.startswith("error: the tree went down 2 times within 60 s")
        assert "the last of alpha" in last
        assert "the licence server is gone" in last
        wait_until(lambda: not one.home.is_locked(), "every process is gone")
