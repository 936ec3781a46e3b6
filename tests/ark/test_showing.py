"""What agents show on the node's page: whole, or as it was before."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest

from ark.showing import Showing, shown


def test_a_disk_that_takes_only_a_part_leaves_what_was_shown_and_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "hrm.portfolio.json"
    showing = Showing(lambda name: path)
    showing.put("portfolio", {"equity": 1})
    showing.flush(1.0)

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        showing.put("portfolio", {"equity": 2, "positions": ["x" * 500]})
        showing.flush(3.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert shown(path) == {"equity": 1}

    showing.flush(5.0)
    assert shown(path)["equity"] == 2


@pytest.mark.parametrize("content", ["", "{", '"\xff"', "[" * 100_000])
def test_what_cannot_be_read_is_as_if_nothing_were_shown(tmp_path: Path, content: str) -> None:
    path = tmp_path / "hrm.portfolio.json"
    assert shown(path) is None
    path.write_text(content, encoding="latin-1")
    assert shown(path) is None
