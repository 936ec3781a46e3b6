"""A rollout in a terminal: both arms side by side, and the evidence as bars. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from ark.commands.held import plain
from ark.rollouts import is_unled
from deployment.explanation import duration

__all__ = ["bar", "example_lines", "headline", "moved", "short", "status_lines", "step_lines"]

BAR = 16
_COUNTS = ("signals", "denied", "failed", "late", "trials", "slow", "broken")
_ARMS = ("canary", "baseline", "stable")
_SHADOWED = frozenset(("shadow", "baseline", "bake"))


def status_lines(document: Mapping[str, Any] | None, now: float) -> list[str]:
    """A rollout as `deploy.status` has it.

    Args:
        document: It; None where there never was one.
        now: Seconds since the epoch.
    """
    if document is None:
        return ["nothing was ever rolled out here"]
    lines = [headline(document)]
    lines += [f"{name:<9} {text}" for name, text in _facts(document, now)]
    if not document.get("is_over"):
        # That there is no verdict yet, and why, stands above.
        holds = [plain(each) for each in document.get("holds") or () if not each.startswith("no verdict yet")]
        lines += [f"{'' if n else 'holds':<9} {why}" for n, why in enumerate(holds)]
    lines += [f"{'trouble':<9} {plain(each)}" for each in document.get("troubles") or ()]
    for role, arms in sorted((document.get("arms") or {}).items()):
        lines += ["", *_side_by_side(role, arms)]
    verdict = document.get("verdict") or {}
    if verdict.get("metrics"):
        lines += ["", *_evidence(verdict["metrics"])]
    example = verdict.get("counterexample")
    if example:
        lines += ["", *example_lines(example)]
    return lines


def headline(document: Mapping[str, Any]) -> str:
    """Which rollout it is, in a line."""
    return f"{plain(document.get('id'))}  {plain(document.get('strategy', 'canary'))}: {moved(document)}"


def moved(document: Mapping[str, Any]) -> str:
    """Which agents go from which release to which."""
    stable = document.get("stable") or {}
    return ", ".join(
        f"{plain(role)} {short(stable.get(role, ''))} -> {short(digest)}"
        for role, digest in sorted((document.get("roles") or {}).items())
    )


def short(digest: Any) -> str:
    """A release, as people tell it from others."""
    return plain(digest)[:12] or "installed"


def bar(part: float, width: int = BAR) -> str:
    """A share of 1 as a bar; what is below nothing is empty, what is above all is full."""
    filled = int(min(1.0, max(0.0, part)) * width)
    return f"[{'#' * filled}{'.' * (width - filled)}]"


def example_lines(example: Mapping[str, Any]) -> list[str]:
    """A signal that the arms decided differently."""
    return [
        f"decided differently: {plain(example.get('symbol'))} at {plain(example.get('role'))},"
        f" {plain(example.get('path'))}",
        f"  canary    {plain(example.get('canary'))}",
        f"  baseline  {plain(example.get('baseline'))}",
        f"  see it    ark-run trace {plain(example.get('trace_id'))}",
    ]


def _facts(document: Mapping[str, Any], now: float) -> Iterable[tuple[str, str]]:
    state = str(document.get("state", "unknown"))
    yield "state", _state(document, now)
    over = document.get("is_over")
    last = document.get("last") or {}
    if (over or state in ("paused", "inconclusive", "aborting")) and last.get("why"):
        yield "why", f"{plain(last['why'])} (by {plain(last.get('by', 'deployer'))})"
    if is_unled(document):
        yield "NOTE", "the deploy actor does not lead it; each agent decides by itself (`supervisor status`)"
    verdict = document.get("verdict") or {}
    if verdict and not over:
        wait = document.get("expected")
        more = f"; about {wait} more" if wait and document.get("expected_s") else ""
        yield "verdict", f"{plain(verdict.get('answer'))}: {plain(verdict.get('why'))}{more}"
    if not over:
        rate = document.get("rate_per_s") or 0
        yield "signals", f"{document.get('signals', 0)} in this step at both arms, {rate:g} a second"
    if document.get("to_zero_s") is not None:
        yield "back", f"no signal was the canary's any more after {document['to_zero_s']:.2f} s"


def _state(document: Mapping[str, Any], now: float) -> str:
    state, under = str(document.get("state", "unknown")), document.get("under")
    words = [state.replace("_", " ")]
    if under:
        words.append(f"(in {under})")
    if document.get("is_over"):
        since = document.get("since")
        return (
            f"{words[0]} since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(since))}" if since else words[0]
        )
    here = under or state
    if here == "stage":
        stages = [f"{each:g}" for each in document.get("stages") or ()]
        words.append(f"{document.get('share', 0):g} %{f' of {chr(44).join(stages)}' if stages else ''}")
    elif here in _SHADOWED:
        words.append("(the canary decides nothing)" if here != "bake" else "(the agent runs it provisionally)")
    if document.get("phase"):
        words.append(f"({document['phase']})")
    since, deadline = document.get("since"), document.get("deadline")
    if since:
        words.append(f"for {duration(max(0.0, now - since))}")
    if deadline:
        words.append(f"and at most {duration(max(0.0, deadline - now))} more")
    return " ".join(words)


def _side_by_side(role: str, arms: Mapping[str, Any]) -> list[str]:
    pairs = arms.get("pairs") or {}
    replayed = (arms.get("replayed") or {}).get("compared", 0)
    shown = [arm for arm in _ARMS if arm in arms]
    lines = [f"{plain(role):<20}" + "".join(f"{arm:>10}" for arm in shown)]
    for name in _COUNTS:
        label = {"signals": "outcomes", "trials": "decided"}.get(name, name)
        lines.append(f"  {label:<18}" + "".join(f"{arms[arm].get(name, 0):>10}" for arm in shown))
    compared, different = pairs.get("compared", 0), pairs.get("different", 0)
    lines.append(f"  both saw {compared} and {replayed} replayed, {different} of those were decided differently")
    return lines


def _evidence(metrics: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each metric that decides something and has anything to say."""
    head = f"{'evidence of what it takes':<26} {'that it is worse':<{BAR + 8}} that it is as good"
    lines = []
    for metric in metrics:
        weighs_harm = metric.get("can_fail") or metric.get("can_hold")  # which rolls back, or holds
        if not (weighs_harm or metric.get("must_pass")) or not metric.get("n"):
            continue
        name = f"  {plain(metric.get('role'))} {plain(metric.get('name'))}"
        sides = [
            _side(metric.get(side), metric.get(f"{side}_at"), bool(decides))
            for side, decides in (("harm", weighs_harm), ("health", metric.get("must_pass")))
        ]
        lines.append(f"{name:<26} {sides[0]:<{BAR + 8}} {sides[1]}".rstrip())
    return [head, *lines] if lines else []


def _side(value: Any, threshold: Any, decides: bool) -> str:
    if not decides or not isinstance(value, int | float) or not threshold:
        return "-"
    part = max(0.0, value / threshold)
    return f"{bar(part)} {min(part, 9.99):>4.0%}"


def step_lines(history: Iterable[Mapping[str, Any]]) -> list[str]:
    """Steps of a rollout, one a line, each with what the judge said of it below."""
    lines = []
    for entry in history:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["at"]))
        step = "note" if entry.get("is_note") else plain(entry["target"]).replace("_", " ")
        share = f" {entry['share']:g} %" if step == "stage" else ""
        lines.append(f"{at}  {step + share:<14} {plain(entry['why'])} (by {plain(entry['by'])})")
        if entry.get("evidence"):
            lines.append(f"{'':<36} the judge: {plain(entry['evidence'])}")
    return lines
