"""Writes the tables of the documents from the code: `python -m docs.generate`.

`docs/configuration.md` is written whole; in the other pages it is what stands between `<!-- generated: NAME -->`
and `<!-- end -->`. A test fails when what is written differs from what this would write.
"""

from __future__ import annotations

import ast
import datetime as dt
import importlib
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Any

import msgspec

import actors.breakers
import actors.messages
import actors.register
import actors.ruleset
import actors.synthesis
import ark.config
import ark.deploy_settings
import ark.protocol
import ark.signal
import ark.status
import ark.traces
import graveyard.ethics
from actors.ruleset_book import RULESET_RULES, RulesetRule
from actors.ruleset_judge import CHECKS
from ark.config import ENVIRONMENT, Config
from deployment.alerting import Limits, groups
from deployment.characteristics import of_counts, of_exceedances, outlook
from deployment.evidence import RATIOS
from deployment.tripwires import Tripwires
from deployment.verdict import METRICS, Policy
from graveyard import RULES, Rule

FOLDER = Path(__file__).parent
WHOLE = "configuration.md"
PAGES = (WHOLE, "protocol.md", "rules.md", "operations.md", "judging.md")
"""The first is generated as a whole, of the others some parts are."""
HEAD = """\
# Configuration

<!-- Written by `make docs` from the code. Change the docstrings there, not this page. -->

A node reads `ark.toml`, then environment variables, then the options of `ark-run start`; the last one wins. The
file is the one that `--config` or `ARK_CONFIG` names, otherwise `ark.toml` in the node's home, otherwise `ark.toml`
in the working folder; without one everything has the default below. An unknown key is an error that names the
nearest known one. Durations are in seconds and end in `_s`.
"""
AGENTS = {
    "kyle": ("actors.kyle", "KyleSettings"),
    "joey": ("actors.joey", "JoeySettings"),
    "hrm": ("actors.hrm", "Policy"),
    "kenny": ("actors.kenny", "Settings"),
}
"""Where the settings of each agent stand; Aletheia has none."""
BREAKERS = {
    "day_loss": actors.breakers.DayLoss,
    "losing_run": actors.breakers.LosingRun,
    "market": actors.breakers.MarketFall,
}
RULESET: dict[str, type[msgspec.Struct]] = {
    "ruleset": actors.ruleset.Ruleset,
    **{f"ruleset.breakers.{name}": struct for name, struct in BREAKERS.items()},
    "ruleset.overrides.PATTERN": actors.ruleset.Override,
    "ruleset.synthesis": actors.synthesis.Thresholds,
}
"""The tables of the operator's ruleset, under HRM's settings."""
WAY = re.compile(
    r"(?:May o|O)nly (?:up|down|more|fewer|fall|rise)"
    r"|(?:Down, or up|Up, or down) to the Graveyard's \([\d.]+\)"
    r"|Cannot be switched off|The one value that may be loosened"
)
"""What a setting's meaning says of the way in which it may be set."""
PLACES = {
    "ARK_HOME": "the node's home, like `--home`",
    "ARK_CONFIG": "the configuration file, like `--config`",
    "WATCHDOG_WEBHOOK_TOKEN": "the bearer token for `watchdog.webhook`, where no file is named",
    "OTEL_EXPORTER_OTLP_HEADERS": "headers for `traces.otlp_endpoint`, where no file is named, as `NAME=VALUE,...`",
    "OTEL_SERVICE_NAME": "the name of the service in traces, instead of `ark`",
    "OTEL_RESOURCE_ATTRIBUTES": "what else traces say of where they come from, as `NAME=VALUE,...`",
    "REDIS_PASSWORD": "the password of `redis.url`, where `REDIS_URL` holds none; no settings file keeps it",
    "XDG_STATE_HOME": "without `ARK_HOME`, the home is `ark` in this folder (`~/.local/state`)",
}


def main() -> None:
    """Write every page anew."""
    for name in PAGES:
        (FOLDER / name).write_text(page(name), encoding="utf-8")


