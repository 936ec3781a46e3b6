"""What is personal or secret is found and masked, and what is not stays as it is."""

from __future__ import annotations

import base64
import os
import random
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark import privacy
from ark.home import Home
from ark.masking import mask_fields
from ark.privacy import (
    MASK,
    finds_personal,
    home_is_private,
    plaintext_credentials,
    redact,
    redaction_works,
)

PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIGFiY2RlZmdoaWprbG1ub3A=\n-----END PRIVATE KEY-----"
PLANTED = [
    ("password=hunter2", "hunter2"),
    ("api_key: sesame", "sesame"),
    ('{"broker_secret": "open sesame"}', "sesame"),
    ("token='a b c'", "a b c"),
    ("ALPACA_API_SECRET_KEY=short", "short"),
    ("Authorization: Bearer abc", "abc"),
    ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ("sent bearer 0123456789abcdef away", "0123456789abcdef"),
    ("https://bob:sesame@broker.example/v2", "sesame"),
    ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7"),
    ("PKTEST1234567890ABCD", "1234567890"),
    ("123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw_", "AAHdqTcv"),
    ("eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSM", "SflKxwRJSM"),
    (PEM, "MC4CAQ"),
    (PEM[:50], "MC4CAQ"),
    ("0123456789abcdef" * 2, "0123456789abcdef"),
    ("write to ann.lee+ark@mail.example.org, please", "ann.lee"),
    ("call +49 170 1234567 now", "1234567"),
    ("call (555) 123-4567", "123-4567"),
    ("phone: 0170 1234567", "1234567"),
    ("paid with 4111 1111 1111 1111", "1111"),
    ("paid with 4111111111111111", "1111"),
    ("paid with 3782-822463-10005", "822463"),
    ("IBAN DE89 3704 0044 0532 0130 00", "0532"),
    ("account number 12345678", "12345678"),
    ("acct_id=U1234567", "1234567"),
]
ORDINARY = [
    "",
    "started",
    "no heartbeat for 2.3 s",
    "AAPL would come to 10000 (held and reserved 0, new 10000), 10.01 % of the equity 99900; the limit is 10 %",
    "unknown key 'gateway.windw'; did you mean 'window'?",
    "agent hrm was not given the secret approval",
    "2026-11-21T03:45:37.123456Z",
    "2026-11-21 03:45:37+00:00",
    "1700000000.123456",
    "1700000000000000000",
    "3f0c2b1a-9d4e-4f5a-8b6c-7d8e9f0a1b2c",
    "12345678-1234-4234-8234-123456789012",
    "tcp://127.0.0.1:5555",
    "ipc:///tmp/ark-k3X9zQab/home/run/kyle.sock",
    'File "/srv/ark/lib/python3.11/site-packages/actors/kenny.py", line 119, in handle',
    "KeyError: 'price'",
    "AAPL BRK.B BTC-USD ES=F EURUSD AAPL260117C00150000",
    "the account 100000.00 has 99999999.5 of equity",
    "test_a_long_name_of_a_test_with_2_numbers_and_3_words_more",
    "PositionSizeLimitExceededErrorOfTheAccount",
    "bearer instruments",
    "killed by SIGKILL (pid 123456)",
    "-1234567890.5 +1234.56 1e-9",
]


@pytest.mark.parametrize(("text", "secret"), PLANTED)
def test_what_was_planted_does_not_survive(text: str, secret: str) -> None:
    masked = redact(text)

    assert secret not in masked
    assert MASK in masked
    assert finds_personal(text)
    assert finds_personal(masked) == ""


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_texts_stay_as_they_are(text: str) -> None:
    assert redact(text) == text
    assert finds_personal(text) == ""


def secret_of(seed: int) -> str:
    """A secret in base64, as it would be drawn: large and small letters and digits."""
    die = random.Random(seed)
    encode = die.choice((base64.b64encode, base64.urlsafe_b64encode))
    return encode(die.randbytes(die.randrange(36, 72))).decode()


def test_base64_secrets_are_found_without_a_name() -> None:
    missed = [seed for seed in range(1000) if redact(f"got {secret_of(seed)} back") != f"got {MASK} back"]

    assert len(missed) <= 3


