"""Images and a model to pictures: input, masked, prediction and pasted, side by side at their true aspect."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from radmae_jax.config import Loss
from radmae_jax.data.batch import Batch, unpatchify

_CELL = 320  # pixels of a picture's longer side
_GAP = 8
_NARROWEST = 820  # so that the note fits
_CAPTION = 22
_BACKGROUND = (18, 20, 24)
_INK = (222, 226, 232)
_HIDDEN = (58, 66, 82)  # a colour no radiograph has, so that hidden is not taken for black
_TITLES = ("input", "masked", "prediction", "pasted")

Predict = Callable[[dict, dict, Batch], tuple[jax.Array, jax.Array]]


@dataclass(frozen=True)
class Panel:
    """One image's reconstruction, float32 [H, W], full range 0 to 1, and which pixels were hidden."""

    image: np.ndarray
    hidden: np.ndarray  # bool [H, W]
    prediction: np.ndarray
    name: str

    @property
    def pasted(self) -> np.ndarray:
        """The input where it was visible, the prediction where it was hidden."""
        return np.where(self.hidden, self.prediction, self.image)


def panels_of(
    predict: Predict, params: dict, tables: dict, batch: Batch, patch: int, channels: int, names: list[str]
) -> list[Panel]:
    """The panels of a batch's rows that have weight.

    Args:
      batch: host arrays; predict: see `Objective.predict`; names: a caption for each row.
    """
    prediction, masked = jax.device_get(predict(params, tables, batch))
    panels = []
    for row in np.flatnonzero(batch.weight > 0):
        grid = (int(batch.grid[row, 0]), int(batch.grid[row, 1]))
        height, width = batch.extent[row]
        count = grid[0] * grid[1]
        scale = 1.0 / np.iinfo(batch.patches.dtype).max
        hidden = np.repeat(masked[row, :count, None], patch * patch * channels, axis=1)

        def picture(patches: np.ndarray, grid=grid, height=height, width=width) -> np.ndarray:
            return unpatchify(patches, grid, patch, channels)[:height, :width]

        panels.append(
            Panel(
                picture(batch.patches[row].astype(np.float32) * scale),
                picture(hidden.astype(np.float32)) > 0.5,
                picture(prediction[row]),
                names[row],
            )
        )
    return panels


def draw_panels(panels: list[Panel], path: Path, note: str) -> None:
    """Writes panels as one PNG, a row each, at their true aspect; the note says what produced them."""
    if not panels:
        raise ValueError("no panels to draw")
    font = ImageFont.load_default(13)
    sizes = [_fit(panel.image.shape) for panel in panels]
    cell_width = max(max(width for _, width in sizes), 110)
    full_width = max(4 * cell_width + 5 * _GAP, _NARROWEST)
    full_height = 2 * _CAPTION + sum(height + _CAPTION + _GAP for height, _ in sizes) + _GAP
    sheet = Image.new("RGB", (full_width, full_height), _BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP, 4), note, fill=_INK, font=font)
    for column, title in enumerate(_TITLES):
        pen.text((_GAP + column * (cell_width + _GAP), _CAPTION), title, fill=_INK, font=font)
    top = 2 * _CAPTION + _GAP
    for panel, (height, width) in zip(panels, sizes, strict=True):
        masked = _grey(panel.image)
        masked[panel.hidden] = _HIDDEN
        cells = (_grey(panel.image), masked, _grey(panel.prediction), _grey(panel.pasted))
        for column, pixels in enumerate(cells):
            picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
            sheet.paste(picture, (_GAP + column * (cell_width + _GAP), top))
        pen.text((_GAP, top + height + 3), panel.name, fill=_INK, font=font)
        top += height + _CAPTION + _GAP
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def note_of(step: int, mask_ratio: float, loss: Loss) -> str:
    """The line over a sheet: what was hidden, and whether the true patches' statistics were used."""
    statistics = "mean and contrast of each true patch put back" if loss.norm_pix else "no statistics of the input used"
    untrained = "" if loss.kind == "poster" else "; what is predicted for visible patches was never trained"
    return f"step {step:,}, {100 * mask_ratio:.0f} % hidden, {statistics}{untrained}"


def _fit(shape: tuple[int, ...]) -> tuple[int, int]:
    scale = _CELL / max(shape)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _grey(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(np.round(np.clip(pixels, 0.0, 1.0) * 255).astype(np.uint8)[..., None], 3, axis=2)
