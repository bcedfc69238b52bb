"""Reads the structure of a JPEG 2000 or HTJ2K codestream (ITU-T T.800 annex A): its header, tile-parts and true end."""

import re

from radmae_jax.data.image_error import ImageError
from radmae_jax.data.jpeg_stream import Codestream

_SOC_SIZ, _EOC, _SOT, _SOD, _COD = b"\xff\x4f\xff\x51", b"\xff\xd9", b"\xff\x90", b"\xff\x93", b"\xff\x52"
# Between packets stand at most SOP and EPH; within, a byte FF is followed by less than 90 (T.800 B.10.1, C.2.10).
_NO_CODE = re.compile(rb"\xff[\x90\x93-\xff]")
_LONGEST_RUN = 32  # bytes of 0 that arithmetic coding does not give; empty packets, a byte each, come on top


def read_siz(frame: bytes) -> Codestream | None:
    """The SIZ segment of a codestream (T.800 A.5.1), bare or inside a JP2 box; None without one."""
    start = frame.find(_SOC_SIZ, 0, 1 << 16)
    body = frame[start + 6 : start + 45]
    if start < 0 or len(body) < 38:
        return None
    width, height, x0, y0 = (int.from_bytes(body[2 + 4 * i : 6 + 4 * i], "big") for i in range(4))
    depth = body[36]  # bit 7: signed; the rest: precision - 1
    return Codestream(height - y0, width - x0, (depth & 0x7F) + 1, depth > 0x7F, int.from_bytes(body[34:36], "big"))


def check_codestream(frame: bytes, *, arithmetic: bool) -> int:
    """Walks the tile-parts, and looks for gaps in their data; returns the first byte after the end marker.

    Args:
      arithmetic: the data are coded as in T.800, not T.814 (HTJ2K), whose coder may give runs of zeros.

    Raises:
      ImageError: truncated where a tile, a tile-part or the end marker is missing; damaged where tile-parts do not
        follow each other, or data hold what the coder does not give.
    """
    start = frame.find(_SOC_SIZ, 0, 1 << 16)
    siz = frame[start + 6 : start + 45]
    width, height, x0, y0, tile_width, tile_height, tile_x, tile_y = (
        int.from_bytes(siz[2 + 4 * i : 6 + 4 * i], "big") for i in range(8)
    )
    if not tile_width or not tile_height:
        raise ImageError("damaged", f"tiles of {tile_height} x {tile_width} in the codestream")
    tiles = -(-(width - tile_x) // tile_width) * -(-(height - tile_y) // tile_height)
    packets, at = 0, start + 2
    while frame[at : at + 2] not in (_SOT, b""):
        if frame[at] != 0xFF:
            raise ImageError("damaged", f"byte {at} of {len(frame)} of the codestream is no marker")
        if frame[at : at + 2] == _COD:
            packets = _most_packets(frame[at + 4 : at + 40], width - x0, height - y0) * max(1, siz[35])
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    seen: set[int] = set()
    while frame[at : at + 2] == _SOT:
        seen.add(int.from_bytes(frame[at + 4 : at + 6], "big"))
        length = int.from_bytes(frame[at + 6 : at + 10], "big")
        # 0: the last tile-part, up to the end marker (T.800 A.4.2).
        stop = at + length if length else frame.rfind(_EOC)
        if stop > len(frame) - 2 or stop < at + 14:
            raise ImageError("truncated", f"a tile-part of {length} bytes at byte {at} of {len(frame)}")
        _check_data(frame, at, stop, packets if arithmetic else None)
        at = stop
    if frame[at : at + 2] != _EOC:
        raise ImageError("damaged", f"no tile-part and no end marker at byte {at} of {len(frame)}")
    if len(seen) < tiles:
        raise ImageError("truncated", f"{len(seen)} tiles in the codestream, expected {tiles}")
    return at + 2


def _check_data(frame: bytes, at: int, stop: int, packets: int | None) -> None:
    start = frame.find(_SOD, at + 12, stop)
    if start < 0:
        raise ImageError("damaged", f"the tile-part at byte {at} of {len(frame)} has no data")
    found = _NO_CODE.search(frame, start + 2, stop)
    if found:
        raise ImageError("damaged", f"bytes {found[0].hex()} at {found.start()} of {len(frame)}, within coded data")
    if packets is not None:
        run = frame.find(bytes(_LONGEST_RUN + packets), start + 2, stop)
        if run >= 0:
            raise ImageError("damaged", f"more than {_LONGEST_RUN + packets} zeros at byte {run} of {len(frame)}")


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
