"""How far a plan may go from what the node's configuration says of judge and people: stricter, never laxer. Pure.

What `[deploy].judge` names is the node's word. What it does not name is a default, and any plan may say otherwise.
That a release of HRM takes two people is the node's word without being named.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ark.deploy_settings import DeployConfig, Gate
from ark.errors import ConfigError
from deployment.gates import is_same_step, name_key

__all__ = ["FEWER", "FIXED", "HIGHER", "LOWER", "check_leeway", "check_people"]

LOWER = frozenset((
    "beta", "harmful", "limit", "tolerance", "margin", "late_allowed", "late_limit", "share_margin", "replay",
    "crashes", "memory_mb", "memory_ratio", "memory_times", "sigma", "checks",
))  # fmt: skip
"""Settings of which less is stricter: it takes less to roll back, or more to pass."""
HIGHER = frozenset(("minimum_signals", "quarantine_s", "stage_s"))
"""Settings of which more is stricter."""
FEWER = frozenset(("noisy", "observe_only"))
"""Lists of exceptions: to leave some out is stricter."""
FIXED = frozenset(("alpha", "split", "every_s", "window_s", "baseline_s"))
"""Settings without a stricter side. A smaller `alpha` spares good releases, and lets bad ones stay for longer."""


def check_leeway(named: Iterable[str], node: msgspec.Struct, plan: msgspec.Struct) -> None:
    """See that a plan is as strict as the node.

    Args:
        named: The settings that the node's configuration names.
        node: The judge as the node wants it.
        plan: As the plan wants it, of the same kind.

    Raises:
        ConfigError: One is laxer, or other where there is no stricter side; `field` names it.
    """
    for name in sorted(named):
        wanted, said = getattr(plan, name), getattr(node, name)
        if name in LOWER:
            fits, rule = wanted <= said, f"say {_told(said)} or less"
        elif name in HIGHER:
            fits, rule = wanted >= said, f"say {_told(said)} or more"
        elif name in FEWER:
            fits = all(any(f".{each}".endswith(f".{one}") for one in said) for each in wanted)
            rule = f"name none but {_told(said)}"
        else:
            fits, rule = wanted == said, "leave it as it is"
        if not fits:
            kind = "laxer than" if name not in FIXED else "another than"
            raise ConfigError(
                f"{_told(wanted)} is {kind} the node's {_told(said)} ([deploy].judge of ark.toml)",
                hint=rule,
                field=name,
            )


def check_people(node: DeployConfig, plan: DeployConfig) -> None:
    """See that a plan asks all the people that the node asks.

    Args:
        node: The node's settings.
        plan: The plan's.

    Raises:
        ConfigError: It asks fewer; `field` names the setting.
    """
    spared = sorted(set(node.two_people) - set(plan.two_people))
    if spared:
        raise ConfigError(
            f"it leaves out {', '.join(spared)}, whose releases need two people here",
            hint=f"name {', '.join(spared)} too, or have `two_people` in [deploy] of ark.toml changed",
            field="two_people",
        )
    for gate in node.gates:
        if not any(_is_as_strict(each, gate) for each in plan.gates):
            raise ConfigError(
                f"it leaves out or loosens the gate before {gate.before} of ark.toml",
                hint="name that gate too, with as many people and no others",
                field="gates",
            )


def _is_as_strict(gate: Gate, asked: Gate) -> bool:
    """Whether who passes one gate would have passed the other."""
    allowed, asks = ({name_key(name) for name in each.approvers} for each in (gate, asked))
    names_no_others = not asks or (bool(allowed) and allowed <= asks)
    return is_same_step(gate.before, asked.before) and gate.needed >= asked.needed and names_no_others


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(value)
