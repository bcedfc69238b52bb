"""What keeps a classifier from learning few images by heart, by hand and against PyTorch; several labels at once."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch.nn.functional import cross_entropy as torch_cross_entropy

from radmae_jax.config import Config, Optim, Task
from radmae_jax.data.batch import Batch, empty_batch, put_image
from radmae_jax.model.classifier import build
from radmae_jax.model.vit import drop_path
from radmae_jax.train.classification import (
    balanced_weights,
    classification,
    cross_entropy,
    forward,
    heads,
)
from radmae_jax.train.optim import layer_scales, make_optimizer
from radmae_jax.train.state import init_gathered, init_state
from radmae_jax.train.steps import make_apply


def test_layer_decay_by_hand():
    """Two layers: the head and the norm move at the full rate, embeddings at decay^3 of it."""
    params = {
        "class_token": jnp.ones((1, 1, 4)), "positions": jnp.ones((5, 4)), "patch_embed": {"kernel": jnp.ones((2, 4))},
        "encoder": {"blocks": {"fc1": {"kernel": jnp.ones((2, 4, 4)), "bias": jnp.ones((2, 4))}}},
        "encoder_norm": {"scale": jnp.ones(4)}, "head": {"kernel": jnp.ones((4, 3))},
    }  # fmt: skip
    scales = layer_scales(params, 0.5)
    assert scales["head"]["kernel"] == scales["encoder_norm"]["scale"] == 1.0
    assert scales["class_token"] == scales["positions"] == scales["patch_embed"]["kernel"] == 0.125
    np.testing.assert_allclose(scales["encoder"]["blocks"]["fc1"]["kernel"][:, 0, 0], [0.25, 0.5])
    assert scales["encoder"]["blocks"]["fc1"]["bias"].shape == (2, 1)
    assert set(jax.tree.leaves(layer_scales(params, 1.0))) == {1.0}


def _task(**changes) -> Task:
    return Task("classify", ("kind", "side"), (("a", "b", "c"), ("left", "right")), **changes)


_NOBODY = jnp.zeros(1, jnp.int32)  # asked to stop
_RATES = jnp.array([0.1], jnp.float32)  # of every step: an index beyond the end is the last


@pytest.fixture
def config(small_model) -> Config:
    return Config(model=replace(small_model, layers=2), task=_task())


def test_a_step_of_layer_decay_and_running_mean(config):
    """apply() with unit gradients: without Adam's scaling every leaf moves by rate * scale; the mean follows."""
    objective = classification(config)
    identity = optax.identity()
    state = jax.jit(lambda: init_state(objective, identity, 0, averaged=True))()
    gathered = init_gathered(state.params, 1)
    gathered = replace(
        gathered, gradients=jax.tree.map(lambda x: 2 * jnp.ones_like(x), state.params),
        denominator=jnp.array([2.0]),
    )  # fmt: skip
    apply = jax.jit(make_apply(identity, layer_decay=0.5, ema=0.9))
    after, _, report = apply(state, gathered, _RATES, _NOBODY)
    assert report.applied
    moved = jax.tree.map(lambda a, b: float(np.max(np.abs(a - b))), after.params, state.params)
    assert moved["head"]["kernel"] == pytest.approx(0.1, abs=1e-6)
    assert moved["positions"] == pytest.approx(0.0125, abs=1e-6)
    blocks = np.abs(after.params["encoder"]["blocks"]["fc1"]["bias"] - state.params["encoder"]["blocks"]["fc1"]["bias"])
    np.testing.assert_allclose(blocks[:, 0], [0.025, 0.05], atol=1e-6)
    decay = 1 / 10  # of the first step
    wanted = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, state.params, after.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.average, wanted)
    assert after.used is after.average and state.used is state.average
    late = replace(after, step=jnp.int32(10_000))
    later, _, _ = apply(late, gathered, _RATES, _NOBODY)
    wanted = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, after.average, later.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), later.average, wanted)


