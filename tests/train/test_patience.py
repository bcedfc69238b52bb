"""Early stopping and the running mean in whole runs: over at the right evaluation, the same however often stopped."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from radmae_jax.config import Augment, Config, Optim, Task
from radmae_jax.config_checks import validate
from radmae_jax.data.dataset import open_archive
from radmae_jax.train import bits, checkpoint
from radmae_jax.train.loop import train_run
from radmae_jax.train.metrics import Writer
from radmae_jax.train.saved import read_run
from radmae_jax.train.validation import Validation
from radmae_jax.train.watch import Tally, Watch


@pytest.fixture(scope="module")
def config(labelled, small_model) -> Config:
    """Twelve epochs with everything on: two labels, a budget, augmentation, drop path, a running mean, patience."""
    from radmae_jax.config import Bins, Data, Train

    return validate(
        Config(
            data=Data(manifest=str(labelled), workers=0, threads=2, cache_mib=16),
            bins=Bins(shapes=2, group=8),
            model=replace(small_model, layers=2),
            task=Task("classify", ("texture",), budget=24, budget_seed=3, balance=True, smoothing=0.1, drop_path=0.2),
            augment=Augment(crop=0.8, rotate=10.0, gamma=0.2, noise=0.05, blur=0.5),
            optim=Optim(learning_rate=1e-3, warmup_epochs=1.0, layer_decay=0.8, ema=0.9),
            train=Train(
                epochs=12, images_per_step=8, rows=8, checkpoint_every=0, evaluate_every=-1, panels_every=0,
                keep_checkpoints=1, patience=2,
            ),
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def stopped(config, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("patience") / "run"
    outcome = train_run(config, workdir, quiet=True)
    assert outcome.stopped_early and not outcome.interrupted and outcome.step < outcome.total_steps
    return workdir


def _evaluations(workdir: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["validation"]["balanced_accuracy"]) for line in lines if "validation" in line]


def test_over_after_so_many_evaluations_without_a_better_one(stopped, config):
    found = _evaluations(stopped)
    steps = read_run(stopped).premises["steps_per_epoch"]
    assert [step for step, _ in found] == [steps * n for n in range(1, len(found) + 1)]  # each epoch's end
    values = [value for _, value in found]
    best = int(np.argmax(values))  # the first of equal ones: those after it are no better
    assert len(values) == best + 1 + config.train.patience
    assert train_run(config, stopped, quiet=True).step == found[-1][0]  # nothing left to do
    assert _evaluations(stopped) == found
    assert read_run(stopped, "best").step in {step for step, value in found if value == max(values)}


def test_stopped_and_resumed_it_is_over_at_the_same_step_with_the_same_bits(stopped, config, tmp_path):
    """Sessions of 2 and 5 steps end between evaluations, whose extra one at their end must not count."""
    for steps in (2, 5, 0):
        train_run(replace(config, train=replace(config.train, max_steps=steps)), tmp_path, quiet=True)
    wanted, found = read_run(stopped), read_run(tmp_path)
    assert found.step == wanted.step
    assert bits.fingerprint(found.params) == bits.fingerprint(wanted.params)


def test_an_evaluation_that_broke_off_is_made_up_for(stopped, config, tmp_path, monkeypatch):
    """The second that is due fails; its step is saved without figures, and evaluated when the run goes on."""
    figures, calls = Validation.figures, []

    def failing(self, state, step):
        calls.append(step)
        if len(calls) == 2:
            raise OSError("the disk is gone")
        return figures(self, state, step)

    monkeypatch.setattr(Validation, "figures", failing)
    with pytest.raises(OSError, match="disk is gone"):
        train_run(config, tmp_path, quiet=True)
    assert [step for step, _ in _evaluations(tmp_path)] == calls[:1]
    train_run(config, tmp_path, quiet=True)
    assert _evaluations(tmp_path) == _evaluations(stopped)
    for step in ("best", "latest"):
        wanted, found = read_run(stopped, step), read_run(tmp_path, step)
        assert found.step == wanted.step
        assert bits.fingerprint(found.params) == bits.fingerprint(wanted.params)


def test_the_running_mean_is_what_is_used(stopped):
    """It is not the newest parameters, it is near them, and reading a run gives it."""
    config = read_run(stopped).config
    mean = read_run(stopped).params
    raw = replace(config, optim=replace(config.optim, ema=0.0))
    path = stopped / "config.json"
    kept = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(kept) | {"optim": json.loads(kept)["optim"] | {"ema": 0.0}}))
        newest = read_run(stopped).params
    finally:
        path.write_text(kept)
    assert raw.optim.ema == 0 and jax.tree.structure(newest) == jax.tree.structure(mean)
    apart = [float(np.abs(a - b).max()) for a, b in zip(jax.tree.leaves(newest), jax.tree.leaves(mean), strict=True)]
    assert 1e-6 < max(apart) < 0.05


def test_the_budget_is_dealt_evenly_and_its_change_is_refused(stopped, config):
    archive = open_archive(config)
    assert [int(n) for n in archive.class_images()[0]] == [8, 8, 8]
    assert len(archive.records("train")) == 24
    assert len(archive.records("validation")) == len(open_archive(_without_budget(config)).records("validation"))
    with pytest.raises(checkpoint.CheckpointError, match=r"made with budget_seed \(config.task.budget_seed\) = 3"):
        train_run(replace(config, task=replace(config.task, budget_seed=4)), stopped, quiet=True)
    with pytest.raises(ValueError, match=r"config.task.budget: budget of 500 images: 38 of .* training images have"):
        open_archive(replace(config, task=replace(config.task, budget=500)))


def _without_budget(config: Config) -> Config:
    return replace(config, task=replace(config.task, budget=0))


def test_judging_by_hand(config, tmp_path):
    writer = Writer(tmp_path, 0, 10, (9,), quiet=True)
    watch = Watch(config, writer, 10, Tally())
    for goodness, since, over in [
        (float("nan"), 1, False), (0.5, 0, False), (0.5, 1, False), (0.6, 0, False), (float("nan"), 1, False),
        (0.55, 2, True),
    ]:  # fmt: skip
        watch.judge(5, goodness, due=True)
        assert (watch.tally.since_best, watch.out_of_patience) == (since, over)
    assert watch.tally.best == 0.6
    writer.close()
