"""What an agent runs from: the release of each role that is permanent, and the one that is on probation.

The permanent ones stand in `data/releases.json` and outlive everything. What is provisional stands in the routing
table, under its lease: a supervisor that finds the lease run out goes back to the permanent release by itself, as
Erlang/OTP does after a restart that nobody made permanent.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from ark.errors import ArkError, BootError, RoutingError
from ark.files import replace_file
from ark.home import Home
from ark.host import load_object

__all__ = ["INSTALLED", "ArmSpec", "Equipment", "permanent_releases", "verify_release", "write_permanent_releases"]


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


def verify_release(home: Home, equipment: Equipment) -> None:
    """Read every file of a release before any of its code runs: it may have been changed since it was let in.

    Raises:
        BootError: It must not be run.
    """
    if not equipment.digest:
        return
    open_release = load_object(_OPEN_RELEASE)
    try:
        open_release(home, equipment.digest)
    except ArkError as error:
        raise BootError(
            f"the release {equipment.release} that {equipment.class_} runs from must not be run: {error.message}",
            hint=error.hint,
        ) from error


def write_permanent_releases(path: Path, roles: Mapping[str, Equipment]) -> None:
    """Replace the file, so that it is the old one or the new one whatever happens, also to the machine."""
    content = msgspec.json.format(msgspec.json.encode(_Permanent(dict(roles)))) + b"\n"
    replace_file(path, content, durable=True)
