"""Cells of a study to several processes, each on its share of the cores: one small model leaves most cores idle."""

import multiprocessing
import os
import queue
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from absl import logging

from radmae_jax.data.loader import end_with_parent
from radmae_jax.study.execute import Interrupted, Place, predict_once, run_cell
from radmae_jax.study.plan import Arm, Run, Study
from radmae_jax.train.signals import stop_signals

_STOPPED, _FAILED = 4, 1  # exit codes of a worker
_ASKED_EVERY = 0.5  # seconds

# A cell (arm, task, label, budget), or one run that is to be predicted with.
Work = tuple[Arm, str, str, int] | Run


def run_apart(study: Study, work: Sequence[Work], place: Place, jobs: int) -> None:
    """Does the work in `jobs` processes; what they finish lies in the study's folder.

    Raises Interrupted after a signal, when all of them have saved what they had; ValueError with what one of them
    raised, or for more jobs than cores.
    """
    cores = len(os.sched_getaffinity(0))
    if jobs > cores:
        raise ValueError(f"--jobs {jobs}: there are {cores} cores")
    context = multiprocessing.get_context("spawn")  # jax does not survive a fork
    todo, errors = context.Queue(), context.Queue()
    for item in work:
        todo.put(item)
    for _ in range(jobs):
        todo.put(None)
    plain = replace(place, say=_say)
    workers = [context.Process(target=_do, args=(study, todo, errors, plain, at, jobs)) for at in range(jobs)]
    with stop_signals() as stopping:
        for worker in workers:
            worker.start()
        asked = False
        while any(worker.is_alive() for worker in workers):
            for worker in workers:
                worker.join(_ASKED_EVERY)
            if not asked and (stopping or any(worker.exitcode for worker in workers)):
                asked = True
                for worker in workers:  # a run in training saves and ends, whatever else ends at once
                    worker.terminate()
        todo.cancel_join_thread()
    if stopping:
        raise Interrupted("stopped: every run saved what it had")
    if any(worker.exitcode for worker in workers):
        try:
            raise ValueError(errors.get(timeout=1))
        except queue.Empty:
            codes = [worker.exitcode for worker in workers]
            raise ValueError(
                f"--jobs: worker processes ended with {codes}, as one does that ran out of memory"
            ) from None


def _do(study: Study, todo: Any, errors: Any, place: Place, at: int, jobs: int) -> None:
    end_with_parent()
    logging.set_verbosity(logging.ERROR)  # as `radmae` has it in its own process
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[at::jobs])  # before jax counts them
    from radmae_jax.study.conduct import share_programs

    share_programs(place.folder)
    try:
        while (item := todo.get()) is not None:
            if isinstance(item, Run):
                predict_once(item, place)
            else:
                arm, task, label, budget = item
                run_cell(study, arm, task, label, budget, place)
    except Interrupted:
        raise SystemExit(_STOPPED) from None
    except (ValueError, OSError, RuntimeError) as error:
        errors.put(f"{type(error).__name__}: {error}")
        raise SystemExit(_FAILED) from None


def _say(text: str) -> None:
    print(text, flush=True)
