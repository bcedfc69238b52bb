"""Patch embeddings and position tables of one size to another, by matrices made once; numpy, float64 inside."""

import numpy as np

# Named conventions of resizing a position table. bilinear, bicubic: PyTorch's interpolate, align_corners=False, as
# Hugging Face and the original MAE do; bicubic_antialias: the same with antialias=True, timm's default; zoom: corners
# on corners and linear between, scipy's zoom of order 1, big_vision's.
CONVENTIONS = ("bilinear", "bicubic", "bicubic_antialias", "zoom")


def resize_matrix(source: int, target: int, convention: str) -> np.ndarray:
    """float64 [target, source]: what resizing a line of `source` values to `target` multiplies by."""
    if convention not in CONVENTIONS:
        raise ValueError(f"positions convention {convention!r}; it must be one of {', '.join(CONVENTIONS)}")
    index = np.arange(target, dtype=np.float64)
    if convention == "zoom":
        at = index * ((source - 1) / (target - 1)) if target > 1 else np.zeros(1)
        return _clamped(at, source, _linear, (0, 1))
    at = (index + 0.5) * (source / target) - 0.5
    if convention == "bilinear":
        return _clamped(np.maximum(at, 0.0), source, _linear, (0, 1))
    if convention == "bicubic":
        return _clamped(at, source, lambda x: _cubic(x, -0.75), (-1, 0, 1, 2))
    # Antialiased: the kernel is as wide as a target pixel, what lies outside is left out and the rest made to sum to 1.
    scale = max(source / target, 1.0)
    weights = _cubic(np.abs(np.arange(source)[None, :] - at[:, None]) / scale, -0.5)
    return weights / weights.sum(axis=1, keepdims=True)


def resize_positions(table: np.ndarray, side: int, convention: str) -> np.ndarray:
    """A position table [1 + S * S, D] for a grid of side x side, float32; the class token's row stays."""
    old = round((table.shape[0] - 1) ** 0.5)
    if old == side:
        return table
    matrix = resize_matrix(old, side, convention)
    grid = table[1:].astype(np.float64).reshape(old, old, -1)
    grid = np.einsum("yi,xj,ijd->yxd", matrix, matrix, grid, optimize=True)
    return np.concatenate([table[:1], grid.reshape(side * side, -1)]).astype(np.float32)


def resize_patch_kernel(kernel: np.ndarray, old: int, new: int, channels: int) -> np.ndarray:
    """A patch embedding [old * old * C, D] for patches of `new` pixels, float32 [new * new * C, D].

    The pseudo-inverse resize of FlexiViT (Beyer et al. 2023, section 3.4) with bilinear enlargement B. Growing:
    pinv(B^T) w, so that an enlarged patch embeds exactly as the original did. Shrinking: B^T w, which is the
    pseudo-inverse of growing; a small patch embeds exactly as its enlargement did before. There and back is the
    identity.
    """
    grow = resize_matrix(min(old, new), max(old, new), "bilinear")
    matrix = np.linalg.pinv(grow.T) if new > old else grow.T
    return _resize_patches(kernel, matrix, old, new, channels)


def resize_prediction(kernel: np.ndarray, old: int, new: int, channels: int) -> np.ndarray:
    """A decoder's prediction [D or 1, old * old * C] for patches of `new` pixels: the predicted picture resized.

    Growing: bilinear; shrinking: its pseudo-inverse.
    """
    grow = resize_matrix(min(old, new), max(old, new), "bilinear")
    matrix = grow if new > old else np.linalg.pinv(grow)
    return _resize_patches(kernel.T, matrix, old, new, channels).T


def _resize_patches(values: np.ndarray, matrix: np.ndarray, old: int, new: int, channels: int) -> np.ndarray:
    """[old * old * C, D] by a matrix [new, old] along both sides."""
    pixels = values.astype(np.float64).reshape(old, old, channels, -1)
    pixels = np.einsum("yi,xj,ijcd->yxcd", matrix, matrix, pixels, optimize=True)
    return pixels.reshape(new * new * channels, -1).astype(np.float32)


def _clamped(at: np.ndarray, source: int, kernel, offsets: tuple[int, ...]) -> np.ndarray:
    """Taps around each coordinate, indices beyond the ends read as the ends."""
    matrix = np.zeros((len(at), source))
    low = np.floor(at).astype(np.int64)
    for offset in offsets:
        column = np.clip(low + offset, 0, source - 1)
        np.add.at(matrix, (np.arange(len(at)), column), kernel(np.abs(at - (low + offset))))
    return matrix


def _linear(x: np.ndarray) -> np.ndarray:
    return np.maximum(1.0 - x, 0.0)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel (1981), support 2."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
