"""Risk: what one action may take of the account, just inside and just outside of each limit."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from graveyard import judge
from tests.graveyard.cases import FIVE, FOUR, SHORT, Case, denies, passes

LARGE = {"human_in_loop_critical": "ask"}
SIZE, LEVERAGE, COUNT = "max_position_size", "max_leverage", "max_concurrent_trades"
LOSS, STOP, REWARD = "max_daily_loss", "require_stop_loss", "min_risk_reward"

SIZES = [
    passes(SIZE, "a tenth exactly", quantity=D(100), also=LARGE),
    denies(SIZE, "the smallest step beyond a tenth", quantity=D("100.000000001"), also=LARGE),
    passes(SIZE, "held and new make a tenth", exposures={"AAPL": D(5000)},
           says="AAPL would come to 10000"),
    denies(SIZE, "held and new make a cent more", exposures={"AAPL": D("5000.01")},
           says="AAPL would come to 10000.01 (held and reserved 5000.01, new 5000), 10 % of the equity 100000;"
           " the limit is 10 %"),
    denies(SIZE, "twice as much", quantity=D(150), exposures={"AAPL": D(5000)}, also=LARGE,
           says="new 15000), 20 % of the equity"),
    passes(SIZE, "another symbol's exposure does not count", exposures={"MSFT": D(90_000)}),
    denies(SIZE, "a market order that may fill higher", quantity=D(99), market_price=D("101.02"),
           also=LARGE, says="10000.98"),
    passes(SIZE, "a market order that may fill at just a tenth", quantity=D(99), market_price=D("101.01"),
           also=LARGE),
    denies(SIZE, "a market order that names more than the market", quantity=D("100.1"), market_price=D(1),
           also=LARGE),
    passes(SIZE, "a limit to buy fills at its limit or below", quantity=D(100), entry="limit",
           market_price=D(109), also=LARGE),
    denies(SIZE, "a limit to sell may fill higher", base=SHORT, quantity=D(100), entry="limit",
           market_price=D("100.01"), also=LARGE),
    passes(SIZE, "a short of a tenth", base=SHORT, quantity=D(100), also=LARGE),
    denies(SIZE, "a short beyond a tenth", base=SHORT, quantity=D("100.01"), also=LARGE),
    passes(SIZE, "a claim of a tenth", position_size_pct=D("0.10"), also=LARGE),
    denies(SIZE, "a claim of more than a tenth", position_size_pct=D("0.1001"), also=LARGE,
           says="position_size_pct"),
    denies(SIZE, "a claim of nothing", position_size_pct=D(0), also=["human_in_loop_critical"],
           says="`position_size_pct` must be above 0"),
    denies(SIZE, "a small claim for a large position", position_size_pct=D("0.01"), quantity=D(101), also=LARGE),
    denies(SIZE, "exposure in the symbol below zero", exposures={"AAPL": D(-1)},
           also=[LEVERAGE, "human_in_loop_critical"], says="exposures"),
]  # fmt: skip
LEVERAGES = [
    passes(LEVERAGE, "twice the equity exactly", exposures={"B": D(195_000)}, also=LARGE, says="200000, 2 times"),
    denies(LEVERAGE, "a cent above twice", exposures={"B": D("195000.01")}, also=LARGE, says="200000.01"),
    denies(LEVERAGE, "two symbols together", exposures={"B": D(100_000), "C": D("95000.01")}, also=LARGE),
    denies(LEVERAGE, "twice is passed, and a person allowed it", exposures={"B": D("195000.01")}, person=True),
    passes(LEVERAGE, "a limit to buy counts at its limit", exposures={"B": D(195_000)}, entry="limit",
           market_price=D(109), also=LARGE),
    denies(LEVERAGE, "a market order counts at the market", exposures={"B": D(195_000)}, market_price=D("100.01"),
           also=LARGE),
    denies(LEVERAGE, "a short adds to longs", base=SHORT, exposures={"B": D("195000.01")}, also=LARGE),
    passes(LEVERAGE, "twice is asked for", leverage=D("2.0"), also=LARGE),
    denies(LEVERAGE, "a hair more than twice is asked for", leverage=D("2.000000001"), also=LARGE,
           says="`leverage`"),
    denies(LEVERAGE, "none at all is asked for", leverage=D(0), also=["human_in_loop_critical"],
           says="`leverage` must be above 0"),
    denies(LEVERAGE, "another symbol's exposure below zero", exposures={"B": D(-1)}, says="`exposures`",
           also=["human_in_loop_critical"]),
    passes(LEVERAGE, "another symbol's exposure of nothing", exposures={"B": D(0)}),
    passes(LEVERAGE, "less equity, and just enough", equity=D(99_000), exposures={"B": D(193_000)},
           day_start_equity=D(99_000), also=LARGE),
    denies(LEVERAGE, "less equity, and not enough", equity=D("98999.99"), exposures={"B": D(193_000)},
           day_start_equity=D(99_000), also=LARGE),
]  # fmt: skip
COUNTS = [
    passes(COUNT, "a fifth symbol", exposures=FOUR, says="number 5 beside A, B, C, D"),
    denies(COUNT, "a sixth symbol", exposures=FIVE, says="number 6 beside A, B, C, D, E"),
    passes(COUNT, "more of one of five", exposures={**FOUR, "AAPL": D(100)}, says="number 5 beside A, B, C, D;"),
    passes(COUNT, "more of one of six", exposures={**FIVE, "AAPL": D(100)}, says="number 6"),
    passes(COUNT, "the first one", says="number 1 beside nothing"),
    denies(COUNT, "a sixth symbol, short", base=SHORT, exposures=FIVE),
]  # fmt: skip
LOSSES = [
    passes(LOSS, "all stops together cost a twentieth", open_risk=D(4750), says="together 5 %"),
    denies(LOSS, "all stops together cost a cent more", open_risk=D("4750.01"),
           says="lost today 0, at risk in open trades 4750.01, in this one 250: together 5 % of the day's first"
           " equity 100000; the limit is 5 %"),
    denies(LOSS, "a tenth of the day's first equity", open_risk=D(9750), says="together 10 % of"),
    passes(LOSS, "lost by the equity, and just enough left", equity=D(95_250)),
    denies(LOSS, "lost by the equity, and a cent too much", equity=D("95249.99")),
    passes(LOSS, "lost by the trades, and just enough left", realised_today=D(-4000), unrealised_today=D(-750)),
    denies(LOSS, "realised a cent too much", realised_today=D("-4000.01"), unrealised_today=D(-750)),
    denies(LOSS, "unrealised a cent too much", realised_today=D(-4000), unrealised_today=D("-750.01")),
    passes(LOSS, "unrealised gains stand against realised losses", realised_today=D(-5750),
           unrealised_today=D(1000)),
    denies(LOSS, "a gain by the trades hides no loss by the equity", equity=D("95249.99"), realised_today=D(9000)),
    denies(LOSS, "a gain by the equity hides no loss by the trades", equity=D(109_000), realised_today=D(-4751)),
    passes(LOSS, "lost, and stops", equity=D(98_000), open_risk=D(2750)),
    denies(LOSS, "lost, and stops, a cent too much", equity=D(98_000), open_risk=D("2750.01")),
    denies(LOSS, "a gain of the day buys no risk", equity=D(150_000), realised_today=D(50_000),
           open_risk=D("4750.01")),
    passes(LOSS, "a gain of the day takes no risk away", equity=D(150_000), realised_today=D(50_000),
           open_risk=D(4750)),
    denies(LOSS, "a short's own stop counts", base=SHORT, open_risk=D("4750.01")),
    passes(LOSS, "a short's own stop, just enough", base=SHORT, open_risk=D(4750)),
    denies(LOSS, "a short's own stop at a limit", base=SHORT, entry="limit", open_risk=D("4750.01")),
    passes(LOSS, "a short's own stop at a limit, just enough", base=SHORT, entry="limit", open_risk=D(4750)),
    # A purchase at the market may fill as high as the highest credible price, and ends at the same stop.
    passes(LOSS, "a purchase at the market from its worst price", market_price=D(101), open_risk=D(4700),
           says="in this one 300: together 5 %"),
    denies(LOSS, "a purchase at the market from its worst price, a cent too much", market_price=D(101),
           open_risk=D("4700.01"), says="in this one 300"),
    passes(LOSS, "a purchase at the market that names more than it", market_price=D(99), open_risk=D(4750),
           says="in this one 250"),
    denies(LOSS, "a purchase at the market that names more than it, a cent too much", market_price=D(99),
           open_risk=D("4750.01")),
    passes(LOSS, "a limit to buy is never filled above it", entry="limit", market_price=D(109), open_risk=D(4750),
           says="in this one 250"),
    denies(LOSS, "a limit to buy, a cent too much", entry="limit", market_price=D(109), open_risk=D("4750.01")),
    passes(LOSS, "a short that fills higher is nearer to its stop", base=SHORT, market_price=D(111),
           open_risk=D(4750), says="in this one 250"),
    passes(LOSS, "a sale at the market from the newest price", base=SHORT, last_price=D(99), open_risk=D(4700),
           says="in this one 300: together 5 %"),
    denies(LOSS, "a sale at the market from the newest price, a cent too much", base=SHORT, last_price=D(99),
           open_risk=D("4700.01"), says="in this one 300"),
    passes(LOSS, "a sale at the market that names less than it", base=SHORT, last_price=D(101), open_risk=D(4750),
           says="in this one 250"),
    denies(LOSS, "a sale at the market that names less than it, a cent too much", base=SHORT, last_price=D(101),
           open_risk=D("4750.01")),
    passes(LOSS, "a sale at a limit is never filled below it", base=SHORT, entry="limit", last_price=D(99),
           open_risk=D(4750), says="in this one 250"),
    denies(LOSS, "a loss that no market has", realised_today=D("-1000000000000.01"),
           says="`realised_today` is -1.000E+12, beyond 1000000000000 either way"),
    denies(LOSS, "a gain that no market has", unrealised_today=D("1000000000000.01"),
           says="`unrealised_today` is 1.000E+12, beyond"),
    denies(LOSS, "realised as a float", realised_today=-1.0, says="`realised_today` is no decimal number"),
    denies(LOSS, "unrealised as a text", unrealised_today="1", says="`unrealised_today` is no decimal number"),
    denies(LOSS, "realised without end", realised_today=D("Infinity"), says="`realised_today` is not finite"),
    denies(LOSS, "unrealised without end", unrealised_today=D("Infinity"), says="`unrealised_today` is not finite"),
    denies(LOSS, "realised is no number", realised_today=D("NaN"), says="`realised_today` is not finite"),
    denies(LOSS, "unrealised is no number", unrealised_today=D("NaN"), says="`unrealised_today` is not finite"),
    denies(LOSS, "open risk below zero", open_risk=D(-1), says="`open_risk`"),
]  # fmt: skip
STOPS = [
    passes(STOP, "a tenth away", stop_loss=D(90), target=D(120),
           says="`stop_loss` 90 is 10 % from the entry 100; the limit is 10 %"),
    denies(STOP, "a cent more than a tenth away", stop_loss=D("89.99"), target=D(120)),
    passes(STOP, "a tick away", stop_loss=D("99.99")),
    denies(STOP, "less than a tick away", stop_loss=D("99.991"), says="less than a tick"),
    denies(STOP, "at the entry", stop_loss=D(100), says="less than a tick", also=[REWARD]),
    denies(STOP, "above the entry of a long", stop_loss=D("100.01"), says="must be below", also=[REWARD]),
    passes(STOP, "a small tick below 1", price=D("0.9999"), market_price=D("0.9999"), last_price=D("0.9999"),
           stop_loss=D("0.9998"), target=D("1.2"), average_volume=D(2_000_000)),
    denies(STOP, "less than the small tick below 1", price=D("0.9999"), market_price=D("0.9999"),
           last_price=D("0.9999"), stop_loss=D("0.99981"), target=D("1.2"), average_volume=D(2_000_000)),
    passes(STOP, "a tenth above a short", base=SHORT, stop_loss=D(110), target=D(80)),
    denies(STOP, "a cent more than a tenth above a short", base=SHORT, stop_loss=D("110.01"), target=D(80)),
    passes(STOP, "a tick above a short", base=SHORT, stop_loss=D("100.01")),
    denies(STOP, "less than a tick above a short", base=SHORT, stop_loss=D("100.009")),
    denies(STOP, "below a short", base=SHORT, stop_loss=D("99.99"), says="must be above", also=[REWARD]),
    denies(STOP, "a stop of 0", stop_loss=D(0), also=[REWARD, LOSS], says="`stop_loss` must be above 0"),
]  # fmt: skip
REWARDS = [
    passes(REWARD, "one and a half", target=D("107.50"), says="a ratio of 1.5;"),
    denies(REWARD, "a hair less", target=D("107.4999"),
           says="7.4999 to win for 5 to lose is a ratio of 1.5; the limit is 1.5"),
    denies(REWARD, "on the losing side", target=D(90)),
    passes(REWARD, "one and a half for a short", base=SHORT, target=D("92.50")),
    denies(REWARD, "a hair less for a short", base=SHORT, target=D("92.5001")),
    denies(REWARD, "on the losing side of a short", base=SHORT, target=D(110)),
    denies(REWARD, "no risk at all", stop_loss=D(100), says="no risk to weigh", also=[STOP]),
]  # fmt: skip
CASES: list[Case] = [*SIZES, *LEVERAGES, *COUNTS, *LOSSES, *STOPS, *REWARDS]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_limits_of_the_account(case: Case) -> None:
    assert case.complaint(judge) == ""
