"""Signatures over releases: a DSSE envelope (https://github.com/secure-systems-lab/dsse) with Ed25519.

What is signed is not the payload alone but its "pre-authentication encoding", which binds the payload's type as
well, so that no signature made for another purpose can pass for one of a release.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ark.errors import ArkError
from ark.seal import fingerprint

__all__ = ["Envelope", "EnvelopeError", "Signature", "key_id", "pre_authentication", "read", "sign", "signers"]


class EnvelopeError(ArkError):
    """Bytes that are no DSSE envelope."""

    code = "envelope"


class Signature(msgspec.Struct, frozen=True):
    """One signature.

    Attributes:
        sig: The signature's bytes, base64.
        keyid: A hint at the key; nothing is concluded from it.
    """

    sig: str
    keyid: str = ""


class Envelope(msgspec.Struct, frozen=True, rename={"payload_type": "payloadType"}):
    """A payload with its signatures. Fields that are not known are ignored, as the specification demands.

    Attributes:
        payload: The signed bytes, base64.
        payload_type: What they are.
        signatures: At least one.
    """

    payload: str
    payload_type: str
    signatures: tuple[Signature, ...]

    def content(self) -> bytes:
        """The signed bytes.

        Raises:
            EnvelopeError: They are not base64.
        """
        return _bytes(self.payload, "payload")


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """What is signed: `DSSEv1`, then type and payload, each after its length in bytes, all parted by one space."""
    kind = payload_type.encode()
    return b" ".join((b"DSSEv1", b"%d" % len(kind), kind, b"%d" % len(payload), payload))


def sign(payload_type: str, payload: bytes, key: Ed25519PrivateKey) -> bytes:
    """An envelope as JSON, signed with one key."""
    signature = Signature(
        sig=base64.b64encode(key.sign(pre_authentication(payload_type, payload))).decode(),
        keyid=key_id(key.public_key()),
    )
    envelope = Envelope(base64.b64encode(payload).decode(), payload_type, (signature,))
    return msgspec.json.format(msgspec.json.encode(envelope)) + b"\n"


def read(text: bytes) -> Envelope:
    """An envelope from JSON; no signature in it has been looked at.

    Raises:
        EnvelopeError: It is none.
    """
    try:
        envelope = msgspec.json.decode(text, type=Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EnvelopeError(f"it is no DSSE envelope: {error}") from error
    if not envelope.signatures:
        raise EnvelopeError("the envelope has no signature", field="signatures")
    return envelope


def signers(envelope: Envelope, keys: Mapping[str, Ed25519PublicKey]) -> tuple[str, ...]:
    """The names of those keys that have signed the envelope.

    Args:
        envelope: What was read.
        keys: The keys that count, by name.

    Raises:
        EnvelopeError: The payload is not base64.
    """
    message = pre_authentication(envelope.payload_type, envelope.content())
    return tuple(name for name, key in keys.items() if _has_signed(key, message, envelope.signatures))


def key_id(key: Ed25519PublicKey) -> str:
    """A short name of a public key, for people to compare."""
    return fingerprint(key.public_bytes_raw().hex())


def _has_signed(key: Ed25519PublicKey, message: bytes, signatures: Iterable[Signature]) -> bool:
    for signature in signatures:
        try:
            key.verify(_bytes(signature.sig, "sig"), message)
        except (InvalidSignature, EnvelopeError):
            continue
        return True
    return False


def _bytes(text: str, field: str) -> bytes:
    """The specification allows both alphabets of base64."""
    try:
        return base64.b64decode(text.encode().translate(_STANDARD), validate=True)
    except (binascii.Error, ValueError) as error:
        raise EnvelopeError(f"{field} is not base64: {error}", field=field) from error


_STANDARD = bytes.maketrans(b"-_", b"+/")
