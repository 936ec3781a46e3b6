"""Traces come to a collector: all of them, each under its own ids, whatever the collector, a kill or a file do."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from signal import SIGKILL
from typing import Any

import apsw
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.config import TracesConfig, load
from ark.door import Door
from ark.errors import BootError, ConfigError, JournalError
from ark.home import Home
from ark.http_post import Answer
from ark.intake import Intake
from ark.journal import open_database, open_for_reading
from ark.message import OUTCOME, Envelope, Span, encode
from ark.otlp import OtlpExport, judge, read_headers, traces_address
from ark.otlp_queue import OtlpQueue
from ark.otlp_spans import ExportedTrace, exported_trace
from ark.traces import TraceDocument
from tests.ark.doors import NOW, SIGNAL, asking
from tests.node import ECHO, comes_back, node, wait_until
from tests.supervisor.receiver import RESET, Receiver, answer, receiver

pytest.importorskip("opentelemetry.sdk", reason="pip install 'ark-runtime[otlp]'")
trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

OK = answer(200)
START = int(NOW * 1e9)
WAY = (Span("alpha", "1", START, START + 5_000_000), Span("omega", "1", START + 6_000_000, START + 9_000_000))
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Collector:
    """A receiver of OTLP that does as it is told, and knows what it has taken.

    Attributes:
        script: What to answer to the request of a number, from 1, with the signals in it; by default it takes all.
        spans: What it has taken, in order, doubles included.
    """

    def __init__(self, there: Receiver) -> None:
        self.there = there
        self.script: Callable[[int, list[str]], bytes | None] = lambda number, ids: OK
        self.loses_answers = False
        self.spans: list[Any] = []
        there.plan = self._answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.there.port}"

    def ids(self) -> set[str]:
        """The signals of which it has a span."""
        return {named(each) for each in self.spans if each.name == "signal"}

    def _answer(self, number: int) -> bytes | None:
        body = self.there.requests[number - 1][2]
        spans = [
            span
            for resource in trace_service.ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        words = self.script(number, [named(each) for each in spans if each.name == "signal"])
        if words is not None and words.startswith(b"HTTP/1.1 200"):
            self.spans += spans
            return RESET if self.loses_answers else words
        return words


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def named(span: Any) -> str:
    return str(attributes(span)["ark.trace_id"])


@pytest.fixture
def collector() -> Iterator[Collector]:
    with receiver() as there:
        yield Collector(there)


class World:
    """A gateway's journal, and an export of it that can be ended and begun."""

    def __init__(self, folder: Path, collector: Collector) -> None:
        self.home = Home(folder)
        self.home.prepare()
        self.door = Door(Intake(open_database(self.home.data / "gateway.db"), NOW), epoch=1, secret=b"s" * 32)
        self.door.note_crew((("alpha", "1"), ("omega", "1")), NOW - 1)
        self.door.settle()
        self._collector = collector
        self.environment: dict[str, str] = {}
        self.settings = TracesConfig(otlp_endpoint=collector.url)
        self.export: OtlpExport | None = None

    def accept(self, **changes: Any) -> str:
        trace_id, _ = self.door.take_in(msgspec.structs.replace(SIGNAL, **changes), NOW)
        self.door.settle()
        self.door.dispatcher.due(0.0, at=NOW)
        return trace_id

    def end(self, trace_id: str, status: str = "executed", **fields: Any) -> str:
        payload = encode({"trace_id": trace_id, "status": status, **fields})
        self.door.finish(Envelope(OUTCOME, trace_id, "AAPL", 1, 1, 1, payload, WAY), NOW + 1)
        self.door.settle()
        return trace_id

    def begin(self) -> OtlpExport:
        """Export, from where the export before was."""
        if self.export is not None:
            self.export.stop(5.0)
        self.export = OtlpExport(
            self.home,
            self.settings,
            environment=self.environment,
            timeout_s=0.3,
            look_s=0.01,
            waits=lambda failed, answer, lot: 0.01,
        )
        self.export.start()
        return self.export

    def told(self, event: str) -> list[dict[str, Any]]:
        path = self.home.logs / "supervision.log"
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [each for each in map(msgspec.json.decode, lines) if each["event"] == event]


@pytest.fixture
def world(tmp_path: Path, collector: Collector) -> Iterator[World]:
    one = World(tmp_path / "home", collector)
    OtlpQueue(one.home).close()  # its first time is over
    yield one
    if one.export is not None:
        one.export.stop(5.0)


