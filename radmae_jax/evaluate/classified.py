"""Images to the probabilities that a trained classifier gives its classes."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from radmae_jax.config import Config
from radmae_jax.data.batch import Batch
from radmae_jax.evaluate.one_image import batch_of, read_pixels
from radmae_jax.model.classifier import Classifier
from radmae_jax.train.classification import forward


@dataclass(frozen=True, eq=False)
class TrainedClassifier:
    """A trained ViT classifier; `model.apply({"params": params}, patches, grid, extent)` runs it."""

    model: Classifier
    params: dict[str, Any]
    config: Config
    step: int

    @property
    def classes(self) -> tuple[str, ...]:
        """The label's values, in the order of the probabilities."""
        return self.config.task.classes

    def read(self, path: str | Path) -> np.ndarray:
        """An image file's pixels [H, W] as this model was trained to see them."""
        return read_pixels(path, self.config)

    def classify(self, images: list[np.ndarray]) -> np.ndarray:
        """Probabilities float32 [N, classes] of images [H, W] of any sizes, each in a bucket of its own size."""
        rows = [self._probabilities(self.params, batch_of(image, self.config)) for image in images]
        return np.concatenate([np.zeros((0, len(self.classes)), np.float32), *jax.device_get(rows)])

    @cached_property
    def _probabilities(self):
        def probabilities(params: Any, batch: Batch) -> jax.Array:
            return jax.nn.softmax(forward(self.model, params, batch).logits)

        return jax.jit(probabilities)  # compiled once a number of tokens, and kept
