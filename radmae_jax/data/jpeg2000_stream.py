"""Reads the structure of a JPEG 2000 or HTJ2K codestream (ITU-T T.800 annex A): its header, tile-parts and true end."""

import re

from radmae_jax.data.gaps import GAP, longest_gap
from radmae_jax.data.image_error import ImageError
from radmae_jax.data.jpeg_stream import Codestream

_SOC_SIZ, _EOC, _SOT, _SOD, _COD = b"\xff\x4f\xff\x51", b"\xff\xd9", b"\xff\x90", b"\xff\x93", b"\xff\x52"
# A marker segment before a packet has six bytes (T.800 A.8.1). Besides, between packets stands at most EPH, and within
# them a byte FF is followed by less than 90 (T.800 B.10.1, C.2.10).
_NO_CODE = re.compile(rb"\xff\x91\x00\x04..|\xff[\x90\x93-\xff]", re.DOTALL)
_BYPASS = 1  # of a code-block style: bits go into the stream as they are, zeros too (T.800 D.6)


def read_siz(frame: bytes) -> Codestream | None:
    """The SIZ segment of a codestream (T.800 A.5.1), bare or inside a JP2 box; None without one."""
    start = frame.find(_SOC_SIZ)
    body = frame[start + 6 : start + 45]
    if start < 0 or len(body) < 38:
        return None
    width, height, x0, y0 = (int.from_bytes(body[2 + 4 * i : 6 + 4 * i], "big") for i in range(4))
    depth = body[36]  # bit 7: signed; the rest: precision - 1
    return Codestream(height - y0, width - x0, (depth & 0x7F) + 1, depth > 0x7F, int.from_bytes(body[34:36], "big"))


def check_codestream(frame: bytes) -> int:
    """Walks the tile-parts, and looks for gaps in their data; returns the first byte after the end marker.

    Raises:
      ImageError: truncated where a tile, a tile-part or the end marker is missing; damaged where tile-parts do not
        follow each other, or data hold what the coder does not give.
    """
    start = frame.find(_SOC_SIZ)
    siz = frame[start + 6 : start + 45]
    width, height, x0, y0, tile_width, tile_height, tile_x, tile_y = (
        int.from_bytes(siz[2 + 4 * i : 6 + 4 * i], "big") for i in range(8)
    )
    if not tile_width or not tile_height:
        raise ImageError("damaged", f"tiles of {tile_height} x {tile_width} in the codestream")
    tiles = -(-(width - tile_x) // tile_width) * -(-(height - tile_y) // tile_height)
    longest: int | None = GAP
    at = start + 2
    while frame[at : at + 2] not in (_SOT, b""):
        if frame[at] != 0xFF:
            raise ImageError("damaged", f"byte {at} of {len(frame)} of the codestream is no marker")
        if frame[at : at + 2] == _COD:
            cod = frame[at + 4 : at + 50]
            # Empty packets, a byte 0 each, may stand in a row.
            packets = _most_packets(cod, width - x0, height - y0) * max(1, siz[35])
            longest = None if cod[8] & _BYPASS else GAP + packets
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    seen: set[int] = set()
    while frame[at : at + 2] == _SOT:
        seen.add(int.from_bytes(frame[at + 4 : at + 6], "big"))
        length = int.from_bytes(frame[at + 6 : at + 10], "big")
        data = _start_of_data(frame, at)
        # 0: the last tile-part, up to the end marker, which coded data cannot hold (T.800 A.4.2).
        stop = at + length if length else frame.find(_EOC, data)
        if stop > len(frame) - 2 or stop < data:
            raise ImageError("truncated", f"a tile-part of {length} bytes at byte {at} of {len(frame)}")
        _check_data(frame, data, stop, longest)
        at = stop
    if frame[at : at + 2] != _EOC:
        raise ImageError("damaged", f"no tile-part and no end marker at byte {at} of {len(frame)}")
    if len(seen) < tiles:
        raise ImageError("truncated", f"{len(seen)} tiles in the codestream, expected {tiles}")
    return at + 2


def _start_of_data(frame: bytes, tile_part: int) -> int:
    """The first byte after a tile-part's header."""
    at = tile_part
    while frame[at : at + 2] != _SOD:
        if frame[at : at + 1] != b"\xff":
            raise ImageError("damaged", f"the tile-part at byte {tile_part} of {len(frame)} has no data")
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return at + 2


def _check_data(frame: bytes, start: int, stop: int, longest: int | None) -> None:
    for found in _NO_CODE.finditer(frame, start, stop):
        if len(found[0]) == 2:
            raise ImageError("damaged", f"bytes {found[0].hex()} at {found.start()} of {len(frame)}, within coded data")
    if longest is None:
        return
    gap = longest_gap(frame, start, stop, longest)
    if gap:
        raise ImageError("damaged", f"{gap} zeros in a row within coded data of {stop - start} bytes")


def _most_packets(cod: bytes, width: int, height: int) -> int:
    """Packets of one component (T.800 B.6): one a layer, resolution and precinct; precincts on the image's own grid."""
    layers, levels = int.from_bytes(cod[2:4], "big"), cod[5]
    precincts = 0
    for resolution in range(levels + 1):
        scale = 1 << levels - resolution
        size = cod[10 + resolution] if cod[0] & 1 and len(cod) > 10 + resolution else 0xFF
        down, across = (-(-side // (scale << bits)) + 1 for side, bits in ((height, size >> 4), (width, size & 15)))
        precincts += down * across
    return layers * precincts
