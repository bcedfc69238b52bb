"""Queries, keys and values of padded sequences to attention outputs: one function, several implementations."""

import jax
import jax.numpy as jnp

from radmae_jax.model.attention_chunked import chunked
from radmae_jax.model.attention_cudnn import cudnn, takes
from radmae_jax.model.attention_scores import dense, weights
from radmae_jax.model.attention_splash import splash

_HEADS_FIRST = {"dense": dense, "chunked": chunked, "splash": splash}


def attend(
    query: jax.Array, key: jax.Array, value: jax.Array, lengths: jax.Array, implementation: str = "auto"
) -> jax.Array:
    """Softmax attention in which each row of the batch sees its first `lengths` keys only.

    Args:
      query, key, value: [B, N, H, D], any float dtype; the softmax is float32.
      lengths: int32 [B], valid keys of each row, from 1 to N. Outputs of queries beyond are finite, without meaning.
      implementation: dense (the reference), chunked (any device; never holds the N x N scores, forward or backward),
        splash (a TPU kernel), cudnn (a GPU kernel; bfloat16 and float16), or auto, see `choose`.

    Returns: [B, N, H, D] in the dtype of value.
    """
    if implementation == "auto":
        implementation = choose(jax.default_backend(), query.dtype, query.shape[-1])
    if implementation == "cudnn":
        return cudnn(query, key, value, lengths)
    if implementation not in _HEADS_FIRST:
        raise ValueError(f"attention {implementation!r}; it must be auto, dense, chunked, splash or cudnn")
    query, key, value = (jnp.swapaxes(x, 1, 2) for x in (query, key, value))
    return jnp.swapaxes(_HEADS_FIRST[implementation](query, key, value, lengths), 1, 2)


def choose(platform: str, dtype: jnp.dtype, width: int) -> str:
    """The implementation that `auto` means on a platform (cpu, tpu, gpu) for heads of some width.

    The kernels multiply in bfloat16, so float32, which is asked for to be exact, is chunked everywhere. On CPU chunked
    is faster than dense at every length (tools/attention_times.py).
    """
    if jnp.dtype(dtype).itemsize != 2:
        return "chunked"
    if platform == "tpu":
        return "splash"
    return "cudnn" if platform in ("gpu", "cuda") and takes(width) else "chunked"


def mean_weights(query: jax.Array, key: jax.Array, lengths: jax.Array) -> jax.Array:
    """The softmax weights that `attend` gives to keys, the mean over heads, float32 [B, N, N]: rows sum to 1, and keys
    beyond the length have weight 0. Arguments as those of `attend`."""
    return jnp.mean(weights(jnp.swapaxes(query, 1, 2), jnp.swapaxes(key, 1, 2), lengths), axis=1)
