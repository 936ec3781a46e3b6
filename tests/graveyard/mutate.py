"""Whether the tables would notice: the checks are made wrong in one place at a time, and judged by the cases.

Usage: python -m tests.graveyard.mutate [--every N]
"""

from __future__ import annotations

import argparse
import ast
import inspect
import itertools
import signal
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from graveyard import canaries, ethics
from tests.graveyard import test_facts, test_governance, test_people, test_risk, test_trading
from tests.graveyard.cases import DATA, LONG, NAMES, Case, Judge, triple

TABLES = (test_governance, test_risk, test_trading, test_people, test_facts)
CASES: tuple[Case, ...] = tuple(case for table in TABLES for case in table.CASES)
SOURCE = inspect.getsource(ethics)
FLIPPED: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.And: (ast.Or,), ast.Or: (ast.And,),
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Add,), ast.Div: (ast.Mult,),
}  # fmt: skip
"""Each operator, and what it is mistaken for."""
VALUES = ("ZERO", "_ONE", "_EXACT", "PASS")
"""What stands in the module outside of functions and classes, and is judged with."""
WORDS = {"breach": "pass", "ask": "pass", "pass": "breach", "unknown": "pass"}
LONGEST_S = 10.0
"""Judging all cases takes well below a second of the processor's time."""
NO_CLAIM = "any number up to the bound stands for no claim"
FAST = "the long way round comes to the same"
SYMBOLS = "every letter that a symbol may have is an ASCII one"
FEWER = "three pairs are six fills; the test before only saves time"
EQUIVALENT = {
    "module: _EXACT = Context(prec=200, traps=[InvalidOperation]): 200 as 201": "more digits than any number has",
    "module: _EXACT = Context(prec=200, traps=[InvalidOperation]): 200 as 199": "more digits than any number has",
    "Finding: @dataclass(frozen=True, slots=True): slots": "slots only save memory",
    "Statement: @dataclass(frozen=True, slots=True): slots": "slots only save memory",
    "Judgement: @dataclass(frozen=True, slots=True): slots": "slots only save memory",
    '_check_person: leverage, claimed = number("leverage", action.leverage), ZERO: ZERO larger': NO_CLAIM,
    '_check_person: leverage, claimed = number("leverage", action.leverage), ZERO: ZERO smaller': NO_CLAIM,
    "_asked: return quantity * (price if price >= market else market): GtE as Gt": "both are the same then",
    "_check_watchdog: if age_s <= LONGEST_SILENCE_S and not telling:: LtE as Lt": FAST,
    "_check_watchdog: if age_s <= LONGEST_SILENCE_S and not telling:: LONGEST_SILENCE_S smaller": FAST,
    "_check_override: if age_s <= LONGEST_SILENCE_S and not telling:: LtE as Lt": FAST,
    "_check_override: if age_s <= LONGEST_SILENCE_S and not telling:: LONGEST_SILENCE_S smaller": FAST,
    "_check_approval: if not (isinstance(symbol, str) and symbol and symbol.isascii() and set(symbol)"
    " <= _SYMBOL):: without symbol.isascii()": SYMBOLS,
    "_check_loops: if repeats < MOST_REPEATS and not telling:: MOST_REPEATS smaller": FAST,
    "_check_manipulation: if len(recent) >= WASH_PAIRS:: GtE as Gt": FEWER,
    "_check_manipulation: if len(recent) >= WASH_PAIRS:: WASH_PAIRS larger": FEWER,
    "_check_manipulation: if len(recent) >= WASH_PAIRS:: WASH_PAIRS smaller": FEWER,
}
"""Mutants that judge no differently, and why."""


