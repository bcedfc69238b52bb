"""Is what a label asks for visible at the size a run sees images at? A sheet for a blind reader, and its answers.

    python tools/read_by_eye.py runs/eye --label foreign_material --config configs/phantom_study.py \\
      --config.data.manifest=phantoms/manifest.parquet

Validation images in random order, the same number of each of two classes, made smaller where the configuration's
buckets ask for it, each in its own range of grey: sheet.png has their numbers and no answer, key.json has the answers.
What a reader can tell on the sheet is in the pixels that a model gets.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from radmae_jax.config import Config
from radmae_jax.config_file import from_arguments
from radmae_jax.data.dataset import open_dataset
from radmae_jax.data.images import downscale
from radmae_jax.evaluate.one_image import read_pixels

COLUMNS = 8
TILE = 240  # pixels a side, enlarged to it
CAPTION = 14


def sheet_of(config: Config, label: str, images: int, seed: int) -> tuple[Image.Image, dict[str, str]]:
    """The sheet and the class of each numbered image."""
    dataset = open_dataset(replace(config, task=replace(config.task, kind="classify", labels=(label,))))
    (classes,) = dataset.classes
    records = dataset.records("validation")
    codes = dataset.labels[records, 0]
    if len(classes) != 2 or min(np.bincount(codes, minlength=2)) < images // 2:
        raise ValueError(f"{label}: takes two classes of {images // 2} validation images each")
    rng = np.random.default_rng(seed)
    chosen = np.concatenate([rng.choice(records[codes == code], images // 2, replace=False) for code in (0, 1)])
    rng.shuffle(chosen)
    rows = -(-len(chosen) // COLUMNS)
    sheet = Image.new("L", (COLUMNS * TILE, rows * (TILE + CAPTION)))
    pen = ImageDraw.Draw(sheet)
    for number, record in enumerate(chosen.tolist()):
        source, (height, width) = dataset.source, dataset.source.sizes[record].tolist()
        pixels = read_pixels(source.root / source.paths[record], config)
        pixels = downscale(pixels, (height, width)).astype(np.float32)
        span = max(float(np.ptp(pixels)), 1.0)
        tile = Image.fromarray(np.round(255 * (pixels - pixels.min()) / span).astype(np.uint8))
        factor = TILE / max(tile.size)
        tile = tile.resize((round(tile.width * factor), round(tile.height * factor)), Image.Resampling.BICUBIC)
        left, top = number % COLUMNS * TILE, number // COLUMNS * (TILE + CAPTION)
        pen.text((left + 2, top + 1), f"{number}", fill=255)
        sheet.paste(tile, (left, top + CAPTION))
    key = {str(number): classes[dataset.labels[record, 0]] for number, record in enumerate(chosen.tolist())}
    return sheet, key


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--label", required=True)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options, rest = parser.parse_known_args()
    sheet, key = sheet_of(from_arguments(rest), options.label, options.images, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    sheet.save(options.out / "sheet.png")
    (options.out / "key.json").write_text(json.dumps(key, indent=1) + "\n", encoding="utf-8")
    print(options.out / "sheet.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
