"""The command `supervisor`: see what runs and why not, and put one child aside, back, or anew."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ark.cli import EXIT_ERROR, EXIT_OK, EXIT_USAGE, add_node_options, remote, run_guarded
from ark.client import Client
from ark.commands.approve import login_name
from ark.errors import NodeError
from ark.home import Home, default_home
from ark.levels import ALL, DEFAULT, LEVELS
from ark.log_text import shown
from ark.moment import parse_moment, parse_span
from ark.rollouts import shown_rollout
from ark.terminal import wants_colours
from supervisor import doctor, objectives
from supervisor.history import History, Wanted
from supervisor.log_view import LogView, WantedLines, level_lines
from supervisor.rendering import STYLES, Status, absent, as_json, event_line, is_well, status_lines, tree_lines

__all__ = ["EXIT_DEGRADED", "EXIT_ERROR", "EXIT_NOTHING_RUNS", "EXIT_OK", "EXIT_USAGE", "main"]

EXIT_DEGRADED = 3
"""A child does not run, trading is halted, or the node does not answer."""
EXIT_NOTHING_RUNS = 4
"""No node runs over that home."""

STATUS_TIMEOUT_S = 5.0
ORDER_TIMEOUT_S = 15.0
"""Longer than the node itself waits for a child to come to where it was sent."""
REFRESH_S = 1.0
LAST_EVENTS = 20
LAST_LINES = 50
FOLLOW_S = 0.2
"""How often a log that is followed is looked at."""

LINES_READ = 20_000
"""How far back the doctor reads."""

_DESCRIPTION = "See what runs in an ARK node and why not, and put one child aside, back, or anew."
_EPILOG = """\
examples:
  supervisor status                                  one line for each child
  supervisor status --watch                          the same, refreshed in place
  supervisor status --json | jq '.children[].state'
  supervisor tree                                    who supervises whom
  supervisor isolate joey --reason "odd confidence"  stop joey, keep its signals waiting
  supervisor release joey --reason "model replaced"  start it anew; what waited flows again
  supervisor stop exporter --reason "port needed"    stop a child; it stays down
  supervisor start exporter                          start it again
  supervisor restart kyle --reason "new settings"    an orderly stop and a start
  supervisor events --follow                         what happened, and what happens
  supervisor events --since 2h --kind alert,isolate  what happened lately, and of it only this
  supervisor logs --follow                           what all processes write into their logs
  supervisor logs kenny hrm --level warning          of these two, and from that level on
  supervisor logs --trace TRACE_ID                   every line about one signal
  supervisor log-level kenny debug --for 10m         have kenny write more for a while
  supervisor log-level                               the levels in force
  supervisor doctor                                  what is wrong, why, and what to do next
  supervisor doctor joey                             the same about joey, with what came before
  supervisor slo                                     the service level objectives: state, budget, burn rates

exit codes of status, tree, doctor and slo:
  0  all is well; for slo, no objective is violated (one that is unknown is not)
  3  something is degraded: a child does not run, trading is halted, the node does not answer; for doctor, also
     whatever else it finds to be wrong; for slo, an objective is violated
  4  nothing runs
