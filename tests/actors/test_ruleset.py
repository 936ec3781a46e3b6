"""The operator's ruleset: nothing looser than Graveyard and original is taken, and every rule is really judged."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.breakers import Breakers, BreakerSettings, DayLoss, LosingRun, MarketFall
from actors.messages import Violation
from actors.ruleset import ORIGINAL_OVERRIDES, Override, Ruleset, for_pattern
from actors.ruleset_book import HALTING, RULESET_RULES, STAGES
from actors.ruleset_examination import read_ruleset, validated
from actors.ruleset_judge import CHECKS, Rulebook, RulesetJudgement, judge_ruleset
from actors.ruleset_view import View, market_type_of, sector_exposure
from actors.sessions import day_in_new_york, in_regular_hours
from actors.synthesis import Thresholds
from ark.errors import ConfigError
from graveyard import Limits

NOON = datetime(2026, 3, 2, 17, 0, tzinfo=UTC).timestamp()
"""A Monday, 12:00 in New York."""

KNOWN: dict[str, Any] = {
    "symbol": "AAPL", "direction": "long", "now": NOON, "age_s": 1.0, "price": D(100), "entry": D(100),
    "stop": D(95), "target": D(110), "share": D("0.05"), "risk_share": D("0.0025"), "day_pnl_share": D(0),
    "week_pnl_share": D(0), "open_positions": 0, "from_pattern": True, "pattern": "momentum",
    "confidence": 0.8, "scores": {"weighted_total": 0.7, "technical": 0.6}, "holding_hours": 48.0,
    "catalyst": "earnings beat", "sources": ("newswire",), "average_volume": 1e6, "volume": 1e5,
    "atr_share": 0.02, "market_move": 0.01, "volatility_index": 15.0, "sector_share": D("0.1"),
}  # fmt: skip
"""Everything known, everything sound."""
PAPER = dict.fromkeys(("average_volume", "volume", "atr_share", "market_move", "volatility_index"))
OWN = {"from_pattern": False, "pattern": None, "confidence": None, "scores": {}, "holding_hours": None}
BOOK = Rulebook()
DATES: dict[str, Any] = tomllib.loads("quiet_days = [2026-03-02, 2026-06-17]")


def view(**changes: Any) -> View:
    return View(**{**KNOWN, **changes})


def judged(book: Rulebook = BOOK, live: bool = True, **changes: Any) -> RulesetJudgement:
    return judge_ruleset(view(**changes), book, live=live)


def denied_by(book: Rulebook = BOOK, live: bool = True, **changes: Any) -> list[str]:
    return [each.rule.id for each in judged(book, live, **changes).findings if each.denies]


def warned_by(book: Rulebook = BOOK, live: bool = True, **changes: Any) -> list[str]:
    return [each.rule.id for each in judged(book, live, **changes).findings if not each.denies]


def book(**settings: Any) -> Rulebook:
    return Rulebook(read_ruleset(settings))


# The rules


def test_the_book_has_the_originals_22_rules_its_limits_and_its_breakers_each_with_a_check() -> None:
    ids = [rule.id for rule in RULESET_RULES]
    original = [id_ for id_ in ids if not id_.startswith(("LIMIT", "CB"))]
    assert len(original) == 22
    assert set(ids) == set(CHECKS)
    assert len(ids) == len(set(ids)) == 29


def test_a_sound_plan_passes_every_rule_live() -> None:
    judgement = judged()
    assert judgement.approved
    assert judgement.findings == ()
    assert len(judgement.rules_checked) == 29


def test_a_signal_with_its_own_plan_is_approved_on_paper_with_warnings_for_what_only_a_market_knows() -> None:
    own = {**OWN, **PAPER, "catalyst": None, "sources": (), "sector_share": None}
    judgement = judged(live=False, **own)
    assert judgement.approved
    assert [each.rule.split()[0] for each in judgement.warnings] == ["ETH-004", "DATA-001", "MKT-003", "CB-003"]
    assert judgement.quality_warnings == 0
    assert denied_by(live=True, **own) == ["ETH-004"]


LIVE_ONLY = [
    ("ETH-004", "average_volume", {}),
    ("DATA-001", "volume", {}),
    ("RISK-005", "atr_share", {"share": D("0.06")}),
    ("MKT-003", "volatility_index", {}),
    ("CB-003", "market_move", {}),
]


@pytest.mark.parametrize(("rule", "fact", "changes"), LIVE_ONLY)
def test_a_fact_of_a_live_market_warns_on_paper_and_denies_live(rule: str, fact: str, changes: Any) -> None:
    missing = {**changes, fact: None}
    assert denied_by(live=True, **missing) == [rule]
    assert denied_by(live=False, **missing) == []
    finding = judged(live=False, **missing).findings[0]
    assert (finding.rule.id, finding.severity, finding.mercy) == (rule, "warning", True)
    assert finding.message == f"`{fact}` is missing"
    assert denied_by(live=True, **{**changes, fact: float("nan")}) == [rule]


BOUNDARIES: list[tuple[str, dict[str, Any], dict[str, Any], bool]] = [
    # rule, just inside, just outside, denies
    ("ETH-001", {"price": D(1), "entry": D(1), "stop": D("0.95"), "target": D("1.10")},
     {"price": D("0.9999"), "entry": D(1), "stop": D("0.95"), "target": D("1.10")}, True),
    ("ETH-001", {}, {"entry": D("0.9999"), "stop": D("0.95"), "target": D("1.10")}, True),
    ("ETH-002", {"catalyst": "an earnings beat"}, {"catalyst": "a Pump"}, True),
    ("ETH-002", {"catalyst": ["news", {"why": "filing"}]}, {"catalyst": ["news", {"why": "MANIPULATION"}]}, True),
    ("ETH-002", {"catalyst": ""}, {"catalyst": "p\u200bu\uff4dp"}, True),
    ("ETH-002", {"catalyst": None}, {"catalyst": {"scheme": 1}}, True),
    ("ETH-003", {"sources": ("insider",)}, {"sources": ("newswire", "Insider-Tip ")}, True),
    ("ETH-003", {"sources": ("", None)}, {"sources": ("insider tip",)}, True),
    ("ETH-004", {"average_volume": 100_000.0}, {"average_volume": 99_999.0}, True),
    ("ETH-004", {"claimed_average_volume": 100_000}, {"claimed_average_volume": 99_999}, True),
    ("ETH-004", {"claimed_average_volume": "thin"}, {"claimed_average_volume": float("nan")}, True),
    ("DATA-001", {"volume": 0.0}, {"symbol": ""}, True),
    ("DATA-002", {"price": D(10_000)}, {"price": D("10000.01")}, True),
    ("DATA-003", {"age_s": 900.0}, {"age_s": 900.1}, False),
    ("DATA-003", {"age_s": -900.0}, {"age_s": -900.1}, False),
    ("RISK-001", {"share": D("0.10")}, {"share": D("0.1000001")}, True),
    ("RISK-001", {"share": D("0.0001")}, {"share": D(0)}, True),
    ("RISK-002", {"stop": D(90), "target": D(120)}, {"stop": D("89.99"), "target": D(130)}, True),
    ("RISK-003", {"target": D(110)}, {"target": D("109.99")}, False),
    ("RISK-003", {"direction": "short", "stop": D(105), "target": D(90)},
     {"direction": "short", "stop": D(105), "target": D("90.01")}, False),
    ("RISK-004", {"risk_share": D("0.02")}, {"risk_share": D("0.0200001"), "day_pnl_share": D(0)}, True),
    ("RISK-005", {"share": D("0.06"), "atr_share": 0.0499}, {"share": D("0.06"), "atr_share": 0.05}, False),
    ("RISK-005", {"share": D("0.05"), "atr_share": 0.5}, {"share": D("0.0500001"), "atr_share": 0.5}, False),
    ("LIMIT-001", {"day_pnl_share": D("-0.0175")}, {"day_pnl_share": D("-0.017501")}, True),
    ("LIMIT-001", {"risk_share": D("0.02"), "day_pnl_share": D("0.3")},
     {"risk_share": D("0.02"), "day_pnl_share": D("-0.0001")}, True),
    ("LIMIT-002", {"week_pnl_share": D("-0.0475")}, {"week_pnl_share": D("-0.047501")}, True),
    ("LIMIT-003", {"open_positions": 4}, {"open_positions": 5}, True),
    ("PAT-001", {"confidence": 0.65}, {"confidence": 0.6499}, True),
    ("PAT-002", {"pattern": "squeezer"}, {"pattern": None}, True),
    ("PAT-002", {"pattern": "breakout"}, {"pattern": "magic"}, True),
    ("PAT-003", {"scores": {"weighted_total": 0.6, "technical": 0.5}},
     {"scores": {"weighted_total": 0.5999, "technical": 0.5}}, False),
    ("PAT-004", {"scores": {"weighted_total": 0.6, "technical": 0.5}},
     {"scores": {"weighted_total": 0.6, "technical": 0.4999}}, False),
    ("MKT-003", {"volatility_index": 35.0}, {"volatility_index": 35.01}, False),
    ("MKT-003", {"claimed_volatility_index": 35}, {"claimed_volatility_index": 80}, False),
    ("USER-002", {"symbol": "BTC-USD", "claimed_market_type": "Crypto"}, {"claimed_market_type": "crypto"}, True),
    ("USER-003", {"holding_hours": 120.0}, {"holding_hours": 120.1}, False),
    ("CB-003", {"market_move": -0.0299}, {"market_move": -0.03}, True),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "inside", "outside", "denies"), BOUNDARIES)
def test_a_plan_at_the_limit_passes_and_one_step_beyond_does_not(
    rule: str, inside: dict[str, Any], outside: dict[str, Any], denies: bool
) -> None:
    assert rule not in [each.rule.id for each in judged(**inside).findings]
    finding = next(each for each in judged(**outside).findings if each.rule.id == rule)
    assert finding.denies is denies
    assert finding.message
    assert not finding.mercy


@pytest.mark.parametrize(
    ("rule", "fact", "missing"),
    [
        ("ETH-001", "price", None),
        ("ETH-001", "entry", None),
        ("ETH-001", "price", D("NaN")),
        ("DATA-003", "age_s", None),
        ("DATA-003", "age_s", float("inf")),
        ("RISK-001", "share", None),
        ("RISK-001", "share", D("-Infinity")),
        ("RISK-001", "share", D("sNaN")),
        ("RISK-002", "stop", None),
        ("RISK-003", "target", None),
        ("RISK-003", "target", D("NaN")),
        ("RISK-004", "risk_share", None),
        ("LIMIT-001", "day_pnl_share", None),
        ("LIMIT-001", "day_pnl_share", D("NaN")),
        ("LIMIT-002", "week_pnl_share", None),
        ("LIMIT-003", "open_positions", None),
        ("PAT-001", "confidence", None),
        ("PAT-001", "confidence", float("nan")),
        ("USER-003", "holding_hours", None),
        ("CB-001", "day_pnl_share", None),
    ],
)
@pytest.mark.parametrize("live", [True, False])
def test_a_missing_fact_denies_and_is_named_with_whatever_severity(
    rule: str, fact: str, missing: Any, live: bool
) -> None:
    finding = next(each for each in judged(live=live, **{fact: missing}).findings if each.rule.id == rule)
    assert finding.denies
    assert finding.severity != "warning"
    assert f"`{fact}`" in finding.message


@pytest.mark.parametrize("rule", ["PAT-003", "PAT-004"])
def test_a_missing_score_denies_the_plan_of_a_pattern(rule: str) -> None:
    assert rule in denied_by(scores={})


@pytest.mark.parametrize("stop", [D(100), D(101)])
def test_a_stop_that_is_not_on_the_losing_side_is_none(stop: D) -> None:
    assert "RISK-002" in denied_by(stop=stop)
    assert "RISK-003" in warned_by(stop=stop)


def test_swing_is_no_side_to_trade() -> None:
    assert denied_by(direction="swing") == ["RISK-002", "RISK-003"]
    assert "USER-001" in denied_by(direction="sideways")
    assert denied_by(book(directions=["long"]), direction="short", stop=D(105), target=D(90)) == ["USER-001"]


@pytest.mark.parametrize(
    ("symbol", "kind"), [("AAPL", "equity"), ("BRK.B", "equity"), ("BTC-USD", "crypto"), ("ETH/EUR", "crypto")]
)
def test_the_symbol_alone_says_what_market_it_is_of(symbol: str, kind: str) -> None:
    assert market_type_of(symbol) == kind
    only = book(market_types=[kind])
    assert denied_by(only, symbol=symbol) == []
    assert denied_by(only, symbol=symbol, claimed_market_type="forex") == ["USER-002"]
    other = "crypto" if kind == "equity" else "equity"
    assert denied_by(book(market_types=[other]), symbol=symbol, claimed_market_type=other) == ["USER-002"]


def test_a_claim_of_plenty_does_not_stand_for_a_volume_that_nobody_knows() -> None:
    assert denied_by(average_volume=None, claimed_average_volume=1e9) == ["ETH-004"]
    assert denied_by(average_volume=5.0, claimed_average_volume=1e9) == ["ETH-004"]
    assert warned_by(volatility_index=80.0, claimed_volatility_index=1) == ["MKT-003"]
    assert denied_by(live=False, average_volume=None, claimed_average_volume=500) == ["ETH-004"]


def test_regular_hours_are_judged_for_equities_where_asked_for() -> None:
    night = NOON + 12 * 3600
    assert warned_by(now=night) == []
    hours = book(regular_hours_only=True)
    assert warned_by(hours, now=night) == ["MKT-001"]
    assert warned_by(hours, now=night, symbol="BTC-USD") == []
    assert warned_by(hours) == []
    assert warned_by(book(regular_hours_only=True, holidays=["2026-03-02"])) == ["MKT-001"]


def test_a_quiet_day_warns_on_new_yorks_date() -> None:
    quiet = book(**DATES)
    assert warned_by(quiet) == ["MKT-002"]
    assert warned_by(quiet, now=datetime(2026, 3, 3, 4, 59, tzinfo=UTC).timestamp()) == ["MKT-002"]
    assert warned_by(quiet, now=datetime(2026, 3, 3, 5, 0, tzinfo=UTC).timestamp()) == []


@pytest.mark.parametrize(
    ("moment", "open_"),
    [
        ("2026-03-02T14:29:59", False),
        ("2026-03-02T14:30:00", True),
        ("2026-03-02T20:59:59", True),
        ("2026-03-02T21:00:00", False),
        ("2026-03-09T13:30:00", True),  # summer time began the day before
        ("2026-03-09T20:00:00", False),
        ("2026-03-07T17:00:00", False),  # a Saturday
    ],
)
def test_the_session_follows_new_yorks_clock(moment: str, open_: bool) -> None:
    now = datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
    assert in_regular_hours(now) is open_
    assert in_regular_hours(now, [day_in_new_york(now)]) is False


def test_a_sector_is_judged_where_the_settings_know_it() -> None:
    sectors = {"AAPL": "technology", "MSFT": "technology", "XOM": "energy"}
    known = book(sectors=sectors)
    assert denied_by(sector_share=D("0.9")) == []
    assert denied_by(known, sector_share=D("0.25")) == []
    assert denied_by(known, sector_share=D("0.250001")) == ["LIMIT-004"]
    assert denied_by(known, sector_share=None) == ["LIMIT-004"]
    exposures = {"MSFT": D(100), "XOM": D(70), "KO": D(30), "AAPL": D(5)}
    assert sector_exposure("AAPL", D(10), exposures, sectors) == D(115)
    assert sector_exposure("KO", D(10), exposures, sectors) is None


def test_an_own_plan_needs_no_pattern_and_a_weak_one_that_was_found_only_warns() -> None:
    assert judged(**OWN).findings == ()
    weak = {**OWN, "pattern": "momentum", "confidence": 0.5, "scores": {"weighted_total": 0.2}}
    assert warned_by(**weak) == ["PAT-001", "PAT-003", "PAT-004"]
    assert denied_by(**weak) == []
    assert denied_by(book(severity={"PAT-001": "critical"}), **weak) == []
    assert "PAT-001" in denied_by(book(strict=True), **weak)


def test_more_can_be_required() -> None:
    more = book(required_data=["symbol", "price", "direction", "volume", "catalyst", "volatility_index"])
    assert denied_by(more, catalyst=None) == ["DATA-001"]
    assert judged(more, catalyst=None, volume=None).findings[0].message == "`catalyst` is missing"
    assert denied_by(more, live=False, volatility_index=None) == []


# Breakers within the judgement


def test_while_a_breaker_suspends_new_entries_each_is_denied_with_until_when() -> None:
    state = Breakers(day_loss_until=NOON + 60)
    finding = judged(breakers=state).findings[0]
    assert finding.rule.id == "CB-001"
    assert finding.message == "CB-001 suspended new entries until 2026-03-02 17:01:00 UTC"
    assert denied_by(breakers=state, now=NOON + 60) == []
    assert "CB-002 suspended" in judged(breakers=Breakers(losing_run_until=NOON + 1)).findings[0].message


def test_a_day_that_would_trip_denies_even_before_the_breaker_was_told() -> None:
    lax = book(max_daily_loss=0.05)
    assert denied_by(lax, day_pnl_share=D("-0.02")) == ["CB-001"]
    assert denied_by(lax, day_pnl_share=D("-0.0199")) == []


def test_after_a_run_of_losses_only_reduced_sizes_pass() -> None:
    state = Breakers(losses_in_a_row=3, size_factor=D("0.5"), won=False)
    assert denied_by(breakers=state) == ["CB-002"]
    assert denied_by(breakers=state, sized_by=D("0.5")) == []
    assert denied_by(breakers=Breakers(losses_in_a_row=3)) == ["CB-002"]
    assert denied_by(sized_by=D(2)) == ["CB-002"]


def test_after_the_market_fell_longs_are_denied_and_shorts_are_not() -> None:
    state = Breakers(longs_until=NOON + 60)
    short = {"direction": "short", "stop": D(105), "target": D(90)}
    assert denied_by(breakers=state) == ["CB-003"]
    assert denied_by(breakers=state, market_move=-0.2, **short) == []


# The judgement


def test_a_violation_carries_id_name_stage_severity_and_numbers() -> None:
    assert judged(price=D("0.5")).violations == (
        Violation(
            "ETH-001 min_price",
            "ethics",
            "critical",
            "market price and entry are 0.5 and 100; at least 1 is asked for",
        ),
    )


def test_telling_gives_a_statement_for_every_rule_and_changes_no_finding() -> None:
    for changes in ({}, OWN, PAPER, {"share": D("0.2")}, {"direction": "short", "stop": D(105), "target": D(80)}):
        plain = judged(live=False, **changes)
        told = judge_ruleset(view(**changes), BOOK, live=False, telling=True)
        assert msgspec.structs.replace(told, statements=()) == plain
        assert len(told.statements) == 29
        assert all(each.text for each in told.statements)
    words = {
        each.rule.id: each.word for each in judge_ruleset(view(**OWN), BOOK, live=True, telling=True).statements
    }
    assert words["PAT-001"] == words["MKT-002"] == words["LIMIT-004"] == "silent"
    assert words["RISK-001"] == "pass"


def test_the_same_sentence_tells_a_pass_and_a_denial() -> None:
    told = judge_ruleset(view(), BOOK, live=True, telling=True).statements
    passed = next(each.text for each in told if each.rule.id == "RISK-001")
    denied = judged(share=D("0.2")).findings[0].message
    assert passed == "AAPL would come to 5 % of the equity; above 0 and at most 10 % is allowed"
    assert denied == "AAPL would come to 20 % of the equity; above 0 and at most 10 % is allowed"


def test_a_stage_that_halts_spares_the_later_ones_and_the_rest_of_its_own_speaks() -> None:
    judgement = judged(price=D("0.5"), catalyst="a pump", share=D("0.5"), age_s=None)
    assert [each.rule.id for each in judgement.findings] == ["ETH-001", "ETH-002"]
    assert judgement.halted_after == "ethics"
    assert [each.split("-")[0] for each in judgement.rules_checked] == ["ETH"] * 4
    assert denied_by(share=D("0.5"), confidence=0.1) == ["RISK-001", "PAT-001"]


def test_the_stages_can_be_judged_in_another_order() -> None:
    order = ["breakers", "user", "risk", "market", "pattern", "data", "ethics"]
    other = book(stage_order=order)
    judgement = judged(other, share=D("0.5"), price=D("0.5"), age_s=None)
    assert [each.rule.id for each in judgement.findings] == ["RISK-001", "DATA-003"]
    assert judgement.halted_after == "data"
    assert set(STAGES) > HALTING


def test_a_strict_ruleset_denies_for_a_warning() -> None:
    assert warned_by(volatility_index=50.0) == ["MKT-003"]
    strict = book(strict=True)
    assert denied_by(strict, volatility_index=50.0) == ["MKT-003"]
    assert not judged(strict, live=False, **PAPER).approved
    assert judged(strict).approved


def test_a_severity_that_was_raised_denies_and_a_rule_that_was_disabled_is_silent() -> None:
    assert denied_by(book(severity={"RISK-003": "error"}), target=D(109)) == ["RISK-003"]
    off = book(disabled=["RISK-003"])
    assert judged(off, target=None).findings == ()
    assert "RISK-003 min_risk_reward" not in judged(off).rules_checked
    told = judge_ruleset(view(), off, live=True, telling=True).statements
    assert next(each for each in told if each.rule.id == "RISK-003").text == "the operator switched it off"


def test_a_pattern_has_its_own_stricter_limits() -> None:
    squeeze = {"pattern": "short_squeeze_setup", "confidence": 0.75}
    assert denied_by(**squeeze, share=D("0.05")) == []
    assert denied_by(**squeeze, share=D("0.0501")) == ["RISK-001"]
    assert denied_by(pattern="short_squeeze_setup", confidence=0.7499) == ["PAT-001"]
    assert denied_by(pattern="parabolic_blowoff", share=D("0.0801")) == ["RISK-001"]
    assert warned_by(pattern="washout_reversal", target=D("114.99")) == ["RISK-003"]
    assert denied_by(pattern="washout_reversal", confidence=0.69, target=D(115)) == ["PAT-001"]
    assert denied_by(**{**OWN, **squeeze}, share=D("0.06")) == ["RISK-001"]


def test_an_operator_adds_overrides_and_the_originals_stand() -> None:
    own = book(
        overrides={
            "squeezer": {"max_position_size": 0.04, "max_stop_distance": 0.03},
            "short_squeeze_setup": {"max_position_size": 0.02},
        }
    )
    assert denied_by(own, pattern="squeezer", share=D("0.041"), stop=D("96.9")) == ["RISK-001", "RISK-002"]
    assert denied_by(own, pattern="short_squeeze_setup", share=D("0.021")) == ["RISK-001"]
    assert denied_by(own, pattern="short_squeeze_setup", share=D("0.02"), confidence=0.7) == ["PAT-001"]
    assert denied_by(own, pattern="parabolic_blowoff", share=D("0.0801")) == ["RISK-001"]


def test_a_general_limit_that_is_stricter_than_an_override_holds() -> None:
    tight = book(max_position_size=0.03, min_confidence=0.9)
    assert denied_by(tight, pattern="short_squeeze_setup", share=D("0.04"), confidence=0.8) == [
        "RISK-001",
        "PAT-001",
    ]


# The settings


def test_without_settings_the_originals_values_hold() -> None:
    assert read_ruleset({}) == validated(Ruleset())
    assert read_ruleset({}).overrides == ORIGINAL_OVERRIDES
    assert Rulebook().digest == Rulebook(read_ruleset({})).digest
    assert Rulebook().digest != book(strict=True).digest


def test_what_was_validated_once_is_valid_again() -> None:
    once = read_ruleset({**DATES, "overrides": {"squeezer": {"min_risk_reward": 4}}, "max_position_size": 0.03})
    assert validated(once) == once


def test_toml_can_say_everything() -> None:
    text = """
    max_position_size = 0.08
    min_risk_reward = 1.5
    max_plausible_price = 200000
    forbidden_catalyst_words = ["pump", "dump", "coordinated", "manipulation", "scheme", "Short Ladder"]
    quiet_days = [2026-01-28]
    holidays = ["2026-12-25"]
    severity = {"RISK-003" = "critical"}
    [sectors]
    AAPL = "technology"
    [overrides.squeezer]
    max_position_size = 0.05
    [breakers.market]
    threshold = 0.02
    [synthesis]
    approve = 0.8
    """
    read = read_ruleset(tomllib.loads(text))
    assert read.max_position_size == D("0.08")
    assert read.forbidden_catalyst_words[-1] == "short_ladder"
    assert read.overrides["squeezer"] == Override(max_position_size=D("0.05"))
    assert read.breakers.market.threshold == 0.02
    assert read.synthesis == Thresholds(approve=0.8)


LOOSER: list[tuple[str, Any, str, str]] = [
    ("max_position_size", 0.11, "0.11", "Graveyard's 0.10"),
    ("max_daily_loss", 0.051, "0.051", "Graveyard's 0.05"),
    ("max_open_positions", 6, "6", "Graveyard's 5"),
    ("max_stop_distance", 0.11, "0.11", "Graveyard's 0.10"),
    ("min_risk_reward", 1.4, "1.4", "Graveyard's 1.5"),
    ("require_stop_loss", False, "False", "Graveyard's True"),
    ("max_plausible_price", 2e12, "2000000000000", "Graveyard's 1E+12"),
    ("min_price", 0.99, "0.99", "original's 1.00"),
    ("min_average_volume", 99_999, "99999", "original's 100000"),
    ("min_plausible_price", 0.001, "0.001", "original's 0.01"),
    ("max_age_s", 901, "901", "original's 900"),
    ("max_loss_per_trade", 0.021, "0.021", "original's 0.02"),
    ("wide_range_atr", 0.06, "0.06", "original's 0.05"),
    ("max_position_size_at_wide_range", 0.06, "0.06", "original's 0.05"),
    ("max_weekly_loss", 0.06, "0.06", "original's 0.05"),
    ("max_sector_share", 0.26, "0.26", "original's 0.25"),
    ("min_confidence", 0.64, "0.64", "original's 0.65"),
    ("min_total_score", 0.59, "0.59", "original's 0.6"),
    ("min_technical_score", 0.49, "0.49", "original's 0.5"),
    ("max_volatility_index", 36, "36", "original's 35"),
    ("max_holding_hours", 121, "121", "original's 120"),
    ("forbidden_catalyst_words", ["pump"], "('pump',)", "'scheme'"),
    ("forbidden_sources", [], "()", "insider_tip"),
    ("required_data", ["symbol", "price", "direction"], "('symbol', 'price', 'direction')", "volume"),
    ("directions", ["long", "sideways"], "'sideways'", "('long', 'short', 'swing')"),
    ("market_types", ["forex"], "'forex'", "('equity', 'crypto')"),
    ("severity.RISK-001", {"RISK-001": "warning"}, "warning", "original's error"),
    ("severity.ETH-001", {"ETH-001": "error"}, "error", "original's critical"),
    ("disabled", ["RISK-001"], "RISK-001 max_position_size", "error"),
    ("overrides.squeezer.max_position_size", {"squeezer": {"max_position_size": 0.2}}, "0.2", "general 0.10"),
    ("overrides.squeezer.min_confidence", {"squeezer": {"min_confidence": 0.6}}, "0.6", "general 0.65"),
    (
        "overrides.short_squeeze_setup.max_position_size",
        {"short_squeeze_setup": {"max_position_size": 0.06}},
        "0.06",
        "original's 0.05",
    ),
    (
        "overrides.washout_reversal.min_risk_reward",
        {"washout_reversal": {"min_risk_reward": 2.5}},
        "2.5",
        "original's 3.0",
    ),
    ("breakers.day_loss.threshold", {"day_loss": {"threshold": 0.03}}, "0.03", "original's 0.02"),
    ("breakers.day_loss.minutes", {"day_loss": {"minutes": 1439}}, "1439", "original's 1440"),
    ("breakers.losing_run.threshold", {"losing_run": {"threshold": 4}}, "4", "original's 3"),
    ("breakers.losing_run.factor", {"losing_run": {"factor": 0.6}}, "0.6", "original's 0.5"),
    ("breakers.market.threshold", {"market": {"threshold": 0.04}}, "0.04", "original's 0.03"),
    ("breakers.market.minutes", {"market": {"minutes": 60}}, "60", "original's 1440"),
    ("synthesis.approve", {"approve": 0.69}, "0.69", "original's 0.7"),
    ("synthesis.hold", {"hold": 0.39}, "0.39", "original's 0.4"),
]


@pytest.mark.parametrize(("field", "value", "given", "bound"), LOOSER)
def test_a_looser_setting_is_refused_naming_field_and_both_values(
    field: str, value: Any, given: str, bound: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_ruleset({field.partition(".")[0]: value}, place="agents.judge.settings.ruleset")
    assert caught.value.field == f"agents.judge.settings.ruleset.{field}"
    assert given in caught.value.message
    assert bound in caught.value.message


def test_every_number_has_a_bound() -> None:
    numbers = {field.name for field in msgspec.structs.fields(Ruleset) if type(field.default) in (int, float, D)}
    assert numbers <= {field for field, *_ in LOOSER}


@pytest.mark.parametrize(
    ("settings", "field", "words"),
    [
        ({"max_position_sise": 0.05}, "max_position_sise", "did you mean 'max_position_size'?"),
        ({"breakers": {"day_los": {}}}, "breakers.day_los", "did you mean 'day_loss'?"),
        ({"breakers": {"market": {"threshhold": 0.01}}}, "breakers.market.threshhold", "threshold"),
        ({"breakers": 5}, "breakers", "must be a table"),
        ({"breakers": {"day_loss": {"action": "shrug"}}}, "breakers.day_loss.action", "shrug"),
        ({"breakers": {"market": {"minutes": 100_000}}}, "breakers.market.minutes", "10080"),
        ({"overrides": {"sqeezer": {}}}, "overrides", "did you mean 'squeezer'?"),
        ({"overrides": {"squeezer": {"size": 1}}}, "overrides.squeezer.size", "known here"),
        ({"overrides": {"squeezer": {"min_confidence": 1.1}}}, "overrides.squeezer.min_confidence", "at most 1"),
        ({"max_position_size": float("nan")}, "max_position_size", "finite number, is NaN"),
        ({"max_position_size": -0.05}, "max_position_size", "above 0, is -0.05"),
        ({"max_position_size": "big"}, "max_position_size", "decimal"),
        ({"max_position_size": True}, "max_position_size", "got `bool`"),
        ({"min_confidence": float("inf")}, "min_confidence", "finite"),
        ({"min_confidence": 1.01}, "min_confidence", "at most 1, is 1.01"),
        ({"max_open_positions": 0}, "max_open_positions", "above 0"),
        ({"max_open_positions": 2.5}, "max_open_positions", "int"),
        ({"quiet_days": ["tomorrow"]}, "quiet_days", "RFC3339"),
        ({"severity": {"RISK-03": "error"}}, "severity", "did you mean 'RISK-003'?"),
        ({"severity": {"RISK-003": "fatal"}}, "severity", "fatal"),
        ({"disabled": ["MKT-01"]}, "disabled", "MKT-001"),
        ({"disabled": ["MKT-001"], "regular_hours_only": True}, "disabled", "regular_hours_only"),
        ({"disabled": ["RISK-003"], "severity": {"RISK-003": "error"}}, "disabled", "one of the two"),
        ({"stage_order": ["ethics"]}, "stage_order", "each of these once"),
        ({"stage_order": [*STAGES, "ethics"]}, "stage_order", "each of these once"),
        ({"stage_order": ["ethic", *STAGES[1:]]}, "stage_order", "did you mean 'ethics'?"),
        ({"directions": []}, "directions", "nothing could be traded"),
        ({"forbidden_sources": ["insider_tip", " "]}, "forbidden_sources", "empty text"),
        ({"sectors": {"AAPL": " "}}, "sectors", "empty name"),
        ({"market_symbol": ""}, "market_symbol", "empty"),
        ({"required_data": ["symbol", "price", "direction", "volume", "mood"]}, "required_data", "'mood'"),
        ({"synthesis": {"hold": 0.8}}, "synthesis.hold", "above approve"),
        ({"breakers": {"losing_run": {"action": "suspend"}}}, "breakers.losing_run.minutes", "suspends nothing"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_with_a_hint(
    settings: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_ruleset(settings)
    assert caught.value.field == f"agents.hrm.settings.ruleset.{field}"
    assert words in str(caught.value)


def test_without_time_zone_data_what_needs_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> None:
        raise ZoneInfoNotFoundError("America/New_York")

    monkeypatch.setattr("actors.ruleset_examination.new_york", nowhere)
    read_ruleset({})
    with pytest.raises(ConfigError, match="tzdata") as caught:
        read_ruleset(DATES)
    assert caught.value.field == "agents.hrm.settings.ruleset.quiet_days"


def test_a_graveyard_with_tighter_limits_bounds_the_ruleset() -> None:
    with pytest.raises(ConfigError, match=r"max_position_size = 0.10 is looser than the Graveyard's 0.05"):
        validated(Ruleset(), Limits(max_position_size=D("0.05")))


def test_a_ruleset_made_by_hand_is_examined_before_it_judges() -> None:
    with pytest.raises(ConfigError):
        Rulebook(Ruleset(max_position_size=D("0.5")))


# Properties

TIGHTENINGS: dict[str, list[Any]] = {
    "min_price": [D(2), D(101)],
    "forbidden_catalyst_words": [(*Ruleset().forbidden_catalyst_words, "beat")],
    "forbidden_sources": [("insider_tip", "newswire")],
    "min_average_volume": [1e6, 2e6],
    "required_data": [(*Ruleset().required_data, "catalyst", "atr_share")],
    "min_plausible_price": [D(5), D(101)],
    "max_plausible_price": [D(99)],
    "max_age_s": [0.5, 60.0],
    "max_position_size": [D("0.04"), D("0.08")],
    "max_stop_distance": [D("0.04")],
    "min_risk_reward": [D("2.5")],
    "max_loss_per_trade": [D("0.002")],
    "wide_range_atr": [0.01],
    "max_position_size_at_wide_range": [D("0.01")],
    "max_daily_loss": [D("0.002"), D("0.01")],
    "max_weekly_loss": [D("0.01")],
    "max_open_positions": [1, 3],
    "max_sector_share": [D("0.05")],
    "sectors": [{"AAPL": "technology"}],
    "min_confidence": [0.7, 0.9],
    "min_total_score": [0.75],
    "min_technical_score": [0.65],
    "regular_hours_only": [True],
    "quiet_days": [(datetime(2026, 3, 2).date(),)],
    "max_volatility_index": [14.0],
    "directions": [("short",)],
    "market_types": [("crypto",)],
    "max_holding_hours": [24.0],
    "severity": [{rule.id: "critical" for rule in RULESET_RULES}, {"RISK-003": "error"}],
    "strict": [True],
    "overrides": [{"momentum": Override(max_position_size=D("0.03"), min_confidence=0.95)}],
    "breakers": [
        BreakerSettings(DayLoss(D("0.001")), LosingRun(1, factor=D("0.1")), MarketFall(0.001)),
        BreakerSettings(losing_run=LosingRun(2)),
    ],
}
FACTS: dict[str, list[Any]] = {
    "symbol": ["AAPL", "BTC-USD"],
    "direction": ["long", "long", "short", "swing"],
    "now": [NOON, NOON + 12 * 3600],
    "age_s": [1.0, 30.0, 901.0, None],
    "price": [D(100), D(3), D("0.5"), D("NaN"), None],
    "stop": [D(95), D(98), D(105), None],
    "target": [D(110), D(125), D(85), D(101), None],
    "share": [D("0.02"), D("0.05"), D("0.09"), D("0.2")],
    "risk_share": [D("0.001"), D("0.005"), D("0.03")],
    "day_pnl_share": [D(0), D("-0.005"), D("-0.03"), None],
    "open_positions": [0, 2, 4, 5],
    "from_pattern": [True, False],
    "pattern": ["momentum", "short_squeeze_setup", "magic", None],
    "confidence": [0.5, 0.68, 0.8, None],
    "scores": [{"weighted_total": 0.7, "technical": 0.6}, {"weighted_total": 0.1}, {}],
    "holding_hours": [48.0, 480.0, None],
    "catalyst": ["earnings beat", "a scheme", None],
    "average_volume": [1.5e6, 2e5, 10.0, None],
    "volume": [1e5, None],
    "atr_share": [0.02, 0.06, None],
    "market_move": [0.01, -0.01, -0.05, None],
    "volatility_index": [13.0, 20.0, 40.0, None],
    "breakers": [Breakers(), Breakers(losses_in_a_row=2), Breakers(longs_until=NOON + 9)],
    "sized_by": [D(1), D("0.5"), D("0.05")],
}


def some_of(table: dict[str, list[Any]], most: int) -> st.SearchStrategy[dict[str, Any]]:
    """A few of the entries, each with one of its values."""
    return st.lists(st.sampled_from(sorted(table)), unique=True, max_size=most).flatmap(
        lambda names: st.fixed_dictionaries({name: st.sampled_from(table[name]) for name in names})
    )


views = some_of(FACTS, 3)
tightenings = some_of(TIGHTENINGS, 4)


def test_every_setting_that_judges_is_among_the_tightenings() -> None:
    others = {"holidays", "disabled", "stage_order", "require_stop_loss", "market_symbol", "synthesis"}
    assert set(TIGHTENINGS) | others == set(Ruleset.__struct_fields__)


@pytest.mark.parametrize("name", sorted(TIGHTENINGS))
def test_every_setting_stands_in_the_digest(name: str) -> None:
    assert all(Rulebook(Ruleset(**{name: value})).digest != BOOK.digest for value in TIGHTENINGS[name])


EDGES: dict[str, dict[str, Any]] = {
    "max_open_positions": {"open_positions": 3},
    "breakers": {"breakers": Breakers(losses_in_a_row=2)},
    "regular_hours_only": {"now": NOON + 12 * 3600},
    "wide_range_atr": {"share": D("0.06")},
    "max_position_size_at_wide_range": {"atr_share": 0.06},
    "strict": {"volatility_index": 40.0},
    "severity": {"volatility_index": 40.0},
    "required_data": {"catalyst": None},
    "max_weekly_loss": {"week_pnl_share": D("-0.009")},
    "sectors": {"sector_share": D("0.9")},
}
"""What brings the sound plan near to the limit of a setting, where it is not there already."""


@pytest.mark.parametrize("name", sorted(TIGHTENINGS))
def test_every_tightening_denies_something_that_passed(name: str) -> None:
    edge = EDGES.get(name, {})
    # Strict, so that a rule that merely warns can be seen to deny.
    base: dict[str, Any] = {} if name in ("strict", "severity") else {"strict": True}
    if name == "max_sector_share":
        base["sectors"] = {"AAPL": "technology"}
    assert judged(Rulebook(Ruleset(**base)), **edge).approved
    tighter = [Rulebook(Ruleset(**{**base, name: value})) for value in TIGHTENINGS[name]]
    assert not all(judged(each, **edge).approved for each in tighter)


@given(views, tightenings, tightenings, st.booleans())
@settings(deadline=None, max_examples=100)
def test_tightening_never_approves_what_was_denied(
    changes: dict[str, Any], first: dict[str, Any], second: dict[str, Any], live: bool
) -> None:
    base = Rulebook(Ruleset(**first))
    tight = Rulebook(Ruleset(**{**second, **first}))
    loose, strict = (judge_ruleset(view(**changes), one, live=live) for one in (base, tight))
    assert loose.approved or not strict.approved
    assert judge_ruleset(view(**changes), base, live=live) == loose
    told = judge_ruleset(view(**changes), base, live=live, telling=True)
    assert told.findings == loose.findings
    if not live:
        assert judged(base, live=True, **changes).approved <= loose.approved


@given(views, st.permutations(STAGES), st.booleans())
@settings(deadline=None)
def test_the_order_of_the_stages_changes_no_verdict(changes: dict[str, Any], order: list[str], live: bool) -> None:
    other = Rulebook(Ruleset(stage_order=tuple(order)))
    assert judged(other, live, **changes).approved is judged(BOOK, live, **changes).approved


claims = st.fixed_dictionaries(
    {
        "claimed_market_type": st.sampled_from(["equity", "crypto", "", 7, "approved", ["equity"]]),
        "claimed_average_volume": st.sampled_from([10, 1e12, float("nan"), "lots", True, 10**400]),
        "claimed_volatility_index": st.sampled_from([1, 99.0, float("-inf"), None, "calm"]),
    }
)


@given(views, claims, st.booleans())
@settings(deadline=None)
def test_no_claim_turns_a_denial_into_a_pass(changes: dict[str, Any], said: dict[str, Any], live: bool) -> None:
    assert judged(BOOK, live, **changes, **said).approved <= judged(BOOK, live, **changes).approved


@given(st.sampled_from(sorted(ORIGINAL_OVERRIDES)))
def test_a_patterns_limits_are_nowhere_looser_than_the_general_ones(pattern: str) -> None:
    general, own = Ruleset(), for_pattern(Ruleset(), ORIGINAL_OVERRIDES[pattern])
    assert own.max_position_size <= general.max_position_size
    assert own.max_stop_distance <= general.max_stop_distance
    assert own.min_confidence >= general.min_confidence
    assert own.min_risk_reward >= general.min_risk_reward
