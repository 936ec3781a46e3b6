"""All series as Prometheus and as programs read them: text, OpenMetrics with exemplars, or JSON. Pure.

What several processes count under one name and the same labels is one series here. A metric that cannot be told (an
agent may have named one wrongly) is left out; it must not cost the sight of all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Any

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as Shown
from prometheus_client.utils import floatToGoString

from ark.meters import Exemplar, Series
from ark.metrics import Kind, Metric
from ark.page_feed import percentile

__all__ = ["as_json", "encode", "gather"]

Bucket = tuple[str, float] | tuple[str, float, Shown]


def gather(series: Iterable[Series]) -> dict[str, list[Series]]:
    """All series by the name of their metric, each once: counts are added up, of gauges the last one holds."""
    found: dict[str, dict[tuple[str, ...], Series]] = {}
    kinds: dict[str, tuple[Kind, int]] = {}
    for each in series:
        name, shape = each.metric.name, (each.metric.kind, len(each.labels))
        if kinds.setdefault(name, (each.metric.kind, len(each.metric.labels))) != shape:
            continue
        same = found.setdefault(name, {})
        before = same.get(each.labels)
        same[each.labels] = each if before is None else _together(before, each)
    return {name: list(same.values()) for name, same in found.items()}


def encode(metrics: Mapping[str, Sequence[Series]], accept: str) -> tuple[bytes, str]:
    """The metrics as text, and its content type.

    Args:
        metrics: From `gather`.
        accept: What the client asked for: OpenMetrics, or Prometheus's own text.
    """
    try:
        write, kind = choose_encoder(accept)
    except (ValueError, TypeError):  # a version that is no number
        write, kind = choose_encoder("")
    families = []
    for same in metrics.values():
        with suppress(ValueError):  # a name that Prometheus does not know as one
            families.append(_family(same))
    return write(_Families(families)), kind


def as_json(metrics: Mapping[str, Sequence[Series]], at: float) -> dict[str, Any]:
    """The document of `/metrics/json`, with the original's keys.

    Args:
        metrics: From `gather`.
        at: Seconds since the epoch.
    """
    document: dict[str, dict[str, Any]] = {"counter": {}, "gauge": {}, "histogram": {}}
    for same in metrics.values():
        for each in same:
            value = _summary(each) if each.metric.kind == "histogram" else each.value
            document[each.metric.kind][_key(each)] = value
    return {
        "counters": document["counter"],
        "gauges": document["gauge"],
        "histograms": document["histogram"],
        "timestamp": at,
    }


class _Families(Collector):
    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


def _together(one: Series, other: Series) -> Series:
    if one.metric.kind == "gauge":
        return other
    if one.edges != other.edges:
        return one
    exemplars = [_newer(*both) for both in zip(one.exemplars, other.exemplars, strict=False)]
    counts = [a + b for a, b in zip(one.counts, other.counts, strict=True)]
    return msgspec.structs.replace(
        one, value=one.value + other.value, counts=tuple(counts), exemplars=tuple(exemplars)
    )


def _newer(one: Exemplar | None, other: Exemplar | None) -> Exemplar | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda each: each.at)


def _family(same: Sequence[Series]) -> Family:
    metric = same[0].metric
    stem = metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name
    unit = _unit(metric, stem)
    family: CounterMetricFamily | GaugeMetricFamily
    match metric.kind:
        case "counter":
            family = CounterMetricFamily(stem, metric.help, labels=metric.labels, unit=unit)
        case "gauge":
            family = GaugeMetricFamily(stem, metric.help, labels=metric.labels, unit=unit)
        case "histogram":
            histogram = HistogramMetricFamily(stem, metric.help, labels=metric.labels, unit=unit)
            for each in same:
                histogram.add_metric(each.labels, _buckets(each), each.value)
            return histogram
    for each in same:
        family.add_metric(each.labels, each.value)
    return family


def _unit(metric: Metric, stem: str) -> str:
    """The unit, where the name ends in it, as OpenMetrics wants it."""
    return metric.unit if metric.unit and stem.endswith(f"_{metric.unit}") else ""


def _buckets(series: Series) -> list[Bucket]:
    uppers = [*map(floatToGoString, series.edges), "+Inf"]
    exemplars = series.exemplars or (None,) * len(uppers)
    return [
        (upper, total) if exemplar is None else (upper, total, _shown(exemplar))
        for upper, total, exemplar in zip(uppers, accumulate(series.counts), exemplars, strict=True)
    ]


def _shown(exemplar: Exemplar) -> Shown:
    return Shown({"trace_id": exemplar.trace_id}, exemplar.value, exemplar.at)


def _key(series: Series) -> str:
    labels = ",".join(f"{key}={value}" for key, value in zip(series.metric.labels, series.labels, strict=True))
    return f"{series.metric.name}{{{labels}}}" if labels else series.metric.name


def _summary(series: Series) -> dict[str, float | None]:
    """A histogram in the original's words; smallest and largest are the edges of the buckets they fell into."""
    count = sum(series.counts)
    filled = [index for index, each in enumerate(series.counts) if each]
    edges = (0.0, *series.edges, series.edges[-1])
    return {
        "count": count,
        "sum": series.value,
        "avg": series.value / count if count else None,
        **{f"p{share}": percentile(series.edges, series.counts, share / 100) for share in (50, 95, 99)},
        "min": edges[filled[0]] if filled else None,
        "max": edges[filled[-1] + 1] if filled else None,
    }
