"""What an agent's arms have in hand: the asking side of a rollout, a state machine without I/O.

The process of an agent (the role) gives a case to its arms, canary and baseline. One of them may be asked in
earnest (the signal is *live* there): its answer is adopted, committed and sent on by the role. The others are only
shown the signal. Whatever an arm does, no signal hangs on it: an answer that is late, unreadable or missing leaves
the signal to the role. So an arm can neither lose a signal nor double it, nor overtake another of the same symbol:

- A signal goes where the earlier ones of its symbol are that have not come back yet.
- One that arms have nothing to decide about waits behind those.
- What is taken back from an arm is taken back whole, in order, and the arm gets nothing live for a while.
- A new epoch forgets everything: the gateway sends all of it again.
- What was sent before is the role's: whatever an arm makes of a signal, it does so once.

Both arms' answers to the same signal are a pair; what they make of it is counted on a page (`ark.trial_page`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Sequence
from typing import Any, Protocol

import msgspec

from ark.agent import Agent, Hold
from ark.changes import Change
from ark.differences import Change as Difference
from ark.differences import changes, is_declared, short
from ark.message import TRIAL, Envelope, Proposed, Trial
from ark.routing import ARMS, BASELINE, CANARY, OWN, Route, Table, arm_name, key_of

__all__ = ["Given", "Record", "Returned", "TakenBack", "Trials"]

MOST_SHOWN = 128
"""So many signals are with the arms at once; above it they are shown no more."""
MOST_LIVE = 256
"""So many signals are an arm's own at once; above it the role decides the next ones itself."""
LONGEST_VERSION = 64
"""Characters of an arm's version; the journals keep it with each of its answers."""
MOST_TOLD = 4
"""So many undeclared differences of one decision are told."""
SICK_S = 1.0
"""An arm that left a signal is given no other of its own for so long, in seconds."""


class Record(Protocol):
    """Where the evidence goes; see `ark.trial_page.TrialPage`."""

    @property
    def is_first(self) -> bool: ...
    def begin(self, generation: int, rollout: str) -> None: ...
    def count(self, figure: str, amount: int = 1) -> None: ...
    def tell(self, difference: msgspec.Struct, *, spare: bool) -> None: ...


class Given(msgspec.Struct):
    """A signal that arms were given.

    Attributes:
        number: Of the trial.
        envelope: The signal.
        received_ns: When the role took it, nanoseconds since the epoch.
        at: When it was given, seconds since the epoch.
        live: The arm whose own it is, or `OWN`.
        route: The route of that moment.
        asked: Who was given it.
        answers: Who has answered, or failed to, and what.
        own: What the role itself would have proposed, from the permanent release; None where that is not known.
        replayed: Whether it is a recorded signal, shown once more.
        behind: Signals of its symbol that are the role's own, and have to wait for this one.
    """

    number: int
    envelope: Envelope
    received_ns: int
    at: float
    live: str
    route: Route
    asked: tuple[str, ...]
    answers: dict[str, Proposed] = {}
    own: Any = None
    replayed: bool = False
    behind: list[Envelope] = []


class TakenBack(msgspec.Struct, frozen=True):
    """A signal that is the role's to decide after all.

    Attributes:
        envelope: The signal.
        is_case: Whether an arm had it; otherwise it waited behind one that an arm had, and no arm could decide it.
    """

    envelope: Envelope
    is_case: bool


class Returned(msgspec.Struct, frozen=True):
    """A signal that its arm has decided.

    Attributes:
        given: The signal.
        arm: Who decided it.
        version: The arm's own version.
        answer: What it proposes: a message, or a `Hold`.
        release: What the arm runs from, by the routing table, which it cannot talk out of it; its version where
            it runs from no release.
        changes: As in `Proposed`.
    """

    given: Given
    arm: str
    version: str
    answer: Any
    release: str = ""
    changes: tuple[Change, ...] = ()


class _Difference(msgspec.Struct, frozen=True):
    """See `deployment.samples.Difference`, which is what it is read as."""

    role: str
    trace_id: str
    symbol: str
    path: str
    canary: str
    baseline: str
    declared: bool
    at: float
    generation: int
    kind: str


