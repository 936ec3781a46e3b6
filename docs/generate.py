"""Writes the tables of the documents from the code: `python -m docs.generate`.

`docs/configuration.md` is written whole; in `docs/protocol.md` it is what stands between
`<!-- generated: NAME -->` and `<!-- end -->`. A test fails when what is written differs from what this would
write.
"""

from __future__ import annotations

import ast
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

import ark.config
import ark.protocol
import ark.signal
from ark.config import ENVIRONMENT, Config

FOLDER = Path(__file__).parent
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
PLACES = {
    "ARK_HOME": "the node's home, like `--home`",
    "ARK_CONFIG": "the configuration file, like `--config`",
    "XDG_STATE_HOME": "without `ARK_HOME`, the home is `ark` in this folder (`~/.local/state`)",
}


def main() -> None:
    """Write every page anew."""
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


def pages() -> dict[Path, str]:
    """Each page with generated parts, as it should read."""
    protocol = FOLDER / "protocol.md"
    return {FOLDER / "configuration.md": configuration(), protocol: fill(protocol.read_text(encoding="utf-8"))}


def configuration() -> str:
    """The page about configuration."""
    parts = [HEAD]
    for field in msgspec.structs.fields(Config):
        if field.name == "agents":
            parts.append(f"## `[agents.NAME]`\n\n{describe(ark.config.AgentConfig)}")
        else:
            parts.append(f"## `[{field.name}]`\n\n{describe(field.type)}")
    parts.append("## Settings of the agents\n\nUnder `[agents.NAME.settings]`; an agent of your own has its own.\n")
    for agent, (module, name) in AGENTS.items():
        parts.append(
            f"### `[agents.{agent}.settings]`\n\n{describe(getattr(importlib.import_module(module), name))}"
        )
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
    if origin is tuple:
        return f"list of {kind(arguments[0])}"
    if origin is dict:
        return "table"
    if len(arguments) == 1:  # something or None
        return kind(arguments[0])
    names = {str: "text", bool: "true or false", int: "whole number", float: "number"}
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
    """The operations and who may ask for them."""
    rows = [(f"`{op}`", role.value) for op, role in ark.protocol.OPERATIONS.items()]
    return table(("operation", "least role"), rows)


def signal() -> str:
    """The fields of a signal."""
    checked = getattr(ark.signal, "ArrivingSignal", ark.signal.Signal)
    return fields(checked, docstring(ark.signal.Signal)[1])


def bar() -> str:
    """The fields of a bar."""
    return fields(ark.signal.Bar, docstring(ark.signal.Bar)[1])


PARTS: dict[str, Callable[[], str]] = {
    "codes": codes,
    "operations": operations,
    "signal": signal,
    "bar": bar,
    "limits": limits,
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
