"""Reads look-up tables out of a DICOM header (PS3.3 C.11.1.1, C.11.2.1), also where descriptor and data disagree."""

from dataclasses import dataclass

import numpy as np

from radmae_jax.data.image_error import ImageError
from radmae_jax.data.intensity import Lut
from radmae_jax.data.tags import DataSet, named, tag_of

_DARK = 3  # bits that the entries of a VOI LUT may lack


@dataclass(frozen=True)
class _Table:
    """A table as it is in the file: the descriptor's three values, 16 bits each without sign, and the data."""

    count: int
    first: int
    bits: int
    data: bytes
    little: bool
    written: str  # the descriptor's value representation


def read_lut(
    header: DataSet, keyword: str, span: tuple[float, float], flags: set[str], *, stored: int, output: bool
) -> Lut | None:
    """The first table of a sequence that has one; None where no item has.

    Args:
      keyword: of the sequence.
      span: the smallest and the largest value that may be looked up, which decide the sign of the first mapped value.
      flags: takes what is odd about the table.
      stored: bits of a stored pixel value.
      output: whether the table's values are shown, and its bits matter: a VOI LUT's do, a modality LUT's do not.

    Raises:
      ImageError (unreadable) naming the element and the value that make no table.
    """
    items = header.items(keyword)
    tables = [item for item in items if item.has("LUTData")]
    if tables:
        return _lut_of(_table_of(tables[0], keyword), keyword, span, flags, stored, output)
    if items:
        flags.add("empty_lut")
    elif header.size(keyword) > 8:  # more than a delimiter
        raise ImageError("unreadable", f"{named(keyword)} has {header.size(keyword)} bytes and no item")
    return None


def _table_of(item: DataSet, keyword: str) -> _Table:
    values = [None if value is None else int(value) & 0xFFFF for value in item.numbers("LUTDescriptor")]
    if len(values) < 3 or None in values[:3]:
        shown = item.shown("LUTDescriptor")
        raise ImageError("unreadable", f"{named('LUTDescriptor')} of {keyword} is {shown}, expected three numbers")
    count, first, bits = (value or 0 for value in values[:3])
    data = item.elements[tag_of("LUTData")]
    written = item.elements[tag_of("LUTDescriptor")].vr
    return _Table(count or 65536, first, bits, data.value, data.encoding.little or data.vr == "UN", written)


def _lut_of(table: _Table, keyword: str, span: tuple[float, float], flags: set[str], stored: int, output: bool) -> Lut:
    # Entries of a byte each: as many bytes as entries, and one more where that is odd.
    bytes_each = len(table.data) in (table.count, table.count + table.count % 2) and table.count > 1
    if bytes_each or (table.bits <= 8 and len(table.data) < 2 * table.count):
        entries = np.frombuffer(table.data, np.uint8).astype(np.uint16)
    else:
        order = "<u2" if table.little else ">u2"
        entries = np.frombuffer(table.data, order, len(table.data) // 2).astype(np.uint16)
    spare = len(entries) - table.count
    if spare and not (spare == 1 and bytes_each):
        flags.add("lut_entries")
    entries = entries[: table.count]
    if not len(entries):
        raise ImageError("unreadable", f"{named('LUTData')} of {keyword} has {len(table.data)} bytes, no entry")
    bits, needed = table.bits, max(1, int(entries.max()).bit_length())
    # Entries as deep as the pixels, or that would show at an eighth of the brightness at most, are declared wrongly.
    wrong = needed > bits or not 1 <= bits <= 16 or needed <= bits - _DARK or (needed == stored < bits)
    if output and wrong:
        bits = needed
        flags.add("lut_bits")
    first = _first(table.first, len(entries), span)
    if (table.written == "SS" and first > 0x7FFF) or (table.written == "US" and first < 0):
        flags.add("lut_first")
    return Lut(first, min(bits, 16), entries)


def _first(raw: int, count: int, span: tuple[float, float]) -> int:
    """The first mapped value, 16 bits of it, as a number.

    It has the sign of what is looked up (PS3.3 C.11.1.1.1), whatever its representation is. Where that may be negative
    and may exceed 32,767 too, it is the one under which the table covers most of the values.
    """
    signed = raw - 0x10000 if raw > 0x7FFF else raw
    if span[0] >= 0:
        return raw

    def covered(first: int) -> float:
        return max(0.0, min(first + count - 1, span[1]) - max(first, span[0]))

    return raw if covered(raw) > covered(signed) else signed
