"""`radmae evaluate` on a real run: any bucket gives the same, figures are the predictions', leaks are refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import balanced_accuracy_score

import radmae_jax
from radmae_jax.cli import main
from radmae_jax.config import Bins, Config, Data, Optim, Task, Train
from radmae_jax.config_checks import validate
from radmae_jax.convert.weights import to_variables
from radmae_jax.data.leakage import FILE, read_seen, write_seen
from radmae_jax.data.manifest import read_manifest, write_manifest
from radmae_jax.data.splits import LeakageError, read_split
from radmae_jax.evaluate.evaluation import compare_arms, evaluate
from radmae_jax.evaluate.export import convert
from radmae_jax.evaluate.passes import over_records, read_for
from radmae_jax.evaluate.predict import open_trained, predict, program_of, read_predictions
from radmae_jax.evaluate.predictions import Predictions, merge
from radmae_jax.train.loop import train_run
from radmae_jax.train.saved import read_run
from radmae_jax.train.start import of_label, weights_of


@pytest.fixture(scope="module")
def config(labelled, small_model) -> Config:
    """A few steps of a classifier of two labels."""
    return validate(
        Config(
            data=Data(manifest=str(labelled), workers=0, threads=2),
            bins=Bins(shapes=2, group=8),
            model=replace(small_model, layers=1),
            task=Task("classify", ("texture", "half")),
            optim=Optim(learning_rate=1e-2, warmup_epochs=0.0),
            train=Train(
                epochs=3, images_per_step=16, rows=8, checkpoint_every=0, evaluate_every=-1, panels_every=0,
                keep_checkpoints=1,
            ),
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(config, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("evaluated") / "run"
    train_run(config, workdir, quiet=True)
    return workdir


@pytest.fixture(scope="module")
def evaluated(run):
    return evaluate([run], "validation", resamples=200)


def test_an_image_scores_alike_in_any_bucket(run):
    """Its own length, the tables of two, and one row of the longest for all: logits < 1e-5 apart."""
    saved = read_run(run, "best")
    records = np.arange(0, 60, 3, dtype=np.int32)
    manifest = read_manifest(Path(saved.config.data.manifest))
    found = []
    for bins, shapes in ((Bins(group=1), 30), (Bins(group=8), 2), (Bins(group=8), 1)):
        config = replace(saved.config, bins=bins)
        reading = read_for(config, manifest, records, shapes)
        assert len(reading.lengths) == {30: len(set(reading.bucket[records].tolist())), 2: 2, 1: 1}[shapes]
        probabilities = over_records(reading, program_of(config), saved.params, records).outputs
        found.append([np.log(p) - np.log(p).mean(axis=1, keepdims=True) for p in probabilities])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_allclose(b, a, atol=1e-5, rtol=0)
    assert np.ptp(found[0][0], axis=0).min() > 1e-2  # images are told apart


def test_what_is_scored_is_what_the_loaded_model_says(run, evaluated):
    found, (predicted,) = evaluated
    model = radmae_jax.load(run, "best")
    texture, half = predicted.predictions
    assert (texture.label, texture.classes) == ("texture", ("fine", "none", "rough")) and half.label == "half"
    files = [predicted.trained.archive.manifest.file(int(record)) for record in texture.records]
    images = [model.read(file) for file in files]
    for part in predicted.predictions:
        np.testing.assert_allclose(model.classify(images, part.label), part.probabilities, atol=1e-5)
    with pytest.raises(ValueError, match="label ''; this run has texture, half"):
        model.classify(images)
    assert texture.records.tolist() == predicted.trained.archive.records("validation").tolist()
    last = [json.loads(line)["validation"] for line in (run / "metrics.jsonl").read_text().splitlines()
            if "validation" in line and json.loads(line)["step"] == found.step]  # fmt: skip
    for scores, part in zip(found.labels, predicted.predictions, strict=True):
        known = part.truth >= 0
        wanted = balanced_accuracy_score(part.truth[known], part.probabilities[known].argmax(axis=1))
        assert scores.balanced_accuracy.value == pytest.approx(wanted)
        assert last[0][f"balanced_accuracy/{part.label}"] == pytest.approx(wanted, abs=1e-6)
        assert scores.unknown == int((~known).sum()) and scores.images == int(known.sum())


def test_files_hold_what_was_found_and_no_path(run, evaluated):
    found, (predicted,) = evaluated
    stored = json.loads((run / "evaluation" / "validation.json").read_text())
    assert stored == json.loads(json.dumps(found.to_json()))
    assert stored["leakage"]["pretraining"] == "none" and stored["seeds"] == 1
    assert {part["name"] for part in stored["labels"][0]["strata"]} == {"size"}
    assert [part["name"] for part in stored["labels"][0]["metadata_alone"]] == ["size"]
    kept = read_predictions(run / "evaluation" / "validation.parquet", predicted.trained.saved.config)
    assert (kept.step, kept.problems) == (found.step, ())
    for part, again in zip(predicted.predictions, kept.predictions, strict=True):
        assert again.classes == part.classes
        for name in ("records", "patients", "truth", "probabilities"):
            np.testing.assert_array_equal(getattr(again, name), getattr(part, name))
    assert not any(b".png" in path.read_bytes() for path in (run / "evaluation").iterdir())


def test_hosts_and_filler_rows_change_no_figure(evaluated):
    """Predictions in two hosts' parts, out of order and with filler rows, score the same."""
    from radmae_jax.evaluate.statistics import score

    _, (predicted,) = evaluated
    whole = predicted.predictions[0]

    def part(rows: np.ndarray, fillers: int) -> Predictions:
        def with_fillers(values: np.ndarray, filler) -> np.ndarray:
            return np.concatenate([values[rows], np.full((fillers, *values.shape[1:]), filler, values.dtype)])

        return replace(
            whole, records=with_fillers(whole.records, -1), patients=with_fillers(whole.patients, ""),
            truth=with_fillers(whole.truth, 0), probabilities=with_fillers(whole.probabilities, 1 / 3),
        )  # fmt: skip

    order = np.random.default_rng(0).permutation(len(whole.records))
    merged = merge([part(order[5:], 3), part(order[:5], 2)])
    assert score([merged], resamples=100).to_json() == score([whole], resamples=100).to_json()


