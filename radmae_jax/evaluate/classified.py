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
from radmae_jax.train.classification import forward, head_sizes, heads


@dataclass(frozen=True, eq=False)
class TrainedClassifier:
    """A trained ViT classifier; `model.apply({"params": params}, patches, grid, extent)` runs it."""

    model: Classifier
    params: dict[str, Any]
    config: Config
    step: int

    @property
    def labels(self) -> tuple[str, ...]:
        """What it names, one head each."""
        return self.config.task.labels

    @property
    def classes(self) -> tuple[str, ...]:
        """The only label's values, in the order of the probabilities."""
        return self.classes_of(self._chosen(""))

    def classes_of(self, label: str) -> tuple[str, ...]:
        """A label's values, in the order of the probabilities."""
        return self.config.task.classes[self.labels.index(self._chosen(label))]

    def read(self, path: str | Path) -> np.ndarray:
        """An image file's pixels [H, W] as this model was trained to see them."""
        return read_pixels(path, self.config)

    def classify(self, images: list[np.ndarray], label: str = "") -> np.ndarray:
        """Probabilities float32 [N, classes] of images [H, W] of any sizes, each in a bucket of its own size.

        label: which one; may be left out where there is only one.
        """
        at = self.labels.index(self._chosen(label))
        rows = [self._probabilities(self.params, batch_of(image, self.config))[at] for image in images]
        return np.concatenate([np.zeros((0, len(self.config.task.classes[at])), np.float32), *jax.device_get(rows)])

    def _chosen(self, label: str) -> str:
        label = label or (self.labels[0] if len(self.labels) == 1 else "")
        if label not in self.labels:
            raise ValueError(f"label {label!r}; this run has {', '.join(self.labels)}")
        return label

    @cached_property
    def _probabilities(self):
        def probabilities(params: Any, batch: Batch) -> list[jax.Array]:
            logits = forward(self.model, params, batch).logits
            return [jax.nn.softmax(scores) for scores in heads(logits, head_sizes(self.config))]

        return jax.jit(probabilities)  # compiled once a number of tokens, and kept
