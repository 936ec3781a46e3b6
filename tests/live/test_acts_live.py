"""Whatever a person does to a node stands in the ledger once, with his name and his reason."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from ark.commands.approve import login_name
from ark.errors import ArkError
from ark.home import Home
from ark.interventions import FILE, record
from ark.journal import open_for_reading
from tests.node import Node, node, wait_until


def acts(one: Node) -> list[dict[str, Any]]:
    shown = one.run("ark-run", "audit", "acts", "--json")
    assert shown.returncode == 0, shown.stderr
    found: list[dict[str, Any]] = json.loads(shown.stdout)
    return found


def told(one: Node) -> list[tuple[str, str, str, str]]:
    """What was done, once all of it stands in the ledger."""

    def all_have_rows() -> list[dict[str, Any]]:
        found = acts(one)
        return found if all(act["row"] for act in found) else []

    found = wait_until(all_have_rows, "every act has its row")
    return [(act["act"], act["subject"], act["by"], act["reason"]) for act in found]


def is_proven(one: Node) -> bool:
    return one.run("ark-run", "audit", "verify").returncode == 0


def pid_of(one: Node, name: str) -> int | None:
    try:
        return next((child["pid"] for child in one.status()["children"] if child["name"] == name), None)
    except ArkError:
        return None


def test_every_command_of_a_person_has_one_row_whatever_kills_aletheia_meanwhile() -> None:
    commands = [
        ("ark-run", "halt", "--reason", "news"),
        ("supervisor", "isolate", "joey", "--reason", "odd"),
        ("supervisor", "release", "joey", "--reason", "mended"),
        ("supervisor", "stop", "exporter", "--reason", "not now"),
        ("supervisor", "start", "exporter", "--reason", "now"),
        ("supervisor", "restart", "kyle", "--reason", "settings"),
        ("ark-run", "resume", "--reason", "no news"),
    ]
    with node() as one:
        killed = 0
        for command in commands:
            assert one.run(*command).returncode == 0
            pid = wait_until(lambda: pid_of(one, "aletheia"), "Aletheia lives")
            os.kill(pid, signal.SIGKILL)
            killed += 1
            wait_until(lambda pid=pid: pid_of(one, "aletheia") not in (None, pid), "another one lives")
        me = login_name()
        assert told(one) == [
            (command[1], "" if command[0] == "ark-run" else command[2], me, command[-1]) for command in commands
        ]
        assert killed == len(commands)
        assert is_proven(one)


def test_what_is_done_while_no_node_runs_is_in_the_ledger_after_the_next_start() -> None:
    with node(start=False) as one:
        assert one.run("ark-run", "halt", "--reason", "before the start").returncode == 0
        assert [(act["act"], act["row"]) for act in acts(one)] == [("halt", None)]
        one.start()
        assert told(one) == [("halt", "", login_name(), "before the start")]
        assert one.stop() == 0
        assert one.run("ark-run", "resume", "--reason", "while it was down").returncode == 0
        assert [act["row"] for act in acts(one)] == [1, None]
        one.start()
        assert [each[0] for each in told(one)] == ["halt", "resume"]
        assert is_proven(one)


def test_a_file_of_acts_that_is_damaged_under_a_node_stops_nothing_and_a_new_one_is_taken_up() -> None:
    with node() as one:
        record(one.home, "halt", by="anna", reason="the first")
        assert [each[2] for each in told(one)] == ["anna"]
        aside(one.home)
        (one.home.data / FILE).write_bytes(b"no database at all" * 500)
        wait_until(lambda: "interventions_unread" in log(one), "Aletheia says so")
        assert one.status()["ready"]
        aside(one.home)
        record(one.home, "halt", by="berta", reason="the first of the new file")
        connection = open_for_reading(one.home.data / "aletheia.db")
        query = "SELECT count(*) FROM ledger WHERE status = 'intervention'"
        wait_until(lambda: connection.execute(query).fetchall() == [(2,)], "the new act is taken in")
        connection.close()
        assert [each[2] for each in told(one)] == ["anna", "berta"]
        assert is_proven(one)


def aside(home: Home) -> None:
    for path in home.data.glob(f"{FILE}*"):
        path.unlink()


def log(one: Node) -> str:
    return (one.home.logs / "supervision.log").read_text()
