"""Sizes, a bucket table and a seed to every program call of a training run, before any pixel is read."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from radmae_jax.config import Config
from radmae_jax.data.batch import NO_RECORD
from radmae_jax.data.binning import BucketTable
from radmae_jax.data.leftovers import choose_moves, group_counts

# Stored in checkpoints; raise it when the same inputs would give another order.
VERSION = 2
_ONE_STEP = 2**31  # images a step for which any evaluation is one step
_SHUFFLE = 0x5C4ED  # keeps this stream apart from others drawn from the same (seed, epoch)


class Call(NamedTuple):
    """One program call: rows of one bucket."""

    epoch: int
    step: int  # optimizer step within the epoch
    bucket: int
    records: np.ndarray  # int32 [rows], NO_RECORD in filler rows


class Epoch(NamedTuple):
    """The groups of one epoch in the order they are computed."""

    records: np.ndarray  # int32 [groups, G]
    bucket: np.ndarray  # int32 [groups]
    step: np.ndarray  # int32 [groups], not falling


@dataclass(frozen=True, eq=False)
class Schedule:
    """Which images meet in which bucket at which step: a pure function of its fields.

    Leftovers of a bucket, images that fill no whole group, move up to the next larger one or are completed with
    filler rows, whichever computes fewer tokens; with move_up off every bucket fills its own last group.
    """

    records: np.ndarray  # int32 [N], rows of the manifest that take part
    bucket: np.ndarray  # int32 [N], the bucket each fits
    lengths: tuple[int, ...]  # tokens of each bucket
    group: int  # G
    images_per_step: int
    seed: int
    move_up: bool = True

    def __post_init__(self):
        if len(self.records) == 0:
            raise ValueError("no images: a schedule needs at least one")
        if len(self.records) != len(self.bucket):
            raise ValueError(f"{len(self.records)} records but {len(self.bucket)} buckets")

    @functools.cached_property
    def groups_per_bucket(self) -> tuple[int, ...]:
        """Groups of each bucket in an epoch; the same in every epoch."""
        return group_counts(self._counts, self.group, self._moves)

    @functools.cached_property
    def _counts(self) -> np.ndarray:
        return np.bincount(self.bucket, minlength=len(self.lengths))

    @functools.cached_property
    def _moves(self) -> tuple[bool, ...]:
        """Whether each bucket's leftovers move up."""
        return choose_moves(self._counts, self.lengths, self.group) if self.move_up else (False,) * len(self.lengths)

    @functools.cached_property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch, known before training."""
        groups = sum(self.groups_per_bucket)
        return min(groups, max(1, round(groups * self.group / self.images_per_step)))

    @property
    def scheduled_tokens(self) -> int:
        """Tokens computed in an epoch, padding and filler rows included."""
        return sum(n * self.group * length for n, length in zip(self.groups_per_bucket, self.lengths, strict=True))

    def epoch(self, number: int) -> Epoch:
        """The groups of one epoch. Every record is in exactly one."""
        rng = np.random.default_rng([self.seed, number, _SHUFFLE])
        records, buckets = [], []
        moved = np.empty(0, np.int32)
        for bucket in range(len(self.lengths)):
            own = rng.permutation(self.records[self.bucket == bucket])
            # What moved up goes first: it is dealt here for good, and the new leftovers are the bucket's own.
            members = np.concatenate([moved, own]).astype(np.int32)
            whole = len(members) // self.group * self.group
            if self._moves[bucket]:
                members, moved = members[:whole], members[whole:]
            else:
                moved = members[:0]
                filler = np.full(-len(members) % self.group, NO_RECORD, np.int32)
                members = np.concatenate([members, filler])
            records.append(members.reshape(-1, self.group))
            buckets += [bucket] * (len(members) // self.group)
        groups, of_bucket = np.concatenate(records), np.asarray(buckets, np.int32)
        step = self._deal(rng, of_bucket)
        order = np.argsort(step, kind="stable")
        return Epoch(groups[order], of_bucket[order], step[order])

    def _deal(self, rng: np.random.Generator, bucket: np.ndarray) -> np.ndarray:
        """The step of each group, int32: dealt round by round, so that every step gets its share of every bucket.

        Size goes with anatomy: a step of one bucket would be a step of one body part.
        """
        shuffled = rng.permutation(len(bucket))
        by_bucket = shuffled[np.argsort(bucket[shuffled], kind="stable")]
        steps = self.steps_per_epoch
        rounds = -(-len(bucket) // steps)
        deck = np.concatenate([rng.permutation(steps) for _ in range(rounds)])[: len(bucket)]
        step = np.empty(len(bucket), np.int32)
        step[by_bucket] = deck
        return step


def training_schedule(config: Config, table: BucketTable, records: np.ndarray, bucket: np.ndarray) -> Schedule:
    """The schedule of some records.

    Args:
      records: int32 [n], those that take part.
      bucket: int32 [N], the bucket of every record of the archive.
    """
    return Schedule(
        records=records,
        bucket=bucket[records],
        lengths=table.lengths,
        group=1 if table.policy == "exact" else config.bins.group,
        images_per_step=config.train.images_per_step,
        seed=config.train.seed,
        move_up=table.pad_tokens == "masked",  # the poster's bins are part of an image: it cannot move
    )


@dataclass(frozen=True, eq=False)
class Calls:
    """A schedule cut into program calls, numbered through the whole run.

    A group of G images runs as G / rows calls of its bucket's program; rows depends on the hardware, the groups and
    the steps do not.
    """

    schedule: Schedule
    rows: tuple[int, ...]  # rows of each bucket's program, divisors of G

    def __post_init__(self):
        for rows in self.rows:
            if self.schedule.group % rows:
                raise ValueError(f"{rows} rows do not divide a group of {self.schedule.group} images")

    @functools.cached_property
    def per_epoch(self) -> int:
        """Program calls of an epoch; the same in every epoch."""
        counts = zip(self.schedule.groups_per_bucket, self.rows, strict=True)
        return sum(groups * (self.schedule.group // rows) for groups, rows in counts)

    def in_step(self, epoch: int, step: int) -> range:
        """Numbers of the calls of one optimizer step (step counted within the epoch)."""
        starts = _call_starts(self, epoch)
        first, last = np.searchsorted(_epoch(self.schedule, epoch).step, [step, step + 1])
        offset = epoch * self.per_epoch
        return range(offset + int(starts[first]), offset + int(starts[last]))

    def call(self, number: int) -> Call:
        """The call of that number."""
        epoch, within = divmod(number, self.per_epoch)
        plan, starts = _epoch(self.schedule, epoch), _call_starts(self, epoch)
        at = int(np.searchsorted(starts, within, side="right")) - 1
        bucket = int(plan.bucket[at])
        rows = self.rows[bucket]
        part = within - int(starts[at])
        return Call(epoch, int(plan.step[at]), bucket, plan.records[at, part * rows : (part + 1) * rows])


# Loaders read across the end of an epoch while the trainer is still before it: two epochs, of two splits.
@functools.lru_cache(maxsize=4)
def _epoch(schedule: Schedule, number: int) -> Epoch:
    return schedule.epoch(number)


@functools.lru_cache(maxsize=4)
def _call_starts(calls: Calls, epoch: int) -> np.ndarray:
    """First call of each group of an epoch, and one past the last."""
    per_group = calls.schedule.group // np.asarray(calls.rows)[_epoch(calls.schedule, epoch).bucket]
    return np.concatenate([[0], np.cumsum(per_group)])


def one_pass(calls: Calls, records: np.ndarray, bucket: np.ndarray) -> list[Call]:
    """The calls that visit other records once in a fixed order, with the same programs, for evaluation."""
    old = calls.schedule
    schedule = Schedule(records, bucket, old.lengths, old.group, _ONE_STEP, old.seed, move_up=False)
    single = Calls(schedule, calls.rows)
    found = [single.call(number) for number in range(single.per_epoch)]
    return [call for call in found if np.any(call.records != NO_RECORD)]


def allowed_rows(group: int, devices: int) -> list[int]:
    """Rows that a program's call may have, ascending: divisors of the group and multiples of the devices."""
    if group % devices:
        raise ValueError(f"groups of {group} images (1 under policy exact): no multiple of the {devices} devices")
    return [n for n in range(devices, group + 1, devices) if group % n == 0]


def choose_rows(
    lengths: tuple[int, ...], group: int, devices: int, fixed: int, tokens_per_device: int
) -> tuple[int, ...]:
    """Rows of each bucket's program: divisors of the group and multiples of the devices.

    fixed > 0 asks for that many everywhere; else the most whose tokens a device stay within the bound, and one row a
    device where even that is beyond it. ValueError where devices do not divide the group.
    """
    allowed = allowed_rows(group, devices)
    if fixed:
        if fixed not in allowed:
            raise ValueError(f"config.train.rows is {fixed}; with groups of {group} on {devices} devices: {allowed}")
        return (fixed,) * len(lengths)
    return tuple(
        max([n for n in allowed if n // devices * length <= tokens_per_device] or allowed[:1]) for length in lengths
    )
