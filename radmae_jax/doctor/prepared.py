"""A configuration and an opened archive to the compiled programs that the doctor measures: a few of a run's."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from radmae_jax.config import Augment, Config, Train
from radmae_jax.data.dataset import Dataset
from radmae_jax.data.loader import LoadCall
from radmae_jax.data.schedule import Calls, choose_rows
from radmae_jax.train import sharding
from radmae_jax.train.blueprint import make_blueprint
from radmae_jax.train.objective import Objective
from radmae_jax.train.programs import Program, Programs, compile_programs, too_large
from radmae_jax.train.task import objective_of

_SIDE = 1024  # of the matrices whose product says how fast a device is


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a run would train with, its programs compiled for its shortest, longest and heaviest buckets only."""

    config: Config
    dataset: Dataset
    objective: Objective
    mesh: jax.sharding.Mesh
    calls: Calls
    programs: Programs
    refused: str  # why the largest buckets did not compile; "" where they did

    @property
    def devices(self) -> list:
        return list(self.mesh.devices.flat)

    @property
    def load(self) -> LoadCall:
        """The loader of training."""
        augmented = self.config.augment != Augment()
        return LoadCall(self.calls.call, self.calls.schedule.lengths, self.dataset.source, augmented=augmented)


class TooLarge(ValueError):
    """Not even the smallest bucket's program compiles for this device."""


def prepare(config: Config, dataset: Dataset, told: Callable[[Program], None] = lambda program: None) -> Prepared:
    """Compiles. Errors: ValueError where rows, groups and devices do not fit together, as in training; TooLarge."""
    objective = objective_of(config, dataset.class_images())
    mesh = sharding.make_mesh(config.train.fsdp)
    schedule = dataset.schedule(config)
    bound = config.train.tokens_per_device or Train.tokens_per_device  # 0, what fits, is training's
    rows = choose_rows(schedule.lengths, schedule.group, mesh.size, config.train.rows, bound)
    used = [bucket for bucket, groups in enumerate(schedule.groups_per_bucket) if groups]
    heaviest = max(used, key=lambda bucket: (rows[bucket] * schedule.lengths[bucket], bucket))
    chosen = {used[0], heaviest, used[-1]}

    plan = make_blueprint(config, objective, mesh, schedule.lengths, rows, schedule.steps_per_epoch)

    def compiled(buckets: set[int]) -> Programs:
        return compile_programs(plan, buckets, set(), told=told)

    refused = ""
    for buckets in dict.fromkeys((frozenset(chosen), frozenset(used[:1]))):
        try:
            programs = compiled(set(buckets))
        except jax.errors.JaxRuntimeError as error:  # some compilers refuse what does not fit
            if not too_large(error):
                raise
            refused = str(error).splitlines()[0]
        else:
            return Prepared(config, dataset, objective, mesh, Calls(schedule, rows), programs, refused)
    raise TooLarge(refused)


def peak_flops(dtype: str) -> float:
    """FLOP/s of one product of matrices of this dtype on the first device: what no program is faster than, about."""
    matrix = jnp.ones((_SIDE, _SIDE), dtype)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(matrix))
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < 0.1 or not calls:
        jax.block_until_ready(product(matrix))
        calls += 1
    return calls * 2 * _SIDE**3 / (time.perf_counter() - began)
