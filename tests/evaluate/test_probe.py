"""Neighbours and lines on frozen features: against scikit-learn, and what they may see."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from radmae_jax.config import Config
from radmae_jax.data.leakage import seen_of, write_seen
from radmae_jax.data.manifest import read_manifest
from radmae_jax.data.splits import LeakageError, label_budget, read_split
from radmae_jax.evaluate.features import features_of
from radmae_jax.evaluate.probe import (
    NEIGHBOURS,
    STRENGTHS,
    Labelled,
    Tried,
    best_of,
    linear_classifiers,
    nearest_neighbours,
    open_cases,
    probe,
)


def _cloud(images: int, seed: int) -> Labelled:
    """Three classes of unequal numbers about three directions, a feature in large units that says nothing."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, images, p=(0.6, 0.3, 0.1)).astype(np.int32)
    features = 1.5 * np.eye(3, 6)[truth] + rng.normal(0, 0.7, (images, 6))
    return Labelled(np.arange(images), features.astype(np.float32), truth)


def test_neighbours_are_scikit_learns():
    train, validation, test = _cloud(150, 0), _cloud(60, 1), _cloud(80, 2)
    tried = nearest_neighbours(train, validation, test, 3)
    assert [one.setting for one in tried] == list(NEIGHBOURS)
    for one in tried:
        theirs = KNeighborsClassifier(int(one.setting), metric="cosine").fit(train.features, train.truth)
        np.testing.assert_allclose(one.probabilities, theirs.predict_proba(test.features), atol=1e-12)
        wanted = balanced_accuracy_score(validation.truth, theirs.predict(validation.features))
        assert one.validation == pytest.approx(wanted)
    few = Labelled(*(part[:7] for part in train))
    assert [one.setting for one in nearest_neighbours(few, validation, test, 3)] == [1, 5]


def test_lines_are_scikit_learns_and_do_not_see_units():
    train, validation, test = _cloud(150, 0), _cloud(60, 1), _cloud(80, 2)
    tried = linear_classifiers(train, validation, test, 3)
    assert [one.setting for one in tried] == list(STRENGTHS)
    line = LogisticRegression(C=0.1, class_weight="balanced")
    theirs = make_pipeline(StandardScaler(), line).fit(train.features, train.truth)
    np.testing.assert_allclose(tried[2].probabilities, theirs.predict_proba(test.features), atol=1e-3)
    units = np.array([1, 1000, 1, 0.001, 1, 7], np.float32)
    scaled = [part._replace(features=part.features * units + 3) for part in (train, validation, test)]
    for one, other in zip(tried, linear_classifiers(*scaled, 3), strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=2e-3)
    assert max(one.validation for one in tried) > 0.6


def test_a_class_without_training_images_left_has_probability_0():
    train, validation = _cloud(150, 0), _cloud(60, 1)
    seen = train.truth != 1
    two = Labelled(train.records[seen], train.features[seen], train.truth[seen])
    for method in (nearest_neighbours, linear_classifiers):
        for one in method(two, validation, validation, 3):
            np.testing.assert_array_equal(one.probabilities[:, 1], 0)
            np.testing.assert_allclose(one.probabilities.sum(axis=1), 1)


def test_settings_are_chosen_on_validation_the_simplest_of_equals():
    none = np.empty((0, 2))
    tried = [Tried(1, 0.5, none), Tried(5, 0.7, none), Tried(10, 0.7, none), Tried(20, 0.6, none)]
    assert best_of(tried).setting == 5


