"""Which level is in force for whom, and how operators change that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.config import LogsConfig
from ark.errors import RequestError
from ark.home import Home
from ark.level_desk import LevelDesk
from ark.levels import ALL, LEVELS, Wish, in_force, number, reset, wish
from ark.protocol import Request

NAMES = ("root", "kyle", "kenny")


def wanted(level: Any, until: float | None = None) -> Wish:
    return Wish(level, until, "ann", "odd", 1.0)


def levels(wishes: dict[str, Wish], now: float = 10.0, **configured: Any) -> dict[str, str]:
    return {each.name: each.level for each in in_force(NAMES, wishes, configured, "info", now)}


def test_one_wish_counts_more_than_one_for_all_and_that_more_than_the_configuration() -> None:
    assert levels({}, kyle="error") == {"root": "info", "kyle": "error", "kenny": "info"}
    assert levels({ALL: wanted("warning")}, kyle="error") == dict.fromkeys(NAMES, "warning")
    assert levels({ALL: wanted("warning"), "kyle": wanted("debug")})["kyle"] == "debug"


def test_a_wish_for_a_while_ends_by_itself() -> None:
    wishes = {"kyle": wanted("debug", until=20.0), ALL: wanted("warning", until=30.0)}
    assert [levels(wishes, now)["kyle"] for now in (19.9, 20.0, 29.9, 30.0)] == [
        "debug",
        "warning",
        "warning",
        "info",
    ]


def test_a_wish_for_all_takes_the_place_of_every_other() -> None:
    wishes = wish(wish({}, "kyle", wanted("debug")), "kenny", wanted("error"))
    assert levels(reset(wishes, "kyle")) == {"root": "info", "kyle": "info", "kenny": "error"}
    assert wish(wishes, ALL, wanted("warning")) == {ALL: wanted("warning")}
    assert reset(wishes, ALL) == {}


@given(
    st.dictionaries(
        st.sampled_from([*NAMES, ALL]), st.builds(wanted, st.sampled_from(LEVELS), st.none() | st.floats(0, 20))
    ),
    st.floats(0, 20),
)
def test_everybody_has_one_level_and_says_whose_wish_it_is(wishes: dict[str, Wish], now: float) -> None:
    for each in in_force(NAMES, wishes, {}, "info", now):
        assert each.level in LEVELS
        assert (each.wish is None) or (each.wish in wishes.values() and each.wish.level == each.level)
        assert each.wish is None or each.wish.until is None or each.wish.until > now


def test_levels_have_the_numbers_of_the_standard_library() -> None:
    assert [number(each) for each in (*LEVELS, "nonsense")] == [10, 20, 30, 40, 50, 20]


class Desk:
    """The desk over a home of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.home = Home(folder / "home")
        self.home.prepare()
        self.told: list[dict[str, Any]] = []
        self.acts: list[tuple[str, str, dict[str, Any]]] = []
        self.desk = LevelDesk(
            self.home,
            msgspec.convert(settings, LogsConfig),
            names=lambda: NAMES,
            note=lambda kind, **fields: self.told.append({"kind": kind, **fields}),
            remember=lambda request, name, details: self.acts.append((request.op, name, details)),
        )

    def ask(self, now: float = 10.0, **fields: Any) -> dict[str, str]:
        reply = self.desk.answer(Request("log_level", **fields), now)
        return {each["name"]: each["level"] for each in reply["levels"]}


def test_a_change_is_written_down_told_and_remembered(tmp_path: Path) -> None:
    desk = Desk(tmp_path, level="warning")
    assert desk.ask() == dict.fromkeys(NAMES, "warning")
    assert desk.ask(agent="kyle", level="debug", for_s=60.0, reason=" odd ", by="ann")["kyle"] == "debug"
    assert desk.home.levels() == {"kyle": Wish("debug", 70.0, "ann", "odd", 10.0)}
    assert desk.ask(now=70.0)["kyle"] == "warning"
    assert desk.acts == [("log_level", "kyle", {"level": "debug", "for_s": 60.0})]
    assert (desk.told[0]["kind"], desk.told[0]["name"], desk.told[0]["by"]) == ("log_level", "kyle", "ann")
    assert desk.ask(agent="kyle") == {"kyle": "debug"}


def test_default_takes_a_wish_back(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.ask(agent=ALL, level="debug")
    assert set(desk.ask().values()) == {"debug"}
    assert set(desk.ask(agent=ALL, level="default").values()) == {"info"}
    assert desk.home.levels() == {}


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"level": "debug"}, "agent", "invalid"),
        ({"agent": "keny", "level": "debug"}, "agent", "unknown_agent"),
        ({"agent": "nobody"}, "agent", "unknown_agent"),
        ({"agent": "kenny", "level": "loud"}, "level", "invalid"),
        ({"agent": "kenny", "level": "debug", "for_s": 1e9}, "for_s", "invalid"),
        ({"agent": "kenny", "level": "debug", "for_s": float("nan")}, "for_s", "invalid"),
        ({"agent": "kenny", "level": "default", "for_s": 5.0}, "for_s", "invalid"),
    ],
)
def test_what_cannot_be_is_refused_naming_the_field(
    tmp_path: Path, fields: dict[str, Any], field: str, code: str
) -> None:
    desk = Desk(tmp_path)
    with pytest.raises(RequestError) as refused:
        desk.ask(**fields)
    assert (refused.value.field, refused.value.code) == (field, code)
    assert desk.home.levels() == {}
    assert desk.acts == []


def test_a_disk_that_takes_nothing_is_told_to_who_asks(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.home.levels_file.with_suffix(".new").mkdir()
    with pytest.raises(RequestError, match="cannot be written down"):
        desk.ask(agent="kenny", level="debug")
    assert desk.acts == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"kyle": 1}', b'{"kyle": {"level": "loud"}}', b"\xff"])
def test_damaged_wishes_are_none(tmp_path: Path, content: bytes) -> None:
    desk = Desk(tmp_path)
    assert desk.home.levels_stamp() is None
    desk.home.levels_file.write_bytes(content)
    assert desk.home.levels_stamp() is not None
    assert set(desk.ask().values()) == {"info"}
    desk.home.forget_levels()
    desk.home.forget_levels()
    assert desk.home.levels_stamp() is None
