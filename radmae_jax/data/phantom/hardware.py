"""A region and its body turn into foreign material: a fitting implant, or a foreign body in the picture."""

import numpy as np

from radmae_jax.data.phantom.implants import (
    fillings,
    hip_prosthesis,
    knee_prosthesis,
    nail,
    pacemaker,
    plate,
    plate_on_vault,
    spinal_rods,
    sternal_wires,
    wires,
)
from radmae_jax.data.phantom.resection import hip_resected, knee_resected
from radmae_jax.data.phantom.solids import MU_STEEL, MU_TITANIUM, Body, Part, ellipse, line


def shrapnel(body: Body, rng: np.random.Generator) -> list[Part]:
    """A bullet or metal splinters."""
    parts: list[Part] = []
    middle = np.array(body.centre) + rng.normal(0, 0.16, 2) * body.size
    for _ in range(rng.integers(1, 9)):
        at = middle + rng.normal(0, 0.08 * min(body.size), 2)
        r = rng.uniform(1.2, 5.0)
        corners = ellipse(float(at[0]), float(at[1]), r, r * rng.uniform(0.4, 1), rng.uniform(0, 3), 7)
        parts.append(Part(corners + rng.normal(0, 0.2 * r, corners.shape), MU_STEEL, 3))
    return parts


def worn_things(body: Body, rng: np.random.Generator) -> list[Part]:
    """Things worn or attached: electrode leads, a chain, buttons, a zip, a coin, a needle."""
    w, h = body.size
    cx, cy = body.centre
    kind = rng.integers(5)
    if kind == 0:
        path = np.array([cx, cy]) + np.cumsum(rng.normal(0, 0.16, (6, 2)) * [w, h], axis=0)
        disc = ellipse(float(path[0, 0]), float(path[0, 1]), 6, 6)
        return [
            line(path, 2.0, 1.2, MU_STEEL),
            Part(disc, MU_TITANIUM, 3),
            Part(ellipse(float(path[0, 0]), float(path[0, 1]), 2.5, 2.5), MU_STEEL, 2),
        ]
    if kind == 1:
        t = np.linspace(-1, 1, 46)
        beads = np.column_stack([cx + 0.32 * w * t, cy - 0.2 * h + 0.3 * h * (1 - t**2)])
        return [Part(ellipse(float(x), float(y), 1.5, 1.5, 0, 8), MU_STEEL, 1.5) for x, y in beads]
    if kind == 2:
        x = cx + rng.normal(0, 0.12 * w)
        return [
            Part(
                ellipse(x, cy + (k - 1.5) * 0.2 * h, 6.5, 6.5),
                MU_TITANIUM,
                2.5,
                holes=(ellipse(x, cy + (k - 1.5) * 0.2 * h, 1.6, 1.6),),
            )
            for k in range(4)
        ]
    if kind == 3:
        at = np.array([cx, cy]) + rng.normal(0, 0.15, 2) * [w, h]
        return [
            Part(ellipse(float(at[0]), float(at[1]), 11.5, 11.5 * rng.uniform(0.3, 1), rng.uniform(0, 3)), MU_STEEL, 2)
        ]
    at = np.array([cx, cy]) + rng.normal(0, 0.12, 2) * [w, h]
    angle = rng.uniform(0, 3.1)
    d = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(12, 24)
    return [line(np.stack([at - d, at + d]), np.array([1.6, 0.7]), 1.2, MU_STEEL)]


def foreign_parts(region: str, body: Body, rng: np.random.Generator) -> tuple[Body, list[Part]]:
    """Implants or foreign bodies that suit the region, at least one part, and the body less the bone they replace."""
    loose = [shrapnel, worn_things]
    if region in ("elbow", "hand", "knee", "lower_leg", "ankle", "foot"):
        kinds = [plate, plate, nail, wires, *loose]
        if region == "knee":
            kinds += [knee_prosthesis, knee_prosthesis]
    elif region in ("hip", "pelvis"):
        kinds = [hip_prosthesis, hip_prosthesis, hip_prosthesis, nail, plate, *loose]
    elif region == "skull":
        kinds = [fillings, fillings, plate_on_vault, *loose]
    elif region in ("cervical_spine", "lumbar_spine"):
        kinds = [spinal_rods, spinal_rods, *loose]
    elif region == "shoulder":
        kinds = [plate, nail, wires, pacemaker, *loose]
    else:
        kinds = [sternal_wires, pacemaker, *loose] if "top" in body.landmarks else [spinal_rods, *loose]
    kind = kinds[rng.integers(len(kinds))]
    made = kind(body, rng)
    if kind is hip_prosthesis:
        return hip_resected(body), made
    if kind is knee_prosthesis:
        return knee_resected(body), made
    return body, made if made else shrapnel(body, rng)
