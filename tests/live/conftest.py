"""One trading node for all modules whose tests do not disturb each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ark.client import Client
from tests.node import Node, node


@pytest.fixture(scope="session")
def register(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator's register of that node."""
    path = tmp_path_factory.mktemp("register") / "register.toml"
    path.write_text("")
    return path


@pytest.fixture(scope="session")
def trader(register: Path) -> Iterator[Node]:
    """A node as it comes, with a register. No more than five symbols may be opened over it."""
    with node(f"[agents.hrm.settings]\nregister = '{register}'\n") as one:
        yield one


@pytest.fixture
def client(trader: Node) -> Iterator[Client]:
    with trader.client() as operator:
        yield operator
