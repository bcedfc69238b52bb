"""A fine-tuned run and one side of its split to what it predicts, in memory and as a table on disk."""

import json
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
from radmae_jax.evaluate.passes import SHAPES, TooManyUnreadable, over_records, read_for
from radmae_jax.evaluate.predictions import Predictions
from radmae_jax.model.classifier import build
from radmae_jax.train.classification import forward, head_sizes, heads
from radmae_jax.train.saved import Saved, read_run


@dataclass(frozen=True, eq=False)
class Trained:
    """A classifier's checkpoint and the archive that it was trained with."""

    saved: Saved
    archive: Archive


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a run predicts for every image of one side that can be read and has a label."""

    trained: Trained
    side: str
    predictions: tuple[Predictions, ...]  # one a label
    problems: tuple[tuple[int, str], ...]  # record and reason of each that could not be read


@dataclass(frozen=True, eq=False)
class Kept:
    """Predictions as they lie on disk."""

    step: int  # of the checkpoint that made them
    predictions: tuple[Predictions, ...]  # one a label
    problems: tuple[tuple[int, str], ...]  # record and reason of each that could not be read


def open_trained(run: Path, step: int | str = "best") -> Trained:
    """Raises ValueError where the run is no classifier, or where manifest, split or classes are not those that it was
    trained with."""
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
    return Trained(saved, archive)


def predict(trained: Trained, side: str) -> Predicted:
    """Runs a classifier over one side; each image in a bucket fitted to that side.

    Raises TooManyUnreadable where more than config.data.max_unreadable of the images could not be read.
    """
    saved, archive, config = trained.saved, trained.archive, trained.saved.config
    records = archive.records(side)
    reading = read_for(config, archive.manifest, records, min(SHAPES, config.bins.shapes))
    visited = over_records(reading, program_of(config), saved.params, records)
    if len(visited.problems) > config.data.max_unreadable * len(records):
        raise TooManyUnreadable(
            visited.problems, len(records), config.data.max_unreadable, "config.data.max_unreadable"
        )
    rows = np.flatnonzero(visited.read)
    records = records[rows]
    patients = np.asarray(archive.manifest.patients)[records]
    found = tuple(
        Predictions(label, classes, records, patients, archive.labels[records, at], visited.outputs[at][rows])
        for at, (label, classes) in enumerate(zip(config.task.labels, config.task.classes, strict=True))
    )
    return Predicted(trained, side, found, visited.problems)


def write_predictions(predicted: Predicted, path: Path) -> None:
    """Parquet, one row an image: record, patient (keyed hash), `true:LABEL` and `probability:LABEL` of each label; the
    checkpoint's step and the records that could not be read are its metadata."""
    first = predicted.predictions[0]
    columns: dict[str, Any] = {"record": pa.array(first.records, pa.int32()), "patient": pa.array(list(first.patients))}
    for part in predicted.predictions:
        columns[f"true:{part.label}"] = pa.array(part.truth, pa.int32())
        columns[f"probability:{part.label}"] = pa.array(list(part.probabilities), pa.list_(pa.float32()))
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {"radmae": json.dumps({"step": predicted.trained.saved.step, "unreadable": predicted.problems})}
    write_atomically(pa.table(columns).replace_schema_metadata(facts), path)


def read_predictions(path: Path, config: Config) -> Kept:
    """What `write_predictions` wrote for a run of this configuration. Errors: ValueError for another file."""
    table, facts = read_with_facts(path)
    if not {"step", "unreadable"} <= facts.keys():
        raise ValueError(f"{path} does not say which checkpoint it is of: `radmae evaluate` writes it anew")
    records = table["record"].to_numpy()
    patients = np.asarray(table["patient"].to_pylist())
    predictions = tuple(
        Predictions(
            label, classes, records, patients, table[f"true:{label}"].to_numpy(),
            np.asarray(table[f"probability:{label}"].to_pylist(), np.float32).reshape(len(records), len(classes)),
        )
        for label, classes in zip(config.task.labels, config.task.classes, strict=True)
    )  # fmt: skip
    problems = tuple((int(record), str(reason)) for record, reason in facts["unreadable"])
    return Kept(int(facts["step"]), predictions, problems)


def program_of(config: Config):
    sizes = head_sizes(config)
    model = build(config.model, sum(sizes))

    def probabilities(params: Any, batch: Batch) -> tuple[jax.Array, ...]:
        return tuple(jax.nn.softmax(scores) for scores in heads(forward(model, params, batch).logits, sizes))

    return probabilities
