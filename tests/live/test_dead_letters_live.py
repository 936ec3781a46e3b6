"""Dead letters of a trading node: whether an order exists is known for certain, and nothing is executed twice."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ark.errors import RequestError
from ark.journal import open_for_reading
from tests.live.desk import judged, order_of, orders_sent, rows
from tests.node import ROOT, Node, node
from tests.promises import books_agree, no_order_twice

MORTAL = "\n".join(
    f'[agents.{name.lower()}]\nclass = "tests.mortal_agents:Mortal{name}"\npath = "{ROOT}"'
    for name in ("Joey", "Kenny", "Aletheia")
)
"""The pipeline as it comes, of agents that signals can end."""


@pytest.fixture(scope="module")
def one() -> Iterator[Node]:
    with node(MORTAL) as running:
        yield running


def test_a_signal_that_ends_kenny_between_the_brokers_commit_and_his_own_tells_of_its_order(one: Node) -> None:
    with one.client() as client:
        outcome = judged(client, symbol="MIDWAY", metadata={"poison": "between the commits"})
    assert outcome["status"] == "failed"
    assert "exit code 9 in perform" in outcome["reason"]
    assert outcome["order"]["status"] == "filled"
    assert outcome["order"]["client_order_id"] == order_of(one, outcome["trace_id"])["order"]["client_order_id"]
    assert outcome["ledger"] is not None


def test_a_retry_is_refused_where_an_order_exists(one: Node) -> None:
    with one.client() as client:
        outcome = judged(client, symbol="MIDDAY", metadata={"poison": "between the commits"})
        trace_id, sent = outcome["trace_id"], orders_sent(one)
        accepted = client.status()["signals"]["accepted"]
        refused = one.run("ark-run", "dead-letters", "retry", trace_id, "--reason", "mended")
        assert refused.returncode == 1
        assert "it has an order (filled" in refused.stderr
        assert outcome["order"]["client_order_id"] in refused.stderr
        assert "(refused)" in refused.stderr
        assert (orders_sent(one), client.status()["signals"]["accepted"]) == (sent, accepted)
        assert client.dead_letter(trace_id)["order"] == "sent"
        assert client.drop(trace_id, reason="the position is looked after")["act"] == "dropped"


def test_a_retry_is_refused_where_nobody_has_asked_the_broker(one: Node) -> None:
    with one.client() as client:
        outcome = judged(client, symbol="POISON")
        assert outcome["reason"].startswith("given up:")
        assert outcome["order"] is None
        shown = one.run("ark-run", "dead-letters", "show", outcome["trace_id"])
        assert "order: NOT KNOWN" in shown.stdout
        assert "it cannot be retried" in shown.stdout
        assert "poison, even as a letter" in shown.stdout
        with pytest.raises(RequestError, match="whether it has an order is not known"):
            client.retry(outcome["trace_id"], reason="mended")
        assert order_of(one, outcome["trace_id"]), "and there is one indeed"


def test_what_died_before_kenny_is_executed_once_when_it_is_retried(one: Node, tmp_path: Path) -> None:
    model = tmp_path / "model"
    with one.client() as client:
        sent = orders_sent(one)
        trace_id = judged(client, symbol="RETRY", metadata={"until": str(model)})["trace_id"]
        assert "the model model is missing" in client.dead_letter(trace_id)["reason"]
        model.touch()
        retried = one.run("ark-run", "dead-letters", "retry", trace_id, "--reason", "mended", "--json")
        reply = json.loads(retried.stdout)
        assert reply["outcome"]["status"] == "executed"
        assert one.run("ark-run", "dead-letters", "retry", trace_id, "--reason", "again").returncode == 1
        assert orders_sent(one) == sent + 1
        assert order_of(one, reply["retry"])
        assert not order_of(one, trace_id)


def test_what_died_between_kennys_intent_and_the_broker_is_executed_once_when_it_is_retried(
    one: Node, tmp_path: Path
) -> None:
    hands = tmp_path / "hands"
    with one.client() as client:
        sent = orders_sent(one)
        outcome = judged(client, symbol="RETRY", metadata={"hands": str(hands)})
        assert "exit code 9 in perform" in outcome["reason"]
        assert outcome["order"] is None
        assert outcome["decision"]["approved"]
        hands.touch()
        retry = client.retry(outcome["trace_id"], reason="mended", by="ada")["retry"]
        assert client.outcome(retry, timeout_s=20.0)["status"] == "executed"
    assert orders_sent(one) == sent + 1
    assert order_of(one, retry)
    assert not order_of(one, outcome["trace_id"])


def test_a_fresh_retry_has_the_present_time(one: Node, tmp_path: Path) -> None:
    model, made = tmp_path / "model", time.time() - 600
    with one.client() as client:
        trace_id = judged(client, symbol="OLDIE", ts=made, metadata={"until": str(model)})["trace_id"]
        model.touch()
        done = one.run("ark-run", "dead-letters", "retry", trace_id, "--fresh", "--reason", "mended", "--json")
        reply = json.loads(done.stdout)
        assert reply["outcome"]["status"] == "executed"
    (payload,) = rows(one, "gateway", "SELECT payload FROM signals WHERE trace_id = ?", reply["retry"])[0]
    assert msgspec.msgpack.decode(payload)["ts"] == pytest.approx(time.time(), abs=60)


def test_all_that_was_promised_holds_in_the_end(one: Node) -> None:
    with one.client() as client:
        dead = [each["trace_id"] for each in client.dead_letters(everything=True)]
        given_up = [each for each in dead if client.outcome(each)["ledger"] is None]
    assert one.run("ark-run", "audit", "verify").returncode == 0
    no_order_twice(lambda name: open_for_reading(one.home.data / f"{name}.db"))
    books_agree(lambda name: open_for_reading(one.home.data / f"{name}.db"))
    assert len(given_up) == 1
