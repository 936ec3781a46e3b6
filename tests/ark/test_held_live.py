"""Held decisions in a real node: asked, answered, expired, and still there after everything has died."""

from __future__ import annotations

import getpass
import json
import os
import signal
import threading
import time
import uuid
from ast import literal_eval
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from ark.client import Client
from ark.commands.held import ask as ask_lines
from ark.errors import RequestError
from tests.ark.wire_client import SIGNAL, Wire
from tests.node import ECHO, Node, comes_back, ended, node, wait_until

ASKING = ECHO.replace("echo_agents:Middle", "echo_agents:Asker").replace(
    "secrets = {}", 'secrets = { ruling = ["beta"] }'
)
DECISION = {"approved": False, "violations": []}


@pytest.fixture(scope="module")
def asking() -> Iterator[Node]:
    """A node whose second agent asks persons."""
    with node(ASKING) as one:
        yield one


@pytest.fixture
def client(asking: Node) -> Iterator[Client]:
    with asking.client() as operator:
        yield operator


def ask(client: Client, for_s: float = 600.0, **changes: Any) -> str:
    """Send a signal that is to be held; give its trace id, once it is."""
    trace_id = str(client.inject({**SIGNAL, "metadata": {"hold": for_s}, **changes})["trace_id"])
    assert client.outcome(trace_id, timeout_s=10.0)["status"] == "held"
    return trace_id


def refused(client: Client, op: str, **fields: Any) -> RequestError:
    with pytest.raises(RequestError) as error:
        client.request(op, **fields)
    return error.value


def held_ids(client: Client) -> list[str]:
    return [each["trace_id"] for each in client.held()]


def test_what_is_held_is_listed_with_what_is_asked_the_oldest_first(asking: Node, client: Client) -> None:
    before = time.time()
    ids = [ask(client, symbol="MSFT"), ask(client)]
    listed = [each for each in client.held() if each["trace_id"] in ids]
    assert [each["trace_id"] for each in listed] == ids
    first = listed[0]
    assert before < first["since"] < time.time()
    assert first["until"] - first["since"] == pytest.approx(600, abs=5)
    assert {key: first[key] for key in ("symbol", "agent", "reason", "details")} == {
        "symbol": "MSFT",
        "agent": "beta",
        "reason": "larger than usual",
        "details": {"decision": DECISION, "equity": "100000"},
    }
    assert len(client.held(limit=1)) == 1
    assert refused(client, "held", limit=0).field == "limit"
    for each in ids:
        client.refuse(each, reason="enough seen")


def test_whoever_waits_for_an_outcome_is_told_that_it_is_held(asking: Node) -> None:
    trace_id = str(uuid.uuid4())
    with Wire(asking.gateway) as waiting, asking.client() as operator:
        waiting.ask("inject", signal={**SIGNAL, "trace_id": trace_id, "metadata": {"hold": 600.0}})
        outcome = waiting.outcome(trace_id, timeout_ms=10_000)
        held = outcome.pop("held")
        assert outcome == {
            "trace_id": trace_id,
            "symbol": "AAPL",
            "status": "held",
            "decision": DECISION,
            "order": None,
            "spans": [],
            "attempts": 1,
            "reason": "larger than usual",
            "ledger": None,
        }
        assert (held["agent"], held["details"]["equity"]) == ("beta", "100000")
        assert waiting.outcome(trace_id, timeout_ms=0)["status"] == "held"
        operator.request("isolate", agent="omega", reason="so that it does not end")
        operator.approve(trace_id, reason="it is fine")
        error = waiting.ask("outcome", trace_id=trace_id, timeout_ms=0)["error"]
        assert error["code"] == "pending"
        assert "approved by operator: it is fine" in str(
            refused(operator, "refuse", trace_id=trace_id, reason="no")
        )
        operator.request("release", agent="omega", reason="it was to see")
        assert waiting.outcome(trace_id)["status"] == "executed"


@pytest.mark.parametrize(("op", "word"), [("approve", "approved"), ("refuse", "refused")])
def test_a_persons_word_reaches_the_judge_and_everybody_behind_him(op: str, word: str, client: Client) -> None:
    trace_id = ask(client)
    reply = client.request(op, trace_id=trace_id, reason="looked at it", by="ada")
    assert (reply["trace_id"], reply["ruling"]) == (trace_id, word)
    outcome = client.outcome(trace_id, timeout_s=10.0)
    assert outcome["names"] == [word, "ada", "looked at it", "known to omega"]
    assert trace_id not in held_ids(client)
    error = refused(client, op, trace_id=trace_id, reason="again")
    assert error.code == "refused"
    assert f"ended already: executed, {word} by ada" in str(error)


