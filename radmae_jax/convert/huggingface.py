"""config.json and preprocessor_config.json of Hugging Face's ViTMAE and ViT to what we know of a model, and back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from radmae_jax.convert.infer import HALF, IMAGENET, Description, sized
from radmae_jax.convert.weights import ConvertError, Weights
from radmae_jax.model.size import Size, decoder_size, encoder_size

_ARCHITECTURES = {"mae": "ViTMAEForPreTraining", "encoder": "ViTModel", "classifier": "ViTForImageClassification"}
_GELU = {"gelu": "exact", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu_fast": "tanh"}
_RESCALE = (1 / 255, 1 / 65535)  # 8 or 16 bits to 0..1


def heads_of(folder: Path) -> tuple[int, int]:
    """Heads of encoder and decoder (0 without one), which no tensor shows."""
    config = _read(folder / "config.json")
    decoder = "decoder_num_attention_heads"
    return _whole(folder, config, "num_attention_heads"), _whole(folder, config, decoder) if decoder in config else 0


def describe(folder: Path, found: Description) -> Description:
    """What config.json and preprocessor_config.json of a directory say, over what the tensors showed.

    Sizes that disagree with the tensors come out when the tensors are read, by name.
    """
    config = _read(folder / "config.json")
    if config.get("model_type") not in ("vit", "vit_mae"):
        raise ConvertError(
            f"{folder.name}/config.json: model_type {config.get('model_type')!r}; it must be vit or vit_mae"
        )
    if config.get("qkv_bias", True) is not True:
        raise ConvertError(f"{folder.name}/config.json: qkv_bias is {config['qkv_bias']}; it must be true")
    act = config.get("hidden_act", "gelu")
    if act not in _GELU:
        raise ConvertError(f"{folder.name}/config.json: hidden_act {act!r}; it must be one of {', '.join(_GELU)}")
    mae = found.kind == "mae"

    def whole(name: str) -> int:
        return _whole(folder, config, name)

    encoder = Size(whole("hidden_size"), whole("num_hidden_layers"), whole("num_attention_heads"))
    inner = [("intermediate_size", encoder.width)]
    model = replace(sized(found.model, encoder), norm_eps=float(config.get("layer_norm_eps", 1e-12)), gelu=_GELU[act])
    if mae:
        decoder = [whole(f"decoder_{name}") for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")]
        inner.append(("decoder_intermediate_size", decoder[0]))
        model = replace(
            model, decoder_width=decoder[0], decoder_layers=decoder[1], decoder_heads=decoder[2],
            mask_ratio=float(config.get("mask_ratio", 0.75)),
        )  # fmt: skip
    for name, width in inner:
        if whole(name) != 4 * width:
            raise ConvertError(f"{folder.name}/config.json: {name} is {whole(name)}; it must be 4 x {width}")
    names = config.get("id2label") or {}
    classes = tuple(str(names.get(str(n), name)) for n, name in enumerate(found.classes))
    mean, deviation, note = _scaling(folder, model.channels, IMAGENET if config["model_type"] == "vit_mae" else HALF)
    return replace(
        found, model=model, classes=classes, mean=mean, deviation=deviation,
        norm_pix=mae and bool(config.get("norm_pix_loss", False)), notes=(*found.notes, *note),
    )  # fmt: skip


def write_configs(weights: Weights, folder: Path) -> None:
    """config.json and preprocessor_config.json, as transformers 4.46 and 5.x read them."""
    model, mae = weights.model, weights.kind == "mae"
    encoder, decoder = encoder_size(model), decoder_size(model)
    side = model.table_side * model.patch
    config: dict[str, Any] = {
        "architectures": [_ARCHITECTURES[weights.kind]],
        "model_type": "vit_mae" if mae else "vit",
        "hidden_size": encoder.width,
        "num_hidden_layers": encoder.layers,
        "num_attention_heads": encoder.heads,
        "intermediate_size": 4 * encoder.width,
        "hidden_act": "gelu" if model.gelu == "exact" else "gelu_pytorch_tanh",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
        "layer_norm_eps": model.norm_eps,
        "image_size": side,
        "patch_size": model.patch,
        "num_channels": model.channels,
        "qkv_bias": True,
        "torch_dtype": "float32",
    }
    if mae:
        config |= {
            "decoder_hidden_size": decoder.width,
            "decoder_num_hidden_layers": decoder.layers,
            "decoder_num_attention_heads": decoder.heads,
            "decoder_intermediate_size": 4 * decoder.width,
            "mask_ratio": model.mask_ratio,
            "norm_pix_loss": weights.norm_pix,
        }
    if weights.kind == "classifier":
        config["id2label"] = {str(n): name for n, name in enumerate(weights.classes)}
        config["label2id"] = {name: n for n, name in enumerate(weights.classes)}
    largest = 65535 if weights.pixels.dtype == "uint16" else 255
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": False,
        "size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / largest,
        "do_normalize": False,
        "image_mean": [0.0] * model.channels,
        "image_std": [1.0] * model.channels,
        # Not read by transformers: what the stored integers are.
        "radmae_intensity": weights.pixels.intensity or "unknown",
        "radmae_pixel_dtype": weights.pixels.dtype,
    }
    for name, content in (("config.json", config), ("preprocessor_config.json", processor)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")


def _scaling(
    folder: Path, channels: int, default: tuple[tuple[float, ...], tuple[float, ...]]
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[str, ...]]:
    """Mean and deviation of pixels from 0 to 1, and a note where they are not stated."""
    path = folder / "preprocessor_config.json"
    if not path.exists():
        scaling = default if channels == 3 else ((0.0,) * channels, (1.0,) * channels)
        return *scaling, (f"no preprocessor_config.json: mean {scaling[0]}, deviation {scaling[1]} taken",)
    processor = _read(path)
    factor = processor.get("rescale_factor", 1 / 255)
    if not processor.get("do_rescale", True) or not any(abs(factor / known - 1) < 1e-3 for known in _RESCALE):
        raise ConvertError(f"{folder.name}/{path.name}: pixels are not rescaled to 0..1 (rescale_factor {factor})")
    if not processor.get("do_normalize", True):
        return (0.0,) * channels, (1.0,) * channels, ()
    mean, deviation = processor.get("image_mean", default[0]), processor.get("image_std", default[1])
    return tuple(map(float, mean)), tuple(map(float, deviation)), ()


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConvertError(f"{path.parent.name}/{path.name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConvertError(f"{path.parent.name}/{path.name} is no JSON object")
    return content


def _whole(folder: Path, config: dict[str, Any], name: str) -> int:
    value = config.get(name)
    if type(value) is not int or value < 1:
        raise ConvertError(f"{folder.name}/config.json: {name} is {value!r}; it must be a whole number above 0")
    return value
