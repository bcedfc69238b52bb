"""The grey scale, against values worked out by hand from PS3.3 C.11."""

import numpy as np
import pytest

from radmae_jax.data.codecs import ImageError
from radmae_jax.data.intensity import Grey, Lut, Shutter, modality, to_grey, voi

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def grey(**fields):
    return Grey(**({"bits": 12} | fields))


def test_linear_window():
    # C.11.2.1.2.1 with c = 2048, w = 4096, its own example: -0.5 and 4095.5 are the ends of 0..4095
    values = np.array([0.0, 2048.0, 4095.0, -5.0, 9000.0])
    unit = voi(values, grey(center=2048.0, width=4096.0))
    np.testing.assert_allclose(unit, [0.0, 2048 / 4095, 1.0, 0.0, 1.0], atol=1e-12)
    # c = 100, w = 1: a threshold at 99.5
    assert voi(np.array([99.0, 99.5, 99.6, 100.0]), grey(center=100.0, width=1.0)).tolist() == [0, 0, 1, 1]
    # c = 10, w = 3: x = 9 is ((9 - 9.5) / 2 + 0.5) = 0.25
    unit = voi(np.array([8.0, 9.0, 10.0, 11.0]), grey(center=10.0, width=3.0))
    np.testing.assert_allclose(unit, [0.0, 0.25, 0.75, 1.0])


def test_linear_exact_and_sigmoid_windows():
    exact = voi(np.array([0.0, 25.0, 50.0, 100.0, 101.0]), grey(center=50.0, width=100.0, function="LINEAR_EXACT"))
    np.testing.assert_allclose(exact, [0.0, 0.25, 0.5, 1.0, 1.0])
    assert voi(np.array([0.3]), grey(center=0.5, width=0.8, function="LINEAR_EXACT")) == pytest.approx(0.25)
    sigmoid = voi(np.array([50.0, 75.0, -1e9, 1e9]), grey(center=50.0, width=100.0, function="SIGMOID"))
    np.testing.assert_allclose(sigmoid, [0.5, 1 / (1 + np.exp(-1)), 0.0, 1.0], atol=1e-12)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"center": 2048.0},
        {"center": 2048.0, "width": 0.0},
        {"center": 2048.0, "width": -10.0},
        {"center": 2048.0, "width": 0.5},
        {"center": float("nan"), "width": 100.0},
        {"center": 1e6, "width": 10.0},  # everything black
    ],
)
def test_without_a_usable_window_voi_is_percentile(fields):
    np.testing.assert_array_equal(to_grey(RAMP, grey(**fields), "voi"), to_grey(RAMP, grey(**fields), "percentile"))


def test_percentiles_by_hand():
    # 4096 values once each: the 0.5th and 99.5th are the 21st and the 4076th
    out = to_grey(RAMP, grey(), "percentile").ravel()
    assert out[20] == 0 and out[21] > 0 and out[4074] < 65535 and out[4075] == 65535
    assert out[2048] == round((2048 - 20) / (4075 - 20) * 65535)


def test_percentiles_of_a_small_object_fall_back_to_the_extremes():
    image = np.zeros((100, 100), np.uint16)
    image[0, 0] = 7
    assert to_grey(image, grey(), "percentile")[0, 0] == 65535


def test_full_range_and_depths():
    assert to_grey(RAMP, grey(), "full_range").ravel()[[0, 1, 4095]].tolist() == [0, 16, 65535]
    small = np.array([[0, 10], [3, 255]], np.uint8)
    out = to_grey(small, Grey(bits=8), "full_range")
    assert out.dtype == np.uint8 and out.tolist() == small.tolist()
    signed = np.array([[-2048, 2047], [0, -1]], np.int16)
    out = to_grey(signed, Grey(bits=12, signed=True), "full_range")
    assert out.tolist() == [[0, 65535], [round(2048 / 4095 * 65535), round(2047 / 4095 * 65535)]]


@pytest.mark.parametrize("policy", ["voi", "percentile", "full_range"])
def test_inversion_happens_once(policy):
    plain = to_grey(RAMP, grey(center=2048.0, width=4096.0), policy).astype(int)
    for fields in ({"monochrome1": True}, {"inverse": True}, {"monochrome1": True, "inverse": True}):
        turned = to_grey(RAMP, grey(center=2048.0, width=4096.0, **fields), policy)
        assert np.abs(plain + turned - 65535).max() <= 1


def test_window_applies_before_inversion():
    out = to_grey(RAMP, grey(center=1000.5, width=1001.0, monochrome1=True), "voi").ravel()
    assert out[500] == 65535 and out[1500] == 0 and out[4000] == 0