def test_what_a_person_cannot_rule_on_is_refused_and_says_how_it_stands(asking: Node, client: Client) -> None:
    error = refused(client, "approve", trace_id=str(uuid.uuid4()), reason="why not")
    assert error.code == "unknown_trace"
    ended = str(client.inject(SIGNAL)["trace_id"])
    client.outcome(ended, timeout_s=10.0)
    error = refused(client, "refuse", trace_id=ended, reason="why not")
    assert (error.code, str(error)) == ("refused", "it has ended already: executed")
    client.request("isolate", agent="alpha", reason="to see")
    waiting = str(client.inject(SIGNAL)["trace_id"])
    error = refused(client, "approve", trace_id=waiting, reason="why not")
    assert (error.code, error.field) == ("refused", "trace_id")
    assert "still under way" in str(error)
    client.request("release", agent="alpha", reason="to see")
    client.outcome(waiting, timeout_s=10.0)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"reason": "x"}, "trace_id"),
        ({"trace_id": "", "reason": "x"}, "trace_id"),
        ({"trace_id": "x"}, "reason"),
        ({"trace_id": "x", "reason": " "}, "reason"),
        ({"trace_id": "x", "reason": "x" * 501}, "reason"),
        ({"trace_id": "x", "reason": "x", "by": "x" * 65}, "by"),
        ({"trace_id": "x", "reason": "x", "by": "deadline"}, "by"),
        ({"trace_id": 5, "reason": "x"}, "trace_id"),
    ],
)
@pytest.mark.parametrize("op", ["approve", "refuse"])
def test_a_ruling_needs_a_signal_and_a_reason(op: str, fields: dict[str, Any], field: str, client: Client) -> None:
    error = refused(client, op, **fields)
    assert (error.code, error.field) == ("invalid", field)


@pytest.mark.parametrize("op", ["held", "approve", "refuse"])
def test_an_injector_may_not_rule(op: str, asking: Node) -> None:
    with Wire(asking.gateway) as stranger:
        error = stranger.ask(op, trace_id="x", reason="because")["error"]
        assert (error["code"], error["field"]) == ("forbidden", "op")


def test_without_an_answer_the_deadline_refuses(client: Client) -> None:
    trace_id = ask(client, for_s=0.3)
    outcome = wait_until(lambda: ended(client, trace_id), "its deadline has passed")
    assert outcome["names"][:3] == ["refused", "deadline", "nobody answered until the deadline"]
    assert "refused by deadline" in str(refused(client, "approve", trace_id=trace_id, reason="too late"))


def metrics(one: Node) -> str:
    with urlopen(f"http://{one.metrics}/metrics", timeout=10) as page:
        return str(page.read().decode())


def test_the_status_counts_what_is_held_apart_from_what_is_in_flight(asking: Node, client: Client) -> None:
    before = asking.status()["signals"]
    ids = [ask(client) for _ in range(3)]
    during = asking.status()["signals"]
    assert (during["held"], during["in_flight"]) == (before["held"] + 3, before["in_flight"])
    assert during["accepted"] == during["completed"] + during["held"] + during["in_flight"]
    wait_until(lambda: f"ark_signals_held {during['held']}.0\n" in metrics(asking), "it is exposed")
    for each in ids:
        client.refuse(each, reason="enough seen")
        client.outcome(each, timeout_s=10.0)
    assert asking.status()["signals"]["held"] == before["held"]


def test_others_of_its_symbol_go_on_while_a_signal_is_held(client: Client) -> None:
    trace_id = ask(client)
    after = client.inject(SIGNAL)["trace_id"]
    assert client.outcome(after, timeout_s=10.0)["status"] == "executed"
    client.refuse(trace_id, reason="enough seen")


