"""Rule tables: which tensor of another format is which of ours, and in what form; all formats in one place.

Our names are paths of the parameter tree, a layer at a time: `encoder/3/query/kernel` is layer 3 of the scanned leaf.
Kernels are [in, out]; a patch is flattened as (y, x, channel).
"""

from dataclasses import dataclass

FORMATS = ("huggingface", "timm", "mae_pth", "big_vision")


@dataclass(frozen=True)
class Rule:
    """One tensor of theirs and the one, or three, of ours that it holds. `{n}` stands for a layer's number."""

    ours: tuple[str, ...]
    theirs: str
    form: str  # see convert.forms


# Other spellings of the same tensors, as (pattern, ours of the format), applied in order to every name that is read.
SPELLINGS: dict[str, tuple[tuple[str, str], ...]] = {
    # ViTModel is saved without the prefix; transformers 5.x writes decoders that 4.x cannot read.
    "huggingface": (
        (r"^(?=(embeddings|encoder|layernorm|pooler)\.)", "vit."),
        (r"^decoder\.decoder_encoder\.layer\.", "decoder.decoder_layers."),
    ),
    "timm": (),
    "mae_pth": (),
    # big_vision's own training writes these where the published .npz files follow vision_transformer.
    "big_vision": (
        (r"^params/", ""),
        (r"^pos_embedding$", "Transformer/posembed_input/pos_embedding"),
        (r"/MultiHeadDotProductAttention_0/", "/MultiHeadDotProductAttention_1/"),
        (r"/MlpBlock_0/", "/MlpBlock_3/"),
        (r"/LayerNorm_1/", "/LayerNorm_2/"),
    ),
}

# Tensors that no model here has a place for and that features do not depend on: left out, and said.
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "huggingface": ("vit.pooler.dense.weight", "vit.pooler.dense.bias"),
    "timm": (),
    "mae_pth": (),
    "big_vision": ("pre_logits/kernel", "pre_logits/bias"),
}


def rules_for(form: str, kind: str, pool: str) -> list[Rule]:
    """The table of a format.

    Args:
      form: one of FORMATS; kind: mae, encoder or classifier; pool: class or mean, where the final norm stands.

    Raises ValueError where the format cannot hold the model.
    """
    if form not in FORMATS:
        raise ValueError(f"format {form!r}; it must be one of {', '.join(FORMATS)}")
    if kind == "mae" and form in ("timm", "big_vision"):
        raise ValueError(f"{form} holds no decoder: take the encoder alone (--part encoder)")
    if kind != "mae" and pool == "mean" and form in ("huggingface", "big_vision"):
        raise ValueError(f"{form} holds no mean of tokens before the final norm (config.model.pool 'mean'): timm does")
    if form == "huggingface":
        return _huggingface(kind)
    if form == "big_vision":
        return _big_vision(kind)
    return _timm(kind, "fc_norm" if kind != "mae" and pool == "mean" else "norm")


def _pair(ours: str, theirs: str) -> list[Rule]:
    """A linear layer of PyTorch: weight [out, in] and bias."""
    return [Rule((f"{ours}/kernel",), f"{theirs}.weight", "linear"), Rule((f"{ours}/bias",), f"{theirs}.bias", "same")]


def _norm(ours: str, theirs: str) -> list[Rule]:
    return [Rule((f"{ours}/scale",), f"{theirs}.weight", "same"), Rule((f"{ours}/bias",), f"{theirs}.bias", "same")]


def _patch(theirs: str) -> list[Rule]:
    return [
        Rule(("patch_embed/kernel",), f"{theirs}.weight", "convolution"),
        Rule(("patch_embed/bias",), f"{theirs}.bias", "same"),
    ]


def _decoder(prefix: str, blocks: list[Rule]) -> list[Rule]:
    """An MAE's decoder, whose parts are named alike in the original and, behind a prefix, in Hugging Face's."""
    return [
        *_pair("decoder_embed", f"{prefix}decoder_embed"),
        Rule(("mask_token",), f"{prefix}mask_token", "same"),
        Rule(("decoder_positions",), f"{prefix}decoder_pos_embed", "batched"),
        *blocks,
        *_norm("decoder_norm", f"{prefix}decoder_norm"),
        *_pair("decoder_pred", f"{prefix}decoder_pred"),
    ]


