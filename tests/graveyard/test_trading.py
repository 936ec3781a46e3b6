"""Trading: what is unfair to others in the market, just inside and just outside of each limit."""

from __future__ import annotations

import itertools
from decimal import Decimal as D

import pytest

from graveyard import Done, judge
from tests.graveyard.cases import DATA, NOW, SHORT, Case, client, denies, done, passes, resting, source

INSIDER, MANIPULATION = "no_insider_trading", "no_market_manipulation"
PUMP, FRONT, SOURCES = "no_pump_and_dump", "no_front_running", "validate_data_sources"
THIN_VOLUME = {"average_volume": D("9999.99")}
"""Just less than a million in a usual day, at 100; and so little that only a small order can be sold again."""
SMALL = {"quantity": D(10)}


def wash(pairs: int, quantity: int = 50, sold_at: str = "100.01") -> tuple[object, ...]:
    """Purchases at 100, each with a sale."""
    return tuple(
        each
        for _ in range(pairs)
        for each in (done("fill", "buy", quantity), done("fill", "sell", quantity, sold_at))
    )


def fills(*each: tuple[str, str, int]) -> tuple[Done, ...]:
    """Fills of the same size: side, price, and how many."""
    return tuple(done("fill", side, 50, price) for side, price, times in each for _ in range(times))


CROSSED = (("buy", "100.00", 2), ("buy", "100.02", 2), ("sell", "100.01", 2), ("sell", "100.00", 2))
"""Each purchase at 100.00 has to leave the sales at 100.01 to those at 100.02."""
PENNY = {"price": D("0.99"), "market_price": D("0.99"), "last_price": D("0.99"), "stop_loss": D("0.95"),
         "target": D("1.2")}  # fmt: skip

