"""Counts of image sizes to the bucket lengths, or bins a side, that cost least: dynamic programming, numpy only."""

import math
from collections.abc import Callable

import numpy as np

from radmae_jax.data.leftovers import scheduled_tokens

# Values a side among which `optimal_edges` looks; with more, quantiles of them. 3,072 pixels in patches of 16 are 192.
_MOST_VALUES = 256
# Of the programme with offsets: offsets x lengths x token counts, about a microsecond each.
_MOST_STEPS = 2_000_000
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

    Images that are computed in groups leave leftovers, which move up to the next length or are completed with filler
    rows, whichever is cheaper (leftovers.choose_moves). That is the same programme with one more thing to remember: how
    many images, modulo the group, were covered when a length was last filled. Of tables that cost the same the one that
    costs least without groups is taken. Large archives, whose leftovers are less than one image in a hundred or for
    which it would take long, get the cheaper of two tables: the best where all leftovers move up, and the best without
    groups.

    Args:
      tokens: whole numbers [M], distinct and ascending, and counts [M], images of each, 0 where a length must hold
        them but they are not trained on.
      cost: float [M], cost of one image padded to tokens[m] (after rounding up to the quantum), not falling with m:
        FLOPs, seconds; None: the tokens themselves.
      quantum: lengths are multiples of it.
      group: images computed together; 1: every image for itself.
    """
    if len(tokens) == 0:
        raise ValueError("no sizes: a table needs at least one image")
    ends = -(-np.asarray(tokens, np.int64) // quantum) * quantum
    price = np.asarray(ends if cost is None else cost, np.float64)
    if np.any(np.diff(price) < 0):
        at = int(np.flatnonzero(np.diff(price) < 0)[0])
        raise ValueError(f"cost falls from {price[at]} to {price[at + 1]} at {tokens[at + 1]} tokens")
    most = min(most, len(tokens))
    images = np.concatenate([[0], np.cumsum(np.round(counts).astype(np.int64))])
    offsets = np.unique(images % group)  # of the images covered when a length is filled
    none = np.zeros(1, np.int64)
    few_leftovers = most * group * 100 < images[-1]
    if group == 1 or not (few_leftovers or len(offsets) * most * len(tokens) > _MOST_STEPS):
        return _tables(_walk(images, price, offsets, group, most), ends)
    plain = _tables(_walk(images, price, none, 1, most), ends)
    moved_up = _tables(_walk(_all_moved_up(images, group), price, none, group, most), ends)

    def scheduled(lengths: tuple[int, ...]) -> int:
        each = np.diff(images[np.searchsorted(ends, lengths, side="right")], prepend=0)
        return scheduled_tokens(each, lengths, group)

    return [min(pair, key=scheduled) for pair in zip(plain, moved_up, strict=True)]


def _tables(walked: list[list[int]], ends: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(sorted({int(ends[at - 1]) for at in chosen})) for chosen in walked]


def _all_moved_up(images: np.ndarray, group: int) -> np.ndarray:
    """Rows computed for the images up to each token count, where all leftovers move up and the last group is filled."""
    whole = images // group * group
    whole[images == images[-1]] = -(-images[-1] // group) * group
    return whole


def _walk(images: np.ndarray, price: np.ndarray, offsets: np.ndarray, group: int, most: int) -> list[list[int]]:
    """For k from 1 to `most`, the token counts (numbered from 1) that the best k lengths end at.

    A state is (offset, j): lengths so far end at j, and since the last fill whole groups have been computed of the
    images beyond an offset, modulo the group. Filling j pays for one more group and begins anew at its own offset.

    Args:
      images: int64 [M + 1], cumulative; price: float [M]; offsets: int64 [C], ascending.
    """
    rows = (images[None, :] - offsets[:, None]) // group * group  # [C, M + 1], computed up to j, from a constant
    if group > 1:
        # Of what costs the same the cheaper without groups: half the least difference of prices, over all images.
        steps_up = np.diff(price)[np.diff(price) > 0]
        rows = rows + images * (0.5 * steps_up.min(initial=price[-1]) / max(1.0, images[-1] * price[-1]))
    partial = (images[None, :] - offsets[:, None]) % group > 0
    own = np.searchsorted(offsets, images % group) % len(offsets)  # the offset after filling j
    fill = np.concatenate([[0.0], price]) * group
    start = np.full(rows.shape, np.inf)
    start[own[0], 0] = 0.0
    best, steps, found = start, [], []
    for _ in range(most):
        moved = [_one_more_length(b, price, r.astype(np.float64)) for b, r in zip(best, rows, strict=True)]
        best, origins = np.stack([cost for cost, _ in moved]), np.stack([origin for _, origin in moved])
        best[:, 0] = start[:, 0]
        filled = best + np.where(partial, fill, 0.0)
        source = filled.argmin(axis=0)  # from which offset j is best filled
        places = np.arange(len(images))
        cheapest = filled[source, places]
        before = np.tile(np.arange(len(offsets))[:, None], (1, len(images)))
        better = cheapest < best[own, places]
        best[own[better], places[better]] = cheapest[better]
        before[own[better], places[better]] = source[better]
        steps.append((origins, before))
        found.append(_walk_back(steps, int(own[-1]), len(images) - 1))
    return found


def _walk_back(steps: list[tuple[np.ndarray, np.ndarray]], offset: int, at: int) -> list[int]:
    chosen = []
    for origins, before in reversed(steps):
        if at > 0:
            chosen.append(at)
            offset = int(before[offset, at])
            at = int(origins[offset, at])
    return chosen


def _one_more_length(best: np.ndarray, price: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Costs and origins with one more length: for each j, min over i < j of best[i] + price[j] (images[j] - images[i]).

    Lines y = best[i] - images[i] x come with falling slopes and are asked at rising x = price[j]; best[i] is infinite
    where i cannot be reached.
    """
    count = len(best)
    heights, counts, prices = best.tolist(), images.tolist(), price.tolist()
    cost, origin = [math.inf] * count, [0] * count
    hull: list[int] = []
    front = 0
    for j in range(1, count):
        new = j - 1
        # Of two parallel lines the lower one stays.
        if len(hull) > front and counts[hull[-1]] == counts[new] and heights[new] <= heights[hull[-1]]:
            hull.pop()
        if heights[new] < math.inf and (len(hull) == front or counts[hull[-1]] != counts[new]):
            while len(hull) - front >= 2:
                a, b = hull[-2], hull[-1]
                # b is never lowest once the new line crosses a before b does.
                if (heights[new] - heights[a]) * (counts[b] - counts[a]) <= (heights[b] - heights[a]) * (
                    counts[new] - counts[a]
                ):
                    hull.pop()
                else:
                    break
            hull.append(new)
        if len(hull) == front:
            continue
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
    nothing is gained, from several starts and for every way to deal `shapes` to the two sides. So neither side alone
    can be bettered (among 256 quantiles where a side has more values), but another pair might be: for the poster's
    sizes none is, up to 24 shapes (tools/grid_optimum.py tries all of them).

    Args:
      rows, columns: patches a side of each size, int [N]; counts [N], images of each.
      cost: of one image padded to so many tokens (array to array); None: the tokens.

    Returns: edges of the rows and of the columns, each ascending and ending at the largest there is.
    """
    row_values, column_values = _values(rows, counts), _values(columns, counts)
    row_values, column_values = row_values.astype(np.int64), column_values.astype(np.int64)  # products are tokens
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
