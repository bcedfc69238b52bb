"""A manifest and a configuration to everything the doctor checks, each check told as soon as it is done."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from radmae_jax.command import said
from radmae_jax.config import Config, Task
from radmae_jax.data.binning import token_grids
from radmae_jax.data.dataset import Dataset, open_archive, open_dataset
from radmae_jax.data.manifest import Manifest, read_manifest
from radmae_jax.doctor import expected, histograms, polarity, sheet
from radmae_jax.doctor.finding import Finding
from radmae_jax.doctor.memory import Memory, check_memory, measure_memory
from radmae_jax.doctor.overfit import Overfit, check_overfit, overfit
from radmae_jax.doctor.prepared import Prepared, TooLarge, prepare
from radmae_jax.doctor.rates import Input, Steps, check_rates, measure_input, measure_steps, waiting
from radmae_jax.doctor.sample import Layout, Sample, check_reading, choose_records, read_sample
from radmae_jax.progress import advancing

SHEET, HISTOGRAMS = "contact_sheet.png", "histograms.png"
_ORDER = ("ok", "skipped", "look", "stop")


@dataclass(frozen=True)
class Limits:
    """How much the doctor does."""

    images: int = 48  # sampled
    seconds: float = 20.0  # of each, loader and training
    overfit_steps: int = 300
    overfit_seconds: float = 120.0
    device_bytes: int | None = None  # memory of the device that will train; None: of this one
    seed: int = 0


@dataclass(frozen=True)
class Diagnosis:
    """What was found."""

    findings: tuple[Finding, ...]
    figures: dict[str, Any]  # for JSON

    @property
    def verdict(self) -> str:
        """The gravest of the findings'."""
        return max((finding.verdict for finding in self.findings), key=_ORDER.index)


def diagnose(
    config: Config, out: Path, limits: Limits, told: Callable[[Finding], None] = lambda finding: None
) -> Diagnosis:
    """Checks the archive config.data.manifest for a run of this configuration; writes two pictures to `out`.

    A configuration that a run would refuse is a finding; the images are then checked all the same. Errors: ValueError,
    OSError where the manifest itself cannot be used.
    """
    manifest = read_manifest(Path(config.data.manifest))
    if not len(manifest):
        raise ValueError(f"{config.data.manifest} has no images")
    findings: list[Finding] = []

    def found(finding: Finding) -> None:
        findings.append(finding)
        told(finding)

    dataset, prepared = None, None
    try:
        dataset = open_dataset(config)
        config = replace(config, task=replace(config.task, classes=dataset.classes))
    except (ValueError, OSError) as error:
        found(Finding("settings", "stop", f"a run would not start: {said(error, *_paths(config))}"))
    else:
        found(_check_settings(dataset))
    among = _not_tested_on(config, manifest)
    with advancing("images", min(limits.images, len(among))) as advance:
        records = choose_records(manifest, among, limits.images, limits.seed)
        sample = read_sample(manifest, records, _layout(config, manifest, dataset), advance)
    found(check_reading(sample, config.data.max_unreadable))
    figures: dict[str, Any] = {
        "manifest": {"hash": manifest.hash, "images": len(manifest)},
        "unreadable": [{"record": record, "reason": reason} for record, reason in sample.unreadable.items()],
        **_check_pixels(config, sample, out, found),
    }
    if dataset is not None:
        try:
            prepared = _prepare(config, dataset)
        except TooLarge as error:
            found(Finding("memory", "stop", f"no bucket's program compiles for this device: {error}"))
        except ValueError as error:
            found(Finding("programs", "stop", f"a run would not start: {said(error, *_paths(config))}"))
    figures |= _check_training(prepared, config, dataset, sample, limits, found)
    diagnosis = Diagnosis(tuple(findings), figures)
    order = {"verdict": diagnosis.verdict, "findings": [asdict(finding) for finding in findings]}
    return replace(diagnosis, figures=order | figures)


