"""Figures, as nested dictionaries and lists, to JSON that every reader takes: what is not finite becomes null."""

import json
import math
from typing import Any


def to_json(figures: Any, indent: int | None = None) -> str:
    """Strict JSON; paths and other objects as their text."""
    return json.dumps(_finite(figures), indent=indent, default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
