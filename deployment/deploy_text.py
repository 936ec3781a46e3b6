"""Plans of rollouts, their history and their reasons, as lines for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ark.agent import MOST_RECORDED
from ark.commands.held import plain
from ark.deploy_settings import Gate
from deployment.arms_text import example_lines, headline, moved, step_lines
from deployment.explanation import duration
from deployment.gates import Budget, caution, freeze_end, is_same_step, step_name, window_at
from deployment.plan import Plan

if TYPE_CHECKING:  # they load what verifies signatures
    from deployment.forecast import Forecast
    from deployment.manifest import Change
    from deployment.release_views import Comparison

__all__ = ["explanation_lines", "history_lines", "plan_lines", "story_lines"]

_MOST_FILES = 20


def plan_lines(
    plan: Plan,
    *,
    changes: Sequence[tuple[str, Comparison, Sequence[Change]]] | None,
    expected: Forecast | None,
    rate: float | None,
    budget: Budget,
    conflict: str,
    now: float,
) -> list[str]:
    """What a rollout would do.

    Args:
        plan: Its plan.
        changes: How each agent's release differs from the stable one, and which changes of decisions it declares;
            None where the releases are on another machine.
        expected: What is to be expected of the judge; None of tripwires.
        rate: Signals a second now; None where that is not known.
        budget: How the error budget stands.
        conflict: Why it cannot be started; empty if it can.
        now: Seconds since the epoch.
    """
    lines = [f"{plan.strategy}: {moved({'roles': plan.roles, 'stable': plan.stable})}"]
    if changes is None:
        lines.append("  what they change can be seen where the node runs")
    for role, each, declared in changes or ():
        lines += _changes(role, each, declared)
    lines += ["", "steps", *(f"  {each}" for each in _steps(plan)), "", "now"]
    lines += [f"  {each}" for each in _now(plan, budget, conflict, now)]
    return [*lines, "", "to be expected", *(f"  {each}" for each in _expected(plan, expected, rate))]


def explanation_lines(document: Mapping[str, Any]) -> list[str]:
    """Why a rollout is where it is, with an example where there is one."""
    lines = [plain(each) for each in document.get("explanation", ())]
    found = [each for each in document.get("examples") or () if not each.get("declared")]
    example = (document.get("verdict") or {}).get("counterexample") or next(iter(found), None)
    if example:
        lines += ["", *example_lines(example)]
        if len(found) > 1:
            lines.append(f"  and {len(found) - 1} more, see --json")
    return lines


def history_lines(documents: Iterable[Mapping[str, Any]]) -> list[str]:
    """A table of rollouts, the newest first."""
    rows = [
        (
            plain(each.get("id")),
            plain(each.get("state")).replace("_", " "),
            plain(each.get("strategy")),
            moved(each),
            plain(each.get("by")),
            plain((each.get("last") or {}).get("why", "")),
        )
        for each in documents
    ]
    if not rows:
        return ["nothing was ever rolled out here"]
    head = ("rollout", "state", "strategy", "what", "by", "why")
    table = [head, *reversed(rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head) - 1)]
    return [
        "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in table
    ]


def story_lines(document: Mapping[str, Any]) -> list[str]:
    """One rollout in full: every step with its evidence, and why."""
    lines = [headline(document), f"by {plain(document.get('by'))}: {plain(document.get('note') or 'no note')}", ""]
    lines += step_lines(document.get("history", ()))
    return [*lines, "", *explanation_lines(document)]


def _changes(role: str, each: Comparison, declared: Sequence[Change]) -> list[str]:
    lines = [f"  {role}: {each.before} -> {each.after}"]
    for change in declared:
        where = f" for {plain(change.symbol)}" if change.symbol else ""
        values = f"{plain(change.before or 'anything')} -> {plain(change.after or 'anything')}"
        lines.append(f"    decides otherwise: {plain(change.path)}{where}, {values} ({plain(change.why)})")
    if not declared:
        lines.append("    declares no change of decisions: any that differs rolls it back")
    if not each.files_compared:
        return [*lines, "    files and distributions cannot be compared with the installed package's"]
    files = [
        *(f"+ {name}" for name in each.added),
        *(f"- {name}" for name in each.removed),
        *(f"~ {name}" for name in each.changed),
    ]
    lines += [f"    {plain(name)}" for name in files[:_MOST_FILES]]
    if len(files) > _MOST_FILES:
        lines.append(f"    and {len(files) - _MOST_FILES} files more")
    if not files:
        lines.append("    no file differs")
    for name, (before, after) in each.distributions.items():
        lines.append(f"    {plain(name)} {before or 'not needed'} -> {after or 'not needed any more'}")
    for key, (before, after) in each.manifest.items():
        if key not in ("changes", "agents", "requires"):
            lines.append(f"    {plain(key)}: {plain(before)} -> {plain(after)}")
    return lines


def _steps(plan: Plan) -> Iterable[str]:
    own = plan.settings
    takes = f"{own.signals} signals"
    total = own.shadow_s
    yield _step("shadow", "copies of all signals, no effect", own.shadow_s, takes, own.shadow_deadline_s)
    if plan.baseline_share > 0:
        total += own.baseline_s
        what = f"a fresh copy of the stable release decides {plan.baseline_share:g} %"
        yield _step("baseline", what, own.baseline_s, takes, own.baseline_deadline_s)
    for share in plan.stages:
        yield from _gates(plan.gates, step_name(share))
        total += own.stage_s
        yield _step(
            f"{share:g} %", "as much for the baseline", own.stage_s, f"{takes}, a pass", own.stage_deadline_s
        )
    if plan.strategy == "aa":
        yield "ends there: the same release on both arms proves the judge, and is not promoted"
    else:
        yield from _gates(plan.gates, "promotion")
        total += own.bake_s
        what = "the agent itself runs it, the old one stays warm"
        yield _step("bake", what, own.bake_s, f"{takes}, a pass", own.bake_deadline_s)
        yield f"{'permanent':<10} `ark-run deploy undo` still leads back"
    yield f"{duration(total)} at the least; traffic is split by {own.by}"


def _step(name: str, what: str, least_s: float, takes: str, most_s: float) -> str:
    return f"{name:<10} {what}: {duration(least_s)} and {takes}, at most {duration(most_s)}"


def _gates(gates: Iterable[Gate], before: str) -> Iterable[str]:
    for gate in gates:
        if is_same_step(gate.before, before):
            people = "one person" if gate.needed == 1 else f"{gate.needed} people"
            who = f" of {', '.join(map(plain, gate.approvers))}" if gate.approvers else ""
            yield f"{'gate':<10} {people}{who} must approve (`ark-run deploy approve --gate {before}`)"


def _now(plan: Plan, budget: Budget, conflict: str, now: float) -> Iterable[str]:
    window = window_at(plan.settings, now)
    if window is not None:
        left = duration((freeze_end(plan.settings, now) or now) - now)
        why = f": {plain(window.why)}" if window.why else ""
        yield f"FROZEN for {left} more{why}; --override-freeze REASON starts it all the same"
    else:
        yield "no freeze window is open"
    left_share = "not known" if budget.left is None else f"{budget.left:.0%} left"
    careful = {"none": "", "half": ": half steps, and twice the signals", "frozen": ": FROZEN"}
    burning = ", spent fast just now" if budget.burning else ""
    yield f"error budget {left_share}{burning}{careful[caution(plan.settings, budget)]}"
    yield f"CANNOT START: {plain(conflict)}" if conflict else "nothing else is under way"


def _expected(plan: Plan, expected: Forecast | None, rate: float | None) -> Iterable[str]:
    if expected is None:
        yield "the original's tripwires have no evidence to collect; docs/judging.md has how often they are wrong"
        return
    replay = plan.settings.replay_rate
    speed = "an unknown number of signals a second" if rate is None else f"{rate:.3g} signals a second"
    if replay:
        speed += f" and {replay:g} replayed, at most {MOST_RECORDED} of each agent"
    if expected.signals:
        wait = f", about {duration(expected.wait_s)} with {speed}" if expected.wait_s else f" ({speed})"
        yield f"a release that decides as before passes after {expected.signals} signals at both arms{wait}"
    else:
        yield "with these settings of the judge no release passes within any time that one would wait"
    told = [f"{times} times as many: after {n} of them" for times, n in expected.caught.items() if n]
    if told:
        yield f"one with more denials or failures than the stable one is caught, with {'; with '.join(told)}"
    yield f"at most {expected.alpha:.2g} of good releases are rolled back, {expected.beta:.2g} of harmful ones pass"
