"""Fine-tuning as a user runs it: labels to a classifier, resumed, refused, loaded; and what decides the best."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pyarrow as pa
import pytest

import radmae_jax
from radmae_jax.cli import main
from radmae_jax.config import Config, Task
from radmae_jax.config_file import from_arguments
from radmae_jax.data.batch import empty_batch, put_image
from radmae_jax.data.dataset import open_archive, open_dataset
from radmae_jax.data.manifest import read_manifest, write_manifest
from radmae_jax.evaluate.classified import TrainedClassifier
from radmae_jax.evaluate.evaluation import prove_run
from radmae_jax.train import bits, checkpoint
from radmae_jax.train.loop import train_run
from radmae_jax.train.saved import is_run, read_run
from radmae_jax.train.task import objective_of
from radmae_jax.train.watch import Tally


@pytest.fixture(scope="module")
def arguments(labelled) -> list[str]:
    return [
        "--config=demo", f"--config.data.manifest={labelled}", "--config.task.kind=classify",
        "--config.task.labels=texture", "--config.model.width=32", "--config.model.layers=1", "--config.model.heads=2",
        "--config.model.patch=8", "--config.model.table_side=6", "--config.bins.shapes=2", "--config.train.epochs=2",
        "--config.train.evaluate_every=2", "--config.train.rows=8", "--config.train.keep_checkpoints=1",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def trained(arguments, tmp_path_factory) -> Path:
    """A run of six steps from the command line."""
    folder = tmp_path_factory.mktemp("finetuned")
    assert main(["finetune", *arguments, "--workdir", str(folder / "run"), "--json", str(folder / "run.json")]) == 0
    return folder / "run"


def _lines(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_trains_evaluates_and_keeps_the_best(trained, labelled):
    outcome = json.loads((trained.parent / "run.json").read_text())
    manifest = read_manifest(labelled)
    archive = open_archive(read_run(trained).config)
    known = [n for n in range(60) if n not in (4, 11, 18, 25, 32, 39)]
    assert sorted(np.concatenate([archive.records(side) for side in ("train", "validation", "test")])) == known
    texts = manifest.table["texture"].to_pylist()
    assert [archive.classes[0][archive.labels[n, 0]] for n in known] == [texts[n] for n in known]
    train, validation = archive.records("train"), archive.records("validation")
    assert outcome["step"] == outcome["total_steps"] and outcome["images"] == 2 * len(train)
    assert {program["kind"] for program in outcome["programs"]} == {"accumulate", "apply", "evaluate"}
    assert not (trained / "panels").exists()
    figures = {line["step"]: line["validation"] for line in _lines(trained) if "validation" in line}
    for found in figures.values():
        assert list(found) == ["loss", "balanced_accuracy", "accuracy", "images"]
        assert found["images"] == len(validation) and 0 < found["loss"] < 3
    assert outcome["validation"] == figures[outcome["step"]]
    best = radmae_jax.load(trained, "best")
    assert figures[best.step]["balanced_accuracy"] == max(f["balanced_accuracy"] for f in figures.values())
    assert json.loads((trained / "config.json").read_text())["task"]["classes"] == [["fine", "none", "rough"]]
    assert manifest.label_names("texture") == ("fine", "none", "rough")


def test_the_loaded_classifier_says_what_the_model_says(trained, labelled):
    """Each image in a bucket of its own and, at full length, in one batch; accuracy is what the run measured."""
    run = radmae_jax.load(trained)
    assert isinstance(run, TrainedClassifier) and run.classes == ("fine", "none", "rough")
    dataset = open_dataset(run.config)
    records = dataset.records("validation")
    images = [run.read(dataset.manifest.file(int(record))) for record in records]
    found = run.classify(images)
    assert found.dtype == np.float32 and found.shape == (len(records), 3) and run.classify([]).shape == (0, 3)
    batch = empty_batch(len(records), 40, 8, 1, "uint16")
    for row, record in enumerate(records):
        put_image(batch, row, images[row], tuple(dataset.source.grids[record].tolist()), 8)
    logits = run.model.apply({"params": run.params}, batch.patches, batch.grid, batch.extent).logits
    np.testing.assert_allclose(found, jax.nn.softmax(logits), atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    last = [line["validation"] for line in _lines(trained) if "validation" in line][-1]
    assert np.mean(found.argmax(axis=1) == dataset.labels[records, 0]) == pytest.approx(last["accuracy"])


def test_stopped_and_resumed_is_bitwise_the_same(trained, arguments, tmp_path):
    for stop in (["--config.train.max_steps=2"], []):
        assert main(["finetune", *arguments, *stop, "--workdir", str(tmp_path)]) == 0
    wanted, found = read_run(trained), read_run(tmp_path)
    assert bits.fingerprint(found.params) == bits.fingerprint(wanted.params)
    losses = [[line["loss"] for line in _lines(run) if "loss" in line] for run in (trained, tmp_path)]
    assert losses[0] == losses[1] and found.tables == {}


def test_a_classifier_is_continued_with_more_images_of_the_same_classes(trained, arguments, tmp_path, capfd):
    """Two epochs with all labels, from half of them: the data schedule changes, the head and its moments stay."""
    fewer = [*arguments, "--config.task.budget=24", "--config.train.epochs=4", "--config.train.keep_checkpoints=9"]
    continued = ["--continue-from", str(trained), "--workdir", str(tmp_path)]
    assert main(["finetune", *fewer, *continued]) == 0
    first, new = read_run(trained), read_run(tmp_path)
    assert new.config.task.classes == first.config.task.classes
    steps = [line for line in _lines(tmp_path) if "loss" in line]
    per_epoch = new.premises["steps_per_epoch"]
    assert [line["step"] for line in steps] == list(range(first.step + 1, first.step + 2 * per_epoch + 1))
    assert [line["epoch"] for line in steps] == [2 + n // per_epoch for n in range(2 * per_epoch)]
    sums = []
    for run in (trained, tmp_path):
        with checkpoint.open_reader(checkpoint.directory_of(run), lambda figures: 0.0) as reader:
            sums.append(checkpoint.read_bit_sums(reader, first.step))
    assert sums[0] == sums[1] and any("head" in name for name in sums[0] if name.startswith(".moments"))
    said = capfd.readouterr().err
    assert "changed: config.task.budget: 0 -> 24" in said
    assert prove_run(tmp_path, open_archive(new.config)).pretraining == "proven"

    kept = [argument for argument in arguments if not argument.startswith("--config.task.classes")]
    swapped = "--config.task.classes=(('rough', 'none', 'fine'),)"
    continued = ["--continue-from", str(trained), "--workdir", str(tmp_path / "other")]
    assert main(["finetune", *kept, swapped, *continued]) == 2
    said = capfd.readouterr().err
    assert 'is [["rough", "none", "fine"]], the run that is continued has [["fine", "none", "rough"]]' in said


@pytest.mark.parametrize(
    "change, message",
    [
        (
            "--config.task.classes=(('rough', 'none', 'fine'),)",
            'classes of the training images) = [["fine", "none", "rough"]], this run has [["r',
        ),
        (
            "--config.task.labels=region",
            "config.task.labels is ('region',): the values of 'region' among 42 training records are ()",
        ),
        ("--config.task.labels=sex", "config.task.labels is ('sex',): no label column 'sex'; there are texture, const"),
        ("--config.task.labels=constant", "training records are ('same',); there must be at least 2"),
        ("--config.task.classes=(('fine', 'rough'),)", "not in it, the first is 'none'"),
        ("--config.task.labels=()", "config.task.labels is ()"),
        ("--config.task.labels=('texture', 'texture')", "none may be empty or named twice"),
        ("--config.task.kind=reconstruct", "config.task.labels is ('texture',); it is for config.task.kind 'classify'"),
    ],
)
def test_what_does_not_fit_is_named(trained, arguments, change, message, capsys):
    own = change.partition("=")[0] + "="  # tuples given twice would add up
    kept = [argument for argument in arguments if not argument.startswith(own)]
    assert main(["finetune", *kept, change, "--workdir", str(trained)]) == 2
    assert message in capsys.readouterr().err


def test_other_commands_say_what_they_are_not_for(trained, arguments, tmp_path, capsys):
    assert main(["pretrain", *arguments, "--workdir", str(tmp_path)]) == 2
    assert "config.task.kind is 'classify'; `radmae pretrain` trains 'reconstruct'" in capsys.readouterr().err
    assert main(["finetune", "--config=demo", "--workdir", str(tmp_path)]) == 2
    assert "config.task.kind is 'reconstruct'; `radmae finetune` trains 'classify'" in capsys.readouterr().err
    assert main(["reconstruct", str(trained), "x.png"]) == 2
    assert "holds a classifier" in capsys.readouterr().err


def _relabelled(arguments: list[str], labelled: Path, path: Path, values: dict[int, str | None]) -> Config:
    """The configuration with some records' texture changed."""
    manifest = read_manifest(labelled)
    textures = manifest.table["texture"].to_pylist()
    for record, value in values.items():
        textures[record] = value
    at = manifest.table.column_names.index("texture")
    write_manifest(manifest.table.set_column(at, "texture", pa.array(textures, pa.string())), path, manifest.source)
    config = from_arguments(arguments)
    return replace(config, data=replace(config.data, manifest=str(path), split=f"{labelled}.split.parquet"))


