"""Tell the story of one signal: who had it, for how long, and what each said.

Also of one that is still under way, and without a running node. Bars are to scale.

examples:
  ark-run trace TRACE_ID
  ark-run trace TRACE_ID --follow      until it ends
  ark-run trace TRACE_ID --check       in a script

exit codes: 0 it has ended, or waits for a person; 1 it has not, was never accepted, or, with --check, did not pass
through the whole pipeline.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator
from itertools import chain

import msgspec

from ark.cli import add_node_options, reach, remote
from ark.commands.held import plain, what_to_type
from ark.home import Home
from ark.moment import shown
from ark.protocol import never_accepted
from ark.timeline import ASCII, UNICODE, Glyphs, draw, duration
from ark.trace_finder import find_trace
from ark.traces import HELD, WAITS, TraceDocument, TraceWhere

HELP = "the story of one signal"
_LOOK_S = 0.2
_NARROWEST, _WIDEST = 60, 160


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    add_node_options(parser)
    parser.add_argument("trace_id", metavar="TRACE_ID")
    parser.add_argument("--follow", action="store_true", help="go on until it has ended")
    parser.add_argument(
        "--check", action="store_true", help="exit 1 where it did not pass through every agent, in order"
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask and print."""
    document = _look(arguments)
    if arguments.follow:
        document = _follow(arguments, document)
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
    else:
        encoding = sys.stdout.encoding or "utf-8"
        story = "\n".join(tell(document, _width(), _glyphs()))
        print(story.encode(encoding, "replace").decode(encoding))
    is_broken = arguments.check and bool(document.continuity.problems)
    return int(is_broken or not (document.has_ended or document.state == HELD))


def tell(document: TraceDocument, width: int = 80, glyphs: Glyphs = UNICODE) -> list[str]:
    """The story, line by line, none longer than the width.

    Args:
        document: The signal.
        width: Columns of the terminal.
        glyphs: What the time line is drawn with.
    """
    known = {HELD: "held", "dead_letter": "dead letter", "in_flight": "in flight"}.get(document.state, "")
    status = f"{document.status} ({known})" if document.status not in (None, HELD) and known else document.status
    lines = [f"{document.trace_id}  {plain(document.symbol)}  {status or known}"]
    lines += chain.from_iterable(
        _wrapped(text, width)
        for text in (document.reason, _when(document), _how_often(document), _now(document.where))
        if text
    )
    lines += ["", *draw(document, width, glyphs), ""]
    for part in (_agents(document), _decision(document), _order(document), _end(document)):
        for text in part:
            indent = text[: len(text) - len(text.lstrip())]
            lines += [text] if len(text) <= width else _wrapped(text, width, indent=indent)
    return [_harmless(line).rstrip() for line in lines]


def _look(arguments: argparse.Namespace) -> TraceDocument:
    if remote(arguments) is not None:
        with reach(arguments) as client:
            return msgspec.convert(client.trace(arguments.trace_id), TraceDocument)
    document = find_trace(Home(arguments.home), arguments.trace_id)
    if document.state == "unknown":
        raise never_accepted(arguments.trace_id)
    return document


def _follow(arguments: argparse.Namespace, document: TraceDocument) -> TraceDocument:
    """Look again until it has ended, or nobody is there who could end it; on a terminal it is shown meanwhile."""
    if arguments.json or not sys.stdout.isatty():
        while _may_go_on(arguments, document):
            time.sleep(_LOOK_S)
            document = _look(arguments)
        return document
    from rich.live import Live
    from rich.text import Text

    glyphs = _glyphs()  # asked before the live display takes the place of standard output
    with Live(auto_refresh=False, transient=True) as live:
        while _may_go_on(arguments, document):
            story = "\n".join(tell(document, _width(), glyphs))
            live.update(Text(story, no_wrap=True, overflow="crop"), refresh=True)
            time.sleep(_LOOK_S)
            document = _look(arguments)
    return document


