"""Children that wait for a disk are killed when they are not ready in time, for as long as it takes."""

from __future__ import annotations

import pytest

from ark.config import SupervisionConfig
from supervisor import policy

HOURS_S = 3 * 3600.0
LIMITS = SupervisionConfig()


@pytest.mark.parametrize("ran_before", [False, True], ids=["from the start", "after they ran"])
def test_agents_that_never_become_ready_are_tried_for_hours(ran_before: bool) -> None:
    names = ("kyle", "joey", "hrm", "kenny", "aletheia")
    spec = policy.SupervisorSpec(
        "pipeline",
        children=tuple(policy.ChildSpec(name, start_timeout_s=LIMITS.start_timeout_s) for name in names),
        intensity=LIMITS.intensity,
        period_s=LIMITS.period_s,
        backoff=policy.Backoff(base_s=LIMITS.backoff_base_s, cap_s=LIMITS.backoff_cap_s, stable_s=LIMITS.stable_s),
    )
    state, now, events = policy.initial(spec), 0.0, list[policy.Event]([policy.Begin()])
    waits = not ran_before
    tries = 0
    while now < HOURS_S:
        event = events.pop(0) if events else policy.Tick()
        state, actions = policy.decide(spec, state, event, now, 0.5)
        assert not any(isinstance(each, policy.GiveUp) for each in actions)
        for each in actions:
            match each:
                case policy.StartChild(name, incarnation):
                    tries += 1
                    if not waits:
                        events.append(policy.Ready(name, incarnation))
                case policy.KillChild(name, incarnation):
                    events.append(policy.Exited(name, incarnation, "killed by SIGKILL", normal=False))
        if not waits and not events:  # all of them meet the fault at once
            waits = True
            events = [policy.Exited(each.name, each.incarnation, "storage: x", False) for each in state.children]
        if not events:
            now = min(child.due for child in state.children if child.due is not None)
    assert tries > HOURS_S / LIMITS.start_timeout_s / 2
