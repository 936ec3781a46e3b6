"""The feed with a real Redis: every entry once, whoever is killed, and a node that minds no Redis that fails."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from actors.redis_entries import derived_trace_id
from ark.errors import ArkError
from ark.journal import open_for_reading
from supervisor.redis_probe import count_waiting
from tests.ark.wire_client import SIGNAL
from tests.node import BARE, ECHO, Node, comes_back, ended, free_ports, node, wait_until
from tests.redis_server import RedisServer, needs_redis, redis_server

pytestmark = [pytest.mark.redis, needs_redis]

STREAM = "ark:signals"
REJECTED = "ark:signals:rejected"
PASSWORD = "correct-horse-7"
WRONG = "wrong-horse-8"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as one:
        yield one


def fed(url: str, more: str = "") -> str:
    """A configuration with a feed."""
    return f'{BARE}\n[redis]\nurl = "{url}"\n{more}'


def put(client: Any, number: int, **fields: Any) -> str:
    """Add a signal with a number for its price; gives its trace id."""
    entry = client.xadd(STREAM, {"signal": json.dumps({**SIGNAL, "price": 1.0 + number, **fields})})
    return derived_trace_id(STREAM, entry.decode())


def concern(one: Node) -> str:
    """What the status says of the feed while it runs."""
    with suppress(ArkError):
        return one.child("feed")["concern"] or ""
    return ""


def all_ended(one: Node, trace_ids: list[str], within_s: float = 30.0) -> None:
    """Wait until every signal has its outcome."""
    with one.client() as client:
        for trace_id in trace_ids:
            wait_until(lambda trace_id=trace_id: ended(client, trace_id), f"{trace_id} has ended", within_s)


def logged(one: Node, event: str) -> list[dict[str, Any]]:
    """The lines of one kind in the node's log."""
    lines = (one.home.logs / "supervision.log").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == event]


class Producer(threading.Thread):
    """Adds entries until told to finish, each under an id of its own: it is there once, whatever gets lost."""

    def __init__(self, server: RedisServer) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._finished = threading.Event()
        self.ids: list[str] = []

    def run(self) -> None:
        client = self._server.client()
        while not self._finished.wait(0.005):
            number = len(self.ids) + 1
            self._add(client, f"{number}-0", json.dumps({**SIGNAL, "price": float(number)}))
            self.ids.append(f"{number}-0")

    def finish(self) -> None:
        self._finished.set()
        self.join()

    @staticmethod
    def _add(client: Any, id_: str, content: str) -> None:
        def is_there() -> bool:
            try:
                client.xadd(STREAM, {"signal": content}, id=id_)
            except redis.ResponseError as error:
                if "equal or smaller" not in str(error):  # it is there; only the answer was lost
                    raise
            except redis.RedisError:
                return False
            return True

        wait_until(is_there, f"Redis takes {id_}", within_s=60.0)


def under_way(one: Node) -> None:
    """Wait until the whole tree runs and the door takes in what the feed brings."""
    accepted: list[int] = []

    def grows() -> bool:
        with suppress(ArkError):
            status = one.status()
            if status["ready"]:
                accepted.append(status["signals"]["accepted"])
        return bool(accepted) and accepted[-1] > accepted[0]

    wait_until(grows, "signals come in", within_s=60.0)


def kill_child(one: Node, name: str) -> None:
    """Kill -9 one child, and wait until it has another process."""
    pid = one.child(name)["pid"]
    os.kill(pid, signal.SIGKILL)
    comes_back(one, name, pid)


