"""Programs through a compiler whose device may not be there: memory, bounds on speed, and what does not fit."""

import dataclasses
import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from radmae_jax.bench.plan import make_plan
from radmae_jax.cli import main
from radmae_jax.config import Bins, Config, Model, Optim, Train
from radmae_jax.sizing import size as module
from radmae_jax.sizing.chips import CHIPS, Chip
from radmae_jax.sizing.size import size
from radmae_jax.sizing.topology import devices_of
from radmae_jax.train import sharding
from radmae_jax.train.blueprint import make_blueprint
from radmae_jax.train.fit import fit_rows, resident_bytes, total_bytes
from radmae_jax.train.reconstruction import reconstruction

_SIZES = np.array([[64, 64], [128, 64], [128, 128], [100, 60]] * 16)


@pytest.fixture(scope="module")
def config():
    model = Model(
        variant="custom", width=128, layers=2, heads=2, decoder_width=64, decoder_layers=1, decoder_heads=2,
        patch=8, table_side=16, remat=True,
    )  # fmt: skip
    train = Train(epochs=3, images_per_step=16, tokens_per_device=256)
    return Config(bins=Bins(lengths=(128, 256), group=8), model=model, optim=Optim(warmup_epochs=1.0), train=train)


@pytest.fixture(scope="module")
def plan(config):
    return make_plan(config, *_SIZES.T)


def test_here_and_kept_for_the_next_time(config, plan, tmp_path):
    told = []
    first = size(config, "here", plan, cache=tmp_path, told=told.append)
    assert first.chips == 8 and first.chip == "cpu" and first.fits and first.attention == "auto"
    assert [(need.tokens, need.rows) for need in first.buckets] == [(128, 1), (256, 1)]
    assert [need.tokens for need in told] == [256, 0, 128]  # the one that may not fit comes first
    assert first.images_per_second is first.hours is first.mfu is None  # what a CPU can do is in no table
    assert first.buckets[1].flops == 3 * reconstruction(config).forward_flops(256)
    assert all(need.hbm_bytes > sum(first.resident_bytes.values()) > 0 for need in first.buckets)
    assert not any(need.kept for need in told)
    again = size(config, "here", plan, cache=tmp_path)
    assert all(need.kept for need in (*again.buckets, again.apply))
    assert [replace(need, kept=False) for need in again.buckets] == first.buckets
    other = replace(config, optim=replace(config.optim, b1=0.5))
    changed = size(other, "here", plan, cache=tmp_path)
    assert not changed.apply.kept and all(need.kept for need in changed.buckets)


