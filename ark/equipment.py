"""What an agent runs from: the release of each role that is permanent, and the one that is on probation.

The permanent ones stand in `data/releases.json` and outlive everything. What is provisional stands in the routing
table, under its lease: a supervisor that finds the lease run out goes back to the permanent release by itself, as
Erlang/OTP does after a restart that nobody made permanent.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ark.errors import ArkError, BootError, RoutingError
from ark.files import replace_file
from ark.home import Home
from ark.host import load_object

__all__ = [
    "INSTALLED",
    "ArmSpec",
    "Equipment",
    "load_agent",
    "load_released",
    "permanent_releases",
    "verify_release",
    "write_permanent_releases",
]


_OPEN_RELEASE = "deployment.releases:open_release"
"""Who knows what a release is, as text: the runtime knows nobody who brings one out."""


class Equipment(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one process runs from.

    Attributes:
        digest: SHA-256 of the release; empty for the installed package.
        name, version: The release's own.
        code: The folder that is put first on `sys.path`.
        class_: The agent's class as `module:Class`; empty for the configured one.
        up, down: Its migrations, as `module:function`; empty for none. See `ark.migration`.
    """

    digest: str = ""
    name: str = ""
    version: str = ""
    code: str = ""
    class_: str = msgspec.field(default="", name="class")
    up: str = ""
    down: str = ""

    @property
    def release(self) -> str:
        """The release's short name; empty for the installed package."""
        return self.digest[:12]


INSTALLED = Equipment()
"""The package that ARK itself runs from."""


class ArmSpec(msgspec.Struct, frozen=True):
    """An arm that is to run.

    Attributes:
        role: The agent whose signals it is shown.
        arm: `canary` or `baseline`.
        equipment: What it runs from.
    """

    role: str
    arm: str
    equipment: Equipment = INSTALLED


class _Permanent(msgspec.Struct, frozen=True):
    roles: dict[str, Equipment] = {}


_decoder = msgspec.json.Decoder(_Permanent)


def permanent_releases(path: Path) -> dict[str, Equipment]:
    """The permanent release of each role that has another than the installed package.

    Args:
        path: `data/releases.json` of the home.

    Raises:
        RoutingError: The file cannot be read. Nobody may guess then what is to trade.
    """
    try:
        return _decoder.decode(path.read_bytes()).roles
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RoutingError(
            f"{path} cannot be read: {error}",
            hint="put it back from a backup, or remove it to run every agent from the installed package",
        ) from error


def verify_release(home: Home, role: str, equipment: Equipment) -> Equipment:
    """Read every file of a release before any of its code runs: it may have been changed since it was let in.

    Args:
        home: Where it is.
        role: The agent that is to run from it.
        equipment: Which; only its digest counts.

    Returns:
        What was verified, where it is now: when it became permanent, the home may have been elsewhere.

    Raises:
        BootError: It must not be run.
    """
    if not equipment.digest:
        return equipment
    open_release = load_object(_OPEN_RELEASE)
    try:
        verified: Equipment = open_release(home, equipment.digest).equipment(role)
    except ArkError as error:
        raise BootError(
            f"the release {equipment.release} that {role} runs from must not be run: {error.message}",
            hint=error.hint,
        ) from error
    return verified


def load_agent(home: Home, role: str, equipment: Equipment, *, class_: str, path: str) -> tuple[type, Equipment]:
    """Import an agent's class into this process, from nowhere but what was verified.

    Args:
        home: The node's.
        role: The agent.
        equipment: What the process is to run from.
        class_: The configured class as `module:Class`, where the release brings none.
        path: The configured folder of its modules; empty for none.

    Returns:
        The class, and what it runs from as `verify_release` gives it.

    Raises:
        ArkError: It cannot be imported.
        BootError: It must not be run, or is another than the release's.
    """
    equipment = verify_release(home, role, equipment)  # before anything of it could be imported
    for folder in (path, equipment.code):
        if folder:
            sys.path.insert(0, folder)
    if equipment.code:
        sys.dont_write_bytecode = True  # a release is never written to
    return load_released(equipment.class_ or class_, equipment.code), equipment


def load_released(place: str, code: str) -> Any:
    """Import what `module:name` names from a release, whose folder was put first on `sys.path`.

    Args:
        place: What to import.
        code: The folder; empty for the installed package, which may come from anywhere.

    Raises:
        ArkError: There is no such module, or no such name in it.
        BootError: The module, or one that it could import, is another than the release's.
    """
    found = load_object(place)
    if not code:
        return found
    folder = Path(code).resolve()
    its_own = {path.relative_to(folder).parts[0].removesuffix(".py") for path in folder.rglob("*.py")}
    its_own.add(place.partition(":")[0].partition(".")[0])
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] in its_own and file and not Path(file).resolve().is_relative_to(folder):
            raise BootError(
                f"{name} is imported from {file}, and not from the release that was verified in {folder}",
                hint="rename the module, or add the __init__.py that its folder lacks, and build the release again",
            )
    return found


def write_permanent_releases(path: Path, roles: Mapping[str, Equipment]) -> None:
    """Replace the file, so that it is the old one or the new one whatever happens, also to the machine."""
    content = msgspec.json.format(msgspec.json.encode(_Permanent(dict(roles)))) + b"\n"
    replace_file(path, content, durable=True)
