"""Verify the seal of the rule book, or sign the rules anew after they were changed for good.

exit codes of verify:
  0  the rule book is the sealed one
  1  it is not, or it cannot be told; standard error says what is wrong

examples:
  ark-run seal verify
  ark-run seal verify --json
  ark-run seal sign --key ~/.config/ark/graveyard.key
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from ark import seal
from ark.cli import EXIT_ERROR, EXIT_OK, common_options, run_guarded
from ark.home import Home

HELP = "verify or sign the rule book's seal"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("what", choices=("verify", "sign"), help="what to do with the seal")
    parser.add_argument(
        "--key",
        type=Path,
        default=seal.default_key(os.environ),
        metavar="FILE",
        help="the private key to sign with; made if there is none (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Verify or sign.

    Returns:
        One of the exit codes above.
    """
    return _sign(arguments) if arguments.what == "sign" else _verify(arguments)


def main(argv: list[str] | None = None) -> int:
    """Entry of `python -m ark.seal`.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog="python -m ark.seal",
        description=__doc__,
        parents=[common_options()],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    configure(parser)
    arguments = parser.parse_args(argv)
    return run_guarded(lambda: run(arguments))


def _sign(arguments: argparse.Namespace) -> int:
    made = seal.sign(arguments.key)
    facts = {
        "digest": made.digest,
        "key": seal.fingerprint(made.public_key),
        "sealed_at": made.sealed_at,
        "private_key": str(arguments.key),
    }
    _print(facts, as_json=arguments.json)
    return EXIT_OK


def _verify(arguments: argparse.Namespace) -> int:
    trusted = seal.pinned(Home(arguments.home).keys)
    report = seal.check(key=trusted)
    facts = {
        "ok": report.ok,
        "digest": report.digest,
        "key": seal.fingerprint(report.key) if report.key else "",
        "trusted": seal.fingerprint(trusted) if trusted else "",
    }
    if arguments.json:
        print(json.dumps({**facts, "faults": report.faults}))
    else:
        _print(facts, as_json=False)
        for fault in report.faults:
            print(f"fault: {fault}", file=sys.stderr)
    return EXIT_OK if report.ok else EXIT_ERROR


def _print(facts: Mapping[str, object], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        print(f"{name:<12} {value}")
