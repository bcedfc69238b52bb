"""Chest, abdomen, lumbar spine, pelvis, hip and shoulder from the front: one trunk, framed as each is radiographed."""

from dataclasses import replace

import numpy as np

from radmae_jax.data.phantom.bones_arm import limb
from radmae_jax.data.phantom.bones_skull import skull_ap
from radmae_jax.data.phantom.bones_spine import cervical_ap, rib_cage_ap, sacrum_ap, shifted, spine_ap
from radmae_jax.data.phantom.bones_trunk import clavicle, femur_top, half_pelvis, humerus_top, scapula
from radmae_jax.data.phantom.organs import airway_ap, bowel, lungs_ap, mirrored, stomach, trunk_skin, viscera
from radmae_jax.data.phantom.solids import (
    MU_BONE,
    MU_SOFT,
    Body,
    Habit,
    Part,
    ellipse,
    flesh,
    points,
    skin,
    spline,
    turned,
)

SACRAL_TOP = -125.0
CHEST_HALF = 134.0


def _girdle(rng: np.random.Generator, top: float, w: float, swing: float) -> list[Part]:
    """Shoulder girdle and upper arm of the side x > 0; swing is the arm's abduction in radians."""
    head = np.array([w + 36.0, top + 42.0])
    blade = shifted(turned(scapula(rng), -0.25 * swing + rng.normal(0, 0.06), (0, 0)), head[0], head[1])
    arm = shifted(humerus_top(rng, swing, 290), head[0], head[1])
    collar = clavicle(rng, np.array([17.0, top + 26.0]), head + np.array([-4.0, -38.0 - 8 * swing]))
    along = np.array([np.sin(swing), np.cos(swing)])
    cap = ellipse(float(head[0]) - 2, float(head[1]) - 4, 56, 58)
    deltoid = [skin(cap, 110, 54), flesh(head + 0.88 * (cap - head), 90, 48)]
    arm_flesh = limb(
        np.stack([head - 34 * along, head, head + 60 * along, head + 300 * along]), np.array([60, 92, 96, 84.0])
    )
    return [*deltoid, *arm_flesh, *blade, *collar, *arm]


def _thorax(rng: np.random.Generator, habit: Habit, low: int, air: bool) -> tuple[list[Part], float, float, float]:
    """Spine from number low up, ribs, lungs and heart; also y of T1, y of the diaphragm's dome, half width."""
    w = CHEST_HALF * habit.breadth
    spine, centres = spine_ap(rng, SACRAL_TOP, low, 17)
    top, last = centres[17], centres[6]
    dome = centres[8] + rng.normal(0, 14)
    ribs = rib_cage_ap(rng, top, last, w, 1 if air else 6)
    parts = [*spine, *ribs, *mirrored(ribs)]
    if air:
        # Chests are taken at 120 kV and the heart lies before the spine: its bone shows half as much.
        parts[: len(spine)] = [replace(p, mu=0.45 * p.mu) for p in spine]
        manubrium = spline(points(f"-26 {top + 30}  0 {top + 36}  26 {top + 30}  18 {top + 76}  -18 {top + 76}"))
        parts.append(Part(manubrium, MU_BONE, 6, 6, 0.8, 0.8, 0.2))
        parts += lungs_ap(rng, top, dome, 0.97 * w, rng.uniform(0.85, 1.25))
        parts += airway_ap(rng, top - 90, top + 78)
    else:
        parts += lungs_ap(rng, top, dome, 0.97 * w, 1.0)[:2]
    return parts, top, dome, w


def _pelvic_ring(rng: np.random.Generator, swings: tuple[float, float]) -> list[Part]:
    right = femur_top(rng, swings[0], 300)
    left = femur_top(rng, swings[1], 300)
    halves = half_pelvis(rng)
    femurs = [*shifted(right, 90, 0), *mirrored(shifted(left, 90, 0))]
    return [*sacrum_ap(rng), *femurs, *halves, *mirrored(half_pelvis(rng))]


def chest(rng: np.random.Generator, view: str, habit: Habit) -> Body:
    """Chest PA: ribs, lungs with vessels, heart, domes, shoulder girdle."""
    parts, top, dome, w = _thorax(rng, habit, 3, True)
    swing = rng.uniform(0.25, 1.0)
    girdle = [*_girdle(rng, top, w, swing), *mirrored(_girdle(rng, top, w, swing + rng.normal(0, 0.1)))]
    neck = cervical_ap(rng, top - 14)
    body = [*trunk_skin(habit, top, w), *parts, *girdle, *neck, *stomach(rng, dome, w), *viscera(rng, dome, -150, w)]
    return Body(
        tuple(body),
        (0, (top + dome) / 2 + 18),
        (2.5 * w, dome - top + 115),
        {"heart": (50.0, dome - 60), "top": (0.0, top)},
    )


