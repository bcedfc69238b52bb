"""Reads one DICOM file: its stored pixels, the facts a manifest keeps, and what its grey scale needs.

The header is read first and everything that can be refused from it is refused before pixels are allocated.
"""

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from radmae_jax.data import codecs
from radmae_jax.data.flags import joined
from radmae_jax.data.foreign import HEAD, MAX_FILE, refuse_foreign, regular_size
from radmae_jax.data.header import TAGS, Facts, Header, parse_header
from radmae_jax.data.image_error import ImageError
from radmae_jax.data.parser import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    PIXEL_TAGS,
    UNDEFINED,
    Encoding,
    NeedMore,
    Parsed,
    Pixels,
    parse,
    read_meta,
    syntax_of,
)
from radmae_jax.data.stored_bits import bits_needed
from radmae_jax.data.tags import DataSet

__all__ = ["Facts", "Header", "ImageError", "Radiograph", "load"]

ITEM = b"\xfe\xff\x00\xe0"  # encapsulated data is little endian (PS3.5 A.4)
_SYNTAXES = {
    codecs.IMPLICIT: IMPLICIT_LITTLE,
    codecs.EXPLICIT: EXPLICIT_LITTLE,
    codecs.BIG_ENDIAN: Encoding(implicit=False, little=False),
}
_FIRST_READ = 1 << 17  # bytes, more than nearly all headers
_Span = tuple[int, int]  # first byte, bytes
T = TypeVar("T")


@dataclass(frozen=True)
class Radiograph:
    """One file: its header and, unless only that was asked for, stored pixel values [height, width]."""

    header: Header
    stored: np.ndarray | None


def load(path: Path, *, pixels: bool = True) -> Radiograph:
    """Reads one DICOM file of a single grey frame.

    Raises:
      ImageError; OSError where the file cannot be read.
    """
    size = regular_size(path)
    with path.open("rb") as file:
        if size == 0:
            raise ImageError("not_dicom", "0 bytes")
        source, size = _plain(file, size)
        parsed = _parse(source, size)
        header = _header(parsed)
        if header.syntax not in codecs.NATIVE | codecs.ENCAPSULATED:
            raise ImageError("unsupported_syntax", header.syntax)
        assert parsed.pixels is not None
        flags = set(filter(None, header.facts.flags.split(",")))
        spans = _locate_pixels(source, parsed.pixels, header, size, flags)
        stored = _read_pixels(source, spans, parsed.pixels, header, flags) if pixels else None
    if stored is None:
        return Radiograph(_with_flags(header, flags), None)
    low, high = int(stored.min()), int(stored.max())
    if low == high:
        raise ImageError("constant", f"every pixel is {low}")
    if "deep_codestream" in flags:
        header = _deepened(header, bits_needed(low, high, header.layout.signed))
    return Radiograph(_with_flags(header, flags), stored)


def _with_flags(header: Header, flags: set[str]) -> Header:
    return replace(header, facts=replace(header.facts, flags=joined(flags)))


def _deepened(header: Header, bits: int) -> Header:
    """The header with the depth that the codestream's values need in place of BitsStored."""
    layout = replace(header.layout, allocated=16, stored=bits, high_bit=bits - 1)
    return replace(header, facts=replace(header.facts, bits=bits), layout=layout, grey=replace(header.grey, bits=bits))


def _plain(file: BinaryIO, size: int) -> tuple[BinaryIO, int]:
    """The file itself, or a deflated one (PS3.5 A.5) inflated in memory under a limit; its size in bytes."""
    meta, end, _ = _read_enough(file, size, lambda data: read_meta(data, size))
    file.seek(0)
    if syntax_of(meta) != codecs.DEFLATED:
        return file, size
    head = file.read(end)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = inflater.decompress(file.read(), MAX_FILE)
    except zlib.error:
        raise ImageError("decode_failed", f"damaged deflated data of {size - end} bytes") from None
    if inflater.unconsumed_tail:
        raise ImageError("too_large", f"inflates to more than {MAX_FILE} bytes")
    return io.BytesIO(head + body), end + len(body)


def _read_enough(source: BinaryIO, size: int, read: Callable[[bytes], T]) -> T:
    """What `read` makes of the first bytes, of as many as it needs."""
    data = source.read(min(size, _FIRST_READ))
    while True:
        try:
            return read(data)
        except NeedMore as more:
            data += source.read(max(more.size, 4 * len(data)) - len(data))
            if len(data) < more.size:
                raise ImageError("truncated", f"{len(data)} bytes could be read of {size}") from None


