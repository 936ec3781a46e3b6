"""Rollouts in the simulator: tables that change at any moment, and arms that die, come back, and are never missed.

See `ark.simulator`, which throws the die. An arm is a process like any other, with a mailbox of its own; what it
writes dies with it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import apsw

from ark.agent import Agent, Durability
from ark.arm_worker import Arm
from ark.context import StageContext
from ark.errors import AgentError
from ark.routing import ARMS, BASELINE, CANARY, Route, Table, arm_name
from ark.state import Core

__all__ = ["SimulatedArms"]

PATIENCE_S = 0.2
"""So long an arm may take in the simulator, where a step takes some milliseconds."""
LONGEST_LEASE_S = 3.0
SHARES = (0.0, 0.5, 0.5)


class SimulatedArms:
    """The arms of a simulation, and the routing table.

    Args:
        classes: The agent of a role's arms, by the role's name; roles that are absent have none.
        arm: The class of an arm.
        pipeline, version, settings, clock, core: As the roles have them.

    Attributes:
        table: The routing table in force.
        running: Each arm that runs, by the name of its process.
    """

    def __init__(
        self,
        classes: Mapping[str, type[Agent[Any]]],
        *,
        arm: type[Arm],
        pipeline: tuple[str, ...],
        version: str,
        settings: Mapping[str, Mapping[str, Any]],
        clock: Callable[[], float],
        core: Callable[[], Core],
    ) -> None:
        self.table: Table | None = None
        self.running: dict[str, Arm] = {}
        self.names = {arm_name(role, each): (role, each) for role in classes for each in ARMS}
        self._classes = classes
        self._arm_class = arm
        self._pipeline = pipeline
        self._version = version
        self._settings = settings
        self._clock = clock
        self._core = core

    def flip(self, die: random.Random) -> None:
        """Put another table in force."""
        generation = 1 if self.table is None else self.table.generation + 1
        roles = {
            role: Route(
                die.choice(SHARES), die.choice(SHARES), copies=die.random() < 0.7, replay_per_s=50.0,
                patience_s=PATIENCE_S,
            )
            for role in self._classes
            if die.random() < 0.8
        }  # fmt: skip
        pins = {"S0": die.choice(("", CANARY, BASELINE))} if die.random() < 0.3 else {}
        lease_until = self._clock() + die.random() * LONGEST_LEASE_S
        self.table = Table(generation, "simulated", lease_until, str(generation // 4), roles=roles, pins=pins)

    def up(self, role: str) -> frozenset[str]:
        """The arms of a role that run."""
        return frozenset(arm for arm in ARMS if arm_name(role, arm) in self.running)

    def start(self, name: str, epoch: int) -> None:
        """Start an arm."""
        role, arm = self.names[name]
        agent = self._classes[role]()
        databases: dict[str, apsw.Connection] = {}

        def opener(database: str) -> apsw.Connection:
            if agent.durability is Durability.NONE:
                raise AgentError("an agent that declares no journal asks for a database")
            return databases.setdefault(database, apsw.Connection(":memory:"))

        context = StageContext(
            role,
            version=self._version,
            pipeline=self._pipeline,
            settings=self._settings.get(role, {}),
            clock=self._clock,
            halt=lambda: None,
            opener=opener,
            secrets={},
            core=self._core,
        )
        context.epoch = epoch
        started = self._arm_class(arm, role, agent, context)
        started.setup()
        self.running[name] = started
