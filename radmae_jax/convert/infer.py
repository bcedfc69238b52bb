"""Tensors in another format's names to the model they are of: what shapes and names say, and the format's constants."""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np

from radmae_jax.config import Model
from radmae_jax.convert.names import LEFT_OUT, SPELLINGS, rules_for
from radmae_jax.convert.weights import ConvertError, Pixels, Tensors, of_decoder
from radmae_jax.model.size import VARIANTS, Size

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # torchvision's, which the original MAE uses
HALF = ((0.5,) * 3, (0.5,) * 3)  # the original ViT: pixels from -1 to 1

# LayerNorm's epsilon, GELU, how positions are resized off their size, pixel scaling of 3-channel models.
_CONSTANTS = {
    "huggingface": (1e-12, "exact", "bicubic", HALF),
    "timm": (1e-6, "exact", "bicubic", HALF),
    "mae_pth": (1e-6, "exact", "bicubic", IMAGENET),
    "big_vision": (1e-6, "tanh", "bilinear", HALF),
}


@dataclass(frozen=True)
class Description:
    """What a file is, apart from its tensors."""

    kind: str
    model: Model
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    norm_pix: bool | None = None  # of an MAE: whether predictions are of normalised patches; None: not known
    pixels: Pixels = field(default_factory=Pixels)
    notes: tuple[str, ...] = ()


def respell(tensors: Tensors, form: str) -> tuple[Tensors, tuple[str, ...]]:
    """Names in the format's first spelling, without what no model here has a place for; and what was left out."""
    spelt: Tensors = {}
    left: list[str] = []
    for name, tensor in tensors.items():
        new = name
        for pattern, replacement in SPELLINGS[form]:
            new = re.sub(pattern, replacement, new)
        if new in LEFT_OUT[form]:
            left.append(name)
        elif new in spelt:
            raise ConvertError(f"tensor {new} is given twice, the second time as {name}")
        else:
            spelt[new] = tensor
    if form == "big_vision" and left:
        # The head stands on the pre-logits layer, and means nothing without it.
        left += [name for name in ("head/kernel", "head/bias") if spelt.pop(name, None) is not None]
    return spelt, (f"left out: {', '.join(left)}",) if left else ()


def guess_format(names: Collection[str], suffix: str) -> str:
    """The format whose names these are."""
    if suffix == ".npz":
        return "big_vision"
    if any(re.match(r"(vit\.)?(embeddings|encoder\.layer)\.", name) for name in names):
        return "huggingface"
    if "cls_token" in names:
        return "mae_pth" if "decoder_embed.weight" in names or suffix in (".pth", ".pt") else "timm"
    raise ConvertError(f"no known format has these names: {', '.join(sorted(names)[:3])} ...")


def infer(theirs: Tensors, form: str, heads: int = 0, decoder_heads: int = 0, autoencoder: bool = False) -> Description:
    """The model that tensors, in the format's first spelling, are of.

    Args:
      heads, decoder_heads: where no tensor shows them; 0: those of the named variants, and of the MAE's decoder.
      autoencoder: the encoder is an MAE's, whose decoder was left out.
    """
    names = _names(form)

    def shape(ours: str, rank: int) -> tuple[int, ...]:
        found = theirs.get(names[ours])
        if found is None:
            raise ConvertError(f"tensor {names[ours]} is missing")
        if found.ndim != rank or 0 in found.shape:
            raise ConvertError(f"tensor {names[ours]} is {list(found.shape)}; it must have {rank} axes, none of them 0")
        return found.shape

    kind = "encoder"
    if names["head/kernel"] in theirs:
        kind = "classifier"
    elif names.get("decoder_embed/kernel") in theirs:
        kind = "mae"
    epsilon, gelu, resample, scaling = _CONSTANTS[form]
    if kind == "mae" or autoencoder:
        scaling = IMAGENET  # Hugging Face's ViTMAE as the original
    notes: list[str] = []
    kernel = shape("patch_embed/kernel", 4)
    patch, across, channels, width = kernel if form == "big_vision" else (kernel[2], kernel[3], kernel[1], kernel[0])
    if patch != across:
        raise ConvertError(f"tensor {names['patch_embed/kernel']} has patches of {patch} x {across} pixels")
    if form == "big_vision":
        heads = shape("encoder/0/query/kernel", 3)[1]  # they show
    if not heads:
        heads = _heads_of(width)
        notes.append(f"{heads} heads, as encoders of width {width} have by name")
    if width % heads:
        raise ConvertError(f"encoder of width {width} with {heads} heads; heads must divide the width")
    encoder = Size(width, _layers(theirs, names["encoder/{n}/norm1/scale"]), heads)
    model = Model(
        patch=patch, channels=channels, resample=resample, norm_eps=epsilon, gelu=gelu,
        table_side=_side(names["positions"], shape("positions", 3)[1]), dtype="float32",
        pool="mean" if "fc_norm.weight" in theirs and kind != "mae" else "class",
        decoder_positions="hf_flat" if form == "huggingface" else "2d",
    )  # fmt: skip
    if kind == "mae":
        decoder = shape("mask_token", 3)[2]
        layers = _layers(theirs, names["decoder/{n}/norm1/scale"])
        if not decoder_heads:
            if decoder != 512:
                raise ConvertError(f"decoder of width {decoder}: its heads are not known; say --decoder-heads")
            decoder_heads = 16
            notes.append("16 decoder heads, as the MAE's decoders of width 512 have")  # He et al. 2022, appendix A.1
        if decoder % decoder_heads:
            raise ConvertError(f"decoder of width {decoder} with {decoder_heads} heads; heads must divide the width")
        model = replace(model, decoder_width=decoder, decoder_layers=layers, decoder_heads=decoder_heads)
    classes = shape("head/bias", 1)[0] if kind == "classifier" else 0
    mean, deviation = scaling if channels == 3 else ((0.0,) * channels, (1.0,) * channels)
    names_ = tuple(f"class {n}" for n in range(classes))
    return Description(kind, sized(model, encoder), names_, mean, deviation, notes=tuple(notes))