@dataclass(frozen=True)
class Mutant:
    """One mistake.

    Attributes:
        name: The function, the line's text and the mistake.
        place: The number of the node that is mistaken.
        change: What changes or replaces it.
    """

    name: str
    place: int
    change: Callable[[Any], Any]

    def tree(self) -> ast.Module:
        """The module with the mistake in it."""
        changed = ast.parse(SOURCE)
        node = next(itertools.islice(_places(changed), self.place, None))[0]
        other = self.change(node)
        if isinstance(other, ast.AST):
            changed = _Replacing(node, other).visit(changed)
        return ast.fix_missing_locations(changed)

    def judge(self) -> Judge:
        """The judge that makes the mistake.

        Raises:
            Exception: The module cannot be run.
        """
        module = types.ModuleType("mutant")
        sys.modules["mutant"] = module  # a dataclass looks for its module there
        try:
            exec(compile(self.tree(), "<mutant>", "exec"), module.__dict__)
        finally:
            del sys.modules["mutant"]
        judge: Judge = module.__dict__["judge"]
        return judge

    def survives(self) -> bool:
        """Whether no table and no canary notices. Only for the main thread, for which the system keeps the time."""
        before = signal.signal(signal.SIGVTALRM, _out_of_time)
        signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST_S)
        try:
            judge = self.judge()
            return not complaint(judge)
        except (Exception, Endless):  # noqa: BLE001 - a judge that raises, or never ends, was noticed
            return False
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)


class Endless(BaseException):
    """A mutant goes round in a circle; no `Exception`, for the judge itself takes those."""


def _out_of_time(*_: object) -> None:
    raise Endless


def complaint(judge: Judge) -> str:
    """The first thing that the canaries or the tables find wrong with a judge; empty for nothing.

    Raises:
        Exception: Whatever the judge raises.
    """
    found = canaries.failing(judge)
    if found:
        return found[0]
    for case in CASES:
        if wrong := case.complaint(judge):
            return wrong
    return _shape(judge)


def _shape(judge: Judge) -> str:
    """What is wrong with a judgement as a value."""
    for base in (LONG, DATA):
        judgement = judge(*triple(base, live=None if base is DATA else True))
        told = judge(*triple(base), telling=True)
        if judgement.statements or [each.rule.name for each in told.statements] != list(NAMES):
            return "a statement for each rule, where that is asked for, and only there"
        if any(each.word != "pass" or not each.text for each in told.statements):
            return "what passes says so"
        trades_only = [each.rule.name for each in told.statements if each.text == "it concerns trades only"]
        if bool(trades_only) == (base is LONG):
            return "a rule says that it does not concern an action that it does concern, or the other way round"
    odd = judge(*triple(client_orders=(1,)), telling=True)
    if [each.word for each in odd.statements if each.rule.name == "no_front_running"] != ["unknown"]:
        return "what cannot be judged is unknown"
    denied = judge(*triple(halted=True, seal_fault=None), telling=True)
    if [each.word for each in denied.statements[:3]] != ["unknown", "pass", "breach"]:
        return "the words of the statements"
    for thing, name in ((denied, "findings"), (denied.findings[0], "denies"), (denied.statements[0], "word")):
        try:
            setattr(thing, name, ())
        except AttributeError:
            continue
        return f"{name} can be assigned"
    return ""


def mutants() -> Iterator[Mutant]:
    """Every mistake, one at a time."""
    lines = SOURCE.splitlines()
    for number, (node, where) in enumerate(_places(ast.parse(SOURCE))):
        text = lines[node.lineno - 1].strip() if hasattr(node, "lineno") else ""
        for mistake, change in _mistakes(node):
            yield Mutant(f"{where}: {text}: {mistake}", number, change)


def _places(tree: ast.Module) -> Iterator[tuple[Any, str]]:
    """Every node in a function or a class where a mistake can be made, with the name of that."""
    for top in tree.body:
        name = getattr(top, "name", "")
        if name or (isinstance(top, ast.Assign) and ast.unparse(top.targets[0]) in VALUES):
            hidden = {id(part) for each in ast.walk(top) for part in _hidden(each)}
            for node in ast.walk(top):
                if id(node) not in hidden:
                    yield node, name or "module"


def _hidden(node: ast.AST) -> Iterator[ast.AST]:
    """What is no place of its own: the type of an attribute, and the value of a named argument that is a truth."""
    if isinstance(node, ast.AnnAssign):
        yield from ast.walk(node.annotation)
    elif isinstance(node, ast.keyword) and _is_truth(node.value):
        yield node.value


