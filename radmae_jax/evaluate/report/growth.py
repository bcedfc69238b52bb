"""Archives of one report that contain others, as one that grew does: every image is counted once."""

from collections import Counter
from functools import lru_cache
from typing import Any

from radmae_jax.data.manifest import Manifest
from radmae_jax.evaluate.report.archive import Facts
from radmae_jax.evaluate.report.gather import Run

_RECORD = ("patient", "study", "path", "height", "width")  # what names an image whose pixel hash is not known


def outermost(archives: list[Facts]) -> list[tuple[Facts, list[Facts]]]:
    """Archives that no other contains, in order, each with the smaller ones that it contains, the largest first.

    Of equal ones, which differ in their splits, the first stands for all.
    """
    inside: list[list[Facts]] = [[] for _ in archives]
    outer = []
    for at, facts in enumerate(archives):
        holder = _holder(at, archives)
        if holder is None:
            outer.append(at)
        elif len(facts.manifest) < len(archives[holder].manifest):
            inside[holder].append(facts)
    return [(archives[at], sorted(inside[at], key=lambda facts: -len(facts.manifest))) for at in outer]


def outer_of(facts: Facts, archives: list[Facts]) -> Facts | None:
    """The larger archive that contains this one, if there is one."""
    return next((outer for outer, inside in outermost(archives) if any(facts is one for one in inside)), None)


def totals(archives: list[Facts]) -> tuple[int, int]:
    """Images and patients of all archives, each counted once.

    An image is known by its pixels; of several with the same pixels, as many count as one archive has at most. A
    patient is known by a keyed hash, which is equal where archives were indexed with one salt.
    """
    images: Counter[Any] = Counter()
    patients: set[str] = set()
    for facts, _ in outermost(archives):
        images |= _images(facts.manifest)
        patients.update(facts.manifest.patients)
    return images.total(), len(patients)


def grown_from(runs: list[Run]) -> set[str]:
    """Hashes of the manifests that runs trained on before they were continued with another manifest."""
    found = set()
    for run in runs:
        record = run.continued
        while isinstance(record, dict) and record:
            found |= {str(c["before"]) for c in record.get("changes", ()) if c.get("field") == "manifest"}
            record = record.get("earlier")
    return found


def _holder(at: int, archives: list[Facts]) -> int | None:
    """The largest archive that contains another: strictly, or, of equal ones, the first; None where there is none."""
    own = archives[at].manifest
    holders = [
        other
        for other, facts in enumerate(archives)
        if other != at and _contains(facts.manifest, own) and (len(facts.manifest) > len(own) or other < at)
    ]
    return max(holders, key=lambda other: (len(archives[other].manifest), -other), default=None)


def _contains(outer: Manifest, inner: Manifest) -> bool:
    if len(inner) > len(outer):
        return False
    return _images(inner) <= _images(outer) or _records(inner) <= _records(outer)


@lru_cache(maxsize=16)
def _images(manifest: Manifest) -> Counter[Any]:
    if None not in manifest.pixel_hashes:
        return Counter(manifest.pixel_hashes)
    rows = zip(manifest.pixel_hashes, _rows(manifest), strict=True)
    return Counter(row if pixels is None else pixels for pixels, row in rows)


@lru_cache(maxsize=16)
def _records(manifest: Manifest) -> Counter[Any]:
    return Counter(_rows(manifest))


def _rows(manifest: Manifest) -> list[tuple[Any, ...]]:
    return list(zip(*(manifest.table[name].to_pylist() for name in _RECORD), strict=True))
