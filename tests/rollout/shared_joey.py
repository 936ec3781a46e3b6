"""A Joey whose `propose` can be broken for every version of it at once: a fault of nobody's release."""

from __future__ import annotations

import os
import time
from typing import Any

import actors.joey
from ark.agent import Context

__all__ = ["TRIGGER", "Joey"]

TRIGGER = "ARK_TEST_BREAKS_BOTH"
"""The variable with the path of a file: while it is there, what it holds happens (`raise` or `sleep`)."""


class Joey(actors.joey.Joey):
    """See the module."""

    def propose(self, case: Any, context: Context) -> Any:
        try:
            with open(os.environ[TRIGGER]) as file:
                what = file.read()
        except FileNotFoundError:
            what = ""
        if what == "raise":
            raise ConnectionError("what all versions depend on is gone")
        if what == "sleep":
            time.sleep(0.15)
        return super().propose(case, context)
