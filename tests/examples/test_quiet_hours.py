"""`examples/quiet_hours.py`, alone and between Joey and HRM on a real node."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from actors.messages import Case, Setup
from ark import Agent, Signal, config
from ark.testing import TestContext, drive
from tests.node import ROOT, node

FOLDER = ROOT / "examples"
SETUP = Setup("long", None, 0.0, {}, "market", 190.0, 180.0, 215.0, None, 0.05, 1.0)
THREE_O_CLOCK = 1_700_017_200.0
"""2023-11-15, 03:00 UTC."""


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent[Any]]:
    monkeypatch.syspath_prepend(str(FOLDER))
    from quiet_hours import QuietHours  # type: ignore[import-not-found]

    yield QuietHours()
    sys.modules.pop("quiet_hours")


def case(symbol: str) -> Case:
    return Case(Signal(symbol, "long", 190.0), setup=SETUP)


def test_in_a_quiet_hour_the_setup_is_taken_out(agent: Agent[Any]) -> None:
    context = TestContext("quiet_hours", now=THREE_O_CLOCK, settings={"AAPL": [3]})

    assert drive(agent, case("AAPL"), context).setup is None


@pytest.mark.parametrize(("symbol", "hours"), [("AAPL", [2, 4]), ("IBM", [3])])
def test_at_other_hours_and_for_other_symbols_the_case_passes_as_it_is(
    agent: Agent[Any], symbol: str, hours: list[int]
) -> None:
    context = TestContext("quiet_hours", now=THREE_O_CLOCK, settings={symbol: hours} if symbol == "AAPL" else {})

    assert drive(agent, case(symbol), context) == case(symbol)


def test_the_example_configuration_is_valid_and_finds_the_agent_beside_it() -> None:
    loaded = config.load(FOLDER / "ark.toml", environment={})

    assert loaded.pipeline.agents == ("kyle", "joey", "quiet_hours", "hrm", "kenny", "aletheia")
    assert loaded.agents["quiet_hours"].path == f"{FOLDER}/"[:-1]


def test_on_a_real_node_a_quiet_symbol_is_not_traded_and_another_one_is() -> None:
    wanted = {"direction": "long", "price": 190.0, "position_size_pct": 0.05, "stop_loss": 180.0, "target": 215.0}
    always = f"AAPL = {list(range(24))}"
    text = (FOLDER / "ark.toml").read_text()
    text = text.replace("AAPL = [0, 1, 2, 3, 4, 5]", always).replace("MSFT = [21, 22, 23]", "MSFT = []")
    text = text.replace('class = "quiet', f'path = "{FOLDER}"\nclass = "quiet')
    assert always in text
    with node(text) as one, one.client() as client:
        quiet, loud = client.inject_many([{"symbol": "AAPL", **wanted}, {"symbol": "MSFT", **wanted}])
        silenced = client.outcome(quiet["trace_id"], timeout_s=20)
        executed = client.outcome(loud["trace_id"], timeout_s=20)

    assert silenced["status"] == "no_setup"
    assert executed["status"] == "executed"
    assert [span["agent"] for span in silenced["spans"]].index("quiet_hours") == 2
    assert silenced["audit"]["complete"]