def test_what_is_held_and_ruled_is_published_and_logged(asking: Node, client: Client) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    done = threading.Event()

    def listen() -> None:
        with asking.client() as ears:
            for topic, content in ears.events(["event."], until=done.is_set):
                told.append((topic, content))

    ears = threading.Thread(target=listen)
    ears.start()
    try:

        def heard() -> bool:
            client.refuse(ask(client), reason="to be heard", by="ada")
            # What was ruled before may still be on its way to those who listen.
            rulings = [content for topic, content in told if topic == "event.ruling" and content["by"] == "ada"]
            return bool(rulings) and any(topic == "event.held" for topic, _ in told)

        wait_until(heard, "both are heard")
    finally:
        done.set()
        ears.join()
    held = next(content for topic, content in told if topic == "event.held")
    assert (held["agent"], held["reason"], held["symbol"]) == ("beta", "larger than usual", "AAPL")
    ruling = next(content for topic, content in told if topic == "event.ruling" and content["by"] == "ada")
    assert (ruling["ruling"], ruling["by"], ruling["reason"]) == ("refused", "ada", "to be heard")
    lines = [json.loads(line) for line in (asking.home.logs / "supervision.log").read_text().splitlines()]
    assert any(each["event"] == "ruling" and each["by"] == "ada" for each in lines)


# The commands


def test_a_person_lists_approves_and_refuses_at_the_terminal(asking: Node, client: Client) -> None:
    ids = [ask(client), ask(client)]
    listed = json.loads(asking.run("ark-run", "held", "--json").stdout)
    assert set(ids) <= {each["trace_id"] for each in listed}
    text = asking.run("ark-run", "held").stdout
    assert "larger than usual" in text
    assert f"ark-run approve {ids[0]} --reason" in text
    approved = asking.run("ark-run", "approve", ids[0], "--reason", "looked")
    assert approved.returncode == 0
    assert "approved" in approved.stdout
    assert "executed" in approved.stdout
    assert client.outcome(ids[0])["names"][1] == getpass.getuser()
    refused_ = asking.run("ark-run", "refuse", ids[1], "--reason", "looked", "--json")
    body = json.loads(refused_.stdout)
    assert (body["ruling"], body["outcome"]["names"][0]) == ("refused", "refused")
    again = asking.run("ark-run", "approve", ids[0], "--reason", "looked")
    assert again.returncode == 1
    assert "has ended already" in again.stderr
    assert asking.run("ark-run", "approve", ids[0]).returncode == 2


def test_inject_and_trace_say_what_to_type_for_a_held_signal(asking: Node, client: Client) -> None:
    sent = asking.run("ark-run", "inject", "-", input=json.dumps({**SIGNAL, "metadata": {"hold": 600}}))
    assert sent.returncode == 0
    trace_id = sent.stdout.split()[0]
    for text in (sent.stdout, asking.run("ark-run", "trace", trace_id).stdout):
        assert "held" in text
        assert f"ark-run refuse {trace_id} --reason TEXT" in text
    client.refuse(trace_id, reason="enough seen")


def test_what_is_asked_is_told_on_lines_that_no_terminal_obeys() -> None:
    complaint = {"rule": "position_size", "severity": "warning", "message": "6 % of the equity\x1b[2J"}
    held = {
        "trace_id": "t",
        "symbol": "AAPL",
        "agent": "hrm",
        "since": 0.0,
        "until": 3720.0,
        "reason": "larger\nthan usual",
        "details": {"equity": "100000", "decision": {"warnings": [complaint, 5], "violations": None}, "list": [1]},
    }
    lines = ask_lines(held, now=0.0)
    assert lines[0] == "t  AAPL  larger than usual"
    assert "(in 1 h 2 min)" in lines[1]
    assert lines[2:4] == [
        "  equity: 100000",
        "  warning position_size: 6 % of the equity\N{REPLACEMENT CHARACTER}[2J",
    ]
    assert lines[4:] == ["  ark-run approve t --reason TEXT", "  ark-run refuse t --reason TEXT"]
    assert "(in 0 s)" in ask_lines(held, now=1e9)[1]


# Deaths


@pytest.mark.parametrize("name", ["gateway", "alpha", "beta", "omega", "root"])
def test_a_held_signal_outlives_the_death_of_any_process_and_is_ruled_afterwards(
    name: str, asking: Node, client: Client
) -> None:
    trace_id, other = ask(client), ask(client)
    pid = asking.child(name)["pid"]
    os.kill(pid, signal.SIGKILL)

    comes_back(asking, name, pid)
    assert held_ids(client)[-2:] == [trace_id, other]
    client.approve(trace_id, reason="it survived")
    assert client.outcome(trace_id, timeout_s=10.0)["names"][2] == "it survived"
    assert held_ids(client)[-1] == other
    assert asking.status()["signals"]["held"] == len(held_ids(client))


