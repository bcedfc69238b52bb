"""Attention by JAX's splash kernel, for TPUs: blocks of scores in vector memory, padding told as segments."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu import splash_attention as kernels

from radmae_jax.model.attention_scores import RESIDUALS
from radmae_jax.model.rows import spec_of

# The kernel's blocks are multiples of the 128 lanes of a TPU's vector registers, and divide the length.
_LANES = 128
_LARGEST_BLOCK = 512


def splash(
    query: jax.Array, key: jax.Array, value: jax.Array, lengths: jax.Array, interpret: bool = False
) -> jax.Array:
    """Softmax attention, heads first [B, H, N, D], over each row's first `lengths` keys.

    Padding is a segment of its own, so that no row of scores is masked as a whole (the kernel would divide by zero);
    the length is made a multiple of 128 in here. Under `jax.set_mesh` each device computes its rows of the batch: a
    kernel call cannot be split by the compiler.

    Args:
      interpret: computes the kernel step by step on a CPU, for tests.
    """
    rows, heads, length, width = query.shape
    padded = -(-length // _LANES) * _LANES
    query = query * jnp.asarray(width**-0.5, query.dtype)
    query, key, value = (jnp.pad(x, ((0, 0), (0, 0), (0, padded - length), (0, 0))) for x in (query, key, value))
    segment = (jnp.arange(padded, dtype=jnp.int32)[None, :] < lengths[:, None]).astype(jnp.int32)

    def here(query: jax.Array, key: jax.Array, value: jax.Array, segment: jax.Array) -> jax.Array:
        kernel = _kernel(heads, padded, interpret)
        return jax.vmap(lambda q, k, v, s: kernel(q, k, v, segment_ids=kernels.SegmentIds(s, s)))(
            query, key, value, segment
        )

    by_rows = spec_of(rows)
    if by_rows is not None:
        here = jax.shard_map(here, in_specs=(by_rows,) * 4, out_specs=by_rows, check_vma=False)
    return here(query, key, value, segment)[:, :, :length].astype(value.dtype)


def _kernel(heads: int, length: int, interpret: bool) -> Callable[..., Any]:
    # Every key may be seen: what a row's padding hides, its segments say.
    mask = kernels.MultiHeadMask([kernels.FullMask((length, length))] * heads)
    return kernels.make_splash_mha(
        mask,
        head_shards=1,
        q_seq_shards=1,
        block_sizes=_blocks(length),
        interpret=interpret,
        residual_checkpoint_name=RESIDUALS,
    )


@functools.cache
def _blocks(length: int) -> kernels.BlockSizes:
    """The largest blocks that divide the length."""
    sizes = np.arange(_LANES, _LARGEST_BLOCK + 1, _LANES)
    block = int(sizes[length % sizes == 0].max())
    return kernels.BlockSizes(
        block_q=block, block_kv=block, block_kv_compute=block,
        block_q_dkv=block, block_kv_dkv=block, block_kv_dkv_compute=block,
        block_q_dq=block, block_kv_dq=block,
    )  # fmt: skip
