"""Skull, jaw and teeth as parts in millimetres: from the front about the nose, from the side about the ear."""

from dataclasses import replace

import numpy as np

from radmae_jax.data.phantom.solids import (
    MU_BONE,
    MU_GAS,
    Part,
    bone,
    both_sides,
    ellipse,
    line,
    points,
    spline,
    turned,
)

VAULT_LATERAL = points(
    "-94 -46  -101 -62  -103 -82  -92 -114  -62 -142  -14 -153  36 -143  74 -114  91 -72  90 -34  74 -4  50 12"
    " 26 14  4 8  -14 -6  -34 -16  -56 -30  -76 -38"
)
MANDIBLE_LATERAL = points(
    "-98 56  -102 70  -98 86  -84 89  -52 80  -24 68  -14 50  -8 16  -2 0  -8 -8  -16 -4  -20 8  -26 12"
    " -34 -4  -42 -2  -44 18  -46 44  -58 54  -78 58"
)
FACE_LATERAL = points(
    "-96 -44  -84 -44  -62 -28  -48 -8  -44 14  -52 30  -76 31  -98 32  -104 24  -94 10  -88 -8  -92 -26"
)


def _tooth(x: float, y: float, w: float, h: float, down: bool) -> list[Part]:
    """Dense crown with a tapering root; down: the root points down (lower jaw)."""
    s = 1 if down else -1
    body = np.array([[-0.5, 0], [-0.55, -0.35], [0, -0.42], [0.55, -0.35], [0.5, 0], [0.3, 0.6], [0, 1.0], [-0.3, 0.6]])
    root = body * [w, s * h] + [x, y]
    crown = np.array([[-0.5, 0.02], [-0.52, -0.36], [0, -0.42], [0.52, -0.36], [0.5, 0.02]]) * [w, s * h] + [x, y]
    # Enamel at 60 keV: about 2.9 g/cm3, near twice cortical bone.
    return [Part(spline(root), MU_BONE, 8, 0.4 * w), Part(crown, MU_BONE, 5)]


def skull_lateral(rng: np.random.Generator, gap: float) -> list[Part]:
    """Skull from the side, face to the left, ear at the origin; gap is the opening of the jaw in radians."""
    parts = [bone(VAULT_LATERAL, rng, 140, 70, 5.5, 0.0, (), "vault")]
    face = bone(FACE_LATERAL, rng, 60, 16, 1.4, 0.05)
    parts += [face]
    sinus = [
        Part(ellipse(-72, 4, 17, 17), MU_GAS, 50, 12),
        Part(ellipse(-95, -62, 4.5, 11, 0.15), MU_GAS + -MU_BONE * 0.4, 30, 4),
        Part(ellipse(-42, -6, 14, 9, 0.3), MU_GAS, 36, 8),
        Part(spline(points("-50 30  -46 10  -38 6  -32 30  -30 60  -34 90  -44 90  -42 60")), MU_GAS, 26, 6),
    ]
    rim = [
        line(points("-84 -46  -90 -38  -90 -24  -84 -14  -74 -10"), 3.5, 12),
        line(points("-88 -46  -70 -48  -52 -40  -38 -28"), 2.5, 22),
        line(points("-84 -14  -70 -6  -62 4  -64 16"), 3.5, 12),
        line(points("-97 28  -76 25  -48 25"), 3.0, 30),
        line(points("-38 -22  -34 -14  -26 -12  -20 -18  -18 -26"), 2.4, 24),
        line(points("-98 -48  -106 -34  -111 -22"), np.array([6, 4, 1.5]), 9),
        line(points("-60 6  -40 4  -18 2  -6 -2"), np.array([6, 5, 5, 6]), 6),
    ]
    petrous = Part(spline(points("-16 -10  0 -20  20 -16  30 -2  22 12  6 12  -8 4")), MU_BONE, 26, 12)
    ear = Part(ellipse(0, 0, 4, 4), MU_GAS - MU_BONE, 18, 3)
    cells = [
        Part(ellipse(20 + rng.normal(0, 8), 6 + rng.normal(0, 7), 2.6, 2.2), MU_GAS - MU_BONE, 7, 2) for _ in range(9)
    ]
    sutures = [
        Part(
            line(points("-24 -151  -20 -130  -28 -100  -22 -70  -30 -48") + rng.normal(0, 2, (5, 2)), 1.3, 5).outline,
            -MU_BONE,
            3,
        ),
        Part(
            line(points("78 -108  64 -80  70 -52  56 -26  50 -2") + rng.normal(0, 2, (5, 2)), 1.3, 5).outline,
            -MU_BONE,
            3,
        ),
        Part(
            line(points("-22 -50  -6 -76  16 -92  40 -104") + rng.normal(0, 2, (4, 2)), 1.8, 3).outline, -MU_BONE, 1.4
        ),
    ]
    jaw = [bone(MANDIBLE_LATERAL, rng, 21, 11, 2.4, 0.25, (), "mandible")]
    missing = rng.uniform(0, 0.35)
    for k in range(8):
        x, w = -98 + 5.8 * k + 0.25 * k * k, 6.2 + 0.4 * k
        if rng.uniform() > missing:
            parts += _tooth(x, 38 - 0.3 * k, w, 20 - 0.7 * k, False)
        if rng.uniform() > missing:
            jaw += _tooth(x + 2, 52 - 0.2 * k, w, 20 - 0.7 * k, True)
    jaw = turned(jaw, -gap, (-6.0, 0.0))
    return [*parts, *sinus, *rim, petrous, ear, *cells, *sutures, *jaw]


