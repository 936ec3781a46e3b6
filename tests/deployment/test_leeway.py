"""What a plan may say of the judge where the node has said something: as much, or stricter."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ark.deploy_settings import DeployConfig
from ark.errors import ConfigError
from deployment.leeway import FEWER, FIXED, HIGHER, LOWER
from deployment.plan import Plan, make_plan
from deployment.tripwires import Tripwires
from deployment.verdict import Policy


def planned(node: dict[str, Any], policy: str = "sequential", /, **options: Any) -> Plan:
    settings = DeployConfig(policy=policy, judge=node)  # type: ignore[arg-type]
    return make_plan("r1", {"joey": "x"}, {"joey": ""}, settings=settings, options=options)


def test_each_setting_of_a_judge_has_one_stricter_side_or_none() -> None:
    known = set(Policy.__struct_fields__) | set(Tripwires.__struct_fields__)
    assert known == LOWER | HIGHER | FEWER | FIXED
    assert len(known) == sum(map(len, (LOWER, HIGHER, FEWER, FIXED)))


@pytest.mark.parametrize(
    ("name", "node", "allowed", "refused"),
    [
        ("alpha", 0.01, [0.01], [0.05, 0.001]),
        ("beta", 0.02, [0.02, 0.001], [0.05]),
        ("limit", 0.005, [0.002], [0.01]),
        ("minimum_signals", 200, [200, 500], [50]),
        ("replay", False, [False], [True]),
        ("replay", True, [False, True], []),
        ("crashes", 1, [1], [3]),
        ("noisy", ["joey"], [[], ["joey"]], [["hrm"], ["joey", "hrm"]]),
        ("observe_only", ["pairs.slow"], [[], ["hrm.pairs.slow"]], [["pairs.denied"]]),
        ("observe_only", ["hrm.pairs.slow"], [["hrm.pairs.slow"]], [["pairs.slow"], ["joey.pairs.slow"]]),
    ],
)
def test_a_plan_may_be_stricter_than_the_node_and_not_laxer(
    name: str, node: Any, allowed: list[Any], refused: list[Any]
) -> None:
    for value in allowed:
        judging = planned({name: node}, judge={name: value}).judging
        assert getattr(judging, name) == (tuple(value) if isinstance(value, list) else value)
    for value in refused:
        with pytest.raises(ConfigError, match=r"\[deploy\]\.judge of ark\.toml") as caught:
            planned({name: node}, judge={name: value})
        assert caught.value.field == f"judge.{name}"
        assert f"judge.{name}: " in caught.value.line
        assert "\n" not in caught.value.line


def test_tripwires_have_their_stricter_sides_too() -> None:
    assert planned({"sigma": 2.0}, "tripwires", judge={"sigma": 1.5}).settings.judge == {"sigma": 1.5}
    with pytest.raises(ConfigError, match=r"judge\.sigma: 3\.0 is laxer than the node's 2\.0"):
        planned({"sigma": 2.0}, "tripwires", judge={"sigma": 3.0})


def test_what_the_node_does_not_name_is_a_default_and_free() -> None:
    assert planned({}, judge={"beta": 0.3, "crashes": 100}).judging == Policy(beta=0.3, crashes=100)
    assert planned({"beta": 0.02}, judge={"crashes": 100}).judging == Policy(beta=0.02, crashes=100)


def test_what_the_node_says_stays_beside_what_a_file_and_options_say(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text("judge.margin = 1.05\njudge.crashes = 2\n")
    settings = DeployConfig(judge={"beta": 0.02})
    plan = make_plan(
        "r1", {"joey": "x"}, {"joey": ""}, settings=settings, file=file, options={"judge": {"crashes": 1}}
    )
    assert plan.judging == Policy(beta=0.02, margin=1.05, crashes=1)
    kept = msgspec.json.decode(msgspec.json.encode(plan), type=Plan)
    assert kept.judging == plan.judging


def test_another_judge_does_not_set_aside_what_the_node_says_of_its_own() -> None:
    assert planned({}, policy="tripwires").judging == Tripwires()
    with pytest.raises(ConfigError, match=r"\[deploy\]\.judge of ark\.toml says of 'sequential'") as caught:
        planned({"beta": 0.02}, policy="tripwires")
    assert caught.value.field == "policy"


def test_what_is_wrong_in_the_nodes_own_file_is_said_of_that() -> None:
    with pytest.raises(ConfigError, match=r"ark\.toml: unknown key 'deploy\.judge\.alpa'; did you mean 'alpha'"):
        planned({"alpa": 0.01})


@pytest.mark.parametrize("wrong", [3, "alpha", [0.01]])
def test_a_judge_that_is_no_table_is_one_line(wrong: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        planned({"beta": 0.02}, judge=wrong)
    assert caught.value.field == "judge"


@pytest.mark.parametrize("spared", [[], ["joey"]])
def test_a_plan_cannot_spare_a_release_of_the_judge_its_two_people(spared: list[str]) -> None:
    with pytest.raises(ConfigError, match="two_people: it leaves out hrm") as caught:
        planned({}, two_people=spared)
    assert caught.value.field == "two_people"
    alone = DeployConfig(two_people=())
    assert make_plan("r1", {"hrm": "x"}, {"hrm": ""}, settings=alone).gates == ()


@pytest.mark.parametrize(
    ("asked", "said", "fits"),
    [
        ({"before": "25"}, [{"before": "25"}, {"before": "50"}], True),
        ({"before": "25"}, [{"before": "25", "approvers": ["ada"]}], True),
        ({"before": "25"}, [], False),
        ({"before": "25"}, [{"before": "50"}], False),
        ({"needed": 2}, [{"needed": 3}], True),
        ({"needed": 2}, [{"needed": 1}], False),
        ({"approvers": ["ada", "ben"]}, [{"approvers": ["ben"]}], True),
        ({"approvers": ["ada", "ben"]}, [{"approvers": ["eve"]}], False),
        ({"approvers": ["ada", "ben"]}, [{}], False),
        ({"before": "25"}, [{"before": "25.0"}], True),
        ({"approvers": ["Ada"]}, [{"approvers": ["ada"]}], True),
    ],
)
def test_a_plan_keeps_each_gate_of_the_node_or_makes_it_stricter(
    asked: dict[str, Any], said: list[dict[str, Any]], fits: bool
) -> None:
    node = msgspec.convert({"gates": [asked]}, DeployConfig)
    outcome = (
        nullcontext() if fits else pytest.raises(ConfigError, match="the plan: gates: it leaves out or loosens")
    )
    with outcome:
        make_plan("r1", {"joey": "x"}, {"joey": ""}, settings=node, options={"gates": said})
