"""Files and directories of any format to Weights, and Weights to a directory of any format."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from radmae_jax import __version__
from radmae_jax.config import Model, from_dict, to_dict
from radmae_jax.convert import huggingface
from radmae_jax.convert.adapt import fold_scaling
from radmae_jax.convert.card import card_of
from radmae_jax.convert.example import example_of
from radmae_jax.convert.files import (
    check_sums,
    checksum,
    read_safetensors,
    read_tensors,
    write_safetensors,
    write_torch,
)
from radmae_jax.convert.forms import Layout, to_ours, to_theirs
from radmae_jax.convert.goldens import make_goldens, to_tensors
from radmae_jax.convert.infer import Description, guess_format, infer, respell, with_class_row
from radmae_jax.convert.names import FORMATS, rules_for
from radmae_jax.convert.weights import ConvertError, Pixels, Tensors, Weights, check, plain_facts, shapes_of
from radmae_jax.figures import to_json
from radmae_jax.model.size import encoder_size

OWN = "radmae"  # our names in a directory, for radmae_jax itself
WRITTEN = ("huggingface", "timm", "mae_pth", OWN)
CARD = "radmae.json"
TENSORS = "model.safetensors"
GOLDENS = "goldens.safetensors"


def read_weights(
    path: Path, form: str = "", *, heads: int = 0, decoder_heads: int = 0,
    mean: tuple[float, ...] = (), deviation: tuple[float, ...] = (),
) -> Weights:  # fmt: skip
    """The weights of a file or directory, checked; nothing in it is left over or guessed, what is changed is noted.

    Args:
      path: a directory made by `write_weights` or Hugging Face's save_pretrained, or a .safetensors, .npz or .pth file.
      form: one of FORMATS or "radmae"; empty: seen from the names.
      heads, decoder_heads: where a bare file does not show them; mean, deviation: of pixels from 0 to 1, a channel
        each, that the model was trained on, where the file does not say; both empty: the format's own.

    Raises ConvertError naming the tensor or the setting.
    """
    path = Path(path)
    if (path / CARD).is_file():
        return _read_exported(path, form)
    theirs, arguments = _tensors_of(path)
    form = form or guess_format(theirs, path.suffix)
    if form not in FORMATS:
        raise ConvertError(f"{path.name}: format {form!r} has {CARD} beside its tensors, this has not")
    theirs, notes = respell(theirs, form)
    theirs = with_class_row(theirs, form)
    configured = form == "huggingface" and (path / "config.json").is_file()
    if configured:
        heads, decoder_heads = huggingface.heads_of(path)
    described = infer(theirs, form, heads, decoder_heads)
    if configured:
        described = huggingface.describe(path, described)
    elif form == "timm" and (path / "config.json").is_file():
        described = _timm_scaling(path, described)
    elif arguments:
        described = _mae_arguments(arguments, described)
    if mean or deviation:
        described = replace(described, mean=mean or described.mean, deviation=deviation or described.deviation)
    weights = _to_weights(theirs, form, described)
    weights = replace(weights, notes=(*notes, *described.notes))
    return check(fold_scaling(weights, described.mean, described.deviation))


def write_weights(weights: Weights, folder: Path, form: str) -> None:
    """Writes a directory of a format, whole or not at all.

    It holds the tensors as safetensors (for mae_pth also as the .pth that the original code reads), the format's own
    configuration, goldens, a model card and a program that runs it, and radmae.json: what the format does not say, and
    a checksum for every tensor.
    """
    check(weights)
    _refuse_losses(weights, form)
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConvertError(f"{folder} exists and is not an empty directory")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as unfinished:
        whole = Path(unfinished) / folder.name
        whole.mkdir()
        _write(weights, whole, form)
        whole.replace(folder)


def _write(weights: Weights, folder: Path, form: str) -> None:
    tensors, model = weights.tensors, weights.model
    if form != OWN:
        tensors = to_theirs(tensors, rules_for(form, weights.kind, model.pool), _layout(model, weights.kind))
    if form == "huggingface" and weights.kind == "encoder":  # ViTModel has no prefix of its own
        tensors = {name.removeprefix("vit."): tensor for name, tensor in tensors.items()}
    goldens = to_tensors(make_goldens(weights))
    write_safetensors(folder / TENSORS, tensors)
    write_safetensors(folder / GOLDENS, goldens)
    if form == "huggingface":
        huggingface.write_configs(weights, folder)
    elif form == "mae_pth":
        write_torch(folder / "model.pth", tensors)
        shutil.copy(Path(__file__).with_name("plain_torch.py"), folder / "vit_mae.py")
    if form != OWN:
        (folder / "example.py").write_text(example_of(weights, form))
    (folder / "README.md").write_text(card_of(weights, form))
    card = {
        "format": form,
        "radmae_jax": __version__,
        "kind": weights.kind,
        "model": to_dict(model),
        "plain": plain_facts(weights),
        "classes": list(weights.classes),
        "pixels": asdict(weights.pixels),
        "norm_pix": weights.norm_pix,
        "recipe": weights.recipe,
        "notes": list(weights.notes),
        "sha256": {name: checksum(tensor) for name, tensor in tensors.items()},
        "goldens_sha256": {name: checksum(tensor) for name, tensor in goldens.items()},
    }
    (folder / CARD).write_text(to_json(card, indent=2) + "\n")


def read_card(folder: Path) -> dict[str, Any]:
    """radmae.json of an exported directory, its fields there."""
    try:
        card = json.loads((folder / CARD).read_text())
        fields = ("format", "kind", "model", "classes", "pixels", "sha256", "goldens_sha256")
        missing = [name for name in fields if name not in card]
    except (OSError, ValueError, TypeError) as error:
        raise ConvertError(f"{folder.name}/{CARD} cannot be read: {error}") from error
    if missing:
        raise ConvertError(f"{folder.name}/{CARD} has no field {missing[0]!r}")
    return card


def _read_exported(folder: Path, form: str) -> Weights:
    """A directory of `write_weights`: every tensor's checksum holds."""
    card = read_card(folder)
    if form and form != card["format"]:
        raise ConvertError(f"{folder.name} is in format {card['format']!r}, not {form!r}")
    theirs = read_safetensors(folder / TENSORS)
    check_sums(theirs, card["sha256"], f"{folder.name}/{TENSORS}")
    model = from_dict(Model, card["model"], f"{CARD}: model")
    none, one = (0.0,) * model.channels, (1.0,) * model.channels
    described = Description(card["kind"], model, tuple(card["classes"]), none, one, bool(card.get("norm_pix")))
    if card["format"] == OWN:
        weights = Weights(described.kind, model, theirs, described.classes, norm_pix=described.norm_pix)
    else:
        weights = _to_weights(respell(theirs, card["format"])[0], card["format"], described)
    pixels = from_dict(Pixels, card["pixels"], f"{CARD}: pixels")
    return check(replace(weights, pixels=pixels, recipe=card.get("recipe", {}), notes=tuple(card.get("notes", ()))))


