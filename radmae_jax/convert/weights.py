"""A model apart from any run or file format: its tensors by our names, and what must be known to run them."""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from radmae_jax.config import Config, Loss, Model
from radmae_jax.config_checks import validate
from radmae_jax.model import classifier, mae
from radmae_jax.model.size import decoder_size, encoder_size

Tensors = dict[str, np.ndarray]

KINDS = ("mae", "encoder", "classifier")


class ConvertError(ValueError):
    """Weights that cannot be taken as they are; the message names the tensor or the setting."""


# What a pixel is, by config.data.intensity; empty where that is not known.
INTENSITIES = {
    "voi": "what the file's VOI LUT or window says (modality LUT first, inversion last); without one, as `percentile`",
    "percentile": "stretched between the 0.5th and 99.5th percentile",
    "full_range": "its value over the range of BitsStored",
    "poster": "raw value over the image's maximum, MONOCHROME1 inverted about it",
    "": "not known: the model was not trained by radmae_jax, or on natural images",
}


@dataclass(frozen=True)
class Pixels:
    """What a pixel was when the model was trained; the model itself sees stored integers over their dtype's maximum."""

    intensity: str = ""  # config.data.intensity; empty where unknown (natural images)
    dtype: str = "uint8"

    def __post_init__(self):
        if self.intensity not in INTENSITIES or self.dtype not in ("uint8", "uint16"):
            raise ConvertError(f"pixels of intensity {self.intensity!r} and dtype {self.dtype!r} are not known")


@dataclass(frozen=True)
class Weights:
    """Float32 tensors by our names: `encoder/3/query/kernel` is layer 3 of the scanned leaf.

    Kernels are [in, out], a patch is flattened as (y, x, channel), position tables are [1 + side * side, width] with
    the class token's row first. An `encoder` is a classifier without a head.
    """

    kind: str  # mae | encoder | classifier
    model: Model
    tensors: Tensors
    classes: tuple[str, ...] = ()
    pixels: Pixels = Pixels()
    norm_pix: bool = False  # mae: predictions are of patches without their own mean and deviation
    recipe: dict[str, Any] = field(default_factory=dict)  # how it was trained, for the model card; no paths, no names
    notes: tuple[str, ...] = ()  # what was changed or left out on the way here


def check_model(kind: str, model: Model, tensors: Tensors, where: str) -> None:
    """Refuses settings outside the schema's limits, and those of a model far larger than the tensors at hand.

    The second comes before anything of such a size is made; shapes are compared, by name, later.
    """
    if kind not in KINDS:
        raise ConvertError(f"{where}: kind {kind!r}; it must be one of {', '.join(KINDS)}")
    try:
        validate(Config(model=model, loss=Loss(kind="poster")))
        sizes = [encoder_size(model)] + ([decoder_size(model)] if kind == "mae" else [])
    except ValueError as error:
        raise ConvertError(f"{where}: {error}") from error
    values = sum(tensor.size for tensor in tensors.values())
    for size in sizes:
        least = size.layers * 12 * size.width**2 + model.table_side**2 * size.width
        if least > values:
            raise ConvertError(
                f"{where}: describes {size.layers} layers of width {size.width} and tables of {model.table_side} x "
                f"{model.table_side}, at least {least:,} values; the tensors have {values:,}"
            )


def shapes_of(kind: str, model: Model, classes: int) -> dict[str, tuple[int, ...]]:
    """Every tensor a model of this kind has, by our names, with its shape."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    if kind == "mae":
        variables = jax.eval_shape(lambda k: mae.init(mae.build(model), k), key)
    elif kind in KINDS:
        heads = classes if kind == "classifier" else 0
        variables = jax.eval_shape(lambda k: classifier.init(classifier.build(model, heads), k), key)
    else:
        raise ConvertError(f"kind {kind!r}; it must be one of {', '.join(KINDS)}")
    flat = _flatten(variables["params"], variables.get("tables", {}), lambda leaf: [leaf.shape[1:]] * leaf.shape[0])
    return {name: tuple(getattr(leaf, "shape", leaf)) for name, leaf in flat.items()}


def from_variables(params: dict, tables: dict) -> Tensors:
    """Parameter and table trees, of numpy or jax arrays, to tensors by name."""
    params, tables = jax.device_get((params, tables))
    flat = _flatten(params, tables, list)
    return {name: np.asarray(leaf) for name, leaf in flat.items()}


def to_variables(weights: Weights) -> dict[str, Any]:
    """The trees that the model's `apply` takes: {"params": ..., "tables": ...}, tables of an MAE only."""
    params: dict[str, Any] = {}
    tables: dict[str, Any] = {}
    layers: dict[str, list[np.ndarray]] = {}
    for name, tensor in sorted(weights.tensors.items(), key=lambda item: _order(item[0])):
        stack, _, rest = name.partition("/")
        if rest and rest.split("/")[0].isdigit():
            _, leaf = rest.split("/", 1)
            layers.setdefault(f"{stack}/blocks/{leaf}", []).append(tensor)
        elif weights.kind == "mae" and name in ("positions", "decoder_positions"):
            tables["encoder_positions" if name == "positions" else name] = tensor
        else:
            _put(params, name, tensor)
    for name, stacked in layers.items():
        _put(params, name, np.stack(stacked))
    return {"params": params, **({"tables": tables} if tables else {})}


