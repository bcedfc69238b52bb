"""Files to read: a writer of small DICOM radiographs in every transfer syntax."""

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import ComputedRadiographyImageStorage, generate_uid

FAMILY = "1.2.840.10008.1.2.4."
LOSSLESS = [FAMILY + end for end in ("57", "70", "80", "81", "90", "91", "201", "202", "203")]
EXPLICIT, BIG_ENDIAN, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"


def encode_frame(pixels: np.ndarray, syntax: str, bits: int) -> bytes:
    """Losslessly; signed pixels go as two's complement of `bits` where the codec has no sign."""
    end = syntax.removeprefix(FAMILY)
    if end in ("90", "91"):
        return imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", bitspersample=bits, reversible=True)
    if end in ("201", "202", "203"):
        return imagecodecs.htj2k_encode(pixels, reversible=True)
    plain = (pixels.astype(np.int32) & (1 << bits) - 1).astype("u1" if bits <= 8 else "<u2")
    if end in ("80", "81"):
        return imagecodecs.jpegls_encode(plain)
    if end in ("57", "70"):
        predictor = 4 if end == "57" else 1
        return imagecodecs.jpeg8_encode(plain, lossless=True, predictor=predictor, bitspersample=bits)
    assert syntax == RLE
    return RLELosslessEncoder.encode(
        plain.tobytes(),
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        samples_per_pixel=1,
        number_of_frames=1,
        bits_allocated=plain.dtype.itemsize * 8,
        bits_stored=bits,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
        encoding_plugin="pydicom",
    )


def write(
    path: Path,
    pixels: np.ndarray,
    *,
    syntax: str = EXPLICIT,
    bits: int = 12,
    frame: bytes | None = None,
    tags: dict[str, object] | None = None,
    without: tuple[str, ...] = (),
) -> Path:
    """One radiograph; `frame` replaces the encoded pixels, `tags` adds or replaces elements, None as PixelData has
    it left out as `without` does."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.Modality = "CR"
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study", path.name])
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if syntax.startswith(FAMILY) or syntax == RLE:
        dataset.PixelData = encapsulate([encode_frame(pixels, syntax, bits) if frame is None else frame])
        dataset["PixelData"].is_undefined_length = True
        dataset["PixelData"].VR = "OB"
    else:
        raw = pixels.astype(pixels.dtype.newbyteorder(">" if syntax == BIG_ENDIAN else "<")).tobytes()
        raw += b"\0" * (len(raw) % 2)
        if syntax == BIG_ENDIAN and pixels.dtype.itemsize == 1:  # bytes in words
            raw = np.frombuffer(raw, ">u2").astype("<u2").tobytes()
        dataset.PixelData = raw
        dataset["PixelData"].VR = "OW"
    for keyword, value in (tags or {}).items():
        setattr(dataset, keyword, value)
    for keyword in without:
        delattr(dataset, keyword)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture(scope="session")
def write_dicom() -> Callable[..., Path]:
    return write


@pytest.fixture(scope="session")
def encode() -> Callable[[np.ndarray, str, int], bytes]:
    return encode_frame


@pytest.fixture
def radiograph() -> Callable[..., np.ndarray]:
    """A smooth image with noise: (seed, shape, bits, signed) to stored values that use the whole range."""

    def make(seed: int = 0, shape: tuple[int, int] = (48, 53), bits: int = 12, signed: bool = False) -> np.ndarray:
        rng = np.random.default_rng(seed)
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        smooth = (np.sin(rows / 9 + seed) + np.cos(columns / 7) + 2) / 4 + rng.normal(0, 0.02, shape)
        values = np.rint(np.clip(smooth, 0, 1) * ((1 << bits) - 1)).astype(np.int64)
        values.flat[0], values.flat[-1] = 0, (1 << bits) - 1
        values -= (1 << bits - 1) if signed else 0
        return values.astype(("i" if signed else "u") + ("1" if bits <= 8 else "2"))

    return make