other commands: 0 done, 1 error, 2 wrong command line
"""


def main(argv: list[str] | None = None) -> int:
    """Entry of the console script.

    Returns:
        The exit code.
    """
    try:
        arguments = _parser().parse_args(argv)
        arguments.check(arguments)
    except SystemExit as end:  # argparse has said why
        return int(end.code or EXIT_OK)
    command: Callable[[argparse.Namespace], int] = arguments.run
    return run_guarded(lambda: command(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="supervisor",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_common(parser, home=default_home(), as_json=False)
    places = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
        place = places.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        # Options may stand before or behind the command; only where they are given do they count.
        _add_common(place, home=argparse.SUPPRESS, as_json=argparse.SUPPRESS)
        place.set_defaults(run=run, check=lambda arguments: None)
        return place

    status = add("status", _status, "print one line for each child, and exit by how the node is")
    status.add_argument("--watch", action="store_true", help="refresh in place until Ctrl-C")
    add("tree", _tree, "print who supervises whom, and exit by how the node is")
    for name, about, needed in (
        ("isolate", "stop one agent and keep it down; its signals wait before it", True),
        ("release", "start an isolated agent anew; its signals flow again", True),
        ("stop", "stop one child; it stays down until `supervisor start` or the next `ark-run start`", True),
        ("start", "start a child that was stopped, or that has ended", False),
        ("restart", "stop one child in an orderly way, and start it anew", False),
    ):
        order = add(name, _order, about)
        order.add_argument("agent", metavar="NAME", type=_text, help="its name, as `supervisor status` prints it")
        order.add_argument(
            "--reason",
            type=_text,
            required=needed,
            metavar="TEXT",
            help="why; it stands in the status and in the events" + ("" if needed else " (optional)"),
        )
    explain = add("doctor", _doctor, "say what is wrong, why, what came before, and what to do next")
    explain.add_argument("agent", metavar="AGENT", type=_text, nargs="?", help="only this child, and the node")
    add("slo", _slo, "print how the node stands with its service level objectives")
    logs = add("logs", _logs, "print what the processes have written into their logs")
    logs.add_argument("names", metavar="NAME", nargs="*", type=_text, help="only of these processes")
    logs.add_argument("--level", choices=LEVELS, default="", help="from this level on")
    logs.add_argument("--trace", type=str.lower, metavar="TRACE_ID", help="about this signal; a beginning will do")
    logs.add_argument(
        "--since", type=_moment, metavar="TIME", help="written since then: 90s, 10m, 2h, 1d, or an ISO time"
    )
    many = f"only the newest N (default: {LAST_LINES}, with --since or --trace all)"
    logs.add_argument("--last", type=_count, metavar="N", help=many)
    logs.add_argument("--follow", action="store_true", help="go on with what is written, until Ctrl-C")
    level = add("log-level", _log_level, "show from which level on processes write, or change that while they run")
    level.add_argument("name", metavar="NAME", nargs="?", type=_text, help=f"a process, or `{ALL}`")
    level.add_argument(
        "level",
        nargs="?",
        choices=(*LEVELS, DEFAULT),
        metavar="LEVEL",
        help=f"{', '.join(LEVELS)}; or `{DEFAULT}`, the configured one",
    )
    level.add_argument(
        "--for",
        dest="for_s",
        type=_span,
        metavar="TIME",
        help="so long: 90s, 10m, 2h (default: until the next start)",
    )
    level.add_argument("--reason", type=_text, metavar="TEXT", help="why (optional)")

    def check(arguments: argparse.Namespace) -> None:
        if arguments.level in (None, DEFAULT) and arguments.for_s:
            level.error("--for needs a level")

    level.set_defaults(check=check)
    events = add("events", _events, "print what happened last")
    many = f"only the newest N (default: {LAST_EVENTS}, with --since all)"
    events.add_argument("--last", type=_count, metavar="N", help=many)
    events.add_argument(
        "--since", type=_moment, metavar="TIME", help="what happened since then: 90s, 10m, 2h, 1d, or an ISO time"
    )
    events.add_argument("--kind", type=_words, default=frozenset(), metavar="KIND,...", help="only these kinds")
    events.add_argument("--name", type=_words, default=frozenset(), metavar="NAME,...", help="only about these")
    events.add_argument("--follow", action="store_true", help="go on with what happens, until Ctrl-C")
    return parser


def _add_common(parser: argparse.ArgumentParser, *, home: Any, as_json: Any) -> None:
    parser.add_argument(
        "--home",
        type=Path,
        default=home,
        metavar="DIR",
        help="the node's home (default: ARK_HOME, or the user's state folder)",
    )
    add_node_options(parser, default=None if as_json is False else argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", default=as_json, help="print JSON")


def _text(value: str) -> str:
    if not value.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return value.strip()


def _words(value: str) -> frozenset[str]:
    words = frozenset(word.strip() for word in value.split(",") if word.strip())
    if not words:
        raise argparse.ArgumentTypeError("must not be empty")
    return words


def _moment(value: str) -> float:
    try:
        return parse_moment(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _span(value: str) -> float:
    try:
        return parse_span(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(value: str) -> int:
    if not value.isdecimal():
        raise argparse.ArgumentTypeError("must be a whole number, 0 or more")
    return int(value)


# Looking


def _status(arguments: argparse.Namespace) -> int:
    if arguments.watch:
        return _watch(arguments)
    return _show(arguments, status_lines)


def _tree(arguments: argparse.Namespace) -> int:
    return _show(arguments, tree_lines)


def _show(arguments: argparse.Namespace, render: Callable[[Status], list[str]]) -> int:
    code, status, trouble = _look(arguments)
    if arguments.json:
        print(as_json(status))
    elif not trouble:
        print("\n".join(render(status)))
    if trouble:
        print(f"error: {trouble}", file=sys.stderr)
    return code


def _look(arguments: argparse.Namespace) -> tuple[int, Status, str]:
    """The exit code, the status document, and what is wrong if the node did not answer."""
    place = Home(arguments.home)
    try:
        with _reach(arguments, STATUS_TIMEOUT_S) as client:
            status = client.request("status", patience_s=STATUS_TIMEOUT_S / 2)
    except NodeError as error:
        if remote(arguments) is not None:
            return EXIT_DEGRADED, {**absent(None), "state": "unreachable"}, str(error)
        status = absent(place.halt_reason())
        if not place.is_locked():
            return EXIT_NOTHING_RUNS, status, str(error)
        # The file tells of a rollout whatever does not answer.
        return EXIT_DEGRADED, {**status, "state": "unreachable", "rollout": shown_rollout(place)}, str(error)
    return (EXIT_OK if is_well(status) else EXIT_DEGRADED), status, ""


def _reach(arguments: argparse.Namespace, timeout_s: float) -> Client:
    elsewhere = remote(arguments)
    if elsewhere is None:
        return Client.for_home(arguments.home, timeout_s=timeout_s)
    node, key = elsewhere
    return Client(node, key=key, timeout_s=timeout_s)


def _watch(arguments: argparse.Namespace) -> int:
    """Show the status again and again; a node that goes away or comes back is part of the show."""
    code = EXIT_OK
    try:
        if arguments.json:
            while True:
                code, status, _ = _look(arguments)
                print(as_json(status, indent=None), flush=True)
                time.sleep(REFRESH_S)
        from rich.live import Live
        from rich.text import Text

        with Live(Text("looking ..."), auto_refresh=False) as live:
            while True:
                code, status, trouble = _look(arguments)
                text = Text(trouble or "\n".join(status_lines(status)), no_wrap=not trouble, overflow="ellipsis")
                for word, style in STYLES.items():
                    text.highlight_regex(rf" {word}(?= |$)", style)
                live.update(text, refresh=True)
                time.sleep(REFRESH_S)
    except KeyboardInterrupt:
        return code


# Ordering


def _order(arguments: argparse.Namespace) -> int:
    with _reach(arguments, ORDER_TIMEOUT_S) as client:
        words = {"agent": arguments.agent, "reason": arguments.reason or "", "by": login_name()}
        reply = client.request(arguments.command, **words)
    print(as_json(reply) if arguments.json else f"{arguments.agent}: {reply.get('state', 'done')}")
    return EXIT_OK


# Explaining


def _doctor(arguments: argparse.Namespace) -> int:
    from ark.flag_file import fault_of_flags  # it loads cryptography, which the other commands do without

    if remote(arguments) is not None:
        raise NodeError("the doctor reads the node's home", hint="call it where the node runs")
    code, status, _ = _look(arguments)
    home = Home(arguments.home)
    names = [child["name"] for child in status["children"]]
    if arguments.agent and names and arguments.agent not in names:
        raise NodeError(f"there is no {arguments.agent!r} here", hint=f"there are {', '.join(names)}")
    now = time.time()
    findings = doctor.examine(
        status,
        _past_events(home, LINES_READ),
        _watchdog_report(home),
        now,
        runs=code != EXIT_NOTHING_RUNS,
        agent=arguments.agent or "",
        free_bytes=home.free_bytes(),
        flags=fault_of_flags(home),
        option="" if home.path == Home(default_home()).path else f" --home {shlex.quote(str(home.path))}",
    )
    is_wrong = doctor.is_wrong(findings)
    if arguments.json:
        print(
            as_json({"at": now, "well": not is_wrong, "findings": [msgspec.to_builtins(each) for each in findings]})
        )
    else:
        print("\n".join(doctor.lines(findings, now)))
    if code == EXIT_NOTHING_RUNS:
        return code
    return EXIT_DEGRADED if is_wrong else EXIT_OK


def _watchdog_report(home: Home) -> dict[str, Any] | None:
    try:
        found = json.loads((home.run / "watchdog.json").read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _slo(arguments: argparse.Namespace) -> int:
    if remote(arguments) is not None:
        raise NodeError("the exporter listens on its own machine only", hint="call it where the node runs")
    home = Home(arguments.home)
    try:
        address = home.node().get("metrics")
    except NodeError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_DEGRADED if home.is_locked() else EXIT_NOTHING_RUNS
    if not address:
        raise NodeError("this node has no exporter, which keeps the objectives", hint="set metrics.enabled to true")
    try:
        document = objectives.ask(address)
    except NodeError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_DEGRADED
    print(as_json(document) if arguments.json else "\n".join(objectives.lines(document)))
    return EXIT_DEGRADED if objectives.is_violated(document) else EXIT_OK


# Events


def _events(arguments: argparse.Namespace) -> int:
    wanted = Wanted(arguments.since or 0.0, arguments.kind, arguments.name)
    if remote(arguments) is not None:
        if not arguments.follow or arguments.since:
            raise NodeError(
                "the events of the past stand in the node's home", hint="see what happens with --follow"
            )
        with _reach(arguments, STATUS_TIMEOUT_S) as client:
            for topic, content in client.events(["event."]):
                event = {"kind": topic.removeprefix("event."), **content}
                if wanted.takes(event):
                    _print_event(event, arguments.json)
        return EXIT_OK
    home = Home(arguments.home)
    if arguments.follow and not home.path.is_dir():
        raise NodeError(f"there is no home at {home.path}", hint="name it with --home or ARK_HOME")
    # The log itself is followed, and not what is published: so nothing is missed and nothing seen twice between
    # what was and what comes, the node may begin anew meanwhile, and none need run.
    history = History(home.logs / "supervision.log")
    events = [event for event in history.read() if wanted.takes(event)]
    last = arguments.last if arguments.last is not None else None if arguments.since else LAST_EVENTS
    for event in events if last is None else events[max(0, len(events) - last) :]:
        _print_event(event, arguments.json)
    while arguments.follow:
        time.sleep(FOLLOW_S)
        for event in history.read():
            if wanted.takes(event):
                _print_event(event, arguments.json)
    history.close()
    return EXIT_OK


# Logs


def _logs(arguments: argparse.Namespace) -> int:
    if remote(arguments) is not None:
        raise NodeError("the logs stand in the node's home", hint="call it where the node runs")
    home = Home(arguments.home)
    if not home.path.is_dir():
        raise NodeError(f"there is no home at {home.path}", hint="name it with --home or ARK_HOME")
    wanted = WantedLines(arguments.level, arguments.trace or "", arguments.since or 0.0)
    last = arguments.last if arguments.last is not None else None if wanted.since or wanted.trace else LAST_LINES
    view = LogView(home, arguments.names, wanted, last)
    colours = wants_colours(sys.stdout, os.environ)
    while True:
        for line in view.read():
            texts = [json.dumps(line)] if arguments.json else shown(line, colours=colours)
            print("\n".join(texts), flush=True)
        if not arguments.follow:
            break
        time.sleep(FOLLOW_S)
    view.close()
    return EXIT_OK


def _log_level(arguments: argparse.Namespace) -> int:
    words: dict[str, Any] = {"agent": arguments.name} if arguments.name else {}
    if arguments.level:
        words |= {"level": arguments.level, "reason": arguments.reason or "", "by": login_name()}
        words |= {"for_s": arguments.for_s} if arguments.for_s else {}
    with _reach(arguments, STATUS_TIMEOUT_S) as client:
        reply = client.request("log_level", **words)
    found = reply["levels"]
    if arguments.name not in (None, ALL):
        found = [each for each in found if each["name"] == arguments.name]
    print(json.dumps(found, indent=2) if arguments.json else "\n".join(level_lines(found)))
    return EXIT_OK


def _past_events(home: Home, last: int) -> list[dict[str, Any]]:
    """The newest events of the supervisors' log, oldest first; it can be read while nothing runs."""
    history = History(home.logs / "supervision.log")
    try:
        return history.read()[-last:]
    finally:
        history.close()


def _print_event(event: dict[str, Any], json_wanted: bool) -> None:
    print(as_json(event, indent=None) if json_wanted else event_line(event), flush=True)
