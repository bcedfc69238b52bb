"""A body in millimetres turns into the implants that fit its bones."""

import numpy as np

from radmae_jax.data.phantom.solids import (
    MU_STEEL,
    MU_TITANIUM,
    Body,
    Part,
    Points,
    band,
    ellipse,
    line,
    points,
    spline,
    turned,
)


def _screw(at: Points, direction: Points, length: float, width: float) -> list[Part]:
    """Threaded shank with a head, from at along direction."""
    side = np.array([-direction[1], direction[0]])
    n = max(int(length / 1.2), 4)
    along = np.linspace(0, length, n)
    half = width * (0.5 - 0.16 * (np.arange(n) % 2))
    half[-1] = 0.1
    path = at + along[:, None] * direction
    outline = np.concatenate([path + half[:, None] * side, (path - half[:, None] * side)[::-1]])
    head = ellipse(float(at[0]), float(at[1]), width * 0.95, width * 0.95)
    return [Part(outline, MU_TITANIUM, 0.8 * width), Part(head, MU_TITANIUM, 2.5)]


def _shaft_span(part: Part, body: Body) -> tuple[Points, Points, float] | None:
    """Start and end of the stretch of a long bone that the picture shows, and its half width there."""
    if part.axis is None:
        return None
    main = (part.axis[1] - part.axis[0]) / np.linalg.norm(part.axis[1] - part.axis[0])
    offset = np.abs(part.outline - np.array(body.centre)) / (np.array(body.size) / 2)
    shown = part.outline[np.all(offset < 1.05, axis=1)]
    if len(shown) < 6:
        return None
    along = (shown - part.axis[0]) @ main
    across = (shown - part.axis[0]) @ np.array([-main[1], main[0]])
    low, high = np.quantile(along, [0.02, 0.98])
    if high - low < 0.3 * min(body.size):
        return None
    middle, half = float(np.median(across)), float(np.quantile(np.abs(across - np.median(across)), 0.35))
    base = part.axis[0] + middle * np.array([-main[1], main[0]])
    return base + low * main, base + high * main, half


def _shafts(body: Body) -> list[tuple[Points, Points, float]]:
    spans = [_shaft_span(p, body) for p in body.parts if p.name and p.axis is not None]
    return [s for s in spans if s is not None]


def plate(body: Body, rng: np.random.Generator) -> list[Part]:
    """Plate along a shaft with a row of screws."""
    spans = _shafts(body)
    if not spans:
        return []
    start, end, half = spans[rng.integers(len(spans))]
    main = (end - start) / np.linalg.norm(end - start)
    side = np.array([-main[1], main[0]]) * rng.choice([-1, 1])
    length = float(np.linalg.norm(end - start))
    width = float(np.clip(0.5 * half, 2.2, 6.0))
    on_face = rng.uniform() < 0.4
    offset = 0.0 if on_face else half + 0.5 * width
    a = start + main * length * rng.uniform(0.05, 0.25) + side * offset
    b = start + main * length * rng.uniform(0.7, 0.95) + side * offset
    step = float(np.clip(2.6 * width, 7, 16))
    count = max(int(np.linalg.norm(b - a) / step), 3)
    spots = a + (np.arange(count)[:, None] + 0.5) / count * (b - a)
    holes = tuple(ellipse(float(p[0]), float(p[1]), 0.32 * width, 0.32 * width, 0, 12) for p in spots)
    bar = band(np.stack([a, b]), np.array([width, width]) * (1.25 if on_face else 0.75))
    parts = [Part(bar, MU_TITANIUM, 3.2, holes=holes if on_face else ())]
    for p in spots:
        if rng.uniform() < 0.8:
            if on_face:
                parts.append(Part(ellipse(float(p[0]), float(p[1]), 0.36 * width, 0.36 * width), MU_TITANIUM, 2 * half))
            else:
                parts += _screw(p, -side, 2 * half + width + 1, max(0.55 * width, 2.0))
    return parts


