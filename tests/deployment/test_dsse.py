"""Envelopes: what is signed is exactly what the DSSE specification says."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from deployment import dsse

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = {"anna": KEY.public_key(), "ben": OTHER.public_key()}


def encoding_by_the_book(kind: str, body: bytes) -> bytes:
    """`"DSSEv1" + SP + LEN(type) + SP + type + SP + LEN(body) + SP + body`, lengths in ASCII decimals."""
    raw = kind.encode("utf-8")
    return bytes(f"DSSEv1 {len(raw)} ", "ascii") + raw + bytes(f" {len(body)} ", "ascii") + body


def test_the_example_of_the_specification() -> None:
    said = dsse.pre_authentication("http://example.com/HelloWorld", b"hello world")

    assert said == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@given(st.text(), st.binary())
def test_what_is_signed_is_the_pre_authentication_encoding(kind: str, body: bytes) -> None:
    envelope = json.loads(dsse.sign(kind, body, KEY))

    assert base64.b64decode(envelope["payload"]) == body
    assert envelope["payloadType"] == kind
    (signature,) = envelope["signatures"]
    KEY.public_key().verify(base64.b64decode(signature["sig"]), encoding_by_the_book(kind, body))


@given(st.text(), st.binary(), st.text(), st.binary())
def test_no_two_messages_have_one_encoding(kind: str, body: bytes, other_kind: str, other_body: bytes) -> None:
    same = dsse.pre_authentication(kind, body) == dsse.pre_authentication(other_kind, other_body)

    assert same == ((kind, body) == (other_kind, other_body))


def test_only_the_keys_that_signed_are_named() -> None:
    envelope = dsse.read(dsse.sign("kind", b"text", KEY))
    twice = dsse.read(dsse.sign("kind", b"text", OTHER))
    both = dsse.Envelope(envelope.payload, "kind", envelope.signatures + twice.signatures)

    assert dsse.signers(envelope, KEYS) == ("anna",)
    assert dsse.signers(both, KEYS) == ("anna", "ben")
    assert dsse.signers(envelope, {}) == ()


def test_the_hint_at_the_key_proves_nothing() -> None:
    envelope = json.loads(dsse.sign("kind", b"text", OTHER))
    envelope["signatures"][0]["keyid"] = dsse.key_id(KEY.public_key())

    assert dsse.signers(dsse.read(json.dumps(envelope).encode()), {"anna": KEY.public_key()}) == ()


def test_another_type_or_payload_is_not_what_was_signed() -> None:
    whole = json.loads(dsse.sign("kind", b"text", KEY))

    for change in ({"payloadType": "other"}, {"payload": base64.b64encode(b"texT").decode()}):
        assert dsse.signers(dsse.read(json.dumps(whole | change).encode()), KEYS) == ()


def test_the_alphabet_for_addresses_and_unknown_fields_are_read_too() -> None:
    body = bytes(range(256))
    whole = json.loads(dsse.sign("kind", body, KEY))
    whole["payload"] = base64.urlsafe_b64encode(body).decode()
    whole["signatures"][0]["cert"] = "x"

    envelope = dsse.read(json.dumps({**whole, "more": 1}).encode())

    assert (envelope.content(), dsse.signers(envelope, KEYS)) == (body, ("anna",))


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"\xff", b'{"payload": "", "payloadType": "x", "signatures": []}', b'{"payload": 1}']
)
def test_what_is_no_envelope_is_refused(text: bytes) -> None:
    with pytest.raises(dsse.EnvelopeError):
        dsse.read(text)


def test_a_payload_that_is_no_base64_is_refused() -> None:
    envelope = dsse.Envelope("not base64!", "kind", (dsse.Signature("AA=="),))

    with pytest.raises(dsse.EnvelopeError, match="payload is not base64"):
        dsse.signers(envelope, KEYS)
