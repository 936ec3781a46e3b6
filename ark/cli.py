"""`ark-run`: gathers its commands from the entry-point group `ark.commands`; each package brings its own."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import ark
from ark.client import Client
from ark.errors import ArkError, ConfigError, RequestError
from ark.home import default_home

__all__ = ["EXIT_ERROR", "EXIT_OK", "EXIT_USAGE", "add_node_options", "main", "reach", "remote", "run_guarded"]

EXIT_OK = 0
"""Done."""
EXIT_ERROR = 1
"""It could not be done; standard error says why and what to do."""
EXIT_USAGE = 2
"""The command line is wrong."""

_EPILOG = """\
first steps:
  ark-run start --demo            replay real daily bars through the pipeline
  supervisor status               what runs, in another terminal
  ark-run inject signals.jsonl    send signals, print each outcome
  ark-run trace TRACE_ID          one signal's story
  ark-run held                    decisions that wait for you
  ark-run dead-letters list       signals that the pipeline gave up on
"""


def main(argv: list[str] | None = None) -> int:
    """Entry of the console script.

    Returns:
        The exit code.
    """
    arguments = sys.argv[1:] if argv is None else argv
    known = {each.name: each for each in entry_points(group="ark.commands")}
    wanted = next((each for each in arguments if not each.startswith("-")), None)
    # Only what is asked for is imported: a command should answer at once.
    loaded = {wanted: known[wanted].load()} if wanted in known else {n: e.load() for n, e in known.items()}
    parser = _parser(loaded)
    parsed = parser.parse_args(arguments)
    return run_guarded(lambda: int(loaded[parsed.command].run(parsed)))


def run_guarded(action: object) -> int:
    """Run a command; an operator's mistake is one line, never a traceback."""
    assert callable(action)
    try:
        return int(action())
    except RequestError as error:
        where = f" [{error.field}]" if error.field else ""
        print(f"error: {error} ({error.code}){where}", file=sys.stderr)
    except ArkError as error:
        print(f"error: {error.line}", file=sys.stderr)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    return EXIT_ERROR


def common_options() -> argparse.ArgumentParser:
    """The options that every command has."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--home",
        type=Path,
        default=default_home(),
        metavar="DIR",
        help="the node's home (default: ARK_HOME, or the user's state folder)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def add_node_options(parser: argparse.ArgumentParser, *, default: Any = None) -> None:
    """Let a command go to a node on another machine; it asks `remote` whether it should."""
    parser.add_argument(
        "--node",
        default=default,
        metavar="ENDPOINT",
        help="a node elsewhere, such as tcp://10.0.0.7:5555 (default: ARK_NODE, where no home is named)",
    )
    parser.add_argument(
        "--key", type=Path, default=default, metavar="FILE", help="your key file for that node (default: ARK_KEY)"
    )


def remote(arguments: argparse.Namespace) -> tuple[str, Path | None] | None:
    """The endpoint and the key file of the node that was named; None where it is the one over the home.

    Who names a home on the command line means it, whatever ARK_NODE says.
    """
    node, key = arguments.node, arguments.key
    if node is None and arguments.home == default_home():
        node = os.environ.get("ARK_NODE") or None
    if node is None:
        if key is not None:
            raise ConfigError(
                "--key is for a node that is named with --node", hint="add --node ENDPOINT", field="key"
            )
        return None
    named = os.environ.get("ARK_KEY")
    return node, key or (Path(named) if named else None)


def reach(arguments: argparse.Namespace, *, timeout_s: float = 10.0) -> Client:
    """A client of the node that a command is meant for, here or elsewhere."""
    elsewhere = remote(arguments)
    if elsewhere is None:
        return Client.for_home(arguments.home, timeout_s=timeout_s)
    node, key = elsewhere
    return Client(node, key=key, timeout_s=timeout_s)


def _parser(commands: dict[str, ModuleType]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ark-run",
        description="ARK: run trading agents as supervised processes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ark {ark.__version__}")
    places = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in sorted(commands.items()):
        place = places.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            parents=[common_options()],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.configure(place)
    return parser
