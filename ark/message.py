"""Envelopes: what travels between the processes of a pipeline, and how it becomes bytes.

A frame on the wire is a msgpack array of envelopes, because several envelopes in one frame cost a fraction
of as many frames. The payload stays undecoded bytes (`msgspec.Raw`) until an agent wants it as its own type.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ark.changes import Change
from ark.errors import MessageError
from ark.ruling import Ruling

__all__ = [
    "EVENT",
    "HELD",
    "LETTER",
    "MESSAGE_SCHEMA",
    "NOTICE",
    "ORDER",
    "OUTCOME",
    "PROPOSAL",
    "REPLY",
    "TRIAL",
    "UNREADABLE",
    "WORK",
    "Envelope",
    "Letter",
    "Proposed",
    "Span",
    "Trial",
    "encode",
    "pack",
    "unpack",
]

MESSAGE_SCHEMA = 1
"""The version of all that passes between agents: `Envelope`, and in it the messages of the standard pipeline
(`actors/messages.py`). Raise it with every change that an agent of the version before could not read, and keep what
that one writes readable: releases of both run side by side. A new last field with a default needs no raise.

It stands here, and not beside those messages, because a process must know it before it imports any agent: a release
may bring its own `actors`, and what is imported first stays."""

# The kinds of envelopes. A number is never used again for something else.
WORK = 1
"""A signal on its way through the pipeline."""
LETTER = 2
"""A dead letter on its way to the ledger: agents do not handle it, they bury it."""
NOTICE = 3
"""A side message between two agents (fills, requests); not part of any trace's path, delivered at most once."""
OUTCOME = 4
"""The last agent's answer, for the gateway."""
EVENT = 5
"""Something to publish, for the gateway."""
HELD = 6
"""An agent's word that a person must decide, for the gateway; the last span is that of the agent."""
TRIAL = 7
"""A case for an arm of the agent: another process, which decides without effect."""
PROPOSAL = 8
"""What the arm would do, back to the agent's own process."""
ORDER = 9
"""What a client asks of the deploy actor, from the gateway."""
REPLY = 10
"""The deploy actor's answer, for the gateway."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for a stranger's bytes."""


class Span(msgspec.Struct, frozen=True, array_like=True):
    """One agent's stay with a signal.

    Attributes:
        agent: The agent's name in the pipeline.
        version: The agent's version.
        in_ns: When its process took the signal, nanoseconds since the epoch.
        out_ns: When it had handled the signal, nanoseconds since the epoch.
        track: While a rollout is under way, who decided and under which routing table: `canary:17`.
    """

    agent: str
    version: str
    in_ns: int
    out_ns: int
    track: str = ""


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """A message with what the delivery protocol must know of it.

    Attributes:
        kind: One of the kinds above.
        trace_id: The signal's id, or the sender's name for a notice or an event.
        symbol: The signal's symbol; signals of one symbol keep their order.
        seq: The gateway's number of acceptance, rising by one.
        epoch: The epoch in which the gateway sent it; older ones are dropped.
        attempt: 1 where the signal was certainly never sent before, otherwise more.
        payload: The message itself, msgpack.
        spans: Who had it before.
        ruling: How a person ruled on it, where it was held; goes with it to the end of the pipeline.
    """

    kind: int
    trace_id: str
    symbol: str
    seq: int
    epoch: int
    attempt: int
    payload: msgspec.Raw
    spans: tuple[Span, ...] = ()
    ruling: Ruling | None = None


class Letter(msgspec.Struct, frozen=True, array_like=True):
    """A dead letter: a signal that the pipeline gave up on.

    Attributes:
        trace_id: The signal's id.
        symbol: The signal's symbol.
        agent: The agent that it killed.
        reason: Why it was given up, in words.
        attempts: How often it was sent.
        records: What each agent with a journal had already answered, its message as msgpack by agent name.
    """

    trace_id: str
    symbol: str
    agent: str
    reason: str
    attempts: int
    records: dict[str, bytes] = {}


class Trial(msgspec.Struct, frozen=True, array_like=True):
    """The payload of a `TRIAL`.

    Attributes:
        number: The asker's own, which comes back with the proposal.
        case: What is to be decided, msgpack.
        live: Whether the signal is the arm's own, and not merely shown to it.
    """

    number: int
    case: msgspec.Raw
    live: bool = False


class Proposed(msgspec.Struct, frozen=True, array_like=True):
    """The payload of a `PROPOSAL`.

    Attributes:
        number: Of the trial.
        arm: Who proposes.
        took_ns: From taking the case to the answer, nanoseconds, in the arm's own process.
        answer: What is proposed, msgpack; empty where there is none.
        held: Whether the answer is a `Hold`.
        error: Why there is no answer, in one line.
        version: The arm's own version of the agent.
        release: What the arm believes that it runs from; whoever writes its changes goes by the routing table.
        changes: What it changed of the agent's state, for the role to write where the signal is the arm's own.
    """

    number: int
    arm: str
    took_ns: int
    answer: bytes = b""
    held: bool = False
    error: str = ""
    version: str = ""
    release: str = ""
    changes: tuple[Change, ...] = ()


_encoder = msgspec.msgpack.Encoder(decimal_format="string")
_frame_decoder = msgspec.msgpack.Decoder(list[Envelope])


def pack(envelopes: list[Envelope]) -> bytes:
    """Encode envelopes as one frame."""
    return _encoder.encode(envelopes)


def unpack(frame: bytes) -> list[Envelope]:
    """Decode one frame.

    Raises:
        MessageError: The frame is not a list of envelopes.
    """
    try:
        return _frame_decoder.decode(frame)
    except UNREADABLE as error:
        raise MessageError(f"a frame of {len(frame)} bytes is no list of envelopes: {error}") from error


def encode(message: Any) -> msgspec.Raw:
    """Encode a payload; `Decimal` becomes text, so that no digit is lost."""
    return msgspec.Raw(_encoder.encode(message))
