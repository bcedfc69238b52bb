"""Queries, keys and values of padded sequences to attention outputs: one function, several implementations."""

import functools
from typing import cast

import jax
import jax.numpy as jnp

# Finite, so that a row whose keys are all masked gives numbers instead of NaN.
_MASKED = -1e30
# Scores held at once by the chunked form, elements a (batch, head): 128 query rows of 4,096 keys are 2 MB.
_CHUNK = 128


def attend(
    query: jax.Array, key: jax.Array, value: jax.Array, lengths: jax.Array, implementation: str = "auto"
) -> jax.Array:
    """Softmax attention in which each row of the batch sees its first `lengths` keys only.

    Args:
      query, key, value: [B, N, H, D], any float dtype; the softmax is float32.
      lengths: int32 [B], valid keys of each row, from 1 to N. Outputs of queries beyond are finite, without meaning.
      implementation: dense (the reference), chunked (never holds the N x N scores, forward or backward) or auto:
        chunked, which on CPU is the faster at every length (tools/attention_times.py).

    Returns: [B, N, H, D] in the dtype of value.
    """
    query, key, value = (jnp.swapaxes(x, 1, 2) for x in (query, key, value))  # heads first
    if implementation == "dense":
        out = _dense(query, key, value, lengths)
    elif implementation in ("auto", "chunked"):
        out = cast(jax.Array, _chunked(query, key, value, lengths, _CHUNK))
    else:
        raise ValueError(f"attention {implementation!r}; it must be auto, dense or chunked")
    return jnp.swapaxes(out, 1, 2)


def mean_weights(query: jax.Array, key: jax.Array, lengths: jax.Array) -> jax.Array:
    """The softmax weights that `attend` gives to keys, the mean over heads, float32 [B, N, N]: rows sum to 1, and keys
    beyond the length have weight 0. Arguments as those of `attend`."""
    return jnp.mean(_weights(jnp.swapaxes(query, 1, 2), jnp.swapaxes(key, 1, 2), lengths), axis=1)


def _product(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """An einsum with float32 sums; float32 operands are not cut to bfloat16, as TPUs do by default."""
    precision = "highest" if a.dtype == jnp.float32 else None
    return jnp.einsum(equation, a, b, precision=precision, preferred_element_type=jnp.float32)


def _scores(query: jax.Array, key: jax.Array, lengths: jax.Array) -> jax.Array:
    """Scaled float32 scores [B, H, Q, N] with keys beyond the length masked."""
    scores = _product("bhqd,bhnd->bhqn", query, key)
    seen = jnp.arange(key.shape[2], dtype=jnp.int32)[None, :] < lengths[:, None]  # [B, N]
    return jnp.where(seen[:, None, None, :], scores * query.shape[-1] ** -0.5, _MASKED)


def _weights(query: jax.Array, key: jax.Array, lengths: jax.Array) -> jax.Array:
    return jax.nn.softmax(_scores(query, key, lengths), axis=-1)


def _dense(query: jax.Array, key: jax.Array, value: jax.Array, lengths: jax.Array) -> jax.Array:
    weights = _weights(query, key, lengths)
    return _product("bhqn,bhnd->bhqd", weights.astype(value.dtype), value).astype(value.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _chunked(query: jax.Array, key: jax.Array, value: jax.Array, lengths: jax.Array, chunk: int) -> jax.Array:
    return _chunked_forward(query, key, value, lengths, chunk)[0]


def _chunked_forward(query, key, value, lengths, chunk):
    """Attention by chunks of queries; keeps the log of each softmax denominator for the backward pass."""

    def one(part: jax.Array) -> tuple[jax.Array, jax.Array]:
        scores = _scores(part, key, lengths)
        top = scores.max(axis=-1, keepdims=True)
        weights = jnp.exp(scores - top)
        total = weights.sum(axis=-1, keepdims=True)
        out = _product("bhqn,bhnd->bhqd", weights.astype(value.dtype), value)
        return (out / total).astype(value.dtype), jnp.squeeze(top + jnp.log(total), -1)

    out, log_total = jax.lax.map(one, _split(query, chunk))
    out = _join(out, query.shape[2])
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
        weights = jnp.exp(_scores(q, key, lengths) - log_t[..., None])
        low = weights.astype(value.dtype)
        value_grad += _product("bhqn,bhqd->bhnd", low, g)
        weight_grad = _product("bhqd,bhnd->bhqn", g, value)
        score_grad = (weights * (weight_grad - d[..., None]) * scale).astype(key.dtype)
        query_grad = _product("bhqn,bhnd->bhqd", score_grad, key)
        key_grad += _product("bhqn,bhqd->bhnd", score_grad, q)
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
