"""Turns one DICOM file into its stored pixels, the facts a manifest keeps, and what its grey scale needs.

The header is read first and everything that can be refused from it is refused before pixels are allocated. The
parser is pydicom; the pixel element is read here, since a file may lack its delimiter or end early.
"""

import io
import logging
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag

from radmae_jax.data import codecs
from radmae_jax.data.codecs import ImageError
from radmae_jax.data.header import TAGS, Facts, Header, parse_header

__all__ = ["Facts", "Header", "ImageError", "Radiograph", "load"]

MAX_FILE = 1 << 30  # bytes; also of an inflated deflated file
UNDEFINED = 0xFFFFFFFF
PIXEL_TAGS = {0x7FE00008: "float", 0x7FE00009: "double", 0x7FE00010: "integer"}
ITEM = b"\xfe\xff\x00\xe0"  # encapsulated data is little endian (PS3.5 A.4)
_Span = tuple[int, int]  # first byte, bytes


@dataclass(frozen=True)
class Radiograph:
    """One file: its header and, unless only that was asked for, stored pixel values [height, width]."""

    header: Header
    stored: np.ndarray | None


@dataclass
class _Element:
    """Where the parser stopped: at the pixels, or nowhere."""

    start: int = -1  # byte at which the value begins
    length: int = 0  # as declared; UNDEFINED when encapsulated
    words: bool = True  # VR OW
    cut: bool = True  # the file ends inside an element


def load(path: Path, *, pixels: bool = True) -> Radiograph:
    """Reads one DICOM file of a single grey frame. Errors: ImageError, OSError."""
    size = path.stat().st_size
    if size > MAX_FILE:
        raise ImageError("too_large", f"file of {size} bytes, limit {MAX_FILE}")
    with path.open("rb") as file:
        if size == 0:
            raise ImageError("not_dicom", "0 bytes")
        source, size, deflated = _plain(file, size)
        dataset, element = _parse(source, size)
        header = _header(dataset, deflated)
        if header.syntax not in codecs.NATIVE | codecs.ENCAPSULATED:
            raise ImageError("unsupported_syntax", header.syntax)
        spans = _locate_pixels(source, element, header, size)
        if not pixels:
            return Radiograph(header, None)
        stored = _read_pixels(source, spans, element, header)
    low, high = int(stored.min()), int(stored.max())
    if low == high:
        raise ImageError("constant", f"every pixel is {low}")
    return Radiograph(header, stored)


# pydicom warns and logs with the values it dislikes, which may be a name: none of that may reach a log. Filters are
# global to the process, and loader threads parse at the same time, hence the lock; decoding runs outside it.
_LOCK = threading.Lock()


@contextmanager
def _quiet_pydicom() -> Iterator[None]:
    logger = logging.getLogger("pydicom")
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, logger.disabled = logger.disabled, True
        try:
            yield
        finally:
            logger.disabled = before


