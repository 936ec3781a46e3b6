"""What ARK promises, as checks over databases; the same for a simulated run and for real processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw
import msgspec

from actors.ledger import verify
from ark.meters import read_pages
from ark.records import Crews, Records
from ark.traces import trace_document

Open = Callable[[str], apsw.Connection]
"""Opens a database by its file's stem: `gateway`, `hrm`, `kenny`, `kenny-broker`, `aletheia`."""


def accepted(open_database: Open) -> list[tuple[str, str]]:
    """Every accepted signal as trace id and symbol, in the order of acceptance."""
    return list(open_database("gateway").execute("SELECT trace_id, symbol FROM signals ORDER BY seq"))


def check_promises(open_database: Open, *, excused: Sequence[str] = (), clock_was_set: bool = False) -> None:
    """Check everything that must hold once all is at rest.

    Args:
        open_database: Opens the node's databases.
        excused: Trace ids of dead letters, which agents did not answer.
        clock_was_set: Times need not follow each other then; who had a signal in which order is checked still.
    """
    signals = accepted(open_database)
    traces = [trace_id for trace_id, _ in signals]
    assert len(traces) == len(set(traces))
    one_outcome_each(open_database, traces)
    ways_are_whole(open_database, clock_was_set=clock_was_set)
    counts_are_exact(open_database)
    ledger_is_whole(open_database, signals)
    no_order_twice(open_database)
    answers_are_kept(open_database, [each for each in traces if each not in set(excused)])
    books_agree(open_database)


def one_outcome_each(open_database: Open, traces: Sequence[str]) -> None:
    """Every accepted trace has exactly one outcome at the gateway."""
    ended = [
        trace_id
        for (trace_id,) in open_database("gateway").execute(
            "SELECT trace_id FROM signals JOIN outcomes USING (seq)"
        )
    ]
    assert sorted(ended) == sorted(traces)


def ways_are_whole(open_database: Open, *, clock_was_set: bool = False) -> None:
    """Every signal but a dead letter passed each agent once and in order, whoever was killed meanwhile."""
    gateway = open_database("gateway")
    crews = Crews(gateway)
    for record in Records(gateway).after(0, limit=1_000_000):
        pipeline, versions = crews.of(record, record.accepted_at)
        assert pipeline
        document = trace_document(record, now=0.0, pipeline=pipeline, versions=versions)
        assert document.ended_at is not None
        if clock_was_set:  # what ran when is known by the clock, too
            assert record.is_dead or [span.agent for span in document.spans] == list(pipeline)
            continue
        assert versions
        assert record.is_dead or document.continuity.complete, document.continuity.problems
        assert document.ended_at >= record.accepted_at


def counts_are_exact(open_database: Open) -> None:
    """What the gateway counted is what its journal holds, whoever was killed whenever."""
    gateway = open_database("gateway")
    (content,) = next(iter(gateway.execute("SELECT content FROM tally")), (b"",))
    tally = msgspec.msgpack.decode(content) if content else {"outcomes": {}, "drift": 0, "events": {}}
    statuses = dict(gateway.execute("SELECT status, count(*) FROM outcomes GROUP BY status"))
    assert tally["outcomes"] == statuses
    assert tally["drift"] == 0
    assert sum(tally["events"].get("availability", (0,))) == sum(statuses.values())


def ledger_is_whole(open_database: Open, signals: Sequence[tuple[str, str]]) -> None:
    """The ledger has one row for each, in the order of acceptance within a symbol, and its chain verifies.

    Signals that waited for a person are not held to that order. Interventions have rows of their own.
    """
    ledger = open_database("aletheia")
    rows = list(ledger.execute("SELECT trace_id, symbol FROM ledger WHERE status <> 'intervention' ORDER BY seq"))
    assert len(rows) == len(signals)
    late = held(open_database)
    for symbol in {symbol for _, symbol in signals}:
        ended = [t for t, s in rows if s == symbol and t not in late]
        assert ended == [t for t, s in signals if s == symbol and t not in late], symbol
    found = verify(ledger)
    assert found.first_bad is None, found


