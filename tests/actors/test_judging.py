"""The hierarchy of the judgement: who has the first word, who the last, and that nothing turns a veto."""

from __future__ import annotations

import dataclasses
import functools
import math
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from actors import judging
from actors.breakers import Breakers
from actors.judging import Inputs, Verdict, decide, judge_fault
from actors.ruleset import Ruleset
from actors.ruleset_judge import Rulebook
from actors.ruleset_view import View
from actors.synthesis import Claim, Record, Thresholds
from actors.viewing import Recount
from graveyard import CEILINGS, RULES, Facts, Limits, Source, judge
from tests.graveyard.cases import ACCOUNT, FACTS, LONG, NOW, SHORT, triple

BOOK = Rulebook()
ON_PAPER = dataclasses.replace(FACTS, live=False)
SURE = {"technical": 0.9, "weighted_total": 0.8}
VIEW = View(
    symbol="AAPL",
    direction="long",
    now=NOW,
    age_s=1.0,
    price=D(100),
    entry=D(100),
    stop=D(95),
    target=D(110),
    share=D("0.05"),
    risk_share=D("0.0025"),
    day_pnl_share=D(0),
    week_pnl_share=D(0),
    open_positions=0,
    from_pattern=False,
    sources=("nasdaq",),
    average_volume=1e6,
    volume=1e6,
    atr_share=0.01,
    market_move=0.0,
    volatility_index=15.0,
)
_encode = msgspec.msgpack.Encoder(decimal_format="string").encode
_decode = msgspec.msgpack.Decoder(Inputs).decode
PARTS = ("view", "claims", "record", "recomputed", "worst", "action", "account", "facts")


def inputs(**changes: Any) -> Inputs:
    """Sound inputs before a live broker, with some parts, or fields of action, account, facts and view changed."""
    fields = set(View.__struct_fields__) - {"symbol", "now", "stop", "price", "entry", "target", "sources"}
    of_view = {name: value for name, value in changes.items() if name in fields}
    parts = {name: value for name, value in changes.items() if name in PARTS}
    rest = {name: value for name, value in changes.items() if name not in of_view and name not in parts}
    action, account, facts = triple(**rest)
    given: dict[str, Any] = {
        "action": action,
        "account": account,
        "facts": facts,
        "view": msgspec.structs.replace(VIEW, **of_view),
        "claims": (),
        "record": None,
        "recomputed": None,
        "worst": D(100),
    }
    given |= parts
    sure = given.pop("recomputed")
    return Inputs(**given, recounted=None if sure is None else Recount(sure, given["view"].scores))


def ruled(**changes: Any) -> Verdict:
    return decide(inputs(**changes), CEILINGS, BOOK)


def names(verdict: Verdict) -> list[str]:
    return [each.rule for each in verdict.violations]


def test_what_is_sound_on_every_level_is_approved_by_the_synthesis() -> None:
    verdict = ruled()
    assert (verdict.zone, verdict.level, verdict.violations, verdict.warnings) == ("approve", "synthesis", (), ())
    assert verdict.levels.keys() == {"graveyard", "risk"}
    assert verdict.rules_checked[:26] == tuple(rule.name for rule in RULES)
    assert len(verdict.rules_checked) == 26 + 29
    assert verdict.alarms == ()


# Each level ends it.


def test_the_graveyard_has_the_first_word_and_speaks_alone() -> None:
    everything = {
        "leverage": D(3), "day_pnl_share": D("-0.5"), "pattern": "squeezer", "confidence": 0.1,
        "from_pattern": True, "claims": (Claim("price", 1.0, 100.0, 0.005),),
    }  # fmt: skip
    verdict = ruled(**everything)
    assert (verdict.zone, verdict.level, names(verdict)) == ("deny", "graveyard", ["max_leverage"])
    assert verdict.rules_checked == tuple(rule.name for rule in RULES), "nobody else was asked"
    assert (verdict.score, verdict.levels) == (None, {})


def test_every_rule_of_the_graveyard_that_denies_is_named() -> None:
    assert names(ruled(leverage=D(3), halted=True, target=None)) == [
        "emergency_halt_enabled",
        "max_leverage",
        "min_risk_reward",
    ]


