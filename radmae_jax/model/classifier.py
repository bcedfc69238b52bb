"""Patches of images of any size, padded to one length, to features and class scores."""

from dataclasses import dataclass
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import linen as nn

from radmae_jax.config import Model
from radmae_jax.model.encoder import Shape, compute_of, embed_tokens, encode
from radmae_jax.model.size import encoder_size
from radmae_jax.model.vit import Compute, dense, layer_norm


@dataclass(frozen=True)
class ClassifierShape(Shape):
    """What a classifier's parameters and function depend on, apart from how it is computed."""

    pool: str
    classes: int  # of all labels together; 0: an encoder without a head


class Classified(NamedTuple):
    """What a forward pass gives; B rows of L tokens, float32."""

    tokens: jax.Array  # [B, 1 + L, D], the class token first; normalised where the class token is pooled
    pooled: jax.Array  # [B, D], normalised: what the head sees
    logits: jax.Array  # [B, classes]


class Classifier(nn.Module):
    """A ViT (Dosovitskiy et al. 2021) whose result for an image does not depend on its padding.

    The position table is a parameter, `positions`, sampled at each image's own grid. Pooling is the class token after
    the final norm, or, as the MAE's fine-tuning (its `global_pool`), the mean of an image's own tokens, then the norm.
    """

    shape: ClassifierShape
    compute: Compute

    @nn.compact
    def __call__(
        self, patches: jax.Array, grid: jax.Array, extent: jax.Array, branches: jax.Array | None = None
    ) -> Classified:
        """One forward pass; arguments as those of `MAE`, and in training those of `drop_path`."""
        shape, compute = self.shape, self.compute
        rows, length, width = patches.shape[0], patches.shape[1], shape.encoder.width
        init = nn.initializers.normal(0.02)
        class_token = self.param("class_token", init, (1, 1, width))
        positions = self.param("positions", init, (1 + shape.table_side**2, width))
        count = grid[:, 0] * grid[:, 1]
        tokens = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32)[None, :], (rows, length))
        x = embed_tokens(shape, compute, patches, tokens, grid, extent, positions, class_token)
        x = encode(shape, compute, x, count + 1, branches)
        norm = layer_norm(compute, "encoder_norm")
        if shape.pool == "mean":
            real = (tokens < count[:, None])[..., None]
            x = x.astype(jnp.float32)
            pooled = norm(jnp.sum(jnp.where(real, x[:, 1:], 0.0), axis=1) / count[:, None])
        else:
            x = norm(x)
            pooled = x[:, 0]
        logits = jnp.zeros((rows, 0), jnp.float32)
        if shape.classes:
            logits = dense(pooled.astype(jnp.dtype(compute.dtype)), shape.classes, compute, "head")
        return Classified(x, pooled, logits.astype(jnp.float32))


def build(config: Model, classes: int) -> Classifier:
    """The classifier a configuration describes; without classes it is an encoder."""
    shape = ClassifierShape(
        encoder_size(config), config.patch, config.channels, config.table_side, config.resample, config.pool, classes
    )
    return Classifier(shape, compute_of(config))


def init(model: Classifier, key: jax.Array) -> dict:
    """Fresh variables {"params": ...}, float32; jit or eval_shape it."""
    patches = jnp.zeros((1, 4, model.shape.patch_values), jnp.uint16)
    two = jnp.full((1, 2), 2, jnp.int32)
    return cast(dict, model.init(key, patches, two, two * model.shape.patch))
