"""Reads a list of image sizes, a CSV as people export it or a manifest, into heights, widths and their counts."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import numpy as np

from radmae_jax.data.manifest import read_manifest
from radmae_jax.data.tables import Table, find_column, read_table

Sizes = tuple[np.ndarray, np.ndarray, np.ndarray]  # heights, widths in pixels, counts: int64 [n]
MAX_SIDE = 1_000_000  # pixels; larger is a slip of the file, and tokens would overflow
MAX_COUNT = 10**12
# Names of columns; case, spaces, "_" and "-" make no difference. `Height]` is what a CSV reader makes of the header
# `OriginalImage[Width,Height]` of ChestX-ray14.
HEIGHTS = ("height", "rows", "image_height", "img_height", "original_height", "height_px", "num_rows", "h", "Height]")
WIDTHS = (
    "width", "columns", "cols", "image_width", "img_width", "original_width", "width_px", "num_columns", "num_cols",
    "w", "OriginalImage[Width",
)  # fmt: skip
_HALVES = ("OriginalImage[Width", "Height]")
COUNTS = ("count", "counts", "num_images", "n_images")
_IN_16 = (("rows16",), ("cols16",))  # in units of 16 pixels
_SIDES = (("height", HEIGHTS), ("width", WIDTHS))
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]*)?([eE][+-]?[0-9]{1,2})?$")


@dataclass(frozen=True)
class SizeList:
    """Sizes and the columns that they were read from."""

    sizes: Sizes
    used: tuple[str, ...]
    ignored: tuple[str, ...]
    remarks: tuple[str, ...]  # on how the file was read

    def lines(self) -> list[str]:
        """What a command prints of a file."""
        left = f"; ignored columns: {', '.join(self.ignored)}" if self.ignored else ""
        return [f"sizes from columns {_listed(self.used)}{left}", *(f"warning: {text}" for text in self.remarks)]


def read_sizes(path: Path) -> Sizes:
    """Heights, widths, counts, int64 [n], of a manifest (.parquet) or a CSV (.csv, .csv.gz); see `read_size_list`."""
    if path.suffix == ".parquet":
        manifest = read_manifest(path)
        pairs = np.stack([manifest.heights, manifest.widths], axis=1)
        sizes, counts = np.unique(pairs, axis=0, return_counts=True)
        return sizes[:, 0].astype(np.int64), sizes[:, 1].astype(np.int64), counts.astype(np.int64)
    return read_size_list(path).sizes


def read_size_list(path: Path) -> SizeList:
    """The sizes of a CSV in any order of columns, with others beside them.

    One column is the height (HEIGHTS) and one the width (WIDTHS), in pixels; one may be the count (COUNTS), how many
    images have this size. Or rows16 and cols16, in units of 16 pixels.

    Raises:
      ValueError: as `read_table`; where a side has no column or several; for a row without a size, naming the line, the
        column, the value and the limit.
    """
    return _parse(path.read_bytes(), path.name)


def sizes_named(name: str, say: Callable[[str], None] | None = None) -> Sizes:
    """The sizes that a command's argument names: a file, or `poster`. `say` gets what was read from a CSV, by line."""
    if name == "poster":
        return poster_sizes()
    if name.endswith(".parquet"):
        return read_sizes(Path(name))
    read = read_size_list(Path(name))
    if say is not None:
        for line in read.lines():
            say(line)
    return read.sizes


def poster_sizes() -> Sizes:
    """The poster's 639,877 sizes as rebuilt from its published statistics, on a grid of 16 pixels."""
    name = "poster_sizes_16px.csv.gz"
    return _parse(files("radmae_jax.data").joinpath(name).read_bytes(), name).sizes


def _parse(data: bytes, name: str) -> SizeList:
    table = read_table(data, name, cells="values")
    in_16 = [find_column(table.columns, names) for names in _IN_16]
    height, width = (_side(table, *pair, by16) for pair, by16 in zip(_SIDES, in_16, strict=True))
    table.refuse_empty("sizes")
    scaled = [bool(found) for found in in_16]
    if scaled[0] != scaled[1]:
        raise ValueError(f"{name} line 1: {height} and {width} are in different units; rows16 goes with cols16")
    scale = 16 if all(scaled) else 1
    counts = find_column(table.columns, COUNTS)
    if len(counts) > 1:
        raise ValueError(f"{name} line 1: {len(counts)} columns may be the count: {', '.join(counts)}; remove one")
    used = (height, width, *counts)
    limits = (MAX_SIDE // scale, MAX_SIDE // scale, MAX_COUNT)
    read = [
        np.array(
            [_whole(cell, limit, f"{table.where(row)}: {column}") for row, cell in enumerate(table.column(column))]
        )
        for column, limit in zip(used, limits, strict=False)
    ]
    heights, widths = (values.astype(np.int64) * scale for values in read[:2])
    found = read[2].astype(np.int64) if counts else np.ones(len(heights), np.int64)
    ignored = (*table.ignored, *(column for column in table.columns if column not in used))
    return SizeList((heights, widths, found), used, ignored, table.remarks)


def _side(table: Table, what: str, names: tuple[str, ...], in_16: list[str]) -> str:
    """The one column of a side."""
    found = [*in_16, *find_column(table.columns, names)]
    if len(found) == 1:
        return found[0]
    listed = f"columns {','.join(table.columns)!r}"
    if found:
        raise ValueError(
            f"{table.name} line 1: {listed}: {len(found)} columns may be the {what}: {_listed(found)}; keep one"
        )
    raise ValueError(
        f"{table.name} line 1: {listed}, expected height,width[,count] or rows16,cols16,count; none is the {what} "
        f"({_listed(names)})"
    )


def _listed(columns: Sequence[str]) -> str:
    """Names of columns for people: the two halves of ChestX-ray14's header are one."""
    names = ("OriginalImage[Width,Height]" if name in _HALVES else name for name in columns)
    return ", ".join(dict.fromkeys(names))


def _whole(cell: str, limit: int, where: str) -> int:
    value = Decimal(cell.replace(",", ".")) if _NUMBER.match(cell) else None
    if value is None or value != value.to_integral_value():
        raise ValueError(f"{where} is {cell!r}, expected a whole number")
    if not 1 <= value <= limit:
        raise ValueError(f"{where} is {int(value)}, expected 1 to {limit}")
    return int(value)
