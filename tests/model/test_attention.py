import functools
from dataclasses import replace

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from radmae_jax.model import classifier
from radmae_jax.model.attention import attend, choose, mean_weights
from radmae_jax.model.attention_splash import splash
from radmae_jax.train import sharding


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


def _compare(implementation, query, key, value, weight, lengths):
    """Outputs and gradients against dense; what queries of padding give means nothing and goes nowhere."""
    real = (jnp.arange(query.shape[1])[None, :] < lengths[:, None])[:, :, None, None]

    def scored(attention):
        def total(q, k, v):
            out = jnp.where(real, attention(q, k, v, lengths), 0)
            return jnp.sum(out * weight), out

        return jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(query, key, value)

    (gradients, out), (dense_gradients, dense_out) = (
        scored(implementation),
        scored(functools.partial(attend, implementation="dense")),
    )
    np.testing.assert_allclose(out, dense_out, atol=1e-5)
    for found, wanted in zip(gradients, dense_gradients, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def _interpreted(query, key, value, lengths):
    """splash, its kernel computed step by step on the CPU."""
    heads_first = (jnp.swapaxes(x, 1, 2) for x in (query, key, value))
    return jnp.swapaxes(splash(*heads_first, lengths, interpret=True), 1, 2)


@pytest.mark.parametrize("length", [1, 127, 128, 129, 577, 1537, 2048])
def test_chunked_equals_dense_forward_and_backward(length):
    lengths = jnp.array([length, max(1, length // 3)])
    _compare(functools.partial(attend, implementation="chunked"), *_random(length), lengths)


@pytest.mark.parametrize("length", [1, 127, 128, 129, 513])
def test_splash_equals_dense_forward_and_backward(length):
    lengths = jnp.array([length, max(1, length // 3)])
    _compare(_interpreted, *_random(length), lengths)


@pytest.mark.parametrize("rows", [8, 3])
def test_splash_computes_rows_where_they_are(rows):
    """Eight devices: each its rows, all of them where they do not divide."""
    query, key, value, weight = (jnp.concatenate([x] * 4)[:rows] for x in _random(129))
    lengths = 1 + 16 * jnp.arange(rows)
    mesh = sharding.make_mesh(2)
    with jax.set_mesh(mesh):
        where = sharding.rows(mesh) if rows == 8 else sharding.replicated(mesh)
        query, key, value, weight = jax.device_put((query, key, value, weight), where)
        out = jax.jit(_interpreted)(query, key, value, lengths)
        assert out.sharding.is_equivalent_to(where, out.ndim)
        _compare(_interpreted, query, key, value, weight, lengths)


def test_splash_lowers_for_a_tpu():
    shape = jax.ShapeDtypeStruct((2, 577, 4, 64), jnp.bfloat16)
    lengths = jax.ShapeDtypeStruct((2,), jnp.int32)
    kernels = _exported("splash", "tpu", shape, lengths).count("tpu_custom_call")
    assert kernels == 3  # forward, and backward for queries, and for keys and values


def test_cudnn_lowers_for_cuda(monkeypatch):
    """Lowers; it was never run: no GPU is here. What asks the GPU's driver for cuDNN's version is answered here."""
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)
    lengths = jax.ShapeDtypeStruct((2,), jnp.int32)
    for length in (1, 128, 577):
        text = _exported("cudnn", "cuda", jax.ShapeDtypeStruct((2, length, 4, 64), jnp.bfloat16), lengths)
        assert text.count("__cudnn$fmhaSoftmax(") == 1 and text.count("__cudnn$fmhaSoftmaxBackward(") == 1
        assert "\\22mask_type\\22: \\22PADDING\\22" in text


def _exported(implementation, platform, shape, lengths):
    def total(q, k, v, n):
        return jnp.sum(attend(q, k, v, n, implementation).astype(jnp.float32))

    calls = ["__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward"]
    unchecked = [jax.export.DisabledSafetyCheck.custom_call(name) for name in calls]
    jitted = jax.jit(jax.grad(total, argnums=(0, 1, 2)))
    return jax.export.export(jitted, platforms=[platform], disabled_checks=unchecked)(
        shape, shape, shape, lengths
    ).mlir_module()


@pytest.mark.parametrize(
    "platform, dtype, width, wanted",
    [
        ("cpu", "bfloat16", 64, "chunked"),
        ("tpu", "bfloat16", 32, "splash"),
        ("tpu", "float32", 64, "chunked"),
        ("gpu", "bfloat16", 64, "cudnn"),
        ("gpu", "bfloat16", 20, "chunked"),
        ("gpu", "float32", 64, "chunked"),
    ],
)
def test_auto_takes_a_kernel_where_one_computes_the_dtype(platform, dtype, width, wanted):
    assert choose(platform, jnp.dtype(dtype), width) == wanted


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
    real = (jnp.arange(200)[None, :] < lengths[:, None])[:, :, None, None]
    forms = (functools.partial(attend, implementation=name) for name in ("dense", "chunked"))
    for attention in (*forms, _interpreted):
        low = attention(*[x.astype(jnp.bfloat16) for x in (query, key, value)], lengths)
        assert low.dtype == jnp.bfloat16 and bool(jnp.isfinite(low).all())
        np.testing.assert_allclose(jnp.where(real, low.astype(jnp.float32), 0), jnp.where(real, exact, 0), atol=0.03)


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
