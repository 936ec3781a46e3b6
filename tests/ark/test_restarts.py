"""How restarts are counted over the deaths of those who count them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ark.restarts import Restarts


def tree(root: int = 1, pipeline: int = 10, **incarnations: int) -> list[dict[str, Any]]:
    """A root with a gateway and a pipeline with kyle; each has begun so often under its supervisor."""
    begun = {"root": 1, "gateway": 1, "pipeline": 1, "kyle": 1} | incarnations
    parents = {"root": None, "gateway": "root", "pipeline": "root", "kyle": "pipeline"}
    pids = {"root": root, "pipeline": pipeline}
    return [
        {"name": name, "parent": parents[name], "pid": pids.get(name), "incarnation": count}
        for name, count in begun.items()
    ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "restarts.json"


def test_a_first_start_is_no_restart(file: Path) -> None:
    restarts = Restarts(file)
    restarts.see(tree(kyle=0))
    restarts.see(tree())

    assert set(restarts.totals().values()) == {0}


def test_each_further_start_is_one(file: Path) -> None:
    restarts = Restarts(file)
    for count in (1, 2, 2, 5):
        restarts.see(tree(kyle=count))

    assert restarts.totals()["kyle"] == 4


def test_a_new_supervisor_counts_anew_and_the_total_goes_on(file: Path) -> None:
    restarts = Restarts(file)
    restarts.see(tree(kyle=3))
    restarts.see([each for each in tree(pipeline=0) if each["name"] != "kyle"])
    restarts.see(tree(pipeline=11, kyle=0))
    assert restarts.totals()["kyle"] == 2
    restarts.see(tree(pipeline=11, kyle=1))

    assert restarts.totals()["kyle"] == 3


def test_a_new_root_sets_nothing_back(file: Path) -> None:
    restarts = Restarts(file)
    restarts.see(tree(gateway=4, kyle=2))
    restarts.see(tree_of_new_root())

    assert restarts.totals() == {"root": 1, "gateway": 4, "pipeline": 1, "kyle": 2}


def tree_of_new_root() -> list[dict[str, Any]]:
    found = tree(root=2, pipeline=12)
    found[0]["incarnation"] = 2
    return found


def test_the_next_exporter_goes_on_and_counts_what_it_has_missed(file: Path) -> None:
    Restarts(file).see(tree(kyle=2))
    after = Restarts(file)
    assert after.totals()["kyle"] == 1
    after.see(tree(kyle=4))

    assert Restarts(file).totals()["kyle"] == 3


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", json.dumps({"kyle": 3}).encode()])
def test_a_damaged_file_is_as_good_as_none(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    restarts = Restarts(file)
    restarts.see(tree(kyle=2))

    assert restarts.totals()["kyle"] == 1


def test_what_cannot_be_written_counts_all_the_same_and_is_written_later(file: Path) -> None:
    file.with_suffix(".new").mkdir()
    restarts = Restarts(file)
    restarts.see(tree(kyle=2))
    restarts.see(tree(kyle=3))
    assert restarts.totals()["kyle"] == 2
    file.with_suffix(".new").rmdir()
    restarts.see(tree(kyle=3))

    assert Restarts(file).totals()["kyle"] == 2
