"""Reads a DICOM header into the pixel layout, the facts that a manifest keeps, and the inputs of the grey scale.

Limits on size and selection by rule (one grey frame) live here: they need nothing but the header.
"""

from dataclasses import dataclass

from radmae_jax.data import codecs
from radmae_jax.data.flags import joined
from radmae_jax.data.grey_header import grouped, parse_grey
from radmae_jax.data.identity import Identity
from radmae_jax.data.image_error import ImageError
from radmae_jax.data.intensity import Grey
from radmae_jax.data.parser import Encoding
from radmae_jax.data.stored_bits import Layout
from radmae_jax.data.tags import DataSet, named, tag_of

MAX_SIDE = 20_000
MAX_PIXELS = 200_000_000
MIN_SIDE = 32
_SQUARE = 0.01  # sides of a pixel that differ by less are rounded spacings
_MAX_ASPECT = 10.0  # a larger ratio is a slip of the header

# Everything that is read from a header; all else, and with it most of what names a patient, is skipped unread.
# fmt: off
KEYWORDS = (
    "SpecificCharacterSet", "SOPClassUID", "Modality", "Manufacturer", "ManufacturerModelName", "IssuerOfPatientID",
    "PatientID", "StudyInstanceUID", "BodyPartExamined", "ViewPosition", "Laterality", "ImageLaterality",
    "ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth",
    "VOILUTFunction", "ModalityLUTSequence", "VOILUTSequence", "LossyImageCompression", "PresentationLUTShape",
    "ShutterShape", "ShutterLeftVerticalEdge", "ShutterRightVerticalEdge", "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge", "CenterOfCircularShutter", "RadiusOfCircularShutter",
    "VerticesOfThePolygonalShutter", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "SOPInstanceUID", "MediaStorageSOPInstanceUID",
)
# fmt: on
_OVERLAY_BITS = tuple(0x60000102 + (group << 17) for group in range(16))  # Overlay Bit Position of groups 6000 to 601E
TAGS = frozenset(map(tag_of, KEYWORDS)) | frozenset(_OVERLAY_BITS)


@dataclass(frozen=True)
class Facts:
    """What a manifest may know of an image. Texts are as in the file, "" where it says nothing; no identity."""

    height: int  # pixels, square ones: more than Rows or Columns where the file's are not square
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
    pixel_aspect: float = 1.0  # height of one of the file's pixels over its width
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


def parse_header(header: DataSet, encoding: Encoding) -> Header:
    """Header of a parsed file.

    Args:
      encoding: how the data set is written, which stands in for a missing transfer syntax.

    Raises:
      ImageError: multi_frame, colour, unsupported_pixels, too_large, too_small; unreadable for an element that the
        image needs.
    """
    flags: set[str] = set()
    layout = _layout(header)
    photometric = header.text("PhotometricInterpretation") or "MONOCHROME2"
    syntax = _transfer_syntax(header, encoding)
    sop_class = header.text("SOPClassUID") or header.text("MediaStorageSOPClassUID")
    compression = header.text("LossyImageCompression")
    spacing = _spacing(header)
    aspect = _pixel_aspect(header, spacing)
    if aspect != 1.0:
        flags.add("non_square")
    height, width = squared(layout.height, layout.width, aspect)
    check_size(height, width, "in square pixels, the sides")
    grey = parse_grey(header, layout, photometric, sop_class, flags)
    scanner = f"{header.text('Manufacturer')} {header.text('ManufacturerModelName')}".strip()
    sign = header.number("PixelIntensityRelationshipSign")
    if header.odd:
        flags.add("element")
    facts = Facts(
        height=height,
        width=width,
        bits=layout.stored,
        photometric=photometric,
        syntax=syntax,
        sop_class=sop_class,
        modality=header.text("Modality"),
        region=header.text("BodyPartExamined"),
        view=header.text("ViewPosition"),
        laterality=header.text("ImageLaterality") or header.text("Laterality"),
        spacing_row=spacing[0],
        spacing_column=spacing[1],
        scanner=scanner,
        lossy=compression == "01" or (compression == "" and syntax in codecs.LOSSY) or syntax in codecs.DCT,
        intensity_relationship=header.text("PixelIntensityRelationship"),
        intensity_sign=int(sign) if sign in (1, -1) else 0,
        pixel_aspect=aspect,
        flags=joined(flags),
    )
    identity = Identity(
        header.text("IssuerOfPatientID", 0),
        header.text("PatientID", 0),
        header.text("StudyInstanceUID", 0),
        header.text("SOPInstanceUID", 0) or header.text("MediaStorageSOPInstanceUID", 0),
    )
    return Header(facts, layout, grey, identity)


