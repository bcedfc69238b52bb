"""Pelvis, upper femur and shoulder girdle as parts in millimetres, seen from the front."""

import numpy as np

from radmae_jax.data.phantom.solids import (
    MU_BONE,
    Part,
    Points,
    band,
    bone,
    ellipse,
    line,
    points,
    shaft_bone,
    spline,
    turned,
)

# Half a pelvis, x > 0 to the side, about the midpoint of the femoral heads (90, 0); the head has a radius of 24.
INNOMINATE = points(
    "39 -112  52 -137  72 -150  96 -153  120 -144  138 -122  142 -98  133 -76  125 -64  120 -46  124 -36"
    " 119 -22  111 -8  106 10  99 24  94 42  88 62  78 80  66 85  54 78  40 70  20 64  8 66  4 54"
    " 4 32  12 24  28 17  42 6  54 -8  60 -24  56 -40  48 -56  41 -70  37 -90"
)
FORAMEN = points("32 34  44 25  58 30  68 40  70 52  62 64  50 62  38 54  30 44")
# The femur about its head; x > 0 to the side, y down. The last two points continue to the shaft's end.
FEMUR_TOP = points(
    "7 23.5  -8 23  -20 14  -24.5 0  -20 -15  -8 -23.5  6 -23.5  17 -18  26 -12  37 -9  44 -14  54 -20"
    " 64 -14  69 0  68 18  62 42  58 75  56 130  56 190"
)
FEMUR_TOP_INNER = points("29 190  28 130  29 84  27 64  19 56  18 46  26 40  20 30  13 25")


def half_pelvis(rng: np.random.Generator) -> list[Part]:
    """The innominate bone of the side x > 0 with its cortical lines."""
    parts = [bone(INNOMINATE, rng, 19, 11, 1.7, 0.3, (spline(FORAMEN),), "innominate")]
    brim = line(
        points("41 -66  50 -52  58 -38  62 -22  57 -8  44 6  28 17  10 26"), np.array([5, 6, 6, 6, 5, 4, 4, 4]), 9
    )
    ischial = line(points("58 -34  63 -14  66 8  69 28  72 44"), 3.0, 8)
    roof = line(points("66 -14  76 -25  90 -29.5  104 -25  115 -13"), np.array([2.5, 4.5, 6, 5.5, 3]), 11)
    wall = line(points("112 -8  106 8  99 24"), 2.0, 8)
    tear = line(points("60 2  57 14  61 22  66 14  64 2"), 2.0, 8)
    crest = line(points("48 -130  72 -148  96 -151  118 -142  136 -120  139 -98"), 5.0, 7)
    joint = line(points("40 -112  46 -96  44 -80  40 -68"), 2.2, 9)
    wing = Part(ellipse(98, -78, 22, 34, 0.35), -MU_BONE, 1.0, 20)
    return [*parts, brim, ischial, roof, wall, tear, crest, joint, wing]


def femur_top(rng: np.random.Generator, angle: float, length: float = 190.0) -> list[Part]:
    """Upper femur about its head, swung by angle radians (positive: abducted), shaft to length mm below."""
    control = np.concatenate([FEMUR_TOP, FEMUR_TOP_INNER])
    control[control[:, 1] > 100, 1] *= length / 190.0
    axis = np.array([[43.0, -70.0], [43.0, length + 220.0]])
    main = shaft_bone(control, rng, 34, axis, 6.5, 1.0, 0.3, "femur")
    calcar = line(points("14 24  22 36  27 52  29 70"), np.array([2.0, 4.5, 4.5, 3]), 14)
    crest = line(points("50 -4  46 12  40 28  30 44"), np.array([3, 3, 4, 3]), 9)
    arcade = [
        line(points("4 -18  14 0  18 20  26 40"), np.array([6, 5, 5, 4]), 5),
        line(points("-12 8  8 -6  30 -2  52 14  60 40"), np.array([5, 4, 4, 4, 4]), 4),
    ]
    troch = Part(spline(points("44 -12  54 -19  64 -12  67 4  60 18  48 10")), MU_BONE, 7, 8, 0.8, 0.8, 0.4)
    return turned([main, calcar, crest, troch, *arcade], -angle, (0, 0))


