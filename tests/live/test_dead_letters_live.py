"""Dead letters of a trading node: whether an order exists is known for certain, and nothing is executed twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.desk import judged, order_of
from tests.node import ROOT, Node, node

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
