"""The main job once, on synthetic radiographs: phantoms to DICOM, index, pre-train, fine-tune, evaluate, report."""

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from radmae_jax.bench.plan import Plan, draw_plan, make_plan, summary_of
from radmae_jax.config_file import load_file
from radmae_jax.data.dataset import open_dataset
from radmae_jax.data.index import index
from radmae_jax.data.phantom import make_phantoms
from radmae_jax.progress import advancing

_IMAGES = 800
_SEED = 7
# A tenth of the poster's sizes a side: 12 to 400 tokens at patch 16.
_SCALE = 0.1
_BROKEN = 0.02
_SHOWN = 6


@dataclass(frozen=True)
class Demo:
    """What the demo did; the keys of its JSON report."""

    images: int
    quarantined: int
    seconds: float
    plan: dict[str, Any]
    steps: int
    loss_first: float
    loss_last: float
    validation_first: dict[str, float]
    validation_last: dict[str, float]
    mean_error_ratio: float  # reconstruction error on test images / error of each image's own mean
    balanced_accuracy: dict[str, dict[str, float | None]]  # of each label on test images: value, low, high
    report: str
    pictures: list[str]


def demo(workdir: Path) -> Demo:
    """Runs every part and says what it did; goes on where an earlier demo in the same folder was stopped."""
    from radmae_jax.evaluate.evaluate_commands import percent
    from radmae_jax.evaluate.evaluation import evaluate
    from radmae_jax.evaluate.reconstruct import reconstruct
    from radmae_jax.evaluate.report.page import make_page
    from radmae_jax.train.loop import train_run

    started = time.perf_counter()
    workdir.mkdir(parents=True, exist_ok=True)
    source, manifest, run = workdir / "dicom", workdir / "manifest.parquet", workdir / "run"

    _say(1, f"{_IMAGES} synthetic radiographs as DICOM files, {_BROKEN:.0%} of them broken, in {source}")
    if not (source / "labels.csv").exists():
        with advancing("phantoms", _IMAGES) as advance:
            made = make_phantoms(source, _IMAGES, _SEED, _SCALE, _BROKEN, 2, advance)
        print(f"   {made.patients} patients, {len(made.regions)} regions, {len(made.syntaxes)} transfer syntaxes")

    _say(2, f"index: every file decoded once, shapes and keyed hashes to {manifest}")
    indexed = index(source, manifest, labels=source / "labels.csv", replace=True)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(indexed.reasons.items()))
    print(f"   {indexed.images} images of {indexed.patients} patients; quarantined: {reasons or 'none'}")

    config = load_file("demo")
    config = replace(config, data=replace(config.data, manifest=str(manifest)))
    dataset = open_dataset(config)
    heights, widths = dataset.manifest.heights, dataset.manifest.widths
    plan = make_plan(config, heights, widths, dataset.training_counts())
    _say(3, "plan: which images share a batch is decided before training")
    print("   " + summary_of(plan).replace("\n", "\n   "))
    draw_plan(plan, workdir / "plan.png")

    _say(4, f"pre-train a small ViT-MAE in {run}")
    outcome = train_run(config, run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    validations = [line["validation"] for line in lines if "validation" in line]

    _say(5, "reconstruct test images that training never saw")
    test = dataset.split.records("test")
    regions = dataset.manifest.labels("region")[test]
    chosen = test[np.sort(np.unique(regions, return_index=True)[1])][:_SHOWN]  # one of a region
    files = [dataset.manifest.file(int(record)) for record in chosen]
    done = reconstruct(run, files, workdir / "reconstruction.png")
    ratio = float(np.mean(done.errors) / np.mean(done.errors_of_mean))

    labels = load_file("demo", "finetune")
    _say(6, f"fine-tune it on {', '.join(labels.task.labels)} at once, in {workdir / 'finetune'}")
    data, train = replace(labels.data, manifest=str(manifest)), replace(labels.train, start=str(run))
    train_run(replace(labels, data=data, train=train), workdir / "finetune")

    _say(7, "evaluate on test patients that neither training saw")
    scored, _ = evaluate([workdir / "finetune"], "test")
    print(f"   {scored.leakage.said}")
    for scores in scored.labels:
        chance = 100 / len(scores.classes)
        print(f"   {scores.label}: balanced accuracy {percent(scores.balanced_accuracy)}; chance {chance:.1f} %")

    report = workdir / "report.html"
    _say(8, f"report: {report}")
    report.write_text(make_page(workdir).html, encoding="utf-8")

    panels = sorted((run / "panels").glob("*.png"))
    pictures = [workdir / "plan.png", panels[0], panels[-1], workdir / "reconstruction.png"]
    seconds = time.perf_counter() - started
    print(
        f"\nDone in {seconds / 60:.1f} minutes. {outcome.step} steps; loss {losses[0]:.4f} at the first, "
        f"{losses[-1]:.4f} at the last; on validation {validations[0]['masked_valid']:.4f} at first, "
        f"{validations[-1]['masked_valid']:.4f} at last.\n"
        f"Hidden pixels of unseen images are predicted with {100 * ratio:.0f} % of the error that each image's own "
        f"mean makes.\n{_saved(plan)}\nPictures:\n"
        + "\n".join(f"  {picture}" for picture in pictures)
        + f"\nTo be read in a browser: {report}"
    )
    return Demo(
        indexed.images, indexed.bad, seconds, {k: v for k, v in asdict(plan).items() if k != "buckets"}, outcome.step,
        losses[0], losses[-1], validations[0], validations[-1], ratio,
        {scores.label: asdict(scores.balanced_accuracy) for scores in scored.labels}, str(report),
        [str(picture) for picture in pictures],
    )  # fmt: skip


def _say(number: int, text: str) -> None:
    print(f"\n{number}. {text}", flush=True)


def _saved(plan: Plan) -> str:
    return (
        f"Binning computed {plan.scheduled_pct:.0f} % of the images' own tokens with {plan.programs} compiled "
        f"lengths; one fixed size would have computed {plan.fixed_tokens_pct:.0f} %: {plan.tokens_saved_pct:.0f} % of "
        f"the tokens and {plan.flops_saved_pct:.0f} % of the training FLOPs saved."
    )
