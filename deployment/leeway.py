"""How far a plan may go from what the node's configuration says of the judge: stricter, and never laxer. Pure.

What `[deploy].judge` names is the node's word. What it does not name is a default, and any plan may say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ark.errors import ConfigError

__all__ = ["FEWER", "FIXED", "HIGHER", "LOWER", "check_leeway"]

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


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(value)
