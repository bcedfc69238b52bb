"""Skull, neck, chest and lumbar spine from the side (face to the left), and the skull from the front."""

import numpy as np

from radmae_jax.data.phantom.bones_arm import limb
from radmae_jax.data.phantom.bones_skull import skull_ap, skull_lateral
from radmae_jax.data.phantom.bones_spine import cervical_ap, column_lateral, sacrum_lateral, shifted
from radmae_jax.data.phantom.organs import bowel
from radmae_jax.data.phantom.solids import (
    MU_BONE,
    MU_GAS,
    MU_LUNG,
    Body,
    Habit,
    Part,
    Points,
    band,
    bone,
    ellipse,
    flesh,
    line,
    points,
    skin,
    spline,
    turned,
)


def _neck_column(rng: np.random.Generator, lordosis: float) -> tuple[list[Part], Points]:
    """C7..C1 from the side, C7 at (18, 122) below the ear, and the centres from C7 up (7, 2)."""
    t = np.linspace(0, 1, 7)
    path = np.column_stack([24 - 20 * t - lordosis * np.sin(np.pi * t), 128 - 106 * t])
    sizes = [
        (19.0, 14.0, 30.0, 12.0),
        (18.5, 13.0, 24.0, 11.0),
        (18.0, 12.5, 16, 9),
        (17.5, 12.5, 14, 8),
        (17.0, 12.5, 14, 7),
        (17.5, 15.0, 18, 5),
    ]
    parts = column_lateral(rng, path[:6], sizes, 18)
    x, y = path[6]
    dens = bone(points("-7 30  -6 14  -5 4  -5 -6  0 -11  5 -6  5 4  6 14  7 30"), rng, 12, 5, 1.4, 0.35)
    arch = [
        Part(ellipse(x - 12, y + 2, 4, 6.5), MU_BONE, 14, 4, 1.4, 1.4, 0.25),
        Part(
            band(np.array([[x + 10, y + 3], [x + 24, y + 2], [x + 38, y + 4]]), np.array([7, 5, 8.0])),
            MU_BONE,
            10,
            3.5,
            1.4,
            1.4,
            0.2,
        ),
        Part(ellipse(x + 6, y + 2, 9, 7), MU_BONE, 24, 6, 1.3, 1.3, 0.2),
    ]
    return [*parts, *turned([dens], 0.05, (0, 0), (float(x) - 1, float(y) + 2)), *arch], path


def _head_and_neck(rng: np.random.Generator, habit: Habit) -> list[Part]:
    nod = rng.normal(0, 0.08)
    skull = turned(skull_lateral(rng, rng.uniform(0, 0.16)), nod, (4.0, 6.0))
    column, path = _neck_column(rng, rng.normal(9, 6))
    upper_back = path[0] + np.column_stack([np.linspace(4, 60, 5), np.linspace(20, 112, 5)])
    chest_bones = column_lateral(rng, upper_back[::-1], [(24.0, 18.0, 26.0, 16.0)] * 5, 30)
    profile = points(
        "-106 -60  -108 -90  -96 -124  -62 -150  -14 -161  38 -152  80 -122  99 -76  98 -34  84 4  62 34  60 70  78 110"
        "  130 160  200 260  -110 260  -70 150  -50 116  -46 100  -84 98  -106 96  -112 80"
        "  -110 66  -116 52  -112 36  -118 26  -130 18  -116 -10  -106 -40"
    )
    grow = 1 + 0.05 * habit.fat
    cover = [
        skin(spline(profile * grow), 130, 60),
        flesh(spline(profile * 0.97), 90, 40),
        # The shoulders lie one behind the other and hide the lower neck.
        skin(spline(points("-60 190  0 138  60 128  140 170  220 280  -120 280")), 230 + 80 * habit.fat, 70),
    ]
    airway = [
        Part(band(points("-40 50  -34 76  -30 100  -24 150  -6 240"), np.array([16, 15, 13, 17, 17])), MU_GAS, 18, 8),
        line(points("-46 84  -56 88  -66 84"), np.array([5, 4, 3]), 12),
        line(points("-38 112  -46 116  -44 128"), np.array([2, 4, 3]), 8),
    ]
    return [*cover, *airway, *chest_bones, *column, *skull]


