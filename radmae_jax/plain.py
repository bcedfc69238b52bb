"""Frozen dataclasses to plain nested values, as JSON and ConfigDicts hold them, and back, types checked."""

import dataclasses
import json
import typing
from typing import Any, TypeVar

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """Plain nested dictionaries, as config.json holds them (tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(cls: type[T], values: dict[str, Any], where: str = "config") -> T:
    """A dataclass from nested dictionaries; unknown keys and wrong types raise ValueError naming the field."""
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"{where}.{unknown[0]} is not a setting; {where} has: {', '.join(sorted(hints))}")
    chosen: dict[str, Any] = {}
    for name, value in values.items():
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, dict):
                raise ValueError(f"{where}.{name} is {value!r}; it must be an object")
            chosen[name] = from_dict(typing.cast(type, hint), value, f"{where}.{name}")
        elif typing.get_origin(hint) is tuple:
            chosen[name] = _tuple_of(typing.get_args(hint)[0], value, f"{where}.{name}")
        elif typing.get_origin(hint) is dict:
            of = typing.get_args(hint)[1]
            if not isinstance(value, dict) or not all(of is Any or type(item) is of for item in value.values()):
                raise ValueError(f"{where}.{name} is {value!r}; it must be an object of names to {of.__name__}")
            chosen[name] = value
        elif hint is float and type(value) in (int, float):
            chosen[name] = float(value)
        elif type(value) is hint:
            chosen[name] = value
        else:
            raise ValueError(f"{where}.{name} is {value!r}; it must be of type {hint.__name__}")
    return cls(**chosen)


def _tuple_of(of: Any, value: Any, where: str) -> tuple:
    """A tuple of whole numbers, of texts, or of tuples of texts."""
    plural = {int: "whole numbers", str: "texts"}.get(of, "tuples of texts")
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where} is {value!r}; it must be a tuple of {plural}")
    if typing.get_origin(of) is tuple:
        return tuple(_tuple_of(typing.get_args(of)[0], item, where) for item in value)
    if not all(type(item) is of for item in value):
        raise ValueError(f"{where} is {value!r}; it must be a tuple of {plural}")
    return tuple(value)


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Fields that differ, as `section.field: old -> new`."""
    found = []
    for name in (f.name for f in dataclasses.fields(old)):
        a, b = getattr(old, name), getattr(new, name)
        if dataclasses.is_dataclass(a):
            found += differences(a, b, f"{where}{name}.")
        elif a != b:
            found.append(f"{where}{name}: {a!r} -> {b!r}")
    return found


def short(value: Any) -> str:
    """A value as JSON, as an error shows it: at most 80 characters."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
