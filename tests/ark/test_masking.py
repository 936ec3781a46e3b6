"""Whatever a value is made of: its secrets do not come out, and looking at it comes to an end."""

from __future__ import annotations

import base64
import json
import time
from collections import deque, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.log import encode
from ark.masking import _MARKS, _PLAIN, CUT, LONGEST, Masker, mask_fields, secrets_of_environment, spellings
from ark.privacy import MASK, finds_personal, redact
from tests.ark.test_privacy import ORDINARY, PLANTED

CORE = "hunterxyzq"
"""Letters alone, in no shape that anything is known by: only a name tells that it is a secret."""

NAMES = st.sampled_from(
    (
        *("password", "PASSWORD", "dbPassword", "client-secret", "api_key", "apiKey", "X-Api-Key", "access.token"),
        *("Authorization", "private_key", "session_cookie", "credentials", "token2", "equity", "cash_before"),
        *("user_pass", "pin", "X-Auth", "positions", "buying_power", "account_number", "accountId", "Balance"),
    )
)
SECRETS = st.builds(lambda before, after: f"{before}{CORE}{after}", st.text(max_size=5), st.text(max_size=5))


@dataclass
class Login:
    user: str
    password: Any
    more: Any = field(default=None, repr=False)


class Wire(msgspec.Struct):
    api_key: Any
    more: Any = None


Pair = namedtuple("Pair", ["token", "more"])


def under(name: str, secret: Any) -> st.SearchStrategy[Any]:
    """The secret under a name, in one of many ways."""
    made = make_dataclass("Made", [("secret_value", Any)])
    ways: list[Callable[[], Any]] = [
        lambda: {name: secret},
        lambda: {name: [secret, {"x": secret}]},
        lambda: {name: {"inner": (secret,)}},
        lambda: Login("ann", secret),
        lambda: Wire(secret),
        lambda: Pair(secret, 1),
        lambda: made(secret),
        lambda: {"password": 1, "headers": [("Authorization", secret), ("x", "y")]},
        lambda: ["--password", secret],
        lambda: {"name": "password", "value": secret},
    ]
    return st.sampled_from(ways).map(lambda way: way())


def wrapped(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        inner.map(lambda each: {"a": each, 3: 1}),
        inner.map(lambda each: [1, each]),
        inner.map(lambda each: (each, None)),
        inner.map(lambda each: deque([each])),
        inner.map(lambda each: Login("ann", "x", each)),
        inner.map(lambda each: Wire("x", each)),
        inner.map(lambda each: Pair("x", each)),
    )


def out(value: Any) -> str:
    """What stands in the file, read again, so that no escaping hides anything."""
    return str(json.loads(encode(mask_fields({"event": "x", "value": value}))))


@given(st.data())
def test_what_stands_under_a_secrets_name_does_not_come_out(data: st.DataObject) -> None:
    secret: Any = data.draw(SECRETS)
    secret = data.draw(st.sampled_from([secret, secret.encode(errors="replace"), [secret], {"x": {"y": secret}}]))
    value = data.draw(under(data.draw(NAMES), secret))
    for _ in range(data.draw(st.integers(0, 5))):
        value = data.draw(wrapped(st.just(value)))

    assert CORE not in out(value)


@given(st.sampled_from(PLANTED), st.integers(0, 6), st.data())
def test_what_is_known_by_its_shape_does_not_come_out_wherever_it_stands(
    planted: tuple[str, str], depth: int, data: st.DataObject
) -> None:
    text, secret = planted
    value: Any = data.draw(
        st.sampled_from(
            (
                *(
                    text,
                    text.encode(),
                    bytearray(text.encode()),
                    {text: 1},
                    {text.encode(): 1},
                    {(text,): 1},
                    {text},
                ),
                *(ValueError(text), ValueError([text]), SimpleNamespace(x=text), Path(text.replace("\n", " "))),
            )
        )
    )
    for _ in range(depth):
        value = data.draw(wrapped(st.just(value)))

    assert secret not in out(value)


@pytest.mark.parametrize(
    "text",
    [
        f"password={CORE}",
        f"password = '{CORE} with spaces'",
        f"password='it\\'s {CORE}'",
        f'"password": "{CORE}"',
        f"{{'password': ['x', '{CORE}']}}",
        f"{{'password': b'{CORE}'}}",
        f'{{\\"password\\": \\"a {CORE}\\"}}',
        f"Login(user='ann', password='{CORE}')",
        f"Settings(password=SecretStr('a', '{CORE}'))",
        f"dbPassword: {CORE}",
        f"client_secret_2={CORE}",
        f"secret => {CORE}",
        f"token%3D{CORE}",
        f"ark-run --api-key {CORE} start",
        f"curl --password {CORE}",
        f"https://ann:{CORE}/x@broker.example/v2",
        f"redis://:{CORE}@127.0.0.1:6379/0",
        f"https://{CORE}{CORE}@broker.example",
        f"Basic {base64.b64encode(CORE.encode()).decode()}1",
        f"Cookie: session={CORE}",
        f"Authorization: Digest {CORE}",
        f"user=ann&pass={CORE}&x=1",
        f"pw={CORE}",
        f"got {(CORE.encode() + bytes((255, 1)))!r} back",
    ],
)
def test_what_a_text_names_as_a_secret_does_not_come_out(text: str) -> None:
    masked = out(text)

    assert CORE not in masked
    assert base64.b64encode(CORE.encode()).decode() not in masked
    assert MASK in masked


