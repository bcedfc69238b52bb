"""A whole small study: stopped and taken up again, both arms treated alike, figures those of the stored predictions."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from radmae_jax.config import Bins, Config, Data, Optim, Task, Train
from radmae_jax.data.dataset import open_archive
from radmae_jax.data.leakage import Leakage
from radmae_jax.evaluate.evaluation import evaluate
from radmae_jax.study import execute
from radmae_jax.study.check import check_study, with_lengths
from radmae_jax.study.conduct import FILE, conduct, share_programs
from radmae_jax.study.execute import Place, Result, predict_once, run_study
from radmae_jax.study.plan import Arm, Run, Study
from radmae_jax.study.pretraining import curve_arms, pretraining_of
from radmae_jax.study.table import table_of, unknown_patients
from radmae_jax.train.loop import train_run
from radmae_jax.train.watch import Diverged


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> Iterator[Path]:
    """A folder whose programs all runs of these tests share."""
    folder = tmp_path_factory.mktemp("programs")
    share_programs(folder)
    yield folder / "compiled"
    jax.config.update("jax_compilation_cache_dir", None)


@pytest.fixture(scope="module")
def study(labelled, small_model, tmp_path_factory, compiled) -> Study:
    """Two arms, one of them begun with an MAE of two steps, whose both steps are kept."""
    model, data = replace(small_model, layers=1), Data(manifest=str(labelled), workers=0, threads=2, cache_mib=16)
    bins = Bins(shapes=1, group=8)
    train = Train(
        epochs=3, images_per_step=16, rows=8, checkpoint_every=1, keep_every=1, evaluate_every=0, panels_every=0,
        max_steps=2,
    )  # fmt: skip
    mae = tmp_path_factory.mktemp("study") / "mae"
    train_run(Config(data=data, bins=bins, model=model, optim=Optim(warmup_epochs=0), train=train), mae, quiet=True)
    base = Config(
        data=data, bins=bins, model=model, task=Task("classify", ("texture",)),
        optim=Optim(learning_rate=1e-3, end_learning_rate=0.0, warmup_epochs=0.0),
        train=replace(train, max_steps=0, checkpoint_every=0, keep_every=0, evaluate_every=-1, keep_checkpoints=1),
    )  # fmt: skip
    arms = (Arm("random", "random", "", base, True, "fresh"), Arm("mae", "mae", str(mae), base, True, "two steps"))
    return with_lengths(Study("small", (("tex", "texture"),), arms, (12,), 2, (1e-3, 1e-2), curve_tasks=("tex",)))


class _Stop(Exception):
    pass


def _place(study: Study, folder: Path, say=print) -> Place:
    return Place(folder, "test", *check_study(study, "test", curve=True), say)


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory):
    """The study's place and cells, after it was broken off behind the first of two cells and taken up again."""
    folder = tmp_path_factory.mktemp("study") / "whole"

    def stop(text: str) -> None:
        raise _Stop(text)

    with pytest.raises(_Stop, match="1/2 tex, random, 12 labels: rate"):
        run_study(study, _place(study, folder, stop))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.is_file()}
    said: list[str] = []
    place = _place(study, folder, said.append)
    cells = run_study(study, place)
    assert len(said) == 2
    for path, changed in before.items():  # nothing was done twice
        assert path.stat().st_mtime_ns == changed
    return place, cells


def test_every_run_is_there_with_its_seed_and_budget_and_alike_for_all_arms(finished, study):
    folder, cells = finished[0].folder, finished[1]
    for cell in cells:
        where = folder / "runs" / "tex" / cell.arm / "n12"
        assert {path.name for path in where.iterdir()} == {
            "seed0-lr0.001", "seed0-lr0.01", f"seed1-lr{cell.learning_rate:g}",
        }  # fmt: skip
        assert [(p / "checkpoints").exists() for p in sorted(where.iterdir())].count(True) == 2  # those predicted with
        results = {p.name: json.loads((p / "result.json").read_text()) for p in where.iterdir()}
        searched = {rate: results[f"seed0-lr{rate:g}"]["balanced_accuracy"] for rate in study.learning_rates}
        assert dict(cell.search) == searched and searched[cell.learning_rate] == max(searched.values())
    configs = {arm.name: [Run(arm, "tex", "texture", 12, seed, 1e-3).config() for seed in (0, 1)] for arm in study.arms}
    labelled_of = {
        name: [open_archive(c).records("train").tolist() for c in of_arm] for name, of_arm in configs.items()
    }
    assert labelled_of["random"] == labelled_of["mae"] and labelled_of["mae"][0] != labelled_of["mae"][1]
    assert [len(records) for records in labelled_of["mae"]] == [12, 12]
    for random, mae in zip(configs["random"], configs["mae"], strict=True):
        assert replace(mae, train=replace(mae.train, start="", arm="random")) == random


