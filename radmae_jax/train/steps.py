"""The programs of training, whatever is trained: one `accumulate` a bucket, and one `apply`."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from radmae_jax.data.batch import Batch
from radmae_jax.train.objective import Objective
from radmae_jax.train.optim import layer_scales
from radmae_jax.train.state import Gathered, State, init_gathered


class StepReport(NamedTuple):
    """What a step gives back; scalars, and vectors over K buckets."""

    numerator: jax.Array  # float32 [K]; sum / sum is the step's loss
    denominator: jax.Array  # float32 [K]
    images: jax.Array  # float32 [K]
    tokens: jax.Array  # float32 [K]
    unreadable: jax.Array
    gradient_norm: jax.Array
    learning_rate: jax.Array
    applied: jax.Array  # bool: false where the gradient was not finite and the state was kept
    asked: jax.Array  # bool: whether some process was asked to stop, the same on all of them


def hold_key_biases(params: dict) -> dict:
    """The parameters with no gradient to the biases of attention keys.

    A key bias adds the same number to all scores of a query, which the softmax does not see: the true gradient is 0.
    What rounding leaves of it Adam would scale up to whole steps, a random walk that differs with every way of summing.
    """

    def one(path: tuple, leaf: jax.Array) -> jax.Array:
        names = [key.key for key in path[-2:]]
        return jax.lax.stop_gradient(leaf) if names == ["key", "bias"] else leaf

    return jax.tree.map_with_path(one, params)


def make_accumulate(objective: Objective, bucket: int):
    """accumulate(params, tables, gathered, batch) -> gathered: adds one call's gradients of sums, and its counts."""

    def numerator(params: dict, tables: dict, batch: Batch) -> tuple[jax.Array, jax.Array]:
        return objective.loss(hold_key_biases(params), tables, batch)

    def accumulate(params: dict, tables: dict, gathered: Gathered, batch: Batch) -> Gathered:
        (total, count), gradients = jax.value_and_grad(numerator, has_aux=True)(params, tables, batch)
        tokens = jnp.sum(batch.weight * (batch.grid[:, 0] * batch.grid[:, 1]))
        return Gathered(
            gradients=jax.tree.map(jnp.add, gathered.gradients, gradients),
            numerator=gathered.numerator.at[bucket].add(total),
            denominator=gathered.denominator.at[bucket].add(count),
            images=gathered.images.at[bucket].add(jnp.sum(batch.weight)),
            tokens=gathered.tokens.at[bucket].add(tokens),
            unreadable=gathered.unreadable + jnp.sum((batch.record >= 0) & (batch.weight == 0)),
        )

    return accumulate


def make_apply(optimizer: optax.GradientTransformation, layer_decay: float = 1.0, ema: float = 0.0):
    """apply(state, gathered, rates, asked) -> (state, emptied gathered, report): one optimizer step from the sums.

    `rates`, float32 [steps or more], are the learning rates of all steps: an argument, so that runs that differ in
    nothing else share their program. `asked`, int32 [devices], is 1 on those of a process that was asked to stop.

    Args:
      layer_decay, ema: see `radmae_jax.config.Optim`. The mean's decay rises from 1/10 as (1 + n) / (10 + n) over n
        steps, so that it forgets where training began.

    Where the gradient's norm is not finite the parameters and moments stay as they were; the step is still counted,
    since the schedule walks on. The result equals one batch of all the images, padded alike.
    """

    def apply(
        state: State, gathered: Gathered, rates: jax.Array, asked: jax.Array
    ) -> tuple[State, Gathered, StepReport]:
        # A step of fillers only has nothing to divide by; its gradient is 0.
        denominator = jnp.maximum(jnp.sum(gathered.denominator), 1e-30)
        gradients = jax.tree.map(lambda g: g / denominator, gathered.gradients)
        norm = optax.tree.norm(gradients)
        rate = rates[state.step]
        updates, moments = optimizer.update(gradients, state.moments, state.params)
        scales = layer_scales(state.params, layer_decay)
        params = jax.tree.map(lambda p, u, scale: p - rate * scale * u, state.params, updates, scales)

        # The parameters too: a rate or a decay may overflow where the gradient does not.
        sound = jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(params)])
        finite = jnp.isfinite(norm) & jnp.isfinite(jnp.sum(gathered.numerator)) & jnp.all(sound)

        def keep(new, old):
            return jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)

        params = keep(params, state.params)
        average = state.average
        if ema:
            decay = jnp.minimum(ema, (1.0 + state.step) / (10.0 + state.step))
            average = jax.tree.map(lambda a, p: decay * a + (1.0 - decay) * p, average, params)
        advanced = dataclasses.replace(
            state, step=state.step + 1, params=params, moments=keep(moments, state.moments), average=average
        )
        report = StepReport(
            gathered.numerator, gathered.denominator, gathered.images, gathered.tokens, gathered.unreadable,
            norm, rate, finite, jnp.any(asked > 0),
        )  # fmt: skip
        return advanced, init_gathered(state.params, gathered.numerator.shape[0]), report

    return apply
