"""Weights to inputs and outputs that any other program of the same model must reproduce, and the JAX run of them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from radmae_jax.config import Model
from radmae_jax.convert.weights import ConvertError, Tensors, Weights, to_variables
from radmae_jax.data.batch import empty_batch, put_image
from radmae_jax.model import classifier, mae

_SEED = 0x60D
# max |difference| / max |reference|, float32: what one float32 program may differ from another by.
LIMITS = {"encoded": 2e-5, "prediction": 1e-4, "loss": 2e-6, "tokens": 2e-5, "pooled": 1e-4, "logits": 1e-4}


@dataclass(frozen=True)
class Golden:
    """One image, what hides its patches, and what comes out."""

    name: str
    pixels: np.ndarray  # stored integers [H, W]
    noise: np.ndarray  # float32 [L]; empty for a classifier
    outputs: dict[str, np.ndarray]  # float32


def make_goldens(weights: Weights) -> list[Golden]:
    """Goldens at the native size and two others: whole patches but not square, and patches that the image ends in."""
    side, patch = weights.model.table_side, weights.model.patch
    sizes = {
        "native": (side * patch, side * patch),
        "whole": (max(side // 2, 2) * patch, max(side // 3, 2) * patch),
        "partial": (max(side // 4, 2) * patch - patch // 3, max(side // 2, 3) * patch - patch // 2),
    }
    rng, run_one = np.random.default_rng(_SEED), runner(weights)
    goldens = []
    for name, (height, width) in sizes.items():
        pixels = _image(height, width, weights.pixels.dtype, rng)
        length = -(-height // patch) * -(-width // patch)
        # Every number once: programs that sort otherwise must hide the same patches.
        noise = rng.permutation(length if weights.kind == "mae" else 0).astype(np.float32) / np.float32(length)
        goldens.append(Golden(name, pixels, noise, run_one(pixels, noise)))
    return goldens


def run(weights: Weights, pixels: np.ndarray, noise: np.ndarray) -> dict[str, np.ndarray]:
    """The model in JAX on one image: see `runner`."""
    return runner(weights)(pixels, noise)


def runner(weights: Weights) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """run(pixels, noise): the model in JAX, float32, on one image [H, W] of stored integers; noise [L], of an MAE.

    It returns, float32: of an MAE encoded [1 + visible, D], prediction [L, P*P*C] and, where patches are hidden, loss
    [] as Hugging Face has it; of a classifier tokens [1 + L, D], pooled [D] and, if it has a head, logits [classes].
    """
    model = replace(weights.model, dtype="float32")
    variables = to_variables(weights)
    call = _program(weights.kind, model, len(weights.classes))

    def run_one(pixels: np.ndarray, noise: np.ndarray) -> dict[str, np.ndarray]:
        rows, columns = -(-pixels.shape[0] // model.patch), -(-pixels.shape[1] // model.patch)
        batch = empty_batch(1, rows * columns, model.patch, model.channels, str(pixels.dtype))
        put_image(batch, 0, pixels, (rows, columns), model.patch)
        output = jax.device_get(call(variables, batch.patches, batch.grid, batch.extent, noise[None]))
        if weights.kind != "mae":
            logits = {"logits": output.logits[0]} if weights.classes else {}
            return {"tokens": output.tokens[0], "pooled": output.pooled[0], **logits}
        output, captured = output
        encoded = captured["intermediates"]["encoder_norm"]["__call__"][0]
        kept, masked = int(output.masking.kept[0]), output.masking.masked[0]
        target = batch.patches[0].astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
        found = {"encoded": encoded[0, : 1 + kept], "prediction": output.prediction[0]}
        if masked.any():
            found["loss"] = patch_loss(output.prediction[0], target, masked, weights.norm_pix)
        return found

    return run_one


@functools.lru_cache(maxsize=8)
def _program(kind: str, model: Model, classes: int) -> Callable[..., Any]:
    """The jitted forward pass: one object a model, so that images of one size compile it once."""
    if kind != "mae":
        built = classifier.build(model, classes)
        return jax.jit(lambda variables, patches, grid, extent, _: built.apply(variables, patches, grid, extent))
    autoencoder = mae.build(model)

    def forward(variables: Any, patches: Any, grid: Any, extent: Any, noise: Any) -> Any:
        return autoencoder.apply(
            variables, patches, grid, extent, noise,
            capture_intermediates=lambda module, _: module.name == "encoder_norm",
        )  # fmt: skip

    return jax.jit(forward)


def patch_loss(prediction: np.ndarray, target: np.ndarray, masked: np.ndarray, norm_pix: bool) -> np.ndarray:
    """Mean squared error over hidden patches [L, P*P*C], padding included, as the original MAE and Hugging Face."""
    prediction, target = prediction.astype(np.float64), target.astype(np.float64)
    if norm_pix:
        mean, variance = target.mean(axis=1, keepdims=True), target.var(axis=1, ddof=1, keepdims=True)
        target = (target - mean) / np.sqrt(variance + 1e-6)
    return np.asarray(((prediction - target) ** 2)[masked].mean(), np.float32)


def outputs_of(weights: Weights) -> set[str]:
    """Names of what a model's `runner` gives."""
    if weights.kind == "mae":
        return {"encoded", "prediction"} | ({"loss"} if weights.model.mask_ratio > 0 else set())
    return {"tokens", "pooled"} | ({"logits"} if weights.classes else set())


def differences(found: dict[str, np.ndarray], golden: Golden) -> dict[str, float]:
    """max |difference| / max |reference| of every output; ConvertError where one is not there or of another shape."""
    differ = {}
    for name, reference in golden.outputs.items():
        if name not in found or found[name].shape != reference.shape:
            have = list(found[name].shape) if name in found else "not there"
            raise ConvertError(f"golden {golden.name}: {name} is {have}; it must be {list(reference.shape)}")
        scale = max(float(np.abs(reference).max()), 1e-30)
        differ[name] = float(np.abs(found[name].astype(np.float64) - reference).max()) / scale
    return differ


def to_tensors(goldens: list[Golden]) -> Tensors:
    """Goldens as one file's tensors: `native/pixels`, `native/outputs/loss` and so on."""
    tensors: Tensors = {}
    for golden in goldens:
        tensors[f"{golden.name}/pixels"] = golden.pixels
        tensors[f"{golden.name}/noise"] = golden.noise
        tensors |= {f"{golden.name}/outputs/{name}": value for name, value in golden.outputs.items()}
    return tensors


def from_tensors(tensors: Tensors) -> list[Golden]:
    """What `to_tensors` made, back."""
    names = dict.fromkeys(name.split("/")[0] for name in tensors)
    if len(names) < 3:
        raise ConvertError(f"goldens of {len(names)} images; there must be 3 at least")
    try:
        return [
            Golden(
                name, tensors[f"{name}/pixels"], tensors[f"{name}/noise"],
                {key.split("/")[2]: x for key, x in tensors.items() if key.startswith(f"{name}/outputs/")},
            )
            for name in names
        ]  # fmt: skip
    except (KeyError, IndexError) as error:
        raise ConvertError(f"goldens: {error} is missing") from error


def _image(height: int, width: int, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """Waves with noise over the whole range, no patch of it flat: padding must stand out against it."""
    y, x = np.mgrid[:height, :width]
    waves = 0.5 + 0.2 * np.sin(y / rng.uniform(7, 40)) + 0.2 * np.cos(x / rng.uniform(7, 40))
    unit = np.clip(waves + rng.normal(0, 0.05, (height, width)), 0, 1)
    return np.rint(unit * np.iinfo(dtype).max).astype(dtype)
