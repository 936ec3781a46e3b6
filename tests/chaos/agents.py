"""The standard agents, which misbehave where a signal's metadata asks for it.

The metadata of such a signal holds `chaos`, what to do, and `agent`, who does it. Under `token` may stand the path
of a file: then only who takes the file away misbehaves, so that it happens once, whoever handles the signal again.
Under `while` may stand one, too: then it happens as long as the file is there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from actors import aletheia, hrm, joey, kenny, kyle
from ark import Context
from tests.node import ROOT

__all__ = ["MEMORY_LIMIT_MIB", "UNRULY"]

MEMORY_LIMIT_MIB = 300
_CLASSES = {"kyle": "Kyle", "joey": "Joey", "hrm": "HRM", "kenny": "Kenny", "aletheia": "Aletheia"}
UNRULY = "".join(
    f"""
[agents.{name}]
class = "tests.chaos.agents:{kind}"
path = "{ROOT}"
memory_limit_mb = {MEMORY_LIMIT_MIB}
"""
    for name, kind in _CLASSES.items()
)
"""The part of `ark.toml` that names them. Settings of an agent are to follow as `[agents.NAME.settings]`."""

_leaked: list[Any] = []


def misbehave(wish: Mapping[str, Any]) -> None:
    """Do what is asked for, if it still is."""
    if "while" in wish and not os.path.exists(wish["while"]):
        return
    if "token" in wish:
        try:
            os.unlink(wish["token"])
        except FileNotFoundError:
            return
    match wish["chaos"]:
        case "raise":
            raise ValueError("asked to fail")
        case "exit":
            os._exit(int(wish.get("code", 9)))
        case "loop":
            while True:
                pass
        case "sleep":
            time.sleep(wish["seconds"])
        case "leak_memory":
            _leaked.append(b"x" * (wish["mib"] << 20))
        case "leak_descriptors":
            _leaked.extend(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(wish["count"]))


class _Unruly:
    """Before it handles a signal, it does what the metadata asks for."""

    def handle(self, message: Any, context: Context) -> Any:
        wish = getattr(message, "signal", message).metadata
        if wish.get("agent") == context.agent:
            misbehave(wish)
        return super().handle(message, context)  # type: ignore[misc]


class Kyle(_Unruly, kyle.Kyle): ...


class Joey(_Unruly, joey.Joey): ...


class HRM(_Unruly, hrm.HRM): ...


class Kenny(_Unruly, kenny.Kenny): ...


class Aletheia(_Unruly, aletheia.Aletheia): ...