def skull(rng: np.random.Generator, view: str, habit: Habit) -> Body:
    """Skull PA or LAT."""
    if view == "LAT":
        return Body(
            tuple(_head_and_neck(rng, habit)), (-6, -38), (225, 240), {"teeth": (-80.0, 45.0), "vault": (0.0, -80.0)}
        )
    head = skull_ap(rng, rng.uniform(0, 8))
    cover = [
        skin(
            spline(
                points(
                    "0 -136  40 -130  66 -108  82 -70  84 -20  80 30  72 72  56 104  58 150  110 190"
                    "  180 240  -180 240  -110 190  -58 150  -56 104  -72 72  -80 30  -84 -20  -82 -70"
                    "  -66 -108  -40 -130"
                )
            ),
            130,
            60,
        ),
        flesh(ellipse(0, -20, 70, 106), 110, 60),
    ]
    neck = cervical_ap(rng, 190)
    return Body((*cover, *neck, *head), (0, -6), (190, 255), {"teeth": (0.0, 78.0), "vault": (20.0, -70.0)})


def cervical_spine_lateral(rng: np.random.Generator, habit: Habit) -> Body:
    """Cervical spine LAT from the skull base to the shoulders."""
    return Body(tuple(_head_and_neck(rng, habit)), (8, 78), (150, 190), {"spine": (6.0, 80.0)})


def _trunk_side_skin(habit: Habit) -> list[Part]:
    belly = 30 + 90 * habit.fat
    outer = points(
        f"-60 -600  -92 -480  -104 -380  {-90 - 0.5 * belly} -260  {-80 - belly} -140"
        f"  {-86 - 0.9 * belly} -40  -110 60  -100 300  120 300"
        f"  {130 + 40 * habit.fat} 60  {118 + 30 * habit.fat} -60  {92 + 16 * habit.fat} -160"
        f"  104 -300  128 -420  120 -520  80 -600"
    )
    return [skin(spline(outer), 300 + 60 * habit.fat, 90), flesh(spline(outer * 0.94), 180, 70)]


def _back_column(rng: np.random.Generator, curve: float) -> list[Part]:
    """L5..T2 from the side above the sacrum at the origin (x > 0: towards the back)."""
    path, sizes = [np.array([0.0, -22.0])], []
    pitch = [36.0] * 5 + [29 - 0.8 * k for k in range(11)]
    angle = np.array(
        [0.34, 0.18, 0.02, -0.1, -0.16, -0.2, -0.22, -0.2, -0.14, -0.06, 0.02, 0.1, 0.18, 0.26, 0.34, 0.42]
    )
    for k in range(15):
        lean = -curve * float(angle[k])
        path.append(path[-1] + pitch[k] * np.array([-np.sin(lean) * 1.0, -np.cos(lean)]))
    for k in range(16):
        w, h = (35.0 - 0.4 * k, 27.0) if k < 5 else (31.0 - 0.9 * (k - 5), 22.5 - 0.5 * (k - 5))
        reach, drop = (26.0, 6.0) if k < 5 else (24.0, 18.0)
        sizes.append((w, h, reach, drop))
    return column_lateral(rng, np.array(path), sizes, 1)


def lumbar_lateral(rng: np.random.Generator, habit: Habit) -> Body:
    """Lumbar spine LAT with the sacrum."""
    curve = rng.uniform(0.6, 1.4)
    column = _back_column(rng, curve)
    base = sacrum_lateral(rng, (4.0, 0.0), rng.normal(0.1, 0.1))
    crests = [
        Part(
            spline(points("-34 20  -40 -20  -16 -48  20 -52  48 -32  52 10  30 60  -4 70") + rng.normal(0, 5.5, 2)),
            MU_BONE,
            5,
            6,
            1.6,
            1.6,
            0.15,
        )
        for _ in range(2)
    ]
    ribs = [
        line(
            points(f"40 {-230 - 28 * k}  10 {-210 - 28 * k}  -30 {-170 - 30 * k}  -60 {-120 - 34 * k}"),
            np.array([7, 8, 8, 6]),
            4,
        )
        for k in range(4)
    ]
    heads = [
        Part(ellipse(-30 + rng.normal(0, 5), 100 + rng.normal(0, 5), 24, 24), MU_BONE, 40, 24, 1.2, 1.2, 0.25)
        for _ in range(2)
    ]
    gas = shifted(bowel(rng, -220, 10, 60, rng.uniform(0.1, 0.6)), -70, 0)
    lung = Part(spline(points("-90 -330  -40 -300  10 -260  60 -226  84 -240  90 -400  -80 -420")), MU_LUNG, 220, 50)
    body = [*_trunk_side_skin(habit), lung, *gas, *ribs, *column, *base, *crests, *heads]
    return Body(tuple(body), (12, -80), (170, 290), {"spine": (0.0, -90.0)})


