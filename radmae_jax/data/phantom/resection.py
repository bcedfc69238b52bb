"""A body turns into the same body without the bone that a surgeon saws off to fit a prosthesis."""

from dataclasses import replace

import numpy as np

from radmae_jax.data.phantom.implants import femur_swing
from radmae_jax.data.phantom.solids import MU_BONE, Body, Cut, Part, Points


def _sawn(part: Part, point: Points, normal: Points) -> Part:
    straight = Cut((float(point[0]), float(point[1])), (float(normal[0]), float(normal[1])), np.zeros((1, 2)))
    return replace(part, cut=straight)


def hip_resected(body: Body) -> Body:
    """Without the head and neck of the femur at x > 0: sawn from the neck's saddle to above the lesser trochanter."""
    swing = femur_swing(body)
    c, s = np.cos(swing), np.sin(swing)
    matrix, head = np.array([[c, -s], [s, c]]), np.array(body.landmarks["hip"])
    point, normal = head + matrix @ [27.0, 8.0], matrix @ [0.94, 0.34]
    parts: list[Part] = []
    for part in body.parts:
        near = (part.outline.mean(0) - head) @ matrix
        # The nameless lines about the joint are the femur's trabeculae and the socket that is reamed away.
        drawn_on = part.mu == MU_BONE and not part.name and near[0] > -5 and abs(near[0]) < 70 and abs(near[1]) < 60
        shaft = part.name == "femur" and part.outline[:, 0].mean() > 0
        parts.append(_sawn(part, point, normal) if shaft or drawn_on else part)
    return replace(body, parts=tuple(parts))


def knee_resected(body: Body) -> Body:
    """Without the ends of femur and tibia, sawn flat, and their cortical lines."""
    x, y = body.landmarks["joint"]
    parts: list[Part] = []
    for part in body.parts:
        if part.name == "femur":
            part = _sawn(part, np.array([x, y - 16.0]), np.array([0.0, -1.0]))
        elif part.name == "tibia":
            part = _sawn(part, np.array([x, y + 9.0]), np.array([0.0, 1.0]))
        elif part.mu == MU_BONE and not part.name and np.linalg.norm(part.outline.mean(0) - [x, y]) < 45:
            continue
        parts.append(part)
    return replace(body, parts=tuple(parts))
