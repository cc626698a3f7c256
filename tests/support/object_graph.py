"""What an object consists of, as plain values by their places: two objects built alike can be compared.

`facts(root)` walks attributes, slots, items, closures and bound methods. Objects of the `opaque` types are not entered:
what stands only in them has not reached anybody.
"""

import functools
import types
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

_PLAIN = (str, bytes, int, float, bool, type(None))
_DEEPEST = 40


def facts(root, opaque):
    """The plain values below `root`, by place."""
    found = {}
    seen = set()

    def walk(value, place, depth):
        if isinstance(value, Enum | Path):
            value = str(value)
        if isinstance(value, _PLAIN):
            found[place] = value
            return
        if id(value) in seen or depth > _DEEPEST or isinstance(value, (*opaque, type, types.ModuleType)):
            return
        seen.add(id(value))
        for name, part in _parts(value):
            walk(part, f"{place}.{name}", depth + 1)

    walk(root, "", 0)
    return found


def _parts(value):
    if isinstance(value, Mapping):
        yield from ((_name(key, position), part) for position, (key, part) in enumerate(value.items()))
    elif isinstance(value, tuple | list):
        yield from enumerate(value)
    elif isinstance(value, set | frozenset):
        yield from enumerate(sorted(value, key=repr))
    elif isinstance(value, types.MethodType):
        yield "self", value.__self__
        yield "function", value.__func__
    elif isinstance(value, types.FunctionType):
        yield from _of_a_function(value)
    elif isinstance(value, functools.partial):
        yield from (("func", value.func), ("args", value.args), ("keywords", value.keywords))
    elif type(value).__module__.split(".")[0] in {"authz", "types", "subprocess", "socketserver", "logging"}:
        slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
        names = [*getattr(value, "__dict__", {}), *(name for name in slots if isinstance(name, str))]
        for name in names:
            try:
                yield name, getattr(value, name)
            except AttributeError:
                continue


def _name(key, position):
    """A key's own name where it has one that does not hang on where objects lie in memory."""
    if isinstance(key, tuple):
        return tuple(_name(part, position) for part in key)
    return str(key) if isinstance(key, (*_PLAIN, Enum, Path)) else position


def _of_a_function(function):
    names = function.__code__.co_freevars
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not yet bound
            continue
    yield "defaults", function.__defaults__
    yield "keywords", function.__kwdefaults__
