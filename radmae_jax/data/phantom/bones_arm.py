"""Elbow, wrist and hand as parts in millimetres; fingers point up, the thumb side is x < 0."""

import numpy as np

from radmae_jax.data.phantom.solids import (
    MU_BONE,
    Part,
    Points,
    band,
    bone,
    ellipse,
    flesh,
    line,
    points,
    shaft_bone,
    skin,
    spline,
    turned,
)

# Small tubular bones in shares: across (of the base width) and along (0 base, 1 head).
TUBE = points(
    "-.5 .04  -.3 0  0 .03  .3 0  .5 .04  .5 .1  .36 .25  .29 .5  .31 .72  .42 .86  .43 .95  .3 1  0 .985"
    " -.3 1  -.43 .95  -.42 .86  -.31 .72  -.29 .5  -.36 .25  -.5 .1"
)
METACARPAL = points(
    "-.46 .03  -.2 0  .2 0  .46 .03  .46 .1  .32 .24  .26 .5  .3 .74  .46 .86  .47 .94  .3 1  0 1.02  -.3 1"
    " -.47 .94  -.46 .86  -.3 .74  -.26 .5  -.32 .24  -.46 .1"
)
TUFT = points(
    "-.5 .05  -.25 0  .25 0  .5 .05  .48 .14  .3 .3  .2 .55  .22 .7  .36 .82  .34 .95  .15 1  -.15 1  -.34 .95"
    " -.36 .82  -.22 .7  -.2 .55  -.3 .3  -.48 .14"
)


def small_tube(
    shape: Points, base: Points, angle: float, length: float, width: float, rng: np.random.Generator, name: str = ""
) -> tuple[Part, Points]:
    """A metacarpal or phalanx from its base (2,) along angle (0: up, radians, clockwise); and its tip (2,)."""
    along = np.array([np.sin(angle), -np.cos(angle)])
    across = np.array([np.cos(angle), np.sin(angle)])
    shape = shape + rng.normal(0, 0.008, shape.shape)
    control = base + shape[:, :1] * width * across + shape[:, 1:] * length * along
    tip = base + along * length
    axis = np.stack([base, tip])
    part = Part(spline(control), MU_BONE, 0.78 * width, 0.42 * width, 0.55, 0.17 * width, 0.3, axis, (), name)
    return part, tip


CARPALS = (
    points("-8 15  -15 15  -22 9  -28 0  -27 -8  -20 -10  -15 -4  -10 2  -5 8"),
    points("-6 11  -2 17  6 17  11 13  11 6  5 4  -2 4"),
    points("13 15  21 11  26 3  21 -3  16 1  12 7"),
    points("-7 0  -2 2  5 2  8 -3  8 -12  6 -20  -4 -20  -8 -12"),
    points("10 -18  20 -17  24 -8  20 -4  14 1  10 -3"),
    points("-32 -11  -26 -9  -19 -11  -17 -19  -22 -24  -32 -20"),
    points("-17 -9  -10 -8  -9 -17  -11 -21  -18 -19"),
)
RADIUS_END = points(
    "-29 14  -33 22  -31 34  -24 56  -20 90  -19 200  -5 200  -5 90  -2 60  3 38  5 28  4 21  -2 21  -10 20  -20 17"
)
ULNA_END = points("9 24  16 23  22 24  25 18  28 22  27 32  22 44  19 70  18 200  7 200  7 70  8 44  8 32")


