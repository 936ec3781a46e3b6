"""Lift a halt."""

from __future__ import annotations

import argparse

from ark.cli import add_node_options
from ark.commands.halt import change

HELP = "lift a halt"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    add_node_options(parser)
    parser.add_argument("--reason", required=True, help="why it is safe again")


def run(arguments: argparse.Namespace) -> int:
    """Resume."""
    return change(arguments, "resume")
