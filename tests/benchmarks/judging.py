"""What one judgement costs, beside the same limits in plain Python and beside a judge that does nothing.

Usage: python -m tests.benchmarks.judging [--rounds N] [--json]

The yardstick keeps to the manner of Open Policy Agent: the input is nested dicts, a rule is data (where to
look, how to compare, with what), and one loop interprets them all. It counts in floats, knows nothing of
missing facts but that they are missing, and cannot ask a person: about the least that the same limits can cost
when they are data. The numbers of an action that follow from others (its share, its risk) are computed for it
in the same call.
"""

from __future__ import annotations

import argparse
import gc
import json
import operator
import statistics
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table

from actors.judging import Inputs, decide
from actors.ruleset_judge import Rulebook
from actors.ruleset_view import View
from graveyard import CEILINGS, Account, Action, Facts, judge
from graveyard.canaries import SOUND, failing
from graveyard.ethics import Judgement

Judging = Callable[[], Any]

CALLS = 2_000
RULES: tuple[tuple[tuple[str, ...], Callable[[Any, Any], bool], Any], ...] = (
    (("facts", "seal_fault"), operator.eq, ""),
    (("facts", "watchdog_age_s"), operator.le, 3.0),
    (("facts", "halted"), operator.eq, False),
    (("facts", "ledger_writable"), operator.eq, True),
    (("facts", "gateway_age_s"), operator.le, 3.0),
    (("action", "kind"), operator.eq, "trade"),
    (("action", "side"), lambda side, known: side in known, ("buy", "sell")),
    (("action", "entry"), lambda entry, known: entry in known, ("market", "limit")),
    (("facts", "price_age_s"), operator.le, 345_600.0),
    (("derived", "worst_standing"), operator.eq, "exchange"),
    (("derived", "restricted"), operator.eq, False),
    (("derived", "reasons"), operator.ge, 1),
    (("facts", "hops"), operator.le, 16),
    (("account", "messages"), operator.lt, 1000),
    (("derived", "repeats"), operator.lt, 10),
    (("derived", "unwanted"), operator.eq, False),
    (("derived", "share"), operator.le, 0.10),
    (("derived", "gross"), operator.le, 2.0),
    (("action", "leverage"), operator.le, 2.0),
    (("derived", "open_symbols"), operator.le, 5),
    (("derived", "loss"), operator.le, 0.05),
    (("derived", "stop"), operator.gt, 0.0),
    (("derived", "stop"), operator.le, 0.10),
    (("derived", "ratio"), operator.ge, 1.5),
    (("derived", "admits"), operator.eq, 0),
    (("derived", "meets_own"), operator.eq, False),
    (("derived", "off_market"), operator.le, 0.10),
    (("derived", "value_traded"), operator.ge, 1_000_000.0),
    (("derived", "client_ahead"), operator.eq, False),
    (("facts", "home_private"), operator.eq, True),
    (("facts", "personal"), operator.eq, ""),
    (("facts", "consents"), lambda consents, purpose: purpose in consents, "live_trading"),
    (("facts", "logs_redacted"), operator.eq, True),
    (("facts", "credentials_sealed"), operator.eq, True),
    (("derived", "exit_share"), operator.le, 0.05),
    (("derived", "share_of_new"), operator.le, 0.08),
    (("action", "leverage"), operator.le, 1.5),
)
"""Where to look, how to compare, with what."""


def interpret(given: dict[str, Any]) -> list[str]:
    """What the plain rules deny; a path that leads nowhere denies, too."""
    documents = {**given, "derived": derived(given["action"], given["account"], given["facts"])}
    denied = []
    for path, compare, limit in RULES:
        value: Any = documents
        for step in path:
            value = value.get(step)
            if value is None:
                break
        if value is None or not compare(value, limit):
            denied.append(f"{'.'.join(path)} is {value}; the limit is {limit}")
    return denied


