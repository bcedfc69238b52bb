import pytest


@pytest.fixture(scope="session")
def make_weights():
    """make_weights(kind, model, classes=()): weights away from their initial zeros and ones, 16-bit pixels."""
    import jax

    from radmae_jax.convert.weights import Pixels, Weights, check, from_variables
    from radmae_jax.model import classifier, mae

    def make(kind, model, classes=(), norm_pix=False, seed=0):
        if kind == "mae":
            variables = jax.jit(lambda key: mae.init(mae.build(model), key))(jax.random.key(seed))
        else:
            built = classifier.build(model, len(classes))
            variables = jax.jit(lambda key: classifier.init(built, key))(jax.random.key(seed))
        leaves, tree = jax.tree.flatten(variables["params"])
        keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
        moved = [x + 0.05 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
        tensors = from_variables(jax.tree.unflatten(tree, moved), variables.get("tables", {}))
        return check(Weights(kind, model, tensors, tuple(classes), Pixels("voi", "uint16"), norm_pix))

    return make


@pytest.fixture(scope="session")
def small():
    """A float32 model of two and one layers, patch 8, position tables of 6 x 6."""
    from radmae_jax.config import Model

    return Model(
        variant="custom", width=32, layers=2, heads=4, decoder_width=16, decoder_layers=1, decoder_heads=2,
        patch=8, table_side=6, dtype="float32",
    )  # fmt: skip
