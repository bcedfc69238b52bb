"""Decodes the bytes of one DICOM frame to its stored integer pixel values, by transfer syntax.

Compressed frames go to permissively licensed decoders, all in one shape: look at the codestream's own header and
structure, compare them with what the DICOM header declares *before* anything is allocated, decode, then bring sign and
unused bits in order.
"""

import imagecodecs
import numpy as np

from radmae_jax.data.image_error import REASONS, ImageError
from radmae_jax.data.jpeg import decode_jpeg
from radmae_jax.data.jpeg2000_stream import check_codestream, read_siz
from radmae_jax.data.jpeg_stream import LOSSLESS_LS, Codestream, read_sof, read_stream
from radmae_jax.data.stored_bits import Layout, clear_unused, fit_codestream, settle

__all__ = [
    "REASONS", "Codestream", "ImageError", "Layout", "decode_frame", "decode_native", "join_fragments",
    "read_codestream", "read_sof", "refuse_multiple", "settle",
]  # fmt: skip

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
_BEGINNINGS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x0cjP  ")  # of a JPEG or JPEG 2000 stream, and of a JP2 box
_PADDING = 129  # zeros that may end RLE data, the longest literal run
ENCAPSULATED = JPEG | JPEG_LS | JPEG_2000 | HTJ2K | {RLE}


def read_codestream(frame: bytes, syntax: str) -> Codestream:
    """The size and depth in a JPEG, JPEG-LS or JPEG 2000 frame's own header.

    Raises:
      ImageError (decode_failed) where there is none.
    """
    header = read_siz(frame) if syntax in JPEG_2000 | HTJ2K else read_sof(frame)
    if header is None:
        raise ImageError("decode_failed", f"no image header in a frame of {len(frame)} bytes, {syntax}")
    return header


def decode_frame(frame: bytes, syntax: str, layout: Layout, flags: set[str] | None = None) -> np.ndarray:
    """Stored pixel values [height, width] of one encapsulated frame.

    The dtype is `layout.dtype`, or a wider one where a codestream holds values that BitsStored does not (see
    `stored_bits.fit_codestream`).

    Args:
      flags: takes what is odd about the frame, see flags.FLAGS.

    Raises:
      ImageError: unsupported_syntax, colour, multi_frame, truncated, damaged, unsupported_pixels, decode_failed.
    """
    flags = set() if flags is None else flags
    if syntax == RLE:
        return clear_unused(_decode_rle(frame, layout), layout, flags)
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
    stream = None if syntax in JPEG_2000 | HTJ2K else read_stream(frame)
    end = check_codestream(frame) if stream is None else stream.end
    if frame[end:].lstrip(b"\0").startswith(_BEGINNINGS):
        raise ImageError("multi_frame", f"a second codestream behind the first, which has {end} bytes, limit 1")
    try:
        if stream is None:
            # HTJ2K too: imagecodecs.htj2k_decode is twice as fast but returns an array, half of it memory as it was
            # found, where OpenJPH gives up on a damaged frame (2026.3.6); OpenJPEG raises.
            pixels = imagecodecs.jpeg2k_decode(frame[:end])
        elif stream.process == LOSSLESS_LS:
            pixels = imagecodecs.jpegls_decode(frame[:end])
        else:
            pixels = decode_jpeg(frame, stream)
    except (MemoryError, ImageError):
        raise
    except Exception as error:  # each codec has its own class, derived from RuntimeError or ValueError
        raise ImageError("decode_failed", f"{type(error).__name__} on {len(frame)} bytes, {syntax}") from None
    if pixels.shape != (layout.height, layout.width):
        raise ImageError("decode_failed", f"decoded to {pixels.shape}, {syntax}")
    return fit_codestream(pixels, layout, header, lossy=syntax in LOSSY, flags=flags)


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
        flat = _unpack_bits(frame[start:stop], pixels)
        planes[:, bytes_a_pixel - 1 - plane] = np.frombuffer(flat, np.uint8, pixels)
    return planes.view(f"<u{bytes_a_pixel}").reshape(layout.height, layout.width)


def _unpack_bits(segment: bytes, pixels: int) -> bytes:
    """Exactly `pixels` bytes of a segment, which may end in zeros that pad it."""
    bare = segment.rstrip(b"\0")
    zeros = len(segment) - len(bare)
    lengths = dict.fromkeys((zeros, zeros - 1, *range(min(zeros, _PADDING))))  # as it is, without the pad byte, others
    found = []
    for kept in lengths:
        if kept >= 0:
            flat = _unpacked(bare + bytes(kept))
            found.append(len(flat))
            if len(flat) == pixels:
                return flat
    have = next((count for count in found if count), 0)
    if not have:
        raise ImageError("decode_failed", f"damaged RLE segment of {len(segment)} bytes")
    refuse_multiple(have, pixels)
    reason = "truncated" if max(found) < pixels else "damaged"
    raise ImageError(reason, f"{have} bytes in an RLE segment, expected {pixels}")


def _unpacked(segment: bytes) -> bytes:
    """A segment's bytes; none where a run goes on after its end."""
    try:
        return bytes(imagecodecs.packbits_decode(segment))
    except imagecodecs.PackbitsError:
        return b""


def decode_native(
    data: bytes, layout: Layout, *, big_endian: bool = False, words: bool = False, flags: set[str] | None = None
) -> np.ndarray:
    """Stored pixel values [height, width], dtype `layout.dtype`, of uncompressed bytes.

    `words`: 8-bit pixels inside 16-bit words, swapped in pairs when big endian (PS3.5 8.1.1, 8.1.2). Bytes after
    the last pixel (the padding to an even length, sometimes more) are ignored. The result may share memory with `data`.

    Args:
      flags: takes what is odd about the pixels, see flags.FLAGS.

    Raises:
      ImageError (truncated).
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
    values = values.reshape(layout.height, layout.width)
    return clear_unused(values, layout, set() if flags is None else flags)


def refuse_multiple(have: int, need: int) -> None:
    """Refuses pixel data of a complete number of images: frames or samples that the header does not mention, or a
    deeper pixel. Its first part would be another image.

    Args:
      have: bytes of pixel data.
      need: bytes that Rows, Columns and BitsAllocated ask for.

    Raises:
      ImageError (unsupported_pixels).
    """
    times = have // need
    if times > 1 and have - times * need <= times * need % 2:  # an odd number of bytes is padded by one
        raise ImageError("unsupported_pixels", f"{have} bytes of pixels, {times} times the {need} of one image")


def join_fragments(items: list[bytes], offsets: bytes) -> bytes:
    """One frame from the fragments of a single-frame image: they are consecutive pieces of it (PS3.5 A.4).

    A second frame hidden there (an offset table of several entries) is refused: ImageError (multi_frame).
    """
    frames = len(offsets) // 4
    if frames > 1:
        raise ImageError("multi_frame", f"{frames} frames in the offset table, limit 1")
    return b"".join(items)
