"""Attention by cuDNN's fused kernel, for NVIDIA GPUs: padding is told as lengths, never as a mask.

A mask would become a dense bias. Lengths are made even in here: JAX 0.10.2 refuses to train odd ones, bias or not, and
a class token makes ours odd.
"""

import jax
import jax.numpy as jnp


def cudnn(query: jax.Array, key: jax.Array, value: jax.Array, lengths: jax.Array) -> jax.Array:
    """Softmax attention [B, N, H, D] over each row's first `lengths` keys; bfloat16 or float16.

    Queries of padding see the valid keys too, so that what comes out for them is finite.
    """
    length = query.shape[1]
    query, key, value = (jnp.pad(x, ((0, 0), (0, length % 2), (0, 0), (0, 0))) for x in (query, key, value))
    out = jax.nn.dot_product_attention(
        query,
        key,
        value,
        query_seq_lengths=jnp.full_like(lengths, query.shape[1]),
        key_value_seq_lengths=lengths,
        implementation="cudnn",
    )
    return out[:, :length]


def takes(width: int) -> bool:
    """Whether cuDNN computes heads of this width on every GPU generation (Hopper goes to 256)."""
    return width % 8 == 0 and width <= 128
