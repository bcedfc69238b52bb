"""An objective and a bucket table to compiled programs, all of them before the first step."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from rich.table import Table

from radmae_jax.config import Config
from radmae_jax.data.batch import Batch
from radmae_jax.model.flops import TRAINING_FACTOR
from radmae_jax.train import sharding
from radmae_jax.train.objective import Objective
from radmae_jax.train.optim import learning_rate, make_optimizer
from radmae_jax.train.state import Gathered, State, init_gathered, init_state
from radmae_jax.train.steps import make_accumulate, make_apply


@dataclass(frozen=True)
class Program:
    """One compiled program and what it costs."""

    kind: str  # accumulate | apply | evaluate | predict
    tokens: int  # length of the bucket; 0 for apply
    rows: int
    compile_seconds: float
    flops: float  # analytic, of one call over all devices; 0 for apply
    memory_bytes: int  # of one device: arguments + outputs + temporaries - aliased; 0 where unknown
    call: Callable[..., Any]

    def facts(self) -> dict[str, Any]:
        """The program's row in a JSON report."""
        return {name: value for name, value in self.__dict__.items() if name != "call"}


@dataclass(frozen=True)
class Programs:
    """Everything a run calls on the device; accumulate and evaluate by bucket index."""

    accumulate: dict[int, Program]
    apply: Program
    evaluate: dict[int, Program]
    predict: Program | None  # one image of a panel, at the longest length that panels need
    init: Callable[[], State]
    empty: Callable[[], Gathered]
    abstract: State  # shapes with shardings, for restoring

    def all(self) -> list[Program]:
        panels = [self.predict] if self.predict else []
        return [*self.accumulate.values(), self.apply, *self.evaluate.values(), *panels]


def compile_programs(
    config: Config, objective: Objective, mesh: Mesh, lengths: tuple[int, ...], rows: tuple[int, ...],
    steps_per_epoch: int, training: set[int], validation: set[int], panels: int | None = None,
    told: Callable[[Program], None] = lambda program: None,
) -> Programs:  # fmt: skip
    """Compiles one accumulate for each bucket in `training`, one apply, one evaluate for each in `validation`, and
    one predict for the bucket `panels`, where there is something to draw."""
    optimizer = make_optimizer(config.optim)
    schedule = learning_rate(config.optim, steps_per_epoch, config.train.epochs)
    whole = sharding.replicated(mesh)
    steps = np.arange(steps_per_epoch * config.train.epochs)
    rates_of = np.asarray(jax.jit(jax.vmap(schedule))(steps), np.float32)

    def begin(seed: jax.Array | int) -> State:
        return init_state(objective, optimizer, seed, config.optim.ema > 0)

    shapes = jax.eval_shape(begin, 0)
    state_sharding = sharding.parameters(shapes, mesh)
    abstract = _placed(shapes, state_sharding)
    gathered_shapes = jax.eval_shape(lambda p: init_gathered(p, len(lengths)), shapes.params)
    gathered_sharding = sharding.gradients(gathered_shapes, mesh)
    gathered = _placed(gathered_shapes, gathered_sharding)

    def finish(kind: str, lowered: Any, bucket: int | None, flops: float, count: int = 0) -> Program:
        start = time.perf_counter()
        compiled = lowered.compile()
        seconds = time.perf_counter() - start
        tokens = 0 if bucket is None else lengths[bucket]
        program = Program(kind, tokens, count, seconds, flops, _memory(compiled), compiled)
        told(program)
        return program

    accumulate, evaluate = {}, {}
    for bucket in sorted(training):
        step = make_accumulate(objective, bucket)
        batch = _abstract_batch(config, mesh, rows[bucket], lengths[bucket], objective.labels)
        jitted = jax.jit(step, donate_argnums=2, out_shardings=gathered_sharding)
        flops = rows[bucket] * (TRAINING_FACTOR * objective.forward_flops(lengths[bucket]))
        lowered = jitted.lower(abstract.params, abstract.tables, gathered, batch)
        accumulate[bucket] = finish("accumulate", lowered, bucket, flops, rows[bucket])
    apply_jit = jax.jit(
        make_apply(optimizer, config.optim.layer_decay, config.optim.ema),
        donate_argnums=(0, 1),
        out_shardings=(state_sharding, gathered_sharding, whole),
    )
    rates = jax.make_array_from_callback(rates_of.shape, whole, lambda index: rates_of[index])
    apply = finish("apply", apply_jit.lower(abstract, gathered, rates), None, 0.0)
    with_rates = apply.call
    apply = replace(apply, call=lambda state, gathered: with_rates(state, gathered, rates))
    for bucket in sorted(validation):
        batch = _abstract_batch(config, mesh, rows[bucket], lengths[bucket], objective.labels)
        flops = rows[bucket] * objective.forward_flops(lengths[bucket])
        jitted = jax.jit(objective.evaluate, out_shardings=sharding.replicated(mesh))
        lowered = jitted.lower(abstract.params, abstract.tables, batch)
        evaluate[bucket] = finish("evaluate", lowered, bucket, flops, rows[bucket])
    predict = None
    if panels is not None and objective.predict is not None:
        # Every device computes the one image: rows of a panel need not divide the mesh.
        one = _abstract_batch(config, mesh, 1, lengths[panels], objective.labels)
        batch = _placed(one, Batch(*[whole] * len(Batch._fields)))
        lowered = jax.jit(objective.predict, out_shardings=whole).lower(abstract.params, abstract.tables, batch)
        predict = finish("predict", lowered, panels, objective.forward_flops(lengths[panels]), 1)
    begin_jit = jax.jit(begin, out_shardings=state_sharding)  # of any seed
    return Programs(
        accumulate,
        apply,
        evaluate,
        predict,
        init=lambda: begin_jit(config.train.seed),
        empty=jax.jit(lambda: _zeros(gathered_shapes), out_shardings=gathered_sharding),
        abstract=abstract,
    )


def table_of(programs: list[Program]) -> Table:
    """The programs as a table to print."""
    table = Table(title="Compiled programs", title_justify="left")
    for name in ("program", "tokens", "rows", "compile s", "GFLOP a call", "MiB a device"):
        table.add_column(name, justify="left" if name == "program" else "right")
    for p in programs:
        shape = (str(p.tokens), str(p.rows), f"{p.compile_seconds:.1f}", f"{p.flops / 1e9:,.2f}")
        shape = shape if p.tokens else ("", "", shape[2], "")
        table.add_row(p.kind, *shape, f"{p.memory_bytes / 2**20:,.0f}")
    return table


def _abstract_batch(config: Config, mesh: Mesh, rows: int, length: int, labels: int) -> Batch:
    values = config.model.patch**2 * config.model.channels
    by_rows = sharding.rows(mesh)

    def leaf(dtype: Any, *shape: int) -> Any:
        return jax.ShapeDtypeStruct((rows, *shape), dtype, sharding=by_rows)

    return Batch(
        patches=leaf(jnp.dtype(config.data.dtype), length, values),
        grid=leaf(jnp.int32, 2),
        extent=leaf(jnp.int32, 2),
        weight=leaf(jnp.float32),
        label=leaf(jnp.int32, labels),
        record=leaf(jnp.int32),
        epoch=leaf(jnp.int32),
    )


def _placed(shapes: Any, shardings: Any) -> Any:
    return jax.tree.map(lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, shardings)


def _zeros(shapes: Any) -> Any:
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def _memory(compiled: Any) -> int:
    analysis = compiled.memory_analysis()
    if analysis is None:
        return 0
    return (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
        - analysis.alias_size_in_bytes
    )
