"""Fine-tunes a ViT-B/16 that begins with a file in the format of the ImageNet-21k weights, on radiographs of any size.

    python tools/imagenet_start.py OUT [--steps 20]

The published file needs a download; this one has its names, shapes and scaling, and random numbers of transformers' own
initialiser: **no result of this script is a result of ImageNet weights**. What it shows is that the whole way works at
full size: the original .npz (3 channels, patch 16, 224 x 224, pre-logits and 21,843 classes), the same weights as
Hugging Face and timm hold them, all three read to the same tensors; then phantoms, index, `radmae finetune --init`.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

from radmae_jax.cli import main as radmae
from radmae_jax.convert.files import write_safetensors
from radmae_jax.convert.formats import Known, read_weights
from radmae_jax.convert.forms import theirs_of

_PROCESSOR = '{"do_normalize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "do_rescale": true}'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    npz = make_files(options.out)
    folder, manifest = options.out / "phantoms", options.out / "manifest.parquet"
    if not manifest.exists():
        _run("phantom", folder, "--images", "120", "--scale", "0.1", "--seed", "5")
        _run("index", folder, manifest, "--labels", folder / "labels.csv")
    model = {"patch": 16, "channels": 1, "table_side": 14, "gelu": "tanh", "resample": "bilinear"}
    train = {"max_steps": options.steps, "images_per_step": 16, "evaluate_every": options.steps, "epochs": 4}
    settings = [f"--config.model.{name}={value}" for name, value in model.items()]
    settings += [f"--config.train.{name}={value}" for name, value in train.items()]
    return _run(
        "finetune", "--config", "poster_finetune:task=arc", f"--config.data.manifest={manifest}", *settings,
        "--config.bins.shapes=3", "--config.bins.group=4", "--init", npz, "--workdir", options.out / "run",
        "--json", options.out / "outcome.json",
    )  # fmt: skip


def make_files(out: Path) -> Path:
    """vit.npz, hf/ and timm.safetensors of one ViT-B/16; all are read and compared. Returns the .npz."""
    torch.manual_seed(0)
    theirs = transformers.ViTModel(transformers.ViTConfig(), add_pooling_layer=False)
    theirs.save_pretrained(out / "hf")
    (out / "hf/preprocessor_config.json").write_text(_PROCESSOR)
    weights = read_weights(out / "hf", known=Known(mean=(0.0,) * 3, deviation=(1.0,) * 3))  # as stored
    rng = np.random.default_rng(0)
    original = theirs_of(weights, "big_vision")
    original |= {
        "pre_logits/kernel": rng.normal(0, 0.02, (768, 768)).astype(np.float32),
        "pre_logits/bias": np.zeros(768, np.float32),
        "head/kernel": np.zeros((768, 21843), np.float32),
        "head/bias": np.zeros(21843, np.float32),
    }
    np.savez(out / "vit.npz", **original)  # pyright: ignore[reportArgumentType]
    write_safetensors(out / "timm.safetensors", theirs_of(weights, "timm"))
    read = {name: read_weights(out / name) for name in ("hf", "vit.npz", "timm.safetensors")}
    for name, found in read.items():
        same = all(np.array_equal(found.tensors[key], x) for key, x in read["hf"].tensors.items())
        model = found.model
        print(f"{name}: {found.kind}, GELU {model.gelu}, epsilon {model.norm_eps:g}; {'; '.join(found.notes)}")
        if not same or found.kind != "encoder":
            sys.exit(f"{name} is read to other tensors than hf")
    return out / "vit.npz"


def _run(*arguments: str | Path) -> int:
    print("radmae", *arguments, flush=True)
    return radmae([str(argument) for argument in arguments])


if __name__ == "__main__":
    sys.exit(main())
