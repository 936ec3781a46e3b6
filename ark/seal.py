"""The seal: proof that the rule book is the one that was signed, on the disk and in memory.

`graveyard/seal.json` holds the digest of the rule book and an Ed25519 signature over it. `check` looks whether the
files still have that digest, whether the signature is good, whether nobody may write the files, and whether what
is loaded in this process is what the files say. Any doubt is a fault: a check that cannot be made counts as one
that failed.

What it does not prove: that the key was in good hands, and that nobody changed Python or this module in memory.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

import graveyard.seal
from ark.errors import ArkError, NodeError

__all__ = [
    "KEY_VARIABLE",
    "Report",
    "Seal",
    "SealError",
    "Sealing",
    "begin",
    "check",
    "default_key",
    "fingerprint",
    "load_or_make_key",
    "pinned",
    "sign",
]

KEY_VARIABLE = "ARK_GRAVEYARD_KEY"
"""Where a start leaves the key that its home trusts, for the processes of its tree."""
PIN = "graveyard.pub"
"""The file under the home's `keys/` that holds it."""

_DOMAIN = b"ark graveyard seal 1"
"""What the signature says, so that none made for another purpose could pass for it."""
_FOLDER = graveyard.seal.FOLDER


class SealError(ArkError):
    """The rule book cannot be signed."""

    code = "seal"


