"""A fine-tuned run and one side of its split to what it predicts, in memory and as a table on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa

from radmae_jax.config import Config
from radmae_jax.data.batch import Batch
from radmae_jax.data.dataset import Archive, open_archive
from radmae_jax.data.manifest import read_with_facts, write_atomically
from radmae_jax.evaluate.passes import SHAPES, over_records, read_for
from radmae_jax.evaluate.predictions import Predictions
from radmae_jax.model.classifier import build
from radmae_jax.train.classification import forward, head_sizes, heads
from radmae_jax.train.saved import Saved, read_run


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a run predicts for every image of one side that can be read and has a label."""

    saved: Saved
    archive: Archive
    side: str
    predictions: tuple[Predictions, ...]  # one a label
    problems: tuple[tuple[int, str], ...]  # record and reason of each that could not be read


def predict(run: Path, side: str, step: int | str = "best") -> Predicted:
    """Runs a classifier's checkpoint over one side; each image in a bucket fitted to that side.

    Raises ValueError where the run is no classifier, or where manifest, split or labels are not those that it was
    trained with.
    """
    saved = read_run(run, step)
    config = saved.config
    if config.task.kind != "classify":
        raise ValueError(f"{run} was trained to {config.task.kind}; only classifiers are evaluated")
    archive = open_archive(config)
    for name, found in (("manifest", archive.manifest.hash), ("split", archive.split.hash)):
        if saved.premises[name] != found:
            raise ValueError(
                f"{run} was trained with the {name} of hash {saved.premises[name][:12]}; it is {found[:12]} now"
            )
    records = archive.records(side)
    reading = read_for(config, archive.manifest, records, min(SHAPES, config.bins.shapes))
    visited = over_records(reading, program_of(config), saved.params, records)
    rows = np.flatnonzero(visited.read)
    records = records[rows]
    patients = np.asarray(archive.manifest.patients)[records]
    found = tuple(
        Predictions(label, classes, records, patients, archive.labels[records, at], visited.outputs[at][rows])
        for at, (label, classes) in enumerate(zip(config.task.labels, config.task.classes, strict=True))
    )
    return Predicted(saved, archive, side, found, visited.problems)


def write_predictions(predicted: Predicted, path: Path) -> None:
    """Parquet, one row an image: record, patient (keyed hash), `true:LABEL` and `probability:LABEL` of each label."""
    first = predicted.predictions[0]
    columns: dict[str, Any] = {"record": pa.array(first.records, pa.int32()), "patient": pa.array(list(first.patients))}
    for part in predicted.predictions:
        columns[f"true:{part.label}"] = pa.array(part.truth, pa.int32())
        columns[f"probability:{part.label}"] = pa.array(list(part.probabilities), pa.list_(pa.float32()))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(pa.table(columns), path)


def read_predictions(path: Path, config: Config) -> tuple[Predictions, ...]:
    """What `write_predictions` wrote for a run of this configuration."""
    table, _ = read_with_facts(path)
    records = table["record"].to_numpy()
    patients = np.asarray(table["patient"].to_pylist())
    return tuple(
        Predictions(
            label, classes, records, patients, table[f"true:{label}"].to_numpy(),
            np.asarray(table[f"probability:{label}"].to_pylist(), np.float32).reshape(len(records), len(classes)),
        )
        for label, classes in zip(config.task.labels, config.task.classes, strict=True)
    )  # fmt: skip


def program_of(config: Config):
    sizes = head_sizes(config)
    model = build(config.model, sum(sizes))

    def probabilities(params: Any, batch: Batch) -> tuple[jax.Array, ...]:
        return tuple(jax.nn.softmax(scores) for scores in heads(forward(model, params, batch).logits, sizes))

    return probabilities
