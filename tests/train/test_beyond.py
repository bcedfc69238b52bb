"""Images beyond the largest bucket: refused, made smaller, or in buckets of their own, and always counted."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import radmae_jax
from radmae_jax.config import Bins, Config
from radmae_jax.data.dataset import open_dataset
from radmae_jax.data.images import downscale, read_image
from radmae_jax.data.loader import load_rows
from radmae_jax.train.loop import train_run


def _bins(config: Config, **changes) -> Config:
    return replace(config, bins=Bins(group=8, **changes))


def test_refused_before_anything_is_read(run_config, tmp_path):
    with pytest.raises(ValueError, match=r"images are beyond the largest bucket, 25 tokens; the first is image \d+"):
        train_run(_bins(run_config, lengths=(25,)), tmp_path, quiet=True)


def _beyond_30(dataset) -> np.ndarray:
    return -(-dataset.manifest.heights // 8) * -(-dataset.manifest.widths // 8) > 30


def test_buckets_of_their_own(run_config):
    dataset = open_dataset(_bins(run_config, lengths=(25, 30), beyond="extra"))
    beyond = _beyond_30(dataset)
    assert dataset.beyond == beyond.sum() > 0
    assert dataset.table.lengths == (25, 30, 36)
    np.testing.assert_array_equal(dataset.bucket == 2, beyond)
    np.testing.assert_array_equal(dataset.source.sizes[:, 0], dataset.manifest.heights)


def test_made_smaller_trained_on_and_counted(run_config, tmp_path, capsys):
    config = _bins(run_config, lengths=(25, 30), beyond="downscale")
    config = replace(config, train=replace(config.train, max_steps=3))
    dataset = open_dataset(config)
    beyond = _beyond_30(dataset)
    assert dataset.table.lengths == (25, 30) and dataset.beyond == beyond.sum() > 0
    assert np.all(dataset.source.grids.prod(axis=1) <= 30)
    changed = np.any(dataset.source.sizes != np.stack([dataset.manifest.heights, dataset.manifest.widths], 1), 1)
    np.testing.assert_array_equal(changed, beyond)
    outcome = train_run(config, tmp_path, devices=jax.devices()[:1])
    assert outcome.images == 48 and outcome.unreadable == 0 and np.isfinite(outcome.loss)
    # What is reconstructed is what training would have seen.
    record = int(np.flatnonzero(beyond)[0])
    pretrained = radmae_jax.load(tmp_path)
    panel = pretrained.reconstruct([pretrained.read(dataset.manifest.file(record))])[0]
    assert panel.image.shape == tuple(dataset.source.sizes[record].tolist())
    said = capsys.readouterr().err
    assert f"{dataset.beyond} images are beyond the largest bucket and made smaller to fit it" in said


def test_the_loader_gives_the_smaller_image(run_config):
    dataset = open_dataset(_bins(run_config, lengths=(25, 30), beyond="downscale"))
    record = int(np.flatnonzero(np.any(dataset.source.sizes[:, :1] != dataset.manifest.heights[:, None], axis=1))[0])
    batch, problems = load_rows(dataset.source, np.array([record]), 30, 0)
    assert not problems
    height, width = dataset.source.sizes[record].tolist()
    assert batch.extent[0].tolist() == [height, width]
    whole = read_image(dataset.manifest.file(record))
    aspect = (whole.shape[0] / whole.shape[1]) / (height / width)
    assert 0.95 < aspect < 1.05
    assert batch.patches[0].max() <= whole.max()
    seen = batch.patches[0].astype(float).sum() / (height * width)
    assert seen == pytest.approx(whole.mean(), rel=0.01)


def test_downscaled_pixels():
    flat = np.full((90, 60), 40_000, np.uint16)
    assert downscale(flat, (90, 60)) is flat
    small = downscale(flat, (30, 21))
    assert small.shape == (30, 21) and small.dtype == np.uint16 and np.all(small == 40_000)
    # A checkerboard of single pixels is grey when halved: nothing aliases.
    y, x = np.mgrid[:64, :64]
    halved = downscale(((y + x) % 2 * 65_535).astype(np.uint16), (32, 32))
    assert np.all(np.abs(halved[2:-2, 2:-2].astype(int) - 32_768) < 700)
    ramp = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
    assert np.all(np.diff(downscale(ramp, (4, 128)).astype(int), axis=1) >= 0)
