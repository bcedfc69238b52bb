"""Image sizes to a small fixed set of token lengths, and each image to its bucket."""

from dataclasses import dataclass

import numpy as np

from radmae_jax.config import Bins
from radmae_jax.data.optimum import Edges, optimal_edges, optimal_lengths

_HALVINGS = 50  # of the interval a scale is searched in: to the last bit of a double


@dataclass(frozen=True)
class BucketTable:
    """Token lengths, ascending and distinct, that all batches of a run have; one compiled program each."""

    policy: str
    patch: int  # pixels a side
    lengths: tuple[int, ...]
    shapes: int  # distinct padded shapes: more than lengths under dbb
    pad_tokens: str = "masked"
    edges: Edges = ((), ())  # dbb and fixed: bins of the height and of the width, pixels
    # Images larger than the largest bucket: refuse | downscale | extra, which has buckets for them.
    beyond: str = "refuse"
    reach: tuple[int, ...] = ()  # tokens, or pixels a side, of the largest bucket, extra ones not counted

    def is_beyond(self, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """Which images are larger than the largest bucket, extra ones not counted, bool [N]."""
        return ~self._within(np.stack([heights, widths], axis=1))

    def fit(self, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """The size in pixels at which each image is trained on, int32 [N, 2]: its own, unless it is beyond the largest
        bucket and `beyond` is downscale; then the largest of its aspect that fits.

        Errors: ValueError naming the first image beyond, where `beyond` is refuse.
        """
        sizes = np.stack([np.asarray(heights), np.asarray(widths)], axis=1).astype(np.int32)
        beyond = np.flatnonzero(self.is_beyond(heights, widths))
        if len(beyond) == 0 or self.beyond == "extra":
            return sizes
        if self.beyond != "downscale":
            height, width = sizes[beyond[0]].tolist()
            tokens = int(token_grids(height, width, self.patch).prod(dtype=np.int64))
            reach = " x ".join(map(str, self.reach)) + (" tokens" if len(self.reach) == 1 else " pixels")
            raise ValueError(
                f"{len(beyond)} images are beyond the largest bucket, {reach}; the first is image {beyond[0]} of "
                f"{height} x {width} pixels, {tokens} tokens of {self.patch} pixels; "
                "config.bins.beyond 'downscale' makes such images smaller, 'extra' adds a bucket for them"
                + ("" if self.edges[0] else ', and config.bins.lengths "()" fits a table to the archive')
            )
        full = sizes[beyond].astype(np.float64)
        low, high = np.zeros(len(beyond)), np.ones(len(beyond))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            fits = self._within(_scaled(full, middle))
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        sizes[beyond] = _scaled(full, low)
        return sizes

    def grids(self, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """Rows and columns of patches that a batch says each image has, int32 [N, 2]; sizes as `fit` gives them."""
        if self.pad_tokens == "masked":
            return token_grids(heights, widths, self.patch)
        return self._padded(heights, widths)

    def assign(self, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """Index of each image's bucket, int32 [N]; sizes as `fit` gives them."""
        grids = self._padded(heights, widths) if self.edges[0] else token_grids(heights, widths, self.patch)
        bucket = np.searchsorted(np.asarray(self.lengths), grids.prod(axis=1, dtype=np.int64))
        assert np.all(bucket < len(self.lengths)), "sizes that `fit` did not give"
        return bucket.astype(np.int32)

    def _within(self, sizes: np.ndarray) -> np.ndarray:
        """Whether sizes [N, 2] are within reach, bool [N]."""
        if len(self.reach) == 2:
            return np.all(sizes <= np.asarray(self.reach), axis=1)
        return token_grids(sizes[:, 0], sizes[:, 1], self.patch).prod(axis=1, dtype=np.int64) <= self.reach[0]

    def _padded(self, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """Grids of the bins that images fall into, a side at a time (the poster's DBB)."""
        sides = []
        for edges, side in zip(self.edges, (heights, widths), strict=True):
            sides.append(-(-np.asarray(edges)[np.searchsorted(edges, side)] // self.patch))
        return np.stack(sides, axis=1).astype(np.int32)


def token_grids(heights: np.ndarray | int, widths: np.ndarray | int, patch: int) -> np.ndarray:
    """Rows and columns of patches that cover each image, border patches partial, int32 [N, 2]."""
    sides = np.stack([np.asarray(heights), np.asarray(widths)], axis=-1)
    return (-(-sides // patch)).astype(np.int32)


def count_tokens(
    heights: np.ndarray, widths: np.ndarray, patch: int, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The distinct numbers of tokens of images, ascending int64 [M], and how many images have each, int64 [M]."""
    tokens = token_grids(heights, widths, patch).prod(axis=1, dtype=np.int64)
    distinct, where = np.unique(tokens, return_inverse=True)
    images = np.zeros(len(distinct), np.int64)
    np.add.at(images, where, counts)
    return distinct, images


def make_table(
    bins: Bins, patch: int, heights: np.ndarray, widths: np.ndarray, counts: np.ndarray | None = None
) -> BucketTable:
    """The table a configuration asks for; what it leaves open is fitted to the sizes.

    Args:
      heights, widths: pixels, int [N], of all images that must find a bucket, if `bins.beyond` is not downscale.
      counts: int [N], how often each is trained on, 0 for validation and test images; None: once.
    """
    counts = np.ones(len(heights), np.int64) if counts is None else counts
    if bins.policy in ("fixed", "dbb"):
        return _grid_table(bins, patch, heights, widths, counts)
    lengths = bins.lengths
    tokens, images = count_tokens(heights, widths, patch, counts)
    if not lengths and bins.policy == "exact":
        lengths = tuple(tokens.tolist())
    elif not lengths:
        lengths = optimal_lengths(tokens, images, bins.shapes, quantum=bins.quantum, group=bins.group)
    reach = (lengths[-1],)
    if bins.beyond == "extra" and tokens[-1] > lengths[-1]:
        lengths = (*lengths, -(-int(tokens[-1]) // bins.quantum) * bins.quantum)
    return BucketTable(bins.policy, patch, lengths, len(lengths), beyond=bins.beyond, reach=reach)


def _grid_table(bins: Bins, patch: int, heights: np.ndarray, widths: np.ndarray, counts: np.ndarray) -> BucketTable:
    if bins.policy == "fixed":
        edges = ((bins.max_side,), (bins.max_side,))
    elif bins.edges:
        edges = (bins.edges, bins.width_edges or bins.edges)
    else:
        grids = token_grids(heights, widths, patch)
        down, across = optimal_edges(grids[:, 0], grids[:, 1], counts, bins.shapes)
        edges = (tuple(n * patch for n in down), tuple(n * patch for n in across))
    reach = (edges[0][-1], edges[1][-1])
    if bins.beyond == "extra":
        edges = (_reaching(edges[0], heights, patch), _reaching(edges[1], widths, patch))
    tokens = [-(-a // patch) * -(-b // patch) for a in edges[0] for b in edges[1]]
    lengths = tuple(sorted(set(tokens)))
    return BucketTable(bins.policy, patch, lengths, len(tokens), bins.pad_tokens, edges, bins.beyond, reach)


def _reaching(edges: tuple[int, ...], sides: np.ndarray, patch: int) -> tuple[int, ...]:
    """The edges, with one more where a side is beyond the last."""
    largest = -(-int(sides.max()) // patch) * patch
    return edges if largest <= edges[-1] else (*edges, largest)


def _scaled(sizes: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Sizes [N, 2] times a scale each [N], in whole pixels, 1 at least; rounded down, so that what fits stays so."""
    return np.maximum(1, np.floor(sizes * scale[:, None])).astype(np.int32)
