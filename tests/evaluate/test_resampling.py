"""Intervals are scipy's, undefined resamples left out; p-values those of trying every swap."""

from dataclasses import astuple
from itertools import product

import numpy as np
import pytest
from scipy import stats

from radmae_jax.evaluate import resampling
from radmae_jax.evaluate.resampling import Interval, intervals, swap_p_value

VALUES = np.random.default_rng(5).normal(size=(15, 2))  # two figures of 15 patients


def means(weights):
    """[2, B]"""
    return VALUES.T @ weights / weights.sum(axis=0)


def test_intervals_are_the_percentile_intervals_of_scipy():
    found = intervals(means, 15, 15, level=0.9, resamples=300, seed=4)
    for number, interval in enumerate(found):
        slow = stats.bootstrap(
            (VALUES[:, number],), np.mean, n_resamples=300, confidence_level=0.9, method="percentile",
            rng=np.random.default_rng(4),
        )  # fmt: skip
        assert interval.value == pytest.approx(VALUES[:, number].mean())
        assert (interval.low, interval.high) == pytest.approx(tuple(slow.confidence_interval))


def test_how_many_resamples_are_made_at_once_changes_nothing(monkeypatch):
    whole = intervals(means, 15, 15, resamples=500)
    monkeypatch.setattr(resampling, "_CELLS", 15 * 37)
    parts = intervals(means, 15, 15, resamples=500)
    np.testing.assert_allclose([astuple(i) for i in parts], [astuple(i) for i in whole], rtol=1e-12)
    other = intervals(means, 15, 15, resamples=500, seed=1)
    assert other[0].value == whole[0].value and other[0].low != whole[0].low


def test_resamples_without_a_figure_are_left_out_of_its_interval():
    def figures(weights):
        """Patient 0's share where it is drawn; what is never defined; a constant."""
        share = np.where(weights[0] > 0, weights[0] / weights.sum(axis=0), np.nan)
        return np.stack([share, np.full_like(share, np.nan), np.ones_like(share)])

    share, never, constant = intervals(figures, 10, 10)
    rows = np.random.default_rng(0).integers(0, 10, (2000, 10))
    drawn = (rows == 0).mean(axis=1)
    assert 0.6 < (drawn > 0).mean() < 0.7  # 1 - (9/10)^10 = 0.65
    assert (share.value, share.low, share.high) == (0.1, *np.quantile(drawn[drawn > 0], [0.025, 0.975]))
    assert never == Interval(None, None, None)
    assert constant == Interval(1.0, 1.0, 1.0)


def test_one_patient_or_none_have_no_interval():
    assert intervals(lambda weights: weights / 2, 1, 5) == [Interval(0.5, None, None)]
    assert intervals(lambda weights: np.full((1, weights.shape[1]), np.nan), 0, 0) == [Interval(None, None, None)]
    assert swap_p_value(lambda signs: signs.mean(axis=-1), 1) is None


def slow_p_value(differences):
    """Every swap of patients, one at a time."""
    null = [np.mean(np.array(signs) * differences) for signs in product((1, -1), repeat=len(differences))]
    observed = np.mean(differences)
    tails = [np.mean(np.array(null) <= observed + 1e-12), np.mean(np.array(null) >= observed - 1e-12)]
    return min(1.0, 2 * min(tails))


@pytest.mark.parametrize("differences", [(3, -1, 2, 5, 1, 4, 2), (1, 1, 1, 1, 1, 1), (0, 0, 0), (3, -2, -3, -3, 2, 3)])
def test_p_values_of_few_patients_are_exact(differences):
    values = np.array(differences) / 7
    found = swap_p_value(lambda signs: (signs * values).mean(axis=-1), len(values))
    assert found == pytest.approx(slow_p_value(values))


def test_p_values_of_many_patients_count_the_observed_swap():
    values = np.ones(40)  # no random swap comes near: (0 + 1) / (199 + 1), twice
    assert swap_p_value(lambda signs: signs @ values, 40, permutations=199) == pytest.approx(0.01)


def test_p_values_are_even_where_there_is_no_difference():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(300):
        values = rng.normal(size=12)
        found.append(swap_p_value(lambda signs, values=values: signs @ values, 12, permutations=400))
    for share in (0.05, 0.2, 0.5):  # standard errors 0.013 to 0.029
        assert np.mean(np.array(found) <= share) == pytest.approx(share, abs=0.06)


def test_refusals():
    for level in (0.0, 1.0, 95):
        with pytest.raises(ValueError, match="it must lie between 0 and 1"):
            intervals(means, 15, 15, level=level)
    with pytest.raises(ValueError, match="resamples is 1; it must be 2 or more"):
        intervals(means, 15, 15, resamples=1)
    with pytest.raises(ValueError, match="permutations is 0"):
        swap_p_value(lambda signs: signs.mean(axis=-1), 5, permutations=0)
