"""Knee, lower leg, ankle and foot as parts in millimetres; from the side the toes point left (x < 0)."""

import numpy as np

from radmae_jax.data.phantom.bones_arm import METACARPAL, TUBE, TUFT, small_tube
from radmae_jax.data.phantom.solids import (
    MU_BONE,
    MU_SOFT,
    Part,
    bone,
    ellipse,
    line,
    points,
    scaled,
    shaft_bone,
    turned,
)

SHIN = 350.0  # mm from the tibial plateau to the plafond, an adult's

FEMUR_END_AP = points(
    "-15 -220  -15.5 -150  -17 -95  -22 -66  -33 -46  -41 -32  -42 -18  -39 -6  -31 -1  -20 0  -11 -4  -6 -14  0 -18"
    " 6 -14  11 -4  20 0  31 -1  39 -7  42 -18  41 -32  34 -46  23 -66  17 -95  15.5 -150  15 -220"
)
TIBIA_AP = points(
    "-39 6  -24 8  -11 6.5  -6 1  -3 5  2 5  5 0  10 6.5  24 8  39 5  42 12  39 22  31 36  22 56  17 90  14 150  12 230"
    " 12 300  15 325  19 340  19 347  16 349  0 350  -14 351  -17 356  -19 364  -24 364  -27 354  -24 338  -17 318"
    " -13 290  -13 230  -14 150  -16 90  -21 56  -32 36  -40 22  -42 13"
)
FIBULA_AP = points(
    "31 24  36 18  42 22  44 32  39 44  36 70  35 150  32 230  30 300  31 330  34 350  33 366  29 377  24 372  21 356"
    " 21 340  23 320  23 300  25 230  28 150  29 70  31 44"
)


def leg_ap(rng: np.random.Generator, varus: float) -> list[Part]:
    """Femur's end, patella, tibia and fibula from the front about the knee's joint line; varus in radians."""
    femur = shaft_bone(FEMUR_END_AP, rng, 44, points("0 -520  0 40"), 7.5, 1.0, 0.26, "femur")
    patella = bone(
        points("-21 -46  -12 -56  6 -58  20 -48  22 -34  12 -22  0 -16  -12 -22  -21 -34"),
        rng,
        11,
        8,
        1.2,
        0.4,
        (),
        "patella",
    )
    notch = line(points("-12 -6  -8 -18  0 -22  8 -18  12 -6"), 1.8, 9)
    caps = [
        line(points("-40 -14  -32 -2.5  -20 -1  -12 -4"), 2.0, 12),
        line(points("40 -14  32 -2.5  20 -1  12 -4"), 2.0, 12),
    ]
    tibia = shaft_bone(TIBIA_AP, rng, 34, points("0 -10  0 362"), 6.5, 1.0, 0.27, "tibia")
    fibula = shaft_bone(FIBULA_AP, rng, 17, points("34 10  28 385"), 3.2, 0.9, 0.3, "fibula")
    plates = [
        line(points("-39 7  -24 9.5  -10 8"), 2.4, 14),
        line(points("10 8  24 9.5  39 7"), 2.4, 14),
        line(points("-34 27  -12 22  12 22  34 27"), 1.0, 5),
        line(points("-18 348  0 349  18 347"), 1.8, 10),
    ]
    lower = turned([tibia, fibula, *plates], varus, (0, 0))
    return [femur, patella, notch, *caps, *lower]


FEMUR_END_LATERAL = points(
    "-16 -220  -16 -150  -17 -90  -22 -62  -30 -46  -35 -30  -34 -16  -27 -5  -14 0  4 -1"
    "  20 -3  31 -12  35 -24  33 -38"
    " 25 -48  17 -62  15 -90  14 -150  14 -220"
)
TIBIA_LATERAL = points(
    "-25 7  -10 7  -4 1  2 4  6 7  27 9  31 15  28 26  21 42  16 70  14 150  13 230  13 300  17 325  23 342  23 350"
    " 14 345  0 342  -14 344  -19 349  -22 344  -19 326  -13 300  -12 230  -14 150  -19 80"
    "  -26 56  -29 46  -26 34  -28 20"
)
FIBULA_LATERAL = points(
    "16 26  21 18  27 20  29 30  24 44  20 70  17 150  14 230  11 300  12 330  15 352  12 370  6 376  1 368  -1 350"
    " 2 325  3 300  6 230  8 150  11 70  14 44"
)