def has_begun(home: Home) -> bool:
    """Whether an export knows from where on it exports."""
    with suppress(JournalError, apsw.Error), closing(open_for_reading(home.data / "otlp.db")) as connection:
        return bool(connection.execute("SELECT count(*) FROM progress").fetchone() == (1,))
    return False


def arrived(collector: Collector, ids: set[str]) -> None:
    wait_until(lambda: collector.ids() >= ids, "every trace has arrived", within_s=10.0)


def nothing_is_doubled(collector: Collector) -> None:
    """A span that came twice is the very same one."""
    known: dict[bytes, bytes] = {}
    for span in collector.spans:
        assert known.setdefault(span.span_id, span.SerializeToString()) == span.SerializeToString()


def test_a_signal_comes_as_a_tree_of_spans_with_the_parent_that_it_named(
    world: World, collector: Collector
) -> None:
    world.begin()
    ended = {world.end(world.accept(traceparent=PARENT)), world.end(world.accept(), "failed")}
    arrived(collector, ended)
    by_status = {attributes(each)["ark.status"]: each for each in collector.spans if each.name == "signal"}
    root = by_status["executed"]
    hops = [each for each in collector.spans if each.parent_span_id == root.span_id]
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (PARENT[3:35], PARENT[36:52])
    assert [each.name for each in hops] == ["gateway", "alpha", "omega"]
    assert {each.trace_id for each in hops} == {root.trace_id}
    assert [each.flags for each in (root, *hops)] == [
        0x300,
        0x100,
        0x100,
        0x100,
    ]  # the parent of the first is remote
    assert (hops[2].start_time_unix_nano, hops[2].end_time_unix_nano) == (WAY[1].in_ns, WAY[1].out_ns)
    assert attributes(root)["ark.complete"] is True
    assert (root.status.code, by_status["failed"].status.code) == (0, 2)
    first, headers, body = collector.there.requests[0]
    assert first.startswith("POST /v1/traces ")
    assert headers["content-type"] == "application/x-protobuf"
    resource = trace_service.ExportTraceServiceRequest.FromString(body).resource_spans[0].resource
    assert attributes(resource)["service.name"] == "ark"


def test_a_collector_that_fails_hangs_and_comes_back_gets_all_of_them(world: World, collector: Collector) -> None:
    ill = [
        answer(503),
        RESET,
        answer(500),
        None,
        answer(429, "Retry-After: 0"),
        b"no HTTP at all\r\n\r\n",
        answer(401),
    ]
    collector.script = lambda number, ids: ill[number - 1] if number <= len(ill) else OK
    export = world.begin()
    first = {world.end(world.accept()) for _ in range(70)}
    wait_until(lambda: export.trouble, "it says so")
    assert "takes no traces" in export.trouble
    arrived(collector, first)
    later = {world.end(world.accept()) for _ in range(3)}
    arrived(collector, later)
    nothing_is_doubled(collector)
    assert collector.ids() == first | later
    wait_until(lambda: not export.trouble, "the trouble is over")
    assert (len(world.told("otlp_failing")), len(world.told("otlp_works"))) == (1, 1)
    assert len(collector.spans) == 4 * 73  # of a try that failed nothing was taken


def test_a_killed_export_loses_nothing_and_what_it_sends_again_is_the_same(
    world: World, collector: Collector
) -> None:
    collector.loses_answers = True
    world.begin()
    first = {world.end(world.accept()) for _ in range(5)}
    arrived(collector, first)
    collector.loses_answers = False
    later = {world.end(world.accept()) for _ in range(5)}
    world.begin()
    arrived(collector, first | later)
    nothing_is_doubled(collector)
    taken = len(collector.spans)
    world.begin()
    last = world.end(world.accept())
    arrived(collector, {last})
    assert len(collector.spans) == taken + 4  # what was delivered is over, also for the process after


def test_what_ends_late_comes_late_also_after_a_kill(world: World, collector: Collector) -> None:
    world.begin()
    held, slow, slower = (world.accept() for _ in range(3))
    world.door.hold(asking(held), NOW)
    world.door.settle()
    arrived(collector, {world.end(world.accept()) for _ in range(3)})
    arrived(collector, {world.end(slow)})
    world.begin()
    arrived(collector, {world.end(slower)})
    world.door.rule(held, approved=True, by="ada", reason="looked", now=NOW)
    world.end(held)
    arrived(collector, {held})
    assert sum(each.name == "person" for each in collector.spans) == 1
    assert "ada" not in str(collector.spans)


