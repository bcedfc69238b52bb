"""A configuration to the objective of a ViT classifier: to name an image's class."""

from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from radmae_jax.config import Config
from radmae_jax.data.batch import Batch
from radmae_jax.model.classifier import Classified, Classifier, build, init
from radmae_jax.model.flops import classifier_flops
from radmae_jax.train.objective import Figures, Objective


class ClassSums(NamedTuple):
    """What a batch adds to an evaluation; C classes, images of weight and known label only."""

    entropy: jax.Array  # float32, cross-entropy in nats
    correct: jax.Array  # int32 [C], images of each class that were given it
    images: jax.Array  # int32 [C], images of each class


def classification(config: Config) -> Objective:
    """The objective of config.model and config.task, whose classes must be resolved; balanced accuracy decides."""
    classes = len(config.task.classes)
    if classes < 2:
        raise ValueError(f"config.task.classes is {config.task.classes}; a classifier needs at least 2")
    model = build(config.model, classes)

    def loss(params: Any, tables: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        entropy, counted = cross_entropy(forward(model, params, batch).logits, batch.label[:, 0], batch.weight)
        return jnp.sum(entropy), jnp.sum(counted)

    def evaluate(params: Any, tables: Any, batch: Batch) -> ClassSums:
        return class_sums(forward(model, params, batch).logits, batch.label[:, 0], batch.weight)

    return Objective(
        init=partial(init, model),
        loss=loss,
        evaluate=evaluate,
        summarise=summarise,
        describe=_describe,
        deciding="balanced_accuracy",
        larger_is_better=True,
        forward_flops=lambda tokens: float(classifier_flops(tokens, config.model, classes)),
        labels=1,
    )


def forward(model: Classifier, params: Any, batch: Batch) -> Classified:
    """The model on a batch."""
    return cast(Classified, model.apply({"params": params}, batch.patches, batch.grid, batch.extent))


def cross_entropy(logits: jax.Array, label: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy of each image in nats and its count, float32 [B]; both 0 without weight or a known label.

    Args:
      logits: float32 [B, C]; label: int32 [B], -1 unknown; weight: float32 [B].
    """
    counted = jnp.where(label >= 0, weight, 0.0)
    chosen = jnp.maximum(label, 0)[:, None]
    entropy = -jnp.take_along_axis(jax.nn.log_softmax(logits), chosen, axis=1)[:, 0]
    return jnp.where(counted > 0, counted * entropy, 0.0), counted


def class_sums(logits: jax.Array, label: jax.Array, weight: jax.Array) -> ClassSums:
    """The sums of a batch; arguments as those of `cross_entropy`. Of equal scores the first class is chosen."""
    entropy, counted = cross_entropy(logits, label, weight)
    of_class = jax.nn.one_hot(jnp.where(counted > 0, label, -1), logits.shape[1], dtype=jnp.int32)
    correct = of_class * (jnp.argmax(logits, axis=1) == label)[:, None]
    return ClassSums(jnp.sum(entropy), jnp.sum(correct, axis=0), jnp.sum(of_class, axis=0))


def summarise(sums: ClassSums) -> Figures:
    """`loss` (mean cross-entropy), `balanced_accuracy` (mean recall of the classes present), `accuracy`, `images`."""
    correct, images = np.asarray(sums.correct, np.float64), np.asarray(sums.images, np.float64)
    total, present = images.sum(), images > 0
    if total == 0:
        return {"loss": np.nan, "balanced_accuracy": np.nan, "accuracy": np.nan, "images": 0.0}
    return {
        "loss": float(sums.entropy / total),
        "balanced_accuracy": float(np.mean(correct[present] / images[present])),
        "accuracy": float(correct.sum() / total),
        "images": float(total),
    }


def _describe(figures: Figures) -> str:
    return (
        f"validation balanced accuracy {100 * figures['balanced_accuracy']:.2f} %, accuracy "
        f"{100 * figures['accuracy']:.2f} %, loss {figures['loss']:.5f} on {figures['images']:.0f} images"
    )
