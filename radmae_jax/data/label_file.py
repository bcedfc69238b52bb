"""Turns a labels CSV into columns for the rows of a manifest, matched by path."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from radmae_jax.data.identity import patient_key, study_key
from radmae_jax.data.manifest import COLUMNS

OVERRIDES = ("region", "view", "patient", "study")  # manifest columns that a labels file may replace


@dataclass(frozen=True)
class Labels:
    """A labels file: texts by path. `patient` and `study` hold keys, never what the file says."""

    columns: tuple[str, ...]
    rows: dict[str, dict[str, str]]
    ignored: tuple[str, ...]  # columns named like the manifest's own, which are measured, not believed


@dataclass(frozen=True)
class Joined:
    """Columns of texts or None, in the manifest's row order, and what found no partner."""

    columns: dict[str, list[str | None]]
    rows_unmatched: int
    images_without: int


def read_labels(path: Path, salt: bytes) -> Labels:
    """A CSV with a header and a `path` column, relative to the source; every other column is a label.

    Values stay texts, "" is unknown. Columns named region or view replace what DICOM says; patient and study
    replace its identity (for PNG and JPEG archives) and are hashed like it, without an issuer.
    Errors: ValueError naming the line: no path column, a column or a path twice, cells missing or left over.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        names = [name.strip() for name in next(reader, [])]
        if "path" not in names:
            raise ValueError(f"{path.name} line 1: no column named path among {len(names)} columns")
        if len(set(names)) < len(names) or "" in names:
            raise ValueError(f"{path.name} line 1: column names are empty or not distinct")
        ignored = tuple(n for n in names if n in COLUMNS.names and n not in (*OVERRIDES, "path"))
        kept = tuple(name for name in names if name != "path" and name not in ignored)
        rows: dict[str, dict[str, str]] = {}
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(names):
                raise ValueError(f"{path.name} line {reader.line_num}: {len(cells)} cells, expected {len(names)}")
            row = dict(zip(names, (cell.strip() for cell in cells), strict=True))
            key = row["path"].replace("\\", "/").removeprefix("./")
            if key in rows:
                raise ValueError(f"{path.name} line {reader.line_num}: its path was given before")
            rows[key] = {name: row[name] for name in kept}
            if row.get("patient"):
                rows[key]["patient"] = patient_key("", row["patient"], salt)
            if row.get("study"):
                rows[key]["study"] = study_key(row["study"], salt)
    return Labels(kept, rows, ignored)


def join_labels(labels: Labels, paths: Sequence[str]) -> Joined:
    """One column of texts a label, in the order of `paths`; None where a path has no row or an empty cell."""
    columns: dict[str, list[str | None]] = {
        name: [labels.rows[path][name] or None if path in labels.rows else None for path in paths]
        for name in labels.columns
    }
    there = set(paths)
    unmatched = sum(path not in there for path in labels.rows)
    return Joined(columns, unmatched, sum(path not in labels.rows for path in paths))
