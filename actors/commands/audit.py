"""Check the ledger, or show what persons and the Watchdog did to the node, while it runs or is down.

`verify` walks along the ledger's chain, from the first row to the last, and looks whether it has the row of each of
the newest outcomes that the gateway has. `acts` shows every intervention: when, who, what, whom, why, and the row
of the ledger that keeps it; none for what Aletheia has not taken in yet.

exit codes:
  0  every row is good; the acts were read
  1  a row was changed, removed, inserted, moved or lost, or the file is damaged
  2  there is no ledger that can be read; of the acts, what can be read is shown

examples:
  ark-run audit verify
  ark-run audit verify --json --home /srv/ark
  ark-run audit acts --since 1d
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec

from actors.interventions import identity
from actors.ledger import Act, Verification, acts, compare, verify
from ark import interventions
from ark.commands.held import plain
from ark.errors import JournalError
from ark.home import Home
from ark.interventions import Intervention
from ark.journal import open_for_reading
from ark.moment import parse_moment, shown

__all__ = ["EXIT_CLEAN", "EXIT_CORRUPT", "EXIT_UNREADABLE", "HELP", "configure", "run"]

HELP = "check the ledger's chain, or show who did what to the node"
EXIT_CLEAN = 0
"""Every row is good."""
EXIT_CORRUPT = 1
"""A row is not what was written."""
EXIT_UNREADABLE = 2
"""There is no ledger, or it cannot be opened."""
PATIENCE_S = 1.0
"""A walk that takes longer says how far it is, on a terminal."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("what", choices=("verify", "acts"), help="what to do with the ledger")
    parser.add_argument(
        "--since",
        type=_moment,
        default=0.0,
        metavar="TIME",
        help="only acts since then: 90s, 10m, 2h, 1d, or an ISO time",
    )


def _moment(text: str) -> float:
    try:
        return parse_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(arguments: argparse.Namespace) -> int:
    """Verify the ledger, or show the acts.

    Args:
        arguments: With `what`, `since`, `home` and `json`.

    Returns:
        One of the exit codes above.
    """
    return _show_acts(arguments) if arguments.what == "acts" else _verify(arguments)


def _show_acts(arguments: argparse.Namespace) -> int:
    taken, trouble = _taken(arguments.home / "data" / "aletheia.db")
    found = [{**_shown(act), "row": seq} for seq, act in taken]
    known = {act.trace_id for _, act in taken}
    try:
        found += [_shown(act) for act in _all(Home(arguments.home)) if identity(act) not in known]
    except JournalError as error:
        trouble = trouble or str(error)
    found = sorted((act for act in found if act["at"] >= arguments.since), key=lambda act: act["at"])
    if arguments.json:
        print(msgspec.json.encode(found).decode())
    else:
        for act in found:
            place = "not in the ledger yet" if act["row"] is None else f"row {act['row']}"
            by, what, whom, why = (plain(act[key]) or "-" for key in ("by", "act", "subject", "reason"))
            print(f"{shown(act['at'])}  {by:<12} {what:<12} {whom:<12} {why} ({place})")
    if trouble:
        print(f"error: {trouble}", file=sys.stderr)
    return EXIT_UNREADABLE if trouble else EXIT_CLEAN


def _taken(path: Path) -> tuple[list[tuple[int, Act]], str]:
    """The acts in the ledger, and what is wrong with it; a ledger that was never begun is not wrong."""
    if not path.exists():
        return [], ""
    try:
        connection = open_for_reading(path)
        try:
            return list(acts(connection)), ""
        finally:
            connection.close()
    except apsw.SQLError:  # nobody has begun it
        return [], ""
    except (JournalError, apsw.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
        return [], f"cannot read {path}: {error}" if not isinstance(error, JournalError) else str(error)


def _all(home: Home) -> Iterator[Intervention]:
    after = -1
    while True:
        page = list(interventions.read(home, after=after))
        yield from page
        if not page:
            return
        after = page[-1].number


def _shown(act: Act | Intervention) -> dict[str, Any]:
    return {
        "at": act.done_at if isinstance(act, Act) else act.at,
        "by": act.by,
        "act": act.act,
        "subject": act.subject,
        "reason": act.reason,
        "details": act.details,
        "number": act.number,
        "row": None,
    }


def _verify(arguments: argparse.Namespace) -> int:
    """Verify the ledger.

    Args:
        arguments: With `home` and `json`.

    Returns:
        One of the exit codes above.
    """
    path = arguments.home / "data" / "aletheia.db"
    try:
        connection = open_for_reading(path)
        try:
            found = verify(connection, _Progress())
            found = _compared(found, connection, arguments.home / "data" / "gateway.db")
        finally:
            connection.close()
    except (JournalError, apsw.Error) as error:
        _report(arguments.json, {"ok": False, "path": str(path), "error": str(error)}, f"error: {error}")
        return EXIT_UNREADABLE
    facts = {
        "ok": found.ok,
        "path": str(path),
        "rows": found.rows,
        "head": found.head,
        "first_bad": found.first_bad,
        "reason": found.reason,
    }
    _report(arguments.json, facts, _sentence(found))
    return EXIT_CLEAN if found.ok else EXIT_CORRUPT


def _compared(found: Verification, ledger: apsw.Connection, path: Path) -> Verification:
    if not path.exists():
        return found
    gateway = open_for_reading(path)
    try:
        return compare(found, ledger, gateway)
    except apsw.SQLError:  # no gateway has ever opened it
        return found
    finally:
        gateway.close()


def _sentence(found: Verification) -> str:
    if found.ok:
        return f"ok: {found.rows} rows, head {found.head}"
    return f"CORRUPT: row {found.first_bad}: {found.reason} ({found.rows} rows before it are good)"


class _Progress:
    """Says on a terminal how far a long walk is, once a second."""

    def __init__(self) -> None:
        self._next = time.monotonic() + PATIENCE_S
        self._shows = sys.stderr.isatty()

    def __call__(self, rows: int) -> None:
        if self._shows and time.monotonic() >= self._next:
            self._next = time.monotonic() + PATIENCE_S
            print(f"{rows} rows are good so far", file=sys.stderr)


def _report(as_json: bool, facts: dict[str, object], sentence: str) -> None:
    if as_json:
        print(msgspec.json.encode(facts).decode())
    else:
        print(sentence, file=sys.stderr if sentence.startswith("error") else sys.stdout)