def hand(rng: np.random.Generator, oblique: float) -> list[Part]:
    """Wrist, five rays and forearm ends about the capitate; oblique 0..1 turns the hand on its ulnar side."""
    squeeze = 1.0 - 0.42 * oblique
    parts: list[Part] = []
    for control in CARPALS:
        shape = control * [squeeze, 1.0] + [4 * oblique * np.sign(control[0, 0]), 0]
        parts.append(bone(shape, rng, 13, 5.5, 1.2, 0.42))
    pisiform = ellipse(19 * squeeze - 3 * oblique, 7, 4.5, 5)
    parts.append(Part(pisiform, MU_BONE, 8, 4, 1, 1, 0.35))
    parts.append(line(points("13 -10  17 -7  17 -12") * [squeeze, 1], 1.6, 5))
    radius = shaft_bone(
        RADIUS_END * [1 - 0.25 * oblique, 1], rng, 20, points("-12 -60  -12 290"), 3.4, 0.9, 0.34, "radius"
    )
    ulna = shaft_bone(
        ULNA_END * [squeeze, 1] - [4 * oblique, 0], rng, 15, points("14 -40  14 290"), 3.2, 0.9, 0.34, "ulna"
    )
    scar = line(points("-29 27  -18 30  -6 29  4 27") * [1 - 0.25 * oblique, 1], 1.0, 4)
    tilt = rng.normal(0, 0.12)
    parts += [radius, ulna, scar]
    rays: list[Part] = []
    fan = rng.uniform(0.3, 1.5) * (1 - 0.5 * oblique)
    bend = rng.uniform(0, 0.25) * np.ones(4) + rng.uniform(0, 0.12, 4)
    bases = points("-13 -22  -1 -22.5  9.5 -20.5  19 -18")
    lengths = ((66, 41, 24, 18), (64, 45, 29, 19), (57, 42, 27, 19), (53, 34, 19, 17))
    wide = (17, 17, 15, 14)
    for k in range(4):
        angle = float((-0.13, -0.03, 0.08, 0.19)[k] * (0.7 + 0.3 * fan) + 0.05 * oblique * (k - 1))
        base = bases[k] * [squeeze, 1.0]
        size = rng.normal(1, 0.02)
        bone_part, tip = small_tube(METACARPAL, base, angle, lengths[k][0] * size, wide[k], rng, f"metacarpal{k + 2}")
        rays.append(bone_part)
        angle += float((-0.08, -0.02, 0.05, 0.14)[k] * fan + rng.normal(0, 0.02))
        for j, (share, shape) in enumerate(((0.86, TUBE), (0.7, TUBE), (0.6, TUFT))):
            direction = np.array([np.sin(angle), -np.cos(angle)])
            fore = np.cos(bend[k] * (j + 1) * (1 + oblique))
            phalanx, tip = small_tube(
                shape,
                tip + direction * 2.2,
                angle,
                lengths[k][j + 1] * size * fore,
                wide[k] * share,
                rng,
                f"phalanx{k}{j}",
            )
            rays.append(phalanx)
            angle += rng.normal(0, 0.03)
    angle = -rng.uniform(0.45, 0.85) * (1 - 0.4 * oblique)
    tip = points("-29 -23")[0] * [squeeze, 1]
    for share, shape, length in ((14, METACARPAL, 45), (13, TUBE, 31), (11, TUFT, 23)):
        direction = np.array([np.sin(angle), -np.cos(angle)])
        phalanx, tip = small_tube(shape, tip + direction * 2, angle, length, share, rng, f"thumb{share}")
        rays.append(phalanx)
        angle += rng.uniform(-0.05, 0.25)
    rays.append(Part(ellipse(-50, -62, 2.6, 3.2), MU_BONE, 4, 2))
    return parts + turned(rays, tilt, (0.0, -5.0))


HUMERUS_END_AP = points(
    "-9 -170  -9.5 -110  -11 -70  -18 -42  -28 -24  -32 -14  -29 -6  -22 -7  -18 0  -8 1  -2 -3  4 -5  8 -2  14 1"
    " 22 0  26 -6  27 -14  22 -24  16 -40  11 -70  9.5 -110  9 -170"
)
RADIUS_TOP_AP = points(
    "12 5  16 4  22 5  27 4.5  28 12  24 17  22 24  20 36  21 60  20 170  8 170  7 60  8 46  12 40  14 26  14 17  11 12"
)
ULNA_TOP_AP = points("-20 5  -14 4  -6 6  2 4  8 6  7 14  2 26  -1 50  -1 170  -12 170  -13 60  -15 34  -20 18")


