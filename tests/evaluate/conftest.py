from pathlib import Path

import pytest

from radmae_jax.cli import main
from radmae_jax.convert.exported import write_weights


@pytest.fixture(scope="session")
def mae_at(make_weights, small_model, tmp_path_factory) -> Path:
    """A directory of a random MAE in our own format."""
    folder = tmp_path_factory.mktemp("weights") / "own"
    write_weights(make_weights("mae", small_model), folder, "radmae")
    return folder


@pytest.fixture(scope="session")
def command():
    """command(*arguments): runs `radmae`, and gives its exit code."""
    return lambda *arguments: main([str(argument) for argument in arguments])
