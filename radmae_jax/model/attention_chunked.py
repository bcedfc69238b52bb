"""Attention by chunks of queries: the N x N scores are never held, forward or backward."""

import functools
from typing import cast

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from radmae_jax.model.attention_scores import RESIDUALS, product, scores

# Query rows whose scores are held at once: 128 rows of 4,096 keys are 2 MB a (batch, head).
_CHUNK = 128


def chunked(query: jax.Array, key: jax.Array, value: jax.Array, lengths: jax.Array) -> jax.Array:
    """Softmax attention, heads first [B, H, N, D], over each row's first `lengths` keys; any dtype, any device."""
    return cast(jax.Array, _chunked(query, key, value, lengths, _CHUNK))


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _chunked(query: jax.Array, key: jax.Array, value: jax.Array, lengths: jax.Array, chunk: int) -> jax.Array:
    return _chunked_forward(query, key, value, lengths, chunk)[0]


def _chunked_forward(query, key, value, lengths, chunk):
    """Attention by chunks of queries; keeps the log of each softmax denominator for the backward pass."""

    def one(part: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = scores(part, key, lengths)
        top = found.max(axis=-1, keepdims=True)
        weights = jnp.exp(found - top)
        total = weights.sum(axis=-1, keepdims=True)
        out = product("bhqn,bhnd->bhqd", weights.astype(value.dtype), value)
        return (out / total).astype(value.dtype), jnp.squeeze(top + jnp.log(total), -1)

    out, log_total = jax.lax.map(one, _split(query, chunk))
    out = checkpoint_name(_join(out, query.shape[2]), RESIDUALS)
    log_total = checkpoint_name(log_total, RESIDUALS)
    return out, (query, key, value, lengths, out, log_total)


def _chunked_backward(chunk, saved, out_grad):
    """Recomputes each chunk's weights from the saved log denominators (Dao et al. 2022, section 3.1)."""
    query, key, value, lengths, out, log_total = saved
    scale = query.shape[-1] ** -0.5
    # Rowwise <dO, O>: what the softmax's Jacobian subtracts.
    delta = jnp.sum(out_grad.astype(jnp.float32) * out.astype(jnp.float32), axis=-1)

    def one(carry, parts):
        key_grad, value_grad = carry
        q, g, log_t, d = parts
        weights = jnp.exp(scores(q, key, lengths) - log_t[..., None])
        low = weights.astype(value.dtype)
        value_grad += product("bhqn,bhqd->bhnd", low, g)
        weight_grad = product("bhqd,bhnd->bhqn", g, value)
        score_grad = (weights * (weight_grad - d[..., None]) * scale).astype(key.dtype)
        query_grad = product("bhqn,bhnd->bhqd", score_grad, key)
        key_grad += product("bhqn,bhqd->bhnd", score_grad, q)
        return (key_grad, value_grad), query_grad

    zeros = jnp.zeros(key.shape, jnp.float32)
    parts = (
        _split(query, chunk),
        _split(out_grad, chunk),
        log_total,
        _split(delta[..., None], chunk)[..., 0],
    )
    (key_grad, value_grad), query_grad = jax.lax.scan(one, (zeros, zeros), parts)
    query_grad = _join(query_grad, query.shape[2])
    return query_grad.astype(query.dtype), key_grad.astype(key.dtype), value_grad.astype(value.dtype), None


_chunked.defvjp(_chunked_forward, _chunked_backward)


def _split(x: jax.Array, chunk: int) -> jax.Array:
    """[B, H, N, D] to [pieces, B, H, even, D] with even <= chunk and as little padding as that allows."""
    batch, heads, length, width = x.shape
    pieces = -(-length // chunk)
    chunk = -(-length // pieces)
    padded = jnp.pad(x, ((0, 0), (0, 0), (0, pieces * chunk - length), (0, 0)))
    return jnp.moveaxis(padded.reshape(batch, heads, pieces, chunk, width), 2, 0)


def _join(x: jax.Array, length: int) -> jax.Array:
    """[chunks, B, H, chunk, D] back to [B, H, length, D]."""
    pieces, batch, heads, chunk, width = x.shape
    return jnp.moveaxis(x, 0, 2).reshape(batch, heads, pieces * chunk, width)[:, :, :length]