def test_the_first_time_it_begins_with_what_has_not_ended(tmp_path: Path, collector: Collector) -> None:
    world = World(tmp_path / "other", collector)
    before, waiting = world.end(world.accept()), world.accept()
    world.begin()
    wait_until(lambda: has_begun(world.home), "it has begun")
    after = world.end(world.accept())
    world.end(waiting)
    arrived(collector, {waiting, after})
    assert before not in collector.ids()
    assert world.export is not None
    world.export.stop(5.0)


@pytest.mark.parametrize("status", [400, 413])
def test_a_trace_that_the_collector_does_not_take_holds_up_no_other(
    world: World, collector: Collector, status: int
) -> None:
    ids = [world.end(world.accept()) for _ in range(20)]
    wrong = {ids[7], ids[8], ids[19]}
    collector.script = lambda number, sent: answer(status) if wrong & set(sent) else OK
    world.begin()
    arrived(collector, set(ids) - wrong)
    wait_until(lambda: len(world.told("otlp_left_out")) == 3, "it has told whom it left out")
    assert {each["trace_id"] for each in world.told("otlp_left_out")} == wrong
    nothing_is_doubled(collector)


def test_one_that_cannot_be_made_into_spans_holds_up_no_other(
    world: World, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [world.end(world.accept()) for _ in range(5)]

    def broken(document: TraceDocument) -> ExportedTrace:
        return exported_trace(document) if document.trace_id != ids[2] else 1 / 0  # type: ignore[return-value]

    monkeypatch.setattr("ark.otlp.exported_trace", broken)
    world.begin()
    arrived(collector, {*ids} - {ids[2]})
    wait_until(lambda: world.told("otlp_left_out"), "it is told")
    assert "cannot be encoded" in world.told("otlp_left_out")[0]["reason"]


def test_spans_that_the_collector_did_not_take_are_told(world: World, collector: Collector) -> None:
    response = trace_service.ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 2
    response.partial_success.error_message = "too old"
    body = response.SerializeToString()
    words = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    collector.script = lambda number, ids: words
    world.begin()
    world.end(world.accept())
    wait_until(lambda: world.told("otlp_refused"), "it is told")
    assert "did not take 2 spans: too old" in world.told("otlp_refused")[0]["reason"]


def test_headers_are_read_at_each_try_from_a_file_that_is_ones_own(world: World, collector: Collector) -> None:
    file = world.home.keys / "otlp"
    file.write_text("Authorization: Bearer first\n")
    file.chmod(0o644)
    world.settings = msgspec.structs.replace(world.settings, otlp_headers_file="keys/otlp")
    export = world.begin()
    ended = world.end(world.accept())
    wait_until(lambda: "can be read by others" in export.trouble, "it says so")
    assert collector.there.requests == []
    file.chmod(0o600)
    arrived(collector, {ended})
    assert collector.there.requests[0][1]["authorization"] == "Bearer first"
    assert "first" not in str(world.told("otlp_failing"))
    file.write_text("Authorization: Bearer second\nX-Tenant: ark\n")
    arrived(collector, {world.end(world.accept())})
    assert collector.there.requests[-1][1].items() >= {"authorization": "Bearer second", "x-tenant": "ark"}.items()


def test_headers_come_from_the_environment_where_no_file_is_named(tmp_path: Path) -> None:
    variables = {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b, x-tenant = ark,,no"}
    assert read_headers(None, variables) == {"api-key": "a b", "x-tenant": "ark", "no": ""}
    assert read_headers(None, {}) == {}
    with pytest.raises(FileNotFoundError):
        read_headers(tmp_path / "nothing", variables)


def test_a_share_of_nothing_exports_failures_alone(world: World, collector: Collector) -> None:
    world.settings = msgspec.structs.replace(world.settings, sample=0.0)
    world.begin()
    for _ in range(3):
        world.end(world.accept())
    failed, marked = world.end(world.accept(), "failed"), world.end(world.accept(traceparent=PARENT))
    arrived(collector, {failed, marked})
    assert collector.ids() == {failed, marked}


def test_a_damaged_record_of_its_progress_is_begun_anew(world: World, collector: Collector) -> None:
    (world.home.data / "otlp.db").write_bytes(b"no database, and long enough to be taken for one" * 100)
    world.end(world.accept())
    world.begin()
    wait_until(lambda: has_begun(world.home), "it has begun anew")
    arrived(collector, {world.end(world.accept())})


def test_an_older_copy_of_the_journal_stops_nothing(world: World, collector: Collector) -> None:
    queue = OtlpQueue(world.home)
    world.accept()
    portion = queue.take(9)
    assert portion is not None
    queue.done(portion)
    queue.close()
    world.door.intake.connection.execute("DELETE FROM signals")
    again = OtlpQueue(world.home)
    assert again.take(9) is None
    again.close()
    world.begin()
    arrived(collector, {world.end(world.accept())})


def test_it_stops_while_a_collector_hangs(world: World, collector: Collector) -> None:
    hangs = threading.Event()

    def hang(number: int, ids: list[str]) -> None:
        hangs.set()

    collector.script = hang
    export = world.begin()
    world.end(world.accept())
    assert hangs.wait(10)
    began = time.monotonic()
    export.stop(0.05)
    assert time.monotonic() - began < 2.0


@given(st.integers(0, 999), st.integers(1, 64))
def test_an_answer_is_a_delivery_a_fault_of_the_content_or_a_reason_to_try_again(status: int, count: int) -> None:
    step = judge(Answer(status), count)
    assert (step == "delivered") == (200 <= status < 300)
    assert (step in ("smaller", "left_out")) == (status in (400, 413, 422))
    assert step != "left_out" or count == 1


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("https://collector.example/otlp", "https://collector.example/otlp/v1/traces"),
        ("https://collector.example/v1/traces", "https://collector.example/v1/traces"),
    ],
)
def test_the_path_of_traces_is_added_where_it_lacks(endpoint: str, address: str) -> None:
    assert traces_address(endpoint) == address


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("http://10.0.0.7:4318", "in the clear beyond this machine"),
        ("collector:4317", "no address"),
        ("ftp://127.0.0.1", "no address"),
        ("https://me:secret@collector.example", "holds a user"),
        ("https://collector.example/?token=secret", "holds a user"),
        ("https://collector.example/a b", "holds a space"),
    ],
)
def test_an_address_that_would_give_something_away_is_refused_and_not_shown(endpoint: str, why: str) -> None:
    for source in ({"environment": {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}}, {}):
        with pytest.raises(ConfigError, match=why) as error:
            load(None, **source or {"overrides": {("traces", "otlp_endpoint"): endpoint}})  # type: ignore[arg-type]
        assert error.value.field == "traces.otlp_endpoint"
        assert "secret" not in error.value.line