def test_every_entry_becomes_one_outcome_though_feed_gateway_and_redis_are_killed(server: RedisServer) -> None:
    with node(fed(server.url)) as one:
        producer = Producer(server)
        producer.start()
        for _ in range(2):
            under_way(one)
            kill_child(one, "feed")
            under_way(one)
            kill_child(one, "gateway")
            under_way(one)
            server.kill()
            server.start()
        under_way(one)
        producer.finish()
        trace_ids = [derived_trace_id(STREAM, id_) for id_ in producer.ids]
        all_ended(one, trace_ids, within_s=60.0)
        client = server.client()
        wait_until(lambda: count_waiting(client, STREAM, "ark") == 0, "everything is acknowledged")
        signals = one.status()["signals"]
        assert signals["accepted"] == signals["completed"] == len(trace_ids) > 100
        assert client.xlen(REJECTED) == 0
        assert one.stop() == 0
        with open_for_reading(one.home.data / "omega.db") as database:
            found = database.execute("SELECT trace_id, status FROM ended").fetchall()
        assert sorted(found) == sorted((trace_id, "executed") for trace_id in trace_ids)


def test_what_the_door_rejects_is_put_aside_with_its_reason_and_holds_up_nothing(server: RedisServer) -> None:
    client = server.client()
    with node(fed(server.url) + '[gateway]\nsymbols = ["AAPL"]\n') as one:
        good = [put(client, 0)]
        client.xadd(STREAM, {"signal": "no signal"})
        client.xadd(STREAM, {"signal": json.dumps({**SIGNAL, "symbol": "APPL"})})
        client.xadd(STREAM, {"symbol": "AAPL", "direction": "long", "price": "-1", "note": "flat"})
        good.append(put(client, 1))
        flat = client.xadd(STREAM, {"symbol": "AAPL", "direction": "long", "price": "190.5", "stop_loss": ""})
        good.append(derived_trace_id(STREAM, flat.decode()))
        all_ended(one, good)
        wait_until(lambda: count_waiting(client, STREAM, "ark") == 0, "everything is acknowledged")
        kept = {
            fields[b"rejected.field"].decode(): {key.decode(): value.decode() for key, value in fields.items()}
            for _, fields in client.xrange(REJECTED)
        }
        assert set(kept) == {"signal", "symbol", "price"}
        assert kept["signal"]["signal"] == "no signal"
        assert "did you mean 'AAPL'" in kept["symbol"]["rejected.message"]
        assert kept["price"]["note"] == "flat"
        assert all(each["rejected.code"] == "invalid" for each in kept.values())
        wait_until(lambda: sum(each["count"] for each in logged(one, "feed_rejected")) == 3, "it is told")
        assert one.status()["signals"]["accepted"] == 3


def test_a_busy_door_leaves_the_rest_in_redis_and_takes_it_when_there_is_room(server: RedisServer) -> None:
    client = server.client()
    with node(fed(server.url) + "[gateway]\nbacklog = 3\n") as one, one.client() as operator:
        operator.request("isolate", agent="omega", reason="to hold signals back")
        trace_ids = [put(client, number) for number in range(40)]
        wait_until(lambda: "busy" in concern(one), "the feed says that the door is busy")
        assert one.status()["signals"]["accepted"] == 3
        assert count_waiting(client, STREAM, "ark") == 37
        trace_ids += [put(client, number) for number in range(40, 60)]
        assert count_waiting(client, STREAM, "ark") == 57
        operator.request("release", agent="omega", reason="enough")
        all_ended(one, trace_ids)
        wait_until(lambda: count_waiting(client, STREAM, "ark") == 0, "it drains")
        wait_until(lambda: not concern(one), "the feed has nothing to say any more")
        assert one.status()["signals"]["accepted"] == 60


def test_what_a_dead_consumer_had_in_hand_is_taken_over(server: RedisServer) -> None:
    client = server.client()
    client.xgroup_create(STREAM, "ark", id="0", mkstream=True)
    trace_ids = [put(client, number) for number in range(3)]
    ((_, taken),) = client.xreadgroup("ark", "dead", {STREAM: ">"})
    client.xdel(STREAM, taken[0][0])  # deleted while pending: there is nothing left to give
    client.execute_command("XCLAIM", STREAM, "ark", "dead", 0, *(id_ for id_, _ in taken), "IDLE", 120_000)
    with node(fed(server.url)) as one:
        all_ended(one, trace_ids[1:])
        wait_until(lambda: count_waiting(client, STREAM, "ark") == 0, "everything is acknowledged")