def held(open_database: Open) -> set[str]:
    """Every signal that ever waited for a person, and gave up its place in the order of its symbol."""
    rows = open_database("gateway").execute("SELECT trace_id FROM held JOIN signals USING (seq)")
    return {trace_id for (trace_id,) in rows}


def no_order_twice(open_database: Open) -> None:
    """The broker saw no client order id twice."""
    twice = list(
        open_database("kenny-broker").execute(
            "SELECT client_order_id FROM submissions GROUP BY client_order_id HAVING count(*) > 1"
        )
    )
    assert not twice


def answers_are_kept(open_database: Open, traces: Sequence[str]) -> None:
    """Each agent with a journal that must survive still has its answer to every trace."""
    for agent in ("hrm", "kenny"):
        kept = {trace_id for (trace_id,) in open_database(agent).execute("SELECT trace_id FROM ark_answers")}
        assert set(traces) <= kept, (agent, set(traces) - kept)


def books_agree(open_database: Open) -> None:
    """HRM has heard of every fill: what it holds is what the broker holds."""
    broker = {
        symbol: quantity
        for symbol, quantity in open_database("kenny-broker").execute("SELECT symbol, quantity FROM positions")
        if float(quantity)
    }
    held = {
        symbol: quantity
        for symbol, quantity in open_database("hrm").execute(
            "SELECT symbol, sum(quantity) FROM hrm_lots GROUP BY symbol"
        )
        if float(quantity)
    }
    assert {s: float(q) for s, q in held.items()} == {s: float(q) for s, q in broker.items()}


def figures_agree(open_database: Open, pages: Path, *, exact: bool) -> None:
    """What the agents counted on their pages is what the ledger holds, once all is at rest.

    Args:
        open_database: Opens the node's databases.
        pages: The folder with the pages, which are as old as the ledger.
        exact: Whether nobody can have died between a commit and what is counted right behind it. Otherwise only
            nothing is counted that was not, and nothing twice.
    """
    told: Counter[tuple[str, ...]] = Counter()
    for (body,) in open_database("aletheia").execute("SELECT body FROM ledger WHERE status <> 'intervention'"):
        entry = msgspec.msgpack.decode(body)
        decision, execution = entry["decision"], entry["execution"]
        if decision is not None:
            told["decision", "approved" if decision["approved"] else "denied", decision["level"]] += 1
            rules = () if decision["approved"] else decision["violations"]
            told.update(("denial", each["rule"]) for each in rules)
        if execution is not None:
            told["order", execution["status"]] += 1
        told["disagreement"] += bool(entry["audit"]["disagreements"])
    names = {
        "ark_decisions_total": ("decision", "result", "level"),
        "hrm_denials_total": ("denial", "rule_id"),
        "ark_orders_total": ("order", "status"),
        "ark_audit_disagreements_total": ("disagreement",),
    }
    counted: Counter[tuple[str, ...]] = Counter()
    figures: dict[str, float] = {}
    for series in read_pages(pages):
        figures[series.metric.name] = series.value
        word, *labels = names.get(series.metric.name, ("",))
        values = dict(zip(series.metric.labels, series.labels, strict=True))
        if word and values.get("result") != "held":
            counted[word, *[values[label] for label in labels]] += int(series.value)
    ((rows,),) = open_database("aletheia").execute("SELECT count(*) FROM ledger")
    ((judged,),) = open_database("hrm").execute("SELECT coalesce(max(number), 0) FROM hrm_judged")
    counted["rows",] = int(figures["ark_ledger_rows_total"])
    counted["judged",] = int(figures["graveyard_validations_total"])
    told["rows",], told["judged",] = rows, judged
    assert counted <= told, counted - told
    if exact:
        assert counted == told, told - counted
