"""The tree as data: who stands under whom, and what runs in each process. Everything by name, nothing imported."""

from __future__ import annotations

from typing import Any

from ark.config import AgentConfig, Config
from ark.ruling import SECRET

__all__ = ["ROOT", "longest_stop_s", "tree"]

ROOT = "supervisor.tree:Supervisor"
"""The class of the root, as text: the runtime knows no supervisor."""


def longest_stop_s(config: Config) -> float:
    """Seconds that the whole pipeline gets for an orderly stop: twice what its slowest agent gets."""
    own = [each.shutdown_s for each in config.agents.values() if each.shutdown_s is not None]
    return 2 * max(config.supervision.shutdown_s, *own, 0.0)


def tree(config: Config, version: str) -> dict[str, Any]:
    """The options of the root's duty.

    Args:
        config: The node's configuration.
        version: ARK's version, for what has none of its own.
    """
    services = [("gateway", "ark.gateway:GatewayWorker"), ("watchdog", "supervisor.watchdog:WatchdogWorker")]
    if config.metrics.enabled:
        services.append(("exporter", "ark.exporter:ExporterWorker"))
    services.append(("deployer", "deployment.deployer:DeployerWorker"))

    def secrets(name: str) -> list[str]:
        # Whether or not a pipeline has a judge, the gateway can rule.
        always = {SECRET} if name == "gateway" else set()
        return sorted(always | {key for key, holders in config.pipeline.secrets.items() if name in holders})

    limits = config.supervision
    own = [config.agents.get(name, AgentConfig()) for name in config.pipeline.agents]
    starts = [limits.start_timeout_s if each.start_timeout_s is None else each.start_timeout_s for each in own]
    agents = [
        {
            "name": name,
            "kind": "agent",
            "runner": "ark.agent_worker:AgentWorker",
            "version": version,
            "secrets": secrets(name),
            "options": {"version": version},
            "restart": each.restart,
            "shutdown_s": limits.shutdown_s if each.shutdown_s is None else each.shutdown_s,
            "start_timeout_s": start,
        }
        for name, each, start in zip(config.pipeline.agents, own, starts, strict=True)
    ]

    def service(name: str, runner: str) -> dict[str, Any]:
        return {
            "name": name,
            "kind": "service",
            "runner": runner,
            # Nobody trades worse because nobody looks, or because nothing is rolled out.
            "alone": name in ("exporter", "deployer"),
            "version": version,
            "secrets": secrets(name),
            "shutdown_s": limits.shutdown_s,
            "start_timeout_s": limits.start_timeout_s,
        }

    pipeline = {
        "name": "pipeline",
        "kind": "supervisor",
        "version": version,
        "shutdown_s": longest_stop_s(config),
        "start_timeout_s": 3 * max(limits.start_timeout_s, *starts),
        "options": {
            "strategy": config.pipeline.strategy,
            "children": agents,
            "version": version,
            "equips": True,
        },
    }
    rollout = {
        "name": "rollout",
        "kind": "supervisor",
        "alone": True,
        "version": version,
        "shutdown_s": longest_stop_s(config),
        "start_timeout_s": limits.start_timeout_s,
        "options": {"strategy": "one_for_one", "children": [], "version": version, "houses_arms": True},
    }
    return {
        "strategy": "rest_for_one",
        "version": version,
        # Only while a rollout wants arms.
        "rollout": rollout,
        "children": [
            *(service(name, runner) for name, runner in services),
            pipeline,
            # Last: it needs all of them, and none of them needs it.
            *([service("feed", "actors.redis_feed:RedisFeedWorker")] if config.redis.url else []),
        ],
    }
