"""Weights to a directory that other programs load and that proves itself on load, and back."""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from radmae_jax import __version__
from radmae_jax.config import Model
from radmae_jax.convert import huggingface
from radmae_jax.convert.card import card_of
from radmae_jax.convert.example import example_of
from radmae_jax.convert.files import (
    check_sums,
    checksum,
    read_bytes,
    read_safetensors,
    write_safetensors,
    write_torch,
)
from radmae_jax.convert.forms import ours_of, theirs_of
from radmae_jax.convert.goldens import make_goldens, to_tensors
from radmae_jax.convert.infer import respell
from radmae_jax.convert.settings import read_json
from radmae_jax.convert.weights import ConvertError, Pixels, Weights, check, check_model, plain_facts
from radmae_jax.figures import to_json
from radmae_jax.plain import from_dict, to_dict

OWN = "radmae"  # our names in a directory, for radmae_jax itself
WRITTEN = ("huggingface", "timm", "mae_pth", OWN)
CARD = "radmae.json"
TENSORS = "model.safetensors"
GOLDENS = "goldens.safetensors"


def write_weights(weights: Weights, folder: Path, form: str) -> None:
    """Writes a directory of a format, whole or not at all.

    It holds the tensors as safetensors (for mae_pth also as the .pth that the original code reads), the format's own
    configuration, goldens, a model card and a program that runs it, and radmae.json: what the format does not say, and
    a checksum for every tensor, every other file, and itself.
    """
    check(weights)
    _refuse_losses(weights, form)
    folder = Path(folder).resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConvertError(f"{folder} exists and is not an empty directory")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as unfinished:
        whole = Path(unfinished) / folder.name
        whole.mkdir()
        _write(weights, whole, form)
        if not folder.exists():
            whole.replace(folder)
            return
        # Somebody may stand in it: it stays, and the file that makes it an export comes last.
        for path in sorted(whole.iterdir(), key=lambda path: path.name == CARD):
            path.replace(folder / path.name)


def read_exported(folder: Path, form: str) -> Weights:
    """A directory of `write_weights`: every tensor's checksum holds."""
    card = read_card(folder)
    if form and form != card.format:
        raise ConvertError(f"{folder.name} is in format {card.format!r}, not {form!r}")
    theirs = read_safetensors(folder / TENSORS)
    check_sums(theirs, card.sha256, f"{folder.name}/{TENSORS}")
    check_model(card.kind, card.model, theirs, f"{folder.name}/{CARD}")
    if card.classes and card.kind != "classifier":
        raise ConvertError(f"{folder.name}/{CARD}: classes of a model of kind {card.kind!r}")
    if card.format == OWN:
        weights = Weights(card.kind, card.model, theirs, card.classes)
    else:
        weights = ours_of(respell(theirs, card.format)[0], card.format, card.kind, card.model, card.classes)
    return check(
        replace(weights, pixels=card.pixels, norm_pix=card.norm_pix, recipe=card.recipe, notes=card.notes)
    )  # fmt: skip


@dataclass(frozen=True)
class Card:
    """radmae.json, with the types its fields must have; `classes`, `sha256` and so on as written by `write_weights`."""

    format: str
    kind: str
    model: Model
    plain: dict[str, Any]
    classes: tuple[str, ...]
    pixels: Pixels
    norm_pix: bool
    recipe: dict[str, Any]
    notes: tuple[str, ...]
    sha256: dict[str, str]
    goldens_sha256: dict[str, str]
    files_sha256: dict[str, str]  # of what is no tensor: configurations, programs, the model card


def read_card(folder: Path) -> Card:
    """radmae.json of an exported directory."""
    content = read_json(folder / CARD)
    where = f"{folder.name}/{CARD}"
    if content.pop("self_sha256", None) != own_sum(content):
        raise ConvertError(f"{where} does not match its own checksum: it has been changed")
    content.pop("radmae_jax", None)
    try:
        card = from_dict(Card, content, where)
    except (ValueError, TypeError) as error:
        raise ConvertError(f"{where}: {error}") from error
    if card.format not in WRITTEN:
        raise ConvertError(f"{where}: format {card.format!r}; it must be one of {', '.join(WRITTEN)}")
    return card


def own_sum(content: dict[str, Any]) -> str:
    """sha256 of radmae.json's content, apart from that sum."""
    plain = json.loads(to_json({name: value for name, value in content.items() if name != "self_sha256"}))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _write(weights: Weights, folder: Path, form: str) -> None:
    goldens = to_tensors(make_goldens(weights))  # before the tensors are there a second time
    tensors, model = weights.tensors, weights.model
    if form != OWN:
        tensors = theirs_of(weights, form)
    if form == "huggingface" and weights.kind == "encoder":  # ViTModel has no prefix of its own
        tensors = {name.removeprefix("vit."): tensor for name, tensor in tensors.items()}
    write_safetensors(folder / TENSORS, tensors)
    write_safetensors(folder / GOLDENS, goldens)
    if form == "huggingface":
        huggingface.write_configs(weights, folder)
    elif form == "mae_pth":
        arguments = {"norm_pix_loss": weights.norm_pix, "mask_ratio": model.mask_ratio}
        write_torch(folder / "model.pth", tensors, arguments if weights.kind == "mae" else {})
        shutil.copy(Path(__file__).with_name("plain_torch.py"), folder / "vit_mae.py")
    if form != OWN:
        (folder / "example.py").write_text(example_of(weights, form), encoding="utf-8")
    (folder / "README.md").write_text(card_of(weights, form), encoding="utf-8")
    files = sorted(path.name for path in folder.iterdir() if path.suffix != ".safetensors")
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
        "files_sha256": {name: checksum(read_bytes(folder / name)) for name in files},
    }
    card["self_sha256"] = own_sum(card)
    (folder / CARD).write_text(to_json(card, indent=2) + "\n", encoding="utf-8")


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
