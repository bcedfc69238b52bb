"""Scores and comparisons equal slow ones made with scikit-learn and scipy; odd test sets have figures or none."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from radmae_jax.evaluate.predictions import Predictions, merge
from radmae_jax.evaluate.resampling import Interval
from radmae_jax.evaluate.statistics import compare, score
from radmae_jax.evaluate.strata import metadata_alone, strata

NONE = Interval(None, None, None)


def run_of(truth, probabilities, patients=None, label="region"):
    truth, probabilities = np.array(truth, np.int32), np.asarray(probabilities, np.float32)
    patients = range(len(truth)) if patients is None else patients
    keys = np.array([f"p{p:04d}" for p in patients])
    names = tuple("abcdefghijklmnop"[: probabilities.shape[1]])
    return Predictions(label, names, np.arange(len(truth), dtype=np.int32), keys, truth, probabilities)


def certain(truth, predicted, patients=None, classes=2):
    return run_of(truth, np.eye(classes)[np.array(predicted)], patients)


def make_runs(images=40, classes=3, runs=2, patients=15, seed=0, signal=1.0):
    """Runs of images whose truth they know a little of; every class and patient is among them."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(images) % classes)
    people = rng.permutation(np.arange(images) % patients)
    logits = rng.normal(size=(runs, images, classes)) + signal * np.eye(classes)[truth]
    chances = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    return [run_of(truth, one, people) for one in chances]


def slow_interval(runs, figure, resamples, level=0.95, seed=0):
    """scipy's bootstrap of patients, one resample at a time, of a figure(truth, probabilities), mean over runs."""
    people = np.unique(runs[0].patients)
    rows_of = [np.flatnonzero(runs[0].patients == patient) for patient in people]

    def of_resample(drawn):
        rows = np.concatenate([rows_of[number] for number in drawn])
        return np.mean([figure(run.truth[rows], run.probabilities[rows].astype(float)) for run in runs])

    found = stats.bootstrap(
        (np.arange(len(people)),), of_resample, n_resamples=resamples, vectorized=False, method="percentile",
        confidence_level=level, rng=np.random.default_rng(seed),
    )  # fmt: skip
    return tuple(found.confidence_interval)


def balanced(truth, probabilities):
    return metrics.balanced_accuracy_score(truth, probabilities.argmax(axis=1))


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_intervals_are_those_of_scikit_learn_figures_over_resampled_patients():
    runs = make_runs(images=60, classes=3, runs=2, patients=25)
    found = score(runs, resamples=120, seed=3, level=0.9)

    def auroc(truth, p):
        return metrics.roc_auc_score(truth, p / p.sum(axis=1, keepdims=True), multi_class="ovr")

    for interval, figure in (
        (found.balanced_accuracy, balanced),
        (found.accuracy, lambda truth, p: metrics.accuracy_score(truth, p.argmax(axis=1))),
        (found.auroc, auroc),
        (found.auroc_of_class[2], lambda truth, p: metrics.roc_auc_score(truth == 2, p[:, 2])),
        (found.recall[1], lambda truth, p: metrics.recall_score(truth == 1, p.argmax(axis=1) == 1)),
    ):  # fmt: skip
        expected = np.mean([figure(run.truth, run.probabilities.astype(float)) for run in runs])
        assert interval.value == pytest.approx(expected)
        assert (interval.low, interval.high) == pytest.approx(slow_interval(runs, figure, 120, 0.9, 3))


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_a_class_that_a_resample_lacks_is_left_out_of_its_mean():
    runs = make_runs(images=24, classes=4, runs=1, patients=8)
    truth = np.where(runs[0].truth == 3, 2, runs[0].truth)
    truth[5] = 3  # one image of one patient in 8: a third of resamples lack it
    runs = [replace(runs[0], truth=truth)]
    interval = score(runs, resamples=150).balanced_accuracy
    assert (interval.low, interval.high) == pytest.approx(slow_interval(runs, balanced, 150))


def test_two_classes_have_the_auroc_of_the_second():
    runs = make_runs(images=50, classes=2, runs=1, patients=50)
    found = score(runs, resamples=60)
    scores = runs[0].probabilities[:, 1]
    assert found.auroc.value == pytest.approx(metrics.roc_auc_score(runs[0].truth, scores))
    assert found.auroc == found.auroc_of_class[1]
    expected = slow_interval(runs, lambda truth, p: metrics.roc_auc_score(truth, p[:, 1]), 60)
    assert (found.auroc.low, found.auroc.high) == pytest.approx(expected)


