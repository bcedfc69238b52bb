"""Frozen features and a label to how well nearest neighbours and a linear classifier read it."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from radmae_jax.config import Config, Data
from radmae_jax.data.dataset import open_archive
from radmae_jax.data.leakage import prove, read_seen
from radmae_jax.data.manifest import Manifest
from radmae_jax.data.splits import Split, label_budget
from radmae_jax.evaluate.features import MAX_UNREADABLE, Features, refuse_unreadable
from radmae_jax.evaluate.predictions import Predictions
from radmae_jax.evaluate.statistics import score
from radmae_jax.train.saved import is_run, workdir_of

NEIGHBOURS = (1, 5, 10, 20)
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # scikit-learn's C: the inverse of the L2 penalty on standardised features
_ITERATIONS = 2000  # of LBFGS; 400 images of 14 classes needed 19 under the strongest penalty, 287 under the weakest


class Labelled(NamedTuple):
    """Images with their features and classes."""

    records: np.ndarray  # int32 [n]
    features: np.ndarray  # float32 [n, D]
    truth: np.ndarray  # int32 [n]


class Tried(NamedTuple):
    """One setting of a probe: its balanced accuracy on the validation side and what it says of the side asked for."""

    setting: float
    validation: float
    probabilities: np.ndarray  # float64 [n, classes]


@dataclass(frozen=True, eq=False)
class Cases:
    """Which images of an archive train, choose and score the probes of one label."""

    manifest: Manifest
    split: Split
    label: str
    classes: tuple[str, ...]  # those of the training images; an image of another one is left out
    truth: np.ndarray  # int32 [N]: index into classes; -1 unknown
    side: str  # that is scored: validation | test
    records: dict[str, np.ndarray]  # int32, ascending: train, validation, and test where that is scored
    budget: int  # training images asked for; 0: all
    seed: int  # of the budget

    @property
    def images(self) -> int:
        """That are read."""
        return sum(map(len, self.records.values()))


@dataclass(frozen=True)
class Probe:
    """What `radmae probe` found; the keys of its JSON report."""

    label: str
    classes: tuple[str, ...]
    side: str  # that is scored
    images: int
    train_images: int
    left_out: int  # images of that side without a class
    budget: int
    seed: int
    pool: str
    # k or c, the best on validation; balanced_accuracy; on_validation: that of each; scores: with intervals by patient
    knn: dict[str, Any]
    linear: dict[str, Any]
    weights: dict[str, Any]  # sha256, step, pool
    leakage: str  # what is known of test images in the weights' training; empty on validation
    manifest: str  # hash
    split: str  # hash
    unreadable: dict[str, str]  # record to its reason


@dataclass(frozen=True, eq=False)
class Probed:
    """The report, and what the chosen settings say of each image."""

    report: Probe
    knn: Predictions
    linear: Predictions


def nearest_neighbours(train: Labelled, validation: Labelled, scored: Labelled, classes: int) -> list[Tried]:
    """Classes by the k nearest training images, for each k of NEIGHBOURS that there are images for.

    Near is by cosine; a class's probability is its share of the k.
    """
    settings = [k for k in NEIGHBOURS if k <= len(train.truth)]
    index = NearestNeighbors(metric="cosine", algorithm="brute").fit(train.features)

    def shares(features: np.ndarray) -> np.ndarray:
        near = train.truth[index.kneighbors(features, settings[-1], return_distance=False)]  # [n, largest k]
        votes = np.cumsum(near[..., None] == np.arange(classes), axis=1)
        return np.stack([votes[:, k - 1] / k for k in settings])

    of_validation = shares(validation.features)
    of_scored = of_validation if scored is validation else shares(scored.features)
    pairs = zip(settings, of_validation, of_scored, strict=True)
    return [Tried(k, balanced_accuracy(validation.truth, reached), found) for k, reached, found in pairs]


def linear_classifiers(train: Labelled, validation: Labelled, scored: Labelled, classes: int) -> list[Tried]:
    """Multinomial logistic regression for each C of STRENGTHS, all classes of the same weight.

    Features are standardised by the training images, as the MAE's linear probe does (its BatchNorm without affine).
    """
    scaler = StandardScaler().fit(train.features.astype(np.float64))

    def scaled(part: Labelled) -> np.ndarray:
        return np.asarray(scaler.transform(part.features.astype(np.float64)))

    x, of_validation, of_scored = map(scaled, (train, validation, scored))
    tried = []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=_ITERATIONS)
        with warnings.catch_warnings():
            # A weak penalty on separable classes has its optimum far out; what was reached on the way is as good.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, train.truth)

        def probabilities(features: np.ndarray, model: LogisticRegression = model) -> np.ndarray:
            whole = np.zeros((len(features), classes))
            whole[:, model.classes_] = model.predict_proba(features)
            return whole

        reached = balanced_accuracy(validation.truth, probabilities(of_validation))
        tried.append(Tried(strength, reached, probabilities(of_scored)))
    return tried


def balanced_accuracy(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean recall of the classes present; of equally likely classes the first is predicted."""
    present = np.unique(truth)
    return float(recall_score(truth, probabilities.argmax(axis=1), labels=present, average="macro"))


