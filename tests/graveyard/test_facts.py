"""Facts that are missing or cannot be what they claim to be: no rule that needs one lets the action pass."""

from __future__ import annotations

import dataclasses
from decimal import Decimal as D
from typing import Any

import pytest

from graveyard import judge
from graveyard.facts import LARGEST, SMALLEST, Unknown, given, number, show, show_percent, signed
from tests.graveyard.cases import (
    ACCOUNT_FIELDS,
    ACTION_FIELDS,
    DATA,
    FACTS_FIELDS,
    LONG,
    NOW,
    SHORT,
    Case,
    client,
    done,
    messages,
    missing,
    resting,
    source,
    spoken,
    triple,
)

SIZED = ("max_position_size", "max_leverage")
MONEY = ("max_daily_loss", "no_market_manipulation", "reversible_actions", "human_in_loop_critical")
NEEDS: dict[str, tuple[str, ...]] = {
    "kind": ("require_hrm_approval",),
    "symbol": ("require_hrm_approval",),
    "entry": ("require_hrm_approval",),
    "quantity": (*SIZED, *MONEY),
    "price": (
        *SIZED, "max_daily_loss", "require_stop_loss", "min_risk_reward", "no_market_manipulation",
        "no_pump_and_dump", "human_in_loop_critical",
    ),
    "stop_loss": ("max_daily_loss", "require_stop_loss", "min_risk_reward"),
    "target": ("min_risk_reward",),
    "leverage": ("max_leverage", "human_in_loop_critical"),
    "equity": (*SIZED, "max_daily_loss", "human_in_loop_critical"),
    "day_start_equity": ("max_daily_loss",),
    "exposures": (*SIZED, "max_concurrent_trades", "human_in_loop_critical"),
    "open_risk": ("max_daily_loss",),
    "realised_today": ("max_daily_loss",),
    "unrealised_today": ("max_daily_loss",),
    "orders": ("no_market_manipulation",),
    "recent": ("prevent_infinite_loops", "no_market_manipulation"),
    "messages": ("prevent_infinite_loops",),
    "halted": ("emergency_halt_enabled",),
    "market_price": (*SIZED, "max_daily_loss", "human_in_loop_critical"),
    "seal_fault": ("immutable_graveyard",),
    "watchdog_age_s": ("watchdog_monitoring",),
    "gateway_age_s": ("user_override_allowed",),
    "ledger_writable": ("audit_all_actions",),
    "logs_redacted": ("anonymize_logs",),
    "home_private": ("protect_user_data",),
    "credentials_sealed": ("encrypt_credentials",),
    "personal": ("protect_user_data",),
    "hops": ("prevent_infinite_loops",),
    "sources": ("validate_data_sources", "no_insider_trading", "no_pump_and_dump"),
    "restricted": ("no_insider_trading",),
    "no_trade": ("preserve_user_autonomy",),
    "consents": ("require_consent",),
}  # fmt: skip
"""For each field of an action, an account and the facts, the rules that deny a trade without it."""
LIVE_NEEDS: dict[str, tuple[str, ...]] = {
    "client_orders": ("no_front_running",),
    "last_price": ("validate_data_sources", "no_market_manipulation"),
    "average_volume": ("no_pump_and_dump", "reversible_actions"),
    "move": ("no_pump_and_dump",),
}
"""The same for what only a live market has: on paper its absence is only warned about."""
NOT_NEEDED = {
    "position_size_pct", "reasons", "admits", "subject", "sensitivity", "encrypted", "halt_reason", "now", "live",
    "person", "volume_ratio", "session_left_s", "price_age_s",
}  # fmt: skip
"""What can be left out; of `price_age_s` there are cases of its own."""
OLD = ("validate_data_sources", "no_market_manipulation")
NAMED = {
    "kind": "`kind` is None",
    "symbol": "`symbol` is None",
    "side": "`side` is None",
    "entry": "`entry` is None",
}
CASES: list[Case] = [
    *(dataclasses.replace(case, says=NAMED.get(field, f"`{field}` is missing"))
      for field, rules in {**NEEDS, **LIVE_NEEDS}.items() for case in missing(field, rules)),
    *(dataclasses.replace(case, says=f"`{field}` is missing")
      for field, rules in LIVE_NEEDS.items() for case in missing(field, rules, live=True, word="mercy")),
    *(Case(rule, f"{field} missing, and nobody knows whether it is paper", "deny", {field: None, "live": None},
           says=f"`{field}` is missing", also={other: "deny" for other in rules if other != rule})
      for field, rules in LIVE_NEEDS.items() for rule in rules),
    *(Case(rule, f"the price has no age{' on paper' if word == 'mercy' else ''}", word,
           {"price_age_s": None, "live": word != "mercy"}, says="`price_age_s` is missing",
           also={other: word for other in OLD if other != rule})
      for rule in OLD for word in ("deny", "mercy")),
    *(Case("max_leverage", f"the highest price is missing, and the loss does not follow from it: {what}", "deny",
           {"market_price": None, **changes}, base, says="`market_price` is missing",
           also=dict.fromkeys(("max_position_size", "human_in_loop_critical"), "deny"))
      for what, base, changes in (("short", SHORT, {}), ("limited short", SHORT, {"entry": "limit"}),
                                  ("limit to buy", LONG, {"entry": "limit"}))),
    # What is neither bought nor sold has its stop on no losing side, either.
    Case("require_hrm_approval", "nobody knows the side", "deny", {"side": None}, says="`side` is None",
         also=dict.fromkeys(("require_stop_loss", "min_risk_reward"), "deny")),
    Case("no_market_manipulation", "an own order waits, and nobody knows the market", "deny",
         {"orders": (resting("sell", "101", leg="target"),), "market_price": None},
         says="`market_price` is missing",
         also=dict.fromkeys((*SIZED, "max_daily_loss", "human_in_loop_critical"), "deny")),
    Case("require_hrm_approval", "nobody knows how sensitive the data is", "deny", {"sensitivity": None}, DATA,
         says="`sensitivity` is None"),
    Case("no_pump_and_dump", "a price of 1, and nobody knows the volume", "mercy",
         {"price": D(1), "market_price": D(1), "last_price": D(1), "stop_loss": D("0.95"), "target": D("1.2"),
          "average_volume": None, "move": D("0.2"), "live": False}, also={"reversible_actions": "mercy"}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_missing_fact_is_named_by_every_rule_that_needs_it(case: Case) -> None:
    assert case.complaint(judge) == ""


def test_every_field_is_needed_by_a_rule_or_known_not_to_be() -> None:
    fields = {*ACTION_FIELDS, *ACCOUNT_FIELDS, *FACTS_FIELDS}
    assert fields == {*NEEDS, *LIVE_NEEDS, "side"} | NOT_NEEDED
    assert not {*NEEDS, *LIVE_NEEDS} & NOT_NEEDED


DECIMALS = (
    "quantity", "price", "stop_loss", "target", "leverage", "position_size_pct", "equity", "day_start_equity",
    "open_risk", "market_price", "last_price", "average_volume",
)  # fmt: skip
NO_DECIMALS = [
    "100", "", 100.0, 100, True, False, float("nan"), float("inf"), 1e308, [], D("NaN"), D("sNaN"), D("Infinity"),
    D("-Infinity"), D(-1), D("-1e-30"), D("1e308"), D("-1e308"), D("1e-308"), D("1e999999"),
]  # fmt: skip


@pytest.mark.parametrize("base", [LONG, SHORT], ids=["long", "short"])
@pytest.mark.parametrize("value", NO_DECIMALS, ids=repr)
@pytest.mark.parametrize("field", DECIMALS)
def test_a_number_that_no_market_has_is_denied_by_name_even_on_paper(field: str, value: Any, base: Any) -> None:
    needing = set({**NEEDS, **LIVE_NEEDS}.get(field, ("max_position_size", "human_in_loop_critical")))
    if field == "market_price" and base is SHORT:
        needing.remove("max_daily_loss")  # the highest price is the best one to sell at
    for live in (True, False, None):
        given_ = triple(base, live=live, **{field: value})
        judgement = judge(*given_)
        said = messages(judgement)
        for rule in needing:
            assert spoken(judgement)[rule] == "deny"
            assert f"`{field}`" in said[rule]
        assert judge(*given_, telling=True).findings == judgement.findings


@pytest.mark.parametrize("field", [each for each in DECIMALS if each not in ("open_risk", "average_volume")])
def test_nothing_is_no_number_where_something_is_wanted(field: str) -> None:
    assert judge(*triple(**{field: D(0)})).denied


@pytest.mark.parametrize("value", NO_DECIMALS, ids=repr)
def test_an_exposure_that_no_market_has_is_denied(value: Any) -> None:
    assert "`exposures`" in messages(judge(*triple(exposures={"B": value})))["max_leverage"]
    assert "`exposures`" in messages(judge(*triple(exposures={"AAPL": value})))["max_position_size"]


AGES = ("watchdog_age_s", "gateway_age_s")
FLAGS = ("halted", "ledger_writable", "logs_redacted", "home_private", "credentials_sealed")
ODD = [
    *((field, value) for field in AGES for value in (float("nan"), float("inf"), -1.0, 1e308, D("Infinity"))),
    *((field, value) for field in AGES for value in ("1", D("NaN"), D("sNaN"), [])),
    *((field, True) for field in AGES),
    *((field, value) for field in FLAGS for value in (1, 0, "yes", "", float("nan"), D(1), [])),
    *(("price_age_s", value) for value in (float("nan"), float("inf"), -1.0, 1e308)),
    *(("price_age_s", value) for value in ("1", D("NaN"), [])),
    ("price_age_s", True),
    *(("hops", value) for value in (float("inf"), 1e308)),
    *(("messages", value) for value in (float("inf"), 1e308)),
    *((field, value) for field in ("hops", "messages") for value in (float("nan"), -1, True, 0.5)),
    *((field, value) for field in ("hops", "messages") for value in ("3", D("NaN"), [])),
    *(("realised_today", value) for value in (D("-1e308"), D("NaN"), D("sNaN"), D("Infinity"), D("-Infinity"))),
    *((field, value) for field in ("realised_today", "unrealised_today")
      for value in (1.0, 0, "1", True, float("nan"))),
    *((field, D("1e308")) for field in ("realised_today", "unrealised_today")),
    *((field, value) for field in ("move", "volume_ratio")
      for value in (D("NaN"), D("sNaN"), float("nan"), "1")),
    *((field, value) for field in ("move", "volume_ratio") for value in (True, 0.01, D(-2))),
    *(("session_left_s", value) for value in (float("nan"), True, -1.0)),
    *(("session_left_s", value) for value in ("1", D("NaN"))),
    *((field, value) for field in ("seal_fault", "personal") for value in (False, 0, [])),
    *((field, value) for field in ("seal_fault", "personal") for value in (True, 1)),
    ("sources", ()),
    *(("sources", value) for value in ("nasdaq", ("nasdaq",), True)),
    *(("sources", (source("news", embargo_until=value),)) for value in (None, "1", D("NaN"))),
    ("sources", (source("news", quarantined=None),)),
    *(("sources", (source(value),)) for value in (None, "", "EXCHANGE", 1)),
    *(("now", value) for value in (None, "1")),
    *(("now", value) for value in (float("nan"), float("inf"), float("-inf"), -1.0)),
    *((field, value) for field in ("restricted", "no_trade") for value in ("MSFT", "", (), set(), {})),
    *(("consents", value) for value in ("", (), "live_trading", ("live_trading",), {"live_trading"})),
    *((field, value) for field in ("restricted", "no_trade", "consents") for value in (True, 1)),
    *(("client_orders", value) for value in (True, ("AAPL",))),
    *(("orders", value) for value in (True, ("AAPL",))),
    *(("recent", value) for value in (True, ("AAPL",))),
    *(("exposures", value) for value in (True, "AAPL", [])),
    *(("kind", value) for value in ([], {})),
    *(("symbol", value) for value in ([], {})),
    *(("reasons", value) for value in (None, (1,), (None,))),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), ODD)
def test_a_value_of_another_kind_is_denied(field: str, value: Any) -> None:
    changes = {field: value}
    if field == "now":
        changes["sources"] = (source("filing", embargo_until=NOW),)
    given_ = triple(**changes)
    judgement = judge(*given_)
    assert judgement.denied
    assert judge(*given_, telling=True).findings == judgement.findings


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"orders": (dataclasses.replace(resting("sell", "101"), price=D("NaN")),)}, id="an own order"),
        pytest.param(
            {"recent": (done("fill", "buy"), dataclasses.replace(done("fill", "sell"), price=D("NaN"))) * 3},
            id="fills",
        ),
        pytest.param(
            {"recent": (dataclasses.replace(done("order", "buy"), quantity=D("sNaN")),)}, id="an order's quantity"
        ),
    ],
)
def test_own_orders_and_fills_without_a_price_are_denied(changes: dict[str, Any]) -> None:
    assert judge(*triple(entry="limit", **changes)).denied


