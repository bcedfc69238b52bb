"""Reads a labels CSV and joins its rows to the images of an archive by path, name, stem, SOP instance or study."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from radmae_jax.data.identifying import holds_uids, identifies, mostly_distinct
from radmae_jax.data.identity import instance_key, patient_key, study_key
from radmae_jax.data.label_keys import HASHED, KEYS, PATH, LabelKey, key_column, key_of_cell, key_of_image
from radmae_jax.data.label_values import check_identifiers, check_labels
from radmae_jax.data.manifest import COLUMNS
from radmae_jax.data.near_misses import propose
from radmae_jax.data.tables import Table, find_column, is_no_identifier, is_unknown, read_table, simple
from radmae_jax.data.wording import counted

OVERRIDES = ("region", "view", "patient", "study")  # manifest columns that a labels file may replace
IDENTITY = ("patient", "study")  # of them, those that are hashed; their names are found in any case
_UID = re.compile(r"[0-9]+(\.[0-9]+){3,}$")


@dataclass(frozen=True)
class Labels:
    """A labels file. `patient` and `study` hold keyed hashes, never what the file says; so do keys that identify."""

    name: str  # of the file
    kind: str  # of the key, see label_keys.KEYS
    columns: tuple[str, ...]
    keys: list[str] = field(repr=False)  # of each row, to compare with an image's
    cells: list[str] = field(repr=False)  # as the file has them
    lines: list[int] = field(repr=False)
    rows: list[dict[str, str]] = field(repr=False)  # by column; "" where unknown
    ignored: tuple[str, ...]  # columns that become no labels
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Joined:
    """Columns of texts or None, in the manifest's row order, and what found no partner."""

    columns: dict[str, list[str | None]]
    unmatched: list[int]  # rows of the labels file without an image
    without: list[int]  # images without a row


def read_labels(path: Path, salt: bytes, key: LabelKey = PATH) -> Labels:
    """Reads a CSV of labels: one column holds the key, every other column is a label.

    Values stay texts; those of tables.UNKNOWN are unknown. Columns named region or view replace what DICOM says;
    patient and study replace its identity (for PNG and JPEG archives) and are hashed like it, without an issuer.
    Columns of what the index measures, and of identifiers under other names, are ignored.

    Raises:
      ValueError: naming file, line, column and value: as `read_table` and `key_column`; an unknown key, a key that two
        rows have (two rows of one study may agree), two texts of one number in a column.
    """
    table = read_table(path.read_bytes(), path.name)
    keyed_by = key_column(table.columns, key, f"{table.name} line 1")
    table.refuse_empty()
    cells = table.column(keyed_by)
    keys = _keys(table, cells, key.kind, keyed_by, salt)
    names = _names_of(table.columns, keyed_by)
    ignored, remarks = _ignored(table, keyed_by, names)
    columns = {name: names[name] for name in table.columns if name in names and name not in ignored}
    values: dict[str, list[str]] = {}
    for column, name in columns.items():
        texts = table.column(column)
        if name in IDENTITY:
            remarks += check_identifiers(table, column)
            values[name] = ["" if is_no_identifier(text) else _identity(name, text, salt) for text in texts]
            if not any(values[name]):
                remarks.append(f"column {column!r} has no known value and replaces nothing")
        else:
            remarks += check_labels(table, column)
            values[name] = ["" if is_unknown(text) else text for text in texts]
            if name not in OVERRIDES and mostly_distinct(values[name]):
                remarks.append(
                    f"column {column!r} has {len(set(values[name]) - {''}):,} values in {len(texts):,} rows: it may "
                    "identify images or people, and enters the manifest as it is"
                )
    rows = [{name: column[row] for name, column in values.items()} for row in range(len(keys))]
    kept = _of_studies(table, keys, rows) if key.kind == "study" else list(range(len(keys)))
    if len(kept) < len(keys):
        remarks.append(
            f"{counted(len(keys) - len(kept), 'row repeats', 'rows repeat')} the study and labels of another"
        )
        keys, rows = [keys[row] for row in kept], [rows[row] for row in kept]
    return Labels(
        table.name, key.kind, tuple(values), keys, [cells[row] for row in kept], [table.lines[row] for row in kept],
        rows, (*table.ignored, *ignored),
        (*table.remarks, *remarks),
    )  # fmt: skip


def join_labels(labels: Labels, images: Sequence[str | None]) -> Joined:
    """One column of texts a label, in the order of the images; None where an image has no row or an unknown value.

    Args:
      images: what each image is found by, see `image_keys`; None for one that has no such key.

    Raises:
      ValueError: where a row's name or stem is that of several images.
    """
    place = {key: row for row, key in enumerate(labels.keys)}
    row_of = [place.get(key, -1) if key is not None else -1 for key in images]
    found: dict[int, int] = {}
    for row in row_of:
        if row >= 0:
            found[row] = found.get(row, 0) + 1
    several = sorted(row for row, count in found.items() if count > 1) if labels.kind in ("name", "stem") else []
    if several:
        first = several[0]
        raise ValueError(
            f"{labels.name} line {labels.lines[first]}: {found[first]:,} images have the {labels.kind} "
            f"{labels.keys[first]!r}; {len(several):,} rows are ambiguous like it and could mean "
            f"{sum(found[row] for row in several):,} images: --label-key path tells them apart"
        )
    columns: dict[str, list[str | None]] = {
        name: [labels.rows[row][name] or None if row >= 0 else None for row in row_of] for name in labels.columns
    }
    unmatched = [row for row in range(len(labels.keys)) if row not in found]
    return Joined(columns, unmatched, [image for image, row in enumerate(row_of) if row < 0])