def _plain(file: BinaryIO, size: int) -> tuple[BinaryIO, int, bool]:
    """The file itself, or a deflated one (PS3.5 A.5) inflated in memory under a limit; its size in bytes; which."""
    head = file.read(1 << 16)
    file.seek(0)
    at, start = 132, -1
    while head[128:132] == b"DICM" and head[at : at + 2] == b"\x02\x00" and at + 12 <= len(head):
        long = head[at + 4 : at + 6] in (b"OB", b"OW", b"UN", b"SQ", b"UT")
        value = at + (12 if long else 8)
        length = int.from_bytes(head[at + 8 : at + 12] if long else head[at + 6 : at + 8], "little")
        if head[at + 2 : at + 4] == b"\x10\x00":
            uid = head[value : value + length]
            start = value if uid.rstrip(b"\0 ") == codecs.DEFLATED.encode() else -1
        at = value + length
    if start < 0:
        return file, size, False
    file.seek(at)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = inflater.decompress(file.read(), MAX_FILE)
    except zlib.error:
        raise ImageError("decode_failed", f"damaged deflated data of {size - at} bytes") from None
    if inflater.unconsumed_tail:
        raise ImageError("too_large", f"inflates beyond {MAX_FILE} bytes")
    # Named explicit little endian from here on: what it is now.
    uid = codecs.EXPLICIT.encode().ljust(len(codecs.DEFLATED) // 2 * 2, b"\0")
    data = head[:start] + uid + head[start + len(uid) : at] + body
    return io.BytesIO(data), len(data), True


def _parse(source: BinaryIO, size: int) -> tuple[Dataset, _Element]:
    """The elements named in TAGS and where the pixels are. Without the DICM prefix, group 8 must come first and
    tags must ascend: pydicom would otherwise find elements in anything."""
    prefix = source.read(132)[128:] == b"DICM"
    source.seek(0)
    element = _Element()
    last, seen = -1, 0

    def stop(tag: int, vr: str | None, length: int) -> bool:
        nonlocal last, seen
        tag = int(tag)
        seen += 1
        strange = tag <= last or (seen == 1 and tag >> 16 != 0x0008)
        if (strange and not prefix) or seen > 100_000:
            raise ImageError("not_dicom", f"element {seen} out of order" if seen > 1 else "no DICOM element")
        last = max(last, tag)
        if tag in PIXEL_TAGS:
            if PIXEL_TAGS[tag] != "integer":
                raise ImageError("unsupported_pixels", f"{PIXEL_TAGS[tag]} pixel data")
            element.start, element.length, element.words = source.tell(), length, vr != "OB"
            return True
        left = size - source.tell() - length
        element.cut = length != UNDEFINED and left < 8 and left != 0  # the next element's head takes 8
        return False

    wanted: list[BaseTag | int] = [Tag(keyword) for keyword in TAGS]
    try:
        with _quiet_pydicom():
            dataset = read_partial(source, stop_when=stop, force=True, specific_tags=wanted)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # pydicom raises about anything on damaged bytes; its text may quote values
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not pydicom's
            raise
        reason = "unreadable" if prefix else "not_dicom"
        raise ImageError(reason, f"{type(error).__name__} in the header") from None
    if element.start < 0:
        if not prefix and "SOPClassUID" not in dataset and "Rows" not in dataset:
            raise ImageError("not_dicom", f"{size} bytes without DICM prefix, SOP class or size")
        if element.cut:
            raise ImageError("truncated", f"the file's {size} bytes end inside the header")
        raise ImageError("no_pixels", f"{len(dataset)} header elements, no pixel data")
    return dataset, element


def _header(dataset: Dataset, deflated: bool) -> Header:
    try:
        with _quiet_pydicom():
            header = parse_header(dataset)
    except ImageError:
        raise
    except Exception as error:  # a malformed value in an element of many
        raise ImageError("unreadable", f"{type(error).__name__} in a header value") from None
    if deflated:
        return replace(header, facts=replace(header.facts, syntax=codecs.DEFLATED))
    return header


def _locate_pixels(source: BinaryIO, element: _Element, header: Header, size: int) -> list[_Span]:
    """Where the pixel bytes are: one span, or the offset table and the fragments. Refuses pixel data that is shorter
    than declared before any of it is read."""
    if header.syntax in codecs.ENCAPSULATED:
        stop = size if element.length == UNDEFINED else min(size, element.start + element.length)
        return _walk_items(source, element.start, stop)
    if element.length == UNDEFINED:
        raise ImageError("unsupported_syntax", f"encapsulated pixels under {header.syntax}")
    if element.length == 0:
        raise ImageError("no_pixels", "pixel data of 0 bytes")
    layout = header.layout
    need = layout.height * layout.width * layout.allocated // 8
    there = min(element.length, size - element.start)
    if there < need:
        raise ImageError("truncated", f"{there} bytes of pixels, expected {need}")
    return [(element.start, min(there, need + 1))]  # 8-bit pixels in swapped words need the odd byte too


def _walk_items(source: BinaryIO, start: int, stop: int) -> list[_Span]:
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


def _read_pixels(source: BinaryIO, spans: list[_Span], element: _Element, header: Header) -> np.ndarray:
    parts = []
    for start, length in spans:
        source.seek(start)
        parts.append(source.read(length))
    if header.syntax in codecs.ENCAPSULATED:
        frame = codecs.join_fragments(parts[1:], parts[0])
        return codecs.decode_frame(frame, header.syntax, header.layout)
    big = header.syntax == codecs.BIG_ENDIAN
    return codecs.decode_native(parts[0], header.layout, big_endian=big, words=element.words)
