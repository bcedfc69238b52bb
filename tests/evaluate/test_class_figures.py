"""Figures equal scikit-learn's, under any weights those of each image repeated so often."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from radmae_jax.evaluate.class_figures import (
    accuracy,
    areas,
    confusion,
    counts_of,
    mean_of_present,
    orders_of,
    recalls,
)
from radmae_jax.evaluate.predictions import Predictions, outcomes_of


def outcomes_from(truth, probabilities, patients=None):
    """Outcomes of runs [R, N, C] of one truth; without patients every image is one."""
    count, classes = probabilities.shape[1:]
    patients = np.arange(count) if patients is None else patients
    keys = np.array([f"{p:04d}" for p in patients])
    names = tuple("abcdefghijklmnop"[:classes])
    records = np.arange(count, dtype=np.int32)
    return outcomes_of([Predictions("l", names, records, keys, truth.astype(np.int32), p) for p in probabilities])


def random_case(seed, images, classes, runs, grain=0):
    """Truth [N] and probabilities [R, N, C]; with a grain, multiples of 1 / grain, which tie often."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, images)
    probabilities = rng.dirichlet(np.ones(classes), (runs, images))
    if grain:
        probabilities = rng.multinomial(grain, probabilities) / grain
    return truth, probabilities


cases = st.builds(
    random_case,
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 40),
    classes=st.integers(2, 6),
    runs=st.integers(1, 3),
    grain=st.sampled_from([0, 1, 4]),
)
# What scikit-learn says of classes that the truth lacks.
ABSENT = pytest.mark.filterwarnings(
    "ignore:y_pred contains classes not in y_true", "ignore:A single label was found in 'y_true'"
)


def over_runs(figure, truth, said):
    return np.mean([figure(truth, one) for one in said], axis=0)


@ABSENT
@settings(max_examples=80, deadline=None)
@given(case=cases)
def test_figures_of_unweighted_images_are_those_of_scikit_learn(case):
    truth, probabilities = case
    outcomes = outcomes_from(truth, probabilities)
    count = probabilities.shape[2]
    labels = np.arange(count)
    predicted = probabilities.argmax(axis=2)
    ones = np.ones((len(truth), 1))
    counts = counts_of(outcomes)
    recall, area = recalls(counts, ones)[:, 0], areas(orders_of(outcomes), ones)[:, 0]
    present = np.isin(labels, truth)

    expected = over_runs(
        lambda t, p: metrics.recall_score(t, p, labels=labels, average=None, zero_division=0), truth, predicted
    )
    np.testing.assert_allclose(recall, np.where(present, expected, np.nan))
    balanced = over_runs(metrics.balanced_accuracy_score, truth, predicted)
    np.testing.assert_allclose(mean_of_present(recall[:, None]), [balanced])
    np.testing.assert_allclose(accuracy(counts, ones), [over_runs(metrics.accuracy_score, truth, predicted)])
    matrix = sum(metrics.confusion_matrix(truth, one, labels=labels) for one in predicted)
    np.testing.assert_array_equal(confusion(outcomes), matrix)

    for number in labels.tolist():
        if present[number] and not (truth == number).all():
            scores = probabilities[:, :, number]
            np.testing.assert_allclose(area[number], over_runs(metrics.roc_auc_score, truth == number, scores))
        else:
            assert np.isnan(area[number])
    if present.all() and count > 2:
        macro = over_runs(lambda t, p: metrics.roc_auc_score(t, p, multi_class="ovr"), truth, probabilities)
        np.testing.assert_allclose(mean_of_present(area[:, None]), [macro])


@ABSENT
@settings(max_examples=30, deadline=None)
@given(case=cases, seed=st.integers(0, 99))
def test_weights_of_patients_are_their_images_repeated(case, seed):
    truth, probabilities = case
    rng = np.random.default_rng(seed)
    patients = np.unique(rng.integers(0, 8, len(truth)), return_inverse=True)[1]
    outcomes = outcomes_from(truth, probabilities, patients)
    weights = rng.integers(0, 4, (outcomes.patients, 5))
    counts, orders = counts_of(outcomes), orders_of(outcomes)
    recall, right = recalls(counts, weights.astype(float)), accuracy(counts, weights.astype(float))
    area = areas(orders, weights.astype(float))
    for column in range(5):
        rows = np.repeat(np.arange(len(truth)), weights[patients, column])
        if not len(rows):
            assert np.isnan(recall[:, column]).all() and np.isnan(right[column]) and np.isnan(area[:, column]).all()
            continue
        again = outcomes_from(truth[rows], probabilities[:, rows])
        ones = np.ones((len(rows), 1))
        np.testing.assert_allclose(recall[:, column], recalls(counts_of(again), ones)[:, 0])
        np.testing.assert_allclose(right[column], accuracy(counts_of(again), ones)[0])
        np.testing.assert_allclose(area[:, column], areas(orders_of(again), ones)[:, 0])
        balanced = over_runs(metrics.balanced_accuracy_score, truth[rows], probabilities[:, rows].argmax(axis=2))
        np.testing.assert_allclose(mean_of_present(recall[:, [column]]), [balanced])


def test_areas_by_hand():
    # of class b: scores .9 .4 .4 against .4 .1; pairs won: 2, 1.5, 1.5 of 6
    truth = np.array([1, 1, 1, 0, 0])
    scores = np.array([0.9, 0.4, 0.4, 0.4, 0.1])
    orders = orders_of(outcomes_from(truth, np.stack([1 - scores, scores], axis=1)[None]))
    np.testing.assert_allclose(areas(orders, np.ones((5, 1)))[:, 0], [5 / 6, 5 / 6])
    # without the last image each of class b meets the one of .4
    np.testing.assert_allclose(areas(orders, np.array([[1.0, 1, 1, 1, 0]]).T)[:, 0], [2 / 3, 2 / 3])
