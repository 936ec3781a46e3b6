"""What a seal of the rule book has to know: its digest, what was changed in memory, and who may write its files.

Whether the digest was signed is asked elsewhere (`ark.seal`): this package stands on the standard library alone.

`memory_faults` compares the modules that are loaded with their own sources, read and run anew under private names.
It sees what the digest of the files cannot: a limit that was overwritten in memory, a check that was replaced, and
compiled code that never came from the sources. It does not see a change of Python itself, of the standard library,
or of this module; against the last, another process looks, too.
"""

from __future__ import annotations

import builtins
import hashlib
import json
import os
import stat
import sys
from collections.abc import Mapping
from decimal import Context, Decimal
from functools import lru_cache
from pathlib import Path
from types import FunctionType, MappingProxyType, MemberDescriptorType, ModuleType
from typing import Any

import graveyard.rules

__all__ = ["FOLDER", "SEAL", "digest", "files", "memory_faults", "modes", "write_protect"]

FOLDER = Path(__file__).parent
"""The package's folder."""
SEAL = "seal.json"
"""The name of the seal in it."""

_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_PACKAGE = "graveyard"
_PRIVATE = "_sealed_graveyard"
_MOST = 5
"""Nobody reads more differences than that; one edited line moves all code below it."""
_OF_IMPORT = frozenset(
    ("__builtins__", "__cached__", "__file__", "__loader__", "__name__", "__package__", "__path__", "__spec__")
)
"""What Python puts into every module by itself."""
_OF_CLASS = frozenset(("__dict__", "__module__", "__weakref__", "_abc_impl", "__msgspec_cache__"))
"""The same for classes, and what msgspec notes there when it first meets one."""
_WRAPPERS = ("__func__", "__wrapped__", "fget", "fset", "fdel", "__origin__", "__args__")
"""What methods in their wrappers, properties, cached functions and types with arguments are made of."""
_CONTEXT = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")
"""What a context of decimal arithmetic is made of, beside its traps."""
_PLAIN = frozenset((str, bytes, int, float, bool, Decimal, type(None)))

Sources = tuple[tuple[str, bytes], ...]


def digest(folder: Path = FOLDER) -> str:
    """SHA-256, in hexadecimal, over the rules in their canonical form and every Python file of the package.

    Args:
        folder: Where the files are.

    Raises:
        OSError: A file cannot be read.
    """
    content = {"rules": graveyard.rules.ruleset_digest(), "files": files(folder)}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def files(folder: Path = FOLDER) -> dict[str, str]:
    """SHA-256 of each Python file of the package, by its name.

    Raises:
        OSError: A file cannot be read.
    """
    return {name: hashlib.sha256(source).hexdigest() for name, source in _sources(folder)}


def modes(folder: Path = FOLDER) -> tuple[str, ...]:
    """The sealed files that somebody may write, each with its mode, in words.

    The bits are read, not tried: to root every file seems writable.

    Raises:
        OSError: A file is missing.
    """
    found = []
    for path in _paths(folder):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & _WRITE:
            found.append(f"{_PACKAGE}/{path.name} has mode {mode:04o} and can be written")
    return tuple(found)


def write_protect(folder: Path = FOLDER) -> None:
    """Take the write bits from the sealed files, as far as they belong to this user.

    Raises:
        OSError: A file is missing, or stands on a disk where modes cannot be changed.
    """
    for path in _paths(folder):
        status = path.stat()
        if status.st_mode & _WRITE and status.st_uid == os.geteuid():
            path.chmod(stat.S_IMODE(status.st_mode) & ~_WRITE)


def memory_faults() -> tuple[str, ...]:
    """What differs between the rule book in this process's memory and its source files, in words.

    Raises:
        OSError: A source file cannot be read.
        Exception: A source file does not run.
    """
    return _Comparison(_load(_sources(FOLDER))).faults()


def _paths(folder: Path) -> list[Path]:
    seal = folder / SEAL
    return [*sorted(folder.glob("*.py")), *([seal] if seal.exists() else ())]


def _sources(folder: Path) -> Sources:
    return tuple((path.name, path.read_bytes()) for path in sorted(folder.glob("*.py")))