def _is_truth(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is bool


def _mistakes(node: Any) -> Iterator[tuple[str, Any]]:
    """What can be got wrong about a node: in words, and what changes or replaces a copy of the node."""
    if isinstance(node, ast.Compare):
        for at, operator in enumerate(node.ops):
            for other in FLIPPED.get(type(operator), ()):
                yield _said(operator, other), _setting("ops", at, other)
    elif isinstance(node, ast.BoolOp | ast.BinOp):
        for other in FLIPPED.get(type(node.op), ()):
            yield _said(node.op, other), lambda copied, other=other: setattr(copied, "op", other())
        if isinstance(node, ast.BoolOp):
            for at in range(len(node.values)):
                yield f"without {ast.unparse(node.values[at])}", lambda copied, at=at: copied.values.__delitem__(at)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "without not", lambda copied: setattr(copied, "operand", ast.UnaryOp(ast.Not(), copied.operand))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "without minus", lambda copied: setattr(copied, "op", ast.UAdd())
    elif isinstance(node, ast.keyword) and _is_truth(node.value):
        yield f"{node.arg}", lambda copied: setattr(copied.value, "value", not copied.value.value)
    elif _is_truth(node):
        yield f"{not node.value}", lambda copied: setattr(copied, "value", not copied.value)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        for step in (1, -1):
            yield (
                f"{node.value} as {node.value + step}",
                lambda copied, step=step: setattr(copied, "value", copied.value + step),
            )
    elif isinstance(node, ast.Constant) and node.value in WORDS:
        yield f"{node.value} as {WORDS[node.value]}", lambda copied: setattr(copied, "value", WORDS[copied.value])
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and _is_limit(node.id):
        for more in (True, False):
            yield f"{node.id} {'larger' if more else 'smaller'}", lambda copied, more=more: _wrong(copied.id, more)
    elif isinstance(node, ast.If):
        for at, statement in enumerate(node.body):
            if isinstance(statement, ast.Raise):
                yield "without raise", lambda copied, at=at: copied.body.__setitem__(at, ast.Pass())
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("max", "abs"):
        if node.func.id == "max":
            for at in range(len(node.args)):
                yield f"max without {ast.unparse(node.args[at])}", lambda copied, at=at: _shorten(copied, at)
        else:
            yield "without abs", lambda copied: setattr(copied, "func", ast.Name("Decimal", ast.Load()))


def _shorten(call: ast.Call, at: int) -> None:
    call.args.pop(at)
    if len(call.args) == 1:
        call.func = ast.Name("Decimal", ast.Load())


class _Replacing(ast.NodeTransformer):
    """One node replaced by another."""

    def __init__(self, node: ast.AST, other: ast.AST) -> None:
        self.node, self.other = node, other

    def visit(self, node: ast.AST) -> Any:
        return self.other if node is self.node else super().visit(node)


def _said(one: ast.AST, other: type[ast.AST]) -> str:
    return f"{type(one).__name__} as {other.__name__}"


def _setting(field: str, at: int, other: type[ast.AST]) -> Any:
    return lambda copied: getattr(copied, field).__setitem__(at, other())


def _is_limit(name: str) -> bool:
    """Whether a name is one of the constants of `rules`, and a number."""
    return name.isupper() and type(getattr(ethics, name, None)) in (int, float, Decimal)


def _wrong(name: str, more: bool) -> ast.expr:
    """A number that is a hundredth larger, or smaller; but a count is one more, or one less."""
    value: Any = getattr(ethics, name)
    if type(value) is int:
        text = repr(value + (1 if more else -1))
    elif type(value) is float:
        text = repr(value * (1.01 if more else 0.99))
    else:
        step = abs(value) / 100 or Decimal("0.01")
        text = f"Decimal({str(value + step if more else value - step)!r})"
    return ast.parse(text, mode="eval").body


def main() -> None:
    """Print the score, and what survives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only one mutant in so many (1)")
    every = parser.parse_args().every
    tried, surviving = 0, []
    for number, mutant in enumerate(mutants()):
        if number % every:
            continue
        tried += 1
        if mutant.survives():
            surviving.append(mutant.name)
    equivalent = [name for name in surviving if name in EQUIVALENT]
    for name in surviving:
        print(f"survives: {name}" + (f" (equivalent: {EQUIVALENT[name]})" if name in EQUIVALENT else ""))
    real = tried - len(equivalent)
    killed = tried - len(surviving)
    print(f"{killed} of {real} killed: {killed / real:.1%}; {len(equivalent)} more judge no differently")


if __name__ == "__main__":
    main()