words = st.text(st.characters(codec="ascii", categories=("L", "Z")), max_size=20)


@given(words, st.sampled_from(PLANTED), words)
def test_what_was_planted_does_not_survive_among_other_words(before: str, planted: Any, after: str) -> None:
    text, secret = planted
    assert secret not in redact(f"{before} {text} {after}")


@given(
    st.one_of(
        st.text(),
        st.lists(
            st.sampled_from([*ORDINARY, *[text for text, _ in PLANTED], MASK, " ", ":", "=", "key", "/"]),
            max_size=6,
        ).map("".join),
    )
)
def test_masking_twice_is_masking_once(text: str) -> None:
    once = redact(text)

    assert redact(once) == once
    assert finds_personal(once) == ""
    assert (once == text) == (finds_personal(text) == "")


@given(st.uuids(), st.datetimes(), st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_what_the_node_writes_of_itself_stays(trace_id: uuid.UUID, at: Any, price: float) -> None:
    text = f"{trace_id} {at.isoformat()} {price}"

    assert redact(text) == text


def test_fields_are_masked_in_depth_and_digests_by_name() -> None:
    digest = "ab" * 32
    fields = {
        "name": "kyle",
        "ruleset": digest,
        "note": digest,
        "login": {"password": "x", "hosts": ["a", "mail bob@example.com"]},
        "bob@example.com": 1,
    }

    assert mask_fields(fields) == {
        "name": "kyle",
        "ruleset": digest,
        "note": MASK,
        "login": {"password": MASK, "hosts": ["a", f"mail {MASK}"]},
        MASK: 1,
    }


def test_a_digests_field_lets_nothing_else_through() -> None:
    assert mask_fields({"hash": "password=hunter2"}) == {"hash": f"password={MASK}"}


def test_masking_of_the_log_works() -> None:
    assert redaction_works()


@pytest.mark.parametrize("broken", [lambda value, name="": value, lambda value, name="": 1 / 0])
def test_a_log_without_masking_is_noticed(broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ark.log.mask_fields", broken)

    assert not redaction_works()


def test_a_log_whose_masking_misses_one_kind_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "_is_card", lambda text: False)

    assert not redaction_works()


def test_a_log_that_cannot_be_written_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ark.log.Log._append", lambda self, line: None)

    assert not redaction_works()


def test_a_prepared_home_is_private(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    home.secret("approval.key")

    assert home_is_private(home.path) == ""


@pytest.mark.parametrize(("place", "mode"), [(".", 0o750), ("data", 0o701), ("keys/approval.key", 0o640)])
def test_what_others_may_see_of_a_home_is_named(place: str, mode: int, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    home.secret("approval.key")
    os.chmod(home.path / place, mode)

    assert f"{home.path / place} has mode {mode:04o}" in home_is_private(str(home.path))


def test_a_home_that_is_not_there_is_not_private(tmp_path: Path) -> None:
    assert "cannot be looked at" in home_is_private(tmp_path / "nowhere")


def test_credentials_in_settings_are_named() -> None:
    settings = {
        "gateway": {"endpoint": "tcp://127.0.0.1:5555", "symbols": ["AAPL"]},
        "pipeline": {"secrets": {"approval": ["hrm", "kenny"]}},
        "agents": {
            "kenny": {
                "settings": {
                    "broker_password": "x",
                    "endpoint": "https://bob:sesame@broker.example",
                    "keys": ["PKTEST1234567890ABCD"],
                    "api_key_env": "ALPACA_KEY",
                    "token_file": "alpaca.token",
                    "secret": "env:ALPACA_SECRET",
                    "api_key": "keys/alpaca.key",
                    "max_tokens": 5,
                    "contact": "ops@example.com",
                }
            }
        },
    }

    assert plaintext_credentials(settings) == (
        "agents.kenny.settings.broker_password",
        "agents.kenny.settings.endpoint",
        "agents.kenny.settings.keys[0]",
    )
    assert plaintext_credentials({}) == ()
