from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from radmae_jax.config import Loss, Model
from radmae_jax.data.batch import Batch, empty_batch, put_image
from radmae_jax.model.mae import build, init
from radmae_jax.train.losses import error_sums
from radmae_jax.train.reconstruction import forward


def _count(tree) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    "variant, patch, channels, side, total, without",
    [
        ("B", 16, 3, 14, 111_907_840, 111_655_680),
        ("L", 16, 3, 14, 329_541_888, None),
        ("H", 14, 3, 16, 657_074_508, None),
        ("B", 48, 1, 64, 118_867_456, None),
    ],
)
def test_parameter_counts(variant, patch, channels, side, total, without):
    model = build(Model(variant=variant, patch=patch, channels=channels, table_side=side))
    variables = jax.eval_shape(lambda: init(model, jax.random.key(0)))
    assert _count(variables) == total
    assert without is None or _count(variables["params"]) == without
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.fixture(scope="module")
def trained(small_model):
    """A model whose biases, norms and tokens are not at their initial zeros and ones."""
    model = build(small_model)
    variables = jax.jit(lambda: init(model, jax.random.key(0)))()
    leaves, tree = jax.tree.flatten(variables["params"])
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return model, {"params": jax.tree.unflatten(tree, moved), "tables": variables["tables"]}


def _image(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 65536, (height, width), dtype=np.uint16)


def _batch(images: list[tuple[np.ndarray, int]], length: int, channels: int = 1) -> Batch:
    """Images with their records, in patches of 8."""
    batch = empty_batch(len(images), length, 8, channels, "uint16", epoch=2)
    for row, (image, record) in enumerate(images):
        put_image(batch, row, image, (-(-image.shape[0] // 8), -(-image.shape[1] // 8)), 8)
        batch.weight[row], batch.record[row] = 1.0, record
    return batch


def _run(model, variables, batch: Batch, loss: Loss):
    def both(variables, batch):
        output = forward(model, variables["params"], variables["tables"], batch, 3)
        sums = error_sums(output, batch.patches, batch.grid, batch.extent, model.shape, loss)
        return output.prediction, output.masking.masked, sums

    return jax.device_get(jax.jit(both)(variables, batch))


@pytest.mark.parametrize("loss", [Loss(), Loss(norm_pix=True)], ids=["pixels", "norm_pix"])
def test_an_images_result_does_not_depend_on_its_batch(trained, loss):
    model, variables = trained
    image = _image(37, 50, 0)  # 5 x 7 = 35 tokens, border patches partial on both sides
    others = [(_image(8, 8, 1), 1), (_image(60, 40, 2), 2)]
    alone = _run(model, variables, _batch([(image, 9)], 35), loss)
    for batch, row in [
        (_batch([(image, 9)], 40), 0),
        (_batch([(image, 9)], 144), 0),
        (_batch([others[0], (image, 9), others[1]], 48), 1),
    ]:
        prediction, masked, (total, count) = _run(model, variables, batch, loss)
        np.testing.assert_array_equal(masked[row, :35], alone[1][0])
        assert not masked[row, 35:].any()
        np.testing.assert_allclose(prediction[row, :35], alone[0][0], atol=1e-5, rtol=0)
        np.testing.assert_allclose(total[row], alone[2][0][0], rtol=1e-5)
        assert count[row] == alone[2][1][0]


def test_junk_in_the_padding_changes_nothing(trained):
    model, variables = trained
    clean = _batch([(_image(37, 50, 0), 9), (_image(20, 20, 1), 4)], 48)
    junk = clean._replace(patches=np.full_like(clean.patches, 54_321))
    for row, (height, width) in enumerate([(37, 50), (20, 20)]):
        image = unpadded = _image(height, width, row)
        rows, columns = clean.grid[row]
        framed = np.full((rows * 8, columns * 8), 54_321, np.uint16)
        framed[:height, :width] = unpadded
        assert image.shape != framed.shape
        patches = framed.reshape(rows, 8, columns, 8).swapaxes(1, 2).reshape(rows * columns, 64)
        junk.patches[row, : rows * columns] = patches
    for loss in (Loss(), Loss(norm_pix=True), Loss(kind="poster")):
        a, b = (_run(model, variables, batch, loss) for batch in (clean, junk))
        np.testing.assert_array_equal(a[0][0, :35], b[0][0, :35])
        np.testing.assert_array_equal(a[0][1, :9], b[0][1, :9])
        np.testing.assert_array_equal(a[2], b[2])


def test_padding_has_no_gradient_and_bad_padding_no_nan(trained):
    model, variables = trained
    batch = _batch([(_image(37, 50, 0), 9)], 48)
    filler = empty_batch(1, 48, 8, 1, "uint16")
    with_filler = jax.tree.map(lambda a, b: np.concatenate([a, b]), batch, filler)

    def gradient(batch):
        def total(params):
            output = forward(model, params, variables["tables"], batch, 3)
            sums, _ = error_sums(output, batch.patches, batch.grid, batch.extent, model.shape, Loss())
            return jnp.sum(jnp.where(batch.weight > 0, sums, 0.0))

        return jax.jit(jax.grad(total))(variables["params"])

    alone, beside = gradient(batch), gradient(with_filler)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3, rtol=1e-5), alone, beside)


@pytest.mark.parametrize(
    "changes",
    [
        {"channels": 3}, {"dtype": "bfloat16"}, {"remat": True}, {"unroll": True}, {"attention": "chunked"},
        {"resample": "bicubic", "decoder_positions": "hf_flat", "init": "hf", "norm_eps": 1e-12},
    ],
    ids=lambda c: next(iter(c)),
)  # fmt: skip
def test_every_choice_runs_and_keeps_its_promise(small_model, trained, changes):
    config = replace(small_model, **changes)
    model = build(config)
    batch = _batch([(_image(37, 50, 0), 9)], 40, config.channels)
    variables = trained[1]
    if config.channels != 1:
        variables = jax.jit(lambda: init(model, jax.random.key(0)))()
    prediction, _, (total, count) = _run(model, variables, batch, Loss())
    assert prediction.shape == (1, 40, 64 * config.channels) and prediction.dtype == np.float32
    assert np.isfinite(total).all() and count[0] > 0
    exact = {"remat", "unroll", "attention"} & set(changes)
    if exact or "dtype" in changes:
        reference = _run(trained[0], trained[1], batch, Loss())
        bound = 1e-5 if exact else 0.15
        np.testing.assert_allclose(prediction[0, :35], reference[0][0, :35], atol=bound, rtol=bound)


def test_one_token_image_is_all_masked_and_finite(trained):
    model, variables = trained
    prediction, masked, (total, count) = _run(model, variables, _batch([(_image(5, 3, 0), 0)], 3), Loss())
    assert masked[0].tolist() == [True, False, False]
    assert count[0] == 15 and np.isfinite(prediction).all() and np.isfinite(total).all()
