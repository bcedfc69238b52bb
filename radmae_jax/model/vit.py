"""Token sequences through pre-norm transformer blocks, all layers as one scanned program."""

from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen as nn

from radmae_jax.model.attention import attend
from radmae_jax.model.size import Size


@dataclass(frozen=True)
class Compute:
    """How blocks are computed, whatever their size."""

    dtype: str = "float32"
    norm_eps: float = 1e-6
    gelu: str = "exact"
    init: str = "mae"
    attention: str = "auto"
    remat: bool = False
    unroll: bool = False

    @property
    def precision(self) -> str | None:
        """float32 means float32 on every device: TPUs would multiply in bfloat16 by default."""
        return "highest" if self.dtype == "float32" else None


def dense(features: int, compute: Compute, name: str) -> nn.Dense:
    """A linear layer in the compute dtype with float32 parameters."""
    kernel_init = nn.initializers.normal(0.02) if compute.init == "hf" else nn.initializers.xavier_uniform()
    return nn.Dense(features, dtype=compute.dtype, precision=compute.precision, kernel_init=kernel_init, name=name)


def layer_norm(compute: Compute, name: str) -> nn.LayerNorm:
    """float32 LayerNorm; the variance is not taken as E[x^2] - E[x]^2, which cancels."""
    return nn.LayerNorm(epsilon=compute.norm_eps, dtype=jnp.float32, use_fast_variance=False, name=name)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); x is [B, N, width], lengths int32 [B]."""

    size: Size
    compute: Compute

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array) -> tuple[jax.Array, None]:
        size, compute = self.size, self.compute
        dtype = jnp.dtype(compute.dtype)
        y = layer_norm(compute, "norm1")(x).astype(dtype)
        heads = (*y.shape[:2], size.heads, size.width // size.heads)
        query, key, value = (dense(size.width, compute, n)(y).reshape(heads) for n in ("query", "key", "value"))
        y = attend(query, key, value, lengths, compute.attention)
        x = x + dense(size.width, compute, "out")(y.reshape(*y.shape[:2], size.width))
        y = layer_norm(compute, "norm2")(x).astype(dtype)
        y = nn.gelu(dense(4 * size.width, compute, "fc1")(y), approximate=compute.gelu == "tanh")
        return x + dense(size.width, compute, "fc2")(y), None


class Stack(nn.Module):
    """`size.layers` blocks; parameters carry a leading layer axis."""

    size: Size
    compute: Compute

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array) -> jax.Array:
        block = nn.remat(Block, prevent_cse=False) if self.compute.remat else Block
        scanned = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=cast(Any, nn.broadcast),
            length=self.size.layers,
            unroll=self.size.layers if self.compute.unroll else 1,
        )
        return scanned(self.size, self.compute, name="blocks")(x, lengths)[0]
