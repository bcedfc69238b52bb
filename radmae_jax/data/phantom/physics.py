"""Line integrals of attenuation turn into the picture that a detector and its processing make of them."""

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from radmae_jax.data.phantom.raster import Layers, Map

# The thinnest detectable share of the open beam: below it the detector's own signal covers the object.
FLOOR = 2e-4


def resized(picture: Map, height: int, width: int) -> Map:
    """Float picture resampled to (height, width): area mean when shrinking, bicubic when growing."""
    shrinking = height * width < picture.size
    how = Image.Resampling.BOX if shrinking else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((width, height), how), dtype=np.float32)


def blurred(picture: Map, sigma: float) -> Map:
    """Gaussian blur of sigma pixels; wide ones are worked out on a coarser grid."""
    if sigma < 0.3:
        return picture
    step = int(max(1, sigma // 3))
    if step == 1:
        return np.asarray(gaussian_filter(picture, sigma, truncate=3.0), dtype=np.float32)
    height, width = picture.shape
    small = resized(picture, max(height // step, 2), max(width // step, 2))
    small = gaussian_filter(small, sigma / step, truncate=3.0)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)


def bone_texture(spongy: Map, pixels_per_mm: float, rng: np.random.Generator) -> Map:
    """Spongy bone with trabeculae: fine struts along one direction over a coarser mottle."""
    noise = rng.standard_normal(spongy.shape, dtype=np.float32)
    strut = max(0.45 * pixels_per_mm, 0.5)
    fine = gaussian_filter(noise, (2.2 * strut, 0.6 * strut), truncate=2.5)
    cross = gaussian_filter(noise, (0.6 * strut, 1.8 * strut), truncate=2.5)
    coarse = blurred(noise, 2.4 * pixels_per_mm)
    texture = np.float32(0.0)
    for part, weight in ((fine, 0.15), (cross, 0.08), (coarse, 0.08)):
        texture = texture + np.float32(weight) * part / max(float(part.std()), 1e-6)
    return (spongy * (1.0 + texture)).astype(np.float32)


def exposed(
    layers: Layers,
    open_field: Map | None,
    lead: Map | None,
    pixels_per_mm: float,
    density: float,
    rng: np.random.Generator,
) -> Map:
    """Detector signal as a share of the open beam, float32: primary beam, scatter, focal blur, quantum noise."""
    path = layers.smooth + density * bone_texture(layers.spongy, pixels_per_mm, rng) + np.minimum(layers.metal, 9.0)
    # Attenuation of soft tissue is mottled by the fat between its fibres.
    path = path * (1.0 + 0.012 * blurred(rng.standard_normal(path.shape, dtype=np.float32), 1.6 * pixels_per_mm) * 4)
    if lead is not None:
        path = path + lead
    primary = np.exp(-np.maximum(path, 0.0))
    if open_field is not None:
        primary = primary * np.maximum(open_field, 1e-3)
    # Scatter to primary after the grid: 0.1 for a hand up to 0.6 for an abdomen.
    scatter = rng.uniform(0.08, 0.5) * blurred(primary, 18 * pixels_per_mm)
    focal = rng.uniform(0.1, 0.3) * pixels_per_mm
    signal = blurred(primary, focal) + scatter
    reference = max(float(np.quantile(signal, 0.25)), FLOOR)
    # Quanta behind the denser quarter of the picture; the automatic exposure keeps this steady across regions.
    quanta = np.exp(rng.uniform(np.log(300), np.log(6000)))
    noise = blurred(rng.standard_normal(signal.shape, dtype=np.float32), 0.55)
    signal = signal + noise * np.sqrt(np.maximum(signal, 0) * reference / quanta) * 1.6
    return np.maximum(signal, FLOOR * reference + 1e-6)


def presented(signal: Map, open_field: Map | None, pixels_per_mm: float, rng: np.random.Generator) -> Map:
    """Picture in 0..1, bright where dense: logarithm, dynamic range compression, edge gain, a grey curve.

    The processing looks at the open field only, as a console does that finds the collimator's edges; what lies
    under the lead comes out bright.
    """
    log = -np.log(signal)
    inside = log if open_field is None else log[open_field > 0.99]
    filled = log if open_field is None else log + (1 - open_field) * (np.median(inside) - log)
    squash = rng.uniform(0.1, 0.8)
    wide = blurred(filled, rng.uniform(14, 40) * pixels_per_mm)
    edges = filled - blurred(filled, rng.uniform(0.6, 1.6) * pixels_per_mm)
    picture = filled - squash * wide + rng.uniform(0, 0.9) * edges
    seen = picture if open_field is None else picture[open_field > 0.99]
    low = float(np.quantile(seen, rng.uniform(0.001, 0.1)))
    high = float(np.quantile(seen, rng.uniform(0.96, 0.9985)))
    low, high = low - rng.uniform(0, 0.25) * (high - low), high + rng.uniform(-0.05, 0.3) * (high - low)
    grey = np.clip((picture - low) / max(high - low, 1e-3), 0.0, 1.0) ** np.float32(np.exp(rng.normal(0.0, 0.3)))
    if open_field is None:
        return grey.astype(np.float32)
    lead = rng.uniform(0.75, 1.0)
    return (grey + (1 - open_field) * (lead - grey)).astype(np.float32)
