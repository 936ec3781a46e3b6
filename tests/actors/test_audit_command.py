"""`ark-run audit verify` tells a good ledger from a bad one by its exit code, while the node runs."""

import argparse
import json
from pathlib import Path

import apsw
import pytest

from actors.commands import audit
from actors.ledger import Ledger
from ark.journal import open_database
from tests.actors.test_ledger import UNGUARD, entry, filled


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path


def run(home: Path, *options: str) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path)
    parser.add_argument("--json", action="store_true")
    audit.configure(parser)
    return audit.run(parser.parse_args(["verify", "--home", str(home), *options]))


def ledger(home: Path, rows: int = 5) -> apsw.Connection:
    return filled(rows, open_database(home / "data" / "aletheia.db"))


def test_a_good_ledger_exits_0(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger(home).close()
    assert run(home) == audit.EXIT_CLEAN == 0
    assert capsys.readouterr().out.startswith("ok: 5 rows, head ")


def test_it_works_while_the_node_writes(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    connection = ledger(home)
    connection.execute("BEGIN IMMEDIATE")
    Ledger(connection).append(entry(5))
    assert run(home, "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 5
    connection.execute("COMMIT")
    assert run(home, "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 6


def test_a_changed_row_exits_1_and_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    connection = ledger(home)
    connection.execute(UNGUARD)
    connection.execute("UPDATE ledger SET status = 'denied' WHERE seq = 3")
    connection.close()
    assert run(home) == audit.EXIT_CORRUPT == 1
    assert "row 3: its columns differ" in capsys.readouterr().out
    assert run(home, "--json") == 1
    facts = json.loads(capsys.readouterr().out)
    assert (facts["ok"], facts["first_bad"], facts["rows"]) == (False, 3, 2)


@pytest.mark.parametrize("content", [None, b"this is no database at all" * 100])
def test_what_cannot_be_opened_exits_2(
    home: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / "data" / "aletheia.db"
    if content is not None:
        path.write_bytes(content)
    assert run(home) == audit.EXIT_UNREADABLE == 2
    streams = capsys.readouterr()
    assert streams.err.startswith("error: cannot read")
    assert run(home, "--json") == 2
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert path.exists() is (content is not None)


def test_a_database_without_a_ledger_exits_2(home: Path) -> None:
    open_database(home / "data" / "aletheia.db").close()
    assert run(home) == 2


def test_a_long_walk_says_how_far_it_is_on_a_terminal(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger(home).close()
    monkeypatch.setattr(audit, "PATIENCE_S", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert run(home) == 0
    assert "5 rows are good so far" in capsys.readouterr().err
