"""`ark-run start`: the demo's home, and what it tells to type."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ark.commands import start
from ark.errors import NodeError
from ark.home import Home


def ran_a_demo(path: Path) -> Home:
    home = Home(path)
    start._begin_demo(home)
    (home.data / "gateway.db").touch()
    return home


def test_a_demo_empties_the_home_of_an_earlier_demo(tmp_path: Path) -> None:
    home = ran_a_demo(tmp_path)

    start._begin_demo(home)

    assert list(home.data.iterdir()) == []


def test_a_demo_does_not_touch_the_data_of_a_node(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prepare()
    (home.data / "gateway.db").touch()

    with pytest.raises(NodeError, match="holds a node's data"):
        start._begin_demo(home)

    assert (home.data / "gateway.db").exists()


def test_once_a_node_ran_in_it_a_demos_home_is_a_nodes(tmp_path: Path) -> None:
    home = ran_a_demo(tmp_path)

    start._end_demo(home)

    with pytest.raises(NodeError, match="holds a node's data"):
        start._begin_demo(home)


def test_the_hint_names_what_another_terminal_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ark-run", "supervisor"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "ark-run")])
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    monkeypatch.delenv("ARK_HOME", raising=False)

    assert start._look_closer(Path("/state/ark")) == f"{tmp_path}/supervisor status"
    assert start._look_closer(Path("/other")) == f"{tmp_path}/supervisor status --home /other"

    monkeypatch.setenv("PATH", str(tmp_path))
    assert start._look_closer(Path("/state/ark")) == "supervisor status"

    monkeypatch.setenv("ARK_HOME", "/other")
    assert start._look_closer(Path("/other")) == "supervisor status --home /other"
