"""Turns gradients into parameter updates: AdamW with decay where it belongs, at rates known before training."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from radmae_jax.config import Optim


def learning_rates(optim: Optim, steps_per_epoch: int, epochs: int) -> np.ndarray:
    """The learning rate of each optimizer step, float32 [steps_per_epoch * epochs]; see `config.Optim.schedule`."""
    total, warmup = steps_per_epoch * epochs, round(optim.warmup_epochs * steps_per_epoch)
    if optim.schedule == "cosine":
        cosine = _warmup_cosine(optim, total, warmup)
        return np.asarray(jax.jit(jax.vmap(cosine))(np.arange(total)), np.float32)
    decay = min(round(optim.decay_epochs * steps_per_epoch), max(total - warmup, 0))
    return _warmup_stable_decay(optim, total, warmup, decay)


def _warmup_cosine(optim: Optim, total: int, warmup: int) -> optax.Schedule:
    """Linear warm-up from 0, then a cosine to the end rate after the last step."""
    if warmup == 0:
        return optax.cosine_decay_schedule(
            optim.learning_rate, total, optim.end_learning_rate / max(optim.learning_rate, 1e-30)
        )
    if warmup >= total:
        return optax.linear_schedule(0.0, optim.learning_rate, warmup)
    return optax.warmup_cosine_decay_schedule(0.0, optim.learning_rate, warmup, total, optim.end_learning_rate)


def _warmup_stable_decay(optim: Optim, total: int, warmup: int, decay: int) -> np.ndarray:
    """Linear warm-up from 0, a constant rate, and a line to the end rate after the last step.

    Computed in float64 on the host, so that the rates before the decay are bitwise the same for any number of epochs.
    """
    peak, step = optim.learning_rate, np.arange(total, dtype=np.float64)
    rates = np.full(total, peak)
    rates[:warmup] = peak * step[:warmup] / max(warmup, 1)
    if decay:
        rates[total - decay :] = peak + (optim.end_learning_rate - peak) * step[:decay] / decay
    return rates.astype(np.float32)


def decay_mask(params: dict) -> dict:
    """True for kernels: biases, norms and the class and mask tokens are not decayed."""
    return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", params)


def everything(params: dict) -> dict:
    """True for every parameter: the replica's decay."""
    return jax.tree.map(lambda _: True, params)


def layer_scales(params: dict, layer_decay: float) -> dict:
    """What a leaf's update is multiplied by: 1 for the head and the final norm, then layer_decay per layer down.

    A number, or float32 [layers, 1, ...] for the encoder's blocks, whose leaves carry a layer axis. The embedding and
    the tokens lie below the first block (Bao et al. 2022, BEiT; MAE appendix A.1).
    """
    if layer_decay == 1.0:
        return jax.tree.map(lambda _: 1.0, params)
    layers = len(jax.tree.leaves(params["encoder"])[0])
    of_block = jnp.asarray(layer_decay, jnp.float32) ** (layers - jnp.arange(layers, dtype=jnp.float32))

    def one(path: tuple, leaf: jax.Array) -> jax.Array | float:
        part = path[0].key
        if part == "encoder":
            return of_block.reshape(-1, *[1] * (leaf.ndim - 1))
        return 1.0 if part in ("head", "encoder_norm") else layer_decay ** (layers + 1)

    return jax.tree.map_with_path(one, params)


def make_optimizer(optim: Optim) -> optax.GradientTransformation:
    """AdamW up to the learning rate, which the step applies: updates are descent directions for rate 1."""
    # The same parts whatever the settings, so that a run may change them and still read its checkpoints.
    return optax.chain(
        optax.clip_by_global_norm(optim.clip_norm if optim.clip_norm > 0 else math.inf),
        optax.scale_by_adam(b1=optim.b1, b2=optim.b2, mu_dtype=jnp.float32),
        optax.add_decayed_weights(optim.weight_decay, everything if optim.decay_all else decay_mask),
    )