def test_two_runs_are_seeds_or_arms(run, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    arguments = ["evaluate", str(run), str(other), "--resamples", "50", "--json", str(tmp_path / "a.json")]
    assert main(arguments) == 0
    both = json.loads((tmp_path / "a.json").read_text())
    assert both["seeds"] == 2 and both["labels"][0]["per_seed"][0] == both["labels"][0]["per_seed"][1]
    assert main([*arguments[:2], "--against", str(other), *arguments[3:]]) == 0
    (texture, half) = json.loads((tmp_path / "a.json").read_text())["comparisons"]
    assert texture["difference"] == {"value": 0, "low": 0, "high": 0} and half["p_value"] == 1
    assert "texture: +0.0 % (+0.0 to +0.0) ahead, p = 1.0000" in capsys.readouterr().out
    _, one = evaluate([run], "validation", resamples=50)
    with pytest.raises(ValueError, match="same number of seeds"):
        compare_arms(one, [*one, *one], level=0.95, resamples=50)


def test_the_test_side_is_scored_only_when_asked_for(run):
    assert not (run / "evaluation" / "test.json").exists()
    assert main(["evaluate", str(run), "--side", "test", "--resamples", "50"]) == 0
    stored = json.loads((run / "evaluation" / "test.json").read_text())
    predicted = predict(open_trained(run), "test")
    assert stored["side"] == "test" and stored["images"] == len(predicted.predictions[0].records)


def test_a_test_patient_in_what_was_seen_is_refused(run, config, labelled, tmp_path, capsys):
    """At the evaluation, and at the start of a run that begins with such weights."""
    leaking = tmp_path / "leaking"
    shutil.copytree(run, leaking)
    seen, manifest = read_seen(leaking), read_manifest(labelled)
    assert seen is not None
    record = int(read_split(Path(f"{labelled}.split.parquet"), manifest).records("test")[0])
    write_seen(replace(seen, patients=seen.patients | {manifest.patients[record]}), leaking)
    assert main(["evaluate", str(leaking)]) == 2
    assert (
        "1 patient and 0 images of the test split of manifest.parquet were trained on already"
        in capsys.readouterr().err
    )
    with pytest.raises(LeakageError, match="1 patient and 0 images"):
        train_run(replace(config, train=replace(config.train, start=str(leaking))), tmp_path / "next", quiet=True)
    assert not (tmp_path / "next" / FILE).exists()


def test_a_run_from_a_run_has_seen_what_both_have(run, config, tmp_path):
    start = replace(config, train=replace(config.train, start=str(run), max_steps=1, evaluate_every=0))
    train_run(start, tmp_path / "next", quiet=True)
    assert read_seen(tmp_path / "next") == read_seen(run)
    found, _ = evaluate([tmp_path / "next"], "validation", "latest", resamples=50)
    assert found.leakage.pretraining == "proven" and "pre-training included" in found.leakage.said


def test_without_patient_numbers_scores_prove_nothing_of_patients(run, labelled, tmp_path, capsys):
    """The run's archive, had its images no patient numbers: its rows hash alike."""
    other, manifest = tmp_path / "other", read_manifest(labelled)
    shutil.copytree(run, other)
    at = manifest.table.column_names.index("patient_source")
    without = manifest.table.set_column(at, "patient_source", pa.array(["file"] * len(manifest)))
    write_manifest(without, tmp_path / "m.parquet", manifest.source, manifest.key)
    shutil.copy(f"{labelled}.split.parquet", tmp_path / "m.parquet.split.parquet")
    settings = json.loads((other / "config.json").read_text())
    settings["data"]["manifest"] = str(tmp_path / "m.parquet")
    (other / "config.json").write_text(json.dumps(settings))
    assert main(["evaluate", str(other), "--resamples", "50", "--against", str(run)]) == 0
    text = capsys.readouterr().out
    assert "12 images of unknown patients (12 studies or files); it is unknown whether a patient is in two" in text
    assert "against: no patient and no image is in two splits" in text  # of the run whose archive has numbers
    leakage = json.loads((other / "evaluation" / "validation.json").read_text())["leakage"]
    assert leakage["patients_on_two_sides"] is None and leakage["pretraining"] == "none"
    assert main(["probe", str(other), str(tmp_path / "m.parquet"), "--label", "texture"]) == 0
    assert "leakage: it is unknown whether a patient is in two splits" in capsys.readouterr().out


def test_images_that_cannot_be_read_are_counted_up_to_the_run_s_limit(run, evaluated, tmp_path, capsys):
    """One of the validation images is damaged; config.data.max_unreadable is 1 %, then 20 %."""
    _, (predicted,) = evaluated
    archive, record = predicted.trained.archive, int(predicted.predictions[0].records[0])
    shutil.copytree(archive.manifest.source, tmp_path / "images")
    (tmp_path / "images" / archive.manifest.paths[record]).write_bytes(b"no image")
    other = tmp_path / "other"
    shutil.copytree(run, other)
    settings = json.loads((other / "config.json").read_text())
    settings["data"]["root"] = str(tmp_path / "images")
    (other / "config.json").write_text(json.dumps(settings))
    assert main(["evaluate", str(other)]) == 2
    said = capsys.readouterr().err
    assert "1 of 12 records could not be read, above config.data.max_unreadable 1.0%" in said
    settings["data"]["max_unreadable"] = 0.2
    (other / "config.json").write_text(json.dumps(settings))
    found, (again,) = evaluate([other], "validation", resamples=50)
    assert found.images == 11 and [problem[0] for problem in found.unreadable] == [record]
    kept = read_predictions(other / "evaluation" / "validation.parquet", again.trained.saved.config)
    assert kept.problems == found.unreadable and record not in kept.predictions[0].records


def test_images_without_a_label_are_left_out_and_counted(run, evaluated):
    found, (predicted,) = evaluated
    side = predicted.trained.archive.split.records("validation")
    assert found.left_out == len(side) - found.images
    stored = json.loads((run / "evaluation" / "validation.json").read_text())
    assert stored["left_out"] == found.left_out


def test_other_data_than_it_was_trained_with_is_refused(run, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    settings = json.loads((other / "config.json").read_text())
    archive = Path(settings["data"]["manifest"])
    settings["data"]["split"] = str(tmp_path / "split.parquet")
    (other / "config.json").write_text(json.dumps(settings))
    assert main(["split", str(archive), str(tmp_path / "split.parquet"), "--seed", "5"]) == 0
    assert main(["evaluate", str(other)]) == 2
    said = capsys.readouterr().err
    assert "was trained with the split of hash" in said or "were trained on already" in said


def test_one_label_of_several_is_a_classifier_of_its_own(run, evaluated):
    """As `radmae convert --label` writes it; without the label such a run is not written as one classifier."""
    saved, (_, (predicted,)) = read_run(run, "best"), evaluated
    weights = of_label(weights_of(saved), saved.config.task, "half")
    assert weights.classes == ("lower", "upper") and weights.recipe["trained together with"] == "texture"
    params = to_variables(weights)["params"]
    half = predicted.predictions[1]
    config = replace(saved.config, task=replace(saved.config.task, labels=("half",), classes=(half.classes,)))
    reading = read_for(config, predicted.trained.archive.manifest, half.records, 1)
    (found,) = over_records(reading, program_of(config), params, half.records).outputs
    np.testing.assert_allclose(found, half.probabilities, atol=1e-5)
    with pytest.raises(ValueError, match="heads for texture, half: --label chooses one"):
        convert(run, run.parent / "exported", "radmae")
    with pytest.raises(ValueError, match="--label lungs: the run's labels are texture, half"):
        of_label(weights_of(saved), saved.config.task, "lungs")
