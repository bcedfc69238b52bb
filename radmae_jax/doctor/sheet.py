"""Images to one contact sheet on which an inverted or washed-out one is seen at once."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from radmae_jax.doctor.sample import Seen

_CELL = 150  # pixels of a thumbnail's longer side
_ACROSS = 8
_GAP = 10
_STRIP = 22  # height of the histogram under a thumbnail
_CAPTION = 34
_HEADING = 34
_BACKGROUND = (24, 34, 56)  # blue: neither black nor white is taken for the sheet
_CELL_GROUND = (40, 54, 84)
_INK = (226, 230, 238)
_FLAG = (255, 176, 32)


def draw_sheet(seen: tuple[Seen, ...], flags: dict[int, str], path: Path, intensity: str) -> None:
    """A PNG: a block for each photometric interpretation, its images by scanner and region, none of them stretched.

    Args:
      flags: a word for each record that is to be framed.
    """
    blocks = {name: [i for i in seen if i.photometric == name] for name in sorted({i.photometric for i in seen})}
    font, large = ImageFont.load_default(12), ImageFont.load_default(16)
    tall = _CELL + _STRIP + _CAPTION + _GAP
    rows = sum(-(-len(images) // _ACROSS) for images in blocks.values())
    size = (_ACROSS * (_CELL + _GAP) + _GAP, _HEADING * (1 + len(blocks)) + rows * tall + _GAP)
    sheet = Image.new("RGB", size, _BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    title = (
        f"{len(seen)} images after the policy '{intensity}', as the model sees them: bone bright, air dark. "
        "Under each: its grey values, black to white."
    )
    pen.text((_GAP, 8), title, fill=_INK, font=large)
    top = _HEADING
    for name, images in blocks.items():
        pen.text((_GAP, top + 8), f"{name}: {len(images)} images", fill=_INK, font=large)
        top += _HEADING
        for at, image in enumerate(sorted(images, key=lambda i: (i.scanner, i.region, i.record))):
            left = _GAP + at % _ACROSS * (_CELL + _GAP)
            _draw_cell(sheet, pen, image, left, top + at // _ACROSS * tall, flags.get(image.record), font)
        top += -(-len(images) // _ACROSS) * tall
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _draw_cell(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, image: Seen, left: int, top: int, flag: str | None, font
) -> None:
    pen.rectangle((left, top, left + _CELL - 1, top + _CELL - 1), fill=_CELL_GROUND)
    thumbnail = Image.fromarray(image.thumbnail)
    scale = _CELL / max(thumbnail.size)
    width, height = (max(1, round(side * scale)) for side in thumbnail.size)
    thumbnail = thumbnail.resize((width, height), Image.Resampling.BILINEAR)
    sheet.paste(thumbnail, (left + (_CELL - width) // 2, top + (_CELL - height) // 2))
    if flag:
        for inset in (1, 2, 3):
            pen.rectangle((left - inset, top - inset, left + _CELL - 1 + inset, top + _CELL - 1 + inset), outline=_FLAG)
    _draw_strip(pen, image.histogram, left, top + _CELL + 3)
    photometric = image.photometric.replace("MONOCHROME", "M")
    below = top + _CELL + _STRIP + 4
    pen.text((left, below), f"record {image.record} {photometric} {image.bits} bit", fill=_INK, font=font)
    named = f"{image.region[:10]}: {flag}" if flag else image.region[:24]
    pen.text((left, below + 14), named, fill=_FLAG if flag else _INK, font=font)


def _draw_strip(pen: ImageDraw.ImageDraw, histogram: np.ndarray, left: int, top: int) -> None:
    """Roots of the shares, so that a peak does not hide the rest."""
    edges = np.linspace(0, len(histogram), _CELL + 1).astype(int)
    heights = np.sqrt(np.add.reduceat(histogram, edges[:-1]) / np.diff(edges))
    heights = np.round(heights / max(heights.max(), 1e-9) * (_STRIP - 4)).astype(int)
    bottom = top + _STRIP - 4
    pen.line((left, bottom, left + _CELL - 1, bottom), fill=_CELL_GROUND)
    for column, high in enumerate(heights.tolist()):
        if high:
            pen.line((left + column, bottom - high, left + column, bottom), fill=_INK)
