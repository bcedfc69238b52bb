"""Turns a list of image sizes, a CSV or a manifest, into heights, widths and how often each occurs."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from radmae_jax.data.manifest import read_manifest

Sizes = tuple[np.ndarray, np.ndarray, np.ndarray]  # heights, widths in pixels, counts: int64 [n]
MAX_SIDE = 1_000_000  # pixels; larger is a slip of the file, and tokens would overflow
MAX_COUNT = 10**12


def read_sizes(path: Path) -> Sizes:
    """Heights, widths, counts, int64 [n], of a manifest (.parquet) or a CSV (.csv, .csv.gz).

    Columns of the CSV: height, width and, if wanted, count; or rows16, cols16, count in units of 16 pixels.
    Errors: ValueError naming the line, the value and the limit.
    """
    if path.suffix == ".parquet":
        manifest = read_manifest(path)
        pairs = np.stack([manifest.heights, manifest.widths], axis=1)
        sizes, counts = np.unique(pairs, axis=0, return_counts=True)
        return sizes[:, 0].astype(np.int64), sizes[:, 1].astype(np.int64), counts.astype(np.int64)
    return _parse(path.read_bytes(), path.name)


def sizes_named(name: str) -> Sizes:
    """The sizes that a command's argument names: a file, or `poster`."""
    return poster_sizes() if name == "poster" else read_sizes(Path(name))


def poster_sizes() -> Sizes:
    """The poster's 639,877 sizes as rebuilt from its published statistics, on a grid of 16 pixels."""
    name = "poster_sizes_16px.csv.gz"
    return _parse(files("radmae_jax.data").joinpath(name).read_bytes(), name)


def _parse(data: bytes, name: str) -> Sizes:
    try:
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{name} cannot be read as CSV or CSV.gz: {error}") from None
    reader = csv.reader(io.StringIO(text))
    header = [column.strip() for column in next(reader, [])]
    if header in (["height", "width"], ["height", "width", "count"]):
        scale = 1
    elif header == ["rows16", "cols16", "count"]:
        scale = 16
    else:
        raise ValueError(
            f"{name} line 1: columns {','.join(header)!r}, expected height,width[,count] or rows16,cols16,count"
        )
    limits = (MAX_SIDE // scale, MAX_SIDE // scale, MAX_COUNT)
    rows: list[list[int]] = []
    for cells in _cells_of(reader, name):
        if not cells:
            continue
        if len(cells) != len(header):
            raise ValueError(f"{name} line {reader.line_num}: {len(cells)} values, expected {len(header)}")
        row = [
            _whole(cell, limit, f"{name} line {reader.line_num}: {column}")
            for cell, limit, column in zip(cells, limits, header, strict=False)
        ]
        rows.append(row if len(row) == 3 else [*row, 1])
    if not rows:
        raise ValueError(f"{name}: no sizes below the header")
    table = np.array(rows, np.int64)
    return table[:, 0] * scale, table[:, 1] * scale, table[:, 2]


def _cells_of(reader: Any, name: str) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise ValueError(f"{name} line {reader.line_num}: {error}") from None


def _whole(cell: str, limit: int, where: str) -> int:
    try:
        value = int(cell)
    except ValueError:
        raise ValueError(f"{where} is {cell.strip()!r}, expected a whole number") from None
    if not 1 <= value <= limit:
        raise ValueError(f"{where} is {value}, expected 1 to {limit}")
    return value
