"""Whatever a process says, in whatever way, stands in its log, masked; and nothing it says can end it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ark.config import LogsConfig
from ark.home import Home
from ark.levels import Wish
from ark.process_log import ProcessLog

BEGIN = """
import ctypes, logging, os, sys, threading, time, warnings
import structlog
from pathlib import Path
from ark.control import Duty
from ark.process_log import ProcessLog

early = logging.getLogger("a.library.that.was.loaded.before")
logging.root = logging.RootLogger(logging.WARNING)  # as Thespian does
logging.Logger.root = logging.root
logging.Logger.manager = logging.Manager(logging.root)
duty = Duty("kyle", "pipeline", "agent", "", 1, 1, sys.argv[1], {"logs": {}}, {"approval": bytes(range(32))})
logs = ProcessLog.begin(duty)
"""
PEM = "-----BEGIN PRIVATE KEY-----\\nMC4CAQAwBQYDK2Vw\\nBCIEIGFiY2RlZmdo\\nx==\\n-----END PRIVATE KEY-----"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    place = Home(tmp_path / "home")
    place.prepare()
    return place


def run(home: Home, code: str) -> subprocess.CompletedProcess[str]:
    """Run lines in a process that has taken over its output."""
    return subprocess.run(
        [sys.executable, "-c", BEGIN + code, str(home.path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "BROKER_TOKEN": "open sesame of old"},
    )


def lines(home: Home, event: str = "") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (home.logs / "kyle.log").read_text().splitlines()]
    return [line for line in found if not event or line["event"] == event]


def test_everything_that_a_process_says_stands_in_its_log(home: Home) -> None:
    ended = run(
        home,
        f"""
logs.log.info("own", password="hunter2")
early.warning("early %s", "bird")
logging.getLogger("late").warning("late", extra={{"symbol": "AAPL"}})
logging.getLogger("late").info("at info, too")
logging.getLogger("late").debug("not at debug")
structlog.get_logger("x").bind(part="y").info("by structlog")
print("printed\\ntwice", end="")
print(" and more")
print("to stderr: password=hunter2", file=sys.stderr)
print("{PEM}")
print("behind the key")
warnings.warn("a warning")
aside = threading.Thread(target=lambda: 1 / 0, name="aside")
aside.start()
aside.join()
print("secrets:", bytes(range(32)).hex(), "open sesame of old")
sys.stdout.buffer.write(b"raw \\xff\\n")
print("no end of line", end="")
os.write(1, b"past Python, password=hunter2\\n")
ctypes.CDLL(None).write(2, b"from C\\n", 7)
logs.end()
""",
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    text = (home.logs / "kyle.log").read_text()
    for secret in ("hunter2", "MC4CAQ", "BCIEIG", "x==", bytes(range(32)).hex(), "sesame"):
        assert secret not in text
    assert [(line["event"], line.get("logger"), line["level"]) for line in lines(home) if "logger" in line] == [
        ("early bird", "a.library.that.was.loaded.before", "warning"),
        ("late", "late", "warning"),
        ("at info, too", "late", "info"),
    ]
    assert lines(home, "late")[0]["symbol"] == "AAPL"
    assert lines(home, "by structlog")[0]["part"] == "y"
    printed = [line["text"] for line in lines(home, "stdout")]
    assert printed[:2] == ["printed", "twice and more"]
    assert printed[3:] == ["behind the key", "secrets: [redacted] [redacted]", "raw \\xff", "no end of line"]
    assert lines(home, "stderr")[0]["text"] == "to stderr: password=[redacted]"
    assert any("a warning" in line["text"] for line in lines(home, "stderr"))
    assert "ZeroDivisionError" in lines(home, "thread_failed")[0]["exception"]
    assert lines(home, "output")[0]["text"] == "past Python, password=[redacted]\nfrom C"
    assert all(line["agent"] == "kyle" for line in lines(home))


def test_the_last_words_of_a_process_that_died_are_in_the_log_of_the_next(home: Home) -> None:
    died = run(home, "logs.log.info('one')\nos.write(2, b'libzmq: Assertion failed\\n')\nos.abort()")
    assert died.returncode < 0
    assert [line["event"] for line in lines(home)] == ["one"]
    assert run(home, "logs.log.info('two')").returncode == 0
    assert [line["event"] for line in lines(home)] == ["one", "output", "two"]
    (told,) = lines(home, "output")
    assert (told["text"], told["of"]) == ("libzmq: Assertion failed", "the process before")


def test_a_full_disk_stops_nobody(home: Home) -> None:
    (home.logs / "kyle.log").symlink_to("/dev/full")
    ended = run(
        home,
        """
for number in range(100):
    logs.log.error("x", number=number)
    print("x")
    print("x", file=sys.stderr)
    logging.getLogger("y").error("y")
logs._looked_at = -10.0
logs.beat()
logs.end()
os._exit(7)
""",
    )
    assert ended.returncode == 7


def test_a_folder_that_takes_nothing_stops_nobody(home: Home) -> None:
    home.output("kyle").mkdir()
    (home.logs / "kyle.log").mkdir()
    assert run(home, "logs.log.error('x')\nprint('x')\nlogs.beat()\nlogs.end()\nos._exit(7)").returncode == 7


def beaten(logs: ProcessLog) -> int:
    """The level, when a second has gone by."""
    logs._looked_at = -10.0
    logs.beat()
    return logs.sink.threshold


def test_the_level_follows_the_wishes_and_comes_back_by_itself(home: Home) -> None:
    logs = ProcessLog(home, "kyle", LogsConfig(level="warning"))
    now = time.time()
    assert beaten(logs) == 30
    home.keep_levels({"kenny": Wish("debug", None, "ann", "", now)})
    assert beaten(logs) == 30
    home.keep_levels({"kyle": Wish("debug", now + 3600, "ann", "", now)})
    assert beaten(logs) == 10
    home.keep_levels({"kyle": Wish("debug", now - 1, "ann", "", now)})
    assert beaten(logs) == 30
    home.levels_file.write_bytes(b"{")
    assert beaten(logs) == 30
    home.keep_levels({"all": Wish("error", None, "ann", "", now)})
    assert beaten(logs) == 40
    home.forget_levels()
    assert beaten(logs) == 30
    assert [(line["to"], line["by"]) for line in lines(home, "log_level")] == [
        ("debug", "ann"),
        ("warning", "configuration"),
        ("error", "ann"),
        ("warning", "configuration"),
    ]


def test_a_process_begins_with_the_level_that_is_wished_for(home: Home) -> None:
    home.keep_levels({"kyle": Wish("debug", None, "ann", "", time.time())})
    assert ProcessLog(home, "kyle", LogsConfig()).sink.threshold == 10
    assert ProcessLog(home, "joey", LogsConfig(levels={"joey": "error"})).sink.threshold == 40


def test_it_looks_once_in_a_second(home: Home) -> None:
    logs = ProcessLog(home, "kyle", LogsConfig())
    logs.beat()
    home.keep_levels({"kyle": Wish("debug", None, "ann", "", time.time())})
    count = 20_000
    began = time.perf_counter()
    for _ in range(count):
        logs.beat()
    took_s = time.perf_counter() - began
    assert took_s / count < 20e-6
    assert took_s > 1.0 or logs.sink.threshold == 20
