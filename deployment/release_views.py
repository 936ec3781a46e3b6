"""Releases for people: those of a home, and how two of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ark.home import Home
from deployment import content, release_folder, sbom
from deployment.content import File, ReleaseError
from deployment.manifest import Environment
from deployment.release_folder import BILL, Admission
from deployment.releases import Release, examine, in_use

__all__ = ["Comparison", "Listing", "diff", "listing"]


class Listing(msgspec.Struct, frozen=True):
    """A release in a home, for people.

    Attributes:
        digest, name, version: What it is; the latter two are empty where its manifest cannot be read.
        agents: `module:Class` by role.
        signed_by: The trusted key that signed it; None where nobody did.
        unsigned: Whether it was let in without a signature.
        size: Bytes that its files take.
        at: When it came into this home, seconds since the epoch; None where that is not known.
        by, how: Who brought it, and whether it was built here.
        used: What names it: `joey: permanent`, ....
        fault: Why it cannot be run; empty for a good one.
    """

    digest: str
    name: str
    version: str
    agents: Mapping[str, str]
    signed_by: str | None
    unsigned: bool
    size: int
    at: float | None
    by: str
    how: str
    used: tuple[str, ...]
    fault: str


class Comparison(msgspec.Struct, frozen=True):
    """How one release differs from another.

    Attributes:
        before, after: Their short digests, or `installed`.
        added, removed, changed: Files of the code; empty where one of them is the installed package.
        files_compared: Whether both have files of their own to compare.
        distributions: Versions before and after, None where one of them does not need the distribution.
        manifest: Fields of the manifest before and after, but for the format.
    """

    before: str
    after: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    files_compared: bool = False
    distributions: dict[str, tuple[str | None, str | None]] = {}
    manifest: dict[str, tuple[Any, Any]] = {}


def listing(home: Home, *, environment: Environment | None = None) -> list[Listing]:
    """All releases of a home, the newest first, each verified."""
    used = in_use(home)
    found = []
    for digest in release_folder.digests(home):
        place = release_folder.place_of(home, digest)
        seen = examine(home, digest, environment=environment)
        said = seen.manifest
        try:
            admission: Admission | None = release_folder.read_admission(place)
        except (ReleaseError, OSError):
            admission = None
        found.append(
            Listing(
                digest=digest,
                name=said.name if said else "",
                version=said.version if said else "",
                agents=said.agents if said else {},
                signed_by=seen.signed_by[0] if seen.signed_by else None,
                unsigned=seen.unsigned,
                size=release_folder.size(place),
                at=admission.at if admission else None,
                by=admission.by if admission else "",
                how=admission.how if admission else "",
                used=tuple(used.get(digest, ())),
                fault=str(seen.faults[0]) if seen.faults else "",
            )
        )
    return sorted(found, key=lambda each: (-(each.at or 0), each.digest))


def diff(before: Release, after: Release) -> Comparison:
    """How a release differs from another.

    Raises:
        ReleaseError: One of them cannot be read any more.
    """
    old, new = _contents(before), _contents(after)
    both = before.folder is not None and after.folder is not None
    was, now = (content.entries(release_folder.code_of(files)) for files in (old, new))
    had, has = (sbom.components(files[BILL].content) if files else {} for files in (old, new))
    fields = [
        {key: value for key, value in msgspec.to_builtins(each.manifest).items() if key != "format"}
        if each.manifest
        else {"name": each.name, "version": each.version, "agents": dict(each.agents)}
        for each in (before, after)
    ]
    return Comparison(
        before=before.short,
        after=after.short,
        added=tuple(sorted(now.keys() - was.keys())) if both else (),
        removed=tuple(sorted(was.keys() - now.keys())) if both else (),
        changed=tuple(sorted(path for path in was.keys() & now.keys() if was[path] != now[path])) if both else (),
        files_compared=both,
        distributions={
            name: (had.get(name), has.get(name))
            for name in sorted(had.keys() | has.keys())
            if had.get(name) != has.get(name)
        },
        manifest={
            key: (fields[0].get(key), fields[1].get(key))
            for key in sorted(fields[0].keys() | fields[1].keys())
            if fields[0].get(key) != fields[1].get(key)
        },
    )


def _contents(release: Release) -> Mapping[str, File]:
    if release.folder is None:
        return {}
    try:
        return release_folder.load(release.folder)[0].files
    except OSError as error:
        raise ReleaseError(f"cannot read {error.filename or release.folder}: {error.strerror or error}") from error
