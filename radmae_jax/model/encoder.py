"""Patches of images of any size to encoded tokens: what masked autoencoders and classifiers have in common."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from radmae_jax.config import Model
from radmae_jax.model.patches import real_pixels, to_unit
from radmae_jax.model.positions import sample_2d
from radmae_jax.model.size import Size
from radmae_jax.model.vit import Compute, Stack, dense


@dataclass(frozen=True)
class Shape:
    """What an encoder's parameters and function depend on, apart from how it is computed."""

    encoder: Size
    patch: int
    channels: int
    table_side: int
    resample: str

    @property
    def patch_values(self) -> int:
        return self.patch * self.patch * self.channels


def compute_of(config: Model) -> Compute:
    """How a configuration's blocks are computed."""
    return Compute(
        config.dtype,
        config.norm_eps,
        config.gelu,
        config.init,
        config.attention,
        config.remat,
        config.remat_keeps,
        config.unroll,
    )


def embed_tokens(
    shape: Shape, compute: Compute, patches: jax.Array, tokens: jax.Array, grid: jax.Array, extent: jax.Array,
    table: jax.Array, class_token: jax.Array,
) -> jax.Array:  # fmt: skip
    """The class token, then tokens embedded with their positions, [B, 1 + K, width]; call inside a compact method.

    Args:
      patches: uint8 or uint16 [B, K, P*P*C]; tokens: int32 [B, K], their raster indices in each image's grid.
      grid: int32 [B, 2], rows and columns of patches.
      extent: int32 [B, 2], height and width in pixels; what lies outside is read as 0.
      table: float32 [1 + side * side, width], the class token's position first.
      class_token: float32 [1, 1, width].
    """
    dtype = jnp.dtype(compute.dtype)
    inside = real_pixels(tokens, grid, extent, shape.patch, shape.channels)
    x = jnp.where(inside, to_unit(patches), 0.0).astype(dtype)
    x = dense(x, shape.encoder.width, compute, "patch_embed")
    x = x + sample_2d(table, shape.table_side, tokens, grid, shape.resample).astype(dtype)
    return prepend((class_token + table[None, None, 0]).astype(dtype), x)


def encode(
    shape: Shape, compute: Compute, x: jax.Array, lengths: jax.Array, branches: jax.Array | None = None
) -> jax.Array:
    """Tokens [B, N, width] through the encoder's blocks, each row's first `lengths` of them real; no final norm.

    branches: see `drop_path`.
    """
    return Stack(shape.encoder, compute, name="encoder")(x, lengths, branches)


def prepend(token: jax.Array, x: jax.Array) -> jax.Array:
    """A token [1 or B, 1, D] before each row of x [B, N, D]."""
    return jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, x.shape[2])), x], axis=1)
