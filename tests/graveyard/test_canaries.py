"""The canaries: silent while the judge judges, and speaking of what it does wrong."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytest

from graveyard import Judgement, ethics, judge, rule
from graveyard.canaries import CANARIES, SOUND, failing
from tests.graveyard.cases import NAMES, spoken


def test_nothing_is_wrong_with_the_judge() -> None:
    assert failing() == ()


def test_there_is_a_canary_for_every_rule_in_their_order_and_it_alone_speaks() -> None:
    assert tuple(canary.rule for canary in CANARIES) == NAMES
    for canary in CANARIES:
        word = {"transparent_reasoning": "warn", "human_in_loop_critical": "ask"}.get(canary.rule, "deny")
        assert spoken(judge(canary.action, canary.account, canary.facts)) == {canary.rule: word}
    assert judge(SOUND.action, SOUND.account, SOUND.facts).approved


def test_canaries_cannot_be_written_to() -> None:
    for canary in (SOUND, *CANARIES):
        with pytest.raises(dataclasses.FrozenInstanceError):
            canary.rule = ""  # type: ignore[misc]
        assert canary.account.exposures is not None
        with pytest.raises(TypeError):
            canary.account.exposures["X"] = 1  # type: ignore[index]


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_that_went_blind_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(*_: Any) -> Any:
        return ethics.PASS

    patched = tuple((each, blind if each.name == name else check) for each, check in ethics._CHECKS)
    monkeypatch.setattr(ethics, "_CHECKS", patched)
    assert failing() == (f"{name} let its canary pass",)


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_that_speaks_always_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def loud(*_: Any) -> Any:
        return "breach", "boo"

    patched = tuple((each, loud if each.name == name else check) for each, check in ethics._CHECKS)
    monkeypatch.setattr(ethics, "_CHECKS", patched)
    found = failing()
    how = "spoken against" if name == "transparent_reasoning" else "denied"
    assert f"the sound canary was {how} by {name}" in found
    assert len(found) >= 26


def test_a_judge_that_raises_is_named_and_raises_nothing_further() -> None:
    def broken(*_: Any) -> Judgement:
        raise ZeroDivisionError("by zero")

    found = failing(broken)
    assert len(found) == 27
    assert found[0] == "the sound canary could not be judged: ZeroDivisionError: by zero"
    assert found[1] == "the canary of immutable_graveyard could not be judged: ZeroDivisionError: by zero"
    assert len(failing(lambda *_: None)) == 27  # type: ignore[arg-type, return-value]


def test_a_judge_that_skips_rules_is_named() -> None:
    def lazy(*given: Any) -> Judgement:
        return dataclasses.replace(judge(*given), rules_checked=NAMES[1:])

    assert failing(lazy)[0] == "the sound canary was judged by 25 rules, not by all 26"
    assert len(failing(lazy)) == 27


def test_a_judge_that_only_warns_or_approves_all_the_same_is_named() -> None:
    def mild(*given: Any) -> Judgement:
        judgement = judge(*given)
        return dataclasses.replace(
            judgement,
            findings=tuple(dataclasses.replace(each, denies=False, asks=False) for each in judgement.findings),
        )

    found = failing(mild)
    assert len(found) == 25
    assert "max_leverage spoke against its canary, but only warned" in found
    assert "human_in_loop_critical spoke against its canary, but only warned" in found

    class Lying(Judgement):
        __slots__ = ()
        denied = asks = False  # type: ignore[assignment]

    def lying(*given: Any) -> Judgement:
        judgement = judge(*given)
        return Lying(judgement.findings, judgement.rules_checked)

    assert "max_leverage spoke against its canary, and it passed all the same" in failing(lying)
    assert len(failing(lying)) == 25


def test_a_judge_that_denies_where_it_should_ask_or_warn_is_named() -> None:
    def harsh(*given: Any) -> Judgement:
        judgement = judge(*given)
        return dataclasses.replace(
            judgement,
            findings=tuple(dataclasses.replace(each, denies=True, asks=False) for each in judgement.findings),
        )

    assert failing(harsh) == (
        "transparent_reasoning spoke against its canary, but denied it",
        "human_in_loop_critical spoke against its canary, but denied it",
    )


def test_a_judge_that_never_approves_is_named() -> None:
    class Grim(Judgement):
        __slots__ = ()
        approved = False  # type: ignore[assignment]

    def grim(*given: Any) -> Judgement:
        judgement = judge(*given)
        return Grim(judgement.findings, judgement.rules_checked)

    assert failing(grim) == ("the sound canary was not approved",)


def test_asking_all_canaries_takes_few_milliseconds() -> None:
    assert rule("immutable_graveyard").halts, "they are asked every few seconds, in the judge's own process"
    best = min(_took() for _ in range(20))
    assert best < 0.01


def _took() -> float:
    began = time.perf_counter()
    failing()
    return time.perf_counter() - began
