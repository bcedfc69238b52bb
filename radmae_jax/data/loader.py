"""Program calls to batches of pixels: the one file that imports grain, whose workers only fetch what they are told."""

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import grain
import numpy as np
from absl import flags

from radmae_jax.config import Augment
from radmae_jax.data.augment import augment
from radmae_jax.data.batch import NO_RECORD, Batch, empty_batch, put_image
from radmae_jax.data.binning import token_grids
from radmae_jax.data.dicom import ImageError
from radmae_jax.data.images import downscale
from radmae_jax.data.pixel_cache import read_kept
from radmae_jax.data.schedule import Call


class Loaded(NamedTuple):
    """One element of the stream: this host's rows of one program call."""

    number: int  # of the call
    bucket: int
    batch: Batch
    problems: tuple[tuple[int, str], ...]  # record and reason of each that could not be read


@dataclass(frozen=True)
class Source:
    """Where records' pixels are and what shape the manifest says they have; rows are records."""

    root: Path
    paths: list[str]
    heights: np.ndarray  # int32 [N], of the files
    widths: np.ndarray  # int32 [N]
    sizes: np.ndarray  # int32 [N, 2], pixels a side in a batch: smaller than the file's where it is beyond all buckets
    grids: np.ndarray  # int32 [N, 2], of these sizes
    labels: np.ndarray  # int32 [N, T]
    patch: int
    channels: int
    dtype: str
    intensity: str
    augment: Augment = field(default_factory=Augment)  # of training images
    seed: int = 0  # of augmentation
    cache_bytes: int = 0  # of decoded images that a process keeps
    own_grids: bool = True  # grids hold the image and no more; else they are those of the poster's bins


def load_rows(
    source: Source, records: np.ndarray, length: int, epoch: int, augmented: bool = False
) -> tuple[Batch, list[tuple[int, str]]]:
    """Reads records into a batch. One that cannot be read keeps its row with weight 0 and is returned with a reason.

    Reasons hold no path: a path may name a patient.
    """
    batch = empty_batch(
        len(records), length, source.patch, source.channels, source.dtype, source.labels.shape[1], epoch
    )
    problems = []
    for row, record in enumerate(records.tolist()):
        if record == NO_RECORD:
            continue
        batch.record[row] = record
        try:
            path = source.root / source.paths[record]
            image = read_kept(path, intensity=source.intensity, dtype=source.dtype, limit=source.cache_bytes)
        except ImageError as error:
            problems.append((record, str(error)))
            continue
        except OSError as error:
            problems.append((record, error.strerror or type(error).__name__))
            continue
        expected = (int(source.heights[record]), int(source.widths[record]))
        if image.shape != expected:
            problems.append(
                (record, f"is {image.shape[0]} x {image.shape[1]}, the manifest says {expected[0]} x {expected[1]}")
            )
            continue
        image = downscale(image, (int(source.sizes[record, 0]), int(source.sizes[record, 1])))
        rows, columns = source.grids[record].tolist()
        if augmented:
            image = augment(image, source.augment, source.seed, epoch, record)
            if source.own_grids:  # a crop's is smaller
                rows, columns = token_grids(image.shape[0], image.shape[1], source.patch).tolist()
        put_image(batch, row, image, (rows, columns), source.patch)
        batch.label[row] = source.labels[record]
        batch.weight[row] = 1.0
    return batch, problems


@dataclass(frozen=True)
class LoadCall:
    """A call's number to its Loaded rows, for one host; pickled to the loader's processes."""

    find: Callable[[int], Call]
    lengths: tuple[int, ...]
    source: Source
    host: int = 0
    hosts: int = 1
    augmented: bool = False  # as config.augment says: training's images are

    def __call__(self, number: int) -> Loaded:
        call = self.find(number)
        share = len(call.records) // self.hosts
        records = call.records[self.host * share : (self.host + 1) * share]
        batch, problems = load_rows(self.source, records, self.lengths[call.bucket], call.epoch, self.augmented)
        return Loaded(number, call.bucket, batch, tuple(problems))


@dataclass(frozen=True)
class CallList:
    """Finds a call in a list, for evaluation passes."""

    calls: list[Call]

    def __call__(self, number: int) -> Call:
        return self.calls[number]


def stream(
    load: LoadCall, start: int, stop: int, *, workers: int, threads: int, prefetch_bytes: int, largest_bytes: int
) -> "ClosingIterator":
    """Loaded elements number start to stop - 1 in order; the same for any number of workers and threads.

    Args:
      prefetch_bytes: bound on elements waiting in memory, all processes together.
      largest_bytes: bytes of the largest element, which the bound is divided by.
    """
    # Grain reads absl flags even where no absl program runs (google/grain 1355).
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    waiting = max(1, int(prefetch_bytes / max(1, workers) // max(1, largest_bytes)))
    threads = max(1, min(threads, waiting))
    dataset = grain.MapDataset.range(start, stop).map(load)
    # Half of the room for what threads are reading, half for what waits for the trainer.
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(threads, min(8, waiting // 2)))
    iterable = dataset.to_iter_dataset(options)
    if workers:
        per_worker = max(1, min(4, waiting // 2))
        options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=per_worker)
        iterable = iterable.mp_prefetch(options, worker_init_fn=start_worker)
    return ClosingIterator(iter(iterable), shared=workers > 0)


def start_worker(number: int, of: int) -> None:
    """Makes a loader process leave devices and signals to the trainer, and end when the trainer is gone."""
    import jax  # grain has imported it already; it must not look for a device here

    jax.config.update("jax_platforms", "cpu")
    # A signal to the whole process group is for the trainer: it stops at the end of a step, and then stops us.
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, signal.SIG_IGN)

    end_with_parent()


def end_with_parent() -> None:
    """Makes this process end when the one that started it is gone, however that ended."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()  # by a pipe that closes however the parent ends, also before this line
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


class ClosingIterator:
    """An iterator that stops its workers when the `with` block ends, whatever ends it."""

    def __init__(self, iterator: grain.DatasetIterator, shared: bool):
        self._iterator, self._shared = iterator, shared

    def __enter__(self) -> Iterator[Loaded]:
        return self._iterator

    def __exit__(self, *unused: object) -> None:
        self._iterator.close()
        # Workers' elements lie in shared memory until nothing refers to them; jax drops its references to arrays it
        # borrowed when Python collects garbage. Without this the last are still there at exit, which Python warns of.
        if self._shared:
            gc.collect()
