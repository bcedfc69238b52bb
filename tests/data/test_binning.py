import numpy as np
import pytest

from radmae_jax.config import Bins
from radmae_jax.data.binning import make_table, token_grids
from radmae_jax.data.sizes import poster_sizes


def test_the_posters_figures():
    """Fixed 284 %, DBB 119 % of the real tokens; as the poster prints them."""
    heights, widths, counts = poster_sizes()
    real = token_grids(heights, widths, 48).prod(axis=1)
    total = int((real * counts).sum())
    percent = {}
    for policy in ("fixed", "dbb"):
        table = make_table(Bins(policy=policy), 48, heights, widths)
        computed = np.asarray(table.lengths)[table.assign(heights, widths)]
        percent[policy] = 100 * int((computed * counts).sum()) / total
        assert (table.shapes, len(table.lengths)) == {"fixed": (1, 1), "dbb": (36, 20)}[policy]
    assert percent == pytest.approx({"fixed": 284.04, "dbb": 119.29}, abs=0.01)


def test_poster_padding_says_the_bins_grid_and_masked_the_images():
    heights, widths = np.array([100, 1153]), np.array([2000, 48])
    masked = make_table(Bins(policy="dbb"), 48, heights, widths)
    poster = make_table(Bins(policy="dbb", pad_tokens="poster"), 48, heights, widths)
    np.testing.assert_array_equal(masked.grids(heights, widths), [[3, 42], [25, 1]])
    np.testing.assert_array_equal(poster.grids(heights, widths), [[24, 48], [32, 24]])
    np.testing.assert_array_equal(masked.assign(heights, widths), poster.assign(heights, widths))
    assert [masked.lengths[b] for b in masked.assign(heights, widths)] == [24 * 48, 32 * 24]


@pytest.mark.parametrize(
    "bins, message",
    [
        (
            Bins(policy="dbb"),
            "1 images are beyond the largest bucket, 3072 x 3072 pixels; the first is image 0 of 4000",
        ),
        (Bins(policy="fixed"), "beyond the largest bucket, 3072 x 3072 pixels"),
        (
            Bins(lengths=(10, 20)),
            "2 images are beyond the largest bucket, 20 tokens; the first is image 0 of 4000 x 100",
        ),
    ],
)
def test_an_image_that_fits_nowhere_is_named(bins, message):
    heights, widths = np.array([4000, 500]), np.array([100, 500])
    with pytest.raises(ValueError, match=message):
        make_table(bins, 48, heights, widths).fit(heights, widths)


@pytest.mark.parametrize(
    "bins, lengths, shapes",
    [
        (Bins(lengths=(10, 20), beyond="extra"), (10, 20, 252), 3),
        (Bins(policy="dbb", edges=(96, 480), beyond="extra"), (4, 20, 100, 168, 840), 6),
        (Bins(policy="fixed", max_side=480, beyond="extra"), (100, 840), 2),
        (Bins(policy="fixed", beyond="extra", max_side=4032), (84 * 84,), 1),
    ],
)
def test_extra_buckets_hold_what_is_beyond_at_its_own_size(bins, lengths, shapes):
    heights, widths = np.array([4000, 90]), np.array([100, 90])
    table = make_table(bins, 48, heights, widths)
    assert (table.lengths, table.shapes) == (lengths, shapes)
    np.testing.assert_array_equal(table.fit(heights, widths), [[4000, 100], [90, 90]])
    assert table.is_beyond(heights, widths).tolist() == [max(lengths) != 84 * 84, False]
    assert table.lengths[table.assign(heights, widths)[0]] == max(lengths)


@pytest.mark.parametrize(
    "bins, size, wanted",
    [
        # 20 tokens: 20 x 1 patches of 48 pixels, of 100 x 4000 pixels: 960 long, 24 wide.
        (Bins(lengths=(10, 20), beyond="downscale"), (4000, 100), (960, 24)),
        # 3 x 3 patches of 9: the longest side is what decides.
        (Bins(lengths=(9,), beyond="downscale"), (300, 300), (144, 144)),
        (Bins(lengths=(1,), beyond="downscale"), (20_000, 7), (48, 1)),
        (Bins(policy="dbb", beyond="downscale"), (1000, 6144), (500, 3072)),
        (Bins(policy="fixed", max_side=96, beyond="downscale"), (100, 120), (80, 96)),
    ],
)
def test_downscaled_to_the_largest_size_that_fits(bins, size, wanted):
    heights, widths = np.array([40, size[0]]), np.array([40, size[1]])
    table = make_table(bins, 48, heights, widths)
    sizes = table.fit(heights, widths)
    assert sizes.tolist() == [[40, 40], list(wanted)]
    assert table.is_beyond(heights, widths).tolist() == [False, True]
    assert table.assign(sizes[:, 0], sizes[:, 1]).max() < len(table.lengths)


def test_edges_left_open_are_fitted_a_side_at_a_time():
    heights, widths = np.array([100, 100, 900, 900]), np.array([40, 300, 40, 300])
    table = make_table(Bins(policy="dbb", edges=(), shapes=4), 48, heights, widths)
    assert table.edges == ((144, 912), (48, 336)) and table.lengths == (3, 19, 21, 133)
    assert table.assign(heights, widths).tolist() == [0, 2, 1, 3]
    one = make_table(Bins(policy="dbb", edges=(), shapes=1), 48, heights, widths)
    assert one.edges == ((912,), (336,))
    asymmetric = make_table(Bins(policy="dbb", edges=(960,), width_edges=(48, 480)), 48, heights, widths)
    assert asymmetric.lengths == (20, 200) and asymmetric.shapes == 2


def test_the_table_is_fitted_to_what_is_trained_on_and_holds_the_rest():
    side = np.array([48, 480, 960, 1440])
    counts = np.array([100, 100, 0, 0])
    table = make_table(Bins(shapes=3, group=1), 48, side, side, counts)
    assert table.lengths == (1, 100, 900)
    # Two lengths: one must hold the untrained images, so the trained ones share the other.
    assert make_table(Bins(shapes=2, group=1), 48, side, side, counts).lengths == (100, 900)
