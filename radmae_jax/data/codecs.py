"""Turns the bytes of one DICOM frame into its stored integer pixel values, by transfer syntax.

Compressed frames go to imagecodecs (BSD), all in one shape: look at the codestream's own header, compare it with
what the DICOM header declares *before* anything is allocated, decode, then bring sign and unused bits in order.
"""

from dataclasses import dataclass

import imagecodecs
import numpy as np

REASONS = (
    "not_dicom",  # neither DICOM nor PNG nor JPEG
    "no_pixels",  # a DICOM object without pixel data
    "truncated",  # fewer bytes than the header declares
    "too_large",
    "too_small",
    "multi_frame",
    "colour",
    "unsupported_syntax",
    "unsupported_pixels",  # 1, 32 or 64 bits, float
    "decode_failed",
    "constant",  # one value everywhere
    "unreadable",  # the file system or the parser gave up
    "crashed",  # the decoder took its process with it
    "timeout",
)

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
NATIVE = frozenset({IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED})
_FAMILY = "1.2.840.10008.1.2.4."
JPEG = frozenset(_FAMILY + s for s in ("50", "51", "57", "70"))
JPEG_LS = frozenset(_FAMILY + s for s in ("80", "81"))
JPEG_2000 = frozenset(_FAMILY + s for s in ("90", "91"))
HTJ2K = frozenset(_FAMILY + s for s in ("201", "202", "203"))
DCT = frozenset({_FAMILY + "50", _FAMILY + "51"})
LOSSY = DCT | {_FAMILY + s for s in ("81", "91", "203")}  # may be lossy: see Facts.lossy
ENCAPSULATED = JPEG | JPEG_LS | JPEG_2000 | HTJ2K | {RLE}


class ImageError(Exception):
    """One file cannot become an image. `reason` is one of REASONS; `detail` names sizes and syntaxes, never a
    tag's text or a path, so that both may be logged."""

    def __init__(self, reason: str, detail: str):
        if reason not in REASONS:
            raise ValueError(f"reason {reason!r} is not one of {REASONS}")
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True)
class Layout:
    """How the header says that pixels are stored (PS3.3 C.7.6.3.1): sides in pixels, depths in bits."""

    height: int
    width: int
    allocated: int  # 8 or 16
    stored: int  # 1 .. allocated
    high_bit: int  # stored - 1 .. allocated - 1
    signed: bool

    @property
    def shift(self) -> int:
        """Unused bits below the pixel's lowest bit."""
        return self.high_bit + 1 - self.stored

    @property
    def dtype(self) -> np.dtype:
        """Of the stored pixel values."""
        return np.dtype(("i" if self.signed else "u") + ("1" if self.stored <= 8 else "2"))


@dataclass(frozen=True)
class Codestream:
    """What a compressed frame says of itself."""

    height: int
    width: int
    precision: int
    signed: bool
    components: int


def read_codestream(frame: bytes, syntax: str) -> Codestream:
    """The size and depth in a JPEG, JPEG-LS or JPEG 2000 frame's own header. Errors: ImageError."""
    header = _read_siz(frame) if syntax in JPEG_2000 | HTJ2K else read_sof(frame)
    if header is None:
        raise ImageError("decode_failed", f"no image header in a frame of {len(frame)} bytes, {syntax}")
    return header


