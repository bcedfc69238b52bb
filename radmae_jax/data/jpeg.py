"""Decodes JPEG streams and refuses those whose entropy-coded data do not fill the frame.

Decoders fill what a damaged scan does not hold with grey and only warn. The 8-bit decoder used here reports its
warnings; it looks at 12-bit DCT too. In a lossless process the decoded values tell how many bits they were coded in.
"""

import re

import imagecodecs
import numpy as np
import simplejpeg

from radmae_jax.data.gaps import GAP, longest_gap
from radmae_jax.data.image_error import ImageError
from radmae_jax.data.jpeg_stream import (
    BASELINE,
    EXTENDED,
    LOSSLESS,
    PROGRESSIVE,
    Scan,
    Stream,
    plain_stream,
)

# Bytes between the last code and the end marker that are taken for padding: encoders fill up to even lengths and words.
_PADDING = 8
_LONGEST_RUN = 32  # bytes of 0 in a DCT scan: no block has so many equal coefficients
_EXTRANEOUS = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")


def decode_jpeg(data: bytes, stream: Stream) -> np.ndarray:
    """Values [H, W], uint8 or uint16, of a complete stream; colour becomes luminance.

    Args:
      stream: what `read_stream` found in `data`.

    Raises:
      ImageError: damaged where the entropy-coded data are too short or too long for the frame; colour for four
        components; unsupported_syntax for other processes, such as arithmetic coding, in which gaps do not show;
        decode_failed where the decoder gives up.
    """
    header = stream.header
    if header.components > (1 if stream.process == LOSSLESS else 3):
        raise ImageError("colour", f"{header.components} components in the JPEG stream")
    if stream.process not in (BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS):
        raise ImageError("unsupported_syntax", f"JPEG process {stream.process:02X} (T.81 table B.1)")
    for scan in stream.scans:
        _check_scan(data[scan.start : scan.stop], scan, stream)
    if stream.process != LOSSLESS and header.precision == 8:
        return _decode_8_bit(plain_stream(data, stream))
    try:
        pixels = imagecodecs.jpeg8_decode(data[: stream.end])
    except MemoryError:
        raise
    except Exception as error:  # of the codec's own class
        raise _failed(error, data) from None
    if stream.process == LOSSLESS:
        _check_lossless(data, stream, pixels)
    else:
        _check_12_bit(data, stream)
    return pixels


def _decode_8_bit(data: bytes) -> np.ndarray:
    """Decodes a stream of `plain_stream`: all that the decoder may still warn of is what is wrong with the scans."""
    try:
        return _decode_grey(data, strict=True)
    except ValueError as error:
        warning = str(error)
    # The first warning ends the decoding. Bytes before the end marker are the last that it looks at.
    extraneous = _EXTRANEOUS.match(warning)
    if extraneous and int(extraneous[1]) <= _PADDING:
        return _decode_grey(data, strict=False)
    if extraneous:
        raise ImageError("damaged", f"{extraneous[1]} bytes of the scan are left when the frame is full")
    if warning.startswith(("Corrupt JPEG data", "Premature end", "Inconsistent")):
        raise ImageError("damaged", f"{warning.removeprefix('Corrupt JPEG data: ')}, in {len(data)} bytes of JPEG")
    raise ImageError("decode_failed", f"{warning}, in {len(data)} bytes of JPEG")


def _decode_grey(data: bytes, *, strict: bool) -> np.ndarray:
    # The exact inverse DCT, as other decoders have it.
    pixels = simplejpeg.decode_jpeg(data, colorspace="GRAY", fastdct=False, fastupsample=False, strict=strict)
    return pixels[:, :, 0]


def _failed(error: Exception, data: bytes) -> ImageError:
    return ImageError("decode_failed", f"{type(error).__name__} on {len(data)} bytes of JPEG")


