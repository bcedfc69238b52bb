"""Turns any image file that is supported, DICOM, PNG or JPEG, into a grey array, or into its line of the index.

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
from radmae_jax.data.codecs import ImageError, Layout, read_sof
from radmae_jax.data.dicom import Radiograph
from radmae_jax.data.header import Facts, Header, check_size
from radmae_jax.data.identity import Identity
from radmae_jax.data.intensity import Grey, check_content, to_grey

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
LUMINANCE = np.array([299, 587, 114])  # thousandths of R, G, B: ITU-R BT.601, as in JPEG's Y


@dataclass(frozen=True)
class Inspection:
    """What the index asks of one file; no pixels."""

    facts: Facts
    pixel_hash: str | None  # of the stored values; None when only the header was read
    identity: Identity


def read_image(path: Path, *, intensity: str = "voi", dtype: str = "uint16") -> np.ndarray:
    """A file's grey image [height, width], uint16 or uint8 as `dtype` says, larger being brighter.

    `intensity` is `voi`, `percentile`, `full_range` or `poster` (see intensity.to_grey). PNG and JPEG carry no
    window: for them `voi` is the image as stored. 8-bit sources times 257 fill uint16; 16-bit ones lose their low
    byte in uint8. Colour PNG and JPEG become luminance, transparency is dropped.
    Errors: ImageError; OSError where the file cannot be opened; ValueError for another policy or dtype.
    """
    if dtype not in ("uint8", "uint16"):
        raise ValueError(f"dtype {dtype!r}: expected uint8 or uint16")
    image = _load(path, pixels=True)
    assert image.stored is not None
    as_stored = image.header.syntax in ("png", "jpeg") and intensity == "voi"
    grey = to_grey(image.stored, image.header.grey, "full_range" if as_stored else intensity)
    if grey.dtype == dtype:
        return grey
    if dtype == "uint16":
        return grey.astype(np.uint16) * np.uint16(257)
    return (grey >> 8).astype(np.uint8)


def inspect(path: Path, *, headers_only: bool = False) -> Inspection:
    """Facts, identity and pixel hash of one file that `read_image` will take. Errors: ImageError, OSError."""
    image = _load(path, pixels=not headers_only)
    if image.stored is None:
        return Inspection(image.header.facts, None, image.header.identity)
    check_content(image.stored, image.header.grey)
    return Inspection(image.header.facts, hash_pixels(image.stored), image.header.identity)


def downscale(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image [H, W] at a smaller size, its dtype kept; as it is where it has that size.

    A triangle as wide as the scale weighs the pixels, so nothing aliases and nothing rings.
    """
    if image.shape == size:
        return image
    pixels = Image.fromarray(image.astype(np.float32)).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.round(np.asarray(pixels)).astype(image.dtype)


def hash_pixels(stored: np.ndarray) -> str:
    """32 hexadecimal digits over the shape and the values as little-endian int32: the same pixels hash alike in
    every lossless encoding and container depth."""
    digest = hashlib.blake2b(np.array(stored.shape, "<i8").tobytes(), digest_size=16)
    rows = max(1, (1 << 20) // stored.shape[1])
    for start in range(0, len(stored), rows):
        digest.update(stored[start : start + rows].astype("<i4").tobytes())
    return digest.hexdigest()


def _load(path: Path, *, pixels: bool) -> Radiograph:
    with path.open("rb") as file:
        head = file.read(132)
    if head[128:] != b"DICM" and head.startswith((PNG_SIGNATURE, b"\xff\xd8\xff")):
        return _load_plain(path, pixels)
    return dicom.load(path, pixels=pixels)


def _load_plain(path: Path, pixels: bool) -> Radiograph:
    size = path.stat().st_size
    if size > dicom.MAX_FILE:
        raise ImageError("too_large", f"file of {size} bytes, limit {dicom.MAX_FILE}")
    data = path.read_bytes()
    if data.startswith(PNG_SIGNATURE):
        syntax = "png"
        width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        bits = 16 if data[24:25] == b"\x10" else 8  # depths below 8 are widened to 8
        complete = b"IEND" in data[-4096:]
    else:
        syntax = "jpeg"
        header = read_sof(data)
        if header is None:
            raise ImageError("decode_failed", f"no image header in a JPEG file of {len(data)} bytes")
        height, width, bits = header.height, header.width, 8 if header.precision <= 8 else header.precision
        complete = b"\xff\xd9" in data[-4096:]
    check_size(height, width)
    if not complete:
        raise ImageError("truncated", f"no end marker in a file of {len(data)} bytes, {syntax}")
    facts = Facts(height, width, bits, "MONOCHROME2", syntax, lossy=syntax == "jpeg")
    layout = Layout(height, width, 8 if bits <= 8 else 16, bits, bits - 1, False)
    stored = None
    if pixels:
        stored = _decode_plain(data, syntax)
        if stored.shape != (height, width):
            raise ImageError("decode_failed", f"decoded to {stored.shape}, {syntax}")
    return Radiograph(Header(facts, layout, Grey(bits), Identity()), stored)


def _decode_plain(data: bytes, syntax: str) -> np.ndarray:
    """Grey values [H, W], uint8 or uint16."""
    try:
        if syntax == "jpeg":
            return imagecodecs.jpeg8_decode(data, outcolorspace="GRAYSCALE")
        image = imagecodecs.png_decode(data)
    except MemoryError:
        raise
    except Exception as error:
        reason = "colour" if "color conversion" in str(error) else "decode_failed"  # CMYK
        raise ImageError(reason, f"{type(error).__name__} on {len(data)} bytes, {syntax}") from None
    if image.ndim == 2:
        return image
    if image.shape[2] < 3:  # grey and transparency
        return np.ascontiguousarray(image[:, :, 0])
    weighted = image[:, :, :3].astype(np.int32) @ LUMINANCE.astype(np.int32)
    return ((weighted + 500) // 1000).astype(image.dtype)
