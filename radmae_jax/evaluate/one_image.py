"""An image file, or pixels of any size, to a batch of one as a run was trained to see it."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from radmae_jax.config import Bins, Config
from radmae_jax.data.batch import Batch, empty_batch, put_image
from radmae_jax.data.binning import make_table
from radmae_jax.data.images import downscale, read_image


def read_pixels(path: str | Path, config: Config) -> np.ndarray:
    """An image file's pixels [H, W]. Errors: ImageError, OSError."""
    data = config.data
    return read_image(Path(path), intensity=data.intensity, dtype=data.dtype, pixel_aspect=data.pixel_aspect)


def batch_of(image: np.ndarray, config: Config, record: int = 0) -> Batch:
    """Pixels [H, W] as the one row of a batch, host arrays, in a bucket of the image's own size."""
    model = config.model
    heights, widths = np.array(image.shape)[:, None]
    table = make_table(_bins(config.bins), model.patch, heights, widths)
    size = table.fit(heights, widths)
    rows, columns = table.grids(size[:, 0], size[:, 1])[0].tolist()
    image = downscale(image, (int(size[0, 0]), int(size[0, 1])))
    batch = empty_batch(1, rows * columns, model.patch, model.channels, config.data.dtype)
    put_image(batch, 0, image, (rows, columns), model.patch)
    batch.weight[0], batch.record[0] = 1.0, record
    return batch


def _bins(bins: Bins) -> Bins:
    """Bins that treat an image as training did: what is beyond them made smaller, the poster's padding as part of it;
    else any size has its own."""
    own_size = bins.pad_tokens == "masked" and bins.beyond != "downscale"
    return replace(bins, lengths=(), beyond="extra") if own_size else bins