def test_the_table_is_of_the_stored_predictions(finished, study, labelled):
    place, cells = finished
    table = table_of(study, cells, [], place)
    truth = cells[0].kept[0].predictions[0].truth
    for entry, cell in zip(table["cells"], cells, strict=True):
        each = [balanced_accuracy_score(truth, k.predictions[0].probabilities.argmax(axis=1)) for k in cell.kept]
        assert entry["per_seed"] == pytest.approx(each)
        assert entry["balanced_accuracy"]["value"] == pytest.approx(np.mean(each))
    (comparison,) = table["comparisons"]
    values = {entry["arm"]: entry["balanced_accuracy"]["value"] for entry in table["cells"]}
    assert (comparison["a"], comparison["b"]) == ("mae", "random")
    assert comparison["difference"]["value"] == pytest.approx(values["mae"] - values["random"])
    assert table["leakage"]["pretraining"] == "proven" and table["tasks"][0]["classes"] == ["fine", "none", "rough"]
    pretraining = {arm["name"]: arm["pretraining"] for arm in table["arms"]}
    images = len(open_archive(study.arms[1].base).split.records("train"))
    assert pretraining["random"] is None and pretraining["mae"]["steps"] == 2
    assert pretraining["mae"]["images"] == images
    notes = "\n".join(table["notes"])
    assert "mean of 2 runs" in notes and "rarest class" in notes and "1 differences between arms" in notes
    assert ".png" not in json.dumps(table) and "patient number" not in notes
    unknown = Leakage(None, 0, "none", None, None, None, "", 60, 6)
    assert "No image has a patient number: studies or files are counted as patients" in unknown_patients(unknown)[0]
    some = replace(unknown, patients_on_two_sides=0)
    assert "60 images (6 of them test images) have no patient number" in unknown_patients(some)[0]


def test_arms_are_compared_on_the_images_that_all_runs_could_read(finished, study):
    place, cells = finished
    (whole,) = cells[0].kept[1].predictions
    rows, record = np.arange(len(whole.records)) > 0, int(whole.records[0])
    part = replace(
        whole, records=whole.records[rows], patients=whole.patients[rows], truth=whole.truth[rows],
        probabilities=whole.probabilities[rows],
    )  # fmt: skip
    lost = replace(cells[0].kept[1], predictions=(part,), problems=((record, "gone"),))
    table = table_of(study, [replace(cells[0], kept=(cells[0].kept[0], lost)), cells[1]], [], place)
    assert [cell["test_images"] for cell in table["cells"]] == [len(rows) - 1] * 2
    assert [cell["unreadable"] for cell in table["cells"]] == [1, 0]
    assert "tex: 1 images could not be read by some run and are scored in none." in table["notes"]


def test_the_curve_begins_with_each_saved_step_and_ends_with_the_arm_itself(finished, study, compiled):
    place, _ = finished
    (place.folder / "compiled").symlink_to(compiled)
    table = conduct(study, place.folder, "test", curve=True, say=lambda text: None)
    first, last = table["curve"]
    assert table == json.loads((place.folder / FILE).read_text())
    start = pretraining_of(str(Path(study.arms[1].start) / "checkpoints" / "1"))
    assert (first["arm"], first["budget"], first["steps"], last["arm"], last["steps"]) == ("mae@1", 12, 1, "mae", 2)
    assert start is not None and first["images_seen"] == start.images_seen
    of_arm = next(cell for cell in table["cells"] if cell["arm"] == "mae")
    assert last["balanced_accuracy"] == of_arm["balanced_accuracy"]
    assert (place.folder / "runs" / "tex" / "mae@1" / "n12").is_dir()


def test_a_curve_that_names_a_step_ends_there(study, monkeypatch):
    arm = study.arms[1]
    step = Path(arm.start) / "checkpoints" / "1"
    assert curve_arms(replace(study, arms=(study.arms[0], replace(arm, start=str(step))))) == []
    monkeypatch.chdir(Path(arm.start).parent)
    relative = replace(study, arms=(study.arms[0], replace(arm, start=Path(arm.start).name)))
    assert [found.name for found in curve_arms(relative)] == ["mae@1"]
    with pytest.raises(ValueError, match="two points of the curve would be named mae-mae"):
        curve_arms(replace(relative, fewer=(arm.start, arm.start)))
    with pytest.raises(ValueError, match="no arm of kind mae takes part"):
        curve_arms(replace(study, arms=study.arms[:1]))


def test_runs_made_with_other_settings_are_not_taken(finished, study):
    place, _ = finished
    arms = tuple(replace(arm, base=replace(arm.base, train=replace(arm.base.train, epochs=4))) for arm in study.arms)
    with pytest.raises(ValueError, match=r"was made with other settings \(train.epochs: 3 -> 4\)"):
        run_study(replace(study, arms=arms), place)
    starts = place.starts | {"mae": replace(place.starts["mae"], content="0" * 64)}
    with pytest.raises(
        ValueError, match=r"mae.n12.seed0-lr0.001 was made .* \(weights it begins with: '[0-9a-f]{12}' ->"
    ):
        run_study(study, replace(place, starts=starts))


