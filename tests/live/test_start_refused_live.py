"""A ruleset that is looser than the rule book never comes to judge: the start ends, and says what to mend."""

from __future__ import annotations

import pytest

from tests.node import node

LOOSER = [
    pytest.param(
        "max_position_size = 0.2",
        "max_position_size = 0.2 is looser than the Graveyard's 0.10",
        "agents.hrm.settings.max_position_size",
        id="a limit of the Graveyard",
    ),
    pytest.param(
        "ruleset.breakers.day_loss.threshold = 0.5",
        "threshold = 0.5 is looser than the original's 0.02",
        "agents.hrm.settings.ruleset.breakers.day_loss.threshold",
        id="a breaker of the ruleset",
    ),
]


@pytest.mark.parametrize(("setting", "words", "field"), LOOSER)
def test_a_looser_rule_ends_the_start_and_is_named_with_both_values(setting: str, words: str, field: str) -> None:
    with node(f"[agents.hrm.settings]\n{setting}\n", start=False) as one:
        one.start(wait=False)
        assert one.process is not None
        assert one.process.wait(20) == 1
        said = one.output.read_text()
        assert said.startswith(f"error: the tree cannot start: hrm: {words} ")
        assert f"[{field}]" in said
        assert said.count("\n") == 1
        assert "exit code" not in said
        judged = one.run("ark-run", "rules")
        assert judged.returncode == 1
        assert words in judged.stderr
        assert f"[{field}]" in judged.stderr
