"""What is signed of a release: an in-toto statement that binds its digest, its manifest and its bill of materials.

It also says where the code came from, when, and by which ARK the release was built. None of that is part of the
digest: the same code from a commit, a folder or a wheel is the same release.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

import ark
from deployment import content, dsse
from deployment.content import File, ReleaseError
from deployment.manifest import Manifest
from deployment.release_folder import BILL, ENVELOPE, MANIFEST, Bundle

__all__ = ["check", "sign"]

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:ark-runtime:release:1"
PAYLOAD = "application/vnd.in-toto+json"


def sign(
    files: Mapping[str, File], said: Manifest, origin: Mapping[str, Any], key: Ed25519PrivateKey, at: float
) -> bytes:
    """The envelope for a release.

    Args:
        files: What the digest covers.
        said: Its manifest.
        origin: Where the code comes from.
        key: Signs it.
        at: When it is made, seconds since the epoch.
    """
    return dsse.sign(PAYLOAD, _statement(files, said, origin, at), key)


def check(
    bundle: Bundle, digest: str, keys: Mapping[str, Ed25519PublicKey]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Who signed a release, of those whose word counts, and what exactly was signed.

    Args:
        bundle: The release; its files are known to have the digest.
        digest: Its digest.
        keys: The keys that count, by name.

    Raises:
        ReleaseError: Nobody did, or something else was signed.
        EnvelopeError: The signature's file is none.
    """
    assert bundle.envelope is not None
    envelope = dsse.read(bundle.envelope)
    signed = dsse.signers(envelope, keys)
    if not signed:
        hints = ", ".join(each.keyid[:16] for each in envelope.signatures if each.keyid.isalnum())
        trusted = ", ".join(f"{name} ({dsse.key_id(key)})" for name, key in keys.items()) or "none"
        raise ReleaseError(
            "no key that this home trusts has signed it: it is signed with"
            f" {hints or 'an unknown key'}, and trusted are: {trusted}",
            hint="if you know whose key that is: `ark-run release trust KEY.pub`",
            field=ENVELOPE,
        )
    try:
        statement = msgspec.json.decode(envelope.content(), type=_Statement)
        whole: dict[str, Any] = msgspec.json.decode(envelope.content())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReleaseError(f"what was signed is no statement about a release: {error}", field=ENVELOPE) from error
    told = (envelope.payload_type, statement.type, statement.predicate_type)
    if told != (PAYLOAD, STATEMENT, PREDICATE):
        raise ReleaseError(f"what was signed is no statement about a release: {', '.join(told)}", field=ENVELOPE)
    if [subject.digest.get("sha256") for subject in statement.subject] != [digest]:
        raise ReleaseError(
            "it is not what was signed: something was changed, or the signature is that of another release",
            hint="ask for it again",
            field=ENVELOPE,
        )
    for name, signed_digest in ((MANIFEST, statement.predicate.manifest), (BILL, statement.predicate.sbom)):
        if name not in bundle.files:
            raise ReleaseError(f"it has no {name}", field=name)
        if signed_digest.get("sha256") != content.entries({name: bundle.files[name]})[name].sha256:
            raise ReleaseError(f"what was signed is another {name}", field=name)
    return signed, whole


class _Subject(msgspec.Struct, frozen=True):
    digest: dict[str, str]
    name: str = ""


class _Predicate(msgspec.Struct, frozen=True):
    manifest: dict[str, str]
    sbom: dict[str, str]


class _Statement(msgspec.Struct, frozen=True, rename={"type": "_type", "predicate_type": "predicateType"}):
    type: str
    subject: tuple[_Subject, ...]
    predicate_type: str
    predicate: _Predicate


def _statement(files: Mapping[str, File], said: Manifest, origin: Mapping[str, Any], at: float) -> bytes:
    """The in-toto statement that is signed."""
    listed = content.entries(files)
    return msgspec.json.encode(
        {
            "_type": STATEMENT,
            "subject": [{"name": f"{said.name}-{said.version}", "digest": {"sha256": content.digest(listed)}}],
            "predicateType": PREDICATE,
            "predicate": {
                "manifest": {"sha256": listed[MANIFEST].sha256},
                "sbom": {"sha256": listed[BILL].sha256},
                "builder": {"id": "urn:ark-runtime:builder", "version": ark.__version__},
                "source": dict(origin),
                "created": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
        }
    )
