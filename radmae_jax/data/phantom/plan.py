"""A number of images and a seed turn into patients, studies and one written plan an image, before any rendering."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from radmae_jax.data.phantom.render import PAIRED, REGIONS, VIEWS, draw_habit
from radmae_jax.data.phantom.solids import Habit
from radmae_jax.data.sizes import poster_sizes

# The poster's share of MONOCHROME1: 82,709 of 639,877 radiographs (its data exploration notebook).
MONOCHROME1_SHARE = 0.129
FOREIGN_SHARE = 0.20
# A fracture is asked for a little more often than wanted (0.15): one in eight finds no place where it would show.
FRACTURE_SHARE = 0.17
SMALLEST_SIDE = 16

BROKEN_KINDS = ("truncated", "no_pixels", "all_zero", "absurd_size", "unknown_syntax", "not_dicom")

# Transfer syntax UIDs (PS3.6) and how often each is dealt: uncompressed ones are the most common in archives.
SYNTAXES: dict[str, tuple[str, float]] = {
    "implicit_le": ("1.2.840.10008.1.2", 0.14),
    "explicit_le": ("1.2.840.10008.1.2.1", 0.24),
    "deflated_le": ("1.2.840.10008.1.2.1.99", 0.06),
    "rle": ("1.2.840.10008.1.2.5", 0.10),
    "jpeg_lossless_sv1": ("1.2.840.10008.1.2.4.70", 0.16),
    "jpeg_ls": ("1.2.840.10008.1.2.4.80", 0.10),
    "jpeg2000": ("1.2.840.10008.1.2.4.90", 0.10),
    "htj2k": ("1.2.840.10008.1.2.4.201", 0.10),
}


@dataclass(frozen=True)
class Scanner:
    """An invented radiography system: what it calls itself and how it stores."""

    maker: str
    model: str
    modality: str
    bits: int
    relationship: str
    detector_mm: float


SCANNERS = (
    Scanner("Northlight Imaging", "Aurora DR 400", "DX", 12, "LOG", 0.143),
    Scanner("Northlight Imaging", "Aurora DR 700", "DX", 15, "LOG", 0.139),
    Scanner("Halden Medical", "PlateOne CR", "CR", 10, "LOG", 0.175),
    Scanner("Halden Medical", "PlateTwo CR", "CR", 12, "LOG", 0.1),
    Scanner("Quarz Roentgen", "Sonnblick", "DX", 16, "LIN", 0.148),
    Scanner("Okapi Systems", "FieldRay", "RG", 12, "LOG", 0.2),
)


@dataclass(frozen=True)
class Patient:
    """One invented patient: build, sex, age in years, and the regions that are looked at."""

    number: int
    images: int
    habit: Habit
    sex: str
    age: int
    regions: tuple[str, ...]
    studies: int


@dataclass(frozen=True)
class ImagePlan:
    """Everything about one file but its pixels; broken is empty or one of BROKEN_KINDS."""

    index: int
    seed: int
    patient: Patient
    study: int
    region: str
    view: str
    side: str
    height: int
    width: int
    foreign: bool
    fracture: bool
    monochrome1: bool
    scanner: Scanner
    syntax: str
    windowed: bool
    rescale: tuple[float, float] | None
    broken: str


@cache
def _sizes() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Heights, widths and cumulative share, (n,) each."""
    heights, widths, counts = poster_sizes()
    return heights, widths, np.cumsum(counts) / counts.sum()


def draw_size(rng: np.random.Generator, scale: float) -> tuple[int, int]:
    """Height and width in pixels: one of the poster's sizes times scale, never under SMALLEST_SIDE."""
    heights, widths, share = _sizes()
    place = int(np.searchsorted(share, rng.uniform(), side="right"))
    # The table counts cells of 16 pixels by their upper edge; spread the size inside its cell.
    height, width = heights[place] - rng.integers(16), widths[place] - rng.integers(16)
    return max(round(scale * int(height)), SMALLEST_SIDE), max(round(scale * int(width)), SMALLEST_SIDE)


def draw_patient(seed: int, number: int) -> Patient:
    """Patient by number (1, 2, ...): one to six images of one or two regions in one or two studies."""
    rng = np.random.default_rng([seed, number, 1])
    images = int(rng.choice(6, p=[0.22, 0.28, 0.2, 0.14, 0.09, 0.07])) + 1
    count = 1 if images == 1 or rng.uniform() < 0.65 else 2
    regions = tuple(str(r) for r in rng.choice(list(REGIONS), size=count, replace=False))
    habit = draw_habit(rng)
    studies = 1 if images == 1 or rng.uniform() < 0.7 else 2
    return Patient(number, images, habit, str(rng.choice(["F", "M"])), int(rng.integers(18, 91)), regions, studies)


def plan_image(patient: Patient, place: int, index: int, seed: int, scale: float, broken: str) -> ImagePlan:
    """The plan of image index, the patient's image number place (0, 1, ...)."""
    rng = np.random.default_rng([seed, index])
    region = patient.regions[place % len(patient.regions)]
    view = VIEWS[region][(place // len(patient.regions) + int(rng.integers(2))) % len(VIEWS[region])]
    side = ("R", "L")[int(rng.integers(2))] if region in PAIRED else ""
    height, width = draw_size(rng, scale)
    names, weights = list(SYNTAXES), [weight for _, weight in SYNTAXES.values()]
    syntax = names[int(rng.choice(len(names), p=weights))]
    rescale = ((1.0, 0.0), (0.25, 0.0), (2.0, -100.0))[int(rng.integers(3))] if rng.uniform() < 0.3 else None
    return ImagePlan(
        index,
        seed,
        patient,
        place * patient.studies // max(patient.images, 1),
        region,
        view,
        side,
        height,
        width,
        bool(rng.uniform() < FOREIGN_SHARE),
        bool(rng.uniform() < FRACTURE_SHARE),
        bool(rng.uniform() < MONOCHROME1_SHARE),
        SCANNERS[int(rng.integers(len(SCANNERS)))],
        syntax,
        bool(rng.uniform() < 0.85),
        rescale,
        broken,
    )


def plan_images(images: int, seed: int, scale: float, broken: float) -> list[ImagePlan]:
    """One plan an image, in order; exactly round(broken * images) of them broken, the six kinds dealt evenly."""
    luck = [float(np.random.default_rng([seed, index, 2]).uniform()) for index in range(images)]
    unlucky = sorted(range(images), key=lambda index: luck[index])[: round(broken * images)]
    kinds = {index: BROKEN_KINDS[k % len(BROKEN_KINDS)] for k, index in enumerate(unlucky)}
    plans: list[ImagePlan] = []
    number = 0
    while len(plans) < images:
        number += 1
        patient = draw_patient(seed, number)
        for place in range(min(patient.images, images - len(plans))):
            index = len(plans)
            plans.append(plan_image(patient, place, index, seed, scale, kinds.get(index, "")))
    return plans
