"""Indexes real radiographs at their native sizes, pre-trains a small model on them for 50 steps, and draws panels.

    python tools/real_radiographs.py runs/real            # RG1 and RG3 of the package pydicom-data
    python tools/real_radiographs.py runs/real --source FOLDER --labels FOLDER/labels.csv

The package's two radiographs come in four encodings each; the script also says which of them read to the same pixels.
"""

import argparse
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
from pydicom.data import get_testdata_file

from radmae_jax.config import Bins, Config, Data, Model, Optim, Train
from radmae_jax.data.index import index
from radmae_jax.train.loop import train_run

NAMES = [f"{image}_{encoding}.dcm" for image in ("RG1", "RG3") for encoding in ("UNCR", "UNCI", "J2KR", "J2KI")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    source = options.source or _packaged(options.out / "dicom")
    manifest = options.out / "manifest.parquet"
    print(index(source, manifest, labels=options.labels, replace=True))
    if options.source is None:
        table = pq.read_table(manifest)
        for path, digest in zip(table["path"].to_pylist(), table["pixel_hash"].to_pylist(), strict=True):
            print(path, digest)
    config = Config(
        data=Data(manifest=str(manifest), workers=1),
        bins=Bins(shapes=3, group=4),
        model=Model(
            variant="custom", width=96, layers=3, heads=4, decoder_width=64, decoder_layers=2, decoder_heads=4,
            patch=48, init="hf", dtype="float32",
        ),
        optim=Optim(learning_rate=1e-3, warmup_epochs=1.0),
        train=Train(
            epochs=options.steps, max_steps=options.steps, images_per_step=16, evaluate_every=25, panels_every=25,
            checkpoint_every=25,
        ),
    )  # fmt: skip
    outcome = train_run(config, options.out / "run")
    print(f"{outcome.step} steps, loss {outcome.loss:.4f}; look at {options.out / 'run' / 'panels'}")
    return 0


def _packaged(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        found = get_testdata_file(name, download=False)
        if found is None:
            raise FileNotFoundError(f"{name} is not there: pip install pydicom-data")
        shutil.copy(str(found), folder / name)
    return folder


if __name__ == "__main__":
    sys.exit(main())