def test_labels_that_changed_are_refused(trained, arguments, labelled, tmp_path):
    """Though the same classes remain, and the manifest's hash does not cover labels."""
    archive = open_archive(from_arguments(arguments))
    record = int(archive.records("test")[0])
    other = next(name for at, name in enumerate(archive.classes[0]) if at != archive.labels[record, 0])
    config = _relabelled(arguments, labelled, tmp_path / "manifest.parquet", {record: other})
    with pytest.raises(checkpoint.CheckpointError, match=r"made with codes \(the labels of the manifest's images\) ="):
        train_run(config, trained, quiet=True)


def test_what_training_knows_no_class_of_takes_no_part(arguments, labelled, tmp_path):
    before = open_archive(from_arguments(arguments))
    known, unknown = before.records("validation"), before.split.records("train")
    assert sum(before.left_out(side) for side in ("train", "validation", "test")) == 6
    changed = {int(known[0]): "unheard of", int(before.records("train")[0]): None}
    archive = open_archive(_relabelled(arguments, labelled, tmp_path / "manifest.parquet", changed))
    assert archive.classes == before.classes and archive.labels[known[0], 0] == -1
    assert archive.records("validation").tolist() == known[1:].tolist()
    assert archive.left_out("train") == before.left_out("train") + 1
    assert archive.training_counts().sum() == len(unknown) - archive.left_out("train")


