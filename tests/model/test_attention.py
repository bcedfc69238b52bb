from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from radmae_jax.model import classifier
from radmae_jax.model.attention import attend, mean_weights


def _random(length: int, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(length), 4)
    return [jax.random.normal(k, (2, length, 3, 8), dtype) for k in keys]


def _by_hand(query, key, value, lengths):
    """A softmax per row and head, in float64, over the valid keys only."""
    out = np.zeros(query.shape)
    for b, length in enumerate(lengths):
        for h in range(query.shape[2]):
            scores = query[b, :, h] @ key[b, :length, h].T / np.sqrt(query.shape[3])
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            out[b, :, h] = weights / weights.sum(-1, keepdims=True) @ value[b, :length, h]
    return out


@pytest.mark.parametrize("implementation", ["dense", "chunked"])
def test_sees_only_the_valid_keys(implementation):
    query, key, value, _ = _random(150)
    lengths = jnp.array([150, 37])
    out = attend(query, key, value, lengths, implementation)
    wanted = _by_hand(*[np.asarray(x, np.float64) for x in (query, key, value)], [150, 37])
    np.testing.assert_allclose(out, wanted, atol=2e-6)
    junk = jnp.where(jnp.arange(150)[None, :, None, None] < lengths[:, None, None, None], value, 1e9)
    np.testing.assert_array_equal(attend(query, key, junk, lengths, implementation), out)


@pytest.mark.parametrize("length", [1, 127, 129, 300])
def test_chunked_equals_dense_forward_and_backward(length):
    query, key, value, weight = _random(length)
    lengths = jnp.array([length, max(1, length // 3)])

    def scored(implementation):
        def total(q, k, v):
            out = attend(q, k, v, lengths, implementation)
            return jnp.sum(out * weight), out

        return jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(query, key, value)

    (dense_grads, dense_out), (chunked_grads, chunked_out) = scored("dense"), scored("chunked")
    np.testing.assert_allclose(chunked_out, dense_out, atol=1e-5)
    for chunked, dense in zip(chunked_grads, dense_grads, strict=True):
        np.testing.assert_allclose(chunked, dense, atol=1e-4)


def test_chunked_never_holds_all_scores():
    length = 1024
    query, key, value, _ = _random(length)
    lengths = jnp.array([length, length])

    def loss(implementation):
        return lambda q: jnp.sum(attend(q, key, value, lengths, implementation) ** 2)

    def temporaries(implementation):
        compiled = jax.jit(jax.grad(loss(implementation))).lower(query).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    scores = 2 * 3 * length * length * 4
    assert temporaries("chunked") < scores / 2 < temporaries("dense")


def test_bfloat16_stays_near_float32():
    query, key, value, _ = _random(200)
    lengths = jnp.array([200, 120])
    exact = attend(query, key, value, lengths, "dense")
    for implementation in ("dense", "chunked"):
        low = attend(*[x.astype(jnp.bfloat16) for x in (query, key, value)], lengths, implementation)
        assert low.dtype == jnp.bfloat16
        np.testing.assert_allclose(low.astype(jnp.float32), exact, atol=0.03)


def test_unknown_implementation_is_named():
    query, key, value, _ = _random(4)
    with pytest.raises(ValueError, match="'flash'"):
        attend(query, key, value, jnp.array([4, 4]), "flash")


def test_mean_weights_are_those_that_attend_uses():
    query, key, value, _ = _random(20)
    lengths = jnp.array([20, 7])
    weights = np.asarray(mean_weights(query, key, lengths))
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    np.testing.assert_array_equal(weights[1, :, 7:], 0)
    same = jnp.broadcast_to(value[:, :, :1], value.shape)  # values alike in all heads
    wanted = np.asarray(attend(query, key, same, lengths, "dense")).mean(axis=2)
    np.testing.assert_allclose(weights @ np.asarray(value[:, :, 0]), wanted, atol=1e-6)


@pytest.mark.parametrize("how", [{}, {"remat": True}])
def test_weights_are_left_only_where_asked_for(how, small_model):
    model = classifier.build(replace(small_model, **how), 3)
    variables = jax.jit(lambda: classifier.init(model, jax.random.key(0)))()
    assert variables.keys() == {"params"}
    patches = jax.random.randint(jax.random.key(1), (2, 12, 64), 0, 65535).astype(jnp.uint16)
    grid = jnp.array([[3, 4], [2, 2]])
    arguments = (patches, grid, 8 * grid)
    plain = jax.jit(model.apply)(variables, *arguments)
    found, state = jax.jit(lambda v: model.apply(v, *arguments, mutable=["attention"]))(variables)
    np.testing.assert_allclose(found.logits, plain.logits, atol=1e-6)
    weights = state["attention"]["encoder"]["blocks"]["weights"]
    assert weights.shape == (small_model.layers, 2, 13, 13) and weights.dtype == jnp.float32
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    np.testing.assert_array_equal(weights[:, 1, :, 5:], 0)
    assert float(weights[:, 1, :, :5].min()) > 0