def best_of(tried: list[Tried]) -> Tried:
    """The best on validation; of equals the first: fewest neighbours, strongest penalty."""
    return max(tried, key=lambda one: one.validation)


def open_cases(
    manifest: Path, label: str, side: str = "validation", budget: int = 0, seed: int = 0, split: str = ""
) -> Cases:
    """Opens an archive and its split, and looks up the label.

    Args:
      label: a label column, or one of the manifest's own such as region.
      budget: training images, dealt evenly over the classes (`label_budget`); 0: all of known label.
      split: its file; empty: the one beside the manifest, made if missing.

    Errors: ValueError for a label that does not exist, fewer than two classes, or a side without images.
    """
    if side not in ("validation", "test"):
        raise ValueError(f"side {side!r}; probes are scored on validation or test")
    archive = open_archive(Config(data=Data(manifest=str(manifest), split=split)))
    opened, sides = archive.manifest, archive.split
    codes = opened.labels(label)
    train = sides.records("train")
    train = label_budget(opened, train, label, budget, seed) if budget else train[codes[train] >= 0]
    trained = np.unique(codes[train])
    classes = tuple(opened.label_names(label)[code] for code in trained)
    if len(classes) < 2:
        raise ValueError(f"the values of {label!r} among {len(train):,} training images are {classes}; a probe needs 2")
    truth = np.where(np.isin(codes, trained), np.searchsorted(trained, codes), -1).astype(np.int32)
    records = {"train": train}
    for name in dict.fromkeys(("validation", side)):
        known = sides.records(name)
        records[name] = known[truth[known] >= 0]
        if not len(records[name]):
            raise ValueError(f"none of {len(known):,} images of the {name} side has a known {label}")
    return Cases(opened, sides, label, classes, truth, side, records, budget, seed)


def probe(
    path: Path, features: Features, cases: Cases, root: str = "", max_unreadable: float = MAX_UNREADABLE,
    told: Callable[[int], None] | None = None,
) -> Probed:  # fmt: skip
    """Fits both probes to the training side and scores them on another, with intervals by patient.

    k and C are chosen on the validation side: the figures of that side are of the best of several.

    Args:
      path: what the features were read from: a run knows what it was trained on.
      root: folder the manifest's paths are relative to; empty: the one it was indexed from.
      told: is given the number of images after each call.

    Errors: LeakageError where the weights were trained on test images; TooManyUnreadable.
    """
    manifest, side = cases.manifest, cases.side
    leakage = ""
    if side == "test":
        seen = read_seen(workdir_of(path)) if is_run(path) else None
        leakage = prove(manifest, cases.split, seen, given=True).said
    visited = features.of_records(manifest, np.concatenate(list(cases.records.values())), root, told)
    refuse_unreadable(visited.problems, cases.images, max_unreadable)
    parts, start = {}, 0
    for name, records in cases.records.items():
        rows = slice(start, start + len(records))
        read = visited.read[rows]
        parts[name] = Labelled(records[read], visited.outputs[rows][read], cases.truth[records[read]])
        start = rows.stop
    scored, fitting = parts[side], (parts["train"], parts["validation"], parts[side], len(cases.classes))
    knn, knn_figures = _best("k", nearest_neighbours(*fitting), scored, cases)
    linear, linear_figures = _best("c", linear_classifiers(*fitting), scored, cases)
    report = Probe(
        label=cases.label,
        classes=cases.classes,
        side=side,
        images=len(scored.truth),
        train_images=len(parts["train"].truth),
        left_out=len(cases.split.records(side)) - len(cases.records[side]),
        budget=cases.budget,
        seed=cases.seed,
        pool=features.pool,
        knn=knn_figures,
        linear=linear_figures,
        weights=features.facts(),
        leakage=leakage,
        manifest=manifest.hash,
        split=cases.split.hash,
        unreadable={str(record): reason for record, reason in visited.problems},
    )
    return Probed(report, knn, linear)


def _best(name: str, tried: list[Tried], scored: Labelled, cases: Cases) -> tuple[Predictions, dict[str, Any]]:
    best = best_of(tried)
    patients = np.asarray(cases.manifest.patients)[scored.records]
    found = Predictions(cases.label, cases.classes, scored.records, patients, scored.truth, best.probabilities)
    figures = {
        name: best.setting,
        "balanced_accuracy": balanced_accuracy(scored.truth, best.probabilities),
        "on_validation": {f"{one.setting:g}": one.validation for one in tried},
        "scores": score([found]).to_json(),
    }
    return found, figures