def _check_scan(coded: bytes, scan: Scan, stream: Stream) -> None:
    """Looks for what no encoder writes: restart markers out of turn or of another number, gaps of equal bytes."""
    restarts = [marker[1] & 7 for marker in re.findall(rb"\xff[\xd0-\xd7]", coded)]
    expected = len(restarts)
    if stream.header.components == 1:
        unit = 1 if stream.process == LOSSLESS else 8
        units = -(-stream.header.height // unit) * -(-stream.header.width // unit)
        expected = -(-units // scan.restart_interval) - 1 if scan.restart_interval else 0
    if len(restarts) != expected or restarts != [number % 8 for number in range(len(restarts))]:
        raise ImageError("damaged", f"{len(restarts)} restart markers in the scan or out of turn, expected {expected}")
    if re.search(rb"\xff\xff+\0", coded):
        raise ImageError("damaged", "bytes FF in a row within the scan")
    # Where the code of zeros stands for coefficients or differences other than none, a long run of it is no picture.
    if stream.process == LOSSLESS and next(iter(scan.dc), 0):
        gap = longest_gap(coded, 0, len(coded), GAP)
    elif stream.process in (BASELINE, EXTENDED) and any(next(iter(table), 0) for table in (scan.dc, scan.ac)):
        gap = _LONGEST_RUN if bytes(_LONGEST_RUN) in coded else 0
    else:
        gap = 0
    if gap:
        raise ImageError("damaged", f"{gap} zeros in a row within a scan of {len(coded)} bytes")


def _check_lossless(data: bytes, stream: Stream, pixels: np.ndarray) -> None:
    """Compares the bytes of the scan with those that the decoded values take (T.81 H.1.2)."""
    if len(stream.scans) != 1 or stream.header.components != 1:
        return
    scan, (height, width) = stream.scans[0], pixels.shape
    if scan.restart_interval % width:
        return  # intervals that end within a line are not allowed (T.81 H.1.1)
    lines = min(scan.restart_interval // width or height, height)
    intervals = -(-height // lines)
    coded = data[scan.start : scan.stop]
    have = len(coded) - coded.count(b"\xff\x00") - 2 * (intervals - 1)
    bits = _bits_of_lines(pixels, stream.header.precision, scan, lines)
    need = int(sum(-(-int(bits[start : start + lines].sum()) // 8) for start in range(0, height, lines)))
    if not need <= have <= need + _PADDING * intervals:
        raise ImageError("damaged", f"{have} bytes of entropy-coded data; the decoded frame takes {need}")


def _bits_of_lines(pixels: np.ndarray, precision: int, scan: Scan, lines: int) -> np.ndarray:
    """Bits that the values [H, W] of each line take, int64 [H]; the first of every `lines` lines is predicted alone."""
    cost = _cost(scan.dc)
    values = (pixels >> scan.point_transform).astype(np.uint16, copy=False)
    first = np.uint16(1 << precision - scan.point_transform - 1)
    bits = np.empty(len(values), np.int64)
    rows = max(1, (1 << 18) // values.shape[1])  # a block that stays in the cache
    difference = np.empty((rows, values.shape[1]), np.uint16)
    each = np.empty((rows, values.shape[1]), np.uint8)
    for start in range(0, len(values), rows):
        block = values[start : start + rows]
        above = values[start - 1 : start + len(block) - 1] if start else np.vstack([block[:1], block[:-1]])
        # Differences are modulo 2^16 (T.81 H.1.2.1), as unsigned arithmetic has them.
        part = difference[: len(block)]
        np.subtract(block[:, 0], above[:, 0], out=part[:, 0])
        np.subtract(block[:, 1:], _predict(scan.selection, block[:, :-1], above[:, 1:], above[:, :-1]), out=part[:, 1:])
        for row in range(-start % lines, len(block), lines):
            np.subtract(block[row, :1], first, out=part[row, :1])
            np.subtract(block[row, 1:], block[row, :-1], out=part[row, 1:])
        np.take(cost, part, out=each[: len(block)], mode="clip")
        bits[start : start + len(block)] = each[: len(block)].sum(axis=1, dtype=np.int64)
    return bits


def _cost(code_lengths: dict[int, int]) -> np.ndarray:
    """Bits of every difference modulo 2^16, uint8 [65536]: the code of its category, and the bits that follow it."""
    lengths = np.full(17, 64, np.int64)  # a category without a code is never coded
    for symbol, length in code_lengths.items():
        if symbol <= 16:
            lengths[symbol] = length
    magnitudes = np.arange(32769)
    categories = np.ceil(np.log2(magnitudes + 1)).astype(np.int64)  # 16 is 32,768 alone, and no bits follow
    categories = np.concatenate([categories, categories[1:32768][::-1]])
    return (lengths + np.array([*range(16), 0]))[categories].astype(np.uint8)


def _predict(selection: int, left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """What the neighbours, uint16, predict, modulo 2^16 (T.81 table H.1)."""
    if selection == 2:
        return above
    if selection == 3:
        return corner
    if selection == 4:
        return left + above - corner
    if selection in (5, 6):  # halves have a sign
        one, other = (left, above) if selection == 5 else (above, left)
        return one + ((other.astype(np.int32) - corner) >> 1).astype(np.uint16)
    if selection == 7:
        return ((left.astype(np.uint32) + above) >> 1).astype(np.uint16)
    return left


def _check_12_bit(data: bytes, stream: Stream) -> None:
    """Decodes once more as if samples had 8 bits: entropy coding is the same, and the 8-bit decoder reports warnings.

    The pixels it gives are of no use. Such files are rare, so a second decoding is affordable.
    """
    at = stream.precision_at
    _decode_8_bit(plain_stream(data[:at] + b"\x08" + data[at + 1 :], stream))
