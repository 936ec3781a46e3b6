"""What clients ask of the deploy actor: an order in, a plan or a word for the rollout out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ark.deploy_desk import Order
from ark.deploy_settings import DeployConfig
from ark.errors import ConfigError
from deployment.plan import Plan, make_plan
from deployment.progress import Word

__all__ = ["WORDS", "Wish", "plan_of", "word_of", "wish_of"]

WORDS = {
    "deploy.start": "start",
    "deploy.pause": "pause",
    "deploy.resume": "resume",
    "deploy.promote": "promote",
    "deploy.approve": "approve",
    "deploy.override": "override",
    "deploy.abort": "abort",
    "deploy.undo": "undo",
    "rollback": "undo",
}
"""The operations that are a word to a rollout."""
NEEDS_REASON = frozenset(("deploy.override", "rollback"))


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The field `plan` of an operation.

    Attributes:
        roles: The new release of each agent, by digest or its beginning; `installed` for the installed package.
        release: One release for all the agents that it has.
        strategy: `canary`, `blue-green` or `aa`; empty: as the settings say.
        settings: Settings of `[deploy]` for this rollout alone.
        note: What for.
        override: Why it may start during a freeze.
    """

    roles: dict[str, str] = {}
    release: str = ""
    strategy: str = ""
    settings: dict[str, Any] = {}
    note: str = ""
    override: str = ""


def wish_of(order: Order) -> Wish:
    """What an order asks to be rolled out.

    Raises:
        ConfigError: A field is unknown or wrong.
    """
    try:
        return msgspec.convert(order.plan, Wish)
    except msgspec.ValidationError as error:
        raise ConfigError(f"plan: {error}", field="plan") from None


def plan_of(
    order: Order,
    roles: Mapping[str, str],
    *,
    name: str,
    permanent: Mapping[str, str],
    settings: DeployConfig,
    now: float,
) -> Plan:
    """The plan that an order asks for.

    Args:
        order: Of `deploy.plan` or `deploy.start`.
        roles: The new release of each agent, by its whole digest.
        name: What to call the rollout.
        permanent: The permanent release of each agent of the node.
        settings: The node's `[deploy]`.
        now: Seconds since the epoch.

    Raises:
        ConfigError: A field is wrong; `field` names it.
    """
    wish = wish_of(order)
    strange = sorted(set(roles) - set(permanent))
    if strange:
        raise ConfigError(
            f"there is no agent {strange[0]!r} in the pipeline; there are {', '.join(permanent)}",
            field=f"plan.roles.{strange[0]}",
        )
    if not roles:
        raise ConfigError("nothing is named to roll out; name a release", field="plan.release")
    return make_plan(
        name,
        roles,
        permanent,
        strategy=wish.strategy or None,  # type: ignore[arg-type]
        settings=settings,
        options=wish.settings,
        by=order.by,
        note=wish.note or order.reason,
        now=now,
    )


def word_of(order: Order) -> Word:
    """What an order says to a rollout.

    Raises:
        ConfigError: A reason is missing.
    """
    if order.op in NEEDS_REASON and not order.reason:
        raise ConfigError(f"{order.op} needs a `reason`", field="reason")
    return Word(
        WORDS[order.op],  # type: ignore[arg-type]
        order.by,
        order.reason,
        order.full,
        order.gate,
        order.now,
        id=str(order.number),
    )
