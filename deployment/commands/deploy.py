"""Roll a release out: beside the old one at first, judged by the signals of now, and back by itself if it is worse.

`plan` shows what would happen, `start` begins it, and everything else is about the rollout under way, or the one
that --rollout names. docs/deploying.md tells of the states, and of what to do at night.

examples:
  ark-run deploy plan --release 3fa81c04                   what it changes, its steps, how long it takes
  ark-run deploy start --release 3fa81c04 --watch          begin, and look on
  ark-run deploy start --agent joey=3fa81c04 --stages 5,50,100 --set stage_s=300 --note "new patterns"
  ark-run deploy status --watch                            both arms side by side; ends with the rollout
  ark-run deploy explain                                   why it is where it is, with an example
  ark-run deploy approve --gate 25 --by-name anna          a person's word where one is needed
  ark-run deploy promote                                   the next step now, without waiting for its minimum
  ark-run deploy promote --full --reason "known good"      to the end, without a verdict
  ark-run deploy pause | resume | abort --reason TEXT
  ark-run deploy undo --reason TEXT                        back from a permanent release, too
  ark-run deploy history [ID]                              all rollouts, or one with every step
  ark-run deploy aa joey                                   the same release twice: is the judge right about you?

exit codes of status:
  0  nothing is under way, or a rollout that is well
  3  it is paused, inconclusive, on its way back, held by the judge, or the deploy actor does not answer
  4  no node runs
with --watch: 0 when it ends permanent or passed, 1 when it is rolled back, 3 or 4 when no node answers for long
plan: 0 it could be started now, 3 it could not; all others: 0 done, 1 refused, 2 wrong command line
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ark.cli import EXIT_ERROR, EXIT_OK, add_node_options, reach, remote
from ark.commands.approve import login_name
from ark.commands.held import plain
from ark.errors import NodeError, RequestError
from ark.home import Home
from ark.protocol import Code
from ark.rollouts import is_stopped, shown_rollout
from deployment import arms_text, deploy_request, deploy_text

__all__ = ["EXIT_NOTHING_RUNS", "EXIT_STOPPED", "HELP", "configure", "run"]

HELP = "roll out releases: plan, start, status, pause, resume, promote, approve, abort, undo, explain, history, aa"
EXIT_STOPPED = 3
"""It takes no step until somebody looks, or nobody answers."""
EXIT_NOTHING_RUNS = 4
"""No node runs over that home."""
REFRESH_S = 0.5
GIVEN_UP_S = 30.0
"""A node that has not answered for so long ends the watching."""
_PATIENCE_S = 10.0
_LOOK_S = 3.0
_WORDS = {
    "pause": "stop before the next step; shares stay, and so does the deadline",
    "resume": "go on after a pause, or once more after a deadline without a verdict",
    "promote": "take the next step now, or with --full all of them",
    "approve": "say yes at a gate",
    "override": "let freezes not count for a while",
    "abort": "give everything back to the stable release, and end",
    "undo": "the same, also after the release is permanent",
}
_NEED_REASON = frozenset(("override", "undo"))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    add_node_options(parser)
    places = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def place(name: str, about: str) -> argparse.ArgumentParser:
        made = places.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        # The common options may stand behind the action, too; only where they are given do they count.
        made.add_argument("--home", type=Path, default=argparse.SUPPRESS, metavar="DIR", help="the node's home")
        made.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
        add_node_options(made, default=argparse.SUPPRESS)
        return made

    _wishes(place("plan", "show what a rollout would do; nothing is started"))
    start = place("start", "begin a rollout")
    _wishes(start)
    twice = place("aa", "run the same release on both arms: a judge that is right lets it pass")
    twice.add_argument("agents", nargs="+", metavar="AGENT", help="of which agents")
    _settings(twice)
    for each in (start, twice):
        each.add_argument("--watch", action="store_true", help="then look on as `status --watch` does")
    status = place("status", "show the rollout under way, or the newest one, both arms side by side")
    _which(status)
    status.add_argument("--watch", action="store_true", help="refresh in place until it is over, or Ctrl-C")
    for name, about in _WORDS.items():
        word = place(name, about)
        _which(word)
        _who(word)
        word.add_argument("--reason", required=name in _NEED_REASON, default="", metavar="TEXT", help="why")
        if name == "promote":
            word.add_argument(
                "--full", action="store_true", help="past all stages without a verdict; needs --reason"
            )
        if name == "approve":
            word.add_argument(
                "--gate", default="", help="a stage's percent, or `promotion` (default: the next one)"
            )
        if name in ("abort", "undo"):
            word.add_argument("--now", action="store_true", help="without the checks after the traffic is back")
    _which(place("explain", "say in plain words why it is where it is, with an example"))
    history = place("history", "list all rollouts, or tell one with every step and its evidence")
    history.add_argument("id", nargs="?", default="", metavar="ID", help="this one, in full")
    history.add_argument("--limit", type=_count, default=20, metavar="N", help="only the newest N (20)")


def _wishes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--release", default="", metavar="DIGEST", help="this release, for all agents in it")
    parser.add_argument(
        "--agent",
        type=_checked(deploy_request.role_and_release),
        action="append",
        default=[],
        metavar="ROLE=DIGEST",
        help="this release for this agent, `installed` for what ARK came with; may be given several times",
    )
    parser.add_argument(
        "--strategy", choices=("canary", "blue-green"), default="", help="stage by stage (default), or all at once"
    )
    parser.add_argument(
        "--stages", type=_checked(deploy_request.stages), metavar="P,P,...", help="the canary's share in each stage"
    )
    parser.add_argument(
        "--by", choices=("symbol", "source", "notional"), help="what keeps a signal with one arm (symbol)"
    )
    parser.add_argument("--policy", choices=("sequential", "tripwires"), help="who judges (sequential)")
    parser.add_argument(
        "--replay-rate", type=float, metavar="N", help="show so many recorded signals a second, too"
    )
    parser.add_argument("--override-freeze", default="", metavar="REASON", help="start it in spite of a freeze")
    _settings(parser)


def _settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        type=_checked(deploy_request.setting),
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of [deploy] for this rollout alone, as shadow_s=30 or judge.alpha=0.05; may be repeated",
    )
    parser.add_argument(
        "--plan", type=Path, metavar="FILE", help="TOML with such settings; options count before it"
    )
    parser.add_argument("--note", default="", metavar="TEXT", help="what for; it is kept for ever")
    _which(parser)
    _who(parser)


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rollout", default="", metavar="ID", help="this rollout (default: the one under way)")


def _who(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by-name", default="", metavar="NAME", help="who says so (default: your login)")


def run(arguments: argparse.Namespace) -> int:
    """Do as told."""
    match arguments.action:
        case "plan":
            return _plan(arguments)
        case "start" | "aa":
            return _start(arguments)
        case "status":
            return _watch(arguments, arguments.rollout) if arguments.watch else _status(arguments)
        case "explain":
            document = _ask(arguments, "deploy.explain", rollout=arguments.rollout)["rollout"]
            return _say(arguments, document, deploy_text.explanation_lines(document))
        case "history":
            return _history(arguments)
        case _:
            return _word(arguments)


# Beginning


def _wish(arguments: argparse.Namespace) -> dict[str, Any]:
    file = deploy_request.read_plan_file(arguments.plan) if arguments.plan else None
    if arguments.action == "aa":
        agents = [
            (role, "installed") for role in dict.fromkeys(arguments.agents)
        ]  # the node takes the permanent one
        return deploy_request.wish(
            file=file, agents=agents, strategy="aa", settings=arguments.set, note=arguments.note
        )
    named = {"stages": arguments.stages, "by": arguments.by, "policy": arguments.policy}
    return deploy_request.wish(
        file=file,
        release=arguments.release,
        agents=arguments.agent,
        strategy=arguments.strategy,
        settings=[*arguments.set, *named.items(), ("replay_rate", arguments.replay_rate)],
        note=arguments.note,
        override=arguments.override_freeze,
    )


def _plan(arguments: argparse.Namespace) -> int:
    # What opens releases is loaded here alone: every other action should answer at once.
    from deployment.deploy_outlook import changes, rate
    from deployment.forecast import forecast
    from deployment.gates import Budget, caution, window_at
    from deployment.plan import Plan

    document = _ask(arguments, "deploy.plan", plan=_wish(arguments), by=_name(arguments))["plan"]
    plan = msgspec.convert(document["plan"], Plan)
    budget, now = msgspec.convert(document.get("budget", {}), Budget), time.time()
    home = None if remote(arguments) is not None else Home(arguments.home)
    found = changes(home, plan) if home else None
    per_s = rate(home) if home else None
    expected = forecast(plan.settings, len(plan.roles), per_s)
    frozen = window_at(plan.settings, now) is not None or caution(plan.settings, budget) == "frozen"
    code = EXIT_STOPPED if document["conflict"] or (frozen and not arguments.override_freeze) else EXIT_OK
    if arguments.json:
        told = {
            **document,
            "rate_per_s": per_s,
            "changes": None if found is None else {role: msgspec.to_builtins(each) for role, each, _ in found},
            "forecast": msgspec.to_builtins(expected),
            "can_start": code == EXIT_OK,
        }
        print(json.dumps(told, indent=2, default=str))
        return code
    print(
        "\n".join(
            deploy_text.plan_lines(
                plan,
                changes=found,
                expected=expected,
                rate=per_s,
                budget=budget,
                conflict=document["conflict"],
                now=now,
            )
        )
    )
    return code


def _start(arguments: argparse.Namespace) -> int:
    fields = {"rollout": arguments.rollout} if arguments.rollout else {"plan": _wish(arguments)}
    reply = _ask(arguments, "deploy.start", by=_name(arguments), reason=arguments.note, **fields)
    document = reply["rollout"]
    if arguments.watch:
        return _watch(arguments, document["id"])
    lines = [arms_text.headline(document), f"{plain(reply['text'])}; look on with `ark-run deploy status --watch`"]
    return _say(arguments, document, lines)


def _word(arguments: argparse.Namespace) -> int:
    fields: dict[str, Any] = {"rollout": arguments.rollout, "by": _name(arguments), "reason": arguments.reason}
    fields |= {key: getattr(arguments, key) for key in ("full", "gate", "now") if getattr(arguments, key, None)}
    reply = _ask(arguments, f"deploy.{arguments.action}", **fields)
    return _say(arguments, reply, [f"{plain(reply['rollout']['id'])}: {plain(reply['text'])}"])


# Looking


def _status(arguments: argparse.Namespace) -> int:
    code, document, trouble = _look(arguments, arguments.rollout)
    if arguments.json:
        print(json.dumps(document, indent=2, default=str))
    elif document is not None or not trouble:
        print("\n".join(arms_text.status_lines(document, time.time())))
    if trouble:
        print(f"error: {trouble}", file=sys.stderr)
    return code


def _look(arguments: argparse.Namespace, rollout: str) -> tuple[int, dict[str, Any] | None, str]:
    """The exit code, the rollout, and what is wrong if the node or its deploy actor did not answer."""
    try:
        document = _ask(arguments, "deploy.status", within_s=_LOOK_S, rollout=rollout)["rollout"]
    except (NodeError, RequestError) as error:
        if isinstance(error, RequestError) and error.code not in (Code.REFUSED, Code.BUSY):
            raise
        if isinstance(error, RequestError) and rollout:
            raise
        if remote(arguments) is not None:
            return EXIT_STOPPED, None, str(error)
        home = Home(arguments.home)
        if not home.is_locked():
            return EXIT_NOTHING_RUNS, None, str(error)
        return EXIT_STOPPED, shown_rollout(home), str(error)
    return (EXIT_STOPPED if document and is_stopped(document) else EXIT_OK), document, ""


def _watch(arguments: argparse.Namespace, rollout: str) -> int:
    """Show it again and again until it is over."""
    heard_at, told = time.monotonic(), ""
    with _screen(arguments) as show:
        while True:
            code, document, trouble = _look(arguments, rollout)
            now = time.monotonic()
            if not trouble:
                heard_at = now
                rollout = document["id"] if document else rollout
            show(document, trouble)
            if document and document.get("is_over") and not trouble:
                return EXIT_ERROR if document["state"] == "rolled_back" else EXIT_OK
            if (not document and not trouble) or now - heard_at > GIVEN_UP_S:
                told = trouble
                break
            time.sleep(REFRESH_S)
    if told:
        print(f"error: {told}", file=sys.stderr)
    return code


def _screen(arguments: argparse.Namespace) -> _Screen:
    kind = "json" if arguments.json else "live" if sys.stdout.isatty() else "lines"

    def steps(document: Mapping[str, Any]) -> list[dict[str, Any]]:
        """All of a rollout's history: between two looks it may have taken several steps."""
        try:
            found: list[dict[str, Any]] = _ask(arguments, "deploy.explain", rollout=document["id"])["rollout"][
                "history"
            ]
        except (NodeError, RequestError):
            return []  # the next look has them
        return found

    return _Screen(kind, steps)