def test_a_redis_that_is_not_there_is_told_and_everything_else_works(tmp_path: Path) -> None:
    with redis_server(start=False) as server, node(fed(server.url), start=False) as one:
        one.start()
        wait_until(lambda: f"127.0.0.1:{server.port}" in concern(one), "the feed says why")
        with one.client() as client:
            own = client.inject(SIGNAL)["trace_id"]
            assert client.outcome(own, timeout_s=20.0)["status"] == "executed"
        assert [each["name"] for each in one.status()["children"] if each["parent"] == "root"][-1] == "feed"
        shown = one.run("supervisor", "status")
        assert shown.returncode == 0
        assert f"waits for Redis at 127.0.0.1:{server.port}" in shown.stdout
        wait_until(lambda: logged(one, "feed_waits"), "it is in the log")
        server.start()
        all_ended(one, [put(server.client(), 1)])
        wait_until(lambda: logged(one, "feed_works"), "that is in the log, too")
        assert one.child("feed")["restarts"] == 0


def test_something_else_than_redis_at_the_address_is_told(tmp_path: Path) -> None:
    with node(ECHO, start=False) as one:
        file = one.home.path / "ark.toml"
        file.write_text(f'{file.read_text()}\n[redis]\nurl = "redis://{one.metrics}"\n')
        one.start()
        wait_until(lambda: f"waits for Redis at {one.metrics}" in concern(one), "the feed says why")
        assert one.child("feed")["restarts"] == 0


@pytest.mark.parametrize("place", ["address", "variable", "file"])
def test_a_wrong_password_is_told_but_stands_nowhere_in_the_home(
    place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(WRONG)
    file.chmod(0o600)
    with redis_server(PASSWORD) as server:
        if place == "address":
            monkeypatch.setenv("REDIS_URL", server.url.replace("://", f"://:{WRONG}@"))
        elif place == "variable":
            monkeypatch.setenv("REDIS_PASSWORD", WRONG)
        more = f'password_file = "{file}"\n' if place == "file" else ""
        with node(fed(server.url, more)) as one:
            wait_until(lambda: "password" in concern(one), "the feed says why")
            wait_until(lambda: logged(one, "feed_waits"), "it is in the log")
            with one.client() as client:
                assert client.outcome(client.inject(SIGNAL)["trace_id"], timeout_s=20.0)["status"] == "executed"
            if place == "file":
                file.write_text(PASSWORD)
                all_ended(one, [put(server.client(), 1)])
            titles = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in one.pids()]
            shown = [one.run("supervisor", "status", "--json").stdout, one.run("supervisor", "events").stdout]
            assert one.stop() == 0
            written = [path.read_bytes() for path in one.home.path.rglob("*") if path.is_file()]
            for secret in (WRONG, PASSWORD):
                assert not any(secret.encode() in each for each in titles + written)
                assert not any(secret in each for each in shown)


def test_a_redis_that_hangs_stops_neither_the_heart_nor_the_stop(server: RedisServer) -> None:
    with node(fed(server.url).replace("[pipeline]", "[watchdog]\nmissed = 2\n[pipeline]", 1)) as one:
        all_ended(one, [put(server.client(), 1)])
        server.send(signal.SIGSTOP)
        wait_until(lambda: "waits for Redis" in concern(one), "the feed says that Redis does not answer")
        child = one.child("feed")
        assert (child["state"], child["restarts"]) == ("running", 0)
        assert child["heartbeat_age_s"] < 2.0
        began = time.monotonic()
        done = one.run("ark-run", "stop")
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - began < 5.0
        assert one.process is not None
        assert one.process.wait(10) == 0
        server.send(signal.SIGCONT)


def test_without_the_library_the_start_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "redis.py").write_text("raise ImportError('not here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with node(fed(f"redis://127.0.0.1:{free_ports(1)[0]}"), start=False) as one:
        one.start(wait=False)
        assert one.process is not None
        assert one.process.wait(60) == 1
        assert "pip install 'ark-runtime[redis]'" in one.output.read_text()
        assert "Traceback" not in one.output.read_text()
