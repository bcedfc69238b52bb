"""Reads any image file that is supported, DICOM, PNG or JPEG, into a grey array, or into its line of the index.

What a file is, its content says, not its name. EXIF orientation is ignored: an image has the sides that its file
header declares, in training as in the index.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

from radmae_jax.data import dicom
from radmae_jax.data.dicom import Radiograph
from radmae_jax.data.foreign import regular_size
from radmae_jax.data.header import Facts, Header, check_size
from radmae_jax.data.identity import Identity
from radmae_jax.data.image_error import ImageError
from radmae_jax.data.intensity import Grey, check_content, to_grey
from radmae_jax.data.jpeg import decode_jpeg
from radmae_jax.data.jpeg_stream import read_sof, read_stream
from radmae_jax.data.stored_bits import Layout

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXEL_ASPECTS = ("square", "refuse")  # what becomes of files whose pixels are not square
LUMINANCE = np.array([299, 587, 114])  # thousandths of R, G, B: ITU-R BT.601, as in JPEG's Y


@dataclass(frozen=True)
class Inspection:
    """What the index asks of one file; no pixels."""

    facts: Facts
    pixel_hash: str | None  # of the stored values; None when only the header was read
    identity: Identity


def read_image(
    path: Path, *, intensity: str = "voi", dtype: str = "uint16", pixel_aspect: str = "square"
) -> np.ndarray:
    """A file's grey image [height, width], uint16 or uint8 as `dtype` says, larger being brighter.

    PNG and JPEG carry no window: for them `voi` is the image as stored. 8-bit sources times 257 fill uint16; 16-bit
    ones lose their low byte in uint8. Colour PNG and JPEG become luminance, transparency is dropped.

    Args:
      intensity: `voi`, `percentile`, `full_range` or `poster` (see intensity.to_grey).
      pixel_aspect: of a file whose pixels are not square, `square` resamples the image to square pixels as small as the
        file's smaller pixel side; `refuse` refuses it.

    Raises:
      ImageError; OSError where the file cannot be opened; ValueError for another policy or dtype.
    """
    if dtype not in ("uint8", "uint16"):
        raise ValueError(f"dtype {dtype!r}: expected uint8 or uint16")
    if pixel_aspect not in PIXEL_ASPECTS:
        raise ValueError(f"pixel_aspect {pixel_aspect!r}: expected one of {', '.join(PIXEL_ASPECTS)}")
    image = _load(path, pixels=True)
    assert image.stored is not None
    facts = image.header.facts
    if facts.pixel_aspect != 1.0 and pixel_aspect == "refuse":
        raise ImageError(
            "unsupported_pixels", f"pixels {facts.pixel_aspect:.4g} times as high as wide, expected square"
        )
    as_stored = facts.syntax in ("png", "jpeg") and intensity == "voi"
    grey = to_grey(image.stored, image.header.grey, "full_range" if as_stored else intensity)
    grey = _resample(grey, (facts.height, facts.width))
    if grey.dtype == dtype:
        return grey
    if dtype == "uint16":
        return grey.astype(np.uint16) * np.uint16(257)
    return (grey >> 8).astype(np.uint8)


def inspect(path: Path, *, headers_only: bool = False) -> Inspection:
    """Facts, identity and pixel hash of one file that `read_image` will take.

    Raises:
      ImageError, OSError.
    """
    image = _load(path, pixels=not headers_only)
    if image.stored is None:
        return Inspection(image.header.facts, None, image.header.identity)
    check_content(image.stored, image.header.grey)
    return Inspection(image.header.facts, hash_pixels(image.stored), image.header.identity)


def downscale(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image [H, W] at a smaller size, its dtype kept; as it is where it has that size.

    A triangle as wide as the scale weighs the pixels, so nothing aliases and nothing rings.
    """
    return _resample(image, size)


