"""Lungs, heart, bowel gas and the trunk's soft tissue as parts in millimetres, seen from the front."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from radmae_jax.data.phantom.solids import (
    MU_FAT,
    MU_GAS,
    MU_LUNG,
    MU_SOFT,
    Habit,
    Part,
    Points,
    band,
    ellipse,
    line,
    points,
    scaled,
    spline,
)


def _branches(rng: np.random.Generator, at: Points, angle: float, width: float, reach: float, depth: int) -> list[Part]:
    """A vessel that forks depth times: strips of soft tissue growing thinner."""
    bend = rng.normal(0, 0.25)
    steps = np.linspace(0, 1, 4)[:, None]
    turn = angle + bend * steps[:, 0]
    path = at + reach * steps * np.column_stack([np.cos(turn), np.sin(turn)])
    parts = [line(path, np.linspace(width, 0.75 * width, 4), 2.2 * width, -MU_LUNG)]
    if depth > 0:
        for side in (-1, 1):
            parts += _branches(
                rng,
                path[-1],
                float(turn[-1]) + side * rng.uniform(0.2, 0.65),
                0.72 * width,
                reach * rng.uniform(0.65, 0.95),
                depth - 1,
            )
    return parts


def lungs_ap(rng: np.random.Generator, top: float, dome: float, w: float, heart: float) -> list[Part]:
    """Both lungs between T1 (y = top) and the diaphragm's dome inside half width w; heart scales its border."""
    low = dome + rng.uniform(28, 45)
    wall = (
        f"{0.3 * w} {top - 6}  {0.46 * w} {top}  {0.66 * w} {top + 28}  {0.82 * w} {top + 75}"
        f"  {0.92 * w} {top + 125}  {0.97 * w} {top + 180}  {0.98 * w} {low}  {0.95 * w} {low + 2}"
    )
    right = points(
        f"20 {top + 14}  {wall}  {0.85 * w} {dome + 16}  {0.6 * w} {dome - 4}"
        f"  {0.42 * w} {dome - 4}  {32 * heart} {dome + 12}"
        f"  {36 * heart} {dome - 8}  {44 * heart} {dome - 38}  {36 * heart} {dome - 76}"
        f"  25 {dome - 98}  24 {top + 74}  20 {top + 40}"
    )
    d = dome + rng.uniform(4, 14)
    left = points(
        f"20 {top + 14}  {wall}  {0.88 * w} {d + 16}  {0.74 * w} {d + 1}  {0.62 * w} {d + 2}  {86 * heart} {d + 8}"
        f"  {88 * heart} {d - 14}  {78 * heart} {d - 44}  {58 * heart} {d - 78}  38 {d - 104}"
        f"  30 {top + 92}  37 {top + 76}  35 {top + 60}  26 {top + 48}  20 {top + 34}"
    )
    parts = [Part(spline(right * [-1, 1]), MU_LUNG, 150, 42), Part(spline(left), MU_LUNG, 150, 42)]
    root = (top + dome) / 2 - 8
    parts.append(Part(ellipse(20, d - 44, 58 * heart, 60, -0.5), -MU_LUNG, 40, 40))
    for side in (-1, 1):
        hilum = np.array([side * 36.0, root + (side < 0) * 6])
        parts.append(Part(ellipse(float(hilum[0]), float(hilum[1]), 13, 19, 0.3 * side), -MU_LUNG, 26, 12))
        for angle in rng.permutation(np.linspace(-1.25, 1.3, 6)):
            heading = angle if side > 0 else np.pi - angle
            parts += _branches(rng, hilum, float(heading), rng.uniform(3.6, 5.4), rng.uniform(26, 38), 3)
    return parts


