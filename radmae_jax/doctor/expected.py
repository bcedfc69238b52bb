"""An image to the reconstruction losses of predictors that learn nothing, and to what a loss of a run then means."""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from radmae_jax.config import Loss
from radmae_jax.doctor.finding import Finding

_POSTER = 0.0523  # the poster's validation loss: mean squared error over all pixels, visible and padded ones included
_NORM_EPS = 1e-6  # as in train/losses.py
_DISTANCE = 4  # power of a visible patch's distance that its weight falls with


@dataclass(frozen=True)
class Errors:
    """Sums of squared errors over one image's pixels, full range being 1, for predictors of its hidden patches."""

    pixels: float  # inside the image
    grid_pixels: float  # of its grid of patches
    zero: float  # everything is black
    half: float  # everything is half of full range
    image_mean: float  # the mean of the image
    interpolated: float  # means of the visible patches around
    patch_mean: float  # each patch's own mean: sharp no further than patches
    patch_plane: float  # each patch's own mean and slopes
    # The last two of normalised patches, whose mean is 0
    normalised_mean: float
    normalised_plane: float


class _Patches(NamedTuple):
    """Sums over the pixels of each patch, float64 [T] in raster order."""

    pixels: np.ndarray
    total: np.ndarray
    within: np.ndarray  # squared differences from the patch's mean
    plane: np.ndarray  # from the plane through it


@dataclass(frozen=True)
class Levels:
    """Losses of one kind that a run's loss is read against."""

    kind: str  # masked_valid | poster, see config.loss
    weighting: str
    norm_pix: bool
    zero: float
    half: float
    image_mean: float
    interpolated: float
    patch_mean: float
    patch_plane: float