def test_a_step_that_is_not_finite_leaves_the_mean(config):
    state = jax.jit(lambda: init_state(classification(config), make_optimizer(Optim()), 0, averaged=True))()
    gathered = replace(init_gathered(state.params, 1), numerator=jnp.array([jnp.nan]), denominator=jnp.array([1.0]))
    after, _, report = jax.jit(make_apply(make_optimizer(Optim()), ema=0.9))(state, gathered, _RATES, _NOBODY)
    assert not report.applied
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), after.average, state.average)


def test_smoothing_and_class_weights_are_pytorchs():
    rng = np.random.default_rng(0)
    logits, label = rng.normal(0, 2, (40, 5)).astype(np.float32), rng.integers(0, 5, 40)
    ones = jnp.ones(40)
    entropy, counted = cross_entropy(jnp.asarray(logits), jnp.asarray(label), ones, 0.1)
    wanted = torch_cross_entropy(torch.tensor(logits), torch.tensor(label), label_smoothing=0.1)
    assert float(entropy.sum() / counted.sum()) == pytest.approx(float(wanted), rel=1e-5)
    weights = jnp.asarray([0.5, 2.0, 1.0, 3.0, 0.1], jnp.float32)
    entropy, counted = cross_entropy(jnp.asarray(logits), jnp.asarray(label), ones, 0.0, weights)
    wanted = torch_cross_entropy(torch.tensor(logits), torch.tensor(label), weight=torch.tensor(np.asarray(weights)))
    assert float(entropy.sum() / counted.sum()) == pytest.approx(float(wanted), rel=1e-5)


def test_balanced_weights_give_every_class_the_same_sum():
    """90, 9, 1 and no images: as scikit-learn's "balanced", for the classes that are there."""
    images = np.array([90, 9, 0, 1])
    weights = np.asarray(balanced_weights(images))
    np.testing.assert_allclose(weights, [100 / 270, 100 / 27, 1, 100 / 3], rtol=1e-6)
    np.testing.assert_allclose((images * weights)[images > 0], 100 / 3, rtol=1e-6)


def test_dropped_branches_depend_on_the_image_only_and_keep_the_mean():
    record, epoch = jnp.arange(4000, dtype=jnp.int32), jnp.zeros(4000, jnp.int32)
    factors = np.asarray(drop_path(0.4, 3, 7, epoch, record))
    assert factors.shape == (3, 2, 4000) and np.all(factors[0] == 1)  # the first block is never dropped
    for layer, rate in enumerate((0.0, 0.2, 0.4)):
        np.testing.assert_allclose(np.unique(factors[layer]), [0, 1 / (1 - rate)] if rate else [1], rtol=1e-6)
        np.testing.assert_allclose(np.mean(factors[layer] == 0), rate, atol=0.02)
    np.testing.assert_allclose(factors.mean(axis=(1, 2)), 1, atol=0.03)
    shuffled = np.asarray(drop_path(0.4, 3, 7, epoch[:5], jnp.array([9, 3, 9, 0, -1])))
    np.testing.assert_array_equal(shuffled[..., :4], factors[..., [9, 3, 9, 0]])
    for other in (drop_path(0.4, 3, 8, epoch, record), drop_path(0.4, 3, 7, epoch + 1, record)):
        assert np.mean(np.asarray(other) != factors) > 0.1


