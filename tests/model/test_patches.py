import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from radmae_jax.model.patches import keep_table, mask_noise, mask_tokens, real_pixels, to_unit


def test_noise_does_not_depend_on_length_or_neighbours():
    epoch, record = jnp.array([3, 3, 4]), jnp.array([7, 8, 7])
    long = mask_noise(5, epoch, record, 40)
    np.testing.assert_array_equal(mask_noise(5, epoch, record, 9), long[:, :9])
    np.testing.assert_array_equal(mask_noise(5, epoch[1:2], record[1:2], 40)[0], long[1])
    rows = [*np.asarray(long), np.asarray(mask_noise(6, epoch, record, 40))[0]]
    assert len({tuple(row) for row in rows}) == 4  # every (seed, epoch, record) has its own


def test_keep_counts_are_those_of_python_floats():
    assert keep_table(196, 0.9)[196] == 19  # int(196 * (1 - 0.9)) = int(19.599...), not 20
    np.testing.assert_array_equal(keep_table(8, 0.75), [0, 0, 0, 0, 1, 1, 1, 1, 2])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 24), st.integers(0, 1000), st.sampled_from([0.0, 0.5, 0.75]))
def test_masks_only_real_tokens(count, record, ratio):
    noise = mask_noise(0, jnp.array([0]), jnp.array([record]), 24)
    masking = mask_tokens(noise, jnp.array([count]), ratio)
    kept = int(count * (1 - ratio))
    visible = np.asarray(masking.visible)[0, :kept]
    masked = np.flatnonzero(masking.masked[0])
    assert int(masking.kept[0]) == kept
    assert sorted([*visible, *masked]) == list(range(count))
    np.testing.assert_array_equal(np.asarray(masking.place)[0, visible], np.arange(kept))


def test_real_pixels_by_hand():
    # 3 x 5 pixels in patches of 2: a grid of 2 x 3, the bottom row and right column half empty; token 6 is padding.
    inside = real_pixels(jnp.arange(7)[None], jnp.array([[2, 3]]), jnp.array([[3, 5]]), 2, 1)
    wanted = [[1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(inside[0], np.array(wanted, bool))
    three = real_pixels(jnp.arange(7)[None], jnp.array([[2, 3]]), jnp.array([[3, 5]]), 2, 3)
    np.testing.assert_array_equal(three, np.repeat(inside, 3, axis=-1))


def test_full_range_is_one():
    np.testing.assert_array_equal(to_unit(jnp.array([0, 65535], jnp.uint16)), [0.0, 1.0])
    np.testing.assert_array_equal(to_unit(jnp.array([0, 255], jnp.uint8)), [0.0, 1.0])