def test_a_node_without_an_exporter_cannot_feed_a_collector() -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "METRICS_SERVER_ENABLED": "false"}
    with pytest.raises(ConfigError, match=r"metrics\.enabled is false"):
        load(None, variables)


def test_nothing_is_exported_where_nothing_is_named_and_what_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    assert OtlpExport.of(home, load(None, {}).traces) is None
    named_ = load(None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}).traces
    assert OtlpExport.of(home, named_) is not None
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(BootError, match="are not installed"):
        OtlpExport.of(home, named_)


def test_a_node_feeds_its_collector_also_when_its_exporter_is_killed(collector: Collector) -> None:
    signal = {"symbol": "AAPL", "direction": "long", "price": 190.0, "traceparent": PARENT}
    with node(f'{ECHO}[traces]\notlp_endpoint = "{collector.url}"\n') as one, one.client() as client:
        wait_until(lambda: has_begun(one.home), "it has begun")
        collector.loses_answers = True
        first = {str(each["trace_id"]) for each in client.inject_many([signal] * 20)}
        arrived(collector, first)
        pid = one.child("exporter")["pid"]
        os.kill(pid, SIGKILL)
        collector.loses_answers = False
        later = {str(each["trace_id"]) for each in client.inject_many([signal] * 20)}
        arrived(collector, first | later)
        comes_back(one, "exporter", pid)
        there = one.child("exporter")
    nothing_is_doubled(collector)
    assert there["concern"] is None
    hops = [each.name for each in collector.spans if each.parent_span_id == collector.spans[0].span_id]
    assert set(hops) == {"gateway", "alpha", "beta", "omega"}
