"""Elbow, hand, knee, lower leg, ankle and foot: bones and soft tissue in millimetres, framed as for a radiograph."""

from dataclasses import replace

import numpy as np

from radmae_jax.data.phantom.bones_arm import elbow_ap, elbow_lateral, hand, limb
from radmae_jax.data.phantom.bones_leg import SHIN, ankle_ap, foot_ap, foot_lateral, leg_ap, leg_lateral
from radmae_jax.data.phantom.bones_spine import shifted
from radmae_jax.data.phantom.solids import (
    MU_BONE,
    Body,
    Habit,
    Part,
    Points,
    band,
    ellipse,
    flesh,
    points,
    skin,
    spline,
    turned,
)


def _layers(centre_line: Points, widths: Points, habit: Habit) -> list[Part]:
    """Skin with fat under it and muscle inside, about a limb's centre line."""
    fat = 2 * (2.0 + 14.0 * habit.fat) * float(np.clip(np.mean(widths) / 90.0, 0.3, 1.2))
    inner = widths * habit.muscle
    mean = float(np.mean(inner))
    return [
        skin(band(centre_line, inner + fat), 0.9 * (mean + fat), 0.5 * (mean + fat)),
        flesh(band(centre_line, inner), 0.85 * mean, 0.5 * mean),
    ]


def _digit_skin(parts: list[Part], prefixes: tuple[str, ...], width: float) -> list[Part]:
    """One tube of soft tissue along every digit, found by the names of its bones."""
    skins: list[Part] = []
    for prefix in prefixes:
        axes = [p.axis for p in parts if p.name.startswith(prefix) and p.axis is not None]
        if not axes:
            continue
        path = np.concatenate([axes[0][:1], *[a[1:] for a in axes]])
        end = path[-1] + 5 * (path[-1] - path[-2]) / max(float(np.linalg.norm(path[-1] - path[-2])), 1e-6)
        path = np.concatenate([path, end[None]])
        widths = width * np.linspace(1.1, 0.86, len(path))
        widths[-1] *= 0.55
        skins += limb(path, widths, 0.85)
    return skins


def elbow(rng: np.random.Generator, view: str, habit: Habit) -> Body:
    """Elbow AP (near straight) or LAT (bent)."""
    upper = points("0 -330  0 -160  0 -60  0 0")
    if view == "AP":
        carrying = rng.normal(0.16, 0.06)
        bones = elbow_ap(rng, carrying)
        lower = turned([Part(points("0 0  0 60  0 160  0 330"), 0, 0)], -carrying, (0, 0))[0].outline
        soft = _layers(np.concatenate([upper, lower[1:]]), np.array([95, 88, 84, 84, 80, 66, 50.0]), habit)
        return Body((*soft, *bones), (0, 0), (120, 190), {"joint": (0.0, 0.0)})
    flexion = float(np.clip(rng.normal(1.5, 0.3), 0.5, 2.0))
    bones = elbow_lateral(rng, flexion)
    forearm = points("14 2  -20 10  -70 13  -160 10  -330 6")
    lower = turned([Part(forearm, 0, 0)], np.pi / 2 - flexion, (0, 0))[0].outline
    soft = _layers(points("0 -330  0 -160  2 -60  4 -14  6 10"), np.array([96, 88, 78, 66, 54.0]), habit)
    soft += [skin(ellipse(6, 4, 38, 38), 66, 36), flesh(ellipse(5, 4, 31, 31), 58, 30)]
    soft += _layers(lower, np.array([52, 70, 82, 70, 50.0]), habit)
    return Body((*soft, *bones), (-30, -10), (170, 170), {"joint": (0.0, 0.0)})


def hand_region(rng: np.random.Generator, view: str, habit: Habit) -> Body:
    """Hand with wrist, PA or OBL."""
    oblique = float(rng.uniform(0.5, 1.0)) if view == "OBL" else float(rng.uniform(0, 0.12))
    bones = hand(rng, oblique)
    squeeze = 1 - 0.42 * oblique
    digits = _digit_skin(bones, ("phalanx0", "phalanx1", "phalanx2", "phalanx3", "thumb"), 17.5 + 3 * habit.fat)
    palm = points(
        "-30 60  -33 30  -38 4  -44 -20  -34 -50  -30 -88  -22 -102  0 -104  24 -98  38 -84"
        "  40 -50  36 -10  30 24  26 60"
    )
    palm = palm * [squeeze * (1 + 0.12 * habit.fat), 1]
    arm = limb(
        points("-4 330  -4 180  -4 70  -2 30") * [squeeze, 1],
        np.array([86, 74, 60, 54]) * (0.86 + 0.3 * habit.fat) * (0.6 + 0.4 * squeeze),
        0.75,
    )
    soft = [skin(spline(palm), 28, 16), flesh(spline(palm * 0.95), 24, 14), *arm, *digits]
    middle = (-4.0, -85.0) if rng.uniform() < 0.7 else (-4.0, -10.0)
    size = (150.0, 240.0) if middle[1] < -50 else (110.0, 150.0)
    return Body((*soft, *bones), middle, size, {"joint": (-8.0, 18.0)})


