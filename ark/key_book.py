"""The key book of a home: a file with the public key of each client, and the node's own pair.

The files are there for whoever comes, whether the node runs or not; a running gateway sees each change at once.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

import msgspec
import zmq
from zmq.utils import z85

from ark import interventions
from ark.errors import ClientKeyError
from ark.home import Home
from ark.key_file import KeyFile
from ark.keys import Key, check_name
from ark.log import Log
from ark.protocol import Role

__all__ = ["KeyBook"]

_NODE_SECRET = "curve"


class KeyBook:
    """`keys/clients` in a home, and `keys/curve`, the node's secret key.

    Args:
        home: The node's home; `prepare` was called on it before something is written.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self.folder = home.keys / "clients"

    def node_pair(self) -> tuple[bytes, bytes]:
        """The node's public and secret key, Z85; made on first use.

        Raises:
            ClientKeyError: It cannot be made.
            NodeError: It can be read by others, or is not whole.
        """
        try:
            secret = z85.encode(self._home.secret(_NODE_SECRET))
        except OSError as error:
            raise ClientKeyError(f"cannot make {self._home.keys / _NODE_SECRET}: {error.strerror}") from error
        return zmq.curve_public(secret), secret

    @property
    def node_public_key(self) -> str:
        """By which clients know the node, Z85."""
        return self.node_pair()[0].decode()

    def stamp(self) -> int:
        """Changes with every key that is made or revoked; nanoseconds since the epoch, 0 where there is no key."""
        try:
            return self.folder.stat().st_mtime_ns
        except OSError:
            return 0

    def all(self) -> list[Key]:
        """Every key that was ever made, the oldest first.

        A file that is damaged opens nothing, and is left out. So is one under another name than its key's: a copy
        from before a revocation would make the key good again.
        """
        found = []
        for path in self.folder.glob("*.json"):
            with suppress(OSError, msgspec.DecodeError, UnicodeError):
                key = msgspec.json.decode(path.read_bytes(), type=Key)
                if key.name == path.stem:
                    found.append(key)
        return sorted(found, key=lambda key: (key.created_at, key.name))

    def has_good(self) -> bool:
        """Whether any key opens anything."""
        return any(key.is_good for key in self.all())

    def damaged(self) -> list[Path]:
        """Files that hold no key that can be read, or one of another name."""
        known = {key.name for key in self.all()}
        return sorted(path for path in self.folder.glob("*.json") if path.stem not in known)

    def new(self, name: str, role: Role, file: Path, *, by: str, at: float) -> Key:
        """Make a pair: the public key goes into the book, the secret one into the client's file, mode 0600.

        Args:
            name: The key's name, never given before.
            role: What it opens.
            file: The client's file; it must not be there, nor be in the home.
            by: Who makes it.
            at: Seconds since the epoch.

        Raises:
            ClientKeyError: The name is taken or is none, or the file cannot be made.
        """
        check_name(name)
        self._refuse_taken(name)
        if file.absolute().parent.resolve().is_relative_to(self._home.path.resolve()):
            raise ClientKeyError(
                f"{file} is in the node's home, which keeps public keys only", hint="name another file with --out"
            )
        public, secret = (each.decode() for each in zmq.curve_keypair())
        key = Key(name, role, public, at, by)
        mine = KeyFile(name, role, public, secret, self.node_public_key, at)
        try:
            _write(file, mine)
        except FileExistsError:
            raise ClientKeyError(f"{file} is there already", hint="name another file with --out") from None
        except OSError as error:
            raise ClientKeyError(f"cannot write {file}: {error.strerror}") from error
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            fresh = self._fresh(key)
            try:
                os.link(fresh, self._place(name))  # not over one that was made at the same moment
            finally:
                fresh.unlink()
            self._settle()
        except OSError as error:
            file.unlink()
            self._refuse_taken(name)
            raise ClientKeyError(f"cannot write to {self.folder}: {error.strerror}") from error
        details = {"role": role.value, "public_key": public}
        interventions.record(self._home, "key_new", by=by, subject=name, details=details)
        Log(self._home.logs / "supervision.log").write("key_new", name=name, role=role.value, by=by)
        return key

    def revoke(self, name: str, *, reason: str, by: str, at: float) -> Key:
        """Let a key open nothing any more, from its next request on.

        Raises:
            ClientKeyError: There is no such key, it is revoked already, or there is no reason.
        """
        if not reason.strip():
            raise ClientKeyError("to revoke a key needs a reason", field="reason")
        known = {key.name: key for key in self.all()}
        if name not in known:
            raise ClientKeyError(f"there is no key {name[:40]!r}", hint="see `ark-run keys list`", field="name")
        key = known[name]
        if not key.is_good:
            raise ClientKeyError(f"{name} is revoked already, by {key.revoked_by}: {key.revoke_reason}")
        key = msgspec.structs.replace(key, revoked_at=at, revoked_by=by, revoke_reason=reason)
        try:
            self._fresh(key).replace(self._place(name))
            self._settle()
        except OSError as error:
            raise ClientKeyError(
                f"cannot write to {self.folder}: {error.strerror}; {name} is still good",
                hint=f"delete {self._place(name)}, which shuts it out as well",
            ) from error
        details = {"role": key.role.value, "public_key": key.public_key}
        interventions.record(self._home, "key_revoked", by=by, subject=name, reason=reason, details=details)
        Log(self._home.logs / "supervision.log").write("key_revoked", name=name, by=by, reason=reason)
        return key

    def _place(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _refuse_taken(self, name: str) -> None:
        if self._place(name).exists():
            was = next((key for key in self.all() if key.name == name), None)
            state = "" if was is None or was.is_good else ", and revoked; a name is given once"
            raise ClientKeyError(f"the name {name!r} is taken{state}", hint="choose another", field="name")

    def _fresh(self, key: Key) -> Path:
        """The key in a file of its own beside the book, to be moved into it whole."""
        fresh = self.folder / f".{key.name}.{os.getpid()}.{secrets.token_hex(4)}"
        _write(fresh, key)
        return fresh

    def _settle(self) -> None:
        """Have the folder on disk, too: a revoked key must not be good again after a power cut."""
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write(path: Path, content: msgspec.Struct) -> None:
    """A new file with mode 0600, on disk when this returns; none where that fails."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()
        raise
