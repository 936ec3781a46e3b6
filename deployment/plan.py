"""What a rollout is to do: which releases, how, and under which conditions."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from ark.deploy_settings import DeployConfig, FreezeWindow, Gate
from ark.errors import ConfigError
from deployment.leeway import check_leeway, check_people
from deployment.tripwires import Tripwires
from deployment.verdict import Policy

__all__ = ["Plan", "Strategy", "make_plan"]

Strategy = Literal["canary", "blue-green", "aa"]
_POLICIES: Mapping[str, type[Policy | Tripwires]] = {"sequential": Policy, "tripwires": Tripwires}
Kind = TypeVar("Kind", bound=msgspec.Struct)
Role = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,15}\Z")]
Digest = Annotated[str, Meta(pattern=r"^[\w:.+-]{0,128}\Z")]
"""A release's; empty for the installed package."""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rollout's plan. It never changes once it is made.

    Attributes:
        id: Its name, unique on the node.
        roles: The new release of each agent that it is about, all of which move together.
        stable: The release of each of them that counts as permanent now, and that a rollback goes back to.
        strategy: `canary`: stage by stage. `blue-green`: from copies of all traffic to all traffic in one step, the
            old release staying warm. `aa`: the same release on both arms, which proves the judge, and promotes
            nothing.
        settings: All the rest, see `[deploy]`.
        by: Who made it.
        note: What for.
        made_at: When, seconds since the epoch.
    """

    id: Annotated[str, Meta(pattern=r"^[\w.-]{1,64}\Z")]
    roles: Annotated[dict[Role, Digest], Meta(min_length=1)]
    stable: dict[Role, Digest]
    strategy: Strategy = "canary"
    settings: DeployConfig = DeployConfig()
    by: str = ""
    note: str = ""
    made_at: float = 0.0

    def __post_init__(self) -> None:
        if self.roles.keys() != self.stable.keys():
            raise ValueError(f"stable is about {sorted(self.stable)}, and roles about {sorted(self.roles)}")
        for role, release in self.roles.items():
            if self.strategy == "aa" and release != self.stable[role]:
                raise ValueError(f"roles.{role} is another release than the stable one; aa takes the same twice")
            if self.strategy != "aa" and release == self.stable[role]:
                raise ValueError(f"roles.{role} is the release that runs already")
        for gate in self.settings.gates:
            if self._two_people and len(gate.approvers) == 1:
                raise ValueError(
                    f"gates: the one before {gate.before} takes 2 people, since it is about"
                    f" {', '.join(sorted(self._two_people))}, and approvers names one"
                )

    @property
    def stages(self) -> tuple[float, ...]:
        """The canary's share in each stage, percent."""
        return (100.0,) if self.strategy == "blue-green" else self.settings.stages

    @property
    def baseline_share(self) -> float:
        """The baseline's share in the state of that name, percent; with 0 there is no such state."""
        return min(self.stages[0], 100.0 - self.stages[0])

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Where people are needed; for agents of `two_people` two of them at each gate, and before promotion.

        An `aa` changes nothing, and waits for nobody; a `blue-green` asks everybody before its one step.
        """
        if self.strategy == "aa":
            return ()
        gates = self.settings.gates
        if self._two_people:
            if not any(gate.before == "promotion" for gate in gates):
                gates = (*gates, Gate("promotion"))
            gates = tuple(msgspec.structs.replace(gate, needed=max(gate.needed, 2)) for gate in gates)
        if self.strategy == "blue-green":  # all is decided before its one step
            gates = tuple(msgspec.structs.replace(gate, before="100") for gate in gates)
        return gates

    @property
    def judging(self) -> Policy | Tripwires:
        """What the judge is asked for."""
        return msgspec.convert(self.settings.judge, _POLICIES[self.settings.policy], strict=True)

    @property
    def _two_people(self) -> set[str]:
        return set(self.settings.two_people) & self.roles.keys()


def make_plan(
    name: str,
    roles: Mapping[str, str],
    stable: Mapping[str, str],
    *,
    strategy: Strategy | None = None,
    settings: DeployConfig | None = None,
    file: Path | None = None,
    options: Mapping[str, Any] | None = None,
    by: str = "",
    note: str = "",
    now: float = 0.0,
) -> Plan:
    """A plan from the node's settings, then a file, then options; the last one wins.

    Of the judge each says only what it names, and what the node names stands, or is made stricter; nor may it ask
    fewer people than the node does. See `deployment.leeway`.

    Args:
        name: The rollout's.
        roles: The new release of each agent; added to the file's `[roles]`.
        stable: The permanent release of each agent of the node; agents that it does not name run the installed
            package.
        strategy: `canary` where neither it nor the file says one.
        settings: The node's `[deploy]`.
        file: TOML with the keys of `[deploy]`, and `strategy`, `note` and a table `roles` if wanted.
        options: Settings of `[deploy]` by name; None for one that was not given.
        by, note: Who wants it, and what for.
        now: Seconds since the epoch.

    Raises:
        ConfigError: It cannot be read, or a value is wrong; `field` names it.
    """
    said = _read(file) if file else {}
    wanted = {**_texts(said.pop("roles", {}), file), **roles}
    strategy = strategy or said.pop("strategy", "canary")
    note = note or said.pop("note", "")
    for taken in ("strategy", "note"):
        said.pop(taken, None)
    given = {key: value for key, value in (options or {}).items() if value is not None}
    where = str(file) if file and not given else "the plan"
    node = settings or DeployConfig()
    tree = {**msgspec.to_builtins(node), **said, **given}
    if all(isinstance(each.get("judge", {}), dict) for each in (said, given)):
        tree["judge"] = {**node.judge, **said.get("judge", {}), **given.get("judge", {})}
    if strategy == "aa" and not wanted:
        wanted = dict(stable)
    plan = {
        "id": name,
        "roles": wanted,
        "stable": {role: stable.get(role, "") for role in wanted},
        "strategy": strategy,
        "settings": _convert(tree, DeployConfig, where),
        "by": by,
        "note": note,
        "made_at": now,
    }
    made = _convert(plan, Plan, where)
    policy = made.settings.policy
    if node.judge and policy != node.policy:
        raise ConfigError(
            f"{where}: policy: {policy!r} would set aside what [deploy].judge of ark.toml says of {node.policy!r}",
            hint="leave `policy` away, or have the settings taken out of ark.toml",
            field="policy",
        )
    own = _convert(node.judge, _POLICIES[policy], "ark.toml", place="deploy.judge")
    judge = _convert(made.settings.judge, _POLICIES[policy], where, place="judge")
    try:
        check_leeway(node.judge, own, judge)
    except ConfigError as error:
        raise _placed(error, where, "judge") from None
    try:
        check_people(node, made.settings)
    except ConfigError as error:
        raise _placed(error, where) from None
    return made


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}", field="plan") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}", field="plan") from error


def _texts(value: Any, file: Path | None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{file}: roles is no table of releases by agent", field="roles")
    return value


def _convert(tree: Mapping[str, Any], kind: type[Kind], where: str, place: str = "") -> Kind:
    try:
        return msgspec.convert(tree, kind, strict=True)
    except msgspec.ValidationError as error:
        raise _explain(str(error), kind, where, place) from None
    except ConfigError as error:
        raise _placed(error, where, place) from None


def _placed(error: ConfigError, where: str, place: str = "") -> ConfigError:
    field = f"{place}.{error.field}" if place else error.field
    return ConfigError(f"{where}: {field}: {error.message}", hint=error.hint, field=field)


def _explain(message: str, kind: type[msgspec.Struct], where: str, above: str) -> ConfigError:
    """Turn msgspec's words into ours: the setting's name, and the nearest known one for an unknown key."""
    text, _, place = message.partition(" - at ")
    place = re.sub(r"^\$\.?", "", place.strip("`"))
    unknown = re.search(r"unknown field `(.*?)`", text)
    tables: dict[str, type[msgspec.Struct]] = {"gates": Gate, "freeze": FreezeWindow}
    inner = tables.get(place.partition("[")[0], kind)
    full = ".".join(each for each in (above, place) if each)
    if unknown:
        field = f"{full}.{unknown[1]}" if full else unknown[1]
        known = [each.encode_name for each in msgspec.structs.fields(inner)]
        known += ("roles", "strategy", "note") if kind is DeployConfig else ()
        near = difflib.get_close_matches(unknown[1], known, 1, 0.4)
        nearest = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
        return ConfigError(f"{where}: unknown key {field!r}; {nearest}", field=field)
    # What a check of several fields says begins with the name of the first.
    field = full or text.split(" ", maxsplit=1)[0].rstrip(":")
    return ConfigError(f"{where}: {f'{full}: ' if full else ''}{text}", field=field)
