"""Step reports, as they arrive from the device, to figures, warnings and the decision to stop."""

import time
from dataclasses import dataclass, field

import jax
import numpy as np

from radmae_jax.config import Config
from radmae_jax.train.metrics import Writer
from radmae_jax.train.steps import StepReport

_NAMED = 20  # records named in a line for people; metrics.jsonl has them all


class RunStopped(RuntimeError):
    """The run stopped itself; the message says why. What was trained before is saved."""


@dataclass(frozen=True)
class Pending:
    """A step whose report may still be on the device."""

    step: int  # counted from 1
    epoch: int
    report: StepReport
    waited: float  # seconds for data
    padded_tokens: int
    records: list[int]  # of this host


@dataclass
class Watch:
    """What a session counts as it goes, and the limits it holds."""

    config: Config
    writer: Writer
    images_per_epoch: int
    loss: float = float("nan")
    images: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    unreadable: int = 0
    nonfinite_steps: int = 0
    validation: dict[str, float] = field(default_factory=dict)
    _epoch: int = -1
    _unreadable_in_epoch: int = 0
    _clock: float = field(default_factory=time.perf_counter)

    def restart_clock(self) -> None:
        """Leaves out of the next step's time what was not part of it."""
        self._clock = time.perf_counter()

    def settle(self, pending: Pending) -> None:
        """Takes a step's report in; RunStopped where a limit is passed."""
        report = StepReport(*jax.device_get(tuple(pending.report)))
        now = time.perf_counter()
        seconds, self._clock = now - self._clock, now
        self.loss = self.writer.step(
            pending.step, pending.epoch, report, seconds, min(pending.waited, seconds), pending.padded_tokens
        )
        self.images += int(np.sum(report.images))
        self.tokens += int(np.sum(report.tokens))
        self.padded_tokens += pending.padded_tokens
        self._check_readable(pending, int(report.unreadable))
        if not report.applied:
            self._not_finite(pending)

    def _check_readable(self, pending: Pending, unreadable: int) -> None:
        if pending.epoch != self._epoch:
            self._epoch, self._unreadable_in_epoch = pending.epoch, 0
        self.unreadable += unreadable
        self._unreadable_in_epoch += unreadable
        limit = self.config.data.max_unreadable * self.images_per_epoch
        if self._unreadable_in_epoch > limit:
            raise RunStopped(
                f"{self._unreadable_in_epoch} of {self.images_per_epoch} images of epoch {pending.epoch} could not be "
                f"read, more than config.data.max_unreadable = {self.config.data.max_unreadable:.2%}; "
                "`radmae index --show RECORD` prints a record's path"
            )

    def _not_finite(self, pending: Pending) -> None:
        self.nonfinite_steps += 1
        named = ", ".join(map(str, pending.records[:_NAMED]))
        more = f" and {len(pending.records) - _NAMED} more" if len(pending.records) > _NAMED else ""
        limit = self.config.train.max_nonfinite_steps
        self.writer.event(
            pending.step,
            {"nonfinite": True, "records": pending.records},
            f"step {pending.step} was not finite and is not applied ({self.nonfinite_steps} of {limit}); "
            f"records {named}{more}",
        )
        if self.nonfinite_steps >= limit:
            raise RunStopped(f"{limit} steps were not finite; the last was {pending.step}, records {named}{more}")