def page(name: str) -> str:
    """A page with generated parts, as it should read."""
    return configuration() if name == WHOLE else fill((FOLDER / name).read_text(encoding="utf-8"))


def configuration() -> str:
    """The page about configuration."""
    parts = [HEAD]
    for field in msgspec.structs.fields(Config):
        if field.name == "agents":
            parts.append(f"## `[agents.NAME]`\n\n{describe(ark.config.AgentConfig)}")
        else:
            parts.append(f"## `[{field.name}]`\n\n{describe(field.type)}")
        if field.name == "watchdog":
            parts.append(f"### `[watchdog.answers]`\n\n{describe(ark.config.AnswersConfig)}")
        if field.name == "deploy":
            parts.append(f"### `[[deploy.gates]]`\n\n{describe(ark.deploy_settings.Gate)}")
            parts.append(f"### `[[deploy.freeze]]`\n\n{describe(ark.deploy_settings.FreezeWindow)}")
    parts.append("## Settings of the agents\n\nUnder `[agents.NAME.settings]`; an agent of your own has its own.\n")
    for agent, (module, name) in AGENTS.items():
        parts.append(
            f"### `[agents.{agent}.settings]`\n\n{describe(getattr(importlib.import_module(module), name))}"
        )
        if agent == "hrm":
            parts += [
                f"#### `[agents.hrm.settings.{place}]`\n\n{describe(struct)}" for place, struct in RULESET.items()
            ]
    rows = [(f"`{name}`", f"`{'.'.join(place)}`") for name, place in ENVIRONMENT.items()]
    rows += [(f"`{name}`", text) for name, text in PLACES.items()]
    parts.append(f"## Environment variables\n\n{table(('variable', 'sets'), rows)}")
    return "\n".join(parts)


def describe(struct: type[msgspec.Struct]) -> str:
    """A struct: its docstring, and a table of its fields."""
    text, meanings = docstring(struct)
    return f"{text}\n\n{fields(struct, meanings)}"


def fields(struct: type[msgspec.Struct], meanings: dict[str, str]) -> str:
    """A table of a struct's fields, in the order of their meanings."""
    order = [*meanings, *struct.__struct_fields__]
    rows = [
        (f"`{field.encode_name}`", kind(field.type), default(field), meanings.get(field.name, ""))
        for field in sorted(msgspec.structs.fields(struct), key=lambda field: order.index(field.name))
    ]
    return table(("key", "type", "default", "meaning"), rows)


def docstring(item: type) -> tuple[str, dict[str, str]]:
    """A docstring without its `Attributes`, and those by name; several names may share one meaning."""
    text, _, attributes = (inspect.getdoc(item) or "").partition("\nAttributes:\n")
    meanings: dict[str, str] = {}
    for names, meaning in re.findall(r"^    ([\w, ]+): ((?:.|\n      )*)", attributes, re.MULTILINE):
        for name in names.split(","):
            meanings[name.strip()] = " ".join(meaning.split())
    return text.strip(), meanings


def kind(type_: Any) -> str:
    """A type in a word or two, with its bounds."""
    if typing.get_origin(type_) is typing.Annotated:
        inner, *notes = typing.get_args(type_)
        return kind(inner) + "".join(bounds(note) for note in notes if isinstance(note, msgspec.Meta))
    if typing.get_origin(type_) is typing.Literal:
        return " or ".join(f"`{each}`" for each in typing.get_args(type_))
    arguments = [each for each in typing.get_args(type_) if each not in (NoneType, Ellipsis)]
    origin = typing.get_origin(type_) or type_
    if origin in (tuple, list):
        return f"list of {kind(arguments[0])}"
    if origin is dict or (isinstance(origin, type) and issubclass(origin, msgspec.Struct)):
        return "table"
    if len(arguments) == 1:  # something or None
        return kind(arguments[0])
    names = {str: "text", bool: "true or false", int: "whole number", float: "number"}
    names |= {dt.date: "date", dt.datetime: "date and time"}
    return names.get(origin, {"Decimal": "number"}.get(getattr(origin, "__name__", ""), str(origin)))


