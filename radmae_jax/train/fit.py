"""Memory of a device to rows of each program's calls: what a run keeps there, and how many rows fit beside it."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from radmae_jax.config import Config
from radmae_jax.data.schedule import allowed_rows, choose_rows
from radmae_jax.train.blueprint import Blueprint
from radmae_jax.train.programs import hbm_bytes, too_large

# Of a device's memory, what rows that were not compiled are predicted to fill at most.
_PREDICTED = 0.95
MOST_TRIES = 4


def resident_bytes(plan: Blueprint) -> dict[str, int]:
    """Bytes that a run keeps on one device, by what they are."""
    state, gathered = plan.state, plan.gathered
    return {
        "parameters": bytes_of(state.params),
        "average": bytes_of(state.average),
        "moments": bytes_of(state.moments),
        "accumulator": bytes_of(gathered),
        "tables": bytes_of((state.tables, state.step)),
    }


def batch_bytes(plan: Blueprint, bucket: int) -> int:
    """Bytes of one device's rows of a call."""
    return bytes_of(plan.batch(bucket, plan.rows[bucket]))


def bytes_of(tree: Any) -> int:
    """Of shapes with shardings: what one device holds."""

    def one(leaf: Any) -> int:
        return int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize

    return sum(map(one, jax.tree.leaves(tree)))


def total_bytes(plan: Blueprint, bucket: int | None, program_bytes: int) -> int:
    """Bytes of one device while a program runs, with what it does not take but lies beside it: the optimizer's moments,
    the running mean, and the next call's images, which may be of any bucket.

    bucket: of an accumulate program; None: apply, which takes all but images.
    """
    following = max(batch_bytes(plan, at) for at in range(len(plan.lengths)))
    if bucket is None:
        return program_bytes + following
    kept = resident_bytes(plan)
    return program_bytes + kept["moments"] + kept["average"] + following


def device_bytes(device: Any) -> int | None:
    """Memory that programs may use on a device; None where it does not say."""
    stats = device.memory_stats() if hasattr(device, "memory_stats") else None
    return stats.get("bytes_limit") if stats else None


def rows_of(
    config: Config, lengths: tuple[int, ...], group: int, devices: int, make: Callable[[tuple[int, ...]], Blueprint],
    capacity: int | None, measure: Callable[[Blueprint, int], float] | None = None,
) -> tuple[int, ...]:  # fmt: skip
    """Rows of each bucket as config.train.rows and tokens_per_device say; see `choose_rows` and `fit_rows`."""
    train = config.train
    if train.rows or train.tokens_per_device:
        return choose_rows(lengths, group, devices, train.rows, train.tokens_per_device)
    if capacity is None:
        raise ValueError(
            "config.train.tokens_per_device is 0, as many as the device's memory takes, and this device does not say "
            "how much that is; set a bound"
        )
    return fit_rows(make, lengths, group, devices, capacity, measure)


def least(capacities: list[int | None]) -> int | None:
    """The smallest of several processes' devices; None where one does not say."""
    known = [capacity for capacity in capacities if capacity is not None]
    return min(known) if len(known) == len(capacities) else None


def fit_rows(
    make: Callable[[tuple[int, ...]], Blueprint], lengths: tuple[int, ...], group: int, devices: int, capacity: int,
    measure: Callable[[Blueprint, int], float] | None = None,
) -> tuple[int, ...]:  # fmt: skip
    """The most rows of each bucket whose tokens a device stay within what fits for the longest one.

    Compiles the longest bucket at most 4 times: with the fewest rows and the next, from which the most is predicted,
    and to make sure of it.

    Args:
      make: rows by bucket to a blueprint.
      capacity: bytes of a device.
      measure: bytes of a device while a blueprint's bucket runs, infinite where the compiler refuses; None: compiles.

    ValueError where not even the fewest rows fit.
    """
    measure = measure or _compiled_bytes
    allowed, longest = allowed_rows(group, devices), len(lengths) - 1
    needs: dict[int, float] = {}

    def fits(rows: int) -> bool:
        if rows not in needs:
            needs[rows] = measure(make((rows,) * len(lengths)), longest)
        return needs[rows] <= capacity

    if not fits(allowed[0]):
        need = needs[allowed[0]] / 2**30
        raise ValueError(
            f"{allowed[0] // devices} rows of {lengths[longest]:,} tokens a device need {need:.2f} GiB, it has "
            f"{capacity / 2**30:.2f}: set config.model.remat or a larger config.train.fsdp"
        )
    best = allowed[0]
    if len(allowed) > 1 and fits(allowed[1]):
        first, best = allowed[0], allowed[1]
        each = (needs[best] - needs[first]) / (best - first)
        predicted = [n for n in allowed if needs[first] + each * (n - first) <= _PREDICTED * capacity]
        larger = [n for n in predicted if n > best][-(MOST_TRIES - 2) :]
        best = next((n for n in reversed(larger) if fits(n)), best)
    return choose_rows(lengths, group, devices, 0, best // devices * lengths[longest])


def _compiled_bytes(plan: Blueprint, bucket: int) -> float:
    try:
        compiled, _ = plan.accumulate(bucket).compile()
    except jax.errors.JaxRuntimeError as error:
        if not too_large(error):
            raise
        return math.inf
    return total_bytes(plan, bucket, hbm_bytes(compiled.memory_analysis()))
