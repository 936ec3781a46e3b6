"""Measurements on a real node: throughput, latency at a rate, memory, start-up, recovery."""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import msgpack
import zmq

from ark.client import Client
from tests.node import Node

BATCH = 500


def percentiles(samples: list[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile and the greatest, in milliseconds."""
    ordered = sorted(samples)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000

    return {"p50": statistics.median(ordered) * 1000, "p95": at(0.95), "p99": at(0.99), "max": ordered[-1] * 1000}


def throughput(one: Node, signals: list[dict[str, Any]]) -> tuple[float, dict[str, int]]:
    """Signals a second from the first inject to the last outcome at the gateway, and how they ended."""
    statuses: dict[str, int] = {}
    with Client(one.gateway, timeout_s=120.0) as client:
        before = client.status()["signals"]["completed"]
        prepared = [{**each, "trace_id": str(uuid.uuid4())} for each in signals]
        began = time.perf_counter()
        for start in range(0, len(prepared), BATCH):
            client.inject_many(prepared[start : start + BATCH])
        while client.status()["signals"]["completed"] < before + len(prepared):
            time.sleep(0.005)
        took_s = time.perf_counter() - began
        for each in prepared:
            status = client.outcome(each["trace_id"])["status"]
            statuses[status] = statuses.get(status, 0) + 1
    return len(prepared) / took_s, statuses


def latency(one: Node, signals: list[dict[str, Any]], rate: float) -> tuple[dict[str, float], dict[str, float]]:
    """Time from sending a signal to hearing its published outcome, at a steady rate of single requests.

    Returns:
        That, and how long HRM had each signal that came to him with a setup: from taking it to his answer, without
        the commit.
    """
    context = zmq.Context()
    door, ear = context.socket(zmq.DEALER), context.socket(zmq.SUB)
    door.connect(one.gateway)
    ear.setsockopt(zmq.RCVHWM, 0)
    ear.setsockopt(zmq.SUBSCRIBE, b"outcome.")
    ear.connect(one.events)
    sent: dict[str, float] = {}
    heard: dict[str, float] = {}
    judged: list[float] = []

    def listen() -> None:
        until = time.monotonic() + len(signals) / rate + 10
        while len(heard) < len(signals) + 1 and time.monotonic() < until:
            if ear.poll(100):
                now = time.perf_counter()
                outcome = msgpack.unpackb(ear.recv_multipart()[1])
                heard[outcome["trace_id"]] = now
                if outcome["decision"]:
                    judged.extend(
                        (span["out_ns"] - span["in_ns"]) / 1e9
                        for span in outcome["spans"]
                        if span["agent"] == "hrm"
                    )

    listener = threading.Thread(target=listen)
    listener.start()
    probe = {"symbol": "PROBE", "direction": "long", "price": 1.0}
    while not heard:  # a subscription takes effect some time after connecting
        door.send(msgpack.packb({"v": 1, "op": "inject", "signal": probe}))
        time.sleep(0.05)
    heard.clear()
    due = time.perf_counter()
    for each in signals:
        trace_id = str(uuid.uuid4())
        frame = msgpack.packb({"v": 1, "op": "inject", "signal": {**each, "trace_id": trace_id}})
        due += 1 / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        sent[trace_id] = time.perf_counter()
        door.send(frame)
    listener.join()
    context.destroy(linger=0)
    samples = [heard[each] - at for each, at in sent.items() if each in heard]
    assert len(samples) >= 0.99 * len(signals), f"only {len(samples)} of {len(signals)} outcomes were heard"
    return percentiles(samples), percentiles(judged)


def memory(one: Node) -> dict[str, float]:
    """Proportional memory of all processes of the node in MiB, and their number."""
    total = 0
    pids = one.pids()
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return {"processes": len(pids), "pss_mib": total / 1024}


def recovery(one: Node, agent: str, signals: list[dict[str, Any]]) -> dict[str, float]:
    """Time from kill -9 of an agent to the outcome of a signal that was sent right after."""
    samples = []
    with Client(one.gateway, timeout_s=30.0) as client:
        for each in signals:
            pid = one.child(agent)["pid"]
            began = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            trace_id = client.inject(each)["trace_id"]
            client.outcome(trace_id, timeout_s=20.0)
            samples.append(time.perf_counter() - began)
            one.wait_ready()
    return percentiles(samples)
