"""Implants and fractures are drawn only where the picture shows them, so that a label is true of the picture."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from radmae_jax.data.phantom.fractures import break_bone
from radmae_jax.data.phantom.frame import Shutter, Warp, open_field, warped
from radmae_jax.data.phantom.hardware import foreign_parts
from radmae_jax.data.phantom.raster import Grid, Layers, Map, draw_parts
from radmae_jax.data.phantom.solids import Body, Part

# At least this share of the object, and this many pixels of the final image, must be seen.
SHARE = 0.5
PIXELS = 8
TRIES = 10
BREAK_TRIES = 24
# Full images made to look for a fracture: the estimate before rarely errs more often.
LOOKS = 6
# Attenuation along the ray that shows against bone: the thinnest wire has 1.
METAL_SHOWS = 0.15
# Change of the image, whose greys are 0..1, that a reader sees as a line.
GREY_SHOWS = 0.05
# Lead under a blackened shutter hides all; its soft edge is not relied upon.
OPEN = 0.99
COARSE_SIDE = 200


@dataclass(frozen=True)
class Scene:
    """Where a body is drawn: its grid and warp, the collimator, and image pixels a grid pixel (both ways together)."""

    grid: Grid
    warp: Warp
    shutter: Shutter | None
    finer: float

    def opening(self) -> Map | None:
        """Share of open field a pixel of the grid, or None without a collimator."""
        return None if self.shutter is None else open_field(self.shutter, self.grid.height, self.grid.width)


def _clear(shutter: Shutter | None, height: int, width: int) -> Map:
    if shutter is None:
        return np.ones((height, width), np.float32)
    return (open_field(shutter, height, width) > OPEN).astype(np.float32)


def metal_share(parts: list[Part], scene: Scene) -> float:
    """Share of the drawn area of metal parts (already warped) that lies in frame and open field."""
    grid = scene.grid
    shrink = min(1.0, COARSE_SIDE / max(grid.height, grid.width))
    height, width = max(round(grid.height * shrink), 4), max(round(grid.width * shrink), 4)
    # A canvas three frames wide and high also counts what lies outside the frame.
    wide = Grid(
        3 * height, 3 * width, grid.matrix * shrink, grid.shift * shrink + [width, height], grid.pixels_per_mm * shrink
    )
    drawn = draw_parts(parts, wide).metal > METAL_SHOWS
    seen = drawn[height : 2 * height, width : 2 * width] * _clear(scene.shutter, height, width)
    return float(seen.sum() / max(drawn.sum(), 1))


def _shows(image: Map, plain: Map) -> bool:
    """Whether enough pixels of two images differ by more than the shift of all greys."""
    change = image - plain
    return int((np.abs(change - np.median(change)) > GREY_SHOWS).sum()) >= PIXELS


@dataclass(frozen=True)
class Drawn:
    """A body, its attenuation on the grid, and the final image where it was made already."""

    body: Body
    layers: Layers
    image: Map | None = None


def fit_metal(
    region: str, plain: Drawn, scene: Scene, picture: Callable[[Layers], Map], rng: np.random.Generator
) -> Drawn | None:
    """The body with foreign material that the image shows, less the bone that it replaces, or None.

    picture makes the final image of layers, always in the same way.
    """
    without: Map | None = None
    for _ in range(TRIES):
        body, made = foreign_parts(region, plain.body, rng)
        parts = warped(tuple(made), scene.warp)
        if metal_share(parts, scene) < SHARE:
            continue
        layers = plain.layers
        if body is not plain.body:
            layers = draw_parts(warped(body.parts, scene.warp), scene.grid)
        layers = replace(layers, metal=draw_parts(parts, scene.grid).metal)
        without = picture(plain.layers) if without is None else without
        image = picture(layers)
        if _shows(image, without):
            return Drawn(body, layers, image)
    return None


def fit_fracture(
    plain: Drawn, scene: Scene, picture: Callable[[Layers], Map], rng: np.random.Generator
) -> Drawn | None:
    """The body with one bone broken where the image shows it, beside any metal, or None."""
    layers, unbroken = plain.layers, plain.image
    grid = scene.grid
    clear = _clear(scene.shutter, grid.height, grid.width) * (layers.metal < METAL_SHOWS)
    path = layers.smooth + layers.spongy
    beam = np.exp(-np.maximum(path, 0.0))
    veiled = beam + 0.3 * float(beam.mean())
    # Scatter veils what dense surroundings leave of the beam, and the grey scale spans all that is there.
    log = -np.log(veiled[::4, ::4])
    faint = 0.03 * float(np.quantile(log, 0.95) - np.quantile(log, 0.05))
    looks = 0
    for _ in range(BREAK_TRIES):
        found = break_bone(plain.body, rng)
        if found is None:
            return None
        spots = np.floor(scene.warp(found.trace) @ grid.matrix.T + grid.shift).astype(int)
        inside = np.all((spots >= 0) & (spots < [grid.width, grid.height]), axis=1)
        if clear[spots[inside, 1], spots[inside, 0]].sum() < SHARE * len(spots):
            continue
        before, after = (draw_parts(warped(parts, scene.warp), grid) for parts in (found.before, found.after))
        broken = replace(
            layers,
            smooth=layers.smooth + (after.smooth - before.smooth),
            spongy=layers.spongy + (after.spongy - before.spongy),
        )
        change = np.abs(broken.smooth + broken.spongy - path) * beam / veiled * clear
        if float((change > faint).sum()) * scene.finer < PIXELS:
            continue
        looks += 1
        if looks > LOOKS:
            return None
        unbroken = picture(layers) if unbroken is None else unbroken
        image = picture(broken)
        if _shows(image, unbroken):
            return Drawn(found.body, broken, image)
    return None
