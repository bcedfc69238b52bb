"""Parts in millimetres turn into maps of attenuation along the ray on a pixel grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt, uniform_filter

from radmae_jax.data.phantom.solids import MU_TITANIUM, Cut, Part, Points

Map = NDArray[np.float32]

# Larger boxes are drawn coarser and interpolated: the distance transform is what rendering costs.
SOFT_BOX_PIXELS = 120_000
BONE_BOX_PIXELS = 400_000


@dataclass(frozen=True)
class Grid:
    """Pixel grid (height, width): pixel = matrix @ mm + shift, with pixels_per_mm its mean magnification."""

    height: int
    width: int
    matrix: Points
    shift: Points
    pixels_per_mm: float


@dataclass(frozen=True)
class Layers:
    """Line integrals of attenuation, float32 (height, width): everything smooth, spongy bone, metal."""

    smooth: Map
    spongy: Map
    metal: Map


def _profile(distance: Map, rounding: float, depth: float) -> Map:
    """Depth of a solid with elliptic edges at a distance (mm) inside its outline."""
    inside = np.clip(distance / max(rounding, 1e-6), 0.0, 1.0)
    return (depth * np.sqrt(inside * (2.0 - inside))).astype(np.float32)


def _cut_share(cut: Cut, x: Map, y: Map, blur: float) -> Map:
    """1 on the kept side of the jagged line, 0 on the other, a ramp of blur mm between."""
    px, py = cut.point
    nx, ny = cut.normal
    along = (x - px) * -ny + (y - py) * nx
    across = (x - px) * nx + (y - py) * ny + np.interp(along, cut.teeth[:, 0], cut.teeth[:, 1])
    return np.clip(cut.side * across / blur + 0.5, 0.0, 1.0).astype(np.float32)


def _distance(cover: Map) -> Map:
    """Pixels from each pixel's centre to the outline, positive inside, from the covered share of every pixel.

    The share of the nearest partly covered pixel says where in it the outline runs: without it, slanting edges
    come out as stairs.
    """
    if bool((cover >= 1.0).all()):
        return np.full_like(cover, max(cover.shape))
    steps, nearest = distance_transform_edt(cover >= 1.0, return_indices=True)  # pyright: ignore[reportGeneralTypeIssues]
    return (steps - 0.5 + cover[nearest[0], nearest[1]]).astype(np.float32)


def _signed(cover: Map) -> Map:
    """As _distance, and outside the pixels to the outline, negative."""
    return np.where(cover > 0.5, _distance(cover), -_distance(1 - cover))


def _thickness(part: Part, cover: Map, x: Map, y: Map, mm_per_pixel: float) -> tuple[Map, Map]:
    """Dense and spongy attenuation of one part on its box."""
    if part.rounding <= 0:
        dense = cover * np.float32(part.mu * part.depth)
        spongy = np.zeros((1, 1), np.float32)
    else:
        # Of a partly covered pixel the covered part counts, whose middle lies half its share inside.
        distance = np.maximum(_distance(cover), 0.5 * cover) * np.float32(mm_per_pixel)
        outer = cover * _profile(distance, part.rounding, part.depth)
        if part.cortex <= 0:
            dense, spongy = outer * np.float32(part.mu), np.zeros((1, 1), np.float32)
        else:
            cortex, marrow = part.cortex, part.marrow
            if part.axis is not None:
                (ax, ay), (bx, by) = part.axis
                length2 = max((bx - ax) ** 2 + (by - ay) ** 2, 1e-6)
                t = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length2, 0.0, 1.0)
                middle = np.clip(4.6 * t * (1 - t) - 0.15, 0.0, 1.0)
                cortex = part.cortex + (part.shaft_cortex - part.cortex) * middle
                # The shaft's canal holds fat marrow and hardly any trabeculae.
                marrow = part.marrow * (1.0 - 0.75 * middle)
            inner = np.clip((distance - cortex) / np.maximum(part.rounding - cortex, 0.5), 0.0, 1.0)
            inner = np.maximum(part.depth - 2 * cortex, 0.0) * np.sqrt(inner * (2.0 - inner))
            inner = np.minimum(inner, outer)
            dense, spongy = (outer - inner) * np.float32(part.mu), inner * marrow * np.float32(part.mu)
    if part.cut is not None:
        share = _cut_share(part.cut, x, y, max(1.0, mm_per_pixel))
        dense, spongy = dense * share, spongy * share
    return dense.astype(np.float32), spongy.astype(np.float32)


def _enlarge(small: Map, height: int, width: int) -> Map:
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float32)


def _coverage(rings: list[Points], height: int, width: int) -> Map:
    """Share 0..1 of every pixel that lies in the first ring and outside the others (in pixels of the box)."""
    fine = 4 if height * width <= SOFT_BOX_PIXELS + 20_000 else 2
    image = Image.new("L", (width * fine, height * fine))
    pen = ImageDraw.Draw(image)
    for k, ring in enumerate(rings):
        pen.polygon([tuple(p) for p in ring * fine - 0.5], fill=0 if k else 255)
    return np.asarray(image.reduce(fine), dtype=np.float32) / np.float32(255)


def draw_parts(parts: list[Part] | tuple[Part, ...], grid: Grid) -> Layers:
    """Sum every part's attenuation on the grid; parts off the grid cost nothing."""
    smooth = np.zeros((grid.height, grid.width), np.float32)
    spongy, metal = np.zeros_like(smooth), np.zeros_like(smooth)
    merged: dict[str, Map] = {}
    inverse = np.linalg.inv(grid.matrix)
    for part in parts:
        corners = part.outline @ grid.matrix.T + grid.shift
        margin = min(part.rounding * grid.pixels_per_mm, 0.2 * max(grid.height, grid.width)) + 2
        low = np.maximum(corners.min(0), -margin)
        high = np.minimum(corners.max(0), [grid.width + margin, grid.height + margin])
        if high[0] <= 0 or high[1] <= 0 or low[0] >= grid.width or low[1] >= grid.height:
            continue
        soft = part.cortex == 0 and part.rounding > 0
        box = float(np.prod(high - low + 4))
        coarse = max(1, int(np.ceil(np.sqrt(box / (SOFT_BOX_PIXELS if soft else BONE_BOX_PIXELS)))))
        # The distance transform needs empty pixels round the shape.
        x0, y0 = np.floor(low - 2 * coarse).astype(int)
        x1, y1 = np.ceil(high + 2 * coarse).astype(int)
        width, height = -(-(x1 - x0) // coarse), -(-(y1 - y0) // coarse)
        rings = [(ring @ grid.matrix.T + grid.shift - [x0, y0]) / coarse for ring in (part.outline, *part.holes)]
        cover = _coverage(rings, height, width)
        if part.axis is None and part.cut is None:
            x = y = np.zeros((1, 1), np.float32)
        else:
            column = (np.arange(width, dtype=np.float32) + 0.5) * coarse + x0 - grid.shift[0]
            row = (np.arange(height, dtype=np.float32) + 0.5) * coarse + y0 - grid.shift[1]
            x = (column[None] * inverse[0, 0] + row[:, None] * inverse[0, 1]).astype(np.float32)
            y = (column[None] * inverse[1, 0] + row[:, None] * inverse[1, 1]).astype(np.float32)
        wide = coarse > 1 and soft and part.rounding * grid.pixels_per_mm > 4 * coarse
        if wide:
            # Distances may be interpolated, while the steep rim of a depth would turn into stairs.
            # Its own steps of a quarter pixel are evened out first.
            even = np.asarray(uniform_filter(uniform_filter(_signed(cover), 5), 5), dtype=np.float32)
            distance = _enlarge(even, height * coarse, width * coarse) * np.float32(coarse / grid.pixels_per_mm)
            dense = _profile(distance, part.rounding, part.depth) * np.float32(part.mu)
            light = np.zeros((1, 1), np.float32)
        else:
            dense, light = _thickness(part, cover, x, y, coarse / grid.pixels_per_mm)
        target = metal if part.mu >= MU_TITANIUM else smooth
        if part.merge and part.merge not in merged:
            merged[part.merge] = np.zeros_like(smooth)
        for layer, value in ((target, dense), (spongy, light)):
            if value.size == 1:
                continue
            if coarse > 1 and not wide:
                value = _enlarge(value, height * coarse, width * coarse)
            top, left = max(y0, 0), max(x0, 0)
            bottom, right = min(y1, grid.height), min(x1, grid.width)
            window = value[top - y0 : bottom - y0, left - x0 : right - x0]
            if part.merge:
                area = merged[part.merge][top:bottom, left:right]
                (np.maximum if part.mu > 0 else np.minimum)(area, window, out=area)
            else:
                layer[top:bottom, left:right] += window
    for layer in merged.values():
        smooth += layer
    return Layers(smooth, spongy, metal)
