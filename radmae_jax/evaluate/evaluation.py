"""Fine-tuned runs to their scores on one side of the split: intervals by patient, confounders, proof of no leakage."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from radmae_jax.config_checks import read_json
from radmae_jax.data.dataset import Archive
from radmae_jax.data.leakage import Leakage, prove, read_seen
from radmae_jax.data.manifest import Manifest
from radmae_jax.evaluate.predict import Predicted, open_trained, predict, write_predictions
from radmae_jax.evaluate.predictions import Predictions
from radmae_jax.evaluate.resampling import LEVEL, RESAMPLES
from radmae_jax.evaluate.statistics import Comparison, Scores, compare, score
from radmae_jax.evaluate.strata import metadata_alone, size_edges, size_strata, strata
from radmae_jax.figures import to_json
from radmae_jax.train.session import read_start_lines

FOLDER = "evaluation"  # in a work directory
_STRATA = ("view", "scanner", "bits", "site")  # columns of a manifest, besides the size; `site` is a label column


@dataclass(frozen=True)
class Evaluation:
    """What runs score on one side; several runs are seeds of one arm, and figures are means over them."""

    side: str
    step: int  # of the first run
    images: int
    patients: int
    level: float
    resamples: int
    seeds: int
    leakage: Leakage
    labels: tuple[Scores, ...]
    unreadable: tuple[tuple[int, str], ...]  # record and reason
    left_out: int  # images of the side without a label that the runs know a class of

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        plain = {name: value for name, value in self.__dict__.items() if name not in ("labels", "leakage")}
        return plain | {"leakage": asdict(self.leakage), "labels": [scores.to_json() for scores in self.labels]}


def evaluate(
    runs: list[Path], side: str, step: int | str = "best", *, level: float = LEVEL, resamples: int = RESAMPLES
) -> tuple[Evaluation, list[Predicted]]:
    """Predicts and scores one side.

    Each run's predictions are kept as RUN/evaluation/SIDE.parquet, and its own scores as RUN/evaluation/SIDE.json.
    Errors: ValueError as of `open_trained` and `predict`, and for runs of other images or labels; LeakageError where a
    run has seen test patients or images.
    """
    opened = [open_trained(run, step) for run in runs]
    leakages = [prove_run(run, trained.archive) for run, trained in zip(runs, opened, strict=True)]  # before it is run
    found = [predict(trained, side) for trained in opened]
    for run, predicted, leakage in zip(runs, found, leakages, strict=True):
        write_predictions(predicted, run / FOLDER / f"{side}.parquet")
        own = _score([predicted], [leakage], level, resamples)
        (run / FOLDER / f"{side}.json").write_text(to_json(own.to_json(), indent=1) + "\n")
    return _score(found, leakages, level, resamples), found


def prove_run(run: Path, archive: Archive) -> Leakage:
    """That a run has not seen the test side of the archive that it was trained with; see `data.leakage.prove`."""
    train = read_json(run / "config.json").train
    given = bool(train.start or train.continue_from or read_start_lines(run))
    return prove(archive.manifest, archive.split, read_seen(run), given=given)


def weakest(leakages: Sequence[Leakage]) -> Leakage:
    """The proof that shows the least."""
    return min(leakages, key=lambda found: ("unproven", "proven", "none").index(found.pretraining))


def compare_arms(a: list[Predicted], b: list[Predicted], *, level: float, resamples: int) -> list[Comparison]:
    """Each label's difference of balanced accuracy, a - b; see `statistics.compare`."""
    labels = [part.label for part in a[0].predictions]
    return [
        compare(_of(a, label), _of(b, label), level=level, resamples=resamples)
        for label in labels
        if label in [part.label for part in b[0].predictions]
    ]


def _of(runs: list[Predicted], label: str) -> list[Predictions]:
    return [part for run in runs for part in run.predictions if part.label == label]


def _score(runs: list[Predicted], leakages: list[Leakage], level: float, resamples: int) -> Evaluation:
    first, archive = runs[0], runs[0].trained.archive
    options: dict[str, Any] = {"level": level, "resamples": resamples}
    scores = []
    for at, part in enumerate(first.predictions):
        of_label = _of(runs, part.label)
        scored = score(of_label, **options)
        train = archive.training  # metadata costs nothing: all labels of the training side, beyond the budget too
        columns, train_columns = _columns(archive, part.records, train)
        alone = metadata_alone(part, columns, archive.known[train, at], train_columns, **options)
        inside = strata(of_label, columns, **options)
        scores.append(replace(scored, strata=tuple(inside), metadata_alone=tuple(alone)))
    records = first.predictions[0].records
    problems = tuple(sorted({problem for run in runs for problem in run.problems}))
    patients = len(set(first.predictions[0].patients.tolist()))
    return Evaluation(
        first.side, first.trained.saved.step, len(records), patients, level, resamples, len(runs), weakest(leakages),
        tuple(scores), problems, archive.left_out(first.side),
    )  # fmt: skip


def _columns(
    archive: Archive, records: np.ndarray, train: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What is known of the evaluated and of the training images besides their pixels: values by column."""
    manifest = archive.manifest
    names = [name for name in _STRATA if _varies(manifest, name)]
    columns = {name: np.asarray(manifest.table[name].to_pylist(), object) for name in names}
    edges = size_edges(manifest.heights[train], manifest.widths[train])
    columns["size"] = size_strata(manifest.heights, manifest.widths, edges)
    return ({n: c[records] for n, c in columns.items()}, {n: c[train] for n, c in columns.items()})


def _varies(manifest: Manifest, name: str) -> bool:
    return name in manifest.table.column_names and len(manifest.table[name].unique()) > 1