def errors_of(
    image: np.ndarray, patch: int, grid: tuple[int, ...], mask_ratio: float, variance_floor: float, seed: int
) -> Errors:
    """The sums for an image [H, W] of uint8 or uint16.

    Args:
      grid: rows and columns of patches that a batch says it has, padding included.
      seed: draws the hidden patches of `interpolated`.
    """
    sums = _patches_of(image, patch)
    pixels, total = float(sums.pixels.sum()), float(sums.total.sum())
    squares = float(np.sum(sums.within + sums.total**2 / sums.pixels))
    rows, columns = -(-image.shape[0] // patch), -(-image.shape[1] // patch)
    guess, hidden = _interpolated(sums, rows, columns, mask_ratio, seed)
    missed = sums.within + sums.pixels * (sums.total / sums.pixels - guess) ** 2
    deviation = np.maximum(sums.within / np.maximum(sums.pixels - 1, 1), variance_floor) + _NORM_EPS
    return Errors(
        pixels, float(grid[0] * grid[1] * patch * patch),
        zero=squares, half=squares - total + 0.25 * pixels, image_mean=squares - total**2 / pixels,
        interpolated=float(missed[hidden].sum() * pixels / sums.pixels[hidden].sum()) if hidden.any() else 0.0,
        patch_mean=float(sums.within.sum()), patch_plane=float(sums.plane.sum()),
        normalised_mean=float(np.sum(sums.within / deviation)), normalised_plane=float(np.sum(sums.plane / deviation)),
    )  # fmt: skip


def levels_of(errors: list[Errors], loss: Loss, mask_ratio: float) -> Levels:
    """The losses of some images under config.loss. Masks are random: they are what the loss comes to on average.

    Under kind `poster` all pixels of the grid are scored: padding, which every predictor but `half` has right, and
    visible patches, for which `interpolated` is taken to know their means.
    """
    columns = {f.name: np.array([getattr(e, f.name) for e in errors]) for f in fields(Errors)}
    poster = loss.kind == "poster"
    scored = columns["grid_pixels"] if poster else columns["pixels"]
    weight = 1.0 / scored if loss.weighting == "image" else np.full(len(errors), 1.0 / scored.mean())
    if poster:
        columns["half"] = columns["half"] + 0.25 * (scored - columns["pixels"])
        columns["interpolated"] = mask_ratio * columns["interpolated"] + (1 - mask_ratio) * columns["patch_mean"]
    if loss.norm_pix:
        for name in ("image_mean", "interpolated", "patch_mean", "zero"):
            columns[name] = columns["normalised_mean"]  # a normalised patch has no mean that could be known
        columns["half"] = columns["normalised_mean"] + 0.25 * scored
        columns["patch_plane"] = columns["normalised_plane"]
    names = [f.name for f in fields(Levels) if f.name in columns]
    means = {name: float(np.mean(columns[name] * weight)) for name in names}
    return Levels(loss.kind, loss.weighting, loss.norm_pix, **means)


def describe_levels(levels: Levels, other: Levels | None, untrained: float | None) -> Finding:
    """What a loss of a run means, in words.

    Args:
      other: the same images under the poster's loss, where the run's is another.
      untrained: measured loss of the model before it learns anything, where there is one.
    """
    floor = f"below {levels.patch_plane:.3g}, each patch's own slopes,"
    if levels.norm_pix:
        text = (
            f"a loss above {levels.patch_mean:.3g} (flat grey patches) after an epoch means that nothing is learnt; "
            f"what it falls to depends on texture; {floor} look at the pictures before you believe it"
        )
    else:
        smeared = levels.interpolated < levels.image_mean
        better = (
            f"below {levels.interpolated:.3g} it does better than smearing the visible patches; " if smeared else ""
        )
        text = (
            f"a loss above {levels.image_mean:.3g} (each image's own mean) after an epoch means that nothing is "
            f"learnt; "
            f"{better}usual is to end between {min(levels.interpolated, levels.image_mean):.3g} and "
            f"{levels.patch_mean:.3g} (each patch's own mean); {floor} is suspicious: is padding, or what is visible, "
            "part of the loss?"
        )
    notes = [f"all black {levels.zero:.3g}, all mid-grey {levels.half:.3g}" + _poster_note(levels, other)]
    if untrained is None:
        return Finding("expected loss", "ok", text, tuple(notes))
    notes.append(f"this model, untrained, has {untrained:.4g} on training images")
    if not np.isfinite(untrained):
        text = f"the untrained model's loss is {untrained}: nothing can be learnt; " + text
        return Finding("expected loss", "stop", text, tuple(notes))
    return Finding("expected loss", "ok", text, tuple(notes))


def describe_guessing(labels: tuple[str, ...], images: tuple[np.ndarray, ...], untrained: float | None) -> Finding:
    """What a classifier's loss means, cross-entropy in nats.

    Args:
      images: training images of each class of each label.
      untrained: as above.
    """
    said = []
    for label, counts in zip(labels, images, strict=True):
        shares = counts[counts > 0] / counts.sum()
        said.append(f"{label} {np.log(len(counts)):.3g} or {-float(np.sum(shares * np.log(shares))):.3g}")
    text = (
        "a loss that stays where guessing is, blindly or by how frequent classes are, means that nothing is learnt: "
        f"{', '.join(said)}"
    )
    notes = () if untrained is None else (f"this model, untrained, has {untrained:.4g} on training images",)
    if untrained is not None and not np.isfinite(untrained):
        return Finding("expected loss", "stop", f"the untrained model's loss is {untrained}; {text}")
    return Finding("expected loss", "ok", text, notes)


def _poster_note(levels: Levels, other: Levels | None) -> str:
    if levels.norm_pix:
        return ""
    if other is None:
        return f"; the poster reports {_POSTER} for its own archive"
    return (
        f"; under the poster's loss, padding and visible patches included, each image's mean has "
        f"{other.image_mean:.3g} and smearing {other.interpolated:.3g}; it reports {_POSTER} for its own archive"
    )


def _patches_of(image: np.ndarray, patch: int) -> _Patches:
    """A row of patches at a time: a whole radiograph in double precision would be large."""
    height, width = image.shape
    columns = -(-width // patch)
    wide = np.minimum(patch, width - np.arange(columns) * patch).astype(np.float64)  # pixels across each patch
    found: list[tuple[np.ndarray, ...]] = []
    for top in range(0, height, patch):
        strip = image[top : top + patch]
        high = len(strip)
        values = np.zeros((high, columns * patch))
        values[:, :width] = strip / np.iinfo(image.dtype).max
        values = values.reshape(high, columns, patch)
        total = values.sum(axis=(0, 2))
        pixels = high * wide
        # About the patch's centre the plane's slopes are orthogonal to its mean and to each other.
        down = np.einsum("hcp,h->c", values, np.arange(high) - (high - 1) / 2)
        across = np.einsum("hcp,p->c", values, np.arange(patch)) - (wide - 1) / 2 * total
        within = np.maximum(np.sum(values**2, axis=(0, 2)) - total**2 / pixels, 0.0)
        slopes = _share(down, pixels * (high**2 - 1) / 12) + _share(across, pixels * (wide**2 - 1) / 12)
        found.append((pixels, total, within, np.maximum(within - slopes, 0.0)))
    return _Patches(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _share(moment: np.ndarray, squares: np.ndarray) -> np.ndarray:
    return np.where(squares > 0, moment**2 / np.where(squares > 0, squares, 1.0), 0.0)


def _interpolated(
    sums: _Patches, rows: int, columns: int, mask_ratio: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """A guess of each patch's mean from the visible ones, weighted by distance, and which are hidden."""
    count = rows * columns
    mean = sums.total / sums.pixels
    visible = np.random.default_rng(seed).permutation(count)[: int(count * (1 - mask_ratio))]
    hidden = np.ones(count, bool)
    hidden[visible] = False
    if not len(visible):
        return np.full(count, sums.total.sum() / sums.pixels.sum()), hidden
    guess = np.empty(count)
    down, across = np.divmod(np.arange(count), columns)
    for some in np.array_split(np.arange(count), -(-count // 1024)):  # of a matrix patches x visible
        distance = (down[some, None] - down[visible]) ** 2 + (across[some, None] - across[visible]) ** 2
        weight = np.maximum(distance, 0.25) ** (-_DISTANCE / 2)
        guess[some] = weight @ mean[visible] / weight.sum(axis=1)
    return guess, hidden
