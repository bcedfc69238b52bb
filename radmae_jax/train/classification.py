"""A configuration to the objective of a ViT classifier: to name an image's class of one label or of several."""

from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from radmae_jax.config import Config
from radmae_jax.data.batch import Batch
from radmae_jax.model.classifier import Classified, Classifier, build, init
from radmae_jax.model.flops import classifier_flops
from radmae_jax.model.vit import drop_path
from radmae_jax.train.objective import Figures, Objective


class ClassSums(NamedTuple):
    """What a batch adds to the evaluation of one label; C classes, images of weight and known label only."""

    entropy: jax.Array  # float32, cross-entropy in nats
    correct: jax.Array  # int32 [C], images of each class that were given it
    images: jax.Array  # int32 [C], images of each class


class LabelSums(NamedTuple):
    """What a batch adds to an evaluation."""

    labels: tuple[ClassSums, ...]
    images: jax.Array  # int32, those of weight with any known label


def classification(config: Config, class_images: tuple[np.ndarray, ...] = ()) -> Objective:
    """The objective of config.model and config.task, whose classes must be resolved; balanced accuracy decides.

    Args:
      class_images: training images of each class of each label, which config.task.balance weighs by; without them, as
        for a model that is only used, all images weigh alike.
    """
    task = config.task
    if not task.classes:
        raise ValueError(f"config.task.classes is {task.classes}; a classifier needs at least 2 of each label")
    classes = head_sizes(config)
    model = build(config.model, sum(classes))
    layers = model.shape.encoder.layers
    weights = [balanced_weights(n) if task.balance else None for n in class_images] or [None] * len(classes)

    def loss(params: Any, tables: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        branches = None
        if task.drop_path:
            branches = drop_path(task.drop_path, layers, config.train.seed, batch.epoch, batch.record)
        logits = heads(forward(model, params, batch, branches).logits, classes)
        parts = [
            cross_entropy(scores, batch.label[:, at], batch.weight, task.smoothing, weights[at])
            for at, scores in enumerate(logits)
        ]
        entropy, counted = zip(*parts, strict=True)
        return jnp.sum(jnp.stack(entropy)), jnp.sum(jnp.stack(counted))

    def evaluate(params: Any, tables: Any, batch: Batch) -> LabelSums:
        logits = heads(forward(model, params, batch).logits, classes)
        sums = [class_sums(scores, batch.label[:, at], batch.weight) for at, scores in enumerate(logits)]
        known = jnp.any(batch.label >= 0, axis=1) & (batch.weight > 0)
        return LabelSums(tuple(sums), jnp.sum(known, dtype=jnp.int32))

    return Objective(
        init=partial(init, model),
        loss=loss,
        evaluate=evaluate,
        summarise=lambda sums: summarise(sums, task.labels),
        describe=_describe,
        deciding="balanced_accuracy",
        larger_is_better=True,
        forward_flops=lambda tokens: float(classifier_flops(tokens, config.model, sum(classes))),
        labels=len(classes),
    )


def head_sizes(config: Config) -> tuple[int, ...]:
    """Classes of each label, which are the parts of the head's outputs."""
    return tuple(map(len, config.task.classes))


def heads(logits: Any, classes: tuple[int, ...]) -> list[Any]:
    """Logits [B, sum of classes] as one [B, C] a label."""
    return [logits[:, stop - count : stop] for count, stop in zip(classes, accumulate(classes), strict=True)]


def balanced_weights(images: np.ndarray) -> jax.Array:
    """What an image of each class weighs, float32 [C]: all / (classes present * images of its class), so that every
    class present has the same sum and the mean is 1."""
    present = images > 0
    weights = images.sum() / (present.sum() * np.maximum(images, 1))
    return jnp.asarray(np.where(present, weights, 1.0), jnp.float32)


def forward(model: Classifier, params: Any, batch: Batch, branches: jax.Array | None = None) -> Classified:
    """The model on a batch."""
    return cast(Classified, model.apply({"params": params}, batch.patches, batch.grid, batch.extent, branches))


def cross_entropy(
    logits: jax.Array, label: jax.Array, weight: jax.Array, smoothing: float = 0.0, of_class: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy of each image in nats, weighed, and its weight, float32 [B]; both 0 without weight or known label.

    Args:
      logits: float32 [B, C]; label: int32 [B], -1 unknown; weight: float32 [B].
      smoothing: share of the target that is spread over all classes (Szegedy et al. 2016, section 7).
      of_class: float32 [C], what an image of each class weighs; None: 1.
    """
    chosen = jnp.maximum(label, 0)
    counted = jnp.where(label >= 0, weight, 0.0)
    if of_class is not None:
        counted = counted * of_class[chosen]
    log_p = jax.nn.log_softmax(logits)
    entropy = -jnp.take_along_axis(log_p, chosen[:, None], axis=1)[:, 0]
    if smoothing:
        entropy = (1.0 - smoothing) * entropy - smoothing * jnp.mean(log_p, axis=1)
    return jnp.where(counted > 0, counted * entropy, 0.0), counted


def class_sums(logits: jax.Array, label: jax.Array, weight: jax.Array) -> ClassSums:
    """The sums of a batch; arguments as those of `cross_entropy`. Of equal scores the first class is chosen."""
    entropy, counted = cross_entropy(logits, label, weight)
    of_class = jax.nn.one_hot(jnp.where(counted > 0, label, -1), logits.shape[1], dtype=jnp.int32)
    correct = of_class * (jnp.argmax(logits, axis=1) == label)[:, None]
    return ClassSums(jnp.sum(entropy), jnp.sum(correct, axis=0), jnp.sum(of_class, axis=0))


def summarise(sums: LabelSums, labels: tuple[str, ...]) -> Figures:
    """`loss` (mean cross-entropy), `balanced_accuracy` (mean recall of the classes present), `accuracy`, `images`.

    Of several labels these are means over the labels that any image has, and `balanced_accuracy/LABEL` is each one's.
    """
    each = {name: _of_label(part) for name, part in zip(labels, sums.labels, strict=True)}
    each = {name: figures for name, figures in each.items() if figures}
    names = ("loss", "balanced_accuracy", "accuracy")
    if not each:
        return dict.fromkeys(names, np.nan) | {"images": 0.0}
    found = {name: float(np.mean([figures[name] for figures in each.values()])) for name in names}
    found["images"] = float(sums.images)
    if len(labels) > 1:
        found |= {f"balanced_accuracy/{name}": figures["balanced_accuracy"] for name, figures in each.items()}
    return found


def _of_label(sums: ClassSums) -> Figures:
    """The figures of one label; {} where no image has it."""
    correct, images = np.asarray(sums.correct, np.float64), np.asarray(sums.images, np.float64)
    total, present = images.sum(), images > 0
    if total == 0:
        return {}
    return {
        "loss": float(sums.entropy / total),
        "balanced_accuracy": float(np.mean(correct[present] / images[present])),
        "accuracy": float(correct.sum() / total),
    }


def _describe(figures: Figures) -> str:
    each = {name.partition("/")[2]: value for name, value in figures.items() if "/" in name}
    of_labels = ", ".join(f"{name} {100 * value:.2f} %" for name, value in each.items())
    return (
        f"validation balanced accuracy {100 * figures['balanced_accuracy']:.2f} %"
        f"{f' ({of_labels})' if each else ''}, accuracy {100 * figures['accuracy']:.2f} %, "
        f"loss {figures['loss']:.5f} on {figures['images']:.0f} images"
    )