def leg_lateral(rng: np.random.Generator, flexion: float) -> list[Part]:
    """Knee and shin from the side about the tibial plateau; the thigh is bent back by flexion radians."""
    femur = [
        shaft_bone(FEMUR_END_LATERAL, rng, 50, points("0 -520  0 40"), 7.0, 1.0, 0.24, "femur"),
        line(points("-33 -20  -26 -7  -12 -2  8 -3  24 -7  33 -18  34 -32  27 -45"), 2.2, 14),
        line(points("-30 -20  -23 -9  -10 -6  8 -7  22 -12  29 -22  27 -36"), 1.8, 11),
        line(points("-32 -34  -16 -28  4 -26  20 -40"), 1.6, 10),
    ]
    patella = bone(
        points("-50 -54  -42 -56  -38 -44  -38 -28  -42 -18  -47 -16  -54 -28  -55 -44"),
        rng,
        30,
        9,
        1.6,
        0.36,
        (),
        "patella",
    )
    tendon = line(points("-47 -16  -40 10  -32 44"), np.array([4, 6, 5]), 7, MU_SOFT)
    quad = line(points("-46 -54  -38 -90  -28 -140"), np.array([5, 9, 14]), 8, MU_SOFT)
    tibia = shaft_bone(TIBIA_LATERAL, rng, 40, points("0 -10  0 362"), 6.5, 1.0, 0.26, "tibia")
    fibula = shaft_bone(FIBULA_LATERAL, rng, 16, points("22 10  7 385"), 3.2, 0.9, 0.3, "fibula")
    plate = line(points("-26 8  0 9  28 11"), 2.2, 16)
    # Femur and patella roll about the condyles' centre.
    thigh = turned([*femur, quad], flexion, (6.0, -22.0))
    cap = turned([patella], 0.45 * flexion, (6.0, -22.0))
    return [*thigh, *cap, tendon, tibia, fibula, plate]


def ankle_ap(rng: np.random.Generator) -> list[Part]:
    """Talus, heel and midfoot from the front, below the plafond at y = 350 (mortise x = -16..19)."""
    talus = bone(
        points("-15 355  0 354  16 353.5  20 362  22 378  18 386  0 390  -14 384  -17 370"),
        rng,
        38,
        12,
        1.2,
        0.3,
        (),
        "talus",
    )
    heel = bone(
        points("-10 384  6 388  18 386  24 400  22 424  12 436  -4 434  -12 420  -14 400"), rng, 44, 14, 1.2, 0.26
    )
    dome = line(points("-15 356  0 355  16 354.5"), 1.8, 12)
    mid = [
        bone(points("-22 378  -6 384  2 396  0 412  -18 416  -30 404  -30 388"), rng, 26, 10, 1.0, 0.26),
        bone(points("2 398  20 396  28 408  26 424  8 428"), rng, 24, 9, 1.0, 0.26),
    ]
    rays = []
    for k in range(5):
        base = np.array([-30 + 14.0 * k, 414 + 2.0 * abs(k - 1)])
        part, _ = small_tube(METACARPAL, base, np.pi - 0.12 * (k - 2), 46, 15, rng)
        rays.append(part)
    return [talus, heel, dome, *mid, *rays]


TALUS_LATERAL = points(
    "-19 2  -10 -3  2 -4  14 -1  22 6  30 16  29 22  20 22  10 20  2 28  -8 32  -20 31"
    "  -30 34  -41 33  -47 24  -44 14  -36 10  -26 11"
)
HEEL_LATERAL = points(
    "-30 38  -16 37  -6 40  6 33  16 26  26 27  34 32  46 32  60 27  68 36  71 54  66 70  54 74  40 68  20 64  -2 62"
    " -20 63  -32 60  -35 48"
)


def foot_lateral(rng: np.random.Generator, heads: float) -> list[Part]:
    """Tarsus and overlapping rays from the side about the talar dome, toes left; heads spreads the rays (0..1)."""
    parts = [
        bone(TALUS_LATERAL, rng, 36, 12, 1.4, 0.28, (), "talus"),
        bone(HEEL_LATERAL, rng, 32, 15, 1.3, 0.24, (), "calcaneus"),
        bone(points("-50 12  -58 14  -64 26  -60 40  -52 40  -49 30  -48 20"), rng, 30, 7, 1.3, 0.26),
        bone(points("-39 42  -52 42  -66 48  -70 60  -58 66  -40 63"), rng, 26, 10, 1.2, 0.24),
        bone(points("-63 20  -84 28  -88 38  -82 48  -66 44  -65 32"), rng, 20, 8, 1.2, 0.26),
        bone(points("-66 30  -80 36  -84 50  -72 54  -64 46"), rng, 15, 7, 1.1, 0.24),
        line(points("6 34  16 27.5  28 29"), 2.0, 12),
        line(points("44 66  54 52  60 36"), np.array([6, 9, 7]), 3),
        line(points("-20 50  4 44  22 34"), np.array([8, 8, 5]), 3),
        line(points("-17 2  -8 -1.5  2 -2.5  14 0  22 7"), 2.0, 12),
    ]
    bases = points("-86 42  -82 42  -78 48  -72 54  -68 60")
    for k in range(5):
        angle = -np.pi / 2 - 0.42 + 0.07 * k * (0.4 + heads)
        length, width = (62, 74, 71, 68, 66)[k], (19, 12, 12, 11, 12)[k]
        shank, tip = small_tube(
            METACARPAL, bases[k] + rng.normal(0, 0.8, 2), angle, length, width, rng, f"metatarsal{k + 1}"
        )
        parts.append(shank)
        angle = -np.pi / 2 + rng.normal(0.08, 0.06)
        for share, size in ((0.9, 30), (0.8, 22)) if k == 0 else ((0.85, 25), (0.75, 12), (0.7, 10)):
            direction = np.array([np.sin(angle), -np.cos(angle)])
            shape = TUFT if size in (22, 10) else TUBE
            phalanx, tip = small_tube(shape, tip + 2 * direction, angle, size, share * width, rng, f"toe{k}{size}")
            parts.append(phalanx)
            angle += -0.12 if size == 25 else rng.normal(-0.1, 0.06)
    return parts