THIGH_TO_FOOT = points("0 -420  0 -200  0 -80  0 0  3 70  4 140  4 260  2 330  2 352  0 384  -2 420  -2 476")
GIRTH = np.array([165.0, 140, 112, 104, 106, 112, 80, 68, 75, 82, 88, 80])


def _leg(rng: np.random.Generator, view: str, habit: Habit) -> list[Part]:
    """The leg from mid thigh to toes with the foot in line with the view."""
    if view == "AP":
        bones = leg_ap(rng, rng.normal(0, 0.03)) + ankle_ap(rng)
        return [*_layers(THIGH_TO_FOOT, GIRTH, habit), *bones]
    flexion = float(np.clip(rng.normal(0.4, 0.3), 0.0, 1.4))
    bones = leg_lateral(rng, flexion)
    turn = rng.normal(0, 0.12)
    tarsus = turned(shifted(foot_lateral(rng, rng.uniform()), 0, SHIN), turn, (0.0, SHIN))
    upper = turned([Part(points("-2 -420  -2 -200  -4 -80  -6 -30"), 0, 0)], flexion, (6.0, -22.0))[0].outline
    lower = points("-4 20  2 70  10 140  6 260  2 320  2 350")
    soft = _layers(np.concatenate([upper, lower]), np.array([170, 145, 122, 112, 108, 112, 118, 84, 76, 84.0]), habit)
    return [*soft, *turned(shifted(_foot_skin(habit), 0, SHIN), turn, (0.0, SHIN)), *bones, *tarsus]


def _foot_skin(habit: Habit) -> list[Part]:
    """The foot's soft tissue from the side about the talar dome."""
    f = 4 + 5 * habit.fat
    sole = points(
        "36 -30  58 0  74 22  80 50  74 78  48 86  0 80  -60 80  -120 92  -170 98  -205 96"
        "  -210 84  -190 76  -140 60  -90 22  -50 -4  -34 -30"
    )
    middle = np.array([-60.0, 50.0])
    sole = middle + (sole - middle) * (1 + f / 200)
    return [skin(spline(sole), 50, 26), flesh(spline(middle + 0.93 * (sole - middle)), 45, 22)]


def knee(rng: np.random.Generator, view: str, habit: Habit) -> Body:
    """Knee AP or LAT."""
    return Body(tuple(_leg(rng, view, habit)), (-4.0, -8.0), (120, 200), {"joint": (0.0, 2.0)})


def lower_leg(rng: np.random.Generator, view: str, habit: Habit) -> Body:
    """Tibia and fibula with both joints, AP or LAT."""
    return Body(tuple(_leg(rng, view, habit)), (0.0, SHIN / 2), (230, 470), {"joint": (0.0, 2.0)})


def ankle(rng: np.random.Generator, view: str, habit: Habit) -> Body:
    """Ankle AP (mortise) or LAT."""
    centre = (0.0, SHIN - 12) if view == "AP" else (2.0, SHIN - 2)
    size = (110.0, 160.0) if view == "AP" else (160.0, 170.0)
    return Body(tuple(_leg(rng, view, habit)), centre, size, {"ankle": (0.0, SHIN)})


def foot(rng: np.random.Generator, view: str, habit: Habit) -> Body:
    """Foot from above (AP), OBL or LAT."""
    if view == "LAT":
        parts = _leg(rng, "LAT", habit)
        return Body(tuple(parts), (-62.0, SHIN + 40), (290, 150), {"ankle": (0.0, SHIN)})
    oblique = float(rng.uniform(0.6, 1.0)) if view == "OBL" else 0.0
    bones = foot_ap(rng, oblique)
    digits = _digit_skin(bones, ("toe1", "toe2", "toe3", "toe4"), 16.0) + _digit_skin(bones, ("toe0",), 25.0)
    squeeze = 1 - 0.25 * oblique
    sole = points(
        "-14 130  -34 100  -36 50  -38 0  -42 -50  -46 -92  -30 -106  0 -108  26 -98  46 -80"
        "  52 -40  52 20  44 80  30 124  8 138"
    )
    # The leg stands behind the heel, foreshortened.
    ankle_shadow = limb(points("-4 230  -4 140  -4 84  -4 62"), np.array([90, 84, 66, 30.0]), 0.45)
    shins = skin(spline(points("-22 230  -22 130  -20 84  -6 66  12 66  20 84  18 130  18 230")), 30, 20)
    sole = spline(sole * [squeeze * (1 + 0.08 * habit.fat), 1])
    soft = [
        skin(sole, 36, 20),
        flesh(sole * 0.94, 30, 18),
        *ankle_shadow,
        replace(shins, mu=MU_BONE, depth=1.5, merge=""),
    ]
    return Body((*soft, *digits, *bones), (0.0, -25.0), (125, 290), {"ankle": (0.0, 60.0)})
