"""JSON files of other programs to settings of checked types; errors name the file, the setting and the value."""

import json
from pathlib import Path
from typing import Any

from radmae_jax.convert.weights import ConvertError


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConvertError(f"{named(path)} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConvertError(f"{named(path)} is no JSON object")
    return content


def named(path: Path) -> str:
    """A file as errors name it: with its directory."""
    return f"{path.parent.name}/{path.name}"


def number(config: dict[str, Any], name: str, default: float, where: str) -> float:
    """A finite number."""
    value = config.get(name, default)
    if type(value) not in (int, float) or not abs(value) < 1e9:
        raise ConvertError(f"{where}: {name} is {value!r}; it must be a number")
    return float(value)


def numbers(config: dict[str, Any], name: str, default: tuple[float, ...], where: str) -> tuple[float, ...]:
    """A list of numbers."""
    value = config.get(name, list(default))
    if not isinstance(value, list) or not all(type(x) in (int, float) for x in value):
        raise ConvertError(f"{where}: {name} is {value!r}; it must be a list of numbers")
    return tuple(map(float, value))


def whole(config: dict[str, Any], name: str, where: str) -> int:
    """A whole number above 0, which must be there."""
    value = config.get(name)
    if type(value) is not int or value < 1:
        raise ConvertError(f"{where}: {name} is {value!r}; it must be a whole number above 0")
    return value


def section(config: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    """An object inside an object; empty where it is not there."""
    value = config.get(name, {})
    if not isinstance(value, dict):
        raise ConvertError(f"{where}: {name} is {value!r}; it must be an object")
    return value
