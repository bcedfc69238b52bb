"""A configuration and a work directory to a pre-trained model: the whole run, read from top to bottom."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from radmae_jax.config import Config, differences, read_json, to_dict
from radmae_jax.data.batch import NO_RECORD, Batch
from radmae_jax.data.dataset import Dataset, open_dataset
from radmae_jax.data.loader import ClosingIterator, LoadCall, Loaded, stream
from radmae_jax.data.schedule import VERSION, Calls, choose_rows
from radmae_jax.model.mae import build
from radmae_jax.train import checkpoint, sharding
from radmae_jax.train.checkpoint import Premises
from radmae_jax.train.metrics import Writer
from radmae_jax.train.panels import Predict, make_predict
from radmae_jax.train.programs import Programs, compile_programs, table_of
from radmae_jax.train.state import Gathered, State
from radmae_jax.train.validation import Validation, draw_state, largest_bytes, panel_batch, validation_records
from radmae_jax.train.watch import Pending, Watch


@dataclass(frozen=True)
class Outcome:
    """How a session of a run ended."""

    step: int
    total_steps: int
    loss: float  # of the last step
    validation: dict[str, float]  # of the last evaluation; empty without one
    seconds: float
    compile_seconds: float
    images: int  # seen in this session
    tokens: int  # theirs
    padded_tokens: int  # computed for them
    unreadable: int
    nonfinite_steps: int
    interrupted: bool  # by SIGTERM or SIGINT
    programs: list[dict[str, Any]]


def pretrain(
    config: Config,
    workdir: Path,
    *,
    devices: list[Any] | None = None,
    profile: bool = False,
    quiet: bool = False,
) -> Outcome:
    """Pre-trains a ViT-MAE, going on from WORKDIR's newest checkpoint if there is one.

    Raises CheckpointError where that checkpoint belongs to another run, RunStopped after too many steps that were
    not finite or too many records that could not be read; what was trained before is saved first.
    """
    started = time.perf_counter()
    workdir.mkdir(parents=True, exist_ok=True)

    # Everything about shapes is known here, before a pixel is read.
    dataset = open_dataset(config)
    schedule = dataset.schedule(config)
    mesh = sharding.make_mesh(config.train.fsdp, devices)
    rows = choose_rows(schedule.lengths, schedule.group, mesh.size, config.train.rows, config.train.tokens_per_device)
    calls = Calls(schedule, rows)
    total_steps = schedule.steps_per_epoch * config.train.epochs
    last_step = min(total_steps, config.train.max_steps or total_steps)
    model = build(config.model)
    evaluated = validation_records(dataset, config)

    with checkpoint.open_manager(workdir, config.train.keep_checkpoints) as manager:
        first_step = manager.latest_step() or 0
        premises = _premises(config, dataset, schedule.steps_per_epoch)
        if first_step:  # before minutes of compiling
            checkpoint.check_premises(manager, premises, first_step)
        writer = Writer(workdir, first_step, last_step, schedule.lengths, quiet)
        try:
            for line in _changes(workdir, config):
                writer.say(f"changed since the last session: {line}")
            programs = compile_programs(
                config, model, mesh, schedule.lengths, rows, schedule.steps_per_epoch,
                training={bucket for bucket, groups in enumerate(schedule.groups_per_bucket) if groups},
                validation=set(dataset.bucket[evaluated].tolist()),
                told=lambda p: writer.say(f"compiled {p.kind} {p.tokens or ''} in {p.compile_seconds:.1f} s"),
            )  # fmt: skip
            writer.console.print(table_of(programs.all()))

            # Resume this run, or start from scratch.
            if first_step:
                state = checkpoint.restore(manager, programs.abstract, first_step)
                writer.say(f"going on from the checkpoint after step {first_step} of {total_steps}")
            else:
                state = programs.init()
            (workdir / "config.json").write_text(json.dumps(to_dict(config), indent=2) + "\n")

            watch = Watch(config, writer, len(schedule.records))
            validation = Validation(config, dataset, calls, mesh, programs, evaluated)
            run = _Run(config, workdir, dataset, calls, mesh, programs, manager, premises, validation, watch)
            panels = (panel_batch(dataset, config), make_predict(model, config.loss, config.train.seed))
            step, interrupted = run.train(state, first_step, last_step, panels, profile)
        finally:
            writer.close()
    return Outcome(
        step, total_steps, watch.loss, watch.validation, time.perf_counter() - started,
        sum(p.compile_seconds for p in programs.all()), watch.images, watch.tokens, watch.padded_tokens,
        watch.unreadable, watch.nonfinite_steps, interrupted, [p.facts() for p in programs.all()],
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

    def train(
        self, state: State, first_step: int, last_step: int, panels: tuple[Batch, Predict], profile: bool
    ) -> tuple[int, bool]:
        """Walks the steps; returns the last one done, and whether a signal ended the walk early."""
        train, watch = self.config.train, self.watch
        if first_step >= last_step:
            watch.writer.say(f"nothing to do: step {first_step} of {last_step} is done")
            return first_step, False
        gathered, pending, saved, step = self.programs.empty(), None, first_step, first_step
        with _stop_signals() as stopping, self._elements(first_step, last_step) as elements:
            watch.restart_clock()
            try:
                for step in range(first_step + 1, last_step + 1):
                    if profile and step == first_step + 2:
                        jax.profiler.start_trace(str(self.workdir / "profile"))
                    state, gathered, now = self._step(state, gathered, elements, step)
                    if pending is not None:
                        watch.settle(pending)  # its report arrives while this step runs
                    pending = now
                    if profile and step == first_step + 1 + train.profile_steps:
                        jax.block_until_ready(state)
                        jax.profiler.stop_trace()
                    evaluate = len(self.validation.records) > 0 and _due(step, train.evaluate_every, last_step)
                    draw = _due(step, train.panels_every, last_step)
                    last = step == last_step
                    save = evaluate or last or bool(stopping) or _due(step, train.checkpoint_every, last_step)
                    if save or draw:
                        watch.settle(pending)  # a checkpoint waits for the step's own verdict
                        pending = None
                    if save:
                        self._save(state, step, self._evaluate(state, step) if evaluate else None)
                        saved = step
                    if draw:
                        draw_state(self.config, *panels, state, step, self.workdir)
                    if save or draw:
                        watch.restart_clock()
                    if stopping:
                        watch.writer.say(f"{stopping[0]}: saved after step {step}; the same command goes on from here")
                        break
            except BaseException:
                # The state is finite whatever happened: a step that was not is never applied. A donated state is gone.
                if not any(leaf.is_deleted() for leaf in jax.tree.leaves(state)) and int(state.step) > saved:
                    self._save(state, int(state.step), None)
                raise
        self.manager.wait_until_finished()
        return step, bool(stopping) and step < last_step

    def _elements(self, first_step: int, last_step: int) -> ClosingIterator:
        """The loaded program calls of these steps, in order."""
        load = LoadCall(
            self.calls.call, self.calls.schedule.lengths, self.dataset.source, jax.process_index(), jax.process_count()
        )
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
            for record, reason in loaded.problems:
                problem = {"unreadable": record, "reason": reason}
                self.watch.writer.event(step, problem, f"step {step}: record {record} could not be read: {reason}")
            program = self.programs.accumulate[loaded.bucket]
            batch = sharding.to_global(loaded.batch, by_rows)
            gathered = program.call(state.params, state.tables, gathered, batch)
            padded += program.rows * program.tokens
            records += loaded.batch.record[loaded.batch.record != NO_RECORD].tolist()
        state, gathered, report = self.programs.apply.call(state, gathered)
        epoch = (step - 1) // self.calls.schedule.steps_per_epoch
        return state, gathered, Pending(step, epoch, report, waited, padded, records)

    def _evaluate(self, state: State, step: int) -> dict[str, float]:
        losses = self.validation.losses(state)
        self.watch.validation = losses
        self.watch.writer.validation(step, losses)
        return losses

    def _save(self, state: State, step: int, losses: dict[str, float] | None) -> None:
        checkpoint.save(self.manager, state, self.premises, step, checkpoint.bit_sums(state), losses)


def _due(step: int, every: int, last: int) -> bool:
    """Whether something done every so many steps, and at the end, is due; 0 is never."""
    return every > 0 and (step % every == 0 or step == last)


@contextmanager
def _stop_signals() -> Iterator[list[str]]:
    """A list that holds the name of the signal once SIGTERM or SIGINT came; a second one acts at once."""
    received: list[str] = []
    previous = {}

    def note(number: int, _frame: object) -> None:
        received.append(signal.Signals(number).name)
        signal.signal(number, previous[number])

    for number in (signal.SIGTERM, signal.SIGINT):
        previous[number] = signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _changes(workdir: Path, config: Config) -> list[str]:
    """Settings that differ from the ones this work directory was last run with."""
    path = workdir / "config.json"
    return differences(read_json(path), config) if path.exists() else []


def _premises(config: Config, dataset: Dataset, steps_per_epoch: int) -> Premises:
    model = to_dict(config.model)
    for how in ("dtype", "attention", "remat", "unroll"):  # how it is computed, not what
        model.pop(how)
    return Premises(
        seed=config.train.seed,
        manifest=dataset.manifest.hash,
        split=dataset.split.hash,
        policy=dataset.table.policy,
        pad_tokens=dataset.table.pad_tokens,
        patch=dataset.table.patch,
        lengths=dataset.table.lengths,
        group=config.bins.group,
        images_per_step=config.train.images_per_step,
        steps_per_epoch=steps_per_epoch,
        epochs=config.train.epochs,
        dtype=config.data.dtype,
        intensity=config.data.intensity,
        schedule_version=VERSION,
        model=model,
        loss=to_dict(config.loss),
    )
