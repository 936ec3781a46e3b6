"""The yardsticks: five processes that hand messages on over raw pyzmq and msgpack, with and without commits.

They promise nothing: no epoch, no replay, no supervision. What ARK costs is seen beside them, in the same run.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import msgpack
import zmq

STAGES = 5
DRAIN = 256


def relay(folder: Path, number: int, commit: bool) -> None:
    """One stage: drain the mailbox, decode, perhaps commit, encode, send on."""
    context = zmq.Context()
    inbox, outbox = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    for socket in (inbox, outbox):
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.SNDHWM, 0)
    inbox.bind(f"ipc://{folder}/{number}")
    outbox.connect(f"ipc://{folder}/{number + 1}")
    journal = None
    if commit:
        journal = apsw.Connection(str(folder / f"{number}.db"))
        journal.pragma("journal_mode", "WAL")
        journal.pragma("synchronous", "FULL")
        journal.execute("CREATE TABLE answers (trace_id TEXT, answer BLOB)")
    while True:
        frames = [inbox.recv()]
        while len(frames) < DRAIN:
            try:
                frames.append(inbox.recv(zmq.NOBLOCK))
            except zmq.Again:
                break
        messages = [msgpack.unpackb(frame) for frame in frames]
        answers = []
        for message in messages:
            message["hops"] = [*message.get("hops", ()), number]
            answers.append(msgpack.packb(message))
        if journal:
            rows = [(each["trace_id"], answer) for each, answer in zip(messages, answers, strict=True)]
            with journal:
                journal.executemany("INSERT INTO answers VALUES (?, ?)", rows)
        for answer in answers:
            outbox.send(answer)


@contextmanager
def stages(*, commit: bool) -> Iterator[tuple[zmq.Socket[bytes], zmq.Socket[bytes]]]:
    """Five running stages; gives the socket before the first and the one behind the last."""
    with tempfile.TemporaryDirectory(prefix="ark-") as folder:
        place = Path(folder)
        start = multiprocessing.get_context("fork").Process
        running = [start(target=relay, args=(place, number, commit), daemon=True) for number in range(STAGES)]
        for stage in running:
            stage.start()
        context = zmq.Context()
        first, last = context.socket(zmq.PUSH), context.socket(zmq.PULL)
        first.setsockopt(zmq.SNDHWM, 0)
        last.setsockopt(zmq.RCVHWM, 0)
        last.bind(f"ipc://{place}/{STAGES}")
        first.connect(f"ipc://{place}/0")
        try:
            first.send(msgpack.packb({"trace_id": "first"}))
            last.recv()  # everybody is there
            yield first, last
        finally:
            for stage in running:
                stage.kill()
                stage.join()
            context.destroy(linger=0)


def throughput(messages: list[dict[str, Any]], *, commit: bool) -> float:
    """Messages a second from the first sent to the last received."""
    frames = [msgpack.packb(message) for message in messages]
    with stages(commit=commit) as (first, last):
        began = time.perf_counter()
        for frame in frames:
            first.send(frame)
        for _ in frames:
            last.recv()
        return len(frames) / (time.perf_counter() - began)


def latency(messages: list[dict[str, Any]], rate: float, *, commit: bool) -> list[float]:
    """Seconds from sending to receiving, of each message at a steady rate."""
    sent: dict[str, float] = {}
    heard: dict[str, float] = {}
    with stages(commit=commit) as (first, last):

        def listen() -> None:
            while len(heard) < len(messages) and last.poll(10_000):
                now = time.perf_counter()
                heard[msgpack.unpackb(last.recv())["trace_id"]] = now

        listener = threading.Thread(target=listen)
        listener.start()
        due = time.perf_counter()
        for message in messages:
            due += 1 / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            sent[message["trace_id"]] = time.perf_counter()
            first.send(msgpack.packb(message))
        listener.join()
    return [heard[each] - at for each, at in sent.items()]
