"""Plans of rollouts: where they come from, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ark.config import load
from ark.deploy_settings import DeployConfig, Gate
from ark.errors import ConfigError
from deployment.plan import Plan, make_plan
from deployment.tripwires import Tripwires
from deployment.verdict import Policy

STABLE = {"joey": "", "hrm": "old"}


def test_options_win_over_the_file_and_the_file_over_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text('strategy = "blue-green"\nnote = "faster"\nstage_s = 5\nbake_s = 7\n[roles]\nhrm = "new"\n')
    settings = DeployConfig(stage_s=1, bake_s=2, shadow_s=3)
    plan = make_plan("r1", {"joey": "x"}, STABLE, settings=settings, file=file, options={"bake_s": 9, "by": None})
    assert plan.roles == {"hrm": "new", "joey": "x"}
    assert plan.stable == {"hrm": "old", "joey": ""}
    assert (plan.strategy, plan.note) == ("blue-green", "faster")
    assert (plan.settings.shadow_s, plan.settings.stage_s, plan.settings.bake_s) == (3, 5, 9)
    assert make_plan("r1", {}, STABLE, file=file, strategy="canary", note="x").strategy == "canary"


def test_a_plan_survives_being_kept(tmp_path: Path) -> None:
    plan = make_plan("r1", {"joey": "x"}, STABLE, options={"freeze": [{"from": "09:00", "days": ["mon"]}]}, now=5.5)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(plan), type=Plan) == plan


@pytest.mark.parametrize(
    ("options", "field", "words"),
    [
        ({"stages": [10, 10, 100]}, "stages", "rise"),
        ({"stages": [10, 50]}, "stages", "end with 100"),
        ({"stages": []}, "stages", "length"),
        ({"stages": [0, 100]}, "stages[0]", "> 0"),
        ({"stage_s": 10_000}, "stage_s", "less than stage_deadline_s"),
        ({"polcy": "x"}, "polcy", "did you mean 'policy'?"),
        ({"policy": "guess"}, "policy", "guess"),
        ({"by": "name"}, "by", "name"),
        ({"gates": [{"before": "33"}]}, "gates", "33 %"),
        ({"gates": [{"befor": "25"}]}, "gates[0].befor", "did you mean 'before'?"),
        ({"gates": [{"needed": 2, "approvers": ["ada"]}]}, "gates[0]", "fewer people"),
        ({"freeze": [{"from": "25:00"}]}, "freeze[0].from", "regex"),
        ({"freeze": [{"from": "24:00"}]}, "freeze[0]", "24:00"),
        ({"freeze": [{"dates": ["2026-02-30"]}]}, "freeze[0]", "2026-02-30"),
        ({"timezone": "Mars/Olympus"}, "timezone", "Mars/Olympus"),
        ({"budget_freeze": 0.5}, "budget_freeze", "budget_caution"),
        ({"ramp_back": [50, 20]}, "ramp_back", "rise"),
        ({"judge": {"alpa": 0.1}}, "judge.alpa", "did you mean 'alpha'?"),
        ({"judge": {"alpha": 2}}, "judge.alpha", "< 0.5"),
        ({"judge": {"margin": 3}}, "judge.margin", "harmful"),
        ({"policy": "tripwires", "judge": {"alpha": 0.1}}, "judge.alpha", "known here: baseline_s"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_plan("r1", {"joey": "x"}, STABLE, options=options)
    assert caught.value.field == field
    assert words in caught.value.line
    assert "\n" not in caught.value.line


def test_a_plan_says_what_the_judge_is_asked_for() -> None:
    assert make_plan("r1", {"joey": "x"}, STABLE, options={"judge": {"noisy": ["joey"]}}).judging == Policy(
        noisy=("joey",)
    )
    assert make_plan("r1", {"joey": "x"}, STABLE, options={"policy": "tripwires"}).judging == Tripwires()


@pytest.mark.parametrize(
    ("roles", "strategy", "words"),
    [
        ({}, "canary", "roles"),
        ({"joey": ""}, "canary", "runs already"),
        ({"joey": "x"}, "aa", "the same twice"),
        ({"Joey": "x"}, "canary", "regex"),
        ({"joey": "x y"}, "canary", "regex"),
        ({"joey": "x"}, "rolling", "rolling"),
    ],
)
def test_releases_must_fit_the_strategy(roles: dict[str, str], strategy: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_plan("r1", roles, STABLE, strategy=strategy)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    for text in (None, "x = ", 'roles = "joey"'):
        file = tmp_path / "plan.toml"
        if text is not None:
            file.write_text(text)
        with pytest.raises(ConfigError, match=r"plan\.toml"):
            make_plan("r1", {"joey": "x"}, STABLE, file=file)


def test_a_release_of_the_judge_takes_two_people_before_its_promotion() -> None:
    def gates(role: str = "hrm", **options: Any) -> list[tuple[str, int]]:
        plan = make_plan("r1", {role: "new"}, STABLE, options=options)
        return [(gate.before, gate.needed) for gate in plan.gates]

    assert gates() == [("promotion", 2)]
    assert gates(gates=[{"before": "25"}]) == [("25", 2), ("promotion", 2)]
    assert gates(gates=[{"needed": 3}]) == [("promotion", 3)]
    assert gates("joey") == []
    assert gates("joey", gates=[{"before": "25"}]) == [("25", 1)]
    assert gates(two_people=["hrm", "joey"]) == [("promotion", 2)]
    with pytest.raises(ConfigError, match="takes 2 people, since it is about hrm"):
        gates(gates=[{"approvers": ["ada"]}])


def test_an_aa_of_everything_waits_for_nobody() -> None:
    plan = make_plan("r1", {}, STABLE, strategy="aa", options={"gates": [Gate()]})
    assert plan.roles == STABLE
    assert plan.gates == ()


def test_the_settings_come_from_ark_toml(tmp_path: Path) -> None:
    file = tmp_path / "ark.toml"
    file.write_text('[deploy]\nstages = [20, 100]\n[[deploy.freeze]]\nfrom = "09:15"\nto = "09:45"\nwhy = "open"\n')
    deploy = load(file, {}).deploy
    assert deploy.stages == (20, 100)
    assert deploy.freeze[0].from_ == "09:15"
    for text, words in (
        ("[deploy]\nstage = 5\n", "did you mean 'stages'"),
        ("[[deploy.gates]]\nbefor = '25'\n", r"deploy\.gates\[0\]\.befor.*did you mean 'before'"),
        ("[deploy]\nstages = [20]\n", "stages must end with 100"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=words):
            load(file, {})
