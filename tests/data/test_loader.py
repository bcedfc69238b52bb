"""The stream of batches: the same for any number of workers, threads and hosts, and from any start."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from radmae_jax.data.batch import empty_batch, patchify, put_image, unpatchify
from radmae_jax.data.dataset import open_dataset
from radmae_jax.data.loader import LoadCall, stream
from radmae_jax.data.schedule import Calls

ROWS = (8, 4)


@pytest.fixture(scope="module")
def opened(archive, small_model):
    from radmae_jax.config import Bins, Config, Data, Train

    config = Config(
        data=Data(manifest=str(archive)), bins=Bins(shapes=2, group=8), model=small_model,
        train=Train(images_per_step=16),
    )  # fmt: skip
    dataset = open_dataset(config)
    return dataset, Calls(dataset.schedule(config), ROWS)


def _stream(opened, start: int, stop: int, workers: int = 0, threads: int = 1, host: int = 0, hosts: int = 1):
    dataset, calls = opened
    load = LoadCall(calls.call, calls.schedule.lengths, dataset.source, host, hosts)
    size = {"prefetch_bytes": 1 << 20, "largest_bytes": 1 << 17}
    with stream(load, start, stop, workers=workers, threads=threads, **size) as elements:
        return list(elements)


def _equal(a, b) -> bool:
    same = (a.number, a.bucket, a.problems) == (b.number, b.bucket, b.problems)
    return same and all(np.array_equal(x, y) for x, y in zip(a.batch, b.batch, strict=True))


def test_workers_threads_and_starts_change_nothing(opened):
    end = opened[1].per_epoch + 3  # over the end of an epoch
    plain = _stream(opened, 0, end)
    assert [element.number for element in plain] == list(range(end))
    for other in (_stream(opened, 0, end, workers=1), _stream(opened, 0, end, workers=3, threads=2)):
        assert len(other) == end and all(_equal(a, b) for a, b in zip(plain, other, strict=True))
    late = _stream(opened, 5, end, threads=3)
    assert all(_equal(a, b) for a, b in zip(plain[5:], late, strict=True))


def test_two_hosts_rows_make_one_hosts_batch(opened):
    end = opened[1].per_epoch
    whole = _stream(opened, 0, end)
    first, second = (_stream(opened, 0, end, host=host, hosts=2) for host in (0, 1))
    for one, a, b in zip(whole, first, second, strict=True):
        assert one.bucket == a.bucket == b.bucket
        for together, left, right in zip(one.batch, a.batch, b.batch, strict=True):
            np.testing.assert_array_equal(together, np.concatenate([left, right]))


def test_an_epoch_of_pixels(opened):
    """Every training image is there once, whole, at the place its grid says."""
    from radmae_jax.data.images import read_image

    dataset, calls = opened
    seen = []
    for element in _stream(opened, 0, calls.per_epoch):
        for row in np.flatnonzero(element.batch.weight):
            record = int(element.batch.record[row])
            height, width = element.batch.extent[row]
            grid = tuple(element.batch.grid[row].tolist())
            pixels = unpatchify(element.batch.patches[row], grid, 8)
            np.testing.assert_array_equal(pixels[:height, :width], read_image(dataset.manifest.file(record)))
            assert not pixels[height:].any() and not pixels[:, width:].any()
            seen.append(record)
    np.testing.assert_array_equal(np.sort(seen), dataset.split.records("train"))


def test_patchify_by_hand_and_back():
    image = np.arange(15, dtype=np.uint16).reshape(3, 5)
    patches = patchify(image, (2, 3), 2)
    assert patches.tolist() == [[0, 1, 5, 6], [2, 3, 7, 8], [4, 0, 9, 0], [10, 11, 0, 0], [12, 13, 0, 0], [14, 0, 0, 0]]
    np.testing.assert_array_equal(unpatchify(patches, (2, 3), 2)[:3, :5], image)
    coloured = patchify(image, (2, 3), 2, 3)
    assert coloured[0].tolist() == [0, 0, 0, 1, 1, 1, 5, 5, 5, 6, 6, 6]
    np.testing.assert_array_equal(unpatchify(coloured, (2, 3), 2, 3)[:3, :5], image)


def test_what_does_not_fit_is_refused():
    batch = empty_batch(1, 6, 2, 1, "uint16")
    with pytest.raises(ValueError, match="image 5 x 5 in a grid of 2 x 3"):
        put_image(batch, 0, np.zeros((5, 5), np.uint16), (2, 3), 2)
    with pytest.raises(ValueError, match="uint8 in a batch of uint16"):
        put_image(batch, 0, np.zeros((3, 5), np.uint8), (2, 3), 2)


def test_data_modules_do_not_import_jax():
    folder = Path(__file__).parents[2] / "radmae_jax" / "data"
    stems = {p.stem for p in folder.glob("*.py")} - {"loader", "dataset", "__init__"}
    names = [f"radmae_jax.data.{stem}" for stem in stems]
    names += ["radmae_jax.data.phantom", "radmae_jax.bench.plan", "radmae_jax.cli"]
    code = f"import sys, {', '.join(sorted(names))}; sys.exit('jax' in sys.modules or 'grain' in sys.modules)"
    assert len(names) > 10
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
