"""Maps stored pixel values to grey values that use the whole range of their dtype, larger being brighter.

Stored values have at most 16 bits, so every step works on a table of all possible values (65,536 at most) and the
image is one look-up. Order, by PS3.3 C.7.6.3.1.2, C.11.1 and C.11.2: modality LUT or rescale, VOI LUT or window,
then the inversion, once and last.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from radmae_jax.data.image_error import ImageError

POLICIES = ("voi", "percentile", "full_range", "poster")
PERCENTILES = (0.5, 99.5)  # of the pixels that are neither padding nor behind the shutter
WINDOWS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True, eq=False)
class Lut:
    """A look-up table of PS3.3 C.11.1.1: input `first` gives entries[0], inputs outside give the end entries."""

    first: int
    bits: int
    entries: np.ndarray  # uint16 [n]

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Entries, float64, of float values."""
        index = np.clip(np.floor(values + 0.5) - self.first, 0, len(self.entries) - 1)
        return self.entries[index.astype(np.int64)].astype(np.float64)

    @property
    def top(self) -> int:
        """The largest value the table may give: 2^bits - 1, more where an entry is larger than declared."""
        return max((1 << self.bits) - 1, int(self.entries.max()))


@dataclass(frozen=True)
class Shutter:
    """A display shutter (PS3.3 C.7.6.11), in pixels counted from 1; None or () where a shape is not given."""

    rectangle: tuple[int, int, int, int] | None = None  # left, right, upper, lower edge: the last visible lines
    circle: tuple[int, int, int] | None = None  # row, column of the centre, radius
    polygon: tuple[tuple[int, int], ...] = ()  # (row, column) corners

    def visible(self, height: int, width: int) -> np.ndarray:
        """bool [height, width]: inside every shape given."""
        rows, columns = np.arange(1, height + 1)[:, None], np.arange(1, width + 1)[None, :]
        seen = np.ones((height, width), bool)
        if self.rectangle is not None:
            left, right, upper, lower = self.rectangle
            seen &= (columns >= left) & (columns <= right) & (rows >= upper) & (rows <= lower)
        if self.circle is not None:
            row, column, radius = self.circle
            seen &= (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
        if len(self.polygon) >= 3:
            canvas = Image.new("1", (width, height))
            ImageDraw.Draw(canvas).polygon([(c - 1, r - 1) for r, c in self.polygon], fill=1, outline=1)
            seen &= np.asarray(canvas)
        return seen


@dataclass(frozen=True)
class Grey:
    """How one image's stored values become grey: the header's part of it."""

    bits: int  # stored, 1..16
    signed: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: Lut | None = None
    voi_lut: Lut | None = None
    center: float | None = None
    width: float | None = None
    function: str = "LINEAR"
    monochrome1: bool = False
    inverse: bool = False  # Presentation LUT Shape
    padding: tuple[int, int] | None = None  # first and last stored value that mean "no pixel"
    shutter: Shutter | None = None

    @property
    def values(self) -> np.ndarray:
        """Every stored value there is, float64 [2^bits], ascending."""
        low = -(1 << self.bits - 1) if self.signed else 0
        return np.arange(low, low + (1 << self.bits), dtype=np.float64)

    @property
    def inverted(self) -> bool:
        """MONOCHROME1 and INVERSE say the same thing (PS3.3 C.8.11.3.1): one of them or both, one inversion."""
        return self.monochrome1 or self.inverse


def to_grey(stored: np.ndarray, grey: Grey, policy: str) -> np.ndarray:
    """Stored values, integers [H, W], to uint16 [H, W] in 0..65535, or uint8 in 0..255 where grey.bits <= 8.

    `voi`: as the header asks to be shown; without a usable LUT or window (none, width <= 0, or one that paints
    everything in one value) as `percentile`. `percentile`: the 0.5th to the 99.5th. `full_range`: all that
    BitsStored can hold. Padding and what lies behind the shutter become 0, after the inversion.
    `poster`: the published preprocessing, kept for comparison: no LUT, no window, no padding or shutter;
    MONOCHROME1 as max - x, then x / max. Errors: ImageError (constant); ValueError for another policy.
    """
    if policy not in POLICIES:
        raise ValueError(f"intensity {policy!r}: expected one of {', '.join(POLICIES)}")
    low = int(grey.values[0])
    codes = stored if low == 0 else stored.astype(np.int32) - low  # [H, W] in 0..2^bits - 1
    if policy == "poster":
        return _look_up(_poster(int(stored.min()), int(stored.max()), grey), codes, grey.bits)
    padding = _padding_codes(grey, low)
    seen = _seen(grey, *stored.shape)
    counts = count_values(codes, seen, grey)
    present = np.flatnonzero(counts)
    values = modality(grey)
    unit = None
    if policy == "voi":
        unit = voi(values, grey)
        if unit is not None and np.ptp(unit[present]) == 0:
            unit = None
    elif policy == "full_range":
        unit = _between(values, float(values.min()), float(values.max()))
    if unit is None:
        unit = _between(values, *_percentiles(values, counts))
    if grey.inverted:
        unit = 1.0 - unit
    unit[padding] = 0.0
    out = _look_up(unit, codes, grey.bits)
    if seen is not None:
        out[~seen] = 0
    return out


def check_content(stored: np.ndarray, grey: Grey) -> None:
    """Refuses what `to_grey` would refuse as constant, whatever the policy. Errors: ImageError (constant)."""
    low, high = int(stored.min()), int(stored.max())
    if low < high and grey.padding is None and grey.shutter is None and grey.modality_lut is None:
        return  # two values at least, which a rescale does not make one
    first = int(grey.values[0])
    codes = stored if first == 0 else stored.astype(np.int32) - first
    present = np.flatnonzero(count_values(codes, _seen(grey, *stored.shape), grey))
    if np.ptp(modality(grey)[present]) == 0:
        raise ImageError("constant", "every pixel is the same after the modality LUT")


def modality(grey: Grey) -> np.ndarray:
    """The modality's value, float64 [2^bits], of every stored value (PS3.3 C.11.1)."""
    if grey.modality_lut is not None:
        return grey.modality_lut.apply(grey.values)
    if not (np.isfinite(grey.slope) and np.isfinite(grey.intercept)) or grey.slope == 0:
        return grey.values  # a slope of 0 would erase the image
    return grey.values * grey.slope + grey.intercept


def voi(values: np.ndarray, grey: Grey) -> np.ndarray | None:
    """Values of interest as 0..1, float64, or None where the header gives no usable table or window."""
    if grey.voi_lut is not None:
        return grey.voi_lut.apply(values) / grey.voi_lut.top
    center, width = grey.center, grey.width
    if center is None or width is None or not (np.isfinite(center) and np.isfinite(width)) or width <= 0:
        return None
    if grey.function == "SIGMOID":  # C.11.2.1.3.1
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700.0, 700.0)))
    if grey.function == "LINEAR_EXACT":  # C.11.2.1.3.2
        return np.clip((values - center) / width + 0.5, 0.0, 1.0)
    if width < 1:  # not allowed for LINEAR
        return None
    if width == 1:  # a threshold: <= c - 0.5 is black
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)  # C.11.2.1.2.1


