"""Releases on their way from one machine to another: tar files, the same bytes each time, and folders."""

from __future__ import annotations

import io
import stat
import tarfile
from pathlib import Path

from deployment import content
from deployment.content import MOST_BYTES, MOST_FILES, File, ReleaseError
from deployment.release_folder import ADMISSION, ENVELOPE, EXECUTABLE, FILE, MANIFEST, PROGRAM, Bundle

__all__ = ["pack", "unpack"]

_OVERHEAD = MOST_FILES * 4_096
"""So much may a tar file be larger than what it holds."""
_HINT = "name what `ark-run release export` wrote, or a folder below a home's `releases`"


def pack(bundle: Bundle, digest: str, file: Path) -> None:
    """Write a release into a tar file that is not there yet.

    Raises:
        ReleaseError: It cannot be written.
    """
    files = {**bundle.files, **({ENVELOPE: File(bundle.envelope)} if bundle.envelope else {})}
    file = file.expanduser()
    try:
        with (
            open(file, "xb") as target,
            tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for path in sorted(files):
                member = tarfile.TarInfo(f"{digest}/{path}")
                member.size = len(files[path].content)
                member.mode = PROGRAM if files[path].executable else FILE
                archive.addfile(member, io.BytesIO(files[path].content))
    except FileExistsError:
        raise ReleaseError(f"{file} is there already", hint="name another file") from None
    except OSError as error:
        file.unlink(missing_ok=True)
        raise ReleaseError(f"cannot write {file}: {error.strerror or error}") from error


def unpack(path: Path) -> Bundle:
    """A release from a tar file that `export` wrote, or from a folder such as those in a home.

    Raises:
        ReleaseError: It is none, or holds what no release may.
    """
    path = path.expanduser()
    try:
        found = _of_folder(path.resolve(strict=True)) if path.is_dir() else _of_tar(path)
    except OSError as error:
        raise ReleaseError(f"cannot read {path}: {error.strerror or error}") from error
    except (tarfile.TarError, ValueError, EOFError, OverflowError) as error:
        raise ReleaseError(f"{path} is no release: {error}", hint=_HINT) from error
    if MANIFEST not in found:
        raise ReleaseError(f"{path} is no release: it has no {MANIFEST}", hint=_HINT)
    envelope = found.pop(ENVELOPE, None)
    found.pop(ADMISSION, None)  # how it came into another home means nothing in this one
    return Bundle(found, envelope and envelope.content)


def _of_folder(folder: Path) -> dict[str, File]:
    return {
        path: File(text, bool(mode & EXECUTABLE)) for path, mode, text in content.scan(folder) if text is not None
    }


def _of_tar(path: Path) -> dict[str, File]:
    """The members of a tar file, which is not compressed, below the one folder that they all lie in."""
    if path.stat().st_size > MOST_BYTES + _OVERHEAD:
        raise ReleaseError(f"{path} is larger than any release")
    found: dict[str, File] = {}
    tops = set()
    tally = content.Tally()
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            content.check_path(member.name.rstrip("/"))
            if member.isdir():
                continue
            top, _, name = member.name.partition("/")
            tops.add(top)
            if not member.isreg() or member.issparse():
                raise ReleaseError(
                    f"{member.name} is a link or a special file; a release holds regular files", field=member.name
                )
            content.check_mode(stat.S_IFREG | member.mode, member.name)
            if not name or name in found or len(tops) > 1:
                raise ReleaseError(
                    f"{path} is no release: {member.name} is there twice, or beside its folder", field=member.name
                )
            tally.add(member.size)
            stream = archive.extractfile(member)
            assert stream is not None
            found[name] = File(stream.read(), bool(member.mode & EXECUTABLE))
    return found
