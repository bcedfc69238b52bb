"""A manifest, its split and its quarantine to counts of what an archive holds."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radmae_jax.command import said
from radmae_jax.data.manifest import Manifest, quarantine_path, read_manifest, read_with_facts
from radmae_jax.data.separation import PatientNumbers, patient_numbers
from radmae_jax.data.splits import MAX_CLASSES, SIDES, Split, read_split

_COLUMNS = ("view", "laterality", "scanner", "modality", "bits", "photometric", "syntax")  # beside the region
_SYNTAXES = {  # DICOM PS3.6, table A-1
    "1.2.840.10008.1.2": "implicit little endian, uncompressed",
    "1.2.840.10008.1.2.1": "explicit little endian, uncompressed",
    "1.2.840.10008.1.2.1.99": "deflated explicit little endian",
    "1.2.840.10008.1.2.2": "explicit big endian, uncompressed",
    "1.2.840.10008.1.2.4.50": "JPEG baseline, lossy",
    "1.2.840.10008.1.2.4.51": "JPEG extended, lossy",
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless, first-order",
    "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.110": "JPEG XL lossless",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.4.201": "HTJ2K lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K lossless, by resolution",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
    "1.2.840.10008.1.2.5": "run-length encoded",
}


@dataclass(frozen=True)
class Counted:
    """How often each value of a column occurs, most often first."""

    name: str
    values: list[tuple[str, int]]
    unknown: int


@dataclass(frozen=True)
class Labelled:
    """How many images of each class each side has."""

    name: str
    classes: list[tuple[str, tuple[int, ...]]]  # in the order of their codes; images by side, or in all without a split
    unknown: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Facts:
    """What an archive holds."""

    name: str  # of the manifest's file
    manifest: Manifest
    split: Split | None
    patients: int
    numbers: PatientNumbers  # how many images have none: studies or files are then counted as patients
    studies: int
    region: Counted
    columns: list[Counted]  # those of which anything is known
    labels: list[Labelled]
    many_valued: list[str]  # label columns of too many values to show
    sides: list[tuple[str, int, int]]  # name, images, patients; empty without a split
    repeated: int  # images whose pixels an earlier image has
    quarantine: list[tuple[str, int]] | None  # reason and files; None where there is no such file
    problems: list[str]


def read_facts(path: Path, split_path: Path) -> Facts:
    """Counts an archive. Errors: ValueError for a file that is no manifest; a split that is refused is a problem."""
    manifest = read_manifest(path)
    problems: list[str] = []
    split = _split(split_path, manifest, problems)
    columns = [_counted(manifest, name) for name in _COLUMNS]
    few = [name for name in ("region", *manifest.label_columns) if len(manifest.label_names(name)) <= MAX_CLASSES]
    pixels = [pixel_hash for pixel_hash in manifest.pixel_hashes if pixel_hash is not None]
    return Facts(
        name=path.name,
        manifest=manifest,
        split=split,
        patients=len(set(manifest.patients)),
        numbers=patient_numbers(manifest, split),
        studies=len(set(manifest.table["study"].to_pylist())),
        region=_counted(manifest, "region"),
        columns=[column for column in columns if column.values],
        labels=[_labelled(manifest, split, name) for name in few if manifest.label_names(name)],
        many_valued=[name for name in manifest.label_columns if name not in few],
        sides=_sides(manifest, split),
        repeated=len(pixels) - len(set(pixels)),
        quarantine=_quarantine(path, problems),
        problems=problems,
    )


def _split(path: Path, manifest: Manifest, problems: list[str]) -> Split | None:
    """A split that was made before; never made here."""
    try:
        return read_split(path, manifest)
    except FileNotFoundError:
        return None
    except ValueError as error:
        problems.append(said(error, path))
        return None


def _counted(manifest: Manifest, name: str) -> Counted:
    values = manifest.table[name].to_pylist()
    counts = Counter(str(value) for value in values if value not in (None, ""))
    if name == "syntax":
        counts = Counter({_SYNTAXES.get(value, value): count for value, count in counts.items()})
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return Counted(name, ordered, len(values) - sum(counts.values()))


def _labelled(manifest: Manifest, split: Split | None, name: str) -> Labelled:
    codes = manifest.labels(name)
    groups = [codes[split.records(side)] for side in SIDES] if split else [codes]
    classes = manifest.label_names(name)
    table = np.array([np.bincount(group + 1, minlength=len(classes) + 1) for group in groups]).T.tolist()
    return Labelled(name, [(n, tuple(row)) for n, row in zip(classes, table[1:], strict=True)], tuple(table[0]))


def _sides(manifest: Manifest, split: Split | None) -> list[tuple[str, int, int]]:
    if split is None:
        return []
    records = {side: split.records(side) for side in SIDES}
    return [(side, len(rows), len({manifest.patients[row] for row in rows})) for side, rows in records.items()]


def _quarantine(path: Path, problems: list[str]) -> list[tuple[str, int]] | None:
    listed = quarantine_path(path)
    if not listed.is_file():
        return None
    try:
        table, _ = read_with_facts(listed)
        counts = Counter(map(str, table["reason"].to_pylist()))
    except (ValueError, KeyError, OSError) as error:
        problems.append(f"{listed.name} cannot be read: {type(error).__name__}")
        return None
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