def airway_ap(rng: np.random.Generator, top: float, carina: float) -> list[Part]:
    """Windpipe and main bronchi."""
    x = rng.normal(0, 3)
    return [
        line(np.array([[0, top], [x, top + 50], [x, carina]]), 16.0, 14, MU_GAS),
        line(np.array([[x, carina - 4], [-20, carina + 22], [-34, carina + 34]]), np.array([13, 11, 9]), 10, MU_GAS),
        line(np.array([[x, carina - 4], [22, carina + 20], [40, carina + 28]]), np.array([12, 10, 8]), 9, MU_GAS),
    ]


def _gut(path: Points, width: float, dents: float, rng: np.random.Generator) -> Part:
    """Gas in a piece of gut along a line (n, 2): uneven width in mm with folds cut in by the share dents."""
    # Sharp bends would fold the outline over itself.
    fine = gaussian_filter1d(spline(path[:: max(len(path) // 6, 1)], False, 8), 4.0, axis=0, mode="nearest")
    t = np.linspace(0, 1, len(fine))
    length = float(np.linalg.norm(np.diff(fine, axis=0), axis=1).sum())
    # Haustra come every 25 mm or so, never evenly.
    folds = np.abs(np.sin(np.pi * (length / 26) * t + 0.8 * np.sin(5 * t + rng.uniform(0, 6.3)) + rng.uniform(0, 3)))
    uneven = 1 + 0.22 * np.sin(rng.uniform(2, 6) * t + rng.uniform(0, 6.3))
    ends = np.sqrt(np.clip(1 - (2 * t - 1) ** 6, 0.02, 1))
    widths = width * uneven * ends * (1 - dents + dents * np.sqrt(folds))
    outline = band(fine, gaussian_filter1d(widths, 0.8), smooth=False)
    return Part(outline, MU_GAS, 0.65 * width, 0.4 * width, merge="gas")


def bowel(rng: np.random.Generator, top: float, bottom: float, w: float, share: float) -> list[Part]:
    """Colon with haustra, loops of small bowel, rectum and stool between top and bottom; share 0..1 of gas."""
    parts: list[Part] = []

    def pocket(x: float, y: float, rx: float, ry: float) -> None:
        corners = ellipse(x, y, rx, ry, rng.uniform(0, 3), 9)
        corners += rng.normal(0, 0.1 * min(rx, ry), corners.shape)
        gas = Part(spline(corners), MU_GAS, float(1.3 * min(rx, ry)), 0.75 * min(rx, ry), merge="gas")
        parts.append(gas)

    def loop(x: float, y: float, length: float, width: float, dents: float) -> None:
        turns = rng.uniform(0, 6.3) + np.cumsum(rng.normal(0, 0.35, 6))
        steps = length / 5 * np.column_stack([np.cos(turns), np.sin(turns)])
        parts.append(_gut(np.array([x, y]) + np.cumsum(steps, axis=0) - steps.sum(0) / 2, width, dents, rng))

    height = bottom - top
    frame = points(
        f"{-0.66 * w} {bottom - 0.05 * height}  {-0.7 * w} {top + 0.5 * height}"
        f"  {-0.6 * w} {top + 0.2 * height}  {-0.2 * w} {top + 0.28 * height}"
        f"  {0.2 * w} {top + 0.26 * height}  {0.62 * w} {top + 0.08 * height}"
        f"  {0.72 * w} {top + 0.5 * height}  {0.6 * w} {bottom}"
    )
    path = spline(frame + rng.normal(0, 6, frame.shape), False, 8)
    place = int(rng.integers(0, 8))
    while place < len(path) - 4:
        # Gas fills stretches of the colon; what lies between holds fluid and stool.
        stretch = int(rng.integers(5, 16))
        if rng.uniform() < share:
            parts.append(_gut(path[place : place + stretch], rng.uniform(20, 40), rng.uniform(0.15, 0.4), rng))
        place += stretch + int(rng.integers(2, 8))
    for _ in range(int(rng.poisson(6 * share))):
        loop(rng.normal(0, 0.3 * w), rng.uniform(top + 0.35 * height, bottom), rng.uniform(18, 60), 15, 0.08)
    for _ in range(int(rng.poisson(2.5 * share))):
        loop(rng.normal(0, 20), bottom + rng.uniform(30, 95), rng.uniform(14, 40), rng.uniform(14, 26), 0.25)
    for _ in range(int(rng.poisson(22 * share))):
        p = path[rng.integers(0, 16)]
        pocket(float(p[0] + rng.normal(0, 9)), float(p[1] + rng.normal(0, 9)), rng.uniform(2, 4.5), rng.uniform(2, 4.5))
    return parts


def stomach(rng: np.random.Generator, dome: float, w: float) -> list[Part]:
    """Gas under the left dome of the diaphragm."""
    if rng.uniform() < 0.25:
        return []
    size = rng.uniform(16, 30)
    return [Part(spline(ellipse(0.52 * w, dome + 18 + size * 0.6, size * 1.3, size * 0.8, 0.2, 10)), MU_GAS, 36, 14)]


def viscera(rng: np.random.Generator, dome: float, hips: float, w: float) -> list[Part]:
    """Liver, kidneys and psoas: their excess over fat is small, hence visible edges only in lean contrast."""
    excess = 0.0026
    psoas = spline(
        points(
            f"16 {dome + 70}  30 {dome + 100}  44 {hips - 60}  60 {hips}  80 {hips + 60}"
            f"  60 {hips + 60}  30 {hips - 30}  18 {dome + 110}"
        )
    )
    kidney = ellipse(56, dome + 82 + rng.normal(0, 6), 26, 48, 0.25)
    parts = [Part(psoas, excess, 60, 14), Part(psoas * [-1, 1], excess, 60, 14)]
    parts += [Part(kidney, excess, 55, 16), Part(kidney * [-1, 1] + [0, 10], excess, 55, 16)]
    liver = points(
        f"{-0.95 * w} {dome + 30}  {-0.5 * w} {dome - 6}  {-0.1 * w} {dome + 8}"
        f"  {0.3 * w} {dome + 20}  {-0.1 * w} {dome + 60}  {-0.55 * w} {dome + 110}"
        f"  {-0.92 * w} {dome + 120}"
    )
    return [*parts, Part(spline(liver), excess, 150, 40)]


def trunk_skin(habit: Habit, shoulder: float, w: float) -> list[Part]:
    """Fat and muscle of neck, trunk and thighs about femoral heads at y = 0; shoulder is the y of T1."""
    f = 8 + 42 * habit.fat
    half = points(
        f"52 {shoulder - 190}  54 {shoulder - 60}  82 {shoulder - 26}  {w + 30} {shoulder + 4}"
        f"  {w + 44} {shoulder + 60}  {w + 18} {shoulder + 130}"
        f"  {w + 8} {shoulder + 240}  {w} -300  {w - 6} -220  {w + 8} -120  {w + 26} -40"
        f"  {w + 30} 30  {w + 24} 140  {w + 14} 420"
    )
    grown = half + np.column_stack([np.linspace(0.3, 1.0, len(half)) * f, np.zeros(len(half))])
    outer = np.concatenate([grown, (grown * [-1, 1])[::-1]])
    inner = np.concatenate([half, (half * [-1, 1])[::-1]])
    depth = 190 + 120 * habit.fat
    thigh_gap = spline(points(f"0 {96 + 30 * habit.fat}  7 160  16 300  24 440  -24 440  -16 300  -7 160"))
    return [
        Part(spline(outer), MU_FAT, depth, 85, holes=(thigh_gap,), merge="skin"),
        Part(spline(inner), MU_SOFT - 0.8 * MU_FAT, 150, 60, holes=(thigh_gap,), merge="muscle"),
    ]


def mirrored(parts: list[Part]) -> list[Part]:
    """The same parts of the other side."""
    return scaled(parts, -1.0, 1.0)
