"""Tries every pair of bins a side for the poster's sizes, to see how good `optimal_edges` is.

    python tools/grid_optimum.py [--shapes K ...] [--patch 48] [--json FILE]

For each way to deal K shapes to rows and columns all sets of edges of the side with fewer are tried, each with the best
edges of the other side (exact dynamic programming). 6 to 24 shapes take half a minute on two CPU cores; 36, with
seven million sets of six edges, most of an hour.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np

from radmae_jax.data.binning import token_grids
from radmae_jax.data.optimum import optimal_edges
from radmae_jax.data.sizes import poster_sizes
from radmae_jax.figures import to_json

_BATCH = 2048  # sets of edges at once


def least_cost(images: np.ndarray, few: int, many: int) -> float:
    """Tokens of the best `few` row edges and `many` column edges.

    Args:
      images: [R + 1, C + 1], images of so many rows and columns of patches.
    """
    rows, columns = np.array(images.shape) - 1
    below = np.cumsum(images, axis=0)
    values = np.arange(columns + 1)
    later = np.triu(np.ones((columns + 1, columns + 1), bool))  # an edge before or at another
    least = np.inf
    inner = itertools.combinations(range(1, rows), few - 1)
    while batch := list(itertools.islice(inner, _BATCH)):
        edges = np.array([(*chosen, rows) for chosen in batch])
        bands = np.diff(below[edges], axis=1, prepend=0)  # [sets, few, C + 1]
        weight = np.cumsum(np.einsum("bk,bkc->bc", edges, bands), axis=1)
        best = values * weight  # one column edge
        for _ in range(many - 1):
            candidates = best[:, :, None] + values * (weight[:, None, :] - weight[:, :, None])
            best = np.where(later, candidates, np.inf).min(axis=1)
        least = min(least, float(best[:, -1].min()))
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=int, nargs="+", default=[6, 8, 12, 16, 24])
    parser.add_argument("--patch", type=int, default=48)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    heights, widths, counts = poster_sizes()
    rows, columns = token_grids(heights, widths, options.patch).T
    images = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(images, (rows, columns), counts)
    total = float(np.sum(rows * columns * counts))
    figures = []
    for shapes in options.shapes:
        down, across = optimal_edges(rows, columns, counts, shapes)
        padded = np.asarray(down)[np.searchsorted(down, rows)] * np.asarray(across)[np.searchsorted(across, columns)]
        found = 100 * float(np.sum(padded * counts)) / total
        best = np.inf
        for few in range(1, int(shapes**0.5) + 1):
            best = min(best, least_cost(images, few, shapes // few), least_cost(images.T, few, shapes // few))
        figures.append({"shapes": shapes, "found_pct": found, "best_pct": 100 * best / total})
        print(f"{shapes} shapes: optimal_edges {found:.4f} %, best of all {100 * best / total:.4f} %", flush=True)
    if options.json:
        options.json.write_text(to_json(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
