"""Releases: immutable folders `releases/<digest>/` in a home, each the code of some agents in one version.

The folder's name is the digest of its content, so it cannot hold anything else without being noticed; a signature
binds that digest to a key that the home trusts. `open_release` checks both, and is cheap enough for every process
that is about to run one. A release brings the source of its agents; distributions come from the environment, and
are checked; the Graveyard and ARK are those that are installed.

What this does not protect from: whoever can write to the home as the node's user can trust a key of his own, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import apsw
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import ark
from ark.equipment import INSTALLED as FROM_PACKAGE
from ark.equipment import Equipment, permanent_releases
from ark.errors import JournalError, RoutingError
from ark.files import settle
from ark.home import Home
from ark.journal import open_for_reading
from ark.migration import MARK, release_of_keys
from ark.routing import read_table
from ark.state import read_core
from deployment import attestation, content, dsse, manifest, release_folder, release_keys, sbom
from deployment.content import CODE, File, ReleaseError
from deployment.manifest import Environment, Manifest
from deployment.release_archive import pack, unpack
from deployment.release_folder import BILL, ENVELOPE, MANIFEST, Admission, Bundle
from deployment.sources import Source

__all__ = [
    "INSTALLED",
    "Examination",
    "Release",
    "ReleaseError",
    "admit",
    "build",
    "examine",
    "export",
    "in_use",
    "installed",
    "open_release",
    "remove",
    "resolve",
    "unpack",
]

INSTALLED = "installed"
"""Stands, as does the empty text, for the agents of the installed package."""

_SHORT = 12
_SHORTEST_PREFIX = 4
_OF_ENVIRONMENT = ("message_schema", "ark", "requires")
"""Faults that lie with where a release is, and not with the release."""


class Release(msgspec.Struct, frozen=True):
    """A version of some agents that may be run.

    Attributes:
        digest: Its name; empty for the installed package.
        name, version: For people.
        agents: `module:Class` by role. Roles that are not in it stay as they are.
        folder: Where it is; None for the installed package.
        manifest: What it says of itself; None for the installed package.
        signed_by: The name of the trusted key that signed it; None where nobody did.
    """

    digest: str
    name: str
    version: str
    agents: Mapping[str, str]
    folder: Path | None = None
    manifest: Manifest | None = None
    signed_by: str | None = None

    @property
    def code(self) -> Path | None:
        """What must be put first where the process looks for modules."""
        return self.folder and self.folder / CODE

    @property
    def short(self) -> str:
        """The digest as people say it."""
        return self.digest[:_SHORT] or INSTALLED

    def equipment(self, role: str) -> Equipment:
        """What a process of a role runs from with this release.

        Raises:
            ReleaseError: It brings no such agent.
        """
        if self.code is None:
            return FROM_PACKAGE
        if role not in self.agents:
            raise ReleaseError(
                f"the release {self.short} ({self.name} {self.version}) brings no agent {role!r}",
                hint=f"it brings {', '.join(sorted(self.agents))}",
                field="agents",
            )
        migration = self.manifest.migrations.get(role) if self.manifest else None
        up, down = (migration.up, migration.down or "") if isinstance(migration, manifest.Migration) else ("", "")
        return Equipment(self.digest, self.name, self.version, str(self.code), self.agents[role], up, down)


class Examination(msgspec.Struct, frozen=True):
    """What was found at a release.

    Attributes:
        digest: Its name.
        manifest: What it says of itself; None where that cannot be read.
        signed_by: The trusted keys that have signed it.
        unsigned: Whether it was let in without a signature.
        faults: Why it must not be run; none for a good one.
        notes: What is worth knowing beside that.
        statement: What was signed; empty where nothing was.
    """

    digest: str
    manifest: Manifest | None
    signed_by: tuple[str, ...]
    unsigned: bool
    faults: tuple[ReleaseError, ...]
    notes: tuple[str, ...] = ()
    statement: dict[str, Any] = {}


def installed(configured: Mapping[str, str]) -> Release:
    """The installed package as a release: ARK's own version, and the agents that the configuration names."""
    return Release("", INSTALLED, ark.__version__, dict(configured))