def _huggingface(kind: str) -> list[Rule]:
    """transformers 4.x names, which 5.x reads too."""
    rules = [
        Rule(("class_token",), "vit.embeddings.cls_token", "same"),
        Rule(("positions",), "vit.embeddings.position_embeddings", "batched"),
        *_patch("vit.embeddings.patch_embeddings.projection"),
        *_hf_block("encoder/{n}", "vit.encoder.layer.{n}"),
        *_norm("encoder_norm", "vit.layernorm"),
    ]
    if kind == "mae":
        rules += _decoder("decoder.", _hf_block("decoder/{n}", "decoder.decoder_layers.{n}"))
    return rules + (_pair("head", "classifier") if kind == "classifier" else [])


def _hf_block(ours: str, theirs: str) -> list[Rule]:
    return [
        *_norm(f"{ours}/norm1", f"{theirs}.layernorm_before"),
        *_pair(f"{ours}/query", f"{theirs}.attention.attention.query"),
        *_pair(f"{ours}/key", f"{theirs}.attention.attention.key"),
        *_pair(f"{ours}/value", f"{theirs}.attention.attention.value"),
        *_pair(f"{ours}/out", f"{theirs}.attention.output.dense"),
        *_norm(f"{ours}/norm2", f"{theirs}.layernorm_after"),
        *_pair(f"{ours}/fc1", f"{theirs}.intermediate.dense"),
        *_pair(f"{ours}/fc2", f"{theirs}.output.dense"),
    ]


def _timm(kind: str, norm: str) -> list[Rule]:
    """timm's VisionTransformer, and the original MAE, which adds a decoder of the same blocks."""
    rules = [
        Rule(("class_token",), "cls_token", "same"),
        Rule(("positions",), "pos_embed", "batched"),
        *_patch("patch_embed.proj"),
        *_timm_block("encoder/{n}", "blocks.{n}"),
        *_norm("encoder_norm", norm),
    ]
    if kind == "mae":
        rules += _decoder("", _timm_block("decoder/{n}", "decoder_blocks.{n}"))
    return rules + (_pair("head", "head") if kind == "classifier" else [])


def _timm_block(ours: str, theirs: str) -> list[Rule]:
    three = ("query", "key", "value")
    return [
        *_norm(f"{ours}/norm1", f"{theirs}.norm1"),
        Rule(tuple(f"{ours}/{name}/kernel" for name in three), f"{theirs}.attn.qkv.weight", "linear"),
        Rule(tuple(f"{ours}/{name}/bias" for name in three), f"{theirs}.attn.qkv.bias", "same"),
        *_pair(f"{ours}/out", f"{theirs}.attn.proj"),
        *_norm(f"{ours}/norm2", f"{theirs}.norm2"),
        *_pair(f"{ours}/fc1", f"{theirs}.mlp.fc1"),
        *_pair(f"{ours}/fc2", f"{theirs}.mlp.fc2"),
    ]


def _big_vision(kind: str) -> list[Rule]:
    """The original ViT's .npz (google-research/vision_transformer), paths joined by slashes."""

    def same(ours: str, theirs: str, *leaves: str) -> list[Rule]:
        return [Rule((f"{ours}/{leaf}",), f"{theirs}/{leaf}", "same") for leaf in leaves]

    block, attention = "Transformer/encoderblock_{n}", "Transformer/encoderblock_{n}/MultiHeadDotProductAttention_1"
    rules = [
        Rule(("class_token",), "cls", "same"),
        Rule(("positions",), "Transformer/posembed_input/pos_embedding", "batched"),
        Rule(("patch_embed/kernel",), "embedding/kernel", "image"),
        Rule(("patch_embed/bias",), "embedding/bias", "same"),
        *same("encoder/{n}/norm1", f"{block}/LayerNorm_0", "scale", "bias"),
    ]
    for name in ("query", "key", "value"):
        rules += [
            Rule((f"encoder/{{n}}/{name}/kernel",), f"{attention}/{name}/kernel", "heads_out"),
            Rule((f"encoder/{{n}}/{name}/bias",), f"{attention}/{name}/bias", "heads"),
        ]
    rules += [
        Rule(("encoder/{n}/out/kernel",), f"{attention}/out/kernel", "heads_in"),
        Rule(("encoder/{n}/out/bias",), f"{attention}/out/bias", "same"),
        *same("encoder/{n}/norm2", f"{block}/LayerNorm_2", "scale", "bias"),
        *same("encoder/{n}/fc1", f"{block}/MlpBlock_3/Dense_0", "kernel", "bias"),
        *same("encoder/{n}/fc2", f"{block}/MlpBlock_3/Dense_1", "kernel", "bias"),
        *same("encoder_norm", "Transformer/encoder_norm", "scale", "bias"),
    ]
    return rules + (same("head", "head", "kernel", "bias") if kind == "classifier" else [])
