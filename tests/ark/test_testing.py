"""What people who write agents are given for their tests."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from ark import Agent, Context, Durability, Effect, Hold, Signal
from ark.errors import AgentError
from ark.ruling import rule, verify_ruling
from ark.testing import TestContext, drive

CASE = Signal(symbol="AAPL", direction="long", price=190.0)


class Note(msgspec.Struct):
    text: str
    amount: Decimal = Decimal("0.1")


class Intent(msgspec.Struct):
    text: str


class Careful(Agent[Signal]):
    """Uses whatever a context offers."""

    takes = Signal
    intends = Intent
    durability = Durability.POWER
    secrets = ("approval",)

    def setup(self, context: Context) -> None:
        context.database.execute("CREATE TABLE seen (symbol TEXT)")

    def handle(self, message: Signal, context: Context) -> Any:
        if context.halted():
            return Note(f"halted: {context.halted()}")
        context.database.execute("INSERT INTO seen VALUES (?)", (message.symbol,))
        context.open("books").execute("CREATE TABLE IF NOT EXISTS orders (n)")
        context.send("kenny", Note("be ready"))
        context.event("seen", symbol=message.symbol, at=context.now())
        if message.action == "observe":
            return Effect(Intent(context.secret("approval").decode()))
        return Note(f"{context.agent} {context.settings.get('colour')}")

    def perform(self, intent: Intent, context: Context, *, again: bool) -> Note:
        return Note(f"{intent.text} again={again}")


@pytest.fixture
def desk() -> TestContext:
    return TestContext("careful", now=5.0, settings={"colour": "red"}, secrets={"approval": b"key"})


@pytest.fixture
def agent(desk: TestContext) -> Careful:
    one = Careful()
    one.setup(desk)
    return one


def test_an_agent_is_driven_without_a_node(agent: Careful, desk: TestContext) -> None:
    assert drive(agent, CASE, desk) == Note("careful red")
    assert desk.database.execute("SELECT symbol FROM seen").fetchall() == [("AAPL",)]


def test_what_the_agent_sent_and_told_is_kept(agent: Careful, desk: TestContext) -> None:
    drive(agent, CASE, desk)
    assert desk.sent == [("kenny", Note("be ready"))]
    assert desk.events == [("seen", {"symbol": "AAPL", "at": 5.0})]


def test_the_clock_and_the_halt_are_the_tests(agent: Careful, desk: TestContext) -> None:
    desk.clock = 9.0
    assert desk.now() == 9.0
    desk.halt_reason = "madness"
    assert drive(agent, CASE, desk).text == "halted: madness"


def test_an_effect_is_performed_and_can_be_performed_again(agent: Careful, desk: TestContext) -> None:
    look = msgspec.structs.replace(CASE, action="observe")
    assert drive(agent, look, desk).text == "key again=False"
    assert drive(agent, look, desk, again=True).text == "key again=True"


def test_what_cannot_travel_fails_here_already(desk: TestContext) -> None:
    class Careless(Careful):
        def handle(self, message: Signal, context: Context) -> Any:
            return {"thing": object()}

    with pytest.raises(TypeError):
        drive(Careless(), CASE, desk)


def test_a_hold_is_driven_like_an_answer_and_a_ruling_is_the_tests(desk: TestContext) -> None:
    class Asking(Careful):
        def handle(self, message: Signal, context: Context) -> Any:
            if context.ruling is None:
                return Hold(context.now() + 5, "is this wise?", {"price": message.price})
            verify_ruling(context.secret("approval"), context.trace_id, context.ruling)
            return Note(context.ruling.word)

    assert drive(Asking(), CASE, desk) == Hold(10.0, "is this wise?", {"price": 190.0})
    desk.ruling = rule(b"key", desk.trace_id, approved=True, by="ada", reason="looked", at=6.0)
    assert drive(Asking(), CASE, desk) == Note("approved")


def test_beats_free_space_and_halts_are_the_tests(desk: TestContext) -> None:
    assert (desk.beat_age("watchdog"), desk.ruling) == (0.0, None)
    desk.beats = {"watchdog": 7.5, "kenny": None}
    assert (desk.beat_age("watchdog"), desk.beat_age("kenny"), desk.beat_age("joey")) == (7.5, None, 0.0)
    desk.free = 5
    assert desk.free_bytes() == 5
    desk.halt("the watchdog is gone")
    desk.halt("so is kenny")
    assert desk.halted() == desk.halt_reason == "the watchdog is gone"
    assert desk.events == [("halt", {"reason": "the watchdog is gone", "by": "careful"})]


def test_an_exact_amount_is_exact_behind_the_wire(agent: Careful, desk: TestContext) -> None:
    assert drive(agent, CASE, desk).amount == Decimal("0.1")


def test_a_secret_that_was_not_given_and_a_stranger_are_errors_as_in_a_node(desk: TestContext) -> None:
    with pytest.raises(AgentError, match="not given the secret"):
        desk.secret("other")
    with pytest.raises(AgentError, match="no agent of the pipeline"):
        desk.send("nobody", Note("x"))


def test_a_context_keeps_its_databases_apart(desk: TestContext) -> None:
    assert desk.open("books") is desk.open("books")
    assert desk.open("books") is not desk.database
    assert TestContext("careful").database is not desk.database


def test_pytest_does_not_take_the_context_for_a_test() -> None:
    assert TestContext.__test__ is False


def test_a_test_context_offers_what_a_stages_context_offers() -> None:
    offered = {name for name in vars(Context) if not name.startswith("_")} | set(Context.__annotations__)
    assert offered <= set(dir(TestContext())), "every word of the contract is there"


def test_a_context_says_what_was_counted_and_refuses_what_is_no_metric(desk: TestContext) -> None:
    desk.count("ark_setups_total", 2, pattern="none")
    desk.count_now("ark_setups_total", pattern="squeezer")
    desk.gauge("ark_equity", 5.0)
    desk.gauge("ark_equity", 4.0)
    desk.total("ark_ledger_rows_total", 7)
    assert desk.counted("ark_setups_total") == 3.0
    assert desk.counted("ark_setups_total", pattern="none") == 2.0
    assert (desk.latest("ark_equity"), desk.latest("ark_ledger_rows_total")) == (4.0, 7)
    assert desk.latest("ark_drawdown_ratio") is None
    with pytest.raises(AgentError, match="there is no metric"):
        desk.total("rows", 1)
