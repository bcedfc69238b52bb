"""Reads a table as people export it, a CSV in any usual encoding, into columns and rows with their line numbers."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from radmae_jax.data.table_text import text_of

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
# Cells that hold no value, in every column, in any case. `None` counts as Python writes it; `none` is a value.
UNKNOWN = (
    "", "na", "n/a", "n.a.", "#n/a", "#n/a n/a", "<na>", "nan", "nat", "null", "#null!", "#value!", "#ref!", "1.#ind",
    "-1.#ind", "unknown", "?", "-", "--", ".",
)  # fmt: skip
UNKNOWN_AS_WRITTEN = ("None",)
_INDEX = re.compile(r"(Unnamed: [0-9]+(_level_[0-9]+)?(\.[0-9]+)*)?$")  # what pandas calls an index without a name
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?$', re.IGNORECASE)  # how a CSV for Excel names its delimiter
_SAMPLE = 1000  # rows that decide between delimiters


@dataclass(frozen=True)
class Table:
    """The rows of a file below its header. Cells are stripped; blank lines are left out."""

    name: str  # of the file, without its folder
    columns: tuple[str, ...]
    rows: list[list[str]]  # one cell a column
    lines: list[int]  # where each row begins in the file; the first line is 1
    ignored: tuple[str, ...]  # the index column of pandas, which has no name
    delimiter: str
    remarks: tuple[str, ...]  # what a user must know of how the file was read

    def column(self, name: str) -> list[str]:
        """The cells of a column, in the order of the rows."""
        at = self.columns.index(name)
        return [row[at] for row in self.rows]

    def refuse_empty(self, rows: str = "rows") -> None:
        """Raises ValueError where there is no row; `rows` is what the message calls them."""
        if not self.rows:
            raise ValueError(f"{self.name}: no {rows} below the header")

    def where(self, row: int) -> str:
        """A row's place, for messages: "labels.csv line 7"."""
        return f"{self.name} line {self.lines[row]}"


def read_table(data: bytes, name: str, *, cells: str = "cells") -> Table:
    """Parses the bytes of a CSV file.

    UTF-8 and UTF-16, with a byte-order mark or without, are recognized, anything else is read as Latin-1 and remarked
    on; gzip is decompressed. The delimiter (comma, semicolon, tab or bar) is the one of the header line.

    Args:
      name: of the file, for messages.
      cells: what messages call its cells, such as "values".

    Raises:
      ValueError: for a file that is no text or has no header, or whose header or a row is malformed; the message names
        the file, the line and the cause.
    """
    text, remarks = text_of(data, name)
    first, text = _without_separator_line(text)
    delimiter = first or _delimiter_of(text, name)
    skipped = 1 if first else 0
    records = _records(text, delimiter, name, skipped)
    line, header = next(records, (1, []))
    rows = list(records)
    empty = _empty_end(header, [record for _, record in rows])
    if empty:  # a delimiter at the end of every line
        header = header[: len(rows[0][1]) - 1]
        rows = [(at, record[:-1]) for at, record in rows]
    elif len(rows) > 1 and all(len(record) == len(header) + 1 for _, record in rows):
        raise ValueError(
            f"{name} line {line}: the header has {len(header)} names and every row {len(header) + 1} {cells}, as R's "
            "write.table writes it: use col.names=NA or row.names=FALSE there, or put a comma before the header"
        )
    columns, kept = _columns_of(header, f"{name} line {line}")
    ignored = tuple(header[at].strip() or "(no name)" for at in range(len(header)) if at not in kept)
    ignored += ("(no name)",) if empty else ()
    found, lines = [], []
    for line, record in rows:
        if len(record) != len(header):
            raise ValueError(f"{name} line {line}: {len(record)} {cells}, expected {len(header)}")
        found.append([record[at] for at in kept])
        lines.append(line)
    return Table(name, columns, found, lines, ignored, delimiter, remarks)


def is_unknown(text: str) -> bool:
    """Whether a cell holds no value: see UNKNOWN."""
    text = text.strip()
    return text.casefold() in UNKNOWN or text in UNKNOWN_AS_WRITTEN