def derived(action: dict[str, Any], account: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """The numbers that follow from others."""
    quantity, price, equity = action["quantity"], action["price"], account["equity"]
    exposures, symbol = account["exposures"], action["symbol"]
    sign = 1.0 if action["side"] == "buy" else -1.0
    new = quantity * max(price, facts["market_price"])
    risk = (price - action["stop_loss"]) * sign
    lost = max(account["day_start_equity"] - equity, -account["realised_today"] - account["unrealised_today"], 0.0)
    return {
        "worst_standing": next((each["standing"] for each in facts["sources"]), None),
        "restricted": symbol in facts["restricted"],
        "reasons": len(action["reasons"]),
        "repeats": sum(each["price"] == price and each["quantity"] == quantity for each in account["recent"]),
        "unwanted": symbol in facts["no_trade"],
        "share": (exposures.get(symbol, 0.0) + new) / equity,
        "share_of_new": new / equity,
        "gross": (sum(exposures.values()) + new) / equity,
        "open_symbols": len({*exposures, symbol}),
        "loss": (lost + account["open_risk"] + quantity * abs(risk)) / account["day_start_equity"],
        "stop": risk / price,
        "ratio": (action["target"] - price) * sign / risk,
        "admits": len(action["admits"]),
        "meets_own": any(
            each["symbol"] == symbol and each["side"] != action["side"] and (each["price"] - price) * sign <= 0
            for each in account["orders"]
        ),
        "off_market": abs(price / facts["last_price"] - 1.0),
        "value_traded": facts["average_volume"] * price,
        "client_ahead": any(
            each["symbol"] == symbol and each["side"] == action["side"] for each in facts["client_orders"]
        ),
        "exit_share": quantity / facts["average_volume"],
    }


def plain(value: Any) -> Any:
    """A value of the rule book as what JSON could have brought: dicts, lists, floats, text."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    if type(value).__name__ == "Decimal":
        return float(value)
    return {key: plain(each) for key, each in value.items()} if hasattr(value, "items") else value


def nothing(action: Action, account: Account, facts: Facts) -> Judgement:
    """A judge that looks at nothing."""
    return Judgement((), ("nothing",))


def whole() -> Inputs:
    """The sound action with what the ruleset and the synthesis look at."""
    action, account, facts = SOUND.action, SOUND.account, SOUND.facts
    assert action.quantity is not None
    assert action.price is not None
    assert action.stop_loss is not None
    assert account.equity is not None
    assert facts.average_volume is not None
    view = View(
        symbol=action.symbol,
        direction="long" if action.side == "buy" else "short",
        now=facts.now,
        age_s=1.0,
        price=action.price,
        entry=action.price,
        stop=action.stop_loss,
        target=action.target,
        share=action.quantity * action.price / account.equity,
        risk_share=action.quantity * abs(action.price - action.stop_loss) / account.equity,
        day_pnl_share=Decimal(0),
        week_pnl_share=Decimal(0),
        open_positions=0,
        from_pattern=False,
        sources=tuple(each.name for each in facts.sources or ()),
        average_volume=float(facts.average_volume),
        volume=float(facts.average_volume),
        atr_share=0.02,
        market_move=0.0,
        volatility_index=15.0,
    )
    return Inputs(action, account, facts, view, (), None, None, action.price)


def run(rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds of one call of each, median and p99; of several rounds in turn, the best."""
    given = SOUND.action, SOUND.account, SOUND.facts
    documents = {"action": plain(SOUND.action), "account": plain(SOUND.account), "facts": plain(SOUND.facts)}
    if interpret(documents) or judge(*given).findings:
        raise SystemExit("the sound action is not sound")
    inputs, book = whole(), Rulebook()
    if decide(inputs, CEILINGS, book).zone != "approve":
        raise SystemExit("the sound action is not approved")
    candidates: dict[str, tuple[Judging, int]] = {
        "an empty judge": (lambda: nothing(*given), CALLS),
        "limits as data, interpreted, in floats": (lambda: interpret(documents), CALLS),
        "ARK: 26 rules": (lambda: judge(*given), CALLS),
        "ARK: 26 rules, ruleset and synthesis": (lambda: decide(inputs, CEILINGS, book), CALLS),
        "ARK: 26 rules, each saying what it saw": (lambda: judge(*given, telling=True), CALLS),
        "ARK: all canaries": (failing, CALLS // 20),
    }
    best: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for name, (call, count) in candidates.items():
            found = _timed(call, count)
            before = best.get(name, found)
            best[name] = {key: min(before[key], found[key]) for key in found}
    return best


def _timed(call: Judging, count: int) -> dict[str, float]:
    clock, samples = time.perf_counter_ns, []
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(count):
            began = clock()
            call()
            samples.append(clock() - began)
    finally:
        if collecting:
            gc.enable()
    samples.sort()
    return {"p50_us": statistics.median(samples) / 1000, "p99_us": samples[int(count * 0.99)] / 1000}


def show(found: dict[str, dict[str, float]], console: Console) -> None:
    """Print a table."""
    table = Table(title="one sound action, microseconds")
    for heading in ("", "p50", "p99", "of the interpreted"):
        table.add_column(heading, justify="left" if not heading else "right")
    yardstick = found["limits as data, interpreted, in floats"]["p50_us"]
    for name, each in found.items():
        table.add_row(name, f"{each['p50_us']:.1f}", f"{each['p99_us']:.1f}", f"{each['p50_us'] / yardstick:.2f} x")
    console.print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often all are measured; the best counts (7)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = run(arguments.rounds)
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        show(found, Console())


if __name__ == "__main__":
    main()
