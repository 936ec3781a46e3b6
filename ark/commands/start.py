"""Start a node and stay in the foreground until Ctrl-C or `ark-run stop`.

examples:
  ark-run start                               wait for signals at tcp://127.0.0.1:5555
  ark-run start --demo                        replay real daily bars, and show what happens
  ark-run start --home /tmp/second --gateway tcp://127.0.0.1:6555 \\
      --events tcp://127.0.0.1:6556 --metrics 127.0.0.1:9190
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ark import config as configuration
from ark.errors import NodeError
from ark.guardian import Guardian
from ark.home import Home, default_home
from ark.notify import Notifier
from ark.seal import PIN
from ark.terminal import said, wants_colours

HELP = "start a node in the foreground"

_DEMO: dict[tuple[str, ...], Any] = {
    ("agents", "hrm", "settings", "day"): "bars",
    ("agents", "kenny", "settings", "max_actions_per_minute"): 6000.0,
    ("agents", "kenny", "settings", "burst_limit"): 100,
}
"""In the demo thirteen years pass in a minute: the daily loss is counted by the bars' days, and a minute's rate of
orders would be spent within a few seconds."""
_DEMO_MARK = "demo"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="ark.toml (default: the home's, then ./)")
    parser.add_argument("--gateway", metavar="ENDPOINT", help="the front door (tcp://127.0.0.1:5555)")
    parser.add_argument("--events", metavar="ENDPOINT", help="published outcomes (tcp://127.0.0.1:5556)")
    parser.add_argument("--metrics", metavar="HOST:PORT", help="the exporter (127.0.0.1:9090)")
    parser.add_argument("--demo", action="store_true", help="replay real daily bars of four stocks")
    parser.add_argument("--rate", type=float, default=250.0, help="bars per second in the demo (250)")


def find_config(home: Path, named: Path | None) -> Path | None:
    """The configuration file: the named one, `ARK_CONFIG`, the home's, or the working folder's."""
    if named is None and os.environ.get("ARK_CONFIG"):
        named = Path(os.environ["ARK_CONFIG"])
    if named is not None:
        return named
    return next((path for path in (home / "ark.toml", Path("ark.toml")) if path.is_file()), None)


def _begin_demo(home: Home) -> None:
    """Make a home the demo's own, and empty it of an earlier demo: its bars would all be old ones.

    Nor is it held to the signer of the rules then: a checkout's may have changed with its rules.

    Raises:
        NodeError: The home holds what no demo has written.
    """
    home.prepare()
    mark = home.path / _DEMO_MARK
    if home.is_locked():
        return  # starting will say who is there
    if not mark.exists() and any(home.data.iterdir()):
        raise NodeError(
            f"{home.path} holds a node's data, and the demo begins with an empty account",
            hint="give the demo a home of its own: --home DIR",
        )
    mark.touch()
    for path in (*home.data.iterdir(), home.keys / PIN):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _end_demo(home: Home) -> None:
    """Take the mark from a home that is no demo's any more, so that no later demo empties it."""
    if not home.is_locked():
        with suppress(OSError):  # starting will say what is wrong with the home
            (home.path / _DEMO_MARK).unlink(missing_ok=True)


def _look_closer(home: Path) -> str:
    """The command for another terminal, where neither the path nor the variables of this one need be set."""
    program = Path(sys.argv[0]).with_name("supervisor")
    found = shutil.which("supervisor")
    known = found is not None and program.exists() and os.path.samefile(found, program)
    usual = "ARK_HOME" not in os.environ and home == default_home()
    return f"{'supervisor' if known else program} status" + ("" if usual else f" --home {home}")


def run(arguments: argparse.Namespace) -> int:
    """Run the node.

    Returns:
        0 after a clean stop.
    """
    if not sys.platform.startswith("linux"):
        raise NodeError("ARK needs Linux: it relies on the kernel to end children with their parents")
    began = time.monotonic()
    notifier = Notifier.take()
    home = Home(arguments.home)
    path = find_config(home.path, arguments.config)
    overrides: dict[tuple[str, ...], Any] = {
        ("gateway", "endpoint"): arguments.gateway,
        ("gateway", "events"): arguments.events,
        ("metrics", "listen"): arguments.metrics,
    }
    config = configuration.load(path, overrides={**overrides, **(_DEMO if arguments.demo else {})})

    def put(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def say(sentence: str) -> None:
        put(said(sentence) if config.logs.format == "json" else sentence)

    if arguments.demo:
        _begin_demo(home)
    else:
        _end_demo(home)
    colours = wants_colours(sys.stderr, os.environ)
    guardian = Guardian(home, config, say, notifier, put=put, colours=colours)
    feeder: list[subprocess.Popen[bytes]] = []

    def ready() -> None:
        say(f"ark is ready after {time.monotonic() - began:.1f} s, home {home.path}")
        if path:
            say(f"  configuration  {path}")
        say(f"  front door     {config.gateway.endpoint}")
        say(f"  outcomes       {config.gateway.events}")
        if config.gateway.curve:
            say("  keys           only clients with a key come in, see `ark-run keys list`")
        if config.metrics.enabled:
            say(f"  page           http://{config.metrics.listen}/")
            say(f"  metrics        http://{config.metrics.listen}/metrics")
        say(f"  look closer    {_look_closer(arguments.home)}")
        say("  stop           Ctrl-C")
        if arguments.demo:
            command = [
                sys.argv[0],
                "replay",
                "--demo",
                "--home",
                str(home.path),
                "--rate",
                str(arguments.rate),
            ]
            feeder.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True))

    guardian.on_ready = ready
    try:
        guardian.run()
    finally:
        for process in feeder:
            process.terminate()
            process.wait(5)
    say("ark has stopped")
    return 0
