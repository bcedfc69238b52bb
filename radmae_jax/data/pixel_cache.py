"""Image files to grey arrays, of which a process keeps as many in memory as it is told."""

import threading
from pathlib import Path

import numpy as np

from radmae_jax.data.images import read_image

_kept: dict[tuple[str, str, str], np.ndarray] = {}
_lock = threading.Lock()
_bytes = 0


def read_kept(path: Path, *, intensity: str, dtype: str, limit: int) -> np.ndarray:
    """As `read_image`; the array is shared, so it must not be written to.

    The first images are kept until `limit` bytes are: epochs visit every image once, and of a cache that throws out the
    oldest, one that is a little too small would never hit. Errors: those of `read_image`.
    """
    global _bytes
    key = (str(path), intensity, dtype)
    found = _kept.get(key)
    if found is not None:
        return found
    image = read_image(path, intensity=intensity, dtype=dtype)
    image.setflags(write=False)
    with _lock:
        if key not in _kept and _bytes + image.nbytes <= limit:
            _kept[key] = image
            _bytes += image.nbytes
    return image


def forget() -> None:
    """Frees what is kept."""
    global _bytes
    with _lock:
        _kept.clear()
        _bytes = 0
