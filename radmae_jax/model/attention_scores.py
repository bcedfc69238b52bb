"""Queries and keys of padded sequences, heads first [B, H, N, D], to scores, softmax weights and the reference."""

import jax
import jax.numpy as jnp

# What an attention leaves for its backward pass, so that rematerialisation may keep it (config.model.remat_keeps).
RESIDUALS = "attention"
# Finite, so that a row whose keys are all masked gives numbers instead of NaN.
_MASKED = -1e30


def product(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """An einsum with float32 sums; float32 operands are not cut to bfloat16, as TPUs do by default."""
    precision = "highest" if a.dtype == jnp.float32 else None
    return jnp.einsum(equation, a, b, precision=precision, preferred_element_type=jnp.float32)


def scores(query: jax.Array, key: jax.Array, lengths: jax.Array) -> jax.Array:
    """Scaled float32 scores [B, H, Q, N] with keys beyond the length masked."""
    products = product("bhqd,bhnd->bhqn", query, key)
    seen = jnp.arange(key.shape[2], dtype=jnp.int32)[None, :] < lengths[:, None]  # [B, N]
    return jnp.where(seen[:, None, None, :], products * query.shape[-1] ** -0.5, _MASKED)


def weights(query: jax.Array, key: jax.Array, lengths: jax.Array) -> jax.Array:
    """Softmax weights float32 [B, H, Q, N]: rows sum to 1, keys beyond the length have 0."""
    return jax.nn.softmax(scores(query, key, lengths), axis=-1)


def dense(query: jax.Array, key: jax.Array, value: jax.Array, lengths: jax.Array) -> jax.Array:
    """Softmax attention, heads first: all scores are held, [B, H, N, N] float32. The reference for all others."""
    given = weights(query, key, lengths)
    return product("bhqn,bhnd->bhqd", given.astype(value.dtype), value).astype(value.dtype)
