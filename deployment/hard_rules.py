"""What rolls a canary back, or makes a rollout hold, without statistics. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from deployment.samples import Counts, Facts, Pairs, Segment
from deployment.verdict import Policy, Rule

__all__ = ["hard_rules", "segments_since", "since"]

_MIB = 1024 * 1024
_Figures = TypeVar("_Figures", Counts, Pairs)


def hard_rules(facts: Facts, policy: Policy) -> Iterator[Rule]:
    """The rules that have come true.

    What canary and control have both is nobody's fault who is judged here: the rollout holds. The control is the
    baseline; only where none is known of, the stable version.
    """
    yield from _invariants(facts)
    yield from _quarantine(facts)
    yield from _crashes(facts, policy)
    yield from _memory(facts, policy)


def since(facts: Facts, seen: Facts) -> Facts:
    """What came after the facts that somebody has seen and answered for: so a rollout that was held can go on.

    Broken seals and chains and orders that nobody approved stay as they are, and so does memory where it speaks
    against the canary: what both arms hold is answered for.
    """

    def later(now: dict[str, int], then: dict[str, int]) -> dict[str, int]:
        return {arm: max(0, count - then.get(arm, 0)) for arm, count in now.items()}

    before = facts.crashes_before_promotion
    memory = facts.memory_bytes
    if memory and "canary" in seen.memory_bytes:
        memory = {**memory, "canary_answered": seen.memory_bytes["canary"]}
    return msgspec.structs.replace(
        facts,
        quarantined=later(facts.quarantined, seen.quarantined),
        crashes=later(facts.crashes, seen.crashes),
        crashes_before_promotion=None if before is None else later(before, seen.crashes),
        memory_bytes=memory,
    )


def segments_since(segments: Iterable[Segment], seen: Iterable[Segment]) -> list[Segment]:
    """The same of evidence: what was counted after it was seen.

    Args:
        segments: All of it.
        seen: All of it as it was then.
    """
    then = {(each.role, each.generation): each for each in seen}

    def later(now: _Figures, before: _Figures) -> _Figures:
        names = now.__struct_fields__
        return type(now)(**{name: max(0, getattr(now, name) - getattr(before, name)) for name in names})

    def rest(segment: Segment) -> Segment:
        before = then.get((segment.role, segment.generation))
        if before is None:
            return segment
        figures = {name: getattr(segment, name) for name in segment.__struct_fields__}
        less = {
            name: later(now, getattr(before, name))
            for name, now in figures.items()
            if isinstance(now, Counts | Pairs)
        }
        return msgspec.structs.replace(segment, **less)

    return [rest(each) for each in segments]


def _invariants(facts: Facts) -> Iterator[Rule]:
    """What must never be, whoever did it."""
    if facts.seal_broken:
        yield Rule("seal", "fail", "the Graveyard's seal is broken")
    if facts.audit_broken:
        yield Rule("audit", "fail", "the ledger's chain is broken")
    if facts.unapproved > 0:
        yield Rule("unapproved", "fail", f"the canary proposed {facts.unapproved} orders that nobody had approved")


def _quarantine(facts: Facts) -> Iterator[Rule]:
    """A quarantine of the canary alone rolls it back; any other makes the rollout hold."""
    control = _control(facts.quarantined)
    canary, other = facts.quarantined.get("canary", 0), facts.quarantined.get(control, 0)
    if canary > 0 and other == 0:
        yield Rule(
            "quarantine", "fail", f"the Watchdog isolated the canary {_times(canary)}, and never the {control}"
        )
    elif canary > 0:
        why = f"the Watchdog isolated the canary {_times(canary)} and the {control} {_times(other)}"
        yield Rule("quarantine", "undecided", f"{why}: look at what both depend on")
    elif any(facts.quarantined.values()):
        names = " and ".join(name for name, count in facts.quarantined.items() if count > 0)
        yield Rule("quarantine", "undecided", f"the Watchdog isolated the {names}, and not the canary")


def _crashes(facts: Facts, policy: Policy) -> Iterator[Rule]:
    """Several crashes of the canary alone roll it back.

    One is enough once the roles' own processes run the release: what crashes then has signals in its hands, and
    not only copies of them. It is one since then that counts; what it was allowed before, it was allowed.
    """
    found = list(_crashed(facts, facts.crashes, policy.crashes, ""))
    if facts.crashes_before_promotion is not None:
        before = facts.crashes_before_promotion
        later = {arm: count - before.get(arm, 0) for arm, count in facts.crashes.items()}
        if later.get("canary", 0) > 0:
            found += _crashed(facts, later, 1, " since its promotion")
    yield from sorted(found, key=lambda rule: rule.answer != "fail")[:1]


def _crashed(facts: Facts, crashes: dict[str, int], limit: int, when: str) -> Iterator[Rule]:
    """The answer to these crashes, where canary or control has as many as the limit."""
    control = _control(crashes)
    canary, other = crashes.get("canary", 0), crashes.get(control, 0)
    reason = facts.crash_reasons.get("canary", "") if canary else facts.crash_reasons.get(control, "")
    last = f" ({reason})" if reason else ""
    if canary >= limit and other == 0:
        why = f"the canary's process crashed {_times(canary)}{when}, and the {control}'s never{last}"
        yield Rule("crashes", "fail", why)
    elif max(canary, other) >= limit:
        why = f"the canary's process crashed {_times(canary)}{when} and the {control}'s {_times(other)}{last}"
        yield Rule("crashes", "undecided", why)


def _memory(facts: Facts, policy: Policy) -> Iterator[Rule]:
    """A canary whose memory grew much, and much more than the control's did meanwhile, leaks.

    A process grows until its caches are full, and both arms do so alike: they are as old as each other and have
    the same input. So only growth since both were warm counts, it must be large by itself (`memory_mb`) and for
    the process (`memory_ratio`), and several times (`memory_times`) the growth of the control, which bears what
    the traffic of the day costs.
    """
    memory = facts.memory_bytes
    control = _control(memory)
    if not {"canary", "canary_first", control, f"{control}_first"} <= memory.keys():
        return
    grown = {arm: memory[arm] - memory[f"{arm}_first"] for arm in ("canary", control)}

    def leaks(first: int) -> bool:
        by = memory["canary"] - first
        return by >= policy.memory_mb * _MIB and memory["canary"] >= policy.memory_ratio * first

    canary, other = (f"{grown[arm] / _MIB:,.0f} MiB" for arm in ("canary", control))
    seen = f"since both were warm the canary's memory grew by {canary}, the {control}'s by {other}"
    if leaks(memory["canary_first"]) and grown["canary"] >= policy.memory_times * max(grown[control], 0):
        yield Rule("memory", "fail", seen)
    elif leaks(memory.get("canary_answered", memory["canary_first"])):
        yield Rule("memory", "undecided", seen)


def _control(figures: dict[str, int]) -> str:
    """Whom the canary is compared with."""
    return "baseline" if "baseline" in figures or "stable" not in figures else "stable"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
