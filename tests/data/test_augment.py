"""Augmentation: what each part does to known pixels, and what all of it may never do."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy import ndimage

from radmae_jax.config import Augment
from radmae_jax.data.augment import Change, apply, augment, draw, is_off

ALL = Augment(crop=0.9, rotate=10.0, zoom=0.1, shift=0.05, gamma=0.3, noise=0.02, blur=1.5, flip=True)
SWITCHES = {  # each part alone
    name: dataclasses.replace(Augment(), **{name: value}) for name, value in dataclasses.asdict(ALL).items()
}


def changed(image, seed=0, **fields):
    return apply(image, Change(**fields), np.random.default_rng(seed))


def ramp(height, width, dtype=np.uint16):
    """Every pixel another value, as far as the dtype goes."""
    return (np.arange(height * width).reshape(height, width) % np.iinfo(dtype).max + 1).astype(dtype)


def waves(height, width):
    """Smooth, uint16, 20,000 to 60,000: bilinear interpolation is close to the truth."""
    y, x = np.mgrid[:height, :width]
    return np.round(40_000 + 10_000 * (np.sin(y / 9) + np.cos(x / 13))).astype(np.uint16)


# Each part, by hand.


def test_a_crop_is_the_part_of_the_image_it_says():
    image = ramp(10, 20)
    np.testing.assert_array_equal(changed(image, kept=(0.9, 0.5)), image[:9, :10])
    np.testing.assert_array_equal(changed(image, kept=(0.9, 0.5), place=(0.99, 0.99)), image[1:, 10:])
    np.testing.assert_array_equal(changed(image, kept=(0.41, 1.0), place=(0.5, 0.5)), image[3:8])  # 4.1 rounds up
    assert changed(image, kept=(1e-12, 1e-12)).shape == (1, 1)


def test_crops_reach_every_size_and_place_that_the_setting_allows():
    image = ramp(20, 30)
    found = [augment(image, Augment(crop=0.9), 0, 0, record) for record in range(600)]
    assert {f.shape for f in found} == {(h, w) for h in (19, 20) for w in (28, 29, 30)}
    # A ramp's first value says where the crop lies.
    corners = {divmod(int(f[0, 0]) - 1, 30) for f in found}
    assert corners == {(y, x) for y in (0, 1) for x in (0, 1, 2)}
    for f in found:
        y, x = divmod(int(f[0, 0]) - 1, 30)
        np.testing.assert_array_equal(f, image[y : y + f.shape[0], x : x + f.shape[1]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_flip_alone_is_exact_and_happens_to_half_of_the_images(dtype):
    image = ramp(5, 7, dtype)
    np.testing.assert_array_equal(changed(image, flip=True), image[:, ::-1])
    mirrored = 0
    for record in range(400):
        out = augment(image, Augment(flip=True), 3, 1, record)
        is_mirrored = bool(out[0, 0] != image[0, 0])
        np.testing.assert_array_equal(out, image[:, ::-1] if is_mirrored else image)
        mirrored += is_mirrored
    assert 160 <= mirrored <= 240  # 200 +- 4 standard deviations


def test_a_shift_moves_whole_pixels_exactly_and_brings_in_black():
    image = ramp(10, 20)
    expected = np.zeros_like(image)
    expected[2:, :-3] = image[:-2, 3:]
    np.testing.assert_array_equal(changed(image, shift=(0.2, -0.15)), expected)
    np.testing.assert_array_equal(changed(image, shift=(0.22, -0.14)), expected)  # 2.2 and -2.8 pixels
    np.testing.assert_array_equal(changed(image, shift=(0.2, -0.15), flip=True)[2:, :-3], image[:-2, ::-1][:, 3:])
    np.testing.assert_array_equal(changed(image, shift=(0.04, 0.02)), image)  # less than half a pixel


@pytest.mark.parametrize(("quarters", "shape"), [(1, (8, 8)), (1, (7, 7)), (2, (6, 9)), (-1, (5, 5))])
def test_quarter_turns_are_counter_clockwise(quarters, shape):
    image = ramp(*shape)
    np.testing.assert_array_equal(changed(image, degrees=90.0 * quarters), np.rot90(image, quarters))


def test_a_rotation_equals_scipys_and_its_corners_are_black():
    image = waves(90, 120)
    for degrees in (7.0, -23.0):
        out = changed(image, degrees=degrees)
        # Of the image around the centre of its pixels, counter-clockwise, bilinear.
        reference = ndimage.rotate(image.astype(np.float64), degrees, reshape=False, order=1)
        inside = ndimage.rotate(np.ones(image.shape), degrees, reshape=False, order=1) > 0.999
        assert inside.mean() > 0.6
        np.testing.assert_allclose(out[inside], reference[inside], atol=1)
        assert out[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [0] * 4
        assert out[inside].min() > 19_000


def test_a_zoom_is_about_the_centre_and_keeps_the_canvas():
    image = np.full((40, 60), 1000, np.uint16)
    image[19:21, 29:31] = 5000  # 2 x 2 in the middle
    larger = changed(image, scale=2.0)
    assert larger.shape == image.shape and larger.min() == 1000
    # Its half maximum, 3000 and above, is 4 x 4; interpolated values are symmetric about the middle.
    np.testing.assert_array_equal(np.argwhere(larger >= 3000).min(0), [18, 28])
    np.testing.assert_array_equal(np.argwhere(larger >= 3000).max(0), [21, 31])
    np.testing.assert_array_equal(larger, larger[::-1, ::-1])
    smaller = changed(np.full((40, 60), 1000, np.uint16), scale=0.5)
    expected = np.zeros((40, 60), np.uint16)
    expected[10:30, 15:45] = 1000
    np.testing.assert_array_equal(smaller, expected)


def test_rotation_zoom_and_shift_are_one_interpolation():
    image = waves(100, 80)
    out = changed(image, degrees=10.0, scale=1.1, shift=(0.03, -0.05))
    # By hand: a pixel comes from centre + R^-1 (pixel - centre - shift) / scale.
    y, x = np.mgrid[:100, :80]
    turn, down, right = math.radians(10.0), y - 49.5 - 3, x - 39.5 + 4
    rows = 49.5 + (math.sin(turn) * right + math.cos(turn) * down) / 1.1
    columns = 39.5 + (math.cos(turn) * right - math.sin(turn) * down) / 1.1
    reference = ndimage.map_coordinates(image.astype(np.float64), [rows, columns], order=1)
    inside = (rows >= 0) & (rows <= 99) & (columns >= 0) & (columns <= 79)
    np.testing.assert_allclose(out[inside], reference[inside], atol=0.51)


def test_gamma_of_known_values():
    image = np.array([[0, 1, 64, 128, 255]], np.uint8)
    assert changed(image, exponent=2.0).tolist() == [[0, 0, 16, 64, 255]]  # v^2 / 255: 0.004, 16.06, 64.25
    assert changed(image, exponent=0.5).tolist() == [[0, 16, 128, 181, 255]]  # sqrt(v * 255): 15.97, 127.7, 180.7
    wide = np.array([[0, 16384, 65535]], np.uint16)
    assert changed(wide, exponent=0.5).tolist() == [[0, 32768, 65535]]  # sqrt(16384 * 65535) = 32767.75


def test_noise_has_the_standard_deviation_it_says():
    for dtype, full in ((np.uint8, 255), (np.uint16, 65535)):
        image = np.full((300, 300), full // 2, dtype)
        difference = changed(image, noise=0.05).astype(np.float64) - image
        # 90,000 values: the standard deviation's own error is 0.24 %, the mean's 0.33 % of it; rounding adds 0.1 %.
        assert difference.std() == pytest.approx(0.05 * full, rel=0.01)
        assert abs(difference.mean()) < 0.05 * full * 0.014
        np.testing.assert_array_equal(changed(image, noise=0.05), changed(image, noise=0.05))
        assert np.any(changed(image, seed=1, noise=0.05) != changed(image, noise=0.05))


def test_noise_is_clipped_not_wrapped():
    for value in (0, 65535):
        out = changed(np.full((50, 50), value, np.uint16), noise=0.01).astype(np.int64)
        assert np.abs(out - value).max() < 0.06 * 65535
        assert 0.3 < np.mean(out == value) < 0.7


def test_blur_keeps_the_mean_and_spreads_a_point_as_a_gaussian():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 65536, (60, 80), dtype=np.uint16)
    for blur in (0.3, 1.0, 4.0):
        out = changed(image, blur=blur)
        assert out.mean() == pytest.approx(image.mean(), abs=0.05)  # rounding: 0.29 / sqrt(4800) = 0.004
        assert out.std() < image.std()
    point = np.zeros((41, 41), np.uint16)
    point[20, 20] = 60_000
    out = changed(point, blur=2.0).astype(np.float64)
    y, x = np.mgrid[-20:21, -20:21]
    np.testing.assert_allclose(out, 60_000 * np.exp(-(y**2 + x**2) / 8) / (8 * math.pi), atol=2)  # cut at 4 sigma
    assert np.all(changed(np.full((9, 9), 777, np.uint16), blur=1.5) == 777)  # edges do not darken


# All of it.


def test_off_returns_the_image_itself():
    image = ramp(5, 7)
    assert augment(image, Augment(), 0, 0, 0) is image
    assert is_off(Augment()) and not any(is_off(one) for one in SWITCHES.values())
    np.testing.assert_array_equal(changed(image), image)


def test_a_switch_does_not_move_the_other_draws():
    whole = draw(ALL, np.random.default_rng(5))
    for name, field in (
        ("crop", "kept"), ("rotate", "degrees"), ("zoom", "scale"), ("shift", "shift"), ("blur", "blur"),
        ("gamma", "exponent"), ("noise", "noise"), ("flip", "flip"),
    ):  # fmt: skip
        without = dataclasses.replace(ALL, **{name: getattr(Augment(), name)})
        off = draw(without, np.random.default_rng(5))
        assert off == dataclasses.replace(whole, **{field: getattr(Change(), field)})
    image = np.full((9, 9), 30_000, np.uint16)
    noise = Augment(noise=0.02)
    alone = augment(image, noise, 0, 0, 1)
    np.testing.assert_array_equal(augment(image, dataclasses.replace(noise, blur=1.0), 0, 0, 1), alone)


def test_draws_fill_their_ranges():
    changes = [draw(ALL, np.random.default_rng([1, n])) for n in range(500)]
    for low, high, values in (
        (0.9, 1.0, [c.kept[0] for c in changes]),
        (-10.0, 10.0, [c.degrees for c in changes]),
        (1 / 1.1, 1.1, [c.scale for c in changes]),
        (-0.05, 0.05, [c.shift[0] for c in changes]),
        (0.0, 1.5, [c.blur for c in changes]),
        (math.exp(-0.3), math.exp(0.3), [c.exponent for c in changes]),
        (0.0, 0.02, [c.noise for c in changes]),
    ):
        reach = high - low
        assert low <= min(values) < low + 0.02 * reach and high - 0.02 * reach < max(values) <= high


@st.composite
def images(draw_):
    height, width = draw_(st.integers(1, 40)), draw_(st.integers(1, 40))
    dtype = draw_(st.sampled_from([np.uint8, np.uint16]))
    rng = np.random.default_rng(draw_(st.integers(0, 1000)))
    return rng.integers(0, np.iinfo(dtype).max, (height, width), dtype, endpoint=True)


any_settings = st.builds(
    Augment, crop=st.floats(0.01, 1.0), rotate=st.floats(0, 180), zoom=st.floats(0, 1), shift=st.floats(0, 1),
    gamma=st.floats(0, 3), noise=st.floats(0, 1), blur=st.floats(0, 5), flip=st.booleans(),
)  # fmt: skip


@examples(max_examples=150, deadline=None)
@given(images(), any_settings, st.integers(0, 2**31 - 1), st.integers(0, 10**6), st.integers(0, 2**31 - 1))
def test_any_settings_keep_dtype_and_bounds_and_are_repeatable(image, settings, seed, epoch, record):
    before = image.copy()
    out = augment(image, settings, seed, epoch, record)
    assert out.dtype == image.dtype
    for size, side in zip(out.shape, image.shape, strict=True):
        assert max(1, settings.crop * side - 1e-6) <= size <= side
    np.testing.assert_array_equal(augment(image, settings, seed, epoch, record), out)
    np.testing.assert_array_equal(image, before)


@examples(max_examples=100, deadline=None)
@given(images(), any_settings, st.integers(0, 2**31 - 1))
def test_without_gamma_and_noise_no_value_leaves_the_images_range(image, settings, record):
    plain = dataclasses.replace(settings, gamma=0.0, noise=0.0)
    out = augment(image, plain, 0, 0, record)
    assert out.max() <= image.max()
    still = dataclasses.replace(plain, rotate=0.0, zoom=0.0, shift=0.0)
    assert augment(image, still, 0, 0, record).min() >= image.min()


@examples(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), any_settings, st.integers(0, 2**31 - 1))
def test_eight_and_sixteen_bits_agree_to_rounding(height, width, settings, record):
    narrow = np.random.default_rng(record).integers(0, 256, (height, width), np.uint8)
    small = augment(narrow, settings, 0, 0, record)
    wide = augment(narrow.astype(np.uint16) * np.uint16(257), settings, 0, 0, record)
    assert np.abs(small - wide / 257).max() <= 0.51


def test_seed_epoch_and_record_each_draw_anew():
    image = waves(30, 40)
    for settings in (ALL, SWITCHES["rotate"], SWITCHES["zoom"], SWITCHES["gamma"], SWITCHES["noise"]):
        assert len({augment(image, settings, *key).tobytes() for key in np.ndindex(3, 3, 3)}) == 27


def test_other_arrays_are_refused():
    for image in (np.zeros((4, 4), np.float32), np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.int16)):
        with pytest.raises(ValueError, match="expected uint8 or uint16"):
            augment(image, ALL, 0, 0, 0)
