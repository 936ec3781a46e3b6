"""The supervisor process: a thin Thespian shell around `supervisor.policy`.

It holds no ZeroMQ socket and no thread, and imports no agent code, so that forking it is cheap and safe. Whatever
it decides stands in the pure policy; here processes are made, asked, killed and told apart.
"""

from __future__ import annotations

import os
import random
import time
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from setproctitle import setproctitle
from thespian.actors import (
    Actor,
    ActorExitRequest,
    ChildActorExited,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
)

from ark import stack
from ark.blackbox import BlackBox, read
from ark.config import Config
from ark.control import Control, Duty
from ark.equipment import INSTALLED, ArmSpec, Equipment, permanent_releases
from ark.errors import RoutingError
from ark.home import Home
from ark.host import EXIT_BOOT, EXIT_FAILED, EXIT_OK, Host
from ark.lineage import await_ends, end
from ark.log import Log
from ark.process_log import ProcessLog
from ark.routing import TableFile
from supervisor import policy
from supervisor.failures import Failures
from supervisor.obituary import Obituary, write
from supervisor.requests import Requests

__all__ = ["Supervisor"]

_WATCHDOG = "watchdog"
_TOLD = ("gateway", _WATCHDOG, "exporter", "deployer")
"""The services that are told of the tree."""
_LAST_MOMENT_S = 1.0
_UNHEARD = 8
"""So many trees are sent to a process between two of its heartbeats: more than a restart or two take, and less than
half of the messages that Thespian has under way at once."""
_STATES = {"pending": "starting", "waiting": "starting", "stopping": "stopped"}
"""The policy's states that the protocol does not know, and what it calls them."""
_EQUIPPED = frozenset({"starting", "running", "backoff"})
"""States of a child that was given a release, and would have to come back to be given another one."""


class Process(msgspec.Struct):
    """A child's process as its supervisor knows it."""

    incarnation: int
    address: Any
    handle: Any
    pid: int
    since: float


