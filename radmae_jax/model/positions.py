"""Sine-cosine position tables, and their values at the tokens of an image of any grid."""

import jax
import jax.numpy as jnp
import numpy as np

# PyTorch's bicubic kernel (Keys 1981 with a = -0.75); jax.image has -0.5 only.
_CUBIC_A = -0.75


def sincos_table(side: int, width: int) -> np.ndarray:
    """The MAE's frozen table, float32 [1 + side * side, width]; row 0, the class token's, is zero.

    Columns are [sin(x), cos(x), sin(y), cos(y)], a quarter each, frequencies 10000 ** -(i / (width / 4)).
    """
    if width % 4:
        raise ValueError(f"width {width}; sine-cosine positions need a multiple of 4")
    frequencies = 10000.0 ** -(np.arange(width // 4, dtype=np.float64) / (width / 4))
    y, x = np.meshgrid(np.arange(side, dtype=np.float64), np.arange(side, dtype=np.float64), indexing="ij")
    angles = [np.outer(axis.ravel(), frequencies) for axis in (x, y)]
    table = np.concatenate([f(a) for a in angles for f in (np.sin, np.cos)], axis=1)
    return np.concatenate([np.zeros((1, width)), table]).astype(np.float32)


def sample_2d(table: jax.Array, side: int, tokens: jax.Array, grid: jax.Array, method: str) -> jax.Array:
    """Table values at tokens of images of any grid, as if the table had been resized to each grid.

    The resize is PyTorch's with align_corners=False and no antialiasing.

    Args:
      table: float32 [1 + side * side, D], class token first.
      tokens: int32 [B, K], raster index of each token in its own image's grid.
      grid: int32 [B, 2], rows and columns of patches.
      method: bilinear (4 taps) or bicubic (16 taps).

    Returns: float32 [B, K, D]. Tokens outside the grid give numbers without meaning.
    """
    columns = grid[:, 1:2]
    row_taps = _taps(tokens // columns, grid[:, 0:1], side, method)
    column_taps = _taps(tokens % columns, columns, side, method)
    out = jnp.zeros((*tokens.shape, table.shape[1]), jnp.float32)
    for row, row_weight in row_taps:
        for column, column_weight in column_taps:
            out += (row_weight * column_weight)[..., None] * table[1 + row * side + column]
    return out


def sample_flat(table: jax.Array, tokens: jax.Array, grid: jax.Array) -> jax.Array:
    """Table values as Hugging Face's ViTMAEDecoder resizes them: the flattened table, bicubic, in one dimension.

    Right only where the grid's columns are the table's (transformers, modeling_vit_mae.py,
    ViTMAEDecoder.interpolate_pos_encoding); kept so that checkpoints trained with it can be matched.
    """
    count = (grid[:, 0] * grid[:, 1])[:, None]
    out = jnp.zeros((*tokens.shape, table.shape[1]), jnp.float32)
    for index, weight in _taps(tokens, count, table.shape[0] - 1, "bicubic"):
        out += weight[..., None] * table[1 + index]
    return out


def _taps(index: jax.Array, size: jax.Array, source: int, method: str) -> list[tuple[jax.Array, jax.Array]]:
    """Source positions and weights of output `index` when `source` values are resized to `size`."""
    at = (index.astype(jnp.float32) + 0.5) * (source / size.astype(jnp.float32)) - 0.5
    if method == "bilinear":
        # PyTorch clamps the coordinate at 0 for bilinear; clamped indices below give the same values.
        low = jnp.floor(at)
        part = at - low
        offsets, weights = (0, 1), (1 - part, part)
    elif method == "bicubic":
        low = jnp.floor(at)
        part = at - low
        offsets = (-1, 0, 1, 2)
        weights = (_far(part + 1), _near(part), _near(1 - part), _far(2 - part))
    else:
        raise ValueError(f"resample {method!r}; it must be bilinear or bicubic")
    low = low.astype(jnp.int32)
    return [(jnp.clip(low + o, 0, source - 1), w) for o, w in zip(offsets, weights, strict=True)]


def _near(x: jax.Array) -> jax.Array:
    return ((_CUBIC_A + 2) * x - (_CUBIC_A + 3)) * x * x + 1


def _far(x: jax.Array) -> jax.Array:
    return ((_CUBIC_A * x - 5 * _CUBIC_A) * x + 8 * _CUBIC_A) * x - 4 * _CUBIC_A