class Trials:
    """The signals that a role's arms have in hand.

    Args:
        role: The agent's name in the pipeline.
        agent: The agent.
        record: Where the evidence goes; None for nowhere.
        release: What the role's own process runs from.

    Attributes:
        table: The routing table in force.
        active: Whether any arm is to be asked.
        own_track: How the role's own decision of this moment is marked in its span.
    """

    def __init__(self, role: str, agent: Agent[Any], record: Record | None = None, release: str = "") -> None:
        self.table: Table | None = None
        self.active = False  # looked at with each signal: both are kept, and not worked out
        self.own_track = ""
        self._role = role
        self._release = release
        self._agent = agent
        self._record = record
        self._route: Route | None = None
        self._number = 0
        self._given: dict[int, Given] = {}  # whose answers are not all in
        self._live: dict[str, dict[int, Given]] = {arm: {} for arm in ARMS}
        self._symbols: dict[str, Counter[str]] = {arm: Counter() for arm in ARMS}  # of what is live there
        self._sick_until: dict[str, float] = dict.fromkeys(ARMS, -math.inf)
        self._up: frozenset[str] = frozenset()
        self._proposals = msgspec.msgpack.Decoder(agent.proposes or agent.takes)
        self._holds = msgspec.msgpack.Decoder(Hold)

    @property
    def record(self) -> Record | None:
        """Where the evidence goes; None for nowhere."""
        return self._record

    @record.setter
    def record(self, record: Record) -> None:
        self._record = record
        if self.table is not None and self._route is not None:
            record.begin(self.table.generation, self.table.rollout)

    @property
    def waiting(self) -> int:
        """How many signals are an arm's own now."""
        return sum(map(len, self._live.values()))

    @property
    def replay_per_s(self) -> float:
        """How many recorded signals a second are to be shown once more; 0 while an arm is missing.

        Also 0 where a process of the role before this one had its part in the rollout, as before a promotion: what
        that one showed, live or once more, would be evidence twice.
        """
        if self._route is None or not self._up.issuperset(ARMS) or self._record is None:
            return 0.0
        return self._route.replay_per_s if self._record.is_first else 0.0

    @property
    def room(self) -> int:
        """How many signals can be shown to the arms now."""
        return max(0, MOST_SHOWN // 2 - len(self._given))

    def track(self, arm: str) -> str:
        """How a decision of an arm, or of the role itself, is marked in its span.

        Once the role itself runs the release that is judged, its decisions are the canary's.
        """
        if self.table is None or self._route is None:
            return ""
        return f"{arm or (CANARY if self._is_judged else 'stable')}:{self.table.generation}"

    @property
    def _is_judged(self) -> bool:
        """Whether the role's own process runs the release that is judged, not the one it is held against."""
        provisional = None if self.table is None else self.table.provisional.get(self._role)
        return provisional is not None and provisional.release == self._release

    # The world changes.

    def turn(
        self, table: Table | None, up: frozenset[str], now: float, came: Container[tuple[int, str]] = ()
    ) -> list[TakenBack]:
        """Go by a table, with these arms running; give what is taken back from arms that have no say any more.

        Args:
            table: The table; None for none.
            up: The arms that run.
            now: Seconds since the epoch.
            came: Answers that are here and were not heard yet: the numbers of their trials, and their arms.
        """
        self.table = table
        route = None if table is None else table.route(self._role, now)
        if table is not None and route is not None and self._record is not None:
            self._record.begin(table.generation, table.rollout)
        gone = self._up - up
        self._route, self._up = route, up
        self.active, self.own_track = route is not None and bool(up), self.track(OWN)
        if route is None:  # what the arms still have in hand says nothing to anybody any more
            taken = self._take_back(ARMS)
            self.forget()
            return taken
        for given in list(self._given.values()) if gone else ():
            for arm in self._unanswered(given, came):
                if arm in gone:
                    self._note(given, arm, Proposed(given.number, arm, 0, error="its process is gone"))
        shares = {CANARY: route.canary, BASELINE: route.baseline}
        return self._take_back([arm for arm in ARMS if arm not in up or not shares[arm]])

    def overdue(self, now: float, came: Container[tuple[int, str]] = ()) -> list[TakenBack]:
        """Give up on answers that are late; give what is taken back.

        Args:
            now: Seconds since the epoch.
            came: As for `turn`: whoever has answered is not late because nobody heard it.
        """
        late: list[str] = []
        for given in list(self._given.values()):
            if now - given.at <= given.route.patience_s:
                break
            for arm in self._unanswered(given, came):
                self._note(given, arm, Proposed(given.number, arm, 0, error="no answer in time"))
                self._sick_until[arm] = now + SICK_S
                late.append(arm)
        return self._take_back(late)

    def forget(self) -> None:
        """A new epoch: whatever is with the arms will be sent again."""
        self._given.clear()
        for arm in ARMS:
            self._live[arm].clear()
            self._symbols[arm].clear()

    # A signal comes.

    def arm_for(self, envelope: Envelope, message: Any, now: float) -> str:
        """Who decides a signal: an arm, or `OWN`."""
        table, route = self.table, self._route
        if table is None or route is None or envelope.ruling is not None:
            return OWN
        for arm in ARMS:
            if envelope.symbol in self._symbols[arm]:
                return arm
        if envelope.attempt > 1:
            return OWN
        signal = getattr(message, "signal", message)  # the first agent takes the signal itself
        arm = table.arm(self._role, envelope.symbol, key_of(table.by, envelope.symbol, signal), now)
        if arm not in self._up or now < self._sick_until[arm]:
            return OWN
        return arm if len(self._live[arm]) < MOST_LIVE else OWN

    def wait_behind(self, envelope: Envelope) -> bool:
        """Have a signal that arms need not see wait for the last one of its symbol that an arm has; say if one has.

        It comes back with that one: in `Returned.given`, or with what is taken back.
        """
        for arm in ARMS:
            if envelope.symbol in self._symbols[arm]:
                own = reversed(self._live[arm].values())
                next(given for given in own if given.envelope.symbol == envelope.symbol).behind.append(envelope)
                return True
        return False

    def give(
        self, envelope: Envelope, case: msgspec.Raw, received_ns: int, live: str, now: float, *, own: Any = None
    ) -> list[tuple[str, Envelope]]:
        """Give a signal to the arms, and in earnest to the one whose own it is; give what is to be sent to them."""
        route = self._route
        if route is None:
            return []
        shown = route.copies and len(self._given) < MOST_SHOWN
        asked = tuple(arm for arm in ARMS if arm in self._up and (shown or arm == live))
        if not shown and self._up:
            self._count("not_shown")
        if not asked:
            return []
        self._number += 1
        # The release that is judged says nothing about how often the old one differs from itself.
        noise = None if self._is_judged else own
        given = Given(self._number, envelope, received_ns, now, live, route, asked, {}, noise)
        self._given[given.number] = given
        if live:
            self._count(f"{live}_trials")
            self._live[live][given.number] = given
            self._symbols[live][envelope.symbol] += 1
        return [
            (arm_name(self._role, arm), _trial(envelope, Trial(given.number, case, arm == live))) for arm in asked
        ]

    def show_again(self, envelope: Envelope, case: msgspec.Raw, now: float) -> list[tuple[str, Envelope]]:
        """Show a recorded signal to both arms, without effect; give what is to be sent."""
        if self._route is None or not self._up.issuperset(ARMS) or len(self._given) >= MOST_SHOWN:
            return []
        self._number += 1
        given = Given(self._number, envelope, 0, now, OWN, self._route, ARMS, replayed=True)
        self._given[given.number] = given
        return [(arm_name(self._role, arm), _trial(envelope, Trial(given.number, case))) for arm in ARMS]

    # A proposal comes.

    def take(self, proposed: Proposed, now: float) -> tuple[Returned | None, list[TakenBack]]:
        """Hear an arm.

        Returns:
            The signal, where it is that arm's own and what it says is an answer; and what is taken back from the
            arm where it is none.
        """
        arm = proposed.arm
        given = self._given.get(proposed.number)
        if given is None or arm not in given.asked or arm in given.answers:
            return None, []
        answer, proposed = self._read(proposed)
        self._note(given, arm, proposed)
        if proposed.number not in self._live[arm]:
            return None, []
        if proposed.error or not self._is_next(given, arm):
            self._sick_until[arm] = now + SICK_S
            return None, self._take_back([arm])
        self._leave(given)
        if proposed.held:  # its outcome will be the role's: no arm is asked again once a person has ruled
            self._count(f"{arm}_held")
        version = proposed.version[:LONGEST_VERSION]
        return Returned(given, arm, version, answer, self._release_of(arm) or version, proposed.changes), []

    def refuse(self, returned: Returned, reason: str, now: float) -> None:
        """An arm proposed what may not be done."""
        self._count("unapproved")
        given = returned.given
        self._tell(given, returned.arm, ("unapproved", reason, ""), declared=False, kind="unapproved")
        self._sick_until[returned.arm] = now + SICK_S

    def take_back(self, arm: str) -> list[TakenBack]:
        """Everything that is an arm's own and has not come back, in order of acceptance."""
        return self._take_back([arm])

    # What is behind it.

    @staticmethod
    def _unanswered(given: Given, came: Container[tuple[int, str]]) -> list[str]:
        return [arm for arm in given.asked if arm not in given.answers and (given.number, arm) not in came]

    def _release_of(self, arm: str) -> str:
        spec = None if self.table is None else self.table.arms.get(arm_name(self._role, arm))
        return "" if spec is None else spec.equipment.release

    def _read(self, proposed: Proposed) -> tuple[Any, Proposed]:
        if proposed.error:
            return None, proposed
        try:
            return (self._holds if proposed.held else self._proposals).decode(proposed.answer), proposed
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return None, msgspec.structs.replace(proposed, error=f"its answer cannot be read: {error}")

    def _note(self, given: Given, arm: str, proposed: Proposed) -> None:
        given.answers[arm] = proposed
        if arm == given.live:
            if proposed.error:
                self._count(f"{arm}_broken")
            elif proposed.took_ns > given.route.slow_s * 1e9:
                self._count(f"{arm}_slow")
        if len(given.answers) == len(given.asked):
            self._given.pop(given.number, None)
            self._compare(given)

    def _compare(self, given: Given) -> None:
        canary, baseline = given.answers.get(CANARY), given.answers.get(BASELINE)
        if canary is not None and baseline is not None:
            self._pair(given, "replayed" if given.replayed else "pairs", canary, baseline)
        if baseline is not None and given.own is not None and not baseline.error and not baseline.held:
            self._against_own(given, baseline)

    def _pair(self, given: Given, kind: str, one: Proposed, other: Proposed) -> None:
        count = self._count
        count(f"{kind}_compared")
        slow_ns = given.route.slow_s * 1e9
        for figure, first, second in (
            ("broken", bool(one.error), bool(other.error)),
            ("slow", one.took_ns > slow_ns, other.took_ns > slow_ns),
        ):
            if first != second:
                count(f"{kind}_{figure}_{'first' if first else 'second'}")
        if one.error or other.error:
            if one.error and not other.error:
                self._tell(given, CANARY, ("answer", one.error, ""), declared=False, kind="broken")
            return
        if one.answer == other.answer and one.held == other.held:
            return
        left, right = self._read(one)[0], self._read(other)[0]
        refused = [not each.held and self._refuses(said) for each, said in ((one, left), (other, right))]
        if refused[0] != refused[1]:
            count(f"{kind}_denied_{'first' if refused[0] else 'second'}")
        self._differ(given, kind, right, left)

    def _refuses(self, said: Any) -> bool:
        try:
            return self._agent.refuses(said)
        except Exception:  # noqa: BLE001 - what an arm says ends nobody
            return False

    def _against_own(self, given: Given, baseline: Proposed) -> None:
        self._count("noise_compared")
        self._differ(given, "noise", given.own, self._read(baseline)[0])

    def _differ(self, given: Given, kind: str, before: Any, after: Any) -> None:
        try:
            found = changes(before, after, self._agent.unlike)
        except (TypeError, ValueError, RecursionError) as error:  # a decoder takes more than can be compared
            found = [Difference("", "", f"cannot be compared: {error}")]
        if not found:
            return
        undeclared = [each for each in found if not is_declared(each, given.envelope.symbol, given.route.declared)]
        self._count(f"{kind}_different" if undeclared else f"{kind}_declared")
        for each in undeclared[:MOST_TOLD] or found[:1]:
            told = (each.path, each.after, each.before)
            self._tell(given, CANARY, told, declared=not undeclared, kind=kind)

    def _tell(self, given: Given, arm: str, told: tuple[str, str, str], *, declared: bool, kind: str) -> None:
        if self._record is None:
            return
        path, canary, baseline = [short(each) for each in told]
        generation = 0 if self.table is None else self.table.generation
        envelope = given.envelope
        self._record.tell(
            _Difference(
                self._role,
                envelope.trace_id,
                envelope.symbol,
                path,
                canary,
                baseline,
                declared,
                given.at,
                generation,
                kind,
            ),
            spare=declared or kind == "noise",  # no verdict names it
        )

    def _count(self, figure: str) -> None:
        if self._record is not None:
            self._record.count(figure)

    def _is_next(self, given: Given, arm: str) -> bool:
        """Whether no earlier signal of the symbol is still with the arm."""
        symbol = given.envelope.symbol
        if self._symbols[arm][symbol] == 1:
            return True
        return next(each for each in self._live[arm].values() if each.envelope.symbol == symbol) is given

    def _leave(self, given: Given) -> None:
        """A signal is its arm's own no more."""
        del self._live[given.live][given.number]
        symbols, symbol = self._symbols[given.live], given.envelope.symbol
        symbols[symbol] -= 1
        if not symbols[symbol]:
            del symbols[symbol]

    def _take_back(self, arms: Sequence[str]) -> list[TakenBack]:
        taken = [given for arm in sorted(set(arms)) for given in list(self._live[arm].values())]
        for given in taken:
            self._leave(given)
        back = [
            TakenBack(envelope, envelope is given.envelope)
            for given in taken
            for envelope in (given.envelope, *given.behind)
        ]
        return sorted(back, key=lambda each: each.envelope.seq)


def _trial(envelope: Envelope, trial: Trial) -> Envelope:
    payload = msgspec.Raw(_encode(trial))
    return Envelope(
        TRIAL,
        envelope.trace_id,
        envelope.symbol,
        envelope.seq,
        envelope.epoch,
        envelope.attempt,
        payload,
        envelope.spans,
    )


_encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder(decimal_format="string").encode
