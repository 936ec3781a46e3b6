"""What is wrong with a node, why, what came before, and what to do next, in plain words: `examine`. Pure.

It puts together what others know: the status, the supervisors' log, and the Watchdog's report, each of which may be
missing, old or odd. A finding of severity `note` is worth knowing, and nothing is wrong for it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from supervisor.chronicle import Entry, entries, number, plain, span, story, when

__all__ = ["Finding", "Moment", "Severity", "Step", "examine", "is_wrong", "lines"]

Severity: TypeAlias = Literal["emergency", "critical", "warning", "note"]
_ORDER: tuple[Severity, ...] = ("emergency", "critical", "warning", "note")

NODE = "node"
RECENT_S = 900.0
"""What happened within so long still tells something about now."""
LOOP = 3
"""So many ends within that time are a loop."""
REPORT_OLD_S = 15.0
FUTURE_S = 5.0
DISK_LOW = 1 << 30
DISK_FULL = 100 << 20
_ABOUT_NODE = frozenset(
    (
        "node_started",
        "node_stopped",
        "node_failed",
        "rebuilt",
        "halt",
        "resume",
        "seal_broken",
        "gave_up",
        "supervisor_failed",
    )
)
"""Kinds of events that are about no child, or about all of them."""
_SAID_ELSEWHERE = frozenset(("halted", "isolated", "disk_low", "disk_full", "dead_letter"))
"""Faults of alerts that a finding of its own tells of."""
_OF_LIFE = frozenset(("hang", "restarts", "down", "quarantines", "failures", "failure_rate", "latency", "storage"))
"""Faults of one child, told with the finding about it where something is wrong with it."""
_OVER_SOON = frozenset(("hang", "restarts"))
"""The same, told also with what is merely worth knowing: the child runs again."""
_SAID_HERE = ("supervisor doctor", "supervisor release", "ark-run resume")
"""Commands that stand in the advice of alerts, and that a finding names by itself."""
_SILENT = ("stopped", "unreachable")
"""States that a status has which nobody answered with."""


class Step(msgspec.Struct, frozen=True):
    """What to do: a command to type, or "" where there is none, and what it is for."""

    command: str
    what: str


class Moment(msgspec.Struct, frozen=True):
    """Something that happened: when, in seconds since the epoch, and what."""

    at: float
    what: str


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong, or worth knowing.

    Attributes:
        severity: How bad it is.
        subject: The child that it is about, or `node`.
        what: What is wrong, a sentence.
        why: Who or what did it, and what was measured; may be empty.
        since: Since when, seconds since the epoch; None where nobody knows.
        history: What happened before, newest last.
        advice: What to do next, in this order.
    """

    severity: Severity
    subject: str
    what: str
    why: str = ""
    since: float | None = None
    history: tuple[Moment, ...] = ()
    advice: tuple[Step, ...] = ()


def examine(
    status: Mapping[str, Any] | None,
    events: Iterable[Any],
    report: Mapping[str, Any] | None,
    now: float,
    *,
    runs: bool = True,
    agent: str = "",
    free_bytes: int | None = None,
    flags: str = "",
    option: str = "",
) -> list[Finding]:
    """Say what is wrong, the worst first.

    Args:
        status: The node's status; None, or one of state `unreachable`, where it does not answer.
        events: The documents in the supervisors' log, oldest first.
        report: What the Watchdog wrote last, `run/watchdog.json`; None where there is none.
        now: Seconds since the epoch.
        runs: Whether any process of the node lives.
        agent: The only child that is asked about, beside the node as a whole; empty for all.
        free_bytes: Free space under the home; None where it cannot be told.
        flags: Why the file with feature flags does not count; empty where it does.
        option: What every advised command needs besides, such as ` --home /srv/ark`.
    """
    case = _Case(status, entries(events), report, now, option)
    found = [*case.node(runs), *case.disk(free_bytes), *case.flags(flags), *case.clock()]
    if runs:
        children = list(case.children())
        found += [*children, *case.letters(), *case.webhook(), *case.alerts(children)]
    if agent:
        found = [each for each in found if each.subject in (agent, NODE)]
        if not any(each.subject == agent for each in found):
            found += case.quiet(agent)
    return sorted(found, key=lambda each: _ORDER.index(each.severity))


