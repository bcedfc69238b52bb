"""Records of an archive and a program to its outputs, in the order of the records: the pass that evaluations share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from radmae_jax.config import Bins, Config, Data, Train
from radmae_jax.data.batch import NO_RECORD, Batch
from radmae_jax.data.binning import make_table, token_grids
from radmae_jax.data.loader import CallList, LoadCall, Loaded, Source, stream
from radmae_jax.data.manifest import Manifest
from radmae_jax.data.schedule import Call, Calls, Schedule, choose_rows
from radmae_jax.train import sharding

SHAPES = 8  # most lengths of a table fitted for an evaluation: each is one more program to compile
_ONE_STEP = 2**31  # images a step for which a pass is one step
_IN_PROCESS = 1000  # images up to which no loader processes are started: they need seconds to begin
_AHEAD = 1  # calls on the device while the outputs of the one before are fetched

Program = Callable[[Any, Batch], Any]  # (variables, batch of B rows) -> a tree of arrays [B, ...], for jit


class Visited(NamedTuple):
    """What a pass gives for n records, in their order."""

    records: np.ndarray  # int32 [n]
    outputs: Any  # the program's tree, of numpy arrays [n, ...]; zeros where a record could not be read
    read: np.ndarray  # bool [n]
    problems: tuple[tuple[int, str], ...]  # record and reason of each that could not be read, ascending


class TooManyUnreadable(ValueError):
    """More records could not be read than was allowed."""

    def __init__(self, problems: tuple[tuple[int, str], ...], images: int, allowed: float, limit: str):
        record, reason = problems[0]
        super().__init__(
            f"{len(problems):,} of {images:,} records could not be read, above {limit} {allowed:.1%}; record {record}: "
            f"{reason}"
        )
        self.problems = problems


@dataclass(frozen=True, eq=False)
class Reading:
    """How records of an archive of N images are read for an evaluation."""

    source: Source
    data: Data
    lengths: tuple[int, ...]  # tokens of each bucket
    rows: tuple[int, ...]  # of each bucket's program, a multiple of the devices
    bucket: np.ndarray  # int32 [N]; -1 for records that are not to be read
    group: int
    move_up: bool
    mesh: Mesh  # of this host's devices

    def calls(self, records: np.ndarray) -> list[Call]:
        """Program calls that visit each record once, without those of filler rows only."""
        bucket = self.bucket[records]
        if np.any(bucket < 0):
            raise ValueError(f"record {records[np.argmin(bucket)]} is none of those that this reading was made for")
        calls = Calls(Schedule(records, bucket, self.lengths, self.group, _ONE_STEP, 0, self.move_up), self.rows)
        found = [calls.call(number) for number in range(calls.per_epoch)]
        return [call._replace(epoch=0) for call in found if np.any(call.records != NO_RECORD)]


def read_for(config: Config, manifest: Manifest, records: np.ndarray, shapes: int = SHAPES) -> Reading:
    """Fits buckets to the sizes of some records, whatever buckets the model was trained with.

    An image has the size it would be trained at: where config.bins.beyond is downscale, what is beyond the trained
    table is made smaller. With pad_tokens poster, where padding is part of the image, the bins are the trained ones.

    Args:
      records: int32 [n], distinct.
      shapes: most lengths of the table.

    Errors: ValueError where there are no records, or where the poster's bins refuse an image.
    """
    if not len(records):
        raise ValueError("no images to evaluate")
    patch, bins, devices = config.model.patch, config.bins, jax.local_devices()
    heights, widths = manifest.heights[records], manifest.widths[records]
    sizes = np.stack([heights, widths], axis=1)
    # Groups of which each length can fill one: filler rows cost as much as images.
    group = len(devices) * max(1, min(bins.group, len(records) // shapes) // len(devices))
    trained = None
    if bins.pad_tokens == "poster" or bins.beyond == "downscale":
        trained = make_table(bins, patch, heights, widths)
        sizes = trained.fit(heights, widths)
    if trained and bins.pad_tokens == "poster":
        table, grids = trained, trained.grids(sizes[:, 0], sizes[:, 1])
    else:
        table = make_table(Bins(shapes=shapes, group=group), patch, sizes[:, 0], sizes[:, 1])
        grids = token_grids(sizes[:, 0], sizes[:, 1], patch)
    count = len(manifest)
    source = Source(
        root=Path(config.data.root) if config.data.root else manifest.source,
        paths=manifest.paths,
        heights=manifest.heights,
        widths=manifest.widths,
        sizes=_put(np.ones((count, 2), np.int32), records, sizes),
        grids=_put(np.ones((count, 2), np.int32), records, grids),
        labels=np.empty((count, 0), np.int32),
        patch=patch,
        channels=config.model.channels,
        dtype=config.data.dtype,
        intensity=config.data.intensity,
        cache_bytes=config.data.cache_mib << 20,
    )
    bucket = _put(np.full(count, -1, np.int32), records, table.assign(sizes[:, 0], sizes[:, 1]))
    bound = config.train.tokens_per_device or Train.tokens_per_device  # 0, what fits, is training's
    rows = choose_rows(table.lengths, group, len(devices), 0, bound)
    mesh = sharding.make_mesh(devices=devices)
    return Reading(source, config.data, table.lengths, rows, bucket, group, table.pad_tokens == "masked", mesh)


def over_records(
    reading: Reading, program: Program, variables: Any, records: np.ndarray, told: Callable[[int], None] | None = None
) -> Visited:
    """A program's outputs for records, one compilation a bucket; an output does not depend on bucket or neighbours.

    Args:
      program: of rows that do not see each other; shapes of its outputs must not depend on a batch's length.
      variables: its first argument, copied to every device.
      records: int32 [n], distinct, of those the reading was made for.
      told: is given the number of images after each call.
    """
    (visited,) = in_pieces(reading, program, variables, records, max(1, len(records)), told)
    return visited


def in_pieces(
    reading: Reading, program: Program, variables: Any, records: np.ndarray, images: int,
    told: Callable[[int], None] | None = None,
) -> Iterator[Visited]:  # fmt: skip
    """As `over_records`, at most `images` records at a time, so that outputs of a large archive need not fit memory."""
    pieces = [records[at : at + images] for at in range(0, len(records), images)]
    of_piece = [reading.calls(piece) for piece in pieces]
    calls = [call for calls in of_piece for call in calls]
    source, data = reading.source, reading.data
    values = source.patch**2 * source.channels * np.dtype(source.dtype).itemsize
    largest = max(rows * length for rows, length in zip(reading.rows, reading.lengths, strict=True)) * values
    run = jax.jit(program)
    variables = jax.device_put(variables, sharding.replicated(reading.mesh))
    load = LoadCall(CallList(calls), reading.lengths, source)
    options = {"threads": data.threads, "prefetch_bytes": data.prefetch_mib << 20, "largest_bytes": largest}
    workers = data.workers if len(records) > _IN_PROCESS else 0
    with stream(load, 0, len(calls), workers=workers, **options) as elements:
        for piece, its_calls in zip(pieces, of_piece, strict=True):
            yield _gather(reading, run, variables, piece, islice(elements, len(its_calls)), told)


def _gather(
    reading: Reading, run: Any, variables: Any, records: np.ndarray, elements: Iterator[Loaded],
    told: Callable[[int], None] | None,
) -> Visited:  # fmt: skip
    order = np.argsort(records)
    read = np.zeros(len(records), bool)
    outputs: Any = None
    waiting: list[tuple[np.ndarray, np.ndarray, Any]] = []
    problems: list[tuple[int, str]] = []

    def fetch(record: np.ndarray, weight: np.ndarray, found: Any) -> None:
        nonlocal outputs
        found = jax.device_get(found)
        if outputs is None:
            outputs = jax.tree.map(lambda x: np.zeros((len(records), *x.shape[1:]), x.dtype), found)
        rows = np.flatnonzero(weight > 0)
        places = order[np.searchsorted(records, record[rows], sorter=order)]
        read[places] = True
        jax.tree.map(lambda whole, part: _put(whole, places, part[rows]), outputs, found)
        if told:
            told(int(np.sum(record != NO_RECORD)))

    by_rows = sharding.rows(reading.mesh)
    for loaded in elements:
        problems += loaded.problems
        batch = loaded.batch
        # Copies: an element may lie in a loader's memory, which the next ones need.
        with jax.set_mesh(reading.mesh):  # see `blueprint.Blueprint`
            found = run(variables, sharding.to_global(batch, by_rows))
        waiting.append((np.array(batch.record), np.array(batch.weight), found))
        if len(waiting) > _AHEAD:
            fetch(*waiting.pop(0))
    for left in waiting:
        fetch(*left)
    return Visited(records, outputs, read, tuple(sorted(problems)))


def _put(whole: np.ndarray, places: np.ndarray, parts: np.ndarray) -> np.ndarray:
    whole[places] = parts
    return whole
