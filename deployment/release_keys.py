"""The keys of releases: one that signs, outside of every home, and in each home those whose signatures count.

A trusted key is a file `keys/release/NAME.pub` in the home, PEM, so that `openssl` and others read it as well. To
delete it is to trust it no more: what it signed is refused from then on, unless another trusted key signed it, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ark.files import make_file, replace_file
from ark.home import Home
from ark.seal import load_or_make_key
from deployment.content import ReleaseError

__all__ = [
    "Trusted",
    "check_name",
    "default_key",
    "distrust",
    "folder",
    "make",
    "public_text",
    "read_public",
    "signing_key",
    "trust",
    "trusted",
]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


def default_key(environment: Mapping[str, str]) -> Path:
    """Where the signing key is where none is named: `~/.config/ark/release.key`, or under `XDG_CONFIG_HOME`."""
    return Path(environment.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "ark" / "release.key"


def make(path: Path) -> Ed25519PrivateKey:
    """A new signing key, mode 0600, and beside it its public half under the same name with `.pub`.

    Raises:
        ReleaseError: There is one already, or the file cannot be written.
    """
    path = path.expanduser().absolute()
    if path.exists():
        raise ReleaseError(f"{path} is there already", hint="name another file with --key; this one may be in use")
    try:
        key = load_or_make_key(path)
        path.with_suffix(".pub").write_bytes(public_text(key.public_key()))
    except OSError as error:
        raise ReleaseError(f"cannot write {error.filename or path}: {error.strerror or error}") from error
    return key


def signing_key(path: Path) -> Ed25519PrivateKey:
    """The key that signs.

    Raises:
        ReleaseError: There is none, it cannot be read.
        SealError: It can be read by others, or is no Ed25519 key.
    """
    path = path.expanduser().absolute()
    if not path.exists():
        raise ReleaseError(
            f"there is no key to sign with at {path}",
            hint="make one with `ark-run release keygen`, or name yours with --key",
        )
    try:
        return load_or_make_key(path)
    except OSError as error:
        raise ReleaseError(f"cannot read {path}: {error.strerror or error}") from error


def folder(home: Home) -> Path:
    """Where a home keeps the keys that it trusts."""
    return home.keys / "release"


class Trusted(NamedTuple):
    """Whose signatures count.

    Attributes:
        keys: By name.
        faults: What is wrong with the other files there, in words. None of them counts, and none hinders the rest.
    """

    keys: Mapping[str, Ed25519PublicKey]
    faults: tuple[str, ...] = ()


def trusted(home: Home) -> Trusted:
    """The keys whose signatures count."""
    keys, faults = {}, []
    for path in sorted(folder(home).glob("*.pub")):
        try:
            keys[path.stem] = read_public(path)
        except ReleaseError as fault:
            faults.append(f"{fault.message}: trust that key again, or --revoke {path.stem}")
    return Trusted(keys, tuple(faults))


def check_name(name: str) -> None:
    """Refuse what is no name of a key.

    Raises:
        ReleaseError: It is none.
    """
    if not _NAME.fullmatch(name):
        raise ReleaseError(
            f"{name!r} is no name for a key", hint="a-z, 0-9, _ . and -, up to 32, with --name", field="name"
        )


def trust(home: Home, name: str, key: Ed25519PublicKey) -> Path:
    """Let a key's signatures count.

    Raises:
        ReleaseError: The name is none, or stands for another key.
    """
    check_name(name)
    path = folder(home) / f"{name}.pub"
    text = public_text(key)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            make_file(path, text)
        except FileExistsError:
            if not _is_spoilt(path):
                _refuse_another(path, key)
                return path
            replace_file(path, text, durable=True)
    except OSError as error:
        raise ReleaseError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _is_spoilt(path: Path) -> bool:
    """Whether a file holds no key, which a write that was cut short could have left."""
    path.read_bytes()  # what cannot be read may hold one
    try:
        read_public(path)
    except ReleaseError:
        return True
    return False


def _refuse_another(path: Path, key: Ed25519PublicKey) -> None:
    if read_public(path).public_bytes_raw() != key.public_bytes_raw():
        raise ReleaseError(
            f"{path.stem} is another key already", hint="choose another --name, or --revoke that one", field="name"
        )


def distrust(home: Home, name: str) -> None:
    """Let a key's signatures count no more.

    Raises:
        ReleaseError: There is no such key.
    """
    known = sorted(path.stem for path in folder(home).glob("*.pub"))
    if name not in known:
        raise ReleaseError(
            f"there is no trusted key {name!r}", hint=f"known: {', '.join(known) or 'none'}", field="name"
        )
    (folder(home) / f"{name}.pub").unlink()


def public_text(key: Ed25519PublicKey) -> bytes:
    """A public key as PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def read_public(path: Path) -> Ed25519PublicKey:
    """A public key from a PEM file.

    Raises:
        ReleaseError: There is none in it.
    """
    try:
        text = path.read_bytes()
        key = serialization.load_pem_public_key(text)
    except OSError as error:
        raise ReleaseError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, UnsupportedAlgorithm):
        private = b"PRIVATE KEY" in text
        raise ReleaseError(
            f"{path} holds no public key",
            hint=f"that is the private half: name {path.with_suffix('.pub').name}" if private else "it must be PEM",
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise ReleaseError(f"{path} holds no Ed25519 key", hint="make one with `ark-run release keygen`")
    return key
