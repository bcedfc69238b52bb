"""Step reports, as they arrive from the device, to figures, warnings and the decision to stop."""

import math
import time
from collections import deque
from dataclasses import dataclass, field, replace

import jax
import numpy as np

from radmae_jax.config import Config
from radmae_jax.train.metrics import Rates, Writer
from radmae_jax.train.steps import StepReport

_NAMED = 20  # records named in a line for people; metrics.jsonl has them all
# Steps that speeds are averaged over: a report arrives while the next step runs, so single steps time each other.
_WINDOW = 10


class RunStopped(RuntimeError):
    """The run stopped itself; the message says why. What was trained before is saved."""


class Diverged(RunStopped):
    """Too many steps were not finite."""


@dataclass(frozen=True)
class Pending:
    """A step whose report may still be on the device."""

    step: int  # counted from 1
    epoch: int
    report: StepReport
    waited: float  # seconds for data
    padded_tokens: int
    records: list[int]  # of this host
    flops: float  # analytic, of all hosts' images at their own number of tokens


@dataclass(frozen=True)
class Tally:
    """What limits are counted by; kept in checkpoints, so that starting again is no way round them."""

    epoch: int = -1
    unreadable_in_epoch: int = 0
    nonfinite_steps: int = 0
    evaluated: int = 0  # step of the last evaluation
    best: float | None = None  # goodness of the best evaluation that was due
    since_best: int = 0  # evaluations since


@dataclass
class Watch:
    """What a session counts as it goes, and the limits it holds."""

    config: Config
    writer: Writer
    images_per_epoch: int
    tally: Tally = field(default_factory=Tally)
    loss: float | None = None  # of the newest settled step; None before one
    images: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    unreadable: int = 0
    nonfinite_steps: int = 0
    asked: bool = False  # whether some process was asked to stop
    peak: float | None = None  # FLOP/s of all devices by their vendor; None where it is not known
    walked: int = 0  # a checksum of the calls walked through, the same on every process
    validation: dict[str, float] = field(default_factory=dict)
    _clock: float = field(default_factory=time.perf_counter)
    _recent: deque = field(default_factory=lambda: deque(maxlen=_WINDOW))

    def restart_clock(self) -> None:
        """Leaves out of the steps' time what was not part of them."""
        self._clock = time.perf_counter()

    def settle(self, pending: Pending) -> None:
        """Takes a step's report in; RunStopped where a limit is passed."""
        report = StepReport(*jax.device_get(tuple(pending.report)))
        now = time.perf_counter()
        images, tokens = float(np.sum(report.images)), float(np.sum(report.tokens))
        seconds, self._clock = now - self._clock, now
        self._recent.append((images, tokens, seconds, pending.waited, pending.flops))
        self.loss = self.writer.step(pending.step, pending.epoch, report, self._rates(), pending.padded_tokens, seconds)
        self.images += int(images)
        self.tokens += int(tokens)
        self.padded_tokens += pending.padded_tokens
        self.unreadable += int(report.unreadable)
        self.asked = self.asked or bool(report.asked)
        self._count(pending, int(report.unreadable), bool(report.applied))
        self._hold_limits(pending)

    def judge(self, step: int, goodness: float, due: bool) -> None:
        """Takes in an evaluation; one that is not finite, or as good as the best, is not better.

        due: by config.train.evaluate_every; one at the end of a session says nothing of patience.
        """
        best = self.tally.best
        self.tally = replace(self.tally, evaluated=step)
        if due and math.isfinite(goodness) and (best is None or goodness > best):
            self.tally = replace(self.tally, best=goodness, since_best=0)
        elif due:
            self.tally = replace(self.tally, since_best=self.tally.since_best + 1)

    @property
    def out_of_patience(self) -> bool:
        """Whether config.train.patience evaluations went by without a better one."""
        return 0 < self.config.train.patience <= self.tally.since_best

    def _rates(self) -> Rates:
        images, tokens, seconds, waited, flops = (sum(column) for column in zip(*self._recent, strict=True))
        seconds = max(seconds, 1e-9)
        mfu = flops / seconds / self.peak if self.peak else math.nan
        return Rates(images / seconds, tokens / seconds, min(waited / seconds, 1.0), mfu)

    def _count(self, pending: Pending, unreadable: int, applied: bool) -> None:
        before = self.tally.unreadable_in_epoch if pending.epoch == self.tally.epoch else 0
        nonfinite = self.tally.nonfinite_steps + (not applied)
        self.tally = replace(
            self.tally, epoch=pending.epoch, unreadable_in_epoch=before + unreadable, nonfinite_steps=nonfinite
        )
        if not applied:
            self.nonfinite_steps += 1
            self.writer.event(
                pending.step,
                {"nonfinite": True, "records": pending.records},
                f"step {pending.step} was not finite and is not applied ({nonfinite} of "
                f"{self.config.train.max_nonfinite_steps}); {_named(pending.records)}",
            )
            if nonfinite >= self.config.train.max_nonfinite_steps:
                raise Diverged(
                    f"{nonfinite} steps were not finite; the last was {pending.step}, {_named(pending.records)}"
                )

    def _hold_limits(self, pending: Pending) -> None:
        unreadable, limit = self.tally.unreadable_in_epoch, self.config.data.max_unreadable
        if unreadable > limit * self.images_per_epoch:
            raise RunStopped(
                f"{unreadable} of {self.images_per_epoch} images of epoch {pending.epoch} could not be read, more than "
                f"config.data.max_unreadable = {limit:.2%}; `radmae index MANIFEST --show RECORD` prints a path"
            )


def _named(records: list[int]) -> str:
    more = f" and {len(records) - _NAMED} more" if len(records) > _NAMED else ""
    return f"records {', '.join(map(str, records[:_NAMED]))}{more}"
