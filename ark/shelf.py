"""Where a home keeps what opens it to clients: a folder with one small file for each that was ever given out.

The files are there for whoever comes, whether the node runs or not; a running process sees each change at once.
Nothing in them lets anybody in: secrets are in the clients' own files.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from ark import interventions
from ark.errors import ClientKeyError
from ark.home import Home
from ark.keys import Key, Token, check_name
from ark.log import Log

__all__ = ["FOLDERS", "Shelf"]

FOLDERS: Mapping[type[Key | Token], str] = {Key: "clients", Token: "tokens"}
"""Where each sort is, under `keys/`."""
_WORDS: Mapping[type[Key | Token], str] = {Key: "key", Token: "token"}

Grant = TypeVar("Grant", Key, Token)


class Shelf(Generic[Grant]):
    """One folder.

    Args:
        home: The node's home; `prepare` was called on it before something is written.
        kind: What is kept in it.

    Attributes:
        folder: Where.
    """

    def __init__(self, home: Home, kind: type[Grant]) -> None:
        self._home = home
        self._kind: type[Grant] = kind
        self._word = _WORDS[kind]
        self.folder = home.keys / FOLDERS[kind]

    def stamp(self) -> int:
        """Changes with all that is given out or revoked; nanoseconds since the epoch, 0 where there is none."""
        try:
            return self.folder.stat().st_mtime_ns
        except OSError:
            return 0

    def all(self) -> list[Grant]:
        """Everything that was ever given out, the oldest first.

        A file that is damaged opens nothing, and is left out. So is one under another name than its own: a copy
        from before a revocation would make it good again.
        """
        found = []
        for path in self.folder.glob("*.json"):
            with suppress(OSError, msgspec.DecodeError, UnicodeError):
                grant = msgspec.json.decode(path.read_bytes(), type=self._kind)
                if grant.name == path.stem:
                    found.append(grant)
        return sorted(found, key=lambda grant: (grant.created_at, grant.name))

    def damaged(self) -> list[Path]:
        """Files that hold nothing that can be read, or something of another name."""
        known = {grant.name for grant in self.all()}
        return sorted(path for path in self.folder.glob("*.json") if path.stem not in known)

    def check(self, name: str, file: Path) -> None:
        """Refuse what could not be given out.

        Args:
            name: A name that was never given before, to a key or a token.
            file: The client's file; it must not be in the home.

        Raises:
            ClientKeyError: Why.
        """
        check_name(name)
        self._refuse_taken(name)
        if file.absolute().parent.resolve().is_relative_to(self._home.path.resolve()):
            raise ClientKeyError(
                f"{file} is in the node's home, which keeps no secrets of clients",
                hint="name another file with --out",
            )

    def give(self, grant: Grant, file: Path, content: bytes) -> None:
        """Write the client's file, mode 0600, and keep what was given.

        Args:
            grant: What the node keeps.
            file: The client's file; it must not be there.
            content: What goes into it.

        Raises:
            ClientKeyError: It cannot be written; then nothing is kept.
        """
        try:
            _write(file, content)
        except FileExistsError:
            raise ClientKeyError(f"{file} is there already", hint="name another file with --out") from None
        except OSError as error:
            raise ClientKeyError(f"cannot write {file}: {error.strerror}") from error
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            fresh = self._fresh(grant)
            try:
                os.link(fresh, self._place(grant.name))  # not over one that was made at the same moment
            finally:
                fresh.unlink()
            self._settle()
        except OSError as error:
            file.unlink()
            self._refuse_taken(grant.name)
            raise ClientKeyError(f"cannot write to {self.folder}: {error.strerror}") from error
        act, by, name = f"{self._word}_new", grant.created_by, grant.name
        interventions.record(self._home, act, by=by, subject=name, details=_details(grant))
        self._log(act, name=name, role=grant.role.value, by=by)

    def revoke(self, name: str, *, reason: str, by: str, at: float) -> Grant:
        """Let something open nothing any more, from its next request on.

        Raises:
            ClientKeyError: There is no such thing, it is revoked already, or there is no reason.
        """
        if not reason.strip():
            raise ClientKeyError(f"to revoke a {self._word} needs a reason", field="reason")
        known = {grant.name: grant for grant in self.all()}
        if name not in known:
            raise ClientKeyError(
                f"there is no {self._word} {name[:40]!r}", hint="see `ark-run keys list`", field="name"
            )
        grant = known[name]
        if not grant.is_good:
            raise ClientKeyError(f"{name} is revoked already, by {grant.revoked_by}: {grant.revoke_reason}")
        grant = msgspec.structs.replace(grant, revoked_at=at, revoked_by=by, revoke_reason=reason)
        try:
            self._fresh(grant).replace(self._place(name))
            self._settle()
        except OSError as error:
            raise ClientKeyError(
                f"cannot write to {self.folder}: {error.strerror}; {name} is still good",
                hint=f"delete {self._place(name)}, which shuts it out as well",
            ) from error
        act = f"{self._word}_revoked"
        interventions.record(self._home, act, by=by, subject=name, reason=reason, details=_details(grant))
        self._log(act, name=name, by=by, reason=reason)
        return grant

    def _place(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _refuse_taken(self, name: str) -> None:
        places = [self._home.keys / folder / f"{name}.json" for folder in FOLDERS.values()]
        if any(place.exists() for place in places):
            was = next((grant for grant in self.all() if grant.name == name), None)
            state = "" if was is None or was.is_good else ", and revoked; a name is given once"
            raise ClientKeyError(f"the name {name!r} is taken{state}", hint="choose another", field="name")

    def _fresh(self, grant: Grant) -> Path:
        """It in a file of its own beside the others, to be moved among them whole."""
        fresh = self.folder / f".{grant.name}.{os.getpid()}.{secrets.token_hex(4)}"
        _write(fresh, msgspec.json.format(msgspec.json.encode(grant)) + b"\n")
        return fresh

    def _settle(self) -> None:
        """Have the folder on disk, too: what is revoked must not be good again after a power cut."""
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _log(self, event: str, **fields: Any) -> None:
        Log(self._home.logs / "supervision.log").write(event, **fields)


def _details(grant: Key | Token) -> dict[str, Any]:
    """What the record of the act says of it."""
    public = {"public_key": grant.public_key} if isinstance(grant, Key) else {}
    return {"role": grant.role.value, **public}


def _write(path: Path, content: bytes) -> None:
    """A new file with mode 0600, on disk when this returns; none where that fails."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()
        raise