def open_release(
    home: Home,
    which: str,
    *,
    configured: Mapping[str, str] | None = None,
    environment: Environment | None = None,
) -> Release:
    """A release that may be run, verified by reading every file of it.

    Args:
        home: Where it is.
        which: Its digest or the beginning of it; `installed` or nothing for the installed package.
        configured: `module:Class` by role as the configuration has it, for the installed package; where absent, as
            the node's last start had it.
        environment: What it would run on; this process's own where absent.

    Raises:
        ReleaseError: There is none, or it must not be run.
    """
    if which in ("", INSTALLED):
        if configured is None:
            agents = home.settings().get("agents", {})
            configured = {role: each["class"] for role, each in agents.items()}
        return installed(configured)
    found = examine(home, which, environment=environment)
    if found.faults or found.manifest is None:
        fault = found.faults[0]
        raise ReleaseError(
            f"the release {found.digest[:_SHORT]} must not be run: {fault.message}",
            hint=fault.hint,
            field=fault.field,
        )
    return Release(
        digest=found.digest,
        name=found.manifest.name,
        version=found.manifest.version,
        agents=found.manifest.agents,
        folder=release_folder.place_of(home, found.digest),
        manifest=found.manifest,
        signed_by=found.signed_by[0] if found.signed_by else None,
    )


def examine(home: Home, which: str, *, environment: Environment | None = None) -> Examination:
    """Everything that is right and wrong about a release of a home.

    Raises:
        ReleaseError: There is none.
    """
    digest = resolve(home, which)
    try:
        bundle, admission = release_folder.load(release_folder.place_of(home, digest))
    except ReleaseError as fault:
        return Examination(digest, None, (), False, (fault,))
    except OSError as error:
        where = error.filename or release_folder.place_of(home, digest)
        return Examination(
            digest, None, (), False, (ReleaseError(f"cannot read {where}: {error.strerror or error}"),)
        )
    return _judge(bundle, home, digest, unsigned_allowed=admission.unsigned, environment=environment)


def build(
    home: Home,
    source: Source,
    *,
    said: Mapping[str, Any] | None = None,
    where: str = content.DECLARATION,
    key: Ed25519PrivateKey | None,
    irreversible: bool = False,
    by: str,
    at: float,
) -> tuple[Release, bool]:
    """Make a release, or find that it is there.

    Args:
        home: Where it goes; `prepare` was called on it.
        source: The code.
        said: Fields of the manifest that count before those of the source.
        where: What the declaration is called in errors.
        key: Signs it; None for an unsigned one, which the home then runs nevertheless.
        irreversible: Whether an agent may have no way back.
        by: Who builds, by login.
        at: Seconds since the epoch.

    Returns:
        The release, and whether it is new.

    Raises:
        ReleaseError: It cannot be built, or could not be run here.
    """
    fields = {**source.known, **(manifest.fields_of(source.declaration, where) if source.declaration else {})}
    stated = {**fields, **(said or {})}
    if said and "agents" in said and "migrations" not in stated:
        stated["migrations"] = dict.fromkeys(said["agents"], manifest.RESTART)
    if not source.declaration and "agents" not in stated:
        raise ReleaseError(
            f"there is no {content.DECLARATION} that says which agents this is",
            hint="write one (docs/releases.md), or give --agent ROLE=module:Class, --name and --version",
        )
    made = manifest.declare(stated, where if source.declaration else "the options", irreversible=irreversible)
    manifest.check_against_code(made, source.files)
    files = {
        **{f"{CODE}/{path}": file for path, file in source.files.items()},
        MANIFEST: File(manifest.encode(made)),
        BILL: File(sbom.bill(made)),
    }
    digest = content.digest(content.entries(files))
    envelope = None if key is None else attestation.sign(files, made, source.origin, key, at)
    return _take_in(home, Bundle(files, envelope), Admission(1, "built", at, by, unsigned=key is None), digest)


def admit(
    home: Home,
    bundle: Bundle,
    *,
    expected: str = "",
    allow_unsigned: bool = False,
    irreversible: bool = False,
    by: str,
    at: float,
) -> tuple[Release, bool]:
    """Take in a release that was made elsewhere, or find that it is there.

    Args:
        home: Where it goes; `prepare` was called on it.
        bundle: What came.
        expected: The digest that it must have; where empty, the one that was signed.
        allow_unsigned: Whether one without any signature is taken, too. One with a signature that is wrong, or of a
            key that is not trusted, is not.
        irreversible: Whether one is taken whose agents have no way back.
        by: Who brings it, by login.
        at: Seconds since the epoch.

    Returns:
        The release, and whether it is new.

    Raises:
        ReleaseError: It is refused.
    """
    digest = content.digest(content.entries(bundle.files))
    if expected and digest != expected:
        raise ReleaseError(f"its digest is {digest}, not {expected}", hint="ask for it again", field="digest")
    if bundle.envelope is None and not allow_unsigned:
        raise ReleaseError(
            f"the release {digest[:_SHORT]} is not signed",
            hint="have it signed where it was built; --allow-unsigned takes it as it is",
            field=ENVELOPE,
        )
    found = _judge(bundle, home, digest, unsigned_allowed=allow_unsigned)
    for fault in found.faults:
        raise ReleaseError(f"the release is refused: {fault.message}", hint=fault.hint, field=fault.field)
    assert found.manifest is not None
    manifest.check_against_code(found.manifest, release_folder.code_of(bundle.files))
    stranded = found.manifest.without_way_back
    if stranded and not irreversible:
        raise ReleaseError(
            f"the release is refused: the state of {', '.join(stranded)} has no way down",
            hint="--irreversible takes it nevertheless",
            field=f"migrations.{stranded[0]}.down",
        )
    admission = Admission(1, "imported", at, by, unsigned=bundle.envelope is None)
    return _take_in(home, bundle, admission, digest)


