"""What a release says of itself: its agents, their needs, how their state changes hands, what it decides anew."""

from __future__ import annotations

import ast
import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from importlib import metadata
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

import ark
from ark.message import MESSAGE_SCHEMA
from deployment.content import File, ReleaseError

__all__ = [
    "RESTART",
    "Change",
    "Environment",
    "Manifest",
    "Migration",
    "check_against_code",
    "declare",
    "encode",
    "fields_of",
    "parse",
    "unmet",
]

RESTART = "restart"
"""The migration of an agent whose next process begins with what its journals hold, and nothing else."""

Role = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,15}\Z")]
Place = Annotated[str, Meta(pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*\Z")]
"""`module:name`."""
Text = Annotated[str, Meta(min_length=1, max_length=2_000)]


class Migration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How an agent's state changes hands.

    Attributes:
        up: `module:function` that turns the state of the version before into that of this one.
        down: The way back. Without it a rollback would strand the state: such a release must be said to be
            irreversible.
    """

    up: Place
    down: Place | None = None


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A difference in decisions that the release means to make. All others count against it.

    Attributes:
        agent: Whose decisions.
        why: For whoever reads the rollout.
        path: Which part of the decision, as a glob: `setup.confidence`, `decision.violations.*`.
        before: What the version before says there, as a glob over its text; where absent, anything.
        after: What this version says there, likewise.
        symbol: For which symbols, as a glob; where absent, for all.
    """

    agent: Role
    why: Text
    path: Text
    before: str | None = None
    after: str | None = None
    symbol: str | None = None

    def covers(self, *, agent: str, path: str, symbol: str, before: str, after: str) -> bool:
        """Whether it declares this difference."""
        asked = ((self.path, path), (self.before, before), (self.after, after), (self.symbol, symbol))
        return agent == self.agent and all(glob is None or fnmatchcase(text, glob) for glob, text in asked)


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The file `manifest.json`.

    Attributes:
        format: The version of this format.
        name, version: For people; what counts is the release's digest.
        agents: `module:Class` by the role that it takes in the pipeline.
        message_schema: The version of the messages that its agents read and write.
        migrations: By role: `restart`, or the ways up and down.
        ark: Which versions of ARK it runs on, such as `>=0.1,<0.2`.
        changes: What it decides anew on purpose.
        requires: The distributions that must be installed where it runs, with versions. They are not part of it.
        irreversible: Whether somebody has said, at its making, that there is no way back.
        description: For people.
    """

    format: Literal[1]
    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
    version: Annotated[str, Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_!-]{0,63}\Z")]
    agents: Annotated[dict[Role, Place], Meta(min_length=1)]
    message_schema: Annotated[int, Meta(ge=1)]
    migrations: dict[Role, Literal["restart"] | Migration]
    ark: str
    changes: tuple[Change, ...] = ()
    requires: tuple[str, ...] = ()
    irreversible: bool = False
    description: Annotated[str, Meta(max_length=10_000)] = ""

    @property
    def without_way_back(self) -> tuple[str, ...]:
        """The agents whose state cannot be brought back."""
        return tuple(
            role for role, each in sorted(self.migrations.items()) if isinstance(each, Migration) and not each.down
        )

    def declares(self, *, agent: str, path: str, symbol: str, before: str, after: str) -> bool:
        """Whether a difference in a decision is meant, see `Change`."""
        return any(
            change.covers(agent=agent, path=path, symbol=symbol, before=before, after=after)
            for change in self.changes
        )


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


class Environment(msgspec.Struct, frozen=True):
    """What a release would run on.

    Attributes:
        ark: The version of ARK.
        message_schema: That of the messages that pass between agents.
        version_of: The version of an installed distribution; None where it is not installed.
    """

    ark: str = ark.__version__
    message_schema: int = MESSAGE_SCHEMA
    version_of: Callable[[str], str | None] = _installed


def fields_of(text: bytes, where: str = "ark-release.toml") -> dict[str, Any]:
    """What a developer's `ark-release.toml` says.

    Raises:
        ReleaseError: It is no TOML, or says what is not for it to say.
    """
    try:
        tree = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReleaseError(f"{where} is no TOML: {error}", field=where) from error
    for key in ("format", "irreversible"):
        if key in tree:
            raise ReleaseError(
                f"{where}: {key} cannot be set here",
                hint="--irreversible is said by whoever builds" if key == "irreversible" else "leave it out",
                field=key,
            )
    return tree


def declare(tree: Mapping[str, Any], where: str = "the options", *, irreversible: bool = False) -> Manifest:
    """A manifest from its fields, of which `ark` and `message_schema` stand for what is running where absent.

    Args:
        tree: The fields.
        where: Where they come from, for errors.
        irreversible: Whether an agent may have no way back.

    Raises:
        ReleaseError: They are wrong; the error names the field.
    """
    said = {"message_schema": MESSAGE_SCHEMA, "ark": _this_line_of_ark(), **tree, "format": 1}
    if isinstance(said.get("requires"), list):
        said["requires"] = sorted(set(map(str, said["requires"])))
    manifest = _convert(said, where)
    stranded = manifest.without_way_back
    if stranded and not irreversible:
        raise ReleaseError(
            f"{where}: migrations.{stranded[0]} has no way down: after a rollback its state could not be read",
            hint='add down = "module:function", or say --irreversible',
            field=f"migrations.{stranded[0]}.down",
        )
    return msgspec.structs.replace(manifest, irreversible=bool(stranded))


def parse(text: bytes, where: str = "manifest.json") -> Manifest:
    """A manifest as it stands in a release.

    Raises:
        ReleaseError: It is wrong; the error names the field.
    """
    try:
        tree = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReleaseError(f"{where} is no JSON: {error}", field=where) from error
    return _convert(tree, where)


def encode(manifest: Manifest) -> bytes:
    """The bytes of `manifest.json`; equal for equal manifests."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted")) + b"\n"


