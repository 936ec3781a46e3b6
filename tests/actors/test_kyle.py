from typing import Any

import apsw
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.kyle import Kyle, notable
from actors.messages import Case, Market
from actors.window import SIZE, SLACK
from ark.errors import ConfigError
from ark.signal import Bar, Signal
from ark.testing import TestContext, drive
from tests.actors.bars import DAY, START, path, series, shown, walk


class Desk(TestContext):
    """A context with one database, which a second Kyle can take over."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__("kyle", **keywords)
        self.journal = apsw.Connection(":memory:")

    @property
    def database(self) -> apsw.Connection:
        return self.journal


def copied(desk: Desk) -> Desk:
    copy = Desk()
    with copy.journal.backup("main", desk.journal, "main") as backup:
        backup.step()
    return copy


def seated(desk: Desk | None = None) -> tuple[Kyle, Desk]:
    desk = desk or Desk()
    kyle = Kyle()
    kyle.setup(desk)
    return kyle, desk


def described(kyle: Kyle, desk: Desk, bars: list[Bar]) -> list[Market]:
    found = [kyle.handle(shown(bar), desk).market for bar in bars]
    assert all(market is not None for market in found)
    return [market for market in found if market is not None]


def trade(**fields: Any) -> Signal:
    return Signal(**{"symbol": "ACME", "direction": "long", "price": 10.0, **fields})


def test_a_signal_without_bars_passes_with_its_price() -> None:
    kyle, desk = seated()
    case = drive(kyle, trade(), desk)
    assert case == Case(signal=trade(), market=Market(price=10.0))


@pytest.mark.parametrize(("age", "status"), [(0, None), (900, None), (901, "expired"), (-5, None), (-6, "denied")])
def test_age_is_checked(age: float, status: str | None) -> None:
    kyle, desk = seated()
    refusal = drive(kyle, trade(ts=desk.clock - age), desk).refusal
    assert (refusal and refusal[0]) == status


def test_the_oldest_age_can_be_set() -> None:
    kyle, desk = seated(Desk(settings={"max_age_s": 10}))
    assert drive(kyle, trade(ts=desk.clock - 11), desk).refusal == (
        "expired",
        "ts: the signal is 11 s old, at most 10 s are allowed (DATA-003)",
    )


@pytest.mark.parametrize("source", ["rumours", " Rumours "])
def test_a_source_that_the_settings_block_is_denied(source: str) -> None:
    kyle, desk = seated(Desk(settings={"blocked_sources": ["RUMOURS"]}))
    assert drive(kyle, trade(source=source), desk).refusal == ("denied", f"source: {source!r} is blocked")
    assert drive(kyle, trade(source="desk"), desk).refusal is None


def test_without_settings_no_source_is_blocked_since_hrm_judges_them_by_the_register() -> None:
    kyle, desk = seated()
    assert drive(kyle, trade(source="insider_tip"), desk).refusal is None


def test_with_allowed_sources_all_others_are_denied() -> None:
    kyle, desk = seated(Desk(settings={"allowed_sources": ["desk"]}))
    assert drive(kyle, trade(source="Desk"), desk).refusal is None
    assert drive(kyle, trade(source="web"), desk).refusal[0] == "denied"
    assert drive(kyle, trade(), desk).refusal[0] == "denied"


def test_an_unknown_setting_names_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'max_age_s'"):
        Kyle().setup(Desk(settings={"max_ages": 10}))


def test_a_setting_out_of_bounds_is_an_error() -> None:
    with pytest.raises(ConfigError, match="max_age_s"):
        Kyle().setup(Desk(settings={"max_age_s": -1}))


GOOD = {"ts": START, "open": 10.0, "high": 11.0, "low": 9.0, "close": 10.5, "volume": 100.0}


@pytest.mark.parametrize(
    ("bar", "word"),
    [
        (None, "object"),
        ([], "object"),
        ({**GOOD, "close": "ten"}, "close"),
        ({key: value for key, value in GOOD.items() if key != "volume"}, "volume"),
        ({**GOOD, "high": float("nan")}, "high"),
        ({**GOOD, "low": -1.0}, "low"),
        ({**GOOD, "high": 10.0}, "high"),
        ({**GOOD, "low": 1e-12}, "low"),
        ({**GOOD, "ts": 9e9}, "ts"),
    ],
)
def test_a_bar_that_is_none_is_denied_with_the_field(bar: Any, word: str) -> None:
    kyle, desk = seated()
    refusal = drive(kyle, trade(features={"bar": bar}), desk).refusal
    assert refusal is not None
    assert refusal[0] == "denied"
    assert refusal[1].startswith("features.bar: ")
    assert word in refusal[1]
    assert kyle.handle(trade(), desk).market == Market(price=10.0)


def test_the_newest_close_and_when_its_bar_began_go_along_with_every_signal() -> None:
    kyle, desk = seated()
    bars = path([10.0, 11.0, 12.0])
    described(kyle, desk, bars)
    desk.clock = bars[-1].ts + 60
    later = drive(kyle, trade(), desk)
    assert later.market is not None
    assert (later.market.price, later.market.close, later.market.close_at) == (10.0, 12.0, bars[-1].ts)
    desk.clock = bars[-1].ts + 8 * DAY
    long_after = drive(kyle, trade(), desk)
    assert long_after.market == Market(price=10.0), "bars of last week say nothing about today"


def test_a_refused_signal_leaves_no_bar() -> None:
    kyle, desk = seated(Desk(settings={"blocked_sources": ["rumours"]}))
    kyle.handle(shown(path([10.0])[0], source="rumours"), desk)
    assert desk.database.execute("SELECT count(*) FROM bars").fetchall() == [(0,)]


def test_a_new_process_computes_the_same_figures() -> None:
    bars = walk(SIZE + 2 * SLACK + 40)
    cut = len(bars) - 25
    kyle, desk = seated()
    described(kyle, desk, bars[:cut])
    successor, inherited = seated(copied(desk))
    assert described(successor, inherited, bars[cut:]) == described(kyle, desk, bars[cut:])


def test_a_split_is_remembered_by_the_next_process() -> None:
    bars = path([100.0] * 40) + [
        msgspec.structs.replace(bar, ts=bar.ts + 40 * DAY) for bar in path([50.0 + day for day in range(6)])
    ]
    kyle, desk = seated()
    found = described(kyle, desk, bars[:41])
    assert found[-1].change_pct == pytest.approx(0.0)
    successor, inherited = seated(copied(desk))
    assert described(successor, inherited, bars[41:]) == described(kyle, desk, bars[41:])


@given(series(), st.data())
@settings(max_examples=40, deadline=None)
def test_restarting_at_any_bar_changes_nothing(bars: list[Bar], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(bars)))
    steady, desk = seated()
    unbroken = described(steady, desk, bars)
    first, other = seated()
    before = described(first, other, bars[:cut])
    second, _ = seated(other)
    assert msgspec.msgpack.encode(before + described(second, other, bars[cut:])) == msgspec.msgpack.encode(unbroken)


@given(series(), st.data())
@settings(max_examples=40, deadline=None)
def test_a_late_bar_is_judged_as_of_its_own_time(bars: list[Bar], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(bars) - 1))
    kyle, desk = seated()
    found = described(kyle, desk, bars)
    stored = desk.database.execute("SELECT * FROM bars ORDER BY ts").fetchall()
    again = described(kyle, desk, [bars[place]])[0]
    assert again == msgspec.structs.replace(found[place], bar=None)
    assert desk.database.execute("SELECT * FROM bars ORDER BY ts").fetchall() == stored


def test_a_signal_without_a_bar_sees_no_bar_of_its_future() -> None:
    bars = walk(60)
    kyle, desk = seated()
    found = described(kyle, desk, bars)
    desk.clock = bars[40].ts + 10
    case = kyle.handle(trade(ts=bars[40].ts + 1), desk)
    assert case.market == msgspec.structs.replace(found[40], price=10.0, bar=None)


def test_bars_of_long_ago_say_nothing_of_a_signal_of_today() -> None:
    kyle, desk = seated()
    described(kyle, desk, walk(60))
    assert kyle.handle(trade(), desk).market == Market(price=10.0)


def test_the_figures_in_memory_are_those_of_a_process_that_computes_them_anew() -> None:
    bars = walk(45)
    kyle, desk = seated(Desk(settings={"symbols_in_memory": 1}))
    for day, bar in enumerate(bars):
        desk.clock = bar.ts + 10
        kyle.handle(shown(bar), desk)
        for ahead in (1, 2):
            signal = trade(ts=bar.ts + ahead, price=10.0 + ahead)
            other, _ = seated(copied(desk))
            assert kyle.handle(signal, desk) == other.handle(signal, desk)
        if day % 7 == 0:  # lets the memory of the first symbol go
            kyle.handle(trade(symbol="OTHER", ts=bar.ts), desk)


def test_bars_are_kept_apart_by_symbol() -> None:
    kyle, desk = seated()
    described(kyle, desk, walk(30))
    other = kyle.handle(shown(walk(31)[-1], symbol="OTHER"), desk).market
    assert other is not None
    assert other.bars == 1


def test_the_table_of_bars_stays_small_without_a_delete_for_every_insert() -> None:
    kyle, desk = seated()
    statements: list[str] = []
    desk.database.exec_trace = lambda cursor, sql, bindings: statements.append(sql) or True  # type: ignore[func-returns-value]
    described(kyle, desk, walk(SIZE + 4 * SLACK))
    kept = desk.database.execute("SELECT count(*) FROM bars").fetchall()[0][0]
    assert SIZE <= kept <= SIZE + SLACK
    assert sum(sql.startswith("DELETE") for sql in statements) <= 4


def test_symbols_beyond_the_memory_are_read_from_the_journal() -> None:
    kyle, desk = seated(Desk(settings={"symbols_in_memory": 2}))
    bars = walk(40)
    for bar in bars[:-1]:
        for symbol in ("A", "B", "C"):
            kyle.handle(shown(bar, symbol=symbol), desk)
    plain, other = seated()
    expected = described(plain, other, bars)[-1]
    assert kyle.handle(shown(bars[-1], symbol="A"), desk).market == expected


@pytest.mark.parametrize(
    ("move", "volume", "direction"),
    [
        (0.031, 1.6, "long"),
        (-0.031, 1.6, "short"),
        (0.021, 0.5, "long"),
        (-0.021, 1.0, "short"),
        (0.012, 2.1, "long"),
        (0.005, 5.0, None),
        (0.015, 1.9, None),
        (0.0, 1.0, None),
        (None, 3.0, None),
        (0.05, None, None),
    ],
)
def test_a_bar_out_of_the_ordinary_is_worth_a_trade(move: Any, volume: Any, direction: str | None) -> None:
    assert notable(Market(price=1.0, change_pct=move, volume_ratio=volume)) == direction


def test_an_observed_bar_becomes_a_trade_in_the_direction_of_its_move() -> None:
    kyle, desk = seated()
    bars = path([100.0] * 30 + [95.0])
    described(kyle, desk, bars[:-1])
    given_signal = shown(bars[-1], trace_id=desk.trace_id, stop_loss=1.0, quantity=5.0)
    made = drive(kyle, given_signal, desk).signal
    assert (made.action, made.direction) == ("trade", "short")
    assert (made.stop_loss, made.quantity) == (None, None)
    assert (made.trace_id, made.symbol, made.price) == (desk.trace_id, "ACME", 95.0)
    assert made.features == given_signal.features


def test_a_quiet_bar_stays_observed() -> None:
    kyle, desk = seated()
    described(kyle, desk, path([100.0] * 30))
    bar = msgspec.structs.replace(path([100.5])[0], ts=START + 31 * DAY)
    assert drive(kyle, shown(bar), desk).signal.action == "observe"


def test_a_late_bar_makes_no_trade() -> None:
    kyle, desk = seated()
    bars = path([100.0] * 30 + [95.0])
    described(kyle, desk, bars)
    case = drive(kyle, shown(bars[-1]), desk)
    assert (case.signal.action, case.market.bar) == ("observe", None)


def test_a_trade_is_left_as_it_is() -> None:
    kyle, desk = seated()
    bars = path([100.0] * 30 + [95.0])
    described(kyle, desk, bars[:-1])
    signal = shown(bars[-1], action="trade", direction="long", stop_loss=90.0, quantity=1.0)
    assert drive(kyle, signal, desk).signal == signal


def test_he_tells_how_much_comes_in_and_that_nothing_does() -> None:
    kyle, desk = seated()
    assert desk.latest("kyle_ingest_rate") == 0.0
    for _ in range(30):
        drive(kyle, trade(), desk)
    desk.clock += 10
    kyle.tick(desk)
    assert desk.latest("kyle_ingest_rate") == 3.0
    desk.clock += 60
    kyle.tick(desk)
    assert desk.latest("kyle_ingest_rate") == 0.0


def test_he_tells_how_old_the_newest_bar_is_also_after_a_restart() -> None:
    kyle, desk = seated()
    assert desk.latest("ark_feed_age_seconds") is None, "nothing is known of it"
    for symbol, age_s in (("ACME", 40.0), ("MSFT", 100.0)):
        bar = {"ts": desk.clock - age_s, "open": 10, "high": 10, "low": 10, "close": 10, "volume": 1}
        drive(kyle, trade(symbol=symbol, features={"bar": bar}), desk)
    kyle.tick(desk)
    assert desk.latest("ark_feed_age_seconds", feed="bars") == 40.0
    desk.clock += 5
    seated(desk)
    assert desk.latest("ark_feed_age_seconds", feed="bars") == 45.0