def export(home: Home, which: str, file: Path) -> Release:
    """Write a release into a tar file, the same bytes each time.

    Raises:
        ReleaseError: It must not be run here, or the file cannot be written.
    """
    release = open_release(home, which)
    if release.folder is None:
        raise ReleaseError("what is installed is no release", hint="build one from its source")
    bundle, _ = release_folder.load(release.folder)
    pack(bundle, release.digest, file)
    return release


def remove(home: Home, which: str) -> str:
    """Delete a release that nothing names.

    Returns:
        Its digest.

    Raises:
        ReleaseError: There is none, or it is in use.
    """
    with release_folder.locked(home):
        digest = resolve(home, which)
        used = in_use(home).get(digest)
        if used:
            raise ReleaseError(
                f"the release {digest[:_SHORT]} is in use ({', '.join(used)})",
                hint="put another in its place first; until then a rollback or a restart needs it",
            )
        gone = release_folder.partial(home)
        try:
            release_folder.place_of(home, digest).rename(gone)
            release_folder.delete(gone)
        except OSError as error:
            raise ReleaseError(f"cannot remove {error.filename or digest}: {error.strerror or error}") from error
        return digest


def resolve(home: Home, which: str) -> str:
    """The digest that a prefix stands for.

    Raises:
        ReleaseError: None, or several, begin so.
    """
    known = release_folder.digests(home)
    found = [digest for digest in known if digest.startswith(which.lower())]
    if len(which) < _SHORTEST_PREFIX or not found:
        raise ReleaseError(
            f"there is no release {which!r} in {home.path}"
            if len(which) >= _SHORTEST_PREFIX
            else f"{which!r} is too short: name at least {_SHORTEST_PREFIX} digits of the digest",
            hint="see `ark-run release list`",
            field="release",
        )
    if len(found) > 1:
        raise ReleaseError(
            f"{len(found)} releases begin with {which!r}: {', '.join(each[:_SHORT] for each in found)}",
            hint="name more of the digest",
            field="release",
        )
    return found[0]


def in_use(home: Home) -> dict[str, list[str]]:
    """What names which release, in words: the permanent and provisional one of each role, what arms run, and whose
    state only that release can lead back to what it was before.

    Raises:
        ReleaseError: A file that says so cannot be read: then nothing is known to be free.
    """
    used: dict[str, list[str]] = {}
    try:
        named = [(each, f"{role}: permanent") for role, each in permanent_releases(home.permanent_file).items()]
        table = read_table(home.routes_file)
    except RoutingError as error:
        raise ReleaseError(f"cannot tell which releases are in use: {error.message}", hint=error.hint) from error
    if table is not None:
        named += [(each, f"{role}: provisional") for role, each in table.provisional.items()]
        named += [(each.equipment, f"{each.role}: {each.arm}") for each in table.arms.values()]
    for equipment, words in named:
        if equipment.digest:
            used.setdefault(equipment.digest, []).append(words)
    for digest, words in (*_migrated(home), *_rolled_out(home)):
        used.setdefault(digest, []).append(words)
    return used


def _migrated(home: Home) -> Iterator[tuple[str, str]]:
    """The releases that an agent's state is for, and which agent it is."""
    try:
        core = read_core(home)
        if core is None:
            return
        try:
            for each in core.entries():
                digest = release_of_keys(each.value) if each.key == MARK else ""
                if digest:
                    yield digest, f"{each.agent}: its state"
        finally:
            core.close()
    except JournalError as error:
        raise ReleaseError(
            f"cannot tell which releases are in use: {error.message}", hint="mend or restore that file"
        ) from error