def image_keys(
    kind: str, paths: Sequence[str], studies: Sequence[str | None] = (), instances: Sequence[str | None] = ()
) -> list[str | None]:
    """What each image is found by: its path, a part of it, or the keyed hash of its study or SOP instance."""
    if kind in HASHED:
        return list(studies if kind == "study" else instances)
    return [key_of_image(kind, path) for path in paths]


def near_misses(labels: Labels, rows: Sequence[int], paths: Sequence[str], sources: Sequence[str] = ()) -> list[str]:
    """Proposals for rows that match no image, in words; none for keys that are hashed."""
    if labels.kind in HASHED or not rows:
        return []
    return [str(one) for one in propose(labels.kind, [labels.cells[row] for row in rows], paths, sources)]


def refuse_no_match(labels: Labels, paths: Sequence[str], sources: Sequence[str] = (), of: str = "images") -> None:
    """Raises ValueError, with proposals, where the keys are texts and no row's is that of one of these files."""
    there = set(image_keys(labels.kind, paths))
    if labels.kind in HASHED or any(key in there for key in labels.keys):
        return
    proposals = near_misses(labels, range(len(labels.keys)), paths, sources)
    if sum(bool(_UID.match(cell)) for cell in labels.cells) > len(labels.cells) // 2:
        proposals.append("most of them look like UIDs of DICOM: --label-key sop_uid or --label-key study")
    example = f"; the first {of.rstrip('s')} is {key_of_image(labels.kind, paths[0])!r}" if paths else ""
    raise ValueError(
        f"{labels.name}: none of {len(labels.keys):,} rows matches one of {len(paths):,} {of} by {labels.kind}; line "
        f"{labels.lines[0]} has {labels.cells[0]!r}{example}" + "".join(f"\n  {text}" for text in proposals)
    )


def other_keys(
    labels: Labels, paths: Sequence[str], studies: Sequence[str | None], instances: Sequence[str | None], salt: bytes
) -> list[str]:
    """By which other keys rows would match, in words, where their own is an identifier."""
    lines = []
    for kind in (kind for kind in KEYS if kind != labels.kind):
        there = set(image_keys(kind, paths, studies, instances)) - {None}
        rows = sum(_comparable(kind, cell, salt) in there for cell in labels.cells)
        if rows:
            lines.append(f"{rows:,} rows would match by another key: --label-key {kind}=COLUMN")
    return lines


def _comparable(kind: str, cell: str, salt: bytes) -> str:
    if kind in HASHED:
        return study_key(cell, salt) if kind == "study" else instance_key(cell, salt)
    return key_of_cell(kind, cell)


def _identity(name: str, text: str, salt: bytes) -> str:
    return study_key(text, salt) if name == "study" else patient_key("", text, salt)


def _keys(table: Table, cells: list[str], kind: str, column: str, salt: bytes) -> list[str]:
    keys: list[str] = []
    first: dict[str, int] = {}
    for row, cell in enumerate(cells):
        if is_unknown(cell):
            raise ValueError(f"{table.where(row)}: column {column!r} is {cell!r}, which names no image; remove the row")
        key = _comparable(kind, cell, salt)
        if first.setdefault(key, row) != row and kind != "study":
            raise ValueError(f"{table.where(row)}: its {kind} was given before, on line {table.lines[first[key]]}")
        keys.append(key)
    return keys


def _of_studies(table: Table, keys: list[str], rows: list[dict[str, str]]) -> list[int]:
    """The first row of each study; ValueError where another row of it has other labels."""
    first: dict[str, int] = {}
    for row, key in enumerate(keys):
        before = first.setdefault(key, row)
        different = [name for name, value in rows[row].items() if value != rows[before][name]]
        if different:
            raise ValueError(
                f"{table.where(row)}: its study was given before, on line {table.lines[before]}, with another value in "
                f"column {different[0]!r}. One row labels all images of a study: keep one row of each study, or name "
                "the images (--label-key sop_uid, path, name or stem)"
            )
    return list(first.values())


def _names_of(columns: tuple[str, ...], keyed_by: str) -> dict[str, str]:
    """The manifest's name of each column besides the key; patient and study in any case."""
    names = {column: column for column in columns if column != keyed_by}
    for name in IDENTITY:
        for column in find_column(tuple(names), (name,)):
            names[column] = name
    taken = list(names.values())
    for name in IDENTITY:
        if taken.count(name) > 1:
            raise ValueError(f"columns {', '.join(c for c in names if names[c] == name)} would all be the {name}")
    return names


def _ignored(table: Table, keyed_by: str, names: dict[str, str]) -> tuple[tuple[str, ...], list[str]]:
    """Columns that become no labels, and remarks on those whose user may have meant something."""
    measured = [column for column, name in names.items() if name in COLUMNS.names and name not in OVERRIDES]
    remarks, identifiers = [], []
    for column, name in names.items():
        what = None if name in COLUMNS.names else identifies(column)
        if what is not None:
            identifiers.append(column)
            use = f"; name it {what!r} to use it as the {what}" if what and what not in names.values() else ""
            if use or simple(column) != simple(keyed_by):
                remarks.append(f"column {column!r} identifies people or images and becomes no label{use}")
        elif name not in IDENTITY and holds_uids(table.column(column)):
            identifiers.append(column)
            remarks.append(f"column {column!r} has UIDs, as DICOM has, and becomes no label")
    return tuple(column for column in names if column in measured or column in identifiers), remarks
