"""Patches of images of any size, padded to one length, to a reconstruction of the patches that were hidden."""

from dataclasses import dataclass
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import linen as nn

from radmae_jax.config import Model
from radmae_jax.model.encoder import Shape, compute_of, embed_tokens, encode, prepend
from radmae_jax.model.patches import Masking, mask_tokens
from radmae_jax.model.positions import sample_2d, sample_flat, sincos_table
from radmae_jax.model.size import Size, decoder_size, encoder_size
from radmae_jax.model.vit import Compute, Stack, dense, layer_norm


@dataclass(frozen=True)
class Architecture(Shape):
    """What the parameters' shapes and the function depend on, apart from how it is computed."""

    decoder: Size
    mask_ratio: float
    decoder_positions: str


class Reconstruction(NamedTuple):
    """What a forward pass gives; B rows of L tokens."""

    prediction: jax.Array  # float32 [B, L, P*P*C], in the target's units
    masking: Masking


class MAE(nn.Module):
    """A masked autoencoder (He et al. 2022) whose result for an image does not depend on its padding.

    Only the visible tokens are embedded and encoded, behind a class token; padding tokens are never visible, never
    attended and never masked. Position tables are constants (collection "tables"), sampled at each image's own grid.
    """

    shape: Architecture
    compute: Compute

    @nn.compact
    def __call__(self, patches: jax.Array, grid: jax.Array, extent: jax.Array, noise: jax.Array) -> Reconstruction:
        """One forward pass.

        Args:
          patches: uint8 or uint16 [B, L, P*P*C], raster order over each image's grid, real tokens first.
          grid: int32 [B, 2], rows and columns of patches, rows * columns <= L.
          extent: int32 [B, 2], height and width in pixels; what lies outside is read as 0.
          noise: float32 [B, L] in [0, 1), see `mask_noise`.
        """
        shape, compute = self.shape, self.compute
        dtype = jnp.dtype(compute.dtype)
        side, rows, length = shape.table_side, patches.shape[0], patches.shape[1]
        encoder_table = self.variable("tables", "encoder_positions", _table, side, shape.encoder.width).value
        decoder_table = self.variable("tables", "decoder_positions", _table, side, shape.decoder.width).value
        token_init = nn.initializers.normal(0.02)
        class_token = self.param("class_token", token_init, (1, 1, shape.encoder.width))
        mask_token = self.param("mask_token", token_init, (1, 1, shape.decoder.width))

        count = grid[:, 0] * grid[:, 1]
        masking = mask_tokens(noise, count, shape.mask_ratio)
        visible = jnp.take_along_axis(patches, masking.visible[..., None], axis=1)
        x = embed_tokens(shape, compute, visible, masking.visible, grid, extent, encoder_table, class_token)
        x = encode(shape, compute, x, masking.kept + 1)
        x = layer_norm(compute, "encoder_norm")(x).astype(dtype)

        x = dense(x, shape.decoder.width, compute, "decoder_embed")
        token = jnp.arange(length, dtype=jnp.int32)[None, :]
        place = jnp.minimum(masking.place, masking.visible.shape[1] - 1)
        encoded = jnp.take_along_axis(x[:, 1:], place[..., None], axis=1)
        is_visible = (masking.place < masking.kept[:, None]) & (token < count[:, None])
        y = jnp.where(is_visible[..., None], encoded, mask_token.astype(dtype))
        tokens = jnp.broadcast_to(token, (rows, length))
        if shape.decoder_positions == "2d":
            positions = sample_2d(decoder_table, side, tokens, grid, shape.resample)
        else:
            positions = sample_flat(decoder_table, tokens, grid)
        y = y + positions.astype(dtype)
        y = prepend(x[:, :1] + decoder_table[None, None, 0].astype(dtype), y)
        y = Stack(shape.decoder, compute, name="decoder")(y, count + 1)
        y = layer_norm(compute, "decoder_norm")(y).astype(dtype)
        prediction = dense(y, shape.patch_values, compute, "decoder_pred")[:, 1:]
        return Reconstruction(prediction.astype(jnp.float32), masking)


def build(config: Model) -> MAE:
    """The model a configuration describes."""
    architecture = Architecture(
        encoder_size(config), config.patch, config.channels, config.table_side, config.resample,
        decoder_size(config), config.mask_ratio, config.decoder_positions,
    )  # fmt: skip
    return MAE(architecture, compute_of(config))


def init(model: MAE, key: jax.Array) -> dict:
    """Fresh variables {"params": ..., "tables": ...}, float32; jit or eval_shape it."""
    patches = jnp.zeros((1, 4, model.shape.patch_values), jnp.uint16)
    two = jnp.full((1, 2), 2, jnp.int32)
    variables = model.init(key, patches, two, two * model.shape.patch, jnp.zeros((1, 4), jnp.float32))
    return cast(dict, variables)


def _table(side: int, width: int) -> jax.Array:
    return jnp.asarray(sincos_table(side, width))
