"""Somebody changes the rules under a running node: trading halts, says why, and the rest goes on.

Each node runs from a private copy of the packages, sealed with a key of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from ark.blackbox import read
from ark.config import Config
from ark.errors import ArkError
from tests.node import BARE, ROOT, Node, node, wait_until

PACKAGES = ("actors", "ark", "deployment", "graveyard", "supervisor")
OFTEN = """
[watchdog]
missed = 10
graveyard_interval_s = 0.2
"""
PERIOD_S = 10.0
"""No change of the files may stay unnoticed for longer, whatever the settings."""

TAMPERED_JUDGE = """
from decimal import Decimal

import graveyard.rules
from actors.hrm import HRM


class TamperedJudge(HRM):
    def handle(self, message, context):
        if message.signal.metadata.get("tamper"):
            object.__setattr__(graveyard.rules.CEILINGS, "max_position_size", Decimal("0.9"))
        return super().handle(message, context)
"""


class Copy:
    """The packages in a folder of their own.

    Attributes:
        path: The folder.
        rules: The rule book in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rules = path / "graveyard"
        for name in PACKAGES:
            shutil.copytree(ROOT / name, path / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.sign(path.parent / "graveyard.key")

    def sign(self, key: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(self.path)}
        command = [sys.executable, "-m", "ark.seal", "sign", "--key", str(key)]
        subprocess.run(command, env=environment, cwd=self.path, check=True, capture_output=True)

    def edit(self) -> None:
        self.write("rules.py", (self.rules / "rules.py").read_bytes().replace(b'"0.10"', b'"0.90"'))

    def forge(self) -> None:
        said = json.loads((self.rules / "seal.json").read_bytes())
        self.write("seal.json", json.dumps({**said, "signature": "00" * 64}).encode())

    def open(self) -> None:
        (self.rules / "ethics.py").chmod(0o644)

    def contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.rules.iterdir() if path.is_file()}

    def restore(self, sound: dict[str, bytes]) -> None:
        for name, content in sound.items():
            self.write(name, content)

    def write(self, name: str, content: bytes) -> None:
        """Replace a file at once, as an editor would, and leave it with the mode that it has to have."""
        fresh = self.rules / f".{name}"
        fresh.write_bytes(content)
        fresh.chmod(0o444)
        fresh.replace(self.rules / name)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "copy"))
    return Copy(tmp_path / "copy")


@contextmanager
def events(one: Node, kind: str) -> Iterator[Callable[[], dict[str, Any] | None]]:
    """Events of one kind as they come."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.connect(one.events)
        socket.subscribe(f"event.{kind}")

        def take() -> dict[str, Any] | None:
            try:
                return msgspec.msgpack.decode(socket.recv_multipart(zmq.NOBLOCK)[1], type=dict[str, Any])
            except zmq.Again:
                return None

        yield take


def reason(one: Node) -> str:
    return one.home.halt_reason() or ""


TAMPERINGS = [
    (Copy.edit, "rules.py was changed"),
    (Copy.forge, "the signature of the seal is wrong"),
    (Copy.open, "graveyard/ethics.py has mode 0644 and can be written"),
]


def test_who_changes_the_rule_book_halts_trading(copy: Copy) -> None:
    sound = copy.contents()
    with node(BARE + OFTEN) as one, events(one, "seal_broken") as event:
        for number, (tamper, fault) in enumerate(TAMPERINGS, start=1):
            assert one.home.halt_reason() is None

            tamper(copy)

            wait_until(lambda fault=fault: fault in reason(one), "trading is halted, and says why", PERIOD_S)
            assert fault in wait_until(event, "the event")["reason"]
            status = one.status()
            assert status["halted"]
            assert fault in status["halt_reason"]
            assert status["ready"], "what is open goes on being looked after"
            log = [json.loads(line) for line in (one.home.logs / "supervision.log").read_text().splitlines()]
            told = [each for each in log if each["event"] == "seal_broken"]
            assert len(told) == number
            assert fault in told[-1]["reason"]

            copy.restore(sound)
            looked_again(one)  # a look that had begun before the repair would halt once more
            one.home.resume()


def test_a_resume_holds_only_after_the_repair(copy: Copy) -> None:
    with node(BARE + OFTEN) as one, events(one, "seal_broken") as event:
        sound = (copy.rules / "rules.py").read_bytes()
        copy.edit()
        wait_until(one.home.halt_reason, "trading is halted")
        wait_until(event, "the first event")

        assert one.run("ark-run", "resume", "--reason", "it will be all right").returncode == 0
        wait_until(event, "the halt anew")
        wait_until(lambda: "rules.py was changed" in reason(one), "trading is halted again")

        copy.write("rules.py", sound)
        wait_until(lambda: is_whole(one), "the seal is whole again")
        assert one.home.halt_reason() is not None

        assert one.run("ark-run", "resume", "--reason", "it was mended").returncode == 0
        looked_again(one)
        assert one.home.halt_reason() is None
        assert event() is None


def is_whole(one: Node) -> bool:
    return one.run("ark-run", "seal", "verify").returncode == 0


def looked_again(one: Node) -> None:
    rounds = watchdog_rounds(one)
    wait_until(lambda: watchdog_rounds(one) > rounds + 8, "the Watchdog has looked again")


def watchdog_rounds(one: Node) -> int:
    """How often the Watchdog's loop went round; it does about four times a second."""
    box = read(one.home.box("watchdog"))
    return box.loops if box else 0


