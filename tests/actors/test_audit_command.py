"""`ark-run audit verify` tells a good ledger from a bad one by its exit code; `acts` shows who did what."""

import argparse
import json
from pathlib import Path

import apsw
import msgspec
import pytest

from actors.commands import audit
from actors.interventions import Clerk
from actors.ledger import Ledger
from ark.home import Home
from ark.intake import Intake
from ark.interventions import read, record
from ark.journal import open_database, open_for_reading
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
    words = options if options and options[0] == "acts" else ("verify", *options)
    return audit.run(parser.parse_args([*words, "--home", str(home)]))


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


def told_by_the_gateway(home: Path, seqs: list[int]) -> None:
    """The gateway's journal with an outcome for each of these rows, and one that it gave up by itself."""
    rows = open_for_reading(home / "data" / "aletheia.db").execute("SELECT seq, trace_id, hash FROM ledger")
    known = {seq: (trace_id, digest.hex()) for seq, trace_id, digest in rows}
    intake = Intake(open_database(home / "data" / "gateway.db"), 1.0)
    for seq in (*seqs, 0):
        trace_id, digest = known.get(seq, (f"trace {seq}", "ab" * 32))
        pending = intake.add(trace_id, "A", b"", 1.0)
        assert pending is not None
        place = {"seq": seq, "hash": digest, "prev": ""} if seq else None
        intake.finish(pending, "executed", msgspec.msgpack.encode({"trace_id": trace_id, "ledger": place}))
    intake.connection.close()


def test_a_ledger_that_has_the_rows_of_the_gateways_outcomes_is_good(home: Path) -> None:
    ledger(home).close()
    told_by_the_gateway(home, [3, 4, 5])
    assert run(home) == 0


def test_rows_that_were_lost_at_the_end_are_missed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger(home).close()
    told_by_the_gateway(home, [4, 5, 6, 7])
    assert run(home) == audit.EXIT_CORRUPT
    assert (
        "row 6: the gateway has an outcome with it, of trace 6; it is gone (2 such rows)" in capsys.readouterr().out
    )


def test_a_row_that_was_made_anew_is_not_the_one_that_was_told(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger(home, 6).close()
    told_by_the_gateway(home, [5, 6])
    (home / "data" / "aletheia.db").unlink()
    connection = ledger(home, 5)
    Ledger(connection).append(entry(9))
    connection.close()
    assert run(home, "--json") == audit.EXIT_CORRUPT
    facts = json.loads(capsys.readouterr().out)
    assert (facts["first_bad"], "has another one for" in facts["reason"]) == (6, True)


def test_a_long_walk_says_how_far_it_is_on_a_terminal(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger(home).close()
    monkeypatch.setattr(audit, "PATIENCE_S", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert run(home) == 0
    assert "5 rows are good so far" in capsys.readouterr().err


def done(home: Path) -> None:
    """Two acts, of which the ledger has the first."""
    place = Home(home)
    place.prepare()
    record(place, "isolate", by="anna", subject="joey", reason="odd\x1b[2J confidence")
    connection = open_database(home / "data" / "aletheia.db")
    Clerk(connection, Ledger(connection)).take(lambda after: list(read(place, after=after)), 5.0)
    connection.close()
    record(place, "halt", by="watchdog")


def test_acts_are_shown_with_their_row_and_before_they_have_one(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done(home)
    assert run(home, "acts") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split()[2:] == [
        "anna",
        "isolate",
        "joey",
        "odd\N{REPLACEMENT CHARACTER}[2J",
        "confidence",
        "(row",
        "1)",
    ]
    assert second.split()[2:] == ["watchdog", "halt", "-", "-", "(not", "in", "the", "ledger", "yet)"]
    assert run(home, "acts", "--json") == 0
    assert [(each["by"], each["row"]) for each in json.loads(capsys.readouterr().out)] == [
        ("anna", 1),
        ("watchdog", None),
    ]


def test_acts_since_a_time_are_those_after_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done(home)
    assert run(home, "acts", "--since", "1h", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert run(home, "acts", "--since", "2999-01-01", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    with pytest.raises(SystemExit):
        run(home, "acts", "--since", "yesterday")
    assert "'yesterday' is no time: write 90s, 10m" in capsys.readouterr().err


def test_where_nothing_was_ever_done_there_are_no_acts(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "acts") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("name", "left"), [("aletheia.db", 2), ("interventions.db", 1)])
def test_of_a_damaged_file_the_other_is_shown(
    name: str, left: int, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done(home)
    for path in (home / "data").glob(f"{name}*"):
        path.unlink()
    (home / "data" / name).write_bytes(b"no database at all" * 500)
    assert run(home, "acts", "--json") == audit.EXIT_UNREADABLE
    streams = capsys.readouterr()
    assert len(json.loads(streams.out)) == left
    assert (streams.err.startswith("error: "), name in streams.err) == (True, True)
