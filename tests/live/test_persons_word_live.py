"""What a person is asked, and what becomes of the answer: real nodes, real commands, real deaths."""

from __future__ import annotations

import getpass
import os
import signal as signals
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ark.client import Client
from tests.live.desk import judged, order_of, orders_sent, show_bar, violations
from tests.node import Node, comes_back, ended, node, wait_until


def ask(client: Client, symbol: str) -> str:
    """Send a signal of 9 % of the equity; give its trace id, once it is held."""
    outcome = judged(client, symbol=symbol, position_size_pct=0.09)
    assert outcome["status"] == "held", outcome["reason"]
    return str(outcome["trace_id"])


def asked(client: Client, trace_id: str) -> dict[str, Any]:
    """What the person is shown."""
    return next(each for each in client.held() if each["trace_id"] == trace_id)


def test_what_is_approved_is_executed_exactly_as_it_was_shown(trader: Node, client: Client) -> None:
    before = orders_sent(trader)
    trace_id = ask(client, "HELD")
    shown = asked(client, trace_id)
    plan = shown["details"]["plan"]
    assert shown["details"]["decision"]["violations"][0]["rule"] == "human_in_loop_critical"
    assert orders_sent(trader) == before

    show_bar(client, "HELD", 101.0, ts=time.time())  # its value is another by now
    done = trader.run("ark-run", "approve", trace_id, "--reason", "I have looked at it")

    assert done.returncode == 0, done.stderr
    assert "executed" in done.stdout
    outcome = client.outcome(trace_id)
    order = order_of(trader, trace_id)["order"]
    assert {key: order[key] for key in ("quantity", "side", "price", "stop_loss", "target")} == {
        key: plan[key] for key in ("quantity", "side", "price", "stop_loss", "target")
    }
    ruling = outcome["decision"]["ruling"]
    assert (ruling["approved"], ruling["by"], ruling["reason"]) == (True, getpass.getuser(), "I have looked at it")


def test_what_is_refused_is_denied_in_the_persons_own_words(trader: Node, client: Client) -> None:
    before = orders_sent(trader)
    trace_id = ask(client, "REFUSED")
    listed = trader.run("ark-run", "held").stdout
    assert f"ark-run refuse {trace_id} --reason TEXT" in listed

    done = trader.run("ark-run", "refuse", trace_id, "--reason", "too much of it already")

    assert done.returncode == 0, done.stderr
    outcome = client.outcome(trace_id, timeout_s=10.0)
    assert outcome["status"] == "denied"
    said = f"{getpass.getuser()} refused it: too much of it already"
    assert violations(outcome)["human_in_loop_critical"] == said
    assert said in outcome["reason"]
    assert orders_sent(trader) == before


def test_of_two_that_together_are_too_much_the_second_is_denied_in_spite_of_the_persons_yes(client: Client) -> None:
    first, second = ask(client, "TWIN"), ask(client, "TWIN")
    client.approve(first, reason="this one")
    assert client.outcome(first, timeout_s=10.0)["status"] == "executed"
    client.approve(second, reason="and this one")
    outcome = client.outcome(second, timeout_s=10.0)
    assert outcome["status"] == "denied"
    assert "the limit is 10 %" in violations(outcome)["max_position_size"]


def test_a_persons_yes_turns_no_veto(trader: Node, client: Client) -> None:
    outcome = judged(client, symbol="VETOED", position_size_pct=0.25)
    assert outcome["status"] == "denied"
    done = trader.run("ark-run", "approve", outcome["trace_id"], "--reason", "I want it")
    assert done.returncode == 1
    assert "it has ended already: denied" in done.stderr


@pytest.fixture(scope="module")
def impatient() -> Iterator[Node]:
    """A node that waits half a second for a person."""
    with node("[agents.hrm.settings]\nhold_s = 0.5\n") as one:
        yield one


def test_nobodys_answer_is_a_refusal(impatient: Node) -> None:
    with impatient.client() as client:
        trace_id = ask(client, "LATE")
        outcome = wait_until(lambda: ended(client, trace_id), "its deadline has passed")
        assert outcome["status"] == "denied"
        assert "nobody answered until the deadline" in violations(outcome)["human_in_loop_critical"]
        assert outcome["decision"]["ruling"]["by"] == "deadline"
        done = impatient.run("ark-run", "approve", trace_id, "--reason", "too late")
        assert done.returncode == 1
        assert "it has ended already: denied, refused by deadline" in done.stderr
        assert orders_sent(impatient) == 0


def test_a_plan_that_waits_outlives_the_judge_the_gateway_and_the_whole_node() -> None:
    with node() as one:
        with one.client() as client:
            kept, let_go = ask(client, "KEPT"), ask(client, "GONE")
            plan = asked(client, kept)["details"]["plan"]
            for name in ("hrm", "gateway"):
                pid = one.child(name)["pid"]
                os.kill(pid, signals.SIGKILL)
                comes_back(one, name, pid)
                assert {each["trace_id"] for each in client.held()} == {kept, let_go}
        one.kill_everything()
        wait_until(lambda: not one.home.is_locked(), "all is gone")
        one.start()
        with one.client() as client:
            assert asked(client, kept)["details"]["plan"] == plan
            client.approve(kept, reason="it survived")
            client.refuse(let_go, reason="it did, too")
            assert client.outcome(kept, timeout_s=10.0)["status"] == "executed"
            assert client.outcome(let_go, timeout_s=10.0)["status"] == "denied"
            assert order_of(one, kept)["order"]["quantity"] == plan["quantity"]
            assert orders_sent(one) == 1
            assert client.held() == []
