"""Image sizes to what each binning policy computes, in every currency: numpy only, nothing runs.

Percentages are of every image padded to whole patches and no further (`padded_to_patch`). Three currencies besides
tokens: `poster_compute_pct` is what the poster calls total compute, the square of its ratio of tokens; `squared_pct`
is the sum of squared lengths, what attention's scores cost; `flops_pct` is the training FLOPs (radmae_jax.model.flops).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from radmae_jax.config import Bins, Model
from radmae_jax.data.binning import BucketTable, count_tokens, make_table, token_grids
from radmae_jax.data.optimum import Edges, optimal_edges, optimal_tables
from radmae_jax.data.sizes import Sizes
from radmae_jax.model.flops import training_flops

SHAPES = (6, 8, 12, 16, 24, 36)
COSTS = ("tokens", "flops", "seconds")

Cost = Callable[[np.ndarray], np.ndarray]  # tokens to the cost of one image of so many, not falling


@dataclass(frozen=True)
class SizeFacts:
    """What was counted."""

    images: int
    unique: int  # sizes in pixels
    patch: int
    left_out: int  # images with a side beyond --max-side


@dataclass(frozen=True)
class Saved:
    """Saved against the fixed size, in % of its cost; seconds None where not measured."""

    poster: float
    flops: float
    seconds: float | None = None


@dataclass(frozen=True)
class Policy:
    """What one policy computes for an epoch, every image at its bucket's length, groups and fillers not counted."""

    name: str
    shapes: int  # padded shapes that images have
    programs: int  # distinct lengths: what is compiled
    tokens: int
    tokens_pct: float
    poster_compute_pct: float
    squared_pct: float
    flops_pct: float
    seconds_pct: float | None
    saving_vs_fixed: Saved
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class Savings:
    """All policies for one archive."""

    sizes: SizeFacts
    policies: list[Policy]
    images: dict[str, np.ndarray]  # by policy, int64: images of each of its lengths
    edges: dict[str, Edges]  # by policy, of those that have bins a side: pixels
    common_side: int  # pixels that the longer side of 99 % of the images does not exceed
    model: Model

    def named(self, name: str) -> Policy:
        for policy in self.policies:
            if policy.name == name:
                return policy
        raise ValueError(f"policy {name!r}; there are {', '.join(p.name for p in self.policies)}")

    def to_json(self) -> dict[str, Any]:
        return {
            "sizes": asdict(self.sizes),
            "policies": [asdict(policy) for policy in self.policies],
            "edges": self.edges,
            "model": asdict(self.model),
        }


