"""Reads the elements of a DICOM header that rule its grey scale into the `Grey` that intensity.py works by.

Enhanced objects keep them in functional groups (PS3.3 C.7.6.16): those of the first frame, then the shared ones, stand
in where the data set itself has none.
"""

from radmae_jax.data.image_error import ImageError
from radmae_jax.data.intensity import WINDOWS, Grey, Lut, Shutter, modality
from radmae_jax.data.luts import read_lut
from radmae_jax.data.stored_bits import Layout
from radmae_jax.data.tags import DataSet, named

# X-ray angiography and radiofluoroscopy, their enhanced objects, and the retired biplane one.
_XA_XRF = frozenset("1.2.840.10008.5.1.4.1.1.12." + end for end in ("1", "1.1", "2", "2.1", "3"))
_GROUPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")


def parse_grey(header: DataSet, layout: Layout, photometric: str, sop_class: str, flags: set[str]) -> Grey:
    """The grey scale of an image.

    Args:
      layout: how its pixels are stored.
      photometric: MONOCHROME1 or MONOCHROME2.
      sop_class: UID.
      flags: takes what is odd, see flags.FLAGS.

    Raises:
      ImageError (unreadable) for a modality LUT or rescale that cannot be read: without it, this would be another
        image.
    """
    low, high = layout.span
    places = _places(header, "FrameVOILUTSequence")
    shown = next((place for place in places if _is_shown(place)), header)
    center, width = _window(shown)
    windowed = _is_shown(shown)
    slope, intercept, modality_lut = 1.0, 0.0, None
    if not _displayed_as_stored(header, sop_class):
        transformation = grouped(header, "PixelValueTransformationSequence", "RescaleSlope")
        modality_lut = read_lut(header, "ModalityLUTSequence", (low, high), flags, stored=layout.stored, output=False)
        slope = _rescale(transformation, "RescaleSlope", 1.0, needed=windowed)
        intercept = _rescale(transformation, "RescaleIntercept", 0.0, needed=windowed)
    values = modality(Grey(layout.stored, layout.signed, slope, intercept, modality_lut))
    function = shown.text("VOILUTFunction").upper()
    return Grey(
        bits=layout.stored,
        signed=layout.signed,
        slope=slope,
        intercept=intercept,
        modality_lut=modality_lut,
        voi_lut=_voi_lut(shown, (float(values.min()), float(values.max())), layout.stored, flags),
        center=center,
        width=width,
        function=function if function in WINDOWS else "LINEAR",
        monochrome1=photometric == "MONOCHROME1",
        inverse=header.text("PresentationLUTShape").upper() == "INVERSE",
        padding=_padding(header, layout),
        shutter=_shutter(grouped(header, "FrameDisplayShutterSequence", "ShutterShape"), flags),
    )


def grouped(header: DataSet, sequence: str, *keywords: str) -> DataSet:
    """Where some elements are: the data set itself where it has one of them, else a functional group's `sequence`, of
    the first frame or of all; the data set itself where there is none."""
    places = _places(header, sequence)
    return next((place for place in places if any(place.has(keyword) for keyword in keywords)), header)


def _places(header: DataSet, sequence: str) -> list[DataSet]:
    """The data set, and the first item of `sequence` in the functional groups of the first frame and of all."""
    groups = [group for name in _GROUPS for group in header.items(name)[:1]]
    return [header, *(item for group in groups for item in group.items(sequence)[:1])]


def _displayed_as_stored(header: DataSet, sop_class: str) -> bool:
    """Whether the modality LUT, or rescale, is no part of display: in XA and XRF objects whose pixels relate to the
    intensity by LOG or DISP it leads back to the intensity (PS3.3 C.8.7.1.1.2, PS3.4 N.2.1.2)."""
    properties = grouped(header, "FramePixelDataPropertiesSequence", "PixelIntensityRelationship")
    return sop_class in _XA_XRF and properties.text("PixelIntensityRelationship").upper() in ("LOG", "DISP")


def _rescale(header: DataSet, keyword: str, default: float, *, needed: bool) -> float:
    """Slope or intercept. One that cannot be read costs the file only where a window or VOI LUT is in its units."""
    value = header.number(keyword)
    if value is None and needed and any(header.texts(keyword)):
        raise ImageError("unreadable", f"{named(keyword)} is {header.shown(keyword)}, expected a number")
    return default if value is None else value


def _window(shown: DataSet) -> tuple[float | None, float | None]:
    """The first window that has both numbers."""
    pairs = zip(shown.numbers("WindowCenter"), shown.numbers("WindowWidth"), strict=False)
    return next(((center, width) for center, width in pairs if None not in (center, width)), (None, None))


def _is_shown(place: DataSet) -> bool:
    """Whether a window or a VOI LUT is there."""
    return _window(place)[0] is not None or any(item.has("LUTData") for item in place.items("VOILUTSequence"))


def _voi_lut(shown: DataSet, span: tuple[float, float], stored: int, flags: set[str]) -> Lut | None:
    try:
        return read_lut(shown, "VOILUTSequence", span, flags, stored=stored, output=True)
    except ImageError:  # it only decides how the image is shown; the window or the percentiles stand in
        flags.add("voi_lut")
        return None


def _padding(header: DataSet, layout: Layout) -> tuple[int, int] | None:
    first, last = header.number("PixelPaddingValue"), header.number("PixelPaddingRangeLimit")
    if first is None:
        return None
    ends = [_as_stored(int(v), layout) for v in (first, first if last is None else last)]
    return min(ends), max(ends)


def _as_stored(value: int, layout: Layout) -> int:
    """A padding value in the pixels' own sign: its VR, US or SS, is often the wrong one of the two."""
    if layout.signed and value > 0x7FFF:
        return value - 0x10000
    return value + 0x10000 if value < 0 and not layout.signed else value


def _shutter(header: DataSet, flags: set[str]) -> Shutter | None:
    """The shapes that can be read; one that cannot is left out and flagged: it hides, and never makes, an image."""
    shapes = [shape.upper() for shape in header.texts("ShutterShape")]
    names = ("LeftVertical", "RightVertical", "UpperHorizontal", "LowerHorizontal")
    edges = [header.number(f"Shutter{name}Edge") for name in names]
    circle = [*header.numbers("CenterOfCircularShutter"), header.number("RadiusOfCircularShutter")]
    corners = header.numbers("VerticesOfThePolygonalShutter")
    left = _wholes(edges, 4) if "RECTANGULAR" in shapes else ()
    round_ = _wholes(circle, 3) if "CIRCULAR" in shapes else ()
    flat = _wholes(corners, len(corners)) if "POLYGONAL" in shapes else ()
    if flat is not None and (len(flat) % 2 or 0 < len(flat) < 6 or (not flat and "POLYGONAL" in shapes)):
        flat = None
    if None in (left, round_, flat):
        flags.add("shutter")
    if not (left or round_ or flat):
        return None
    return Shutter(
        (left[0], left[1], left[2], left[3]) if left else None,
        (round_[0], round_[1], round_[2]) if round_ else None,
        tuple(zip(flat[::2], flat[1::2], strict=True)) if flat else (),
    )


def _wholes(values: list[float | None], count: int) -> tuple[int, ...] | None:
    """Values as whole numbers, also where they were written as 100.0; None unless there are `count` of them."""
    found = tuple(round(value) for value in values if value is not None and abs(value) < 1 << 30)
    return found if len(found) == count == len(values) else None