def test_the_best_checkpoint_is_that_of_most_balanced_accuracy(tmp_path):
    config = Config(task=Task("classify", ("x",), (("a", "b"),)))
    with checkpoint.open_manager(checkpoint.directory_of(tmp_path), 1, objective_of(config).goodness) as manager:
        premises = checkpoint.Premises(1, 0, "", "", "", "", "", ((), ()), 8, (9,), 1, 1, 1, 1, "", "", {}, {})
        for step, (loss, balanced) in enumerate([(0.1, 0.5), (0.9, 0.8), (float("nan"), 0.9), (0.2, 0.7)], 1):
            figures = {"loss": loss, "balanced_accuracy": balanced, "accuracy": 1 - balanced, "images": 9.0}
            state = {"params": {"a": jax.numpy.ones(3)}}
            checkpoint.save(manager, state, premises, Tally(), step, figures)  # pyright: ignore[reportArgumentType]
            manager.wait_until_finished()
        assert (manager.best_step(), sorted(manager.all_steps())) == (2, [2, 4])


def test_a_run_is_found_by_its_checkpoints_too(trained, monkeypatch):
    steps = sorted(int(path.name) for path in (trained / "checkpoints").iterdir() if path.name.isdigit())
    last = steps[-1]
    wanted = bits.fingerprint(read_run(trained).params)
    for path in (trained / "checkpoints", trained / "checkpoints" / str(last)):
        assert bits.fingerprint(read_run(path).params) == wanted
    assert read_run(trained / "checkpoints" / str(steps[0])).step == steps[0]
    monkeypatch.chdir(trained / "checkpoints")
    assert read_run(".").step == read_run(str(last)).step == last
    assert is_run(trained) and is_run(".") and not is_run(trained / "tensorboard")
    with pytest.raises(ValueError, match="step best is asked for"):
        read_run(trained / "checkpoints" / str(last), "best")
    with pytest.raises(checkpoint.CheckpointError, match="no checkpoint of step 7777"):
        read_run(trained / "checkpoints" / "7777")
    with pytest.raises(FileNotFoundError, match=r"tensorboard is no work directory.*no config\.json"):
        read_run(trained / "tensorboard")
