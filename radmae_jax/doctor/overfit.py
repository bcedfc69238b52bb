"""A configuration and eight training images to whether the model can learn them by heart."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from radmae_jax.config import Config
from radmae_jax.data.batch import NO_RECORD, Batch
from radmae_jax.data.loader import load_rows
from radmae_jax.doctor.finding import Finding
from radmae_jax.doctor.prepared import Prepared, peak_flops
from radmae_jax.model.mae import Reconstruction, build
from radmae_jax.model.patches import mask_noise, mask_tokens, real_pixels, to_unit
from radmae_jax.train import sharding
from radmae_jax.train.blueprint import make_blueprint
from radmae_jax.train.losses import error_sums, weigh
from radmae_jax.train.programs import compile_programs
from radmae_jax.train.task import objective_of

_IMAGES = 8
_VISIBLE = 4  # an image of fewer visible patches cannot be known by them
_FEWEST = 100  # steps from which an unfinished check is judged
_EPOCHS = 10  # the steps are dealt as so many epochs, the first of which warms up
_LEARNT, _NOTHING = 0.25, 0.9  # of the baseline


@dataclass(frozen=True)
class Overfit:
    """How far a few images were learnt."""

    records: tuple[int, ...]
    tokens: int  # length of the bucket
    steps: int  # done
    wanted: int
    learning_rate: float
    baseline: float  # loss of predicting each image's mean; of a classifier: its first loss
    against: str  # what the baseline is, in words
    losses: tuple[float, ...]  # of each step
    seconds: float  # compiling not counted

    @property
    def share(self) -> float:
        """The last losses' mean as a share of the baseline."""
        return float(np.mean(self.losses[-5:])) / self.baseline


