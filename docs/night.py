"""Writes the story of a night, `docs/night.md`, by living through it: `python -m docs.night`.

A real node, a real hang, the real commands and what they print; only the home's path is shortened. A test goes
through the same night and compares what was typed, and how each command ended.
"""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from ark.letters import retry_id
from tests.node import ROOT, Node, ended, node, wait_until

PAGE = Path(__file__).parent / "night.md"
HEAD = """\
# Three in the morning

<!-- Written by `python -m docs.night`, which lives through it. Change the story there, not this page. -->

An agent hangs, and somebody is called. Nothing here is made up but the hour: a real node, a real hang, and what
the commands printed. The pipeline is the standard one, with a Joey who asks a model before he plans; one night the
model does not answer any more.
"""
SIGNALS = [
    {"symbol": "AAPL", "direction": "long", "price": 190.0},
    {"symbol": "NVDA", "direction": "long", "price": 120.0},
    {"symbol": "MSFT", "direction": "long", "price": 410.0},
]


@dataclass(frozen=True)
class Step:
    """One thing that happens.

    Attributes:
        told: What the story says before it.
        command: What is typed; empty where something else is shown.
        code: The exit code.
        output: What is shown.
    """

    told: str
    command: str
    code: int
    output: str


class Pager(HTTPServer):
    """The phone of the one on call: takes what the webhook sends."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Takes)
        self.taken: list[dict[str, Any]] = []


class _Takes(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Take one alert."""
        assert isinstance(self.server, Pager)
        self.server.taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def pager() -> Iterator[Pager]:
    """A pager on a free port."""
    server = Pager()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def live(clear_s: float = 10.0) -> list[Step]:
    """Go through the night; give what happened.

    Args:
        clear_s: `watchdog.clear_s`; the default, unless somebody has no time.
    """
    with pager() as phone:
        config = f"""
[agents.joey]
class = "tests.night_agents:ModelJoey"
path = "{ROOT}"
[watchdog]
webhook = "http://127.0.0.1:{phone.server_port}/"
clear_s = {clear_s}
"""
        with node(config, start=False) as one:
            silent = one.home.path / "model-is-silent"
            place = one.home.path / "ark.toml"
            place.write_text(
                place.read_text().replace("[watchdog]", f'[agents.joey.settings]\nsilent = "{silent}"\n[watchdog]')
            )
            one.start()
            return list(_night(one, phone, silent))


def _night(one: Node, phone: Pager, silent: Path) -> Iterator[Step]:
    def typed(told: str, command: str) -> Step:
        done = one.run(*shlex.split(command))
        return Step(told, command, done.returncode, _shorten(done.stdout + done.stderr, one))

    silent.touch()
    with one.client() as client:
        traces = [
            result["trace_id"]
            for result in client.inject_many(
                [{**each, "position_size_pct": 0.02, **_legs(each["price"])} for each in SIGNALS]
            )
        ]
        for trace_id in traces:
            wait_until(lambda trace_id=trace_id: ended(client, trace_id), "it has ended", within_s=60.0)
    dead = traces[1]
    letter = wait_until(lambda: _alert(phone, "dead_letter"), "the pager knows of the dead letter")
    hang = wait_until(lambda: _alert(phone, "hang"), "and of the hang")
    wait_until(lambda: one.status()["ready"], "the tree is up")
    yield Step(
        "The model stops answering while Joey asks it about NVDA. Two heartbeats later the Watchdog has him\n"
        "replaced, and the phone shows:",
        "",
        0,
        _shorten(json.dumps(hang, indent=2), one),
    )
    yield Step(
        "The signal comes again, as it should, and hangs the new Joey, too. At the third time ARK gives that\n"
        "signal up. The phone, six seconds after the first time:",
        "",
        0,
        _shorten(json.dumps(letter, indent=2), one),
    )
    yield typed(
        "What does it look like? Everything runs; the other signals, AAPL and MSFT, have gone through.",
        "supervisor status",
    )
    yield typed("Why?", "supervisor doctor joey")
    yield typed("The doctor names the dead letter. Where exactly did it hang?", f"ark-run dead-letters show {dead}")
    silent.unlink()
    yield typed(
        "It waits in `_ask_the_model`: the model server is restarted, and answers again. No order was sent, so\n"
        "the signal can be tried again, with the present time:",
        f'ark-run dead-letters retry {dead} --reason "the model server was restarted" --fresh',
    )
    with one.client() as client:
        wait_until(lambda: ended(client, retry_id(dead)), "the retry has ended", within_s=60.0)
    wait_until(lambda: not one.status()["alerts"], "every alert is over", within_s=60.0)
    yield typed("And now?", "supervisor status")
    wait_until(lambda: "retry" in one.run("ark-run", "audit", "acts").stdout, "the ledger has the last act")
    yield typed("What will be asked tomorrow, who did what and why, stands in the ledger:", "ark-run audit acts")
    yield typed("Nobody has changed a row of it since:", "ark-run audit verify")


def _legs(price: float) -> dict[str, float]:
    return {"stop_loss": round(price * 0.95, 2), "target": round(price * 1.10, 2)}


def _alert(phone: Pager, fault: str) -> dict[str, Any] | None:
    return next((each for each in phone.taken if each["fault"] == fault and each["state"] == "raised"), None)


def _shorten(text: str, one: Node) -> str:
    for long, short in ((str(one.home.path), "/var/lib/ark"), (str(ROOT), "/opt/ark")):
        text = text.replace(long, short)
    return re.sub(r'"[^"]*/home"', '"trading-1/ark"', text).rstrip()


def page(steps: list[Step]) -> str:
    """The story as Markdown."""
    parts = [HEAD]
    for step in steps:
        kind = "console" if step.command else "json"
        typed = f"$ {step.command}\n" if step.command else ""
        ended_with = f"\n$ echo $?\n{step.code}" if step.command and step.code else ""
        parts.append(f"{step.told}\n\n```{kind}\n{typed}{step.output}{ended_with}\n```\n")
    return "\n".join(parts)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(live()), encoding="utf-8")


if __name__ == "__main__":
    main()
