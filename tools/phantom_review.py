"""Judges the synthetic radiographs: contact sheets for a blind reader, and how much 16 x 16 thumbnails give away.

    python tools/phantom_review.py sheets runs/sheets [--seed 0]
    python tools/phantom_review.py knn [--images 1400] [--scale 0.1] [--seed 0] [--json runs/knn.json]

`sheets` writes one PNG a region without its name (six examples each, the sheets in random order) and key.json, which
names them. `knn` renders what `radmae phantom` would write and reports how well nearest neighbours on thumbnails guess
the region of patients they have not seen; 60 % or more means that the regions are too easy (exit code 1).
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from radmae_jax.data.phantom import REGIONS, render_phantom
from radmae_jax.data.phantom.generate import render_plan
from radmae_jax.data.phantom.plan import plan_images

EXAMPLES = 6
TILE = 420  # pixels a side
NEIGHBOURS = (1, 3, 5, 11)
LIMIT = 0.60


def sheets(out: Path, seed: int) -> None:
    """Write sheet_01.png .. sheet_14.png and key.json below out."""
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    key: dict[str, str] = {}
    for place, region in enumerate(rng.permutation(list(REGIONS)), 1):
        page = Image.new("L", (3 * (TILE + 8), 2 * (TILE + 8)), 70)
        for k in range(EXAMPLES):
            long, ratio = TILE, float(np.exp(rng.normal(0.1, 0.25)))
            height, width = (long, round(long / ratio)) if ratio > 1 else (round(long * ratio), long)
            picture = render_phantom(str(region), height, width, [seed, place, k]).image
            tile = Image.fromarray(np.round(255 * picture).astype(np.uint8))
            page.paste(tile, (k % 3 * (TILE + 8) + 4, k // 3 * (TILE + 8) + 4))
        name = f"sheet_{place:02d}.png"
        page.save(out / name)
        key[name] = str(region)
    (out / "key.json").write_text(json.dumps(key, indent=1) + "\n", encoding="utf-8")


def knn(images: int, scale: float, seed: int) -> dict[str, float]:
    """Accuracy of the best k on raw and min-max normalised thumbnails, patients disjoint, beside the largest class."""
    plans = plan_images(images, seed, scale, 0.0)
    thumbs = np.zeros((images, 16, 16), np.float32)
    foreign = fracture = 0
    for plan, row in zip(plans, thumbs, strict=True):
        phantom = render_plan(plan)
        row[:] = np.asarray(Image.fromarray(phantom.image).resize((16, 16), Image.Resampling.BOX))
        foreign, fracture = foreign + phantom.foreign_material, fracture + phantom.fracture
    raw = thumbs.reshape(images, -1)
    low, high = raw.min(1, keepdims=True), raw.max(1, keepdims=True)
    labels = np.array([plan.region for plan in plans])
    patients = np.array([plan.patient.number for plan in plans])
    result = {"images": images, "scale": scale, "foreign": foreign / images, "fracture": fracture / images}
    for name, features in (("raw", raw), ("minmax", (raw - low) / np.maximum(high - low, 1e-6))):
        for k in NEIGHBOURS:
            model = KNeighborsClassifier(k)
            folds = cross_val_score(model, features, labels, groups=patients, cv=GroupKFold(5))
            result[f"{name}_k{k}"] = float(np.mean(folds))
        result[name] = max(result[f"{name}_k{k}"] for k in NEIGHBOURS)
    result["chance"] = float(np.unique(labels, return_counts=True)[1].max() / images)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    sheet = commands.add_parser("sheets", help="unlabelled contact sheets and their key")
    sheet.add_argument("out", type=Path)
    near = commands.add_parser("knn", help="nearest neighbours on thumbnails")
    near.add_argument("--images", type=int, default=1400)
    near.add_argument("--scale", type=float, default=0.1, help="of the poster's sizes, a side")
    near.add_argument("--json", type=Path, help="also write the figures here")
    for command in (sheet, near):
        command.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.command == "sheets":
        sheets(options.out, options.seed)
        return 0
    result = knn(options.images, options.scale, options.seed)
    for name, value in result.items():
        print(f"{name:12s} {value:.4g}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(max(result["raw"], result["minmax"]) >= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
