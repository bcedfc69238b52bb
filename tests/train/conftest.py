from pathlib import Path

import pytest

from radmae_jax.data.index import index
from radmae_jax.data.manifest import read_manifest
from radmae_jax.data.splits import make_split, write_split

_UNKNOWN = (4, 11, 18, 25, 32, 39)


@pytest.fixture(scope="session")
def labelled(archive, tmp_path_factory) -> Path:
    """The archive's 60 images with a label `texture` of three values, unknown for six; 12 are for validation."""
    folder = tmp_path_factory.mktemp("labelled")
    values = ["" if n in _UNKNOWN else ("rough", "fine", "none")[n % 5 % 3] for n in range(60)]
    rows = [f"{n:03d}.png,{value},{'same' if value else ''}" for n, value in enumerate(values)]
    (folder / "labels.csv").write_text("\n".join(["path,texture,constant", *rows]) + "\n")
    path = folder / "manifest.parquet"
    index(archive.parent / "images", path, labels=folder / "labels.csv", workers=1, show_progress=False)
    write_split(make_split(read_manifest(path), fractions=(0.7, 0.2, 0.1)), folder / "manifest.parquet.split.parquet")
    return path