# The scapula of the side x > 0 about the centre of the humeral head, medial to the left.
BLADE = points(
    "-20 -24  -30 -30  -42 -34  -60 -52  -84 -58  -98 -56  -103 -46  -104 -10  -100 40  -88 84  -78 96  -72 88"
    " -62 56  -46 28  -30 12  -22 18  -18 22  -20 0"
)
ACROMION = points(
    "-98 -36  -70 -42  -40 -46  -10 -48  14 -46  26 -38  28 -28  18 -26  2 -33  -20 -34  -50 -30  -80 -26  -100 -24"
)
CORACOID = points("-30 -24  -36 -38  -26 -46  -10 -42  0 -30  -2 -20  -10 -18  -18 -28")


def scapula(rng: np.random.Generator) -> list[Part]:
    """Blade, spine with acromion, coracoid and glenoid of the side x > 0 about the humeral head's centre."""
    blade = bone(BLADE, rng, 7, 7, 1.2, 0.2, (), "scapula")
    margin = line(points("-22 18  -30 13  -46 29  -62 57  -74 88"), np.array([4, 6, 6, 5, 4]), 9)
    spine = bone(ACROMION, rng, 11, 7, 1.2, 0.25)
    coracoid = bone(CORACOID, rng, 13, 7, 1.3, 0.35)
    glenoid = Part(ellipse(-21, 0, 6, 20), MU_BONE, 15, 6, 1.3, 1.3, 0.25)
    return [blade, margin, spine, coracoid, glenoid]


def clavicle(rng: np.random.Generator, sternal: Points, acromial: Points) -> list[Part]:
    """S-shaped collar bone from its sternal end to its acromial end, both (2,) in mm."""
    span = acromial - sternal
    normal = np.array([span[1], -span[0]]) / np.linalg.norm(span)
    sway = rng.normal(9, 2)
    t = np.array([0.0, 0.12, 0.35, 0.6, 0.82, 1.0])
    centre = sternal + t[:, None] * span + np.array([0, 0.35, 0.7, -0.1, -0.5, 0.0])[:, None] * sway * normal
    outline = band(centre, np.array([20, 16, 12, 11.5, 13, 15]))
    axis = np.stack([sternal, acromial])
    return [Part(outline, MU_BONE, 12, 6.5, 1.0, 2.4, 0.3, axis, (), "clavicle")]


HUMERUS_TOP = points(
    "-11 22  -20 14  -25 2  -24 -10  -16 -20  -4 -25  8 -24  16 -20  21 -21  28 -13  30 0  27 16  21 34  16 60"
    " 13.5 110  13 175  -11 175  -10.5 110  -9 60  -9 36"
)


def humerus_top(rng: np.random.Generator, angle: float, length: float = 175.0) -> list[Part]:
    """Upper humerus about its head, swung by angle radians (positive: abducted)."""
    control = HUMERUS_TOP.copy()
    control[control[:, 1] > 100, 1] *= length / 175.0
    axis = np.array([[2.0, -60.0], [2.0, length + 200.0]])
    main = shaft_bone(control, rng, 36, axis, 4.8, 1.1, 0.34, "humerus")
    groove = line(points("14 -18  11 0  10 20  11 36"), np.array([2, 2.5, 2.5, 1.5]), 9)
    tubercle = Part(spline(points("14 -19  24 -15  29 0  24 14  14 6")), MU_BONE, 6, 7, 0.8, 0.8, 0.4)
    neck = line(points("-22 12  -8 14  8 4  16 -14"), 2.2, 5)
    return turned([main, groove, tubercle, neck], -angle, (0, 0))
