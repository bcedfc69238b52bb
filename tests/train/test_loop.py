"""Whole runs in this process: resume, devices, compilations, records that cannot be read, steps that are not finite."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import radmae_jax
from radmae_jax.config import Config
from radmae_jax.data.manifest import read_manifest
from radmae_jax.train import bits, checkpoint
from radmae_jax.train.loop import train_run
from radmae_jax.train.task import objective_of
from radmae_jax.train.watch import RunStopped, Tally


def _with(config: Config, section: str, **changes) -> Config:
    return replace(config, **{section: replace(getattr(config, section), **changes)})


def _run(config: Config, workdir: Path, devices: int = 1):
    return train_run(config, workdir, devices=jax.devices()[:devices], quiet=True)


def _params(workdir: Path):
    return jax.device_get(radmae_jax.load(workdir).params)


@pytest.fixture
def long_config(run_config):
    """50 steps and more."""
    return _with(run_config, "train", epochs=17)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return tmp_path_factory.mktemp("unbroken")


def test_an_unbroken_run(unbroken, long_config, losses):
    """What the later tests compare with; also counts what is compiled."""
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **facts: compiled.append(facts.get("fun_name", "")) if "backend_compile" in event else None
    )
    outcome = _run(long_config, unbroken)
    assert outcome.step == outcome.total_steps == 51 and not outcome.interrupted
    kinds = [program["kind"] for program in outcome.programs]
    assert kinds == ["accumulate", "accumulate", "apply"]
    # K + 1 programs for K = 2 buckets: compiled once each, and by no later step.
    assert sum("accumulate" in name for name in compiled) == 2
    assert sum("apply" in name for name in compiled) == 1
    curve = losses(unbroken)
    assert len(curve) == 51 and curve[51] < 0.7 * curve[1]
    assert outcome.images == 17 * 48 and outcome.padded_tokens >= outcome.tokens


def test_stopped_and_resumed_is_bitwise_the_same(unbroken, long_config, tmp_path, losses):
    for last in (7, 20):
        outcome = _run(_with(long_config, "train", max_steps=last), tmp_path)
        assert outcome.step == last
    _run(long_config, tmp_path)
    assert bits.fingerprint(_params(tmp_path)) == bits.fingerprint(_params(unbroken))
    assert losses(tmp_path) == losses(unbroken)


@pytest.mark.parametrize("later", [4, 8])
def test_eight_devices_then_four_or_eight_train_the_same_curve(
    unbroken, long_config, tmp_path, later, tree_distance, losses
):
    _run(_with(long_config, "train", max_steps=20, fsdp=2), tmp_path, devices=8)
    _run(_with(long_config, "train", fsdp=1 if later == 4 else 2), tmp_path, devices=later)
    mine, wanted = losses(tmp_path), losses(unbroken)
    np.testing.assert_allclose(list(mine.values())[:50], list(wanted.values())[:50], rtol=1e-5)
    assert tree_distance(_params(unbroken), _params(tmp_path)) < 1e-5


def test_loads_and_reconstructs(unbroken, tmp_path):
    from radmae_jax.evaluate.reconstruct import reconstruct

    pretrained = radmae_jax.load(unbroken)
    assert pretrained.step == 51
    manifest = read_manifest(Path(pretrained.config.data.manifest))
    files = [manifest.file(record) for record in (0, 7)]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    done = reconstruct(unbroken, [*files, tmp_path / "broken.png"], tmp_path / "out.png")
    assert len(done.errors) == 2 and max(done.errors) < 0.25 and list(done.unreadable) == [str(tmp_path / "broken.png")]
    assert (tmp_path / "out.png").stat().st_size > 10_000
    panel = pretrained.reconstruct([pretrained.read(files[0])])[0]
    np.testing.assert_array_equal(panel.pasted[~panel.hidden], panel.image[~panel.hidden])
    np.testing.assert_array_equal(panel.pasted[panel.hidden], panel.prediction[panel.hidden])
    with pytest.raises(checkpoint.CheckpointError, match="no checkpoint of step 3"):
        radmae_jax.load(unbroken, 3)
    with pytest.raises(checkpoint.CheckpointError, match="validation loss"):
        radmae_jax.load(unbroken, "best")


@pytest.mark.parametrize(
    "section, field, value",
    [("train", "seed", 5), ("train", "images_per_step", 32), ("bins", "shapes", 3), ("model", "mask_ratio", 0.5)],
)
def test_another_run_is_refused_by_the_name_of_the_field(unbroken, long_config, section, field, value):
    named = "lengths" if field == "shapes" else "model" if section == "model" else field
    with pytest.raises(checkpoint.CheckpointError, match=f"was made with {named} = "):
        _run(_with(long_config, section, **{field: value}), unbroken)


def test_changed_bits_are_refused(unbroken, long_config, tmp_path):
    """A checkpoint whose recorded sum of one tensor is another: the tensor is named."""
    shutil.copytree(unbroken, tmp_path / "run")
    found = [p for p in (tmp_path / "run" / "checkpoints" / "51" / "meta").rglob("*") if p.is_file()]
    meta = next(p for p in found if b"bit_sums" in p.read_bytes())
    changed = json.loads(meta.read_text())
    name = next(key for key in changed["bit_sums"] if "mask_token" in key)
    changed["bit_sums"][name] ^= 1
    meta.write_text(json.dumps(changed))
    with pytest.raises(checkpoint.CheckpointError, match=r"the bits of \.params\['mask_token'\]"):
        radmae_jax.load(tmp_path / "run")
    with pytest.raises(checkpoint.Damaged, match=r"no checkpoint is sound: .*\.params\['mask_token'\]"):
        _run(long_config, tmp_path / "run")
    changed["bit_sums"][name] ^= 1
    moment = next(key for key in changed["bit_sums"] if key.startswith(".moments") and "mask_token" in key)
    changed["bit_sums"][moment] ^= 1
    meta.write_text(json.dumps(changed))
    with pytest.raises(checkpoint.CheckpointError, match=r"the bits of \.moments"):
        _run(long_config, tmp_path / "run")
    assert radmae_jax.load(tmp_path / "run").step == 51  # has no use for moments, and does not read them


def test_validation_panels_and_best(run_config, tmp_path):
    config = _with(run_config, "train", evaluate_every=3, panels_every=5, panel_images=2, checkpoint_every=4)
    outcome = _run(config, tmp_path)
    assert outcome.step == 9
    assert sorted(p.name for p in (tmp_path / "panels").iterdir()) == ["0000005.png", "0000009.png"]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    validations = {line["step"]: line["validation"] for line in lines if "validation" in line}
    assert list(validations) == [3, 6, 9] and outcome.validation == validations[9]
    assert all(v["images"] == 3 and 0 < v["masked_valid"] < 1 and 0 < v["poster"] < 1 for v in validations.values())
    best = min(validations, key=lambda step: validations[step]["masked_valid"])
    assert radmae_jax.load(tmp_path, "best").step == best
    assert radmae_jax.load(tmp_path).step == 9
    assert any((tmp_path / "tensorboard").iterdir())
    again = _run(config, tmp_path)  # nothing is left to do, and nothing breaks
    assert again.step == 9 and again.images == 0


def test_an_evaluation_that_is_not_finite_is_never_the_best(run_config, tmp_path, unbroken):
    state = radmae_jax.load(unbroken)
    with checkpoint.open_manager(checkpoint.directory_of(tmp_path), 1, objective_of(run_config).goodness) as manager:
        saved = {"params": state.params}
        premises = checkpoint.Premises(1, 0, "", "", "", "", "", ((), ()), 8, (9,), 1, 1, 1, 1, "", "", {}, {})
        for step, loss in enumerate([0.5, 0.1, float("nan"), 0.3], 1):
            losses = {"masked_valid": loss, "poster": 1.0, "images": 1.0}
            checkpoint.save(manager, saved, premises, Tally(), step, losses)
            manager.wait_until_finished()
        assert (manager.best_step(), sorted(manager.all_steps())) == (2, [2, 4])


def _copied(config: Config, tmp_path: Path) -> tuple[Config, Path]:
    """The archive with its images where they may be deleted."""
    manifest = read_manifest(Path(config.data.manifest))
    shutil.copytree(manifest.source, tmp_path / "images")
    return _with(config, "data", root=str(tmp_path / "images")), tmp_path / "images"


def test_a_file_deleted_after_indexing_is_named_and_counted(run_config, tmp_path):
    config, folder = _copied(_with(run_config, "data", max_unreadable=0.05), tmp_path)
    manifest = read_manifest(Path(config.data.manifest))
    from radmae_jax.data.dataset import open_dataset

    record = int(open_dataset(config).split.records("train")[5])
    (folder / manifest.paths[record]).unlink()
    outcome = _run(config, tmp_path / "run")
    assert outcome.step == 9 and outcome.unreadable == 3 and outcome.images == 3 * 47
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert text.count(f'"unreadable": {record}, "reason"') == 3 and manifest.paths[record] not in text


def test_too_many_unreadable_records_stop_the_run(run_config, tmp_path):
    config, folder = _copied(run_config, tmp_path)
    for path in sorted(folder.iterdir())[:20]:
        path.write_bytes(b"not an image")
    with pytest.raises(RunStopped, match=r"could not be read, more than config\.data\.max_unreadable = 1\.00%"):
        _run(config, tmp_path / "run")

    # Starting again is no way round the limit.
    with pytest.raises(RunStopped, match="could not be read"):
        _run(config, tmp_path / "run")


def test_panels_and_validation_survive_images_that_are_gone(run_config, tmp_path):
    config, folder = _copied(_with(run_config, "data", max_unreadable=0.5), tmp_path)
    config = _with(config, "train", evaluate_every=5, panels_every=5, max_steps=5)
    from radmae_jax.data.dataset import open_dataset

    dataset = open_dataset(config)
    for record in dataset.split.records("validation"):
        (folder / dataset.manifest.paths[record]).unlink()
    outcome = _run(config, tmp_path / "run")
    assert outcome.step == 5 and outcome.validation["images"] == 0 and outcome.unreadable == 0
    assert not (tmp_path / "run" / "panels").exists()
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert text.count('"reason"') == 6  # three images, named by the evaluation and by the panels


def test_a_signal_that_comes_while_pictures_are_drawn_still_saves(run_config, tmp_path, monkeypatch, losses):
    import os
    import signal

    from radmae_jax.train import walk

    config = _with(run_config, "train", panels_every=4, checkpoint_every=1000)
    monkeypatch.setattr(walk, "draw_state", lambda *args: os.kill(os.getpid(), signal.SIGTERM))
    outcome = _run(config, tmp_path)
    assert outcome.interrupted and outcome.step == 5 and radmae_jax.load(tmp_path).step == 5
    assert list(losses(tmp_path)) == [1, 2, 3, 4, 5]


def test_a_trace_is_written_even_by_a_short_run(run_config, tmp_path):
    config = _with(run_config, "train", max_steps=3)
    train_run(config, tmp_path, devices=jax.devices()[:1], profile=True, quiet=True)
    assert list((tmp_path / "profile").rglob("*.pb"))


def test_steps_that_are_not_finite_stop_the_run_with_a_finite_checkpoint(run_config, tmp_path):
    config = _with(_with(run_config, "optim", learning_rate=1e30, warmup_epochs=0.0), "train", max_nonfinite_steps=2)
    with pytest.raises(RunStopped, match=r"2 steps were not finite.*records"):
        _run(config, tmp_path)
    params = _params(tmp_path)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    named = [line for line in lines if line.get("nonfinite")]
    # The second stops the run; the third was on its way and is named too.
    assert len(named) == 3 and all(len(line["records"]) == 16 for line in named)
    assert [line["loss"] for line in lines if line.get("applied") is False] == [None] * 3