def check_size(height: int, width: int, where: str = "") -> None:
    """Refuses sides in pixels that are outside the limits, before anything of that size is allocated: ImageError.

    Args:
      where: the elements that say so, for the message.
    """
    sides = f"{where and f'{where} are '}{height} x {width} pixels"
    if height < 1 or width < 1:
        raise ImageError("unreadable", f"{sides}, at least {MIN_SIDE} a side")
    if max(height, width) > MAX_SIDE:
        raise ImageError("too_large", f"{sides}, limit {MAX_SIDE} a side")
    if height * width > MAX_PIXELS:
        raise ImageError("too_large", f"{sides}, limit {MAX_PIXELS} in all")
    if min(height, width) < MIN_SIDE:
        raise ImageError("too_small", f"{sides}, at least {MIN_SIDE} a side")


def squared(height: int, width: int, aspect: float) -> tuple[int, int]:
    """Sides in square pixels as small as the file's smaller pixel side: no detail is lost.

    Args:
      aspect: height of a pixel over its width.
    """
    return (round(height * aspect), width) if aspect >= 1.0 else (height, round(width / aspect))


def _transfer_syntax(header: DataSet, encoding: Encoding) -> str:
    """The transfer syntax UID; where the file names none, the plain one that it was found to be written in."""
    uid = header.text("TransferSyntaxUID", 0)
    if uid:  # goes into messages: nothing but a UID
        return uid if len(uid) <= 64 and set(uid) <= set("0123456789.") else "not a UID"
    if not encoding.little:
        return codecs.BIG_ENDIAN
    return codecs.IMPLICIT if encoding.implicit else codecs.EXPLICIT


def _layout(header: DataSet) -> Layout:
    height, width = header.whole("Rows"), header.whole("Columns")
    frames = header.whole("NumberOfFrames", 1)  # where it cannot be read, the amount of pixel data shows more than one
    if frames > 1:
        raise ImageError("multi_frame", f"{named('NumberOfFrames')} is {frames}, limit 1")
    samples = _whole_or(header, "SamplesPerPixel", 1)
    photometric = header.text("PhotometricInterpretation")
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2", ""):
        known = photometric if photometric.startswith(("RGB", "YBR", "PALETTE", "MONO")) else "other"
        where = f"{named('SamplesPerPixel')} is {samples}, {named('PhotometricInterpretation')} {known}"
        raise ImageError("colour", f"{where}; expected 1 sample, MONOCHROME1 or MONOCHROME2")
    allocated = header.whole("BitsAllocated")
    stored = _whole_or(header, "BitsStored", allocated)
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        where = f"{named('BitsStored')} is {stored}, {named('BitsAllocated')} {allocated}"
        raise ImageError("unsupported_pixels", f"{where}; expected 1..16 in 8 or 16")
    check_size(height, width, f"{named('Rows')} x {named('Columns')}")
    high_bit = header.whole("HighBit", stored - 1)
    if not stored - 1 <= high_bit < allocated:
        high_bit = stored - 1
    signed = _whole_or(header, "PixelRepresentation", 0) == 1
    return Layout(height, width, allocated, stored, high_bit, signed, _overlays(header, stored, high_bit))


def _whole_or(header: DataSet, keyword: str, default: int) -> int:
    """A value that the image needs: `default` where the element is absent or empty, an error where it is no number."""
    return header.whole(keyword) if header.has(keyword) else default


def _overlays(header: DataSet, stored: int, high_bit: int) -> int:
    """Mask of the bits outside the pixel's own that hold overlays (PS3.3 C.9.2, retired)."""
    mask = 0
    for tag in _OVERLAY_BITS:
        if tag in header.elements and len(header.elements[tag].value) == 2:
            bit = int.from_bytes(header.elements[tag].value, header.elements[tag].encoding.order)
            mask |= 1 << bit if high_bit < bit < 16 or bit < high_bit + 1 - stored else 0
    return mask


def _spacing(header: DataSet) -> tuple[float | None, float | None]:
    """mm between rows and between columns. Pixel Spacing, where present, is the calibrated one (PS3.3 10.7.1.3)."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        pair = _positive_pair(grouped(header, "PixelMeasuresSequence", keyword).numbers(keyword))
        if pair:
            return pair
    return None, None


def _pixel_aspect(header: DataSet, spacing: tuple[float | None, float | None]) -> float:
    """Height of a pixel over its width: by the spacing, else by Pixel Aspect Ratio, which is for images that have none
    (PS3.3 C.7.6.3.1.7); 1.0 where neither says it or the two sides are alike."""
    down, across = spacing
    if down is None or across is None:
        ratio = header.numbers("PixelAspectRatio")
        down, across = _positive_pair(ratio) or (1.0, 1.0)
        if ratio and not _positive_pair(ratio):
            header.odd.add("PixelAspectRatio")
    aspect = down / across
    if not 1 / _MAX_ASPECT <= aspect <= _MAX_ASPECT:
        header.odd.add("PixelAspectRatio")
        return 1.0
    return 1.0 if abs(aspect - 1.0) <= _SQUARE else aspect


def _positive_pair(values: list[float | None]) -> tuple[float, float] | None:
    found = [value for value in values if value is not None and value > 0]
    return (found[0], found[1]) if len(found) == len(values) == 2 else None