def nail(body: Body, rng: np.random.Generator) -> list[Part]:
    """Intramedullary nail with locking screws."""
    spans = _shafts(body)
    if not spans:
        return []
    start, end, half = spans[rng.integers(len(spans))]
    main = (end - start) / np.linalg.norm(end - start)
    side = np.array([-main[1], main[0]])
    length = float(np.linalg.norm(end - start))
    a, b = start + 0.06 * length * main, start + 0.97 * length * main
    width = float(np.clip(1.1 * half, 2.5, 11))
    parts = [Part(band(np.stack([a, b]), np.array([width, width])), MU_TITANIUM, 0.8 * width, width / 2)]
    for share in (0.12, 0.17, 0.85, 0.91):
        p = a + share * (b - a) - side * 1.7 * half
        parts += _screw(p, side, 3.4 * half, max(0.4 * width, 2.0))
    return parts


def wires(body: Body, rng: np.random.Generator) -> list[Part]:
    """Smooth pins across the aimed point and at times a wire loop."""
    parts: list[Part] = []
    reach = 0.32 * min(body.size)
    for _ in range(rng.integers(2, 4)):
        angle = rng.normal(np.pi / 2, 0.5)
        middle = np.array(body.centre) + rng.normal(0, 0.1 * reach, 2)
        d = np.array([np.cos(angle), np.sin(angle)])
        parts.append(line(np.stack([middle - reach * d, middle + 0.6 * reach * d]), 1.8, 1.5, MU_STEEL))
    if rng.uniform() < 0.5:
        loop = ellipse(body.centre[0], body.centre[1], 0.5 * reach, 0.16 * reach, rng.normal(0, 0.3))
        parts.append(line(np.concatenate([loop, loop[:1]]), 1.0, 1.0, MU_STEEL))
    return parts


def hip_prosthesis(body: Body, rng: np.random.Generator) -> list[Part]:
    """Cup, ball, neck and stem at the hip (built for the side x > 0)."""
    x, y = body.landmarks["hip"]
    cup = band(ellipse(x, y - 1, 26, 26, 0, 40)[20:40], 5.0)
    stem = spline(points("28 -12  38 -8  50 8  54 30  51 70  47 120  44 148  40 148  37 118  33 70  30 36  22 10"))
    neck = band(points("4 -1  34 2"), np.array([13, 15.0]))
    swing = femur_swing(body)
    shaft = turned([Part(stem, MU_TITANIUM, 13, 5), Part(neck, MU_TITANIUM, 12, 5)], swing, (0, 0), (x, y))
    ball = Part(ellipse(x, y, 15, 15), MU_TITANIUM, 28, 15)
    parts = [Part(cup, MU_TITANIUM, 9), ball, *shaft]
    if rng.uniform() < 0.5:
        parts += _screw(np.array([x + 3, y - 24.0]), np.array([0.25, -0.97]), 28, 4.5)
    return parts


def femur_swing(body: Body) -> float:
    """The angle that the femur at x > 0 is turned by."""
    for part in body.parts:
        if part.name == "femur" and part.axis is not None and part.axis[:, 0].mean() > 0:
            d = part.axis[1] - part.axis[0]
            return -float(np.arctan2(d[0], d[1]))
    return 0.0


def knee_prosthesis(body: Body, rng: np.random.Generator) -> list[Part]:
    """Femoral shield and tibial tray with keel, as seen from the front or much the same from the side."""
    x, y = body.landmarks["joint"]
    shield = spline(
        points("-38 -30  -40 -10  -32 0  -18 2  -7 -4  0 -14  7 -4  18 2  32 0  40 -10  38 -30  24 -20  0 -26  -24 -20")
    )
    tray = points("-38 6  38 6  38 11  9 12  6 40  -6 40  -9 12  -38 11")
    shield, tray = shield * [1.08, 1.0], tray * [1.08, 1.0]
    return [Part(shield + np.array([x, y - 4]), MU_TITANIUM, 12, 4), Part(tray + np.array([x, y + 4]), MU_TITANIUM, 16)]


