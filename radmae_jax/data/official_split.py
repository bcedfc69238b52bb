"""Takes a split that others published, from a column of the manifest or a CSV, and refuses one that leaks."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radmae_jax.data.identifying import PATIENT_NAMES, STUDY_NAMES
from radmae_jax.data.identity import patient_key, study_key
from radmae_jax.data.label_file import image_keys
from radmae_jax.data.label_keys import KEYS, LabelKey, key_column, key_of_cell
from radmae_jax.data.label_values import check_identifiers
from radmae_jax.data.manifest import Manifest
from radmae_jax.data.near_misses import propose
from radmae_jax.data.separation import patient_numbers, unknown_of
from radmae_jax.data.splits import SIDES, LeakageError, Split, split_hash
from radmae_jax.data.tables import find_column, is_no_identifier, is_unknown, read_table, simple
from radmae_jax.data.wording import counted

# Values that name a split; case, spaces, "_" and "-" make no difference.
VALUES: dict[str, tuple[str, ...]] = {
    "train": ("train", "training", "trn", "tr", "train set", "training set"),
    "validation": (
        "validation", "valid", "validate", "val", "dev", "tune", "tuning", "validation set", "valid set", "val set",
    ),
    "test": ("test", "testing", "tst", "te", "holdout", "heldout", "test set"),
}  # fmt: skip
FILE_KEYS = ("path", "name", "stem", "patient", "study")
_USUAL = {"patient": ("patient", *PATIENT_NAMES), "study": (*KEYS["study"], *STUDY_NAMES)}
_SHOWN = 12  # values that a message lists


@dataclass(frozen=True)
class Taken:
    """How an official split covered the images of a manifest."""

    images: int  # that have a value
    by_patient: int  # images without one, whose patient's other images decide
    unmatched_rows: int = 0  # of a file, without an image
    first_unmatched: int = 0  # the line of the first of them
    unused: tuple[str, ...] = ()  # values of --map that nothing has
    remarks: tuple[str, ...] = ()
    proposals: tuple[str, ...] = ()  # for rows that match no image; they name files


@dataclass(frozen=True)
class SplitValues:
    """The value of each image, None where there is none, and where the values are from."""

    values: list[str | None]
    origin: str
    unmatched_rows: int = 0
    first_unmatched: int = 0
    remarks: tuple[str, ...] = ()
    proposals: tuple[str, ...] = ()
    file: str = ""  # its name; empty for a label column
    lines: tuple[int, ...] = ()  # of a file: where each image has its value from, 0 for none

    def where(self, record: int | None = None) -> str:
        """The place of an image's value, or of all values, for messages."""
        place = self.origin.replace("file, ", f"{self.file}, ") if self.file else self.origin
        if record is None:
            return place
        return (
            f"{place} line {self.lines[record]}" if self.lines and self.lines[record] else f"{place}, record {record}"
        )


