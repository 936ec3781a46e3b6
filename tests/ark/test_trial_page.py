"""The evidence of a rollout survives the process that writes it, and what cannot be kept ends nobody."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ark.trial_page import FIGURES, TrialPage, differences_in, read_rows


class Told(msgspec.Struct):
    text: str


def page_in(folder: Path) -> TrialPage:
    return TrialPage(folder / "page", folder / "told")


def test_a_writer_that_comes_back_goes_on_where_the_one_before_left_off(tmp_path: Path) -> None:
    first = page_in(tmp_path)
    first.begin(3, "r")
    first.count("canary_trials", 5)
    second = page_in(tmp_path)
    second.begin(3, "r")
    second.count("canary_trials")
    second.begin(4, "r")
    second.count("noise_compared", 2)
    rows = read_rows(tmp_path / "page")
    assert set(rows) == {3, 4}
    assert rows[3]["canary_trials"] == 6
    assert rows[4] == dict.fromkeys(FIGURES, 0) | {"noise_compared": 2}
    assert (first.is_first, second.is_first) == (True, False)
    second.begin(5, "next")
    assert second.is_first


def test_when_there_is_no_room_the_oldest_table_goes_and_its_figures_with_it(tmp_path: Path) -> None:
    page = page_in(tmp_path)
    for generation in range(1, 101):
        page.begin(generation, "r")
        page.count("unapproved", generation)
    page.begin(60, "r")
    page.count("unapproved")
    rows = read_rows(tmp_path / "page")
    assert sorted(rows) == list(range(37, 101))
    assert {row["unapproved"] for row in rows.values()} == {*range(37, 60), *range(61, 101)}


def test_what_is_no_whole_page_says_nothing(tmp_path: Path) -> None:
    page = page_in(tmp_path)
    page.begin(1, "r")
    path = tmp_path / "page"
    whole = path.read_bytes()
    for length in (0, 1, 8, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert read_rows(path) == {}
    assert read_rows(tmp_path / "nowhere") == {}


def test_a_page_of_other_figures_says_nothing_and_is_begun_anew(tmp_path: Path) -> None:
    page = page_in(tmp_path)
    page.begin(1, "r")
    path = tmp_path / "page"
    other = memoryview(bytearray(path.read_bytes())).cast("q")
    other[0] = 7  # so it began before the first word said which figures there are
    path.write_bytes(other)
    assert read_rows(path) == {}
    page_in(tmp_path).begin(2, "r")
    assert read_rows(path) == {2: dict.fromkeys(FIGURES, 0)}


def test_counter_examples_are_kept_until_there_are_too_many_and_one_that_is_cut_off_is_passed_over(
    tmp_path: Path,
) -> None:
    page = page_in(tmp_path)
    page.tell(Told("first"))
    with (tmp_path / "told").open("ab") as file:
        file.write(b'{"text": "cut o')
    assert differences_in(tmp_path / "told") == [{"text": "first"}]
    for _ in range(30):
        page.tell(Told("x" * 50_000))
    assert (tmp_path / "told").stat().st_size <= 1 << 20
    assert differences_in(tmp_path / "nowhere") == []


def test_each_rollout_has_room_for_its_counter_examples_also_where_its_writer_comes_back(tmp_path: Path) -> None:
    for rollout, generation in (("one", 1), ("two", 2)):
        for part in ("first", "second"):
            page = page_in(tmp_path)  # as after a death
            page.begin(generation, rollout)
            page.tell(Told(f"{rollout} {part}"))
        page.begin(generation + 10, rollout)
        assert differences_in(tmp_path / "told") == [{"text": f"{rollout} first"}, {"text": f"{rollout} second"}]
        for _ in range(30):
            page.tell(Told("x" * 50_000))


def test_what_may_be_left_out_leaves_most_of_the_room_to_what_may_not(tmp_path: Path) -> None:
    page = page_in(tmp_path)
    page.begin(1, "r")
    for _ in range(30):
        page.tell(Told("x" * 50_000), spare=True)
    assert 200_000 < (tmp_path / "told").stat().st_size <= 1 << 18
    for _ in range(10):
        page.tell(Told("y" * 50_000))
    assert len([each for each in differences_in(tmp_path / "told") if str(each["text"])[0] == "y"]) == 10


def test_a_counter_example_that_cannot_be_written_ends_nobody(tmp_path: Path) -> None:
    page = TrialPage(tmp_path / "page", tmp_path / "no folder" / "told")
    page.begin(1, "r")
    page.tell(Told("lost"))
    full = TrialPage(tmp_path / "page", Path("/dev/full"))
    full.tell(Told("lost, too"))