def test_a_probe_is_that_of_the_embedded_features(mae_at, labelled, command, tmp_path):
    """The whole way for the test side, against scikit-learn on the file that `radmae embed` writes."""
    figures, embedded = tmp_path / "probe.json", tmp_path / "features.parquet"
    weights = mae_at
    common = ("--label", "texture", "--pool", "mean", "--json", figures)
    assert command("probe", weights, labelled, *common, "--side", "test", "--budget", 30, "--seed", 3) == 0
    assert command("embed", weights, labelled, embedded, "--pool", "mean") == 0
    found = json.loads(figures.read_text())
    manifest = read_manifest(labelled)
    split = read_split(labelled.with_name(labelled.name + ".split.parquet"), manifest)
    features = np.stack(pq.read_table(embedded)["feature"].to_numpy()).astype(np.float64)
    codes = manifest.labels("texture")
    train = label_budget(manifest, split.records("train"), "texture", 30, 3)
    sides = {side: split.records(side)[codes[split.records(side)] >= 0] for side in ("validation", "test")}

    def score(model, side: str) -> float:
        model.fit(features[train], codes[train])
        rows = sides[side]
        predicted, truth = model.predict(features[rows]), codes[rows]
        return float(np.mean([np.mean(predicted[truth == code] == code) for code in np.unique(truth)]))

    def knn(k):
        return KNeighborsClassifier(k, metric="cosine")

    def line(c):
        return make_pipeline(StandardScaler(), LogisticRegression(C=c, class_weight="balanced", max_iter=2000))

    for name, setting, make, values in (("knn", "k", knn, NEIGHBOURS), ("linear", "c", line, STRENGTHS)):
        on_validation = [score(make(value), "validation") for value in values]
        assert list(found[name]["on_validation"].values()) == pytest.approx(on_validation)
        chosen = values[int(np.argmax(on_validation))]
        assert found[name][setting] == chosen
        assert found[name]["balanced_accuracy"] == pytest.approx(score(make(chosen), "test"))
        interval = found[name]["scores"]["balanced_accuracy"]
        assert interval["value"] == pytest.approx(found[name]["balanced_accuracy"])
        assert interval["low"] <= interval["value"] <= interval["high"]
    assert (found["train_images"], found["images"]) == (30, len(sides["test"]))
    assert found["left_out"] == len(split.records("test")) - len(sides["test"])
    assert found["classes"] == list(manifest.label_names("texture"))
    assert "not known" in found["leakage"] and found["unreadable"] == {}


def test_the_validation_side_is_scored_without_the_test_side(mae_at, labelled, command, tmp_path, capsys):
    """Test images are not even there: nothing reads them."""
    cases = open_cases(labelled, "texture")
    test = cases.split.records("test")
    shutil.copytree(cases.manifest.source, tmp_path / "images")
    for record in test.tolist():
        (tmp_path / "images" / cases.manifest.paths[record]).unlink()
    arguments = ("probe", mae_at, labelled, "--label", "texture", "--root", tmp_path / "images")
    assert command(*arguments, "--json", tmp_path / "v.json") == 0
    found = json.loads((tmp_path / "v.json").read_text())
    assert found["side"] == "validation" and found["images"] == len(cases.records["validation"])
    assert found["unreadable"] == {} and found["leakage"] == ""
    assert "were chosen on these images" in capsys.readouterr().out
    assert command(*arguments, "--side", "test") == 3
    assert f"{len(open_cases(labelled, 'texture', 'test').records['test'])} of" in capsys.readouterr().err


def test_weights_that_saw_a_test_patient_are_refused(make_weights, small_model, labelled, tmp_path):
    features, cases = features_of(make_weights("mae", small_model), Config()), open_cases(labelled, "texture", "test")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").touch()  # what makes it a run
    write_seen(seen_of(cases.manifest, cases.split.records("test")[:1]), tmp_path)
    with pytest.raises(LeakageError, match="1 patient and 1 image of the test split"):
        probe(tmp_path, features, cases)


def test_what_cannot_be_probed_is_said(labelled):
    with pytest.raises(ValueError, match="no label column 'colour'"):
        open_cases(labelled, "colour")
    with pytest.raises(ValueError, match="a probe needs 2"):
        open_cases(labelled, "syntax")  # all are PNG
    with pytest.raises(ValueError, match="budget of 1000 images"):
        open_cases(labelled, "texture", budget=1000)
    with pytest.raises(ValueError, match="side 'train'"):
        open_cases(labelled, "texture", "train")
