"""Reads the structure of a JPEG or JPEG-LS stream (ITU-T T.81 annex B, T.87): its header, its scans, its true end.

A marker that lies inside a segment, such as the end of an EXIF thumbnail, is none of the stream's own.
"""

from dataclasses import dataclass

import numpy as np

from radmae_jax.data.image_error import ImageError

_EOI, _SOS, _DHT, _DRI, _APP0, _APP14 = 0xD9, 0xDA, 0xC4, 0xDD, 0xE0, 0xEE
_FRAMES = frozenset({0xF7, *range(0xC0, 0xD0)} - {_DHT, 0xC8, 0xCC})  # start of frame, of any process
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_BLOCK = 1 << 20  # bytes of a scan looked through at once
_FILL = 8  # zeros between segments that are skipped
BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS, LOSSLESS_LS = 0xC0, 0xC1, 0xC2, 0xC3, 0xF7


@dataclass(frozen=True)
class Codestream:
    """What a compressed frame says of itself."""

    height: int
    width: int
    precision: int
    signed: bool
    components: int


@dataclass(frozen=True)
class Scan:
    """One scan's parameters and where its entropy-coded data is."""

    start: int  # byte in the stream
    stop: int
    components: tuple[int, ...]  # their identifiers
    selection: int  # Ss: the first coefficient; of a lossless process the predictor, 1 to 7
    last: int  # Se: the last coefficient
    point_transform: int  # Al
    restart_interval: int  # MCUs; 0: none
    dc: dict[int, int]  # of the first component's tables: bits of the code of each symbol, the code of zeros first
    ac: dict[int, int]


@dataclass(frozen=True)
class Stream:
    """A complete stream. `end` is the first byte after its end marker: what follows is padding, or another image."""

    header: Codestream
    process: int  # of the start of frame, such as BASELINE
    precision_at: int  # byte that says the bits a sample
    segments: tuple[tuple[int, int, int], ...]  # marker, first byte and end of every segment, in order
    scans: tuple[Scan, ...]
    end: int


def read_sof(data: bytes) -> Codestream | None:
    """The start-of-frame segment of a JPEG or JPEG-LS stream (T.81 B.2.2), None without one."""
    at = 2
    while at + 4 <= len(data) and data[:2] == b"\xff\xd8":
        zeros = _zeros_at(data, at)
        if zeros:
            at += zeros
            continue
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker in _FRAMES:
            body = data[at + 4 : at + 10]
            if len(body) < 6:
                return None
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            return Codestream(height, width, body[0], False, body[5])
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def read_stream(data: bytes) -> Stream:
    """Walks the segments and scans up to the end marker.

    Raises:
      ImageError: decode_failed without a start of frame; truncated where the data end before the end marker; damaged
        where something else stands between segments, or a scan is missing.
    """
    header = read_sof(data)
    if header is None:
        raise ImageError("decode_failed", f"no image header in {len(data)} bytes of JPEG")
    segments: list[tuple[int, int, int]] = []
    scans: list[Scan] = []
    tables: dict[tuple[int, int], dict[int, int]] = {}
    components: tuple[int, ...] = ()
    process, precision_at, interval, at = 0, 0, 0, 2
    while at + 2 <= len(data):
        zeros = _zeros_at(data, at)
        if zeros:
            at += zeros
            continue
        if data[at] != 0xFF:
            raise ImageError("damaged", f"byte {at} of {len(data)} of the JPEG stream is no marker")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == _EOI:
            _refuse_missing(process, components, scans)
            return Stream(header, process, precision_at, tuple(segments), tuple(scans), at + 2)
        if marker in _WITHOUT_LENGTH:
            at += 2
            continue
        first, at = at, at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[first + 4 : at]
        segments.append((marker, first, at))
        if marker in _FRAMES:
            process, precision_at = marker, first + 4
            components = tuple(body[6 : 6 + 3 * header.components : 3])
        elif marker == _DHT:
            _read_tables(body, tables)
        elif marker == _DRI:
            interval = int.from_bytes(body[:2], "big")
        elif marker == _SOS and len(body) >= 6:
            stop = _end_of_scan(data, at, 0x80 if process == LOSSLESS_LS else 0x01)
            dc, ac = tables.get((0, body[2] >> 4), {}), tables.get((1, body[2] & 0x0F), {})
            named = tuple(body[1 : 1 + 2 * body[0] : 2])
            scans.append(Scan(at, stop, named, body[-3], body[-2], body[-1] & 0x0F, interval, dc, ac))
            at = stop
    raise ImageError("truncated", f"no end marker in {len(data)} bytes of JPEG")