def _parse(source: BinaryIO, size: int) -> Parsed:
    """The elements named in TAGS and where the pixels are. Without the DICM prefix, group 8 must come first and
    tags must ascend: elements could otherwise be found in anything.

    Raises:
      ImageError: not_dicom, archive, truncated, no_pixels, unsupported_pixels.
    """

    def read(data: bytes) -> Parsed:
        if data[128:132] != b"DICM":
            refuse_foreign(data[:HEAD])
        return parse(data, size, TAGS, _SYNTAXES)

    parsed = _read_enough(source, size, read)
    if parsed.strange:
        raise ImageError("not_dicom", parsed.strange)
    if parsed.pixels is None:
        _refuse_without_pixels(parsed, size)
    elif PIXEL_TAGS[parsed.pixels.tag] != "integer":
        raise ImageError("unsupported_pixels", f"{PIXEL_TAGS[parsed.pixels.tag]} pixel data")
    return parsed


def _refuse_without_pixels(parsed: Parsed, size: int) -> None:
    header = DataSet(parsed.elements)
    if not parsed.prefix and not header.has("SOPClassUID") and not header.has("Rows"):
        raise ImageError("not_dicom", f"{size} bytes without DICM prefix, SOP class or size")
    if parsed.ends_in is not None or not parsed.elements:
        tag = parsed.ends_in or 0
        where = f"inside element ({tag >> 16:04X},{tag & 0xFFFF:04X})" if tag else "inside the header"
        raise ImageError("truncated", f"the file's {size} bytes end {where}")
    raise ImageError("no_pixels", f"{len(parsed.elements)} header elements, no pixel data")


def _header(parsed: Parsed) -> Header:
    try:
        return parse_header(DataSet(parsed.elements), parsed.encoding)
    except ImageError:
        raise
    except Exception as error:  # a value that nobody thought of: it costs this file, not the job
        raise ImageError("unreadable", f"{type(error).__name__} in a header value") from None


def _locate_pixels(source: BinaryIO, element: Pixels, header: Header, size: int, flags: set[str]) -> list[_Span]:
    """Where the pixel bytes are: one span, or the offset table and the fragments. Refuses pixel data that is shorter
    than one image, or as long as several, before any of it is read."""
    if header.syntax in codecs.ENCAPSULATED:
        stop = size if element.length == UNDEFINED else min(size, element.start + element.length)
        return _fragments(source, element.start, stop)
    if element.length == UNDEFINED:
        raise ImageError("unsupported_syntax", f"encapsulated pixels under {header.syntax}")
    if element.length == 0:
        raise ImageError("no_pixels", "pixel data of 0 bytes")
    layout = header.layout
    need = layout.height * layout.width * layout.allocated // 8
    there = min(element.length, size - element.start)
    if there < need:
        raise ImageError("truncated", f"{there} bytes of pixels, expected {need}")
    codecs.refuse_multiple(element.length, need)
    if element.length > need + need % 2:
        flags.add("extra_pixel_data")
    return [(element.start, min(there, need + 1))]  # 8-bit pixels in swapped words need the odd byte too


def _fragments(source: BinaryIO, start: int, stop: int) -> list[_Span]:
    """The offset table and the fragments (PS3.5 A.4). A missing delimiter is forgiven, a short item is not."""
    spans: list[_Span] = []
    while start + 8 <= stop:
        source.seek(start)
        head = source.read(8)
        if head[:4] != ITEM:
            break
        start, length = start + 8, int.from_bytes(head[4:], "little")
        if start + length > stop:
            raise ImageError("truncated", f"fragment of {length} bytes, {stop - start} there")
        spans.append((start, length))
        start += length
    if len(spans) < 2:
        raise ImageError("no_pixels", f"{len(spans)} items of encapsulated pixel data, at least a table and one")
    return spans


def _read_pixels(source: BinaryIO, spans: list[_Span], element: Pixels, header: Header, flags: set[str]) -> np.ndarray:
    parts = []
    for start, length in spans:
        source.seek(start)
        parts.append(source.read(length))
    if header.syntax in codecs.ENCAPSULATED:
        frame = codecs.join_fragments(parts[1:], parts[0])
        return codecs.decode_frame(frame, header.syntax, header.layout, flags)
    big = header.syntax == codecs.BIG_ENDIAN
    return codecs.decode_native(parts[0], header.layout, big_endian=big, words=element.words, flags=flags)