@pytest.mark.parametrize(
    "text",
    [
        "equity=100000.5",
        "'cash': Decimal('100000.5')",
        "the cash: 100000.5 USD",
        "positions=[Position(symbol='AAPL', quantity=100000.5)]",
        "account number 1000005000",
        "Portfolio(balance=100000.5, x=1)",
        "10.01 % of the equity 100000.5; the limit is 10 %",
        "the cash of $100000.5, and starting_equity is 100000.5.",
    ],
)
def test_figures_of_the_account_that_a_text_names_do_not_come_out(text: str) -> None:
    assert "1000005000" not in out(text)
    assert "100000.5" not in out(text)


@pytest.mark.parametrize(
    "text",
    [
        *(each for each in ORDINARY if "equity 99900" not in each),
        *("equity: is missing", "no token was given", "1 secret, 2 keys", "a - b", "cash flow 5", "5 positions"),
    ],
)
def test_ordinary_texts_come_out_as_they_are(text: str) -> None:
    assert mask_fields(text) == text


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=40) | st.from_regex(_PLAIN, fullmatch=True))
def test_the_quick_ways_find_what_the_slow_way_finds(text: str) -> None:
    if _PLAIN.fullmatch(text):
        assert finds_personal(text) == ""
        assert not _MARKS.search(text) or redact(text) == text


def test_plain_values_stay_what_they_are() -> None:
    trace_id = "0f8fad5b-d9cb-469f-a165-70867728950e"
    value = {
        "symbol": "AAPL",
        "trace_id": trace_id,
        "uuid": UUID(trace_id),
        "price": 1.5,
        "size": Decimal("0.10"),
        "none": None,
        "yes": True,
        "path": Path("/srv/ark"),
        "kind": Enum("Kind", {"A": "a"}).A,  # type: ignore[attr-defined]
        "max_tokens": 512,
        "keys": ["a", "b"],
        "error": KeyError("price"),
        "set": {1},
        "rules": ["encrypt_credentials", "max_daily_loss"],
    }

    assert mask_fields(value) == {
        **value,
        "uuid": trace_id,
        "size": "0.10",
        "path": "/srv/ark",
        "kind": "a",
        "error": "KeyError: 'price'",
        "set": [1],
    }


class Broken:
    """Whatever is asked of it fails."""

    def __repr__(self) -> str:
        raise RuntimeError(CORE)


class BrokenMap(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError(CORE)


def test_values_that_break_cycles_and_depths_come_to_an_end() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    around: dict[str, Any] = {"password": CORE}
    around["self"] = {"again": [around]}
    deep: Any = {"password": CORE}
    for _ in range(2000):
        deep = [deep]
    wide = {f"k{number}": [number] for number in range(100_000)}

    assert mask_fields(loop) == [1, CUT]
    for value in (
        around,
        deep,
        wide,
        Broken(),
        BrokenMap(x=1),
        [Broken()],
        float("nan"),
        1 << 5000,
        "\ud800",
        b"\xff",
    ):
        assert CORE not in out(value)
    assert "cannot be shown" in out(Broken())
    assert out(b"\xff\x00").count("[2 bytes]") == 1


@pytest.mark.parametrize(
    "text",
    [
        *("a" * 500_000, "a_" * 200_000, "x=" * 200_000, "-" * 300_000, "--a" * 100_000, "1 " * 200_000),
        *("://a:" * 90_000, "-----BEGIN A-----" * 20_000, "bearer " * 60_000, "password" * 50_000),
        *("'" * 300_000, "(((" * 90_000, "key='\\" * 80_000),
    ],
)
def test_no_text_takes_long(text: str) -> None:
    began = time.process_time()
    mask_fields({"text": text, "texts": [text] * 20})

    assert time.process_time() - began < 1.0


def test_of_a_long_text_no_part_of_a_secret_is_left_at_its_end() -> None:
    secret = "0123456789abcdef" * 4
    for place in range(LONGEST - 70, LONGEST + 1):
        masked = mask_fields("." * (place - 1) + " " + secret)
        assert "0123456" not in masked
        assert len(masked) < LONGEST + 100


def test_a_secret_that_is_known_is_masked_in_every_spelling() -> None:
    secret = bytes(range(200, 232))
    masker = Masker([secret, "open sesame"])
    for text in spellings(secret) | {"open sesame"}:
        assert masker(f"seen: {text}!") == f"seen: {MASK}!"
    assert "sesame" not in str(masker(["open sesame", b"open sesame", {"open sesame": 1}]))
    assert masker("opening") == "opening"


def test_variables_that_hold_secrets_are_known() -> None:
    environment = {
        "BROKER_SECRET": CORE,
        "ARK_KEY": "/etc/hostname",
        "SHORT_TOKEN": "abc",
        "HOME": "/root",
        "REDIS_URL": f"redis://:{CORE}2@127.0.0.1:6379",
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-tenant=production-of-ark,authorization=Bearer%20{CORE}3, api-key={CORE}4",
    }
    assert secrets_of_environment(environment) == {CORE, f"{CORE}2", f"{CORE}3", f"{CORE}4"}
