"""config.json of a timm model to what its tensors do not show: pooling, image size, pixel scaling."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from radmae_jax.convert.huggingface import read_json
from radmae_jax.convert.infer import Description
from radmae_jax.convert.weights import ConvertError


def describe(folder: Path, found: Description) -> Description:
    """What timm's hub configuration says, over what the tensors showed.

    Raises ConvertError for pooling that no model here has, and where sizes disagree with the tensors.
    """
    config = read_json(folder / "config.json")
    where = f"{folder.name}/config.json"
    arguments, pretrained = _object(config, "model_args", where), _object(config, "pretrained_cfg", where)
    pool = arguments.get("global_pool", config.get("global_pool", "token"))
    pooled = {"avg": "mean", "token": "class"}.get(pool) if isinstance(pool, str) else None
    if found.kind == "classifier" and pooled != found.model.pool:
        raise ConvertError(
            f"{where}: global_pool {pool!r}, and its tensors hold pooling {found.model.pool!r}; only token after norm, "
            "and fc_norm after avg, are models here"
        )
    side = found.model.table_side * found.model.patch
    size = arguments.get("img_size", (pretrained.get("input_size") or [0, side, side])[1:])
    if size not in (side, [side, side]):
        raise ConvertError(f"{where}: image size {size}; it must be {side} x {side}, as the position table is")
    values = []
    for name, usual in (("mean", found.mean), ("std", found.deviation)):
        value = pretrained.get(name, list(usual))
        if not isinstance(value, list) or not all(type(x) in (int, float) for x in value):
            raise ConvertError(f"{where}: {name} is {value!r}; it must be a list of numbers")
        values.append(tuple(map(float, value)))
    return replace(found, mean=values[0], deviation=values[1])


def _object(config: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    value = config.get(name, {})
    if not isinstance(value, dict):
        raise ConvertError(f"{where}: {name} is {value!r}; it must be an object")
    return value
