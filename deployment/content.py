"""What a release is made of: regular files by their path, and the one number that names all of them.

The digest of a release is SHA-256, in hexadecimal, over these bytes:

    ark release 1\\n
    100644 <SHA-256 of the file's content, hexadecimal> <path>\\n      for each file; 100755 where it can be run

with the paths below the release's folder, `/` between their parts, in the order of their UTF-8 bytes. Only regular
files count: no owner, no time, no empty folder, and of the mode one bit. A path holds no control character, so each
list has one reading. The same in a shell, in the release's folder:

    { echo "ark release 1"; find code manifest.json sbom.cdx.json -type f | LC_ALL=C sort | while read -r path; do
      [ -x "$path" ] && mode=100755 || mode=100644
      echo "$mode $(sha256sum < "$path" | cut -d' ' -f1) $path"; done; } | sha256sum
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ark.errors import ArkError

__all__ = [
    "CODE",
    "DECLARATION",
    "MOST_BYTES",
    "MOST_FILES",
    "Entry",
    "File",
    "ReleaseError",
    "Tally",
    "check_code",
    "check_mode",
    "check_path",
    "digest",
    "entries",
    "is_cached",
    "is_left_out",
    "scan",
]

CODE = "code"
"""The folder of a release that is put first where the agent's process looks for modules."""
DECLARATION = "ark-release.toml"
"""What a developer writes; the release holds `manifest.json` in its place."""
MOST_FILES = 10_000
MOST_BYTES = 256 * 2**20
"""A release is source code with its data, not a disk."""

_HEADER = "ark release 1\n"
_LONGEST_PATH = 1_000
_CACHE = "__pycache__"
_CACHED = (".pyc", ".pyo")
_LEFT_OUT = (".dist-info", ".egg-info")
_COMPILED = (".so", ".pyd", ".dylib", ".dll")
_OURS = ("ark", "graveyard", "supervisor", "deployment")
_GRAVEYARD = "graveyard"
_SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX


class ReleaseError(ArkError):
    """A release that cannot be built, found, or trusted."""

    code = "release"


class File(NamedTuple):
    """One file of a release.

    Attributes:
        content: Its bytes.
        executable: Whether its owner may run it.
    """

    content: bytes
    executable: bool = False


class Entry(NamedTuple):
    """A file as it stands in the list that the digest is made of.

    Attributes:
        sha256: Of its content, in hexadecimal.
        executable: Whether its owner may run it.
        size: In bytes; not part of the digest.
    """

    sha256: str
    executable: bool
    size: int


class Tally:
    """Counts what is read, and refuses what is too much: a bomb should burst before it is unpacked."""

    def __init__(self) -> None:
        self._files = 0
        self._bytes = 0

    @property
    def left(self) -> int:
        """How many bytes may still come."""
        return MOST_BYTES - self._bytes

    def add(self, size: int) -> None:
        """Count one file.

        Raises:
            ReleaseError: It is one too many.
        """
        self._files += 1
        self._bytes += size
        if self._files > MOST_FILES or self._bytes > MOST_BYTES:
            raise ReleaseError(
                f"there are more than {MOST_FILES} files, or more than {MOST_BYTES // 2**20} MiB",
                hint="a release holds the source of its agents and their data; is this the right folder?",
            )


def entries(files: Mapping[str, File]) -> dict[str, Entry]:
    """Each file with its own digest."""
    return {
        path: Entry(hashlib.sha256(file.content).hexdigest(), file.executable, len(file.content))
        for path, file in files.items()
    }