def foot_ap(rng: np.random.Generator, oblique: float) -> list[Part]:
    """Foot from above about the cuneiforms, toes up, big toe at x < 0; oblique 0..1 rolls it inwards."""
    squeeze = 1 - 0.25 * oblique
    tarsus = [
        bone(points("-22 4  -6 2  10 6  12 14  2 20  -14 20  -24 14"), rng, 22, 9, 1.2, 0.26),
        bone(points("-26 2  -24 -22  -10 -24  -8 -4  -14 2"), rng, 22, 8, 1.1, 0.28),
        bone(points("-7 -2  -7 -19  3 -19  3 -2"), rng, 20, 7, 1.1, 0.28),
        bone(points("4 -1  5 -22  14 -22  16 0  10 4"), rng, 20, 7, 1.1, 0.28),
        bone(points("15 4  17 -16  34 -12  38 10  30 28  16 24"), rng, 22, 9, 1.1, 0.26),
        bone(
            points("-20 24  -8 20  4 24  6 36  2 48  8 70  2 84  -16 84  -22 60  -22 40"),
            rng,
            18,
            11,
            1.2,
            0.24,
            (),
            "talus",
        ),
        bone(
            points("8 34  18 27  32 32  32 56  26 84  18 118  -8 122  -14 100  2 70"),
            rng,
            17,
            13,
            1.2,
            0.22,
            (),
            "calcaneus",
        ),
    ]
    parts: list[Part] = []
    bases = points("-17 -27  -3 -24  8 -25  20 -19  33 -13")
    spread = rng.uniform(0.6, 1.25)
    hallux = max(0.0, rng.normal(0.1, 0.16))
    for k in range(5):
        angle = float((-0.12, -0.01, 0.07, 0.13, 0.2)[k] * spread - (hallux * 0.6 if k == 0 else 0))
        length, width = (62, 73, 69, 67, 64)[k], (21, 13.5, 13, 13, 14)[k]
        shape = METACARPAL if k else METACARPAL * [0.95, 1]
        shank, tip = small_tube(shape, bases[k], angle, length * rng.normal(1, 0.02), width, rng, f"metatarsal{k + 1}")
        parts.append(shank)
        if k == 4:
            parts.append(bone(points("36 -14  44 -6  45 2  38 -2  32 -10"), rng, 9, 4, 1.0, 0.3))
        if k == 0:
            down = np.array([-np.sin(angle), np.cos(angle)])
            for side in (-1, 1):
                seed = tip + 6 * down + side * 5.5 * np.array([np.cos(angle), np.sin(angle)])
                parts.append(Part(ellipse(float(seed[0]), float(seed[1]), 4.2, 5.6), MU_BONE, 8, 4, 0.9, 0.9, 0.4))
        angle += hallux * 1.8 if k == 0 else float(rng.normal(0.0 - 0.02 * k, 0.05))
        sizes = (
            ((0.82, 32), (0.85, 23)) if k == 0 else ((0.86, 27 - 1.6 * k), (0.78, 13 - 1.8 * k), (0.72, 10 - 0.6 * k))
        )
        for j, (share, size) in enumerate(sizes):
            direction = np.array([np.sin(angle), -np.cos(angle)])
            form = TUFT if j == len(sizes) - 1 else TUBE
            phalanx, tip = small_tube(form, tip + 2.2 * direction, angle, size, share * width, rng, f"toe{k}{j}")
            parts.append(phalanx)
            angle += float(rng.normal(-0.02 * (k > 2), 0.06))
    return scaled([*tarsus, *parts], squeeze, 1.0)