def check_against_code(manifest: Manifest, code: Mapping[str, File]) -> None:
    """Look whether the code has what the manifest names. Nothing of it is run.

    Args:
        manifest: What is promised.
        code: The files, relative to the folder `code`.

    Raises:
        ReleaseError: A module is missing, is no Python, or has no such name.
    """
    named = {f"agents.{role}": place for role, place in manifest.agents.items()}
    for role, migration in manifest.migrations.items():
        if isinstance(migration, Migration):
            named[f"migrations.{role}.up"] = migration.up
            named |= {f"migrations.{role}.down": migration.down} if migration.down else {}
    for field, place in sorted(named.items()):
        module, _, name = place.partition(":")
        stem = module.replace(".", "/")
        path = next((each for each in (f"{stem}.py", f"{stem}/__init__.py") if each in code), None)
        if path is None:
            raise ReleaseError(
                f"{field} is {place}, but the release has no module {module}: there is neither {stem}.py nor"
                f" {stem}/__init__.py",
                hint="modules are looked for below the folder that is released",
                field=field,
            )
        try:
            names = _names(ast.parse(code[path].content, path))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ReleaseError(f"{path} is no Python: {error or 'it is nested too deeply'}", field=field) from error
        if name not in names and "*" not in names:
            near = difflib.get_close_matches(name, names, 1, 0.5)
            raise ReleaseError(
                f"{field} is {place}, but {path} defines no {name}"
                + (f"; did you mean {near[0]!r}?" if near else ""),
                field=field,
            )


def unmet(manifest: Manifest, environment: Environment) -> tuple[ReleaseError, ...]:
    """What keeps a release from running here: messages, ARK, distributions.

    A release runs where messages have its own version or the next one: whoever changes them keeps what was there
    one version before readable, so that a release and its ARK need not change at the same moment. A release that
    is ahead is refused: nobody here can read what it would write.
    """
    found = []
    running, asked = environment.message_schema, manifest.message_schema
    if not running - 1 <= asked <= running:
        found.append(
            ReleaseError(
                f"its messages have version {asked}, and here agents speak {running}"
                + (f" and understand {running - 1}" if running > 1 else ""),
                hint="upgrade ARK first" if asked > running else "build the release for this ARK",
                field="message_schema",
            )
        )
    if not SpecifierSet(manifest.ark).contains(environment.ark, prereleases=True):
        found.append(
            ReleaseError(f"it is for ARK {manifest.ark}, and this is {environment.ark}", hint="", field="ark")
        )
    for each in map(Requirement, manifest.requires):
        if each.marker is not None and not each.marker.evaluate({"extra": ""}):
            continue
        version = environment.version_of(each.name)
        if version is None or not each.specifier.contains(version, prereleases=True):
            what = "is not installed" if version is None else f"is installed in version {version}"
            found.append(
                ReleaseError(
                    f"it requires {each}, and {each.name} {what}",
                    hint=f"python -m pip install '{each}' in this environment; a release brings no distributions",
                    field="requires",
                )
            )
    return tuple(found)


