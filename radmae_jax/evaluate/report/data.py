"""An archive's counts, and a run's bins, to what a page shows of them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from markupsafe import Markup

from radmae_jax.bench.plan import Plan, make_plan
from radmae_jax.command import said
from radmae_jax.config import Config
from radmae_jax.data.dataset import open_archive
from radmae_jax.evaluate.report.archive import Counted, Facts
from radmae_jax.evaluate.report.charts import histogram, size_map
from radmae_jax.evaluate.report.gather import Found, manifest_of, split_of
from radmae_jax.evaluate.report.words import TIMES

_ROWS = 20  # values of a column that are shown

REASONS = {  # of the quarantine, in words
    "archive": "an archive, which is not unpacked",
    "colour": "colour that is no radiograph",
    "constant": "every pixel has the same value",
    "crashed": "the decoder crashed",
    "damaged": "compressed pixels with gaps",
    "decode_failed": "the pixels could not be decoded",
    "link": "a link to a folder, which is not followed",
    "multi_frame": "several frames in one file",
    "no_pixels": "the file has no pixels",
    "not_dicom": "not a DICOM, PNG or JPEG file",
    "timeout": "decoding took too long",
    "too_large": "larger than the limits allow",
    "too_small": "too small to be a radiograph",
    "truncated": "the file ends too early",
    "unreadable": "the file could not be opened or understood",
    "unsupported_pixels": "a form of pixels that is not supported",
    "unsupported_syntax": "a compression that is not supported",
}


@dataclass(frozen=True)
class Binning:
    """What the bins of a run, or of several that bin alike, compute."""

    runs: list[str]
    plan: Plan
    picture: Markup
    bars: list[tuple[str, float, str]]  # name, share of the fixed size's tokens, in words


def size_picture(facts: Facts) -> Markup:
    """The map of an archive's image sizes."""
    manifest = facts.manifest
    title = f"map of the sizes of {len(manifest):,} images: width across, height upwards, in pixels"
    return size_map(manifest.heights, manifest.widths, title)


def size_words(facts: Facts) -> str:
    """An archive's sizes in words."""
    heights, widths = facts.manifest.heights, facts.manifest.widths
    different = len(np.unique(np.stack([heights, widths], axis=1), axis=0))
    longer, shorter = np.maximum(heights, widths), np.minimum(heights, widths)
    upright = float(np.mean(heights > widths))
    return (
        f"{different:,} different sizes; the longer side has {longer.min():,} to {longer.max():,} pixels (median "
        f"{np.median(longer):,.0f}), the shorter {shorter.min():,} to {shorter.max():,} (median "
        f"{np.median(shorter):,.0f}); {100 * upright:.0f} % are upright."
    )


def top(counted: Counted) -> tuple[list[tuple[str, int]], int, int]:
    """The commonest values to show, how many others there are, and images of those."""
    rest = counted.values[_ROWS:]
    return counted.values[:_ROWS], len(rest), sum(images for _, images in rest)


def binnings_of(found: Found, problems: list[str]) -> list[Binning]:
    """The plan of every different way of binning among the runs; runs without their manifest are left out."""
    grouped: dict[str, tuple[Config, list[str]]] = {}
    for run in (*found.pretraining, *found.finetuning):
        manifest = manifest_of(run)
        if run.config is None or manifest is None:
            continue
        split = split_of(run, manifest)
        if not split.is_file():  # opening an archive would make one
            problems.append(f"{run.name}: the split of {manifest.name} is not there, so its bins cannot be planned")
            continue
        config = run.config
        data = replace(config.data, manifest=str(manifest), split=str(split))
        config = replace(config, data=data)
        alike = repr((config.bins, config.model.patch, config.task.labels, config.task.budget, data))
        grouped.setdefault(alike, (config, []))[1].append(run.name)
    binnings = []
    for config, runs in grouped.values():
        manifest, split = Path(config.data.manifest), Path(config.data.split)
        try:
            archive = open_archive(config)
            plan = make_plan(config, archive.manifest.heights, archive.manifest.widths, archive.training_counts())
        except (ValueError, OSError) as error:
            problems.append(f"{runs[0]}: its bins cannot be planned: {said(error, manifest, split)}")
            continue
        binnings.append(Binning(runs, plan, _picture(plan), _bars(plan)))
    return binnings


def _picture(plan: Plan) -> Markup:
    lengths = [bucket.tokens for bucket in plan.buckets]
    title = f"histogram of tokens an image, with the lengths of {len(lengths)} buckets"
    return histogram(
        plan.image_tokens, title, f"tokens ({plan.patch} {TIMES} {plan.patch} pixels) an image", "images", lengths
    )


def _bars(plan: Plan) -> list[tuple[str, float, str]]:
    fixed = plan.fixed_tokens_pct
    own, planned = 100.0 / fixed, plan.scheduled_pct / fixed
    return [
        ("Every image padded to one fixed square", 1.0, "100.0 %"),
        (f"These {plan.programs} buckets", planned, f"{100 * planned:.1f} %"),
        ("No padding at all, the least possible", own, f"{100 * own:.1f} %"),
    ]