def bounds(meta: msgspec.Meta) -> str:
    """What a `Meta` demands of a number or a text."""
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    said = [f"{word} {getattr(meta, key):.12g}" for key, word in words.items() if getattr(meta, key) is not None]
    if meta.pattern is not None:
        said.append(f"`{meta.pattern}`")
    return "".join(f", {each}" for each in said)


def default(field: msgspec.structs.FieldInfo) -> str:
    """A default as it would stand in `ark.toml`."""
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(value, msgspec.Struct):
        return "see below"
    return "" if value in ("", None) else f"`{toml(value)}`"


def toml(value: Any) -> str:
    """A value in TOML."""
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {toml(each)}" for key, each in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml(each) for each in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def codes() -> str:
    """The error codes of the front door."""
    body = ast.parse(inspect.getsource(ark.protocol.Code)).body[0]
    assert isinstance(body, ast.ClassDef)
    rows = [(f"`{code}`", meaning) for code, meaning in constants(body.body)]
    return table(("code", "meaning"), rows)


def limits() -> str:
    """The bounds of what comes in."""
    names = ("LARGEST_MESSAGE", "LARGEST_SIGNAL", "MOST_SIGNALS", "LONGEST_ID", "DEEPEST")
    body = ast.parse(inspect.getsource(ark.protocol)).body
    said: dict[str, str] = {}
    for statement, follower in pairwise(body):
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            said[statement.targets[0].id] = text_of(follower)
    rows = [(name.replace("_", " ").lower(), str(getattr(ark.protocol, name)), said[name]) for name in names]
    return table(("limit", "value", "meaning"), rows)


def text_of(statement: ast.stmt) -> str:
    """The text of a docstring in one line, nothing for any other statement."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return " ".join(str(statement.value.value).split())
    return ""


def constants(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Texts that are assigned in a class, each with the docstring behind it."""
    for statement, follower in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            yield str(statement.value.value), text_of(follower)


def operations() -> str:
    """The operations and the roles that may ask for them."""
    roles = list(ark.protocol.Role)
    rows = [
        (f"`{op}`", *("yes" if role in allowed else "no" for role in roles))
        for op, allowed in ark.protocol.OPERATIONS.items()
    ]
    return table(("operation", *(role.value for role in roles)), rows)


def signal() -> str:
    """The fields of a signal."""
    checked = getattr(ark.signal, "ArrivingSignal", ark.signal.Signal)
    return fields(checked, docstring(ark.signal.Signal)[1])


def bar() -> str:
    """The fields of a bar."""
    return fields(ark.signal.Bar, docstring(ark.signal.Bar)[1])


def graveyard_rules() -> str:
    """The rules of the Graveyard, in the order in which they are judged."""
    rows = [
        (
            f"`{rule.name}`",
            rule.category,
            figure(rule.value),
            rule.severity,
            breach(rule),
            rule.protects,
            needs(rule),
        )
        for rule in RULES
    ]
    return table(("rule", "category", "value", "severity", "a breach", "protects", "needs"), rows)


def graveyard_sources() -> str:
    """Where each rule comes from, and which further figures its check uses."""
    rows = [
        (f"`{rule.name}`", rule.source, "; ".join(f"`{name}` {value}" for name, value in rule.terms))
        for rule in RULES
    ]
    return table(("rule", "source", "further figures"), rows)


def figure(value: object) -> str:
    """A rule's value; one that must hold has none."""
    return "must hold" if value is True else str(value)


def breach(rule: Rule) -> str:
    """What a breach does, in words."""
    if rule.name == "human_in_loop_critical":
        return "asks a person; a person's no denies"
    return ("denies" if rule.denies else "warns") + (", alarms" if rule.alarms else "")


def needs(rule: Rule) -> str:
    """The facts that a rule's check needs, from the check's docstring."""
    check = next(check for own, check in graveyard.ethics._CHECKS if own is rule)
    _, _, found = " ".join((check.__doc__ or "").split()).partition("Needs ")
    return found.rstrip(".")


