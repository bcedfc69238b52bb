"""A state and compiled programs through the optimizer steps: loading, checkpoints, evaluations, stopping in time."""

import contextlib
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from radmae_jax.config import Augment, Config
from radmae_jax.data.batch import NO_RECORD
from radmae_jax.data.dataset import Dataset
from radmae_jax.data.loader import ClosingIterator, LoadCall, Loaded, stream
from radmae_jax.data.schedule import Calls
from radmae_jax.train import hosts, sharding
from radmae_jax.train.goodput import Ledger
from radmae_jax.train.origin import Interval, Origin
from radmae_jax.train.presence import Presence
from radmae_jax.train.programs import Program, Programs
from radmae_jax.train.saving import Saver
from radmae_jax.train.session import Profile
from radmae_jax.train.signals import stop_signals
from radmae_jax.train.state import Gathered, State
from radmae_jax.train.validation import Validation, draw_state, largest_bytes, report_unreadable
from radmae_jax.train.watch import Pending, RunStopped, Watch

# Steps between the times that processes compare what they have walked through.
_MEET = 50


@dataclass(frozen=True)
class Walk:
    """One session's fixed parts, and its steps."""

    config: Config
    workdir: Path
    dataset: Dataset
    calls: Calls
    mesh: jax.sharding.Mesh
    programs: Programs
    saver: Saver
    validation: Validation
    watch: Watch
    shown: np.ndarray  # records of the panels
    origin: Origin
    evaluations: Interval
    ledger: Ledger
    flops: np.ndarray  # of training on each record, float64 [N]

    def train(self, state: State, first_step: int, last_step: int, profile: bool) -> tuple[int, bool]:
        """Walks the steps; returns the last one done, and whether a signal ended the walk early.

        With several processes a signal to any one of them travels in the reports of the steps, which all of them have
        alike, so that all stop after the same step.
        """
        train, watch = self.config.train, self.watch
        gathered, pending, saved = self.programs.empty(), None, first_step
        missing = Presence(_to_stderr)
        with missing, stop_signals() as stopping, Profile(self.workdir, profile) as trace:
            try:
                with self._elements(first_step, last_step) as elements:
                    watch.restart_clock()
                    for step in range(first_step + 1, last_step + 1):
                        trace.step(step - first_step, train.profile_steps)
                        missing.at(step)
                        state, gathered, now = self._step(state, gathered, elements, step, bool(stopping))
                        earlier, pending = pending, now
                        if earlier is not None:
                            watch.settle(earlier)  # its report arrives while this step runs
                        # Asked once: a signal may come while a checkpoint or picture is made.
                        stop = watch.asked if hosts.several() else bool(stopping)
                        evaluate = len(self.validation.records) > 0 and self.evaluations.due(step, last_step)
                        draw = len(self.shown) > 0 and Interval(train.panels_every).due(step, last_step)
                        save = evaluate or stop or step == last_step or Interval(train.checkpoint_every).ends(step)
                        if save or draw:
                            settled, pending = pending, None
                            watch.settle(settled)  # a checkpoint waits for the step's own verdict
                        if step % _MEET == 0 and not save:
                            self._meet(step)
                        if evaluate:
                            self.evaluate_and_save(state, step)
                        elif save:
                            self._save(state, step, None)
                        saved = step if save else saved
                        if draw and self.programs.predict:
                            self._draw(self.programs.predict, state, step)
                        if save or draw:
                            watch.restart_clock()
                        if stop:
                            break
                        if watch.out_of_patience:
                            watch.writer.say(
                                f"stopped early: {train.patience} evaluations without a better one; step {step} of "
                                f"{last_step}"
                            )
                            break
            except BaseException as error:
                if hosts.several() and not isinstance(error, RunStopped):
                    raise  # of this process alone: the others cannot save with it
                # The state is finite whatever happened: a step that was not is never applied.
                saved = self._rescue(state, pending, saved)
                # Asked to stop while something broke: what was asked for is done, all is saved.
                if not stopping or isinstance(error, RunStopped):
                    raise
                watch.writer.say(f"broke off while stopping: {type(error).__name__}")
            with self.ledger.during("checkpoint"):
                self.saver.finish()
            asked = watch.asked if hosts.several() else bool(stopping)
            interrupted = asked and saved < last_step and not watch.out_of_patience
            if interrupted:
                why = stopping[0] if stopping else "asked to stop by another process"
                watch.writer.say(f"{why}: saved after step {saved}; the same command goes on from here")
            return saved, interrupted

    def _rescue(self, state: State, pending: Pending | None, saved: int) -> int:
        """Saves what was trained when the walk breaks off, its last step settled; returns the newest saved step."""
        if pending is not None:
            with contextlib.suppress(RunStopped):  # a limit was passed: already on its way
                self.watch.settle(pending)
        if any(leaf.is_deleted() for leaf in jax.tree.leaves(state)):  # apply itself broke off, its input is gone
            return saved
        step = int(state.step)
        if step > saved:
            self._save(state, step, None)
        else:
            self._meet(step)  # what other processes could not read may be why the run stops
        self.saver.settle()
        return max(step, saved)

    def _elements(self, first_step: int, last_step: int) -> ClosingIterator:
        """The loaded program calls of these steps, in order."""
        load = LoadCall(
            self.calls.call, self.calls.schedule.lengths, self.dataset.source, jax.process_index(),
            jax.process_count(), augmented=self.config.augment != Augment(),
        )  # fmt: skip
        start, stop = self._call_range(first_step).start, self._call_range(last_step - 1).stop
        data = self.config.data
        largest = largest_bytes(self.calls, self.dataset)
        return stream(
            load, start, stop, workers=data.workers, threads=data.threads,
            prefetch_bytes=data.prefetch_mib << 20, largest_bytes=largest,
        )  # fmt: skip

    def _call_range(self, step: int) -> range:
        """Numbers of the program calls of the step after `step` steps."""
        epoch, within = divmod(self.origin.position_of(step), self.calls.schedule.steps_per_epoch)
        return self.calls.in_step(epoch, within)

    def _step(
        self, state: State, gathered: Gathered, elements: Iterator[Loaded], step: int, asked: bool
    ) -> tuple[State, Gathered, Pending]:
        """One optimizer step: its program calls, then apply."""
        waited, padded, records, flops = 0.0, 0, [], 0.0
        by_rows = sharding.rows(self.mesh)
        for number in self._call_range(step - 1):
            began = time.perf_counter()
            with self.ledger.during("data"):
                loaded = next(elements)
            waited += time.perf_counter() - began
            if loaded.number != number:
                raise RuntimeError(f"the loader gave call {loaded.number} where {number} was due")
            report_unreadable(self.watch.writer, step, loaded.problems)
            program = self.programs.accumulate[loaded.bucket]
            batch = sharding.to_global(loaded.batch, by_rows)
            # A device holds the images of the call before and of this one, no more, as `fit.total_bytes` counts them.
            jax.block_until_ready(gathered)
            gathered = program.call(state.params, state.tables, gathered, batch)
            padded += program.rows * program.tokens
            shape = f"{number} {program.rows} {program.tokens}"
            self.watch.walked = zlib.crc32(shape.encode(), self.watch.walked)
            flops += float(self.flops[_real(self.calls.call(number).records)].sum())
            records += _real(loaded.batch.record).tolist()
        state, gathered, report = self.programs.apply.call(state, gathered, asked)
        epoch = self.origin.position_of(step - 1) // self.calls.schedule.steps_per_epoch
        return state, gathered, Pending(step, epoch, report, waited, padded, records, flops)

    def _draw(self, predict: Program, state: State, step: int) -> None:
        writer = self.watch.writer
        with self.ledger.during("pictures"):
            try:
                draw_state(self.config, self.dataset, self.mesh, predict, self.shown, state, step, self.workdir, writer)
            except OSError as error:  # storage is full, or away
                writer.say(f"the pictures after step {step} could not be written: {error.strerror}")

    def _meet(self, step: int) -> None:
        """Compares with the other processes what was walked through, and writes what only they have seen."""
        if not hosts.several():
            return
        writer = self.watch.writer
        hosts.agree({"step": step, "the calls and shapes walked through": self.watch.walked})
        for process, held in enumerate(hosts.gather(writer.take_held())):
            for event in held:
                writer.event(event["step"], {"host": process, **event["record"]}, f"host {process}: {event['text']}")

    def evaluate_and_save(self, state: State, step: int) -> None:
        """An evaluation, and a checkpoint that has its figures."""
        objective = self.validation.objective
        with self.ledger.during("evaluate"):
            figures = self.validation.figures(state, step)
        self.watch.validation = figures
        self.watch.writer.validation(step, figures, objective.describe(figures))
        self.watch.judge(step, objective.goodness(figures), due=self.evaluations.ends(step))
        self._save(state, step, figures)

    def save_origin(self, state: State) -> None:
        """Saves the state that a continued run begins with before its first step, so that it needs the run before no
        more."""
        self._save(state, self.origin.step, None)
        with self.ledger.during("checkpoint"):
            self.saver.settle()

    def _save(self, state: State, step: int, figures: dict[str, float] | None) -> None:
        self._meet(step)
        with self.ledger.during("checkpoint"):
            self.saver.save(state, self.watch.tally, step, figures)
        self.watch.writer.spent(step, self.ledger.spent())


def _real(records: np.ndarray) -> np.ndarray:
    return records[records != NO_RECORD]


def _to_stderr(text: str) -> None:
    print(f"radmae: {text}", file=sys.stderr, flush=True)
