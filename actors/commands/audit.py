"""Check the ledger's chain, from the first row to the last, and that it has the row of each of the newest outcomes
that the gateway has; the node may go on meanwhile.

exit codes:
  0  every row is good
  1  a row was changed, removed, inserted, moved or lost, or the file is damaged
  2  there is no ledger that can be read

examples:
  ark-run audit verify
  ark-run audit verify --json --home /srv/ark
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import apsw
import msgspec

from actors.ledger import Verification, compare, verify
from ark.errors import JournalError
from ark.journal import open_for_reading

__all__ = ["EXIT_CLEAN", "EXIT_CORRUPT", "EXIT_UNREADABLE", "HELP", "configure", "run"]

HELP = "check the ledger's chain"
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
    parser.add_argument("what", choices=("verify",), help="what to do with the ledger")


def run(arguments: argparse.Namespace) -> int:
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
