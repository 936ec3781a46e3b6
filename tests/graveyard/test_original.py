"""What the original promised of its Graveyard (G1 to G21), in the terms of this one.

The original scored an action by the share of rules that it broke. Here nothing is scored: what is approved broke no
rule, so "a score of at least so much" is an approval without a finding, and "a score below so much" is a denial.
That the file cannot be written to (G22) is for the seal.
"""

from __future__ import annotations

import dataclasses
from decimal import Decimal as D
from typing import Any

import pytest

from graveyard import RULES, Action, Judgement, judge, rule
from tests.graveyard.cases import DATA, LONG, messages, spoken, triple

GRAVE = ("HIGH", "CRITICAL")


def _kind(kind: str, **changes: Any) -> Action:
    return dataclasses.replace(DATA, kind=kind, **changes)


def test_G1_changing_what_was_returned_leaves_the_rules_unchanged() -> None:
    copied = list(RULES)
    copied.clear()
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule("max_position_size").value = D(5)  # type: ignore[misc]
    assert len(RULES) == 26
    assert judge(*triple(quantity=D(500))).denied


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_position_size", D("0.10")),
        ("max_daily_loss", D("0.05")),
        ("max_leverage", D("2.0")),
        ("require_stop_loss", True),
    ],
    ids=lambda each: f"G4 {each}",
)
def test_a_single_rule_is_found_by_its_name(name: str, value: Any) -> None:
    assert rule(name).value == value


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="G5 a compliant trade"),
        pytest.param(
            {"position_size_pct": D("0.05"), "quantity": D(50)}, id="G12 a low-risk trade needs no person"
        ),
        pytest.param(
            {"quantity": D(30), "position_size_pct": D("0.03"), "stop_loss": D(98), "target": D(106)},
            id="G21 a conservative trade of 3 %",
        ),
    ],
)
def test_what_is_sound_is_approved_by_all_rules(changes: dict[str, Any]) -> None:
    judgement = judge(*triple(**changes))
    assert judgement.approved
    assert judgement.findings == ()


@pytest.mark.parametrize(
    ("changes", "name", "severities"),
    [
        pytest.param(
            {"quantity": D(250)}, "max_position_size", GRAVE, id="G6 size .25 rejected, rule named"
        ),
        pytest.param(
            {"position_size_pct": D("0.25")}, "max_position_size", GRAVE, id="G6 a claim of .25 rejected"
        ),
        pytest.param({"stop_loss": None}, "require_stop_loss", ("MEDIUM",), id="G7 missing stop rejected"),
        pytest.param({"leverage": D(5)}, "max_leverage", ("MEDIUM",), id="G8 leverage 5 rejected"),
        pytest.param(
            {"admits": ("manipulative_intent",)}, "no_market_manipulation", ("CRITICAL",),
            id="G9 declared manipulation rejected as CRITICAL",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_rejected_and_named(
    changes: dict[str, Any], name: str, severities: tuple[str, ...]
) -> None:
    judgement = judge(*triple(**changes))
    assert judgement.denied
    assert spoken(judgement)[name] == "deny"
    assert rule(name).severity in severities


def test_G10_several_faults_are_all_found() -> None:
    judgement = judge(*triple(quantity=D(250), leverage=D(5), stop_loss=None, admits=("manipulative_intent",)))
    assert judgement.denied
    assert len(judgement.findings) >= 3


def test_G11_sharing_data_without_consent_is_rejected() -> None:
    sharing = _kind("share_data", subject="ann", sensitivity="personal", encrypted=True)
    judgement = judge(*triple(sharing, person=True))
    assert spoken(judgement) == {"require_consent": "deny"}
    assert judge(*triple(sharing, person=True, consents=frozenset({"share_data:ann"}))).approved


def test_G12_a_high_risk_trade_needs_a_person() -> None:
    # A flag that the caller set was enough in the original; here it is a person's answer to this very action.
    for risky in ({"quantity": D(90)}, {"leverage": D("1.8")}):
        assert judge(*triple(**risky)).asks
        assert not judge(*triple(**risky)).approved
        assert judge(*triple(**risky, person=True)).approved


def test_G13_a_size_of_exactly_a_tenth_is_no_breach() -> None:
    # It is above the 8 % from which a person is asked, as it was in the original.
    judgement = judge(*triple(quantity=D(100), position_size_pct=D("0.10")))
    assert not judgement.denied
    assert "max_position_size" not in spoken(judgement)
    assert judge(*triple(quantity=D(100), person=True)).approved


EMPTY = Action("", "", "", "", None, None, None, None, None)


@pytest.mark.parametrize(
    "kind", [pytest.param("", id="G14 empty"), pytest.param("fly_to_the_moon", id="G15 unknown")]
)
def test_an_empty_or_unknown_action_is_judged_and_denied(kind: str) -> None:
    # The original let pass what it did not know.
    judgement = judge(*triple(dataclasses.replace(EMPTY, kind=kind)))
    assert judgement.denied
    assert spoken(judgement)["require_hrm_approval"] == "deny"


def test_G16_a_judgement_has_its_fields_with_the_right_types() -> None:
    judgement = judge(*triple(quantity=D(250)), telling=True)
    assert isinstance(judgement, Judgement)
    for word in (judgement.denied, judgement.asks, judgement.approved):
        assert type(word) is bool
    assert judgement.rules_checked == tuple(each.name for each in RULES)
    assert [each.rule for each in judgement.statements] == list(RULES)
    for finding in judgement.findings:
        assert finding.rule in RULES
        assert isinstance(finding.message, str)
        assert finding.message
        assert {type(finding.denies), type(finding.asks), type(finding.mercy)} == {bool}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("read_data", id="G17 a file is read"),
        pytest.param("write_data", id="G18 a file is written, and the earlier version kept"),
    ],
)
def test_data_that_can_be_put_back_may_be_used(kind: str) -> None:
    judgement = judge(*triple(_kind(kind)))
    assert judgement.approved
    assert judgement.findings == ()


def test_G19_deleting_needs_a_person() -> None:
    assert judge(*triple(_kind("delete_data"))).asks
    assert judge(*triple(_kind("delete_data"), person=True)).approved
    assert judge(*triple(_kind("delete_data"), person=False)).denied


def test_G20_a_risky_trade_is_rejected_with_size_stop_and_leverage_named() -> None:
    said = messages(judge(*triple(LONG, quantity=D(250), stop_loss=None, leverage=D(5))))
    assert {"max_position_size", "require_stop_loss", "max_leverage"} <= set(said)
