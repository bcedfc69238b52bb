"""Token sequences through pre-norm transformer blocks, all layers as one scanned program."""

from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen as nn

from radmae_jax.model.attention import attend, mean_weights
from radmae_jax.model.attention_scores import RESIDUALS
from radmae_jax.model.rows import keep_rows
from radmae_jax.model.size import Size

# What a block's backward pass does not compute again, by config.model.remat_keeps.
_KEPT = {
    "nothing": None,
    "attention": jax.checkpoint_policies.save_only_these_names(RESIDUALS),
    "products": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}
_DROP_PATH = 0x0D209  # keeps this stream apart from others drawn from the same (seed, epoch, record)


@dataclass(frozen=True)
class Compute:
    """How blocks are computed, whatever their size."""

    dtype: str = "float32"
    norm_eps: float = 1e-6
    gelu: str = "exact"
    init: str = "mae"
    attention: str = "auto"
    remat: bool = False
    remat_keeps: str = "nothing"
    unroll: bool = False

    @property
    def precision(self) -> str | None:
        """float32 means float32 on every device: TPUs would multiply in bfloat16 by default."""
        return "highest" if self.dtype == "float32" else None


def dense(x: jax.Array, features: int, compute: Compute, name: str) -> jax.Array:
    """[B, ..., features]: a linear layer in the compute dtype with float32 parameters."""
    kernel_init = nn.initializers.normal(0.02) if compute.init == "hf" else nn.initializers.xavier_uniform()
    layer = nn.Dense(features, dtype=compute.dtype, precision=compute.precision, kernel_init=kernel_init, name=name)
    return keep_rows(layer(keep_rows(x)))  # the input too, for its gradient


def layer_norm(compute: Compute, name: str) -> nn.LayerNorm:
    """float32 LayerNorm; the variance is not taken as E[x^2] - E[x]^2, which cancels."""
    return nn.LayerNorm(epsilon=compute.norm_eps, dtype=jnp.float32, use_fast_variance=False, name=name)


def drop_path(rate: float, layers: int, seed: int, epoch: jax.Array, record: jax.Array) -> jax.Array:
    """What each block's branches are multiplied by, float32 [layers, 2, B]: 0 where dropped, else 1 / share kept.

    Stochastic depth (Huang et al. 2016), the rate rising linearly from 0 at the first block to `rate` at the last. An
    image's factors depend on (seed, epoch, record), int32 [B], not on its batch.
    """

    def one(e: jax.Array, r: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed ^ _DROP_PATH), e), r)
        return jax.random.uniform(key, (layers, 2), jnp.float32)

    rates = jnp.linspace(0.0, rate, layers) if layers > 1 else jnp.full(1, rate)
    kept = 1.0 - rates[:, None, None]
    return jnp.where(jnp.transpose(jax.vmap(one)(epoch, record), (1, 2, 0)) < kept, 1.0 / kept, 0.0)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); x is [B, N, width], lengths int32 [B].

    branches: float32 [2, B], what attention and MLP of each row are multiplied by; None: nothing.
    Where the collection "attention" is mutable, `weights` in there becomes the attention's, see `mean_weights`.
    """

    size: Size
    compute: Compute

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array, branches: jax.Array | None = None) -> tuple[jax.Array, None]:
        size, compute = self.size, self.compute
        dtype = jnp.dtype(compute.dtype)
        y = layer_norm(compute, "norm1")(x).astype(dtype)
        heads = (*y.shape[:2], size.heads, size.width // size.heads)
        query, key, value = (dense(y, size.width, compute, n).reshape(heads) for n in ("query", "key", "value"))
        if self.is_mutable_collection("attention") and not self.is_initializing():  # init makes all of them mutable
            self.put_variable("attention", "weights", mean_weights(query, key, lengths))
        y = attend(query, key, value, lengths, compute.attention)
        y = y.reshape(*y.shape[:2], size.width)
        x = x + _times(dense(y, size.width, compute, "out"), branches, 0)
        y = layer_norm(compute, "norm2")(x).astype(dtype)
        y = nn.gelu(dense(y, 4 * size.width, compute, "fc1"), approximate=compute.gelu == "tanh")
        return x + _times(dense(y, size.width, compute, "fc2"), branches, 1), None


class Stack(nn.Module):
    """`size.layers` blocks; parameters, and `branches` [layers, 2, B] (see `drop_path`), carry a leading layer axis."""

    size: Size
    compute: Compute

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array, branches: jax.Array | None = None) -> jax.Array:
        kept = _KEPT[self.compute.remat_keeps]
        block = nn.remat(Block, prevent_cse=False, policy=kept) if self.compute.remat else Block
        scanned = nn.scan(
            block,
            variable_axes={"params": 0, "attention": 0},
            split_rngs={"params": True},
            in_axes=cast(Any, (nn.broadcast, 0)),
            length=self.size.layers,
            unroll=self.size.layers if self.compute.unroll else 1,
        )
        return scanned(self.size, self.compute, name="blocks")(x, lengths, branches)[0]


def _times(branch: jax.Array, branches: jax.Array | None, which: int) -> jax.Array:
    return branch if branches is None else branch * branches[which, :, None, None].astype(branch.dtype)
