"""Attention rollout against its definition in numpy, and its picture."""

import jax
import numpy as np
import pytest

from radmae_jax.config import Config
from radmae_jax.convert.weights import to_variables
from radmae_jax.data.manifest import read_manifest
from radmae_jax.evaluate.features import features_of
from radmae_jax.evaluate.one_image import batch_of, read_pixels
from radmae_jax.evaluate.passes import read_for
from radmae_jax.evaluate.rollout import heat, rollout, rollout_of, rollouts
from radmae_jax.model.classifier import build


def _by_definition(attention, count, pool):
    """The matrices multiplied as the paper writes it, first layer rightmost, for one image: [N]."""
    joint = np.eye(attention.shape[1])
    for layer in attention.astype(np.float64):
        mixed = 0.5 * (layer + np.eye(len(layer)))
        joint = mixed / mixed.sum(axis=1, keepdims=True) @ joint
    return joint[1 : 1 + count].mean(axis=0) if pool == "mean" else joint[0]


def test_two_layers_by_hand():
    first = [[0.2, 0.8, 0.0], [0.0, 0.0, 1.0], [0.5, 0.5, 0.0]]
    second = [[0.0, 0.4, 0.6], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    attention = np.array([first, second], np.float32)[:, None]
    # The class token after layer two is half itself, 0.2 of token 1, 0.3 of token 2; these after layer one are
    # (0.6, 0.4, 0), (0, 0.5, 0.5), (0.25, 0.25, 0.5) of the input.
    by_class = [0.5 * 0.6 + 0.3 * 0.25, 0.5 * 0.4 + 0.2 * 0.5 + 0.3 * 0.25, 0.2 * 0.5 + 0.3 * 0.5]
    np.testing.assert_allclose(rollout_of(attention, np.array([2]), "class")[0], by_class, atol=1e-6)
    # Token 1 after layer two is half of the class token, half itself; token 2 is itself. Their mean:
    by_mean = [0.25 * 0.6 + 0.5 * 0.25, 0.25 * 0.4 + 0.25 * 0.5 + 0.5 * 0.25, 0.25 * 0.5 + 0.5 * 0.5]
    np.testing.assert_allclose(rollout_of(attention, np.array([2]), "mean")[0], by_mean, atol=1e-6)


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_padding_has_no_share(pool):
    rng = np.random.default_rng(0)
    count = np.array([6, 3])
    attention = rng.exponential(size=(3, 2, 7, 7)).astype(np.float32)
    attention[:, 1, :, 4:] = 0  # keys beyond the second image's
    attention /= attention.sum(axis=-1, keepdims=True)
    found = np.asarray(rollout_of(attention, count, pool))
    for row in range(2):
        np.testing.assert_allclose(found[row], _by_definition(attention[:, row], count[row], pool), atol=1e-6)
    np.testing.assert_array_equal(found[1, 4:], 0)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_an_archives_rollouts_are_those_of_single_images(make_weights, small_model, archive):
    encoder, manifest = features_of(make_weights("mae", small_model), Config()), read_manifest(archive)
    records = np.array([9, 2, 30, 57], np.int32)
    rolled = rollouts(read_for(encoder.config, manifest, records, shapes=2), encoder.model, encoder.params, records)
    assert not rolled.problems
    for record, weights in zip(records.tolist(), rolled.weights, strict=True):
        assert weights is not None
        height, width = int(manifest.heights[record]), int(manifest.widths[record])
        assert weights.shape == (-(-height // 8), -(-width // 8)) and weights.min() > 0
        assert heat(weights, (height, width), 8).shape == (height, width)
    image = read_pixels(manifest.file(9), encoder.config)
    alone = rollout(encoder.model, encoder.params, batch_of(image, encoder.config))
    np.testing.assert_allclose(rolled.weights[0], alone, atol=1e-6)
    by_mean = rollout(encoder.model, encoder.params, batch_of(image, encoder.config), "mean")
    assert np.abs(by_mean - alone).max() > 1e-4


def test_a_patch_that_all_look_at_shines(make_weights, small_model):
    """The image's one bright patch, made the key that every query likes: the picture is brightest there."""
    params = to_variables(make_weights("encoder", small_model))["params"]
    params = jax.tree.map(np.array, params)
    # Brightness alone, along one feature, is what keys tell apart, and queries all ask for it.
    params["patch_embed"]["kernel"][:] = 0
    params["patch_embed"]["kernel"][:, 0] = 1
    params["positions"][:] = 0
    blocks = params["encoder"]["blocks"]
    for name in ("query", "key"):
        blocks[name]["kernel"][:] = 0
        blocks[name]["bias"][:] = 0
    blocks["query"]["bias"][:] = 2
    blocks["key"]["kernel"][:, 0] = 2
    for name in ("out", "fc2"):
        blocks[name]["kernel"][:] = 0
    image = np.zeros((37, 45), np.uint16)
    image[16:24, 32:40] = 65535  # row 2, column 4 of patches of 8
    weights = rollout(build(small_model, 0), params, batch_of(image, Config(model=small_model)))
    assert np.unravel_index(weights.argmax(), weights.shape) == (2, 4)
    picture = heat(weights, image.shape, 8)
    y, x = np.unravel_index(picture.argmax(), picture.shape)
    assert 16 <= y < 24 and 32 <= x < 40


def test_heat_keeps_values_and_cuts_to_the_image():
    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    picture = heat(weights, (13, 20), 8)
    assert picture.shape == (13, 20) and picture.dtype == np.float32
    np.testing.assert_array_equal(picture, heat(weights, (16, 24), 8)[:13, :20])
    assert picture[0, 0] == 0 and heat(weights, (16, 24), 8)[15, 23] == 5
    # Centres of patches lie between pixels 3 and 4: halfway between two centres is their mean.
    np.testing.assert_allclose(picture[0, 7:9].mean(), 0.5, atol=1e-6)
    with pytest.raises(ValueError, match="17 x 20"):
        heat(weights, (17, 20), 8)
