"""Files and directories of any format to Weights."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radmae_jax.convert import huggingface, timm
from radmae_jax.convert.adapt import fold_scaling
from radmae_jax.convert.exported import CARD, TENSORS, read_exported
from radmae_jax.convert.files import Stored, read_tensors
from radmae_jax.convert.forms import ours_of
from radmae_jax.convert.infer import Description, guess_format, infer, respell, with_class_row, without_decoder
from radmae_jax.convert.names import FORMATS
from radmae_jax.convert.settings import read_json
from radmae_jax.convert.weights import ConvertError, Tensors, Weights, check, check_model, encoder_of
from radmae_jax.model.size import encoder_size


@dataclass(frozen=True)
class Known:
    """What a bare file of tensors does not say of itself; 0, () and None take the format's own, where it has one."""

    heads: int = 0
    decoder_heads: int = 0
    mean: tuple[float, ...] = ()  # of pixels from 0 to 1, a channel each, that the model was trained on
    deviation: tuple[float, ...] = ()
    norm_pix: bool | None = None  # of an MAE: whether it predicts normalised patches


def read_weights(path: Path, form: str = "", known: Known | None = None, *, decoder: bool = True) -> Weights:
    """The weights of a file or directory, checked; nothing is left over, what is changed or taken as usual is noted.

    Args:
      path: a directory made by `write_weights` or Hugging Face's save_pretrained, or a .safetensors, .npz or .pth file.
      form: one of FORMATS or "radmae"; empty: seen from the names.
      known: must not contradict what is found.
      decoder: False leaves an MAE's decoder out, with all that must be known of it.

    Raises ConvertError naming the tensor or the setting.
    """
    path, known = Path(path), known or Known()
    if (path / CARD).is_file():
        if known != Known():
            raise ConvertError(f"{path.name}/{CARD} says all there is to know: no heads, mean or norm_pix beside it")
        weights = read_exported(path, form)
        return weights if decoder or weights.kind != "mae" else encoder_of(weights)
    archive = path.suffix in (".npz", ".pth", ".pt")  # never part of a Hugging Face or timm directory
    for name in (CARD,) if archive else (CARD, "config.json"):
        if path.is_file() and (path.parent / name).is_file():
            raise ConvertError(f"{path.name} has {name} beside it, which says what it is: give {path.parent}")
    stored = _stored(path)
    if not stored.tensors:
        raise ConvertError(f"{path.name} holds no tensors by name; {'; '.join(stored.notes) or 'it is empty'}")
    form = form or guess_format(stored.tensors, "" if path.is_dir() else path.suffix)
    if form not in FORMATS:
        raise ConvertError(f"{path.name}: format {form!r} has {CARD} beside its tensors, this has not")
    theirs, left = respell(stored.tensors, form)
    theirs, without = (theirs, ()) if decoder else without_decoder(theirs, form)
    theirs = with_class_row(theirs, form)
    configured = path.is_dir() and (path / "config.json").is_file()
    said = (0, 0)
    if configured:
        said = huggingface.heads_of(path) if form == "huggingface" else (timm.heads_of(path), 0)
    heads, decoder_heads = said[0] or known.heads, said[1] or known.decoder_heads
    described = infer(theirs, form, heads, decoder_heads, autoencoder=bool(without))
    if configured:
        described = huggingface.describe(path, described) if form == "huggingface" else timm.describe(path, described)
    elif stored.arguments:
        described = _mae_arguments(stored.arguments, described)
    model = described.model
    _agree(path, "heads", known.heads or None, encoder_size(model).heads)
    norm_pix = _norm_pix(path, described, known)
    check_model(described.kind, model, theirs, path.name)
    weights = ours_of(theirs, form, described.kind, model, described.classes)
    notes = (*stored.notes, *left, *without, *described.notes)
    weights = replace(weights, pixels=described.pixels, norm_pix=norm_pix, notes=notes)
    return check(fold_scaling(weights, known.mean or described.mean, known.deviation or described.deviation))


def _norm_pix(path: Path, described: Description, known: Known) -> bool:
    """Whether an MAE predicts normalised patches; what is known of a decoder must be of one."""
    if described.kind != "mae":
        if known.norm_pix is not None or known.decoder_heads:
            raise ConvertError(f"{path.name} has no decoder that --norm-pix or --decoder-heads could be of")
        return False
    _agree(path, "decoder heads", known.decoder_heads or None, described.model.decoder_heads)
    _agree(path, "norm_pix", known.norm_pix, described.norm_pix)
    norm_pix = described.norm_pix if known.norm_pix is None else known.norm_pix
    if norm_pix is None:
        raise ConvertError(
            f"{path.name} does not say whether this MAE predicts normalised patches: `radmae convert {path.name} OUT` "
            "with --norm-pix or --no-norm-pix makes a directory that does"
        )
    return norm_pix


def _agree(path: Path, name: str, said: object, found: object) -> None:
    if said is not None and found is not None and said != found:
        raise ConvertError(f"{path.name} has {name} {found}; {said} was said")


def _stored(path: Path) -> Stored:
    """A file's tensors, or those of a Hugging Face or timm directory, in one or several files."""
    if not path.is_dir():
        return read_tensors(path)
    for name in (TENSORS, "pytorch_model.bin"):
        if (path / name).is_file():
            return read_tensors(path / name)
        index = path / f"{name}.index.json"
        if index.is_file():
            return Stored(_sharded(path, index))
    raise ConvertError(f"{path} has no {TENSORS} and no pytorch_model.bin")


def _sharded(folder: Path, index: Path) -> Tensors:
    """The tensors of several files, each where the index says."""
    places = read_json(index).get("weight_map")
    where = f"{folder.name}/{index.name}"
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise ConvertError(f"{where} has no weight_map of names to files")
    tensors: Tensors = {}
    for name in sorted(set(places.values())):
        if Path(name).name != name:
            raise ConvertError(f"{where} names a file outside the directory: {name}")
        part = read_tensors(folder / name).tensors
        for tensor in part:
            if places.get(tensor) != name:
                raise ConvertError(f"{folder.name}/{name}: tensor {tensor} is not in this file by the index")
        tensors |= part
    for tensor in sorted(places.keys() - tensors.keys()):
        raise ConvertError(f"{folder.name}/{places[tensor]}: tensor {tensor} is missing")
    return tensors


def _mae_arguments(arguments: dict[str, Any], described: Description) -> Description:
    """What the original MAE's stored arguments say of the loss and the mask."""
    if described.kind != "mae":
        return described
    ratio, norm_pix = arguments.get("mask_ratio"), arguments.get("norm_pix_loss")
    model = replace(described.model, mask_ratio=ratio) if isinstance(ratio, float) else described.model
    return replace(described, model=model, norm_pix=norm_pix if isinstance(norm_pix, bool) else None)
