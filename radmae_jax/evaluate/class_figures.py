"""Outcomes to balanced accuracy, recall and AUROC under any weights of patients, thousands of weightings at once.

With all weights 1 these are scikit-learn's figures. Weights are how often a bootstrap draws each patient. Recall
needs only each patient's counts; AUROC the order of the scores, which no weight changes, so sorting is done once.
"""

from dataclasses import dataclass

import numpy as np

from radmae_jax.evaluate.predictions import Outcomes


@dataclass(frozen=True, eq=False)
class Counts:
    """Images and right answers of every patient and true class."""

    images: np.ndarray  # float64 [P, C]
    right: np.ndarray  # float64 [P, C]: summed over runs
    runs: int


@dataclass(frozen=True, eq=False)
class Order:
    """How one run's scores for one class order its n images and the m others."""

    inside: np.ndarray  # int [n]: the patients of the class's images
    outside: np.ndarray  # int [m]: the patients of the others, ascending by score
    below: np.ndarray  # int [n]: how many of the others score less than each of the class's images
    upto: np.ndarray  # int [n]: and how many less or the same


def counts_of(outcomes: Outcomes) -> Counts:
    """Counts by patient and true class; right ones are whole numbers, summed over runs."""
    shape = (outcomes.patients, len(outcomes.classes))
    cells = outcomes.patient * shape[1] + outcomes.truth
    right = (outcomes.predicted == outcomes.truth).sum(axis=0)

    def summed(weights: np.ndarray | None) -> np.ndarray:
        return np.bincount(cells, weights, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)

    return Counts(summed(None), summed(right), len(outcomes.probabilities))


def orders_of(outcomes: Outcomes) -> list[list[Order]]:
    """For every class, every run's Order."""
    return [
        [_order(scores[:, number], outcomes.truth == number, outcomes.patient) for scores in outcomes.probabilities]
        for number in range(len(outcomes.classes))
    ]


def recalls(counts: Counts, weights: np.ndarray) -> np.ndarray:
    """float64 [C, B]: mean over runs; NaN for a class without images. `weights` are float64 [P, B]."""
    return _ratio(counts.right.T @ weights, counts.runs * (counts.images.T @ weights))


def accuracy(counts: Counts, weights: np.ndarray) -> np.ndarray:
    """float64 [B]: the share of images that are right, mean over runs."""
    return _ratio(counts.right.sum(axis=1) @ weights, counts.runs * (counts.images.sum(axis=1) @ weights))


def mean_of_present(of_class: np.ndarray) -> np.ndarray:
    """float64 [B]: the mean over classes that are not NaN, as scikit-learn takes it: a class that a resample lacks
    is left out of that resample's mean. Of recalls this is balanced accuracy."""
    present = ~np.isnan(of_class)
    return _ratio(np.where(present, of_class, 0).sum(axis=0), present.sum(axis=0))


def areas(orders: list[list[Order]], weights: np.ndarray) -> np.ndarray:
    """float64 [C, B]: AUROC of each class against the rest, mean over runs, ties half; NaN without images of the
    class or without others."""
    result = np.empty((len(orders), weights.shape[1]))
    for number, runs in enumerate(orders):
        pairs = weights[runs[0].inside].sum(axis=0) * weights[runs[0].outside].sum(axis=0)
        won = sum((_pairs_won(order, weights) for order in runs), start=np.zeros(weights.shape[1]))
        result[number] = _ratio(won, len(runs) * pairs)
    return result


def confusion(outcomes: Outcomes) -> np.ndarray:
    """int [C, C]: images by true class (rows) and predicted class, summed over runs."""
    count = len(outcomes.classes)
    cells = outcomes.truth * count + outcomes.predicted
    return np.bincount(cells.ravel(), minlength=count * count).reshape(count, count)


def _order(scores: np.ndarray, of_class: np.ndarray, patient: np.ndarray) -> Order:
    others = np.argsort(scores[~of_class], kind="stable")
    ascending = scores[~of_class][others]
    below = np.searchsorted(ascending, scores[of_class], side="left")
    upto = np.searchsorted(ascending, scores[of_class], side="right")
    return Order(patient[of_class], patient[~of_class][others], below, upto)


def _pairs_won(order: Order, weights: np.ndarray) -> np.ndarray:
    """float64 [B]: weighted pairs in which the class's image scores more, and half of those that tie."""
    passed = np.zeros((len(order.outside) + 1, weights.shape[1]))  # weight of the lowest 0, 1, ... others
    np.cumsum(weights[order.outside], axis=0, out=passed[1:])
    return np.einsum("nb,nb->b", weights[order.inside], passed[order.below] + passed[order.upto]) / 2


def _ratio(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """NaN where the whole is 0."""
    return np.divide(parts, wholes, out=np.full(np.shape(wholes), np.nan), where=wholes > 0)