def elbow_ap(rng: np.random.Generator, carrying: float) -> list[Part]:
    """Straight elbow from the front about the joint line, upper arm up; carrying angle in radians."""
    humerus = shaft_bone(HUMERUS_END_AP, rng, 20, points("0 -330  0 20"), 4.6, 0.9, 0.3, "humerus")
    fossa = Part(ellipse(0, -19, 9, 8), -MU_BONE, 4.5, 5)
    ridges = [
        line(points("-30 -14  -22 -26  -14 -44  -10 -70"), np.array([2.5, 3, 3, 2]), 8),
        line(points("26 -14  20 -28  13 -46  10 -70"), np.array([2, 2.5, 3, 2]), 8),
        line(spline(points("-10 -16  -8 -26  0 -29  8 -26  10 -16"), False), 1.6, 6),
    ]
    olecranon = Part(spline(points("-11 8  -12 -8  -9 -22  0 -26  8 -22  10 -8  8 8")), MU_BONE, 9, 8, 1.2, 1.2, 0.28)
    radius = shaft_bone(RADIUS_TOP_AP, rng, 15, points("15 -30  14 330"), 3.4, 0.9, 0.3, "radius")
    ulna = shaft_bone(ULNA_TOP_AP, rng, 17, points("-6 -40  -6 330"), 3.6, 0.9, 0.3, "ulna")
    plates = [line(points("13 5  20 7.5  27 5"), 1.5, 9), line(points("-20 5  -10 6.5  0 5"), 1.8, 9)]
    return [humerus, fossa, *ridges, *turned([olecranon, radius, ulna, *plates], -carrying, (0, 0))]


HUMERUS_END_LATERAL = points(
    "-9 -170  -9 -70  -10 -40  -8 -24  -11 -16  -14 -4  -12 8  -3 14  8 11  13 2  12 -8"
    "  6 -16  5 -24  8 -40  9 -70  9 -170"
)
# Forearm pointing to x < 0 at a right angle; the trochlea's centre is the origin.
ULNA_TOP_LATERAL = points(
    "-170 14  -60 13  -36 12  -26 6  -19 4  -15 12  -6 17.5  4 16  13 10  16 0  13 -10  17 -17  26 -16  30 -6  29 8"
    " 24 20  10 27  -20 27  -60 26  -170 26"
)
RADIUS_TOP_LATERAL = points(
    "-170 -2  -60 -1  -44 -2  -34 1  -25 -4  -17 -11  -16 -2  -15 8  -18 12  -27 8  -40 12  -60 12  -170 10"
)


def elbow_lateral(rng: np.random.Generator, flexion: float) -> list[Part]:
    """Bent elbow from the side about the trochlea, upper arm up; flexion in radians, pi/2 points left."""
    humerus = shaft_bone(HUMERUS_END_LATERAL, rng, 20, points("0 -330  0 40"), 4.4, 0.9, 0.3, "humerus")
    teardrop = [
        line(spline(points("-9 -40  -3 -24  -2 -14"), False), 2.2, 9),
        line(spline(points("7 -40  2 -24  0 -14"), False), 2.2, 9),
        line(ellipse(0, 0, 9, 9), 2.0, 7),
        line(ellipse(-2, 1, 13, 12.5), 1.8, 6),
    ]
    ulna = shaft_bone(ULNA_TOP_LATERAL, rng, 18, points("-350 20  60 16"), 3.8, 1.0, 0.3, "ulna")
    radius = shaft_bone(RADIUS_TOP_LATERAL, rng, 15, points("-350 4  30 2"), 3.3, 0.9, 0.3, "radius")
    notch = line(points("-18 6  -14 13  -5 18  5 17  13 11  17 0  14 -10"), 2.4, 10)
    return [humerus, *teardrop, *turned([ulna, radius, notch], np.pi / 2 - flexion, (0, 0))]


def limb(centre_line: Points, widths: Points, flat: float = 0.9) -> tuple[Part, Part]:
    """Skin and the flesh in it about an open line: widths in mm at its points, depth flat times their mean."""
    mean = float(np.mean(widths))
    inner = np.maximum(widths - 6.0, 0.8 * widths)
    return (
        skin(band(centre_line, widths), flat * mean, 0.5 * mean),
        flesh(band(centre_line, inner), flat * 0.9 * mean, 0.45 * mean),
    )
