"""The whole comparison on a folder of a few labelled radiographs without patient numbers, and what it cannot show.

    python tools/small_sample_study.py FOLDER runs/small

FOLDER holds images and a labels.csv with `path`, `region`, `foreign_material` and `fracture`, such as a sample of
FracAtlas (Abedeen et al., Scientific Data 2023). Neighbouring files may be of one patient: blocks of files, in the
order of their names, stand in for patients, so that neighbours share a side unless a block ends between them.
"""

import argparse
import csv
import sys
from pathlib import Path

from absl import logging

from radmae_jax.config import Augment, Bins, Config, Data, Model, Optim, Task, Train
from radmae_jax.data.index import index
from radmae_jax.data.manifest import read_manifest
from radmae_jax.data.splits import make_split, write_split
from radmae_jax.evaluate.evaluate_commands import percent
from radmae_jax.evaluate.report.page import make_page
from radmae_jax.evaluate.resampling import Interval
from radmae_jax.study.conduct import conduct
from radmae_jax.study.plan import Arm, Study
from radmae_jax.train.loop import train_run

_MODEL = Model(
    variant="custom", width=96, layers=4, heads=4, decoder_width=64, decoder_layers=2, decoder_heads=4, patch=48,
    table_side=20, pool="mean", init="hf", dtype="float32",
)  # fmt: skip
_TASKS = (("arc", "region"), ("fmd", "foreign_material"), ("frac", "fracture"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--block", type=int, default=6, help="files that count as one patient (default 6)")
    parser.add_argument("--steps", type=int, default=300, help="of pre-training (default 300)")
    parser.add_argument("--jobs", type=int, default=1, help="as of `radmae study`")
    parser.add_argument("--budgets", type=int, nargs="+", default=(20, 40))
    options = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # orbax explains each of its options as a warning
    options.out.mkdir(parents=True, exist_ok=True)

    manifest = options.out / "manifest.parquet"
    labels = _with_blocks(options.source / "labels.csv", options.out / "labels.csv", options.block)
    print(index(options.source, manifest, labels=labels, replace=True))
    split = options.out / "manifest.parquet.split.parquet"
    if not split.exists():
        write_split(make_split(read_manifest(manifest), fractions=(0.5, 0.2, 0.3)), split)

    # Images of more than 400 tokens, a few large ones among many small, are made smaller.
    data = Data(manifest=str(manifest), workers=0, threads=2, cache_mib=1024)
    bins = Bins(lengths=(80, 400), group=8, beyond="downscale")
    pretraining = Config(
        data=data, bins=bins, model=_MODEL, optim=Optim(learning_rate=1e-3, warmup_epochs=5.0),
        train=Train(
            epochs=options.steps // 4, max_steps=options.steps, images_per_step=16, tokens_per_device=2048,
            checkpoint_every=100, evaluate_every=100, panels_every=100,
        ),
    )  # fmt: skip
    train_run(pretraining, options.out / "mae")

    base = Config(
        data=data, bins=bins, model=_MODEL, task=Task(kind="classify", labels=("region",), smoothing=0.1),
        augment=Augment(crop=0.9, rotate=5.0, gamma=0.2),
        optim=Optim(learning_rate=1e-3, end_learning_rate=0.0, warmup_epochs=2.0, b2=0.999, layer_decay=0.85),
        train=Train(
            epochs=20, images_per_step=8, tokens_per_device=1024, checkpoint_every=0, keep_checkpoints=1,
            evaluate_every=-5, evaluate_images=100_000, panels_every=0,
        ),
    )  # fmt: skip
    arms = (
        Arm("random", "random", "", base, True, "begins with random weights"),
        Arm("mae", "mae", str(options.out / "mae"), base, True, f"{options.steps} steps on the training side"),
    )
    study = Study(
        "small sample", _TASKS, arms, tuple(options.budgets), seeds=3, learning_rates=(1e-3, 3e-3),
        notes=(f"Patients are not known: {options.block} files in a row count as one.",),
    )  # fmt: skip
    table = conduct(study, options.out, "test", jobs=options.jobs)
    for cell in table["cells"]:
        found = percent(Interval(**cell["balanced_accuracy"]))
        print(f"{cell['task']}, {cell['budget']} labels, {cell['arm']}: {found}")
    print("\n".join(table["notes"]))
    page = options.out / "report.html"
    page.write_text(make_page(options.out).html, encoding="utf-8")
    print(page)
    return 0


def _with_blocks(labels: Path, out: Path, block: int) -> Path:
    """The labels with a `patient` column: the number of each file's block."""
    with labels.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows.sort(key=lambda row: row["path"])
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", "region", "foreign_material", "fracture", "patient"])
        writer.writeheader()
        for number, row in enumerate(rows):
            kept = {name: row[name] for name in ("path", "region", "foreign_material", "fracture")}
            writer.writerow(kept | {"patient": f"block {number // block}"})
    return out


if __name__ == "__main__":
    sys.exit(main())