class Seal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `graveyard/seal.json` says.

    Attributes:
        format: The version of this format.
        digest: Of the rule book; see `graveyard.seal.digest`.
        public_key: The Ed25519 key that signed, 32 bytes in hexadecimal.
        signature: Over the digest and `sealed_at`, 64 bytes in hexadecimal.
        sealed_at: When, ISO 8601 in UTC.
        files: SHA-256 of each file. They are in the digest, too; here they serve to name the one that changed.
    """

    format: Literal[1]
    digest: str
    public_key: str
    signature: str
    sealed_at: str
    files: dict[str, str]


class Report(msgspec.Struct, frozen=True):
    """What a check has found.

    Attributes:
        ok: Whether the rule book is the sealed one.
        digest: Its digest as it is now; empty where it cannot be told.
        faults: What is wrong, each in words.
        key: The public key that signed what is sealed; empty where there is no good signature.
    """

    ok: bool
    digest: str
    faults: tuple[str, ...]
    key: str = ""


def check(*, memory: bool = True, key: str = "", folder: Path = _FOLDER) -> Report:
    """Check the seal. Raises nothing: whatever goes wrong is a fault.

    Args:
        memory: Whether to compare what is loaded in this process with the files, too.
        key: The public key that must have signed; empty for any.
        folder: The package's folder.
    """
    seal: Seal | None = None
    faults: list[str] = []
    digest = signer = ""
    try:
        seal = _read(folder)
    except (OSError, msgspec.DecodeError) as error:
        faults.append(f"the seal {folder.name}/{graveyard.seal.SEAL} cannot be read: {error}")
    try:
        digest = graveyard.seal.digest(folder)
        if seal is not None and digest != seal.digest:
            faults.append(_what_changed(seal.files, graveyard.seal.files(folder)))
        faults += graveyard.seal.modes(folder)
    except Exception as error:  # noqa: BLE001
        faults.append(f"the files of the rule book cannot be checked: {_words(error)}")
    if seal is not None:
        if _is_signed(seal):
            signer = seal.public_key
        else:
            faults.append("the signature of the seal is wrong")
        if key and seal.public_key != key:
            faults.append(
                f"the seal is signed with the key {fingerprint(seal.public_key)}, not with {fingerprint(key)},"
                " which this node trusts"
            )
    if memory:
        try:
            faults += graveyard.seal.memory_faults()
        except Exception as error:  # noqa: BLE001
            faults.append(f"the rule book in memory cannot be checked: {_words(error)}")
    return Report(not faults, digest, tuple(faults), signer)


class Sealing:
    """The seal for a process that goes on: checked when it is made, and again every so often.

    Args:
        interval_s: Seconds between two checks.
        also: Further checks; each gives a fault, or "" where it finds none.
        key: The public key that must have signed; where absent, the one that the node was started with.
        folder: The package's folder.
    """

    def __init__(
        self,
        *also: Callable[[], str],
        interval_s: float = 2.0,
        key: str | None = None,
        folder: Path = _FOLDER,
    ) -> None:
        self._also = also
        self._interval_s = interval_s
        self._key = os.environ.get(KEY_VARIABLE, "") if key is None else key
        self._folder = folder
        self._checked_at: float | None = None
        if key is None and not self._key:
            # Nobody started a node, who would have done it: a simulation, or a test over a fresh checkout.
            with suppress(OSError):
                graveyard.seal.write_protect(folder)
        self.report = self._look()

    def faults(self, now: float) -> str:
        """Everything that is wrong, in one line; "" while the rule book is the sealed one.

        Args:
            now: Seconds on any clock. One that is set back, or was never read before, leads to a check at once.
        """
        if self._checked_at is None or not self._checked_at <= now < self._checked_at + self._interval_s:
            self.report = self._look()
            self._checked_at = now
        return "; ".join(self.report.faults)

    def _look(self) -> Report:
        report = check(key=self._key, folder=self._folder)
        faults = [*report.faults]
        for each in self._also:
            try:
                fault = each()
            except Exception as error:  # noqa: BLE001
                fault = f"a further check of the rule book failed: {_words(error)}"
            if fault:
                faults.append(fault)
        return Report(not faults, report.digest, tuple(faults), report.key)


def begin(keys: Path, folder: Path = _FOLDER) -> Report:
    """What a start does: take the write bits away, check, and hold the home to the key that it knows.

    Args:
        keys: The home's folder of keys. The first good signature's key is written down there.
        folder: The package's folder.

    Raises:
        NodeError: The rule book is signed with another key than at the first start over this home.
    """
    with suppress(OSError):  # the check will name what can be written
        graveyard.seal.write_protect(folder)
    trusted = pinned(keys)
    report = check(key=trusted, folder=folder)
    signer = report.key
    if trusted and signer and signer != trusted:
        raise NodeError(
            f"the rule book is signed with the key {fingerprint(signer)}, and not, as at the first start over this"
            f" home, with {fingerprint(trusted)}",
            hint=f"if you installed a release that is signed with another key, delete {keys / PIN};"
            " otherwise somebody else has signed these rules: install ARK anew",
        )
    if signer and not trusted:
        descriptor = os.open(keys / PIN, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with open(descriptor, "w") as file:
            file.write(f"{signer}\n")
    return report


def pinned(keys: Path) -> str:
    """The public key that a home trusts; "" before its first start.

    Args:
        keys: The home's folder of keys.
    """
    try:
        return (keys / PIN).read_text(errors="replace").strip()
    except FileNotFoundError:
        return ""


def sign(key_path: Path, folder: Path = _FOLDER) -> Seal:
    """Take the write bits from the rule book, sign it as it is now, and write `seal.json`.

    Args:
        key_path: The private key; made if there is none.
        folder: The package's folder.

    Raises:
        SealError: The key cannot be used.
        OSError: The files cannot be read, or the seal cannot be written.
    """
    key = load_or_make_key(key_path)
    graveyard.seal.write_protect(folder)
    digest = graveyard.seal.digest(folder)
    sealed_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    seal = Seal(
        format=1,
        digest=digest,
        public_key=key.public_key().public_bytes_raw().hex(),
        signature=key.sign(_message(digest, sealed_at)).hex(),
        sealed_at=sealed_at,
        files=graveyard.seal.files(folder),
    )
    fresh = folder / f".{graveyard.seal.SEAL}.{os.getpid()}"
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(seal)) + b"\n")
    fresh.chmod(0o444)
    fresh.replace(folder / graveyard.seal.SEAL)
    return seal


def default_key(environment: Mapping[str, str]) -> Path:
    """Where the private key is where none is named: `~/.config/ark/graveyard.key`, or under `XDG_CONFIG_HOME`."""
    return Path(environment.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "ark" / "graveyard.key"


def load_or_make_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a PEM file, made with mode 0600 where there is none.

    Raises:
        SealError: The file stands beside the rule book, can be read by others, or holds no such key.
    """
    path = path.expanduser().absolute()
    if path.resolve().is_relative_to(_FOLDER.parent.resolve()):
        raise SealError(
            f"the private key {path} would stand beside the rules that it protects",
            hint="keep it outside of the repository; `make seal KEY=PATH`",
        )
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SealError(f"the private key {path} can be read by others", hint=f"chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise SealError(f"{path} holds no private key: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SealError(f"{path} holds no Ed25519 key", hint="name another file; one that is not there is made")
    return key


def fingerprint(public_key: str) -> str:
    """A short name of a public key, for people to compare."""
    return hashlib.sha256(public_key.encode()).hexdigest()[:16]


def _read(folder: Path) -> Seal:
    return msgspec.json.decode((folder / graveyard.seal.SEAL).read_bytes(), type=Seal)


def _message(digest: str, sealed_at: str) -> bytes:
    return b"\n".join((_DOMAIN, digest.encode(), sealed_at.encode()))


def _is_signed(seal: Seal) -> bool:
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(seal.public_key))
        key.verify(bytes.fromhex(seal.signature), _message(seal.digest, seal.sealed_at))
    except (InvalidSignature, ValueError):
        return False
    return True


def _what_changed(sealed: dict[str, str], now: dict[str, str]) -> str:
    words = [f"{name} was changed" for name in sorted(now.keys() & sealed.keys()) if now[name] != sealed[name]]
    words += [f"{name} was added" for name in sorted(now.keys() - sealed.keys())]
    words += [f"{name} is missing" for name in sorted(sealed.keys() - now.keys())]
    what = ", ".join(words) or "the rules that are loaded are others"
    return f"the rule book is not the sealed one: {what}"


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


if __name__ == "__main__":
    from ark.commands.seal import main

    raise SystemExit(main())