def test_what_moved_is_still_the_same(finished, study, labelled, tmp_path):
    """Manifest, split and pre-training run under other names: nothing is trained again."""
    place, cells = finished
    moved = tmp_path / "moved.parquet"
    for end in ("", ".split.parquet"):
        shutil.copyfile(f"{labelled}{end}", f"{moved}{end}")
    shutil.copytree(study.arms[1].start, tmp_path / "moved")
    arms = tuple(
        replace(
            arm, start=arm.start and str(tmp_path / "moved"),
            base=replace(arm.base, data=replace(arm.base.data, manifest=str(moved))),
        )
        for arm in study.arms
    )  # fmt: skip
    again = replace(study, arms=arms)
    assert [c.search for c in run_study(again, _place(again, place.folder))] == [c.search for c in cells]


def test_predictions_of_another_step_are_not_taken(finished, study):
    place, cells = finished
    run = Run(study.arms[0], "tex", "texture", 12, 1, cells[0].learning_rate)
    where = place.folder / run.folder
    kept = predict_once(run, place)
    steps = [int(path.name) for path in (where / "checkpoints").iterdir() if path.name != str(kept.step)]
    if steps:
        evaluate([where], "test", steps[0])
    else:
        (where / "evaluation" / "test.parquet").unlink()
    assert predict_once(run, place).step == kept.step


def test_a_run_whose_checkpoint_was_not_kept_is_trained_again(finished, study):
    place, cells = finished
    rate = next(rate for rate in study.learning_rates if rate != cells[0].learning_rate)
    run, said = Run(study.arms[0], "tex", "texture", 12, 0, rate), []
    kept = predict_once(run, replace(place, say=said.append))
    assert "trained again" in said[0] and dict(cells[0].search)[rate] is not None
    assert kept.predictions[0].records.tolist() == cells[0].kept[0].predictions[0].records.tolist()


def test_a_learning_rate_that_diverges_is_not_chosen(study, tmp_path, monkeypatch):
    """The larger of two; then both: the study says so before any seed is trained."""
    train, failing = execute.train_run, {1e-2}

    def diverging(config, workdir, quiet):
        if config.optim.learning_rate in failing:
            raise Diverged("3 steps were not finite")
        return train(config, workdir, quiet=quiet)

    monkeypatch.setattr(execute, "train_run", diverging)
    small = replace(study, arms=study.arms[:1], seeds=1, curve_tasks=())
    place = Place(tmp_path, "test", *check_study(small, "test", curve=False), lambda text: None)
    (cell,) = run_study(small, place)
    assert cell.learning_rate == 1e-3 and dict(cell.search)[1e-2] is None
    notes = "\n".join(table_of(small, [cell], [], place)["notes"])
    assert "diverged, none of them chosen: random, tex, 12 labels at 0.01" in notes
    only = replace(small, learning_rates=(1e-2,))
    with pytest.raises(ValueError, match=r"no learning rate came to its end \(3 steps were not finite\)"):
        run_study(only, place)


def test_cells_in_two_processes_are_those_in_one(finished, study, tmp_path, compiled):
    place, cells = finished
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core")
    (tmp_path / "compiled").symlink_to(compiled)
    small = replace(study, curve_tasks=(), seeds=1, learning_rates=(1e-3,))
    table = conduct(small, tmp_path, "test", jobs=2, say=lambda text: None)
    assert [(cell["arm"], cell["learning_rate"]) for cell in table["cells"]] == [("random", 1e-3), ("mae", 1e-3)]
    for cell in cells:
        runs = [root / "runs" / "tex" / cell.arm / "n12" / "seed0-lr0.001" for root in (place.folder, tmp_path)]
        here, there = (Result(**json.loads((run / "result.json").read_text())) for run in runs)
        # Other numbers of devices and threads sum in another order.
        assert here.loss == pytest.approx(there.loss, rel=1e-5)
        assert replace(here, loss=0.0, seconds=0.0) == replace(there, loss=0.0, seconds=0.0)
    with pytest.raises(ValueError, match="--jobs 999: there are"):
        conduct(study, tmp_path, "test", jobs=999)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"budgets": (12, 5000)}, "config.task.budget: budget of 5000 images"),
        ({"tasks": (("tex", "texture"), ("x", "lungs"))}, "no label column 'lungs'"),
        ({"tasks": (("flat", "constant"),)}, "there must be at least 2"),
    ],
)
def test_what_the_archive_has_not_is_said_before_anything_is_trained(study, change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        conduct(replace(study, **change), tmp_path / "new", "test")
    assert not (tmp_path / "new").exists()