def test_the_default_interval_is_short_enough() -> None:
    assert Config().watchdog.graveyard_interval_s <= PERIOD_S


def test_a_node_whose_seal_is_broken_starts_halted_and_says_so(copy: Copy) -> None:
    copy.edit()

    with node(BARE + OFTEN) as one:
        assert "rules.py was changed" in reason(one)
        assert "TRADING IS HALTED: the seal of the rule book is broken: " in one.output.read_text()
        assert one.status()["ready"]


def test_a_start_takes_the_write_bits_away(copy: Copy) -> None:
    copy.open()

    with node(BARE + OFTEN) as one:
        assert one.home.halt_reason() is None
        assert (copy.rules / "ethics.py").stat().st_mode & 0o222 == 0


def test_rules_of_another_signer_do_not_start(copy: Copy, tmp_path: Path) -> None:
    with node(BARE + OFTEN) as one:
        assert one.stop() == 0
        copy.sign(tmp_path / "another.key")

        one.start(wait=False)

        assert one.process is not None
        assert one.process.wait(20) == 1
        assert "delete " + str(one.home.keys / "graveyard.pub") in one.output.read_text()

        (one.home.keys / "graveyard.pub").unlink()
        one.start()
        assert one.home.halt_reason() is None


def test_rules_that_another_signs_under_a_running_node_halt_it(copy: Copy, tmp_path: Path) -> None:
    with node(BARE + OFTEN) as one:
        copy.sign(tmp_path / "another.key")

        wait_until(lambda: "which this node trusts" in reason(one), "the other signer is named", within_s=PERIOD_S)


def test_a_judge_whose_rules_are_changed_in_memory_approves_nothing_any_more(copy: Copy) -> None:
    (copy.path / "tampered_judge.py").write_text(TAMPERED_JUDGE)
    config = f"""
[agents.hrm]
class = "tampered_judge:TamperedJudge"
path = "{copy.path}"
"""
    with node(config + OFTEN) as one:
        assert inject(one) == "executed"

        inject(one, metadata={"tamper": True})

        wait_until(lambda: halts_by_itself(one), "trading is halted", within_s=PERIOD_S)
        assert "graveyard.rules.CEILINGS.max_position_size" in reason(one)
        one.home.resume()
        assert inject(one) == "denied"
        wait_until(one.home.halt_reason, "trading is halted again", within_s=PERIOD_S)


def halts_by_itself(one: Node) -> bool:
    """Whether trading is halted; a judge with nothing to judge need not look."""
    inject(one)
    return one.home.halt_reason() is not None


def inject(one: Node, **changes: Any) -> str:
    """One sound signal's status."""
    signal = {
        "symbol": "AAPL", "direction": "long", "price": 100.0,
        "position_size_pct": 0.01, "stop_loss": 96.0, "target": 110.0,
    }  # fmt: skip
    with one.client() as client:
        accepted = client.inject({**signal, **changes})
        try:
            return str(client.outcome(accepted["trace_id"], timeout_s=20.0)["status"])
        except ArkError as error:
            return str(error)
