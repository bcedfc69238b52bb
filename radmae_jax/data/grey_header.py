"""Turns the elements of a DICOM header that rule its grey scale into the `Grey` that intensity.py works by."""

import numpy as np
from pydicom.dataset import Dataset

from radmae_jax.data.codecs import ImageError, Layout
from radmae_jax.data.elements import number_of, text_of, values_of
from radmae_jax.data.intensity import WINDOWS, Grey, Lut, Shutter


def parse_grey(dataset: Dataset, layout: Layout, photometric: str) -> Grey:
    little = dataset.original_encoding[1] is not False
    modality_lut = _lut(dataset, "ModalityLUTSequence", layout.signed, little)
    if modality_lut is None and "ModalityLUTSequence" in dataset and len(dataset["ModalityLUTSequence"].value):
        raise ImageError("unreadable", "malformed modality LUT")  # guessing without it would be another image
    slope, intercept = number_of(dataset, "RescaleSlope"), number_of(dataset, "RescaleIntercept")
    voi_signed = layout.signed if modality_lut is None and not intercept else (intercept or 0) < 0
    function = text_of(dataset, "VOILUTFunction")
    first, last = number_of(dataset, "PixelPaddingValue"), number_of(dataset, "PixelPaddingRangeLimit")
    padding = None
    if first is not None:
        ends = [_as_stored(int(v), layout) for v in (first, first if last is None else last)]
        padding = (min(ends), max(ends))
    return Grey(
        bits=layout.stored,
        signed=layout.signed,
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
        modality_lut=modality_lut,
        voi_lut=_lut(dataset, "VOILUTSequence", voi_signed, little),
        center=number_of(dataset, "WindowCenter"),
        width=number_of(dataset, "WindowWidth"),
        function=function if function in WINDOWS else "LINEAR",
        monochrome1=photometric == "MONOCHROME1",
        inverse=text_of(dataset, "PresentationLUTShape") == "INVERSE",
        padding=padding,
        shutter=_shutter(dataset),
    )


def _as_stored(value: int, layout: Layout) -> int:
    """A padding value in the pixels' own sign: its VR, US or SS, is often the wrong one of the two."""
    if layout.signed and value > 0x7FFF:
        return value - 0x10000
    return value + 0x10000 if value < 0 and not layout.signed else value


def _lut(dataset: Dataset, keyword: str, signed: bool, little: bool) -> Lut | None:
    """The first table of a sequence (PS3.3 C.11.1.1.1), None without one or where it is malformed."""
    try:
        item = dataset[keyword].value[0]
        count, first, bits = (int(v) for v in item.LUTDescriptor)
        data = item.LUTData
        count = count or 65536  # 0 stands for 2^16
        if isinstance(data, bytes):  # OW, or UN
            narrow = bits <= 8 and len(data) < 2 * count
            dtype = "u1" if narrow else "<u2" if little else ">u2"
            entries = np.frombuffer(data, dtype, count).astype(np.uint16)
        else:
            entries = np.asarray(data, np.uint16).reshape(-1)[:count]
    except (KeyError, AttributeError, IndexError, TypeError, ValueError, OverflowError):
        return None
    if len(entries) != count or not 1 <= bits <= 16:
        return None
    return Lut(first - 0x10000 if signed and first > 0x7FFF else first, bits, entries)


def _shutter(dataset: Dataset) -> Shutter | None:
    shapes = values_of(dataset, "ShutterShape")
    rectangle = circle = None
    polygon: tuple[tuple[int, int], ...] = ()
    if "RECTANGULAR" in shapes:
        names = ("LeftVertical", "RightVertical", "UpperHorizontal", "LowerHorizontal")
        edges = [number_of(dataset, f"Shutter{name}Edge") for name in names]
        if None not in edges:
            left, right, upper, lower = (int(edge or 0) for edge in edges)
            rectangle = (left, right, upper, lower)
    if "CIRCULAR" in shapes:
        center = values_of(dataset, "CenterOfCircularShutter")
        radius = number_of(dataset, "RadiusOfCircularShutter")
        if len(center) == 2 and radius is not None:
            circle = (int(center[0]), int(center[1]), int(radius))
    if "POLYGONAL" in shapes:
        flat = [int(v) for v in values_of(dataset, "VerticesOfThePolygonalShutter")]
        polygon = tuple(zip(flat[::2], flat[1::2], strict=False))
    return Shutter(rectangle, circle, polygon) if rectangle or circle or len(polygon) >= 3 else None
