"""Turns the index of an archive into one Parquet file and back: one row an image, sorted by path.

Paths live in this file, in the quarantine beside it and in the index's journal; all else names a record, that is a
row number.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA_VERSION = 2
PIXEL_HASH = 2  # version of images.hash_pixels: hashes of different versions cannot be compared
COLUMNS = pa.schema(
    [
        ("path", pa.string()),  # relative to the source, with forward slashes
        ("height", pa.int32()),  # pixels of the image as it is read, squared where the file's pixels are not square
        ("width", pa.int32()),
        ("patient", pa.string()),  # keyed hashes, see identity.py
        ("patient_source", pa.string()),  # what stands for the patient, see identity.PATIENT_SOURCES
        ("study", pa.string()),
        ("region", pa.string()),
        ("view", pa.string()),
        ("laterality", pa.string()),
        ("spacing_row", pa.float64()),  # mm between the file's rows, null unknown
        ("spacing_column", pa.float64()),
        ("pixel_aspect", pa.float64()),  # height of one of the file's pixels over its width; 1 is square
        ("bits", pa.int32()),  # stored
        ("photometric", pa.string()),
        ("syntax", pa.string()),  # transfer syntax UID, "png" or "jpeg"
        ("modality", pa.string()),
        ("scanner", pa.string()),
        ("lossy", pa.bool_()),
        ("flags", pa.string()),  # what is odd about the file and how it was read, see flags.FLAGS; null for nothing
        ("pixel_hash", pa.string()),  # of the stored values; null when only headers were read
    ]
)
QUARANTINE = pa.schema([("path", pa.string()), ("reason", pa.string()), ("detail", pa.string())])
CODED = ("region", "view", "laterality", "modality", "photometric", "scanner", "syntax")  # besides the labels


@dataclass(frozen=True, eq=False)
class Manifest:
    """An archive of N images; a record is a row. `source` is the folder that paths are relative to."""

    table: pa.Table
    path: Path
    source: Path
    hash: str  # of what decides batches and splits: paths, sizes, patients, pixel hashes
    key: str = ""  # how patients are keyed, see identity.fingerprint; "" where it is not known

    def __len__(self) -> int:
        return self.table.num_rows

    @cached_property
    def heights(self) -> np.ndarray:
        """int32 [N], pixels."""
        return self.table["height"].to_numpy().astype(np.int32)

    @cached_property
    def widths(self) -> np.ndarray:
        """int32 [N], pixels."""
        return self.table["width"].to_numpy().astype(np.int32)

    @cached_property
    def paths(self) -> list[str]:
        """Relative to `source`."""
        return self.table["path"].to_pylist()

    @cached_property
    def patients(self) -> list[str]:
        return self.table["patient"].to_pylist()

    @cached_property
    def patient_sources(self) -> list[str | None]:
        """What stands for each patient, of identity.PATIENT_SOURCES."""
        return self.table["patient_source"].to_pylist()

    @cached_property
    def pixel_hashes(self) -> list[str | None]:
        return self.table["pixel_hash"].to_pylist()

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Names of the columns that came from the labels file."""
        return tuple(name for name in self.table.column_names if name not in COLUMNS.names)

    def label_names(self, column: str) -> tuple[str, ...]:
        """The values of a column, by code: numbers by size where all are whole numbers, else by text."""
        if column not in self.label_columns and column not in CODED:
            known = ", ".join((*self.label_columns, *CODED))
            raise ValueError(f"no label column {column!r}; there are {known}")
        names = {value for value in self.table[column].unique().to_pylist() if value not in (None, "")}
        with contextlib.suppress(ValueError):
            return tuple(sorted(names, key=lambda name: (int(name), name)))
        return tuple(sorted(names))

    def labels(self, column: str) -> np.ndarray:
        """int32 [N]: codes into `label_names(column)`, -1 where unknown."""
        codes = {name: code for code, name in enumerate(self.label_names(column))}
        return np.array([codes.get(value, -1) for value in self.table[column].to_pylist()], np.int32)

    def file(self, record: int) -> Path:
        """Where a record's pixels are."""
        return self.source / self.paths[record]


def manifest_hash(table: pa.Table) -> str:
    """SHA-256 over path, height, width, patient and pixel_hash of all rows; nulls count as empty."""
    digest = hashlib.sha256(f"radmae manifest {SCHEMA_VERSION} {table.num_rows}".encode())
    for name in ("path", "height", "width", "patient", "pixel_hash"):
        values = ("" if value is None else str(value) for value in table[name].to_pylist())
        digest.update(b"\0\0" + "\0".join((name, *values)).encode())
    return digest.hexdigest()


def write_manifest(table: pa.Table, path: Path, source: Path, key: str = "") -> Manifest:
    """Writes the rows, sorted by path, under the schema; replaces the file in one step. Returns what was written."""
    table = table.sort_by("path").combine_chunks()
    digest = manifest_hash(table)
    facts = {"version": SCHEMA_VERSION, "source": str(source.resolve()), "hash": digest, "key": key}
    write_atomically(table.replace_schema_metadata({"radmae": json.dumps(facts)}), path)
    return Manifest(table, path, source.resolve(), digest, key)


def read_with_facts(path: Path) -> tuple[pa.Table, dict]:
    """A table and what was written about it into its metadata, {} for a foreign file. Errors: ValueError."""
    try:
        with pq.ParquetFile(path) as file:  # read_table would make columns of a folder named a=b
            table = file.read()
    except pa.ArrowInvalid:
        raise ValueError(f"{path} is not a Parquet file") from None
    facts = json.loads((table.schema.metadata or {}).get(b"radmae", b"{}"))
    return table, facts


def read_manifest(path: Path, source: Path | None = None) -> Manifest:
    """A manifest; `source` where the archive has moved since. Errors: FileNotFoundError; ValueError naming what is
    wrong with the file: not a manifest, another schema version, changed since it was written."""
    if not path.exists():
        raise FileNotFoundError(f"no manifest {path}; `radmae index SOURCE {path}` makes one")
    table, facts = read_with_facts(path)
    if table.column_names == ["patient", "side"]:
        raise ValueError(f"{path} is a split file and no manifest")
    if facts.get("version") != SCHEMA_VERSION or "hash" not in facts:
        raise ValueError(f"{path}: manifest version {facts.get('version')}, expected {SCHEMA_VERSION}")
    missing = [name for name in COLUMNS.names if name not in table.column_names]
    if missing:
        raise ValueError(f"{path}: columns missing: {', '.join(missing)}")
    digest = manifest_hash(table)
    if digest != facts["hash"]:
        raise ValueError(f"{path}: rows hash to {digest[:12]}, the file says {facts['hash'][:12]}: it was changed")
    source = Path(facts["source"]) if source is None else source
    return Manifest(table, path, source, digest, facts.get("key", ""))


def quarantine_path(manifest: Path) -> Path:
    """Where the files that did not become rows are listed: path, reason, detail."""
    return manifest.with_name(manifest.name + ".quarantine.parquet")


def write_quarantine(rows: Iterable[tuple[str, str, str]], manifest: Path) -> None:
    """Writes (path, reason, detail), sorted by path; also when there are none."""
    ordered = [dict(zip(QUARANTINE.names, row, strict=True)) for row in sorted(rows)]
    write_atomically(pa.Table.from_pylist(ordered, schema=QUARANTINE), quarantine_path(manifest))


def write_atomically(table: pa.Table, path: Path) -> None:
    """Parquet with zstd, under a temporary name until it is whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(table, temporary, compression="zstd")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
