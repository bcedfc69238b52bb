"""config.json of a timm model to what its tensors do not show: pooling, image size, pixel scaling."""

from dataclasses import replace
from pathlib import Path

from radmae_jax.convert.infer import Description
from radmae_jax.convert.settings import named, numbers, read_json, section
from radmae_jax.convert.weights import ConvertError
from radmae_jax.model.size import encoder_size


def describe(folder: Path, found: Description) -> Description:
    """What timm's hub configuration says, over what the tensors showed.

    Raises ConvertError for pooling that no model here has, and where sizes disagree with the tensors.
    """
    path = folder / "config.json"
    config, where = read_json(path), named(path)
    arguments, pretrained = section(config, "model_args", where), section(config, "pretrained_cfg", where)
    pool = arguments.get("global_pool", config.get("global_pool", "token"))
    pooled = {"avg": "mean", "token": "class"}.get(pool) if isinstance(pool, str) else None
    if found.kind == "classifier" and pooled != found.model.pool:
        raise ConvertError(
            f"{where}: global_pool {pool!r}, and its tensors hold pooling {found.model.pool!r}; only token after norm, "
            "and fc_norm after avg, are models here"
        )
    model, size = found.model, encoder_size(found.model)
    side, classes = model.table_side * model.patch, len(found.classes)
    gelu = arguments.get("act_layer", "gelu")
    if gelu not in ("gelu", "gelu_tanh"):
        raise ConvertError(f"{where}: act_layer is {gelu!r}; it must be gelu or gelu_tanh")
    allowed = {
        "img_size": (side, [side, side]), "patch_size": (model.patch, [model.patch] * 2),
        "in_chans": (model.channels,), "num_classes": (classes,), "embed_dim": (size.width,),
        "depth": (size.layers,), "num_heads": (size.heads,), "mlp_ratio": (4,), "qkv_bias": (True,),
        "class_token": (True,), "global_pool": (pool,), "act_layer": (gelu,), "fc_norm": (model.pool == "mean", None),
        "no_embed_class": (True, False), "dynamic_img_size": (True, False),
    }  # fmt: skip
    for name, value in arguments.items():
        if name not in allowed:
            raise ConvertError(f"{where}: model_args has {name}, which models here do not have")
        if value not in allowed[name]:
            raise ConvertError(
                f"{where}: {name} is {value!r}; the tensors (or the heads asked for) have {allowed[name][0]}"
            )
    shape = [model.channels, side, side]
    if pretrained.get("input_size", shape) != shape:
        raise ConvertError(f"{where}: input_size is {pretrained['input_size']!r}; the tensors have {shape}")
    if config.get("num_classes", classes) != classes:
        raise ConvertError(f"{where}: num_classes is {config['num_classes']!r}; the head has {classes}")
    names = pretrained.get("label_names", config.get("label_names"))
    if classes and names is not None:
        if not isinstance(names, list) or len(names) != classes or not all(isinstance(name, str) for name in names):
            raise ConvertError(f"{where}: label_names is {names!r}; it must be {classes} texts")
        found = replace(found, classes=tuple(names))
    model = replace(model, gelu="tanh" if gelu == "gelu_tanh" else "exact")
    return replace(
        found, model=model, mean=numbers(pretrained, "mean", found.mean, where),
        deviation=numbers(pretrained, "std", found.deviation, where),
    )  # fmt: skip


def heads_of(folder: Path) -> int:
    """Heads that the configuration says; 0 where it does not."""
    path = folder / "config.json"
    heads = section(read_json(path), "model_args", named(path)).get("num_heads", 0)
    if type(heads) is not int or heads < 0:
        raise ConvertError(f"{named(path)}: num_heads is {heads!r}; it must be a whole number")
    return heads
