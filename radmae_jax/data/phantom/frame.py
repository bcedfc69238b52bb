"""A body and an image size turn into a pixel grid: field of view, rotation, mirroring, collimation, side marker."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from radmae_jax.data.phantom.raster import Grid, Map
from radmae_jax.data.phantom.solids import Body, Part, Points, band, points

# The working grid is fine enough to draw small images at twice their size and bounded for the largest ones.
FINE_SIDE = 420
LARGEST_SIDE = 1280


@dataclass(frozen=True)
class Shutter:
    """Collimated field: centre (x, y) and half sides in shares of the picture, turned by angle radians."""

    centre: tuple[float, float]
    half: tuple[float, float]
    angle: float
    blackened: bool


def working_shape(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the grid that an image of (height, width) is drawn on."""
    side = max(height, width)
    factor = 2.0 if side <= FINE_SIDE else min(1.0, LARGEST_SIDE / side)
    return max(round(height * factor), 8), max(round(width * factor), 8)


def aim(body: Body, height: int, width: int, limb: bool, mirror: bool, rng: np.random.Generator) -> Grid:
    """Place the body on a grid (height, width) at a random zoom, offset and rotation; limbs lie any way round."""
    bw, bh = body.size
    mismatch = np.log(height / width) - np.log(bh / bw)
    quarter = 0
    if limb:
        lying = (height > width) != (bh > bw) and abs(np.log(bh / bw)) > 0.15 and abs(mismatch) > 0.4
        quarter = int(rng.choice([1, 3])) if rng.uniform() < (0.65 if lying else 0.1) else 2 * int(rng.uniform() < 0.16)
    elif rng.uniform() < 0.14:
        quarter = int(rng.choice([1, 3]))
    angle = quarter * np.pi / 2 + rng.normal(0, 0.18 if limb else 0.08)
    fw, fh = (bh, bw) if quarter % 2 else (bw, bh)
    tight, loose = np.log(min(width / fw, height / fh)), np.log(max(width / fw, height / fh))
    fill = rng.uniform(0.0, 0.65)
    zoom = float(np.exp((1 - fill) * tight + fill * min(loose, tight + 0.8)) * np.exp(rng.uniform(-0.25, 0.22)))
    stretch = np.exp(rng.normal(0, 0.03))
    c, s = np.cos(angle), np.sin(angle)
    flip = np.diag([-1.0 if mirror else 1.0, 1.0])
    matrix = np.array([[c, -s], [s, c]]) @ np.diag([zoom * stretch, zoom / stretch]) @ flip
    target = np.array([width, height]) * (0.5 + rng.normal(0, 0.045, 2))
    return Grid(height, width, matrix, target - matrix @ np.array(body.centre), zoom)


Warp = Callable[[Points], Points]


def draw_warp(body: Body, rng: np.random.Generator) -> Warp:
    """Bends points by a few long waves, about 1.5 % of the picture: no two patients are built alike."""
    scale = float(np.mean(body.size))
    waves = rng.normal(0, 3.2 / scale, (3, 2))
    phases = rng.uniform(0, 6.3, 3)
    heights = rng.normal(0, 0.009 * scale, (3, 2))

    def go(p: Points) -> Points:
        return p + np.sin((p - np.array(body.centre)) @ waves.T + phases) @ heights

    return go


def warped(parts: tuple[Part, ...], go: Warp) -> list[Part]:
    """Parts with every point moved by the warp."""
    bent = []
    for part in parts:
        cut = part.cut
        if cut is not None:
            point = go(np.array([cut.point]))[0]
            cut = replace(cut, point=(float(point[0]), float(point[1])))
        axis = None if part.axis is None else go(part.axis)
        bent.append(replace(part, outline=go(part.outline), axis=axis, holes=tuple(go(h) for h in part.holes), cut=cut))
    return bent


def draw_shutter(rng: np.random.Generator) -> Shutter | None:
    """A collimated field in 45 % of pictures; half of those have their border blackened afterwards."""
    if rng.uniform() > 0.45:
        return None
    half = rng.uniform(0.36, 0.49, 2)
    centre = 0.5 + rng.normal(0, 0.02, 2)
    return Shutter(
        (float(centre[0]), float(centre[1])),
        (float(half[0]), float(half[1])),
        float(rng.normal(0, 0.035)),
        bool(rng.uniform() < 0.55),
    )


def open_field(shutter: Shutter, height: int, width: int) -> Map:
    """Share of open field a pixel, float32 (height, width): 1 inside, 0 under the lead, with a soft edge."""
    x = np.arange(width, dtype=np.float32)[None] - shutter.centre[0] * width
    y = np.arange(height, dtype=np.float32)[:, None] - shutter.centre[1] * height
    c, s = np.float32(np.cos(shutter.angle)), np.float32(np.sin(shutter.angle))
    inside = np.minimum(
        shutter.half[0] * width - np.abs(c * x + s * y), shutter.half[1] * height - np.abs(c * y - s * x)
    )
    return np.clip(inside / max(1.5, 0.004 * max(height, width)) + 0.5, 0, 1).astype(np.float32)


# Strokes of the letters in a box of 6 x 10.
LETTERS = {
    "L": (points("0 0  0 10"), points("0 10  6 10")),
    "R": (points("0 10  0 0"), points("0 0  4 0  6 2  6 3.6  4 5  0 5"), points("2.6 5  6 10")),
}


def side_marker(letter: str, grid: Grid, shutter: Shutter | None, rng: np.random.Generator) -> list[Points]:
    """Outlines in grid pixels of a lead letter near a corner of the open field."""
    side = min(grid.height, grid.width)
    size = side * rng.uniform(0.05, 0.085) / 10
    inset = 0.09 if shutter is None else 0.09 + 0.5 - min(shutter.half)
    corner = np.array([rng.choice([-1, 1]), rng.choice([-1, 1])]) * (0.5 - inset - rng.uniform(0, 0.06, 2))
    at = (0.5 + corner) * [grid.width, grid.height]
    turn = rng.normal(0, 0.12) + (rng.uniform() < 0.1) * np.pi / 2
    c, s = np.cos(turn), np.sin(turn)
    matrix = np.array([[c, -s], [s, c]]) @ np.diag([-size if rng.uniform() < 0.1 else size, size])
    return [band((stroke - [3, 5]) @ matrix.T + at, 1.7 * size, smooth=False) for stroke in LETTERS[letter]]