def _zeros_at(data: bytes, at: int) -> int:
    """How many zeros stand there, as padding between segments; 0 where they are too many for that."""
    few = data[at : at + _FILL + 1]
    zeros = len(few) - len(few.lstrip(b"\0"))
    return zeros if zeros <= _FILL else 0


def plain_stream(data: bytes, stream: Stream) -> bytes:
    """The stream without what its pixels do not need, so that a decoder has nothing to warn of but its scans.

    Application segments and comments are left out, but for those that tell the colour space; the JFIF version and the
    parameters of sequential scans, which decoders ignore, become the usual ones.
    """
    parts = [b"\xff\xd8"]
    scans = {scan.start: scan for scan in stream.scans}
    for marker, first, stop in stream.segments:
        segment = data[first:stop]
        if marker == _APP0 and segment[4:9] == b"JFIF\0":
            segment = segment[:9] + b"\x01\x01" + segment[11:]
        elif marker == _APP14 and segment[4:9] == b"Adobe" and len(segment) >= 16:
            segment = segment[:15] + bytes([min(segment[15], 1)]) + segment[16:]
        elif marker == 0xFE or _APP0 <= marker <= 0xEF:
            continue
        scan = scans.get(stop) if marker == _SOS else None
        if scan is not None and stream.process in (BASELINE, EXTENDED):
            segment = segment[:-3] + b"\x00\x3f\x00"
        parts.append(segment)
        if scan is not None:
            parts.append(data[scan.start : scan.stop])
    return b"".join([*parts, b"\xff\xd9"])


def _refuse_missing(process: int, components: tuple[int, ...], scans: list[Scan]) -> None:
    """Refuses a stream that ends before every coefficient of every component has all its bits."""
    if process in (BASELINE, EXTENDED, LOSSLESS, LOSSLESS_LS):
        missing = len(set(components) - {component for scan in scans for component in scan.components})
        if missing or not scans:
            raise ImageError("damaged", f"{missing} of {len(components)} components have no scan")
    elif process == PROGRESSIVE:
        left = {(component, k) for component in components for k in range(64)}
        for scan in scans:
            if scan.point_transform == 0:
                left -= {(c, k) for c in scan.components for k in range(scan.selection, scan.last + 1)}
        if left:
            raise ImageError("damaged", f"the scans of {len(left)} of {64 * len(components)} coefficients are missing")


def _end_of_scan(data: bytes, start: int, lowest: int) -> int:
    """Where entropy-coded data end: before a marker that is no restart, or with the data.

    Args:
      lowest: the byte after FF from which on it is a marker. JPEG stuffs a byte 0 (T.81 B.1.1.5), JPEG-LS a bit 0, so
        that what follows is below 80 (T.87 A.1).
    """
    values = np.frombuffer(data, np.uint8)
    for at in range(start, len(data) - 1, _BLOCK):
        places = at + np.flatnonzero(values[at : min(at + _BLOCK, len(data) - 1)] == 0xFF)
        after = values[places + 1]
        ends = places[(after >= lowest) & (after != 0xFF) & ((after < 0xD0) | (after > 0xD7))]
        if len(ends):
            end = int(ends[0])
            while end > start and data[end - 1] == 0xFF:  # fill bytes before a marker
                end -= 1
            return end
    return len(data)


def _read_tables(body: bytes, tables: dict[tuple[int, int], dict[int, int]]) -> None:
    """Adds the code lengths of a segment's tables, by class and number (T.81 B.2.4.2)."""
    at = 0
    while at + 17 <= len(body):
        counts = body[at + 1 : at + 17]
        symbols = body[at + 17 : at + 17 + sum(counts)]
        lengths = [length for length, count in enumerate(counts, 1) for _ in range(count)]
        tables[body[at] >> 4, body[at] & 0x0F] = dict(zip(symbols, lengths, strict=False))
        at += 17 + sum(counts)
