"""ViT-MAE pre-training on radiographs of any size, in JAX."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from radmae_jax.evaluate.classified import TrainedClassifier
    from radmae_jax.evaluate.pretrained import Pretrained

__version__ = "0.1.0"


def load(path: str | Path, step: int | str = "latest") -> "Pretrained | TrainedClassifier":
    """The model that a run trained: see `radmae_jax.evaluate.pretrained.load`."""
    from radmae_jax.evaluate.pretrained import load as load_pretrained  # jax only where it is used

    return load_pretrained(path, step)
