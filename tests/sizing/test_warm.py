"""What `radmae compile` compiled is what training compiles: it finds the programs in JAX's cache."""

from dataclasses import replace

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from radmae_jax.bench.plan import make_plan
from radmae_jax.data.dataset import sizes_of
from radmae_jax.sizing.size import size
from radmae_jax.train.loop import train_run


@pytest.fixture
def programs(tmp_path):
    """An empty cache of JAX's; call it for the names of training's programs there."""
    before = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs

    def place(folder, seconds):
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
        compilation_cache.reset_cache()

    folder = tmp_path / "executables"
    place(str(folder), 0)
    kinds = ("jit_accumulate", "jit_apply")
    yield lambda: sorted(path.name for path in folder.glob("jit_*-cache") if path.name.startswith(kinds))
    place(*before)


def test_training_finds_what_was_compiled_before(run_config, programs, tmp_path):
    plan = make_plan(run_config, *sizes_of(None, run_config))
    found = size(run_config, "here", plan, cache=tmp_path / "figures")
    kept = programs()
    assert len(kept) == len(found.buckets) + 1 == 3
    train_run(replace(run_config, train=replace(run_config.train, max_steps=1)), tmp_path / "run", quiet=True)
    assert programs() == kept
