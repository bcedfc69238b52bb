"""A study's plan to finished runs, each trained and predicted once; stopped, it goes on where it was."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from radmae_jax.config_checks import read_json
from radmae_jax.data.pixel_cache import forget
from radmae_jax.evaluate.evaluation import FOLDER, evaluate
from radmae_jax.evaluate.predict import Kept, read_predictions
from radmae_jax.figures import to_json
from radmae_jax.study.basis import Ground, Start, check_basis
from radmae_jax.study.plan import Arm, Run, Study
from radmae_jax.train.loop import train_run
from radmae_jax.train.saved import chosen_step
from radmae_jax.train.watch import Diverged

_RESULT = "result.json"
_CHECKPOINTS, _DISCARDED = "checkpoints", "checkpoints.discarded"


class Interrupted(RuntimeError):
    """A signal ended a run before its end; what was trained is saved."""


@dataclass(frozen=True)
class Result:
    """What a run came to on validation, by which learning rates are chosen; None where it diverged."""

    balanced_accuracy: float | None  # of the best evaluation
    loss: float | None  # of the same
    step: int | None  # when
    steps: int | None  # trained
    seconds: float
    failed: str = ""  # why it did not come to its end


@dataclass(frozen=True)
class Cell:
    """One arm, task and budget: its learning-rate search and its seeds."""

    arm: str
    task: str
    budget: int
    learning_rate: float
    search: tuple[tuple[float, float | None], ...]  # learning rate, validation balanced accuracy
    kept: tuple[Kept, ...]  # predictions, one a seed


@dataclass(frozen=True)
class Place:
    """Where a study is carried out, and on what."""

    folder: Path
    side: str  # that is scored
    grounds: dict[str, Ground]  # of each arm
    starts: dict[str, Start]  # likewise
    say: Callable[[str], None]


def run_study(study: Study, place: Place) -> list[Cell]:
    """Every cell of the study, in its order; runs that are finished are read.

    Raises Interrupted after a signal; ValueError where a run was made with other settings, or where no learning rate,
    or a seed of the chosen one, comes to its end.
    """
    cells, read_as = [], None
    total = len(study.tasks) * len(study.arms) * len(study.budgets)
    for task, label in study.tasks:
        for arm in study.arms:
            if read_as not in (None, arm.base.data):  # kept pixels of another intensity would fill the memory
                forget()
            read_as = arm.base.data
            for budget in study.budgets:
                cells.append(run_cell(study, arm, task, label, budget, place))
                said = ", ".join(f"{rate:g}: {_percent(value)}" for rate, value in cells[-1].search)
                chosen = f"rate {cells[-1].learning_rate:g} of {said} on validation"
                place.say(f"{len(cells)}/{total} {task}, {arm.name}, {budget} labels: {chosen}")
    forget()
    return cells


def run_cell(study: Study, arm: Arm, task: str, label: str, budget: int, place: Place) -> Cell:
    """The search of one cell, then its seeds."""
    tried = [Run(arm, task, label, budget, 0, rate) for rate in study.learning_rates]
    results = [train_once(run, place) for run in tried]
    best = choose(tried, results)
    kept = [predict_once(replace(best, seed=seed), place) for seed in range(study.seeds)]
    for run in tried:
        if run != best:  # only what was predicted with is kept
            discard(place.folder / run.folder)
    search = tuple((run.learning_rate, result.balanced_accuracy) for run, result in zip(tried, results, strict=True))
    return Cell(arm.name, task, budget, best.learning_rate, search, tuple(kept))


def choose(runs: list[Run], results: list[Result]) -> Run:
    """The run of the best validation balanced accuracy; of equal ones that of the smaller loss there. Raises ValueError
    where none came to its end."""
    ended = [
        (-result.balanced_accuracy, result.loss, at)
        for at, result in enumerate(results)
        if result.balanced_accuracy is not None and result.loss is not None
    ]
    if not ended:
        raise ValueError(
            f"{runs[0].folder.parent}: no learning rate came to its end ({results[0].failed}); --rates names others"
        )
    return runs[min(ended)[2]]


def train_once(run: Run, place: Place) -> Result:
    """Trains a run, or reads what it came to."""
    where, config = place.folder / run.folder, run.config()
    check_basis(run, where, place.grounds[run.arm.name], place.starts[run.arm.name])
    path = where / _RESULT
    if path.exists():
        return Result(**json.loads(path.read_text()))
    try:
        outcome = train_run(config, where, quiet=True)
    except Diverged as error:
        result = Result(None, None, None, None, 0.0, str(error))
        place.say(f"{run.folder} did not come to its end: {error}")
    else:
        if outcome.interrupted:
            raise Interrupted(f"stopped in {run.folder}, step {outcome.step} of {outcome.total_steps}")
        result = _result_of(run, where, outcome.step, outcome.seconds)
    path.write_text(to_json(asdict(result)) + "\n")
    return result


def _result_of(run: Run, where: Path, steps: int, seconds: float) -> Result:
    """What the run's best checkpoint scored when it was saved."""
    lines = [json.loads(line) for line in (where / "metrics.jsonl").read_text().splitlines()]
    judged = {line["step"]: line["validation"] for line in lines if "validation" in line}
    if not judged:
        every = run.arm.base.train.evaluate_every
        raise ValueError(f"{run.folder} was never evaluated: config.train.evaluate_every is {every}")
    best = chosen_step(where, "best")
    return Result(judged[best]["balanced_accuracy"], judged[best]["loss"], best, steps, seconds)


def predict_once(run: Run, place: Place) -> Kept:
    """A run's predictions with its best checkpoint, trained before if need be.

    Raises ValueError where it diverged.
    """
    where = place.folder / run.folder
    result = train_once(run, place)
    if result.step is None:
        raise ValueError(
            f"{run.folder} did not come to its end ({result.failed}): leave its learning rate out, by --rates"
        )
    path = where / FOLDER / f"{place.side}.parquet"
    if path.exists():
        kept = read_predictions(path, read_json(where / "config.json"))
        if kept.step == result.step:  # not what someone evaluated at another step since
            return kept
    if not (where / _CHECKPOINTS / str(result.step)).is_dir():
        place.say(f"{run.folder} is trained again: its checkpoint was not kept, as another learning rate was better")
        shutil.rmtree(where)
        result = train_once(run, place)
    assert result.step is not None
    evaluate([where], place.side, result.step)
    return read_predictions(path, read_json(where / "config.json"))


def discard(where: Path) -> None:
    """Removes a run's checkpoints; broken off, nothing is left that looks like one."""
    if (where / _CHECKPOINTS).exists():
        shutil.rmtree(where / _DISCARDED, ignore_errors=True)
        (where / _CHECKPOINTS).rename(where / _DISCARDED)
    shutil.rmtree(where / _DISCARDED, ignore_errors=True)


def _percent(value: float | None) -> str:
    return "did not end" if value is None else f"{100 * value:.1f} %"