def sized(model: Model, encoder: Size) -> Model:
    """A model with this encoder, by its variant's letter where it has one."""
    for variant, size in VARIANTS.items():
        if Size(*size) == encoder:
            return replace(model, variant=variant, width=0, layers=0, heads=0)
    return replace(model, variant="custom", width=encoder.width, layers=encoder.layers, heads=encoder.heads)


def without_decoder(theirs: Tensors, form: str) -> tuple[Tensors, tuple[str, ...]]:
    """Tensors of an MAE without those of its decoder, and what was left out; others as they are."""
    names = _names(form)
    if names.get("decoder_embed/kernel") not in theirs:
        return theirs, ()
    own = [re.escape(name).replace(r"\{n\}", r"\d+") for ours, name in names.items() if of_decoder(ours)]
    expression = re.compile("|".join(own))
    kept = {name: tensor for name, tensor in theirs.items() if not expression.fullmatch(name)}
    return kept, (f"the decoder is left out ({len(theirs) - len(kept)} tensors)",)


def with_class_row(theirs: Tensors, form: str) -> Tensors:
    """Tensors whose position table has a row for the class token: of zeros, where the file leaves it out."""
    name = _names(form)["positions"]
    table = theirs.get(name)
    if form == "huggingface" or table is None or table.ndim != 3 or math.isqrt(table.shape[1]) ** 2 != table.shape[1]:
        return theirs
    return theirs | {name: np.pad(table, ((0, 0), (1, 0), (0, 0)))}


def _names(form: str) -> dict[str, str]:
    """Their name of every tensor of ours that the format can hold; layer 0 also written out."""
    kinds = ("classifier", "mae") if form in ("huggingface", "mae_pth") else ("classifier",)
    rules = [rule for kind in kinds for rule in rules_for(form, kind, "class")]
    names = {rule.ours[0]: rule.theirs for rule in rules}
    return names | {ours.format(n=0): theirs.format(n=0) for ours, theirs in names.items()}


def _side(name: str, rows: int) -> int:
    side = math.isqrt(rows - 1)
    if side < 1 or side * side != rows - 1:
        raise ConvertError(f"tensor {name} has {rows} rows; it must be 1 + a square: only square tables are read")
    return side


def _layers(theirs: Tensors, pattern: str) -> int:
    expression = re.compile(re.escape(pattern).replace(r"\{n\}", r"(\d+)"))
    numbers = [int(match[1]) for name in theirs if (match := expression.fullmatch(name))]
    if not numbers:
        raise ConvertError(f"tensor {pattern.format(n=0)} is missing")
    return max(numbers) + 1


def _heads_of(width: int) -> int:
    heads = {size[0]: size[2] for size in VARIANTS.values()}
    if width not in heads:
        raise ConvertError(f"encoder of width {width}: its heads are not known; say --heads")
    return heads[width]
