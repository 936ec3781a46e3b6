"""The folder of a release in a home: written once and whole, read only, read with suspicion.

    code/               put first where the agent's process looks for modules
    manifest.json       what the release says of itself
    sbom.cdx.json       what it requires, in exact versions
    release.dsse.json   the signature over all of that
    admission.json      how it came into this home

Its name is the digest of the first three (`deployment.content`). Files have mode 0444, or 0555 where they can be
run, folders 0555.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from ark.files import settle
from ark.home import Home
from deployment import content
from deployment.content import CODE, File, ReleaseError

__all__ = [
    "ADMISSION",
    "BILL",
    "ENVELOPE",
    "MANIFEST",
    "Admission",
    "Bundle",
    "code_of",
    "delete",
    "digests",
    "load",
    "locked",
    "partial",
    "place_of",
    "read_admission",
    "size",
    "write",
]

MANIFEST, BILL, ENVELOPE, ADMISSION = "manifest.json", "sbom.cdx.json", "release.dsse.json", "admission.json"

EXECUTABLE = 0o100
FILE, PROGRAM, FOLDER = 0o444, 0o555, 0o555
_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PARTIAL = ".partial-"


class Bundle(NamedTuple):
    """A release as bytes, wherever they come from.

    Attributes:
        files: What the digest covers, by path.
        envelope: The signature's file; None where there is none.
    """

    files: Mapping[str, File]
    envelope: bytes | None


class Admission(msgspec.Struct, frozen=True):
    """How a release came into a home: the file `admission.json`.

    Attributes:
        format: The version of this format.
        how: `built` here, or `imported`.
        at: When, seconds since the epoch.
        by: Who did it, by login.
        unsigned: Whether somebody let it in without a signature.
    """

    format: Literal[1]
    how: Literal["built", "imported"]
    at: float
    by: str
    unsigned: bool = False


def load(place: Path) -> tuple[Bundle, Admission]:
    """A release as it stands in a home.

    Raises:
        ReleaseError: Something in it can be written, or must not be there.
        OSError: It cannot be read.
    """
    if place.is_symlink() or not place.is_dir():
        raise ReleaseError(f"{place} is no folder", hint="remove it, and import or build it again")
    files, folders, needed = {}, {""}, {""}
    _refuse_writable(place.stat().st_mode, place, "the release's folder")
    for path, mode, text in content.scan(place):
        _refuse_writable(mode, place, path)
        if text is None:
            folders.add(path)
            continue
        files[path] = File(text, bool(mode & EXECUTABLE))
        above = path.rpartition("/")[0]
        while above:
            needed.add(above)
            above = above.rpartition("/")[0]
    if folders != needed:
        raise ReleaseError(
            f"the folder {min(folders - needed)} is empty, and was not there when the release was made",
            hint="remove the release, and import or build it again",
        )
    admission = read_admission(place)
    files.pop(ADMISSION, None)
    envelope = files.pop(ENVELOPE, None)
    return Bundle(files, envelope and envelope.content), admission


def write(home: Home, bundle: Bundle, admission: Admission) -> Path:
    """Write a release, whole and on disk, into a folder that is not yet under its name; give that folder.

    Raises:
        OSError: It cannot be written; then nothing is left of it.
    """
    fresh = partial(home)
    files = dict(bundle.files)
    if bundle.envelope is not None:
        files[ENVELOPE] = File(bundle.envelope)
    files[ADMISSION] = File(msgspec.json.format(msgspec.json.encode(admission)) + b"\n")
    try:
        fresh.mkdir(mode=0o700)
        for path, file in files.items():
            target = fresh / path
            target.parent.mkdir(parents=True, exist_ok=True)
            mode = PROGRAM if file.executable else FILE
            descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as stream:
                stream.write(file.content)
                stream.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
        for folder, _, _ in os.walk(fresh, topdown=False):
            os.chmod(folder, FOLDER)
            settle(Path(folder))
    except OSError:
        delete(fresh)
        raise
    return fresh


def read_admission(place: Path) -> Admission:
    """How a release came into its home; without a word on that, it was imported, and nobody let it in unsigned.

    Raises:
        ReleaseError: What stands there cannot be read.
    """
    try:
        return msgspec.json.decode((place / ADMISSION).read_bytes(), type=Admission)
    except FileNotFoundError:
        return Admission(1, "imported", 0.0, "")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ReleaseError(f"{ADMISSION} cannot be read: {error}", field=ADMISSION) from error


def code_of(files: Mapping[str, File]) -> dict[str, File]:
    """The files below `code`.

    Raises:
        ReleaseError: There is another file than these, the manifest and the bill of materials.
    """
    found = {}
    for path, file in files.items():
        above, _, name = path.partition("/")
        if above == CODE and name:
            found[name] = file
        elif path not in (MANIFEST, BILL):
            raise ReleaseError(f"{path} is no part of a release", field=path)
    return found


@contextmanager
def locked(home: Home) -> Iterator[None]:
    """One at a time writes to the releases of a home. What an earlier one left unfinished is cleared away."""
    folder = home.path / "releases"
    try:
        descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ReleaseError(f"cannot write {folder}: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for left in folder.glob(f"{_PARTIAL}*"):
            delete(left)
        yield
    finally:
        os.close(descriptor)


def digests(home: Home) -> list[str]:
    """The releases of a home, good or not."""
    try:
        names = os.listdir(home.path / "releases")
    except OSError:
        return []
    return sorted(name for name in names if _DIGEST.fullmatch(name))


def place_of(home: Home, digest: str) -> Path:
    """Where a release is, or would be."""
    return home.path / "releases" / digest


def size(place: Path) -> int:
    """How many bytes the files of a release take."""
    return sum(path.lstat().st_size for path in place.rglob("*") if not path.is_dir())


def delete(folder: Path) -> None:
    """Delete a folder though nothing in it can be written."""
    for place, _, _ in os.walk(folder):
        os.chmod(place, 0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _refuse_writable(mode: int, place: Path, path: str) -> None:
    if mode & _WRITE:
        raise ReleaseError(
            f"{path} has mode {stat.S_IMODE(mode):04o} and can be written",
            hint=f"chmod -R a-w {place}, and ask who made it so",
            field=path,
        )


def partial(home: Home) -> Path:
    """A fresh name for a folder that is no release yet, or no longer."""
    return home.path / "releases" / f"{_PARTIAL}{secrets.token_hex(4)}"