def read_sof(frame: bytes) -> Codestream | None:
    """The start-of-frame segment of a JPEG or JPEG-LS stream (ITU-T T.81 B.2.2), None without one."""
    at = 2
    while at + 4 <= len(frame) and frame[:2] == b"\xff\xd8":
        if frame[at] != 0xFF:
            return None
        marker = frame[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in (0x01, *range(0xD0, 0xD9)):  # markers without a length
            at += 2
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            body = frame[at + 4 : at + 10]
            if len(body) < 6:
                return None
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            return Codestream(height, width, body[0], False, body[5])
        else:
            at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


def _read_siz(frame: bytes) -> Codestream | None:
    """The SIZ segment of a JPEG 2000 codestream (ITU-T T.800 A.5.1), bare or inside a JP2 box."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 1 << 16)
    body = frame[start + 6 : start + 45]
    if start < 0 or len(body) < 38:
        return None
    width, height, x0, y0 = (int.from_bytes(body[2 + 4 * i : 6 + 4 * i], "big") for i in range(4))
    depth = body[36]  # bit 7: signed; the rest: precision - 1
    return Codestream(height - y0, width - x0, (depth & 0x7F) + 1, depth > 0x7F, int.from_bytes(body[34:36], "big"))


def decode_frame(frame: bytes, syntax: str, layout: Layout) -> np.ndarray:
    """Stored pixel values [height, width], dtype `layout.dtype`, of one encapsulated frame.

    Errors: ImageError (unsupported_syntax, colour, truncated, decode_failed).
    """
    if syntax == RLE:
        return settle(_decode_rle(frame, layout), layout, layout.allocated, False, lossy=False)
    if syntax not in ENCAPSULATED:
        raise ImageError("unsupported_syntax", syntax)
    header = read_codestream(frame, syntax)
    if header.components != 1:
        raise ImageError("colour", f"{header.components} components in the codestream, limit 1")
    if (header.height, header.width) != (layout.height, layout.width):
        raise ImageError(
            "decode_failed",
            f"codestream of {header.height} x {header.width}, header says {layout.height} x {layout.width}",
        )
    if header.precision > 16:
        raise ImageError("unsupported_pixels", f"{header.precision} bits in the codestream, limit 16")
    # Both families end in FF D9. Decoders fill what is missing with grey and only warn: refuse it here.
    if b"\xff\xd9" not in frame[-4096:]:
        raise ImageError("truncated", f"no end marker in a frame of {len(frame)} bytes, {syntax}")
    try:
        if syntax in JPEG:
            pixels = imagecodecs.jpeg8_decode(frame)
        elif syntax in JPEG_LS:
            pixels = imagecodecs.jpegls_decode(frame)
        else:
            # HTJ2K too: imagecodecs.htj2k_decode is twice as fast but returns an array, half of it memory as it was
            # found, where OpenJPH gives up on a damaged frame (2026.3.6); OpenJPEG raises.
            pixels = imagecodecs.jpeg2k_decode(frame)
    except MemoryError:
        raise
    except Exception as error:  # each codec has its own class, derived from RuntimeError or ValueError
        raise ImageError("decode_failed", f"{type(error).__name__} on {len(frame)} bytes, {syntax}") from None
    if pixels.shape != (layout.height, layout.width):
        raise ImageError("decode_failed", f"decoded to {pixels.shape}, {syntax}")
    return settle(pixels, layout, header.precision, header.signed, lossy=syntax in LOSSY)


def _decode_rle(frame: bytes, layout: Layout) -> np.ndarray:
    """DICOM's PackBits (PS3.5 annex G): one segment a byte of the pixel, the highest first.

    Segment by segment through packbits_decode: imagecodecs.dicomrle_decode dies of a damaged frame (2026.3.6).
    """
    bytes_a_pixel = layout.allocated // 8
    pixels = layout.height * layout.width
    if len(frame) < 64:
        raise ImageError("truncated", f"{len(frame)} bytes of RLE, its header alone has 64")
    segments, *starts = np.frombuffer(frame, "<u4", 1 + bytes_a_pixel).tolist()
    if segments != bytes_a_pixel or starts != sorted(starts) or starts[0] < 64:
        raise ImageError("decode_failed", f"{segments} RLE segments, expected {bytes_a_pixel}")
    if starts[-1] >= len(frame):
        raise ImageError("truncated", f"an RLE segment begins at byte {starts[-1]} of {len(frame)}")
    planes = np.empty((pixels, bytes_a_pixel), np.uint8)
    for plane, (start, stop) in enumerate(zip(starts, [*starts[1:], len(frame)], strict=True)):
        flat = _unpack_bits(frame[start:stop])
        if len(flat) < pixels:
            raise ImageError("truncated", f"{len(flat)} bytes in an RLE segment, expected {pixels}")
        planes[:, bytes_a_pixel - 1 - plane] = np.frombuffer(flat, np.uint8, pixels)
    return planes.view(f"<u{bytes_a_pixel}").reshape(layout.height, layout.width)


def _unpack_bits(segment: bytes) -> bytes:
    # A segment is padded to an even length with a zero, which reads as the head of a literal that never comes.
    for candidate in (segment, segment[:-1]):
        try:
            return bytes(imagecodecs.packbits_decode(candidate))
        except imagecodecs.PackbitsError:
            continue
    raise ImageError("decode_failed", f"damaged RLE segment of {len(segment)} bytes")


def decode_native(data: bytes, layout: Layout, *, big_endian: bool = False, words: bool = False) -> np.ndarray:
    """Stored pixel values [height, width], dtype `layout.dtype`, of uncompressed bytes.

    `words`: 8-bit pixels inside 16-bit words, swapped in pairs when big endian (PS3.5 8.1.1, 8.1.2). Bytes after
    the last pixel (the padding to an even length, sometimes more) are ignored. Errors: ImageError (truncated).
    """
    bytes_a_pixel = layout.allocated // 8
    pixels = layout.height * layout.width
    swapped_odd = big_endian and words and bytes_a_pixel == 1
    need = pixels * bytes_a_pixel + (pixels % 2 if swapped_odd else 0)
    if len(data) < need:
        raise ImageError("truncated", f"{len(data)} bytes of pixels, expected {need}")
    if swapped_odd:
        values = np.frombuffer(data, ">u2", need // 2).astype("<u2").view("u1")[:pixels]
    else:
        values = np.frombuffer(data, (">u" if big_endian else "<u") + str(bytes_a_pixel), pixels)
    return settle(values.reshape(layout.height, layout.width), layout, layout.allocated, False, lossy=False)


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


def join_fragments(items: list[bytes], offsets: bytes) -> bytes:
    """One frame from the fragments of a single-frame image: they are consecutive pieces of it (PS3.5 A.4).

    A second frame hidden there (an offset table of several entries) is refused: ImageError (multi_frame).
    """
    frames = len(offsets) // 4
    if frames > 1:
        raise ImageError("multi_frame", f"{frames} frames in the offset table, limit 1")
    return b"".join(items)
