"""Figures of weighted patients to their values with bootstrap intervals; a pair of runs to a permutation p-value."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
RESAMPLES = 2000  # the 2.5 % points of an interval then rest on 50 resamples each
PERMUTATIONS = 9999  # the smallest p-value is 2e-4; tests of 13 patients or fewer are exact
_CELLS = 1 << 18  # images times resamples worked on at once: 2 MiB, which stay in a core's cache
_LEAST = 16  # resamples worked on at once, however many images there are
_DIGITS = 12  # differences of rates that are equal but for rounding are told to be so


@dataclass(frozen=True)
class Interval:
    """A figure and the interval around it; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


def intervals(
    figures: Callable[[np.ndarray], np.ndarray], patients: int, images: int, *,
    level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0,
) -> list[Interval]:  # fmt: skip
    """Figures of a test set with percentile intervals from a bootstrap by patient.

    Images of a patient resemble each other, so whole patients are drawn, with replacement and all their images with
    them. `figures` maps float64 weights [patients, B], how often each patient is drawn, to K figures [K, B], NaN
    where one is not defined. Resamples in which a figure is not defined (no image of that class was drawn) are left
    out of its interval. Below two patients nothing can be resampled: low and high are None. The interval says what
    other patients would change, not what training again would.
    Errors: ValueError for a level outside 0 to 1, or fewer than 2 resamples.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1")
    if resamples < 2:
        raise ValueError(f"resamples is {resamples}; it must be 2 or more")
    values = figures(np.ones((patients, 1)))[:, 0]
    if patients < 2:
        return [Interval(_or_none(value), None, None) for value in values]

    def of_resamples(drawn: np.ndarray, axis: int) -> np.ndarray:
        cells = drawn + patients * np.arange(len(drawn))[:, None]
        times = np.bincount(cells.ravel(), minlength=len(drawn) * patients).reshape(len(drawn), patients)
        return figures(np.ascontiguousarray(times.T, dtype=np.float64))

    from scipy import stats  # here, as it takes longer than the rest of a command's start

    with warnings.catch_warnings():
        # scipy warns of figures that are not defined in a resample; these are left out below
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (np.arange(patients),), of_resamples, n_resamples=resamples, vectorized=True, axis=-1, method="percentile",
            confidence_level=level, batch=max(_LEAST, _CELLS // max(images, 1)), rng=np.random.default_rng(seed),
        )  # fmt: skip
    ends = [(1 - level) / 2, (1 + level) / 2]
    drawn = [row[~np.isnan(row)] for row in found.bootstrap_distribution]
    bounds = [np.quantile(row, ends) if len(row) else (np.nan, np.nan) for row in drawn]
    return [
        Interval(_or_none(value), _or_none(low), _or_none(high))
        for value, (low, high) in zip(values, bounds, strict=True)
    ]


def swap_p_value(
    difference: Callable[[np.ndarray], np.ndarray], patients: int, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> float | None:
    """Two-sided p-value of a paired difference under swapping, within patients, which run said what.

    `difference` maps float64 signs [B, patients], -1 where a patient's predictions are swapped, to the difference
    [B]. All 2^patients swaps are tried where they are no more than `permutations`, else so many random ones, the
    observed one counted among them (scipy's +1). It is twice the smaller of both tails, at most 1. None below two
    patients.
    """
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}; it must be 1 or more")
    if patients < 2:
        return None

    def of_swapped(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return np.round(difference(np.where(a < patients, 1.0, -1.0)), _DIGITS)

    from scipy import stats

    # Patient p of run a is number p, of run b number p + patients.
    numbers = np.arange(patients)
    found = stats.permutation_test(
        (numbers, numbers + patients), of_swapped, permutation_type="samples", vectorized=True, axis=-1,
        n_resamples=permutations, batch=max(_LEAST, _CELLS // patients), rng=np.random.default_rng(seed),
    )  # fmt: skip
    return float(found.pvalue)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
