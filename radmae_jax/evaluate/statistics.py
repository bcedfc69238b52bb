"""Predictions of one or several runs to scores with intervals by patient, and two arms to a paired comparison."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from radmae_jax.evaluate.calibration import Calibration, calibration
from radmae_jax.evaluate.class_figures import (
    Counts,
    accuracy,
    areas,
    confusion,
    counts_of,
    mean_of_present,
    orders_of,
    recalls,
)
from radmae_jax.evaluate.predictions import Outcomes, Predictions, outcomes_of
from radmae_jax.evaluate.resampling import LEVEL, PERMUTATIONS, RESAMPLES, Interval, intervals, swap_p_value
from radmae_jax.evaluate.strata import MetadataAlone, Stratum


@dataclass(frozen=True)
class Scores:
    """What one label of a test set comes to; figures are means over runs, None where they are not defined."""

    label: str
    classes: tuple[str, ...]
    images: int  # of known truth
    patients: int
    unknown: int  # images left out
    balanced_accuracy: Interval  # mean recall of the classes present
    accuracy: Interval
    auroc: Interval  # of class 1 where there are two; else the mean of one class against the rest
    images_of_class: tuple[int, ...]
    recall: tuple[Interval, ...]  # of each class
    auroc_of_class: tuple[Interval, ...]
    confusion: tuple[tuple[int, ...], ...]  # rows: true class, columns: predicted; summed over runs
    calibration: Calibration
    per_seed: tuple[float | None, ...]  # balanced accuracy of each run
    strata: tuple[Stratum, ...] = ()  # of `strata`, put in by dataclasses.replace
    metadata_alone: tuple[MetadataAlone, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The figures of this label as evaluation files have them."""
        figures = asdict(self)
        images = figures.pop("images_of_class")
        figures["recall"] = [
            {"class": name, "images": count, **interval}
            for name, count, interval in zip(self.classes, images, figures["recall"], strict=True)
        ]
        figures["auroc_of_class"] = [
            {"class": name, **interval} for name, interval in zip(self.classes, figures["auroc_of_class"], strict=True)
        ]
        return figures


@dataclass(frozen=True)
class Comparison:
    """How far one arm is ahead of another on the same images."""

    label: str
    images: int
    patients: int
    seeds: int  # runs of each arm
    difference: Interval  # of balanced accuracy, a - b, means over runs
    p_value: float | None  # two-sided


def score(runs: list[Predictions], *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0) -> Scores:
    """Scores of the same test set as predicted by one or several runs (seeds), with intervals by patient.

    Figures are those of scikit-learn, for each run and then their mean; every resample of patients serves all runs,
    so that intervals are of that mean. A class without images is left out of means over classes, and in a resample
    that lacks it, out of that resample's. Images of unknown truth are left out and counted.
    Errors: ValueError where runs differ in records, patients, truth or classes, and for rows that are no
    probabilities, by record.
    """
    outcomes = outcomes_of(runs)
    counts, orders = counts_of(outcomes), orders_of(outcomes)
    count = len(outcomes.classes)

    def figures(weights: np.ndarray) -> np.ndarray:
        of_class, area = recalls(counts, weights), areas(orders, weights)
        auroc = area[1] if count == 2 else mean_of_present(area)
        return np.stack([mean_of_present(of_class), accuracy(counts, weights), auroc, *of_class, *area])

    balanced, right, auroc, *rest = intervals(
        figures, outcomes.patients, len(outcomes.truth), level=level, resamples=resamples, seed=seed
    )
    return Scores(
        label=outcomes.label,
        classes=outcomes.classes,
        images=len(outcomes.truth),
        patients=outcomes.patients,
        unknown=outcomes.unknown,
        balanced_accuracy=balanced,
        accuracy=right,
        auroc=auroc,
        images_of_class=tuple(counts.images.sum(axis=0).astype(int).tolist()),
        recall=tuple(rest[:count]),
        auroc_of_class=tuple(rest[count:]),
        confusion=tuple(tuple(row) for row in confusion(outcomes).tolist()),
        calibration=calibration(outcomes),
        per_seed=tuple(_balanced_accuracy(_runs(outcomes, slice(n, n + 1))) for n in range(len(runs))),
    )


def compare(
    a: list[Predictions], b: list[Predictions], *,
    level: float = LEVEL, resamples: int = RESAMPLES, permutations: int = PERMUTATIONS, seed: int = 0,
) -> Comparison:  # fmt: skip
    """The difference of balanced accuracy of two arms on the same images, a - b, each the mean over its runs.

    The interval is of a bootstrap in which each resample of patients serves both arms, so what makes an image hard
    for both does not widen it. The p-value is of a permutation test that swaps, within patients, all runs of a with
    all of b. Both arms need as many runs: a mean over three seeds is steadier than one run, and swapping them would
    not be a fair null. Both speak of other patients, for these trained runs; how far seeds differ is in `per_seed`.
    Errors: ValueError for unequal numbers of runs, and as in `score`; runs are numbered a's first.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} runs against {len(b)}: both arms need the same number of seeds")
    outcomes = outcomes_of([*a, *b])
    of_a, of_b = (counts_of(_runs(outcomes, rows)) for rows in (slice(len(a)), slice(len(a), None)))
    # Right answers of a less those of b; recalls are linear in them, and both arms have the same images.
    apart = Counts(of_a.images, of_a.right - of_b.right, len(a))

    def figures(weights: np.ndarray) -> np.ndarray:
        return mean_of_present(recalls(apart, weights))[None]

    (difference,) = intervals(
        figures, outcomes.patients, outcomes.patients, level=level, resamples=resamples, seed=seed
    )
    images = apart.images.sum(axis=0)
    present = images > 0

    def swapped(signs: np.ndarray) -> np.ndarray:
        return ((signs @ apart.right[:, present]) / (len(a) * images[present])).mean(axis=-1)

    p_value = swap_p_value(swapped, outcomes.patients, permutations=permutations, seed=seed)
    return Comparison(outcomes.label, len(outcomes.truth), outcomes.patients, len(a), difference, p_value)


def _runs(outcomes: Outcomes, which: slice) -> Outcomes:
    return replace(outcomes, probabilities=outcomes.probabilities[which])


def _balanced_accuracy(outcomes: Outcomes) -> float | None:
    value = float(mean_of_present(recalls(counts_of(outcomes), np.ones((outcomes.patients, 1))))[0])
    return None if np.isnan(value) else value
