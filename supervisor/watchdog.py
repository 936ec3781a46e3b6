"""The Watchdog's process: looks at everybody, and has done about each fault what the configuration says.

It gets no message from anybody it watches: it reads their black boxes, so that a full queue cannot fake a death.
What is a fault is decided by `supervisor.heartbeats`, `supervisor.conduct` and `supervisor.monitors`, what is done
and told about it by `supervisor.alerts`; the supervisors do the rest. The seal is checked from here, too, since the
judge's own process may be the one that was tampered with.

Whatever may be slow (the front door, the disk, the seal) is looked at on threads; a disk that stalls must not stop
the Watchdog's heart.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import apsw
import msgspec
import zmq

from ark import seal, stack
from ark.blackbox import BlackBox, Reading, read
from ark.config import Config, WatchdogConfig
from ark.control import Control, Duty
from ark.errors import ArkError
from ark.home import Home
from ark.interventions import Intervention, record
from ark.interventions import read as read_interventions
from ark.log import Log
from ark.meters import Meters
from supervisor import alerts
from supervisor.alerts import NODE, Fault
from supervisor.conduct import ConductLimits, Record, fault, health
from supervisor.failures import Failures
from supervisor.figures import Figures
from supervisor.heartbeats import Limits, Memory, Vital, judge
from supervisor.monitors import (
    MIB,
    BusLimits,
    Clock,
    Lasting,
    Rate,
    Restarts,
    Usage,
    bus_faults,
    disk_faults,
    redis_faults,
    tree_faults,
    usage_faults,
)
from supervisor.probes import Clerk, Probe, ask_door, usages, write_report
from supervisor.redis_probe import RedisProbe
from supervisor.webhook import Webhook

__all__ = ["SealWatch", "WatchdogWorker"]

_SETTLED_S = 3.0
_REPORT_S = 1.0
"""How often it writes down what it knows."""


class SealWatch(threading.Thread):
    """Checks the files, the signature and the modes of the rule book, and halts trading while a fault lasts.

    It has a thread of its own: a disk that stalls must not stop the Watchdog's heart. A halt that stands is never
    overwritten, and none is lifted here; who resumes while the fault lasts is halted again at the next check.

    Args:
        home: The node's home.
        interval_s: Seconds between two checks.
        check: Gives the report on the seal.
    """

    def __init__(self, home: Home, interval_s: float, check: Callable[[], seal.Report]) -> None:
        super().__init__(name="seal", daemon=True)
        self._home = home
        self._interval_s = interval_s
        self._check = check
        self._log = Log(home.logs / "supervision.log")
        self._known = ""
        self._found: SimpleQueue[dict[str, Any]] = SimpleQueue()

    def run(self) -> None:
        """Check at once, and then again and again; ends with its process."""
        while True:
            self.look()
            time.sleep(self._interval_s)

    def look(self) -> None:
        """Check once."""
        reason = "; ".join(self._check().faults)
        if reason:
            why = f"the seal of the rule book is broken: {reason}"
            halted = False
            with suppress(OSError):  # a disk that takes nothing; the next look tries again
                halted = self._home.halt_once(why, by="watchdog", at=time.time())
            if halted:
                record(self._home, "halt", by="watchdog", reason=why)
            if halted or reason != self._known:
                self._log.write("seal_broken", name="watchdog", reason=reason)
                self._found.put({"reason": reason})
        self._known = reason

    @property
    def reason(self) -> str:
        """What was wrong at the last check; empty for nothing."""
        return self._known

    def found(self) -> list[dict[str, Any]]:
        """What was found since the last call, as fields of the event `seal_broken`."""
        found = []
        while True:
            try:
                found.append(self._found.get_nowait())
            except Empty:
                return found


class WatchdogWorker:
    """The worker of the Watchdog's process."""

    def __init__(self, duty: Duty, control: Control, box: BlackBox) -> None:
        self._name = duty.name
        self._epoch = duty.epoch
        self._home = Home(Path(duty.home))
        self._control = control
        self._box = box
        config = msgspec.convert(duty.config, Config)
        self._log = Log(self._home.logs / "supervision.log", config.logs.limits)
        settings = self._settings = config.watchdog
        self._pipeline = config.pipeline.agents
        self._agents = config.agents
        self._beat_s = settings.interval_s / 4
        self._limits = Limits(interval_s=settings.interval_s, missed=settings.missed)
        self._answers = _answers(settings, self._pipeline)
        self._conduct_limits = ConductLimits(
            settings.max_failures_in_a_row,
            settings.max_failure_rate,
            settings.min_requests,
            settings.max_latency_ms,
        )
        self._bus_limits = BusLimits(
            settings.max_round_trip_ms / 1000,
            settings.max_queue_depth,
            int(settings.backlog_share * config.gateway.backlog),
            config.redis.max_depth,
        )
        key = os.environ.get(seal.KEY_VARIABLE, "")
        self._seal = SealWatch(self._home, settings.graveyard_interval_s, lambda: seal.check(memory=False, key=key))
        self._door = Probe("door", settings.bus_interval_s, lambda: ask_door(self._home))
        self._usages = Probe("usages", settings.resources_interval_s, self._look_at_usages)
        self._disk = Probe("disk", settings.resources_interval_s, lambda: (self._home.free_bytes(),))
        self._redis: RedisProbe | None = None
        if config.redis.url:
            self._redis = RedisProbe.for_node(config.redis, self._home, settings.bus_interval_s)
        self._stream = config.redis.stream
        self._figures = Figures(
            Meters(self._home.page(duty.name), process=duty.name) if config.metrics.enabled else None
        )
        self._clerk = Clerk()
        self._webhook = Webhook.of(self._home, settings)
        self._hangs = Memory()
        self._alerts = alerts.Memory()
        self._records: dict[str, Record] = {}
        self._restarts = Restarts()
        self._violations = Rate()
        self._clock = Clock()
        self._down = Lasting()
        self._seen: dict[str, list[Fault]] = {}
        self._next: dict[str, float] = {}
        self._tree: list[dict[str, Any]] = []
        self._boxes: dict[str, Reading] = {}
        self._owed_halt = ""
        self._rounds = 0
        self._began = time.monotonic()

    def prepare(self) -> None:
        """Remember whom it has isolated lately, and begin to look."""
        self._beat()
        self._alerts = alerts.Memory(quarantines=self._lately_isolated())
        self._figures.begin(self._pipeline, self._answers)
        self._beat()
        for thread in (self._seal, self._door, self._usages, self._disk, self._clerk):
            thread.start()
        if self._webhook is not None:
            self._webhook.start()
        if self._redis is not None:
            self._redis.start()

    def run(self) -> None:
        """Watch until told to stop."""
        poller = zmq.Poller()
        poller.register(self._control.fileno(), zmq.POLLIN)
        due = 0.0
        while True:
            left_s = max(0.0, due - time.monotonic())
            if poller.poll(math.ceil(1000 * min(self._beat_s, left_s))):
                for words in self._control.hear():
                    if words["do"] == "stop":
                        return
                    if words["do"] == "tree":
                        self._see_tree(words["children"])
                        due = 0.0
            if time.monotonic() >= due:
                self._round(time.monotonic())
                due = self._next_due()
            self._beat()

    def _round(self, now: float) -> None:
        self._boxes = self._read_boxes()
        faults = [*self._look_for_hangs(now), *self._look_at_seal()]
        for name, interval_s, look in (
            ("agents", self._settings.agents_interval_s, self._look_at_agents),
            ("bus", self._settings.bus_interval_s, self._look_at_bus),
            ("events", self._settings.events_interval_s, self._look_at_events),
            ("resources", self._settings.resources_interval_s, self._look_at_resources),
        ):
            if now >= self._next.get(name, 0.0):
                self._next[name] = now + interval_s
                self._seen[name] = look(now)
            faults += self._seen[name]
        self._weigh(faults, now)
        if now >= self._next.get("report", 0.0):
            self._next["report"] = now + _REPORT_S
            if owed := self._owed_halt:
                self._clerk.do(lambda: self._halt(owed))
            report = self._report(now)
            self._clerk.do(lambda: write_report(self._home.watchdog_file, report, msgspec.json.encode))

    # What is seen

    def _look_for_hangs(self, now: float) -> list[Fault]:
        verdicts, self._hangs = judge(self._vitals(now), self._limits, self._hangs, now)
        for verdict in verdicts:
            self._figures.hung(verdict.name)
        return [Fault("hang", verdict.name, verdict.reason, verdict.incarnation) for verdict in verdicts]

    def _look_at_seal(self) -> list[Fault]:
        for fields in self._seal.found():
            self._control.say(say="event", kind="seal_broken", fields=fields)
        for thread in (self._seal, self._door, self._usages, self._disk, self._clerk):
            if not thread.is_alive():
                raise RuntimeError(f"the Watchdog's thread {thread.name!r} has ended")
        reason = self._seal.reason
        return [Fault("seal", NODE, f"the seal of the rule book is broken: {reason}")] if reason else []

    def _look_at_agents(self, now: float) -> list[Fault]:
        faults = []
        for child in self._tree:
            name, box = child["name"], self._boxes.get(child["name"])
            if child["kind"] != "agent":
                continue
            if box is None or child["state"] in ("isolated", "stopped"):
                continue
            record = self._records.setdefault(name, Record(self._settings.window_s))
            record.see(box.work, msgspec.convert(child["failures"], Failures), now)
            found = fault(record.conduct(), self._conduct_limits)
            if found:
                faults.append(Fault(found[0], name, found[1]))
        faults += self._restarts.faults(self._tree, self._settings.max_restarts_per_min, now)
        waiting = [each["name"] for each in self._tree if each["state"] in ("starting", "backoff", "failed")]
        for name, since_s in self._down.longer_than(waiting, self._settings.down_s, now):
            child = next(each for each in self._tree if each["name"] == name)
            why = f": {child['reason']}" if child["reason"] else ""
            faults.append(Fault("down", name, f"it has not run for {since_s:.0f} s{why}"))
        return faults

    def _look_at_bus(self, now: float) -> list[Fault]:
        door = self._door.latest()
        faults = [] if door is None else bus_faults(door, self._bus_limits)
        if self._redis is not None and self._has_settled(now):
            seen = self._redis.reading()
            self._figures.waits_in(self._stream, seen.depth)
            faults += redis_faults(seen.round_trip_s, seen.depth, seen.error, self._bus_limits)
        return faults

    def _has_settled(self, now: float) -> bool:
        """Whether its probes have had time for a first look."""
        return now - self._began > _SETTLED_S

    def _look_at_events(self, now: float) -> list[Fault]:
        faults = []
        jump = self._clock.fault(time.time(), now, self._settings.max_clock_jump_s)
        if jump:
            faults.append(jump)
        door = self._door.latest()
        if door is not None and door.status:
            count = self._violations.see(door.status.get("violations", 0), now)
            if count > self._settings.max_violations_per_min:
                faults.append(Fault("violations", NODE, f"the rule book denied {count} orders within a minute"))
            letters = door.status["signals"]["dead_letters"]
            if letters:
                told = "1 signal was given up on" if letters == 1 else f"{letters} signals were given up on"
                faults.append(Fault("dead_letter", NODE, told))
        words = {name: box.reason for name, box in self._boxes.items()}
        faults += tree_faults(self._tree, words)
        halt = self._home.standing_halt()
        if halt is not None:  # its own, too: it outlives its cause, and somebody has to lift it
            faults.append(Fault("halted", NODE, f"halted by {halt.get('by')}: {halt.get('reason')}"))
        return faults

    def _look_at_resources(self, now: float) -> list[Fault]:
        settings = self._settings
        faults = usage_faults(
            self._usages.latest() or (),
            {name: each.memory_limit_mb for name, each in self._agents.items()},
            settings.memory_limit_mb,
            settings.descriptors_share,
        )
        disk = self._disk.latest()
        return faults + (disk_faults(disk[0], settings.disk_low_mb, settings.disk_full_mb) if disk else [])

    def _look_at_usages(self) -> list[Usage]:
        return usages([(each["name"], each["incarnation"], each["pid"]) for each in self._tree if each["pid"]])

    # What is done

    def _weigh(self, faults: list[Fault], now: float) -> None:
        arms = [
            each["name"] for each in self._tree if each["kind"] == "agent" and each["name"] not in self._pipeline
        ]
        if list(self._answers.arms) != arms:
            self._answers = replace(self._answers, agents=(*self._pipeline, *arms), arms=arms)
        told, orders, self._alerts = alerts.weigh(faults, self._alerts, self._answers, now)
        for order in orders:
            self._obey(order)
        for alert in told:
            fields = alert.fields()
            self._figures.told(alert)
            if self._webhook is not None:
                self._webhook.put({"at": time.time(), **fields})
            self._control.say(say="event", kind="alert", fields=fields)
            self._clerk.do(partial(self._log.write, "alert", **fields))

    def _obey(self, order: alerts.Order) -> None:
        """Have it done by those who can: the supervisors, or the halt that every agent looks at."""
        fault, answer = order.fault, order.answer
        if answer == "halt":
            self._clerk.do(lambda: self._halt(fault.reason if fault.subject == NODE else _about(fault)))
            if not self._answers.isolates("halt", fault):
                return
            answer = "isolate"
        child = next((each for each in self._tree if each["name"] == fault.subject), None)
        if child is None or child["parent"] is None or child["state"] in ("isolated", "stopped"):
            return
        if answer == "isolate":
            words = {"number": 0, "op": "isolate", "agent": fault.subject, "by": self._name}
            self._control.say(say="request", **words, reason=f"{fault.kind}: {fault.reason}")
            self._figures.isolated(fault)
        else:
            incarnation = child["incarnation"] if fault.incarnation is None else fault.incarnation
            hangs = fault.kind == "hang"
            self._control.say(
                say="hung",
                event="hung" if hangs else "replaced",
                name=fault.subject,
                incarnation=incarnation,
                reason=fault.reason,
                stack=stack.ask(child["pid"], self._home.stack(fault.subject)) if hangs and child["pid"] else "",
            )
        self._clerk.do(lambda: self._record(answer, fault))

    def _halt(self, reason: str) -> None:
        """On the clerk's thread: halt trading, unless it is halted. A disk that takes nothing is tried again."""
        self._owed_halt = reason
        with suppress(OSError):
            if self._home.halt_once(reason, by=self._name, at=time.time()):
                record(self._home, "halt", by=self._name, reason=reason)
            self._owed_halt = ""

    def _lately_isolated(self) -> dict[str, tuple[float, ...]]:
        """When it has isolated whom: repeated quarantines are counted across its own restarts."""
        offset_s = time.time() - time.monotonic()
        acts: list[Intervention] = []
        with suppress(ArkError, apsw.Error):
            while page := list(read_interventions(self._home, after=acts[-1].number if acts else 0)):
                acts += page
        mine = [act for act in acts if act.act == "isolate" and act.by == self._name]
        found: dict[str, tuple[float, ...]] = {}
        for act in mine:
            found[act.subject] = (*found.get(act.subject, ()), act.at - offset_s)
        # The one before may have died between its order and its record.
        recorded = {act.subject: act.reason for act in mine}
        isolated: dict[str, str] = {}
        with suppress(ArkError):
            isolated = self._home.isolated()
        for name, reason in isolated.items():
            kind, _, seen = reason.partition(": ")
            if kind in alerts.CHILD_FAULTS and recorded.get(name) != seen:
                self._record("isolate", Fault(kind, name, seen))
                found[name] = (*found.get(name, ()), time.monotonic())
        return found

    def _record(self, act: str, fault: Fault) -> None:
        details = {"fault": fault.kind}
        record(self._home, act, by=self._name, subject=fault.subject, reason=fault.reason, details=details)

    # What it reads and writes

    def _see_tree(self, tree: list[dict[str, Any]]) -> None:
        self._tree = tree
        self._figures.see(child["name"] for child in tree if child["parent"] is not None)
        for child in tree:
            if child["state"] in ("isolated", "stopped") and child["name"] in self._records:
                # Nothing from before counts when it comes back, also where that is before the next look.
                self._records[child["name"]].forgive()
                agents = self._seen.get("agents", ())
                self._seen["agents"] = [each for each in agents if each.subject != child["name"]]

    def _read_boxes(self) -> dict[str, Reading]:
        found = {}
        for child in self._tree:
            with suppress(OSError):  # who cannot be read counts as one who does not beat
                box = read(self._home.box(child["name"]))
                if box is not None and box.pid == child["pid"]:
                    found[child["name"]] = box
        return found

    def _vitals(self, now: float) -> list[Vital]:
        vitals = []
        for child in self._tree:
            # The root has no supervisor that could replace it; the guardian watches it.
            if child["pid"] is None or child["parent"] is None or child["name"] == self._name:
                continue
            box = self._boxes.get(child["name"])
            agent = self._agents.get(child["name"])
            vitals.append(
                Vital(
                    child["name"],
                    child["pid"],
                    child["incarnation"],
                    box.beat_age_s if box else now - child["since"],
                    box.trace_id if box else "",
                    box.handler if box else "",
                    child["state"],
                    agent.patience_s if agent else 0.0,
                )
            )
        return vitals

    def _next_due(self) -> float:
        """Until when nothing can have become late: a hang is seen when it is one, not at the next round."""
        now = time.monotonic()
        dues = [due - now for due in self._next.values()]
        dues += [
            (vital.patience_s or self._limits.patience_s) - vital.beat_age_s + 0.001
            for vital in self._vitals(now)
            if vital.state == "running"
        ]
        # Well within an interval: who looks more rarely cannot tell a hang of others from a sleep of its own.
        return now + min(*(due for due in dues if due > 0), self._limits.interval_s / 2)

    def _report(self, now: float) -> dict[str, Any]:
        """What the status shows of it, and what is left for whoever asks when the gateway does not answer."""
        held = {each.name: each for each in self._usages.latest() or ()}
        agents: dict[str, dict[str, Any]] = {}
        for child in self._tree:
            name = child["name"]
            facts: dict[str, Any] = {}
            if name in held and child["pid"]:
                facts = {"memory_mb": round(held[name].memory / MIB, 1), "descriptors": held[name].descriptors}
            if name in self._records:
                conduct = self._records[name].conduct()
                box = self._boxes.get(name)
                facts |= {
                    "health": round(health(conduct, box.beat_age_s if box else None), 3),
                    "requests": conduct.requests,
                    "failures": conduct.failed,
                    "failures_in_a_row": conduct.failed_in_a_row,
                    "mean_latency_ms": round(conduct.mean_latency_ms, 3),
                }
            agents[name] = facts
        running = [
            agents[each["name"]]["health"]
            for each in self._tree
            if each["state"] != "isolated" and "health" in agents[each["name"]]
        ]
        return {
            "at": time.time(),
            "health": round(sum(running) / len(running), 3) if running else None,
            "agents": agents,
            "webhook": None if self._webhook is None else self._webhook.state(),
            "alerts": [
                {**alert.fields(), "since": round(time.time() - (now - alert.since), 3)}
                for alert in self._alerts.active()
            ],
        }

    def _beat(self) -> None:
        self._rounds += 1
        self._box.beat(epoch=self._epoch, handled=self._rounds, received=0, sent=0)


def _answers(settings: WatchdogConfig, pipeline: tuple[str, ...]) -> alerts.Answers:
    return alerts.Answers(
        msgspec.structs.asdict(settings.answers),
        pipeline,
        settings.auto_isolation,
        settings.emergency_halt,
        settings.repeat_s,
        settings.clear_s,
        settings.max_quarantines,
        settings.quarantine_period_s,
    )


def _about(fault: Fault) -> str:
    return f"{fault.subject}: {fault.reason}"