def _convert(tree: object, where: str) -> Manifest:
    try:
        manifest = msgspec.convert(tree, Manifest)
    except msgspec.ValidationError as error:
        raise _explain(str(error), where) from None
    for role in sorted(manifest.agents.keys() - manifest.migrations.keys()):
        raise ReleaseError(
            f"{where}: migrations.{role} is missing",
            hint=f'write {role} = "{RESTART}" where its journals are all that it needs, otherwise up and down',
            field=f"migrations.{role}",
        )
    for role in sorted(manifest.migrations.keys() - manifest.agents.keys()):
        raise ReleaseError(f"{where}: migrations.{role}: there is no agents.{role}", field=f"migrations.{role}")
    for number, change in enumerate(manifest.changes):
        if change.agent not in manifest.agents:
            field = f"changes.{number}.agent"
            raise ReleaseError(f"{where}: {field}: there is no agents.{change.agent}", field=field)
    try:
        SpecifierSet(manifest.ark)
    except InvalidSpecifier as error:
        raise ReleaseError(f"{where}: ark: {error}", hint='such as ">=0.1,<0.2"', field="ark") from None
    for number, text in enumerate(manifest.requires):
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            reason = str(error).splitlines()[0]
            raise ReleaseError(
                f"{where}: requires.{number}: {text!r}: {reason}", field=f"requires.{number}"
            ) from None
        if requirement.url:
            raise ReleaseError(
                f"{where}: requires.{number}: {text!r} names an address",
                hint="name the distribution and its versions",
                field=f"requires.{number}",
            )
        if canonicalize_name(requirement.name) == "ark-runtime":
            raise ReleaseError(
                f"{where}: requires.{number}: which ARK it runs on is said by `ark`",
                hint=f'ark = "{requirement.specifier}"',
                field=f"requires.{number}",
            )
    return manifest


def _explain(message: str, where: str) -> ReleaseError:
    """Turn msgspec's words into ours: the field's name, and the nearest known one for an unknown key."""
    text, _, place = message.partition(" - at ")
    field = re.sub(r"^\$\.?", "", place.strip("`"))
    field = re.sub(r"\[(\d+)\]", r".\1", field).replace("[...]", ".*")
    missing = re.search(r"missing required field `(.*?)`", text)
    unknown = re.search(r"unknown field `(.*?)`", text)
    if missing:
        name = ".".join(filter(None, (field, missing[1])))
        return ReleaseError(f"{where}: {name} is missing", field=name)
    if unknown:
        name = ".".join(filter(None, (field, unknown[1])))
        kind = Change if field.startswith("changes") else Migration if field.startswith("migrations") else Manifest
        near = difflib.get_close_matches(unknown[1], kind.__struct_fields__, 1, 0.4)
        known = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(kind.__struct_fields__)}"
        return ReleaseError(f"{where}: unknown key {name!r}; {known}", field=name)
    return ReleaseError(f"{where}: {field or 'the manifest'}: {text}", field=field or None)


def _names(tree: ast.Module) -> set[str]:
    """What a module binds at its top, also under `if` and `try`; `*` where it takes over somebody else's names."""
    names: set[str] = set()
    todo: list[ast.AST] = [*tree.body]
    while todo:
        node = todo.pop()
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                names.add(node.name)
            case ast.Import() | ast.ImportFrom():
                names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
            case ast.Name(ctx=ast.Store()):
                names.add(node.id)
            case _:
                todo += ast.iter_child_nodes(node)
    return names


def _this_line_of_ark() -> str:
    """The versions of ARK that promise to be like this one."""
    major, minor = (int(each) for each in ark.__version__.split(".")[:2])
    return f">={major}.{minor},<{major}.{minor + 1}" if major == 0 else f">={major}.{minor},<{major + 1}"