def is_wrong(findings: Sequence[Finding]) -> bool:
    """Whether anything is wrong, or all of it is merely worth knowing."""
    return any(each.severity != "note" for each in findings)


def lines(findings: Sequence[Finding], now: float) -> list[str]:
    """The findings for a person at a terminal.

    Args:
        findings: The worst first.
        now: Seconds since the epoch.
    """
    wrong = sum(each.severity != "note" for each in findings)
    head = (
        "Nothing is wrong." if not wrong else "One thing is wrong." if wrong == 1 else f"{wrong} things are wrong."
    )
    told = [head]
    for each in findings:
        since = f" (for {span(now - each.since)}, since {when(each.since, now)})" if each.since else ""
        told += ["", f"{each.severity.upper()}: {each.what}{since}"]
        if each.why:
            told.append(f"  why     {each.why}")
        for number_, moment in enumerate(each.history):
            told.append(f"  {'' if number_ else 'before':<6}  {when(moment.at, now) or '?'}  {moment.what}")
        width = min(48, max((len(step.command) for step in each.advice), default=0))
        for number_, step in enumerate(each.advice):
            words = f"{step.command:<{width}}  # {step.what}" if step.command else step.what
            told.append(f"  {'' if number_ else 'do':<6}  {words}")
    return told


class _Case:
    """Everything that is known, in a form that can be trusted."""

    def __init__(self, status: Any, log: list[Entry], report: Any, now: float, option: str) -> None:
        self.now = now
        self.log = log
        self.option = option
        self.status: Mapping[str, Any] | None = status if isinstance(status, Mapping) else None
        self.known = _maps(self.status.get("children")) if self.status else []
        self.report: Mapping[str, Any] = report if isinstance(report, Mapping) else {}
        at = number(self.report.get("at"))
        self.report_age_s = None if at is None else now - at
        is_fresh = self.report_age_s is not None and self.report_age_s < REPORT_OLD_S
        self.active = _maps(self.report.get("alerts")) if is_fresh else []

    def step(self, command: str, what: str) -> Step:
        return Step(f"{command}{self.option}", what)

    def last(self, *kinds: str, name: str = "") -> Entry | None:
        """The newest entry of these kinds, about one child or about anybody."""
        return next((each for each in reversed(self.log) if each.kind in kinds and name in ("", each.name)), None)

    def before(self, name: str) -> tuple[Moment, ...]:
        """The time line of a child, or of the node."""
        own = [
            each
            for each in self.log
            if (each.kind in _ABOUT_NODE if name == NODE else each.name == name)
            and (each.kind != "alert" or each.state != "repeated")
        ]
        return tuple(Moment(at, words) for at, words in story(own))

    def alert(self, name: str) -> Mapping[str, Any] | None:
        """The active alert about a child that tells most: what was measured, not what was done."""
        own = [each for each in self.active if plain(each.get("name")) == name]
        return next((each for each in own if plain(each.get("fault")) not in ("isolated", "halted")), None)

    # The node

    def node(self, runs: bool) -> Iterable[Finding]:
        if not runs:
            yield self._down()
        elif self.status is None or self.status.get("state") in _SILENT:
            yield self._unreachable()
        if self.status is not None and self.status.get("halted"):
            yield self._halted(runs)
        if runs and self.report_age_s is not None and self.report_age_s >= REPORT_OLD_S:
            yield Finding(
                "warning",
                "watchdog",
                f"The Watchdog has written no report for {span(self.report_age_s)}.",
                "It is down or stuck, or the disk takes nothing; its supervisor replaces it if it is stuck.",
                advice=(self.step("supervisor status", "does it run?"),),
            )

    def _down(self) -> Finding:
        end = self.last("node_started", "node_stopped", "node_failed")
        start = self.step("ark-run start", "start it; what was accepted and not finished goes on")
        if end is None and not self.log:
            return Finding("warning", NODE, "No node runs here, and none ever has.", advice=(start,))
        why = "Its log does not say how it ended."
        steps = [start]
        if end is not None and end.kind == "node_stopped":
            why = f"It was stopped in order{_by(end)}."
        elif end is not None and end.kind == "node_failed":
            why = f"It ended by itself: {end.reason}"
            steps.insert(0, Step("", "mend what it names first"))
        elif end is not None:
            why = "It was killed, or the machine went down: its log has no word of an end."
            steps.insert(
                0, Step("journalctl -k --since -1h", "was it killed for want of memory? did the machine boot?")
            )
        since = end.at if end and end.kind != "node_started" else self.log[-1].at if self.log else None
        return Finding("critical", NODE, "No node runs.", why, since or None, self.before(NODE), tuple(steps))

    def _unreachable(self) -> Finding:
        gateway = self.last("exited", "hung", "storage", "isolate", "stop", name="gateway")
        gone = [each for each in self.log if each.kind == "rebuilt" and self.now - each.at < RECENT_S]
        why = "It may be busy, stuck, or just starting."
        if gone:
            why = f"The whole tree went down {len(gone)} times lately, the last time for: {gone[-1].reason}"
        elif gateway is not None and self.now - gateway.at < RECENT_S:
            why = f"The last that is known of its gateway: {story([gateway])[0][1]}"
        return Finding(
            "critical",
            NODE,
            "The node runs, but its front door does not answer.",
            why,
            None,
            self.before("gateway") or self.before(NODE),
            (
                self.step("supervisor status", "wait half a minute, and ask again"),
                self.step("ark-run stop", "if it stays so: stop it,"),
                self.step("ark-run start", "and start it; nothing that was accepted is lost"),
            ),
        )

    def _halted(self, runs: bool) -> Finding:
        assert self.status is not None
        reason = plain(self.status.get("halt_reason")) or "no reason was given"
        halt = self.last("halt")
        if halt is not None and halt.reason and halt.reason not in reason and reason not in halt.reason:
            halt = None  # another one; the log has lost the line of this
        by = halt.by if halt else ""
        if by in ("watchdog", "guardian"):
            who = f"The {by} halted it"
        else:
            who = f"{by} halted it" if by else "It was halted"
        steps: list[Step]
        if "seal of the rule book" in reason or reason.startswith("immutable_graveyard"):
            steps = [
                self.step("ark-run seal verify", "what differs? find out who did it, and put the rules back"),
                self.step("ark-run stop", "then start the node anew, so that every process loads the right rules"),
            ]
        elif reason.startswith("max_daily_loss"):
            steps = [
                self.step("ark-run rules", "look at the positions first; plans are denied until tomorrow (UTC)")
            ]
        elif reason.startswith("storage:") or "disk" in reason:
            steps = [Step("df -h", "make room, or mend what the reason names")]
        elif by == "watchdog":
            told = next((each for each in self.active if plain(each.get("answer")) == "halt"), None)
            steps = [
                self.step("supervisor events --last 50", "what the Watchdog saw"),
                *([Step("", _useful(plain(told.get("advice")), *_SAID_HERE))] if told else []),
            ]
        elif by:
            steps = [Step("", f"ask {by} whether the reason is gone")]
        else:
            steps = [self.step("supervisor events --last 50", "who halted, and what came before?")]
        steps.append(self.step('ark-run resume --reason "WHY IT IS SAFE"', "only then"))
        return Finding(
            "emergency" if runs else "warning",
            NODE,
            "Trading is halted: whatever would trade is denied."
            if runs
            else "Trading is halted; a start leaves it so.",
            f"{who}: {reason}",
            halt.at or None if halt else None,
            self.before(NODE),
            tuple(step for step in steps if step.command or step.what),
        )

    # Its children

    def children(self) -> Iterable[Finding]:
        taken_along: dict[str, list[str]] = {}
        for child in self.known:
            name, state = plain(child.get("name")), plain(child.get("state"))
            if not name:
                continue
            reason = plain(child.get("reason"))
            with_whom = re.match(r"stopped with (\w+)", reason)
            if with_whom and state in ("starting", "stopped") and not self._ends(name):
                taken_along.setdefault(with_whom[1], []).append(name)
            elif state == "isolated":
                yield self._isolated(name, child)
            elif reason.startswith("storage:"):
                yield self._waits_for_disk(name, reason)
            elif state in ("stopped", "failed"):
                yield self._stopped(name, state, reason)
            elif state != "running" or len(self._ends(name)) >= LOOP:
                yield self._restless(name, state, child)
            elif self._ends(name) or self._hangs(name):
                yield self._recovered(name)
        for name, others in taken_along.items():
            verb = "starts" if len(others) == 1 else "start"
            yield Finding(
                "warning",
                name,
                f"{', '.join(others)} went down with {name}, and {verb} after it.",
                advice=(self.step("supervisor status --watch", "wait half a minute; do they come up?"),),
            )

    def _isolated(self, name: str, child: Mapping[str, Any]) -> Finding:
        act = self.last("isolate", name=name)
        reason = plain(child.get("reason")) or (act.reason if act else "no reason was given")
        told = self._told_of(name, act)
        by_watchdog = (act is not None and act.by == "watchdog") or (
            act is not None and not act.by and told is not None
        )
        who = "The Watchdog" if by_watchdog else act.by if act and act.by else "A person"
        why = f"{who} isolated it: {reason}"
        if told is not None and told.reason and told.reason not in reason:
            why += f" (measured: {told.reason})"
        ends = [each for each in self._ends(name) if act is None or each.at <= act.at]
        if by_watchdog and ends:
            why += f". Before that it ended {_times(len(ends))}, at last: {ends[-1].reason}"
        depth = number(child.get("mailbox_depth"))
        signals = f" {depth:.0f} signals wait before it;" if depth else " Its signals wait before it;"
        steps = []
        if by_watchdog:
            steps += [*self._signal_steps(name), Step("", _useful(told.advice if told else "", *_SAID_HERE))]
        elif act is not None and act.by:
            steps.append(Step("", f"ask {act.by} whether the reason is gone"))
        steps.append(
            self.step(
                f'supervisor release {shlex.quote(name)} --reason "WHAT WAS MENDED"', "then its signals flow again"
            )
        )
        return Finding(
            "critical",
            name,
            f"{name} is isolated and does not run.{signals} none is lost.",
            why,
            act.at or None if act else None,
            self.before(name),
            tuple(step for step in steps if step.command or step.what),
        )

    def _told_of(self, name: str, act: Entry | None) -> Entry | None:
        """The alert for which the Watchdog isolated a child, if it did."""
        for each in reversed(self.log):
            if each.kind == "alert" and each.name == name and each.state != "cleared" and each.fault != "isolated":
                return each if act is None or abs(each.at - act.at) < 10.0 else None
        return None

    def _waits_for_disk(self, name: str, reason: str) -> Finding:
        entry = self.last("storage", name=name)
        return Finding(
            "critical",
            name,
            f"{name} cannot use its files, and waits until it can.",
            reason,
            entry.at or None if entry else None,
            self.before(name),
            (Step("df -h", "is there room? is the disk read-only?"), Step("", "it goes on by itself once it can")),
        )

    def _stopped(self, name: str, state: str, reason: str) -> Finding:
        act = self.last("stop", "start", "restart", "exited", name=name)
        if state == "stopped" and act is not None and act.kind == "stop":
            why = f"{act.by or 'A person'} stopped it: {act.reason or reason}"
            steps = [self.step(f"supervisor start {shlex.quote(name)}", "start it again")]
        else:
            why = reason or "It ended, and is not started again by itself."
            steps = [
                *self._signal_steps(name),
                self.step(f'supervisor restart {shlex.quote(name)} --reason "WHAT WAS MENDED"', "start it again"),
            ]
        return Finding(
            "critical",
            name,
            f"{name} is {state} and does not run.",
            why,
            act.at or None if act else None,
            self.before(name),
            tuple(steps),
        )

    def _restless(self, name: str, state: str, child: Mapping[str, Any]) -> Finding:
        """It dies again and again, or does not come up."""
        ends = self._ends(name)
        hangs = self._hangs(name)
        reason = plain(child.get("reason")) or (ends[-1].reason if ends else "")
        boot = reason.startswith("boot:") or bool(ends and ends[-1].reason.startswith("boot:"))
        culprit = _most_common([each.trace_id for each in ends if each.trace_id])
        running = state == "running"
        what = f"{name} runs, but ended {len(ends)} times within {span(RECENT_S)}."
        if not running and len(ends) > 1:
            times = f"{len(ends)} times within {span(RECENT_S)}"
            what = f"{name} ends again and again, {times}; now it is {state or 'down'}."
        elif not running and hangs and not ends:
            what = f"{name} {_replaced(hangs[-1])}; now it is {state}."
        elif not running:
            what = f"{name} does not run; it is {state or 'in an unknown state'}."
        if not ends and not reason:
            why = "It is just starting, or waits for those before it; the tree starts them one after the other."
        elif boot:
            why = f"It cannot start: {reason.removeprefix('boot:').strip()}"
        elif culprit:
            same = sum(each.trace_id == culprit for each in ends)
            last = next(each for each in reversed(ends) if each.trace_id == culprit)
            how = last.reason.replace(f" of {culprit}", "")
            why = f"{same} of these times it was at work on the signal {culprit}: {how}"
        else:
            why = f"The last time: {ends[-1].reason if ends else reason}"
        steps = self._signal_steps(name)
        if boot:
            steps.append(Step("", "mend its settings or its code; it is tried again by itself"))
        elif ends and not culprit:
            steps.append(self.step("supervisor events --last 50", "each line `exited` has what it died of"))
        if ends and not running:
            steps.append(
                self.step(
                    f'supervisor isolate {shlex.quote(name)} --reason "WHILE I MEND IT"',
                    "its signals wait meanwhile",
                )
            )
        if not steps:
            steps.append(self.step("supervisor status --watch", "wait half a minute; does it come up?"))
        severity: Severity = "critical" if ends and not running else "warning"
        return Finding(
            severity, name, what, why, ends[0].at or None if ends else None, self.before(name), tuple(steps)
        )

    def _recovered(self, name: str) -> Finding:
        hangs, ends = self._hangs(name), self._ends(name)
        last = max([*hangs, *ends], key=lambda each: each.at)
        done = _replaced(last) if last in hangs else "ended and was replaced"
        count = len(hangs) + len(ends)
        times = "" if count == 1 else f", {count} times within {span(RECENT_S)}"
        return Finding(
            "warning" if len(hangs) >= LOOP else "note",
            name,
            f"{name} {done}{times}; it runs again, and nothing is lost.",
            last.reason,
            last.at or None,
            self.before(name),
            tuple(self._signal_steps(name)),
        )

    def _signal_steps(self, name: str) -> list[Step]:
        """How to look at the signal that a child died of or hung in."""
        incidents = [*self._ends(name), *self._hangs(name)]
        found = [each.trace_id or _named_in(each.reason) for each in incidents]
        culprit = _most_common([each for each in found if each])
        if not culprit:
            return []
        several = len({each for each in found if each})
        if several >= LOOP:
            return [
                Step("", f"{several} different signals did this: look at the agent, its settings and its data"),
                self.step(f"ark-run trace {culprit}", "one of them, and what became of it"),
            ]
        steps = [self.step(f"ark-run trace {culprit}", "the signal that it was at work on, and what became of it")]
        if found.count(culprit) >= LOOP:
            steps.append(self.step("ark-run dead-letters list", "after three deaths it is no longer sent"))
        return steps

    def _ends(self, name: str) -> list[Entry]:
        """The ends of its processes lately; where a hang was the cause, the hang stands for it."""
        found: list[Entry] = []
        killed_at: float | None = None
        for each in self.log:
            if each.name != name:
                continue
            if each.kind in ("hung", "replaced"):
                killed_at = each.at
            if each.kind == "exited":
                is_kill = killed_at is not None and each.at - killed_at < 10.0
                killed_at = None
                if not is_kill and self.now - each.at < RECENT_S:
                    found.append(each)
            if each.kind in ("release", "restart", "start"):
                found.clear()  # what a person has mended is over
        return found

    def _hangs(self, name: str) -> list[Entry]:
        return [
            e for e in self.log if e.kind in ("hung", "replaced") and e.name == name and self.now - e.at < RECENT_S
        ]

    # What is around it

    def disk(self, free: int | None) -> Iterable[Finding]:
        if free is None or free >= DISK_LOW:
            return
        yield Finding(
            "critical" if free < DISK_FULL else "warning",
            NODE,
            f"The disk under the home is nearly full: {free >> 20} MiB are free.",
            "Where nothing can be written, nothing is accepted and nothing is sent on; what was accepted is safe.",
            advice=(
                Step("df -h", "which disk?"),
                Step("", "make room; never delete a file `-wal`. The node goes on by itself"),
            ),
        )

    def flags(self, fault: str) -> Iterable[Finding]:
        if fault:
            yield Finding(
                "warning",
                NODE,
                "The file with feature flags does not count.",
                f"{plain(fault)}. The flags that were in force before stay so; where there were none, agents go by"
                " their defaults.",
                advice=(
                    self.step("ark-run flag verify", "what is wrong with it"),
                    self.step("ark-run flag list", "what is in force"),
                ),
            )

    def letters(self) -> Iterable[Finding]:
        signals = self.status.get("signals") if self.status else None
        counts = signals if isinstance(signals, Mapping) else {}
        dead, held = number(counts.get("dead_letters")), number(counts.get("held"))
        if dead and dead > 0:
            told = next((each for each in reversed(self.log) if each.kind == "exited" and each.trace_id), None)
            yield Finding(
                "warning",
                NODE,
                f"{dead:.0f} {'signal' if dead == 1 else 'signals'} ended an agent again and again, and"
                f" {'was' if dead == 1 else 'were'} given up on (dead letters).",
                f"The last signal that ended an agent: {told.name}: {told.reason}" if told else "",
                advice=(
                    self.step("ark-run dead-letters list", "which, and why"),
                    self.step(
                        'ark-run dead-letters retry TRACE_ID --reason "WHAT WAS MENDED"', "send one anew, or"
                    ),
                    self.step('ark-run dead-letters drop TRACE_ID --reason "WHY"', "take it off the list"),
                ),
            )
        if held and held > 0:
            yield Finding(
                "note",
                NODE,
                f"{held:.0f} {'decision waits' if held == 1 else 'decisions wait'} for a person.",
                advice=(self.step("ark-run held", "what is asked, and until when"),),
            )

    def webhook(self) -> Iterable[Finding]:
        """By the Watchdog's report, or by the log where the report does not say."""
        state = self.report.get("webhook")
        word = self.last("webhook_failing", "webhook_works", "started", name="watchdog")
        since: float | None
        if isinstance(state, Mapping):
            since, error = number(state.get("failing_since"), 1.0), plain(state.get("last_error"))
        elif word is not None and word.kind == "webhook_failing":
            since, error = word.at, word.reason
        else:
            since = None
        lost = self.last("webhook_gave_up", "webhook_dropped", "webhook_unkept")
        if lost is not None and self.now - lost.at < RECENT_S:
            yield Finding(
                "warning", NODE, "Alerts for the webhook were lost, or may be.", lost.reason, lost.at or None
            )
        if since is None:
            return
        waiting = number(state.get("waiting")) if isinstance(state, Mapping) else None
        yield Finding(
            "warning",
            NODE,
            "Alerts do not reach the webhook." + (f" {waiting:.0f} wait." if waiting else " They wait."),
            error,
            since or None,
            advice=(
                Step("", "look at the receiver, at watchdog.webhook and at its token"),
                Step("", "it is tried again by itself; what waits lies in data/alerts/ of the home"),
            ),
        )

    def clock(self) -> Iterable[Finding]:
        ahead = max((each.at for each in self.log), default=0.0) - self.now
        if ahead > FUTURE_S:
            yield Finding(
                "warning",
                NODE,
                f"The clock was set back: the log has lines from {span(ahead)} ahead.",
                "Ages of signals, deadlines of approvals and the day of the daily loss go by the clock.",
                advice=(Step("timedatectl", "is the clock right, and is it kept so?"),),
            )

    def alerts(self, told: Sequence[Finding]) -> Iterable[Finding]:
        """What the Watchdog tells of and nothing else has told.

        Args:
            told: What was found about children.
        """
        worst = {each.subject: each.severity for each in told}
        halted = plain(self.status.get("halt_reason")) if self.status and self.status.get("halted") else ""
        for each in self.active:
            fault, name = plain(each.get("fault")), plain(each.get("name")) or NODE
            known = _OF_LIFE if worst.get(name, "note") != "note" else _OVER_SOON if name in worst else frozenset()
            if fault in known or fault in _SAID_ELSEWHERE:
                continue
            reason = plain(each.get("reason"))
            if (reason and reason in halted) or (fault == "storage" and self._is_mended(name)):
                continue
            advice = _useful(plain(each.get("advice")), "supervisor doctor")
            severity, answer = plain(each.get("severity")), plain(each.get("answer")) or "warn"
            what = f"{name}: {reason}" if name != NODE else reason
            yield Finding(
                next((known for known in _ORDER if known == severity), "warning"),
                name,
                what or f"The Watchdog tells of {fault}.",
                f"The Watchdog calls this {fault or 'a fault'}; its answer is: {answer}.",
                number(each.get("since"), 1.0),
                self.before(name) if name != NODE else (),
                (*self._signal_steps(name), *([Step("", advice)] if advice else ())),
            )

    def _is_mended(self, name: str) -> bool:
        """Whether a child that waited for the disk does so no more; its alert stands for a moment longer."""
        last = self.last("storage", "storage_mended", name=name)
        return last is not None and last.kind == "storage_mended"

    def quiet(self, name: str) -> Iterable[Finding]:
        """A child of whom nothing is wrong, or of whom nothing is known while nothing runs."""
        child = next((each for each in self.known if plain(each.get("name")) == name), None)
        if child is None:
            if self.before(name):
                yield Finding("note", name, f"{name} does not run.", history=self.before(name))
            return
        up = number(child.get("uptime_s"), 0.0)
        yield Finding(
            "note",
            name,
            f"{name} is {plain(child.get('state'))}" + (f", for {span(up)}." if up is not None else "."),
            history=self.before(name),
        )


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list | tuple) else []


def _by(entry: Entry) -> str:
    return f" by {entry.by}" if entry.by else ""


def _replaced(entry: Entry) -> str:
    """What the Watchdog did to a child: not everybody whom it replaces hung."""
    return "hung and was replaced" if entry.kind == "hung" else "was replaced by the Watchdog"


def _most_common(values: Sequence[str]) -> str:
    """The value that stands there most often, of several the last; empty for none."""
    return max(reversed(values), key=values.count, default="")


def _named_in(reason: str) -> str:
    """The trace id that a reason names; empty for none."""
    found = re.search(r"busy with ([0-9a-fA-F][0-9a-fA-F-]{7,63})(?![\w-])", reason)
    return found[1] if found else ""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _useful(advice: str, *said: str) -> str:
    """An alert's advice without the parts that speak of what is said here anyway."""
    return "; ".join(part for part in advice.split("; ") if not any(each in part for each in said))
