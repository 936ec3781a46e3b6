"""The tree as data: who stands under whom, and what runs in each process. Everything by name, nothing imported."""

from __future__ import annotations

from typing import Any

from ark.config import Config
from ark.ruling import SECRET

__all__ = ["ROOT", "tree"]

ROOT = "supervisor.tree:Supervisor"
"""The class of the root, as text: the runtime knows no supervisor."""


def tree(config: Config, version: str) -> dict[str, Any]:
    """The options of the root's duty.

    Args:
        config: The node's configuration.
        version: ARK's version, for what has none of its own.
    """
    services = [("gateway", "ark.gateway:GatewayWorker"), ("watchdog", "supervisor.watchdog:WatchdogWorker")]
    if config.metrics.enabled:
        services.append(("exporter", "ark.exporter:ExporterWorker"))

    def secrets(name: str) -> list[str]:
        # Whether or not a pipeline has a judge, the gateway can rule.
        always = {SECRET} if name == "gateway" else set()
        return sorted(always | {key for key, holders in config.pipeline.secrets.items() if name in holders})

    agents = [
        {
            "name": name,
            "kind": "agent",
            "runner": "ark.agent_worker:AgentWorker",
            "version": version,
            "secrets": secrets(name),
            "options": {"version": version},
        }
        for name in config.pipeline.agents
    ]

    def service(name: str, runner: str) -> dict[str, Any]:
        return {
            "name": name,
            "kind": "service",
            "runner": runner,
            "version": version,
            "secrets": secrets(name),
        }

    pipeline = {
        "name": "pipeline",
        "kind": "supervisor",
        "version": version,
        "options": {"strategy": "one_for_one", "children": agents, "version": version},
    }
    return {
        "strategy": "rest_for_one",
        "version": version,
        "children": [
            *(service(name, runner) for name, runner in services),
            pipeline,
            # Last: it needs all of them, and none of them needs it.
            *([service("feed", "actors.redis_feed:RedisFeedWorker")] if config.redis.url else []),
        ],
    }
