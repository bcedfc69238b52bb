"""Brings decoded pixels to stored values: sign, unused bits, and codestreams that are deeper than the header says.

One rule for all compressed transfer syntaxes: the codestream is trusted. Where it holds values that do not fit into
BitsStored, the image has the depth that its values need, and is flagged; nothing wraps around. Lossy coding overshoots
by a little at edges: that is clipped, and flagged. In containers without a depth of their own (native, RLE) the bits
outside BitsStored belong to no pixel (PS3.5 8.1.1): they are cleared, and flagged unless the header gives them to an
overlay or they repeat the sign.
"""

from dataclasses import dataclass

import numpy as np

from radmae_jax.data.jpeg_stream import Codestream

_OVERSHOOT = 16  # a lossy value may lie outside the stored range by one part in so many of it


@dataclass(frozen=True)
class Layout:
    """How the header says that pixels are stored (PS3.3 C.7.6.3.1): sides in pixels, depths in bits."""

    height: int
    width: int
    allocated: int  # 8 or 16
    stored: int  # 1 .. allocated
    high_bit: int  # stored - 1 .. allocated - 1
    signed: bool
    overlays: int = 0  # mask of the bits of a pixel that the header gives to overlays

    @property
    def shift(self) -> int:
        """Unused bits below the pixel's lowest bit."""
        return self.high_bit + 1 - self.stored

    @property
    def dtype(self) -> np.dtype:
        """Of the stored pixel values."""
        return np.dtype(("i" if self.signed else "u") + ("1" if self.stored <= 8 else "2"))

    @property
    def span(self) -> tuple[int, int]:
        """The smallest and the largest stored value there can be."""
        low = -(1 << self.stored - 1) if self.signed else 0
        return low, low + (1 << self.stored) - 1


def fit_codestream(
    pixels: np.ndarray, layout: Layout, header: Codestream, *, lossy: bool, flags: set[str]
) -> np.ndarray:
    """Decoded values [H, W] to stored values, of `layout.dtype` where they fit and of 16 bits where they do not.

    Args:
      header: what the codestream says of its depth and sign.
      lossy: whether values may have overshot.
      flags: takes "deep_codestream" or "overshoot".
    """
    precision = header.precision
    if layout.overlays:
        pixels = pixels & ~np.array(layout.overlays).astype(pixels.dtype)
    low, high = layout.span
    shifted = layout.shift and precision > layout.high_bit
    if precision <= layout.stored or shifted:
        return settle(pixels, layout, precision, header.signed, lossy=lossy and not shifted)
    values = pixels
    if layout.signed and not header.signed:
        if int(pixels.max()) <= high - low:  # the sign is that of BitsStored
            return settle(pixels, layout, layout.stored, False, lossy=False)
        values = _as_signed(pixels, precision)
    elif header.signed and not layout.signed and int(pixels.min()) < 0:
        values = pixels.astype(np.int32) & ((1 << precision) - 1)
    least, most = int(values.min()), int(values.max())
    if low <= least and most <= high:
        return values.astype(layout.dtype)
    if lossy and max(low - least, most - high) * _OVERSHOOT <= high - low:
        flags.add("overshoot")
        return np.clip(values, low, high).astype(layout.dtype)
    flags.add("deep_codestream")
    return values.astype("i2" if layout.signed else "u2")


def bits_needed(low: int, high: int, signed: bool) -> int:
    """The stored bits that hold all values from `low` to `high`."""
    if not signed:
        return max(1, high.bit_length())
    return 1 + max(high.bit_length(), (-1 - low).bit_length() if low < 0 else 0)


def clear_unused(raw: np.ndarray, layout: Layout, flags: set[str]) -> np.ndarray:
    """Container values [H, W], unsigned of `layout.allocated` bits, to stored values of `layout.dtype`.

    Args:
      flags: takes "unused_bits" where bits were set that belong to no pixel.
    """
    stored, signed = layout.stored, layout.signed
    if raw.dtype.byteorder == ">":
        raw = raw.astype(raw.dtype.newbyteorder("="))
    if stored == layout.allocated:
        return raw.view(layout.dtype)
    if not signed and not layout.shift and int(raw.max()) < 1 << stored:
        return raw.astype(layout.dtype, copy=False)
    values = settle(raw, layout, layout.allocated, False, lossy=False)
    if layout.shift or not signed or not np.array_equal(raw.view(f"i{raw.dtype.itemsize}"), values):
        unused = (1 << layout.allocated) - 1 & ~(((1 << stored) - 1) << layout.shift | layout.overlays)
        if np.any(raw & raw.dtype.type(unused)):
            flags.add("unused_bits")
    return values


def _as_signed(pixels: np.ndarray, precision: int) -> np.ndarray:
    """Unsigned values read again as two's complement of `precision` bits, int32."""
    top = 1 << precision - 1
    return (pixels.astype(np.int32) ^ top) - top


def settle(pixels: np.ndarray, layout: Layout, precision: int, signed: bool, *, lossy: bool) -> np.ndarray:
    """Container values [H, W] to stored values [H, W] of `layout.dtype`: unused bits (and overlays embedded in
    them) cleared, sign extended from the pixel's own highest bit.

    `precision` and `signed` are those of the container or codestream. A codestream that is unsigned where Pixel
    Representation says signed, or the reverse, carries the same bits (pydicom #1149, #2009): its low `precision`
    bits are read again. Lossy values beyond the stored range are overshoot, not flags, and are clipped.
    """
    bits = min(precision, layout.stored)
    if lossy and (signed == layout.signed or not layout.signed):
        values = pixels.astype(np.int32)
        if signed != layout.signed:
            values &= (1 << precision) - 1
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if layout.signed else (0, (1 << bits) - 1)
        return np.clip(values, low, high).astype(layout.dtype)
    raw = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("=")).view(f"u{pixels.dtype.itemsize}")
    if layout.shift and precision > layout.high_bit:
        raw = raw >> layout.shift
    values = (raw & ((1 << bits) - 1)).astype(f"u{layout.dtype.itemsize}")
    if layout.signed:
        top = 1 << bits - 1  # wraps around on purpose: 0b1000 of 4 bits becomes -8
        values = ((values ^ top) - top).view(layout.dtype)
    return values