def ruleset_rules() -> str:
    """The rules of the operator's ruleset, in the order in which they are judged."""
    rows = [
        (
            f"`{rule.title}`",
            rule.stage,
            rule.severity,
            says(rule),
            "<br>".join(f"`{name} = {value}`{f': {way}' if way else ''}" for name, value, way in settings(rule)),
        )
        for rule in RULESET_RULES
    ]
    return table(("rule", "stage", "severity", "what it is about", "settings, and which way they go"), rows)


def says(rule: RulesetRule) -> str:
    """What a rule of the ruleset is about, from its check's docstring."""
    first = " ".join((CHECKS[rule.id][0].__doc__ or "").split("\n\n")[0].split())
    text = first.removeprefix(f"{rule.id}: ")
    return text[0].upper() + text[1:]


def settings(rule: RulesetRule) -> Iterator[tuple[str, str, str]]:
    """A rule's settings, each with its default and the way in which an operator may set it."""
    structs = [("", actors.ruleset.Ruleset)]
    structs += [(f"breakers.{name}.", struct) for name, struct in BREAKERS.items()]
    for place, struct in structs:
        text, meanings = docstring(struct)
        for field in msgspec.structs.fields(struct):
            meaning = meanings.get(field.name, "")
            of_rule = re.search(rf"\b{rule.id}\b", text if place else meaning)
            if of_rule and field.name not in ("breakers", "severity"):  # these are about rules, not of one
                way = WAY.search(meaning)
                said = "" if way is None else way[0][0].lower() + way[0][1:]
                yield f"{place}{field.name}", default(field).strip("`"), said


def required_data() -> str:
    """The facts that DATA-001 can ask for."""
    rows = [
        ("from the signal", ", ".join(f"`{name}`" for name in sorted(actors.ruleset.CLAIMABLE))),
        ("of a live market", ", ".join(f"`{name}`" for name in sorted(actors.ruleset.MARKET_FACTS))),
    ]
    return table(("fact", "names"), rows)


def source_entry() -> str:
    """What the register can say of a source."""
    return fields(actors.register.SourceEntry, docstring(actors.register.SourceEntry)[1])


def decision() -> str:
    """The fields of a decision."""
    return meanings(actors.messages.Decision)


def execution() -> str:
    """The fields of an execution."""
    return meanings(actors.messages.Execution)


def meanings(struct: type[msgspec.Struct]) -> str:
    """A struct's fields and what they mean."""
    return table(("key", "meaning"), [(f"`{name}`", meaning) for name, meaning in docstring(struct)[1].items()])


def status() -> str:
    """What `status` gives, and the tables in it."""
    parts = [reply_fields(ark.status.StatusDocument)]
    for name, struct in (
        ("One of `children`", ark.status.ChildStatus),
        ("`signals`", ark.status.SignalCounts),
        ("One of `alerts`", ark.status.AlertStatus),
    ):
        text = docstring(struct)[0]
        parts.append(f"{name}: {text[0].lower()}{text[1:]}\n\n{reply_fields(struct)}")
    return "\n".join(parts) + "\n"


def trace() -> str:
    """What `trace` gives, and the tables in it."""
    parts = [reply_fields(ark.traces.TraceDocument)]
    for name, struct in (
        ("One of `spans`", ark.traces.TraceSpan),
        ("`where`", ark.traces.TraceWhere),
        ("`continuity`", ark.traces.TraceContinuity),
        ("`held`", ark.traces.TraceHeld),
        ("`letter`", ark.traces.TraceLetter),
        ("`decision`", ark.traces.TraceDecision),
    ):
        text = docstring(struct)[0]
        parts.append(f"{name}: {text[0].lower()}{text[1:]}\n\n{reply_fields(struct)}")
    return "\n".join(parts) + "\n"


def reply_fields(struct: type[msgspec.Struct]) -> str:
    """A table of what a reply holds."""
    meanings = docstring(struct)[1]
    rows = [
        (f"`{field.name}`", kind(field.type) + (" or nil" if NoneType in typing.get_args(field.type) else ""), text)
        for field, text in ((each, meanings[each.name]) for each in msgspec.structs.fields(struct))
    ]
    return table(("key", "type", "meaning"), rows)


