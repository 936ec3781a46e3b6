"""Where the code of a release comes from: a folder, a commit of a git repository, or a wheel.

None of it is run: a commit is read from git's object store, without a checkout, filters or hooks, and a wheel is
read as the archive that it is.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import stat
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from email.parser import BytesParser
from email.policy import compat32
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from deployment.content import (
    DECLARATION,
    MOST_BYTES,
    File,
    ReleaseError,
    Tally,
    check_code,
    check_mode,
    check_path,
    is_cached,
    is_left_out,
    scan,
)

__all__ = ["Source", "from_folder", "from_git", "from_wheel"]

_GIT_TIMEOUT_S = 60
_EXECUTABLE = 0o100
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(NotImplementedError, RuntimeError, EOFError, ValueError),
)
"""What reading an archive can end with."""
_SYMLINK, _SUBMODULE = "120000", "160000"


class Source(NamedTuple):
    """What is released.

    Attributes:
        files: The code, by paths relative to the folder `code`.
        declaration: The text of `ark-release.toml` in it; None where there is none.
        origin: Where it comes from, for the signed statement: `kind`, and a commit or a digest.
        known: Fields of the manifest that the source itself tells.
    """

    files: Mapping[str, File]
    declaration: bytes | None
    origin: dict[str, Any]
    known: Mapping[str, Any] = {}


def from_folder(folder: Path, only: Collection[str] = ()) -> Source:
    """What lies in a folder.

    Args:
        folder: Which.
        only: The packages and modules that are taken, by name; where empty, all.

    Raises:
        ReleaseError: It cannot be read, or holds what no release may.
    """
    try:
        folder = folder.expanduser().resolve(strict=True)
        if not folder.is_dir():
            raise ReleaseError(f"{folder} is no folder", hint="name the folder of your agents, or a wheel")
        files = {
            path: File(content, bool(mode & _EXECUTABLE))
            for path, mode, content in scan(
                folder, lambda path: is_left_out(path) or is_cached(path) or not _is_wanted(path, only)
            )
            if content is not None
        }
        declaration = _declaration(folder / DECLARATION)
    except OSError as error:
        raise ReleaseError(f"cannot read {error.filename or folder}: {error.strerror or error}") from error
    check_code(files)
    read = files if declaration is None else {**files, DECLARATION: File(declaration)}
    return Source(files, declaration, {"kind": "folder", **_commit_of(folder, read, only)})


def from_git(repository: Path, ref: str, subdirectory: str = "", only: Collection[str] = ()) -> Source:
    """What a commit holds. The checkout of the repository, if there is one, is neither read nor changed.

    Args:
        repository: The repository, or a folder in it.
        ref: A commit, a branch or a tag.
        subdirectory: The folder in the repository that is released; where empty, all of it.
        only: The packages and modules that are taken, by name; where empty, all.

    Raises:
        ReleaseError: There is no such commit, or it holds what no release may.
    """
    if subdirectory:
        subdirectory = subdirectory.strip("/")
        check_path(subdirectory)
    try:
        commit = _git(
            repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"
        ).decode()
    except ReleaseError as error:
        raise ReleaseError(
            f"{repository} has no commit {ref!r}",
            hint=error.message if "not a git" in error.message else "",
            field="ref",
        ) from error
    commit = commit.strip()
    try:
        listed = _git(repository, "ls-tree", "-r", "-l", "-z", f"{commit}:{subdirectory}")
    except ReleaseError as error:
        raise ReleaseError(
            f"the commit {commit[:12]} has no folder {subdirectory!r}",
            hint="see --subdirectory",
            field="subdirectory",
        ) from error
    tally, wanted = Tally(), {}
    for line in listed.split(b"\0")[:-1]:
        facts, _, name = line.partition(b"\t")
        mode, _, blob, size = facts.decode().split()
        path = os.fsdecode(name)
        if not _is_taken(path, only):
            continue
        check_path(path)
        if mode == _SUBMODULE:
            raise ReleaseError(
                f"{path} is a submodule, which the commit only names", hint="release it by itself", field=path
            )
        check_mode(stat.S_IFLNK if mode == _SYMLINK else stat.S_IFREG, path)
        if not size.isdecimal():
            raise _lacks(repository, blob)
        tally.add(int(size))
        wanted[path] = (mode, blob)
    blobs = _blobs(repository, sorted({blob for _, blob in wanted.values()}))
    files = {path: File(blobs[blob], bool(int(mode, 8) & _EXECUTABLE)) for path, (mode, blob) in wanted.items()}
    declaration = files.pop(DECLARATION, None)
    check_code(files)
    origin = {"kind": "git", "commit": commit} | ({"subdirectory": subdirectory} if subdirectory else {})
    return Source(files, declaration and declaration.content, origin)


def from_wheel(path: Path, only: Collection[str] = ()) -> Source:
    """What a wheel would install. Name, version and requirements are those that it states.

    Args:
        path: The wheel's file.
        only: The packages and modules that are taken, by name; where empty, all.

    Raises:
        ReleaseError: It cannot be read, is not pure Python, or holds what no release may.
    """
    tally = Tally()
    files: dict[str, File] = {}
    notes: dict[str, File] = {}
    try:
        path = path.expanduser()
        if path.stat().st_size > MOST_BYTES:
            raise ReleaseError(f"{path} is larger than any release")
        whole = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            for member in archive.infolist():
                if member.is_dir():
                    continue
                name = member.filename
                check_path(name)
                if name in files or name in notes:
                    raise ReleaseError(f"{name} is in the wheel twice", field=name)
                above = name.partition("/")[0]
                is_note = above.endswith(".dist-info")
                if not is_note and not _is_taken(name, only):
                    continue
                if above.endswith(".data"):
                    raise ReleaseError(
                        f"{name} would be put elsewhere by an installation, and a release is not installed",
                        hint="keep what the agents need inside their package",
                        field=name,
                    )
                mode = member.external_attr >> 16
                check_mode(mode if stat.S_IFMT(mode) else mode | stat.S_IFREG, name)
                with archive.open(member) as file:
                    content = file.read(tally.left + 1)
                tally.add(len(content))
                (notes if is_note else files)[name] = File(content, bool(mode & _EXECUTABLE))
    except OSError as error:
        raise ReleaseError(f"cannot read {path}: {error.strerror or error}") from error
    except _DAMAGED as error:
        raise ReleaseError(
            f"{path} is no wheel: {error}", hint="build one with `python -m build --wheel`"
        ) from error
    declaration = files.pop(DECLARATION, None)
    known = _stated(notes, path)
    check_code(files)
    origin = {"kind": "wheel", "file": path.name, "digest": {"sha256": hashlib.sha256(whole).hexdigest()}}
    return Source(files, declaration and declaration.content, origin, known)


def _stated(notes: Mapping[str, File], path: Path) -> dict[str, Any]:
    """What a wheel's `.dist-info` says of it."""
    texts = {name.rpartition("/")[2]: file.content for name, file in notes.items() if name.count("/") == 1}
    if "WHEEL" not in texts or "METADATA" not in texts:
        raise ReleaseError(f"{path} is no wheel: it has no .dist-info with WHEEL and METADATA")
    parser = BytesParser(policy=compat32)
    if str(parser.parsebytes(texts["WHEEL"]).get("Root-Is-Purelib", "")).lower() != "true":
        raise ReleaseError(
            f"{path} is made for one platform; a release holds source that people can read",
            hint="install it as a distribution, and name that in `requires`",
        )
    facts = parser.parsebytes(texts["METADATA"])
    known: dict[str, Any] = {"requires": []}
    if facts["Name"] and facts["Version"]:
        known |= {"name": canonicalize_name(facts["Name"]), "version": str(facts["Version"])}
    for text in facts.get_all("Requires-Dist") or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise ReleaseError(f"{path}: Requires-Dist {text!r}: {error}") from error
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        requirement.marker = None
        if canonicalize_name(requirement.name) != "ark-runtime":
            known["requires"].append(str(requirement))
        elif requirement.specifier:
            known["ark"] = str(requirement.specifier)
    return known