def _not_tested_on(config: Config, manifest: Manifest) -> np.ndarray:
    """The records that may be looked at: what is seen of the test side is chosen by, not measured. All of an archive
    whose sides cannot be read."""
    try:
        split = open_archive(replace(config, task=Task())).split
    except (ValueError, OSError):  # said by what opens the whole of it
        return np.arange(len(manifest), dtype=np.int32)
    return np.concatenate([split.records(side) for side in ("train", "validation")])


def _paths(config: Config) -> list[Path]:
    """Those that an error may name."""
    named = (config.data.manifest, config.data.split, config.data.root, config.train.start, config.train.continue_from)
    return [Path(path) for path in named if path]


def _layout(config: Config, manifest: Manifest, dataset: Dataset | None) -> Layout:
    """As the run reads the archive; where it would not start, each image at its own size."""
    patch, model = config.model.patch, config.model
    if dataset is None:
        root = Path(config.data.root) if config.data.root else manifest.source
        grids = token_grids(manifest.heights, manifest.widths, patch)
        sizes = grids * 0
        sizes[:, 0], sizes[:, 1] = manifest.heights, manifest.widths
    else:
        root, sizes, grids = dataset.source.root, dataset.source.sizes, dataset.source.grids
    return Layout(
        patch,
        config.data.intensity,
        config.data.dtype,
        model.mask_ratio,
        config.loss.variance_floor,
        root,
        sizes,
        grids,
    )


def _check_settings(dataset: Dataset) -> Finding:
    """What a run would take of the archive."""
    counts = [f"{len(dataset.records(side)):,} {side}" for side in ("train", "validation", "test")]
    used = np.unique(dataset.bucket[dataset.records("train")])
    text = (
        f"{', '.join(counts)} images; {len(used)} of {len(dataset.table.lengths)} lengths in use, up to "
        f"{dataset.table.lengths[used[-1]]:,} tokens"
    )
    if dataset.beyond:
        return Finding("settings", "look", f"{text}; {dataset.beyond:,} images are beyond the largest bucket")
    return Finding("settings", "ok", text)


def _check_pixels(config: Config, sample: Sample, out: Path, found: Callable[[Finding], None]) -> dict[str, Any]:
    """Polarity and grey values of the sampled images, and the two pictures."""
    seen = sample.seen
    images = [
        {
            "record": i.record, "photometric": i.photometric, "scanner": i.scanner, "region": i.region, "bits": i.bits,
            "height": i.height, "width": i.width, "zero": i.zero, "full": i.full, "low": i.low, "median": i.median,
            "high": i.high, "border": i.polarity.border, "detail": i.polarity.detail,
            "suspect": i.polarity.suspect, "errors": asdict(i.errors),
        }
        for i in seen
    ]  # fmt: skip
    if not seen:
        for check in ("polarity", "grey values"):
            found(Finding(check, "skipped", "no sampled image could be read"))
        return {"sample": images, "polarity": None, "grey_values": None}
    records, kinds, signs = zip(*((i.record, i.photometric, i.polarity) for i in seen), strict=True)
    turned = polarity.check_polarity(list(records), list(kinds), list(signs))
    greys = histograms.check_histograms(seen)
    flags = dict.fromkeys(greys.records, "grey values?") | dict.fromkeys(turned.records, "inverted?")
    flags |= dict.fromkeys(set(greys.records) & set(turned.records), "inverted? grey values?")
    sheet.draw_sheet(seen, flags, out / SHEET, config.data.intensity)
    spreads = histograms.spreads_of(seen)
    histograms.draw_histograms(spreads, out / HISTOGRAMS, config.data.intensity)
    found(turned)
    found(greys)
    groups = [asdict(group) for group in polarity.groups_of(list(kinds), list(signs))]
    return {"sample": images, "polarity": groups, "grey_values": [asdict(spread) for spread in spreads]}


def _prepare(config: Config, dataset: Dataset) -> Prepared:
    with advancing("compiling", 4) as advance:
        return prepare(config, dataset, told=lambda program: advance(1))


