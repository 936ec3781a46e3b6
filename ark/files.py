"""Files that are replaced whole: whoever reads one sees the old one or the new one, and nothing between."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["make_file", "replace_file", "settle"]


def make_file(path: Path, content: bytes) -> None:
    """Make a file that is not there yet, whole or not at all, with mode 0600, so that it survives a power cut.

    Raises:
        FileExistsError: It is there; it stays as it was.
        OSError: It cannot be written.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _write(fresh, content, durable=True)
        os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    settle(path.parent)


def replace_file(path: Path, content: bytes, *, durable: bool) -> None:
    """Put new content in a file's place, with mode 0600.

    Args:
        path: The file.
        content: All of it. A disk that is full takes a part and raises then; the file stays as it was.
        durable: Whether it must survive a power cut when this returns. Several processes may do so at once.

    Raises:
        OSError: It cannot be written.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}") if durable else path.with_suffix(".new")
    try:
        _write(fresh, content, durable=durable)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    if durable:
        settle(path.parent)


def _write(path: Path, content: bytes, *, durable: bool) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(descriptor)


def settle(folder: Path) -> None:
    """Have the names in a folder survive a power cut.

    Raises:
        OSError: It cannot be opened, or the disk says no.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