@lru_cache(maxsize=1)
def _load(sources: Sources) -> dict[str, ModuleType]:
    """Run the sources as modules of their own, whose imports of one another lead to each other; by real name."""
    by_name = {_PACKAGE if name == "__init__.py" else f"{_PACKAGE}.{name[:-3]}": text for name, text in sources}
    modules: dict[str, ModuleType] = {}

    def load(name: str) -> ModuleType:
        if name in modules:
            return modules[name]
        module = modules[name] = ModuleType(_PRIVATE + name[len(_PACKAGE) :])
        loaded = sys.modules.get(name)
        file = getattr(loaded, "__file__", None) or f"{name}.py"
        vars(module).update(__file__=file, __builtins__={**vars(builtins), "__import__": bring})
        sys.modules[module.__name__] = module  # dataclasses look up the module of a class by its name
        exec(compile(by_name[name], file, "exec", dont_inherit=True), vars(module))
        modules[name] = modules.pop(name)  # what others import comes before them
        package, _, own = name.rpartition(".")
        if package:
            setattr(load(package), own, module)
        return module

    def bring(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if name.partition(".")[0] != _PACKAGE:
            return builtins.__import__(name, globals, locals, fromlist, level)
        module = load(name)
        for each in fromlist or ():
            if f"{name}.{each}" in by_name and not hasattr(module, each):
                load(f"{name}.{each}")
        return module if fromlist else load(_PACKAGE)

    try:
        for name in by_name:
            load(name)
    finally:
        for module in modules.values():
            sys.modules.pop(module.__name__, None)
    return modules


class _Absent:
    """Stands for a value that is not there."""


class _Comparison:
    """Goes through sealed and loaded objects side by side.

    What the sealed modules define, a function, a class, has exactly one twin among the loaded objects: the one of
    that name in the module that defines it. Wherever the sealed side has it, in another module or in a table, the
    loaded side must have that very twin.
    """

    def __init__(self, sealed: Mapping[str, ModuleType]) -> None:
        self._pairs = [(name, own, sys.modules[name]) for name, own in sealed.items() if name in sys.modules]
        self._twins: dict[int, tuple[str, Any]] = {}
        self._seen: set[tuple[int, int]] = set()
        self._globals: dict[int, dict[str, Any]] = {}
        self._faults: list[str] = []
        for name, own, loaded in self._pairs:
            self._twins[id(own)] = (name, loaded)
            self._globals[id(vars(own))] = vars(loaded)
        for name, own, loaded in self._pairs:
            for key, value in vars(own).items():
                if isinstance(value, type | FunctionType) and value.__module__ == own.__name__:
                    self._twins[id(value)] = (f"{name}.{key}", vars(loaded).get(key, _Absent))

    def faults(self) -> tuple[str, ...]:
        """The first differences, and how many more there are."""
        for name, own, loaded in self._pairs:
            if loaded.__builtins__ not in (builtins, vars(builtins)):
                self._faults.append(f"{name} has built-in functions of its own")
            unloaded = {
                key
                for key, value in vars(own).items()
                if type(value) is ModuleType and f"{name}.{key}" not in sys.modules
            }
            self._members(name, vars(own), vars(loaded), _OF_IMPORT | unloaded)
        more = len(self._faults) - _MOST
        return (*self._faults[:_MOST], *([f"the memory differs in {more} more places"] if more > 0 else ()))

    def _members(
        self, path: str, sealed: Mapping[str, Any], loaded: Mapping[str, Any], ignored: frozenset[str] = frozenset()
    ) -> None:
        for key in loaded:
            if key not in sealed and key not in ignored:
                self._faults.append(f"{path}.{key} was added, it is not in the sealed source")
        for key, value in sealed.items():
            if key in ignored:
                continue
            if key not in loaded:
                self._faults.append(f"{path}.{key} is missing, it is in the sealed source")
            elif value is not loaded[key]:
                self._value(f"{path}.{key}", value, loaded[key])

    def _value(self, path: str, sealed: Any, loaded: Any) -> None:
        if sealed is loaded:
            return  # the standard library's, or a value that Python keeps only once
        kind = type(sealed)
        if kind in _PLAIN:
            if type(loaded) is not kind or sealed != loaded or repr(sealed) != repr(loaded):
                self._is_another(path, sealed, loaded)
            return
        twin = self._twins.get(id(sealed))
        if twin is not None and loaded is not twin[1]:
            self._faults.append(f"{path} is not {twin[0]}")
            return
        pair = (id(sealed), id(loaded))
        if pair in self._seen:
            return
        self._seen.add(pair)
        wanted = self._twins.get(id(kind))
        if type(loaded) is not (wanted[1] if wanted else kind):
            self._is_another(path, sealed, loaded)
        elif isinstance(sealed, type):
            self._class(path, sealed, loaded)
        elif kind is FunctionType:
            self._function(path, sealed, loaded)
        elif kind is not ModuleType:
            self._data(path, sealed, loaded)
        elif twin is None:
            self._is_another(path, sealed, loaded)

    def _is_another(self, path: str, sealed: Any, loaded: Any) -> None:
        self._faults.append(f"{path} is {_show(loaded)}, the sealed source says {_show(sealed)}")

    def _class(self, path: str, sealed: type, loaded: type) -> None:
        if not sealed.__module__.startswith(_PRIVATE):
            self._is_another(path, sealed, loaded)
            return
        self._value(f"{path}.__bases__", sealed.__bases__, loaded.__bases__)
        self._members(path, vars(sealed), vars(loaded), _OF_CLASS)

    def _function(self, path: str, sealed: FunctionType, loaded: FunctionType) -> None:
        # Code objects compare by all that they do, constants and inner functions included, and by their lines.
        if sealed.__code__ != loaded.__code__:
            self._faults.append(f"{path} is another function, its code is not that of the sealed source")
            return
        if loaded.__globals__ is not self._globals.get(id(sealed.__globals__), sealed.__globals__):
            self._faults.append(f"{path} is another function, it looks up its names elsewhere")
        if sealed.__defaults__ is not loaded.__defaults__:
            self._value(f"{path}.__defaults__", sealed.__defaults__, loaded.__defaults__)
        if sealed.__kwdefaults__ is not loaded.__kwdefaults__:
            self._value(f"{path}.__kwdefaults__", sealed.__kwdefaults__, loaded.__kwdefaults__)
        if sealed.__dict__ or loaded.__dict__:
            self._members(path, sealed.__dict__, loaded.__dict__)
        cells = zip(sealed.__closure__ or (), loaded.__closure__ or (), strict=True)
        for name, (own, other) in zip(sealed.__code__.co_freevars, cells, strict=True):
            self._value(f"{path}.<{name}>", _inside(own), _inside(other))

    def _data(self, path: str, sealed: Any, loaded: Any) -> None:
        if isinstance(sealed, (dict, MappingProxyType)):
            self._sequence(f"{path}: key ", list(sealed), list(loaded))
            for key, own, other in zip(sealed, sealed.values(), loaded.values(), strict=False):
                self._value(f"{path}[{key!r}]", own, other)
        elif isinstance(sealed, (tuple, list)):
            self._sequence(path, sealed, loaded)
        elif isinstance(sealed, (set, frozenset)):
            self._sequence(path, sorted(sealed, key=repr), sorted(loaded, key=repr))
        elif type(sealed) is Context:
            self._members(path, _of_context(sealed), _of_context(loaded))
        else:
            self._object(path, sealed, loaded)

    def _object(self, path: str, sealed: Any, loaded: Any) -> None:
        kind: Any = type(sealed)
        is_told = False
        for name in _parts(kind):
            own, other = getattr(sealed, name, _Absent), getattr(loaded, name, _Absent)
            is_told = is_told or own is not _Absent
            if own is not other:
                self._value(f"{path}.{name}", own, other)
        if kind.__module__.startswith(_PRIVATE) and hasattr(sealed, "__dict__"):
            self._members(path, sealed.__dict__, loaded.__dict__)
        elif not is_told and repr(sealed) != repr(loaded):
            self._is_another(path, sealed, loaded)

    def _sequence(self, path: str, sealed: Any, loaded: Any) -> None:
        if len(sealed) != len(loaded):
            self._faults.append(f"{path} has {len(loaded)} entries, the sealed source has {len(sealed)}")
            return
        for number, (own, other) in enumerate(zip(sealed, loaded, strict=True)):
            if own is not other:
                self._value(f"{path}[{number}]", own, other)


def _inside(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a cell that nothing was put into yet
        return _Absent


def _of_context(context: Context) -> dict[str, Any]:
    """A context of decimal arithmetic without its flags, which are what the last calculation left behind."""
    return {**{name: getattr(context, name) for name in _CONTEXT}, "traps": dict(context.traps)}


@lru_cache(maxsize=256)
def _parts(kind: type) -> tuple[str, ...]:
    """The names under which objects of a class keep what they are made of; none where their `repr` tells it."""
    if issubclass(kind, Path | MemberDescriptorType):
        return ()
    found: list[str] = []
    for each in kind.__mro__:
        slots = vars(each).get("__slots__", ())
        found += (slots,) if isinstance(slots, str) else slots
    return tuple(name for name in found if name not in ("__dict__", "__weakref__")) or _WRAPPERS


def _show(value: Any) -> str:
    text = str(value) if isinstance(value, Decimal) else repr(value)
    text = text.replace(_PRIVATE, _PACKAGE)
    return text if len(text) <= 60 else f"{text[:57]}..."