def _rolled_out(home: Home) -> Iterator[tuple[str, str]]:
    """The releases of rollouts that are planned or under way, and which rollout it is."""
    path = home.data / "deploy.db"
    if not path.exists():
        return
    try:
        connection = open_for_reading(path)
        try:
            rows: list[Any] = connection.execute("SELECT id, content FROM rollouts WHERE NOT over").fetchall()
        finally:
            connection.close()
        for name, content in rows:
            plan = msgspec.json.decode(content)["rollout"]["plan"]
            for digest in {*plan["roles"].values(), *plan["stable"].values()} - {""}:
                yield digest, f"the rollout {name}"
    except (JournalError, apsw.Error, msgspec.DecodeError, KeyError, TypeError) as error:
        raise ReleaseError(
            f"cannot tell which releases are in use: {path}: {error}", hint="mend or restore that file"
        ) from error


def _judge(
    bundle: Bundle,
    home: Home,
    digest: str,
    *,
    unsigned_allowed: bool,
    environment: Environment | None = None,
) -> Examination:
    """Every doubt about a release. Where its content is not the one that its name says, nothing further is said."""
    faults: list[ReleaseError] = []
    notes: list[str] = []
    said: Manifest | None = None
    signed: tuple[str, ...] = ()
    statement: dict[str, Any] = {}
    if content.digest(content.entries(bundle.files)) != digest:
        fault = ReleaseError(
            "its files are not those that its digest stands for: something was changed, added or taken away",
            hint="remove it, and import or build it again",
            field="digest",
        )
        return Examination(digest, None, (), False, (fault,))
    trusted = release_keys.trusted(home)
    notes += trusted.faults
    # The signature first: where several things are wrong, that is the one to be told.
    if bundle.envelope is None:
        if not unsigned_allowed:
            faults.append(
                ReleaseError(
                    "it is not signed", hint="have it signed, and build or import it again", field=ENVELOPE
                )
            )
    else:
        try:
            signed, statement = attestation.check(bundle, digest, trusted.keys)
        except (ReleaseError, dsse.EnvelopeError) as fault:
            message = "; ".join((fault.message, *trusted.faults))
            faults.append(ReleaseError(message, hint=fault.hint, field=fault.field or ENVELOPE))
    try:
        said = manifest.parse(_file(bundle, MANIFEST))
        content.check_code(release_folder.code_of(bundle.files))
        sbom.check(_file(bundle, BILL), said)
    except ReleaseError as fault:
        faults.append(fault)
    if said is not None:
        here = environment or Environment()
        faults += manifest.unmet(said, here)
        if not faults:
            for name, version in sbom.components(bundle.files[BILL].content).items():
                found = here.version_of(name)
                if found != version:
                    notes.append(f"it was built with {name} {version}; here is {found or 'none'}")
        if said.without_way_back:
            notes.append(f"there is no way back for the state of {', '.join(said.without_way_back)}")
    unsigned = bundle.envelope is None and unsigned_allowed
    return Examination(digest, said, signed, unsigned, tuple(faults), tuple(notes), statement)


def _take_in(home: Home, bundle: Bundle, admission: Admission, digest: str) -> tuple[Release, bool]:
    """Put a release into a home, under its name at once or not at all."""
    try:
        with release_folder.locked(home):
            place = release_folder.place_of(home, digest)
            is_new = not place.exists()
            if not is_new:
                _renew(home, digest, bundle, admission)
            else:
                release_folder.write(home, bundle, admission).rename(place)
                settle(place.parent)
    except OSError as error:
        raise ReleaseError(
            f"cannot write {error.filename or home.path / 'releases'}: {error.strerror or error}",
            hint="is the disk full or read-only?",
        ) from error
    try:
        return open_release(home, digest), is_new
    except ReleaseError:
        if is_new:
            release_folder.delete(place)
        raise


def _renew(home: Home, digest: str, bundle: Bundle, admission: Admission) -> None:
    """Give a release that is there the signature that it lacks. One that is damaged is written anew."""
    found = examine(home, digest)
    place = release_folder.place_of(home, digest)
    is_whole = all(fault.field in _OF_ENVIRONMENT for fault in found.faults)
    if is_whole and (found.signed_by or bundle.envelope is None):
        return
    aside = release_folder.partial(home)
    fresh = release_folder.write(home, bundle, admission)
    place.rename(aside)
    fresh.rename(place)
    settle(place.parent)
    release_folder.delete(aside)


def _file(bundle: Bundle, name: str) -> bytes:
    if name not in bundle.files:
        raise ReleaseError(f"it has no {name}", hint="name what `ark-run release export` wrote", field=name)
    return bundle.files[name].content
