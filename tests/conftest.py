"""Strict settings for all tests: eight CPU devices, no silent broadcasting between ranks."""

import jax
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def small_model():
    """A float32 ViT-MAE of two and one layers, patch 8, position tables of 6 x 6."""
    from radmae_jax.config import Model

    return Model(
        variant="custom", width=32, layers=2, heads=4, decoder_width=16, decoder_layers=1, decoder_heads=2,
        patch=8, table_side=6, dtype="float32",
    )  # fmt: skip
