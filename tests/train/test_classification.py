"""The classifier's objective: scores of an image wherever it lies, figures by hand, gradients of any groups."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import keystr
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

from radmae_jax.config import Config, Model, Task
from radmae_jax.data.batch import Batch, empty_batch, put_image
from radmae_jax.model.classifier import build
from radmae_jax.train.classification import LabelSums, class_sums, classification, cross_entropy, forward, summarise
from radmae_jax.train.objective import Objective
from radmae_jax.train.state import init_gathered
from radmae_jax.train.steps import make_accumulate

LENGTHS = (12, 30)
SIZES = [(20, 25), (8, 8), (24, 30), (37, 40), (16, 60), (23, 17), (33, 48), (9, 30)]
CLASSES = [0, 2, -1, 1, 2, 0, 1, -1]  # two are unknown


def _batch(records: list[int], length: int, fillers: int = 0) -> Batch:
    """Rows of images 0 to 7, of seeded noise."""
    batch = empty_batch(len(records) + fillers, length, 8, 1, "uint16", labels=1)
    for row, record in enumerate(records):
        height, width = SIZES[record]
        image = np.random.default_rng(record).integers(0, 65536, (height, width), dtype=np.uint16)
        put_image(batch, row, image, (-(-height // 8), -(-width // 8)), 8)
        batch.weight[row], batch.record[row], batch.label[row] = 1.0, record, CLASSES[record]
    return batch


def _config(model: Model, **changes) -> Config:
    return Config(model=replace(model, **changes), task=Task("classify", ("kind",), (("a", "b", "c"),)))


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_scores_depend_on_the_image_only(small_model, pool):
    """Not on the bucket, the neighbours, or what lies in the padding; and on every pixel of the image."""
    config = _config(small_model, pool=pool, layers=1)
    params = jax.jit(classification(config).init)(jax.random.key(0))["params"]
    scores = jax.jit(lambda batch: forward(build(config.model, 3), params, batch).logits)
    alone = np.concatenate([scores(_batch([n], length)) for n, length in enumerate((12, 12, 12, 30, 30, 12, 30, 12))])
    own = _batch([3], 25)  # full: no padding at all
    np.testing.assert_allclose(scores(own)[0], alone[3], atol=1e-5, rtol=0)
    assert np.ptp(alone, axis=0).min() > 0.01  # images are told apart
    shuffled = [3, 0, 7, 5, 1, 6, 2, 4]
    np.testing.assert_allclose(scores(_batch(shuffled, 30, fillers=2))[:8], alone[shuffled], atol=1e-5, rtol=0)
    junk = _batch(shuffled, 36, fillers=2)
    for row in range(8):
        rows, columns = junk.grid[row]
        junk.patches[row, rows * columns :] = 65535
        height, width = junk.extent[row]
        patches = junk.patches[row, : rows * columns].reshape(rows, columns, 8, 8).swapaxes(1, 2)
        pixels = patches.reshape(rows * 8, columns * 8).copy()
        pixels[height:], pixels[:, width:] = 51234, 61234
        junk.patches[row, : rows * columns] = (
            pixels.reshape(rows, 8, columns, 8).swapaxes(1, 2).reshape(rows * columns, 64)
        )
    np.testing.assert_allclose(scores(junk)[:8], alone[shuffled], atol=1e-5, rtol=0)
    junk.patches[0, 0, 0] ^= 0x8000  # a pixel of the image
    assert np.abs(scores(junk)[0] - alone[3]).max() > 1e-5


def test_by_hand():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.9, 0.05, 0.05], [1, 1, 1]]))
    label, weight = jnp.array([0, 1, 1, -1, 0]), jnp.array([1.0, 1.0, 1.0, 1.0, 0.0])
    entropy, counted = cross_entropy(logits, label, weight)
    np.testing.assert_allclose(entropy, [np.log(2), np.log(1.25), np.log(5), 0, 0], rtol=1e-6)
    assert counted.tolist() == [1, 1, 1, 0, 0]  # of unknown class, and without weight
    sums = class_sums(logits, label, weight)
    assert sums.correct.tolist() == [1, 1, 0] and sums.images.tolist() == [1, 2, 0]
    figures = summarise(LabelSums((sums,), jnp.int32(3)), ("kind",))
    assert figures["loss"] == pytest.approx((np.log(2) + np.log(1.25) + np.log(5)) / 3)
    assert figures["balanced_accuracy"] == 0.75  # recall 1 and 1/2; the third class is not there
    assert (figures["accuracy"], figures["images"]) == (pytest.approx(2 / 3), 3)


def test_figures_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (300, 4)).astype(np.float32)
    label = rng.choice(4, 300, p=[0.6, 0.2, 0.15, 0.05])
    parts = [class_sums(*map(jnp.asarray, (logits[s], label[s], np.ones(len(label[s]), np.float32))))
             for s in (slice(0, 7), slice(7, 120), slice(120, 300))]  # fmt: skip
    sums = jax.tree.map(lambda *p: np.sum(p, axis=0), *parts)
    figures = summarise(LabelSums((sums,), jnp.int32(300)), ("kind",))
    chosen, probabilities = logits.argmax(axis=1), np.asarray(jax.nn.softmax(logits))
    assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(label, chosen), abs=1e-12)
    assert figures["accuracy"] == pytest.approx(accuracy_score(label, chosen), abs=1e-12)
    assert figures["loss"] == pytest.approx(log_loss(label, probabilities, labels=range(4)), rel=1e-5)


def _gathered(objective: Objective, calls: list[tuple[int, Batch]]):
    params = jax.jit(objective.init)(jax.random.key(0))["params"]
    gathered = init_gathered(params, len(LENGTHS))
    programs = [jax.jit(make_accumulate(objective, bucket)) for bucket in range(len(LENGTHS))]
    for bucket, batch in calls:
        gathered = programs[bucket](params, {}, gathered, batch)
    return jax.device_get(gathered)


def test_mixed_groups_with_fillers_and_unknown_labels_equal_one_large_batch(small_model, tree_distance):
    objective = classification(_config(small_model, pool="mean", layers=1))
    calls = [
        (0, _batch([0, 1, 2, 5], 12)), (1, _batch([3, 4], 30)), (0, _batch([7, 1], 12, fillers=2)),
        (1, _batch([6], 30, fillers=1)),
    ]  # fmt: skip
    calls[2][1].weight[1] = 0.0  # as of a file that cannot be read
    known = [n for n in range(8) if CLASSES[n] >= 0]
    found, wanted = _gathered(objective, calls), _gathered(objective, [(1, _batch(known, 30))])
    assert tree_distance(wanted.gradients, found.gradients) < 1e-5
    assert found.denominator.sum() == wanted.denominator.sum() == 6
    np.testing.assert_allclose(found.numerator.sum(), wanted.numerator.sum(), rtol=1e-5)
    assert found.unreadable == 1
    held = [leaf for path, leaf in jax.tree.leaves_with_path(found.gradients) if "['key']['bias']" in keystr(path)]
    assert len(held) == 1 and np.all(held[0] == 0)  # as the MAE's