def test_the_ruleset_comes_second() -> None:
    verdict = ruled(day_pnl_share=D("-0.02"), pattern="squeezer", confidence=0.9, scores=SURE)
    assert (verdict.zone, verdict.level) == ("deny", "ruleset")
    assert names(verdict) == ["LIMIT-001 max_daily_loss", "CB-001 day_loss_breaker"]
    assert verdict.score is None


def test_a_share_that_buys_no_unit_is_explained_beside_the_veto_of_the_quantity() -> None:
    verdict = ruled(quantity=D(0), position_size_pct=D("0.05"), worst=D(9000))
    assert verdict.level == "graveyard"
    assert names(verdict)[0] == "whole_units"
    assert "0.05 of the equity 100000 buys not one unit of AAPL at 9000" in verdict.violations[0].message


def test_a_size_that_is_named_twice_must_agree() -> None:
    claims = (Claim("position_size_pct", 0.05, 0.01, 0.05),)
    verdict = ruled(claims=claims)
    assert (verdict.zone, verdict.level, names(verdict)) == ("deny", "portfolio", ["one_size"])
    assert names(ruled(claims=claims, leverage=D(3))) == ["max_leverage", "one_size"]
    assert ruled(claims=(Claim("position_size_pct", 0.0501, 0.05, 0.05),)).zone == "approve"


@pytest.mark.parametrize(
    ("claimed", "recomputed"),
    [(0.95, 0.9), (0.9, 0.95), (0.9, None), (0.9 + 1e-8, 0.9)],
)
def test_a_confidence_that_counted_again_is_another_is_denied(claimed: float, recomputed: float | None) -> None:
    verdict = ruled(pattern="squeezer", confidence=claimed, scores=SURE, recomputed=recomputed)
    assert (verdict.zone, verdict.level, names(verdict)) == ("deny", "quality", ["pattern_quality"])


def test_scores_that_counted_again_are_others_are_denied() -> None:
    sound = inputs(pattern="squeezer", confidence=0.9, scores=SURE, recomputed=0.9)
    for scores in (
        {**SURE, "weighted_total": 0.1},
        {"weighted_total": SURE["weighted_total"]},
        {**SURE, "luck": 1.0},
    ):
        found = msgspec.structs.replace(sound, recounted=Recount(0.9, scores))
        verdict = decide(found, CEILINGS, BOOK)
        assert (verdict.zone, verdict.level, names(verdict)) == ("deny", "quality", ["pattern_quality"])


def test_a_confidence_that_is_the_same_passes() -> None:
    verdict = ruled(pattern="squeezer", confidence=0.9, scores=SURE, recomputed=0.9)
    assert verdict.zone == "approve"
    assert verdict.levels["context"] == pytest.approx(0.85)


def test_a_confidence_that_is_no_number_is_denied() -> None:
    for claimed in (math.nan, None, math.inf):
        verdict = ruled(pattern="squeezer", confidence=claimed, scores=SURE, recomputed=0.9)
        assert verdict.zone == "deny"


# The synthesis.


def with_score(score: float) -> dict[str, Any]:
    """Claims and scores that bring the synthesis down: nothing that the signal says agrees with what is known."""
    lies = Claim("price", 200.0, 100.0, 0.005)
    return {
        "claims": (lies,),
        "record": Record(0, 1000),
        "confidence": score,
        "recomputed": score,
        "pattern": "squeezer",
        "scores": {"technical": score, "weighted_total": score},
    }


@pytest.mark.parametrize(
    ("approve", "hold", "zone"),
    [(0.7, 0.4, "approve"), (0.92, 0.4, "approve"), (0.93, 0.4, "hold"), (1.0, 0.92, "hold"), (1.0, 0.93, "deny")],
)
def test_the_zones_are_those_of_the_ruleset(approve: float, hold: float, zone: str) -> None:
    book = Rulebook(Ruleset(synthesis=Thresholds(approve, hold)))
    given = inputs()
    verdict = decide(given, CEILINGS, book)
    assert verdict.score == pytest.approx(0.9211, abs=1e-4)
    assert (verdict.zone, verdict.level) == (zone, "synthesis")
    assert names(verdict) == ([] if zone == "approve" else ["synthesis"])
    consented = dataclasses.replace(given.facts, person=True)
    answered = decide(msgspec.structs.replace(given, facts=consented), CEILINGS, book)
    assert answered.zone == ("deny" if zone == "deny" else "approve"), (
        "a person's yes counts in the hold zone alone"
    )
    assert answered.level == ("person" if zone == "hold" else "synthesis")
    refused = dataclasses.replace(given.facts, person=False)
    assert decide(msgspec.structs.replace(given, facts=refused), CEILINGS, book).zone == "deny"


