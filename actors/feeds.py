"""Bars from files, and bars as signals for the front door."""

from __future__ import annotations

import csv
import gzip
import heapq
import importlib.resources
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from ark.errors import MessageError
from ark.signal import Bar

__all__ = ["DEMO_SYMBOLS", "as_signals", "demo_bars", "read_bars"]

PRICES = ("open", "high", "low", "close", "volume")
TIMES = ("timestamp", "date", "ts", "time", "datetime")
SYMBOLS = ("symbol", "ticker")
DEMO_SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")
MILLISECONDS_FROM = 1e11
"""Numbers of time above this are milliseconds: as seconds they would lie after the year 5000."""


def read_bars(path: Path | str, symbol: str | None = None) -> Iterator[tuple[str, Bar]]:
    """Read bars from a CSV file with a head line, oldest first.

    Columns: `date` or `timestamp` (ISO 8601, UTC where no offset is named; or seconds or milliseconds since
    the epoch), `open`, `high`, `low`, `close`, `volume`, and perhaps `symbol`; in any order and case. Other
    columns are
    ignored: prices are taken as they stand.

    Args:
        path: The file; `.gz` is unpacked.
        symbol: Whose bars they are, where the file has no such column; without, the file's name up to the
            first `.` or `-`, so that `aapl-daily.csv` holds AAPL.

    Raises:
        MessageError: The file cannot be read, or a line is no bar; the message names file, line and field.
    """
    path = Path(path)
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as text:
            own_name = path.name.split(".")[0].split("-")[0]
            yield from _read(text, str(path), symbol or own_name)
    except OSError as error:
        raise MessageError(f"{path}: {error.strerror or error}", hint="name a readable CSV file of bars") from error
    except (UnicodeDecodeError, EOFError) as error:
        raise MessageError(f"{path}: not a text file: {error}", hint="save it as CSV in UTF-8") from error


def demo_bars() -> Iterator[tuple[str, Bar]]:
    """Daily bars of AAPL, GOOG, IBM and MSFT, March 2000 to March 2013, by date and then by symbol.

    They are real: the file `stocks.csv.gz` of the package `bokeh-sampledata` (Yahoo Finance). Prices there
    are as traded; here they are adjusted for splits and dividends by its column of adjusted closes, and
    volumes inversely, so that price times volume stays what was paid.

    Raises:
        MessageError: The package is not installed, or its file is not as expected.
    """
    hint = "pip install 'ark-runtime[demo]'"
    try:
        found = importlib.resources.files("bokeh_sampledata").joinpath("_data", "stocks.csv.gz")
        packed = found.read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise MessageError("the demo's bars are not installed", hint=hint) from error
    by_symbol: dict[str, list[tuple[float, str, Bar]]] = {name: [] for name in DEMO_SYMBOLS}
    try:
        text = io.StringIO(gzip.decompress(packed).decode())
        for row in csv.DictReader(text):
            series = by_symbol.get(row["Ticker"])
            if series is not None:
                bar = _adjusted(row)
                series.append((bar.ts, row["Ticker"], bar))
    except (OSError, EOFError, KeyError, ValueError) as error:
        raise MessageError(f"the demo's bars cannot be read: {error}", hint=hint) from error
    for _, name, bar in heapq.merge(*by_symbol.values(), key=lambda item: item[:2]):
        yield name, bar


def as_signals(bars: Iterable[tuple[str, Bar]], source: str = "replay") -> Iterator[dict[str, Any]]:
    """Show bars to the pipeline: a signal for the front door from each, asking for no trade by itself.

    The direction is that of the close against the symbol's close before. There is no `ts`: the door sets the
    time of acceptance, since the age that matters is that of the signal, not of the bar.
    """
    before: dict[str, float] = {}
    for symbol, bar in bars:
        previous = before.get(symbol, bar.close)
        before[symbol] = bar.close
        yield {
            "symbol": symbol,
            "direction": "long" if bar.close >= previous else "short",
            "price": bar.close,
            "action": "observe",
            "source": source,
            "features": {"bar": msgspec.structs.asdict(bar)},
        }


def _read(text: Iterable[str], name: str, symbol: str) -> Iterator[tuple[str, Bar]]:
    rows = csv.reader(text)
    try:
        head = [column.strip().lower() for column in next(rows, [])]
        places = {column: head.index(column) for column in PRICES if column in head}
        missing = [column for column in PRICES if column not in places]
        when = next((head.index(column) for column in TIMES if column in head), None)
        if when is None:
            missing.insert(0, "date")
        if missing or when is None:
            hint = "the first line names the columns: date or timestamp, open, high, low, close, volume"
            raise MessageError(f"{name}:1: no column `{missing[0]}`", field=missing[0], hint=hint)
        who = next((head.index(column) for column in SYMBOLS if column in head), None)
        newest: dict[str, float] = {}
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            place = f"{name}:{rows.line_num}"
            if len(row) != len(head):
                raise MessageError(f"{place}: {len(row)} fields where the first line has {len(head)}")
            owner = (row[who].strip() if who is not None else symbol).upper()
            if not owner:
                raise MessageError(f"{place}: `symbol` is empty", field="symbol")
            bar = _bar(row, places, when, place, head[when])
            if bar.ts <= newest.get(owner, float("-inf")):
                raise MessageError(
                    f"{place}: `{head[when]}` is not after that of the bar of {owner} before",
                    field=head[when],
                    hint="sort the file by time, oldest first, with one bar for each time",
                )
            newest[owner] = bar.ts
            yield owner, bar
    except csv.Error as error:
        raise MessageError(f"{name}:{rows.line_num}: {error}") from error


def _bar(row: list[str], places: dict[str, int], when: int, place: str, when_name: str) -> Bar:
    values: dict[str, float] = {}
    try:
        values["ts"] = _seconds(row[when].strip())
    except (ValueError, OverflowError) as error:
        raise MessageError(
            f"{place}: `{when_name}` is no date: {row[when][:40]!r}", field=when_name, hint="write 2013-03-01"
        ) from error
    for column, index in places.items():
        try:
            values[column] = float(row[index])
        except ValueError as error:
            message = f"{place}: `{column}` is no number: {row[index][:40]!r}"
            raise MessageError(message, field=column) from error
    try:
        return msgspec.convert(values, Bar)
    except msgspec.ValidationError as error:
        field = next((column for column in values if f"`$.{column}`" in str(error)), None)
        raise MessageError(f"{place}: {error}", field=field) from error


def _seconds(text: str) -> float:
    """Seconds since the epoch from ISO 8601 (UTC where no offset is named) or from a number of time."""
    compact_date = len(text) == 8 and text.isdigit()
    if not compact_date:
        try:
            number = float(text)
        except ValueError:
            pass
        else:
            return number / 1000 if abs(number) >= MILLISECONDS_FROM else number
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _adjusted(row: dict[str, str]) -> Bar:
    close = float(row["Close"])
    factor = float(row["Adj Close"]) / close
    prices = {name: round(float(row[name.title()]) * factor, 4) for name in ("open", "high", "low", "close")}
    volume = round(float(row["Volume"]) / factor)
    return msgspec.convert({"ts": _seconds(row["Date"]), **prices, "volume": volume}, Bar)