def digest(files: Mapping[str, Entry]) -> str:
    """The digest of a release, see above."""
    lines = [_HEADER]
    for path in sorted(files, key=str.encode):
        lines.append(f"{'100755' if files[path].executable else '100644'} {files[path].sha256} {path}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_path(path: str) -> None:
    """Refuse a path that leads elsewhere, or that has two readings.

    Raises:
        ReleaseError: Why.
    """
    parts = path.split("/")
    if path.startswith("/") or ".." in parts:
        raise ReleaseError(f"{path!r} leads out of the release", field=path)
    if "" in parts or "." in parts or "\\" in path or not path.isprintable():
        raise ReleaseError(
            f"{path!r} is no name that a release can hold", hint="rename or remove it", field=ascii(path)
        )
    if len(path.encode(errors="surrogatepass")) > _LONGEST_PATH:
        raise ReleaseError(f"the path {path[:60]!r}... is longer than {_LONGEST_PATH} bytes", field=path[:60])


def is_left_out(path: str) -> bool:
    """Whether a build passes over a path, which is relative to the source: hidden files, installers' notes.

    What begins with a dot is no module: `.git`, `.venv`, and `.env` with its secrets among it.
    """
    name = path.rpartition("/")[2]
    return name.startswith(".") or name.endswith(_LEFT_OUT) or path == DECLARATION


def is_cached(path: str) -> bool:
    """Whether a path is what Python makes of modules, or lies beside that: it would be run in the source's place.

    In a folder that is to be expected, and left out; in a commit or a wheel it was put.
    """
    return _CACHE in path.split("/") or path.endswith(_CACHED)


def check_code(paths: Mapping[str, object]) -> None:
    """Refuse code that must not come with a release.

    Args:
        paths: The files, relative to the folder `code`.

    Raises:
        ReleaseError: Why.
    """
    if not paths:
        raise ReleaseError("there is no file to release", hint="name the folder that holds the agents' modules")
    for path in sorted(paths):
        parts = path.removesuffix(".py").split("/")  # whatever else Python imports is compiled, and refused below
        if _GRAVEYARD in parts:
            raise ReleaseError(
                f"{path} is, or looks like, the Graveyard, which is no part of an agent's release: its rules are"
                " sealed, hold for every version, and change with ARK itself only",
                hint="release the folder of your agents alone; for a repository that holds both, --subdirectory",
                field=path,
            )
        if parts[0] in _OURS:
            raise ReleaseError(
                f"{path} would take the place of ARK's own package {parts[0]!r}; a release brings agents, and runs"
                " on the ARK that is installed",
                hint="release the folder of your agents alone; for a repository that holds both, --subdirectory",
                field=path,
            )
        if parts[0] in sys.stdlib_module_names:
            raise ReleaseError(
                f"{path} would take the place of Python's own module {parts[0]!r}", hint="rename it", field=path
            )
        if is_cached(path) or path.endswith(_COMPILED):
            raise ReleaseError(
                f"{path} is compiled: a release holds source that people can read",
                hint="leave it out; what cannot be, install as a distribution, and name that in `requires`",
                field=path,
            )


def scan(folder: Path, skip: Callable[[str], bool] = lambda _: False) -> Iterator[tuple[str, int, bytes | None]]:
    """Everything below a folder: each path, relative to it, with its mode and its content, None for a folder.

    Nothing is reached through a symbolic link, also where somebody puts one in its place meanwhile.

    Args:
        folder: Where to begin; no symbolic link itself.
        skip: Which paths to pass over, folders with all that is in them.

    Raises:
        ReleaseError: There is something else than folders and regular files, or too much.
        OSError: Something cannot be read.
    """

    def give_up(error: OSError) -> None:
        raise error

    tally = Tally()
    for place, folders, names, descriptor in os.fwalk(folder, follow_symlinks=False, onerror=give_up):
        below = Path(place).relative_to(folder).as_posix()
        prefix = "" if below == "." else f"{below}/"
        folders[:] = sorted(name for name in folders if not skip(prefix + name))
        for name in [*folders, *sorted(name for name in names if not skip(prefix + name))]:
            path = prefix + name
            check_path(path)
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                yield path, mode, None
                continue
            content, mode = _read(name, descriptor, mode, path, tally.left)
            tally.add(len(content))
            yield path, mode, content


def check_mode(mode: int, path: str) -> None:
    """Refuse what is no plain file.

    Raises:
        ReleaseError: Why.
    """
    if stat.S_ISLNK(mode):
        raise ReleaseError(
            f"{path} is a symbolic link; a release holds regular files",
            hint="put the file itself there",
            field=path,
        )
    if not stat.S_ISREG(mode):
        raise ReleaseError(f"{path} is neither a file nor a folder", hint="remove it", field=path)
    if mode & _SPECIAL_BITS:
        raise ReleaseError(
            f"{path} has mode {stat.S_IMODE(mode):04o}, which runs as somebody else",
            hint=f"chmod u-s,g-s,-t {path}",
            field=path,
        )


def _read(name: str, folder: int, mode: int, path: str, most: int) -> tuple[bytes, int]:
    check_mode(mode, path)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            check_mode(stat.S_IFLNK, path)
        raise
    with open(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        check_mode(mode, path)
        return file.read(most + 1), mode
