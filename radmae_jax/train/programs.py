"""A run's blueprint to compiled programs, all of them before the first step."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from radmae_jax.train import sharding
from radmae_jax.train.blueprint import Blueprint, Lowered, shardings
from radmae_jax.train.state import Gathered, State


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
    apply: Program  # call(state, gathered, asked=False): asked, whether this process was asked to stop
    evaluate: dict[int, Program]
    predict: Program | None  # one image of a panel, at the longest length that panels need
    init: Callable[[], State]
    empty: Callable[[], Gathered]
    abstract: State  # shapes with shardings, for restoring

    def all(self) -> list[Program]:
        panels = [self.predict] if self.predict else []
        return [*self.accumulate.values(), self.apply, *self.evaluate.values(), *panels]


def compile_programs(
    plan: Blueprint, training: set[int], validation: set[int], panels: int | None = None,
    told: Callable[[Program], None] = lambda program: None,
) -> Programs:  # fmt: skip
    """Compiles one accumulate for each bucket in `training`, one apply, one evaluate for each in `validation`, and
    one predict for the bucket `panels`, where there is something to draw."""

    def finish(lowered: Lowered) -> Program:
        compiled, seconds = lowered.compile()
        memory = hbm_bytes(compiled.memory_analysis())
        program = Program(lowered.kind, lowered.tokens, lowered.rows, seconds, lowered.flops, memory, compiled)
        told(program)
        return program

    accumulate = {bucket: finish(plan.accumulate(bucket)) for bucket in sorted(training)}
    whole = sharding.replicated(plan.mesh)
    table = plan.rate_table
    rates = jax.make_array_from_callback(table.shape, whole, lambda index: table[index])
    apply = finish(plan.apply())
    flags = [
        sharding.to_global(np.full(len(plan.mesh.local_devices), flag, np.int32), sharding.rows(plan.mesh))
        for flag in (0, 1)
    ]
    whole_apply = apply.call
    apply = replace(
        apply, call=lambda state, gathered, asked=False: whole_apply(state, gathered, rates, flags[bool(asked)])
    )
    evaluate = {bucket: finish(plan.evaluate(bucket)) for bucket in sorted(validation)}
    predict = None
    if panels is not None and plan.objective.predict is not None:
        predict = finish(plan.predict(panels))
    begin_jit = jax.jit(plan.begin, out_shardings=shardings(plan.state))  # of any seed
    return Programs(
        accumulate,
        apply,
        evaluate,
        predict,
        init=lambda: begin_jit(plan.config.train.seed),
        empty=jax.jit(lambda: _zeros(plan.gathered), out_shardings=shardings(plan.gathered)),
        abstract=plan.state,
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


def too_large(error: Exception) -> bool:
    """Whether a compiler refused a program because it does not fit the device's memory."""
    return "RESOURCE_EXHAUSTED" in str(error)


def hbm_bytes(analysis: Any) -> int:
    """Memory of one device while a program runs: arguments + outputs + temporaries - aliased; 0 where unknown."""
    if analysis is None:
        return 0
    return (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
        - analysis.alias_size_in_bytes
    )


def _zeros(shapes: Any) -> Any:
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
