import jax.numpy as jnp
import numpy as np
import pytest
import torch

from radmae_jax.model.positions import sample_2d, sample_flat, sincos_table

SIDE, WIDTH = 6, 8


def test_table_by_hand():
    table = sincos_table(SIDE, WIDTH)
    assert table.shape == (1 + SIDE * SIDE, WIDTH) and table.dtype == np.float32
    np.testing.assert_array_equal(table[0], 0)
    y, x = 2, 5  # frequencies 1 and 10000 ** -0.5 = 0.01
    wanted = [np.sin(5), np.sin(0.05), np.cos(5), np.cos(0.05), np.sin(2), np.sin(0.02), np.cos(2), np.cos(0.02)]
    np.testing.assert_allclose(table[1 + y * SIDE + x], wanted, atol=1e-6)


def _random_table():
    return np.random.default_rng(0).normal(size=(1 + SIDE * SIDE, WIDTH)).astype(np.float32)


def _by_torch(table: np.ndarray, rows: int, columns: int, method: str) -> np.ndarray:
    image = torch.from_numpy(table[1:].reshape(1, SIDE, SIDE, WIDTH)).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(image, (rows, columns), mode=method, align_corners=False)
    return resized[0].permute(1, 2, 0).reshape(rows * columns, WIDTH).numpy()


@pytest.mark.parametrize("method, bound", [("bilinear", 2e-6), ("bicubic", 1e-5)])
@pytest.mark.parametrize("rows, columns", [(6, 6), (3, 4), (11, 2), (1, 1), (17, 13)])
def test_equals_torch_on_a_resized_table(method, bound, rows, columns):
    table = _random_table()
    tokens = jnp.arange(rows * columns, dtype=jnp.int32)[None]
    got = sample_2d(jnp.asarray(table), SIDE, tokens, jnp.array([[rows, columns]]), method)
    np.testing.assert_allclose(got[0], _by_torch(table, rows, columns, method), atol=bound)


def test_each_image_of_a_batch_has_its_own_grid():
    table = jnp.asarray(_random_table())
    tokens = jnp.array([[0, 3, 5], [1, 2, 0]])
    both = sample_2d(table, SIDE, tokens, jnp.array([[2, 3], [3, 1]]), "bilinear")
    first = sample_2d(table, SIDE, tokens[:1], jnp.array([[2, 3]]), "bilinear")
    second = sample_2d(table, SIDE, tokens[1:], jnp.array([[3, 1]]), "bilinear")
    np.testing.assert_array_equal(both, jnp.concatenate([first, second]))


@pytest.mark.parametrize("rows, columns", [(6, 6), (4, 6), (3, 5)])
def test_flat_equals_hugging_faces_one_dimensional_resize(rows, columns):
    table = _random_table()
    flat = torch.from_numpy(table[1:]).T.reshape(1, WIDTH, 1, SIDE * SIDE)
    resized = torch.nn.functional.interpolate(flat, (1, rows * columns), mode="bicubic", align_corners=False)
    tokens = jnp.arange(rows * columns, dtype=jnp.int32)[None]
    got = sample_flat(jnp.asarray(table), tokens, jnp.array([[rows, columns]]))
    np.testing.assert_allclose(got[0], resized[0, :, 0].T.numpy(), atol=1e-5)


def test_odd_width_is_refused():
    with pytest.raises(ValueError, match="width 10"):
        sincos_table(4, 10)