def _may_go_on(arguments: argparse.Namespace, document: TraceDocument) -> bool:
    return not document.has_ended and (remote(arguments) is not None or Home(arguments.home).is_locked())


def _width() -> int:
    return max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size((80, 24)).columns))


def _glyphs() -> Glyphs:
    try:
        "".join(UNICODE).encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def _harmless(line: str) -> str:
    """Without anything that a terminal would obey; the blanks stay as they are."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)


def _wrapped(text: str, width: int, *, indent: str = "  ") -> list[str]:
    return textwrap.wrap(plain(text), width, initial_indent=indent, subsequent_indent=f"{indent}  ")


def _when(document: TraceDocument) -> str:
    if document.accepted_at is None or document.total_ms is None:
        return ""
    thousandth = int(document.accepted_at % 1 * 1000)
    so_far = "until it ended" if document.has_ended else "so far"
    return f"accepted {shown(document.accepted_at)}.{thousandth:03}, {duration(document.total_ms / 1000)} {so_far}"


def _how_often(document: TraceDocument) -> str:
    if document.attempts < 2:
        return ""
    asked = ", or a person was asked," if document.held is not None else ""
    return f"sent {document.attempts} times, because a process was restarted{asked} meanwhile"


def _now(where: TraceWhere | None) -> str:
    if where is None or where.doing == HELD:
        return ""
    has_it = f"{where.agent} has it ({where.doing})"
    waits = "it waits" if where.agent is None else f"it waits in the {where.agent}"
    why = f": {where.why}" if where.why else ""
    return f"now {waits if where.doing == WAITS else has_it}, for {duration(where.for_ms / 1000)}{why}"


def _agents(document: TraceDocument) -> Iterator[str]:
    versions = {span.version for span in document.spans}
    if len(versions) == 1:
        yield f"version {plain(versions.pop())} of every agent"
    elif versions:
        yield f"versions: {', '.join(f'{plain(span.agent)} {plain(span.version)}' for span in document.spans)}"
    for problem in document.continuity.problems:
        yield f"broken: {plain(problem)}"
    if document.continuity.complete:
        yield "it passed through the whole pipeline"
    if document.traceparent:
        yield f"traceparent {document.traceparent}"


def _decision(document: TraceDocument) -> Iterator[str]:
    decision = document.decision
    if decision is None:
        if document.has_ended:
            yield "decision: none was needed"
        return
    word = "approved" if decision.approved else "denied"
    if document.state == HELD:
        word = "not yet made"
    facts = [f"{decision.rules_checked} rules checked"] if decision.rules_checked else []
    facts += [f"ruleset {plain(decision.ruleset)[:16]}…"] if decision.ruleset else []
    yield f"decision: {', '.join([word, *facts])}"
    for kind, rules in (("violation", decision.violations), ("warning", decision.warnings)):
        for each in rules:
            yield f"  {kind} {plain(each.rule)} ({plain(each.severity)}): {plain(each.message)}"


def _order(document: TraceDocument) -> Iterator[str]:
    if document.order:
        yield "order:"
        for key, value in document.order.items():
            if value is not None:
                yield f"  {plain(key):18} {plain(value)}"
    elif document.has_ended:
        yield "order: none"


def _end(document: TraceDocument) -> Iterator[str]:
    for disagreement in (document.audit or {}).get("disagreements", ()):
        if disagreement not in document.continuity.problems:
            yield f"disagreement: {plain(disagreement)}"
    ledger, letter = document.ledger, document.letter
    if letter is not None:
        yield f"{letter.agent} ended by it: {plain(letter.reason)}"
        yield f"  ark-run dead-letters show {document.trace_id}"
    if ledger:
        yield f"ledger row {plain(ledger.get('seq'))}, hash {plain(ledger.get('hash'))[:16]}…"
    elif letter is not None and document.has_ended:
        yield "in no ledger row: the dead letter ended its agents, too"
    if document.state == HELD:
        yield from what_to_type(document.trace_id)
