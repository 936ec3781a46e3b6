"""What a rollout is judged by: counts of both arms, side by side, by role and by routing table.

All of it is cumulative within a segment, and a segment ends only with its routing table, so that whoever reads it
late, or twice, or after a restart reads the same.
"""

from __future__ import annotations

import msgspec

__all__ = ["Counts", "Difference", "Facts", "Pairs", "Segment", "Sightings", "Weight"]


class Counts(msgspec.Struct, frozen=True):
    """What became of the signals that one arm decided with effect. The unit is the signal: a trace counts once.

    Attributes:
        trials: Signals that were given to the arm.
        broken: Of these, how many it gave no usable answer to: its process died, it raised, or was too late.
        slow: Of those answered, how many took longer than the role's limit.
        signals: Signals whose outcome is known.
        denied: Of these, how many were denied.
        failed: Of these, how many failed or expired.
        late: Of these, how many had their outcome later than the objective for decisions allows.
        held: Of the trials, how many it held for a person: the role decides them, once there is a ruling.
    """

    trials: int = 0
    broken: int = 0
    slow: int = 0
    signals: int = 0
    denied: int = 0
    failed: int = 0
    late: int = 0
    held: int = 0


class Pairs(msgspec.Struct, frozen=True):
    """What two arms made of the same signals; the first arm is the one that is judged.

    Attributes:
        compared: Signals that both were given.
        different: Of these, how many they decided differently where the release declares no change.
        declared: How many they decided differently as the release declares.
        denied_first, denied_second: How many the one refused and the other did not.
        slow_first, slow_second: How many took longer than the role's limit at the one, and not at the other.
        broken_first, broken_second: How many the one gave no usable answer to, and the other did.
    """

    compared: int = 0
    different: int = 0
    declared: int = 0
    denied_first: int = 0
    denied_second: int = 0
    slow_first: int = 0
    slow_second: int = 0
    broken_first: int = 0
    broken_second: int = 0


class Segment(msgspec.Struct, frozen=True):
    """The evidence of one role under one routing table.

    Attributes:
        role: The agent.
        generation: The table's number.
        canary_share, baseline_share: Each arm's share of the traffic, 0 to 1.
        canary, baseline, stable: What became of each one's own signals.
        pairs: Canary (first) and baseline on the same signals.
        replayed: The same, of recorded signals that were shown to both once more.
        noise: Baseline (first) and stable, the same code, on the same signals: no version is to blame for that.
    """

    role: str
    generation: int
    canary_share: float = 0.0
    baseline_share: float = 0.0
    canary: Counts = Counts()
    baseline: Counts = Counts()
    stable: Counts = Counts()
    pairs: Pairs = Pairs()
    replayed: Pairs = Pairs()
    noise: Pairs = Pairs()


class Difference(msgspec.Struct, frozen=True):
    """A signal that two arms decided differently: the counter-example.

    Attributes:
        role: The agent.
        trace_id, symbol: The signal.
        path: Which part of the decision differs, as `violations.0.rule`.
        canary, baseline: What each of them said there, as short text.
        declared: Whether the release declares it.
        at: When it was seen, seconds since the epoch.
    """

    role: str
    trace_id: str
    symbol: str
    path: str
    canary: str
    baseline: str
    declared: bool = False
    at: float = 0.0


class Facts(msgspec.Struct, frozen=True):
    """What needs no statistics.

    Attributes:
        quarantined: How often the Watchdog isolated each arm since the rollout began: `canary`, `baseline`,
            `stable`.
        crashes: How often its process ended unasked, likewise.
        crash_reasons: Why it ended so last, in a line.
        crashes_before_promotion: `crashes` as they were when the roles' own processes began to run the new release;
            None before that.
        memory_bytes: Resident memory of each arm, and of the same when it had warmed up (`canary_first`, ...).
        seal_broken: Whether the Graveyard's seal is broken.
        audit_broken: Whether the ledger's chain is broken.
        unapproved: Proposals of the canary that would have sent an order which nobody approved.
    """

    quarantined: dict[str, int] = {}
    crashes: dict[str, int] = {}
    crash_reasons: dict[str, str] = {}
    crashes_before_promotion: dict[str, int] | None = None
    memory_bytes: dict[str, int] = {}
    seal_broken: bool = False
    audit_broken: bool = False
    unapproved: int = 0


class Weight(msgspec.Struct, frozen=True):
    """What the arms of a role hold.

    Attributes:
        pids: The processes of canary and baseline.
        canary_first, baseline_first: What they held when both were warm, bytes.
        canary, baseline: What they hold now.
    """

    pids: tuple[int, ...]
    canary_first: int
    baseline_first: int
    canary: int = 0
    baseline: int = 0


class Sightings(msgspec.Struct, frozen=True):
    """The processes of a rollout as they were seen last: what the next look is compared with.

    Attributes:
        states: The state of each, by its name in the tree.
        crashes: How many crashes its supervisor had counted, likewise.
        counters: Which process that supervisor was, likewise.
        weights: What the arms hold, by role.
    """

    states: dict[str, str] = {}
    crashes: dict[str, int] = {}
    counters: dict[str, str] = {}
    weights: dict[str, Weight] = {}
