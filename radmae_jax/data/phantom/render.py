"""A region's name, an image size and a seed turn into one radiograph with its labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from radmae_jax.data.phantom import frame, physics, raster, regions_limbs, regions_side, regions_trunk
from radmae_jax.data.phantom.solids import Body, Habit
from radmae_jax.data.phantom.visible import Drawn, Scene, fit_fracture, fit_metal

VIEWS: dict[str, tuple[str, ...]] = {
    "skull": ("PA", "LAT"),
    "cervical_spine": ("AP", "LAT"),
    "chest": ("PA", "PA", "LAT"),
    "abdomen": ("AP",),
    "lumbar_spine": ("AP", "LAT"),
    "pelvis": ("AP",),
    "hip": ("AP", "AP", "OBL"),
    "shoulder": ("AP", "AP", "OBL"),
    "elbow": ("AP", "LAT"),
    "hand": ("PA", "OBL"),
    "knee": ("AP", "LAT"),
    "lower_leg": ("AP", "LAT"),
    "ankle": ("AP", "LAT"),
    "foot": ("AP", "OBL", "LAT"),
}
REGIONS: tuple[str, ...] = tuple(VIEWS)
LIMBS = ("elbow", "hand", "knee", "lower_leg", "ankle", "foot")
# Regions of which a body has two.
PAIRED = (*LIMBS, "hip", "shoulder")


@dataclass(frozen=True)
class Phantom:
    """A rendered radiograph: image float32 (height, width) in 0..1, bright where dense, and its labels."""

    image: NDArray[np.float32]
    region: str
    view: str
    laterality: str
    foreign_material: bool
    fracture: bool
    mm_per_pixel: float


def _build(region: str, view: str, habit: Habit, rng: np.random.Generator) -> Body:
    if region == "skull":
        return regions_side.skull(rng, view, habit)
    if region == "cervical_spine":
        side = view == "LAT"
        return regions_side.cervical_spine_lateral(rng, habit) if side else regions_trunk.cervical_spine_ap(rng, habit)
    if region == "chest" and view == "LAT":
        return regions_side.chest_lateral(rng, habit)
    if region == "lumbar_spine":
        return regions_side.lumbar_lateral(rng, habit) if view == "LAT" else regions_trunk.lumbar_ap(rng, habit)
    builders = {
        "chest": regions_trunk.chest,
        "abdomen": regions_trunk.abdomen,
        "pelvis": regions_trunk.pelvis,
        "hip": regions_trunk.hip,
        "shoulder": regions_trunk.shoulder,
        "elbow": regions_limbs.elbow,
        "hand": regions_limbs.hand_region,
        "knee": regions_limbs.knee,
        "lower_leg": regions_limbs.lower_leg,
        "ankle": regions_limbs.ankle,
        "foot": regions_limbs.foot,
    }
    return builders[region](rng, view, habit)


def draw_habit(rng: np.random.Generator) -> Habit:
    """A patient's build."""
    return Habit(
        float(rng.beta(1.6, 2.6)), float(rng.normal(1, 0.06)), float(rng.uniform(0.6, 1.35)), float(rng.normal(1, 0.05))
    )


def render(
    region: str,
    view: str,
    side: str,
    height: int,
    width: int,
    habit: Habit,
    foreign: bool,
    fracture: bool,
    rng: np.random.Generator,
) -> Phantom:
    """Render one radiograph of a patient; side is R, L or empty.

    foreign and fracture ask; the labels say what the picture shows. What it could not show is not drawn: with a
    label of 0 the image is the one that was not asked for it, to the bit.
    """
    # Streams of their own: the rest of the picture is the same with and without.
    hardware, crack = rng.spawn(2)
    body = _build(region, view, habit, rng)
    rows, columns = frame.working_shape(height, width)
    mirror = side == "R" if side else view == "LAT" and bool(rng.uniform() < 0.5)
    grid = frame.aim(body, rows, columns, region in LIMBS, mirror, rng)
    warp, shutter = frame.draw_warp(body, rng), frame.draw_shutter(rng)
    scene = Scene(grid, warp, shutter, height * width / (rows * columns))
    opening = scene.opening()
    lead = _lead(side or str(rng.choice(["R", "L"])), grid, shutter, rng) if rng.uniform() < 0.7 else None
    film = int(rng.integers(2**62))

    def picture(shown: raster.Layers) -> raster.Map:
        # One seed for any layers, so that two pictures differ by their layers alone.
        luck = np.random.default_rng(film)
        signal = physics.exposed(shown, opening, lead, grid.pixels_per_mm, habit.density, luck)
        grey = physics.presented(signal, opening, grid.pixels_per_mm, luck)
        if shutter is not None and shutter.blackened and opening is not None:
            grey = np.where(opening > 0.99, grey, 0.0)
        image = physics.resized(grey.astype(np.float32), height, width)
        if rows < height:
            # Grain at the pixel scale of large images, which the coarser working grid cannot carry.
            image = image + luck.uniform(0.002, 0.012) * luck.standard_normal(image.shape, dtype=np.float32)
        return np.clip(image, 0, 1).astype(np.float32)

    drawn = Drawn(body, raster.draw_parts(frame.warped(body.parts, warp), grid))
    fitted = fit_metal(region, drawn, scene, picture, hardware) if foreign else None
    drawn = fitted or drawn
    broken = fit_fracture(drawn, scene, picture, crack) if fracture else None
    drawn = broken or drawn
    image = picture(drawn.layers) if drawn.image is None else drawn.image
    mm_per_pixel = rows / height / grid.pixels_per_mm
    return Phantom(image, region, view, side, fitted is not None, broken is not None, mm_per_pixel)


def _lead(letter: str, grid: raster.Grid, shutter: frame.Shutter | None, rng: np.random.Generator) -> raster.Map:
    """Attenuation of the side marker on the grid."""
    canvas = Image.new("L", (grid.width, grid.height))
    pen = ImageDraw.Draw(canvas)
    for outline in frame.side_marker(letter, grid, shutter, rng):
        pen.polygon([(float(x), float(y)) for x, y in outline], fill=1)
    return np.asarray(canvas) * np.float32(rng.uniform(2.5, 6.0))


def render_phantom(region: str, height: int, width: int, seed: list[int] | int) -> Phantom:
    """One radiograph of (height, width) pixels with a random view, side, patient, and chance of metal or fracture.

    Raises ValueError for a region that is not in REGIONS or a side under 16 pixels.
    """
    if region not in VIEWS:
        raise ValueError(f"region {region!r} is not one of {', '.join(REGIONS)}")
    if min(height, width) < 16:
        raise ValueError(f"image size {height}x{width}: the smallest side allowed is 16")
    rng = np.random.default_rng(seed)
    habit = draw_habit(rng)
    view = str(rng.choice(list(VIEWS[region])))
    side = str(rng.choice(["R", "L"])) if region in PAIRED else ""
    foreign, fracture = bool(rng.uniform() < 0.2), bool(rng.uniform() < 0.17)
    return render(region, view, side, height, width, habit, foreign, fracture, rng)
