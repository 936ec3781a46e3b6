"""A page of memory in a file, in which a process counts what it does, and which its successor takes up again.

Each process of the tree has one, under its name: a counter goes on where the process that was killed left it, so
no kill sets it back, and nothing is counted for two. A page is begun anew when the node starts. It is written by
one thread of one process and read by others without a lock, as a black box is (`ark.blackbox`): each figure is a
word of 8 bytes that is stored at once, and a series is only seen once all of it is there.

The page describes itself, so that metrics of agents that the runtime does not know can be read, too. Its size is
fixed and allocated, and the number of series of one metric is bounded: a label that turns out to have a thousand
values costs a page's room at most, and is counted in `ark_series_dropped_total`.

(The multi-process mode of prometheus-client keeps a file for each process id, so each restart leaves files behind
and adds to the cost of a scrape, and it knows no exemplars.)
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from ark.errors import AgentError
from ark.metrics import EDGES, REGISTRY, Kind, Metric, check

__all__ = ["Exemplar", "Measured", "Meters", "Place", "Series", "prepare", "read", "read_pages"]

_SIZE = 256 << 10
_MAGIC = b"ARKPAGE1"
_USED = 1
"""Where the number of used bytes stands, in words."""
_HEAD = 16
_LENGTH = struct.Struct("=II")
"""Before each series: bytes of its description, and how many words of values follow it."""
_EXEMPLAR = struct.Struct("=dd40s")
"""Value, seconds since the epoch, trace id."""
_MOST_SERIES = 200
"""Of one metric in one page."""
_OVERFLOW = "ark_series_dropped_total"
_EXEMPLARS = frozenset({"ark_decision_latency_seconds", "ark_agent_latency_seconds"})
"""Histograms that keep the newest trace of each bucket."""


class _Description(msgspec.Struct, frozen=True, array_like=True):
    """What a series is, as it stands in the page."""

    name: str
    kind: Kind
    help: str
    unit: str
    labels: tuple[str, ...]
    values: tuple[str, ...]
    edges: tuple[float, ...]
    exemplars: bool


class Exemplar(msgspec.Struct, frozen=True):
    """One event of a bucket.

    Attributes:
        trace_id: Whose it was.
        value: In the histogram's unit.
        at: Seconds since the epoch.
    """

    trace_id: str
    value: float
    at: float


class Series(msgspec.Struct, frozen=True):
    """One series of a metric, as it was read.

    Attributes:
        metric: Which.
        labels: The values of its labels, in their order.
        value: Of a counter or a gauge; the sum of a histogram.
        edges: The upper edges of a histogram's buckets, without the last, infinite one.
        counts: How many fell into each bucket, the infinite one included; not cumulative.
        exemplars: The newest event of each bucket, where there is one.
    """

    metric: Metric
    labels: tuple[str, ...]
    value: float
    edges: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()
    exemplars: tuple[Exemplar | None, ...] = ()


class Meters:
    """The writing side, for the one thread that works.

    Args:
        path: The page; taken up again where it is sound, otherwise begun anew.
        process: The name of the process, for what has no room.
        edges: The upper edges of buckets, seconds.
        own: Metrics beside those of the registry: an agent's own.
        filled: Values of labels that the host knows; each metric gets those that it has.
    """

    def __init__(
        self,
        path: Path,
        *,
        process: str,
        edges: Sequence[float] = EDGES,
        own: Sequence[Metric] = (),
        filled: Mapping[str, str] | None = None,
    ) -> None:
        self._known = {**REGISTRY, **{each.name: each for each in own}}
        self._edges = tuple(edges)
        self._filled = dict(filled or {})
        self._process = process
        descriptor = _allocated(path)
        try:
            self._page = mmap.mmap(descriptor, _SIZE)
        finally:
            os.close(descriptor)
        self._words = memoryview(self._page).cast("q")
        self._figures = memoryview(self._page).cast("d")
        self._places: dict[tuple[str, tuple[str, ...]], Place] = {}
        self._quick: dict[tuple[str, frozenset[tuple[str, str]]], Place | None] = {}
        self._counts: dict[str, int] = {}
        if not self._take_up():
            self._begin()

    def count(self, name: str, amount: float = 1.0, /, **labels: str) -> None:
        """Add to a counter.

        Raises:
            AgentError: There is no counter of that name, or its labels are others.
        """
        self.write(Measured(self.place(name, "counter", labels), amount))

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Set a gauge.

        Raises:
            AgentError: There is no gauge of that name, or its labels are others.
        """
        self.write(Measured(self.place(name, "gauge", labels), value))

    def total(self, name: str, value: float, /, **labels: str) -> None:
        """Set a counter to what it has come to, where that is kept elsewhere and durably. It never falls."""
        self.write(Measured(self.place(name, "counter", labels, (value,)), value, whole=True))

    def observe(
        self, name: str, value: float, /, trace_id: str = "", at: float | None = None, **labels: str
    ) -> None:
        """Count one value of a histogram.

        Args:
            name: Of the metric.
            value: In its unit.
            trace_id: Whose it is, for the exemplar.
            at: When, seconds since the epoch; now where absent.
            labels: As the metric has them.
        """
        at = time.time() if at is None and trace_id else at or 0.0
        self.write(Measured(self.place(name, "histogram", labels), value, trace_id, at))

    def write(self, measured: Measured) -> None:
        """Do what `count`, `total`, `gauge` or `observe` would have done, had it not waited for something."""
        place, value, trace_id, at, whole = measured
        if place is None:
            self._overflow()
        elif place.kind == "counter":
            before = self._figures[place.at]
            self._figures[place.at] = max(before, value) if whole else before + value
        elif place.kind == "gauge":
            self._figures[place.at] = value
        else:
            self._observe(place, value, trace_id, at)

    def observe_all(self, name: str, events: Sequence[tuple[float, str]], at: float, /, **labels: str) -> None:
        """Count many values of a histogram; see `observe`.

        Args:
            name: Of the metric.
            events: Values, and whose they are.
            at: When, seconds since the epoch.
            labels: As the metric has them.
        """
        place = self.place(name, "histogram", labels)
        if place is None:
            self._overflow()
            return
        for value, trace_id in events:
            self._observe(place, value, trace_id, at)

    def _observe(self, place: Place, value: float, trace_id: str, at: float) -> None:
        bucket = bisect_left(place.edges, value)
        self._figures[place.at] += value
        self._figures[place.at + 1 + bucket] += 1.0
        if place.exemplars and trace_id:
            start = place.exemplars + bucket * _EXEMPLAR.size
            words = _EXEMPLAR.pack(value, at, trace_id.encode()[:40])
            self._page[start : start + _EXEMPLAR.size] = words

    def exemplar(self, name: str, exemplar: Exemplar, /, **labels: str) -> None:
        """Keep an event of a histogram whose counts are kept elsewhere."""
        place = self.place(name, "histogram", labels)
        if place and place.exemplars:
            start = place.exemplars + bisect_left(place.edges, exemplar.value) * _EXEMPLAR.size
            words = _EXEMPLAR.pack(exemplar.value, exemplar.at, exemplar.trace_id.encode()[:40])
            self._page[start : start + _EXEMPLAR.size] = words

    def histogram(self, name: str, counts: Sequence[float], total: float, /, **labels: str) -> None:
        """Set a histogram to what it has come to, where that is kept elsewhere and durably.

        Args:
            name: Of the metric.
            counts: Of each bucket, the infinite one included; not cumulative.
            total: The sum of all values.
            labels: As the metric has them.
        """
        place = self.place(name, "histogram", labels, (total, *counts))
        if place is None:
            return
        self._figures[place.at] = max(total, self._figures[place.at])
        for index, count in enumerate(counts, place.at + 1):
            self._figures[index] = max(self._figures[index], count)

    def place(self, name: str, kind: Kind, labels: Mapping[str, str], first: Sequence[float] = ()) -> Place | None:
        """Where a series is, made where it was not; None where there is no room for it.

        Args:
            name, kind: Of the metric.
            labels: As the metric has them.
            first: The figures that a new series begins with. A total that was seen at 0 in between would look like
                a counter that began anew, and all that it ever counted like new events.

        Raises:
            AgentError: There is no metric of that name and kind, or its labels are others.
        """
        key = (name, frozenset(labels.items()))
        place = self._quick.get(key)
        if place is None:
            if key in self._quick:
                return None
            place = self._new_place(name, kind, labels, first)
            if len(self._quick) < 4 * _MOST_SERIES:
                self._quick[key] = place
        elif place.kind != kind:
            raise AgentError(f"metric {name} is a {place.kind}, not a {kind}")
        return place

    def _new_place(self, name: str, kind: Kind, labels: Mapping[str, str], first: Sequence[float]) -> Place | None:
        metric = check(self._known, name, kind, {**self._filled, **labels}, given=labels)
        values = tuple([str(labels.get(label, self._filled.get(label)))[:100] for label in metric.labels])
        place = self._places.get((name, values))
        if place is None and self._counts.get(name, 0) < _MOST_SERIES:
            place = self._add(metric, values, first)
        return place

    def _overflow(self) -> None:
        place = self._places.get((_OVERFLOW, (self._process,)))
        if place:
            self._figures[place.at] += 1.0

    def _add(self, metric: Metric, values: tuple[str, ...], first: Sequence[float] = ()) -> Place | None:
        edges = self._edges if metric.kind == "histogram" else ()
        exemplars = metric.name in _EXEMPLARS
        description = msgspec.msgpack.encode(
            _Description(
                metric.name, metric.kind, metric.help, metric.unit, metric.labels, values, edges, exemplars
            )
        )
        words = _words(edges, metric.kind, exemplars)
        used = self._words[_USED]
        values_at = used + _LENGTH.size + _padded(len(description))
        end = values_at + 8 * words
        if end > _SIZE:
            return None
        self._page[used:end] = bytes(end - used)
        self._page[used : used + _LENGTH.size] = _LENGTH.pack(len(description), words)
        self._page[used + _LENGTH.size : used + _LENGTH.size + len(description)] = description
        struct.pack_into(f"={len(first)}d", self._page, values_at, *first)
        # Last, and at once: whoever reads meanwhile sees all of the series or nothing.
        self._words[_USED] = end
        return self._remember(_descriptions.decode(description), values_at)

    def _remember(self, description: _Description, at: int) -> Place:
        name, kind, edges = description.name, description.kind, description.edges
        place = Place(kind, at // 8, edges, at + 8 * _figures(edges, kind) if description.exemplars else 0)
        self._places[name, description.values] = place
        self._counts[name] = self._counts.get(name, 0) + 1
        return place

    def _take_up(self) -> bool:
        """Go on with what the process before has counted; False where that cannot be told or is another build's."""
        if self._page[:8] != _MAGIC:
            return False
        try:
            found = list(_walk(self._page[:]))
        except (msgspec.DecodeError, ValueError, struct.error):
            return False
        if any(description.edges and description.edges != self._edges for description, _ in found):
            return False
        if not all(self._still_holds(description) for description, _ in found):
            self._drop(found)
            found = list(_walk(self._page[:]))
        for description, at in found:
            self._remember(description, at)
        return True

    def _still_holds(self, description: _Description) -> bool:
        """Whether a series says something yet: an agent that was changed may count otherwise than before, and its
        gauges tell nothing of the version before."""
        metric = self._known.get(description.name)
        if metric is None or (metric.kind, metric.labels) != (description.kind, description.labels):
            return False
        labels = zip(description.labels, description.values, strict=True)
        return metric.kind != "gauge" or all(self._filled.get(label, value) == value for label, value in labels)

    def _drop(self, found: Sequence[tuple[_Description, int]]) -> None:
        """Have the page without the series that say nothing. Who reads meanwhile sees none, or those that stay."""
        begins, kept = _HEAD, []
        for description, at in found:
            ends = at + 8 * _words(description.edges, description.kind, description.exemplars)
            if self._still_holds(description):
                kept.append(self._page[begins:ends])
            begins = ends
        content = b"".join(kept)
        self._words[_USED] = _HEAD
        self._page[_HEAD : _HEAD + len(content)] = content
        self._words[_USED] = _HEAD + len(content)

    def _begin(self) -> None:
        self._places.clear()
        self._counts.clear()
        self._words[_USED] = _HEAD
        self._page[_HEAD:] = bytes(_SIZE - _HEAD)
        self._page[:8] = _MAGIC
        self._add(REGISTRY[_OVERFLOW], (self._process,))


class Place:
    """Where the figures of a series are."""

    __slots__ = ("at", "edges", "exemplars", "kind")

    def __init__(self, kind: Kind, at: int, edges: tuple[float, ...], exemplars: int) -> None:
        self.kind = kind
        self.at = at
        self.edges = edges
        self.exemplars = exemplars


class Measured(NamedTuple):
    """One thing that was measured, to be written down later; see `Meters.write`."""

    place: Place | None
    value: float
    trace_id: str = ""
    at: float = 0.0
    whole: bool = False
    """Whether a counter is to be set to it, rather than to rise by it."""


def prepare(path: Path) -> None:
    """Have a page's place on the disk before its process begins; what was in it is gone.

    Raises:
        OSError: There is no room for it.
    """
    descriptor = _allocated(path)
    try:
        os.pwrite(descriptor, bytes(_HEAD), 0)
    finally:
        os.close(descriptor)


def read_pages(folder: Path) -> list[Series]:
    """All series of all pages in a folder, by the name of their process."""
    return [series for path in sorted(folder.glob("*.page")) for series in read(path)]


def read(path: Path) -> list[Series]:
    """The series of one page; none of one that is not there, or not begun, or cannot be understood."""
    with suppress(OSError, msgspec.DecodeError, ValueError, struct.error), path.open("rb", buffering=0) as file:
        head = file.read(_HEAD)
        page = head + file.read(min(_SIZE, max(_HEAD, int.from_bytes(head[8:16], "little"))) - _HEAD)
        if page[:8] == _MAGIC:
            return [_series(page, description, at) for description, at in _walk(page)]
    return []


def _series(page: bytes, description: _Description, at: int) -> Series:
    name, kind, help_, unit, labels, values, edges, has_exemplars = msgspec.structs.astuple(description)
    metric = REGISTRY.get(name) or Metric(name=name, kind=kind, help=help_, unit=unit, labels=labels)
    count = _figures(edges, kind)
    value, *counts = struct.unpack_from(f"={count}d", page, at)
    exemplars: tuple[Exemplar | None, ...] = ()
    if has_exemplars:
        start = at + 8 * count
        exemplars = tuple(
            [_exemplar(page, start + index * _EXEMPLAR.size, edges, index) for index in range(len(counts))]
        )
    return Series(metric, values, value, edges, tuple(counts), exemplars)


def _exemplar(page: bytes, at: int, edges: Sequence[float], bucket: int) -> Exemplar | None:
    """The exemplar of a bucket; None for none, and for one that was read while it was written."""
    value, seconds, trace = _EXEMPLAR.unpack_from(page, at)
    trace_id = trace.rstrip(b"\0").decode(errors="replace")
    low = edges[bucket - 1] if bucket else float("-inf")
    high = edges[bucket] if bucket < len(edges) else float("inf")
    return Exemplar(trace_id, value, seconds) if trace_id and low < value <= high else None


def _walk(page: bytes) -> Iterator[tuple[_Description, int]]:
    """Each description, and where its figures begin."""
    used = int.from_bytes(page[8:16], "little")
    if not _HEAD <= used <= len(page):
        raise ValueError("the page is no page of metrics")
    at = _HEAD
    while at < used:
        length, words = _LENGTH.unpack_from(page, at)
        begins = at + _LENGTH.size
        description = _descriptions.decode(page[begins : begins + length])
        values_at = begins + _padded(length)
        if words != _words(description.edges, description.kind, description.exemplars):
            raise ValueError("a series has another size than its description says")
        at = values_at + 8 * words
        if at > used:
            raise ValueError("a series goes beyond the page")
        yield description, values_at


def _figures(edges: Sequence[float], kind: Kind) -> int:
    """How many figures a series has: its value or sum, and for a histogram its buckets."""
    return 2 + len(edges) if kind == "histogram" else 1


def _words(edges: Sequence[float], kind: Kind, exemplars: bool) -> int:
    return _figures(edges, kind) + ((len(edges) + 1) * _EXEMPLAR.size // 8 if exemplars else 0)


def _padded(length: int) -> int:
    return (length + 7) & ~7


def _allocated(path: Path) -> int:
    """A descriptor of a file that is on the disk: a first write to a hole would be a SIGBUS on a full one."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, _SIZE)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


_descriptions = msgspec.msgpack.Decoder(_Description)