class _Screen:
    """Where a rollout is watched: a terminal that is refreshed, or lines where there is none.

    Args:
        kind: `live`; `lines`: one for each step; `json`: one document for each change.
        steps: Gives the history of a rollout.
    """

    def __init__(self, kind: str, steps: Callable[[Mapping[str, Any]], list[dict[str, Any]]]) -> None:
        self._kind = kind
        self._steps = steps
        self._told = 0
        self._last = ""
        self._live: Any = None

    def __enter__(self) -> Callable[[Mapping[str, Any] | None, str], None]:
        if self._kind == "live":
            from rich.live import Live
            from rich.text import Text

            self._live = Live(Text("looking ..."), auto_refresh=False)
            self._live.__enter__()
        return self._show

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.__exit__(*error)

    def _show(self, document: Mapping[str, Any] | None, trouble: str) -> None:
        if self._live is not None:
            from rich.text import Text

            lines = arms_text.status_lines(document, time.time()) if document or not trouble else []
            text = "\n".join([*lines, *([f"error: {trouble}"] if trouble else [])])
            self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
            return
        if self._kind == "lines" and document and not trouble:
            fresh = self._steps(document)[self._told :]
            self._told += len(fresh)
            if fresh:
                print("\n".join(arms_text.step_lines(fresh)), flush=True)
            self._last = ""
            return
        line = (
            json.dumps(document, default=str)
            if self._kind == "json"
            else trouble or "nothing was ever rolled out here"
        )
        if line != self._last:
            self._last = line
            print(line, flush=True)