def pacemaker(body: Body, rng: np.random.Generator) -> list[Part]:
    """Generator can under the collar bone with leads into the heart."""
    _, top = body.landmarks["top"]
    hx, hy = body.landmarks.get("heart", (45.0, top + 210))
    side = rng.choice([-1, 1])
    x, y = side * rng.uniform(82, 98), top + rng.uniform(58, 84)
    can = spline(points("-22 -14  -16 -24  6 -26  22 -18  24 4  14 20  -8 22  -22 10") + np.array([x, y]))
    inner = spline(points("-14 2  12 0  12 12  -6 16  -14 10") + np.array([x, y]))
    parts = [Part(can, MU_TITANIUM, 4.5, 2), Part(inner, MU_TITANIUM, 5)]
    for target in ((hx, hy + 30), (hx - 62, hy - 10))[: rng.integers(1, 3)]:
        lead = points(
            f"{x - 10 * side} {y - 24}  {x - 40 * side} {y - 40}  {22 * side} {top + 52}"
            f"  -22 {top + 110}  -34 {hy - 40}  {(target[0] - 30) / 2} {hy + 14}"
            f"  {target[0]} {target[1]}"
        )
        parts.append(line(lead, 2.2, 1.6, MU_STEEL))
    return parts


def sternal_wires(body: Body, rng: np.random.Generator) -> list[Part]:
    """Twisted loops down the midline after heart surgery."""
    _, top = body.landmarks["top"]
    parts: list[Part] = []
    for k in range(rng.integers(4, 7)):
        y = top + 62 + 24 * k + rng.normal(0, 2)
        loop = ellipse(rng.normal(0, 2), y, 7.5, 4.5, rng.normal(0, 0.25), 24)
        parts.append(line(np.concatenate([loop, loop[:1]]), 1.1, 1.2, MU_STEEL))
        parts.append(line(np.array([[0, y + 4], [rng.normal(0, 3), y + 11]]), 1.4, 1.4, MU_STEEL))
    return parts


def spinal_rods(body: Body, rng: np.random.Generator) -> list[Part]:
    """Pedicle screws joined by rods along the vertebrae nearest the aimed point."""
    bodies = [p for p in body.parts if p.name.startswith("vertebra")]
    bodies = sorted(bodies, key=lambda p: float(np.linalg.norm(p.outline.mean(0) - np.array(body.centre))))[
        : rng.integers(2, 5)
    ]
    if len(bodies) < 2:
        return []
    spots = np.array(sorted((p.outline.mean(0).tolist() for p in bodies), key=lambda c: c[1]))
    width = float(np.ptp(bodies[0].outline[:, 0]))
    parts: list[Part] = []
    for side in (-1, 1):
        at = spots + np.array([side * 0.34 * width, 0])
        ends = np.concatenate([at[:1] - np.array([0, 8]), at, at[-1:] + np.array([0, 8])])
        parts.append(Part(band(ends, 0.13 * width), MU_TITANIUM, 5.5, 0.07 * width))
        for p in at:
            parts += _screw(p, np.array([-0.55 * side, 0.12]), 0.5 * width, 0.14 * width)
            parts.append(Part(ellipse(float(p[0]), float(p[1]), 0.13 * width, 0.15 * width), MU_TITANIUM, 9))
    return parts


def fillings(body: Body, rng: np.random.Generator) -> list[Part]:
    """Dental metal: dense blobs along the bite."""
    x, y = body.landmarks["teeth"]
    blobs: list[Part] = []
    for _ in range(rng.integers(3, 8)):
        blob = ellipse(
            x + rng.uniform(-22, 26), y + rng.normal(0, 5), rng.uniform(2.5, 5), rng.uniform(2, 4), rng.uniform(0, 3), 9
        )
        blobs.append(Part(spline(blob + rng.normal(0, 0.5, blob.shape)), MU_STEEL, 5))
    return blobs


def plate_on_vault(body: Body, rng: np.random.Generator) -> list[Part]:
    """Small craniotomy plates in a ring."""
    x, y = body.landmarks["vault"]
    parts: list[Part] = []
    for k in range(rng.integers(2, 5)):
        angle = 6.3 * k / 4 + rng.normal(0, 0.2)
        at = np.array([x + 30 * np.cos(angle), y + 26 * np.sin(angle)])
        d = np.array([np.cos(angle), np.sin(angle)]) * 7
        parts.append(line(np.stack([at - d, at + d]), 2.2, 1.5, MU_TITANIUM))
        parts += [
            Part(ellipse(float(at[0] + s * d[0]), float(at[1] + s * d[1]), 2.6, 2.6), MU_TITANIUM, 3) for s in (-1, 1)
        ]
    return parts