def monitoring_alerts() -> str:
    """The alerts for Prometheus, by what they are about."""
    parts = []
    for group in groups(Limits()):
        rows = [
            (
                f"`{alert.name}`",
                alert.severity,
                alert.hold or "at once",
                alert.summary,
                re.sub(r"{{ \$labels\.(\w+) }}", lambda match: match[1].upper(), alert.action),
            )
            for alert in group.alerts
        ]
        heading = ("alert", "severity", "after", "what is wrong", "what to do first")
        parts.append(f"**{group.title}**\n\n{table(heading, rows)}")
    return "\n".join(parts)


def judging_policy() -> str:
    """The settings of the judge."""
    return fields(Policy, docstring(Policy)[1])


def judging_tripwires() -> str:
    """The settings of the original's tripwires."""
    return fields(Tripwires, docstring(Tripwires)[1])


def judging_counts() -> str:
    """What becomes of a release by one metric of counts alone, with an error of 1 % and no margin."""
    rows = []
    for share in (0.05, 0.1, 0.25, 0.5):
        for ratio in (1.0, *RATIOS):
            found = of_counts(share, ratio, horizon=1000)
            fails, passes = events(found.fail_half, found.fail_most), events(found.pass_half, found.pass_most)
            rows.append(
                (f"{share:g}", f"{ratio:g}", f"{found.failed:.2%}", fails, f"{found.passed:.2%}", passes),
            )
    head = (
        "canary's share",
        "times as often",
        "fails",
        "events half, nine tenths",
        "passes",
        "events half, nine tenths",
    )
    return table(head, rows)


def judging_pairs() -> str:
    """What becomes of a release by one metric of pairs, as the judge asks for it by default."""
    rows = []
    for bad in (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5):
        found = outlook(Policy(), bad=bad)
        fails, passes = events(found.fail_half, found.fail_most), events(found.pass_half, found.pass_most)
        rows.append((f"{bad:.1%}", f"{found.failed:.2%}", fails, f"{found.passed:.2%}", passes))
    head = ("bad at the canary alone", "fails", "signals half, nine tenths", "passes", "signals half, nine tenths")
    return table(head, rows)


def judging_late() -> str:
    """What the absolute test of late signals does."""
    rows = []
    alpha = Policy().alpha / len(METRICS)
    for slow in (0.02, 0.045, 0.05, 0.1, 0.2, 0.5):
        found = of_exceedances(slow, alpha=alpha)
        rows.append((f"{slow:.1%}", f"{found.failed:.2%}", events(found.fail_half, found.fail_most)))
    return table(("late", "holds", "signals half, nine tenths"), rows)


def events(half: int, most: int) -> str:
    """After how many events half and nine tenths of all releases have ended so; nothing where they never do."""
    return ", ".join(str(each) for each in (half, most) if each) or "never so many"


PARTS: dict[str, Callable[[], str]] = {
    "graveyard_rules": graveyard_rules,
    "graveyard_sources": graveyard_sources,
    "ruleset_rules": ruleset_rules,
    "required_data": required_data,
    "source_entry": source_entry,
    "decision": decision,
    "execution": execution,
    "codes": codes,
    "operations": operations,
    "signal": signal,
    "bar": bar,
    "limits": limits,
    "status": status,
    "trace": trace,
    "monitoring_alerts": monitoring_alerts,
    "judging_policy": judging_policy,
    "judging_tripwires": judging_tripwires,
    "judging_counts": judging_counts,
    "judging_pairs": judging_pairs,
    "judging_late": judging_late,
}


def fill(text: str) -> str:
    """Put every generated part in its place."""

    def written(match: re.Match[str]) -> str:
        return f"<!-- generated: {match[1]} -->\n{PARTS[match[1]]()}<!-- end -->"

    return re.sub(r"<!-- generated: (\w+) -->\n.*?<!-- end -->", written, text, flags=re.DOTALL)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
