"""What the command line asks of `deploy.plan` and `deploy.start`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ark.errors import ConfigError
from deployment.deploy_request import read_plan_file, role_and_release, setting, stages, wish

FILE = {"strategy": "blue-green", "note": "n", "stage_s": 5, "judge": {"alpha": 0.1}, "roles": {"joey": "aa"}}


def test_nothing_is_asked_for_that_was_not_said() -> None:
    assert wish() == {}
    assert wish(release="3fa8", note="why") == {"release": "3fa8", "note": "why"}


def test_an_option_counts_before_the_file_and_leaves_the_file_as_it_was() -> None:
    asked = wish(
        file=FILE,
        agents=[("joey", "bb"), ("hrm", "cc")],
        strategy="canary",
        settings=[("judge.beta", 0.2), ("stages", [5.0, 100.0]), ("by", None)],
    )

    assert asked["roles"] == {"joey": "bb", "hrm": "cc"}
    assert (asked["strategy"], asked["note"]) == ("canary", "n")
    assert asked["settings"] == {"stage_s": 5, "judge": {"alpha": 0.1, "beta": 0.2}, "stages": [5.0, 100.0]}
    assert FILE["judge"] == {"alpha": 0.1}


def test_an_agent_has_one_new_release() -> None:
    with pytest.raises(ConfigError, match="names joey twice"):
        wish(agents=[("joey", "aa"), ("joey", "bb")])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("shadow_s=30", ("shadow_s", 30)),
        ("judge.alpha = 0.05", ("judge.alpha", 0.05)),
        ("inconclusive=abort", ("inconclusive", "abort")),
        ("two_people=[]", ("two_people", [])),
        ('gates=[{before="25"}]', ("gates", [{"before": "25"}])),
    ],
)
def test_a_setting_is_toml_or_a_text_without_quotes(text: str, value: object) -> None:
    assert setting(text) == value


@pytest.mark.parametrize("text", ["", "=", "shadow_s", "shadow_s=", "=3"])
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="KEY=VALUE"):
        setting(text)


def test_stages_and_agents_are_read_as_people_write_them() -> None:
    assert stages("10, 25,100%") == [10.0, 25.0, 100.0]
    assert role_and_release(" joey = 3fa8 ") == ("joey", "3fa8")
    with pytest.raises(ValueError, match="write percents"):
        stages("10;25")
    with pytest.raises(ValueError, match="ROLE=DIGEST"):
        role_and_release("joey")


@given(some.text())
def test_whatever_is_written_is_read_or_refused_in_words(text: str) -> None:
    for reader in (setting, stages, role_and_release):
        said = ""
        try:
            reader(text)  # type: ignore[operator]
        except ValueError as error:
            said = str(error)
        assert not said or said.startswith("write ")


def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    with pytest.raises(ConfigError, match=r"cannot read .*No such file"):
        read_plan_file(file)
    file.write_text("stages = [")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        read_plan_file(file)
    file.write_text("roles = 3")
    with pytest.raises(ConfigError, match="roles is no table"):
        read_plan_file(file)
    file.write_text("stages = [100]\n[roles]\njoey = '3fa8'\n")
    assert read_plan_file(file) == {"stages": [100], "roles": {"joey": "3fa8"}}
