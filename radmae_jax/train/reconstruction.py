"""A configuration to the objective of a ViT-MAE: to predict the patches that were hidden."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from radmae_jax.config import Config, Loss
from radmae_jax.data.batch import Batch
from radmae_jax.model.flops import forward_flops
from radmae_jax.model.mae import MAE, Reconstruction, build, init
from radmae_jax.model.patches import mask_noise, real_pixels, to_unit
from radmae_jax.train.losses import error_sums, patch_statistics, weigh
from radmae_jax.train.objective import Figures, Objective


class ErrorSums(NamedTuple):
    """Numerators and denominators of both losses over one batch, and its images."""

    masked_valid: jax.Array  # float32 [2]
    poster: jax.Array  # float32 [2]
    images: jax.Array


def reconstruction(config: Config) -> Objective:
    """The objective of config.model and config.loss; evaluations report both losses, masked_valid decides."""
    model, loss, seed = build(config.model), config.loss, config.train.seed

    def loss_sums(params: Any, tables: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        return _loss_sums(model, loss, forward(model, params, tables, batch, seed), batch)

    def evaluate(params: Any, tables: Any, batch: Batch) -> ErrorSums:
        output = forward(model, params, tables, batch, seed)
        both = [
            _loss_sums(model, dataclasses.replace(loss, kind=kind), output, batch) for kind in ErrorSums._fields[:2]
        ]
        return ErrorSums(*[jnp.stack(sums) for sums in both], images=jnp.sum(batch.weight))

    return Objective(
        init=partial(init, model),
        loss=loss_sums,
        evaluate=evaluate,
        summarise=_summarise,
        describe=_describe,
        deciding="masked_valid",
        larger_is_better=False,
        forward_flops=lambda tokens: float(forward_flops(tokens, config.model)),
        predict=make_predict(model, loss, seed),
    )


def forward(model: MAE, params: Any, tables: Any, batch: Batch, seed: int) -> Reconstruction:
    """The model on a batch, masked by (seed, epoch, record, token)."""
    noise = mask_noise(seed, batch.epoch, batch.record, batch.patches.shape[1])
    variables = {"params": params, "tables": tables}
    return cast(Reconstruction, model.apply(variables, batch.patches, batch.grid, batch.extent, noise))


def make_predict(model: MAE, loss: Loss, seed: int):
    """For jit: predict(params, tables, batch) -> prediction [B, L, P*P*C] from 0 to 1 and hidden tokens bool [B, L].

    A model trained with norm_pix predicts patches without their mean and contrast; these are put back from the true
    patches, which the picture says.
    """

    def predict(params: Any, tables: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        output = forward(model, params, tables, batch, seed)
        prediction = output.prediction
        if loss.norm_pix:
            tokens = jnp.broadcast_to(jnp.arange(prediction.shape[1], dtype=jnp.int32)[None, :], prediction.shape[:2])
            inside = real_pixels(tokens, batch.grid, batch.extent, model.shape.patch, model.shape.channels)
            mean, deviation = patch_statistics(to_unit(batch.patches), inside, loss.variance_floor)
            prediction = prediction * deviation + mean
        return prediction, output.masking.masked

    return predict


def _loss_sums(model: MAE, loss: Loss, output: Reconstruction, batch: Batch) -> tuple[jax.Array, jax.Array]:
    total, count = error_sums(output, batch.patches, batch.grid, batch.extent, model.shape, loss)
    return weigh(total, count, batch.weight, loss.weighting)


def _summarise(sums: ErrorSums) -> Figures:
    def mean(pair: np.ndarray) -> float:
        return float(pair[0] / pair[1]) if pair[1] else float("nan")

    masked_valid, poster = np.asarray(sums.masked_valid), np.asarray(sums.poster)
    return {"masked_valid": mean(masked_valid), "poster": mean(poster), "images": float(sums.images)}


def _describe(figures: Figures) -> str:
    return (
        f"validation loss {figures['masked_valid']:.5f} (masked, valid pixels), {figures['poster']:.5f} (poster's, all "
        f"pixels) on {figures['images']:.0f} images"
    )
