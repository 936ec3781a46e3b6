"""Governance and integrity: whether anybody may act at all, just inside and just outside of each limit."""

from __future__ import annotations

import re
from decimal import Decimal as D

import pytest

from ark.signal import SYMBOL
from graveyard import judge
from graveyard.rules import FORBIDDEN, MOST_HOPS, MOST_MESSAGES, SENSITIVITIES, STANDINGS
from tests.graveyard.cases import DATA, SHORT, Case, denies, done, missing, passes, source, triple

HALT, AUDIT, OVERRIDE = "emergency_halt_enabled", "audit_all_actions", "user_override_allowed"
APPROVAL, SEAL, WATCHDOG = "require_hrm_approval", "immutable_graveyard", "watchdog_monitoring"
SOURCES, LOOPS = "validate_data_sources", "prevent_infinite_loops"
MANIPULATION, INSIDER = "no_market_manipulation", "no_insider_trading"
NAN, INFINITY = float("nan"), float("inf")
OLD = {MANIPULATION: "deny"}
EQUAL = done("order", "buy")
LOOK_ALIKES = "АAPL ААРL ＡＡＰＬ A\u200dAPL \u200fAAPL AAPL\u200e AAPŁ ıBM İBM AAPL\u0301 Ⅿ"  # noqa: RUF001
"""Symbols that look like others: Cyrillic and full-width letters, zero-width and right-to-left marks, Turkish i."""

