"""Refuse a decision that waits for a person, wait a moment for what becomes of the signal, and print it.

exit codes: 0 your word stands (also where the outcome did not come in time), 1 the signal was not held (any more).
"""

from __future__ import annotations

import argparse

from ark.commands import approve

HELP = "refuse a held decision"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    approve.configure(parser)


def run(arguments: argparse.Namespace) -> int:
    """Refuse."""
    return approve.answer(arguments, "refuse")
