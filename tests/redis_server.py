"""A Redis server for tests: a process of its own on a free port, with its files in a folder of its own."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from ark.redis_link import open_redis
from tests.node import free_ports, wait_until

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="redis-server is missing; get it with `make services`"
)


class RedisServer:
    """One server that writes every command to disk before it answers, so that `kill -9` loses nothing.

    Args:
        folder: Where its files go.
        password: What it asks of clients; "" for nothing.
    """

    def __init__(self, folder: Path, password: str = "") -> None:
        self._folder = folder
        self._password = password
        self.port = free_ports(1)[0]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {
            "bind": "127.0.0.1",
            "port": self.port,
            "dir": self._folder,
            "appendonly": "yes",
            "appendfsync": "always",
            "save": '""',
        }
        if self._password:
            settings["requirepass"] = self._password
        file = self._folder / "redis.conf"
        file.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        with open(self._folder / "output.txt", "ab") as output:
            self.process = subprocess.Popen(
                ["redis-server", str(file)], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

        def answers() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, (self._folder / "output.txt").read_text()
            try:
                return bool(self.client().ping())
            except redis.RedisError:
                return False

        wait_until(answers, "redis-server answers")

    def client(self) -> Any:
        """A client of it."""
        return open_redis(self.url, self._password, timeout_s=5.0)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


@contextmanager
def redis_server(password: str = "", *, start: bool = True) -> Iterator[RedisServer]:
    """A server in a temporary folder, gone at the end whatever happened."""
    with tempfile.TemporaryDirectory(prefix="ark-redis-") as folder:
        server = RedisServer(Path(folder), password)
        try:
            if start:
                server.start()
            yield server
        finally:
            server.kill()
