"""The documents: generated parts are current, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ark.intake import Intake
from ark.journal import open_database
from docs import generate
from tests.node import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("path", generate.pages(), ids=lambda path: path.name)
def test_the_generated_parts_are_what_the_code_says(path: Path) -> None:
    assert path.read_text() == generate.pages()[path], "run `make docs`"


def test_every_setting_of_the_agents_is_explained() -> None:
    rows = [line for line in generate.configuration().splitlines() if line.startswith("| `")]

    assert [row for row in rows if row.endswith("|  |")] == []


def test_every_code_and_every_field_is_explained() -> None:
    text = generate.codes() + generate.operations() + generate.signal() + generate.bar() + generate.limits()

    assert [row for row in text.splitlines() if row.endswith("|  |")] == []


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


def test_the_query_for_dead_letters_fits_the_journal() -> None:
    (query,) = re.findall(r'sqlite3 .*"(SELECT .*)"', (ROOT / "docs" / "operations.md").read_text())
    journal = Intake(open_database(":memory:"), now=0.0)

    assert journal.connection.execute(query).fetchall() == []
