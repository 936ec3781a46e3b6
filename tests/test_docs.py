"""The documents: generated parts are current, and links lead somewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from actors.policy import Policy
from actors.register import Registrar
from actors.ruleset import Ruleset
from actors.ruleset_book import RULESET_RULES
from ark import config
from docs import generate
from graveyard import RULES
from tests.node import ROOT

EXAMPLE = ROOT / "examples" / "register.toml"
TOML = re.findall(r"^```toml\n(.*?)^```$", (ROOT / "docs" / "rules.md").read_text(), re.DOTALL | re.MULTILINE)
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("name", generate.PAGES)
def test_the_generated_parts_are_what_the_code_says(name: str) -> None:
    assert (generate.FOLDER / name).read_text() == generate.page(name), "run `make docs`"


def test_every_generated_part_stands_in_a_document() -> None:
    text = "".join(page.read_text() for page in PAGES)

    assert [name for name in generate.PARTS if f"<!-- generated: {name} -->" not in text] == []


def test_every_setting_of_the_agents_is_explained() -> None:
    rows = [line for line in generate.configuration().splitlines() if line.startswith("| `")]

    assert [row for row in rows if row.endswith("|  |")] == []


def test_every_code_and_every_field_is_explained() -> None:
    texts = [(generate.FOLDER / name).read_text() for name in generate.PAGES if name != "rules.md"]

    assert [row for row in "".join(texts).splitlines() if row.endswith("|  |")] == []


def test_every_rule_is_named_with_what_it_needs_and_what_it_says() -> None:
    graveyard = [line.split(" | ") for line in generate.graveyard_rules().splitlines()[2:]]
    ruleset = [line.split(" | ") for line in generate.ruleset_rules().splitlines()[2:]]

    assert [row[0].strip("| `") for row in graveyard] == [rule.name for rule in RULES]
    assert [row[0].strip("| `") for row in ruleset] == [rule.title for rule in RULESET_RULES]
    assert all(cell.strip("| ") for row in graveyard for cell in row)
    assert all(cell.strip("| ") for row in ruleset for cell in row[:4])


def test_every_setting_of_the_ruleset_stands_with_its_rule_or_is_about_all_of_them() -> None:
    named = {name for rule in RULESET_RULES for name, _, _ in generate.settings(rule)}
    about_rules = {"severity", "disabled", "strict", "stage_order", "overrides", "breakers", "synthesis"}

    assert {name for name in named if "." not in name} == {*Ruleset.__struct_fields__} - about_rules


def test_the_example_of_a_register_is_read() -> None:
    register = Registrar(EXAMPLE).current()

    assert register.fault == ""
    assert register.restricted == {"XYZ"}
    assert register.no_trade == {"TSLA"}
    assert register.consents is not None
    assert "live_trading" in register.consents
    assert register.source("Rumours").standing == "promotional"
    assert register.source("research").embargo_until > 0
    assert register.source("old_feed").quarantined
    assert register.source("somebody").standing == "unregistered"
    assert register.client_orders is not None
    assert [(each.symbol, each.side) for each in register.client_orders] == [("AAPL", "buy")]


def test_the_register_in_the_page_is_the_example() -> None:
    (shown,) = [block for block in TOML if block.startswith("restricted")]

    assert tomllib.loads(shown) == tomllib.loads(EXAMPLE.read_text())


def test_the_settings_in_the_page_are_taken(tmp_path: Path) -> None:
    (shown,) = [block for block in TOML if "ruleset" in block]
    path = tmp_path / "ark.toml"
    path.write_text(shown)
    policy = Policy.of(config.load(path, {}).agents["hrm"].settings, "hrm")

    assert policy.rules().ruleset.directions == ("long",)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_to_something(path: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", path.read_text()):
        page = path.parent / target if target else path
        assert page.exists(), f"{path.name} links to {target}"
        if anchor:
            assert anchor in anchors(page), f"{path.name} links to {target}#{anchor}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_files_that_are_named_are_there(path: Path) -> None:
    folders = "ark|actors|supervisor|graveyard|tests|docs|examples"
    for name in re.findall(rf"`((?:{folders})/[\w/.-]+)`", path.read_text()):
        assert (ROOT / name).exists(), f"{path.name} names {name}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
