"""From the command line to the field `plan` of `deploy.plan` and `deploy.start`. Pure, but for reading one file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ark.errors import ConfigError

__all__ = ["read_plan_file", "role_and_release", "setting", "stages", "wish"]

_OWN = ("roles", "strategy", "note", "release")
"""Keys of a plan's file that are no settings of `[deploy]`."""


def wish(
    *,
    file: Mapping[str, Any] | None = None,
    release: str = "",
    agents: Iterable[tuple[str, str]] = (),
    strategy: str = "",
    settings: Iterable[tuple[str, Any]] = (),
    note: str = "",
    override: str = "",
) -> dict[str, Any]:
    """What is asked for; an option counts before the file.

    Args:
        file: From `read_plan_file`.
        release: One release for all its agents.
        agents: The release of each agent.
        strategy, note, override: As in `deployment.orders.Wish`.
        settings: Settings of `[deploy]`, a dot in a name for a key of a table; None for one that was not given.

    Raises:
        ConfigError: An agent is named twice.
    """
    said = dict(file or {})
    roles: dict[str, Any] = dict(said.get("roles", {}))
    named: set[str] = set()
    for role, each in agents:
        if role in named:
            raise ConfigError(f"--agent names {role} twice", hint="an agent has one new release", field="agent")
        named.add(role)
        roles[role] = each
    chosen = {key: value for key, value in said.items() if key not in _OWN}
    for key, value in settings:
        if value is not None:
            _set(chosen, key, value)
    wanted = {
        "release": release or ("" if named else said.get("release", "")),
        "roles": roles,
        "strategy": strategy or said.get("strategy", ""),
        "settings": chosen,
        "note": note or said.get("note", ""),
        "override": override,
    }
    return {key: value for key, value in wanted.items() if value}


def read_plan_file(path: Path) -> dict[str, Any]:
    """The content of a plan's file.

    Raises:
        ConfigError: It cannot be read, or is not TOML.
    """
    try:
        said = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}", field="plan") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}", field="plan") from error
    if not isinstance(said.get("roles", {}), dict):
        raise ConfigError(f"{path}: roles is no table of releases by agent", field="roles")
    return said


def role_and_release(text: str) -> tuple[str, str]:
    """The two parts of `joey=3fa81c04`.

    Raises:
        ValueError: It has not both.
    """
    role, _, release = (part.strip() for part in text.partition("="))
    if not role or not release:
        raise ValueError("write ROLE=DIGEST, such as joey=3fa81c04")
    return role, release


def stages(text: str) -> list[float]:
    """The percents of `10,25,50,100`; what they must be the node checks.

    Raises:
        ValueError: One is no number.
    """
    try:
        return [float(part) for part in text.replace("%", "").split(",") if part.strip()]
    except ValueError:
        raise ValueError("write percents, such as 10,25,50,100") from None


def setting(text: str) -> tuple[str, Any]:
    """The name and the value of `shadow_s=30`, `judge.alpha=0.05` or `two_people=[]`.

    The value is TOML's; what is none is a text, so that `inconclusive=abort` needs no quotes.

    Raises:
        ValueError: There is no name, or no value.
    """
    key, is_given, value = (part.strip() for part in text.partition("="))
    if not key or not is_given or not value:
        raise ValueError("write KEY=VALUE, such as shadow_s=30")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    """Put a value at its place in nested tables, without changing those of the file."""
    name, _, rest = key.partition(".")
    if not rest:
        tree[name] = value
        return
    below = tree.get(name)
    tree[name] = dict(below) if isinstance(below, dict) else {}
    _set(tree[name], rest, value)
