"""An objective, a mesh and a bucket table to programs that are lowered but not compiled, and the shapes they take.

Nothing here needs a device: the mesh may be of a topology that is described only.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from radmae_jax.config import Config
from radmae_jax.data.batch import Batch
from radmae_jax.model.flops import TRAINING_FACTOR
from radmae_jax.train import sharding
from radmae_jax.train.objective import Objective
from radmae_jax.train.optim import learning_rates, make_optimizer
from radmae_jax.train.state import Gathered, State, init_gathered, init_state
from radmae_jax.train.steps import make_accumulate, make_apply

RATES = 4096  # learning rates in a block of the table that programs take


@dataclass(frozen=True)
class Lowered:
    """One program before the compiler."""

    kind: str  # accumulate | apply | evaluate | predict
    tokens: int  # length of the bucket; 0 for apply
    rows: int  # over all devices; 0 for apply
    flops: float  # analytic, of one call over all devices; 0 for apply
    stage: jax.stages.Lowered

    def compile(self) -> tuple[jax.stages.Compiled, float]:
        """The compiled program, and the seconds it took."""
        start = time.perf_counter()
        compiled = self.stage.compile()
        return compiled, time.perf_counter() - start


@dataclass(frozen=True)
class Blueprint:
    """All programs of a run, each lowered when asked for, over the devices of one mesh."""

    config: Config
    objective: Objective
    mesh: Mesh
    lengths: tuple[int, ...]
    rows: tuple[int, ...]  # of a call, by bucket
    begin: Callable[[Any], State]  # a seed to a fresh state
    state: State  # shapes with shardings
    gathered: Gathered  # likewise
    rates: np.ndarray  # float32 [steps], the learning rate of each

    def accumulate(self, bucket: int) -> Lowered:
        """Adds one call's gradients to what is gathered, which is given away."""
        step = make_accumulate(self.objective, bucket)
        jitted = jax.jit(step, donate_argnums=2, out_shardings=shardings(self.gathered))
        flops = TRAINING_FACTOR * self.objective.forward_flops(self.lengths[bucket])
        batch = self.batch(bucket, self.rows[bucket])
        return self._lowered(
            "accumulate", bucket, flops, jitted, self.state.params, self.state.tables, self.gathered, batch
        )

    @property
    def rate_table(self) -> np.ndarray:
        """The learning rates as `apply` takes them: the last one fills up to a multiple of RATES, so that runs of other
        lengths, and those that continue others, have the same program."""
        return np.pad(self.rates, (0, -len(self.rates) % RATES), mode="edge")

    def apply(self) -> Lowered:
        """One optimizer step from what is gathered; state and gathered are given away."""
        optim, whole = self.config.optim, sharding.replicated(self.mesh)
        jitted = jax.jit(
            make_apply(make_optimizer(optim), optim.layer_decay, optim.ema),
            donate_argnums=(0, 1),
            out_shardings=(shardings(self.state), shardings(self.gathered), whole),
        )
        rates = jax.ShapeDtypeStruct(self.rate_table.shape, self.rate_table.dtype, sharding=whole)
        asked = jax.ShapeDtypeStruct((self.mesh.size,), np.int32, sharding=sharding.rows(self.mesh))
        return self._lowered("apply", None, 0.0, jitted, self.state, self.gathered, rates, asked)

    def evaluate(self, bucket: int) -> Lowered:
        """The objective's sums over one call's images."""
        jitted = jax.jit(self.objective.evaluate, out_shardings=sharding.replicated(self.mesh))
        flops = self.objective.forward_flops(self.lengths[bucket])
        batch = self.batch(bucket, self.rows[bucket])
        return self._lowered("evaluate", bucket, flops, jitted, self.state.params, self.state.tables, batch)

    def predict(self, bucket: int) -> Lowered:
        """One image of a panel; every device computes it: a single row need not divide the mesh."""
        if self.objective.predict is None:
            raise ValueError("this objective predicts no pixels")
        whole = sharding.replicated(self.mesh)
        batch = placed(self.batch(bucket, 1), Batch(*[whole] * len(Batch._fields)))
        jitted = jax.jit(self.objective.predict, out_shardings=whole)
        flops = self.objective.forward_flops(self.lengths[bucket])
        return self._lowered("predict", bucket, flops, jitted, self.state.params, self.state.tables, batch, rows=1)

    def batch(self, bucket: int, rows: int) -> Batch:
        """The shapes of a call's images."""
        model, by_rows = self.config.model, sharding.rows(self.mesh)

        def leaf(dtype: Any, *shape: int) -> Any:
            return jax.ShapeDtypeStruct((rows, *shape), dtype, sharding=by_rows)

        return Batch(
            patches=leaf(jnp.dtype(self.config.data.dtype), self.lengths[bucket], model.patch**2 * model.channels),
            grid=leaf(jnp.int32, 2),
            extent=leaf(jnp.int32, 2),
            weight=leaf(jnp.float32),
            label=leaf(jnp.int32, self.objective.labels),
            record=leaf(jnp.int32),
            epoch=leaf(jnp.int32),
        )

    def _lowered(
        self, kind: str, bucket: int | None, flops: float, jitted: Any, *arguments: Any, rows: int | None = None
    ) -> Lowered:
        with jax.set_mesh(self.mesh):  # kernels that the compiler cannot split ask for it
            stage = jitted.lower(*arguments)
        if bucket is None:
            return Lowered(kind, 0, 0, 0.0, stage)
        rows = self.rows[bucket] if rows is None else rows
        return Lowered(kind, self.lengths[bucket], rows, rows * flops, stage)


def make_blueprint(
    config: Config, objective: Objective, mesh: Mesh, lengths: tuple[int, ...], rows: tuple[int, ...],
    steps_per_epoch: int,
) -> Blueprint:  # fmt: skip
    """Shapes and shardings of a run's programs; `rows` are a call's, over all devices, by bucket."""
    optimizer = make_optimizer(config.optim)

    def begin(seed: jax.Array | int) -> State:
        return init_state(objective, optimizer, seed, config.optim.ema > 0)

    shapes = jax.eval_shape(begin, 0)
    where = replace(sharding.over_fsdp(shapes, mesh), moments=sharding.over_all(shapes.moments, mesh))
    state = placed(shapes, where)
    gathered = jax.eval_shape(lambda p: init_gathered(p, len(lengths)), shapes.params)
    gathered = placed(gathered, sharding.over_all(gathered, mesh))
    rates = learning_rates(config.optim, steps_per_epoch, config.train.epochs)
    return Blueprint(config, objective, mesh, lengths, rows, begin, state, gathered, rates)


def shardings(shapes: Any) -> Any:
    """Where each leaf of a tree of shapes lives."""
    return jax.tree.map(lambda leaf: leaf.sharding, shapes)


def placed(shapes: Any, where: Any) -> Any:
    """The shapes with these shardings."""
    return jax.tree.map(lambda s, at: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=at), shapes, where)
