"""Gradients of sums over calls of any rows and lengths equal one padded batch; what is not finite is not applied."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from radmae_jax.config import Config, Loss
from radmae_jax.data.batch import Batch, empty_batch, put_image
from radmae_jax.train import sharding
from radmae_jax.train.blueprint import make_blueprint
from radmae_jax.train.programs import compile_programs
from radmae_jax.train.reconstruction import reconstruction

LENGTHS = (12, 30)
SIZES = [(20, 25), (8, 8), (24, 30), (37, 40), (16, 60), (23, 17), (33, 48), (9, 30)]


def _images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 65536, size, dtype=np.uint16) for size in SIZES]


def _batch(records: list[int], length: int, fillers: int = 0) -> Batch:
    batch = empty_batch(len(records) + fillers, length, 8, 1, "uint16", epoch=1)
    images = _images()
    for row, record in enumerate(records):
        height, width = images[record].shape
        put_image(batch, row, images[record], (-(-height // 8), -(-width // 8)), 8)
        batch.weight[row], batch.record[row] = 1.0, record
    return batch


def _compiled(config: Config, rows: tuple[int, ...], devices: int = 1, fsdp: int = 1):
    mesh = sharding.make_mesh(fsdp, jax.devices()[:devices])
    plan = make_blueprint(config, reconstruction(config), mesh, LENGTHS, rows, 10)
    return mesh, compile_programs(plan, {0, 1}, set())


def _gathered(mesh, programs, calls: list[tuple[int, Batch]]):
    state, gathered = programs.init(), programs.empty()
    for bucket, batch in calls:
        batch = sharding.to_global(batch, sharding.rows(mesh))
        gathered = programs.accumulate[bucket].call(state.params, state.tables, gathered, batch)
    return jax.device_get(gathered)


@pytest.fixture(scope="module")
def whole(small_model):
    """Gradients of all eight images in one batch of the longer bucket, for both weightings."""
    found = {}
    for weighting in ("pixel", "image"):
        config = Config(model=small_model, loss=Loss(weighting=weighting))
        mesh, programs = _compiled(config, (8, 8))
        found[weighting] = _gathered(mesh, programs, [(1, _batch(list(range(8)), 30))])
        found[weighting, "programs"] = (mesh, programs)
    return found


@pytest.mark.parametrize("weighting", ["pixel", "image"])
def test_mixed_groups_equal_one_large_batch(small_model, whole, weighting, tree_distance):
    config = Config(model=small_model, loss=Loss(weighting=weighting))
    mesh, programs = _compiled(config, (4, 2))
    short, long = [0, 1, 2, 5, 7], [3, 4, 6]
    calls = [
        (0, _batch(short[:4], 12)), (1, _batch(long[:2], 30)), (0, _batch(short[4:], 12, fillers=3)),
        (1, _batch(long[2:], 30, fillers=1)),
    ]  # fmt: skip
    mixed, one = _gathered(mesh, programs, calls), whole[weighting]
    assert tree_distance(one.gradients, mixed.gradients) < 1e-5
    np.testing.assert_allclose(mixed.numerator.sum(), one.numerator.sum(), rtol=1e-5)
    assert mixed.denominator.sum() == one.denominator.sum()
    assert mixed.images.tolist() == [5, 3] and one.images.tolist() == [0, 8]
    assert mixed.tokens.sum() == one.tokens.sum() == sum(-(-h // 8) * -(-w // 8) for h, w in SIZES)


def test_eight_devices_equal_one(small_model, whole, monkeypatch, tree_distance):
    monkeypatch.setattr(sharding, "_SMALLEST_SHARDED", 1)  # so that this small model's parameters are sharded too
    config = Config(model=small_model, loss=Loss(weighting="pixel"))
    mesh, programs = _compiled(config, (8, 8), devices=8, fsdp=4)
    shared = _gathered(mesh, programs, [(1, _batch(list(range(8)), 30))])
    assert tree_distance(whole["pixel"].gradients, shared.gradients) < 1e-5
    kernels = programs.abstract.params["encoder"]["blocks"]["fc1"]["kernel"]
    assert kernels.sharding.spec == jax.P(None, None, ("fsdp",))  # the layer axis whole, the largest other one cut


def test_a_step_that_is_not_finite_is_not_applied(whole):
    mesh, programs = whole["pixel", "programs"]
    state, gathered = programs.init(), programs.empty()
    before = jax.device_get(state.params)
    batch = sharding.to_global(_batch(list(range(8)), 30), sharding.rows(mesh))
    gathered = programs.accumulate[1].call(state.params, state.tables, gathered, batch)
    poisoned = jax.tree.map(lambda leaf: leaf, gathered)
    poisoned.gradients["mask_token"] = poisoned.gradients["mask_token"].at[0, 0, 3].set(jnp.nan)
    poisoned = jax.device_put(poisoned, jax.tree.map(lambda leaf: leaf.sharding, programs.empty()))
    state, emptied, report = programs.apply.call(state, poisoned)
    assert not report.applied and int(state.step) == 1
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(state.params))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(state)))
    gathered = programs.accumulate[1].call(state.params, state.tables, emptied, batch)
    state, _, report = programs.apply.call(state, gathered)
    assert report.applied and int(state.step) == 2  # the emptied accumulator carries no NaN on


def test_schedule_and_update_by_hand(whole):
    """The first AdamW update with a rate above 0 is rate * (sign of the gradient + decay * parameter), to epsilon."""
    mesh, programs = whole["pixel", "programs"]
    state, gathered = programs.init(), programs.empty()
    batch = sharding.to_global(_batch(list(range(8)), 30), sharding.rows(mesh))
    rates = []
    for _ in range(2):
        before = jax.device_get(state.params)
        gathered = programs.accumulate[1].call(state.params, state.tables, gathered, batch)
        state, gathered, report = programs.apply.call(state, gathered)
        rates.append(float(report.learning_rate))
    assert rates == pytest.approx([0.0, 1e-4 / 50], rel=1e-5)  # 10 steps an epoch, 5 epochs of warm-up
    after = jax.device_get(state.params)
    for name, decay in (("kernel", 0.05), ("bias", 0.0)):
        old, new = before["decoder_pred"][name], after["decoder_pred"][name]
        gradient = whole["pixel"].gradients["decoder_pred"][name] / whole["pixel"].denominator.sum()
        big = np.abs(gradient) > 1e-5
        assert big.mean() > 0.5
        wanted = -rates[1] * (np.sign(gradient) + decay * old)
        np.testing.assert_allclose((new - old)[big], wanted[big], rtol=0.02)
