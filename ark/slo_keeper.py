"""Takes in what is counted for the objectives, and tells how the node stands: for `/slos` and `/metrics`."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ark.meters import Series
from ark.metrics import REGISTRY
from ark.slo import WINDOWS, Standing, burn_alerts, definitions, judge
from ark.slo_history import SloHistory
from ark.slo_samples import COARSE_S, Counts, Sample, Samples

if TYPE_CHECKING:
    from ark.config import SloConfig

__all__ = ["SloKeeper", "counted"]

_MOST_UNWRITTEN = 20_000
"""Samples that wait for a disk: half a day's. Older ones are then lost to the file, not to the memory."""
_ORIGINAL = ("name", "met", "current_value", "target", "operator")
"""What the original's `/slos` says of an objective."""


def counted(series: Iterable[Series]) -> dict[str, Counts]:
    """What the pages say of each objective; nothing of one that they say nothing of.

    Every signal that ends might have been a case of ethics drift, so all that count for availability count there.
    """
    found: dict[str, dict[str, int]] = {}
    drift = None
    for each in series:
        if each.metric.name == "ark_slo_events_total":
            said = dict(zip(each.metric.labels, each.labels, strict=True))
            found.setdefault(said["slo"], {})[said["result"]] = round(each.value)
        elif each.metric.name == "ark_ethics_drift_total":
            drift = round(each.value)
    counts = {slo: Counts(events.get("good", 0), events.get("bad", 0)) for slo, events in found.items()}
    ended = counts.get("availability")
    if ended is not None and drift is not None:
        counts["ethics_drift"] = Counts(max(0, sum(ended) - drift), drift)
    return counts


class SloKeeper:
    """Takes in what is counted, and tells how the node stands.

    `sample`, `document` and `series` touch no file. `save` and `close` do, and may be called on another thread, one
    at a time.

    Args:
        settings: The table `[slo]`.
        history: The file; None to remember in memory alone.
    """

    def __init__(self, settings: SloConfig, history: SloHistory | None = None) -> None:
        self.slos = definitions(settings)
        self._strict = {slo.name for slo in self.slos if slo.invariant}
        self._period_s = max(slo.period_s for slo in self.slos)
        self._history = history
        self._lock = threading.Lock()
        self._samples: dict[str, Samples] = {slo.name: self._begin(slo.name) for slo in self.slos}
        self._added: list[tuple[str, Sample]] = []
        self._dropped: list[tuple[str, float]] = []
        self._thinned_at = 0.0
        self._doubted: set[str] = set()
        self._is_read = history is None
        self._read()

    @property
    def trouble(self) -> str:
        """What is wrong with the file, in one line; empty for nothing."""
        return "" if self._history is None else self._history.trouble

    @property
    def is_unsaved(self) -> bool:
        """Whether there is something for `save` to do."""
        return self._history is not None and bool(not self._is_read or self._added or self._dropped)

    def sample(self, counts: Mapping[str, Counts], now: float) -> None:
        """Take in the counters as they are; as often as wanted, those of `EVERY_S` are kept.

        Args:
            counts: What is known, by objective. One whose counters cannot be read now must not be there: a 0 would
                be a counter that fell.
            now: Seconds since the epoch.
        """
        with self._lock:
            for name, samples in self._samples.items():
                if name not in counts or self._is_doubtful(name, counts[name]):
                    continue
                if samples.newest is not None and now < samples.newest.at:
                    self._drop(name, samples.cut(now))
                sample = samples.add(now, counts[name])
                if sample is not None:
                    self._added.append((name, sample))
            if abs(now - self._thinned_at) >= COARSE_S:
                self._thin(now)
                self._thinned_at = now
            del self._added[:-_MOST_UNWRITTEN]

    def save(self) -> None:
        """Write what was kept since the last time; where that cannot be done, the next time."""
        if self._history is None or not self._read():
            return
        with self._lock:
            added, self._added = self._added, []
            dropped, self._dropped = self._dropped, []
        if (added or dropped) and not self._history.write(added, dropped):
            with self._lock:
                self._put_back(added, dropped)

    def close(self) -> None:
        """Write what is left, the newest of all included, and close the file."""
        if self._history is not None:
            with self._lock:
                for name, samples in self._samples.items():
                    newest = samples.keep_newest()
                    if newest is not None:
                        self._added.append((name, newest))
            self.save()
            self._history.close()

    def standings(self, now: float) -> list[Standing]:
        """How the node stands with each objective."""
        with self._lock:
            return [judge(slo, self._samples[slo.name], now) for slo in self.slos]

    def document(self, now: float) -> dict[str, Any]:
        """The document of `/slos`, see "Service level objectives" in operations.md."""
        standings = self.standings(now)
        states = [standing.state for standing in standings]
        entries = [_entry(standing) for standing in standings]
        known = len(states) - states.count("unknown")
        return {
            "at": now,
            "sampled_at": self._sampled_at(),
            "slos": entries,
            "total": len(states),
            "met": states.count("met"),
            "violated": states.count("violated"),
            "unknown": states.count("unknown"),
            "violations": [
                {**{key: entry[key] for key in _ORIGINAL if key != "met"}, "timestamp": now}
                for entry in entries
                if entry["state"] == "violated"
            ],
            "overall_compliance": states.count("met") / known if known else None,
            "trouble": self.trouble,
        }

    def series(self, now: float) -> list[Series]:
        """The gauges for `/metrics`. What is not known is not there."""
        found = []
        for standing in self.standings(now):
            name = standing.slo.name
            if standing.slo.unit == "ratio":
                found.append(Series(REGISTRY["ark_slo_objective_ratio"], (name,), standing.slo.objective))
            if standing.budget is not None and standing.budget.remaining is not None:
                remaining = float(standing.budget.remaining)
                found.append(Series(REGISTRY["ark_slo_budget_remaining_ratio"], (name,), remaining))
            for window, rate in standing.burn.items():
                if rate is not None:
                    found.append(Series(REGISTRY["ark_slo_burn_rate"], (name, window), float(rate)))
        return found

    def _sampled_at(self) -> float | None:
        """When a counter was last read; None for never."""
        with self._lock:
            newest = (samples.newest for samples in self._samples.values())
            return max((each.at for each in newest if each is not None), default=None)

    def _is_doubtful(self, name: str, seen: Counts) -> bool:
        """Whether a counter fell that had not fallen when it was last looked at: then somebody may just be writing
        it down, after the start of a node, and the next look will tell."""
        before = self._samples[name].newest
        fell = before is not None and (seen.good < before.seen_good or seen.bad < before.seen_bad)
        if fell and name not in self._doubted:
            self._doubted.add(name)
            return True
        self._doubted.discard(name)
        return False

    def _begin(self, name: str, kept: Iterable[Sample] = ()) -> Samples:
        return Samples(strict=name in self._strict, kept=kept)

    def _read(self) -> bool:
        """Read the file, until that has succeeded once. What was sampled before goes behind what is in it."""
        if self._is_read or self._history is None:
            return True
        found = self._history.read()
        if found is None:
            return False
        with self._lock:
            self._added = []
            for name, later in self._samples.items():
                samples = self._begin(name, found.get(name, ()))
                for sample in later:
                    if samples.newest is not None and sample.at < samples.newest.at:
                        self._drop(name, samples.cut(sample.at))
                    kept = samples.add(sample.at, Counts(sample.seen_good, sample.seen_bad))
                    if kept is not None:
                        self._added.append((name, kept))
                self._samples[name] = samples
            self._is_read = True
        return True

    def _thin(self, now: float) -> None:
        for name, samples in self._samples.items():
            self._drop(name, samples.thin(now, self._period_s))

    def _put_back(self, added: list[tuple[str, Sample]], dropped: list[tuple[str, float]]) -> None:
        """What could not be written waits for the next time; a file that was begun anew lacks everything."""
        assert self._history is not None
        if self._history.is_new:
            self._added = [(name, sample) for name, samples in self._samples.items() for sample in samples]
            self._dropped = []
            return
        gone = set(self._dropped)
        self._added = [(name, sample) for name, sample in added if (name, sample.at) not in gone] + self._added
        self._dropped = dropped + self._dropped

    def _drop(self, name: str, times: Iterable[float]) -> None:
        gone = {(name, at) for at in times}
        self._added = [(slo, sample) for slo, sample in self._added if (slo, sample.at) not in gone]
        self._dropped.extend(gone)