def _to_weights(theirs: Tensors, form: str, described: Description) -> Weights:
    model, kind = described.model, described.kind
    rules = rules_for(form, kind, model.pool)
    tensors = to_ours(theirs, rules, _layout(model, kind), shapes_of(kind, model, len(described.classes)))
    return Weights(kind, model, tensors, described.classes, norm_pix=described.norm_pix)


def _layout(model: Model, kind: str) -> Layout:
    size = encoder_size(model)
    layers = {"encoder": size.layers, **({"decoder": model.decoder_layers} if kind == "mae" else {})}
    return Layout(model.patch, model.channels, size.heads, layers)


def _refuse_losses(weights: Weights, form: str) -> None:
    """What a format's code fixes: another value would be another model under the same names."""
    model = weights.model
    if form not in WRITTEN:
        raise ConvertError(f"format {form!r} is not written; it must be one of {', '.join(WRITTEN)}")
    if form == "mae_pth" and (model.gelu != "exact" or model.norm_eps != 1e-6):
        raise ConvertError(
            f"mae_pth: the original MAE's code has exact GELU and epsilon 1e-6, this model {model.gelu} and "
            f"{model.norm_eps:g}: huggingface and timm hold it"
        )


def _tensors_of(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """A file's tensors and settings, or those of a Hugging Face or timm directory, in one or several files."""
    if not path.is_dir():
        return read_tensors(path)
    index = path / "model.safetensors.index.json"
    if index.is_file():
        try:
            files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ConvertError(f"{path.name}/{index.name} cannot be read: {error}") from error
        tensors: Tensors = {}
        for name in files:
            if Path(name).name != name:
                raise ConvertError(f"{path.name}/{index.name} names a file outside the directory: {name}")
            part, _ = read_tensors(path / name)
            for twice in sorted(part.keys() & tensors.keys()):
                raise ConvertError(f"{path.name}/{name}: tensor {twice} is given twice")
            tensors |= part
        return tensors, {}
    for name in (TENSORS, "pytorch_model.bin"):
        if (path / name).is_file():
            return read_tensors(path / name)
    raise ConvertError(f"{path} has no {TENSORS} and no pytorch_model.bin")


def _timm_scaling(folder: Path, described: Description) -> Description:
    """Mean and deviation from the config.json that timm's hub models have."""
    config = json.loads((folder / "config.json").read_text())
    pretrained = config.get("pretrained_cfg", config)
    mean, deviation = pretrained.get("mean"), pretrained.get("std")
    if not mean or not deviation:
        return described
    return replace(described, mean=tuple(map(float, mean)), deviation=tuple(map(float, deviation)))


def _mae_arguments(arguments: dict[str, Any], described: Description) -> Description:
    """What the original MAE's stored arguments say of the loss and the mask."""
    if described.kind != "mae":
        return described
    ratio = arguments.get("mask_ratio")
    model = replace(described.model, mask_ratio=float(ratio)) if isinstance(ratio, float) else described.model
    return replace(described, model=model, norm_pix=bool(arguments.get("norm_pix_loss", False)))
