"""What an expression asks for, held against the registry: metrics that there are, by labels that they have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import promql_parser as promql

from ark.metrics import REGISTRY

TARGET = {"instance", "job"}
"""What Prometheus adds to every series."""
FOREIGN: Mapping[str, set[str]] = {
    "up": set(TARGET),
    "scrape_duration_seconds": set(TARGET),
    "ALERTS": {*TARGET, "alertname", "alertstate", "severity"},
}
"""Series that Prometheus makes itself."""
_SETS = {"and", "or", "unless"}
_PARTS = {"_bucket": {"le"}, "_count": set[str](), "_sum": set[str]()}


class Expression:
    """An expression that was read.

    Attributes:
        metrics: The names in the registry that it asks for.
        recorded: The names of recording rules that it asks for.
        labels: The labels of its result.

    Args:
        text: In PromQL; the dashboard's variables may stand in it.
        recordings: The labels of recorded series by their names.

    Raises:
        AssertionError: It asks for what there is not.
    """

    def __init__(self, text: str, recordings: Mapping[str, set[str]]) -> None:
        self.metrics: set[str] = set()
        self.recorded: set[str] = set()
        self._text = text
        self._recordings = recordings
        self.labels = self._of(promql.parse(text.replace("$__rate_interval", "1m"))) or set()

    def _of(self, node: Any) -> set[str] | None:
        """The labels of a part's result; None for a number."""
        match node:
            case promql.NumberLiteral() | promql.StringLiteral():
                return None
            case promql.VectorSelector():
                return self._selected(node)
            case promql.MatrixSelector():
                return self._of(node.vector_selector)
            case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
                return self._of(node.expr)
            case promql.Call():
                return self._called(node)
            case promql.AggregateExpr():
                return self._gathered(node)
            case promql.BinaryExpr():
                return self._joined(node)
        raise AssertionError(f"{type(node).__name__} is not known here: {self._text}")

    def _selected(self, node: Any) -> set[str]:
        there = self._labels_of_series(node.name)
        self._demand((each.name for each in node.matchers.matchers), there, node.name)
        return there

    def _labels_of_series(self, name: str) -> set[str]:
        if name in FOREIGN:
            return set(FOREIGN[name])
        if name in self._recordings:
            self.recorded.add(name)
            return set(self._recordings[name])
        for suffix, more in _PARTS.items():
            metric = REGISTRY.get(name.removesuffix(suffix))
            if name.endswith(suffix) and metric is not None and metric.kind == "histogram":
                self.metrics.add(metric.name)
                return {*metric.labels, *more, *TARGET}
        assert name in REGISTRY, f"there is no metric {name}: {self._text}"
        assert REGISTRY[name].kind != "histogram", f"{name} is a histogram: {self._text}"
        self.metrics.add(name)
        return {*REGISTRY[name].labels, *TARGET}

    def _called(self, node: Any) -> set[str] | None:
        found = [labels for each in node.args if (labels := self._of(each)) is not None]
        if node.func.name == "histogram_quantile":
            self._demand({"le"}, found[0], "histogram_quantile")
            return found[0] - {"le"}
        if node.func.name == "absent":
            return {"job"}
        assert len(found) == 1, self._text
        return found[0]

    def _gathered(self, node: Any) -> set[str]:
        inner = self._of(node.expr)
        assert inner is not None, self._text
        if node.modifier is None:
            return set()
        named = set(node.modifier.labels)
        self._demand(named, inner, str(node.op))
        return named if node.modifier.type == promql.AggModifierType.By else inner - named

    def _joined(self, node: Any) -> set[str] | None:
        left, right = self._of(node.lhs), self._of(node.rhs)
        if left is None or right is None:
            return right if left is None else left
        matching = None if node.modifier is None else node.modifier.matching
        if matching is not None:
            assert matching.type == promql.LabelModifierType.Include, f"ignoring() is not known here: {self._text}"
            for side in (left, right):
                self._demand(matching.labels, side, str(node.op))
        elif str(node.op) == "or":
            return left | right
        else:
            # Series with different labels are never the same: such an expression gives nothing, for ever.
            assert left == right, f"{sorted(left)} {node.op} {sorted(right)}: {self._text}"
        if str(node.op) in _SETS or matching is None:
            return left
        return set(matching.labels)

    def _demand(self, wanted: Iterable[str], there: set[str], of: str) -> None:
        missing = set(wanted) - there
        assert not missing, f"{of} has no label {', '.join(sorted(missing))}: {self._text}"
