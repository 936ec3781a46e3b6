"""The simulated table of `docs/judging.md`: the streams are what they say, and the table is there."""

from __future__ import annotations

from random import Random

import pytest

from docs.judging import PAGE, SCENARIOS, STAGES, Scenario, counted, paired, stream, tripped


def test_the_table_has_a_row_for_each_scenario() -> None:
    text = PAGE.read_text().split("<!-- simulated -->")[1].split("<!-- end of what is simulated -->")[0]
    assert [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines()[3:]] == [
        scenario.name for scenario in SCENARIOS
    ]


def test_a_stream_has_the_shares_and_faults_of_its_scenario() -> None:
    scenario = Scenario("", rate=20.0, denied=0.05, ratio=2.0, late=0.1, canary_late=0.3)
    segments = list(stream(scenario, Random(1)))[-1].segments
    assert [(each.canary_share, each.baseline_share) for each in segments[1:]] == list(STAGES)
    half = segments[3]
    for arm, denied, late in ((half.canary, 0.1, 0.3), (half.baseline, 0.05, 0.1)):
        assert arm.signals == pytest.approx(6000, rel=0.1)
        assert arm.denied / arm.signals == pytest.approx(denied, rel=0.2)
        assert arm.late / arm.signals == pytest.approx(late, rel=0.2)
    assert half.pairs.compared == pytest.approx(12_000, rel=0.1)
    assert half.pairs.denied_first / half.pairs.compared == pytest.approx(0.05, rel=0.2)
    assert half.stable.signals == 0


def test_the_judges_end_as_the_table_says_of_them() -> None:
    good, bad, missed = SCENARIOS[0], SCENARIOS[5], SCENARIOS[6]
    moments = list(stream(good, Random(1)))
    assert paired(moments)[0] == "pass"
    assert counted(moments)[0] != "fail"
    assert [judged(list(stream(bad, Random(1))))[0] for judged in (tripped, counted, paired)] == ["fail"] * 3
    assert [judged(list(stream(missed, Random(1))))[0] for judged in (tripped, paired)] == ["pass", "fail"]
