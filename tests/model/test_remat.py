"""What the backward pass computes again: the same gradients, in less memory the less is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from radmae_jax.model.size import Size
from radmae_jax.model.vit import Compute, Stack

_SIZE = Size(64, 6, 4)
_FORMS = {
    "all kept": {},
    "products": {"remat": True, "remat_keeps": "products"},
    "attention": {"remat": True, "remat_keeps": "attention"},
    "nothing": {"remat": True, "remat_keeps": "nothing"},
}


@pytest.fixture(scope="module")
def compiled():
    """Gradients of six blocks under each form, and the bytes of temporaries that they take."""
    x, lengths = jax.random.normal(jax.random.key(0), (4, 300, 64)), jnp.array([300, 200, 100, 1])
    variables = Stack(_SIZE, Compute()).init(jax.random.key(1), x, lengths)
    found = {}
    for name, how in _FORMS.items():
        stack = Stack(_SIZE, Compute(**how))
        gradient = jax.jit(jax.grad(lambda v, stack=stack: jnp.sum(stack.apply(v, x, lengths)[:, 0] ** 2)))
        program = gradient.lower(variables).compile()
        found[name] = program(variables), program.memory_analysis().temp_size_in_bytes
    return found


@pytest.mark.parametrize("name", list(_FORMS)[1:])
def test_gradients_are_the_same(compiled, name):
    wanted, gradients = compiled["all kept"][0], compiled[name][0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), gradients, wanted)


def test_the_less_is_kept_the_less_memory_is_taken(compiled):
    sizes = {name: memory for name, (_, memory) in compiled.items()}
    assert sizes["nothing"] < sizes["attention"] < sizes["products"] < sizes["all kept"], sizes


def test_attention_that_is_kept_is_not_computed_again():
    x, lengths = jnp.ones((1, 300, 64)), jnp.array([300])

    def exponentials(**how):
        stack = Stack(Size(64, 1, 4), Compute(attention="chunked", remat=True, **how))
        variables = stack.init(jax.random.key(0), x, lengths)
        text = str(jax.make_jaxpr(jax.grad(lambda v: jnp.sum(stack.apply(v, x, lengths))))(variables))
        return text.count(" exp ")

    # One softmax fewer; what is left: forward, the backward pass's own from the saved sums, and GELU's derivative.
    assert exponentials(remat_keeps="nothing") == exponentials(remat_keeps="attention") + 1 == 4
