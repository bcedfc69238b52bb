"""A model and a format to the short PyTorch program that runs it on a radiograph of any size, without this package."""

from radmae_jax.convert.weights import Weights
from radmae_jax.model.size import encoder_size

HUGGING_FACE = {"mae": "ViTMAEForPreTraining", "encoder": "ViTModel", "classifier": "ViTForImageClassification"}


def example_of(weights: Weights, form: str) -> str:
    """The text of example.py. It takes an image file and prints what the model makes of it."""
    model, kind = weights.model, weights.kind
    if form == "huggingface":
        own = [f"from transformers import {HUGGING_FACE[kind]}"]
        body = _hugging_face(weights)
    elif form == "timm":
        own = ["from safetensors.torch import load_file"]
        own += ["from timm.models.vision_transformer import VisionTransformer"]
        body = _timm(weights)
    else:
        function = "masked_autoencoder" if kind == "mae" else "classifier"
        own = ["from safetensors.torch import load_file", ""]
        own += [f"from vit_mae import {function}  # beside this file, PyTorch alone"]
        body = f"""
state = load_file(here / "model.safetensors")
model = json.loads((here / "radmae.json").read_text())["plain"]
with torch.no_grad():
    out = {function}(state, model, x[0])
"""
        body += _end("out[{!r}]", weights)
    standard = ["json", "sys"] if form == "mae_pth" else ["sys"]
    top = [f"import {name}" for name in standard]
    top += (["from functools import partial"] if form == "timm" else []) + ["from pathlib import Path", ""]
    top += ["import numpy as np", "import torch", "import torch.nn.functional as F", "from PIL import Image", *own]
    return f'''"""Runs this model on a radiograph of any size: python example.py IMAGE.png (not for diagnosis)."""

{chr(10).join(top)}

here = Path(__file__).parent
image = Image.open(sys.argv[1])  # README.md says what a pixel was in training
if image.mode == "I":  # 16 bits, to some versions of Pillow
    assert 0 <= image.getextrema()[0] and image.getextrema()[1] <= 65535, "more than 16 bits"
    stored = np.asarray(image).astype(np.uint16)
else:
    assert image.mode != "F", "whole numbers of 8 or 16 bits are needed"
    stored = np.asarray(image if image.mode.startswith("I;16") else image.convert("L"))
x = torch.from_numpy(stored / np.iinfo(stored.dtype).max).float()[None, None].repeat(1, {model.channels}, 1, 1)
x = F.pad(x, (0, -x.shape[3] % {model.patch}, 0, -x.shape[2] % {model.patch}))  # zeros, up to whole patches
{body}'''


def _hugging_face(weights: Weights) -> str:
    model, name = weights.model, HUGGING_FACE[weights.kind]
    options = ", add_pooling_layer=False" if weights.kind == "encoder" else ""
    embeddings = "model.embeddings" if weights.kind == "encoder" else "model.vit.embeddings"
    body = f"\nmodel = {name}.from_pretrained(here{options}).eval()\n"
    overrides = ""
    if model.resample != "bicubic":
        overrides += f"{embeddings}.interpolate_pos_encoding = lambda *_: resize({embeddings}.position_embeddings)\n"
    if weights.kind == "mae" and model.decoder_positions == "2d":
        overrides += "model.decoder.interpolate_pos_encoding = lambda *_: resize(model.decoder.decoder_pos_embed)\n"
    if overrides:  # Hugging Face resizes otherwise than this model was trained with
        body = _resize(weights) + body.lstrip("\n") + overrides
    body += "with torch.no_grad():\n    out = model(x, interpolate_pos_encoding=True)\n"
    return body + _end("out.{}[0]", weights)


def _timm(weights: Weights) -> str:
    model, size = weights.model, encoder_size(weights.model)
    pool = "avg" if model.pool == "mean" else "token"
    gelu = "tanh" if model.gelu == "tanh" else "none"
    body = f"""model = VisionTransformer(
    img_size={model.table_side * model.patch}, patch_size={model.patch}, in_chans={model.channels},
    embed_dim={size.width}, depth={size.layers}, num_heads={size.heads}, num_classes={len(weights.classes)},
    global_pool="{pool}", norm_layer=partial(torch.nn.LayerNorm, eps={model.norm_eps!r}),
    act_layer=partial(torch.nn.GELU, approximate="{gelu}"), dynamic_img_size=True,
).eval()
model.load_state_dict(load_file(here / "model.safetensors"), strict=True)
model._pos_embed = lambda x: torch.cat([model.cls_token, x.flatten(1, 2)], dim=1) + resize(model.pos_embed)
with torch.no_grad():
    tokens = model.forward_features(x)
    out = {{"tokens": tokens[0]"""
    body += ', "logits": model.forward_head(tokens)[0]}\n' if weights.classes else "}\n"
    return _resize(weights) + body + _end("out[{!r}]", weights)


def _resize(weights: Weights) -> str:
    side, patch = weights.model.table_side, weights.model.patch
    return f'''

def resize(table):  # the position table [1, 1 + {side} * {side}, D] at this image's own grid, as in training
    grid = table[:, 1:].reshape(1, {side}, {side}, -1).permute(0, 3, 1, 2)
    size = (x.shape[2] // {patch}, x.shape[3] // {patch})
    grid = F.interpolate(grid, size, mode="{weights.model.resample}", align_corners=False)
    return torch.cat([table[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


'''


def _end(output: str, weights: Weights) -> str:
    """Prints the result; `output` is how the program's output of a name is written."""
    transformers = not output.startswith("out[")
    if weights.kind == "mae":
        prediction = output.format("logits" if transformers else "prediction")
        loss = "out.loss" if transformers else output.format("loss")
        return f'prediction = {prediction}\nprint("patches", tuple(prediction.shape), "loss", float({loss}))\n'
    if weights.kind == "encoder":
        tokens = output.format("last_hidden_state" if transformers else "tokens")
        return f'features = {tokens}\nprint("class token, then patches:", tuple(features.shape))\n'
    return (
        f"names = {list(weights.classes)!r}\nlogits = {output.format('logits')}\n"
        'for name, share in zip(names, logits.softmax(0), strict=True):\n    print(f"{name}: {share:.3f}")\n'
    )
