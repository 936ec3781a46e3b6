"""The rule book notices what was changed in it, in its files and in memory."""

from __future__ import annotations

import re
import shutil
import stat
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import graveyard
from graveyard import ethics, facts, rules, seal
from graveyard.seal import digest, files, memory_faults, modes, write_protect


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the package, as git checks it out, with a seal."""
    copy = tmp_path / "graveyard"
    shutil.copytree(seal.FOLDER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for path in copy.iterdir():
        path.chmod(0o644)
    (copy / "seal.json").write_text("{}")
    (copy / "seal.json").chmod(0o644)
    return copy


@contextmanager
def changed(holder: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute that is another for a while, also of what is frozen."""
    change = object.__setattr__ if isinstance(holder, rules.Rule | rules.Limits) else setattr
    before = getattr(holder, name)
    change(holder, name, value)
    try:
        yield
    finally:
        change(holder, name, before)


def position_size() -> rules.Rule:
    return rules.rule("max_position_size")


# The files


def test_the_digest_is_of_the_content_and_not_of_the_place(folder: Path) -> None:
    assert digest(folder) == digest()


@pytest.mark.parametrize("path", sorted(seal.FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_any_byte_of_any_file_changes_the_digest(path: Path, folder: Path) -> None:
    with open(folder / path.name, "ab") as file:
        file.write(b" ")

    assert digest(folder) != digest()
    assert {name for name, each in files(folder).items() if each != files()[name]} == {path.name}


def test_a_file_that_comes_or_goes_changes_the_digest(folder: Path) -> None:
    (folder / "more.py").write_text("")
    assert digest(folder) != digest()

    (folder / "more.py").unlink()
    (folder / "facts.py").unlink()
    assert digest(folder) != digest()


def test_what_is_no_python_file_does_not(folder: Path) -> None:
    (folder / "notes.txt").write_text("hello")
    (folder / "seal.json").write_text("[]")

    assert digest(folder) == digest()


def test_rules_changed_in_memory_change_the_digest() -> None:
    sealed = digest()

    with changed(position_size(), "severity", "LOW"):
        assert digest() != sealed


def test_a_file_that_can_be_written_is_named_with_its_mode(folder: Path) -> None:
    write_protect(folder)
    assert modes(folder) == ()

    (folder / "rules.py").chmod(0o464)

    assert modes(folder) == ("graveyard/rules.py has mode 0464 and can be written",)


def test_write_protection_covers_the_seal_and_takes_nothing_else(folder: Path) -> None:
    (folder / "rules.py").chmod(0o754)
    (folder / "seal.json").chmod(0o666)

    write_protect(folder)

    assert stat.S_IMODE((folder / "rules.py").stat().st_mode) == 0o554
    assert stat.S_IMODE((folder / "seal.json").stat().st_mode) == 0o444
    assert modes(folder) == ()


# The memory


def other_judge(*args: Any, **kwargs: Any) -> ethics.Judgement:
    return ethics.Judgement((), ("everything",))


def same_code_elsewhere() -> FunctionType:
    here = {**vars(ethics), "RULES": ()}
    return FunctionType(ethics.judge.__code__, here, "judge", ethics.judge.__defaults__, ethics.judge.__closure__)


def without_a_check() -> Any:
    return ethics._CHECKS[1:]


def with_another_check() -> Any:
    return ((ethics._CHECKS[0][0], lambda *args: None), *ethics._CHECKS[1:])


CHANGES: list[tuple[str, Callable[[], Any], str, Callable[[], Any], str]] = [
    (
        "a limit",
        lambda: rules.CEILINGS, "max_position_size", lambda: 5,
        "graveyard.rules.CEILINGS.max_position_size is 5, the sealed source says 0.10",
    ),
    (
        "a limit by less than a percent",
        lambda: rules.CEILINGS, "max_leverage", lambda: Decimal("2.01"),
        "graveyard.rules.CEILINGS.max_leverage is 2.01, the sealed source says 2.0",
    ),
    ("a rule's value", position_size, "value", lambda: Decimal("0.5"), "].value is 0.5, the sealed source"),
    ("whether a rule denies", position_size, "denies", lambda: False, "].denies is False, the sealed"),
    ("the judge", lambda: ethics, "judge", lambda: other_judge, "graveyard.ethics.judge is another function"),
    (
        "the judge that is imported",
        lambda: graveyard, "judge", lambda: other_judge, "graveyard.judge is not graveyard.ethics.judge",
    ),
    (
        "the judge's code",
        lambda: ethics.judge, "__code__", lambda: other_judge.__code__, "ethics.judge is another function",
    ),
    ("the judge's names", lambda: ethics, "judge", same_code_elsewhere, "it looks up its names elsewhere"),
    (
        "a check",
        lambda: ethics, "_CHECKS", with_another_check, "ethics._CHECKS[0][1] is not graveyard.ethics._check",
    ),
    ("the number of checks", lambda: ethics, "_CHECKS", without_a_check, "graveyard.ethics._CHECKS has "),
    ("a property", lambda: ethics.Judgement, "approved", lambda: property(lambda self: True), "Judgement.approved"),
    ("a method", lambda: rules.Limits, "__post_init__", lambda: lambda self: None, "rules.Limits.__post_init__"),
    ("a class", lambda: facts, "Unknown", lambda: type("Unknown", (Exception,), {}), "graveyard.facts.Unknown"),
    ("a constant", lambda: facts, "LARGEST", lambda: Decimal("1e99"), "graveyard.facts.LARGEST is 1E+99"),
    ("a constant where it is imported", lambda: ethics, "RULES", lambda: rules.RULES[:-1], "ethics.RULES has "),
    ("the order of rules", lambda: rules, "RULES", lambda: rules.RULES[::-1], "graveyard.rules.RULES[0]"),
    ("how exact it counts", lambda: ethics._EXACT, "prec", lambda: 3, "graveyard.ethics._EXACT.prec is 3"),
    ("a class of the standard library", lambda: ethics, "Decimal", lambda: float, "graveyard.ethics.Decimal"),
    ("how it looks for changes", lambda: seal, "memory_faults", lambda: lambda: (), "graveyard.seal.memory_faults"),
]  # fmt: skip


def test_what_is_loaded_is_what_the_sources_say() -> None:
    assert memory_faults() == ()


def test_judging_leaves_no_trace() -> None:
    action = facts.Action("trade", "AAPL", "buy", "market", *[Decimal(10) / 3] * 5)
    account = facts.Account(Decimal(1), Decimal(1), {}, Decimal(0))

    assert not ethics.judge(action, account, facts.Facts(halted=True)).approved

    assert memory_faults() == ()


@pytest.mark.parametrize(
    ("holder", "name", "value", "fault"), [each[1:] for each in CHANGES], ids=[c[0] for c in CHANGES]
)
def test_a_change_in_memory_is_named(
    holder: Callable[[], Any], name: str, value: Callable[[], Any], fault: str
) -> None:
    look = seal.memory_faults

    with changed(holder(), name, value()):
        found = look()

    assert any(fault in each for each in found), found
    assert memory_faults() == ()


def test_a_default_that_was_changed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stricter = rules.Limits(max_leverage=Decimal(1))
    monkeypatch.setattr(ethics.judge, "__defaults__", (stricter,))

    (fault,) = memory_faults()
    assert fault.endswith("max_leverage is 1, the sealed source says 2.0")


def test_a_name_that_was_added_or_taken_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ethics, "abs", lambda value: Decimal(0), raising=False)
    monkeypatch.delattr(facts, "LARGEST")

    found = memory_faults()

    assert "graveyard.ethics.abs was added, it is not in the sealed source" in found
    assert "graveyard.facts.LARGEST is missing, it is in the sealed source" in found


def test_built_in_functions_of_its_own_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(ethics), "__builtins__", {**__import__("builtins").__dict__, "abs": lambda value: 0})

    assert "graveyard.ethics has built-in functions of its own" in memory_faults()


def test_a_reader_is_not_drowned_in_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name, each in vars(ethics).items() if isinstance(each, FunctionType)]:
        monkeypatch.setattr(ethics, name, other_judge)
    monkeypatch.setattr(facts, "__all__", [])
    monkeypatch.setattr(rules, "__all__", [])

    found = memory_faults()
    assert len(found) == 6
    assert re.fullmatch(r"the memory differs in \d+ more places", found[-1])


def test_looking_again_is_cheap() -> None:
    memory_faults()

    assert min(timeit.repeat(memory_faults, number=1, repeat=20)) < 0.05
