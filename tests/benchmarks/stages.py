"""Where the time goes: each agent's stage alone in one process, with real journals, in CPU time per signal.

Usage: python -m tests.benchmarks.stages [--profile AGENT]
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
import uuid
from collections import defaultdict
from pathlib import Path

import apsw
import msgspec

from actors.aletheia import Aletheia
from actors.hrm import HRM
from actors.joey import Joey
from actors.kenny import Kenny
from actors.kyle import Kyle
from ark.agent import Durability
from ark.blackbox import BlackBox
from ark.context import StageContext
from ark.delivery import GATEWAY
from ark.journal import Journal, open_database
from ark.message import NOTICE, WORK, Envelope, pack, unpack
from ark.signal import Signal
from ark.stage import Stage
from tests.chaos.test_kills import made_up_signals

AGENTS = {"kyle": Kyle, "joey": Joey, "hrm": HRM, "kenny": Kenny, "aletheia": Aletheia}
SETTINGS = {"kenny": {"max_actions_per_minute": 100_000, "burst_limit": 1_000}}
BATCH = 64


def make_stage(name: str, folder: Path) -> Stage:
    """One agent's stage over files in a folder."""
    agent = AGENTS[name]()
    names = tuple(AGENTS)
    opened: dict[str, apsw.Connection] = {}

    def opener(database: str) -> apsw.Connection:
        if database not in opened:
            durability = Durability.POWER if database else agent.durability
            opened[database] = open_database(folder / f"{name}-{database}.db", durability)
        return opened[database]

    context = StageContext(
        name,
        version="bench",
        pipeline=names,
        settings=SETTINGS.get(name, {}),
        clock=time.time,
        halt=lambda: None,
        opener=opener,
        secrets={"approval": b"a secret of thirty-two bytes len", "ruling": b"another secret of as many bytes!"},
        free_bytes=lambda: 1 << 40,
    )
    place = names.index(name)
    return Stage(
        agent,
        context,
        successor=names[place + 1] if place + 1 < len(names) else GATEWAY,
        journal=None if agent.durability is Durability.NONE else Journal(opener("")),
        epoch=1,
        note=BlackBox(folder / f"{name}.box", incarnation=1).note,
    )


def envelopes(count: int) -> list[Envelope]:
    """Signals as the gateway sends them."""
    made = []
    for number, each in enumerate(made_up_signals(count, seed=7), 1):
        trace_id = str(uuid.uuid4())
        signal = msgspec.convert({**each, "trace_id": trace_id, "ts": time.time()}, Signal)
        payload = msgspec.Raw(msgspec.msgpack.encode(signal))
        made.append(Envelope(WORK, trace_id, signal.symbol, number, 1, 1, payload))
    return made


def measure(count: int, profiled: str = "") -> dict[str, float]:
    """CPU microseconds per signal of each stage, unpacking, committing and packing included."""
    spent: dict[str, float] = dict.fromkeys(AGENTS, 0.0)
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory(prefix="ark-") as folder:
        stages = {name: make_stage(name, Path(folder)) for name in AGENTS}
        notices: dict[str, list[Envelope]] = defaultdict(list)
        for stage in stages.values():
            stage.setup()
            for destination, each in stage.take_outgoing():
                if each.kind == NOTICE:
                    notices[destination].append(each)
        signals = envelopes(count)
        for start in range(0, count, BATCH):
            frame = pack(signals[start : start + BATCH])
            for name, stage in stages.items():
                began = time.process_time()
                if name == profiled:
                    profile.enable()
                admitted = stage.admit([*unpack(frame), *notices.pop(name, ())])
                for _ in stage.process(admitted, time.time_ns):
                    pass
                outgoing = stage.take_outgoing()
                frame = pack([each for _, each in outgoing if each.kind != NOTICE])
                if name == profiled:
                    profile.disable()
                spent[name] += time.process_time() - began
                for destination, each in outgoing:
                    if each.kind == NOTICE:
                        notices[destination].append(each)
    if profiled:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    return {name: seconds / count * 1e6 for name, seconds in spent.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=6_000)
    parser.add_argument("--profile", default="", choices=["", *AGENTS])
    arguments = parser.parse_args()
    spent = measure(arguments.signals, arguments.profile)
    for name, microseconds in spent.items():
        print(f"{name:10} {microseconds:7.1f} us of CPU a signal")
    print(f"{'together':10} {sum(spent.values()):7.1f}")


if __name__ == "__main__":
    main()
