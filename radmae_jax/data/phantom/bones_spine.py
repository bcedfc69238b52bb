"""Vertebrae, ribs and sacrum as parts in millimetres, seen from the front or from the side (face to the left)."""

import numpy as np

from radmae_jax.data.phantom.solids import (
    MU_BONE,
    Part,
    Points,
    band,
    bone,
    both_sides,
    ellipse,
    line,
    moved,
    points,
    spline,
    turned,
    wobble,
)

# Outlines are in shares of body width and height: the same vertebra serves C3 to L5.
BODY_AP = points(
    "-.5 -.44  -.46 -.5  -.25 -.47  0 -.45  .25 -.47  .46 -.5  .5 -.44  .47 -.25  .43 0  .46 .28  .5 .44"
    " .46 .5  .25 .47  0 .45  -.25 .47  -.46 .5  -.5 .44  -.46 .28  -.43 0  -.47 -.25"
)
BODY_LATERAL = points(
    "-.5 -.46  -.47 -.5  -.2 -.46  .1 -.45  .47 -.5  .5 -.44  .46 -.1  .46 .15  .5 .45  .46 .5  .1 .45"
    " -.2 .46  -.47 .5  -.5 .45  -.45 .15  -.45 -.1"
)


def vertebra_ap(rng: np.random.Generator, w: float, h: float, transverse: float, name: str = "") -> list[Part]:
    """One vertebra from the front about its body's centre: w, h body size, transverse the half span in mm."""
    depth = 0.8 * w
    body = bone(BODY_AP * [w, h], rng, 0.75 * depth, 0.22 * w, 1.0, 0.26, (), name)
    spinous = ellipse(rng.normal(0, 0.02 * w), 0.42 * h, 0.075 * w, 0.3 * h)
    parts = [body, Part(spinous, MU_BONE, 11, 0.075 * w, 1.2, 1.2, 0.4)]
    arch = band(
        points("-.27 -.52  -.22 -.2  -.16 .05  -.2 .3  -.27 .52") * [w, h], np.array([0.2, 0.16, 0.17, 0.16, 0.2]) * w
    )
    parts.append(Part(arch, MU_BONE, 0.24 * w, 0.1 * w, 1.0, 1.0, 0.25))
    parts.append(Part(arch * [-1, 1], MU_BONE, 0.24 * w, 0.1 * w, 1.0, 1.0, 0.25))
    for side in (-1, 1):
        pedicle = ellipse(side * 0.29 * w, -0.14 * h, 0.085 * w, 0.2 * h)
        parts.append(Part(pedicle, MU_BONE, 0.42 * w, 0.05 * w, 1.6, 1.6, 0.12))
        if transverse > 0.55 * w:
            tip = np.array([side * transverse, rng.normal(-0.2, 0.06) * h])
            process = band(np.array([[side * 0.38 * w, -0.12 * h], tip]), np.array([0.24, 0.2]) * h, False)
            parts.append(Part(spline(process), MU_BONE, 6, 0.12 * h, 0.8, 0.8, 0.3))
    return parts


def vertebra_lateral(
    rng: np.random.Generator, w: float, h: float, spinous: float, drop: float, name: str = ""
) -> list[Part]:
    """One vertebra from the side about its body's centre: w depth, h height, spinous reach and drop in mm."""
    parts = [bone(BODY_LATERAL * [w, h], rng, 1.1 * w, 0.25 * w, 1.1, 0.28, (), name)]
    pedicle = band(points(f"{0.45 * w} {-0.2 * h}  {0.8 * w} {-0.16 * h}"), 0.36 * h, False)
    parts.append(Part(spline(pedicle), MU_BONE, 16, 0.18 * h, 1.2, 1.2, 0.2))
    joint = points(
        f"{0.72 * w} {-0.66 * h}  {0.86 * w} {-0.6 * h}  {0.95 * w} {-0.1 * h}  {1.02 * w} {0.45 * h}"
        f"  {0.9 * w} {0.66 * h}  {0.82 * w} {0.3 * h}  {0.72 * w} {-0.1 * h}"
    )
    parts.append(bone(joint, rng, 22, 0.1 * w, 1.2, 0.2))
    reach = 0.95 * w + spinous
    blade = points(
        f"{0.88 * w} {-0.05 * h}  {reach - 4} {drop - 0.24 * h}  {reach} {drop}  {reach - 3} {drop + 0.26 * h}"
        f"  {0.95 * w} {0.38 * h}"
    )
    parts.append(bone(blade, rng, 9, 5, 0.9, 0.35))
    return parts


