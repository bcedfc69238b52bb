"""Storage that loses, changes, refuses or delays parts of checkpoints: never a silent wrong restore."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from etils import epath

import radmae_jax
from radmae_jax.train import bits, checkpoint, saving
from radmae_jax.train.loop import train_run
from radmae_jax.train.metrics import MetricsFile
from radmae_jax.train.watch import RunStopped

# After an error orbax leaves coroutines behind that were never awaited to their end.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def _config(run_config, **train):
    return replace(run_config, train=replace(run_config.train, checkpoint_every=3, **train))


def _run(config, workdir: Path):
    return train_run(config, workdir, devices=jax.devices()[:1], quiet=True)


@pytest.fixture(scope="module")
def finished(request, tmp_path_factory):
    """A run of 6 steps with checkpoints after 3 and 6."""
    return {}


@pytest.fixture
def trained(finished, run_config, tmp_path, losses):
    """A copy of that run, to be damaged."""
    if not finished:
        finished["path"] = tmp_path.parent / "whole"
        _run(_config(run_config, max_steps=6), finished["path"])
        finished["losses"] = losses(finished["path"])
    shutil.copytree(finished["path"], tmp_path / "run")
    return tmp_path / "run"


def _files(workdir: Path, step: int) -> list[Path]:
    return sorted(path for path in (workdir / "checkpoints" / str(step)).rglob("*") if path.is_file())


def _fingerprint(workdir: Path, step: int | str = "latest") -> str:
    return bits.fingerprint(jax.device_get(radmae_jax.load(workdir, step).params))


def test_with_any_file_missing_or_changed_it_is_refused_or_right(trained, tmp_path):
    """Each file of a checkpoint in turn is gone, cut off, or has one bit flipped."""
    wanted, rng, refused = _fingerprint(trained), np.random.default_rng(0), 0
    for at, path in enumerate(_files(trained, 6)):
        whole = path.read_bytes()
        flipped = bytearray(whole)
        if whole:
            flipped[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        for how in (None, whole[: len(whole) // 2], bytes(flipped)):
            path.unlink() if how is None else path.write_bytes(how)
            try:
                assert _fingerprint(trained) == wanted, path
            except (checkpoint.CheckpointError, FileNotFoundError, ValueError) as error:
                refused += 1
                assert str(error), path
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(whole)
        assert at < 200
    assert refused > 3
    assert _fingerprint(trained) == wanted


def test_a_damaged_newest_checkpoint_is_said_and_the_one_before_taken(trained, finished, run_config, capfd, losses):
    largest = max(_files(trained, 6), key=lambda path: path.stat().st_size)
    damaged = bytearray(largest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    largest.write_bytes(bytes(damaged))
    outcome = train_run(_config(run_config, max_steps=6), trained, devices=jax.devices()[:1])
    said = " ".join(capfd.readouterr().err.split())
    assert "checkpoint 6: " in said and "the one before is taken" in said
    assert "going on from the checkpoint after step 3" in said
    assert outcome.step == 6 and losses(trained) == finished["losses"]
    assert _fingerprint(trained) == _fingerprint(finished["path"])


def test_where_none_is_sound_the_run_is_refused(trained, run_config):
    for step in (3, 6):
        for path in _files(trained, step):
            path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(checkpoint.Damaged, match="no checkpoint is sound: checkpoint 6: "):
        _run(_config(run_config), trained)


def test_a_half_written_one_is_left_out_with_a_word(trained, finished, run_config, capfd, losses):
    """As a crash between files leaves it: under orbax's temporary name, with some of its files."""
    folder = trained / "checkpoints"
    (folder / "6").rename(folder / "6.orbax-checkpoint-tmp")
    shutil.rmtree(folder / "6.orbax-checkpoint-tmp" / "meta")
    train_run(_config(run_config, max_steps=6), trained, devices=jax.devices()[:1])
    said = " ".join(capfd.readouterr().err.split())
    assert "the checkpoint after step 6 was not finished, and is left out" in said
    assert losses(trained) == finished["losses"] and _fingerprint(trained) == _fingerprint(finished["path"])


@pytest.fixture
def refusing(monkeypatch):
    """refusing(steps): the disk is full while these are saved, after some of their files were written."""

    def begin(steps):
        real = checkpoint.save

        def save(manager, state, premises, tally, step, validation):
            if step not in steps:
                return real(manager, state, premises, tally, step, validation)
            half = manager.directory / f"{step}.orbax-checkpoint-tmp"
            half.mkdir()
            (half / "part").write_bytes(b"0" * 100)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(saving.checkpoint, "save", save)

    return begin


def test_a_full_disk_is_survived(run_config, tmp_path, refusing, capfd):
    refusing({3, 6})
    outcome = train_run(_config(run_config), tmp_path, devices=jax.devices()[:1])
    assert outcome.step == 9 and radmae_jax.load(tmp_path).step == 9
    said = " ".join(capfd.readouterr().err.split())
    for step in (3, 6):
        assert f"the checkpoint after step {step} could not be written: [Errno 28] No space left on device" in said
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["9"]


def test_a_disk_that_stays_full_stops_the_run_and_says_what_is_whole(run_config, tmp_path, refusing):
    refusing(set(range(2, 100)))
    config = replace(run_config, train=replace(run_config.train, checkpoint_every=1))
    with pytest.raises(
        RunStopped, match=r"after step \d could not be written.*in a row failed, the newest whole one is after step 1"
    ):
        _run(config, tmp_path)
    assert radmae_jax.load(tmp_path).step == 1


def test_the_last_checkpoint_must_be_written(run_config, tmp_path, refusing):
    refusing({9})
    with pytest.raises(RunStopped, match=r"after step 9 could not be written.*the newest whole one is after step 6"):
        _run(_config(run_config), tmp_path)
    assert radmae_jax.load(tmp_path).step == 6


def test_errors_of_the_background_thread_count_too(run_config, tmp_path, monkeypatch):
    """What orbax finds out while training goes on is raised at the next save."""
    import orbax.checkpoint as ocp

    real, calls = ocp.CheckpointManager.wait_until_finished, []

    def fails_once(self):
        real(self)
        calls.extend(self.all_steps())
        if len(calls) == 1:  # the first checkpoint was being written
            raise ValueError("RESOURCE_EXHAUSTED: No space left on device\nand more")

    monkeypatch.setattr(ocp.CheckpointManager, "wait_until_finished", fails_once)
    assert _run(_config(run_config), tmp_path).step == 9
    assert radmae_jax.load(tmp_path).step == 9


def test_slow_storage_delays_and_loses_nothing(run_config, tmp_path, monkeypatch, finished, trained):
    """A checkpoint that takes longer than the steps between two: the next one waits."""
    from orbax.checkpoint import checkpoint_manager

    real = checkpoint_manager.CheckpointManager._finalize

    def slow(self, *args, **options):
        time.sleep(1.0)
        return real(self, *args, **options)

    monkeypatch.setattr(checkpoint_manager.CheckpointManager, "_finalize", slow)
    began = time.monotonic()
    assert _run(_config(run_config, max_steps=6), tmp_path / "slow").step == 6
    assert time.monotonic() - began > 2
    assert sorted(path.name for path in (tmp_path / "slow" / "checkpoints").iterdir()) == ["3", "6"]
    assert _fingerprint(tmp_path / "slow") == _fingerprint(finished["path"])


def test_checkpoints_elsewhere(run_config, tmp_path, finished, trained, losses):
    elsewhere = tmp_path / "storage" / "run"
    _run(_config(run_config, max_steps=3, checkpoints=str(elsewhere)), tmp_path / "work")
    assert [path.name for path in elsewhere.iterdir()] == ["3"] and not (tmp_path / "work" / "checkpoints").exists()
    _run(_config(run_config, max_steps=6, checkpoints=str(elsewhere)), tmp_path / "work")
    assert losses(tmp_path / "work") == finished["losses"]
    assert radmae_jax.load(tmp_path / "work").step == 6
    assert _fingerprint(tmp_path / "work") == _fingerprint(finished["path"])


@pytest.mark.parametrize("url", ["gs://bucket/runs/first", "s3://bucket/runs/first"])
def test_urls_stay_urls(url, tmp_path):
    assert str(checkpoint.directory_of(tmp_path, url)) == url
    assert checkpoint.directory_of(tmp_path) == epath.Path(tmp_path / "checkpoints")


def test_figures_wait_for_storage(tmp_path, monkeypatch):
    """A disk that takes half a line, then nothing, then all: every line is there once."""
    file = MetricsFile(tmp_path / "metrics.jsonl", 0)
    real, taken = file._file, iter([10, OSError(28, "No space left on device"), OSError(28, "full"), 1000, 1000])

    class Disk:
        def write(self, data):
            most = next(taken)
            if isinstance(most, OSError):
                raise most
            return real.write(data[:most])

    monkeypatch.setattr(file, "_file", Disk())
    for step in (1, 2):
        with pytest.raises(OSError):
            file.write({"step": step, "loss": 1.0})
    file.write({"step": 3, "loss": 1.0})
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]
    real.close()


def test_an_older_checkpoint_is_not_taken_where_storage_does_not_answer(trained, run_config, monkeypatch):
    import orbax.checkpoint as ocp

    def away(self, *args, **options):
        raise ValueError("UNAVAILABLE: 503 Service Unavailable")

    monkeypatch.setattr(ocp.CheckpointManager, "restore", away)
    with pytest.raises(checkpoint.CheckpointError, match="checkpoint 6: cannot be read: UNAVAILABLE") as raised:
        _run(_config(run_config), trained)
    assert not isinstance(raised.value, checkpoint.Damaged)


def test_a_run_whose_checkpoints_are_elsewhere_does_not_begin_anew(run_config, tmp_path, losses):
    elsewhere, work = tmp_path / "storage", tmp_path / "work"
    _run(_config(run_config, max_steps=3, checkpoints=str(elsewhere)), work)
    with pytest.raises(checkpoint.CheckpointError, match=r"are in .*storage, and config.train.checkpoints says .*work"):
        _run(_config(run_config, max_steps=6), work)
    assert list(losses(work)) == [1, 2, 3]
