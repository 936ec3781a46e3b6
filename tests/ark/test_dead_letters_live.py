"""Dead letters at real nodes, as an operator meets them: listed, shown, retried once all is mended, dropped."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from ark import interventions
from ark.client import Client
from ark.errors import RequestError
from ark.letters import retry_id
from ark.protocol import Code
from tests.node import BARE, Node, comes_back, node, wait_until

SIGNAL = {"symbol": "AAPL", "direction": "long", "price": 100.0}


@pytest.fixture(scope="module")
def one() -> Iterator[Node]:
    with node(BARE) as running:
        yield running


def dies(client: Client, until: Path | str, **changes: Any) -> str:
    """A signal that ends beta as long as a file is not there; gives its trace id when it is a dead letter."""
    sent = {**SIGNAL, "metadata": {"until": str(until)}, **changes}
    trace_id: str = client.inject(sent)["trace_id"]
    assert client.outcome(trace_id, timeout_s=20.0)["status"] == "failed"
    return trace_id


def handled(one: Node, trace_id: str) -> int:
    """How often beta's journal says that it handled a signal."""
    shown = one.run("ark-run", "outcome", trace_id, "--json")
    return int(json.loads(shown.stdout)["names"] == ["alpha", "beta"])


def letters(one: Node, *options: str) -> list[dict[str, Any]]:
    listed = one.run("ark-run", "dead-letters", "list", "--json", *options)
    assert listed.returncode == 0, listed.stderr
    return list(json.loads(listed.stdout))


def test_from_the_third_death_to_the_one_execution_after_the_cause_is_mended(one: Node, tmp_path: Path) -> None:
    model = tmp_path / "model"
    with one.client() as client:
        before = one.status()["signals"]
        trace_id = dies(client, model)
        assert one.status()["signals"]["dead_letters"] == before["dead_letters"] + 1

        listed = one.run("ark-run", "dead-letters", "list")
        line = next(each for each in listed.stdout.splitlines() if trace_id in each)
        for word in ("AAPL", "beta", "3 tries", "LookupError: the model is missing"):
            assert word in line
        shown = one.run("ark-run", "dead-letters", "show", trace_id)
        assert shown.returncode == 0
        assert "Traceback (most recent call last)" in shown.stdout
        assert 'raise LookupError("the model is missing")' in shown.stdout, "the stack has its lines"
        assert "order: none was sent" in shown.stdout
        assert f"ark-run dead-letters retry {trace_id}" in shown.stdout
        assert "--fresh" not in shown.stdout, "it is young"

        model.touch()
        retried = one.run("ark-run", "dead-letters", "retry", trace_id, "--reason", "the model is back", "--json")
        assert retried.returncode == 0, retried.stderr
        reply = json.loads(retried.stdout)
        assert (reply["act"], reply["retry"]) == ("retried", retry_id(trace_id))
        assert reply["outcome"]["status"] == "executed"
        assert handled(one, reply["retry"]) == 1

        again = one.run("ark-run", "dead-letters", "retry", trace_id, "--reason", "once more")
        assert again.returncode == 1
        assert "already retried" in again.stderr
        assert "the model is back" in again.stderr
        assert client.dead_letter(trace_id)["act"]["retry"] == reply["retry"]
        assert client.outcome(trace_id)["status"] == "failed", "the old outcome stands"
        assert one.status()["signals"]["dead_letters"] == before["dead_letters"]
        assert one.status()["signals"]["accepted"] == before["accepted"] + 2
    assert trace_id not in [each["trace_id"] for each in letters(one)]
    assert trace_id in [each["trace_id"] for each in letters(one, "--all")]
    acts = [each for each in interventions.read(one.home) if each.subject == trace_id]
    assert [(each.act, each.reason) for each in acts] == [("retry", "the model is back")]


def test_a_retry_that_dies_as_well_is_a_letter_of_its_own(one: Node, tmp_path: Path) -> None:
    with one.client() as client:
        trace_id = dies(client, tmp_path / "missing")
        retry = client.retry(trace_id, reason="a try", by="ada")["retry"]
        assert client.outcome(retry, timeout_s=20.0)["status"] == "failed"
        letter = client.dead_letter(retry)
        assert letter["signal"]["metadata"]["retry_of"] == trace_id
        assert letter["obstacle"] == ""
        client.drop(retry, reason="enough", by="ada")


