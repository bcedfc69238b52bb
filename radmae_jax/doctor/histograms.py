"""Images after the intensity policy to their grey values: figures of each kind of image, warnings, and one picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from radmae_jax.doctor.finding import Finding, name_records
from radmae_jax.doctor.sample import BINS, PERCENTILES, Seen

# Shares and ranges beyond which a person should look. Of 200 phantoms none has more than 5 % at full range or 34 % at
# 0 (collimation behind a shutter), and of 122 real radiographs (FracAtlas) none more than 0.3 % and 49 %.
_MOST_FULL = 0.10
_MOST_ZERO = 0.60
_LEAST_USED = 0.10  # of the range, between the percentiles
_MOST_PANELS = 8
_BLUE, _RED, _GREY = "#2f6db3", "#c44e52", "#6b7280"


@dataclass(frozen=True)
class Spread:
    """Grey values of the sampled images of one kind, full range being 1. Each image counts alike."""

    name: str
    images: int
    mean: float
    zero: float  # share of the pixels at 0
    full: float  # at full range
    low: float  # medians of the images' 0.5th percentile, median and 99.5th percentile
    median: float
    high: float
    used: float  # median of the range between these percentiles
    histogram: tuple[float, ...]  # 256 shares of the pixels over the full range


def spreads_of(seen: tuple[Seen, ...]) -> list[Spread]:
    """All images, then those of each scanner and number of stored bits, the most frequent first."""
    kinds = [f"{image.scanner}, {image.bits} bits" for image in seen]
    names = sorted(set(kinds), key=lambda kind: (-kinds.count(kind), kind))
    parts = [("all", list(seen))]
    parts += [(name, [image for image, kind in zip(seen, kinds, strict=True) if kind == name]) for name in names]
    return [_spread(name, images) for name, images in parts if images]


def check_histograms(seen: tuple[Seen, ...]) -> Finding:
    """Names the images that are saturated, nearly black, or use little of the range."""
    wrong = {
        f"more than {_MOST_FULL:.0%} of the pixels at full range, which is lost detail": [
            image.record for image in seen if image.full > _MOST_FULL
        ],
        f"more than {_MOST_ZERO:.0%} of the pixels at 0": [image.record for image in seen if image.zero > _MOST_ZERO],
        f"less than {_LEAST_USED:.0%} of the range in use between the {PERCENTILES[0]}th and {PERCENTILES[1]}th "
        "percentile of the pixels": [image.record for image in seen if image.used < _LEAST_USED],
    }
    notes = tuple(f"{name_records(records)}: {reason}" for reason, records in wrong.items() if records)
    records = sorted({record for some in wrong.values() for record in some})
    if not records:
        used = float(np.median([image.used for image in seen])) if seen else 0.0
        return Finding("grey values", "ok", f"no image saturated or flat; the median one uses {used:.0%} of the range")
    text = f"{len(records)} of {len(seen)} images lose grey values: {name_records(records)}; look at histograms.png"
    if len(records) > len(seen) / 2:
        text += "; config.data.intensity 'percentile' stretches each image to its own range"
        return Finding("grey values", "stop", text, notes, tuple(records))
    return Finding("grey values", "look", text, notes, tuple(records))


def draw_histograms(spreads: list[Spread], path: Path, intensity: str) -> None:
    """A PNG: all images large, the most frequent kinds small, on one logarithmic scale."""
    kinds = spreads[1 : 1 + _MOST_PANELS]
    rows = -(-len(kinds) // 4)
    figure = Figure(figsize=(13, 4.2 + 2.5 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(1 + rows, 4, height_ratios=[1.7] + [1.0] * rows)
    largest = max(max(spread.histogram) for spread in spreads)
    main = figure.add_subplot(grid[0, :])
    _draw(main, spreads[0], largest)
    main.set_ylabel("share of the pixels")
    main.set_xlabel("grey value, full range is 1")
    main.legend(loc="upper right", framealpha=1.0)
    for at, spread in enumerate(kinds):
        axes = figure.add_subplot(grid[1 + at // 4, at % 4], sharex=main, sharey=main)
        _draw(axes, spread, largest)
        axes.tick_params(labelleft=at % 4 == 0)
    unseen = len(spreads) - 1 - len(kinds)
    left_out = f"; {unseen} rarer kinds are not drawn" if unseen else ""
    figure.suptitle(f"Grey values after the policy '{intensity}', each image counted alike{left_out}", fontsize=12)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def _draw(axes, spread: Spread, largest: float) -> None:
    centres = (np.arange(BINS) + 0.5) / BINS
    shares = np.array(spread.histogram)
    axes.fill_between(centres, shares, 1e-6, step="mid", color=_BLUE, alpha=0.35, linewidth=0)
    axes.step(centres, np.maximum(shares, 1e-6), where="mid", color=_BLUE, linewidth=1.0)
    axes.axvline(spread.low, color=_GREY, linewidth=1.0, linestyle="--", label="0.5th and 99.5th percentile")
    axes.axvline(spread.high, color=_GREY, linewidth=1.0, linestyle="--")
    axes.axvline(spread.median, color=_RED, linewidth=1.2, label="median")
    axes.set_yscale("log")
    axes.set_ylim(1e-5, 1.5 * largest)
    axes.set_xlim(0, 1)
    axes.set_title(
        f"{spread.name}\n{spread.images} image{'s' * (spread.images != 1)}, {spread.used:.0%} in use\n"
        f"at 0: {spread.zero:.1%}, at full range: {spread.full:.1%}",
        fontsize=9, loc="left",
    )  # fmt: skip
    axes.grid(alpha=0.2)


def _spread(name: str, images: list[Seen]) -> Spread:
    histogram = np.mean([image.histogram for image in images], axis=0)
    centres = np.arange(BINS) / (BINS - 1)
    median = {of: float(np.median([getattr(i, of) for i in images])) for of in ("low", "median", "high", "used")}
    return Spread(
        name, len(images), mean=float(histogram @ centres), zero=float(np.mean([i.zero for i in images])),
        full=float(np.mean([i.full for i in images])), histogram=tuple(histogram.tolist()), **median,
    )  # fmt: skip
