"""Losses of predictors that learn nothing: by hand on a few pixels, and as the training loss itself counts them."""

from collections.abc import Sequence

import numpy as np
import pytest

from radmae_jax.config import Config, Loss
from radmae_jax.data.batch import empty_batch, put_image
from radmae_jax.doctor.expected import describe_guessing, describe_levels, errors_of, levels_of

RATIO, FLOOR = 0.5, 1e-4


def _image(values: Sequence[Sequence[float]]) -> np.ndarray:
    """uint8 of fifths: 51 is a fifth of full range."""
    return (np.array(values) * 51).astype(np.uint8)


def _of(image: np.ndarray, patch: int, grid: tuple[int, int], ratio: float = RATIO):
    return errors_of(image, patch, grid, ratio, FLOOR, seed=0)


def test_sums_by_hand():
    # Two patches of 2 x 2, the second cut off to one column: grey values in fifths of full range.
    errors = _of(_image([[0, 1, 3], [2, 3, 5]]), 2, (1, 2))
    fifth = 1 / 25
    assert errors.pixels == 6 and errors.grid_pixels == 8
    assert errors.zero == pytest.approx(fifth * (0 + 1 + 9 + 4 + 9 + 25))
    assert errors.half == pytest.approx(fifth * (6.25 + 2.25 + 0.25 + 0.25 + 0.25 + 6.25))
    mean = 14 / 6
    assert errors.image_mean == pytest.approx(fifth * sum((v - mean) ** 2 for v in (0, 1, 3, 2, 3, 5)))
    # Means 1.5 and 4; the first patch is a plane (up 2 down, up 1 across) and so is the second.
    assert errors.patch_mean == pytest.approx(fifth * (2.25 + 0.25 + 0.25 + 2.25 + 1 + 1))
    assert errors.patch_plane == pytest.approx(0, abs=1e-12)
    # One of the two is visible, and the other's pixels are off by 2.5 more; the seed hides the one or the other.
    hidden = [fifth * (5 + 4 * 2.5**2) * 6 / 4, fifth * (2 + 2 * 2.5**2) * 6 / 2]
    assert min(abs(errors.interpolated - value) for value in hidden) < 1e-9
    # Unbiased variances 5/3 and 2, in fifths squared: each patch's squares over its variance are n - 1.
    assert errors.normalised_mean == pytest.approx(3 + 1, rel=1e-4)


def test_what_is_no_plane_remains():
    errors = _of(_image([[0, 5], [5, 0]]), 2, (1, 1))
    assert errors.patch_plane == errors.patch_mean == pytest.approx(4 * 0.25)
    ramp = np.repeat(np.arange(0, 240, 10, dtype=np.uint8)[None], 24, axis=0)
    errors = _of(ramp, 8, (3, 3))
    assert errors.patch_plane < 1e-9 < errors.patch_mean < errors.interpolated < errors.image_mean


def test_weightings_and_kinds_by_hand():
    small, large = _of(_image([[0, 5], [5, 0]]), 2, (1, 1)), _of(_image([[0] * 8] * 4 + [[5] * 8] * 4), 8, (2, 1))
    by_pixel = levels_of([small, large], Loss(), RATIO)
    assert by_pixel.image_mean == pytest.approx(0.25) and by_pixel.zero == pytest.approx((2 + 32) / 68)
    by_image = levels_of([small, large], Loss(weighting="image"), RATIO)
    assert by_image.zero == pytest.approx((2 / 4 + 32 / 64) / 2)
    poster = levels_of([small, large], Loss(kind="poster"), RATIO)
    assert poster.image_mean == pytest.approx((1 + 16) / (4 + 128))  # the second's grid is twice the image
    assert poster.half == pytest.approx((1 + 16 + 64 / 4) / (4 + 128))
    normalised = levels_of([small], Loss(norm_pix=True), RATIO)
    assert normalised.zero == normalised.image_mean == pytest.approx(3 / 4, rel=1e-4)
    assert normalised.half == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("norm_pix", [False, True])
@pytest.mark.parametrize("weighting", ["pixel", "image"])
def test_it_is_what_the_training_loss_gives(small_model, norm_pix, weighting):
    """Kind `poster` scores every pixel, so that no mask is drawn and both must be equal."""
    from radmae_jax.doctor.overfit import mean_error

    rng = np.random.default_rng(1)
    config = Config(model=small_model, loss=Loss(kind="poster", weighting=weighting, norm_pix=norm_pix))
    batch, errors = empty_batch(4, 12, 8, 1, "uint16"), []
    for row, (height, width) in enumerate([(17, 20), (24, 32), (9, 40)]):
        image = (rng.normal(0.5, 0.05, (height, width)) * 65535).astype(np.uint16)
        image[: height // 2] //= row + 1
        grid = (-(-height // 8), -(-width // 8))
        put_image(batch, row, image, grid, 8)
        batch.weight[row], batch.record[row] = 1.0, row
        errors.append(errors_of(image, 8, grid, small_model.mask_ratio, config.loss.variance_floor, row))
    levels = levels_of(errors, config.loss, small_model.mask_ratio)
    assert mean_error(config, [batch]) == pytest.approx(levels.image_mean, rel=1e-4)


def test_words_name_the_levels():
    errors = [_of(_image([[0, 1, 3], [2, 3, 5]]), 2, (1, 2))]
    levels = levels_of(errors, Loss(), RATIO)
    finding = describe_levels(levels, None, 0.3)
    assert finding.verdict == "ok" and f"{levels.image_mean:.3g} (each image's own mean)" in finding.text
    assert describe_levels(levels, None, float("nan")).verdict == "stop"
    guess = describe_guessing(("fracture",), (np.array([3, 1, 0]),), None)
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert f"fracture {np.log(3):.3g} or {entropy:.3g}" in guess.text
