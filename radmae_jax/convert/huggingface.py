"""config.json and preprocessor_config.json of Hugging Face's ViTMAE and ViT to what we know of a model, and back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from radmae_jax.convert.example import HUGGING_FACE
from radmae_jax.convert.infer import HALF, IMAGENET, Description
from radmae_jax.convert.settings import named, number, numbers, read_json, whole
from radmae_jax.convert.weights import INTENSITIES, ConvertError, Pixels, Weights
from radmae_jax.model.size import decoder_size, encoder_size

_GELU = {"gelu": "exact", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu_fast": "tanh"}
_RESCALE = ((1 / 255, "uint8"), (1 / 65535, "uint16"))  # to 0..1


def heads_of(folder: Path) -> tuple[int, int]:
    """Heads of encoder and decoder (0 without one), which no tensor shows."""
    path = folder / "config.json"
    config, decoder = read_json(path), "decoder_num_attention_heads"
    heads = whole(config, "num_attention_heads", named(path))
    return heads, whole(config, decoder, named(path)) if decoder in config else 0


def describe(folder: Path, found: Description) -> Description:
    """What config.json and preprocessor_config.json of a directory say, over what the tensors showed.

    Raises ConvertError where a configuration says what these models are not, or disagrees with the tensors.
    """
    path = folder / "config.json"
    config, where = read_json(path), named(path)

    def refuse(name: str, must: str) -> None:
        raise ConvertError(f"{where}: {name} is {config.get(name)!r}; it must be {must}")

    if config.get("model_type") not in (("vit_mae",) if found.kind == "mae" else ("vit", "vit_mae")):
        refuse("model_type", "vit_mae" if found.kind == "mae" else "vit or vit_mae")
    if config.get("qkv_bias", True) is not True:
        refuse("qkv_bias", "true")
    act = config.get("hidden_act", "gelu")
    if not isinstance(act, str) or act not in _GELU:
        refuse("hidden_act", f"one of {', '.join(_GELU)}")
    mae, shown = found.kind == "mae", encoder_size(found.model)
    side = found.model.table_side * found.model.patch
    expected = {
        "hidden_size": (shown.width,), "num_hidden_layers": (shown.layers,), "intermediate_size": (4 * shown.width,),
        "image_size": (side, [side, side]), "patch_size": (found.model.patch, [found.model.patch] * 2),
        "num_channels": (found.model.channels,),
    }  # fmt: skip
    if mae:
        decoder = decoder_size(found.model)
        expected |= {
            "decoder_hidden_size": (decoder.width,), "decoder_num_hidden_layers": (decoder.layers,),
            "decoder_intermediate_size": (4 * decoder.width,),
        }  # fmt: skip
    for name, allowed in expected.items():
        if name in config and config[name] not in allowed:
            refuse(name, f"{allowed[0]}, as the tensors are")
    model = replace(
        found.model, norm_eps=number(config, "layer_norm_eps", 1e-12, where), gelu=_GELU[act],
        mask_ratio=number(config, "mask_ratio", 0.75, where) if mae else found.model.mask_ratio,
    )  # fmt: skip
    norm_pix = config.get("norm_pix_loss", False)
    if type(norm_pix) is not bool:
        refuse("norm_pix_loss", "true or false")
    classes, names = found.classes, config.get("id2label")
    if classes and names is not None:
        complete = isinstance(names, dict) and set(names) == {str(n) for n in range(len(classes))}
        if not complete or not all(isinstance(name, str) for name in names.values()):
            refuse("id2label", f"a text for each of 0 to {len(classes) - 1}")
        classes = tuple(names[str(n)] for n in range(len(classes)))
    default = IMAGENET if config["model_type"] == "vit_mae" else HALF
    mean, deviation, pixels, notes = _scaling(folder, model.channels, default)
    return replace(
        found, model=model, classes=classes, mean=mean, deviation=deviation, norm_pix=norm_pix if mae else None,
        pixels=pixels, notes=(*found.notes, *notes),
    )  # fmt: skip


def write_configs(weights: Weights, folder: Path) -> None:
    """config.json and preprocessor_config.json, as transformers 4.46 and 5.x read them."""
    model, mae = weights.model, weights.kind == "mae"
    encoder, decoder = encoder_size(model), decoder_size(model)
    side = model.table_side * model.patch
    config: dict[str, Any] = {
        "architectures": [HUGGING_FACE[weights.kind]],
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
        "radmae_intensity_meaning": f"a pixel is {INTENSITIES[weights.pixels.intensity]}",
        "radmae_pixel_dtype": weights.pixels.dtype,
    }
    for name, content in (("config.json", config), ("preprocessor_config.json", processor)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _scaling(
    folder: Path, channels: int, default: tuple[tuple[float, ...], tuple[float, ...]]
) -> tuple[tuple[float, ...], tuple[float, ...], Pixels, tuple[str, ...]]:
    """Mean and deviation of pixels from 0 to 1, what pixels were, and a note where that is not stated."""
    path = folder / "preprocessor_config.json"
    if not path.exists():
        scaling = default if channels == 3 else ((0.0,) * channels, (1.0,) * channels)
        return *scaling, Pixels(), (f"no preprocessor_config.json: mean {scaling[0]}, deviation {scaling[1]} taken",)
    processor, where = read_json(path), named(path)
    factor = number(processor, "rescale_factor", 1 / 255, where)
    bits = next((dtype for known, dtype in _RESCALE if abs(factor / known - 1) < 1e-3), None)
    if processor.get("do_rescale", True) is not True or bits is None:
        raise ConvertError(f"{where}: pixels are not rescaled to 0..1 (rescale_factor {factor})")
    intensity = processor.get("radmae_intensity", "")
    pixels = Pixels(intensity if isinstance(intensity, str) and intensity in INTENSITIES else "", bits)
    normalised = processor.get("do_normalize", True)
    if type(normalised) is not bool:
        raise ConvertError(f"{where}: do_normalize is {normalised!r}; it must be true or false")
    if not normalised:
        return (0.0,) * channels, (1.0,) * channels, pixels, ()
    mean, deviation = (
        numbers(processor, "image_mean", default[0], where),
        numbers(processor, "image_std", default[1], where),
    )
    return mean, deviation, pixels, ()
