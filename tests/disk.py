"""Disks that fail, for tests: one that is small enough to fill, files that nobody can write, damaged pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


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


def damage(path: Path) -> None:
    """Write over the last page of a database."""
    with open(path, "r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(b"\xff" * 4096)
