"""Settings of an agent from `ark.toml` as a typed value; a wrong key names the nearest known one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from ark.errors import ConfigError

__all__ = ["read"]

Settings = TypeVar("Settings", bound=msgspec.Struct)


def read(kind: type[Settings], settings: Mapping[str, Any], agent: str) -> Settings:
    """Turn the settings of one agent into a struct of the given kind.

    Args:
        kind: A struct with a default for every field, and with `forbid_unknown_fields`.
        settings: What stands under `[agents.<agent>.settings]`.
        agent: The agent's name in the pipeline, for the error.

    Raises:
        ConfigError: A key is unknown, or a value is of the wrong type or out of bounds.
    """
    place = f"agents.{agent}.settings"
    try:
        return msgspec.convert(dict(settings), kind)
    except msgspec.ValidationError as error:
        unknown = re.search(r"unknown field `([^`]*)`", str(error))
        if unknown is None:
            raise ConfigError(f"{place}: {error}", field=place) from error
        known = list(kind.__struct_fields__)
        near = difflib.get_close_matches(unknown[1], known, 1, 0.4)
        nearest = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
        field = f"{place}.{unknown[1]}"
        raise ConfigError(f"unknown key {field!r}; {nearest}", field=field) from error