VAULT_AP = points(
    "0 -128  32 -124  56 -106  70 -76  74 -44  72 -14  66 12  54 30  34 38  0 40"
    " -34 38  -54 30  -66 12  -72 -14  -74 -44  -70 -76  -56 -106  -32 -124"
)
RAMUS_AP = points("60 20  66 24  64 46  60 72  50 88  32 104  12 112  0 113  0 90  14 90  34 84  46 72  50 52  54 28")


def skull_ap(rng: np.random.Generator, gap: float) -> list[Part]:
    """Skull from the front about the root of the nose; gap is the opening of the jaw in mm."""
    vault = bone(VAULT_AP, rng, 170, 72, 0.7, 0.0, (), "vault")
    # The wall is thick over the crown and thin towards the base, which the face hides.
    parts = [replace(vault, shaft_cortex=6.0, axis=points("0 44  0 -250"))]
    half = [
        Part(
            spline(points("50 -6  64 2  70 12  62 26  50 38  40 58  28 64  0 66  0 20  22 20  40 14")),
            MU_BONE,
            60,
            14,
            1.5,
            1.5,
            0.07,
        ),
        Part(ellipse(33, 2, 19.5, 17), MU_GAS - 0.3 * MU_BONE, 16, 6),
        Part(spline(points("18 24  30 21  44 26  44 38  34 50  24 50  18 38")), MU_GAS, 46, 8),
        Part(spline(points("3 14  9 18  14 34  13 52  4 56  2 40")), MU_GAS, 50, 4),
        line(points("13 8  14 -6  22 -14  33 -17  45 -13  53 -2  53 8  46 17  33 20  20 17  13 8"), 2.8, 13),
        line(points("8 -2  20 6  34 2  50 -4  62 -2"), np.array([3, 7, 9, 9, 7]), 16),
        line(points("52 12  62 16  68 24"), np.array([5, 7, 5]), 8),
        line(points("16 -22  32 -24  50 -16  56 -4"), 2.2, 9),
        line(points("3 24  9 26  8 34"), 3.5, 9),
        line(points("3 38  10 39  9 48"), 3.5, 9),
        Part(
            spline(points(f"3 {-24 - 8 * rng.uniform()}  12 -38  {18 + 6 * rng.uniform()} -30  16 -22  4 -18")),
            MU_GAS - 0.3 * MU_BONE,
            14,
            5,
        ),
    ]
    septum = line(points("0 10  1 30  -1 56"), 2.2, 20)
    jaw_half: list[Part] = []
    missing = rng.uniform(0, 0.35)
    for side in (-1, 1):
        for k in range(6):
            x, w = side * (3.8 + 7.2 * k - 0.35 * k * k), 7.2 - 0.7 * k
            if rng.uniform() > missing:
                parts += _tooth(x, 72 - 0.6 * k, max(w, 4), 17, False)
            if rng.uniform() > missing:
                jaw_half += _tooth(x * 0.93, 84 - 0.6 * k, max(w, 4), 17, True)
    chin = RAMUS_AP
    outline = np.concatenate([chin[:7], (chin[:7] * [-1, 1])[::-1], (chin[8:] * [-1, 1]), chin[8:][::-1]])
    jaw = [bone(outline, rng, 22, 9, 2.6, 0.25, (), "mandible"), *jaw_half]
    suture = Part(
        line(points("0 -127  2 -100  -2 -76  0 -56") + rng.normal(0, 1.5, (4, 2)), 1.2, 3).outline, -MU_BONE, 3
    )
    lambdoid = [
        Part(line(points("2 -58  22 -40  40 -32  60 -20") + rng.normal(0, 2, (4, 2)), 1.2, 3).outline, -MU_BONE, 2.5)
    ]
    return [*parts, *both_sides(half), septum, suture, *both_sides(lambdoid), *turned(jaw, 0.0, (0, 0), (0, gap))]