def test_bounds_by_hand(config, plan, monkeypatch):
    """Of a chip that computes, reads and exchanges so and so much."""
    chip = Chip("slow", 2**30, 1e9, 1e15, 1e15)
    monkeypatch.setattr(module, "devices_of", lambda name: (jax.devices()[:4], chip))
    found = size(config, "slow:4", plan)
    seconds = 0.0
    for bucket, need in zip((b for b in plan.buckets if b.groups), found.buckets, strict=True):
        assert need.bound == "compute" and need.roofline_seconds == need.flops / 1e9
        seconds += bucket.groups * (8 // (4 * need.rows)) * need.flops / 1e9
    seconds += plan.steps * found.apply.roofline_seconds
    assert found.images_per_second == pytest.approx(64 / seconds)
    assert found.hours == pytest.approx(3 * seconds / 3600)
    useful = sum(3 * reconstruction(config).forward_flops(int(n)) for n in plan.image_tokens)
    assert found.mfu == pytest.approx(useful / (seconds * 4 * 1e9))
    assert 0.5 < found.mfu < 1
    monkeypatch.setattr(module, "devices_of", lambda name: (jax.devices()[:4], replace(chip, link_bandwidth=1e3)))
    assert {need.bound for need in size(config, "slow:4", plan).buckets} == {"links"}
    monkeypatch.setattr(module, "devices_of", lambda name: (jax.devices()[:4], replace(chip, hbm_bytes=2**20)))
    assert not size(config, "small:4", plan, longest_only=True).fits


def test_fsdp_over_eight_keeps_an_eighth_of_a_vit_b_on_each():
    """Shapes suffice: parameters, moments and accumulator of a ViT-B, within 5 %."""
    config = Config(train=Train(fsdp=8))
    kept = {}
    for fsdp in (1, 8):
        mesh = sharding.make_mesh(fsdp, jax.devices()[:fsdp])
        kept[fsdp] = resident_bytes(make_blueprint(config, reconstruction(config), mesh, (64,), (8,), 10))
    tables = (1 + 64 * 64) * (768 + 512)
    assert kept[1]["parameters"] == 4 * (118_867_456 - tables)
    for part in ("parameters", "moments", "accumulator"):
        assert kept[8][part] == pytest.approx(kept[1][part] / 8, rel=0.05), part


def test_a_tpu_slice_that_is_not_here(config, tmp_path, capfd):
    """The real compiler: splash attention forward and backward, over four chips, parameters over two."""
    path = tmp_path / "config.py"
    values = json.dumps(dataclasses.asdict(replace(config, train=replace(config.train, fsdp=2))))
    path.write_text(
        "import json, ml_collections\n"
        f"def get_config(variant=''): return ml_collections.ConfigDict(json.loads({values!r}))\n"
    )
    sizes = tmp_path / "sizes.csv"
    sizes.write_text("height,width\n" + "\n".join(f"{h},{w}" for h, w in _SIZES) + "\n")
    command = ["compile", str(sizes), "--config", str(path), "--topology", "v5e:2x2", "--cache", str(tmp_path / "c")]
    assert main([*command, "--price", "1.2", "--json", str(tmp_path / "out.json")]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["topology"] == "v5e:2x2" and found["chips"] == 4 and found["attention"] == "splash"
    assert [need["tokens"] for need in found["buckets"]] == [128, 256] and found["fits"]
    for need in found["buckets"]:
        assert {"rows", "fits", "hbm_bytes", "flops", "collective_bytes", "compile_seconds"} <= need.keys()
        assert need["collectives"].keys() & {"all-gather"} and need["roofline_seconds"] > 0
    assert found["images_per_second"] > 0 and 0 < found["mfu"] <= 1
    assert found["cost"] == pytest.approx(1.2 * 4 * found["hours"])
    assert "a roofline, not a forecast" in capfd.readouterr().out


@pytest.mark.parametrize("name", ["v9:2x2", "v5e", "v5e:17x3"])
def test_an_unknown_topology_is_named(name):
    with pytest.raises(ValueError, match=name):
        devices_of(name)


def test_chips_are_those_of_their_vendor():
    assert CHIPS["v5e"].bf16_flops == 197e12 and CHIPS["v5e"].hbm_bytes == int(15.75 * 2**30)


@pytest.fixture
def blueprint_of(config):
    mesh = sharding.make_mesh(1, jax.devices()[:2])
    return lambda rows: make_blueprint(config, reconstruction(config), mesh, (128, 256), rows, 10)


def test_images_of_the_next_call_lie_beside_every_program(blueprint_of):
    plan = blueprint_of((2, 4))
    largest = 2 * 256 * 8 * 8 * 2 + 2 * (2 + 2 + 1 + 1 + 1) * 4  # two rows of 16-bit patches, and what is known of them
    kept = resident_bytes(plan)
    assert total_bytes(plan, None, 100) == 100 + largest
    assert total_bytes(plan, 0, 100) == total_bytes(plan, 1, 100) == 100 + kept["moments"] + largest


@pytest.mark.parametrize(
    "capacity, longest, tries",
    [(99, None, [2]), (100, 2, [2, 4]), (219, 4, [2, 4]), (430, 8, [2, 4, 8]), (10_000, 32, [2, 4, 32])],
)
def test_rows_that_fit_are_found_in_at_most_four_tries(blueprint_of, capacity, longest, tries):
    """A device where n rows of the longest bucket need 40 + 30 n bytes."""
    measured = []

    def measure(blueprint, bucket):
        assert bucket == 1
        measured.append(blueprint.rows[bucket])
        return 40 + 30 * blueprint.rows[bucket]

    if longest is None:
        with pytest.raises(ValueError, match="1 rows of 256 tokens a device need"):
            fit_rows(blueprint_of, (128, 256), 32, 2, capacity, measure)
    else:
        assert fit_rows(blueprint_of, (128, 256), 32, 2, capacity, measure) == (min(2 * longest, 32), longest)
    assert measured == tries


def test_memory_that_grows_faster_than_predicted_takes_a_fourth_try(blueprint_of):
    measured = []

    def measure(blueprint, bucket):
        measured.append(blueprint.rows[bucket])
        return 10 * blueprint.rows[bucket] if measured[-1] < 16 else float("inf")

    assert fit_rows(blueprint_of, (128, 256), 32, 2, 1000, measure)[1] == 4
    assert measured == [2, 4, 32, 16]


def test_rows_by_memory_of_programs(config, plan, monkeypatch):
    """tokens_per_device = 0, compiled: one row a chip fits where two do not."""
    fitting = replace(config, train=replace(config.train, tokens_per_device=0))
    with pytest.raises(ValueError, match="does not say how much that is"):
        size(fitting, "here", plan, longest_only=True)
    ample = Chip("ample", 2**40, 1e12, 1e12, 1e12)
    monkeypatch.setattr(module, "devices_of", lambda name: (jax.devices()[:4], ample))
    most = size(fitting, "ample", plan, longest_only=True).buckets[0]
    assert most.rows == 2  # all of a group of 8
    tight = replace(ample, hbm_bytes=most.hbm_bytes - 1)
    monkeypatch.setattr(module, "devices_of", lambda name: (jax.devices()[:4], tight))
    found = size(fitting, "tight", plan, longest_only=True)
    assert found.buckets[0].rows == 1 and found.fits
