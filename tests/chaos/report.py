"""What was found, fault by fault, and the table of it."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

__all__ = ["Row", "show"]


@dataclass(frozen=True)
class Row:
    """One fault and what came of it.

    Attributes:
        fault: Its name.
        expected, observed: The answer.
        noticed_s: From the fault to the supervisor's or the Watchdog's word on it; None where nobody has to notice.
        recovered_s: Until a probe had its outcome and all was well.
        lost, doubled: Signals and rows; see `tests.chaos.scene.Count`.
        differs: What is not as expected, in words; empty where all is.
        skipped: Why it could not be injected here; empty where it was.
        repeat: The command line that repeats it.
    """

    fault: str
    expected: str
    observed: str = ""
    noticed_s: float | None = None
    recovered_s: float | None = None
    lost: int = 0
    doubled: int = 0
    differs: str = ""
    skipped: str = ""
    repeat: str = ""

    @property
    def verdict(self) -> str:
        """In one word."""
        return "skipped" if self.skipped else "DIFFERS" if self.differs else "ok"


def show(rows: list[Row], console: Console) -> None:
    """Print the table, and below it what differs and what was left out."""
    table = Table(title="faults, injected under load and under a flood of junk at the front door")
    for heading in ("fault", "expected", "observed"):
        table.add_column(heading)
    for heading in ("noticed", "recovered", "lost", "doubled"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in rows:
        colour = {"ok": "green", "DIFFERS": "red"}.get(row.verdict, "yellow")
        counts = ("", "") if row.skipped else (str(row.lost), str(row.doubled))
        times = (seconds(row.noticed_s), seconds(row.recovered_s))
        verdict = f"[{colour}]{row.verdict}[/{colour}]"
        table.add_row(row.fault, row.expected, row.observed, *times, *counts, verdict)
    console.print(table)
    for row in rows:
        if row.skipped:
            console.print(f"skipped: {row.fault}: {row.skipped}", markup=False, soft_wrap=True)
        if row.differs:
            console.print(f"DIFFERS: {row.fault}: {row.differs}", markup=False, soft_wrap=True)
            console.print(f"  repeat it with: {row.repeat}", markup=False, soft_wrap=True)


def seconds(value: float | None) -> str:
    """A time for the table: milliseconds below one second."""
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"
