"""Disks that fail, for tests: one that is small enough to fill, files that nobody can write, damaged pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

_PAGE = 4096


def need_root(why: str) -> None:
    """Skip a test that needs more rights than this process has."""
    if os.geteuid() != 0:
        pytest.skip(f"{why} needs root; run it with: sudo {shutil.which('pytest') or 'pytest'} tests/ark")


@contextmanager
def small_disk(size: str = "24m") -> Iterator[Path]:
    """A file system of that size, gone at the end whatever happened."""
    need_root("mounting a small disk")
    folder = Path(tempfile.mkdtemp(prefix="ark-"))
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)
        folder.rmdir()


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Nothing is left on the disk meanwhile: whoever frees a block loses it again at once."""
    path = disk / "filler"
    with open(path, "wb", buffering=0) as file:
        try:
            for portion in (1 << 20, 4096, 1):
                fill(file.fileno(), portion)
            yield
        finally:
            path.unlink()


def fill(descriptor: int, portion: int) -> None:
    """Write portions until none fits."""
    while True:
        try:
            os.write(descriptor, bytes(portion))
        except OSError:
            return


@contextmanager
def unwritable(*paths: Path) -> Iterator[None]:
    """Files that even root cannot write."""
    need_root("making a file immutable")
    done = subprocess.run(["chattr", "+i", *map(str, paths)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file can be made immutable here: {done.stderr.strip()}; use ext4 for the temporary folder")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *map(str, paths)], check=True)


def damage(path: Path, *, backup: Path, from_page: int = 0) -> None:
    """Write over pages of a database that nobody has open, after a copy was made.

    Args:
        path: The database.
        backup: The folder for the copy.
        from_page: The first page that is written over, from 1; 0 for only the last one.
    """
    apsw.Connection(str(path)).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    shutil.copy(path, backup)
    pages = path.stat().st_size // _PAGE
    first = from_page or pages
    with open(path, "r+b") as file:
        file.seek((first - 1) * _PAGE)
        file.write(b"\xff" * (pages - first + 1) * _PAGE)


def put_back(path: Path, backup: Path) -> None:
    """Put the copy back in the place of a damaged database, as docs/operations.md says."""
    fresh = path.with_suffix(".fresh")
    shutil.copy(backup / path.name, fresh)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    fresh.replace(path)