def _entry(standing: Standing) -> dict[str, Any]:
    slo, window = standing.slo, standing.window
    return {
        "name": slo.name,
        "met": None if standing.state == "unknown" else standing.state == "met",
        "current_value": standing.value,
        "target": slo.objective,
        "operator": slo.operator,
        "state": standing.state,
        "description": slo.description,
        "unit": slo.unit,
        "invariant": slo.invariant,
        "limit_ms": slo.limit_ms,
        "window": {
            "seconds": slo.window_s,
            "good": window.good,
            "bad": window.bad,
            "whole": window.began is not None,
        },
        "budget": _budget_entry(standing),
        "burn": _burn_entry(standing),
        "owner": slo.owner,
        "runbook": slo.runbook,
    }


def _budget_entry(standing: Standing) -> dict[str, Any] | None:
    budget = standing.budget
    if budget is None:
        return None
    return {
        "seconds": standing.slo.period_s,
        "good": budget.window.good,
        "bad": budget.window.bad,
        "allowed": float(budget.allowed),
        "spent": budget.spent,
        "remaining": None if budget.remaining is None else float(budget.remaining),
        "exhausted": budget.exhausted,
    }


def _burn_entry(standing: Standing) -> dict[str, Any] | None:
    slo = standing.slo
    if slo.invariant:
        return None
    rates = {name: None if rate is None else float(rate) for name, rate in standing.burn.items()}
    return {
        "rates": {name: rates[name] for name in WINDOWS},
        "alerts": [
            {
                "severity": alert.severity,
                "speed": alert.speed,
                "long": alert.long,
                "short": alert.short,
                "factor": float(alert.factor),
                "enough_events": alert.enough(slo.budget),
                "firing": alert in standing.firing,
            }
            for alert in burn_alerts(slo.period_s)
        ],
    }
