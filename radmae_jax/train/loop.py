"""A configuration and a work directory to a trained model: the whole run, read from top to bottom."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from radmae_jax.config import Augment, Config
from radmae_jax.data.batch import NO_RECORD
from radmae_jax.data.dataset import Dataset, open_dataset
from radmae_jax.data.loader import ClosingIterator, LoadCall, Loaded, stream
from radmae_jax.data.schedule import Calls, choose_rows
from radmae_jax.train import checkpoint, sharding
from radmae_jax.train.blueprint import make_blueprint
from radmae_jax.train.metrics import Writer
from radmae_jax.train.premises import Premises, premises_of
from radmae_jax.train.programs import Programs, compile_programs, table_of
from radmae_jax.train.session import Profile, about, changes, keep_start, stop_signals, write_config, write_start
from radmae_jax.train.start import begin, choose_start
from radmae_jax.train.state import Gathered, State
from radmae_jax.train.task import objective_of
from radmae_jax.train.validation import (
    Validation,
    draw_state,
    largest_bytes,
    panel_records,
    report_unreadable,
    validation_records,
)
from radmae_jax.train.watch import Pending, RunStopped, Tally, Watch


@dataclass(frozen=True)
class Outcome:
    """How a session of a run ended."""

    step: int
    total_steps: int
    loss: float | None  # of the last step; None where nothing was left to do
    validation: dict[str, float]  # figures of the last evaluation; empty without one
    seconds: float
    compile_seconds: float
    images: int  # seen in this session
    tokens: int  # theirs
    padded_tokens: int  # computed for them
    unreadable: int
    nonfinite_steps: int
    interrupted: bool  # by SIGTERM or SIGINT
    stopped_early: bool  # by config.train.patience
    programs: list[dict[str, Any]]


def train_run(
    config: Config,
    workdir: Path,
    *,
    devices: list[Any] | None = None,
    profile: bool = False,
    quiet: bool = False,
) -> Outcome:
    """Trains what config.task says, going on from WORKDIR's newest checkpoint if there is one.

    Raises CheckpointError where that checkpoint belongs to another run, ConvertError where config.train.start does not
    fit, LeakageError where it was trained on test patients, RunStopped after too many steps that were not finite or too
    many records that could not be read; what was trained before is saved first.
    """
    started = time.perf_counter()
    workdir.mkdir(parents=True, exist_ok=True)

    # Everything about shapes is known here, before a pixel is read.
    dataset = open_dataset(config)
    config = replace(config, task=replace(config.task, classes=dataset.classes))  # as the data resolved them
    objective = objective_of(config, dataset.class_images())
    schedule = dataset.schedule(config)
    mesh = sharding.make_mesh(config.train.fsdp, devices)
    rows = choose_rows(schedule.lengths, schedule.group, mesh.size, config.train.rows, config.train.tokens_per_device)
    calls = Calls(schedule, rows)
    total_steps = schedule.steps_per_epoch * config.train.epochs
    last_step = min(total_steps, config.train.max_steps or total_steps)
    evaluated = validation_records(dataset, config)
    shown = panel_records(dataset, config) if objective.predict else np.empty(0, np.int32)

    keep, keep_every = config.train.keep_checkpoints, config.train.keep_every
    with checkpoint.open_manager(workdir, keep, objective.goodness, keep_every) as manager:
        first_step = manager.latest_step() or 0
        premises = premises_of(config, dataset, schedule.steps_per_epoch)
        tally, given, said = Tally(), None, []
        if first_step:  # before minutes of compiling
            checkpoint.check_premises(manager, premises, first_step)
            tally = checkpoint.read_tally(manager, first_step)
            config, said = keep_start(workdir, config)
        else:
            given, said = choose_start(config, dataset, workdir)
        writer = Writer(workdir, first_step, last_step, schedule.lengths, quiet)
        watch = Watch(config, writer, len(schedule.records), tally)
        programs, step, interrupted = [], first_step, False
        try:
            for line in [*said, *changes(workdir, config), *about(dataset, config)]:
                writer.say(line)
            every = _steps_between(config.train.evaluate_every, schedule.steps_per_epoch)
            # An evaluation that was due broke off: the checkpoint was saved without it.
            missed = len(evaluated) > 0 and _due(first_step, every, last_step) and tally.evaluated < first_step
            if (first_step >= last_step and not missed) or watch.out_of_patience:
                early = ", and it stopped early" if watch.out_of_patience else ""
                writer.say(f"nothing to do: step {first_step} of {last_step} is done{early}")
            else:
                compiled = compile_programs(
                    make_blueprint(config, objective, mesh, schedule.lengths, rows, schedule.steps_per_epoch),
                    training={bucket for bucket, groups in enumerate(schedule.groups_per_bucket) if groups},
                    validation=set(dataset.bucket[evaluated].tolist()),
                    panels=int(dataset.bucket[shown].max()) if len(shown) else None,
                    told=lambda p: writer.say(f"compiled {p.kind} {p.tokens or ''} in {p.compile_seconds:.1f} s"),
                )  # fmt: skip
                programs = compiled.all()
                writer.console.print(table_of(programs))
                if first_step:
                    state = checkpoint.restore(manager, compiled.abstract, first_step)
                    writer.say(f"going on from the checkpoint after step {first_step} of {total_steps}")
                else:
                    state = compiled.init()
                    if given is not None:
                        state, lines = begin(state, given, config)
                        write_start(workdir, lines)
                        for line in lines:
                            writer.say(f"start: {line}")
                write_config(workdir, config)
                validation = Validation(config, objective, dataset, calls, mesh, compiled, writer, evaluated)
                run = _Run(
                    config, workdir, dataset, calls, mesh, compiled, manager, premises, validation, watch, shown, every
                )  # fmt: skip
                if missed:
                    run.evaluate_and_save(state, first_step)
                if first_step < last_step and not watch.out_of_patience:
                    step, interrupted = run.train(state, first_step, last_step, profile)
                manager.wait_until_finished()
        finally:
            writer.close()
    return Outcome(
        step, total_steps, watch.loss, watch.validation, time.perf_counter() - started,
        sum(p.compile_seconds for p in programs), watch.images, watch.tokens, watch.padded_tokens,
        watch.unreadable, watch.nonfinite_steps, interrupted, watch.out_of_patience, [p.facts() for p in programs],
    )  # fmt: skip


@dataclass(frozen=True)
class _Run:
    """One session's fixed parts, and its steps."""

    config: Config
    workdir: Path
    dataset: Dataset
    calls: Calls
    mesh: jax.sharding.Mesh
    programs: Programs
    manager: ocp.CheckpointManager
    premises: Premises
    validation: Validation
    watch: Watch
    shown: np.ndarray  # records of the panels
    every: int  # steps between evaluations

    def train(self, state: State, first_step: int, last_step: int, profile: bool) -> tuple[int, bool]:
        """Walks the steps; returns the last one done, and whether a signal ended the walk early."""
        train, watch = self.config.train, self.watch
        gathered, pending, saved = self.programs.empty(), None, first_step
        with stop_signals() as stopping, Profile(self.workdir, profile) as trace:
            try:
                with self._elements(first_step, last_step) as elements:
                    watch.restart_clock()
                    for step in range(first_step + 1, last_step + 1):
                        trace.step(step - first_step, train.profile_steps)
                        state, gathered, now = self._step(state, gathered, elements, step)
                        earlier, pending = pending, now
                        if earlier is not None:
                            watch.settle(earlier)  # its report arrives while this step runs
                        stop = bool(stopping)  # asked once: a signal may come while a checkpoint or picture is made
                        evaluate = len(self.validation.records) > 0 and _due(step, self.every, last_step)
                        draw = len(self.shown) > 0 and _due(step, train.panels_every, last_step)
                        save = evaluate or stop or step == last_step or _due(step, train.checkpoint_every, last_step)
                        if save or draw:
                            settled, pending = pending, None
                            watch.settle(settled)  # a checkpoint waits for the step's own verdict
                        if evaluate:
                            self.evaluate_and_save(state, step)
                        elif save:
                            self._save(state, step, None)
                        saved = step if save else saved
                        if draw and self.programs.predict:
                            draw_state(
                                self.config, self.dataset, self.mesh, self.programs.predict, self.shown, state, step,
                                self.workdir, watch.writer,
                            )  # fmt: skip
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
                # The state is finite whatever happened: a step that was not is never applied.
                saved = self._rescue(state, pending, saved)
                # Asked to stop while something broke: what was asked for is done, all is saved.
                if not stopping or isinstance(error, RunStopped):
                    raise
                watch.writer.say(f"broke off while stopping: {type(error).__name__}")
            self.manager.wait_until_finished()
            interrupted = bool(stopping) and saved < last_step and not watch.out_of_patience
            if interrupted:
                watch.writer.say(f"{stopping[0]}: saved after step {saved}; the same command goes on from here")
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
        self.manager.wait_until_finished()
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
        """Numbers of the program calls of a step, counted from 0 over the whole run."""
        epoch, within = divmod(step, self.calls.schedule.steps_per_epoch)
        return self.calls.in_step(epoch, within)

    def _step(
        self, state: State, gathered: Gathered, elements: Iterator[Loaded], step: int
    ) -> tuple[State, Gathered, Pending]:
        """One optimizer step: its program calls, then apply."""
        waited, padded, records = 0.0, 0, []
        by_rows = sharding.rows(self.mesh)
        for number in self._call_range(step - 1):
            asked = time.perf_counter()
            loaded = next(elements)
            waited += time.perf_counter() - asked
            if loaded.number != number:
                raise RuntimeError(f"the loader gave call {loaded.number} where {number} was due")
            report_unreadable(self.watch.writer, step, loaded.problems)
            program = self.programs.accumulate[loaded.bucket]
            batch = sharding.to_global(loaded.batch, by_rows)
            gathered = program.call(state.params, state.tables, gathered, batch)
            padded += program.rows * program.tokens
            records += loaded.batch.record[loaded.batch.record != NO_RECORD].tolist()
        state, gathered, report = self.programs.apply.call(state, gathered)
        epoch = (step - 1) // self.calls.schedule.steps_per_epoch
        return state, gathered, Pending(step, epoch, report, waited, padded, records)

    def evaluate_and_save(self, state: State, step: int) -> None:
        """An evaluation, and a checkpoint that has its figures."""
        objective = self.validation.objective
        figures = self.validation.figures(state, step)
        self.watch.validation = figures
        self.watch.writer.validation(step, figures, objective.describe(figures))
        self.watch.judge(step, objective.goodness(figures), due=step % self.every == 0)
        self._save(state, step, figures)

    def _save(self, state: State, step: int, figures: dict[str, float] | None) -> None:
        checkpoint.save(self.manager, state, self.premises, self.watch.tally, step, figures)


def _due(step: int, every: int, last: int) -> bool:
    """Whether something done every so many steps, and at the end, is due; 0 is never."""
    return every > 0 and (step % every == 0 or step == last)


def _steps_between(every: int, steps_per_epoch: int) -> int:
    """Steps between evaluations: config.train.evaluate_every, which may say epochs."""
    return every if every >= 0 else -every * steps_per_epoch