def test_a_held_signal_outlives_the_whole_node_and_a_deadline_that_passed_meanwhile_counts() -> None:
    with node(ASKING) as one:
        with one.client() as client:
            held, expired = ask(client), ask(client, for_s=1.0)
            over = time.time() + 1.0
        one.kill_everything()
        wait_until(lambda: not one.home.is_locked() and time.time() > over, "all is gone, and it is too late")
        one.start()
        with one.client() as client:
            assert held_ids(client) == [held]
            assert client.outcome(expired, timeout_s=10.0)["names"][:2] == ["refused", "deadline"]
            client.refuse(held, reason="after all")
        assert one.stop() == 0
        one.start()
        with one.client() as client:
            assert client.outcome(held, timeout_s=10.0)["names"][:1] == ["refused"]
            assert held_ids(client) == []


def test_a_pipeline_without_a_judge_works_and_holds_nothing() -> None:
    with node(ECHO) as one, one.client() as client:
        assert client.outcome(client.inject(SIGNAL)["trace_id"], timeout_s=10.0)["status"] == "executed"
        assert client.held() == []


# Ticks, a gate, halts and what an agent sees


def look(client: Client) -> tuple[dict[str, float | None], int | None, int]:
    """What the agent sees now: beats, free space, and how often it ticked."""
    trace_id = client.inject({**SIGNAL, "metadata": {"look": True}})["trace_id"]
    seen: tuple[dict[str, float | None], int | None, int]
    seen = literal_eval(client.outcome(trace_id, timeout_s=10.0)["names"][-1])
    return seen


def test_an_agent_sees_beats_and_free_space_and_ticks_while_nothing_comes(asking: Node, client: Client) -> None:
    beats, free, ticks = look(client)
    for name in ("watchdog", "gateway", "alpha"):
        age_s = beats[name]
        assert age_s is not None
        assert 0 <= age_s < 2.0
    assert beats["nobody"] is None
    assert free is not None
    assert free > 0
    wait_until(lambda: look(client)[2] >= ticks + 3, "it has ticked")
    pid = asking.child("watchdog")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: (look(client)[0]["watchdog"] or 0.0) > 0.6, "its age shows")
    finally:
        os.kill(pid, signal.SIGCONT)


def test_an_agent_halts_at_once_in_its_own_name_and_a_person_resumes(asking: Node, client: Client) -> None:
    for reason in ("a breaker tripped", "another one did"):
        trace_id = client.inject({**SIGNAL, "metadata": {"halt": reason}})["trace_id"]
        assert client.outcome(trace_id, timeout_s=10.0)["names"][-1] == "a breaker tripped"
    assert asking.status()["halt_reason"] == "a breaker tripped"
    assert json.loads(asking.home.halt_file.read_text())["by"] == "beta"
    assert asking.run("ark-run", "resume", "--reason", "mended").returncode == 0
    assert asking.status()["halted"] is False
    events = asking.run("supervisor", "events", "--last", "100").stdout
    assert "a breaker tripped, by=beta" in events
    assert f"mended, by={getpass.getuser()}" in events


def test_an_agent_that_is_not_ready_lets_signals_wait_and_then_takes_them_in_order(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    with node(f"{ASKING}\n[agents.beta.settings]\ngate = '{gate}'\n") as one, one.client() as client:
        ids = [str(uuid.uuid4()) for _ in range(100)]
        client.inject_many([{**SIGNAL, "trace_id": each} for each in ids])
        wait_until(lambda: one.child("beta")["mailbox_depth"] == 100, "all wait before it")
        assert one.child("omega")["mailbox_depth"] == 0
        os.kill(one.child("beta")["pid"], signal.SIGKILL)
        wait_until(lambda: is_back(one) and one.child("beta")["mailbox_depth"] == 100, "they wait anew")
        gate.unlink()
        assert client.outcome(ids[-1], timeout_s=10.0)["status"] == "executed"
        for each in ids:
            assert client.outcome(each)["names"] == ["alpha", "beta"]
        wait_until(lambda: one.child("beta")["mailbox_depth"] == 0, "none waits any more")


def is_back(one: Node) -> bool:
    return bool(one.status()["ready"] and one.child("beta")["restarts"] == 1)