def overfit(
    prepared: Prepared, steps: int, seconds: float, told: Callable[[int], None] = lambda done: None
) -> Overfit | str:
    """Trains the configured model for some steps on eight images, always masked alike; or says why it did not.

    The learning rate is the configured one, after a tenth of the steps; nothing that hinders learning by heart is on:
    decay, augmentation, label smoothing, dropped branches.
    """
    if steps == 0:
        return "not asked for (--overfit-steps 0)"
    config = _eased(prepared.config)
    bucket, records = _choose(prepared)
    length = prepared.calls.schedule.lengths[bucket]
    devices = prepared.mesh.size
    rows = max(devices, min(-(-_IMAGES // devices) * devices, prepared.calls.rows[bucket]))
    parts = [records[at : at + rows] for at in range(0, len(records), rows)]
    flops = 3 * len(parts) * rows * prepared.objective.forward_flops(length)
    least = flops / (peak_flops(config.model.dtype) * devices)
    if min(steps, _FEWEST) * least > seconds:
        return (
            f"a step takes at least {least:.1f} s on this device, and {min(steps, _FEWEST)} do not fit into "
            f"{seconds:.0f} s (--overfit-seconds)"
        )
    objective = objective_of(config, prepared.dataset.class_images())
    plan = make_blueprint(config, objective, prepared.mesh, (length,), (rows,), -(-steps // _EPOCHS))
    programs = compile_programs(plan, {0}, set())
    by_rows = sharding.rows(prepared.mesh)
    batches = [_batch(prepared, part, rows, length) for part in parts]
    if not sum(float(batch.weight.sum()) for batch in batches):
        return "none of the images chosen could be read"
    on_device = [sharding.to_global(batch, by_rows) for batch in batches]
    state, gathered = programs.init(), programs.empty()
    losses, began = [], time.perf_counter()
    while len(losses) < steps and time.perf_counter() - began < seconds:
        for batch in on_device:
            gathered = programs.accumulate[0].call(state.params, state.tables, gathered, batch)
        state, gathered, report = programs.apply.call(state, gathered)
        losses.append(float(report.numerator.sum()) / float(report.denominator.sum()))
        told(1)
        if not math.isfinite(losses[-1]):
            break
    reconstructs = config.task.kind == "reconstruct"
    baseline = mean_error(config, batches) if reconstructs else losses[0]
    return Overfit(
        tuple(r for r in records.tolist() if r != NO_RECORD), length, len(losses), steps, config.optim.learning_rate,
        baseline, "their means score" if reconstructs else "the untrained model scores", tuple(losses),
        time.perf_counter() - began,
    )  # fmt: skip


def mean_error(config: Config, batches: list[Batch]) -> float:
    """The loss, as config.loss has it, of predicting the mean of each image everywhere inside it and 0 outside; of
    normalised patches, whose means are 0, of predicting 0."""
    shape, loss = build(config.model).shape, config.loss

    @jax.jit
    def sums_of(batch: Batch) -> tuple[jax.Array, jax.Array]:
        length = batch.patches.shape[1]
        noise = mask_noise(config.train.seed, batch.epoch, batch.record, length)
        masking = mask_tokens(noise, batch.grid[:, 0] * batch.grid[:, 1], shape.mask_ratio)
        tokens = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32)[None, :], batch.patches.shape[:2])
        inside = real_pixels(tokens, batch.grid, batch.extent, shape.patch, shape.channels)
        values = jnp.where(inside, to_unit(batch.patches), 0.0)
        mean = jnp.sum(values, axis=(1, 2), keepdims=True) / jnp.sum(inside, axis=(1, 2), keepdims=True)
        prediction = jnp.zeros_like(values) if loss.norm_pix else jnp.where(inside, mean, 0.0)
        each = error_sums(Reconstruction(prediction, masking), batch.patches, batch.grid, batch.extent, shape, loss)
        return weigh(*each, batch.weight, loss.weighting)

    total, count = np.sum([jax.device_get(sums_of(batch)) for batch in batches], axis=0)
    return float(total / count)


def check_overfit(found: Overfit | str) -> Finding:
    """Whether eight images are learnt; a model that cannot do that will not learn an archive."""
    if isinstance(found, str):
        return Finding("over-fit", "skipped", found)
    first, last, share = found.losses[0], found.losses[-1], found.share
    said = (
        f"{len(found.records)} images, {found.steps} steps at {found.learning_rate:g}: loss {first:.4g} to {last:.4g}, "
        f"{share:.0%} of what {found.against}"
    )
    if not math.isfinite(last):
        text = f"the loss was {last} after {found.steps} steps at learning rate {found.learning_rate:g}; lower it"
        return Finding("over-fit", "stop", text)
    if share <= _LEARNT:
        return Finding("over-fit", "ok", f"{said}: learnt by heart")
    if found.steps < _FEWEST:
        cut = " (--overfit-seconds)" if found.steps < found.wanted else " (--overfit-steps)"
        late = f"{said}; {found.steps} steps in {found.seconds:.0f} s are too few to judge{cut}"
        return Finding("over-fit", "skipped", late)
    if share > _NOTHING:
        text = f"{said}: nothing is learnt; is the learning rate far too low or high, or the configuration broken?"
        return Finding("over-fit", "stop", text)
    text = f"{said}: not learnt by heart yet; more steps (--overfit-steps) or a higher learning rate tell"
    return Finding("over-fit", "look", text)


def _eased(config: Config) -> Config:
    return replace(
        config,
        optim=replace(config.optim, warmup_epochs=1.0, weight_decay=0.0, layer_decay=1.0, ema=0.0),
        train=replace(config.train, epochs=_EPOCHS),
        task=replace(config.task, smoothing=0.0, drop_path=0.0, balance=False),
    )


def _choose(prepared: Prepared) -> tuple[int, np.ndarray]:
    """The shortest bucket that has eight training images of enough patches, and eight of them; else the one that has
    the most such images."""
    dataset, config = prepared.dataset, prepared.config
    records = dataset.records("train")
    tokens = dataset.source.grids[records].prod(axis=1)
    enough = (tokens * (1 - config.model.mask_ratio) >= _VISIBLE) | (config.task.kind == "classify")
    records = records[enough] if enough.any() else records
    counts = np.bincount(dataset.bucket[records], minlength=len(dataset.table.lengths))
    able = np.flatnonzero(counts >= _IMAGES)
    bucket = int(able[0]) if len(able) else int(np.argmax(counts))
    own = records[dataset.bucket[records] == bucket]
    chosen = np.random.default_rng(config.train.seed).permutation(own)[:_IMAGES]
    return bucket, np.sort(chosen)


def _batch(prepared: Prepared, records: np.ndarray, rows: int, length: int) -> Batch:
    filled = np.full(rows, NO_RECORD, np.int32)
    filled[: len(records)] = records
    return load_rows(prepared.dataset.source, filled, length, 0)[0]