def test_two_classes_are_ordered_by_the_second_where_the_first_is_1_to_float32():
    second = np.array([1e-9, 2e-9, 3e-9, 4e-9])
    found = score([run_of([0, 0, 1, 1], np.stack([1 - second, second], axis=1))], resamples=20)
    assert (found.auroc.value, found.auroc_of_class[0].value) == (1.0, 0.5)


def test_several_runs_have_the_mean_of_what_each_has():
    runs = make_runs(runs=3)
    together, alone = score(runs, resamples=20), [score([run], resamples=20) for run in runs]
    assert together.per_seed == pytest.approx([one.balanced_accuracy.value for one in alone])
    for field in ("balanced_accuracy", "accuracy", "auroc"):
        assert getattr(together, field).value == pytest.approx(np.mean([getattr(one, field).value for one in alone]))
    assert together.calibration.ece == pytest.approx(np.mean([one.calibration.ece for one in alone]))
    np.testing.assert_array_equal(together.confusion, sum(np.array(one.confusion) for one in alone))
    # copies of one run are no more certain than it is
    assert score([runs[0]] * 3, resamples=50).balanced_accuracy == score([runs[0]], resamples=50).balanced_accuracy


def test_hosts_and_fillers_change_no_figure():
    runs = make_runs(images=40)
    filler = replace(runs[0], records=np.full(40, -1, np.int32), probabilities=np.full((40, 3), np.nan))

    def part(run, rows):
        fields = {name: getattr(run, name)[rows] for name in ("records", "patients", "truth", "probabilities")}
        return replace(run, **fields)

    expected = score(runs, resamples=50)
    for hosts in (1, 3, 8):
        parts = [[*(part(run, slice(host, None, hosts)) for host in range(hosts)), filler] for run in runs]
        merged = [merge(rows[::-1]) for rows in parts]
        assert score(merged, resamples=50) == expected
        assert compare(merged[:1], merged[1:], resamples=50) == compare(runs[:1], runs[1:], resamples=50)


def test_98_images_a_third_positive_are_known_to_ten_points():
    # 98 images of as many patients at about 57 %: the standard error is 5.3 points, so chance is within reach
    truth = [1] * 33 + [0] * 65
    predicted = [1] * 18 + [0] * 15 + [0] * 39 + [1] * 26  # recalls 0.55 and 0.6
    found = score([certain(truth, predicted)]).balanced_accuracy
    assert found.value == pytest.approx((18 / 33 + 39 / 65) / 2)
    assert 0.085 < (found.high - found.low) / 2 < 0.12
    assert found.low < 0.5


def test_images_of_a_patient_that_resemble_each_other_widen_intervals_as_they_should():
    rng = np.random.default_rng(8)
    by_patient, by_image, widths = [], [], []
    for _ in range(120):
        # 50 patients of 6 images; a patient's images are all told right or all wrong, 70 % right
        truth = np.repeat(np.arange(50) % 2, 6)
        right = np.repeat(rng.random(50) < 0.7, 6)
        predicted = np.where(right, truth, 1 - truth)
        clustered = score([certain(truth, predicted, np.repeat(np.arange(50), 6))], resamples=300).balanced_accuracy
        scattered = score([certain(truth, predicted)], resamples=300).balanced_accuracy
        by_patient.append(clustered.low <= 0.7 <= clustered.high)
        by_image.append(scattered.low <= 0.7 <= scattered.high)
        widths.append((clustered.high - clustered.low) / (scattered.high - scattered.low))
    assert np.mean(by_patient) > 0.88  # 95 % asked; its standard error here is 2 points
    assert np.mean(by_image) < 0.75  # 1.96 / sqrt(6) standard errors cover 58 %
    assert np.mean(widths) == pytest.approx(np.sqrt(6), rel=0.1)


