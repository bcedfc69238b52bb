"""What training carries from step to step, and what a step gathers, as trees of arrays."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from radmae_jax.train.objective import Objective


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """Everything a checkpoint holds, float32 but for the counters."""

    step: jax.Array  # int32, optimizer steps walked through, applied or not
    params: Any
    tables: Any  # constants such as the MAE's position tables; {} where a model has none
    moments: Any  # optimizer state
    average: Any  # running mean of the parameters (config.optim.ema); {} without one

    @property
    def used(self) -> Any:
        """The parameters that are evaluated and used."""
        return self.average or self.params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gathered:
    """Sums over the calls of a step; K buckets. Means are made once, in `apply`."""

    gradients: Any  # of the loss's numerator
    numerator: jax.Array  # float32 [K]
    denominator: jax.Array  # float32 [K]
    images: jax.Array  # float32 [K], images with weight
    tokens: jax.Array  # float32 [K], their real tokens
    unreadable: jax.Array  # float32, records that could not be read


def init_state(
    objective: Objective, optimizer: optax.GradientTransformation, seed: jax.Array | int, averaged: bool = False
) -> State:
    """A fresh state; jit it with shardings, or eval_shape it."""
    variables = objective.init(jax.random.key(seed))
    params = variables["params"]
    return State(
        jnp.zeros((), jnp.int32), params, variables.get("tables", {}), optimizer.init(params), mean_of(params, averaged)
    )


def mean_of(params: Any, averaged: bool) -> Any:
    """What a running mean of parameters begins as: arrays of their own, since a step's are given away."""
    return jax.tree.map(jnp.copy, params) if averaged else {}


def init_gathered(params: Any, buckets: int) -> Gathered:
    """An empty accumulator."""
    zeros = [jnp.zeros(buckets, jnp.float32) for _ in range(4)]
    return Gathered(jax.tree.map(jnp.zeros_like, params), *zeros, unreadable=jnp.zeros((), jnp.float32))
