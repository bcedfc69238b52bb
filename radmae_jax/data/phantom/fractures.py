"""A body turns into the same body with one broken bone: a jagged cut, a gap, a step and some angulation."""

from dataclasses import replace

import numpy as np

from radmae_jax.data.phantom.solids import MU_BONE, Body, Cut, Part, line, turned


def _inside(part: Part, body: Body, reach: float) -> bool:
    """Whether the bone's middle lies in the middle share reach of the box that the radiograph aims at."""
    offset = np.abs(part.outline.mean(0) - np.array(body.centre)) / (np.array(body.size) / 2)
    return bool(np.all(offset < reach))


def _site(part: Part, body: Body, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A point on the bone inside the aimed box, and the direction of the bone there."""
    centred = part.outline - part.outline.mean(0)
    main = np.linalg.svd(centred, full_matrices=False)[2][0] if part.axis is None else part.axis[1] - part.axis[0]
    main = main / np.linalg.norm(main)
    # Shafts reach far outside the picture: only stations within the box count.
    along = (part.outline - part.outline.mean(0)) @ main
    half = 0.4 * np.array(body.size)
    stations = np.linspace(np.quantile(along, 0.12), np.quantile(along, 0.88), 24)
    seen = []
    for s in stations:
        near = part.outline[np.argsort(np.abs(along - s))[:4]].mean(0)
        if np.all(np.abs(near - np.array(body.centre)) < half):
            near_along = float((near - part.outline.mean(0)) @ main)
            across = part.outline - part.outline.mean(0) - along[:, None] * main
            close = np.abs(along - near_along) < 0.12 * np.ptp(along) + 4
            seen.append(part.outline.mean(0) + near_along * main + across[close].mean(0))
    point = seen[rng.integers(len(seen))] if seen else part.outline.mean(0)
    return np.asarray(point), np.asarray(main)


def break_bone(body: Body, rng: np.random.Generator) -> Body | None:
    """One named bone of the body broken inside the aimed box, or None where it shows no bone that can break."""
    candidates = [
        k
        for k, p in enumerate(body.parts)
        if p.name
        and np.ptp(p.outline, axis=0).max() > 0.1 * min(body.size)
        and (p.axis is not None or _inside(p, body, 0.75))
    ]
    candidates = [k for k in candidates if body.parts[k].axis is None or _reaches(body.parts[k], body)]
    if not candidates:
        return None
    sizes = np.array([min(np.ptp(body.parts[k].outline, axis=0).max(), 120.0) for k in candidates])
    chosen = candidates[int(rng.choice(len(candidates), p=sizes / sizes.sum()))]
    part = body.parts[chosen]
    point, main = _site(part, body, rng)
    if part.name == "vault":
        start = point * 0.6
        steps = np.cumsum(rng.normal(0, 1, (7, 2)) * 3 + rng.normal(0, 1, 2) * 9, axis=0)
        crack = replace(line(start + steps, 1.4, 5), mu=-MU_BONE)
        return replace(body, parts=(*body.parts, crack))
    if part.name.startswith("vertebra"):
        return replace(body, parts=_crush(body.parts, chosen, rng))
    tilt = rng.normal(0, 0.5)
    c, s = np.cos(tilt), np.sin(tilt)
    normal = np.array([c * main[0] - s * main[1], s * main[0] + c * main[1]])
    width = 2 * float(np.median(np.abs((part.outline - point) @ np.array([-main[1], main[0]]))))
    jag, phase = float(rng.uniform(0.4, 1.6)), float(rng.uniform(0, 6.3))
    at = (float(point[0]), float(point[1]))
    keep = replace(part, cut=Cut(at, (-float(normal[0]), -float(normal[1])), -jag, phase))
    free = replace(part, cut=Cut(at, (float(normal[0]), float(normal[1])), jag, phase))
    severe = rng.uniform() < 0.6
    gap = rng.uniform(1.0, 2.5)
    step = rng.uniform(0.08, 0.45) * width * rng.choice([-1, 1]) if severe else rng.uniform(0.0, 0.06) * width
    shift = gap * normal + step * np.array([-normal[1], normal[0]])
    piece = turned([free], float(rng.normal(0, 0.12 if severe else 0.02)), at, (float(shift[0]), float(shift[1])))
    parts = (*body.parts[:chosen], keep, *piece, *body.parts[chosen + 1 :])
    return replace(body, parts=parts)


def _reaches(part: Part, body: Body) -> bool:
    """Whether any of the outline lies well inside the aimed box."""
    offset = np.abs(part.outline - np.array(body.centre)) / (np.array(body.size) / 2)
    return bool(np.mean(np.all(offset < 0.75, axis=1)) > 0.1)


def _crush(parts: tuple[Part, ...], chosen: int, rng: np.random.Generator) -> tuple[Part, ...]:
    """A wedge fracture: the vertebra's upper plate sinks, more at the front, over a dense line."""
    part = parts[chosen]
    low, high = part.outline.min(0), part.outline.max(0)
    share = (part.outline - low) / (high - low)
    loss = rng.uniform(0.25, 0.5)
    sink = (high[1] - low[1]) * loss * (1 - share[:, 1]) * (0.45 + 0.55 * (1 - share[:, 0]))
    sunk = replace(part, outline=part.outline + np.column_stack([np.zeros_like(sink), sink]))
    left, right = sunk.outline[np.argmin(share.sum(1))], sunk.outline[np.argmin(share[:, 1] - share[:, 0])]
    dense = line(np.stack([left, right]) + np.array([0, 2.0]), 2.4, 12)
    return (*parts[:chosen], sunk, dense, *parts[chosen + 1 :])