def _declaration(path: Path) -> bytes | None:
    try:
        check_mode(path.lstat().st_mode, path.name)
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _is_taken(path: str, only: Collection[str]) -> bool:
    """Whether a release takes a file, by its path in the source."""
    if path == DECLARATION:
        return True
    return _is_wanted(path, only) and not any(is_left_out(each) for each in _and_above(path))


def _is_wanted(path: str, only: Collection[str]) -> bool:
    return not only or path.partition("/")[0].removesuffix(".py") in only


def _and_above(path: str) -> Iterator[str]:
    """A path, and every folder that it lies in."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _commit_of(folder: Path, files: Mapping[str, File], only: Collection[str]) -> dict[str, Any]:
    """The commit that a folder is checked out from, and whether what is taken differs; nothing where there is none.

    The bytes are compared, so what a filter or an attribute makes of them in the checkout is a difference. Git
    would tell them apart by running the filters that the repository names.
    """
    try:
        commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD").decode().strip()
        listed = _git(folder, "ls-tree", "-r", "-z", commit)
    except ReleaseError:
        return {}
    known = {}
    for line in listed.split(b"\0")[:-1]:
        facts, _, name = line.partition(b"\t")
        mode, _, blob = facts.decode().split()
        path = os.fsdecode(name)
        if _is_taken(path, only) and not is_cached(path):
            known[path] = (blob, bool(int(mode, 8) & _EXECUTABLE))
    hashing = hashlib.sha1 if len(commit) == 40 else hashlib.sha256
    found = {
        path: (hashing(b"blob %d\0%b" % (len(file.content), file.content)).hexdigest(), file.executable)
        for path, file in files.items()
    }
    return {"commit": commit, "modified": found != known}


def _blobs(repository: Path, names: list[str]) -> dict[str, bytes]:
    text = _git(repository, "cat-file", "--batch", given="".join(f"{name}\n" for name in names).encode())
    found, at = {}, 0
    for name in names:
        end = text.index(b"\n", at)
        head = text[at:end].split()
        if len(head) != 3 or head[1] != b"blob":
            raise _lacks(repository, name)
        size = int(head[2])
        found[name] = text[end + 1 : end + 1 + size]
        at = end + 2 + size
    return found


def _lacks(repository: Path, name: str) -> ReleaseError:
    return ReleaseError(f"{repository} lacks the object {name}", hint="fetch all of the commit first")


def _git(folder: Path, *arguments: str, given: bytes = b"") -> bytes:
    """What git answers. Nothing of the repository's configuration that runs programs is used, nor the network.

    Only commands that read objects may be asked for: whatever looks at a checkout runs the repository's filters.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
    environment["GIT_ALLOW_PROTOCOL"] = ""  # for a git that does not know GIT_NO_LAZY_FETCH
    command = ["git", "-C", str(folder.expanduser()), *arguments]
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, timeout=_GIT_TIMEOUT_S, env=environment, check=False
        )
    except FileNotFoundError:
        raise ReleaseError("git is not installed", hint="install it, or build from a folder") from None
    except subprocess.TimeoutExpired:
        raise ReleaseError(f"git has not answered within {_GIT_TIMEOUT_S} s: {' '.join(arguments[:1])}") from None
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise ReleaseError(words[-1] if words else f"git {arguments[0]} failed", hint="")
    return done.stdout
