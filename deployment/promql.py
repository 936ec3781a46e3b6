"""Pieces of PromQL that several rules need, each with what it takes care of."""

from __future__ import annotations

__all__ = ["FEW", "beyond", "increase", "number", "quantile", "ratio", "since"]

FEW = 3
"""So many bad events within the window are needed before a share of them counts: one failure at low traffic is a
share of 100 %, and no reason to call anybody."""


def since(series: str, window: str) -> str:
    """How often something was counted within a window, also where the series was born in it.

    `increase` alone never sees the first event of a counter that begins with it: a series that appears with the
    value 1 has grown by nothing. Such a series counts as it is, if it was not there before the window (looked at
    over as much time again, so that one missed scrape is no birth) although Prometheus already scraped the node
    then; after a start of Prometheus itself nobody knows, and nothing is counted.

    Args:
        series: A counter, with or without matchers.
        window: Such as `5m`.
    """
    return (
        f"(({series} unless last_over_time({series}[{window}] offset {window})) and on (instance) "
        f'up{{job="ark"}} offset {window}) or increase({series}[{window}])'
    )


def increase(series: str, window: str, by: str = "instance") -> str:
    """The events of a counter that is always there, its zero included, within a window."""
    return f"sum by ({by}) (increase({series}[{window}]))"


def ratio(part: str, whole: str, window: str, by: str = "instance") -> str:
    """The share of a counter in others, over a window; no data, and no events, are no share."""
    return f"sum by ({by}) (rate({part}[{window}])) / sum by ({by}) (rate({whole}[{window}]))"


def beyond(
    histogram: str, limit_s: float, share: float, window: str, *, by: str = "instance", matchers: str = ""
) -> str:
    """The share of observations beyond a limit, where it is greater than what is borne and not one or two of them.

    It is counted at the bucket's edge, not estimated between two of them as a quantile is.

    Args:
        histogram: Its name without a suffix.
        limit_s: The limit, which is an edge of the buckets.
        share: What is borne.
        window: Such as `5m`.
        by: The labels that are kept.
        matchers: Further matchers, such as `agent="hrm"`.
    """
    all_ = f"{histogram}_count{braces(matchers)}"
    edge_matcher = f'le="{edge(limit_s)}"'
    within = f"{histogram}_bucket{braces(matchers, edge_matcher)}"
    return (
        f"1 - {ratio(within, all_, window, by)} > {number(share)}\n"
        f"  and on ({by}) ({increase(all_, window, by)} - {increase(within, window, by)}) >= {FEW}"
    )


def quantile(share: float, histogram: str, window: str, by: str = "instance", matchers: str = "") -> str:
    """A quantile of a histogram, as good as its buckets."""
    rate = f"sum by ({by}, le) (rate({histogram}_bucket{braces(matchers)}[{window}]))"
    return f"histogram_quantile({share:g}, {rate})"


def braces(*matchers: str) -> str:
    """Matchers in braces, nothing for none."""
    given = [each for each in matchers if each]
    return f"{{{','.join(given)}}}" if given else ""


def edge(seconds: float) -> str:
    """A bucket's edge as `prometheus_client` writes it: `0.4`, `1.0`."""
    return repr(float(seconds))


def number(value: float) -> str:
    """A number without an exponent and without zeros that say nothing."""
    text = f"{value:.10f}".rstrip("0").rstrip(".")
    return text or "0"