def check(weights: Weights) -> Weights:
    """The weights, if they are exactly what the model has: every tensor, its shape, float32, finite."""
    expected = shapes_of(weights.kind, weights.model, len(weights.classes))
    for name in sorted(expected.keys() - weights.tensors.keys()):
        raise ConvertError(f"tensor {name} is missing")
    for name in sorted(weights.tensors.keys() - expected.keys()):
        raise ConvertError(f"tensor {name} is not part of this model ({weights.kind})")
    for name, shape in expected.items():
        tensor = weights.tensors[name]
        if tensor.shape != shape:
            raise ConvertError(f"tensor {name} is {list(tensor.shape)}; this model has {list(shape)}")
        if tensor.dtype != np.float32:
            raise ConvertError(f"tensor {name} is {tensor.dtype}; it must be float32")
        if not np.isfinite(tensor).all():
            raise ConvertError(f"tensor {name} holds {np.count_nonzero(~np.isfinite(tensor))} values not finite")
    return weights


def plain_facts(weights: Weights) -> dict[str, Any]:
    """What a program of another library must be told beside the tensors."""
    names = ("patch", "decoder_heads", "mask_ratio", "resample", "decoder_positions", "norm_eps", "gelu", "pool")
    facts = {name: getattr(weights.model, name) for name in names}
    return facts | {"heads": encoder_size(weights.model).heads, "norm_pix": weights.norm_pix}


def of_decoder(name: str) -> bool:
    """Whether a tensor, by our name, is an MAE's decoder's."""
    return name == "mask_token" or name.startswith("decoder")


def encoder_of(weights: Weights) -> Weights:
    """The encoder alone, without decoder or head; says what is left out."""
    if weights.kind == "encoder":
        return weights
    wanted = shapes_of("encoder", weights.model, 0)
    mae_ = weights.kind == "mae"
    tensors = {name: weights.tensors[name] for name in wanted}
    note = f"the {'decoder' if mae_ else 'head'} is left out ({len(weights.tensors) - len(wanted)} tensors)"
    model = replace(weights.model, pool="class") if mae_ else weights.model  # an MAE's norm stands before any pooling
    return replace(
        weights, kind="encoder", model=model, tensors=tensors, classes=(), norm_pix=False, notes=(*weights.notes, note)
    )


def _flatten(params: dict, tables: dict, unstack: Any) -> dict[str, Any]:
    flat: dict[str, Any] = {}

    def walk(tree: dict, prefix: str) -> None:
        for key, value in tree.items():
            name = f"{prefix}{key}"
            if isinstance(value, dict):
                walk(value, f"{name}/")
            elif "/blocks/" in f"/{name}":
                stack, leaf = name.split("/blocks/")
                flat.update({f"{stack}/{layer}/{leaf}": part for layer, part in enumerate(unstack(value))})
            else:
                flat[name] = value

    walk(params, "")
    for name, table in tables.items():
        flat["positions" if name == "encoder_positions" else name] = table
    return flat


def _put(tree: dict[str, Any], name: str, leaf: np.ndarray) -> None:
    *folders, last = name.split("/")
    for folder in folders:
        tree = tree.setdefault(folder, {})
    tree[last] = leaf


def _order(name: str) -> list[tuple[bool, int, str]]:
    """Layers by number, not as texts."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in name.split("/")]