def spine_ap(rng: np.random.Generator, bottom: float, first: int, last: int) -> tuple[list[Part], dict[int, float]]:
    """Vertebrae first..last (1 = L5 up to 24 = C1) above y = bottom, and each one's centre y by number."""
    parts: list[Part] = []
    centres: dict[int, float] = {}
    y = bottom
    bend, phase = rng.normal(0, 5), rng.uniform(0, 6.3)
    for k in range(1, last + 1):
        if k <= 5:
            w, h, disc, span = 50 - 1.6 * k, 27.5, 9.0, 44.0 - (k in (1, 2)) * 3
        elif k <= 17:
            w, h, disc, span = 41 - 1.25 * (k - 5), 24.2 - 0.6 * (k - 5), 4.6 - 0.1 * (k - 5), 30.0
        else:
            w, h, disc, span = 25.0, 12.5, 4.6, 24.0
        y -= disc + h / 2
        centres[k] = y
        if k >= first:
            one = vertebra_ap(rng, w * rng.normal(1, 0.015), h, span, f"vertebra{k}")
            sway = bend * np.sin(0.22 * k + phase)
            parts += turned(one, rng.normal(0, 0.015), (0, 0), (sway, y))
        y -= h / 2
    return parts, centres


def cervical_ap(rng: np.random.Generator, bottom: float) -> list[Part]:
    """C7 to C3 from the front with their scalloped lateral masses, above y = bottom."""
    parts: list[Part] = []
    column: list[list[float]] = [[], []]
    bend, phase = rng.normal(0, 3), rng.uniform(0, 6.3)
    for k in range(5):
        y = bottom - 8 - 17 * k + rng.normal(0, 1.2)
        x = bend * np.sin(0.6 * k + phase)
        w, h = (27 - 1.2 * k) * rng.normal(1, 0.03), 13.5 * rng.normal(1, 0.06)
        # The lips at the upper corners clasp the body above and hide most of the disc.
        body = points(
            "-.5 -.86  -.43 -.8  -.36 -.5  -.2 -.38  0 -.35  .2 -.38  .36 -.5  .43 -.8  .5 -.86  .53 -.4  .47 0"
            "  .5 .36  .36 .52  .12 .6  -.12 .6  -.36 .52  -.5 .36  -.47 0  -.53 -.4"
        )
        one = bone(body * [w, h], rng, 15, 7, 0.8, 0.36, (), f"vertebra{k + 18}")
        parts += turned([one], rng.normal(0, 0.05), (0, 0), (x, y))
        # Spinous processes fork (C3 to C6) and hang to one side or the other.
        tip = x + rng.normal(0, 1.6)
        forks = (0.0,) if k == 0 else (-3.0, 3.0)
        for fork in forks:
            knob = ellipse(tip + fork, y + rng.normal(10, 1), 4.6 if k == 0 else 2.8, rng.uniform(3.2, 4.6), fork / 8)
            parts.append(Part(knob, MU_BONE, 9, 3, 0.9, 0.9, 0.45))
        column[0] += [0.5 * w + 10 + rng.normal(0, 0.8), 0.5 * w + 8 + rng.normal(0, 0.8)]
        column[1] += [y + 1, y + 9.5]
    edge = np.column_stack([column[0], column[1]])
    inner = np.column_stack([np.array(column[0]) - 13, column[1]])[::-1]
    masses = Part(spline(np.concatenate([edge, inner])), MU_BONE, 15, 7, 1.2, 1.2, 0.28)
    return parts + both_sides([masses])


