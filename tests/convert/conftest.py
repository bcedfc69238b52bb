import shutil

import pytest

from radmae_jax.convert.exported import write_weights


@pytest.fixture(scope="session")
def whole(small_model, make_weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "out"
    write_weights(make_weights("mae", small_model), folder, "huggingface")
    return folder


@pytest.fixture
def exported(whole, tmp_path):
    """A directory to be damaged."""
    return shutil.copytree(whole, tmp_path / "out")
