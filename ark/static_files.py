"""The page's own files, and plotly's bundle out of its Python package, as HTTP gives them out."""

from __future__ import annotations

import importlib.util
import os
import re
import stat
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import IO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

__all__ = ["StaticFiles", "Stream"]

_NAME = re.compile(r"[a-z0-9][a-zA-Z0-9_-]*(\.[a-zA-Z0-9_-]+)+")
"""What a file can be called: no folder, no way up, nothing hidden."""
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_PLOTLY = "plotly.min.js"
_CHUNK = 64 << 10


class StaticFiles:
    """Files of one folder, without those below it.

    Starlette's own class reads in a pool of threads, for which there is no need here.

    Args:
        folder: The page's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._plotly = _plotly_bundle()

    def answer(self, name: str, request: Request) -> Response | None:
        """The file of that name; None where there is none."""
        if not _NAME.fullmatch(name) or Path(name).suffix not in _KINDS:
            return None
        path = self._plotly if name == _PLOTLY and self._plotly else self._folder / name
        try:
            file = open(path, "rb", buffering=0, opener=_open)  # noqa: SIM115
        except OSError:
            return None
        facts = os.fstat(file.fileno())
        etag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
        headers = {"etag": etag, "cache-control": "no-cache"}  # asked again each time, and sent if it has changed
        if not stat.S_ISREG(facts.st_mode):
            file.close()
            return None
        if request.headers.get("if-none-match") == etag:
            file.close()
            return Response(status_code=304, headers=headers)
        headers["content-length"] = str(facts.st_size)
        return Stream(_read(file, facts.st_size), headers=headers, media_type=_KINDS[path.suffix])


class Stream(StreamingResponse):
    """An answer in parts, whose source is closed also where the client leaves in its middle."""

    def __init__(self, source: AsyncGenerator[bytes], *, headers: dict[str, str], media_type: str) -> None:
        super().__init__(source, headers=headers, media_type=media_type)
        self._source = source

    async def stream_response(self, send: Send) -> None:
        """Send part after part."""
        async with aclosing(self._source):
            await super().stream_response(send)


def _open(path: str, flags: int) -> int:
    # Never waiting for a pipe, never through a link.
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


async def _read(file: IO[bytes], size: int) -> AsyncGenerator[bytes]:
    with file:
        while size > 0 and (data := file.read(min(_CHUNK, size))):
            size -= len(data)
            yield data


def _plotly_bundle() -> Path | None:
    """Where plotly keeps it; found without the cost of importing plotly."""
    found = importlib.util.find_spec("plotly")
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0]) / "package_data" / _PLOTLY
    return path if path.is_file() else None
