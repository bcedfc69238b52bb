"""A folder, a number of images and a seed turn into study folders of DICOM files and labels.csv."""

import csv
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radmae_jax.data.phantom.dicom_write import dicom_bytes
from radmae_jax.data.phantom.plan import BROKEN_KINDS, SYNTAXES, ImagePlan, plan_images
from radmae_jax.data.phantom.render import REGIONS, Phantom, render

# Images a worker takes at once: enough to hide the hand-over, few enough for steady progress.
CHUNK = 8


@dataclass(frozen=True)
class PhantomSummary:
    """What was written: counts of files (broken ones included), their bytes, seconds taken, and counts by kind."""

    images: int
    broken: int
    patients: int
    bytes: int
    seconds: float
    regions: dict[str, int]
    syntaxes: dict[str, int]
    broken_kinds: dict[str, int]


@dataclass(frozen=True)
class Written:
    """One file: its path relative to the output folder, size, and labels."""

    path: str
    size: int
    view: str
    foreign: bool
    fracture: bool


def relative_path(plan: ImagePlan) -> str:
    """Where the file goes below the output folder, with forward slashes."""
    return f"patient{plan.patient.number:06d}_study{plan.study + 1}/image{plan.index:07d}.dcm"


def render_plan(plan: ImagePlan) -> Phantom:
    """The radiograph that a plan asks for."""
    rng = np.random.default_rng([plan.seed, plan.index, 5])
    return render(
        plan.region,
        plan.view,
        plan.side,
        plan.height,
        plan.width,
        plan.patient.habit,
        plan.foreign,
        plan.fracture,
        rng,
    )


def write_image(out: Path, plan: ImagePlan) -> Written:
    """Render one plan and write its file."""
    phantom = render_plan(plan)
    raw = dicom_bytes(plan, phantom)
    path = out / relative_path(plan)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return Written(relative_path(plan), len(raw), phantom.view, phantom.foreign_material, phantom.fracture)


def write_images(out: Path, plans: list[ImagePlan]) -> list[Written]:
    """Render and write several plans in order (one worker's chunk)."""
    return [write_image(out, plan) for plan in plans]


def _check(out: Path, images: int, scale: float, broken: float) -> None:
    if images < 1:
        raise ValueError(f"images {images}: the smallest allowed is 1")
    if not 0.02 < scale <= 1:
        raise ValueError(f"scale {scale}: allowed are values over 0.02 up to 1")
    if not 0 <= broken <= 1:
        raise ValueError(f"broken {broken}: allowed is a share from 0 to 1")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"output folder {out} holds something already: the limit is 0 files")


def make_phantoms(
    out: Path,
    images: int,
    seed: int = 0,
    scale: float = 1.0,
    broken: float = 0.0,
    workers: int = 2,
    progress: Callable[[int], None] | None = None,
) -> PhantomSummary:
    """Write images synthetic radiographs as DICOM files below out, with labels.csv for the intact ones.

    Sizes are the poster's times scale; round(broken * images) files are spoilt in six ways. The bytes depend on
    images, seed, scale and broken only, not on workers (1 works in this process). progress gets the number of
    files done. Raises ValueError for images < 1, scale outside (0.02, 1], broken outside [0, 1], workers < 1 and
    an output folder that is not empty.
    """
    out = Path(out)
    _check(out, images, scale, broken)
    if workers < 1:
        raise ValueError(f"workers {workers}: the smallest allowed is 1")
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    plans = plan_images(images, seed, scale, broken)
    chunks = [plans[k : k + CHUNK] for k in range(0, images, CHUNK)]
    written: list[Written] = []
    if workers == 1:
        for chunk in chunks:
            written += write_images(out, chunk)
            _report(progress, len(written))
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(workers, len(chunks)), mp_context=context) as pool:
            for done in pool.map(write_images, [out] * len(chunks), chunks):
                written += done
                _report(progress, len(written))
    _write_labels(out, plans, written)
    kinds = Counter(plan.broken for plan in plans if plan.broken)
    regions, syntaxes = Counter(plan.region for plan in plans), Counter(plan.syntax for plan in plans)
    return PhantomSummary(
        images=images,
        broken=kinds.total(),
        patients=plans[-1].patient.number,
        bytes=sum(one.size for one in written),
        seconds=time.perf_counter() - start,
        regions={name: regions[name] for name in REGIONS},
        syntaxes={name: syntaxes[name] for name in SYNTAXES},
        broken_kinds={name: kinds[name] for name in BROKEN_KINDS},
    )


def _report(progress: Callable[[int], None] | None, done: int) -> None:
    if progress is not None:
        progress(done)


def _write_labels(out: Path, plans: list[ImagePlan], written: list[Written]) -> None:
    with (out / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "region", "view", "foreign_material", "fracture"])
        for plan, one in zip(plans, written, strict=True):
            if not plan.broken:
                writer.writerow([one.path, plan.region, one.view, int(one.foreign), int(one.fracture)])