def _poster(lowest: int, highest: int, grey: Grey) -> np.ndarray:
    values = highest - grey.values if grey.monochrome1 else grey.values
    top = highest - lowest if grey.monochrome1 else highest
    if top <= 0:
        raise ImageError("constant", f"largest value {top} under the poster's scaling, at least 1")
    return np.clip(values / top, 0.0, 1.0)


def _padding_codes(grey: Grey, low: int) -> slice:
    if grey.padding is None:
        return slice(0, 0)
    first, last = sorted(grey.padding)
    return slice(max(first - low, 0), max(last - low + 1, 0))


def _percentiles(values: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """The two percentiles of the pixels; the extremes where those coincide (a small object on even ground)."""
    order = np.argsort(values, kind="stable")
    ordered, running = values[order], np.cumsum(counts[order])
    low, high = (float(ordered[np.searchsorted(running, p / 100 * running[-1])]) for p in PERCENTILES)
    if low < high:
        return low, high
    present = values[counts > 0]
    return float(present.min()), float(present.max())


def _between(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if not low < high:  # a modality LUT of one entry, or one that gives all pixels the same value
        raise ImageError("constant", f"every pixel is {low:g} after the modality LUT")
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def _seen(grey: Grey, height: int, width: int) -> np.ndarray | None:
    if grey.shutter is None:
        return None
    seen = grey.shutter.visible(height, width)
    return seen if seen.any() else None  # edges that hide everything describe another image


def _blocks(height: int, width: int) -> list[slice]:
    """Row ranges of about 4 million pixels: numpy turns an index into 8 bytes a pixel."""
    rows = max(1, (1 << 22) // width)
    return [slice(start, start + rows) for start in range(0, height, rows)]


def count_values(codes: np.ndarray, seen: np.ndarray | None, grey: Grey) -> np.ndarray:
    """How many pixels have each stored value, int64 [2^bits], without padding and what the shutter hides.

    Errors: ImageError (constant) where fewer than two values remain.
    """
    counts = np.zeros(1 << grey.bits, np.int64)
    for block in _blocks(*codes.shape):
        part = codes[block] if seen is None else codes[block][seen[block]]
        counts += np.bincount(part.ravel(), minlength=1 << grey.bits)
    counts[_padding_codes(grey, int(grey.values[0]))] = 0
    distinct = np.count_nonzero(counts)
    if distinct < 2:
        raise ImageError("constant", f"{distinct} distinct values outside padding and shutter, at least 2")
    return counts


def _look_up(unit: np.ndarray, codes: np.ndarray, bits: int) -> np.ndarray:
    dtype, top = (np.uint8, 255) if bits <= 8 else (np.uint16, 65535)
    table = np.rint(unit * top).astype(dtype)
    out = np.empty(codes.shape, dtype)
    for block in _blocks(*codes.shape):
        out[block] = table[codes[block]]
    return out
