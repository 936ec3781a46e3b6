"""Manifests: an error names the field, and what is missing here is told with what to do."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import msgspec
import pytest

import ark
from actors import messages
from ark.message import MESSAGE_SCHEMA, Envelope
from deployment.content import File, ReleaseError
from deployment.manifest import Change, Environment, check_against_code, declare, encode, fields_of, parse, unmet

TREE: dict[str, Any] = {
    "name": "small",
    "version": "1.0",
    "agents": {"joey": "small:Small"},
    "migrations": {"joey": "restart"},
}
WAYS = {"joey": {"up": "small:up", "down": "small:down"}}


def test_what_is_not_said_is_what_runs() -> None:
    manifest = declare(TREE)

    assert manifest.message_schema == MESSAGE_SCHEMA
    assert unmet(manifest, Environment()) == ()
    assert parse(encode(manifest)) == manifest


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "Small Things"}, "name"),
        ({"name": 1}, "name"),
        ({"version": ""}, "version"),
        ({"agents": {}}, "agents"),
        ({"agents": {"joey": "small"}}, "agents.*"),
        ({"message_schema": 0}, "message_schema"),
        ({"migrations": {}}, "migrations.joey"),
        ({"migrations": {"joey": "restart", "hrm": "restart"}}, "migrations.hrm"),
        ({"migrations": {"joey": "stay"}}, "migrations.*"),
        ({"migrations": {"joey": {"down": "a:b"}}}, "migrations.*.up"),
        ({"ark": "about 1"}, "ark"),
        ({"requires": ["numpy >>2"]}, "requires.0"),
        ({"requires": ["x @ https://example.org/x.whl"]}, "requires.0"),
        ({"requires": ["ark-runtime>=0.1"]}, "requires.0"),
        ({"requires": "numpy"}, "requires"),
        ({"changes": [{"agent": "joey", "path": "a"}]}, "changes.0.why"),
        ({"changes": [{"agent": "hrm", "path": "a", "why": "b"}]}, "changes.0.agent"),
        ({"changes": [{"agent": "joey", "path": "a", "why": "b", "befor": "c"}]}, "changes.0.befor"),
        ({"agent": {}}, "agent"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ReleaseError) as caught:
        declare(TREE | change)

    assert caught.value.field == field
    assert field.split(".", maxsplit=1)[0] in caught.value.line


def test_an_unknown_key_names_the_nearest_known_one() -> None:
    with pytest.raises(ReleaseError, match="did you mean 'agents'"):
        declare(TREE | {"agent": {}})


def test_a_file_is_refused_that_is_no_toml_or_says_what_only_a_builder_may() -> None:
    for text, field in (
        (b"a = ", "ark-release.toml"),
        (b"irreversible = true", "irreversible"),
        (b"format = 1", "format"),
        (b"a=" + b"[" * 10_000, "ark-release.toml"),
    ):
        with pytest.raises(ReleaseError) as caught:
            fields_of(text)
        assert caught.value.field == field


def test_a_missing_way_back_must_be_said() -> None:
    stranded = TREE | {"migrations": {"joey": {"up": "small:up"}}}

    with pytest.raises(ReleaseError, match="--irreversible") as caught:
        declare(stranded)
    assert caught.value.field == "migrations.joey.down"

    assert declare(stranded, irreversible=True).irreversible
    assert not declare(TREE, irreversible=True).irreversible
    assert not declare(TREE | {"migrations": WAYS}).irreversible


@pytest.mark.parametrize(
    ("code", "field"),
    [
        ({}, "agents.joey"),
        ({"small.py": "class Smal: pass"}, "agents.joey"),
        ({"small.py": "class Small(: pass"}, "agents.joey"),
        ({"small.py": "class Small: pass\ndef up(): pass"}, "migrations.joey.down"),
        ({"small.py": "-" * 100_000 + "1"}, "agents.joey"),
        ({"small/__init__.py": "from x import Small, up, down"}, None),
        ({"small.py": "try:\n  from x import *\nexcept ImportError: raise"}, None),
        ({"small.py": "if True:\n  Small = up = down = None"}, None),
    ],
)
def test_what_the_manifest_names_must_be_in_the_code(code: dict[str, str], field: str | None) -> None:
    manifest = declare(TREE | {"migrations": WAYS})
    files = {path: File(text.encode()) for path, text in code.items()}

    if field is None:
        check_against_code(manifest, files)
        return
    with pytest.raises(ReleaseError) as caught:
        check_against_code(manifest, files)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("asked", "running", "fits"), [(1, 1, True), (1, 2, True), (1, 3, False), (2, 1, False), (3, 3, True)]
)
def test_messages_may_be_of_this_version_or_the_one_before(asked: int, running: int, fits: bool) -> None:
    found = unmet(declare(TREE | {"message_schema": asked}), Environment(message_schema=running))

    assert [fault.field for fault in found] == ([] if fits else ["message_schema"])


def test_distributions_are_checked_with_their_versions_and_markers() -> None:
    requires = ["msgspec>=0.1", "numpy>99", "nothing-like-it", 'never; python_version < "3"']
    found = unmet(declare(TREE | {"requires": requires}), Environment())

    assert [fault.message for fault in found] == [
        "it requires nothing-like-it, and nothing-like-it is not installed",
        f"it requires numpy>99, and numpy is installed in version {importlib.metadata.version('numpy')}",
    ]


def test_a_declared_change_covers_what_it_says_and_no_more() -> None:
    change = Change("joey", "fewer plans", "setup.*", before="0.6?", after=None, symbol="A*")
    seen = {"agent": "joey", "path": "setup.confidence", "symbol": "AAPL", "before": "0.66", "after": ""}
    manifest = declare(TREE | {"changes": [msgspec.to_builtins(change)]})

    assert manifest.declares(**seen)
    for wrong in ({"agent": "hrm"}, {"path": "plan"}, {"symbol": "MSFT"}, {"before": "0.70"}):
        assert not manifest.declares(**(seen | wrong))


def test_the_default_range_of_ark_is_the_line_that_runs() -> None:
    assert unmet(declare(TREE), Environment(ark=ark.__version__)) == ()
    assert [fault.field for fault in unmet(declare(TREE), Environment(ark="99.0"))] == ["ark"]


def test_messages_have_not_changed_without_a_new_version() -> None:
    """Fields may be added at the end, with a default; everything else needs a new `MESSAGE_SCHEMA`.

    When it is raised, write down the new names here, and test that the messages of the version before are read.
    """
    known = {
        Envelope: "kind trace_id symbol seq epoch attempt payload spans ruling",
        messages.Case: "signal refusal market setup decision approval execution",
    }

    assert MESSAGE_SCHEMA == 1
    for kind, names in known.items():
        fields = msgspec.structs.fields(kind)
        assert [field.name for field in fields][: len(names.split())] == names.split()
        assert kind.__struct_config__.array_like
        assert all(not field.required for field in fields[len(names.split()) :])
