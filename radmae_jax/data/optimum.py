"""Counts of image sizes to the bucket lengths, or bins a side, that cost least: dynamic programming, numpy only."""

from collections.abc import Callable

import numpy as np

# Values a side among which `optimal_edges` looks; with more, quantiles of them. 3,072 pixels in patches of 16 are 192.
_MOST_VALUES = 256
_STARTS = 6  # of which four are random
_MOST_ROUNDS = 50

Edges = tuple[tuple[int, ...], tuple[int, ...]]


def optimal_lengths(
    tokens: np.ndarray,
    counts: np.ndarray,
    shapes: int,
    cost: np.ndarray | None = None,
    quantum: int = 1,
    group: int = 1,
) -> tuple[int, ...]:
    """At most `shapes` lengths that cost least when every image is padded to the next one; see `optimal_tables`."""
    return optimal_tables(tokens, counts, shapes, cost, quantum, group)[-1]


def optimal_tables(
    tokens: np.ndarray,
    counts: np.ndarray,
    most: int,
    cost: np.ndarray | None = None,
    quantum: int = 1,
    group: int = 1,
) -> list[tuple[int, ...]]:
    """The best table of at most k lengths for each k from 1 to `most`, or to as many as there are token counts.

    Exact dynamic programming over the distinct token counts: the best cost of covering the first j of them with k
    lengths is min over i < j of best[k - 1][i] + cost[j] * (images among i..j). For fixed k the candidates i are
    lines in cost[j], which does not fall with j, so a lower envelope walked once answers all j.

    Args:
      tokens: whole numbers [M], distinct and ascending, and counts [M], images of each, 0 where a length must hold
        them but they are not trained on.
      cost: float [M], cost of one image padded to tokens[m] (after rounding up to the quantum), not falling with m:
        FLOPs, seconds; None: the tokens themselves.
      quantum: lengths are multiples of it.
      group: images computed together. Leftovers of a length move up to the next one, so what a length computes are
        the whole groups that the images up to it fill; only the last is filled up. 1: every image for itself.
    """
    if len(tokens) == 0:
        raise ValueError("no sizes: a table needs at least one image")
    ends = -(-np.asarray(tokens, np.int64) // quantum) * quantum
    price = np.asarray(ends if cost is None else cost, np.float64)
    if np.any(np.diff(price) < 0):
        at = int(np.flatnonzero(np.diff(price) < 0)[0])
        raise ValueError(f"cost falls from {price[at]} to {price[at + 1]} at {tokens[at + 1]} tokens")
    images = _rows_computed(np.asarray(counts), group)
    best = np.concatenate([[0.0], price * images[1:]])  # one length: everything padded to the last
    chosen: list[np.ndarray] = [np.zeros(len(best), np.int64)]
    tables = [_walk_back(chosen, ends)]
    for _ in range(1, min(most, len(tokens))):
        best, origin = _one_more_length(best, price, images)
        chosen.append(origin)
        tables.append(_walk_back(chosen, ends))
    return tables


def _rows_computed(counts: np.ndarray, group: int) -> np.ndarray:
    """Rows that the images up to each token count fill, float64 [M + 1]; fillers complete the last group."""
    images = np.concatenate([[0], np.cumsum(np.round(counts).astype(np.int64))])
    whole = images // group * group
    whole[images == images[-1]] = -(-images[-1] // group) * group
    return whole.astype(np.float64)


def _walk_back(chosen: list[np.ndarray], ends: np.ndarray) -> tuple[int, ...]:
    lengths, at = [], len(ends)
    for origin in reversed(chosen):
        if at > 0:
            lengths.append(int(ends[at - 1]))
            at = int(origin[at])
    return tuple(sorted(set(lengths)))


def _one_more_length(best: np.ndarray, price: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Costs and origins with one more length: for each j, min over i < j of best[i] + price[j] (images[j] - images[i]).

    Lines y = best[i] - images[i] x come with falling slopes and are asked at rising x = price[j].
    """
    count = len(best)
    heights, counts, prices = best.tolist(), images.tolist(), price.tolist()
    cost, origin = [0.0] * count, [0] * count
    hull: list[int] = []
    front = 0
    for j in range(1, count):
        new = j - 1
        # Of two parallel lines the lower one stays.
        if len(hull) > front and counts[hull[-1]] == counts[new] and heights[new] <= heights[hull[-1]]:
            hull.pop()
        while len(hull) - front >= 2:
            a, b = hull[-2], hull[-1]
            # b is never lowest once the new line crosses a before b does.
            if (heights[new] - heights[a]) * (counts[b] - counts[a]) <= (heights[b] - heights[a]) * (
                counts[new] - counts[a]
            ):
                hull.pop()
            else:
                break
        if len(hull) == front or counts[hull[-1]] != counts[new]:
            hull.append(new)
        x = prices[j - 1]
        while len(hull) - front >= 2 and (
            heights[hull[front + 1]] - counts[hull[front + 1]] * x <= heights[hull[front]] - counts[hull[front]] * x
        ):
            front += 1
        i = hull[front]
        cost[j] = heights[i] + x * (counts[j] - counts[i])
        origin[j] = i
    return np.asarray(cost), np.asarray(origin)


def optimal_edges(
    rows: np.ndarray,
    columns: np.ndarray,
    counts: np.ndarray,
    shapes: int,
    cost: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Edges:
    """Bins a side, in patches, of a grid of at most `shapes` bins: each image is padded to its bin's rows and columns.

    For given columns the best rows are exact dynamic programming, and the other way round; the two take turns until
    nothing is gained, from several starts and for every way to deal `shapes` to the two sides. That each side is best
    for the other is certain; that no other pair is better is not (tools/grid_optimum.py tries all of them).

    Args:
      rows, columns: patches a side of each size, int [N]; counts [N], images of each.
      cost: of one image padded to so many tokens (array to array); None: the tokens.

    Returns: edges of the rows and of the columns, each ascending and ending at the largest there is.
    """
    row_values, column_values = _values(rows, counts), _values(columns, counts)
    table = np.zeros((len(row_values), len(column_values)))
    at = np.searchsorted(row_values, rows), np.searchsorted(column_values, columns)
    np.add.at(table, at, counts)
    price = cost or (lambda tokens: tokens)
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for bands in range(1, min(shapes, len(row_values)) + 1):
        across = min(shapes // bands, len(column_values))
        for start in _starts(table.sum(axis=0), across):
            found = _take_turns(table, row_values, column_values, bands, start, price)
            if best is None or found[0] < best[0] * (1 - 1e-12):
                best = found
    assert best is not None
    return tuple(row_values[best[1]].tolist()), tuple(column_values[best[2]].tolist())


def _values(side: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The candidates for a side's edges, ascending: what occurs, or quantiles of it."""
    values, where = np.unique(side, return_inverse=True)
    if len(values) <= _MOST_VALUES:
        return values
    share = np.cumsum(np.bincount(where, weights=counts))
    chosen = np.searchsorted(share, share[-1] * np.arange(1, _MOST_VALUES + 1) / _MOST_VALUES)
    return values[np.unique(np.append(np.minimum(chosen, len(values) - 1), len(values) - 1))]


def _starts(weights: np.ndarray, edges: int) -> list[np.ndarray]:
    """Index sets of `edges` edges that end at the last value: even, by quantiles, and random ones (fixed seed)."""
    last = len(weights) - 1
    if edges == 1:
        return [np.array([last])]
    inner = np.arange(1, edges) / edges
    share = np.cumsum(weights)
    starts = [np.round(inner * last).astype(int), np.searchsorted(share, share[-1] * inner)]
    rng = np.random.default_rng(0)
    starts += [rng.choice(last, edges - 1, replace=False) for _ in range(_STARTS - len(starts))]
    return [np.unique(np.append(start, last)) for start in starts]


def _take_turns(
    table: np.ndarray, rows: np.ndarray, columns: np.ndarray, bands: int, start: np.ndarray,
    price: Callable[[np.ndarray], np.ndarray],
) -> tuple[float, np.ndarray, np.ndarray]:  # fmt: skip
    """Cost, row edges and column edges (indices) where neither side can be bettered alone."""
    across, down, across_count = start, np.empty(0, int), len(start)
    least = np.inf
    for _ in range(_MOST_ROUNDS):
        _, down = _best_edges(_into_bands(table, across), rows, columns[across], bands, price)
        cost, across = _best_edges(_into_bands(table.T, down), columns, rows[down], across_count, price)
        if cost >= least * (1 - 1e-12):
            break
        least = cost
    return least, down, across


def _into_bands(table: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Images [rows, bands] from images [rows, columns]."""
    return np.diff(np.cumsum(table, axis=1)[:, edges], axis=1, prepend=0.0)


def _best_edges(
    images: np.ndarray, values: np.ndarray, other: np.ndarray, edges: int, price: Callable[[np.ndarray], np.ndarray]
) -> tuple[float, np.ndarray]:
    """Cost and indices of at most `edges` edges among `values`, for images [values, bands of the other side]."""
    each = np.asarray(price(values[:, None] * other[None, :]), np.float64)  # of one image in each bin
    below = np.concatenate([np.zeros((1, images.shape[1])), np.cumsum(images, axis=0)])
    # segment[j, i]: values i to j in one bin, padded to value j.
    segment = np.sum(each * below[1:], axis=1)[:, None] - each @ below[:-1].T
    segment[np.triu_indices(len(values), 1)] = np.inf
    best = np.concatenate([[0.0], np.full(len(values), np.inf)])
    origins = []
    for _ in range(min(edges, len(values))):
        total = segment + best[None, :-1]
        origin = total.argmin(axis=1)
        best = np.concatenate([[0.0], total[np.arange(len(values)), origin]])
        origins.append(origin)
    chosen, at = [], len(values)
    for origin in reversed(origins):
        if at > 0:
            chosen.append(at - 1)
            at = int(origin[at - 1])
    return float(best[-1]), np.array(chosen[::-1])
