"""Weights to the model card beside them, README.md: what it is, what it saw, how to run it, what it is not for."""

from radmae_jax.convert.weights import INTENSITIES, Weights
from radmae_jax.model.size import decoder_size, encoder_size

_KINDS = {
    "mae": "masked autoencoder (ViT-MAE), encoder and decoder",
    "encoder": "Vision Transformer encoder, no head",
    "classifier": "Vision Transformer classifier",
}
_PROGRAMS = {
    "huggingface": "`transformers` 4.46 and later, 5.x included (the tensors have the names that both read)",
    "timm": "`timm` (VisionTransformer)",
    "mae_pth": "the original MAE's code (`model.pth`), or `vit_mae.py` here, which needs PyTorch alone",
    "radmae": "radmae_jax: `--init` of `radmae pretrain` and `radmae finetune`",
}
_LIBRARIES = {"huggingface": "transformers", "timm": "timm", "mae_pth": "pytorch", "radmae": "jax"}


def card_of(weights: Weights, form: str) -> str:
    """The text of README.md, with the front matter that model hubs read."""
    model, size = weights.model, encoder_size(weights.model)
    parameters = sum(x.size for x in weights.tensors.values())
    side = model.table_side
    lines = [
        "---",
        f"library_name: {_LIBRARIES[form]}",
        "tags: [radiograph, vit, mae]",
        "---",
        f"# {_KINDS[weights.kind]}",
        "",
        "**Not a medical device: for research, for no diagnosis.**",
        "",
        f"Encoder {size.layers} x {size.width}, {size.heads} heads; patch {model.patch}, {model.channels} channel"
        f"{'s' if model.channels > 1 else ''}; {parameters:,} parameters, position tables included; "
        f"LayerNorm epsilon {model.norm_eps:g}; GELU {model.gelu}.",
    ]
    if weights.kind == "mae":
        decoder = decoder_size(model)
        target = "of patches without their own mean and deviation" if weights.norm_pix else "of pixels from 0 to 1"
        lines.append(
            f"Decoder {decoder.layers} x {decoder.width}, {decoder.heads} heads; {100 * model.mask_ratio:.0f} % of the "
            f"patches hidden; predictions are {target}."
        )
    if weights.classes:
        names = (" ".join(name.split()) for name in weights.classes)  # a name may hold line ends
        lines.append(f"Classes, in the order of the outputs: {', '.join(names)}.")
    lines += ["", "## How it was made", ""]
    lines += [f"- {name}: {value}" for name, value in weights.recipe.items()] or ["- not recorded in the source"]
    lines += [f"- {note}" for note in weights.notes]
    largest = 65535 if weights.pixels.dtype == "uint16" else 255
    lines += [
        "",
        "## What it must be given",
        "",
        f"- **Pixels**: stored as {weights.pixels.dtype}, divided by {largest}: 0 is darkest, 1 brightest; no mean and "
        f"deviation beyond that. A pixel was: {INTENSITIES[weights.pixels.intensity]}.",
        f"- **Size**: any. Zeros are added at the bottom and right up to whole patches of {model.patch} pixels."
        + (" A grey image is given three times." if model.channels == 3 else ""),
        f"- **Positions**: the table of {side} x {side} is resized to the image's own grid, {model.resample}, corners "
        f"not aligned, not antialiased{_decoder(weights)}. {_other_than(weights, form)}".rstrip(),
        "",
        "## How to run it",
        "",
        f"With {_PROGRAMS[form]}.",
    ]
    if form != "radmae":
        lines += [
            "",
            "    python example.py IMAGE.png",
            "",
            "is the whole of it, for an image of any size, without radmae_jax.",
        ]
    lines += [
        "",
        "## Is it the same model?",
        "",
        "`radmae.json` holds a checksum of every tensor, `goldens.safetensors` inputs and outputs at three sizes.",
        "`radmae verify .` recomputes them in JAX and, where it is installed, in PyTorch, and says the differences.",
        "",
        "## Limits",
        "",
        "It knows the images it was trained on: other scanners, views and patients may be seen worse. Nothing here "
        "says how well it does a task; measure that on your own data, by patient, with intervals.",
        "",
    ]
    return "\n".join(lines)


def _decoder(weights: Weights) -> str:
    if weights.kind != "mae":
        return ""
    if weights.model.decoder_positions == "hf_flat":
        return "; the decoder's as one flat line, bicubic (Hugging Face's way)"
    return ", the decoder's too"


def _other_than(weights: Weights, form: str) -> str:
    """How the format's own library would resize, where that differs."""
    model = weights.model
    as_library = model.resample == "bicubic" and (weights.kind != "mae" or model.decoder_positions == "hf_flat")
    if form == "huggingface" and not as_library:
        return (
            "transformers resizes otherwise (bicubic; decoders flat): example.py overrides it. Off its native size the "
            "model is another without that."
        )
    if form == "timm":
        return "timm resizes otherwise (bicubic, antialiased): example.py overrides it."
    return ""