def _history(arguments: argparse.Namespace) -> int:
    found = _ask(arguments, "deploy.history", rollout=arguments.id, limit=arguments.limit)["rollouts"]
    if arguments.id and not found:
        raise NodeError(f"there is no rollout {arguments.id!r}", hint="see `ark-run deploy history`")
    if arguments.id:
        return _say(arguments, found[0], deploy_text.story_lines(found[0]))
    return _say(arguments, found, deploy_text.history_lines(found))


# What all of them need


def _ask(arguments: argparse.Namespace, op: str, *, within_s: float = _PATIENCE_S, **fields: Any) -> dict[str, Any]:
    with reach(arguments, timeout_s=within_s) as client:
        return client.request(op, **fields)


def _name(arguments: argparse.Namespace) -> str:
    return str(arguments.by_name).strip()[:64] or login_name()


def _say(arguments: argparse.Namespace, facts: Any, lines: list[str]) -> int:
    if isinstance(facts, dict):
        facts = {
            key: value for key, value in facts.items() if key not in ("v", "ok") and not _is_number(key, value)
        }
    print(json.dumps(facts, indent=2, default=str) if arguments.json else "\n".join(lines))
    return EXIT_OK


def _is_number(key: str, value: Any) -> bool:
    """Whether it is a reply's number, and not a rollout's name."""
    return key == "id" and isinstance(value, int)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("must be a whole number, 1 or more")
    return int(text)


def _checked(reader: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return reader(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read
