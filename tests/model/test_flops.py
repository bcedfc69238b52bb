"""The FLOPs of models by arithmetic against a sum by hand, the programs' matrix products and XLA's own count."""

from dataclasses import replace

import jax
import pytest

from radmae_jax.config import Config, Model, Task
from radmae_jax.data.batch import empty_batch
from radmae_jax.model.flops import classifier_flops, forward_flops, training_flops
from radmae_jax.model.mae import build, init
from radmae_jax.train.classification import classification
from radmae_jax.train.reconstruction import forward, reconstruction
from radmae_jax.train.state import init_gathered
from radmae_jax.train.steps import make_accumulate

# XLA also counts elementwise work, which the arithmetic leaves out. Relative to products it falls as 1 / width, and
# its largest part is GELU (erfc is a long polynomial): 768 wide it is under 2 % of the forward pass, 384 wide 3 %.
WIDE = Model(
    variant="custom", width=768, layers=2, heads=12, decoder_width=768, decoder_layers=2, decoder_heads=12,
    patch=16, table_side=8, dtype="float32", attention="dense", unroll=True,
)  # fmt: skip


def _trace(config: Model, length: int, training: bool):
    """The traced program of one image of `length` tokens; nothing is allocated or compiled."""
    model = build(config)
    variables = jax.eval_shape(lambda: init(model, jax.random.key(0)))
    params, tables = variables["params"], variables["tables"]
    batch = empty_batch(1, length, config.patch, config.channels, "uint16")
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
    if training:
        gathered = jax.eval_shape(lambda p: init_gathered(p, 1), params)
        return jax.jit(make_accumulate(reconstruction(Config(model=config)), 0)).trace(params, tables, gathered, batch)
    return jax.jit(lambda p, t, b: forward(model, p, t, b, 0)).trace(params, tables, batch)


def _xla_flops(config: Model, length: int, training: bool) -> float:
    # Counted before compilation: the compiled programs' counts agree within 1.2 % on CPU but take seconds each.
    return _trace(config, length, training).lower().cost_analysis()["flops"]


def _product_flops(jaxpr) -> int:
    """FLOPs of all matrix products of a program, loops times their length."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            (out,) = equation.outvars
            left = equation.invars[0].aval.shape
            terms = 1
            for axis in contracted:
                terms *= left[axis]
            total += 2 * out.aval.size * terms
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                total += equation.params.get("length", 1) * _product_flops(inner)
    return total


def test_by_hand():
    config = Model(
        variant="custom", width=8, layers=3, heads=2, decoder_width=4, decoder_layers=1, decoder_heads=2, patch=8
    )
    # 12 tokens, 3 visible: 4 in the encoder and 13 in the decoder with the class token; 64 values a patch.
    embed = 3_072  # 3 x 64 x 8 multiply-adds
    encoder = 3 * (6_144 + 512)  # 24 x 4 x 64 and 4 x 16 x 8
    bridge = 256  # 4 x 8 x 4 multiply-adds
    decoder = 4_992 + 2_704  # 24 x 13 x 16 and 4 x 169 x 4
    predict = 6_656  # 13 x 4 x 64 multiply-adds
    assert embed + encoder + bridge + decoder + predict == 37_648
    assert forward_flops(12, config) == 37_648
    assert training_flops(12, config) == 112_944


@pytest.mark.parametrize("training", [False, True], ids=["forward", "training"])
@pytest.mark.parametrize("length", [144, 400, 784, 1156])
def test_xla_counts_the_same(length, training):
    analytic = training_flops if training else forward_flops
    assert _xla_flops(WIDE, length, training) == pytest.approx(float(analytic(length, WIDE)), rel=0.02)


@pytest.mark.parametrize("length", [145, 1156])
def test_matrix_products_are_counted_exactly(length):
    """Without the elementwise work nothing is left over, in a narrow model either."""
    config = replace(WIDE, width=384, heads=6, layers=3, decoder_width=512, decoder_heads=16, patch=48)
    whole = forward_flops(length, config)
    assert _product_flops(_trace(config, length, False).jaxpr) == whole
    # Three times the forward pass, but pixels have no gradient: the patch embedding, here large, costs twice.
    embed = 2 * (length // 4) * 48 * 48 * 384
    assert _product_flops(_trace(config, length, True).jaxpr) == training_flops(length, config) - embed


def test_xla_counts_a_loop_over_layers_once():
    """Why the arithmetic is needed: training runs its layers in a loop."""
    looped = [_xla_flops(replace(WIDE, unroll=False, layers=n, decoder_layers=n), 144, False) for n in (2, 8)]
    assert looped[1] == pytest.approx(looped[0], rel=0.001)
    assert looped[0] < 0.6 * forward_flops(144, WIDE)


def test_a_classifier_by_hand_and_by_its_matrix_products():
    config = Model(variant="custom", width=8, layers=3, heads=2, patch=8, table_side=4, attention="dense")
    # 12 tokens, 13 with the class token: 64 values a patch, 5 classes.
    embed = 12_288  # 12 x 64 x 8 multiply-adds
    encoder = 3 * (19_968 + 5_408)  # 24 x 13 x 64 and 4 x 169 x 8
    head = 80  # 8 x 5 multiply-adds
    assert embed + encoder + head == 88_496
    assert classifier_flops(12, config, 5) == 88_496
    objective = classification(Config(model=config, task=Task("classify", ("x",), (tuple("abcde"),))))
    assert objective.forward_flops(12) == 88_496
    params = jax.eval_shape(lambda: objective.init(jax.random.key(0)))["params"]
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), empty_batch(1, 12, 8, 1, "uint16", 1))
    assert _product_flops(jax.jit(objective.evaluate).trace(params, {}, batch).jaxpr) == 88_496
