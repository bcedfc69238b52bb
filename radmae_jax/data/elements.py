"""Turns one element of a parsed DICOM header into plain texts and numbers, whatever state it is in."""

import math

from pydicom.dataset import Dataset

from radmae_jax.data.codecs import ImageError


def values_of(dataset: Dataset, keyword: str) -> list[str]:
    """All values of an element as texts, [] where it is absent or malformed."""
    try:
        value = dataset[keyword].value if keyword in dataset else None
    except Exception:  # conversion of a malformed value raises about anything in pydicom
        return []
    if value is None or value == "":
        return []
    many = [value] if isinstance(value, str | bytes | int | float) else list(value)
    return [str(v).strip() for v in many]


def text_of(dataset: Dataset, keyword: str, limit: int = 64) -> str:
    """The first value, spaces and control characters collapsed, cut to `limit` characters (0: not cut)."""
    values = values_of(dataset, keyword)
    text = " ".join("".join(c if c.isprintable() else " " for c in values[0]).split()) if values else ""
    return text[:limit] if limit else text


def number_of(dataset: Dataset, keyword: str) -> float | None:
    values = values_of(dataset, keyword)
    try:
        number = float(values[0]) if values else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def whole_of(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    number = number_of(dataset, keyword)
    if number is None and (default is None or values_of(dataset, keyword)):
        raise ImageError("unreadable", f"{keyword} missing or malformed")
    return int(default or 0) if number is None else int(number)
