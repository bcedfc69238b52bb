"""A whole small study: stopped and taken up again, both arms treated alike, figures those of the stored predictions."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from radmae_jax.cli import main
from radmae_jax.config import Bins, Config, Data, Optim, Task, Train
from radmae_jax.data.dataset import open_archive
from radmae_jax.study.execute import Result, choose, run_study
from radmae_jax.study.plan import Arm, Given, Run, Study, read_study
from radmae_jax.study.table import curve, pretraining_of, table_of
from radmae_jax.train.loop import train_run


@pytest.fixture(scope="module")
def study(labelled, small_model, tmp_path_factory) -> Study:
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
    return Study("small", (("tex", "texture"),), arms, (12,), 2, (1e-3, 1e-2), curve_tasks=("tex",))


class _Stop(Exception):
    pass


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory):
    """The study's folder and cells, after it was broken off behind the first of two cells and taken up again."""
    folder = tmp_path_factory.mktemp("study") / "whole"

    def stop(text: str) -> None:
        raise _Stop(text)

    with pytest.raises(_Stop, match="1/2 tex, random, 12 labels: rate"):
        run_study(study, folder, "test", stop)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.is_file()}
    said: list[str] = []
    cells = run_study(study, folder, "test", said.append)
    assert len(said) == 2
    for path, changed in before.items():  # nothing was done twice
        assert path.stat().st_mtime_ns == changed
    return folder, cells


def test_every_run_is_there_with_its_seed_and_budget_and_alike_for_all_arms(finished, study):
    folder, cells = finished
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
    folder, cells = finished
    table = table_of(study, cells, [], folder, "test")
    truth = cells[0].predictions[0].truth
    for entry, cell in zip(table["cells"], cells, strict=True):
        each = [balanced_accuracy_score(truth, p.probabilities.argmax(axis=1)) for p in cell.predictions]
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
    assert ".png" not in json.dumps(table)


def test_the_curve_begins_with_each_saved_step(finished, study):
    folder, cells = finished
    (point,) = curve(study, cells, folder, "test")
    start = Path(study.arms[1].start) / "checkpoints" / "1"
    assert (point.arm, point.budget, point.pretraining) == ("mae@1", 12, pretraining_of(str(start)))
    assert point.pretraining.steps == 1
    table = table_of(study, cells, [point], folder, "test")
    assert table["curve"][0]["images_seen"] == pytest.approx(point.pretraining.images_seen)
    assert (folder / "runs" / "tex" / "mae@1" / "n12").is_dir()


def test_runs_made_with_other_settings_are_not_taken(finished, study):
    folder, _ = finished
    arms = tuple(replace(arm, base=replace(arm.base, train=replace(arm.base.train, epochs=4))) for arm in study.arms)
    with pytest.raises(ValueError, match=r"was made with other settings \(train.epochs: 3 -> 4\)"):
        run_study(replace(study, arms=arms), folder, "test", print)


def test_the_rate_is_chosen_by_balanced_accuracy_then_by_loss(study):
    runs = [Run(study.arms[0], "tex", "texture", 12, 0, rate) for rate in (1e-4, 1e-3, 1e-2)]
    results = [Result(0.5, 0.9, 3, 3, 1.0), Result(0.5, 0.7, 3, 3, 1.0), Result(0.4, 0.1, 3, 3, 1.0)]
    assert choose(runs, results).learning_rate == 1e-3


@pytest.mark.parametrize(
    "change, message",
    [
        ({"arms": ()}, "arms is empty"),
        ({"budgets": (200, 50)}, "must be positive and ascending"),
        ({"tasks": (("a", "x"), ("a", "y"))}, "task names .* are not distinct"),
        ({"seeds": 0}, "seeds is 0"),
    ],
)
def test_plans_that_make_no_sense_are_named(study, change, message):
    with pytest.raises(ValueError, match=message):
        replace(study, **change)


def test_arms_begin_with_what_their_kind_says(study):
    with pytest.raises(ValueError, match="arm x of kind 'random' has start 'weights'"):
        replace(study, arms=(replace(study.arms[0], name="x", start="weights"),))
    with pytest.raises(ValueError, match="arm x of kind 'imagenet' has start ''"):
        replace(study, arms=(replace(study.arms[0], name="x", kind="imagenet"),))


def test_the_packaged_study_has_no_imagenet_arm_without_a_file():
    found = read_study("phantom_study", Given("m.parquet", mae="run"))
    assert [arm.name for arm in found.arms] == ["random", "mae"] and found.budgets == (50, 200)
    assert [a.name for a in read_study("phantom_study", Given("m", "run", "vit.npz")).arms][-1] == "imagenet"
    with pytest.raises(ValueError, match="is no study"):
        read_study("demo", Given("m"))


def test_what_is_not_of_the_study_is_named(capsys, tmp_path):
    arguments = ["study", "phantom_study", "--manifest", "m", "--workdir", str(tmp_path)]
    assert main([*arguments, "--tasks", "lungs"]) == 2
    assert "--tasks lungs: the study has arc, fmd, frac" in capsys.readouterr().err
