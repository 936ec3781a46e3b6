"""What promtool says of the committed rules, their tests and the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployment.alerting import Limits
from deployment.observability import FOLDER, rule_tests, write_files
from tests.monitoring import needs, run_tool

pytestmark = [pytest.mark.monitoring, needs("promtool")]

FILES = sorted((FOLDER / "prometheus" / "tests").glob("*.yml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_alert_fires_when_it_should_and_is_silent_otherwise(file: Path) -> None:
    run_tool("promtool", "test", "rules", file)


def test_every_file_of_tests_is_run() -> None:
    assert {f"prometheus/tests/{file.name}" for file in FILES} == set(rule_tests(Limits()))


def test_the_configuration_and_the_rules_that_it_names_are_taken() -> None:
    said = run_tool("promtool", "check", "config", FOLDER / "prometheus" / "prometheus.yml")
    assert "8 rule files found" in said


def test_what_an_operator_has_written_for_him_is_taken(tmp_path: Path) -> None:
    limits = Limits(listen="127.0.0.1:9190", memory_of=(("joey", 3 << 30),), stall_s=600.0, mailbox_depth=10)
    write_files(tmp_path, limits)

    run_tool("promtool", "check", "config", tmp_path / "prometheus" / "prometheus.yml")


def test_a_rule_that_is_not_that_of_the_tests_fails_them(tmp_path: Path) -> None:
    write_files(tmp_path, Limits(mailbox_depth=2000, stall_s=300.0))
    folder = tmp_path / "prometheus" / "tests"
    folder.mkdir()
    for name, failing in (("freshness-1m.yml", "ARKMailboxDeep"), ("freshness-30s.yml", "ARKOldestSignalStuck")):
        file = folder / name
        file.write_text((FOLDER / "prometheus" / "tests" / name).read_text())
        with pytest.raises(AssertionError, match=failing):
            run_tool("promtool", "test", "rules", file)
