"""Weights of one patch size, channel count, pixel scaling or position table to another, each change said."""

from dataclasses import replace

import numpy as np

from radmae_jax.convert.resample import resize_patch_kernel, resize_positions, resize_prediction
from radmae_jax.convert.weights import ConvertError, Tensors, Weights


def fold_scaling(weights: Weights, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Weights:
    """Weights for pixels from 0 to 1 of a model that was trained on (pixel - mean) / deviation, a channel each.

    The patch embedding takes both in, exactly: W (x - m) / s + b = (W / s) x + (b - W m / s). Predictions of an MAE
    are turned back to pixels likewise. Those of normalised patches stay: one mean and deviation for all channels they
    do not see, since a patch's own are taken out; where channels were scaled differently, which is said, they are of
    patches normalised after that scaling, and a loss on patches normalised before it is another.
    """
    model = weights.model
    finite = np.isfinite([*mean, *deviation]).all()
    if len(mean) != model.channels or len(deviation) != model.channels or not finite or min(deviation) <= 0:
        raise ConvertError(
            f"mean {mean} and deviation {deviation}: each must have {model.channels} values, deviations above 0"
        )
    if not any(mean) and all(s == 1 for s in deviation):
        return weights
    pixels = model.patch * model.patch
    m, s = np.tile(np.asarray(mean, np.float64), pixels), np.tile(np.asarray(deviation, np.float64), pixels)
    changed: Tensors = {}
    kernel = weights.tensors["patch_embed/kernel"].astype(np.float64) / s[:, None]
    changed["patch_embed/kernel"] = kernel
    changed["patch_embed/bias"] = weights.tensors["patch_embed/bias"] - m @ kernel
    note = f"pixel scaling folded into the patch embedding: mean {_list(mean)}, deviation {_list(deviation)}"
    if weights.kind == "mae" and not weights.norm_pix:
        changed["decoder_pred/kernel"] = weights.tensors["decoder_pred/kernel"] * s[None, :]
        changed["decoder_pred/bias"] = weights.tensors["decoder_pred/bias"] * s + m
        note += ", and into the prediction"
    elif weights.kind == "mae" and (len(set(mean)) > 1 or len(set(deviation)) > 1):
        note += "; predictions stay those of patches normalised after scaling each channel by its own"
    return _with(weights, changed, note)


def adapt(
    weights: Weights,
    *,
    patch: int | None = None,
    channels: int | None = None,
    table_side: int | None = None,
    positions: str = "bilinear",
) -> Weights:
    """Weights for another patch size, channel count or side of the position tables; None keeps what there is.

    Args:
      positions: the convention of resizing position tables (`resample.CONVENTIONS`).
    """
    for name, value, low, high in (("patch", patch, 8, 48), ("table_side", table_side, 1, 4096)):
        if value is not None and not low <= value <= high:
            raise ConvertError(f"{name} {value}; it must be from {low} to {high}")
    if channels is not None and channels != weights.model.channels:
        weights = _to_channels(weights, channels)
    if patch is not None and patch != weights.model.patch:
        weights = _to_patch(weights, patch)
    if table_side is not None and table_side != weights.model.table_side:
        weights = _to_table(weights, table_side, positions)
    return weights


def fold_class_position(weights: Weights) -> Weights:
    """The class token with its position added, the position 0: the same function with one parameter less."""
    table = weights.tensors["positions"]
    if not table[0].any():
        return weights
    changed = {"class_token": weights.tensors["class_token"] + table[0], "positions": table.copy()}
    changed["positions"][0] = 0.0
    return _with(weights, changed, "the class token's position is folded into the class token")


def _to_channels(weights: Weights, channels: int) -> Weights:
    """3 to 1: the sum over channels, which is what a grey image repeated three times gives; 1 to 3: a third each."""
    model = weights.model
    pixels = model.patch * model.patch
    kernel = weights.tensors["patch_embed/kernel"].astype(np.float64).reshape(pixels, model.channels, -1)
    if channels == 1:
        kernel = kernel.sum(axis=1, keepdims=True)
        how = "summed"
    elif model.channels == 1:
        kernel = np.repeat(kernel / channels, channels, axis=1)
        how = "shared out"
    else:
        raise ConvertError(f"{model.channels} channels to {channels}: only 1 and others convert into each other")
    changed: Tensors = {"patch_embed/kernel": kernel.reshape(pixels * channels, -1)}
    if weights.kind == "mae":
        for leaf in ("kernel", "bias"):
            old = weights.tensors[f"decoder_pred/{leaf}"]
            split = old.astype(np.float64).reshape(*old.shape[:-1], pixels, model.channels)
            split = split.mean(axis=-1, keepdims=True)
            split = np.repeat(split, channels, axis=-1)
            changed[f"decoder_pred/{leaf}"] = split.reshape(*old.shape[:-1], pixels * channels)
    note = f"{model.channels} channels to {channels}, {how} over grey{_approximate(weights)}"
    return replace(_with(weights, changed, note), model=replace(model, channels=channels))


def _to_patch(weights: Weights, patch: int) -> Weights:
    model = weights.model
    old, channels = model.patch, model.channels
    kernel = resize_patch_kernel(weights.tensors["patch_embed/kernel"], old, patch, channels)
    changed: Tensors = {"patch_embed/kernel": kernel}
    if weights.kind == "mae":
        prediction = weights.tensors["decoder_pred/kernel"], weights.tensors["decoder_pred/bias"][None]
        changed["decoder_pred/kernel"] = resize_prediction(prediction[0], old, patch, channels)
        changed["decoder_pred/bias"] = resize_prediction(prediction[1], old, patch, channels)[0]
    note = f"patch {old} to {patch} by pseudo-inverse resize{_approximate(weights)}"
    return replace(_with(weights, changed, note), model=replace(model, patch=patch))


def _to_table(weights: Weights, side: int, positions: str) -> Weights:
    old = weights.model.table_side
    names = [name for name in ("positions", "decoder_positions") if name in weights.tensors]
    changed = {name: resize_positions(weights.tensors[name], side, positions) for name in names}
    note = f"position tables {old} x {old} to {side} x {side}, {positions}"
    return replace(_with(weights, changed, note), model=replace(weights.model, table_side=side))


def _approximate(weights: Weights) -> str:
    """What is added where a patch's pixels are averaged or resized, which its mean and deviation do not follow."""
    return "; predictions, of normalised patches, only approximately" if weights.norm_pix else ""


def _with(weights: Weights, changed: Tensors, note: str) -> Weights:
    tensors = weights.tensors | {name: np.ascontiguousarray(x, np.float32) for name, x in changed.items()}
    return replace(weights, tensors=tensors, notes=(*weights.notes, note))


def _list(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in (values if len(set(values)) > 1 else values[:1]))
