"""Decoded images that are kept: the same values, within the bound, and no file read twice."""

import numpy as np
from PIL import Image

from radmae_jax.data.images import read_image
from radmae_jax.data.pixel_cache import forget, read_kept


def test_kept_until_the_bound_and_then_read_again(tmp_path):
    forget()
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for number, path in enumerate(paths):
        pixels = np.random.default_rng(number).integers(0, 65536, (40, 50)).astype(np.uint16)
        Image.fromarray(pixels).save(path)
    wanted = [read_image(path) for path in paths]

    def read(path, dtype="uint16"):
        return read_kept(path, intensity="voi", dtype=dtype, limit=2 * 40 * 50 * 2)

    for path, image in zip(paths, wanted, strict=True):
        np.testing.assert_array_equal(read(path), image)
    assert read(paths[0]) is read(paths[0]) and not read(paths[0]).flags.writeable
    assert read(paths[2]) is not read(paths[2])  # there was no room
    np.testing.assert_array_equal(read(paths[0], "uint8"), wanted[0] >> 8)  # another dtype is another image
    paths[0].unlink()
    np.testing.assert_array_equal(read(paths[0]), wanted[0])
    forget()
    np.testing.assert_array_equal(read_kept(paths[1], intensity="voi", dtype="uint16", limit=0), wanted[1])