GOVERNANCE = [
    passes(HALT, "not halted", says="trading is not halted"),
    denies(HALT, "halted", halted=True, halt_reason="drill at noon", says="trading is halted: drill at noon"),
    denies(HALT, "halted for no reason", halted=True, says="no reason given"),
    *(denies(HALT, f"{value!r} is no plain no", halted=value) for value in (0, "", "no", 1, [])),
    denies(HALT, "data, too", base=DATA, halted=True),
    passes(AUDIT, "the ledger takes rows", says="takes rows"),
    denies(AUDIT, "the ledger takes no rows", ledger_writable=False, says="takes no rows"),
    denies(AUDIT, "a one is no truth", ledger_writable=1, says="`ledger_writable` is 1"),
    denies(AUDIT, "data, too", base=DATA, ledger_writable=False),
    passes(OVERRIDE, "heard of three seconds ago", gateway_age_s=3.0, says="3.0 s ago; the limit is 3 s"),
    denies(OVERRIDE, "not heard of for longer", gateway_age_s=3.001, says="the limit is 3 s"),
    passes(OVERRIDE, "heard of just now", gateway_age_s=0.0),
    denies(OVERRIDE, "heard of in the future", gateway_age_s=-0.001, says="`gateway_age_s`"),
    denies(OVERRIDE, "an age that is none", gateway_age_s=NAN, says="`gateway_age_s`"),
    *(denies(OVERRIDE, f"{value!r} is no age", gateway_age_s=value, says=f"`gateway_age_s` is {value!r}, no length")
      for value in ("1", True, D(1), [])),
    denies(OVERRIDE, "never heard of", gateway_age_s=INFINITY),
    passes(APPROVAL, "a trade", says="a market order to buy AAPL can be judged"),
    passes(APPROVAL, "data", base=DATA, says="read_data of internal data can be judged"),
    *(denies(APPROVAL, f"the kind {kind!r}", kind=kind, says="`kind`")
      for kind in ("TRADE", "Trade", "trade ", "order", "buy", "", "delete", "execute_code", "tr\u0430de", None)),
    *(denies(APPROVAL, f"the symbol {symbol!a}", symbol=symbol, says="`symbol`")
      for symbol in ("aapl", "Aapl", "aAPL", "", " ", " AAPL", "AAPL ", "AAPL\n", None, 7,
          "AAPL\x00", "AA PL", "AAPL\x7f", "AA\nPL", "AAPL,MSFT", "AAPL;", "$AAPL", "(AAPL)", "[", "@A", "A'",
          "A+B", *LOOK_ALIKES.split(" "))),
    *(passes(APPROVAL, f"the symbol {symbol}", symbol=symbol)
      for symbol in ("A", "BRK.B", "BTC-USD", "BTC/USD", "ES=F", "600519.SS", "^GSPC", "NASDAQ:AAPL", "A_B",
          "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./:^=_-")),
    *(denies(APPROVAL, f"the side {side!r}", base=SHORT, side=side, says="`side`") for side in ("SELL", "", None)),
    *(denies(APPROVAL, f"the entry {entry!r}", entry=entry, says="`entry`") for entry in ("stop", "MARKET", "",
        None)),
    *(passes(APPROVAL, f"{each} data", base=DATA, sensitivity=each, subject="", encrypted=True)
      for each in SENSITIVITIES if each != "personal"),
    *(denies(APPROVAL, f"{each!r} data", base=DATA, sensitivity=each, says="`sensitivity`")
      for each in ("", "Public", "high", None)),
]  # fmt: skip
INTEGRITY = [
    passes(SEAL, "verified", says="the seal was verified"),
    denies(SEAL, "broken", seal_fault="ethics.py differs", says="broken: ethics.py differs"),
    *(denies(SEAL, kind, kind=kind, also=[APPROVAL], says=f"`kind` is {kind}") for kind in FORBIDDEN),
    denies(SEAL, "changed rules from a node whose seal nobody verified", kind=FORBIDDEN[0], seal_fault=None,
           also=[APPROVAL], says="nobody changes the rule book"),
    *(denies(SEAL, f"{value!r} is no plain nothing", seal_fault=value, says=f"broken: {value!r}")
      for value in (False, 0, [])),
    denies(SEAL, "data, too", base=DATA, seal_fault="x"),
    passes(WATCHDOG, "heard of three seconds ago", watchdog_age_s=3.0, says="is 3.0 s old; the limit is 3 s"),
    denies(WATCHDOG, "not heard of for longer", watchdog_age_s=3.001, says="the limit is 3 s"),
    passes(WATCHDOG, "heard of just now", watchdog_age_s=0.0),
    denies(WATCHDOG, "heard of in the future", watchdog_age_s=-0.001, says="`watchdog_age_s`"),
    denies(WATCHDOG, "an age that is none", watchdog_age_s=NAN, says="`watchdog_age_s`"),
    *(denies(WATCHDOG, f"{value!r} is no age", watchdog_age_s=value,
             says=f"`watchdog_age_s` is {value!r}, no length of time") for value in ("1", True, D(1), [])),
    passes(WATCHDOG, "heard of whole seconds ago", watchdog_age_s=3, says="is 3.0 s old"),
    denies(WATCHDOG, "never heard of", watchdog_age_s=INFINITY),
    passes(SOURCES, "good standing", says="from 'nasdaq' (exchange); the market's newest price is 100"),
    passes(SOURCES, "data", base=DATA, last_price=None, price_age_s=None, says="from 'nasdaq' (exchange)"),
    *(passes(SOURCES, f"the standing {each}", sources=(source(each),))
      for each in STANDINGS if each not in ("private", "unregistered")),
    denies(SOURCES, "no source at all", sources=(), also=[INSIDER, "no_pump_and_dump"], says="`sources`"),
    denies(SOURCES, "a standing that is none", sources=(source("trusted"),),
           says="a standing that is none: 'trusted'"),
    denies(SOURCES, "quarantined", sources=(source("news", quarantined=True),), says="quarantined"),
    *(denies(SOURCES, f"quarantined is {value!r}, no plain no",
             sources=(source("news", quarantined=value),), says="is quarantined") for value in (None, 0, "")),
    denies(SOURCES, "sources that are only names", sources=("nasdaq",), also=[INSIDER, "no_pump_and_dump"],
           says="it could not be judged: AttributeError"),
    denies(SOURCES, "quarantined among others",
           sources=(source("unregistered", "x"), source("news"), source("news", quarantined=True)), live=False),
    denies(SOURCES, "unregistered", sources=(source("unregistered"),), says="'tip' stands in no register"),
    denies(SOURCES, "unregistered, and nobody knows whether it is paper", sources=(source("unregistered"),),
           live=None, consents=frozenset({"live_trading"})),
    denies(SOURCES, "two unregistered ones", sources=(source("unregistered", "x"), source("unregistered", "y")),
           says="'x' stands in no register"),
    Case(SOURCES, "unregistered on paper", "mercy", {"sources": (source("unregistered"),), "live": False}),
    Case(SOURCES, "data from an unregistered source on paper", "mercy",
         {"sources": (source("news"), source("unregistered")), "live": False}, DATA),
    passes(SOURCES, "a price of four days ago", price_age_s=345_600.0),
    denies(SOURCES, "an older price", price_age_s=345_600.1, also=OLD, says="345600.1 s old"),
    denies(SOURCES, "a price of the future", price_age_s=-0.001, also=OLD,
           says="`price_age_s` is -0.001, no length of time"),
    # What cannot be is no fact that only a live market has.
    *(denies(SOURCES, f"a price of an age of {value!r}, on paper", price_age_s=value, live=False, also=OLD,
             says=f"`price_age_s` is {value!r}") for value in (-0.001, True, "1", NAN)),
    denies(SOURCES, "a price of an age without end", price_age_s=INFINITY, also=OLD, says="is inf s old"),
    passes(SOURCES, "a price of whole seconds ago", price_age_s=345_600),
    passes(SOURCES, "a price of just now", price_age_s=0.0),
    denies(SOURCES, "a price of an age that is none", price_age_s=NAN, also=OLD),
    Case(SOURCES, "an older price on paper", "mercy", {"price_age_s": 345_600.1, "live": False},
         also={MANIPULATION: "mercy"}),
    *missing("last_price", (SOURCES, MANIPULATION)),
    *missing("last_price", (SOURCES, MANIPULATION), live=True, word="mercy"),
    passes(LOOPS, "as many agents as may be", hops=MOST_HOPS, says="16 agents had it, 0 orders"),
    denies(LOOPS, "one agent more", hops=MOST_HOPS + 1, says="17 agents had it already; the limit is 16"),
    passes(LOOPS, "no agent at all", hops=0),
    denies(LOOPS, "fewer agents than none", hops=-1, says="`hops` is -1, no count"),
    *(denies(LOOPS, f"{value!r} agents", hops=value, says=f"`hops` is {value!r}, no count")
      for value in (True, 3.0, "3", NAN, D(3))),
    *(denies(LOOPS, f"{value!r} messages", messages=value, says=f"`messages` is {value!r}, no count")
      for value in (False, -1, "3", D(3))),
    denies(LOOPS, "half a message", messages=0.5, says="`messages` is 0.5, no count"),
    passes(LOOPS, "one message less than may be", messages=MOST_MESSAGES - 1),
    denies(LOOPS, "a thousand messages", messages=MOST_MESSAGES,
           says="1000 orders and cancels within a minute; the limit is 1000"),
    denies(LOOPS, "data goes round in a circle, too", base=DATA, hops=MOST_HOPS + 1),
    denies(LOOPS, "data among too many messages", base=DATA, messages=MOST_MESSAGES),
    passes(LOOPS, "data needs no fills", base=DATA, recent=None, says="and 0 equal orders"),
    passes(LOOPS, "nine equal orders", recent=(EQUAL,) * 9,
           says="9 equal orders within a minute; the limits are 16, 1000 and 10"),
    denies(LOOPS, "ten equal orders", recent=(EQUAL,) * 10, says="10 equal orders"),
    passes(LOOPS, "ten on the other side", recent=(done("order", "sell"),) * 10),
    passes(LOOPS, "ten of another size", recent=(done("order", "buy", 51),) * 10),
    passes(LOOPS, "ten at another price", recent=(done("order", "buy", 50, "100.01"),) * 10),
    passes(LOOPS, "ten fills of it", recent=(done("fill", "buy"),) * 10),
    denies(LOOPS, "ten equal shorts", base=SHORT, recent=(done("order", "sell"),) * 10),
    denies(LOOPS, "ten equal orders with others between", recent=(EQUAL, done("fill", "buy")) * 10),
    denies(LOOPS, "equal orders, and no quantity", recent=(EQUAL,), quantity=D(0), says="`quantity`", also=[
        "max_position_size", "max_leverage", "max_daily_loss", MANIPULATION, "reversible_actions",
        "human_in_loop_critical"]),
    *missing("messages", [LOOPS]),
    *missing("hops", [LOOPS]),
]  # fmt: skip
CASES: list[Case] = [*GOVERNANCE, *INTEGRITY]


def test_a_symbol_is_made_of_what_the_door_lets_in_and_of_nothing_else() -> None:
    for letter in map(chr, range(0x3000)):
        judgement = judge(*triple(symbol=f"A{letter}"))
        assert judgement.approved == bool(re.search(SYMBOL, f"A{letter}"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_whether_anybody_may_act(case: Case) -> None:
    assert case.complaint(judge) == ""
