"""The probe of the feed's Redis: it says how much waits, and holds up nobody."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ark.config import RedisConfig
from ark.home import Home
from supervisor.redis_probe import RedisProbe, RedisReading, count_waiting
from tests.node import free_ports, wait_until
from tests.redis_server import RedisServer, needs_redis, redis_server

pytestmark = [pytest.mark.redis, needs_redis]

STREAM, GROUP = "ark:signals", "ark"
PASSWORD = "correct-horse-7"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as one:
        yield one


def reading_with(probe: RedisProbe, condition: Any) -> RedisReading:
    """The first reading that meets a condition."""
    found: RedisReading = wait_until(
        lambda: reading if condition(reading := probe.reading()) else None, "a reading"
    )
    return found


def test_what_waits_is_counted_from_the_first_entry_to_the_last_acknowledgement(server: RedisServer) -> None:
    client = server.client()
    assert count_waiting(client, STREAM, GROUP) == 0
    entries = [client.xadd(STREAM, {"a": "b"}) for _ in range(10)]
    assert count_waiting(client, STREAM, GROUP) == 10
    client.xgroup_create(STREAM, GROUP, id="0")
    assert count_waiting(client, STREAM, GROUP) == 10
    client.xreadgroup(GROUP, "one", {STREAM: ">"}, count=4)
    assert count_waiting(client, STREAM, GROUP) == 10
    client.xack(STREAM, GROUP, *entries[:3])
    assert count_waiting(client, STREAM, GROUP) == 7
    client.xreadgroup(GROUP, "one", {STREAM: ">"})
    client.xack(STREAM, GROUP, *entries)
    assert count_waiting(client, STREAM, GROUP) == 0


def test_deleted_entries_do_not_count(server: RedisServer) -> None:
    client = server.client()
    client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    entries = [client.xadd(STREAM, {"a": "b"}) for _ in range(1200)]
    client.xdel(STREAM, *entries[100:110])
    assert count_waiting(client, STREAM, GROUP) == 1190
    client.xreadgroup(GROUP, "one", {STREAM: ">"}, count=90)
    client.xdel(STREAM, entries[1000])
    assert count_waiting(client, STREAM, GROUP) == 1189
    client.xreadgroup(GROUP, "one", {STREAM: ">"})
    client.xack(STREAM, GROUP, *entries)
    assert count_waiting(client, STREAM, GROUP) == 0


def test_entries_that_were_trimmed_away_unread_do_not_count(server: RedisServer) -> None:
    client = server.client()
    client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    for _ in range(20):
        client.xadd(STREAM, {"a": "b"})
    client.xtrim(STREAM, maxlen=5, approximate=False)
    assert count_waiting(client, STREAM, GROUP) == 5


def test_the_probe_reads_hangs_with_redis_without_holding_up_and_recovers(server: RedisServer) -> None:
    server.client().xadd(STREAM, {"a": "b"})
    probe = RedisProbe(server.url, STREAM, GROUP, 0.05)
    assert "not answered yet" in probe.reading().error
    probe.start()
    good = reading_with(probe, lambda reading: not reading.error)
    assert good.depth == 1
    assert good.round_trip_s is not None
    assert 0 < good.round_trip_s < 1.0
    server.send(signal.SIGSTOP)
    began = time.perf_counter()
    for _ in range(1000):
        probe.reading()
    assert time.perf_counter() - began < 0.5
    hung = reading_with(probe, lambda reading: reading.error)
    assert (hung.round_trip_s, hung.depth) == (None, None)
    assert f"127.0.0.1:{server.port}" in hung.error
    server.send(signal.SIGCONT)
    assert reading_with(probe, lambda reading: not reading.error).at > hung.at


def test_the_nodes_own_probe_finds_the_password_and_does_not_tell_a_wrong_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    with redis_server(PASSWORD) as server:
        monkeypatch.setenv("REDIS_PASSWORD", "wrong-horse-8")
        probe = RedisProbe.for_node(RedisConfig(url=server.url), Home(tmp_path), 0.05)
        probe.start()
        refused = reading_with(probe, lambda reading: "password" in reading.error)
        assert "horse" not in refused.error
        monkeypatch.setenv("REDIS_PASSWORD", PASSWORD)
        assert reading_with(probe, lambda reading: not reading.error).depth == 0


def test_a_redis_that_is_not_there_and_a_password_file_that_is_not_are_told(tmp_path: Any) -> None:
    port = free_ports(1)[0]
    for settings, word in (
        (RedisConfig(url=f"redis://127.0.0.1:{port}"), "refused"),
        (RedisConfig(url=f"redis://127.0.0.1:{port}", password_file="nothing"), "redis.password_file"),
    ):
        probe = RedisProbe.for_node(settings, Home(tmp_path), 60.0)
        probe.start()
        reading = reading_with(probe, lambda reading: "not answered yet" not in reading.error)
        assert word in reading.error
        assert (reading.round_trip_s, reading.depth) == (None, None)
