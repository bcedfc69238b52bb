"""Outcomes to how far their probabilities can be believed: ECE, Brier score, log loss and a reliability table."""

from dataclasses import dataclass

import numpy as np

from radmae_jax.evaluate.predictions import Outcomes

BINS = 15  # as in Guo et al. 2017, so that figures compare
# A float32 softmax knows 1 - p no finer; a certain and wrong answer costs at most 15.9 nats.
_LEAST = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Bin:
    """Images whose likeliest class has a probability above `low` and up to `high`."""

    low: float
    high: float
    images: int  # summed over runs
    confidence: float  # mean probability of the likeliest class
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """Figures are means over runs, None without images; bins are of all runs together, empty ones left out."""

    ece: float | None  # mean over images of |confidence - accuracy| of their bin
    brier: float | None  # mean over images of the squared errors summed over classes: 0 to 2
    nll: float | None  # nats an image; probabilities below 1.2e-7 count as that
    bins: tuple[Bin, ...]


def calibration(outcomes: Outcomes) -> Calibration:
    """How far probabilities agree with what is right, in 15 bins of equal width."""
    if len(outcomes.truth) == 0:
        return Calibration(None, None, None, ())
    top = outcomes.probabilities.max(axis=2)  # [R, N]
    right = (outcomes.predicted == outcomes.truth).astype(np.float64)
    edges = np.linspace(0, 1, BINS + 1)
    places = np.searchsorted(edges[1:-1], top, side="left")  # a probability on an edge is of the bin below it
    images = _by_bin(places, np.ones_like(top))
    confidence, correct = _by_bin(places, top), _by_bin(places, right)
    of_truth = outcomes.probabilities[:, np.arange(len(outcomes.truth)), outcomes.truth]
    squares = (outcomes.probabilities**2).sum(axis=2) - of_truth**2 + (1 - of_truth) ** 2
    totals = images.sum(axis=0)
    bins = tuple(
        Bin(
            float(edges[place]), float(edges[place + 1]), int(totals[place]),
            float(confidence[:, place].sum() / totals[place]), float(correct[:, place].sum() / totals[place]),
        )
        for place in np.flatnonzero(totals).tolist()
    )  # fmt: skip
    return Calibration(
        ece=float(np.abs(confidence - correct).sum() / top.size),
        brier=float(squares.mean()),
        nll=float(-np.log(np.clip(of_truth, _LEAST, 1)).mean()),
        bins=bins,
    )


def _by_bin(places: np.ndarray, values: np.ndarray) -> np.ndarray:
    """float64 [R, BINS]: values summed by bin."""
    return np.stack([np.bincount(row, value, minlength=BINS) for row, value in zip(places, values, strict=True)])
