"""The story of a night in the documents is true: whoever goes through it types and sees the same."""

from __future__ import annotations

import re

from docs.night import PAGE, Step, live


def shape(text: str) -> str:
    """What stays the same from night to night: no number, no id, no time."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}", "TRACE", text)
    return re.sub(r"\d[\d.:,-]*", "N", text)


def test_the_story_of_a_night_can_be_lived_through_again() -> None:
    told = shape(PAGE.read_text(encoding="utf-8"))
    steps = live(clear_s=1.0)
    for step in steps:
        assert step.told in PAGE.read_text(encoding="utf-8")
        assert shape(f"$ {step.command}\n" if step.command else "") in told
    codes = {" ".join(step.command.split()[:3]): step.code for step in steps if step.command}
    assert {command: code for command, code in codes.items() if code} == {"supervisor doctor joey": 3}
    shown = by_command(steps)
    assert shown["ark-run dead-letters show"].splitlines().index("  order: none was sent")
    assert "in _ask_the_model" in shown["ark-run dead-letters show"]
    assert "executed  NVDA" in shown["ark-run dead-letters retry"]
    assert shown["ark-run audit verify"].startswith("ok: ")


def by_command(steps: list[Step]) -> dict[str, str]:
    return {" ".join(step.command.split()[:3]): step.output for step in steps}