INSIDERS = [
    passes(INSIDER, "another symbol is restricted", restricted=frozenset({"MSFT", "IBM"}),
           says="none of 2 restricted"),
    denies(INSIDER, "the symbol is restricted", restricted=frozenset({"MSFT", "AAPL"}), says="restricted list"),
    passes(INSIDER, "every public standing", sources=tuple(
        source(each) for each in ("exchange", "filing", "news", "licensed", "model", "person", "promotional"))),
    denies(INSIDER, "a private source", sources=(source("private"),), says="'tip' is private"),
    denies(INSIDER, "a private source among public ones",
           sources=(source("news"), source("private"), source("exchange"))),
    passes(INSIDER, "an embargo that ends now", sources=(source("filing", embargo_until=NOW),)),
    denies(INSIDER, "an embargo that ends in a moment", sources=(source("filing", embargo_until=NOW + 0.001),),
           says="under embargo until 1700000000"),
    denies(INSIDER, "an embargo, and nobody knows the time", sources=(source("filing", embargo_until=NOW),),
           now=0.0),
    denies(INSIDER, "an embargo that is no time", sources=(source("filing", embargo_until=float("nan")),)),
    denies(INSIDER, "the time is no time", sources=(source("filing", embargo_until=NOW),), now=float("nan")),
    passes(INSIDER, "any other time is one", sources=(source("filing", embargo_until=NOW),), now=253_402_300_799.0),
    denies(INSIDER, "the year 10,000 is none", sources=(source("filing", embargo_until=NOW),),
           now=253_402_300_800.0, says="under embargo"),
    denies(INSIDER, "the time is the end of time", sources=(source("filing", embargo_until=NOW),), now=float("inf"),
           says="under embargo"),
    denies(INSIDER, "the time is the end of time, and nothing is under embargo", now=float("inf")),
    *(denies(INSIDER, f"{value!r} is no list", restricted=value, says="`restricted` is no list")
      for value in ("MSFT", "AAPL", (), "", True)),
    denies(INSIDER, "a text is no list for data, either", base=DATA, restricted="MSFT"),
    denies(INSIDER, "data from a private source", base=DATA, sources=(source("private"),)),
    passes(INSIDER, "data that is about no symbol", base=DATA, says="read_data is none of 0 restricted symbols"),
    denies(INSIDER, "restricted, and from a private source", restricted=frozenset({"AAPL"}),
           sources=(source("private"),), says="restricted list"),
]  # fmt: skip
ABOVE = {"base": SHORT, "price": D(105), "stop_loss": D(110), "target": D(90), "quantity": D(40)}
"""A short at the market, 100, that names more; all the same it fills there."""
BELOW = {"base": SHORT, "price": D(95), "stop_loss": D(100), "target": D(85), "quantity": D(40)}
NO_VOLUME = {"average_volume": None, "live": False, "also": {PUMP: "mercy", "reversible_actions": "mercy"}}
MANIPULATIONS = [
    denies(MANIPULATION, "an admission", admits=("manipulative_intent",), says="admits manipulative_intent"),
    # Trades with itself.
    passes(MANIPULATION, "an own sale above", orders=(resting("sell", "100.01", leg="target"),)),
    denies(MANIPULATION, "an own sale at the price", orders=(resting("sell", "100", leg="target"),),
           says="own order to sell at 100"),
    denies(MANIPULATION, "an own sale below what the market may be", market_price=D("100.05"),
           orders=(resting("sell", "100.05", leg="target"),)),
    passes(MANIPULATION, "an own sale above what the market may be", market_price=D("100.05"),
           orders=(resting("sell", "100.06", leg="target"),)),
    passes(MANIPULATION, "a limit that the market is above, below an own sale", entry="limit",
           market_price=D("100.05"), orders=(resting("sell", "100.05", leg="target"),)),
    denies(MANIPULATION, "a market order names more than the market", market_price=D(99),
           orders=(resting("sell", "99.5", leg="target"),)),
    denies(MANIPULATION, "a market order against any own entry", orders=(resting("sell", "150"),)),
    passes(MANIPULATION, "a limit below an own entry", entry="limit", orders=(resting("sell", "100.01"),)),
    denies(MANIPULATION, "a limit at an own entry", entry="limit", orders=(resting("sell", "100"),)),
    passes(MANIPULATION, "a short above an own purchase", base=SHORT,
           orders=(resting("buy", "99.99", leg="target"),)),
    denies(MANIPULATION, "a short at an own purchase", base=SHORT, orders=(resting("buy", "100", leg="target"),)),
    denies(MANIPULATION, "a short at the market against any own entry", base=SHORT, orders=(resting("buy", "50"),)),
    passes(MANIPULATION, "a short does not reach up to the market", base=SHORT, market_price=D(105),
           orders=(resting("buy", "99.99", leg="target"),)),
    denies(MANIPULATION, "a short that names more than the market gives", **ABOVE,
           orders=(resting("buy", "100", leg="target"),), says="own order to buy at 100"),
    passes(MANIPULATION, "a short that names more, above an own purchase", **ABOVE,
           orders=(resting("buy", "99.99", leg="target"),)),
    denies(MANIPULATION, "a short that names less than the market gives", **BELOW,
           orders=(resting("buy", "95", leg="target"),)),
    passes(MANIPULATION, "a short that names less, above an own purchase", **BELOW,
           orders=(resting("buy", "94.99", leg="target"),)),
    passes(MANIPULATION, "a short with a limit that the market is below", **ABOVE, entry="limit",
           orders=(resting("buy", "104.99"),)),
    denies(MANIPULATION, "a short that reaches an old price", **ABOVE, live=False, price_age_s=345_600.1,
           orders=(resting("buy", "100", leg="target"),), also={SOURCES: "mercy"}),
    denies(MANIPULATION, "a short at what it names, and nobody knows the market", **ABOVE, live=False,
           last_price=None, orders=(resting("buy", "105", leg="target"),), also={SOURCES: "mercy"}),
    Case(MANIPULATION, "a short above an own purchase, and nobody knows the market", "mercy",
         {**{name: value for name, value in ABOVE.items() if name != "base"}, "live": False, "last_price": None,
          "orders": (resting("buy", "104.99", leg="target"),)}, SHORT, also={SOURCES: "mercy"}),
    passes(MANIPULATION, "a short with a limit above an own purchase", base=SHORT, entry="limit",
           orders=(resting("buy", "99.99"),)),
    denies(MANIPULATION, "a short with a limit at an own purchase", base=SHORT, entry="limit",
           orders=(resting("buy", "100"),)),
    passes(MANIPULATION, "another symbol's order", orders=(resting("sell", "100", symbol="MSFT"),)),
    passes(MANIPULATION, "an order on the same side", orders=(resting("buy", "100"),)),
    denies(MANIPULATION, "the second of two orders", orders=(resting("buy", "100"), resting("sell", "100"))),
    denies(MANIPULATION, "the last, behind another symbol's",
           orders=(resting("sell", "100", symbol="MSFT"), resting("sell", "100"))),
    # A wall of own orders on the other side.
    denies(MANIPULATION, "three levels of more on the other side", entry="limit", orders=(
        resting("sell", "100.01", 17), resting("sell", "100.05", 17), resting("sell", "100.10", 17)),
        says="3 own orders over 51 on the other side, within 10 ticks: layering; the limit is 2"),
    passes(MANIPULATION, "three levels of just as much", entry="limit", orders=(
        resting("sell", "100.01", 17), resting("sell", "100.05", 17), resting("sell", "100.10", 16))),
    passes(MANIPULATION, "two levels", entry="limit", orders=(
        resting("sell", "100.01", 17), resting("sell", "100.05", 17), resting("sell", "100.05", 17))),
    passes(MANIPULATION, "three levels, one of them further", entry="limit", orders=(
        resting("sell", "100.01", 17), resting("sell", "100.05", 17), resting("sell", "100.11", 17))),
    passes(MANIPULATION, "three levels, one of them a target", entry="limit", orders=(
        resting("sell", "100.01", 17), resting("sell", "100.05", 17), resting("sell", "100.10", 17, leg="target"))),
    denies(MANIPULATION, "three levels under a short", base=SHORT, entry="limit", orders=(
        resting("buy", "99.90", 17), resting("buy", "99.95", 17), resting("buy", "99.99", 17))),
    passes(MANIPULATION, "three levels under a short, one of them further", base=SHORT, entry="limit", orders=(
        resting("buy", "99.89", 17), resting("buy", "99.95", 17), resting("buy", "99.99", 17))),
    # Wash trades.
    passes(MANIPULATION, "two pairs of fills", recent=wash(2)),
    denies(MANIPULATION, "three pairs of fills", recent=wash(3), says="3 purchases and sales"),
    passes(MANIPULATION, "three pairs, further apart than a tick", recent=wash(3, sold_at="100.011")),
    denies(MANIPULATION, "three pairs, a tick the other way", recent=wash(3, sold_at="99.99")),
    passes(MANIPULATION, "three pairs, further the other way", recent=wash(3, sold_at="99.989")),
    passes(MANIPULATION, "three purchases, two sales", recent=(*wash(2), done("fill", "buy"))),
    passes(MANIPULATION, "three purchases and one sale three times the size",
           recent=(*[done("fill", "buy")] * 3, done("fill", "sell", 150))),
    passes(MANIPULATION, "one purchase, three sales", recent=(done("fill", "buy"), *[done("fill", "sell")] * 3)),
    passes(MANIPULATION, "one sale, three purchases", recent=(done("fill", "sell"), *[done("fill", "buy")] * 3)),
    passes(MANIPULATION, "three purchases only", recent=(*[done("fill", "buy")] * 3,)),
    passes(MANIPULATION, "three pairs of orders that were not filled",
           recent=(*[done("order", "sell", 7)] * 3, *[done("order", "buy", 7)] * 3)),
    denies(MANIPULATION, "three pairs of three sizes", recent=(*wash(1, 10), *wash(1, 20), *wash(1, 30))),
    # Each purchase and each sale is in one pair, and in the most pairs that there can be.
    *(passes(MANIPULATION, f"{bought} purchases at {paid} and {sold} sales at {got} are two pairs",
             recent=fills(("buy", paid, bought), ("sell", got, sold)))
      for paid, got in (("100", "100.01"), ("100.01", "100"), ("100", "100"))
      for bought, sold in ((2, 9), (9, 2))),
    *(denies(MANIPULATION, f"four pairs in the order {''.join(map(str, order))}", **SMALL,
             recent=tuple(fill for at in order for fill in fills(CROSSED[at])),
             says="4 purchases and sales") for order in itertools.permutations(range(4))),
    denies(MANIPULATION, "pairs among fills that have no partner", says="3 purchases and sales", recent=fills(
        ("sell", "90", 1), ("buy", "95", 2), ("buy", "100", 2), ("sell", "100", 2), ("sell", "105", 3),
        ("buy", "110", 1), ("sell", "110.01", 1), ("buy", "120", 1))),
    denies(MANIPULATION, "three pairs, sales first", recent=wash(3)[::-1]),
    passes(MANIPULATION, "two pairs of one size and purchases of another",
           recent=(*wash(2), *[done("fill", "buy", 7)] * 3)),
    denies(MANIPULATION, "a pair at a small tick of more", recent=wash(3, sold_at="100.0001")),
    passes(MANIPULATION, "below 1 a tick is small", recent=wash(3), **PENNY),
    passes(MANIPULATION, "a sale pairs once", recent=(*wash(2), *[done("fill", "buy")] * 2)),
    # Spoofing.
    passes(MANIPULATION, "eight of ten orders cancelled",
           recent=(*[done("order", "sell", 7)] * 10, *[done("cancel", "sell", 7)] * 8)),
    denies(MANIPULATION, "nine of ten orders cancelled",
           recent=(*[done("order", "sell", 7)] * 10, *[done("cancel", "sell", 7)] * 9),
           says="9 of 10 orders within a minute were cancelled; the limit is 90 %"),
    passes(MANIPULATION, "17 of 19 orders cancelled",
           recent=(*[done("order", "sell", 7)] * 19, *[done("cancel", "sell", 7)] * 17)),
    passes(MANIPULATION, "89 of 99 orders cancelled",
           recent=(*[done("order", "sell", 7)] * 99, *[done("cancel", "sell", 7)] * 89)),
    passes(MANIPULATION, "all of nine orders cancelled",
           recent=(*[done("order", "sell", 7)] * 9, *[done("cancel", "sell", 7)] * 9)),
    # The last minutes: 390,000 a day are 5,000 in five minutes, and a tenth of that is 500.
    passes(MANIPULATION, "a tenth of the last minutes", average_volume=D(39_000), session_left_s=300.0),
    denies(MANIPULATION, "more than a tenth of the last minutes", average_volume=D(39_000), quantity=D("50.01"),
           session_left_s=300.0, says="where 500 are usual; the limit is 10 % of that"),
    denies(MANIPULATION, "more than a tenth at the very end", average_volume=D(39_000), quantity=D("50.01"),
           session_left_s=0.0),
    passes(MANIPULATION, "more than a tenth a moment before", average_volume=D(39_000), quantity=D("50.01"),
           session_left_s=300.001),
    passes(MANIPULATION, "more than a tenth of a market without hours", average_volume=D(39_000),
           quantity=D("50.01"), session_left_s=None),
    # A price from nowhere.
    passes(MANIPULATION, "a tenth above the market", price=D(110), stop_loss=D(105), target=D(120)),
    denies(MANIPULATION, "a hair more above the market", price=D("110.001"), stop_loss=D(105), target=D(120),
           says="the price 110.001 is 10.001 % from the market's newest 100; the limit is 10 %"),
    passes(MANIPULATION, "a tenth below the market", price=D(90), stop_loss=D(85), target=D(100)),
    denies(MANIPULATION, "a hair more below the market", price=D("89.999"), stop_loss=D(85), target=D(100),
           says="is 10.001 % from"),
    denies(MANIPULATION, "a time left that is none", session_left_s=-0.5, says="`session_left_s`"),
    *(denies(MANIPULATION, f"a time left of {value!r}", session_left_s=value,
             says=f"`session_left_s` is {value!r}, no length of time") for value in ("1", True, float("nan"))),
    denies(MANIPULATION, "a time left that is none, on paper", session_left_s=-0.5, live=False),
    *(denies(MANIPULATION, f"the last minutes, and nobody knows the volume, {live}", average_volume=None, live=live,
             session_left_s=300.0, also=[PUMP, "reversible_actions"],
             says="`average_volume` is missing, in the last minutes") for live in (True, None)),
    Case(MANIPULATION, "the last minutes, and nobody knows the volume, on paper", "mercy",
         {"average_volume": None, "live": False, "session_left_s": 300.0}, also=NO_VOLUME["also"],
         says="`average_volume` is missing, in the last minutes of the session"),
    Case(MANIPULATION, "the last minutes, nobody knows the volume, and a price from nowhere", "deny",
         {"average_volume": None, "live": False, "session_left_s": 300.0, "last_price": D(50)},
         also=NO_VOLUME["also"], says="from the market's newest 50"),
    denies(MANIPULATION, "own orders that are no list", orders="", says="`orders` is no list"),
    denies(MANIPULATION, "what was done is no list", recent="", also=["prevent_infinite_loops"],
           says="`recent` is no list"),
    passes(MANIPULATION, "a moment before, and nobody knows the volume", **NO_VOLUME, session_left_s=300.001),
    passes(MANIPULATION, "a market without hours, and nobody knows the volume", **NO_VOLUME, session_left_s=None),
    passes(MANIPULATION, "a market that never closes", average_volume=D(39_000), quantity=D("50.01"),
           session_left_s=float("inf")),
    denies(MANIPULATION, "the last minutes of a market in which nothing is traded", average_volume=D(0),
           session_left_s=300, also=["reversible_actions"], says="`average_volume` must be above 0"),
    passes(MANIPULATION, "nothing is wrong", recent=(done("order", "sell"),), says="1 things done in the symbol"),
    denies(MANIPULATION, "a newest price of 0", last_price=D(0), also=["validate_data_sources"],
           says="`last_price` must be above 0"),
]  # fmt: skip
PROMOTED = {"sources": (source("promotional"),)}
PUMPS = [
    passes(PUMP, "nothing is wrong", says="neither thin nor outsized (price 100, 100000000 traded"),
    passes(PUMP, "thin", **THIN_VOLUME, **SMALL),
    passes(PUMP, "moved by just less", move=D("0.1499")),
    passes(PUMP, "moved a lot, and not thin", move=D("0.50")),
    denies(PUMP, "thin, and moved up", **THIN_VOLUME, **SMALL, move=D("0.15"), says="AAPL is thin and moved"),
    denies(PUMP, "thin, and moved down", **THIN_VOLUME, **SMALL, move=D("-0.15"), says="moved -15 %"),
    passes(PUMP, "thin, and moved by just less", **THIN_VOLUME, **SMALL, move=D("0.1499")),
    passes(PUMP, "thin, and moved down by just less", **THIN_VOLUME, **SMALL, move=D("-0.1499")),
    denies(PUMP, "thin, and three times the volume", **THIN_VOLUME, **SMALL, volume_ratio=D(3),
           says="3 times the usual volume"),
    passes(PUMP, "thin, and just less volume", **THIN_VOLUME, **SMALL, volume_ratio=D("2.99")),
    passes(PUMP, "just not thin, and moved", average_volume=D(10_000), **SMALL, move=D("0.15")),
    passes(PUMP, "nobody knows the volume of today", volume_ratio=None),
    denies(PUMP, "a price below 1, and moved", price=D("0.99"), market_price=D("0.99"), last_price=D("0.99"),
           stop_loss=D("0.95"), target=D("1.2"), average_volume=D(5_000_000), move=D("0.2"), says="AAPL is thin"),
    passes(PUMP, "a price of 1, and moved", price=D(1), market_price=D(1), last_price=D(1),
           stop_loss=D("0.95"), target=D("1.2"), average_volume=D(5_000_000), move=D("0.2")),
    passes(PUMP, "promoted, neither thin nor moved", **PROMOTED),
    denies(PUMP, "promoted and thin", **PROMOTED, **THIN_VOLUME, **SMALL,
           says="AAPL is thin, and 'tip' promotes it (price 100, 999999 traded in a usual day, thin below"
           " 1000000, moved"
           " 1 %, outsized from 15 %, 1 times the usual volume, outsized from 3)"),
    denies(PUMP, "promoted and moved", **PROMOTED, move=D("0.15"),
           says="is moved out of all proportion, and 'tip'"),
    denies(PUMP, "promoted among others, and moved", move=D("0.15"),
           sources=(source("news", "paper"), source("promotional"), source("promotional", "other")), says="'tip'"),
    denies(PUMP, "thin, moved, and nobody knows the volume", price=D("0.99"), market_price=D("0.99"), live=False,
           last_price=D("0.99"), stop_loss=D("0.95"), target=D("1.2"), average_volume=None, move=D("0.2"),
           also={"reversible_actions": "mercy"}),
    denies(PUMP, "nothing is traded in a usual day, and moved", average_volume=D(0), move=D("0.2"),
           also=["reversible_actions"]),
    # What is promoted and unknown is denied on paper, too.
    denies(PUMP, "promoted, and nobody knows the move, on paper", **PROMOTED, move=None, live=False, says="`move`"),
    denies(PUMP, "promoted, and nobody knows the volume, on paper", **PROMOTED, average_volume=None, live=False,
           says="`average_volume`", also={"reversible_actions": "mercy"}),
    passes(PUMP, "all was lost today", move=D(-1), says="moved -100 %"),
    denies(PUMP, "more than all was lost today", move=D("-1.0001"), says="`move` is -100.01 %, below nothing"),
    denies(PUMP, "more than all was lost today, on paper", move=D("-1.0001"), live=False),
    denies(PUMP, "a move that is no number", move=D("NaN"), live=False, says="`move` is not finite"),
    denies(PUMP, "a move that is a float", move=0.01, says="`move` is no decimal number"),
    denies(PUMP, "a move without bounds", move=D("1000000000001"), says="`move` is 1.000E+12, beyond"),
    passes(PUMP, "nothing was traded today", volume_ratio=D(0), says="0 times the usual volume"),
    denies(PUMP, "less than nothing was traded today", volume_ratio=D(-1), live=False,
           says="`volume_ratio` must be above 0, is -1"),
    denies(PUMP, "a volume that is a float", volume_ratio=1.0, says="`volume_ratio` is no decimal number"),
    denies(PUMP, "volume below zero", average_volume=D(-1), also=["reversible_actions"], says="`average_volume`"),
    denies(PUMP, "a short of a thin name that moved", base=SHORT, **THIN_VOLUME, **SMALL, move=D("-0.15")),
]  # fmt: skip
FRONTS = [
    passes(FRONT, "a client waits on the other side", client_orders=(client("sell"),), says="none of 1 waiting"),
    passes(FRONT, "a client waits in another symbol", client_orders=(client("buy", "MSFT"),)),
    denies(FRONT, "a client waits on the same side", client_orders=(client("buy"),),
           says="a client's order to buy 1000 AAPL goes first"),
    denies(FRONT, "a client waits behind others",
           client_orders=(client("sell"), client("buy", "MSFT"), client("buy"))),
    denies(FRONT, "a client sells, too", base=SHORT, client_orders=(client("sell"),)),
    denies(FRONT, "orders of clients that are none", client_orders=("AAPL",),
           says="it could not be judged: AttributeError"),
    denies(FRONT, "orders of clients that are no list, on paper", client_orders=True, live=False,
           says="`client_orders` is no list"),
    passes(FRONT, "a client buys what is sold", base=SHORT, client_orders=(client("buy"),)),
]  # fmt: skip
CASES: list[Case] = [*INSIDERS, *MANIPULATIONS, *PUMPS, *FRONTS]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_fairness_to_others_in_the_market(case: Case) -> None:
    assert case.complaint(judge) == ""
