"""What would become of a signal now, without sending it: the agents up to the judge, over copies of their journals.

Kyle, Joey and HRM run in this process as they run in their own, with the settings of the node's last start and
with what stands in their journals at this moment. The copies are in memory: whatever they write is gone
afterwards. The halt, the other processes' signs of life and the disk are the node's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import apsw
import msgspec

from actors.books import Books
from actors.hrm import HRM
from actors.joey import Joey
from actors.judging import Inputs, judge_fault
from actors.knowledge import EXECUTOR, LEDGER, is_writable
from actors.kyle import Kyle
from actors.messages import Case, FillsHead
from actors.register import Register
from ark.agent import Agent, Hold
from ark.blackbox import read
from ark.context import StageContext
from ark.errors import NodeError
from ark.home import Home
from ark.message import Span
from ark.privacy import finds_personal, privacy_faults
from ark.seal import Sealing
from ark.signal import Signal
from graveyard import Facts

__all__ = ["Rehearsed", "data_facts", "rehearse"]

PIPELINE = ("kyle", "joey", "hrm", "kenny", "aletheia")
REHEARSED = PIPELINE[:3]
_inputs = msgspec.msgpack.Decoder(Inputs)


class Rehearsed(msgspec.Struct, frozen=True):
    """What would become of it.

    Attributes:
        case: As it would leave the judge; None where it would be held.
        hold: What a person would be asked, where it would be held.
        inputs: What it was judged by; None where nobody judged it.
    """

    case: Case | None
    hold: Hold | None
    inputs: Inputs | None


def rehearse(home: Home, signal: Signal) -> Rehearsed:
    """Take a signal through the agents up to the judge, without any effect.

    Args:
        home: The node's.
        signal: As the door would let it in, with its trace id and time.

    Raises:
        ConfigError: The settings of the last start make no sense to this version.
        JournalError: A journal cannot be read.
        NodeError: The node's pipeline has no judge.
    """
    settings = home.settings()
    pipeline = tuple(settings.get("pipeline", {}).get("agents", PIPELINE))
    missing = [name for name in REHEARSED if name not in pipeline]
    if missing:
        raise NodeError(
            f"the pipeline of {home.path} is {', '.join(pipeline)}: without {', '.join(missing)} nothing is judged",
            field="pipeline.agents",
        )
    agents = settings.get("agents", {})
    message: Any = signal
    spans: tuple[Span, ...] = ()
    for name, agent_class in (("kyle", Kyle), ("joey", Joey)):
        agent: Agent[Any] = agent_class()
        context = _context(home, name, pipeline, agents)
        context.trace_id = signal.trace_id
        agent.setup(context)
        message = agent.handle(message, context)
        spans += (Span(name, context.version, 0, 0),)
    judge = HRM()
    context = _context(home, "hrm", pipeline, agents)
    context.spans = spans
    judge.setup(context)
    books = Books(context.database)
    if EXECUTOR in pipeline:
        # Kenny is not there to say where he stands; what the books have of him is the newest that is known.
        judge.notice(FillsHead(judge.last_fill, live=books.recall("live") == b"live"), context)
    before = books.last_judged()
    context.trace_id = signal.trace_id
    answer = judge.handle(message, context)
    judged = books.judged(books.last_judged()) if books.last_judged() > before else None
    held = isinstance(answer, Hold)
    return Rehearsed(
        None if held else answer,  # type: ignore[arg-type]
        answer if held else None,  # type: ignore[arg-type]
        None if judged is None else _inputs.decode(judged),
    )


def data_facts(home: Home, register: Register, source: str, texts: tuple[str, ...]) -> Facts:
    """The facts for an action on data, which no market has a say in.

    Args:
        home: The node's.
        register: The operator's.
        source: Who proposes it.
        texts: What goes along with it, to be searched for personal data.
    """
    settings = home.settings()
    open_to_others = privacy_faults(home.path, settings.get("agents", {}))
    halt, beat_age = home.halt_reason(), _beat_age(home)
    ledger_age_s, free = beat_age(LEDGER), home.free_bytes()
    return Facts(
        halted=halt is not None,
        halt_reason=halt or "",
        now=time.time(),
        live=_is_live(home),
        seal_fault=Sealing(judge_fault).faults(time.time()),
        watchdog_age_s=beat_age("watchdog"),
        gateway_age_s=beat_age("gateway"),
        ledger_writable=is_writable(ledger_age_s, free),
        logs_redacted=not open_to_others["log"],
        home_private=not open_to_others["home"],
        credentials_sealed=not open_to_others["credentials"],
        personal=next((found for text in texts if (found := finds_personal(text))), ""),
        hops=0,
        sources=(register.source(source),),
        restricted=register.restricted,
        no_trade=register.no_trade,
        consents=register.consents,
    )


def _is_live(home: Home) -> bool:
    """Whether orders go to a live broker, as far as HRM has heard; nobody's do where there is no HRM yet."""
    if not (home.data / "hrm.db").exists():
        return False
    return Books(_copy(home.data / "hrm.db")).recall("live") == b"live"


def _context(home: Home, name: str, pipeline: tuple[str, ...], agents: Mapping[str, Any]) -> StageContext:
    own: dict[str, apsw.Connection] = {}

    def opener(database: str) -> apsw.Connection:
        if database not in own:
            suffix = f"-{database}" if database else ""
            own[database] = _copy(home.data / f"{name}{suffix}.db")
        return own[database]

    return StageContext(
        name,
        version="rehearsal",
        pipeline=pipeline,
        settings=agents.get(name, {}).get("settings", {}),
        clock=time.time,
        halt=home.halt_reason,
        opener=opener,
        # An approval that is made here goes nowhere; it is made by a key that nobody else has.
        secrets={"approval": b"a rehearsal's own", "ruling": b"a rehearsal's own"},
        beat_age=_beat_age(home),
        free_bytes=home.free_bytes,
        privacy_faults=lambda: privacy_faults(home.path, agents),
    )


def _copy(path: Path) -> apsw.Connection:
    """A journal as it stands now, in memory; an empty one where there is none yet."""
    copy = apsw.Connection(":memory:")
    if path.exists():
        source = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        source.set_busy_timeout(5000)
        try:
            with copy.backup("main", source, "main") as backup:
                backup.step()
        finally:
            source.close()
    return copy


def _beat_age(home: Home) -> Callable[[str], float | None]:
    def age(name: str) -> float | None:
        box = read(home.box(name)) if home.is_locked() else None
        return None if box is None else box.beat_age_s

    return age
