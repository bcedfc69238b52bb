"""Attention of a ViT to how much each patch of an image counts: attention rollout (Abnar & Zuidema 2020)."""

from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from radmae_jax.data.batch import NO_RECORD, Batch
from radmae_jax.evaluate.passes import Reading, over_records
from radmae_jax.model.classifier import Classifier

_COLLECTION = "attention"  # where blocks leave their weights, see vit.Block


class Rolled(NamedTuple):
    """Rollouts of n records, in their order; None where one could not be read."""

    weights: list[np.ndarray | None]  # float32 [rows, columns] of patches each
    problems: tuple[tuple[int, str], ...]


def rollout_of(attention: jax.Array, count: jax.Array, pool: str) -> jax.Array:
    """What the pooled output has of each token, by the layers' attention alone; float32 [B, N], sums to 1.

    A layer passes on half of a token as it is and half by attention: 0.5 (A + I), rows normalised; the layers are
    multiplied, last to first, onto what is pooled: the class token, or the mean of the image's own patches.

    Args:
      attention: float32 [layers, B, N, N], means over heads; the class token is token 0.
      count: int32 [B], patches of each image, which are tokens 1 to count.
      pool: class | mean.
    """
    token = jnp.arange(attention.shape[-1], dtype=jnp.int32)[None, :]
    if pool == "mean":
        own = (token >= 1) & (token <= count[:, None])
        start = jnp.where(own, 1.0 / count[:, None], 0.0)
    else:
        start = jnp.broadcast_to(jnp.where(token == 0, 1.0, 0.0), (attention.shape[1], attention.shape[-1]))

    def one(share: jax.Array, weights: jax.Array) -> tuple[jax.Array, None]:
        passed = 0.5 * weights / jnp.sum(weights, axis=-1, keepdims=True)
        return jnp.einsum("bq,bqn->bn", share, passed, precision="highest") + 0.5 * share, None

    return jax.lax.scan(one, start, attention, reverse=True)[0]


def patch_shares(model: Classifier, pool: str, length: int, params: Any, batch: Batch) -> jax.Array:
    """For jit: the rollout of each row's patches, float32 [B, length]; 0 beyond the image's own."""
    _, state = model.apply({"params": params}, batch.patches, batch.grid, batch.extent, mutable=[_COLLECTION])
    attention = cast(Any, state)[_COLLECTION]["encoder"]["blocks"]["weights"]
    shares = rollout_of(attention, batch.grid[:, 0] * batch.grid[:, 1], pool)[:, 1:]
    return jnp.pad(shares, ((0, 0), (0, length - shares.shape[1])))


_shares = jax.jit(patch_shares, static_argnums=(0, 1, 2))


def rollout(model: Classifier, params: Any, batch: Batch, pool: str = "") -> np.ndarray:
    """The rollout of the one image of a batch (`one_image.batch_of`), float32 [rows, columns] of its patches.

    Patches sum to 1 less what stays with the class token. Compiled once a number of tokens, and kept.

    Args:
      model: a classifier or an encoder.
      pool: class | mean; empty: the model's own.
    """
    (row,) = np.flatnonzero(np.asarray(batch.record) != NO_RECORD)
    shares = _shares(model, pool or model.shape.pool, batch.patches.shape[1], params, batch)
    return _cut(np.asarray(shares[row]), batch.grid[row])


def rollouts(reading: Reading, model: Classifier, params: Any, records: np.ndarray, pool: str = "") -> Rolled:
    """Rollouts of records of an archive, one compilation a bucket; arguments as those of `over_records`.

    A call holds layers x rows x N x N float32: of a ViT-B 0.8 GB for one row of 4,096 tokens.
    """
    program = partial(patch_shares, model, pool or model.shape.pool, reading.lengths[-1])
    visited = over_records(reading, program, params, records)
    cut = [_cut(shares, reading.source.grids[r]) for shares, r in zip(visited.outputs, records, strict=True)]
    return Rolled([w if read else None for w, read in zip(cut, visited.read, strict=True)], visited.problems)


def heat(weights: np.ndarray, extent: tuple[int, int], patch: int) -> np.ndarray:
    """Weights [rows, columns] of patches as a picture over the image's own pixels, float32 [H, W]; values are kept.

    Between the centres of patches it is interpolated, border patches are cut where the image ends.
    """
    height, width = extent
    rows, columns = weights.shape
    if not (0 < height <= rows * patch and 0 < width <= columns * patch):
        raise ValueError(f"extent {height} x {width}; {rows} x {columns} patches of {patch} pixels do not hold it")
    whole = Image.fromarray(np.asarray(weights, np.float32)).resize(
        (columns * patch, rows * patch), Image.Resampling.BILINEAR
    )
    return np.asarray(whole)[:height, :width]


def _cut(shares: np.ndarray, grid: np.ndarray) -> np.ndarray:
    rows, columns = (int(n) for n in grid)
    return shares[: rows * columns].reshape(rows, columns)
