import gzip
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path

import msgspec
import pytest

from actors.feeds import DEMO_SYMBOLS, as_signals, demo_bars, read_bars
from ark.errors import MessageError
from ark.signal import Bar, Signal

HEAD = "date,open,high,low,close,volume\n"


def written(folder: Path, text: str, name: str = "acme-daily.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_bars_are_read_with_the_symbol_from_the_files_name(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + "2013-03-01,10,12,9,11,1000\n\n2013-03-04,11,12,10,12,2000\n")
    first, second = read_bars(path)
    assert first == ("ACME", Bar(datetime(2013, 3, 1, tzinfo=UTC).timestamp(), 10, 12, 9, 11, 1000))
    assert second[1].close == 12


def test_a_symbol_can_be_given(tmp_path: Path) -> None:
    assert next(read_bars(written(tmp_path, HEAD + "2013-03-01,10,12,9,11,1\n"), "brk.b"))[0] == "BRK.B"


def test_columns_come_in_any_order_and_case_with_symbols_of_their_own(tmp_path: Path) -> None:
    text = "\ufeffVolume,Close,Symbol,Low,High,Open,Timestamp,Note\n5,11,ibm,9,12,10,2013-03-01T09:30:00-05:00,x\n"
    (symbol, bar), *rest = read_bars(written(tmp_path, text), "other")
    assert (symbol, rest) == ("IBM", [])
    assert bar == Bar(datetime(2013, 3, 1, 14, 30, tzinfo=UTC).timestamp(), 10, 12, 9, 11, 5)


@pytest.mark.parametrize(
    "text", ["2013-03-01", "20130301", "1362096000", "1362096000000", "2013-03-01T00:00:00Z", "2013-03-01 00:00"]
)
def test_times_are_read_in_the_usual_ways(tmp_path: Path, text: str) -> None:
    ((_, bar),) = read_bars(written(tmp_path, f"{HEAD}{text},10,12,9,11,1\n"))
    assert bar.ts == 1362096000.0


def test_a_packed_file_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "acme.csv.gz"
    path.write_bytes(gzip.compress((HEAD + "2013-03-01,10,12,9,11,1\n").encode()))
    assert next(read_bars(path))[0] == "ACME"


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ("", 1, "date"),
        ("date,open,high,low,close\n", 1, "volume"),
        (HEAD + "2013-03-01,10,12,9,11\n", 2, None),
        (HEAD + "2013-03-01,10,12,9,11,1\nyesterday,10,12,9,11,1\n", 3, "date"),
        (HEAD + "2013-03-01,10,high,9,11,1\n", 2, "high"),
        (HEAD + "2013-03-01,10,12,9,nan,1\n", 2, "close"),
        (HEAD + "2013-03-01,10,12,-9,11,1\n", 2, "low"),
        (HEAD + "2013-03-01,10,12,9,11,-1\n", 2, "volume"),
        (HEAD + "2013-03-01,10,10,9,11,1\n", 2, None),
        (HEAD + "2013-03-04,10,12,9,11,1\n2013-03-01,10,12,9,11,1\n", 3, "date"),
        (HEAD + "2013-03-01,10,12,9,11,1\n2013-03-01,10,12,9,11,1\n", 3, "date"),
    ],
)
def test_an_error_names_file_line_and_field(tmp_path: Path, text: str, line: int, field: str | None) -> None:
    path = written(tmp_path, text)
    with pytest.raises(MessageError) as caught:
        list(read_bars(path))
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert caught.value.field == field
    assert field is None or f"`{field}`" in str(caught.value) or f"`$.{field}`" in str(caught.value)


def test_a_file_that_is_not_there_is_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(MessageError, match="No such file"):
        list(read_bars(tmp_path / "none.csv"))


@pytest.mark.parametrize("name", ["acme.csv", "acme.csv.gz"])
def test_bytes_that_are_no_text_are_a_plain_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x80\x81\xff" * 50)
    with pytest.raises(MessageError, match="acme"):
        list(read_bars(path))


def test_the_demo_has_four_symbols_in_order_of_time_without_jumps_of_splits() -> None:
    bars = list(demo_bars())
    assert {symbol for symbol, _ in bars} == set(DEMO_SYMBOLS)
    assert len(bars) == 11_958
    assert all((early[1].ts, early[0]) < (late[1].ts, late[0]) for early, late in pairwise(bars))
    closes: dict[str, list[float]] = {}
    for symbol, bar in bars:
        closes.setdefault(symbol, []).append(bar.close)
    # Apple's fall on 29 September 2000 was real: half its price in a day.
    falls = [
        (symbol, late / early)
        for symbol, series in closes.items()
        for early, late in pairwise(series)
        if late < early * 0.6
    ]
    assert [symbol for symbol, _ in falls] == ["AAPL"]
    assert falls[0][1] == pytest.approx(0.481, abs=0.001)


def test_without_its_data_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Path:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("importlib.resources.files", missing)
    with pytest.raises(MessageError) as caught:
        next(demo_bars())
    assert caught.value.hint == "pip install 'ark-runtime[demo]'"


def test_bars_become_signals_that_the_door_takes() -> None:
    bars = [("A", Bar(1.0, 10, 12, 9, 11, 5)), ("B", Bar(1.0, 5, 6, 4, 5, 5)), ("A", Bar(2.0, 11, 12, 9, 10, 5))]
    made = list(as_signals(bars))
    assert [signal["direction"] for signal in made] == ["long", "long", "short"]
    assert made[2] == {
        "symbol": "A",
        "direction": "short",
        "price": 10.0,
        "action": "observe",
        "source": "replay",
        "features": {"bar": {"ts": 2.0, "open": 11.0, "high": 12.0, "low": 9.0, "close": 10.0, "volume": 5.0}},
    }
    for signal in islice(as_signals(demo_bars()), 20):
        taken = msgspec.convert(signal, Signal)
        assert msgspec.convert(taken.features["bar"], Bar).close == taken.price