def test_a_source_that_lies_about_everything_lowers_the_score() -> None:
    verdict = ruled(**with_score(0.66))
    assert verdict.levels["truth"] < 0.01
    assert verdict.score is not None
    assert verdict.score < ruled().score  # type: ignore[operator]


def test_what_is_missing_on_paper_lowers_no_score() -> None:
    known = decide(inputs(facts=ON_PAPER), CEILINGS, BOOK)
    bare = decide(
        inputs(
            facts=dataclasses.replace(
                ON_PAPER, last_price=None, price_age_s=None, average_volume=None, volume_ratio=None, move=None,
                client_orders=None, sources=(Source("x", "unregistered"),), consents=frozenset(),
            ),
            volatility_index=None, market_move=None, average_volume=None, volume=None, atr_share=None,
        ), CEILINGS, BOOK,
    )  # fmt: skip
    assert (known.zone, bare.zone) == ("approve", "approve")
    assert bare.score == known.score
    assert len(bare.warnings) >= 9


@pytest.mark.parametrize(("live", "zone"), [(True, "deny"), (None, "deny"), (False, "approve")])
def test_where_nobody_knows_whether_it_is_live_the_ruleset_judges_as_if_it_were(
    live: bool | None, zone: str
) -> None:
    verdict = ruled(live=live, volatility_index=None)
    assert verdict.zone == zone
    assert names(verdict) == ([] if zone == "approve" else ["MKT-003 max_volatility_index"])


def test_a_warning_of_the_plan_itself_lowers_the_score() -> None:
    assert ruled(reasons=()).score < ruled().score  # type: ignore[operator]


# A person.


@pytest.mark.parametrize(("person", "zone"), [(None, "hold"), (True, "approve"), (False, "deny")])
def test_what_is_critical_is_held_until_a_person_says_yes(person: bool | None, zone: str) -> None:
    verdict = ruled(quantity=D(90), person=person, share=D("0.09"))
    assert verdict.zone == zone
    assert verdict.level == ("synthesis" if person else "graveyard")
    assert names(verdict) == ([] if person else ["human_in_loop_critical"])


def test_nobody_is_asked_about_what_is_denied_anyway() -> None:
    assert ruled(quantity=D(90), share=D("0.09"), day_pnl_share=D("-0.05")).zone == "deny"
    unsure = decide(
        inputs(quantity=D(90), share=D("0.09")), CEILINGS, Rulebook(Ruleset(synthesis=Thresholds(1.0, 0.99)))
    )
    assert (unsure.zone, unsure.level, names(unsure)) == ("deny", "synthesis", ["synthesis"])


def test_a_plan_that_is_critical_and_unsure_is_held_for_both() -> None:
    unsure = Rulebook(Ruleset(synthesis=Thresholds(1.0, 0.4)))
    assert names(decide(inputs(quantity=D(90), share=D("0.09")), CEILINGS, unsure)) == [
        "human_in_loop_critical",
        "synthesis",
    ]


def test_alarms_are_those_of_critical_rules_that_deny() -> None:
    verdict = ruled(halted=True, seal_fault="a file was changed")
    assert [name for name, _ in verdict.alarms] == ["immutable_graveyard"]


# Properties.

any_number = st.one_of(
    st.none(),
    st.decimals(allow_nan=True, allow_infinity=True),
    st.sampled_from([D(n) for n in ("0", "-1", "1", "50", "80", "90", "100", "95", "105", "110", "1E+12", "1E-9")]),
)
maybe = st.none() | st.booleans()
ages = st.none() | st.sampled_from([0.0, 3.0, 3.1, math.nan, -1.0])
shares = st.none() | st.decimals("-0.2", "0.2", places=4) | st.just(D("NaN"))
floats = st.none() | st.floats(-2, 2) | st.just(math.nan)