def abdomen(rng: np.random.Generator, view: str, habit: Habit) -> Body:
    """Abdomen AP: bowel gas, psoas, lumbar spine, lower ribs, pelvis."""
    parts, top, dome, w = _thorax(rng, habit, 1, False)
    gas = bowel(rng, dome + 70, -110, 0.92 * w, rng.uniform(0.35, 1.0))
    ring = _pelvic_ring(rng, (0.1, 0.1))
    body = [*trunk_skin(habit, top, w), *viscera(rng, dome, -150, w), *parts, *ring, *stomach(rng, dome, w), *gas]
    return Body(tuple(body), (0, -170), (2.5 * w, 400), {"spine": (0.0, -200.0)})


def lumbar_ap(rng: np.random.Generator, habit: Habit) -> Body:
    """Lumbar spine AP, coned to the column."""
    parts, top, dome, w = _thorax(rng, habit, 1, False)
    gas = bowel(rng, dome + 70, -110, 0.92 * w, rng.uniform(0.0, 0.4))
    body = [*trunk_skin(habit, top, w), *viscera(rng, dome, -150, w), *parts, *_pelvic_ring(rng, (0.1, 0.1)), *gas]
    return Body(tuple(body), (0, -210), (170, 260), {"spine": (0.0, -205.0)})


def pelvis(rng: np.random.Generator, view: str, habit: Habit) -> Body:
    """Pelvis AP with both hips."""
    spine, _ = spine_ap(rng, SACRAL_TOP, 1, 5)
    w = CHEST_HALF * habit.breadth
    ring = _pelvic_ring(rng, (rng.normal(0.05, 0.08), rng.normal(0.05, 0.08)))
    gas = bowel(rng, -320, -100, 0.9 * w, rng.uniform(0.1, 0.8))
    body = [*trunk_skin(habit, -590, w), *spine, *ring, *gas]
    return Body(tuple(body), (0, -22), (350, 290), {"hip": (90.0, 0.0)})


def hip(rng: np.random.Generator, view: str, habit: Habit) -> Body:
    """One hip, AP or frog leg (OBL): head, neck, trochanters, half the pelvis."""
    spine, _ = spine_ap(rng, SACRAL_TOP, 1, 3)
    swing = rng.normal(0.04, 0.08) if view == "AP" else rng.uniform(0.55, 0.95)
    ring = _pelvic_ring(rng, (swing, rng.normal(0.05, 0.1)))
    w = CHEST_HALF * habit.breadth
    body = [*trunk_skin(habit, -590, w), *spine, *ring, *bowel(rng, -320, -100, 0.9 * w, rng.uniform(0.0, 0.5))]
    return Body(tuple(body), (104, 28), (170, 230), {"hip": (90.0, 0.0)})


def shoulder(rng: np.random.Generator, view: str, habit: Habit) -> Body:
    """One shoulder, AP or arm abducted (OBL)."""
    parts, top, _, w = _thorax(rng, habit, 8, True)
    swing = rng.uniform(0.0, 0.35) if view == "AP" else rng.uniform(0.9, 1.45)
    girdle = [*_girdle(rng, top, w, swing), *mirrored(_girdle(rng, top, w, 0.2))]
    body = [*trunk_skin(habit, top, w), *parts, *girdle, *cervical_ap(rng, top - 14)]
    return Body(tuple(body), (w + 10, top + 58), (190, 190), {"shoulder": (w + 36, top + 42), "top": (0.0, top)})


def cervical_spine_ap(rng: np.random.Generator, habit: Habit) -> Body:
    """Cervical spine AP between the jaw and the lung tips."""
    parts, top, _, w = _thorax(rng, habit, 12, True)
    girdle = _girdle(rng, top, w, 0.15)
    column = cervical_ap(rng, top - 14)
    skull = shifted(skull_ap(rng, rng.uniform(0, 6)), 0, top - 14 - 5 * 17 - 110)
    head_skin = skin(ellipse(0, top - 245, 88, 132), 140, 70)
    cords = Part(spline(points(f"0 {top - 70}  4 {top - 50}  0 {top - 30}  -4 {top - 50}")), -MU_SOFT, 10)
    body = [*trunk_skin(habit, top, w), head_skin, *parts, *girdle, *mirrored(girdle), *column, *skull, cords]
    return Body(tuple(body), (0, top - 52), (125, 175), {"spine": (0.0, top - 50)})