def test_a_dropped_letter_leaves_the_list_and_nothing_else(one: Node, tmp_path: Path) -> None:
    with one.client() as client:
        trace_id = dies(client, tmp_path / "missing")
        accepted = one.status()["signals"]["accepted"]
        dropped = one.run("ark-run", "dead-letters", "drop", trace_id, "--reason", "a test feed")
        assert (dropped.returncode, dropped.stdout) == (0, f"{trace_id}  dropped\n")
        assert trace_id not in [each["trace_id"] for each in client.dead_letters()]
        assert trace_id in [each["trace_id"] for each in client.dead_letters(everything=True)]
        assert one.status()["signals"]["accepted"] == accepted
        assert client.outcome(trace_id)["status"] == "failed"
        with pytest.raises(RequestError, match="already dropped"):
            client.retry(trace_id, reason="after all")
    assert "dropped by" in one.run("ark-run", "dead-letters", "show", trace_id).stdout
    told = [json.loads(each) for each in (one.home.logs / "supervision.log").read_text().splitlines()]
    assert [each["reason"] for each in told if each["event"] == "dropped" and each["trace_id"] == trace_id] == [
        "a test feed"
    ]


def test_all_letters_are_retried_or_dropped_at_once(one: Node, tmp_path: Path) -> None:
    model = tmp_path / "model"
    with one.client() as client:
        ids = [dies(client, model) for _ in range(2)]
        model.touch()
        assert one.run("ark-run", "dead-letters", "retry", "--all", "--reason", "mended").returncode == 0
        assert [client.outcome(retry_id(each), timeout_s=10.0)["status"] for each in ids] == ["executed"] * 2
        dies(client, tmp_path / "missing")
        dropped = one.run("ark-run", "dead-letters", "drop", "--all", "--reason", "tests", "--json")
        assert len(json.loads(dropped.stdout)) == 1
        assert one.status()["signals"]["dead_letters"] == 0
    assert "no dead letters" in one.run("ark-run", "dead-letters", "list").stdout


def test_what_is_unknown_or_no_letter_is_one_clear_line(one: Node) -> None:
    with one.client() as client:
        fine = client.inject(SIGNAL)["trace_id"]
        client.outcome(fine, timeout_s=10.0)
    never = str(uuid.uuid4())
    for arguments, code, words in (
        (("show", never), 1, "is no dead letter of this node"),
        (("retry", never, "--reason", "x"), 1, "was ever accepted (unknown_trace)"),
        (("drop", fine, "--reason", "x"), 1, "it is no dead letter: it ended as executed"),
        (("retry", never), 2, "needs --reason"),
        (("drop", "--reason", "x"), 2, "needs either a TRACE_ID or --all"),
        (("list", never), 2, "did you mean show"),
    ):
        done = one.run("ark-run", "dead-letters", *arguments)
        assert done.returncode == code, done.stderr
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_an_injector_may_not_ask_for_dead_letters(one: Node) -> None:
    with Client(one.gateway, timeout_s=5.0) as client:
        for ask in (client.dead_letters, lambda: client.drop(str(uuid.uuid4()), reason="x")):
            with pytest.raises(RequestError) as caught:
                ask()
            assert caught.value.code == Code.FORBIDDEN


@pytest.mark.parametrize("wait_ms", [0, 1, 3, 1000])
def test_a_gateway_that_is_killed_has_done_the_retry_whole_or_not_at_all(
    one: Node, tmp_path: Path, wait_ms: int
) -> None:
    model = tmp_path / "model"
    with one.client() as client:
        trace_id = dies(client, model)
        model.touch()
        gateway = one.child("gateway")["pid"]
        with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.connect(f"ipc://{one.home.socket('operator')}")
            asked = {"op": "retry", "trace_id": trace_id, "reason": "mended", "by": "ada"}
            socket.send(msgspec.msgpack.encode(asked))
            socket.poll(wait_ms)
            os.kill(gateway, signal.SIGKILL)
        comes_back(one, "gateway", gateway)
        act = client.dead_letter(trace_id)["act"]
        if act is None:
            with pytest.raises(RequestError) as caught:
                client.outcome(retry_id(trace_id))
            assert caught.value.code == Code.UNKNOWN_TRACE
            client.retry(trace_id, reason="mended", by="ada")
        assert client.outcome(retry_id(trace_id), timeout_s=20.0)["status"] == "executed"
        assert client.dead_letter(trace_id)["act"]["by"] == "ada"

        def recorded() -> bool:
            return [each.act for each in interventions.read(one.home) if each.subject == trace_id] == ["retry"]

        wait_until(recorded, "the retry is recorded")


def test_while_the_node_is_down_letters_are_listed_and_shown_and_not_dealt_with(tmp_path: Path) -> None:
    with node(BARE) as one:
        assert letters(one) == []
        with one.client() as client:
            trace_id = dies(client, tmp_path / "missing")
        assert one.stop() == 0
        assert [each["trace_id"] for each in letters(one)] == [trace_id]
        shown = json.loads(one.run("ark-run", "dead-letters", "show", trace_id, "--json").stdout)
        assert "Traceback" in shown["reason"]
        assert shown["signal"]["symbol"] == "AAPL"
        refused = one.run("ark-run", "dead-letters", "drop", trace_id, "--reason", "x")
        assert refused.returncode == 1
        assert "no node runs over" in refused.stderr
        one.start()
        with one.client() as client:
            assert [each["trace_id"] for each in client.dead_letters()] == [trace_id]
