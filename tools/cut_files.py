"""Reads every file below some folders, also cut at many places and with bytes changed: an image or a reason each time.

    python tools/cut_files.py FOLDER... --cuts 20 --changes 10

Prints how often each reason came, and every other exception; exits 1 after one of those.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.progress import track

from radmae_jax.data.image_error import ImageError
from radmae_jax.data.images import inspect, read_image

_HEADER = 3000  # bytes in which most changes are made


def versions_of(data: bytes, cuts: int, changes: int, rng: np.random.Generator) -> Iterator[bytes]:
    """A file's bytes, cut at evenly spaced places, and with one to five bytes of its beginning changed."""
    yield data
    for place in range(cuts):
        yield data[: int(len(data) * (place + 0.5) / cuts)]
    for _ in range(changes if data else 0):
        changed = bytearray(data)
        for place in rng.integers(0, min(len(data), _HEADER), rng.integers(1, 6)):
            changed[place] = rng.integers(0, 256)
        yield bytes(changed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--changes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    files = [path for folder in options.folders for path in sorted(folder.rglob("*")) if path.is_file()]
    found: Counter[str] = Counter()
    crashed = 0
    with tempfile.TemporaryDirectory() as folder:
        version = Path(folder, "version")
        for path in track(files, "files"):
            for data in versions_of(path.read_bytes(), options.cuts, options.changes, rng):
                version.write_bytes(data)
                for read in (inspect, read_image):
                    try:
                        read(version)
                        found["image"] += 1
                    except ImageError as error:
                        found[error.reason] += 1
                    except Exception as error:  # what this looks for
                        crashed += 1
                        print(f"{path}: {len(data)} bytes: {type(error).__name__}: {error}")
    print(f"{len(files):,} files:", ", ".join(f"{reason} {count:,}" for reason, count in found.most_common()))
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