def chest_lateral(rng: np.random.Generator, habit: Habit) -> Body:
    """Chest LAT: sternum, heart, both domes, ribs running down to the front, spine at the back."""
    column = shifted(_back_column(rng, 1.0), 40, 0)
    deep = rng.uniform(0.9, 1.12)
    front, top, low = -96 * deep, -520.0, -235.0 + rng.normal(0, 12)
    lung = points(
        f"20 {top + 4}  -14 {top + 20}  {front * 0.7} {top + 60}  {front} {top + 140}"
        f"  {front * 1.02} {low - 30}  {front * 0.5} {low - 26}  -10 {low - 30}"
        f"  40 {low + 6}  84 {low + 60}  92 {low + 20}  104 -380  94 {top + 70}  60 {top + 14}"
    )
    heart = spline(
        points(
            f"{front * 0.9} {low - 26}  {front * 0.95} {low - 80}  {front * 0.5} {low - 138}"
            f"  0 {low - 120}  22 {low - 70}  6 {low - 30}"
        )
    )
    parts = [
        Part(spline(lung), MU_LUNG, 230, 45),
        Part(heart, -MU_LUNG, 105, 40),
        Part(
            spline(points(f"-6 {top + 100}  14 {top + 90}  30 {top + 130}  14 {top + 170}  -10 {top + 150}")),
            -MU_LUNG,
            40,
            16,
        ),
        Part(band(points(f"4 {top - 60}  2 {top + 40}  8 {top + 120}"), np.array([17, 16, 15])), MU_GAS, 15, 7),
        Part(
            spline(
                points(
                    f"{front} {low + 4}  {front * 0.4} {low - 14}  20 {low - 6}  80 {low + 62}"
                    f"  80 {low + 90}  {front} {low + 90}"
                )
            ),
            -MU_LUNG,
            60,
            14,
        ),
    ]
    sternum = band(
        np.array([[front + 20, top + 70], [front + 2, top + 110], [front - 6, top + 160], [front - 4, top + 220]]),
        np.array([12, 10, 10, 7.0]),
    )
    ribs: list[Part] = []
    for k in range(9):
        y = top + 30 + 26 * k
        for shift in (0.0, rng.uniform(5, 12)):
            arc = points(
                f"{80 + 0.6 * k} {y + shift}  {60} {y - 6 + shift}  {10} {y + 16 + 3 * k + shift}"
                f"  {front * 0.6} {y + 52 + 5 * k + shift}  {front * 0.86} {y + 70 + 5 * k + shift}"
            )
            ribs.append(Part(band(arc, np.array([7, 9, 10, 10, 9.0])), MU_BONE, 8, 4.5, 1.2, 1.2, 0.2))
    arm = limb(points(f"20 {top + 20}  -40 {top - 60}  -120 {top - 140}"), np.array([90, 84, 76.0]), 0.9)
    blade = Part(
        spline(points(f"96 {top + 40}  108 {top + 100}  112 {top + 170}  102 {top + 150}  90 {top + 80}")),
        MU_BONE,
        6,
        5,
        1.4,
        1.4,
        0.2,
    )
    body = [
        *_trunk_side_skin(habit),
        *arm,
        *parts,
        Part(spline(sternum), MU_BONE, 34, 5, 1.0, 1.0, 0.14),
        *ribs,
        blade,
        *column,
    ]
    return Body(tuple(body), (4, (top + low) / 2 + 8), (270, 370), {"heart": (front * 0.4, low - 70)})