def test_keys_are_those_of_evaluation_files():
    runs = make_runs()
    columns = {"view": np.array(["AP", "LAT"])[np.arange(40) % 2]}
    found = score(runs, resamples=20)
    found = replace(
        found,
        strata=tuple(strata(runs, columns, resamples=20)),
        metadata_alone=tuple(metadata_alone(runs[0], columns, runs[0].truth, columns, resamples=20)),
    )
    label = json.loads(json.dumps(found.to_json(), allow_nan=False))
    interval = {"value", "low", "high"}
    assert list(label) == [
        "label", "classes", "images", "patients", "unknown", "balanced_accuracy", "accuracy", "auroc", "recall",
        "auroc_of_class", "confusion", "calibration", "per_seed", "strata", "metadata_alone",
    ]  # fmt: skip
    assert label["classes"] == ["a", "b", "c"]
    assert (label["images"], label["patients"], label["unknown"]) == (40, 15, 0)
    assert all(set(label[name]) == interval for name in ("balanced_accuracy", "accuracy", "auroc"))
    assert set(label["recall"][0]) == {"class", "images"} | interval
    assert [(row["class"], row["images"]) for row in label["recall"]] == [("a", 14), ("b", 13), ("c", 13)]
    assert set(label["auroc_of_class"][0]) == {"class"} | interval
    assert np.sum(label["confusion"]) == 80
    assert set(label["calibration"]) == {"ece", "brier", "nll", "bins"}
    assert set(label["calibration"]["bins"][0]) == {"low", "high", "images", "confidence", "accuracy"}
    assert set(label["strata"][0]) == {"name", "value", "images", "patients", "balanced_accuracy"}
    assert set(label["metadata_alone"][0]) == {"name", "balanced_accuracy"}


def test_all_right_is_one_without_doubt():
    found = score([certain([0, 1, 2, 0], [0, 1, 2, 0], classes=3)], resamples=50)
    for interval in (found.balanced_accuracy, found.accuracy, found.auroc, *found.recall, *found.auroc_of_class):
        assert interval == Interval(1.0, 1.0, 1.0)
    assert (found.calibration.ece, found.calibration.brier, found.calibration.nll) == (0.0, 0.0, 0.0)


def test_equal_probabilities_say_the_first_class_and_no_order():
    found = score([run_of([0, 1, 1, 1] * 5, np.full((20, 2), 0.5))], resamples=50)
    assert [interval.value for interval in found.recall] == [1.0, 0.0]
    assert found.auroc == Interval(0.5, 0.5, 0.5)
    assert found.balanced_accuracy == Interval(0.5, 0.5, 0.5)


def test_one_patient_has_figures_and_no_interval():
    found = score([certain([0, 1, 1], [0, 1, 0], [5, 5, 5])])
    assert found.balanced_accuracy == Interval(0.75, None, None)
    assert (
        compare([certain([0, 1, 1], [0, 1, 0], [5, 5, 5])], [certain([0, 1, 1], [0, 1, 1], [5, 5, 5])]).p_value is None
    )


def test_one_class_has_recall_and_no_auroc():
    found = score([certain([1] * 6, [1, 1, 0, 1, 1, 0])], resamples=50)
    assert found.balanced_accuracy.value == found.recall[1].value == pytest.approx(4 / 6)
    assert found.recall[0] == found.auroc == found.auroc_of_class[0] == found.auroc_of_class[1] == NONE
    only = score([certain([0] * 6, [0] * 6, classes=1)], resamples=50)
    assert (only.balanced_accuracy, only.auroc) == (Interval(1.0, 1.0, 1.0), NONE)


def test_a_class_that_is_never_true_is_left_out():
    found = score([certain([0, 0, 1, 1], [0, 2, 1, 1], classes=3)], resamples=50)
    assert found.balanced_accuracy.value == 0.75
    assert (found.recall[2], found.images_of_class) == (NONE, (2, 2, 0))
    assert found.auroc.value == pytest.approx((0.75 + 1.0) / 2)


