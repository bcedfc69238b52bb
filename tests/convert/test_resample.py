import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F

from radmae_jax.convert.adapt import adapt, fold_class_position, fold_scaling
from radmae_jax.convert.goldens import run
from radmae_jax.convert.resample import resize_matrix, resize_patch_kernel, resize_positions
from radmae_jax.convert.weights import ConvertError


@pytest.mark.parametrize("source, target", [(14, 64), (64, 24), (7, 7), (5, 1), (24, 23)])
@pytest.mark.parametrize("convention", ["bilinear", "bicubic", "bicubic_antialias"])
def test_position_tables_resize_as_torch(source, target, convention):
    table = np.random.default_rng(0).normal(size=(1 + source**2, 3)).astype(np.float32)
    mode, _, antialias = convention.partition("_")
    found = resize_positions(table, target, convention)
    # PyTorch in float64; in float32 it rounds its coordinates, which moves noise by 1e-5 of the largest value.
    for dtype, limit in ((np.float64, 1e-6 if convention == "bilinear" else 1e-5), (np.float32, 1e-5)):
        grid = torch.from_numpy(table[1:].T.reshape(1, 3, source, source).astype(dtype))
        reference = F.interpolate(grid, (target, target), mode=mode, align_corners=False, antialias=bool(antialias))
        reference = reference[0].reshape(3, -1).T.numpy()
        assert np.abs(found[1:] - reference).max() < limit * np.abs(reference).max()
    np.testing.assert_array_equal(found[0], table[0])


def test_zoom_is_scipys():
    table = np.random.default_rng(0).normal(size=(14, 14))
    matrix = resize_matrix(14, 64, "zoom")
    np.testing.assert_allclose(
        matrix @ table @ matrix.T, scipy.ndimage.zoom(table, 64 / 14, order=1, grid_mode=False), atol=1e-12
    )


def test_an_unknown_convention_is_named():
    with pytest.raises(ValueError, match="'nearest'; it must be one of bilinear"):
        resize_matrix(3, 4, "nearest")


@pytest.mark.parametrize("old, new", [(16, 48), (16, 32), (14, 48), (8, 9)])
def test_an_enlarged_patch_embeds_as_the_original(old, new):
    """Bound: 1e-5 of the largest value, whatever the pixels; and there and back is the identity."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(old * old * 3, 7)).astype(np.float32)
    patches = rng.random((5, old, old, 3))
    enlarged = F.interpolate(torch.from_numpy(patches).permute(0, 3, 1, 2), (new, new), mode="bilinear")
    enlarged = enlarged.permute(0, 2, 3, 1).reshape(5, -1).numpy()
    grown = resize_patch_kernel(kernel, old, new, 3)
    reference = patches.reshape(5, -1) @ kernel
    np.testing.assert_allclose(enlarged @ grown, reference, atol=1e-5 * np.abs(reference).max())
    np.testing.assert_allclose(resize_patch_kernel(grown, new, old, 3), kernel, atol=1e-5)
    # Shrinking: a small patch embeds as its enlargement did.
    large = rng.normal(size=(new * new * 3, 7)).astype(np.float32)
    found = patches.reshape(5, -1) @ resize_patch_kernel(large, new, old, 3)
    np.testing.assert_allclose(found, enlarged @ large, atol=1e-5 * np.abs(found).max())


def test_a_smooth_image_enlarged_as_a_whole_embeds_nearly_alike():
    """Enlarging the whole image mixes neighbouring patches at their borders: 1 % for an image of slow waves."""
    kernel = np.random.default_rng(0).normal(size=(256, 7)).astype(np.float32)
    y, x = np.mgrid[:64, :64]
    image = 0.5 + 0.2 * np.sin(y / 11) + 0.2 * np.cos(x / 13)
    enlarged = F.interpolate(torch.from_numpy(image)[None, None], (192, 192), mode="bilinear")[0, 0].numpy()

    def embed(pixels: np.ndarray, patch: int, weights: np.ndarray) -> np.ndarray:
        return pixels.reshape(4, patch, 4, patch).swapaxes(1, 2).reshape(16, -1) @ weights

    reference = embed(image, 16, kernel)
    found = embed(enlarged, 48, resize_patch_kernel(kernel, 16, 48, 1))
    assert np.abs(found - reference).max() < 0.01 * np.abs(reference).max()


def test_three_channels_summed_see_grey_alike(small_model, make_weights):
    from dataclasses import replace

    for kind in ("mae", "encoder"):
        weights = make_weights(kind, replace(small_model, channels=3))
        rng = np.random.default_rng(0)
        pixels, noise = rng.integers(0, 65536, (32, 40), np.uint16), rng.random(20, np.float32)
        noise = noise if kind == "mae" else noise[:0]
        before, grey = run(weights, pixels, noise), adapt(weights, channels=1)
        after = run(grey, pixels, noise)
        name = "encoded" if kind == "mae" else "tokens"
        np.testing.assert_allclose(after[name], before[name], atol=2e-5)
        if kind == "mae":  # a grey pixel is predicted as the mean of its three
            shaped = before["prediction"].reshape(20, 64, 3).mean(axis=2)
            np.testing.assert_allclose(after["prediction"], shaped, atol=2e-5)
        again = run(adapt(grey, channels=3), pixels, noise)
        np.testing.assert_allclose(again[name], before[name], atol=2e-5)


def test_pixel_scaling_is_folded_in_exactly(small_model, make_weights):
    """What a model computes of (x - m) / s is what the folded one computes of x; predictions turn back to pixels."""
    weights = make_weights("mae", small_model)
    folded = fold_scaling(weights, (0.25,), (0.5,))
    rng = np.random.default_rng(0)
    noise = rng.random(20, np.float32)
    # Stored integers cannot be negative: x = 2 z - 0.5 with z = (x - 0.25) / 0.5 from 0 to 1.
    unit = rng.integers(0, 30000, (32, 40)).astype(np.uint16)
    pixels = np.rint(unit / 2 + 0.25 * 65535).astype(np.uint16)
    before, after = run(weights, unit, noise), run(folded, pixels, noise)
    np.testing.assert_allclose(after["encoded"], before["encoded"], atol=2e-4)
    np.testing.assert_allclose(after["prediction"], before["prediction"] * 0.5 + 0.25, atol=2e-4)
    assert "mean 0.25, deviation 0.5" in folded.notes[0]
    with pytest.raises(ConvertError, match="each must have 1 values"):
        fold_scaling(weights, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0))


def test_the_class_position_is_folded_into_the_class_token(small_model, make_weights):
    weights = make_weights("encoder", small_model)
    folded = fold_class_position(weights)
    assert not folded.tensors["positions"][0].any() and weights.tensors["positions"][0].any()
    pixels = np.random.default_rng(0).integers(0, 65536, (32, 40), np.uint16)
    nothing = np.empty(0, np.float32)
    np.testing.assert_array_equal(run(folded, pixels, nothing)["tokens"], run(weights, pixels, nothing)["tokens"])


def test_another_patch_channel_and_table_are_a_model_that_runs(small_model, make_weights):
    weights = make_weights("mae", small_model)
    other = adapt(weights, patch=12, channels=3, table_side=9, positions="bicubic")
    assert (other.model.patch, other.model.channels, other.model.table_side) == (12, 3, 9)
    assert [note.split()[0] for note in other.notes] == ["1", "patch", "position"]
    found = run(other, np.full((24, 40), 40000, np.uint16), np.linspace(0, 1, 8, dtype=np.float32))
    assert found["prediction"].shape == (8, 12 * 12 * 3) and np.isfinite(found["prediction"]).all()
