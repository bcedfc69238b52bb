"""Images of any size to the rows of one batch: the contract between data, models and tasks."""

from typing import Any, NamedTuple

import numpy as np

NO_RECORD = -1

Array = Any  # numpy on the host, jax.Array on the device


class Batch(NamedTuple):
    """B rows of L tokens of P x P x C pixels."""

    patches: Array  # uint8 or uint16 [B, L, P*P*C], raster order over the image's grid, real tokens first
    grid: Array  # int32 [B, 2], rows and columns of patches; 1 x 1 of zeros in a filler row
    extent: Array  # int32 [B, 2], height and width in pixels inside the grid
    weight: Array  # float32 [B], 1; 0 for a filler row or a record that could not be read
    label: Array  # int32 [B, T], -1 where unknown
    record: Array  # int32 [B], row of the manifest; -1 in a filler row
    epoch: Array  # int32 [B], with record and the run's seed: seeds mask and augmentation


def empty_batch(
    rows: int, length: int, patch: int, channels: int, dtype: str, labels: int = 0, epoch: int = 0
) -> Batch:
    """A batch of filler rows."""
    return Batch(
        patches=np.zeros((rows, length, patch * patch * channels), dtype),
        grid=np.ones((rows, 2), np.int32),
        extent=np.ones((rows, 2), np.int32),
        weight=np.zeros(rows, np.float32),
        label=np.full((rows, labels), -1, np.int32),
        record=np.full(rows, NO_RECORD, np.int32),
        epoch=np.full(rows, epoch, np.int32),
    )


def put_image(batch: Batch, row: int, image: np.ndarray, grid: tuple[int, int], patch: int) -> None:
    """Writes one image [H, W] into a row of a batch, padded with zeros at the bottom and right to its grid.

    Raises ValueError where the image does not fit the grid, or the grid the batch.
    """
    height, width = image.shape
    rows, columns = grid
    if height > rows * patch or width > columns * patch or rows * columns > batch.patches.shape[1]:
        raise ValueError(
            f"image {height} x {width} in a grid of {rows} x {columns} patches of {patch} pixels, "
            f"{batch.patches.shape[1]} tokens: it does not fit"
        )
    if image.dtype != batch.patches.dtype:
        raise ValueError(f"image of {image.dtype} in a batch of {batch.patches.dtype}")
    batch.patches[row, : rows * columns] = patchify(image, grid, patch, batch.patches.shape[2] // patch**2)
    batch.grid[row] = grid
    batch.extent[row] = height, width


def patchify(image: np.ndarray, grid: tuple[int, int], patch: int, channels: int = 1) -> np.ndarray:
    """Pixels [H, W] to patches [rows * columns, P*P*C] in raster order, each (y, x, channel); grey is repeated."""
    rows, columns = grid
    padded = np.zeros((rows * patch, columns * patch), image.dtype)
    padded[: image.shape[0], : image.shape[1]] = image
    patches = padded.reshape(rows, patch, columns, patch).swapaxes(1, 2).reshape(rows * columns, patch * patch)
    return np.repeat(patches, channels, axis=1) if channels > 1 else patches


def unpatchify(patches: np.ndarray, grid: tuple[int, int], patch: int, channels: int = 1) -> np.ndarray:
    """Patches [>= rows * columns, P*P*C] back to pixels [rows * P, columns * P], channels averaged."""
    rows, columns = grid
    pixels = patches[: rows * columns].reshape(rows, columns, patch, patch, channels)
    pixels = pixels[..., 0] if channels == 1 else pixels.mean(axis=-1)
    return pixels.swapaxes(1, 2).reshape(rows * patch, columns * patch)
