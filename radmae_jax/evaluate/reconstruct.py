"""A work directory and image files to pictures of what the model reconstructs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radmae_jax.data.dicom import ImageError
from radmae_jax.evaluate.pretrained import load
from radmae_jax.train.panels import draw_panels, note_of


@dataclass(frozen=True)
class Reconstructed:
    """What `radmae reconstruct` did; errors are mean squared over hidden pixels, full range 1."""

    path: str
    step: int
    errors: list[float]
    unreadable: dict[str, str]  # file as given to its reason


def reconstruct(workdir: Path, files: list[Path], out: Path, step: int | str = "latest") -> Reconstructed:
    """Draws one sheet of all files that can be read; raises where none can."""
    pretrained = load(workdir, step)
    images, names, unreadable = [], [], {}
    for path in files:
        try:
            images.append(pretrained.read(path))
            names.append(f"{path.name}  {images[-1].shape[0]} x {images[-1].shape[1]}")
        except (ImageError, OSError) as error:
            unreadable[str(path)] = str(error)
    if not images:
        raise ValueError(f"none of {len(files)} files can be read; the first: {next(iter(unreadable.values()))}")
    panels = pretrained.reconstruct(images, names)
    draw_panels(panels, out, note_of(pretrained.step, pretrained.config.model.mask_ratio, pretrained.config.loss))
    errors = [float(np.mean((p.prediction - p.image)[p.hidden] ** 2)) if p.hidden.any() else 0.0 for p in panels]
    return Reconstructed(str(out), pretrained.step, errors, unreadable)
