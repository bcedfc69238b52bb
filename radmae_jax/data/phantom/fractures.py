"""A body turns into the same body with one broken bone: a jagged cut, a gap, a step and some angulation."""

from dataclasses import dataclass, replace

import numpy as np

from radmae_jax.data.phantom.solids import MU_BONE, Body, Cut, Part, Points, line, turned


@dataclass(frozen=True)
class Fracture:
    """A broken body, the parts that were replaced and those that replaced them, and the break's line (n, 2) in mm."""

    body: Body
    before: tuple[Part, ...]
    after: tuple[Part, ...]
    trace: Points


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


def _teeth(reach: float, rng: np.random.Generator) -> Points:
    """Knots of a break's rag over +-reach mm: long slants, small splinters and steps at uneven places."""
    places = np.cumsum(rng.gamma(1.1, 2.4, 400) + 0.3)
    places = places[places < 2 * reach] - reach
    slow = rng.normal(0, 1.4) * np.sin(places / rng.uniform(5, 14) + rng.uniform(0, 6.3))
    rag = slow + rng.uniform(0.3, 1.1) * rng.standard_t(3, len(places)).clip(-3, 3)
    return np.column_stack([places, rag])


def break_bone(body: Body, rng: np.random.Generator) -> Fracture | None:
    """One named bone of the body broken inside the aimed box, or None where it shows no bone that can break."""
    candidates = [
        k
        for k, p in enumerate(body.parts)
        if p.name
        and p.cut is None
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
        crack = replace(line(start + steps, 1.8, 8), mu=-MU_BONE)
        return Fracture(replace(body, parts=(*body.parts, crack)), (), (crack,), start + steps)
    if part.name.startswith("vertebra"):
        crushed = _crush(part, rng)
        parts = (*body.parts[:chosen], *crushed, *body.parts[chosen + 1 :])
        return Fracture(replace(body, parts=parts), (part,), crushed, crushed[0].outline)
    tilt = rng.normal(0, 0.5)
    c, s = np.cos(tilt), np.sin(tilt)
    normal = np.array([c * main[0] - s * main[1], s * main[0] + c * main[1]])
    width = 2 * float(np.median(np.abs((part.outline - point) @ np.array([-main[1], main[0]]))))
    cut = Cut((float(point[0]), float(point[1])), (float(normal[0]), float(normal[1])), _teeth(width + 20, rng))
    keep, free = replace(part, cut=replace(cut, side=-1.0)), replace(part, cut=cut)
    severe = rng.uniform() < 0.6
    gap = rng.uniform(1.0, 2.5)
    step = rng.uniform(0.08, 0.45) * width * rng.choice([-1, 1]) if severe else rng.uniform(0.0, 0.06) * width
    shift = gap * normal + step * np.array([-normal[1], normal[0]])
    lean = float(rng.normal(0, 0.12 if severe else 0.02))
    pieces = (keep, *turned([free], lean, cut.point, (float(shift[0]), float(shift[1]))))
    trace = point + np.linspace(-0.5, 0.5, 13)[:, None] * width * np.array([-normal[1], normal[0]])
    parts = (*body.parts[:chosen], *pieces, *body.parts[chosen + 1 :])
    return Fracture(replace(body, parts=parts), (part,), pieces, trace)


def _reaches(part: Part, body: Body) -> bool:
    """Whether any of the outline lies well inside the aimed box."""
    offset = np.abs(part.outline - np.array(body.centre)) / (np.array(body.size) / 2)
    return bool(np.mean(np.all(offset < 0.75, axis=1)) > 0.1)


def _crush(part: Part, rng: np.random.Generator) -> tuple[Part, Part]:
    """A wedge fracture: the vertebra's upper plate sinks, more at the front, over a dense line."""
    low, high = part.outline.min(0), part.outline.max(0)
    share = (part.outline - low) / (high - low)
    loss = rng.uniform(0.25, 0.5)
    sink = (high[1] - low[1]) * loss * (1 - share[:, 1]) * (0.45 + 0.55 * (1 - share[:, 0]))
    sunk = replace(part, outline=part.outline + np.column_stack([np.zeros_like(sink), sink]))
    left, right = sunk.outline[np.argmin(share.sum(1))], sunk.outline[np.argmin(share[:, 1] - share[:, 0])]
    dense = line(np.stack([left, right]) + np.array([0, 2.0]), 4.0, 11)
    return sunk, dense