def savings(
    sizes: Sizes,
    model: Model,
    max_side: int | None = None,
    shapes: tuple[int, ...] = SHAPES,
    cost: Cost | None = None,
    quantum: int = 1,
) -> Savings:
    """Counts every policy.

    Args:
      sizes: heights, widths in pixels, counts.
      model: what FLOPs are of; its patch cuts the images.
      max_side: pixels; images with a longer side are left out and counted. None: none is. `fixed` is this square in
        whole patches, or that of the longest side there is.
      shapes: K of the optimal grids and tables.
      cost: what the optimal ones are optimal in; None: tokens.

    Errors: ValueError where no image is left.
    """
    heights, widths, counts, left_out = within(sizes, max_side)
    patch = model.patch
    heights, widths, counts = _distinct(heights, widths, counts)
    unique, common_side = len(heights), _common_side(np.maximum(heights, widths), counts)
    side = -(-int(max_side or max(heights.max(), widths.max())) // patch) * patch
    if all(edge % patch == 0 for edge in Bins().edges):
        # Nothing below tells sizes of the same grid apart; there are far fewer grids.
        rows, columns = token_grids(heights, widths, patch).T
        heights, widths, counts = _distinct(rows * patch, columns * patch, counts)
    tokens, images = count_tokens(heights, widths, patch, counts)
    tables = {
        "fixed": make_table(Bins(policy="fixed", max_side=side), patch, heights, widths),
        "poster_dbb": make_table(Bins(policy="dbb", beyond="extra"), patch, heights, widths),
    }
    rows, columns = token_grids(heights, widths, patch).T
    for k in shapes:
        down, across = optimal_edges(rows, columns, counts, k, cost)
        bins = Bins(policy="dbb", edges=tuple(n * patch for n in down), width_edges=tuple(n * patch for n in across))
        tables[f"grid_{k}"] = make_table(bins, patch, heights, widths)
    prices = None if cost is None else cost(-(-tokens // quantum) * quantum)
    optimal = optimal_tables(tokens, images, max(shapes, default=1), prices, quantum)
    for k in shapes:
        lengths = optimal[min(k, len(optimal)) - 1]
        tables[f"tokens_{k}"] = make_table(Bins(lengths=lengths), patch, heights, widths)
    counted = {"padded_to_patch": (len(_distinct(rows, columns, counts)[0]), tokens, images)}
    counted |= {name: _occupied(table, heights, widths, counts) for name, table in tables.items()}
    policies = _compare(counted, model)
    return Savings(
        SizeFacts(int(counts.sum()), unique, patch, left_out),
        policies,
        {name: images for name, (_, _, images) in counted.items()},
        {name: table.edges for name, table in tables.items() if table.edges[0]},
        common_side,
        model,
    )


def with_seconds(found: Savings, seconds: dict[str, float], whole: float) -> Savings:
    """The same with measured seconds an epoch, by policy.

    whole: seconds of `padded_to_patch`, which they are percentages of.
    """
    fixed = seconds.get("fixed")
    policies = []
    for policy in found.policies:
        own = seconds.get(policy.name)
        if own is not None:
            saved = None if fixed is None else 100.0 * (1 - own / fixed)
            policy = replace(
                policy,
                seconds_pct=100.0 * own / whole,
                saving_vs_fixed=replace(policy.saving_vs_fixed, seconds=saved),
            )
        policies.append(policy)
    return replace(found, policies=policies)


def within(sizes: Sizes, max_side: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Heights, widths and counts of the images whose sides are at most `max_side`, and how many others there are."""
    heights, widths, counts = sizes
    if max_side is None:
        return heights, widths, counts, 0
    kept = np.maximum(heights, widths) <= max_side
    left_out = int(counts[~kept].sum())
    if not kept.any():
        raise ValueError(f"all {left_out:,} images have a side beyond {max_side:,} pixels; none is left to count")
    return heights[kept], widths[kept], counts[kept], left_out


def _common_side(sides: np.ndarray, counts: np.ndarray) -> int:
    order = np.argsort(sides)
    share = np.cumsum(counts[order]) / counts.sum()
    return int(sides[order][np.searchsorted(share, 0.99)])


def _distinct(heights: np.ndarray, widths: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Each pair once, with the sum of its counts, int64 [n] each; values below 2^31."""
    keys, where = np.unique((heights.astype(np.int64) << 31) | widths.astype(np.int64), return_inverse=True)
    total = np.zeros(len(keys), np.int64)
    np.add.at(total, where, counts)
    return keys >> 31, keys & (2**31 - 1), total


def _occupied(
    table: BucketTable, heights: np.ndarray, widths: np.ndarray, counts: np.ndarray
) -> tuple[int, np.ndarray, np.ndarray]:
    """Shapes and lengths that hold images, and how many each length holds."""
    images = np.zeros(len(table.lengths), np.int64)
    np.add.at(images, table.assign(heights, widths), counts)
    used = images > 0
    shapes = int(used.sum())
    if table.edges[0]:
        down, across = (np.searchsorted(e, side) for e, side in zip(table.edges, (heights, widths), strict=True))
        shapes = len(_distinct(down, across, counts)[0])
    return shapes, np.asarray(table.lengths, np.int64)[used], images[used]


def _compare(counted: dict[str, tuple[int, np.ndarray, np.ndarray]], model: Model) -> list[Policy]:
    def sums(name: str) -> tuple[float, float, float]:
        _, lengths, images = counted[name]
        exact = lengths.astype(np.float64)
        flops = training_flops(lengths, model)
        return tuple(float(np.sum(images * each)) for each in (exact, exact * exact, flops))  # pyright: ignore

    whole, fixed = sums("padded_to_patch"), sums("fixed")
    policies = []
    for name, (shapes, lengths, images) in counted.items():
        tokens, squared, flops = sums(name)
        policies.append(
            Policy(
                name=name,
                shapes=shapes,
                programs=len(lengths),
                # Python's whole numbers: counts and sides may be large enough to overflow int64.
                tokens=sum(n * many for n, many in zip(lengths.tolist(), images.tolist(), strict=True)),
                tokens_pct=100.0 * tokens / whole[0],
                poster_compute_pct=100.0 * (tokens / whole[0]) ** 2,
                squared_pct=100.0 * squared / whole[1],
                flops_pct=100.0 * flops / whole[2],
                seconds_pct=None,
                saving_vs_fixed=Saved(
                    poster=100.0 * (1 - (tokens / fixed[0]) ** 2), flops=100.0 * (1 - flops / fixed[2])
                ),
                lengths=tuple(lengths.tolist()),
            )
        )
    return policies