def is_no_identifier(text: str) -> bool:
    """Whether a cell names no patient and no study: as `is_unknown`, and `none` in any case."""
    return is_unknown(text) or text.strip().casefold() == "none"


def find_column(columns: tuple[str, ...], names: tuple[str, ...]) -> list[str]:
    """The columns that have one of these names in any case; a space, "_" or "-" between words makes no difference."""
    wanted = {simple(name) for name in names}
    return [column for column in columns if simple(column) in wanted]


def simple(name: str) -> str:
    """A column name for comparison: "Image Index", "image_index" and "ImageIndex" are one."""
    return re.sub(r"[\s_\-]+", "", name).casefold()


def _without_separator_line(text: str) -> tuple[str, str]:
    line, end, rest = text.partition("\n")
    found = _SEPARATOR_LINE.match(line.strip(" "))
    return (found.group(1), rest) if found and end else ("", text)


def _delimiter_of(text: str, name: str) -> str:
    """The delimiter of the header line; of several there, the one that all rows, or most of them, agree on."""
    header = next((line for line in io.StringIO(text) if line.strip()), "")
    there = [mark for mark in DELIMITERS if _outside_quotes(header, mark)]
    if len(there) < 2:
        return there[0] if there else ","
    shares = {}
    for mark in there:
        try:
            counts = [len(record) for _, record in islice(_records(text, mark, name, 0), _SAMPLE)]
        except ValueError:
            counts = []
        shares[mark] = sum(count == counts[0] for count in counts[1:]) / len(counts[1:]) if counts[1:] else 0.0
    best = max(shares.values())
    chosen = [mark for mark in there if shares[mark] == best]
    if len(chosen) > 1 or not best:
        named = " and ".join(f"{DELIMITERS[mark]} ({_outside_quotes(header, mark)})" for mark in there)
        raise ValueError(
            f"{name} line 1: the header has {named} and its rows do not decide which of them delimits; quote the names "
            "that hold one"
        )
    return chosen[0]


def _outside_quotes(line: str, mark: str) -> int:
    return re.sub(r'"[^"]*"', "", line).count(mark)


def _records(text: str, delimiter: str, name: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """Each record's first line and its stripped cells; records without any text are left out."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True, skipinitialspace=True)
    line = 0
    try:
        for record in reader:
            line, began = reader.line_num, line + 1
            cells = [cell.strip() for cell in record]
            if any(cells):
                yield began + skipped, cells
    except csv.Error as error:
        began = line + 1 + skipped
        if "unexpected end of data" in str(error):
            raise ValueError(f"{name} line {began}: a quote is opened there and never closed") from None
        hint = "; is a quote never closed?" if "field larger" in str(error) else ""
        raise ValueError(f"{name} line {began}: {error}{hint}") from None


def _empty_end(header: list[str], rows: list[list[str]]) -> bool:
    """Whether the last column has no name and no cell; rows may have it and the header not."""
    count = len(rows[0]) if rows else 0
    named = len(header) == count and bool(header[-1])
    if named or count < 2 or len(header) not in (count, count - 1):
        return False
    return all(len(row) == count and not row[-1] for row in rows)


def _columns_of(header: list[str], where: str) -> tuple[tuple[str, ...], list[int]]:
    """The names of the columns and their places, without an index column."""
    if not header:
        raise ValueError(f"{where}: no header")
    kept = [at for at, name in enumerate(header) if not (at == 0 and len(header) > 1 and _INDEX.match(name))]
    kept = [at for at in kept if at == 0 or not header[at] or not _INDEX.match(header[at])]
    names = tuple(header[at] for at in kept)
    if "" in names:
        place = header.index("", 1) + 1 if "" in header[1:] else 1
        raise ValueError(
            f"{where}: column names are empty or not distinct: column {place} of {len(header)} has no name"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"{where}: column names are empty or not distinct: {twice[0]!r} occurs {names.count(twice[0])} times"
        )
    return names, kept
