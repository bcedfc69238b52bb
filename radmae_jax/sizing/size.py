"""A configuration, image sizes and a topology to what training needs and at most reaches there, without the chips."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from radmae_jax.bench.plan import Plan
from radmae_jax.config import Config
from radmae_jax.model.attention import choose
from radmae_jax.model.flops import TRAINING_FACTOR
from radmae_jax.sizing.chips import Chip
from radmae_jax.sizing.program import Compiled, compile_or_read
from radmae_jax.sizing.topology import devices_of
from radmae_jax.train import sharding
from radmae_jax.train.blueprint import Blueprint, make_blueprint
from radmae_jax.train.fit import batch_bytes, device_bytes, resident_bytes, rows_of, total_bytes
from radmae_jax.train.objective import Objective
from radmae_jax.train.task import objective_of


@dataclass(frozen=True)
class Need:
    """One training program. Rows, bytes and FLOPs are those of one chip in one call."""

    kind: str  # accumulate | apply
    rows: int
    tokens: int  # 0 for apply
    fits: bool
    # While it runs, all that a run keeps included: parameters, moments, accumulator, this call's images and the next's
    hbm_bytes: int
    temporary_bytes: int
    flops: float  # analytic
    collective_bytes: int
    collectives: dict[str, int]  # by kind
    compile_seconds: float
    kept: bool  # whether the figures are of an earlier compilation
    roofline_seconds: float | None  # at least so long; None where the chip is not known
    bound: str  # what bounds it: compute | memory | links; "" where the chip is not known
    refused: str  # the compiler's words where it refused


@dataclass(frozen=True)
class Sizing:
    """What a configuration needs on a topology. Speeds are upper bounds by rooflines, not forecasts."""

    topology: str
    chip: str
    chips: int
    chip_hbm_bytes: int | None
    attention: str
    resident_bytes: dict[str, int]  # of one chip, by part
    buckets: list[Need]
    apply: Need
    images_per_second: float | None  # at most
    mfu: float | None  # at most: FLOPs of the images' own tokens over what the chips could do in that time
    hours: float | None  # at least, of all epochs

    @property
    def fits(self) -> bool:
        """Whether every program fits."""
        return all(need.fits for need in (*self.buckets, self.apply))

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"fits": self.fits}


def size(
    config: Config, topology: str, plan: Plan, *, longest_only: bool = False, cache: Path | None = None,
    told: Callable[[Need], None] = lambda need: None,
) -> Sizing:  # fmt: skip
    """Compiles every training program of a plan for a topology, the longest first.

    Args:
      plan: of an epoch, see `make_plan`.
      longest_only: compiles the longest bucket and apply; speeds are None.
      cache: where figures of compilations are kept; None: nowhere.
    """
    devices, chip = devices_of(topology)
    if config.model.attention == "auto" and topology != "here":
        # What training takes there, where the default device is that of the slice.
        chosen = choose(devices[0].platform, np.dtype(config.model.dtype), 0)
        config = replace(config, model=replace(config.model, attention=chosen))
    # All buckets, used or not, as training has them: programs are the same, and what is compiled here is found there.
    lengths = tuple(bucket.tokens for bucket in plan.buckets)
    used = [at for at, bucket in enumerate(plan.buckets) if bucket.groups]
    mesh = sharding.make_mesh(config.train.fsdp, devices)
    objective, capacity = objective_of(config), chip.hbm_bytes if chip else device_bytes(devices[0])

    def blueprint_of(rows: tuple[int, ...]) -> Blueprint:
        return make_blueprint(config, objective, mesh, lengths, rows, plan.steps)

    def measure(blueprint: Blueprint, bucket: int) -> float:
        found = compile_or_read(blueprint.accumulate(bucket), topology, cache)
        return math.inf if found.refused else total_bytes(blueprint, bucket, found.program_bytes)

    rows = rows_of(config, lengths, plan.group, mesh.size, blueprint_of, capacity, measure)
    blueprint = blueprint_of(rows)
    needs: dict[int | None, Need] = {}
    for at in [used[-1], None, *([] if longest_only else used[-2::-1])]:
        needs[at] = _need(blueprint, at, topology, chip, capacity, cache)
        told(needs[at])
    buckets = [needs[at] for at in used if at in needs]
    apply, images = needs[None], None
    seconds = None
    if chip and not longest_only:
        calls = [plan.buckets[at].groups * plan.group // rows[at] for at in used]
        seconds = plan.steps * (apply.roofline_seconds or 0.0)
        seconds += sum(n * (need.roofline_seconds or 0.0) for n, need in zip(calls, buckets, strict=True))
        images = plan.images / seconds
    return Sizing(
        topology, chip.name if chip else devices[0].device_kind, mesh.size, capacity, config.model.attention,
        resident_bytes(blueprint), buckets, apply, images,
        _useful(objective, plan) / (seconds * mesh.size * chip.bf16_flops) if chip and seconds else None,
        config.train.epochs * seconds / 3600 if seconds else None,
    )  # fmt: skip


def _need(
    plan: Blueprint, bucket: int | None, topology: str, chip: Chip | None, capacity: int | None, cache: Path | None
) -> Need:
    lowered = plan.apply() if bucket is None else plan.accumulate(bucket)
    found, chips = compile_or_read(lowered, topology, cache), plan.mesh.size
    kept = resident_bytes(plan)
    total, moving = total_bytes(plan, bucket, found.program_bytes), sum(kept.values())
    if bucket is not None:
        moving = kept["parameters"] + kept["accumulator"] + batch_bytes(plan, bucket)
    fits = not found.refused and (capacity is None or total <= capacity)
    seconds, bound = _roofline(chip, lowered.flops / chips, moving, found)
    return Need(
        lowered.kind, lowered.rows // chips, lowered.tokens, fits, total, found.temporary_bytes, lowered.flops / chips,
        sum(found.received.values()), found.received, found.seconds, found.kept, seconds, bound, found.refused,
    )  # fmt: skip


def _roofline(chip: Chip | None, flops: float, moving: int, found: Compiled) -> tuple[float | None, str]:
    """Seconds that one call takes at least, and why: the most of computing at the chip's peak, of reading from memory
    once all that it takes, and of receiving what others hold over all links; they may overlap."""
    if chip is None:
        return None, ""
    least = {
        "compute": flops / chip.bf16_flops,
        "memory": moving / chip.hbm_bandwidth,
        "links": sum(found.received.values()) / chip.link_bandwidth,
    }
    bound = max(least, key=lambda name: least[name])
    return least[bound], bound


def _useful(objective: Objective, plan: Plan) -> float:
    """Training FLOPs of an epoch's images at their own number of tokens."""
    tokens, images = np.unique(plan.image_tokens, return_counts=True)
    each = [TRAINING_FACTOR * objective.forward_flops(int(n)) for n in tokens]
    return float(np.dot(each, images))
