"""ViT-MAE and ViT for images of any size in plain PyTorch: functions on tensors under the original MAE's names.

timm's names are the same. Exported directories hold a copy as vit_mae.py. It needs nothing but PyTorch; `model` is what
radmae.json says under "plain".
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]


def masked_autoencoder(
    state: State, model: Mapping[str, Any], pixels: Tensor, noise: Tensor | None = None
) -> dict[str, Tensor]:
    """Hides patches of an image and predicts them.

    Args:
      pixels: float32 [C, H, W] from 0 to 1, of any size; padded with zeros to whole patches.
      noise: float32 [L]; the patches with the largest are hidden. None: random.

    Returns: prediction [L, P*P*C] (a patch as y, x, channel), masked bool [L], encoded [1 + visible, D], and loss: mean
    squared error over the hidden patches, padding included; of normalised patches if that is what was predicted.
    """
    patches, rows, columns = to_patches(pixels, model["patch"])
    length = len(patches)
    order = torch.argsort(torch.rand(length) if noise is None else noise)
    visible = order[: int(length * (1 - model["mask_ratio"]))]
    masked = torch.ones(length, dtype=torch.bool)
    masked[visible] = False
    x = embed(state, model, patches, rows, columns)
    x = torch.cat([x[:1], x[1:][visible]])
    x = _norm(blocks(x, state, "blocks", model["heads"], model), state, "norm", model)
    y = F.linear(x, state["decoder_embed.weight"], state["decoder_embed.bias"])
    tokens = state["mask_token"][0].repeat(length, 1)
    tokens[visible] = y[1:]
    y = torch.cat([y[:1], tokens])
    table = state["decoder_pos_embed"][0]
    y = y + (
        resize_flat(table, length) if model["decoder_positions"] == "hf_flat" else resize(table, rows, columns, model)
    )
    y = _norm(blocks(y, state, "decoder_blocks", model["decoder_heads"], model), state, "decoder_norm", model)
    prediction = F.linear(y[1:], state["decoder_pred.weight"], state["decoder_pred.bias"])
    target = patches.reshape(length, -1, model["patch"], model["patch"]).permute(0, 2, 3, 1).flatten(1)
    if model.get("norm_pix"):
        target = (target - target.mean(1, keepdim=True)) / (target.var(1, keepdim=True) + 1e-6).sqrt()
    loss = ((prediction - target) ** 2).mean(1)[masked].mean()
    return {"prediction": prediction, "masked": masked, "encoded": x, "loss": loss}


def classifier(state: State, model: Mapping[str, Any], pixels: Tensor) -> dict[str, Tensor]:
    """Features of an image float32 [C, H, W] from 0 to 1: tokens [1 + L, D], class token first, what is pooled of them
    [D], and, if there is a head, logits [classes]."""
    patches, rows, columns = to_patches(pixels, model["patch"])
    x = blocks(embed(state, model, patches, rows, columns), state, "blocks", model["heads"], model)
    if model["pool"] == "mean":
        pooled = _norm(x[1:].mean(0), state, "fc_norm", model)
    else:
        x = _norm(x, state, "norm", model)
        pooled = x[0]
    logits = {"logits": F.linear(pooled, state["head.weight"], state["head.bias"])} if "head.weight" in state else {}
    return {"tokens": x, "pooled": pooled, **logits}


def to_patches(pixels: Tensor, patch: int) -> tuple[Tensor, int, int]:
    """Pixels [C, H, W] to patches [L, C*P*P] in raster order, zeros below and right of the image; rows and columns."""
    pixels = F.pad(pixels, (0, -pixels.shape[2] % patch, 0, -pixels.shape[1] % patch))
    patches = F.unfold(pixels[None], patch, stride=patch)[0].T
    return patches, pixels.shape[1] // patch, pixels.shape[2] // patch


def embed(state: State, model: Mapping[str, Any], patches: Tensor, rows: int, columns: int) -> Tensor:
    """Tokens with their positions behind the class token, [1 + L, D]."""
    x = F.linear(patches, state["patch_embed.proj.weight"].flatten(1), state["patch_embed.proj.bias"])
    return torch.cat([state["cls_token"][0], x]) + resize(state["pos_embed"][0], rows, columns, model)


def resize(table: Tensor, rows: int, columns: int, model: Mapping[str, Any]) -> Tensor:
    """A position table [1 + S * S, D] for an image's own grid, [1 + rows * columns, D]."""
    side = round((len(table) - 1) ** 0.5)
    grid = table[1:].T.reshape(1, -1, side, side)
    grid = F.interpolate(grid, (rows, columns), mode=model["resample"], align_corners=False)
    return torch.cat([table[:1], grid[0].flatten(1).T])


def resize_flat(table: Tensor, length: int) -> Tensor:
    """As Hugging Face's ViTMAE decoder does it: the flattened table as one line."""
    line = F.interpolate(table[1:].T[None, :, None], (1, length), mode="bicubic", align_corners=False)
    return torch.cat([table[:1], line[0, :, 0].T])


def blocks(x: Tensor, state: State, name: str, heads: int, model: Mapping[str, Any]) -> Tensor:
    """All blocks of a stack on tokens [N, D]."""
    approximate = "none" if model["gelu"] == "exact" else "tanh"
    layer = 0
    while f"{name}.{layer}.norm1.weight" in state:
        at = f"{name}.{layer}"
        y = _linear(_norm(x, state, f"{at}.norm1", model), state, f"{at}.attn.qkv")
        query, key, value = y.reshape(len(x), 3, heads, -1).permute(1, 2, 0, 3)
        y = F.scaled_dot_product_attention(query, key, value).transpose(0, 1).flatten(1)
        x = x + _linear(y, state, f"{at}.attn.proj")
        y = _linear(_norm(x, state, f"{at}.norm2", model), state, f"{at}.mlp.fc1")
        x = x + _linear(F.gelu(y, approximate=approximate), state, f"{at}.mlp.fc2")
        layer += 1
    return x


def _linear(x: Tensor, state: State, name: str) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def _norm(x: Tensor, state: State, name: str, model: Mapping[str, Any]) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], model["norm_eps"])
