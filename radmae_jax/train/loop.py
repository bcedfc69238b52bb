"""A configuration and a work directory to a trained model: the whole run, read from top to bottom."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from radmae_jax.config import Config
from radmae_jax.data.dataset import open_dataset
from radmae_jax.data.schedule import Calls
from radmae_jax.train import checkpoint, hosts, sharding
from radmae_jax.train.blueprint import Blueprint, make_blueprint
from radmae_jax.train.continuation import check_other_run, continue_run, continues_another, keep_continuation
from radmae_jax.train.fit import device_bytes, least, rows_of
from radmae_jax.train.goodput import Ledger, peak_of, record_flops
from radmae_jax.train.metrics import Writer
from radmae_jax.train.origin import Origin, evaluation_interval
from radmae_jax.train.premises import common, origin_of, premises_of, with_origin
from radmae_jax.train.programs import compile_programs, table_of
from radmae_jax.train.saved import checkpoints_of
from radmae_jax.train.saving import Saver
from radmae_jax.train.session import about, changes, keep_start, made_place, write_config, write_start
from radmae_jax.train.start import begin, choose_start
from radmae_jax.train.task import objective_of
from radmae_jax.train.validation import Validation, panel_records, validation_records
from radmae_jax.train.walk import Walk
from radmae_jax.train.watch import Tally, Watch


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
    spent: dict[str, float]  # seconds of this session by part, see `goodput.PARTS`


def train_run(
    config: Config,
    workdir: Path,
    *,
    devices: list[Any] | None = None,
    profile: bool = False,
    quiet: bool = False,
) -> Outcome:
    """Trains what config.task says, going on from WORKDIR's newest checkpoint if there is one, else from the run that
    config.train.continue_from names, if any.

    Where several processes have joined (see `hosts.join`), each calls this with the same configuration and a WORKDIR
    that all of them see; each loads its rows only, and the first writes.

    Raises HostsDisagree where they would train different things; CheckpointError where the checkpoint belongs to
    another run, or the run to be continued does not fit, ConvertError where config.train.start does not fit,
    LeakageError where either was trained on test patients, RunStopped after too many steps that were not finite or too
    many records that could not be read; what was trained before is saved first.
    """
    started, ledger = time.perf_counter(), Ledger()

    # Everything about shapes is known here, before a pixel is read.
    dataset = open_dataset(config)
    config = replace(config, task=replace(config.task, classes=dataset.classes))  # as the data resolved them
    objective = objective_of(config, dataset.class_images())
    schedule = dataset.schedule(config)
    mesh = sharding.make_mesh(config.train.fsdp, devices)

    def blueprint_of(rows: tuple[int, ...]) -> Blueprint:
        return make_blueprint(config, objective, mesh, schedule.lengths, rows, schedule.steps_per_epoch)

    premises = premises_of(config, dataset, schedule.steps_per_epoch)
    hosts.agree(common(config, premises))
    with ledger.during("compile"):  # where rows are those that fit
        capacity = least(hosts.gather(device_bytes(mesh.local_devices[0])))
        rows = rows_of(config, schedule.lengths, schedule.group, mesh.size, blueprint_of, capacity)
    hosts.agree({"rows": rows})
    calls, blueprint = Calls(schedule, rows), blueprint_of(rows)
    evaluated = validation_records(dataset, config)
    shown = panel_records(dataset, config) if objective.predict else np.empty(0, np.int32)

    keep, keep_every = config.train.keep_checkpoints, config.train.keep_every
    directory = checkpoint.directory_of(workdir, config.train.checkpoints)
    checkpoint.check_place(directory, checkpoints_of(workdir))
    check_other_run(config, workdir, directory)
    said = [
        f"the checkpoint after step {n} was not finished, and is left out" for n in checkpoint.unfinished(directory)
    ]
    opened = checkpoint.open_manager
    with made_place(workdir, directory), opened(directory, keep, objective.goodness, keep_every) as manager:
        with ledger.during("restore"), checkpoint.open_reader(directory, objective.goodness) as reader:
            resumed = checkpoint.resume(reader, blueprint.state, premises)  # before minutes of compiling
            continued = None
            if resumed is None and continues_another(config):
                continued = continue_run(config, dataset, workdir, premises, blueprint)
        given, origin = None, Origin()
        if resumed:
            origin = origin_of(resumed.premises)
            config, kept = keep_start(workdir, config)
            config, named = keep_continuation(workdir, config, origin)
            said += [*resumed.passed_over, *kept, *named]
        elif continued:
            origin = continued.origin
            said += continued.lines
        else:
            given, begun = choose_start(config, dataset, workdir)
            said += begun
        premises = with_origin(premises, origin)
        blueprint = replace(blueprint, rates=origin.rates(blueprint.rates))
        total_steps = origin.total_steps(schedule.steps_per_epoch, config.train.epochs)
        last_step = min(total_steps, config.train.max_steps or total_steps)
        first_step = resumed.step if resumed else origin.step
        tally = resumed.tally if resumed else Tally(evaluated=first_step)
        writer = Writer(
            workdir, first_step, last_step, schedule.lengths, quiet, hosts.is_first(),
            kept_step=first_step if resumed else 0,
        )  # fmt: skip
        if writer.lost_seconds:
            lost = {"lost_seconds": round(writer.lost_seconds, 3)}
            writer.event(first_step, lost, f"steps that took {writer.lost_seconds:.0f} s are replayed")
        writer.spent(first_step, ledger.spent())  # should this session end before its first step
        watch = Watch(config, writer, len(schedule.records), tally, peak=peak_of(list(mesh.devices.flat)))
        programs, step, interrupted = [], first_step, False
        try:
            for line in [*said, *changes(workdir, config), *about(dataset, config)]:
                writer.say(line)
            if continued and hosts.is_first():
                for event in continued.events:
                    writer.record(first_step, event)
            evaluations = evaluation_interval(config.train.evaluate_every, schedule.steps_per_epoch, origin)
            # An evaluation that was due broke off: the checkpoint was saved without it.
            missed = len(evaluated) > 0 and evaluations.due(first_step, last_step) and tally.evaluated < first_step
            if (first_step >= last_step and not missed) or watch.out_of_patience:
                early = ", and it stopped early" if watch.out_of_patience else ""
                writer.say(f"nothing to do: step {first_step} of {last_step} is done{early}")
            else:
                with ledger.during("compile"):
                    compiled = compile_programs(
                        blueprint,
                        training={bucket for bucket, groups in enumerate(schedule.groups_per_bucket) if groups},
                        validation=set(dataset.bucket[evaluated].tolist()),
                        panels=int(dataset.bucket[shown].max()) if len(shown) else None,
                        told=lambda p: writer.say(f"compiled {p.kind} {p.tokens or ''} in {p.compile_seconds:.1f} s"),
                    )  # fmt: skip
                    hosts.gather(None)  # waiting for the slowest to compile is not the first step's time
                programs = compiled.all()
                writer.console.print(table_of(programs))
                if resumed:
                    state = resumed.state
                    writer.say(f"going on from the checkpoint after step {first_step} of {total_steps}")
                elif continued:
                    state = continued.state
                else:
                    state = compiled.init()
                    if given is not None:
                        state, lines = begin(state, given, config)
                        if hosts.is_first():
                            write_start(workdir, lines)
                        for line in lines:
                            writer.say(f"start: {line}")
                if hosts.is_first():
                    write_config(workdir, config)
                validation = Validation(config, objective, dataset, calls, mesh, compiled, writer, evaluated)
                walk = Walk(
                    config, workdir, dataset, calls, mesh, compiled,
                    Saver(manager, premises, writer.say, resumed.step if resumed else 0),
                    validation, watch, shown, origin, evaluations, ledger, record_flops(dataset, objective),
                )  # fmt: skip
                writer.spent(first_step, ledger.spent())
                if continued:
                    walk.save_origin(state)
                if missed:
                    walk.evaluate_and_save(state, first_step)
                if first_step < last_step and not watch.out_of_patience:
                    with ledger.during("step"):
                        step, interrupted = walk.train(state, first_step, last_step, profile)
                with ledger.during("checkpoint"):
                    walk.saver.finish()
                writer.spent(step, ledger.spent())
        finally:
            writer.close()
    return Outcome(
        step, total_steps, watch.loss, watch.validation, time.perf_counter() - started,
        sum(p.compile_seconds for p in programs), watch.images, watch.tokens, watch.padded_tokens,
        watch.unreadable, watch.nonfinite_steps, interrupted, watch.out_of_patience, [p.facts() for p in programs],
        ledger.spent(),
    )  # fmt: skip