@st.composite
def any_inputs(draw: st.DrawFn) -> Inputs:
    """Sound inputs of which a few fields are anything at all."""
    fields: dict[str, Any] = {
        "quantity": any_number, "price": any_number, "stop_loss": any_number, "target": any_number,
        "leverage": any_number, "position_size_pct": any_number, "side": st.sampled_from(["buy", "sell", "short"]),
        "entry": st.sampled_from(["market", "limit", "stop"]), "equity": any_number, "day_start_equity": any_number,
        "open_risk": any_number, "realised_today": any_number, "unrealised_today": any_number,
        "exposures": st.none() | st.dictionaries(
            st.sampled_from(["AAPL", "A", "B", "C", "D", "E"]), st.decimals(0, 30_000, places=2)
        ),
        "messages": st.none() | st.integers(0, 2000), "halted": maybe, "market_price": any_number, "live": maybe,
        "seal_fault": st.sampled_from([None, "", "broken"]), "watchdog_age_s": ages, "gateway_age_s": ages,
        "ledger_writable": maybe, "logs_redacted": maybe, "home_private": maybe, "credentials_sealed": maybe,
        "hops": st.none() | st.integers(0, 30), "last_price": any_number, "price_age_s": ages,
        "average_volume": any_number, "worst": st.decimals(1, 1000, places=2),
        "share": shares, "risk_share": shares, "day_pnl_share": shares, "week_pnl_share": shares,
        "open_positions": st.none() | st.integers(0, 9), "volatility_index": floats, "market_move": floats,
        "pattern": st.sampled_from([None, "squeezer", "dead_cat_bounce", "made_up"]), "confidence": floats,
        "recomputed": floats, "from_pattern": st.booleans(),
        "sized_by": st.sampled_from([D("0.5"), D(1)]), "scores": st.just(SURE),
        "breakers": st.sampled_from(
            [Breakers(), Breakers(day_loss_until=NOW + 1), Breakers(longs_until=NOW + 1),
             Breakers(losses_in_a_row=3, size_factor=D("0.5"), won=False)]
        ),
    }  # fmt: skip
    chosen = draw(st.lists(st.sampled_from(sorted(fields)), max_size=5, unique=True))
    changes = {name: draw(fields[name]) for name in chosen}
    if draw(st.booleans()):
        changes["person"] = draw(maybe)
    if draw(st.booleans()):
        changes["claims"] = tuple(
            draw(st.lists(st.builds(Claim, st.just("price"), st.floats(), st.floats(), st.just(0.005)), max_size=3))
        )
    of_both = {"average_volume": changes.pop("average_volume", ...)} if "average_volume" in changes else {}
    made = inputs(**changes)
    if of_both:
        made = msgspec.structs.replace(made, facts=dataclasses.replace(made.facts, **of_both))
    return made


@given(any_inputs(), maybe)
@settings(max_examples=150)
def test_what_the_graveyard_denies_is_never_approved_whatever_the_person_says(
    given_: Inputs, person: bool | None
) -> None:
    asked = msgspec.structs.replace(given_, facts=dataclasses.replace(given_.facts, person=person))
    verdict = decide(asked, CEILINGS, BOOK)
    judgement = judge(asked.action, asked.account, asked.facts, CEILINGS)
    if judgement.denied:
        assert (verdict.zone, verdict.level) == ("deny", "graveyard")
    elif not judgement.approved:
        assert verdict.zone != "approve"
    if verdict.zone == "approve":
        assert verdict.violations == ()
        assert judgement.approved
    else:
        assert verdict.violations, "who is not let through is told why"


@given(any_inputs())
def test_a_persons_yes_allows_no_more_than_his_silence_would_hold(given_: Inputs) -> None:
    silent, yes = (
        decide(
            msgspec.structs.replace(given_, facts=dataclasses.replace(given_.facts, person=person)), CEILINGS, BOOK
        )
        for person in (None, True)
    )
    assert yes.zone == ("deny" if silent.zone == "deny" else "approve")


