"""The validation split to figures and reconstruction panels, with masks that are the same every time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from radmae_jax.config import Config
from radmae_jax.data.batch import Batch
from radmae_jax.data.dataset import Dataset
from radmae_jax.data.loader import CallList, LoadCall, load_rows, stream
from radmae_jax.data.schedule import Calls, one_pass
from radmae_jax.train import hosts, sharding
from radmae_jax.train.metrics import Writer
from radmae_jax.train.objective import Figures, Objective
from radmae_jax.train.panels import draw_panels, note_of, panels_of
from radmae_jax.train.programs import Program, Programs
from radmae_jax.train.state import State

_ORDER = 0xE7A1  # seeds which validation images a capped evaluation sees
# Masks depend on (seed, epoch, record); evaluation is always epoch 0.
_EPOCH = 0


def validation_records(dataset: Dataset, config: Config) -> np.ndarray:
    """The records evaluated, int32, ascending: the first of a seeded order of those that
    take part on the validation side."""
    if config.train.evaluate_every == 0:
        return np.empty(0, np.int32)
    records = dataset.records("validation")
    if config.train.patience and not len(records):
        raise ValueError(
            f"config.train.patience is {config.train.patience}; no validation image takes part, so nothing is judged"
        )
    order = np.random.default_rng([config.train.seed, _ORDER]).permutation(len(records))
    return np.sort(records[order[: config.train.evaluate_images]])


@dataclass(frozen=True)
class Validation:
    """What evaluations of a run have in common."""

    config: Config
    objective: Objective
    dataset: Dataset
    calls: Calls  # of training: its rows and buckets serve validation too
    mesh: Mesh
    programs: Programs
    writer: Writer
    records: np.ndarray

    def figures(self, state: State, step: int) -> Figures:
        """The objective's figures over the validation images that can be read.

        One that cannot be read is said; means are NaN where none can.
        """
        listed = one_pass(self.calls, self.records, self.dataset.bucket[self.records])
        listed = [call._replace(epoch=_EPOCH) for call in listed]
        load = LoadCall(
            CallList(listed), self.calls.schedule.lengths, self.dataset.source, jax.process_index(), jax.process_count()
        )
        rows = sharding.rows(self.mesh)
        sums = []
        options = {"threads": self.config.data.threads, "prefetch_bytes": self.config.data.prefetch_mib << 20}
        largest = largest_bytes(self.calls, self.dataset)
        with stream(load, 0, len(listed), workers=0, largest_bytes=largest, **options) as elements:
            for loaded in elements:
                report_unreadable(self.writer, step, loaded.problems)
                call, batch = self.programs.evaluate[loaded.bucket].call, sharding.to_global(loaded.batch, rows)
                jax.block_until_ready(sums[-1:])  # so that a device holds the images of two calls and no more
                sums.append(call(state.used, state.tables, batch))
        total = jax.tree.map(lambda *parts: np.sum([np.asarray(part) for part in parts], axis=0), *sums)
        return self.objective.summarise(total)


def panel_records(dataset: Dataset, config: Config) -> np.ndarray:
    """The records that panels show, int32: of validation where there are any, else of training."""
    if config.train.panels_every == 0:
        return np.empty(0, np.int32)
    side = dataset.records("validation")
    records = side if len(side) else dataset.records("train")
    order = np.random.default_rng([config.train.seed, _ORDER]).permutation(len(records))
    return records[order[: config.train.panel_images]]


def draw_state(
    config: Config, dataset: Dataset, mesh: Mesh, predict: Program, records: np.ndarray, state: State, step: int,
    workdir: Path, writer: Writer,
) -> None:  # fmt: skip
    """WORKDIR/panels/STEP.png of the records that can be read; captions name record numbers, never paths."""
    whole = sharding.replicated(mesh)

    def call(params: dict, tables: dict, batch: Batch) -> tuple[Any, Any]:
        return predict.call(params, tables, sharding.to_global(batch, whole))

    panels = []
    for record in records:
        batch, problems = load_rows(dataset.source, np.array([record]), predict.tokens, _EPOCH)
        if hosts.is_first():  # every process reads all of them
            report_unreadable(writer, step, tuple(problems))
        panels += panels_of(
            call, state.used, state.tables, batch, config.model.patch, config.model.channels, [f"record {record}"]
        )
    if panels and hosts.is_first():
        note = note_of(step, config.model.mask_ratio, config.loss)
        draw_panels(panels, workdir / "panels" / f"{step:07d}.png", note)


def report_unreadable(writer: Writer, step: int, problems: tuple[tuple[int, str], ...]) -> None:
    """Names each record that could not be read, with the reason, in metrics.jsonl and to people."""
    for record, reason in problems:
        said = f"step {step}: record {record} could not be read: {reason}"
        writer.event(step, {"unreadable": record, "reason": reason}, said)


def largest_bytes(calls: Calls, dataset: Dataset) -> int:
    """Bytes of the largest element a loader makes."""
    values = dataset.source.patch**2 * dataset.source.channels * np.dtype(dataset.source.dtype).itemsize
    return max(rows * length for rows, length in zip(calls.rows, calls.schedule.lengths, strict=True)) * values
