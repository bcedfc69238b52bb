"""Shapes in millimetres: control points turn into closed outlines with a depth along the ray and an attenuation."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

# Linear attenuation at about 60 keV in 1/mm (NIST XCOM mass coefficients times density): water-like soft tissue
# 0.0205, fat 0.0188, cortical bone (1.92 g/cm3) 0.0605, aerated lung (0.26 g/cm3) 0.0054, titanium 0.345, steel 0.95.
MU_SOFT = 0.0205
MU_FAT = 0.0188
# What replaces soft tissue adds only the difference.
MU_BONE = 0.0605 - MU_SOFT
MU_LUNG = 0.0054 - MU_SOFT
MU_GAS = -MU_SOFT
MU_TITANIUM = 0.345
MU_STEEL = 0.95


@dataclass(frozen=True)
class Cut:
    """One side of a ragged line across a bone: through point, kept where side (1 or -1) times normal points.

    teeth (n, 2) are knots of the rag in mm: place along the line, and how far the line leaves its course there.
    """

    point: tuple[float, float]
    normal: tuple[float, float]
    teeth: Points
    side: float = 1.0


@dataclass(frozen=True)
class Part:
    """One solid: closed outline (n, 2) in mm, largest depth in mm along the ray, added attenuation mu in 1/mm.

    rounding is the distance from the edge in mm at which the full depth is reached (0: a flat sheet). cortex > 0
    makes a shell of that wall in mm around a medulla of density share marrow; along an axis (2, 2) the wall grows
    to shaft_cortex in the middle. A part with a name is a bone that can break or carry a plate. Where parts with
    the same merge word overlap, the thicker one counts instead of the sum: limbs of one skin.
    """

    outline: Points
    mu: float
    depth: float
    rounding: float = 0.0
    cortex: float = 0.0
    shaft_cortex: float = 0.0
    marrow: float = 1.0
    axis: Points | None = None
    holes: tuple[Points, ...] = ()
    name: str = ""
    cut: Cut | None = None
    merge: str = ""


@dataclass(frozen=True)
class Habit:
    """A patient's build: fat 0 (lean) .. 1 (obese), muscle about 1, density of bone about 1, breadth about 1."""

    fat: float
    muscle: float
    density: float
    breadth: float


@dataclass(frozen=True)
class Body:
    """Parts with the box (centre, size in mm) that a radiographer would aim at and points that implants need."""

    parts: tuple[Part, ...]
    centre: tuple[float, float]
    size: tuple[float, float]
    landmarks: dict[str, tuple[float, float]]


def points(text: str) -> Points:
    """Parse "x y  x y ..." in mm into an array (n, 2)."""
    return np.array([float(word) for word in text.split()]).reshape(-1, 2)


def spline(control: Points, closed: bool = True, steps: int = 6) -> Points:
    """Catmull-Rom curve through control points (n, 2), with steps samples a segment."""
    if closed:
        padded = np.concatenate([control[-1:], control, control[:2]])
    else:
        padded = np.concatenate([2 * control[:1] - control[1:2], control, 2 * control[-1:] - control[-2:-1]])
    p0, p1, p2, p3 = padded[:-3, None], padded[1:-2, None], padded[2:-1, None], padded[3:, None]
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, control[-1:]])


def ellipse(cx: float, cy: float, rx: float, ry: float, angle: float = 0.0, steps: int = 28) -> Points:
    """Ellipse outline (steps, 2) with its first axis turned by angle radians."""
    t = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    x, y = rx * np.cos(t), ry * np.sin(t)
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([cx + c * x - s * y, cy + s * x + c * y], axis=1)


