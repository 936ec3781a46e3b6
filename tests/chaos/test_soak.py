"""What the soak calls flat."""

from __future__ import annotations

from tests.chaos.soak import Holdings, flat


def test_what_stays_is_flat() -> None:
    assert flat([Holdings(900.0, 700), *[Holdings(300.0 + n % 7, 400 + n % 5) for n in range(30)]]) == []


def test_what_grows_is_named() -> None:
    assert flat([Holdings(300.0 + 10 * n, 400) for n in range(30)]) == ["memory has grown from 330 to 570 MiB"]
    grown = flat([Holdings(300.0, 400 + 3 * n) for n in range(30)])
    assert grown == ["open descriptors have grown from 409 to 481"]


def test_of_too_few_samples_nothing_is_said() -> None:
    assert flat([Holdings(300.0 * n, 400) for n in range(10)]) == []
