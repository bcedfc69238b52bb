"""A reconstruction and the patches it should have been, to sums and counts per image."""

import jax
import jax.numpy as jnp

from radmae_jax.config import Loss
from radmae_jax.model.mae import Architecture, Reconstruction
from radmae_jax.model.patches import real_pixels, to_unit

# Added to the variance under the root, as in every MAE implementation.
_NORM_EPS = 1e-6


def error_sums(
    output: Reconstruction, patches: jax.Array, grid: jax.Array, extent: jax.Array, shape: Architecture, loss: Loss
) -> tuple[jax.Array, jax.Array]:
    """Squared errors of each image and the number of pixels they are summed over.

    masked_valid: over the pixels inside the image of the patches that were hidden, which is the MAE's loss
    (He et al. 2022, section 3) where no patch is partial. poster: over every pixel of the grid, visible patches and
    padding included, as the poster's code does.

    Args:
      output: what the model gave for the batch.
      patches, grid, extent: the batch, see `radmae_jax.data.batch`.

    Returns: float32 [B] sums and float32 [B] counts. Both are 0 for an image with nothing to score.
    """
    tokens = jnp.broadcast_to(jnp.arange(patches.shape[1], dtype=jnp.int32)[None, :], patches.shape[:2])
    inside = real_pixels(tokens, grid, extent, shape.patch, shape.channels)
    target = jnp.where(inside, to_unit(patches), 0.0)
    if loss.kind == "poster":
        in_grid = tokens < (grid[:, 0] * grid[:, 1])[:, None]
        scored = jnp.broadcast_to(in_grid[..., None], target.shape)
    else:
        scored = inside & output.masking.masked[..., None]
    if loss.norm_pix:
        target = normalise_patches(target, inside, loss.variance_floor)
    # where before the square: padding may hold any prediction, and 0 * inf would be NaN.
    error = jnp.where(scored, output.prediction - target, 0.0)
    return jnp.sum(error * error, axis=(1, 2)), jnp.sum(scored, axis=(1, 2), dtype=jnp.float32)


def patch_statistics(target: jax.Array, inside: jax.Array, variance_floor: float) -> tuple[jax.Array, jax.Array]:
    """Mean and deviation of each patch over its real pixels, float32 [B, L, 1]; the variance is the unbiased one."""
    count = jnp.sum(inside, axis=-1, keepdims=True, dtype=jnp.float32)
    mean = jnp.sum(jnp.where(inside, target, 0.0), axis=-1, keepdims=True) / jnp.maximum(count, 1.0)
    squares = jnp.sum(jnp.where(inside, target - mean, 0.0) ** 2, axis=-1, keepdims=True)
    # Air and collimated borders have next to no variance; without the floor their quantisation noise becomes a
    # target of unit variance.
    variance = jnp.maximum(squares / jnp.maximum(count - 1.0, 1.0), variance_floor)
    return mean, jnp.sqrt(variance + _NORM_EPS)


def normalise_patches(target: jax.Array, inside: jax.Array, variance_floor: float) -> jax.Array:
    """Each patch's real pixels with their own mean and deviation taken out (MAE section 4); 0 outside the image."""
    mean, deviation = patch_statistics(target, inside, variance_floor)
    return jnp.where(inside, (target - mean) / deviation, 0.0)


def weigh(total: jax.Array, count: jax.Array, weight: jax.Array, weighting: str) -> tuple[jax.Array, jax.Array]:
    """Sums and counts per image to the scalar numerator and denominator of a batch's loss.

    pixel: every scored pixel counts alike. image: every image with something to score counts alike.
    """
    used = (weight > 0) & (count > 0)
    weight = jnp.where(used, weight, 0.0)
    if weighting == "image":
        return jnp.sum(weight * total / jnp.maximum(count, 1.0)), jnp.sum(weight)
    return jnp.sum(weight * total), jnp.sum(weight * count)
