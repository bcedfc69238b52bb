"""Calibration by hand and by scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from radmae_jax.evaluate.calibration import BINS, calibration
from radmae_jax.evaluate.predictions import Predictions, outcomes_of


def outcomes_from(truth, *runs):
    truth = np.array(truth, np.int32)
    names = tuple("abcde"[: np.shape(runs)[2]])
    records, keys = np.arange(len(truth), dtype=np.int32), np.array([str(i) for i in range(len(truth))])
    return outcomes_of([Predictions("l", names, records, keys, truth, np.array(run)) for run in runs])


def test_bins_and_errors_by_hand():
    # likeliest: .62 right, .64 wrong (both in 9/15 to 10/15), .9 right (13/15 to 14/15), 1.0 wrong (the last)
    found = calibration(outcomes_from([0, 1, 1, 0], [[0.62, 0.38], [0.64, 0.36], [0.1, 0.9], [0.0, 1.0]]))
    assert [(b.low * BINS, b.high * BINS, b.images) for b in found.bins] == [
        (pytest.approx(9), pytest.approx(10), 2),
        (pytest.approx(13), pytest.approx(14), 1),
        (pytest.approx(14), pytest.approx(15), 1),
    ]
    assert [b.confidence for b in found.bins] == pytest.approx([0.63, 0.9, 1.0])
    assert [b.accuracy for b in found.bins] == [0.5, 1.0, 0.0]
    assert found.ece == pytest.approx((2 * 0.13 + 0.1 + 1) / 4)
    assert found.brier == pytest.approx(2 * (0.38**2 + 0.64**2 + 0.1**2 + 1) / 4)
    # the certain, wrong answer costs -log of float32's epsilon, not infinity
    assert found.nll == pytest.approx(-np.log([0.62, 0.36, 0.9, 2**-23]).mean())


def test_a_probability_on_an_edge_is_of_the_bin_below():
    edge = np.linspace(0, 1, BINS + 1)[9]
    above = np.nextafter(edge, 1)
    found = calibration(outcomes_from([0, 0], [[edge, 1 - edge], [above, 1 - above]]))
    assert [round(b.high * BINS) for b in found.bins] == [9, 10]


def test_runs_wrong_in_opposite_ways_do_not_cancel():
    wrong = [[0.2, 0.8]] * 2 + [[0.8, 0.2]] * 2  # too sure by 0.8
    right = [[0.8, 0.2]] * 2 + [[0.2, 0.8]] * 2  # not sure enough by 0.2
    found = calibration(outcomes_from([0, 0, 1, 1], wrong, right))
    assert found.ece == pytest.approx((0.8 + 0.2) / 2)
    assert [(b.images, b.confidence, b.accuracy) for b in found.bins] == [(8, pytest.approx(0.8), 0.5)]


def test_brier_and_log_loss_are_those_of_scikit_learn():
    rng = np.random.default_rng(3)
    for classes in (2, 5):
        truth = rng.integers(0, classes, 60)
        runs = rng.dirichlet(np.ones(classes), (3, 60))
        found = calibration(outcomes_from(truth, *runs))
        labels = np.arange(classes)
        brier = [metrics.brier_score_loss(truth, p, labels=labels, scale_by_half=False) for p in runs]
        assert found.brier == pytest.approx(np.mean(brier))
        assert found.nll == pytest.approx(np.mean([metrics.log_loss(truth, p, labels=labels) for p in runs]))
        assert sum(b.images for b in found.bins) == 180


def test_of_nothing_is_nothing():
    found = calibration(outcomes_from([-1], [[0.5, 0.5]]))
    assert (found.ece, found.brier, found.nll, found.bins) == (None, None, None, ())