ORDER = {"deny": 0, "hold": 1, "approve": 2}
tighter_limits = st.builds(
    Limits,
    st.decimals("0.01", "0.10", places=2),
    st.decimals("0.1", "2.0", places=1),
    st.integers(1, 5),
    st.decimals("0.01", "0.05", places=2),
    st.decimals("1.5", "4.0", places=1),
)
TIGHTER = [
    Rulebook(Ruleset(**changes))
    for changes in (
        {"max_position_size": D("0.04")},
        {"min_risk_reward": D(3)},
        {"max_stop_distance": D("0.04")},
        {"max_daily_loss": D("0.002"), "max_weekly_loss": D("0.002")},
        {"max_open_positions": 1},
        {"directions": ("short",)},
        {"min_confidence": 0.95},
        {"strict": True},
        {"synthesis": Thresholds(0.95, 0.5)},
        {"synthesis": Thresholds(1.0, 1.0)},
        {"severity": {"MKT-003": "error", "RISK-003": "error"}},
        {"regular_hours_only": True},
    )
]


@given(any_inputs(), tighter_limits)
def test_tighter_limits_never_approve_more(given_: Inputs, limits: Limits) -> None:
    assert ORDER[decide(given_, limits, BOOK).zone] <= ORDER[decide(given_, CEILINGS, BOOK).zone]


@given(any_inputs(), st.sampled_from(TIGHTER))
def test_a_tighter_ruleset_never_approves_more(given_: Inputs, book: Rulebook) -> None:
    assert ORDER[decide(given_, CEILINGS, book).zone] <= ORDER[decide(given_, CEILINGS, BOOK).zone]


@given(any_inputs())
def test_the_same_inputs_give_the_same_verdict_also_after_they_were_written_down(given_: Inputs) -> None:
    verdict = decide(given_, CEILINGS, BOOK)
    again = _decode(_encode(given_))
    assert decide(given_, CEILINGS, BOOK) == verdict
    assert decide(again, CEILINGS, BOOK) == verdict
    assert _encode(again) == _encode(_decode(_encode(again)))


@given(any_inputs())
def test_telling_decides_the_same_and_lets_every_rule_speak(given_: Inputs) -> None:
    verdict, told = (decide(given_, CEILINGS, BOOK, telling=telling) for telling in (False, True))
    assert (told.zone, told.level, told.violations, told.score, told.levels, told.alarms) == (
        verdict.zone, verdict.level, verdict.violations, verdict.score, verdict.levels, verdict.alarms
    )  # fmt: skip
    assert set(verdict.warnings) <= set(told.warnings)
    assert [each.rule for each in told.statements] == list(RULES)
    assert told.ruleset_statements
    assert verdict.statements == ()


@given(any_inputs())
def test_more_use_of_the_account_never_approves_more(given_: Inputs) -> None:
    account = given_.account
    assume(account.open_risk is not None and account.open_risk.is_finite() and account.open_risk >= 0)
    assert account.open_risk is not None
    riskier = msgspec.structs.replace(
        given_, account=dataclasses.replace(account, open_risk=account.open_risk + 500)
    )
    assert ORDER[decide(riskier, CEILINGS, BOOK).zone] <= ORDER[decide(given_, CEILINGS, BOOK).zone]


# The judge himself.


def test_the_judge_in_this_process_is_the_rule_books_own() -> None:
    assert judge_fault() == ""


def test_a_judge_that_was_put_in_its_place_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "judge", functools.partial(judge))
    assert "is not the rule book's" in judge_fault()


def test_a_short_is_judged_by_the_same_hierarchy() -> None:
    view = msgspec.structs.replace(VIEW, direction="short", stop=D(105), target=D(90))
    assert decide(inputs(action=SHORT, view=view), CEILINGS, BOOK).zone == "approve"


def test_the_sound_inputs_are_those_of_the_rule_books_own_tables() -> None:
    assert (inputs().action, inputs().account, inputs().facts) == (LONG, ACCOUNT, FACTS)
    assert isinstance(inputs().facts, Facts)