class Supervisor(Actor):  # type: ignore[misc]
    """The root of the tree and every supervisor below it."""

    def __init__(self) -> None:
        super().__init__()
        self._duty: Duty | None = None

    def receiveMessage(self, message: Any, sender: Any) -> Any:
        """Thespian's entry. Nothing may escape: Thespian would call it a second time with the same message."""
        try:
            self._take(message, sender)
        except BaseException:  # noqa: BLE001
            self._fail(traceback.format_exc())
        return ThespianWatch([self._line.fileno()]) if self._duty and self._line else None

    def _take(self, message: Any, sender: Any) -> None:
        if isinstance(message, Duty):
            self._begin(message, sender)
        elif isinstance(message, ActorExitRequest):
            os._exit(EXIT_OK)
        elif self._duty is None:
            return
        elif isinstance(message, ChildActorExited):
            self._reap()
        elif isinstance(message, WakeupMessage):
            self._tick(message.payload)
        elif isinstance(message, WatchMessage):
            self._hear_guardian()
        elif isinstance(message, dict):
            if "do" in message:
                self._obey(message)
            else:
                self._hear_child(message, sender)

    # Beginning and ending

    def _begin(self, duty: Duty, sender: Any) -> None:
        self._duty = duty
        self._parent = sender
        self._home = Home(Path(duty.home))
        config = msgspec.convert(duty.config, Config)
        self._log = Log(self._home.logs / "supervision.log", config.logs.limits)
        logs = ProcessLog.begin(duty)
        self._own_log = logs.log
        self._own_log.info("started", pid=os.getpid(), incarnation=duty.incarnation, epoch=duty.epoch)
        self._epoch = duty.epoch
        self._line: Control | None = None
        line = duty.options.get("line")
        if line is not None:
            self._line = Control.from_descriptor(line)
            self._epoch = self._home.raise_epoch()
            self._line.say(say="hello", pid=os.getpid(), admin=os.getppid())
        setproctitle(f"ark: {duty.name} ({duty.home})")
        self._box = BlackBox(self._home.box(duty.name), incarnation=duty.incarnation)
        self._box.on_beat = logs.beat
        self._beat_s = config.watchdog.interval_s / 4
        self._patience_s = config.watchdog.interval_s * config.watchdog.missed
        self._late_rounds = 0
        limits = self._limits = config.supervision
        self._children: dict[str, dict[str, Any]] = {each["name"]: each for each in duty.options["children"]}
        self._spec = policy.SupervisorSpec(
            duty.name,
            strategy=duty.options["strategy"],
            children=tuple(_child_spec(each) for each in duty.options["children"]),
            intensity=limits.intensity,
            period_s=limits.period_s,
            backoff=policy.Backoff(
                base_s=limits.backoff_base_s,
                cap_s=limits.backoff_cap_s,
                jitter=limits.jitter,
                stable_s=limits.stable_s,
            ),
        )
        self._processes: dict[str, Process] = {}
        self._subtrees: dict[str, list[dict[str, Any]]] = {}
        self._died: list[Obituary] = []
        self._failures: dict[str, Failures] = {}
        """None of a child that is isolated or stopped: nobody is isolated again for what was before."""
        self._forgiven: dict[str, int] = {}
        """The incarnations up to which children were forgiven, though they may not have ended yet."""
        self._stacks: dict[str, tuple[int, str]] = {}
        self._requests = Requests()
        self._told: list[dict[str, Any]] = []
        self._tree: list[dict[str, Any]] = []
        self._untold: set[str] = set()
        """The services that have not been handed the newest tree."""
        self._handed: dict[str, tuple[tuple[int, int], int]] = {}
        """At which heartbeat of which process a service was last handed one, and how many since that."""
        self._wake_at: float | None = None
        self._unkept = False
        self._routes = TableFile(self._home.routes_file)
        self._leaving: set[str] = set()
        self._equipped: dict[str, Equipment] = {}
        self._state = policy.initial(self._spec, self._home.isolated(), self._home.stopped())
        self._decide(policy.Begin())
        self._beat()

    def _fail(self, reason: str) -> None:
        try:
            if self._duty is not None:
                self._box.last_words(reason)
                self._log.write("supervisor_failed", name=self._duty.name, reason=reason)
                self._own_log.critical("failed", exception=reason)
        finally:
            os._exit(EXIT_FAILED)

    def _hear_guardian(self) -> None:
        assert self._line is not None
        words = self._line.hear()
        if any(each.get("do") == "stop" for each in words):
            self._decide(policy.Stop())
        elif self._line.is_closed:
            # The guardian is gone. Every process may die at any moment, so the quick way is the right way:
            # with the admin goes its logger, and go we, and with us everything below.
            end(os.getppid())
            os._exit(EXIT_FAILED)

    # Deciding

    def _decide(self, event: policy.Event) -> None:
        self._state, actions = policy.decide(self._spec, self._state, event, time.monotonic(), random.random())
        for action in actions:
            match action:
                case policy.StartChild():
                    self._start(action.name, action.incarnation)
                case policy.StopChild():
                    self._ask(action.name, {"do": "stop"})
                case policy.KillChild():
                    end(self._processes[action.name].pid)
                case policy.RaiseEpoch():
                    self._raise_epoch()
                case policy.WakeAt():
                    self._wake(action.time)
                case policy.Started():
                    self._say_up({"say": "ready"})
                case policy.Stopped():
                    self._leave(EXIT_OK, {"say": "stopped"})
                case policy.GiveUp():
                    self._box.last_words(action.reason)
                    self._log.write("gave_up", name=self._spec.name, reason=action.reason)
                    boot = action.reason.startswith(policy.BOOT_FAILURE)
                    self._leave(EXIT_BOOT if boot else EXIT_FAILED, {"say": "gave_up", "reason": action.reason})
        self._keep_orders()
        self._tell_tree()
        for number, agent, state in self._requests.settled(self._state, time.monotonic()):
            self._say_up({"say": "reply", "number": number, "agent": agent, "state": _STATES.get(state, state)})

    def _keep_orders(self) -> None:
        """Write down who is isolated and who is stopped.

        What cannot be written, because the disk is full, holds all the same, and is written later.
        """

        def reasons(desired: policy.Desired) -> dict[str, str]:
            return {child.name: child.reason for child in self._state.children if child.desired == desired}

        try:
            self._home.keep_isolated(self._spec.name, reasons("isolated"))
            self._home.keep_stopped(self._spec.name, reasons("stopped"))
        except (OSError, msgspec.DecodeError) as error:
            if not self._unkept:
                self._log.write("orders_not_kept", name=self._spec.name, reason=str(error))
            self._unkept = True
        else:
            self._unkept = False

    def _start(self, name: str, incarnation: int) -> None:
        assert self._duty is not None
        child = self._children[name]
        supervisor = child["kind"] == "supervisor"
        address = self.createActor(Supervisor if supervisor else Host)
        handle = self._myRef._child_procs[-1].childProc  # the only way to its pid and exit status
        self._processes[name] = Process(incarnation, address, handle, handle.pid, time.monotonic())
        self._subtrees.pop(name, None)
        secrets = {each: self._home.secret(f"{each}.key") for each in child.get("secrets", ())}
        duty = Duty(
            name=name,
            parent=self._spec.name,
            kind=child["kind"],
            runner=child.get("runner", ""),
            incarnation=incarnation,
            epoch=self._epoch,
            home=self._duty.home,
            config=self._duty.config,
            secrets=secrets,
            options={**child.get("options", {}), **self._equip(name)},
        )
        self.send(address, duty)
        self._log.write("started", name=name, pid=handle.pid, incarnation=incarnation, epoch=self._epoch)

    def _reap(self) -> None:
        """Find out who has exited. Thespian's own notice names nobody for sure and may come twice."""
        for name, process in list(self._processes.items()):
            code = process.handle.exitcode
            if code is None:
                continue
            del self._processes[name]
            # What is sent again now must not be swallowed by the mailbox of one who is just dying with it.
            below = [child["pid"] for child in self._subtrees.pop(name, ()) if child["pid"]]
            await_ends(below, within_s=_LAST_MOMENT_S)
            incarnation, stuck_at = self._stacks.pop(name, (0, ""))
            stuck_at = stuck_at if incarnation == process.incarnation else ""
            obituary = write(name, process.incarnation, process.pid, code, self._home, stuck_at=stuck_at)
            before = self._state.child(name)
            if before is not None and before.leaving in ("operator", "sibling"):
                obituary = msgspec.structs.replace(obituary, trace_id="")  # it was told to go: no signal did that
            if process.incarnation > self._forgiven.get(name, 0):
                self._failures[name] = self._failed(name).after(obituary.trace_id, obituary.work)
            if code != EXIT_OK:
                self._died.append(obituary)
                self._log.write(
                    "exited", name=name, pid=process.pid, reason=obituary.reason, trace_id=obituary.trace_id
                )
                self._event("exited", name=name, pid=process.pid, reason=obituary.first_line)
            self._decide(policy.Exited(name, process.incarnation, obituary.first_line, normal=code == EXIT_OK))
            child = self._state.child(name)
            if child is not None and child.state in ("isolated", "stopped"):
                self._failures.pop(name, None)

    def _failed(self, name: str) -> Failures:
        return self._failures.get(name, Failures())

    def _raise_epoch(self) -> None:
        self._epoch = self._home.raise_epoch(self._epoch)
        self._own_log.info("epoch", epoch=self._epoch)
        died = [
            {"agent": each.name, "trace_id": each.trace_id, "reason": each.reason}
            for each in self._died
            if each.trace_id
        ]
        self._died.clear()
        self._say_up({"say": "epoch", "epoch": self._epoch, "died": died})

    # Talking

    def _hear_child(self, words: dict[str, Any], sender: Any) -> None:
        name = next((name for name, each in self._processes.items() if each.address == sender), None)
        if name is None:
            return  # a process that is gone already
        match words["say"]:
            case "ready":
                if words.get("version"):
                    self._children[name]["version"] = words["version"]
                self._decide(policy.Ready(name, self._processes[name].incarnation))
            case "tree":
                self._subtrees[name] = words["children"]
                self._tell_tree()
            case "request":
                self._request(words)
            case "hung":
                self._hung(words)
            case "raise_epoch":
                self._raise_epoch()
            case _:
                self._say_up(words)

    def _obey(self, words: dict[str, Any]) -> None:
        match words["do"]:
            case "stop":
                self._decide(policy.Stop())
            case "request":
                self._request(words)
            case "hung":
                self._hung(words)

    def _request(self, words: dict[str, Any]) -> None:
        """Do what an operator asks, or hand it down to the supervisor below that can."""
        name, reason = words["agent"], words["reason"]
        if name not in self._children:
            self._hand_down(name, {**words, "do": "request"})
            return
        event: policy.Event
        match words["op"]:
            case "isolate":
                event = policy.Isolate(name, reason)
            case "release":
                event = policy.Release(name, reason)
            case "stop":
                event = policy.StopOne(name, reason)
            case "start":
                event = policy.StartOne(name, reason)
            case _:
                event = policy.Restart(name, reason)
        child = self._state.child(name)
        assert child is not None
        if words["op"] not in ("isolate", "stop") and child.desired != "running":
            self._failures.pop(name, None)
            self._forgiven[name] = child.incarnation
        self._requests.open(words["number"], words["op"], child, time.monotonic())
        by = words.get("by", _WATCHDOG)
        self._log.write(words["op"], name=name, reason=reason, by=by)
        self._event(words["op"], name=name, reason=reason, by=by)
        self._decide(event)

    def _hung(self, words: dict[str, Any]) -> None:
        name = words["name"]
        if name not in self._children:
            self._hand_down(name, {**words, "do": "hung"})
            return
        self._log.write(words["event"], name=name, reason=words["reason"], stack=words["stack"])
        self._event(words["event"], name=name, reason=words["reason"], stack=words["stack"])
        self._stacks[name] = (words["incarnation"], words["stack"])
        self._decide(policy.Restart(name, words["reason"], kill=True, incarnation=words["incarnation"]))

    def _hand_down(self, name: str, words: dict[str, Any]) -> None:
        for supervisor, children in self._subtrees.items():
            if any(child["name"] == name for child in children):
                self._ask(supervisor, {key: value for key, value in words.items() if key != "say"})

    def _ask(self, name: str, words: dict[str, Any]) -> None:
        process = self._processes.get(name)
        if process is not None:
            self.send(process.address, words)

    def _say_up(self, words: dict[str, Any]) -> None:
        """To the parent; the root hands the gateway what is the gateway's, and the guardian the rest."""
        if self._line is None:
            self.send(self._parent, words)
        elif words["say"] in ("epoch", "reply", "event"):
            self._epoch = max(self._epoch, words.get("epoch", 0))
            self._ask("gateway", {**{k: v for k, v in words.items() if k != "say"}, "do": words["say"]})
        elif words["say"] in ("ready", "stopped", "gave_up"):
            self._line.say(**words)

    def _event(self, kind: str, **fields: Any) -> None:
        self._say_up({"say": "event", "kind": kind, "fields": fields})

    def _tell_tree(self) -> None:
        assert self._duty is not None
        tree = []
        for child in self._state.children:
            process = self._processes.get(child.name)
            tree.append(
                {
                    "name": child.name,
                    "parent": self._spec.name,
                    "kind": self._children[child.name]["kind"],
                    "state": _STATES.get(child.state, child.state),
                    "desired": child.desired,
                    "pid": process.pid if process else None,
                    "incarnation": child.incarnation,
                    "version": self._children[child.name].get("version", ""),
                    "restarts": child.restarts,
                    "crashes": child.crashes,
                    "since": process.since if process else None,
                    "reason": child.reason or None,
                    "failures": msgspec.to_builtins(self._failed(child.name)),
                    "alone": self._children[child.name].get("alone", False),
                    "release": self._release_of(child.name),
                }
            )
            tree.extend(self._subtrees.get(child.name, ()))
        if tree == self._told:
            return
        self._told = tree
        if self._line is None:
            self.send(self._parent, {"say": "tree", "children": tree})
            return
        root = {
            "name": self._spec.name,
            "parent": None,
            "kind": "supervisor",
            "state": "running",
            "desired": "running",
            "pid": os.getpid(),
            "incarnation": self._duty.incarnation,
            "version": self._duty.options["version"],
            "restarts": self._duty.incarnation - 1,
            "crashes": self._duty.incarnation - 1,
            "since": self._duty.options["since"],
            "reason": None,
            "failures": {},
            "alone": False,
            "release": "",
        }
        self._tree = [root, *tree]
        self._untold = set(_TOLD)
        self._tell_services()

    def _tell_services(self) -> None:
        """Hand the tree to whoever listens; who does not gets the newest one when he is heard of again.

        Thespian has twenty messages under way at once. Those to a process that does not read would hold up all
        others: the gateway would hear neither of epochs nor of anything else for as long as that one is hung.
        """
        for name in (each for each in _TOLD if each in self._untold):
            process = self._processes.get(name)
            if process is None:
                continue  # whoever comes in its place is a change of the tree, and is told then
            box = read(self._home.box(name))
            beats = (process.pid, box.loops if box is not None and box.pid == process.pid else 0)
            before, handed = self._handed.get(name, (beats, 0))
            handed = handed + 1 if before == beats else 1
            if handed <= _UNHEARD:
                self._handed[name] = (beats, handed)
                self._untold.discard(name)
                self._ask(name, {"do": "tree", "children": self._tree})

    # Time

    def _wake(self, at: float) -> None:
        if self._wake_at is not None and time.monotonic() < self._wake_at <= at:
            return
        self._wake_at = at
        self.wakeupAfter(timedelta(seconds=max(0.0, at - time.monotonic())), payload="decide")

    def _tick(self, payload: str) -> None:
        if payload == "beat":
            self._beat()
            self._reap()
            return
        self._wake_at = None
        self._decide(policy.Tick())

    def _beat(self) -> None:
        self._box.beat(epoch=self._epoch, handled=0, received=0, sent=0)
        self.wakeupAfter(timedelta(seconds=self._beat_s), payload="beat")
        self._look_at_routes()
        self._tell_services()
        self._watch_the_watchdog()
        if self._unkept:
            self._keep_orders()
        if self._requests:
            self._decide(policy.Tick())

    # Releases

    def _look_at_routes(self) -> None:
        """See that the arms run that are wanted, or that each agent runs from the release that it should.

        Nobody has to tell: where the lease of the table has run out, what stands in it is not wanted any more.
        """
        assert self._duty is not None
        if self._routes.look() and self._routes.is_news:
            self._own_log.error("routes_unreadable", reason=self._routes.fault)
        if self._duty.options.get("houses_arms"):
            self._arrange_arms()
        elif self._duty.options.get("rollout"):
            self._arrange_rollout()
        elif self._duty.options.get("equips"):
            for child in self._state.children:
                if child.state not in _EQUIPPED or child.leaving:
                    continue
                wanted = self._equipment_of(child.name)
                if wanted != self._equipped.get(child.name):
                    reason = f"to run from release {wanted.digest[:12] or 'installed'} {wanted.version}".rstrip()
                    self._log.write("equip", name=child.name, reason=reason, digest=wanted.digest)
                    self._event("equip", name=child.name, reason=reason, digest=wanted.digest)
                    self._decide(policy.Restart(child.name, reason))

    def _equipment_of(self, name: str) -> Equipment:
        """What an agent is to run from. Where nobody can tell, what it runs from already."""
        table = self._routes.table
        provisional = None if table is None else table.equipment(name, time.time())
        if provisional is not None:
            return provisional
        try:
            return permanent_releases(self._home.permanent_file).get(name, INSTALLED)
        except RoutingError as error:
            if name not in self._equipped:
                raise
            self._own_log.error("releases_unreadable", reason=error.message)
            return self._equipped[name]

    def _equip(self, name: str) -> dict[str, Any]:
        """What a child's options say of the release that it runs from."""
        assert self._duty is not None
        if not self._duty.options.get("equips"):
            return {}
        self._routes.look()
        self._equipped[name] = self._equipment_of(name)
        table = self._routes.table
        provisional = table is not None and table.equipment(name, time.time()) is not None
        return {"equipment": msgspec.to_builtins(self._equipped[name]), "provisional": provisional}

    def _wanted_arms(self) -> dict[str, ArmSpec]:
        table = self._routes.table
        return dict(table.wanted_arms(time.time())) if table is not None else {}

    def _release_of(self, name: str) -> str:
        """The digest of what a child runs from; empty for the installed package."""
        if name in self._equipped:
            return self._equipped[name].digest
        digest: str = self._children[name].get("options", {}).get("equipment", {}).get("digest", "")
        return digest

    def _arrange_rollout(self) -> None:
        """Have a supervisor for the arms as long as any is wanted."""
        assert self._duty is not None
        late = self._duty.options["rollout"]
        wanted = bool(self._wanted_arms())
        if not wanted or late["name"] in self._leaving:
            self._remove(late["name"])
        if wanted and late["name"] not in self._children:
            self._add(late)

    def _arrange_arms(self) -> None:
        assert self._duty is not None
        wanted = self._wanted_arms()
        for child in self._state.children:
            spec = wanted.get(child.name)
            options = self._children[child.name]["options"]
            unwanted = spec is None or msgspec.to_builtins(spec.equipment) != options["equipment"]
            if unwanted or child.name in self._leaving:
                self._remove(child.name)
        for name, arm in wanted.items():
            if name in self._children:
                continue
            version = arm.equipment.version or self._duty.options["version"]
            equipment = msgspec.to_builtins(arm.equipment)
            self._add(
                {
                    "name": name,
                    "kind": "agent",
                    "runner": "ark.arm_worker:ArmWorker",
                    "alone": True,
                    "version": version,
                    "shutdown_s": self._limits.shutdown_s,
                    "start_timeout_s": self._limits.start_timeout_s,
                    "options": {"role": arm.role, "arm": arm.arm, "version": version, "equipment": equipment},
                }
            )

    def _add(self, child: dict[str, Any]) -> None:
        name = child["name"]
        self._children[name] = child
        self._spec, self._state = policy.with_child(self._spec, self._state, _child_spec(child))
        self._log.write("added", name=name)
        self._decide(policy.StartOne(name, "a rollout wants it"))

    def _remove(self, name: str) -> None:
        """Stop a child that came late, and forget it once it is down: what is wanted again meanwhile comes anew."""
        child = self._state.child(name)
        if child is None:
            return
        self._leaving.add(name)
        if child.live and child.desired == "running":
            self._decide(policy.StopOne(name, "no rollout wants it"))
        self._spec, self._state = policy.without_child(self._spec, self._state, name)
        if self._state.child(name) is None:
            del self._children[name]
            self._leaving.discard(name)
            self._failures.pop(name, None)
            self._log.write("removed", name=name)
            self._decide(policy.Tick())

    def _watch_the_watchdog(self) -> None:
        """Nobody else watches it. A pause of the machine makes it late for one round, not for four.

        While it starts, its time-out holds: what it reads then may be slow.
        """
        child = self._state.child(_WATCHDOG)
        process = self._processes.get(_WATCHDOG) if child is not None and child.state == "running" else None
        box = read(self._home.box(_WATCHDOG)) if process else None
        if process is None or box is None or box.pid != process.pid or box.beat_age_s <= self._patience_s:
            self._late_rounds = 0
            return
        self._late_rounds += 1
        if self._late_rounds == 4:
            reason = f"no heartbeat for {box.beat_age_s:.1f} s"
            told = {"event": "hung", "name": _WATCHDOG, "incarnation": process.incarnation, "reason": reason}
            self._hung({**told, "stack": stack.ask(process.pid, self._home.stack(_WATCHDOG))})

    def _leave(self, code: int, words: dict[str, Any]) -> None:
        self._own_log.info(words["say"], reason=words.get("reason", ""))
        if self._line is not None:
            self._line.say(**words)
        os._exit(code)


def _child_spec(child: dict[str, Any]) -> policy.ChildSpec:
    return policy.ChildSpec(
        child["name"],
        kind=child["kind"],
        restart=child.get("restart", "permanent"),
        shutdown_s=child["shutdown_s"],
        start_timeout_s=child["start_timeout_s"],
        alone=child.get("alone", False),
    )