def test_unknown_truth_is_counted_and_changes_nothing_else():
    runs = make_runs(images=30)
    more = make_runs(images=40)
    hidden = [replace(run, truth=np.where(np.arange(40) < 30, run.truth, -1)) for run in more]
    known = [
        replace(run, **{f: getattr(run, f)[:30] for f in ("records", "patients", "truth", "probabilities")})
        for run in more
    ]
    assert score(hidden, resamples=20) == replace(score(known, resamples=20), unknown=10)
    nothing = score([replace(run, truth=np.full(30, -1, np.int32)) for run in runs])
    assert (nothing.images, nothing.patients, nothing.unknown) == (0, 0, 30)
    assert nothing.balanced_accuracy == nothing.auroc == nothing.recall[0] == NONE
    assert (nothing.per_seed, nothing.calibration.ece) == ((None, None), None)
    json.dumps(nothing.to_json(), allow_nan=False)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_a_difference_is_resampled_in_pairs():
    both = make_runs(images=40, runs=4)
    a, b = both[:2], both[2:]
    found = compare(a, b, resamples=150, permutations=50)
    doubled = [replace(run, probabilities=np.hstack([run.probabilities, other.probabilities]))
               for run, other in zip(a, b, strict=True)]  # fmt: skip

    def difference(truth, p):
        return balanced(truth, p[:, :3]) - balanced(truth, p[:, 3:])

    expected = [balanced(run.truth, run.probabilities) for run in both]
    assert found.difference.value == pytest.approx(np.mean(expected[:2]) - np.mean(expected[2:]))
    assert (found.difference.low, found.difference.high) == pytest.approx(slow_interval(doubled, difference, 150))
    assert (found.images, found.patients, found.seeds) == (40, 15, 2)


def test_p_values_are_those_of_trying_every_swap_of_patients():
    a, b = make_runs(images=21, patients=7, runs=2, seed=4, signal=2.0), []
    for run, other in zip(a, make_runs(images=21, patients=7, runs=2, seed=5, signal=0.3), strict=True):
        b.append(replace(run, probabilities=other.probabilities))
    people = np.unique(a[0].patients)
    null = []
    for swaps in product((False, True), repeat=7):
        swapped = np.isin(a[0].patients, people[np.array(swaps)])[:, None]
        differences = []
        for x, y in zip(a, b, strict=True):
            one = np.where(swapped, y.probabilities, x.probabilities)
            other = np.where(swapped, x.probabilities, y.probabilities)
            differences.append(balanced(x.truth, one) - balanced(x.truth, other))
        null.append(np.mean(differences))
    tails = [np.mean(np.array(null) <= null[0] + 1e-9), np.mean(np.array(null) >= null[0] - 1e-9)]
    found = compare(a, b, resamples=20)
    assert found.difference.value == pytest.approx(null[0])
    assert found.p_value == pytest.approx(min(1.0, 2 * min(tails)))
    assert 0 < found.p_value < 0.5


def test_an_arm_against_itself_and_against_a_much_better_one():
    runs = make_runs(images=90, patients=45)
    same = compare(runs, runs, resamples=50)
    assert (same.difference, same.p_value) == (Interval(0.0, 0.0, 0.0), 1.0)
    perfect = [certain(runs[0].truth, runs[0].truth, classes=3)] * 2
    perfect = [replace(run, patients=runs[0].patients) for run in perfect]
    ahead, behind = (compare(x, y, permutations=199, resamples=50) for x, y in ((perfect, runs), (runs, perfect)))
    assert ahead.p_value == behind.p_value == pytest.approx(2 / 200)
    assert ahead.difference.low == pytest.approx(-behind.difference.high) and ahead.difference.low > 0


def test_pairing_sees_what_intervals_apart_do_not():
    # both arms miss the same hard patients; a is right on eight of 60 more
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 2
    right_b = rng.permutation(60) < 36
    right_a = right_b.copy()
    right_a[np.flatnonzero(~right_b)[:8]] = True
    a, b = ([certain(truth, np.where(right, truth, 1 - truth))] for right in (right_a, right_b))
    assert score(a).balanced_accuracy.low < score(b).balanced_accuracy.high
    found = compare(a, b)
    assert found.difference.low > 0 and found.p_value < 0.05


def test_refusals():
    runs = make_runs()
    with pytest.raises(ValueError, match="2 runs against 1: both arms need the same number"):
        compare(runs, runs[:1])
    with pytest.raises(ValueError, match="run 2 of 2: record 0: truth"):
        compare(runs[:1], [replace(runs[1], truth=(runs[1].truth + 1) % 3)])
    with pytest.raises(ValueError, match="run 2 of 2: record 7: probabilities"):
        broken = runs[1].probabilities.copy()
        broken[7, 0] = np.nan
        score([runs[0], replace(runs[1], probabilities=broken)])