def parse_map(pairs: Sequence[str]) -> dict[str, str]:
    """The values of --map, VALUE=SPLIT each, by value in lower case.

    Raises:
      ValueError: for one that is no such pair, another split than train, validation and test, or a value twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        value, equals, split = pair.rpartition("=")
        value, side = value.strip().casefold(), _usual(split)
        if not equals or not value or side is None:
            raise ValueError(f"--map {pair}: expected VALUE=SPLIT, where SPLIT is one of {', '.join(SIDES)}")
        if found.setdefault(value, side) != side:
            raise ValueError(f"--map {pair}: {value!r} is mapped to {found[value]} before")
    return found


def from_column(manifest: Manifest, column: str) -> SplitValues:
    """The values of a label column. Raises ValueError for one that the manifest does not have."""
    manifest.label_names(column)
    values = manifest.table[column].to_pylist()
    return SplitValues([None if v is None or is_unknown(v) else v for v in values], f"column {column}")


def from_file(
    manifest: Manifest, path: Path, key: LabelKey, column: str = "", salt: bytes | None = None
) -> SplitValues:
    """The values of a CSV, for the images that its rows name.

    Args:
      key: one of FILE_KEYS; several rows of one key must agree.
      column: that holds the values; empty: the one named split.
      salt: of the manifest, for patients and studies.

    Raises:
      ValueError: as `read_table` and `key_column`; for an unknown key, rows that disagree, a name or stem of several
        images, or a file no row of which matches an image.
    """
    table = read_table(path.read_bytes(), path.name)
    where = f"{table.name} line 1"
    keyed_by = key_column(table.columns, key, where, _USUAL.get(key.kind, ()))
    held_by = _held_by(table.columns, column, where)
    table.refuse_empty()
    cells, texts = table.column(keyed_by), table.column(held_by)
    hashed = key.kind in ("patient", "study")
    remarks = check_identifiers(table, keyed_by) if hashed else []
    values: dict[str, str] = {}
    first: dict[str, int] = {}
    for row, (cell, text) in enumerate(zip(cells, texts, strict=True)):
        if (is_no_identifier if hashed else is_unknown)(cell):
            raise ValueError(
                f"{table.where(row)}: column {keyed_by!r} is {cell!r}, which names no image; remove the row"
            )
        name = _keyed(key.kind, cell, salt)
        if is_unknown(text):
            continue
        before = first.setdefault(name, row)
        if values.setdefault(name, text).casefold() != text.casefold():
            error = LeakageError if hashed else ValueError
            raise error(
                f"{table.where(row)}: split {text!r}, and line {table.lines[before]} has {values[name]!r} for the same "
                f"{key.kind}"
            )
    images = (
        manifest.patients
        if key.kind == "patient"
        else image_keys(key.kind, manifest.paths, manifest.table["study"].to_pylist())
    )
    there = Counter(images)
    _refuse_ambiguous(key.kind, [name for name in values if there[name] > 1], there, table.lines, first, table.name)
    unmatched = [row for name, row in first.items() if not there[name]]
    proposals = (
        ()
        if hashed or not unmatched
        else tuple(
            str(one)
            for one in propose(key.kind, [cells[row] for row in unmatched], manifest.paths, [str(manifest.source)])
        )
    )
    if len(unmatched) == len(first):
        listed = "".join(f"\n  {text}" for text in proposals)
        salted = "; patients are keyed by the salt and, in DICOM, by the issuer of the number" if hashed else ""
        raise ValueError(
            f"{table.name}: none of {len(table.rows):,} rows matches one of {len(manifest):,} images by {key.kind}"
            f"{salted}{listed}"
        )
    return SplitValues(
        [values.get(name) if name is not None else None for name in images], f"file, column {held_by}", len(unmatched),
        table.lines[min(unmatched)] if unmatched else 0, (*table.remarks, *remarks), proposals, table.name,
        tuple(table.lines[first[name]] if name in first else 0 for name in images),
    )  # fmt: skip


def official_split(manifest: Manifest, found: SplitValues, mapped: dict[str, str]) -> tuple[Split, Taken]:
    """The split that values name.

    An image without a value takes that of its patient's other images.

    Args:
      mapped: splits of values that VALUES does not have, or that mean another split here; by value in lower case.

    Raises:
      ValueError: for values that name no split, with their counts; images without a value whose patient has none.
      LeakageError: where a patient, or equal pixels, are in two splits.
    """
    if len(manifest) == 0:
        raise ValueError("the manifest has no images, nothing to split")
    values = [None if value is None else value.strip() for value in found.values]
    strange = Counter(v for v in values if v is not None and mapped.get(v.casefold(), _usual(v)) is None)
    if strange:
        listed = ", ".join(f"{value!r} ({counted(count, 'image')})" for value, count in strange.most_common(_SHOWN))
        more = f" and {len(strange) - _SHOWN:,} more" if len(strange) > _SHOWN else ""
        at = next(r for r, v in enumerate(values) if v in strange)
        raise ValueError(
            f"{found.where(at)}: {counted(len(strange), 'value names', 'values name')} no split: {listed}{more}; "
            f"--map VALUE=SPLIT says which of {', '.join(SIDES)} each is"
        )
    sides = np.array([-1 if v is None else SIDES.index(mapped.get(v.casefold()) or _usual(v) or "") for v in values])
    assigned = _of_patients(manifest, sides, found)
    without = [record for record in np.flatnonzero(sides < 0).tolist() if manifest.patients[record] not in assigned]
    if without:
        raise ValueError(
            f"{found.where()}: {len(without):,} of {len(manifest):,} images have no value, nor has another image of "
            f"their patient; the first is record {without[0]} (`radmae index MANIFEST --show {without[0]}` names it)"
        )
    by_patient = int((sides < 0).sum())
    sides = np.array([SIDES.index(assigned[patient]) for patient in manifest.patients], np.int8)
    _refuse_pixels(manifest, sides, found)
    if not (sides == 0).any():
        raise ValueError(f"{found.where()}: no image is in the training split")
    counts = Counter(assigned.values())
    fractions = tuple(counts[side] / len(assigned) for side in SIDES)
    digest = split_hash(assigned, 0, fractions, found.origin)
    have = {value.casefold() for value in values if value is not None}
    taken = Taken(
        len(manifest) - by_patient, by_patient, found.unmatched_rows, found.first_unmatched,
        tuple(sorted(set(mapped) - have)), found.remarks, found.proposals,
    )  # fmt: skip
    return Split(sides, assigned, 0, fractions, manifest.hash, digest, found.origin), taken


def _held_by(columns: tuple[str, ...], column: str, where: str) -> str:
    """The column that holds the splits: the one named, else `split`."""
    if column in columns:
        return column
    found = find_column(columns, (column or "split",))
    if len(found) == 1:
        return found[0]
    named = f"--from-column {column}: " if column else ""
    hint = "" if column else "; --from-column NAME names the column that holds the splits"
    several = f"{len(found)} columns" if found else "no column"
    raise ValueError(f"{named}{where}: {several} named {column or 'split'}; the columns are {', '.join(columns)}{hint}")


def _usual(value: str) -> str | None:
    """The split that a value names by itself."""
    text = simple(value)
    return next((side for side, names in VALUES.items() if text in map(simple, names)), None)


def _keyed(kind: str, cell: str, salt: bytes | None) -> str:
    if kind not in ("patient", "study"):
        return key_of_cell(kind, cell)
    assert salt is not None
    return patient_key("", cell, salt) if kind == "patient" else study_key(cell, salt)


def _refuse_ambiguous(
    kind: str, names: list[str], there: Counter[str | None], lines: list[int], first: dict[str, int], file: str
) -> None:
    if kind in ("name", "stem") and names:
        row = min(first[name] for name in names)
        name = min(names, key=lambda name: first[name])
        raise ValueError(
            f"{file} line {lines[row]}: {there[name]:,} images have the {kind} {name!r}; {len(names):,} rows are "
            "ambiguous like it: --label-key path tells them apart"
        )


def _of_patients(manifest: Manifest, sides: np.ndarray, values: SplitValues) -> dict[str, str]:
    """The split of every patient of whom an image has one."""
    found: dict[str, set[int]] = defaultdict(set)
    for patient, side in zip(manifest.patients, sides.tolist(), strict=True):
        if side >= 0:
            found[patient].add(side)
    straddling = {patient for patient, of in found.items() if len(of) > 1}
    if straddling:
        images = sum(patient in straddling for patient in manifest.patients)
        at = next(r for r, p in enumerate(manifest.patients) if p in straddling)
        raise LeakageError(
            f"{values.where()}: {len(straddling):,} of {counted(len(found), 'patient')} are in two splits, with "
            f"{counted(images, 'image')}, the first is {values.where(at).removeprefix(values.where()).lstrip(', ')}: a "
            "model would be tested on patients it was trained on"
        )
    return {patient: SIDES[of.pop()] for patient, of in found.items()}


def _refuse_pixels(manifest: Manifest, sides: np.ndarray, values: SplitValues) -> None:
    where: dict[str, set[int]] = defaultdict(set)
    for pixels, side in zip(manifest.pixel_hashes, sides.tolist(), strict=True):
        if pixels is not None:
            where[pixels].add(side)
    straddling = {pixels for pixels, of in where.items() if len(of) > 1}
    if straddling:
        records = [record for record, pixels in enumerate(manifest.pixel_hashes) if pixels in straddling]
        people = len({manifest.patients[record] for record in records})
        unknown = unknown_of(patient_numbers(manifest))
        raise LeakageError(
            f"{values.where()}: {counted(len(straddling), 'image has', 'images have')} copies with equal "
            f"pixels in two splits: {len(records):,} images of {people:,} patients, the first is record {records[0]}"
            + (f"; besides, {unknown}" if unknown else "")
        )
