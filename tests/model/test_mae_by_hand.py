"""The whole forward pass and loss once more in numpy float64, written from the paper and not from the model."""

import math

import jax
import numpy as np
import pytest

from radmae_jax.config import Loss
from radmae_jax.data.batch import empty_batch, put_image
from radmae_jax.model.mae import build, init
from radmae_jax.model.patches import mask_noise
from radmae_jax.model.positions import sincos_table
from radmae_jax.train.losses import error_sums, weigh
from radmae_jax.train.reconstruction import forward

PATCH = 8


def _linear(x, p):
    return x @ p["kernel"] + p["bias"]


def _norm(x, p):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * p["scale"] + p["bias"]


def _gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def _blocks(x, blocks, layers, heads):
    for layer in range(layers):
        p = jax.tree.map(lambda leaf, layer=layer: leaf[layer], blocks)
        y = _norm(x, p["norm1"])
        width = x.shape[1] // heads
        parts = []
        for h in range(heads):
            cut = slice(h * width, (h + 1) * width)
            query, key, value = (_linear(y, p[n])[:, cut] for n in ("query", "key", "value"))
            scores = np.exp(query @ key.T / math.sqrt(width))
            parts.append(scores / scores.sum(-1, keepdims=True) @ value)
        x = x + _linear(np.concatenate(parts, axis=1), p["out"])
        x = x + _linear(_gelu(_linear(_norm(x, p["norm2"]), p["fc1"])), p["fc2"])
    return x


def _resized(table, side, rows, columns):
    """Bilinear, pixel centres aligned, edges held."""

    def matrix(size):
        weights = np.zeros((size, side))
        for i in range(size):
            at = min(max((i + 0.5) * side / size - 0.5, 0), side - 1)
            low = min(int(at), side - 2)
            weights[i, low], weights[i, low + 1] = 1 - (at - low), at - low
        return weights

    grid = table[1:].reshape(side, side, -1)
    return np.einsum("ys,xt,std->yxd", matrix(rows), matrix(columns), grid).reshape(rows * columns, -1)


def _loss_by_hand(image, noise, params, config, norm_pix, floor):
    """One image's sum of squared errors over hidden real pixels, and their number."""
    side, p = config.table_side, params
    rows, columns = -(-image.shape[0] // PATCH), -(-image.shape[1] // PATCH)
    patches, real = [], []
    for r in range(rows):
        for c in range(columns):
            tile, mask = np.zeros((PATCH, PATCH)), np.zeros((PATCH, PATCH), bool)
            piece = image[r * PATCH : (r + 1) * PATCH, c * PATCH : (c + 1) * PATCH]
            tile[: piece.shape[0], : piece.shape[1]] = piece / 65535
            mask[: piece.shape[0], : piece.shape[1]] = True
            patches.append(tile.ravel())
            real.append(mask.ravel())
    patches, real = np.array(patches), np.array(real)
    count = rows * columns
    order = np.argsort(noise[:count], kind="stable")
    visible, hidden = order[: int(count * 0.25)], order[int(count * 0.25) :]
    encoder_table = sincos_table(side, config.width).astype(np.float64)
    decoder_table = sincos_table(side, config.decoder_width).astype(np.float64)

    x = _linear(patches[visible], p["patch_embed"]) + _resized(encoder_table, side, rows, columns)[visible]
    x = np.concatenate([p["class_token"][0], x])
    x = _norm(_blocks(x, p["encoder"]["blocks"], config.layers, config.heads), p["encoder_norm"])
    x = _linear(x, p["decoder_embed"])
    y = np.repeat(p["mask_token"][0], count, axis=0)
    y[visible] = x[1:]
    y = np.concatenate([x[:1], y + _resized(decoder_table, side, rows, columns)])
    y = _norm(_blocks(y, p["decoder"]["blocks"], config.decoder_layers, config.decoder_heads), p["decoder_norm"])
    prediction = _linear(y, p["decoder_pred"])[1:]

    total, number = 0.0, 0
    for token in hidden:
        target = patches[token][real[token]]
        if norm_pix:
            variance = target.var(ddof=1) if len(target) > 1 else 0.0
            target = (target - target.mean()) / math.sqrt(max(variance, floor) + 1e-6)
        total += ((prediction[token][real[token]] - target) ** 2).sum()
        number += len(target)
    return total, number


@pytest.mark.parametrize("norm_pix", [False, True])
def test_loss_of_a_fixed_input(small_model, norm_pix):
    model = build(small_model)
    variables = jax.jit(lambda: init(model, jax.random.key(4)))()
    loss = Loss(norm_pix=norm_pix)
    batch = empty_batch(2, 30, PATCH, 1, "uint16", epoch=1)
    images = []
    for row, shape in enumerate([(36, 45), (23, 17)]):
        y, x = np.mgrid[: shape[0], : shape[1]]
        image = (32767 * (1 + np.sin(y / 5 + row) * np.cos(x / 7))).astype(np.uint16)
        put_image(batch, row, image, (-(-shape[0] // PATCH), -(-shape[1] // PATCH)), PATCH)
        batch.weight[row], batch.record[row] = 1.0, row
        images.append(image)

    def sums(variables, batch):
        output = forward(model, variables["params"], variables["tables"], batch, 0)
        return error_sums(output, batch.patches, batch.grid, batch.extent, model.shape, loss)

    total, count = jax.device_get(jax.jit(sums)(variables, batch))
    noise = np.asarray(mask_noise(0, batch.epoch, batch.record, 30))
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    by_hand = [
        _loss_by_hand(image, noise[row], params, small_model, norm_pix, loss.variance_floor)
        for row, image in enumerate(images)
    ]
    np.testing.assert_allclose(total, [s for s, _ in by_hand], rtol=2e-5)
    np.testing.assert_array_equal(count, [n for _, n in by_hand])
    pixel = weigh(total, count, batch.weight, "pixel")
    image = weigh(total, count, batch.weight, "image")
    np.testing.assert_allclose(pixel[0] / pixel[1], sum(s for s, _ in by_hand) / sum(n for _, n in by_hand), rtol=2e-5)
    np.testing.assert_allclose(image[0] / image[1], np.mean([s / n for s, n in by_hand]), rtol=2e-5)
