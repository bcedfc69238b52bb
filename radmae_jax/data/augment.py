"""Turns a training image into a slightly different one of the same dtype, before padding, anew each epoch.

What happens to an image depends on the run's seed, the epoch and the record alone: not on workers, hosts, buckets or
where a run was resumed. Turning one setting on or off leaves the draws of the others as they were.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from radmae_jax.config import Augment

_STREAM = 0xA06  # keeps this stream apart from others drawn from the same (seed, epoch)


@dataclass(frozen=True)
class Change:
    """What happens to one image, in the order of the fields; by default, nothing."""

    kept: tuple[float, float] = (1.0, 1.0)  # shares of height and width that a crop keeps, above 0
    place: tuple[float, float] = (0.0, 0.0)  # where it lies, from 0 (top, left) to below 1 (bottom, right)
    flip: bool = False  # left and right change sides
    degrees: float = 0.0  # turned about the centre, counter-clockwise as displayed
    scale: float = 1.0  # about the centre, above 1: larger
    shift: tuple[float, float] = (0.0, 0.0)  # down and right, shares of height and width; to whole pixels
    blur: float = 0.0  # standard deviation of a Gaussian, pixels
    exponent: float = 1.0  # of grey values from 0 to 1
    noise: float = 0.0  # standard deviation of Gaussian noise, share of full range


def augment(image: np.ndarray, settings: Augment, seed: int, epoch: int, record: int) -> np.ndarray:
    """An image uint8 or uint16 [H, W] as `record` looks in `epoch`, of the same dtype.

    It is [h, w] with 1 <= h <= H and 1 <= w <= W: only a crop changes the size. What a rotation, zoom or shift brings
    in from outside is 0, black as collimation and padding are. The image itself, or a view of it, comes back where
    that is enough. Errors: ValueError for another dtype or rank.
    """
    if image.dtype not in (np.uint8, np.uint16) or image.ndim != 2:
        raise ValueError(f"image {image.dtype} {image.shape}: expected uint8 or uint16 [H, W]")
    if is_off(settings):
        return image
    rng = np.random.default_rng([seed, epoch, record, _STREAM])
    return apply(image, draw(settings, rng), rng)


def is_off(settings: Augment) -> bool:
    """Whether these settings leave every image as it is."""
    return settings == Augment()


def draw(settings: Augment, rng: np.random.Generator) -> Change:
    """One change within the settings; takes the same 12 numbers from `rng` whatever they are."""
    # A new part takes a new last number: this order is what makes a seed's runs repeatable.
    high, wide, top, left, turn, size, down, right, side, soft, dark, rough = rng.uniform(size=12).tolist()
    return Change(
        kept=(settings.crop + (1 - settings.crop) * high, settings.crop + (1 - settings.crop) * wide),
        place=(top, left),
        flip=settings.flip and side < 0.5,
        degrees=settings.rotate * (2 * turn - 1),
        scale=(1 + settings.zoom) ** (2 * size - 1),  # as often 1.1 times smaller as 1.1 times larger
        shift=(settings.shift * (2 * down - 1), settings.shift * (2 * right - 1)),
        blur=settings.blur * soft,
        exponent=math.exp(settings.gamma * (2 * dark - 1)),
        noise=settings.noise * rough,
    )


def apply(image: np.ndarray, change: Change, rng: np.random.Generator) -> np.ndarray:
    """An image uint8 or uint16 [H, W], changed; `rng` draws the noise of each pixel.

    Values are float32 from the first step that needs it, and are rounded and clipped once, at the end.
    """
    dtype, full = image.dtype, np.iinfo(image.dtype).max
    pixels = _crop(image, change)
    if change.flip:
        pixels = pixels[:, ::-1]
    pixels = _move(pixels, change)
    if change.blur:
        # Mirrored at the edge, half a pixel outside: no edge darkens, and the image's mean stays.
        pixels = ndimage.gaussian_filter(pixels, change.blur, output=np.float32, mode="reflect")
    if change.exponent != 1:
        unit = pixels * np.float32(1 / full)
        pixels = np.power(unit, np.float32(change.exponent), out=unit) * np.float32(full)
    if change.noise:
        noise = rng.standard_normal(pixels.shape, dtype=np.float32)
        noise *= np.float32(change.noise * full)
        pixels = np.add(pixels, noise, out=noise)
    if pixels.dtype == dtype:
        return pixels
    return np.clip(np.rint(pixels), 0, full).astype(dtype)


def _crop(image: np.ndarray, change: Change) -> np.ndarray:
    window = []
    for side, kept, place in zip(image.shape, change.kept, change.place, strict=True):
        # Rounded up: never below the share asked for, nor below one pixel.
        length = min(side, math.ceil(kept * side))
        start = int(place * (side - length + 1))
        window.append(slice(start, start + length))
    return image[tuple(window)]


def _move(pixels: np.ndarray, change: Change) -> np.ndarray:
    """Rotation, zoom and shift as one affine map, bilinear, into float32 [h, w]; as it is where there is none."""
    height, width = pixels.shape
    # Whole pixels: a shift alone then keeps every value as it is.
    down, right = round(change.shift[0] * height), round(change.shift[1] * width)
    if change.degrees == 0 and change.scale == 1 and down == 0 and right == 0:
        return pixels
    # Pillow's map leads from where a pixel goes to where it comes from, y pointing down, (0, 0) the image's corner.
    cos = math.cos(math.radians(change.degrees)) / change.scale
    sin = math.sin(math.radians(change.degrees)) / change.scale
    x, y = width / 2, height / 2
    from_x = x - cos * (x + right) + sin * (y + down)
    from_y = y - sin * (x + right) - cos * (y + down)
    # Pillow, not scipy.ndimage: that ends the image at the centres of its outer pixels (a rim would turn black), and
    # takes 280 ms where this takes 220 (3,072 x 3,072 pixels, conversions included). Both let other threads run.
    moved = Image.fromarray(np.ascontiguousarray(pixels, np.float32)).transform(
        (width, height), Image.Transform.AFFINE, (cos, -sin, from_x, sin, cos, from_y), Image.Resampling.BILINEAR
    )
    return np.asarray(moved)
