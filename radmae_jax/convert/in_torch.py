"""Exported directories in PyTorch, by transformers, timm or plain functions: what their users will compute."""

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from radmae_jax.convert.example import HUGGING_FACE
from radmae_jax.convert.files import import_torch, read_safetensors
from radmae_jax.convert.goldens import Golden
from radmae_jax.convert.weights import ConvertError, Weights, plain_facts
from radmae_jax.model.size import encoder_size

Outputs = dict[str, np.ndarray]


def programs_for(form: str) -> tuple[str, ...]:
    """Names of the PyTorch programs that run a format, the format's own library first."""
    return {"huggingface": ("transformers",), "timm": ("timm", "plain"), "mae_pth": ("plain",)}.get(form, ())


def missing(program: str) -> str:
    """What to install before a program runs here; empty where all is there."""
    needs = ("torch",) if program == "plain" else ("torch", program)
    absent = [name for name in needs if find_spec(name) is None]
    return f"{' and '.join(absent)} not installed" if absent else ""


def run_all(program: str, folder: Path, weights: Weights, goldens: list[Golden]) -> list[Outputs]:
    """The outputs of every golden's input, as `goldens.run` names them."""
    torch = import_torch(f"running {folder.name}")
    run = {"transformers": _transformers, "timm": _timm, "plain": _plain}[program](folder, weights)
    with torch.no_grad():
        return [{name: x.numpy() for name, x in run(_pixels(golden, weights), golden).items()} for golden in goldens]


def _pixels(golden: Golden, weights: Weights) -> Any:
    """float32 [C, H, W] from 0 to 1, zeros below and right of the image up to whole patches."""
    import torch
    import torch.nn.functional as F

    patch = weights.model.patch
    scaled = golden.pixels.astype(np.float32) * np.float32(1.0 / np.iinfo(golden.pixels.dtype).max)
    pixels = torch.from_numpy(scaled)[None].repeat(weights.model.channels, 1, 1)
    return F.pad(pixels, (0, -pixels.shape[2] % patch, 0, -pixels.shape[1] % patch))


def _plain(folder: Path, weights: Weights) -> Any:
    import torch

    from radmae_jax.convert import plain_torch

    state = {name: torch.from_numpy(x) for name, x in read_safetensors(folder / "model.safetensors").items()}
    model = plain_facts(weights)

    def run(pixels: Any, golden: Golden) -> dict[str, Any]:
        if weights.kind != "mae":
            return plain_torch.classifier(state, model, pixels)
        return plain_torch.masked_autoencoder(state, model, pixels, torch.from_numpy(golden.noise))

    return run


def _timm(folder: Path, weights: Weights) -> Any:
    import timm.models.vision_transformer as timm_vit  # type: ignore[import-not-found]  no extra has it: a user's own
    import torch

    from radmae_jax.convert.plain_torch import resize

    model, size = plain_facts(weights), encoder_size(weights.model)
    vit = timm_vit.VisionTransformer(
        img_size=weights.model.table_side * weights.model.patch, patch_size=weights.model.patch,
        in_chans=weights.model.channels, num_classes=len(weights.classes), embed_dim=size.width, depth=size.layers,
        num_heads=size.heads, global_pool="avg" if weights.model.pool == "mean" else "token", dynamic_img_size=True,
        norm_layer=partial(torch.nn.LayerNorm, eps=weights.model.norm_eps),
        act_layer=partial(torch.nn.GELU, approximate="tanh" if weights.model.gelu == "tanh" else "none"),
    ).eval()  # fmt: skip
    state = {name: torch.from_numpy(x) for name, x in read_safetensors(folder / "model.safetensors").items()}
    vit.load_state_dict(state, strict=True)

    def positioned(x: Any) -> Any:  # [1, rows, columns, D]
        table = resize(vit.pos_embed[0], x.shape[1], x.shape[2], model)
        return torch.cat([vit.cls_token, x.flatten(1, 2)], 1) + table

    vit._pos_embed = positioned

    def run(pixels: Any, golden: Golden) -> dict[str, Any]:
        tokens = vit.forward_features(pixels[None])
        pooled = vit.forward_head(tokens, pre_logits=True)[0]
        logits = {"logits": vit.head(pooled)} if weights.classes else {}
        return {"tokens": tokens[0], "pooled": pooled, **logits}

    return run


def _transformers(folder: Path, weights: Weights) -> Any:
    import torch
    import transformers

    from radmae_jax.convert.plain_torch import resize

    facts = plain_facts(weights)
    transformers.utils.logging.disable_progress_bar()
    options = {"add_pooling_layer": False} if weights.kind == "encoder" else {}
    model, info = getattr(transformers, HUGGING_FACE[weights.kind]).from_pretrained(
        folder, local_files_only=True, output_loading_info=True, **options
    )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info.get(problem):
            raise ConvertError(f"transformers {transformers.__version__}: {problem}: {sorted(map(str, info[problem]))}")
    model.eval()
    vit = model if weights.kind == "encoder" else model.vit
    embeddings, grid, encoded = vit.embeddings, [0, 0], []
    vit.layernorm.register_forward_hook(lambda module, inputs, output: encoded.append(output))

    def resized(table: Any) -> Any:
        return resize(table[0], grid[0], grid[1], facts)[None]

    if weights.model.resample != "bicubic":
        embeddings.interpolate_pos_encoding = lambda *_: resized(embeddings.position_embeddings)
    if weights.kind == "mae" and weights.model.decoder_positions == "2d":
        model.decoder.interpolate_pos_encoding = lambda *_: resized(model.decoder.decoder_pos_embed)

    def run(pixels: Any, golden: Golden) -> dict[str, Any]:
        grid[:] = (side // weights.model.patch for side in pixels.shape[1:])
        noise = {"noise": torch.from_numpy(golden.noise)[None]} if weights.kind == "mae" else {}
        out = model(pixels[None], interpolate_pos_encoding=True, **noise)
        tokens = encoded.pop()[0]
        if weights.kind == "mae":
            return {"prediction": out.logits[0], "encoded": tokens, "loss": out.loss}
        logits = {"logits": out.logits[0]} if weights.kind == "classifier" else {}
        return {"tokens": tokens, "pooled": tokens[0], **logits}

    return run
