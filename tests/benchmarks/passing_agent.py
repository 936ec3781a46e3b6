"""An agent that hands on what it gets: to make a tree larger."""

from __future__ import annotations

from actors.messages import Case
from ark import Agent, Context


class Passing(Agent[Case]):
    """Adds nothing."""

    takes = Case

    def handle(self, message: Case, context: Context) -> Case:
        return message
