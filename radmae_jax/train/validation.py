"""The validation split to losses and reconstruction panels, with masks that are the same every time."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jax.sharding import Mesh

from radmae_jax.config import Config
from radmae_jax.data.batch import Batch
from radmae_jax.data.dataset import Dataset
from radmae_jax.data.loader import CallList, LoadCall, load_rows, stream
from radmae_jax.data.schedule import Calls, one_pass
from radmae_jax.train import sharding
from radmae_jax.train.panels import Predict, draw_panels, note_of, panels_of
from radmae_jax.train.programs import Programs
from radmae_jax.train.state import State

_ORDER = 0xE7A1  # seeds which validation images a capped evaluation sees
# Masks depend on (seed, epoch, record); evaluation is always epoch 0.
_EPOCH = 0


def validation_records(dataset: Dataset, config: Config) -> np.ndarray:
    """The records evaluated, int32, ascending: the first of a seeded order of the validation side."""
    if config.train.evaluate_every == 0:
        return np.empty(0, np.int32)
    records = dataset.split.records("validation")
    order = np.random.default_rng([config.train.seed, _ORDER]).permutation(len(records))
    return np.sort(records[order[: config.train.evaluate_images]])


@dataclass(frozen=True)
class Validation:
    """What evaluations of a run have in common."""

    config: Config
    dataset: Dataset
    calls: Calls  # of training: its rows and buckets serve validation too
    mesh: Mesh
    programs: Programs
    records: np.ndarray

    def losses(self, state: State) -> dict[str, float]:
        """Both losses over the validation images: `masked_valid`, `poster`, and `images` counted."""
        listed = one_pass(self.calls, self.records, self.dataset.bucket[self.records])
        listed = [call._replace(epoch=_EPOCH) for call in listed]
        load = LoadCall(CallList(listed), self.calls.schedule.lengths, self.dataset.source)
        rows = sharding.rows(self.mesh)
        gathered = []
        options = {"threads": self.config.data.threads, "prefetch_bytes": self.config.data.prefetch_mib << 20}
        largest = largest_bytes(self.calls, self.dataset)
        with stream(load, 0, len(listed), workers=0, largest_bytes=largest, **options) as elements:
            for loaded in elements:
                call = self.programs.evaluate[loaded.bucket].call
                gathered.append(call(state.params, state.tables, sharding.to_global(loaded.batch, rows)))
        masked, poster, images = (np.sum([np.asarray(g[i]) for g in gathered], axis=0) for i in range(3))
        return {
            "masked_valid": float(masked[0] / masked[1]),
            "poster": float(poster[0] / poster[1]),
            "images": float(images),
        }


def panel_batch(dataset: Dataset, config: Config) -> Batch:
    """The images that panels show, in one batch of the longest bucket any of them needs."""
    side = dataset.split.records("validation")
    records = side if len(side) else dataset.split.records("train")
    order = np.random.default_rng([config.train.seed, _ORDER]).permutation(len(records))
    chosen = records[order[: config.train.panel_images]]
    length = dataset.table.lengths[int(dataset.bucket[chosen].max())]
    batch, _ = load_rows(dataset.source, chosen, length, _EPOCH)
    return batch


def draw_state(config: Config, batch: Batch, predict: Predict, state: State, step: int, workdir: Path) -> Path:
    """WORKDIR/panels/STEP.png; captions name record numbers, never paths."""
    names = [f"record {record}" for record in batch.record]
    panels = panels_of(predict, state.params, state.tables, batch, config.model.patch, config.model.channels, names)
    path = workdir / "panels" / f"{step:07d}.png"
    draw_panels(panels, path, note_of(step, config.model.mask_ratio, config.loss))
    return path


def largest_bytes(calls: Calls, dataset: Dataset) -> int:
    """Bytes of the largest element a loader makes."""
    values = dataset.source.patch**2 * dataset.source.channels * np.dtype(dataset.source.dtype).itemsize
    return max(rows * length for rows, length in zip(calls.rows, calls.schedule.lengths, strict=True)) * values