def test_a_client_order_of_no_quantity_goes_first_all_the_same() -> None:
    waiting = dataclasses.replace(client("buy"), quantity=D("NaN"))
    assert spoken(judge(*triple(client_orders=(waiting,)))) == {"no_front_running": "deny"}


def test_numbers_are_decimals_that_a_market_can_have() -> None:
    for value in (SMALLEST, LARGEST, D(1)):
        assert number("x", value) == value
    assert number("x", D(0), zero=True) == 0
    assert number("x", D("-0"), zero=True) == 0
    for value in (SMALLEST / 2, LARGEST + 1, D(0), -SMALLEST):
        with pytest.raises(Unknown, match="`x`"):
            number("x", value)
    with pytest.raises(Unknown, match="`x` must be above 0, is -1"):
        number("x", D(-1), zero=True)
    with pytest.raises(Unknown, match=r"`x` is 1.000E\+13, beyond 0.000000001 to 1000000000000"):
        number("x", D("1e13"))


def test_gains_are_decimals_of_either_sign_that_a_market_can_have() -> None:
    for value in (LARGEST, -LARGEST, D(0), SMALLEST / 2, D(-1)):
        assert signed("x", value) == value
    for value, what in (
        (None, "`x` is missing"), (True, "`x` is no decimal number"), (0, "`x` is no decimal number"),
        (-1.0, "`x` is no decimal number"), ("1", "`x` is no decimal number"), (D("NaN"), "`x` is not finite"),
        (D("sNaN"), "`x` is not finite"), (D("-Infinity"), "`x` is not finite"),
        (LARGEST + SMALLEST, r"`x` is 1.000E\+12, beyond 1000000000000 either way"),
        (-LARGEST - SMALLEST, r"`x` is -1.000E\+12, beyond 1000000000000 either way"),
    ):  # fmt: skip
        with pytest.raises(Unknown, match=what) as raised:
            signed("x", value)
        assert raised.value.live is False


def test_a_truth_is_nothing_but_true_or_false() -> None:
    assert given("x", True) is True
    assert given("x", False) is False
    with pytest.raises(Unknown, match="`x` is missing"):
        given("x", None)
    with pytest.raises(Unknown, match="`x` is 1, neither true nor false"):
        given("x", 1)  # type: ignore[arg-type]


def test_numbers_are_shown_short_and_never_wrongly() -> None:
    assert show(D("100.50000")) == "100.5"
    assert show(D(100)) == "100"
    assert show(D("NaN")) == "NaN"
    assert show(D("1e30")) == "1.0000E+30"
    assert show_percent(D("0.10")) == "10 %"
