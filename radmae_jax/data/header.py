"""Turns the elements of a DICOM header into the pixel layout, the facts a manifest keeps, and the grey scale's inputs.

Limits on size and selection by rule (one grey frame) live here: they need nothing but the header.
"""

import math
from dataclasses import dataclass

from pydicom.dataset import Dataset

from radmae_jax.data import codecs
from radmae_jax.data.codecs import ImageError, Layout
from radmae_jax.data.elements import number_of, text_of, values_of, whole_of
from radmae_jax.data.grey_header import parse_grey
from radmae_jax.data.identity import Identity
from radmae_jax.data.intensity import Grey

MAX_SIDE = 20_000
MAX_PIXELS = 200_000_000
MIN_SIDE = 32

# Everything that is read from a header; all else, and with it most of what names a patient, is skipped unread.
# fmt: off
TAGS = (
    "SOPClassUID", "Modality", "Manufacturer", "ManufacturerModelName", "IssuerOfPatientID", "PatientID",
    "StudyInstanceUID", "BodyPartExamined", "ViewPosition", "Laterality", "ImageLaterality", "ImagerPixelSpacing",
    "PixelSpacing", "NominalScannedPixelSpacing", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames",
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "PixelIntensityRelationship", "PixelIntensityRelationshipSign", "RescaleSlope",
    "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction", "ModalityLUTSequence", "VOILUTSequence",
    "LossyImageCompression", "PresentationLUTShape", "ShutterShape", "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge", "ShutterUpperHorizontalEdge", "ShutterLowerHorizontalEdge",
    "CenterOfCircularShutter", "RadiusOfCircularShutter", "VerticesOfThePolygonalShutter",
    "SOPInstanceUID",
)
# fmt: on


@dataclass(frozen=True)
class Facts:
    """What a manifest may know of an image. Texts are as in the file, "" where it says nothing; no identity."""

    height: int  # pixels
    width: int
    bits: int  # stored
    photometric: str
    syntax: str  # transfer syntax UID; "png" or "jpeg" for such files
    sop_class: str = ""
    modality: str = ""
    region: str = ""  # BodyPartExamined
    view: str = ""  # ViewPosition
    laterality: str = ""
    spacing_row: float | None = None  # mm between rows
    spacing_column: float | None = None
    scanner: str = ""
    lossy: bool = False  # compressed with loss at some time, or in a syntax that allows it and says nothing
    intensity_relationship: str = ""  # LIN, LOG ...
    intensity_sign: int = 0  # 1, -1, 0 unknown
    pixel_aspect: float = 1.0  # height of a pixel over its width
    flags: str = ""  # of flags.FLAGS, sorted, joined by commas


@dataclass(frozen=True)
class Header:
    """One file's header: what its pixels need and what it says of them."""

    facts: Facts
    layout: Layout
    grey: Grey
    identity: Identity

    @property
    def syntax(self) -> str:
        return self.facts.syntax


