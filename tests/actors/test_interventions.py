"""Each act is in the ledger once, whatever dies between two steps and whatever becomes of the file of acts."""

from __future__ import annotations

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.aletheia import Aletheia
from actors.interventions import Clerk, identity
from actors.ledger import INTERVENTION, Ledger, acts, verify
from ark.errors import JournalError
from ark.home import Home
from ark.interventions import FILE, Intervention, read, record
from ark.testing import TestContext, drive
from tests.actors.cases import NOW
from tests.actors.test_aletheia import desk, filled
from tests.actors.test_ledger import UNGUARD


def act(number: int, *, at: float = NOW, reason: str = "noisy") -> Intervention:
    return Intervention(number, at, "isolate", "joey", "anna", reason, {"fault": number})


def start(context: TestContext) -> Aletheia:
    agent = Aletheia()
    agent.setup(context)
    return agent


def kept(context: TestContext) -> list[tuple[int, str]]:
    return [(each.number, each.reason) for _, each in acts(context.database)]


def test_what_was_done_before_the_start_and_since_stands_in_the_ledger_in_its_order() -> None:
    context = desk()
    context.acts = [act(1), act(2, reason="loud")]
    agent = start(context)
    drive(agent, filled(), context)
    context.acts = [*context.acts, act(3)]
    agent.tick(context)
    agent.tick(context)
    assert [(seq, each.number) for seq, each in acts(context.database)] == [(1, 1), (2, 2), (4, 3)]
    row = dict(acts(context.database))[2]
    assert (row.act, row.subject, row.by, row.reason, row.details) == (
        "isolate",
        "joey",
        "anna",
        "loud",
        {"fault": 2},
    )
    assert (row.done_at, row.at, row.status) == (NOW, context.now(), INTERVENTION)
    assert verify(context.database).rows == 4


def test_an_outcome_is_found_and_given_as_before() -> None:
    context = desk()
    agent = start(context)
    given_before = drive(agent, filled(), context)
    context.acts = [act(1)]
    agent.tick(context)
    assert agent.recall(context.trace_id, context) == given_before


@pytest.mark.parametrize("column", ["status", "symbol", "trace_id", "body"])
def test_a_changed_act_is_found_like_any_changed_row(column: str) -> None:
    context = desk()
    context.acts = [act(1), act(2)]
    start(context)
    context.database.execute(UNGUARD)
    value = "body || x'00'" if column == "body" else "'executed'"
    context.database.execute(f"UPDATE ledger SET {column} = {value} WHERE seq = 2")
    assert verify(context.database).first_bad == 2


def test_a_file_that_cannot_be_read_is_told_of_once_and_read_again_when_it_can_be() -> None:
    context = desk()
    context.acts = JournalError("cannot read it")
    agent = start(context)
    agent.tick(context)
    assert context.events == [("interventions_unread", {"reason": "cannot read it"})]
    assert drive(agent, filled(), context).status == "executed"
    context.acts = [act(1)]
    agent.tick(context)
    assert kept(context) == [(1, "noisy")]
    context.acts = JournalError("cannot read it")
    agent.tick(context)
    assert len(context.events) == 2


def test_a_lost_file_begins_anew_at_1_and_its_acts_are_others() -> None:
    context = desk()
    context.acts = [act(1), act(2)]
    agent = start(context)
    context.acts = []
    agent.tick(context)
    context.acts = [act(1, at=NOW + 60, reason="again")]
    agent.tick(context)
    agent.tick(context)
    assert kept(context) == [(1, "noisy"), (2, "noisy"), (1, "again")]


def test_more_acts_than_are_read_at_once_are_taken_one_portion_after_the_other(home: Home) -> None:
    context = desk()
    everything = [act(number) for number in range(1, 2501)]

    def portion(after: int) -> list[Intervention]:
        return [each for each in everything if each.number > after][:1000]

    clerk = Clerk(context.database, Ledger(context.database))
    assert [clerk.take(portion, NOW) for _ in range(4)] == [1000, 999, 501, 0]
    assert [number for number, _ in kept(context)] == list(range(1, 2501))


STEPS = st.lists(
    st.one_of(
        st.just("act"),
        st.just("act"),
        st.just("take"),
        st.just("die"),
        st.just("lose"),
        st.just("save"),
        st.just("restore"),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 3))
def test_no_act_stands_twice_and_none_is_missed_through_deaths_losses_and_older_copies(
    steps: list[str], portion: int
) -> None:
    connection = apsw.Connection(":memory:")
    clerk = Clerk(connection, Ledger(connection))
    file: list[Intervention] = []
    saved: list[Intervention] = []
    seen_whole: set[str] = set()
    clock = NOW

    def some(after: int) -> list[Intervention]:
        # One more than a portion: the first one is only looked at.
        return [each for each in file if each.number > after][: portion + 1]

    for step in steps:
        clock += 1.0
        match step:
            case "act":
                file = [*file, act(file[-1].number + 1 if file else 1, at=clock)]
            case "take" | "die":
                connection.execute("BEGIN IMMEDIATE")
                clerk.take(some, clock)
                connection.execute("COMMIT" if step == "take" else "ROLLBACK")
                if step == "die":
                    clerk = Clerk(connection, Ledger(connection))
            case "lose":
                file = []
            case "save":
                saved = file
            case "restore":
                file = saved
        rows = [each.trace_id for _, each in acts(connection)]
        assert len(rows) == len(set(rows))
        assert seen_whole <= set(rows)
        seen_whole = set(rows)
    for _ in range(2 * len(file) + 2):
        clerk.take(some, clock)
    assert {identity(each) for each in file} <= {each.trace_id for _, each in acts(connection)}
    assert clerk.take(some, clock) == 0
    assert verify(connection).ok


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    place = Home(tmp_path_factory.mktemp("h"))
    place.prepare()
    return place


@pytest.mark.parametrize("content", [b"no database at all" * 500, b"SQLite format 3\0" + bytes(4080)])
def test_a_damaged_file_is_one_error_that_names_it(content: bytes, home: Home) -> None:
    (home.data / FILE).write_bytes(content)
    with pytest.raises(JournalError, match=FILE):
        list(read(home))
    record(home, "halt", by="anna")  # is logged, and raises nothing
    assert "intervention_lost" in (home.logs / "supervision.log").read_text()


@pytest.mark.parametrize(
    "column", ["at = 'noon'", "details = 5", "details = x'c1'", "by = x'ff'", "by = CAST(x'ff' AS TEXT)"]
)
def test_a_row_that_makes_no_sense_is_an_error_and_no_act(column: str, home: Home) -> None:
    record(home, "halt", by="anna")
    connection = apsw.Connection(str(home.data / FILE))
    connection.execute(f"UPDATE interventions SET {column}")
    connection.close()
    with pytest.raises(JournalError, match=FILE):
        list(read(home))


def test_a_file_without_its_table_has_no_acts(home: Home) -> None:
    (home.data / FILE).touch()
    assert list(read(home)) == []
