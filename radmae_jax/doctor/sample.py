"""A manifest to a few images of every kind, each read once and kept as a thumbnail and figures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binom

from radmae_jax.data.codecs import ImageError
from radmae_jax.data.images import downscale, read_image
from radmae_jax.data.manifest import Manifest
from radmae_jax.doctor.expected import Errors, errors_of
from radmae_jax.doctor.finding import Finding, name_records
from radmae_jax.doctor.polarity import Polarity, polarity_of

_SPREAD = ("photometric", "scanner", "region")  # the first counts most
_THUMBNAIL = 256  # pixels of the longer side
PERCENTILES = (0.5, 99.5)  # of the pixels: the range that an image uses, as intensity's `percentile`
BINS = 256
_UNLIKELY = 0.05  # chance of so many unreadable images, were their share what the run allows, below which it would stop


@dataclass(frozen=True, eq=False)
class Seen:
    """One image after the intensity policy; grey values from 0 to 1."""

    record: int
    photometric: str
    scanner: str
    region: str
    bits: int
    height: int  # pixels, as trained on
    width: int
    thumbnail: np.ndarray  # uint8 [h, w], not stretched: black is 0, white is full range
    histogram: np.ndarray  # float64 [256], shares of the pixels, over the full range
    zero: float  # share of the pixels at 0
    full: float  # at full range
    low: float  # 0.5th percentile
    median: float
    high: float  # 99.5th percentile
    polarity: Polarity
    errors: Errors

    @property
    def used(self) -> float:
        """The share of the range that lies between the percentiles."""
        return self.high - self.low


@dataclass(frozen=True)
class Layout:
    """How a run would read the archive; N records."""

    patch: int
    intensity: str
    dtype: str
    mask_ratio: float
    variance_floor: float
    root: Path
    sizes: np.ndarray  # int32 [N, 2], pixels at which each image is trained on
    grids: np.ndarray  # int32 [N, 2], rows and columns of patches


@dataclass(frozen=True)
class Sample:
    """The images looked at, in the order of their records, and those that cannot be read, with the reason."""

    seen: tuple[Seen, ...]
    unreadable: dict[int, str]


def choose_records(manifest: Manifest, among: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """int32, ascending: `count` of the records `among`, or all of them, as even as can be over photometric
    interpretations, within each over scanners, and within each of these over regions."""
    codes = np.stack([manifest.labels(name) for name in _SPREAD], axis=1)
    order = np.random.default_rng(seed).permutation(among)
    for columns in range(len(_SPREAD), 0, -1):  # members of a group take turns, those of its parts one after another
        groups = np.unique(codes[order, :columns], axis=0, return_inverse=True)[1].reshape(-1)
        turn = np.zeros(len(order), np.int64)
        for group in range(groups.max() + 1 if len(groups) else 0):
            turn[groups == group] = np.arange(np.sum(groups == group))
        order = order[np.argsort(turn, kind="stable")]
    return np.sort(order[:count]).astype(np.int32)


def read_sample(
    manifest: Manifest, records: np.ndarray, layout: Layout, told: Callable[[int], None] = lambda done: None
) -> Sample:
    """Reads the records one by one. Reasons hold no path: a path may name a patient."""
    facts = {name: manifest.table[name].to_pylist() for name in (*_SPREAD, "bits")}
    seen, unreadable = [], {}
    for record in records.tolist():
        image = _read(manifest, record, layout)
        if isinstance(image, str):
            unreadable[record] = image
        else:
            names = {name: str(facts[name][record] or "unknown") for name in _SPREAD}
            seen.append(look_at(image, record, layout, bits=int(facts["bits"][record] or 0), **names))
        told(1)
    return Sample(tuple(seen), unreadable)


def _read(manifest: Manifest, record: int, layout: Layout) -> np.ndarray | str:
    """The image [H, W], or why there is none, as a run's loader would say it."""
    try:
        image = read_image(layout.root / manifest.paths[record], intensity=layout.intensity, dtype=layout.dtype)
    except ImageError as error:
        return str(error)
    except OSError as error:
        return error.strerror or type(error).__name__
    height, width = int(manifest.heights[record]), int(manifest.widths[record])
    if image.shape != (height, width):
        return f"is {image.shape[0]} x {image.shape[1]}, the manifest says {height} x {width}"
    return image


def look_at(
    image: np.ndarray, record: int, layout: Layout, *, photometric: str, scanner: str, region: str, bits: int
) -> Seen:
    """The figures of one image [H, W], uint8 or uint16, as the intensity policy gave it."""
    image = downscale(image, (int(layout.sizes[record, 0]), int(layout.sizes[record, 1])))
    top = int(np.iinfo(image.dtype).max)
    counts = np.bincount(image.ravel(), minlength=top + 1)
    running = np.cumsum(counts)
    low, median, high = (
        float(np.searchsorted(running, share * running[-1])) / top
        for share in (PERCENTILES[0] / 100, 0.5, PERCENTILES[1] / 100)
    )
    thumbnail = _shrunk(image, top)
    height, width = image.shape
    return Seen(
        record, photometric, scanner, region, bits, height, width, thumbnail,
        histogram=counts.reshape(BINS, -1).sum(axis=1) / image.size,
        zero=float(counts[0] / image.size), full=float(counts[top] / image.size),
        low=low, median=median, high=high,
        polarity=polarity_of(thumbnail),
        errors=errors_of(
            image, layout.patch, tuple(layout.grids[record].tolist()), layout.mask_ratio, layout.variance_floor, record
        ),
    )  # fmt: skip


def check_reading(sample: Sample, most: float) -> Finding:
    """Whether the sampled files can be read. most: the share that a run allows (config.data.max_unreadable)."""
    bad, tried = len(sample.unreadable), len(sample.seen) + len(sample.unreadable)
    if not bad:
        return Finding("reading", "ok", f"{tried} sampled images, all of them readable")
    said = f"{bad} of {tried} sampled images cannot be read: {name_records(list(sample.unreadable))}"
    notes = tuple(f"record {record}: {reason}" for record, reason in sample.unreadable.items())
    chance = float(binom.sf(bad - 1, tried, most))
    if chance < _UNLIKELY or not sample.seen:
        limit = (
            f"a run stops above {most:.1%} (config.data.max_unreadable); index again, or see what became of the files"
        )
        return Finding("reading", "stop", f"{said}; {limit}", notes, tuple(sample.unreadable))
    return Finding("reading", "look", f"{said}; a run allows {most:.1%}", notes, tuple(sample.unreadable))


def _shrunk(image: np.ndarray, top: int) -> np.ndarray:
    scale = min(1.0, _THUMBNAIL / max(image.shape))
    small = downscale(image, (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))))
    return np.round(small * (255.0 / top)).astype(np.uint8)
