"""Parameters, moments and gradients over eight devices: each holds its part, and the curve is that of whole copies."""

import json
from dataclasses import replace

import jax
import pytest

import radmae_jax
from radmae_jax.sizing.collectives import received_bytes
from radmae_jax.train import loop, sharding
from radmae_jax.train.blueprint import make_blueprint
from radmae_jax.train.loop import train_run
from radmae_jax.train.reconstruction import reconstruction


@pytest.fixture(scope="module")
def wide(small_model):
    """Wide enough that its kernels are worth cutting: all but vectors and the patch embedding."""
    return replace(small_model, width=128, layers=2, decoder_width=128, decoder_layers=1)


def _train(config, workdir, fsdp, monkeypatch):
    """A run over eight devices, and how its state lay on them before the first step."""
    states = []
    real = loop.Walk.train

    def train(self, state, *args):
        states.append(jax.tree.map(lambda leaf: (leaf.size, leaf.addressable_shards[0].data.size), state.params))
        return real(self, state, *args)

    monkeypatch.setattr(loop.Walk, "train", train)
    train_run(replace(config, train=replace(config.train, fsdp=fsdp)), workdir, quiet=True)
    sizes = jax.tree.leaves(states[0], is_leaf=lambda leaf: isinstance(leaf, tuple))
    return sum(part for _, part in sizes) / sum(whole for whole, _ in sizes)


def test_the_curve_of_parameters_over_eight_devices(run_config, wide, tmp_path, monkeypatch, tree_distance):
    config = replace(run_config, model=wide)
    kept = {fsdp: _train(config, tmp_path / str(fsdp), fsdp, monkeypatch) for fsdp in (1, 8)}
    assert kept[1] == 1 and 1 / 8 <= kept[8] < 1 / 8 + 0.05
    losses = {}
    for fsdp in (1, 8):
        lines = [json.loads(line) for line in (tmp_path / str(fsdp) / "metrics.jsonl").read_text().splitlines()]
        losses[fsdp] = [line["loss"] for line in lines if "loss" in line]
    assert len(losses[1]) == 9
    assert losses[8] == pytest.approx(losses[1], rel=1e-5)
    whole, cut = (jax.device_get(radmae_jax.load(tmp_path / str(fsdp)).params) for fsdp in (1, 8))
    assert tree_distance(whole, cut) < 1e-5


def test_devices_exchange_parameters_and_not_images(run_config, wide):
    """What a call receives does not grow with its rows."""
    config = replace(run_config, model=wide)
    received = []
    for rows in (8, 32):
        plan = make_blueprint(config, reconstruction(config), sharding.make_mesh(8), (36,), (rows,), 10)
        compiled, _ = plan.accumulate(0).compile()
        received.append(received_bytes(compiled.as_text()))
    assert received[0] and received[0] == received[1]
