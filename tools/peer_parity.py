"""Exports in the libraries they are for, each in a virtual environment of its own: timm, and transformers 4.46.

    python tools/peer_parity.py WORK [--json FILE]

A ViT-S of 12 layers is exported in every format; then, without jax and without radmae_jax:
- each directory's example.py runs on the goldens' images and its outputs are compared with the goldens;
- timm loads encoder and classifier strictly, as VisionTransformer and as its own vit_small_patch16_224;
- transformers 4.46 loads every directory without a missing, unexpected or mismatched key, and its image processor
  gives the pixels that the model card says.

Needs the package registry (torch with torchvision, timm, transformers 4.46.2: about 1 GB) and ten minutes.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

_PACKAGES = ("timm", "transformers==4.46.2", "safetensors", "pillow")

_CHILD = """
import json, runpy, sys
from pathlib import Path
import numpy as np, torch
from PIL import Image
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import load_file
assert not {"jax", "radmae_jax"} & set(sys.modules)
for name in ("jax", "radmae_jax"):
    sys.modules[name] = None
import timm, transformers
report = {"torch": torch.__version__, "timm": timm.__version__, "transformers": transformers.__version__}
names = {"prediction": ("prediction",), "features": ("tokens",), "logits": ("logits",)}
random = torch.rand
for folder in sorted(Path(sys.argv[1]).iterdir()):
    card = json.loads((folder / "radmae.json").read_text())
    if card["format"] == "radmae":
        continue
    goldens = load_numpy(folder / "goldens.safetensors")
    worst, compared = 0.0, 0
    for size in ("native", "whole", "partial"):
        image = Path(sys.argv[2]) / "image.png"
        Image.fromarray(goldens[f"{size}/pixels"]).save(image)
        noise = torch.from_numpy(goldens[f"{size}/noise"])
        torch.rand = lambda *shape, **options: noise[None] if len(shape) == 2 else noise
        arguments, sys.argv = sys.argv, ["example.py", str(image)]
        sys.path.insert(0, str(folder))
        sys.modules.pop("vit_mae", None)
        found = runpy.run_path(str(folder / "example.py"), run_name="__main__")
        sys.path.pop(0)
        sys.argv = arguments
        torch.rand = random
        for ours, (golden,) in names.items():
            reference = goldens.get(f"{size}/outputs/{golden}")
            if ours in found and reference is not None:
                distance = float(np.abs(found[ours].numpy() - reference).max() / np.abs(reference).max())
                worst, compared = max(worst, distance if np.isfinite(distance) else 1e9), compared + 1
    assert compared == 3, (folder.name, compared)
    report[folder.name] = {"example": worst}
    if card["format"] == "timm":
        pool = "avg" if card["model"]["pool"] == "mean" else "token"
        own = timm.create_model(
            "vit_small_patch16_224", img_size=96, in_chans=card["model"]["channels"], global_pool=pool,
            num_classes=len(card["classes"]),
        )
        own.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
        report[folder.name]["strict"] = True
    if card["format"] == "huggingface":
        name = json.loads((folder / "config.json").read_text())["architectures"][0]
        options = {"add_pooling_layer": False} if name == "ViTModel" else {}
        _, info = getattr(transformers, name).from_pretrained(folder, output_loading_info=True, **options)
        problems = [info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")]
        assert not any(problems), (folder.name, problems)
        report[folder.name]["strict"] = True
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
        stored = goldens["native/pixels"]
        channels = np.repeat(stored[..., None], card["model"]["channels"], axis=2)
        made = processor(channels, input_data_format="channels_last", return_tensors="np")["pixel_values"][0, 0]
        assert np.abs(made - stored / np.iinfo(stored.dtype).max).max() < 1e-6
        report[folder.name]["processor"] = True
print("REPORT" + json.dumps(report))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    exports, home = options.work / "exports", options.work / "venv"
    shutil.rmtree(exports, ignore_errors=True)  # of the code as it is now
    export_all(exports)
    python = home / "bin/python"
    if not python.exists():
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *_PACKAGES], check=True)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([python, "-c", _CHILD, str(exports), folder], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    report = json.loads(done.stdout.rpartition("REPORT")[2])
    for name, value in report.items():
        print(f"{name}: {value}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    too_far = [name for name, value in report.items() if isinstance(value, dict) and value["example"] > 2e-6]
    if too_far:
        sys.exit(f"more than 2e-6 from the goldens: {', '.join(too_far)}")


def export_all(folder: Path) -> None:
    """Every format and kind, random weights away from their initial zeros and ones."""
    import jax

    from radmae_jax.config import Model
    from radmae_jax.convert.exported import write_weights
    from radmae_jax.convert.weights import Pixels, Weights, encoder_of, from_variables
    from radmae_jax.model import classifier, mae

    def moved(params: dict) -> dict:
        leaves, tree = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(1), len(leaves))
        return jax.tree.unflatten(
            tree, [x + 0.02 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
        )

    for channels, resample, flat in ((1, "bilinear", "2d"), (3, "bicubic", "hf_flat")):
        model = Model(
            "S", decoder_width=192, decoder_layers=2, decoder_heads=6, patch=16, channels=channels, table_side=6,
            resample=resample, decoder_positions=flat, dtype="float32",
        )  # fmt: skip
        variables = mae.init(mae.build(model), jax.random.key(0))
        pixels = Pixels("voi", "uint16")
        whole = Weights("mae", model, from_variables(moved(variables["params"]), variables["tables"]), pixels=pixels)
        classes = ("left", "right", "neither")
        params = moved(classifier.init(classifier.build(model, 3), jax.random.key(0))["params"])
        heads = Weights("classifier", model, from_variables(params, {}), classes, pixels)
        for weights, formats in (
            (whole, ("huggingface", "mae_pth")),
            (encoder_of(whole), ("huggingface", "timm", "mae_pth")),
            (heads, ("huggingface", "timm", "mae_pth")),
        ):
            for form in formats:
                write_weights(weights, folder / f"{form}_{weights.kind}_{channels}_{resample}", form)
    mean = Model("S", patch=16, table_side=6, dtype="float32", pool="mean")
    params = moved(classifier.init(classifier.build(mean, 3), jax.random.key(0))["params"])
    heads = Weights("classifier", mean, from_variables(params, {}), classes, pixels)
    write_weights(heads, folder / "timm_classifier_mean", "timm")


if __name__ == "__main__":
    main()
