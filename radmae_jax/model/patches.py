"""Which tokens and pixels of a padded batch are real, which are masked, and patches as numbers from 0 to 1."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Sorts behind every noise value in [0, 1): padding is never visible before a real token.
_PADDING = 2.0


class Masking(NamedTuple):
    """A random masking of L tokens, of which at most K are visible."""

    visible: jax.Array  # int32 [B, K]: raster indices of visible tokens, valid ones first
    place: jax.Array  # int32 [B, L]: where token i stands in the shuffled order; < kept means visible
    kept: jax.Array  # int32 [B]: number of visible tokens
    masked: jax.Array  # bool [B, L]: real and hidden from the encoder


def keep_table(length: int, mask_ratio: float) -> np.ndarray:
    """Visible tokens of n real ones, int32 [length + 1], in Python doubles as every MAE counts them."""
    return np.asarray([int(n * (1 - mask_ratio)) for n in range(length + 1)], np.int32)


def mask_noise(seed: int, epoch: jax.Array, record: jax.Array, length: int) -> jax.Array:
    """Noise in [0, 1), float32 [B, length]; token i's depends on (seed, epoch, record, i), not on the length."""

    def one(e: jax.Array, r: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), e), r)
        return jax.random.uniform(key, (length,), jnp.float32)

    return jax.vmap(one)(epoch, record)


def mask_tokens(noise: jax.Array, count: jax.Array, mask_ratio: float) -> Masking:
    """Hides the real tokens with the largest noise.

    Args:
      noise: float32 [B, L].
      count: int32 [B], real tokens of each row.
    """
    length = noise.shape[1]
    keep = keep_table(length, mask_ratio)
    token = jnp.arange(length, dtype=jnp.int32)[None, :]
    real = token < count[:, None]
    order = jnp.argsort(jnp.where(real, noise, _PADDING), axis=1, stable=True).astype(jnp.int32)
    place = jnp.argsort(order, axis=1).astype(jnp.int32)
    kept = jnp.asarray(keep)[count]
    slots = max(int(keep[length]), 1)  # one slot at least, so that no shape is empty
    return Masking(order[:, :slots], place, kept, real & (place >= kept[:, None]))


def real_pixels(tokens: jax.Array, grid: jax.Array, extent: jax.Array, patch: int, channels: int) -> jax.Array:
    """Which pixels of the given tokens lie inside the image, bool [B, K, patch * patch * channels].

    Args:
      tokens: int32 [B, K], raster indices in each image's grid; those beyond the grid have no real pixel.
      grid: int32 [B, 2] rows and columns of patches; extent: int32 [B, 2] height and width in pixels.
    """
    top = tokens // grid[:, 1:2] * patch
    left = tokens % grid[:, 1:2] * patch
    offset = jnp.arange(patch, dtype=jnp.int32)[None, None, :]
    inside_y = top[..., None] + offset < extent[:, 0][:, None, None]  # [B, K, P]
    inside_x = left[..., None] + offset < extent[:, 1][:, None, None]
    inside = inside_y[..., :, None] & inside_x[..., None, :]
    inside &= (tokens < (grid[:, 0] * grid[:, 1])[:, None])[..., None, None]
    inside = jnp.broadcast_to(inside[..., None], (*inside.shape, channels))
    return inside.reshape(*tokens.shape, patch * patch * channels)


def to_unit(patches: jax.Array) -> jax.Array:
    """Stored integers to float32 from 0 to 1."""
    return patches.astype(jnp.float32) * (1.0 / jnp.iinfo(patches.dtype).max)