def _batch(length: int, labels: list[tuple[int, int]]) -> Batch:
    batch = empty_batch(len(labels), length, 8, 1, "uint16", labels=2)
    for row, label in enumerate(labels):
        image = np.random.default_rng(row).integers(0, 65536, (20 + row, 25), dtype=np.uint16)
        put_image(batch, row, image, (-(-image.shape[0] // 8), 4), 8)
        batch.weight[row], batch.record[row], batch.label[row] = 1.0, row, label
    return batch


def _scores(config: Config, params: dict, batch: Batch) -> jax.Array:
    return jax.jit(lambda p: forward(build(config.model, 5), p, batch).logits)(params)


def test_a_dropped_branch_is_left_out(config):
    """Branches of factor 0 are no part of the result; without factors, or with all 1, nothing changes."""
    params = jax.jit(classification(config).init)(jax.random.key(0))["params"]
    model, batch = build(config.model, 5), _batch(16, [(0, 0), (1, 1)])
    ones = jnp.ones((2, 2, 2))
    scores = jax.jit(lambda p, branches: forward(model, p, batch, branches).logits)
    np.testing.assert_allclose(scores(params, ones), _scores(config, params, batch), atol=1e-6)
    blocks = params["encoder"]["blocks"]
    silenced = {n: jax.tree.map(lambda x: x.at[1].set(0.0), blocks[n]) for n in ("out", "fc2")}
    without = params | {"encoder": {"blocks": blocks | silenced}}
    np.testing.assert_allclose(scores(params, ones.at[1].set(0.0)), scores(without, ones), atol=1e-6)
    assert np.abs(scores(params, ones) - scores(without, ones)).max() > 1e-3


def test_several_labels_are_slices_of_one_head_and_unknown_ones_are_ignored(config):
    """The loss of two labels is that of each alone, summed over known values; -1 takes no part in it."""
    labels = [(0, 1), (2, -1), (-1, 0), (-1, -1)]
    batch = _batch(16, labels)
    objective = classification(config)
    assert objective.labels == 2
    params = jax.jit(objective.init)(jax.random.key(1))["params"]
    assert params["head"]["kernel"].shape == (32, 5)
    logits = heads(_scores(config, params, batch), (3, 2))
    assert [part.shape for part in logits] == [(4, 3), (4, 2)]
    log_p = [np.asarray(jax.nn.log_softmax(part)) for part in logits]
    wanted = -(log_p[0][0, 0] + log_p[0][1, 2] + log_p[1][0, 1] + log_p[1][2, 0])
    evaluate = jax.jit(objective.evaluate)
    total, count = jax.jit(objective.loss)(params, {}, batch)
    assert float(count) == 4 and float(total) == pytest.approx(float(wanted), rel=1e-5)
    figures = objective.summarise(jax.device_get(evaluate(params, {}, batch)))
    each = [(np.argmax(p, axis=1), np.array(labels)[:, at]) for at, p in enumerate(log_p)]
    recall = [[np.mean(said[true == c] == c) for c in np.unique(true[true >= 0])] for said, true in each]
    assert figures["balanced_accuracy/kind"] == pytest.approx(np.mean(recall[0]))
    assert figures["balanced_accuracy/side"] == pytest.approx(np.mean(recall[1]))
    assert figures["balanced_accuracy"] == pytest.approx(np.mean([np.mean(r) for r in recall]))
    assert figures["images"] == 3
    assert "kind" in objective.describe(figures) and objective.goodness(figures) == figures["balanced_accuracy"]
    none = objective.summarise(jax.device_get(evaluate(params, {}, _batch(16, [(-1, -1)] * 4))))
    assert np.isnan(none["balanced_accuracy"]) and none["images"] == 0


def test_class_weights_and_smoothing_reach_the_loss(config):
    batch = _batch(16, [(0, 1), (2, 0)])
    images = (np.array([8, 1, 1]), np.array([5, 5]))
    changed = replace(config, task=_task(balance=True, smoothing=0.2))
    objective = classification(changed, images)
    params = jax.jit(objective.init)(jax.random.key(1))["params"]
    logits = heads(_scores(config, params, batch), (3, 2))
    total, count = jax.jit(objective.loss)(params, {}, batch)
    wanted = 0.0
    for at, truth in ((0, [0, 2]), (1, [1, 0])):
        weights = balanced_weights(images[at])
        for row, label in enumerate(truth):
            log_p = np.asarray(jax.nn.log_softmax(logits[at][row]))
            wanted += float(weights[label]) * -(0.8 * log_p[label] + 0.2 * log_p.mean())
    assert float(total) == pytest.approx(wanted, rel=1e-5)
    assert float(count) == pytest.approx(10 / 24 + 10 / 3 + 2, rel=1e-5)
