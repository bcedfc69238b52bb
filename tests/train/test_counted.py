"""What training computes is what the benchmark said: 2,000 images, one epoch, tokens of images counted on the device,
those of programs as they are called."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image

from radmae_jax.bench.plan import make_plan
from radmae_jax.bench.savings import savings
from radmae_jax.config import Bins, Config, Data, Train
from radmae_jax.data.index import index
from radmae_jax.data.manifest import read_manifest
from radmae_jax.data.sizes import read_sizes
from radmae_jax.data.splits import make_split, write_split
from radmae_jax.train.loop import train_run


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A manifest of 2,000 images of 8-bit noise, 32 to 60 pixels a side, all of them to be trained on."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "images").mkdir()
    rng = np.random.default_rng(1)
    for number in range(2000):
        pixels = rng.integers(0, 255, rng.integers(32, 61, 2), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number:04d}.png")
    path = folder / "manifest.parquet"
    index(folder / "images", path, workers=2, show_progress=False)
    write_split(make_split(read_manifest(path), fractions=(1.0, 0.0, 0.0)), folder / "split.parquet")
    return path


@pytest.mark.parametrize("group", [8, 64])
def test_a_real_epoch_counts_what_was_planned(many, small_model, tmp_path, group):
    # The table is the benchmark's: what it says an epoch computes, images at their buckets' lengths, is where the plan
    # begins; the plan adds what whole groups cost, and training must compute just that.
    found = savings(read_sizes(many), small_model, shapes=(4,)).named("tokens_4")
    bins = Bins(lengths=found.lengths, group=group)
    config = Config(
        data=Data(manifest=str(many), split=str(many.parent / "split.parquet"), workers=0, threads=2),
        bins=bins, model=small_model,
        train=Train(epochs=5, images_per_step=256, rows=8, checkpoint_every=0, evaluate_every=0, panels_every=0),
    )  # fmt: skip
    manifest = read_manifest(many)
    plan = make_plan(config, manifest.heights, manifest.widths)
    config = replace(config, train=replace(config.train, max_steps=plan.steps))
    outcome = train_run(config, tmp_path, devices=jax.devices()[:1], quiet=True)
    assert (outcome.images, outcome.step, outcome.unreadable) == (2000, plan.steps, 0)
    assert outcome.padded_tokens == plan.scheduled_tokens
    assert outcome.tokens == plan.tokens  # summed on the device, over images of weight
    assert found.tokens == plan.ideal_tokens <= plan.scheduled_tokens
    assert found.tokens_pct == pytest.approx(100 * plan.ideal_tokens / outcome.tokens)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert sum(line["padded_tokens"] for line in lines if "padded_tokens" in line) == plan.scheduled_tokens
