"""A work directory and image files to pictures of what the model reconstructs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radmae_jax.data.dicom import ImageError
from radmae_jax.evaluate.pretrained import Pretrained, load
from radmae_jax.train.panels import draw_panels, note_of


@dataclass(frozen=True)
class Reconstructed:
    """What `radmae reconstruct` did; errors are mean squared over hidden pixels, full range 1."""

    path: str
    step: int
    files: list[str]  # those drawn, "image 1" first
    errors: list[float]
    errors_of_mean: list[float]  # of predicting each image's own mean for the same pixels
    unreadable: dict[str, str]  # file as given to its reason


def reconstruct(workdir: Path, files: list[Path], out: Path, step: int | str = "latest") -> Reconstructed:
    """Draws one sheet of all files that can be read; raises where none can."""
    pretrained = load(workdir, step)
    if not isinstance(pretrained, Pretrained):
        raise ValueError(f"{workdir} holds a classifier, which reconstructs nothing")
    images, names, files_read, unreadable = [], [], [], {}
    for path in files:
        try:
            images.append(pretrained.read(path))
            # No file names in the picture: they may name a patient, and pictures are passed on.
            names.append(f"image {len(names) + 1}  {images[-1].shape[0]} x {images[-1].shape[1]}")
            files_read.append(str(path))
        except (ImageError, OSError) as error:
            unreadable[str(path)] = str(error)
    if not images:
        raise ValueError(f"none of {len(files)} files can be read; the first: {next(iter(unreadable.values()))}")
    panels = pretrained.reconstruct(images, names)
    draw_panels(panels, out, note_of(pretrained.step, pretrained.config.model.mask_ratio, pretrained.config.loss))
    errors = [_mean_square(p.prediction - p.image, p.hidden) for p in panels]
    of_mean = [_mean_square(p.image - p.image.mean(), p.hidden) for p in panels]
    return Reconstructed(str(out), pretrained.step, files_read, errors, of_mean, unreadable)


def _mean_square(difference: np.ndarray, where: np.ndarray) -> float:
    return float(np.mean(difference[where] ** 2)) if where.any() else 0.0