def _resample(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """As `downscale`; a side that grows is interpolated linearly."""
    if image.shape == size:
        return image
    pixels = Image.fromarray(image.astype(np.float32)).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.round(np.asarray(pixels)).astype(image.dtype)


def hash_pixels(stored: np.ndarray) -> str:
    """32 hexadecimal digits over the shape and the values, as the narrowest of little-endian uint8, uint16, int16 and
    int32 that holds them: the same pixels hash alike in every lossless encoding and container depth, and none is copied
    that is in it already."""
    low, high = int(stored.min(initial=0)), int(stored.max(initial=0))
    narrowest = next(
        dtype for dtype in ("<u1", "<u2", "<i2", "<i4") if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max
    )
    digest = hashlib.blake2b(np.array(stored.shape, "<i8").tobytes() + narrowest.encode(), digest_size=16)
    rows = max(1, (1 << 20) // max(1, stored.shape[1]))
    for start in range(0, len(stored), rows):
        block = stored[start : start + rows]
        same = block.dtype.itemsize == np.dtype(narrowest).itemsize and block.dtype.isnative
        # Values that fit both have the same bits with and without sign.
        digest.update(np.ascontiguousarray(block if same else block.astype(narrowest)).data)
    return digest.hexdigest()


def _load(path: Path, *, pixels: bool) -> Radiograph:
    regular_size(path)  # before it is opened: a FIFO would wait for a writer
    with path.open("rb") as file:
        head = file.read(132)
    if head[128:] != b"DICM" and head.startswith((PNG_SIGNATURE, b"\xff\xd8\xff")):
        data = path.read_bytes()
        return _load_png(data, pixels) if head.startswith(PNG_SIGNATURE) else _load_jpeg(data, pixels)
    return dicom.load(path, pixels=pixels)


def _load_png(data: bytes, pixels: bool) -> Radiograph:
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    bits = 16 if data[24:25] == b"\x10" else 8  # depths below 8 are widened to 8
    header = _plain_header("png", height, width, bits)
    end = _end_of_png(data)
    if not pixels:
        return Radiograph(header, None)
    try:
        image = imagecodecs.png_decode(data[:end])
    except MemoryError:
        raise
    except Exception as error:
        raise ImageError("decode_failed", f"{type(error).__name__} on {len(data)} bytes, png") from None
    return Radiograph(header, _checked(_luminance(image), height, width, "png"))


def _end_of_png(data: bytes) -> int:
    """The first byte after the IEND chunk, whatever stands behind it."""
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IEND" and end <= len(data):
            return end
        at = end
    raise ImageError("truncated", f"no end marker in a file of {len(data)} bytes, png")


def _load_jpeg(data: bytes, pixels: bool) -> Radiograph:
    sof = read_sof(data)
    if sof is None:
        raise ImageError("decode_failed", f"no image header in a JPEG file of {len(data)} bytes")
    header = _plain_header("jpeg", sof.height, sof.width, max(8, sof.precision))
    stream = read_stream(data)
    stored = _checked(decode_jpeg(data, stream), sof.height, sof.width, "jpeg") if pixels else None
    return Radiograph(header, stored)


def _plain_header(syntax: str, height: int, width: int, bits: int) -> Header:
    check_size(height, width)
    facts = Facts(height, width, bits, "MONOCHROME2", syntax, lossy=syntax == "jpeg")
    layout = Layout(height, width, 8 if bits <= 8 else 16, bits, bits - 1, False)
    return Header(facts, layout, Grey(bits), Identity())


def _checked(image: np.ndarray, height: int, width: int, syntax: str) -> np.ndarray:
    if image.shape != (height, width):
        raise ImageError("decode_failed", f"decoded to {image.shape}, {syntax}")
    return image


def _luminance(image: np.ndarray) -> np.ndarray:
    """Grey values [H, W], uint8 or uint16, of [H, W] or [H, W, channels]."""
    if image.ndim == 2:
        return image
    if image.shape[2] < 3:  # grey and transparency
        return np.ascontiguousarray(image[:, :, 0])
    weighted = image[:, :, :3].astype(np.int32) @ LUMINANCE.astype(np.int32)
    return ((weighted + 500) // 1000).astype(image.dtype)
