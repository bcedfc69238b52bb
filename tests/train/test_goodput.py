"""Where the time of a run goes: every second in one part, replayed steps as lost."""

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import jax
import pytest

from radmae_jax.data.dataset import open_dataset
from radmae_jax.train.goodput import PARTS, Ledger, goodput_of, peak_of, record_flops
from radmae_jax.train.loop import train_run
from radmae_jax.train.reconstruction import reconstruction


def test_every_second_is_in_one_part(monkeypatch):
    clock = iter([0.0, 2.0, 5.0, 6.0, 10.0, 11.0, 13.0, 14.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    ledger = Ledger()  # at 0
    with ledger.during("step"):  # 2 to 13
        with ledger.during("data"):  # 5 to 6
            pass
        with pytest.raises(RuntimeError), ledger.during("checkpoint"):  # 10 to 11
            raise RuntimeError
    expected = {"start": 3.0, "step": 9.0, "data": 1.0, "checkpoint": 1.0}
    assert ledger.spent() == dict.fromkeys(PARTS, 0.0) | expected  # at 14


def test_a_run_of_two_sessions_the_first_killed(run_config, tmp_path):
    def train(steps: int):
        config = replace(run_config, train=replace(run_config.train, max_steps=steps, checkpoint_every=2))
        return train_run(config, tmp_path, devices=jax.devices()[:1], quiet=True)

    first, path = train(4), tmp_path / "metrics.jsonl"
    assert set(first.spent) == set(PARTS) and sum(first.spent.values()) == pytest.approx(first.seconds, rel=0.01)
    assert min(first.spent[part] for part in ("start", "compile", "step", "data", "checkpoint")) > 0
    with path.open("a") as file:  # steps that a kill left behind without a checkpoint
        file.write('{"step": 5, "loss": 1.0, "seconds": 7.5}\n{"step": 6, "loss": 1.0, "seconds": 2.25}\n')
        file.write('{"step": 6, "lo')
    second = train(6)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert all(line["seconds"] > 0 and line["mfu"] is None for line in lines if "loss" in line)
    assert {line["session"] for line in lines if "spent" in line} == {1, 2}
    goodput = goodput_of(path)
    assert goodput.sessions == 2 and goodput.lost == 9.75
    for part in PARTS:
        assert goodput.seconds[part] == pytest.approx(first.spent[part] + second.spent[part], abs=0.1)
    total = sum(goodput.seconds.values()) + 9.75
    assert goodput.share == pytest.approx(goodput.seconds["step"] / total)


def test_flops_of_records_are_those_of_their_own_tokens(run_config):
    dataset, objective = open_dataset(run_config), reconstruction(run_config)
    flops = record_flops(dataset, objective)
    for record in (0, 1, 59):
        rows, columns = dataset.source.grids[record]
        assert flops[record] == 3 * objective.forward_flops(int(rows * columns))


def test_peaks_are_known_of_some_devices():
    def chips(*kinds):
        return [SimpleNamespace(device_kind=kind) for kind in kinds]

    assert peak_of(chips("TPU v5 lite", "TPU v5 lite")) == 2 * 197e12
    assert peak_of(chips("TPU v5 lite", "cpu")) is None
