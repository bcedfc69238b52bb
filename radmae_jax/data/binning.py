"""Image sizes to a small fixed set of token lengths, and each image to its bucket."""

from dataclasses import dataclass

import numpy as np

from radmae_jax.config import Bins


@dataclass(frozen=True)
class BucketTable:
    """Token lengths, ascending and distinct, that all batches of a run have; one compiled program each."""

    policy: str
    patch: int  # pixels a side
    lengths: tuple[int, ...]
    shapes: int  # distinct padded shapes: more than lengths under dbb
    pad_tokens: str = "masked"
    edges: tuple[int, ...] = ()  # dbb: bins a side, pixels

    def grids(self, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """Rows and columns of patches that a batch says each image has, int32 [N, 2]."""
        if self.pad_tokens == "masked":
            return token_grids(heights, widths, self.patch)
        return self._padded(heights, widths)

    def assign(self, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """Index of each image's bucket, int32 [N]; ValueError naming the first image that fits none."""
        if self.policy in ("tokens", "exact"):
            tokens = token_grids(heights, widths, self.patch).prod(axis=1)
        else:
            tokens = self._padded(heights, widths).prod(axis=1)
        bucket = np.searchsorted(np.asarray(self.lengths), tokens)
        beyond = np.flatnonzero(bucket == len(self.lengths))
        if len(beyond):
            at = int(beyond[0])
            raise ValueError(
                f"{len(beyond)} images are beyond the largest bucket of {self.lengths[-1]} tokens; the first is "
                f"image {at} of {heights[at]} x {widths[at]} pixels with {tokens[at]} tokens of {self.patch} pixels; "
                'config.bins.lengths "()" fits a table to the archive'
            )
        return bucket.astype(np.int32)

    def _padded(self, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """Grids of the bins that images fall into, a side at a time (the poster's DBB)."""
        edges = np.asarray(self.edges)
        sides = []
        for name, side in (("height", heights), ("width", widths)):
            index = np.searchsorted(edges, side)
            beyond = np.flatnonzero(index == len(edges))
            if len(beyond):
                at = int(beyond[0])
                raise ValueError(
                    f"{len(beyond)} images have a {name} beyond the largest bin of {edges[-1]} pixels; the first is "
                    f"image {at} of {heights[at]} x {widths[at]}"
                )
            sides.append(edges[index] // self.patch)
        return np.stack(sides, axis=1).astype(np.int32)


def token_grids(heights: np.ndarray, widths: np.ndarray, patch: int) -> np.ndarray:
    """Rows and columns of patches that cover each image, border patches partial, int32 [N, 2]."""
    sides = np.stack([np.asarray(heights), np.asarray(widths)], axis=1)
    return (-(-sides // patch)).astype(np.int32)


def make_table(bins: Bins, patch: int, heights: np.ndarray, widths: np.ndarray) -> BucketTable:
    """The table a configuration asks for; `tokens` and `exact` without given lengths are fitted to the sizes."""
    if bins.policy == "fixed":
        side = bins.max_side // patch
        return BucketTable("fixed", patch, (side * side,), 1, bins.pad_tokens, (bins.max_side,))
    if bins.policy == "dbb":
        sides = [edge // patch for edge in bins.edges]
        shapes = [a * b for a in sides for b in sides]
        return BucketTable("dbb", patch, tuple(sorted(set(shapes))), len(shapes), bins.pad_tokens, bins.edges)
    lengths = bins.lengths
    if not lengths:
        tokens, counts = np.unique(token_grids(heights, widths, patch).prod(axis=1), return_counts=True)
        if bins.policy == "exact":
            lengths = tuple(int(n) for n in tokens)
        else:
            lengths = optimal_lengths(tokens, counts, bins.shapes, quantum=bins.quantum)
    return BucketTable(bins.policy, patch, lengths, len(lengths))


def optimal_lengths(
    tokens: np.ndarray, counts: np.ndarray, shapes: int, cost: np.ndarray | None = None, quantum: int = 1
) -> tuple[int, ...]:
    """At most `shapes` lengths that cost least when every image is padded to the next one.

    Exact dynamic programming over the distinct token counts: the best cost of covering the first j of them with k
    lengths is min over i < j of best[k - 1][i] + cost[j] * (images among i..j). For fixed k the candidates i are
    lines in cost[j], which does not fall with j, so a lower envelope walked once answers all j.

    Args:
      tokens: whole numbers [M], distinct and ascending, and counts [M], images of each.
      shapes: most lengths allowed.
      cost: float [M], cost of one image padded to tokens[m] (after rounding up to the quantum), not falling with m;
        None: the tokens themselves.
      quantum: lengths are multiples of it.
    """
    if len(tokens) == 0:
        raise ValueError("no sizes: a table needs at least one image")
    ends = -(-np.asarray(tokens, np.int64) // quantum) * quantum
    price = np.asarray(ends if cost is None else cost, np.float64)
    if np.any(np.diff(price) < 0):
        at = int(np.flatnonzero(np.diff(price) < 0)[0])
        raise ValueError(f"cost falls from {price[at]} to {price[at + 1]} at {tokens[at + 1]} tokens")
    images = np.concatenate([[0], np.cumsum(counts, dtype=np.float64)])
    best = np.concatenate([[0.0], price * images[1:]])  # one length: everything padded to the last
    chosen: list[np.ndarray] = [np.zeros(len(best), np.int64)]
    for _ in range(1, min(shapes, len(tokens))):
        best, origin = _one_more_length(best, price, images)
        chosen.append(origin)
    lengths, at = [], len(tokens)
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
        x = prices[j - 1]
        while len(hull) - front >= 2 and (
            heights[hull[front + 1]] - counts[hull[front + 1]] * x <= heights[hull[front]] - counts[hull[front]] * x
        ):
            front += 1
        i = hull[front]
        cost[j] = heights[i] + x * (counts[j] - counts[i])
        origin[j] = i
    return np.asarray(cost), np.asarray(origin)
