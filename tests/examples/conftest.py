"""One node for the examples that talk to one from outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.node import Node, node


@pytest.fixture(scope="module")
def running() -> Iterator[Node]:
    with node() as one:
        yield one