def parse_header(dataset: Dataset) -> Header:
    """Header of a parsed file. Errors: ImageError (multi_frame, colour, unsupported_pixels, too_large, too_small,
    unreadable). Call it where pydicom's warnings are captured: values are converted here."""
    layout = _layout(dataset)
    photometric = text_of(dataset, "PhotometricInterpretation") or "MONOCHROME2"
    syntax = transfer_syntax(dataset)
    compression = text_of(dataset, "LossyImageCompression")
    spacing = _spacing(dataset)
    scanner = f"{text_of(dataset, 'Manufacturer')} {text_of(dataset, 'ManufacturerModelName')}".strip()
    facts = Facts(
        height=layout.height,
        width=layout.width,
        bits=layout.stored,
        photometric=photometric,
        syntax=syntax,
        sop_class=text_of(dataset, "SOPClassUID"),
        modality=text_of(dataset, "Modality"),
        region=text_of(dataset, "BodyPartExamined"),
        view=text_of(dataset, "ViewPosition"),
        laterality=text_of(dataset, "ImageLaterality") or text_of(dataset, "Laterality"),
        spacing_row=spacing[0],
        spacing_column=spacing[1],
        scanner=scanner,
        lossy=compression == "01" or (compression == "" and syntax in codecs.LOSSY) or syntax in codecs.DCT,
        intensity_relationship=text_of(dataset, "PixelIntensityRelationship"),
        intensity_sign=int(number_of(dataset, "PixelIntensityRelationshipSign") or 0),
    )
    meta = getattr(dataset, "file_meta", Dataset())
    identity = Identity(
        text_of(dataset, "IssuerOfPatientID", 0),
        text_of(dataset, "PatientID", 0),
        text_of(dataset, "StudyInstanceUID", 0),
        text_of(dataset, "SOPInstanceUID", 0) or text_of(meta, "MediaStorageSOPInstanceUID", 0),
    )
    return Header(facts, layout, parse_grey(dataset, layout, photometric), identity)


def check_size(height: int, width: int) -> None:
    """Refuses sides in pixels that are beyond the limits, before anything of that size is allocated: ImageError."""
    if height < 1 or width < 1:
        raise ImageError("unreadable", f"{height} x {width} pixels")
    if max(height, width) > MAX_SIDE:
        raise ImageError("too_large", f"{height} x {width} pixels, limit {MAX_SIDE} a side")
    if height * width > MAX_PIXELS:
        raise ImageError("too_large", f"{height * width} pixels, limit {MAX_PIXELS}")
    if min(height, width) < MIN_SIDE:
        raise ImageError("too_small", f"{height} x {width} pixels, at least {MIN_SIDE} a side")


def transfer_syntax(dataset: Dataset) -> str:
    """The transfer syntax UID; where the file names none, the plain one that pydicom found it to be written in."""
    named = str(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID") or "").strip()
    if named:  # goes into messages: nothing but a UID
        return named if len(named) <= 64 and set(named) <= set("0123456789.") else "not a UID"
    implicit, little = dataset.original_encoding
    if not little:
        return codecs.BIG_ENDIAN
    return codecs.IMPLICIT if implicit else codecs.EXPLICIT


def _layout(dataset: Dataset) -> Layout:
    height, width = whole_of(dataset, "Rows"), whole_of(dataset, "Columns")
    if whole_of(dataset, "NumberOfFrames", 1) > 1:
        raise ImageError("multi_frame", f"{whole_of(dataset, 'NumberOfFrames')} frames, limit 1")
    samples = whole_of(dataset, "SamplesPerPixel", 1)
    photometric = text_of(dataset, "PhotometricInterpretation")
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2", ""):
        known = photometric if photometric.startswith(("RGB", "YBR", "PALETTE", "MONO")) else "other"
        raise ImageError("colour", f"{samples} samples a pixel, photometric interpretation {known}")
    allocated = whole_of(dataset, "BitsAllocated")
    stored = whole_of(dataset, "BitsStored", allocated)
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise ImageError("unsupported_pixels", f"{stored} bits in {allocated}, expected 1..16 in 8 or 16")
    check_size(height, width)
    high_bit = whole_of(dataset, "HighBit", stored - 1)
    if not stored - 1 <= high_bit < allocated:
        high_bit = stored - 1
    return Layout(height, width, allocated, stored, high_bit, whole_of(dataset, "PixelRepresentation", 0) == 1)


def _spacing(dataset: Dataset) -> tuple[float | None, float | None]:
    """mm between rows and between columns. Pixel Spacing, where present, is the calibrated one (PS3.3 10.7.1.3)."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        values = []
        for text in values_of(dataset, keyword):
            try:
                values.append(float(text))
            except ValueError:
                break
        if len(values) == 2 and all(math.isfinite(v) and v > 0 for v in values):
            return values[0], values[1]
    return None, None