def band(centre_line: Points, width: float | Points, smooth: bool = True) -> Points:
    """Outline of a strip of the given width (mm, or one a control point) along an open line (n, 2)."""
    widths = np.broadcast_to(np.asarray(width, dtype=float), (len(centre_line),))
    if smooth and len(centre_line) > 2:
        joined = spline(np.column_stack([centre_line, widths])[:, :2], closed=False)
        widths = np.interp(np.linspace(0, 1, len(joined)), np.linspace(0, 1, len(centre_line)), widths)
        centre_line = joined
    tangent = np.gradient(centre_line, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    side = np.column_stack([-tangent[:, 1], tangent[:, 0]]) * widths[:, None] / 2
    return np.concatenate([centre_line + side, (centre_line - side)[::-1]])


def wobble(control: Points, rng: np.random.Generator, share: float = 0.012) -> Points:
    """Move control points by a normal of share times the shape's extent, so that no two bones are alike."""
    extent = float(np.ptp(control, axis=0).min())
    return control + rng.normal(0, share * min(extent, 60.0), control.shape)


def bone(
    control: Points,
    rng: np.random.Generator,
    depth: float,
    rounding: float,
    cortex: float = 0.9,
    marrow: float = 0.24,
    holes: tuple[Points, ...] = (),
    name: str = "",
) -> Part:
    """A flat or short bone: spline outline, thin cortex all round."""
    outline = spline(wobble(control, rng))
    return Part(outline, MU_BONE, depth, rounding, cortex, cortex, marrow, None, holes, name)


def shaft_bone(
    control: Points,
    rng: np.random.Generator,
    depth: float,
    axis: Points,
    shaft_cortex: float,
    cortex: float = 0.8,
    marrow: float = 0.24,
    name: str = "",
) -> Part:
    """A long bone: the cortex thickens from the ends of axis (2, 2) to its middle."""
    outline = spline(wobble(control, rng, 0.008))
    return Part(outline, MU_BONE, depth, depth / 2, cortex, shaft_cortex, marrow, axis, (), name)


def flesh(outline: Points, depth: float, rounding: float) -> Part:
    """Muscle that joins its neighbours without doubling."""
    return Part(outline, MU_SOFT - 0.8 * MU_FAT, depth, rounding, merge="muscle")


def skin(outline: Points, depth: float, rounding: float) -> Part:
    """The body's outer layer, of fat, that joins its neighbours without doubling."""
    return Part(outline, MU_FAT, depth, rounding, merge="skin")


def line(centre_line: Points, width: float | Points, depth: float, mu: float = MU_BONE) -> Part:
    """A thin strip with rounded edges: cortical lines, vessels, wires, tendons."""
    return Part(band(centre_line, width), mu, depth, 0.5 * float(np.max(width)))


def moved(part: Part, matrix: Points, shift: Points) -> Part:
    """The part with every point p turned into matrix @ p + shift."""

    def go(p: Points) -> Points:
        return p @ matrix.T + shift

    cut = part.cut
    if cut is not None:
        point, normal = go(np.array(cut.point)), np.array(cut.normal) @ matrix.T
        cut = replace(cut, point=(point[0], point[1]), normal=(normal[0], normal[1]))
    axis = None if part.axis is None else go(part.axis)
    return replace(part, outline=go(part.outline), axis=axis, holes=tuple(go(h) for h in part.holes), cut=cut)


def turned(
    parts: list[Part], angle: float, pivot: tuple[float, float], shift: tuple[float, float] = (0, 0)
) -> list[Part]:
    """Parts rotated by angle radians about pivot, then shifted (mm)."""
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.array([[c, -s], [s, c]])
    centre = np.array(pivot)
    return [moved(part, matrix, centre - matrix @ centre + np.array(shift)) for part in parts]


def scaled(parts: list[Part], sx: float, sy: float) -> list[Part]:
    """Parts stretched about the origin; sx = -1 mirrors left and right."""
    return [moved(part, np.diag([sx, sy]), np.zeros(2)) for part in parts]


def both_sides(parts: list[Part]) -> list[Part]:
    """Parts of the side x > 0 followed by their mirror images."""
    return parts + scaled(parts, -1.0, 1.0)
