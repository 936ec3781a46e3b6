"""Lift a halt."""

from __future__ import annotations

import argparse

from ark.commands.halt import change

HELP = "lift a halt"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--reason", required=True, help="why it is safe again")


def run(arguments: argparse.Namespace) -> int:
    """Resume."""
    return change(arguments, "resume")
