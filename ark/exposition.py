"""What the node knows in numbers, as metrics of prometheus-client. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ark.meters import Series
from ark.status import StatusDocument

__all__ = ["encode", "families", "gauges"]


def families(status: StatusDocument) -> Iterator[Metric]:
    """Turn a status into metrics."""
    # Not known while the gateway waits for its journal: a metric that is absent is better than one that is wrong.
    signals = {key: value for key, value in msgspec.structs.asdict(status.signals).items() if value is not None}
    for name, key, text in (
        ("ark_signals_accepted", "accepted", "Signals that were accepted, over the life of the home."),
        ("ark_signals_completed", "completed", "Signals that have their outcome."),
        ("ark_dead_letters", "dead_letters_ever", "Signals that the pipeline gave up on."),
    ):
        if key in signals:
            yield CounterMetricFamily(name, text, value=signals[key])
    for name, key, text in (
        ("ark_signals_in_flight", "in_flight", "Accepted signals without an outcome that are not held."),
        ("ark_signals_held", "held", "Signals that wait for a person."),
        ("ark_dead_letters_open", "dead_letters", "Dead letters that nobody has dealt with."),
    ):
        if key in signals:
            yield GaugeMetricFamily(name, text, signals[key])
    yield GaugeMetricFamily("ark_halted", "1 while trading is halted.", int(status.halted))
    up = GaugeMetricFamily("ark_child_up", "1 while the child runs.", labels=["name", "kind", "version"])
    restarts = CounterMetricFamily("ark_child_restarts", "Starts after the first one.", labels=["name"])
    beats = GaugeMetricFamily(
        "ark_heartbeat_age_seconds", "Seconds since the child's loop went round.", labels=["name"]
    )
    depths = GaugeMetricFamily("ark_mailbox_depth", "Envelopes sent and not yet taken.", labels=["name"])
    for child in status.children:
        up.add_metric([child.name, child.kind, child.version], int(child.state == "running"))
        restarts.add_metric([child.name], child.restarts)
        if child.heartbeat_age_s is not None:
            beats.add_metric([child.name], child.heartbeat_age_s)
        if child.mailbox_depth is not None:
            depths.add_metric([child.name], child.mailbox_depth)
    yield from (up, restarts, beats, depths)


def gauges(series: Iterable[Series]) -> Iterator[Metric]:
    """Turn gauges into metrics."""
    found: dict[str, GaugeMetricFamily] = {}
    for each in series:
        metric = each.metric
        family = found.setdefault(metric.name, GaugeMetricFamily(metric.name, metric.help, labels=metric.labels))
        family.add_metric(each.labels, each.value)
    yield from found.values()


def encode(metrics: Iterable[Metric], accept: str) -> tuple[bytes, str]:
    """The metrics as text, and its content type.

    Args:
        metrics: Each family once.
        accept: What the client asked for: OpenMetrics, or Prometheus's own text.
    """
    write, kind = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(list(metrics)))
    return write(registry), kind


class _Collected(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics
