"""Runs that continue others: bitwise the unbroken run where nothing changed, else from the right place on."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from radmae_jax.config import Config
from radmae_jax.config_checks import read_json, validate
from radmae_jax.data.leakage import read_seen
from radmae_jax.data.manifest import read_manifest
from radmae_jax.data.splits import LeakageError, make_split, read_split, write_split
from radmae_jax.train import checkpoint, loop
from radmae_jax.train.checkpoint import CheckpointError
from radmae_jax.train.continuation import keep_continuation
from radmae_jax.train.hosts import HostsDisagree
from radmae_jax.train.loop import train_run
from radmae_jax.train.origin import Origin
from radmae_jax.train.saving import Saver
from radmae_jax.train.session import read_continued


def _with(config: Config, section: str, **changes) -> Config:
    return replace(config, **{section: replace(getattr(config, section), **changes)})


def _run(config: Config, workdir: Path, devices: int = 1, quiet: bool = True):
    return train_run(validate(config), workdir, devices=jax.devices()[:devices], quiet=quiet)


def _bits(workdir: Path, step: int) -> dict[str, int]:
    """The bit sums of parameters, moments, running mean, constants and step."""
    with checkpoint.open_reader(checkpoint.directory_of(workdir), lambda figures: 0.0) as reader:
        return checkpoint.read_bit_sums(reader, step)


def _lines(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def _steps(workdir: Path) -> dict[int, tuple]:
    kept = ("loss", "epoch", "learning_rate", "gradient_norm", "tokens", "bucket_loss")
    return {line["step"]: tuple(line[name] for name in kept) for line in _lines(workdir) if "loss" in line}


@pytest.fixture(scope="module")
def config(archive, small_model) -> Config:
    """Four epochs of three steps: one of warm-up, two of a constant rate, one of decay; a running mean is kept."""
    from radmae_jax.config import Bins, Data, Optim, Train

    return Config(
        data=Data(manifest=str(archive), workers=0, threads=2),
        bins=Bins(shapes=1, group=8),
        model=small_model,
        optim=Optim(
            learning_rate=1e-3, warmup_epochs=1.0, schedule="warmup_stable_decay", decay_epochs=1.0, ema=0.9
        ),
        train=Train(
            epochs=4, images_per_step=16, rows=8, checkpoint_every=4, evaluate_every=0, panels_every=0,
            keep_checkpoints=9,
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(config, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("unbroken")
    assert _run(config, workdir).step == 12
    return workdir


@pytest.fixture(scope="module")
def short(config) -> Config:
    """Two epochs, without the decay."""
    return _with(_with(config, "optim", decay_epochs=0.0), "train", epochs=2)


@pytest.fixture(scope="module")
def first(short, tmp_path_factory) -> Path:
    """A finished run of six steps, with checkpoints after steps 4 and 6."""
    workdir = tmp_path_factory.mktemp("first") / "run"
    assert _run(short, workdir).step == 6
    return workdir


def test_two_epochs_continued_to_four_are_four_unbroken_ones_bitwise(config, unbroken, first, tmp_path):
    asked = _with(config, "train", continue_from=str(first))
    outcome = _run(asked, tmp_path / "new")
    assert (outcome.step, outcome.total_steps, outcome.images) == (12, 12, 2 * 48)
    assert _bits(tmp_path / "new", 12) == _bits(unbroken, 12)
    assert any(name.startswith(".moments") for name in _bits(unbroken, 12))
    assert any(name.startswith(".average") for name in _bits(unbroken, 12))
    assert _bits(tmp_path / "new", 6) == _bits(first, 6)  # a checkpoint of its own, before its first step
    assert _steps(tmp_path / "new") == {n: line for n, line in _steps(unbroken).items() if n > 6}

    changes = [
        {"field": "config.train.epochs", "before": 2, "after": 4},
        {"field": "config.optim.decay_epochs", "before": 0.0, "after": 1.0},
    ]
    record = read_continued(tmp_path / "new")
    assert record["changes"] == changes
    assert (record["step"], record["position"], record["epoch"], record["epochs"]) == (6, 6, 2, 4)
    assert record["same_schedule"] and record["repeated_steps"] == 0 and record["images_seen"] == 2 * 48
    assert record["learning_rate"] == {"before": pytest.approx(1e-3), "after": pytest.approx(1e-3)}
    events = [line for line in _lines(tmp_path / "new") if "continued" in line or "changed" in line]
    assert events[0]["step"] == 6 and events[0]["continued"]["total_steps"] == 12
    assert events[1:] == [
        {"step": 6, "changed": c["field"], "before": c["before"], "after": c["after"]} for c in changes
    ]
    assert str(first) not in json.dumps(record) + (tmp_path / "new" / "metrics.jsonl").read_text()


def test_from_the_middle_of_an_epoch_and_continued_again(config, short, unbroken, first, tmp_path, capfd):
    """Step 4 of 6 to step 8 of 12, and from there to the end; the first run is gone by then."""
    shutil.copytree(first, tmp_path / "first")
    middle = _with(short, "train", epochs=4, max_steps=8, continue_from=str(tmp_path / "first" / "checkpoints" / "4"))
    outcome = _run(middle, tmp_path / "middle")
    assert (outcome.step, outcome.total_steps) == (8, 12)
    assert read_continued(tmp_path / "middle")["summary"][0].endswith(
        "4 steps are left, as config.train.max_steps is 8"
    )
    shutil.rmtree(tmp_path / "first")

    # Resumed, the option may be given again, left out, or name another run, which is logged.
    for again in (middle.train.continue_from, ""):
        asked = _with(middle, "train", continue_from=again)
        kept, lines = keep_continuation(tmp_path / "middle", asked, Origin(4, 4, "state"))
        assert kept.train == middle.train and lines == []
    capfd.readouterr()
    assert _run(_with(middle, "train", continue_from="other"), tmp_path / "middle", quiet=False).step == 8
    assert "nothing to do: step 8 of 8 is done" in (said := capfd.readouterr().err)
    assert f"continues {middle.train.continue_from} after step 4, and --continue-from other" in said
    assert read_json(tmp_path / "middle" / "config.json").train.continue_from == middle.train.continue_from

    outcome = _run(_with(config, "train", continue_from=str(tmp_path / "middle")), tmp_path / "last")
    assert outcome.step == outcome.total_steps == 12
    assert _bits(tmp_path / "last", 12) == _bits(unbroken, 12)
    wanted = _steps(unbroken)
    assert _steps(tmp_path / "middle") == {n: wanted[n] for n in range(5, 9)}
    assert _steps(tmp_path / "last") == {n: wanted[n] for n in range(9, 13)}
    record = read_continued(tmp_path / "last")
    assert record["earlier"]["step"] == 4 and record["images_seen"] == 48 + 5 * 16


@pytest.mark.parametrize(
    "section, changes, message",
    [
        ("train", {"epochs": 2}, r"config.train.epochs is 2, and 2 epochs are done at step 6"),
        ("train", {"epochs": 2, "seed": 1}, r"config.train.epochs is 2, and 2 epochs are done at step 6"),
        ("train", {"max_steps": 6}, r"config.train.max_steps is 6, and 6 steps are done"),
        ("model", {"width": 64}, r"config.model.width is 64, the run that is continued has 32; set it as that run"),
        ("model", {"mask_ratio": 0.5}, r"config.model.mask_ratio is 0.5, the run that is continued has 0.75"),
        ("model", {"patch": 16}, r"config.model.patch is 16, the run that is continued has 8"),
        ("optim", {"ema": 0.0}, r"config.optim.ema is 0.0, and the run that is continued keeps a running mean"),
    ],
)
def test_what_cannot_go_on_is_named(config, first, tmp_path, section, changes, message):
    config = _with(config, "train", continue_from=str(first))
    if changes.get("epochs") == 2:
        config = _with(config, "optim", decay_epochs=0.0)
    with pytest.raises(ValueError, match=message):
        _run(_with(config, section, **changes), tmp_path / "runs" / "new")
    assert not any(tmp_path.iterdir())  # neither folders nor what is known of the run before


def test_runs_that_are_not_there_are_named(config, first, tmp_path):
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    shutil.copy(first / "config.json", tmp_path / "empty")
    for path, message in (
        (tmp_path / "none", "none': no work directory of a run with checkpoints"),
        (first / "config.json", "config.json': no work directory of a run"),
        (first / "checkpoints" / "5", r"there is no checkpoint of step 5; there are \[4, 6\]"),
        (tmp_path / "empty", "empty': this run has no complete checkpoint"),
    ):
        with pytest.raises(CheckpointError, match=rf"config.train.continue_from is .*{message}"):
            _run(_with(config, "train", continue_from=str(path)), tmp_path / "new")
        assert not (tmp_path / "new").exists()
    (tmp_path / "notes.txt").write_text("mine")  # a folder that was there stays, with what is in it
    with pytest.raises(CheckpointError):
        _run(_with(config, "train", continue_from=str(tmp_path / "none")), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "notes.txt"]


def test_no_path_is_in_a_checkpoint(config, unbroken, first):
    """Also not where orbax says that it is complete, nor in what a killed session left."""
    for workdir in (unbroken, first):
        files = [path for path in (workdir / "checkpoints").rglob("*") if path.is_file()]
        assert sum(path.name == "commit_success.txt" for path in files) >= 3 * 2
        for path in files:
            assert str(workdir).encode() not in path.read_bytes(), path
    left = first / "checkpoints" / "4" / "state" / "commit_success.txt"
    left.write_text(f"Checkpoint commit was successful to {first}/checkpoints/4/state")
    with checkpoint.open_manager(checkpoint.directory_of(first), 9, lambda figures: 0.0) as manager:
        Saver(manager, None, print, 6)
    assert left.read_text() == "Checkpoint commit was successful"


def test_a_run_does_not_continue_itself_nor_where_another_has_begun(config, short, first, unbroken, tmp_path):
    for path in (first, first / "checkpoints", first / "checkpoints" / "4"):
        with pytest.raises(ValueError, match=r"which is --workdir .* itself: leave it out to resume"):
            _run(_with(config, "train", continue_from=str(path)), first)
    (tmp_path / "link").symlink_to(first)
    with pytest.raises(ValueError, match=r"which is --workdir .* itself"):
        _run(_with(config, "train", continue_from=str(first)), tmp_path / "link")
    same_place = _with(config, "train", continue_from=str(first), checkpoints=str(first / "checkpoints"))
    with pytest.raises(ValueError, match=r"config.train.checkpoints puts those of this run too"):
        _run(same_place, tmp_path / "new")
    with pytest.raises(CheckpointError, match=r"has checkpoints of a run that continues no other"):
        _run(_with(config, "train", continue_from=str(first)), unbroken)
    with pytest.raises(ValueError, match=r"train.start \(--init\) is 'w' and config.train.continue_from .* is 'r'"):
        validate(_with(config, "train", start="w", continue_from="r"))
    with pytest.raises(CheckpointError, match=r"made with epochs = 2, this run has 4; .* --continue-from goes on"):
        _run(config, first)


class _Begun(Exception):
    """All was read and written that comes before compiling."""


@pytest.fixture
def not_compiled(monkeypatch):
    """Runs end before anything is compiled."""

    def compile_nothing(*args, **kwargs):
        raise _Begun

    monkeypatch.setattr(loop, "compile_programs", compile_nothing)


def test_other_batches_train_the_begun_epoch_anew(short, first, tmp_path, not_compiled):
    """From the first step of the second epoch: steps of 8 images instead of 16 are six an epoch."""
    for step, position, repeated, total in ((4, 6, 1, 16), (6, 12, 0, 12)):
        path = str(first / "checkpoints" / str(step))
        with pytest.raises(_Begun):
            _run(_with(short, "train", epochs=3, images_per_step=8, continue_from=path), tmp_path / str(step))
        record = read_continued(tmp_path / str(step))
        assert (record["position"], record["repeated_steps"], record["total_steps"]) == (position, repeated, total)
        assert record["epoch"] == position // 6 and not record["same_schedule"]
        fields = [change["field"] for change in record["changes"]]
        assert fields == ["config.train.images_per_step", "steps_per_epoch", "config.train.epochs"]


def test_the_state_is_read_to_other_devices(config, first, tmp_path, not_compiled, capfd):
    """Its bits are compared there; what changes is how training is computed, not where it goes on."""
    asked = _with(_with(config, "train", fsdp=2, continue_from=str(first)), "model", dtype="bfloat16", remat=True)
    with pytest.raises(_Begun):
        _run(asked, tmp_path, devices=8, quiet=False)
    said = capfd.readouterr().err
    assert (
        "continues another run after step 6 with its complete state: goes on at epoch 3 of 4, 6 steps are left" in said
    )
    for line in ("learning rate: 0.001 at step 6, 0.001 at step 7", 'config.model.dtype: "float32" -> "bfloat16"'):
        assert line in said
    assert read_continued(tmp_path)["same_schedule"]


def test_a_damaged_checkpoint_is_passed_over_unless_it_is_named(config, first, tmp_path, capfd, not_compiled):
    shutil.copytree(first, tmp_path / "first")
    found = [p for p in (tmp_path / "first" / "checkpoints" / "6" / "meta").rglob("*") if p.is_file()]
    meta = next(p for p in found if b"bit_sums" in p.read_bytes())
    changed = json.loads(meta.read_text())
    changed["bit_sums"][next(name for name in changed["bit_sums"] if name.startswith(".moments"))] ^= 1
    meta.write_text(json.dumps(changed))
    named = _with(config, "train", continue_from=str(tmp_path / "first" / "checkpoints" / "6"))
    with pytest.raises(checkpoint.Damaged, match=r"config.train.continue_from is .* the bits of \.moments"):
        _run(named, tmp_path / "new")
    with pytest.raises(_Begun):
        _run(_with(config, "train", continue_from=str(tmp_path / "first")), tmp_path / "new", quiet=False)
    assert "the bits of .moments" in (said := capfd.readouterr().err) and "continues another run after step 4" in said
    assert read_continued(tmp_path / "new")["position"] == 4


@pytest.mark.parametrize(
    "question, answer, error, message",
    [
        ("config.train.continue_from is set", False, HostsDisagree, "is set is false on host 1, true on host 0"),
        ("the step to read", 4, HostsDisagree, "the step to read is 4 on host 1, null on host 0"),
        ("the bits of checkpoint 6", "", HostsDisagree, 'the bits of checkpoint 6 is "" on host 1'),
        (None, [False, "no answer"], CheckpointError, "host 1: no answer"),
        (None, [True, "no such file"], CheckpointError, "host 1: no such file"),
    ],
)
def test_hosts_continue_the_same_state_or_none_does(
    config, first, tmp_path, monkeypatch, not_compiled, question, answer, error, message
):
    """As if a second process answered as this one does, but for one question; None: whether it could read."""

    def gather(value):
        if question is None:
            return [value, answer if value is None else value]
        return [value, value | {question: answer} if isinstance(value, dict) and question in value else value]

    monkeypatch.setattr("radmae_jax.train.hosts.gather", gather)
    with pytest.raises(error, match=message):
        _run(_with(config, "train", continue_from=str(first)), tmp_path)
    assert not (tmp_path / "continued.json").exists()


def test_a_run_that_has_seen_test_patients_is_not_continued(config, first, archive, tmp_path, not_compiled):
    manifest = read_manifest(archive)
    other = make_split(manifest, seed=5)
    write_split(other, tmp_path / "split.parquet")
    asked = _with(_with(config, "data", split=str(tmp_path / "split.parquet")), "train", continue_from=str(first))
    with pytest.raises(LeakageError, match=r"were trained on already.*must keep the side of every patient"):
        _run(asked, tmp_path / "new")
    assert not (tmp_path / "new" / "trained_on.parquet").exists()

    # What both runs have seen is kept, also where the later one trains on fewer images.
    split = read_split(Path(f"{archive}.split.parquet"), manifest)
    fewer = _with(_with(config, "data", train_images=20), "train", continue_from=str(first))
    with pytest.raises(_Begun):
        _run(fewer, tmp_path / "fewer")
    before, after = read_seen(first), read_seen(tmp_path / "fewer")
    assert before is not None and after == before
    records = np.concatenate([split.records("train"), split.records("validation")])
    assert after.images == {manifest.pixel_hashes[record] for record in records}


def test_what_broke_off_before_the_first_checkpoint_begins_again(config, short, first, tmp_path, not_compiled):
    asked = _with(config, "train", continue_from=str(first))
    for path in (first, first / "checkpoints" / "4"):
        with pytest.raises(_Begun):
            _run(_with(asked, "train", continue_from=str(path)), tmp_path)
    assert [line["step"] for line in _lines(tmp_path) if "continued" in line] == [4]
    assert read_continued(tmp_path)["step"] == 4
    # A run that begins with fresh weights in the same place has nothing of it.
    with pytest.raises(_Begun):
        _run(short, tmp_path)
    assert read_continued(tmp_path) == {} and not any("continued" in line for line in _lines(tmp_path))
