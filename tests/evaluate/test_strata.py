"""Figures inside strata, and what metadata alone would score, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from radmae_jax.evaluate.predictions import Predictions
from radmae_jax.evaluate.resampling import Interval
from radmae_jax.evaluate.statistics import score
from radmae_jax.evaluate.strata import Stratum, metadata_alone, size_edges, size_strata, strata


def run_of(truth, predicted, patients=None, classes=("no", "yes")):
    """A run that is certain of `predicted`."""
    truth = np.array(truth, np.int32)
    patients = range(len(truth)) if patients is None else patients
    keys = np.array([f"p{p:03d}" for p in patients])
    records = np.arange(len(truth), dtype=np.int32)
    probabilities = np.eye(len(classes), dtype=np.float32)[np.array(predicted)]
    return Predictions("fracture", classes, records, keys, truth, probabilities)


def rows_of(run, rows):
    return replace(
        run, records=run.records[rows], patients=run.patients[rows], truth=run.truth[rows],
        probabilities=run.probabilities[rows],
    )  # fmt: skip


def random_runs(count=90, runs=2):
    rng = np.random.default_rng(1)
    truth, patients = rng.integers(0, 3, count), np.sort(rng.integers(0, 40, count))
    return [run_of(truth, rng.integers(0, 3, count), patients, ("a", "b", "c")) for _ in range(runs)]


def test_a_stratum_scores_as_its_images_would_alone():
    runs = random_runs()
    view = np.array(["AP", "LAT", "OBL"])[np.arange(90) % 3]
    found = strata(runs, {"view": view}, resamples=200)
    assert [(s.name, s.value) for s in found] == [("view", "AP"), ("view", "LAT"), ("view", "OBL")]
    for stratum in found:
        alone = score([rows_of(run, view == stratum.value) for run in runs], resamples=200)
        assert (stratum.images, stratum.patients) == (alone.images, alone.patients)
        assert stratum.balanced_accuracy == alone.balanced_accuracy


def test_columns_follow_their_rows_past_fillers_and_unknown_truth():
    runs = random_runs()
    truth = np.where(np.arange(90) < 5, -1, runs[0].truth)
    runs = [replace(run, truth=truth) for run in runs]
    columns = {"bits": np.array([8, 16, 12])[np.arange(90) % 3]}
    expected = strata(runs, columns, resamples=50)
    assert sum(s.images for s in expected) == 85
    rows = np.random.default_rng(0).permutation(90)
    shuffled = rows_of(runs[0], np.append(rows, [0, 0]))
    shuffled.records[-2:] = -1
    again = {"bits": np.append(columns["bits"][rows], [99, 99])}
    assert strata([shuffled, runs[1]], again, resamples=50) == expected


def test_few_many_and_missing_values():
    times = {"1": 1, "2": 2, "10": 3, "9": 4, "b": 5, "a": 6, "c": 7, "8": 8, "16": 9, "d": 10}
    values = [value for value, count in times.items() for _ in range(count)] + [None, "", float("nan")]
    count = len(values)
    found = strata([run_of([0, 1] * (count // 2), [0] * count)], {"scanner": np.array(values, object)}, resamples=20)
    # numbers in order, then names; the two rarest pooled; what is missing last
    assert [s.value for s in found] == ["8", "9", "10", "16", "a", "b", "c", "d", "other", "unknown"]
    assert {s.value: s.images for s in found} == {
        "8": 8, "9": 4, "10": 3, "16": 9, "a": 6, "b": 5, "c": 7, "d": 10, "other": 3, "unknown": 3,
    }  # fmt: skip


def test_a_stratum_of_one_patient_is_kept_without_an_interval():
    run = run_of([0, 0, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 1, 2, 3])
    found = strata([run], {"site": np.array(["x", "x", "y", "y", "y"])}, resamples=20)
    assert found[0] == Stratum("site", "x", 2, 1, Interval(0.5, None, None))
    assert found[1] == Stratum("site", "y", 3, 3, Interval(1.0, 1.0, 1.0))


def test_metadata_alone_by_hand():
    # training: 8 no (6 A, 2 B) and 4 yes (1 A, 3 B): B says yes, as 3/4 > 2/8, though A and B have as many images
    train_truth = np.array([0] * 8 + [1] * 4 + [-1])
    scanner = np.array(list("AAAAAABB" + "ABBB" + "C"))
    # here: no: A A B D, yes: B B A; D is new and gets the commonest class, no: recalls 3/4 and 2/3
    run = run_of([0, 0, 0, 0, 1, 1, 1], [1] * 7)
    found = metadata_alone(
        run, {"scanner": np.array(list("AABD" + "BBA")), "view": np.array(["AP"] * 7)}, train_truth,
        {"scanner": scanner, "view": np.array(["AP"] * 13)},
    )  # fmt: skip
    assert [alone.name for alone in found] == ["scanner", "view"]
    assert found[0].balanced_accuracy.value == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert found[1].balanced_accuracy == Interval(0.5, 0.5, 0.5)  # chance: a column of one value says nothing


def test_prior_does_not_decide_what_metadata_says():
    # of 90 no and 10 yes, half of the yes but a tenth of the no are portable: most portable ones are no
    train = {"portable": np.array(["y"] * 9 + ["n"] * 81 + ["y"] * 5 + ["n"] * 5)}
    truth = np.array([0] * 90 + [1] * 10)
    run = run_of(truth, [0] * 100)
    (found,) = metadata_alone(run, train, truth, train)
    assert found.balanced_accuracy.value == pytest.approx((0.9 + 0.5) / 2)


def test_metadata_that_says_nothing_is_at_chance_and_that_says_all_is_not():
    rng = np.random.default_rng(0)
    truth, patients = rng.integers(0, 2, 600), rng.integers(0, 200, 600)
    columns = {"noise": rng.integers(0, 5, 600), "label": np.array(["L", "R"])[truth]}
    train = {name: values[:300] for name, values in columns.items()}
    run = run_of(truth[300:], [0] * 300, patients[300:])
    noise, label = metadata_alone(run, {n: v[300:] for n, v in columns.items()}, truth[:300], train)
    assert noise.balanced_accuracy.low < 0.5 < noise.balanced_accuracy.high
    assert label.balanced_accuracy == Interval(1.0, 1.0, 1.0)


def test_sizes_are_parted_in_thirds():
    sides = np.arange(100, 400)
    edges = size_edges(sides * 2, sides / 2)
    assert edges.tolist() == [200, 300]
    names = size_strata(sides * 2, sides / 2)
    assert np.unique(names, return_counts=True)[0].tolist() == ["0 to 200 px", "200 to 300 px", "300 px and more"]
    assert np.unique(names, return_counts=True)[1].tolist() == [100, 100, 100]
    assert names[99:101].tolist() == ["0 to 200 px", "200 to 300 px"]
    run = run_of([0, 1] * 150, [0] * 300)
    found = strata([run], {"size": names}, resamples=20)
    assert [s.value for s in found] == ["0 to 200 px", "200 to 300 px", "300 px and more"]


def test_sizes_by_given_edges_of_one_size_and_of_none():
    assert size_strata([10, 20, 30], [10, 20, 30], np.array([20])).tolist() == ["0 to 20 px", *["20 px and more"] * 2]
    assert size_strata(np.full(4, 64), np.full(4, 64)).tolist() == ["64 px and more"] * 4
    assert size_strata(np.array([]), np.array([])).tolist() == []


def test_refusals():
    run = run_of([0, 1], [0, 1])
    values = {"view": np.array(["a", "b"])}
    with pytest.raises(ValueError, match="column view: 3 values of 2 predictions"):
        strata([run], {"view": np.array(["a", "b", "c"])})
    with pytest.raises(ValueError, match="column view is not known of the training images"):
        metadata_alone(run, values, np.array([0, 1]), {})
    with pytest.raises(ValueError, match="column view: 2 values of 3 training images"):
        metadata_alone(run, values, np.array([0, 1, 1]), values)
    with pytest.raises(ValueError, match="label fracture: a training image has truth 2 of 2 classes"):
        metadata_alone(run, values, np.array([0, 2]), values)
