"""Outcomes and what else is known of each image (view, scanner, size) to figures inside each value, and of it alone."""

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from radmae_jax.evaluate.class_figures import counts_of, mean_of_present, recalls
from radmae_jax.evaluate.predictions import Outcomes, Predictions, outcomes_of
from radmae_jax.evaluate.resampling import LEVEL, RESAMPLES, Interval, intervals

UNKNOWN, OTHER = "unknown", "other"
_COMMONEST = 8  # values shown of each column


@dataclass(frozen=True)
class Stratum:
    """The images that share one value of one column."""

    name: str
    value: str
    images: int
    patients: int
    balanced_accuracy: Interval  # mean recall of the classes that this stratum has


@dataclass(frozen=True)
class MetadataAlone:
    """What a classifier scores that sees one column of metadata and no pixel."""

    name: str
    balanced_accuracy: Interval


def strata(
    runs: list[Predictions], columns: dict[str, np.ndarray], *,
    level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0,
) -> list[Stratum]:  # fmt: skip
    """Balanced accuracy, mean over runs, inside every value of every column, with intervals by patient.

    Columns have a value for every row of the first run; None, "" and NaN are "unknown". Of each column the 8
    commonest values are kept and the rest pooled as "other". Strata of few images stay: their interval says how
    little they show, and is missing where there is but one patient. Columns come as given, values by name with
    numbers in order, "other" and "unknown" last.
    """
    outcomes = outcomes_of(runs)
    found = []
    for name, values in _rows_of(columns, runs[0], outcomes.records).items():
        values = _pooled(values)
        for value in sorted(set(values.tolist()), key=_place):
            part = outcomes.where(values == value)
            interval = _balanced_accuracy(part, level=level, resamples=resamples, seed=seed)
            found.append(Stratum(name, value, len(part.records), part.patients, interval))
    return found


def metadata_alone(
    predictions: Predictions, columns: dict[str, np.ndarray], train_truth: np.ndarray,
    train_columns: dict[str, np.ndarray], *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0,
) -> list[MetadataAlone]:  # fmt: skip
    """What each column alone, without a pixel, says about the label of these images.

    Where fractures are imaged on the emergency room's scanner, a model may learn the scanner. So for each value the
    class is taken whose training images have it most often, of all images of that class: of all rules this has the
    best balanced accuracy in training. It is then scored on `predictions`' images, whose truth and patients are used
    and whose probabilities are not. Chance is 1 / (classes present). Where this is above chance, the label is
    confounded with the column, and a model's score is to be read against it and inside its strata.
    A value that training does not have gets the commonest class of training; "unknown" is a value like others.

    Args:
        columns: a value for every row of `predictions`.
        train_truth: int [M], -1 unknown; train_columns: the same columns of these M training images.
    Errors: ValueError for a column that is not known of training images or of another length, and for a truth that
    is no class.
    """
    outcomes = outcomes_of([predictions])
    known = train_truth >= 0
    truth, count = train_truth[known], len(outcomes.classes)
    if truth.max(initial=0) >= count:
        raise ValueError(f"label {outcomes.label}: a training image has truth {truth.max()} of {count} classes")
    commonest = int(np.bincount(truth, minlength=count).argmax())
    found = []
    for name, values in _rows_of(columns, predictions, outcomes.records).items():
        if name not in train_columns:
            raise ValueError(f"column {name} is not known of the training images")
        if len(train_columns[name]) != len(train_truth):
            raise ValueError(f"column {name}: {len(train_columns[name])} values of {len(train_truth)} training images")
        names, codes = np.unique(_names(train_columns[name])[known], return_inverse=True)
        times = np.bincount(codes * count + truth, minlength=len(names) * count).reshape(len(names), count)
        shares = times / np.maximum(times.sum(axis=0), 1)  # of the images of each class
        rule = dict(zip(names.tolist(), shares.argmax(axis=1).tolist(), strict=True))
        chosen = np.array([rule.get(value, commonest) for value in values.tolist()], np.int64)
        said = replace(outcomes, probabilities=np.eye(count)[chosen][None])
        interval = _balanced_accuracy(said, level=level, resamples=resamples, seed=seed)
        found.append(MetadataAlone(name, interval))
    return found


def size_edges(heights: np.ndarray, widths: np.ndarray, parts: int = 3) -> np.ndarray:
    """int, ascending, at most parts - 1: sides in pixels that part these images into equally many; of images of one
    size there are fewer parts. A side is the square root of height times width."""
    if len(heights) == 0:
        return np.empty(0, np.int64)
    cuts = np.quantile(_sides(heights, widths), np.arange(1, parts) / parts)
    return np.unique(np.ceil(cuts).astype(np.int64))


def size_strata(heights: np.ndarray, widths: np.ndarray, edges: np.ndarray | None = None) -> np.ndarray:
    """str [N]: the range of sizes each image is in, such as "800 to 1200 px", as a column for `strata`.

    `edges` are sides in pixels as `size_edges` finds them, each the first of its upper range; None: those that part
    these images in thirds. For `metadata_alone` training and test images need the same edges.
    """
    edges = size_edges(heights, widths) if edges is None else np.asarray(edges)
    bounds = [0, *edges.tolist()]
    names = [f"{low} to {high} px" for low, high in pairwise(bounds)]
    names.append(f"{bounds[-1]} px and more")
    return np.array(names)[np.searchsorted(edges, _sides(heights, widths), side="right")]


def _sides(heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    return np.sqrt(np.asarray(heights, np.float64) * np.asarray(widths, np.float64))


def _balanced_accuracy(outcomes: Outcomes, *, level: float, resamples: int, seed: int) -> Interval:
    """Mean recall of the classes present, mean over runs, with its interval by patient."""
    counts = counts_of(outcomes)
    (interval,) = intervals(
        lambda weights: mean_of_present(recalls(counts, weights))[None], outcomes.patients, outcomes.patients,
        level=level, resamples=resamples, seed=seed,
    )  # fmt: skip
    return interval


def _rows_of(columns: dict[str, np.ndarray], given: Predictions, records: np.ndarray) -> dict[str, np.ndarray]:
    """The columns' values of some records, which are among those of the rows given."""
    numbers, rows = np.unique(given.records, return_index=True)
    rows = rows[np.searchsorted(numbers, records)]
    for name, values in columns.items():
        if len(values) != len(given.records):
            raise ValueError(f"column {name}: {len(values)} values of {len(given.records)} predictions")
    return {name: _names(values)[rows] for name, values in columns.items()}


def _names(values: np.ndarray) -> np.ndarray:
    """object [N] of str; what is missing is "unknown"."""
    return np.array([_name(value) for value in np.asarray(values).tolist()], object)


def _name(value: Any) -> str:
    missing = value is None or value == "" or value != value
    return UNKNOWN if missing else str(value)


def _pooled(values: np.ndarray) -> np.ndarray:
    """The 8 commonest values, of equally common ones the first by name, and "other"."""
    times = Counter(values.tolist())
    del times[UNKNOWN]
    kept = {UNKNOWN, *sorted(times, key=lambda value: (-times[value], value))[:_COMMONEST]}
    return np.array([value if value in kept else OTHER for value in values.tolist()], object)


def _place(value: str) -> tuple:
    """Sorts 8 before 16, and "other" and "unknown" last."""
    number = ""
    for letter in value:
        if not letter.isdecimal():
            break
        number += letter
    return (value == UNKNOWN, value == OTHER, not number, int(number or 0), value)
