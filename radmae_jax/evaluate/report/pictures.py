"""Pixels and picture files to data: URIs small enough to lie in a page."""

import base64
import io
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

_LONGER = 320  # pixels of an example's longer side
_SHEET = 840  # pixels a sheet of reconstructions is wide
_STRENGTH = 0.55  # of the colours over the image
_QUALITY = 78
_MAP = matplotlib.colormaps["inferno"]  # of even lightness steps, and told apart by the colour blind


def plain(image: np.ndarray) -> str:
    """A grey image [H, W] of any unsigned dtype as a JPEG."""
    return _jpeg(Image.fromarray(_small(image), "L"))


def overlaid(image: np.ndarray, heat: np.ndarray) -> str:
    """A grey image [H, W] under a map [H, W] of any range, whose least is dark and whose most is bright yellow."""
    grey = _small(image)
    shape = grey.shape
    spread = _resized(heat.astype(np.float32), shape)
    low, high = float(spread.min()), float(np.quantile(spread, 0.995))
    strength = np.clip((spread - low) / (high - low), 0.0, 1.0) if high > low else np.zeros(shape, np.float32)
    colours = _MAP(strength)[..., :3]
    mixed = (1 - _STRENGTH) * grey[..., None] / 255.0 + _STRENGTH * colours
    return _jpeg(Image.fromarray(np.round(255 * mixed).astype(np.uint8), "RGB"))


def scale() -> str:
    """The colours of `overlaid` over black and over white, from least to most, as a picture 256 wide."""
    colours = _STRENGTH * _MAP(np.linspace(0.0, 1.0, 256))[..., :3]
    rows = np.repeat(np.stack([colours, colours + (1 - _STRENGTH)]), 8, axis=0)
    return _encoded(Image.fromarray(np.round(255 * rows).astype(np.uint8), "RGB"), "png")


def icon() -> str:
    """The page's sign in a browser's tab."""
    picture = Image.new("RGB", (16, 16), (11, 90, 134))
    for column, top in ((3, 8), (6, 3), (9, 6), (12, 2)):
        picture.paste((255, 255, 255), (column, top, column + 1, 13))
    return _encoded(picture, "png")


def sheet(path: Path) -> str:
    """A picture file, made smaller."""
    with Image.open(path) as picture:
        picture = picture.convert("RGB")
    width = min(picture.width, _SHEET)
    size = (width, max(1, round(picture.height * width / picture.width)))
    return _jpeg(picture.resize(size, Image.Resampling.LANCZOS))


def _small(image: np.ndarray) -> np.ndarray:
    """uint8 [h, w], the longer side at most _LONGER; small images are enlarged to half of that, their pixels seen."""
    full = float(np.iinfo(image.dtype).max)
    factor = _LONGER / max(image.shape)
    shape = (max(1, round(image.shape[0] * factor)), max(1, round(image.shape[1] * factor)))
    pixels = _resized(image.astype(np.float32), shape)
    return np.round(np.clip(pixels * (255.0 / full), 0, 255)).astype(np.uint8)


def _resized(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    picture = Image.fromarray(values).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def _jpeg(picture: Image.Image) -> str:
    return _encoded(picture, "jpeg")


def _encoded(picture: Image.Image, form: str) -> str:
    buffer = io.BytesIO()
    if form == "jpeg":
        picture.save(buffer, "jpeg", quality=_QUALITY, optimize=True)
    else:
        picture.save(buffer, form, optimize=True)
    return f"data:image/{form};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