def test_rescale_and_modality_lut_come_before_the_window():
    image = np.array([[0, 100], [200, 300]], np.uint16)
    out = to_grey(image, grey(slope=2.0, intercept=-100.0, center=100.0, width=400.0, function="LINEAR_EXACT"), "voi")
    assert out.tolist() == [[0, round(0.5 * 65535)], [65535, 65535]]  # -100, 100, 300, 500
    table = Lut(100, 16, np.array([10, 20, 30], np.uint16))
    values = modality(grey(modality_lut=table, slope=9.0))
    assert values[[0, 100, 101, 102, 4095]].tolist() == [10, 10, 20, 30, 30]
    assert modality(grey(slope=0.0))[5] == 5


def test_voi_lut_is_preferred_and_scaled_by_its_bits():
    table = Lut(1, 10, np.array([0, 341, 1023], np.uint16))
    image = np.array([[0, 1], [2, 3]], np.uint16)
    out = to_grey(image, grey(voi_lut=table, center=9.0, width=2.0), "voi")
    assert out.tolist() == [[0, 0], [round(341 / 1023 * 65535), 65535]]
    assert Lut(0, 8, np.array([0, 1000], np.uint16)).top == 1000  # more than its bits say


def test_padding_is_darkest_after_inversion_and_no_part_of_the_percentiles():
    image = RAMP.copy()
    image[:32] = 4095
    out = to_grey(image, grey(padding=(4095, 4095), monochrome1=True), "percentile")
    assert (out[:32] == 0).all() and out[32, 0] == 65535  # the lowest value left is the brightest
    ranged = to_grey(RAMP, grey(padding=(10, 0)), "full_range").ravel()
    assert (ranged[:11] == 0).all() and ranged[11] > 0
    below = to_grey(RAMP, grey(padding=(-5, -5)), "full_range").ravel()  # a value that no pixel can have
    np.testing.assert_array_equal(below, to_grey(RAMP, grey(), "full_range").ravel())
    signed = np.array([[-2000, 5], [6, 7]], np.int16)
    out = to_grey(signed, Grey(bits=12, signed=True, padding=(-2000, -2000)), "percentile")
    assert out[0, 0] == 0 and out[0, 1] == 0 and out[1, 1] == 65535


def test_shutters():
    rectangle = Shutter(rectangle=(3, 5, 2, 4)).visible(6, 7)
    assert rectangle.sum() == 9 and rectangle[1:4, 2:5].all()
    circle = Shutter(circle=(4, 4, 2)).visible(7, 7)
    assert circle.sum() == 13 and circle[3, 1] and not circle[2, 1]
    polygon = Shutter(polygon=((1, 1), (1, 5), (5, 1))).visible(6, 6)
    assert polygon[0, 0] and polygon[0, 4] and polygon[4, 0] and not polygon[4, 4] and not polygon[5].any()
    both = Shutter(rectangle=(3, 5, 2, 4), circle=(1, 1, 2)).visible(6, 7)
    assert both.sum() == 0
    out = to_grey(RAMP, grey(monochrome1=True, shutter=Shutter(rectangle=(1, 64, 33, 64))), "percentile")
    assert (out[:32] == 0).all() and out[32, 0] == 65535 and out[63, 63] == 0
    nothing = to_grey(RAMP, grey(shutter=Shutter(rectangle=(90, 99, 90, 99))), "full_range")
    np.testing.assert_array_equal(nothing, to_grey(RAMP, grey(), "full_range"))


def test_poster_policy():
    image = np.array([[100, 300], [200, 500]], np.uint16)
    assert to_grey(image, grey(center=1.0, width=2.0, slope=3.0, padding=(100, 100)), "poster").tolist() == [
        [round(0.2 * 65535), round(0.6 * 65535)],
        [round(0.4 * 65535), 65535],
    ]
    assert to_grey(image, grey(monochrome1=True), "poster").tolist() == [[65535, round(0.5 * 65535)], [49151, 0]]
    with pytest.raises(ImageError, match="constant"):
        to_grey(np.zeros((4, 4), np.uint16), grey(), "poster")


def test_constant_images_and_unknown_policies_are_refused():
    image = np.full((40, 40), 7, np.uint16)
    for policy in ("voi", "percentile", "full_range"):
        with pytest.raises(ImageError, match="constant: 1 distinct values"):
            to_grey(image, grey(), policy)
    image[0] = 9
    with pytest.raises(ImageError, match="constant"):
        to_grey(image, grey(padding=(9, 9)), "percentile")
    flat = Lut(0, 8, np.array([3], np.uint16))
    with pytest.raises(ImageError, match="after the modality LUT"):
        to_grey(RAMP, grey(modality_lut=flat), "percentile")
    with pytest.raises(ValueError, match="intensity 'auto': expected one of voi"):
        to_grey(RAMP, grey(), "auto")


def test_large_images_go_in_blocks():
    image = np.zeros((3, 3_000_000), np.uint16)
    image[2, -1] = 4095
    out = to_grey(image, grey(), "full_range")
    assert out[2, -1] == 65535 and out.astype(np.int64).sum() == 65535