def rib_cage_ap(rng: np.random.Generator, top: float, bottom: float, half_width: float, first: int = 1) -> list[Part]:
    """Twelve ribs of the side x > 0 between T1 (y = top) and T12 (y = bottom); numbers below first are left out."""
    parts: list[Part] = []
    spread = half_width * np.array([0.42, 0.62, 0.76, 0.85, 0.92, 0.96, 0.99, 1.0, 1.0, 0.96, 0.85, 0.62])
    slope = rng.normal(1.0, 0.12)
    for k in range(first, 13):
        y = top + (bottom - top) * (k - 1) / 11.5
        w = float(spread[k - 1])
        fall = (12 + 3.4 * k) * slope
        posterior = np.array(
            [
                [14, y],
                [24, y - 3],
                [0.45 * w, y - 5 + 0.1 * fall],
                [0.75 * w, y + 0.35 * fall],
                [0.95 * w, y + 0.85 * fall],
                [w, y + 1.3 * fall],
            ]
        )
        width = 10.5 if k > 1 else 12.0
        outline = band(posterior, np.array([8, 9, width, width, width * 0.8, width * 0.6]))
        parts.append(Part(wobble(outline, rng, 0.004), MU_BONE, 8.5, 4.5, 1.1, 1.1, 0.3, name=f"rib{k}"))
        if k <= 10:
            y1, reach = y + 1.3 * fall, w - (0.52 - 0.02 * k) * w * (1.0 if k > 1 else 0.8)
            drop = (20 + 3.2 * k) * slope
            anterior = np.array(
                [
                    [w, y1 - 6],
                    [0.985 * w, y1 + 0.25 * drop],
                    [0.9 * w, y1 + 0.65 * drop],
                    [(0.9 * w + reach) / 2, y1 + 0.9 * drop],
                    [reach, y1 + drop],
                ]
            )
            outline = band(anterior, np.array([6, 8, 11, 13, 14]))
            parts.append(Part(outline, MU_BONE, 6.5, 5, 0.8, 0.8, 0.25))
    return parts


SACRUM_AP = points(
    "-20 -124  0 -121  20 -124  38 -126  54 -116  52 -96  42 -74  30 -56  21 -40  12 -28  0 -25"
    " -12 -28  -21 -40  -30 -56  -42 -74  -52 -96  -54 -116  -38 -126"
)


def sacrum_ap(rng: np.random.Generator) -> list[Part]:
    """Sacrum and coccyx above femoral heads at y = 0."""
    holes = [ellipse(s * (23 - 2.2 * k), -100 + 17 * k, 5.5 - 0.6 * k, 3.6, s * 0.4) for k in range(4) for s in (-1, 1)]
    parts = [bone(SACRUM_AP, rng, 34, 26, 1.0, 0.26, tuple(holes))]
    crest = line(points("0 -118  1 -90  0 -60  0 -40"), np.array([7, 6, 5, 3]), 8)
    plate = line(points("-24 -125  0 -121  24 -125"), 1.6, 24)
    arcs = [
        line(
            spline(points(f"{8} {-108 + 17 * k}  {20 - 2 * k} {-107 + 17 * k}  {32 - 4 * k} {-101 + 17 * k}"), False),
            1.5,
            14,
        )
        for k in range(3)
    ]
    parts += [crest, plate, *both_sides(arcs)]
    for k in range(3):
        tail = ellipse(0, -20 + 8 * k, 7 - 1.7 * k, 4.4)
        parts.append(Part(tail, MU_BONE, 10, 4, 1.0, 1.0, 0.3))
    return parts


def column_lateral(
    rng: np.random.Generator, path: Points, sizes: list[tuple[float, float, float, float]], first_name: int
) -> list[Part]:
    """Vertebrae from the side along an open line of body centres (n, 2), from the lowest up.

    sizes holds width, height, spinous reach and spinous drop in mm for each one.
    """
    parts: list[Part] = []
    tangent = np.gradient(path, axis=0)
    for k, (centre, (w, h, reach, drop)) in enumerate(zip(path, sizes, strict=True)):
        angle = float(np.arctan2(tangent[k, 0], -tangent[k, 1])) + rng.normal(0, 0.015)
        one = vertebra_lateral(rng, w, h, reach, drop, f"vertebra{first_name + k}")
        parts += turned(one, angle, (0, 0), (float(centre[0]), float(centre[1])))
    return parts


SACRUM_LATERAL = points(
    "-24 -8  -6 -13  16 -17  24 -10  33 5  40 22  46 42  46 60  40 72  30 82  20 84  22 76"
    "  30 66  30 50  18 34  0 16  -16 4"
)


def sacrum_lateral(rng: np.random.Generator, at: tuple[float, float], angle: float) -> list[Part]:
    """Sacrum and coccyx from the side, its end plate about the point at."""
    lines = [line(points(f"{4 + 9 * k} {8 + 17 * k}  {26 + 6 * k} {-2 + 19 * k}"), 1.6, 22) for k in range(3)]
    parts = [bone(SACRUM_LATERAL, rng, 46, 12, 1.4, 0.3), *lines]
    return turned(parts, angle, (0, 0), at)


def shifted(parts: list[Part], x: float, y: float) -> list[Part]:
    """Parts moved by (x, y) mm."""
    return [moved(part, np.eye(2), np.array([x, y])) for part in parts]