def _check_training(
    prepared: Prepared | None, config: Config, dataset: Dataset | None, sample: Sample, limits: Limits,
    found: Callable[[Finding], None],
) -> dict[str, Any]:  # fmt: skip
    """Memory, rates, over-fit and expected losses; what cannot be measured is None."""
    memory, read, steps, learnt = None, None, None, None
    if prepared is not None:
        memory = measure_memory(prepared.config, prepared.programs, prepared.devices, limits.device_bytes)
        if prepared.refused:
            found(Finding("memory", "stop", f"the heaviest buckets do not compile: {prepared.refused}"))
        else:
            found(check_memory(memory, prepared.config, prepared.calls.schedule.group))
        prepared = _that_fits(prepared, memory)
        if prepared is None:
            for check in ("input rate", "over-fit"):
                found(Finding(check, "skipped", "no program fits into this device's memory"))
    if prepared is not None:
        read = measure_input(prepared, limits.seconds)
        steps = measure_steps(prepared, limits.seconds) if read.images else "the loader gave no image"
        found(check_rates(prepared, read, steps))
        with advancing("over-fit steps", limits.overfit_steps) as advance:
            learnt = overfit(prepared, limits.overfit_steps, limits.overfit_seconds, advance)
        found(check_overfit(learnt))
    untrained = steps.untrained if isinstance(steps, Steps) else None
    return {
        "memory": _memory_figures(memory),
        "rates": _rate_figures(prepared, read, steps),
        "overfit": _overfit_figures(learnt),
        "expected_loss": _check_expected(config, dataset, sample, untrained, found),
    }


def _that_fits(prepared: Prepared, memory: Memory | None) -> Prepared | None:
    """With the programs that this device can run; None where there are none."""
    if memory is None or memory.source == "given" or memory.device_bytes is None:
        return prepared
    room = memory.device_bytes - memory.resident_bytes - memory.batch_bytes
    kept = {bucket: p for bucket, p in prepared.programs.accumulate.items() if p.memory_bytes <= room}
    if not kept or memory.apply_bytes > memory.device_bytes:
        return None
    return replace(prepared, programs=replace(prepared.programs, accumulate=kept))


def _check_expected(
    config: Config, dataset: Dataset | None, sample: Sample, untrained: float | None, found: Callable[[Finding], None]
) -> dict[str, Any] | None:
    if config.task.kind == "classify":
        if dataset is None:
            found(Finding("expected loss", "skipped", "the labels could not be read"))
        else:
            found(expected.describe_guessing(config.task.labels, dataset.class_images(), untrained))
        return {"levels": None, "poster": None, "untrained": untrained}
    if not sample.seen:
        found(Finding("expected loss", "skipped", "no sampled image could be read"))
        return None
    errors, ratio = [image.errors for image in sample.seen], config.model.mask_ratio
    levels = expected.levels_of(errors, config.loss, ratio)
    poster = expected.levels_of(errors, replace(config.loss, kind="poster", norm_pix=False), ratio)
    found(expected.describe_levels(levels, poster if config.loss.kind != "poster" else None, untrained))
    return {"levels": asdict(levels), "poster": asdict(poster), "untrained": untrained}


def _memory_figures(memory: Memory | None) -> dict[str, Any] | None:
    if memory is None:
        return None
    fitting = None if memory.device_bytes is None else memory.fitting_rows
    return asdict(memory) | {"total_bytes": memory.total_bytes, "fitting_rows": fitting}


def _rate_figures(prepared: Prepared | None, read: Input | None, steps: Steps | str | None) -> dict[str, Any] | None:
    if prepared is None or read is None:
        return None
    figures = asdict(read) | {"images_per_second": read.rate, "training": None}
    if isinstance(steps, Steps) and read.images:
        rate = read.images / steps.seconds_of(read.calls, prepared)
        programs = [asdict(timed) | {"median": timed.median} for timed in steps.times.programs]
        figures["training"] = {
            "device": steps.times.device, "images_per_second": rate, "waiting": waiting(read.rate, rate),
            "apply_seconds": steps.apply_seconds, "programs": programs,
        }  # fmt: skip
    return figures


def _overfit_figures(learnt: Overfit | str | None) -> dict[str, Any] | None:
    return asdict(learnt) | {"share": learnt.share} if isinstance(learnt, Overfit) else None
