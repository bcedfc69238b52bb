"""A study's plan to finished runs, each trained and predicted once; stopped, it goes on where it was."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from radmae_jax.config import Config, Task
from radmae_jax.config_checks import read_json
from radmae_jax.data.binning import make_table
from radmae_jax.data.dataset import open_archive
from radmae_jax.data.pixel_cache import forget
from radmae_jax.evaluate.evaluation import FOLDER, evaluate
from radmae_jax.evaluate.predict import read_predictions
from radmae_jax.evaluate.predictions import Predictions
from radmae_jax.figures import to_json
from radmae_jax.plain import differences, from_dict, to_dict
from radmae_jax.study.plan import Run, Study
from radmae_jax.train.loop import train_run

_RESULT = "result.json"


class Interrupted(RuntimeError):
    """A signal ended a run before its end; what was trained is saved."""


@dataclass(frozen=True)
class Result:
    """What a finished run came to on validation, by which learning rates are chosen."""

    balanced_accuracy: float  # of the best evaluation
    loss: float  # of the same
    step: int  # when
    steps: int  # trained
    seconds: float


@dataclass(frozen=True)
class Cell:
    """One arm, task and budget: its learning-rate search and its seeds."""

    arm: str
    task: str
    budget: int
    learning_rate: float
    search: tuple[tuple[float, float], ...]  # learning rate, validation balanced accuracy
    predictions: tuple[Predictions, ...]  # one a seed


def run_study(study: Study, folder: Path, side: str, say: Callable[[str], None]) -> list[Cell]:
    """Every cell of the study, in its order; runs that are finished are read.

    Raises Interrupted after a signal; ValueError where a finished run was made with other settings.
    """
    cells = []
    total, done = len(study.tasks) * len(study.arms) * len(study.budgets), 0
    for task, label in study.tasks:
        for arm in study.arms:
            for budget in study.budgets:
                tried = [Run(arm, task, label, budget, 0, rate) for rate in study.learning_rates]
                results = [train_once(run, folder) for run in tried]
                found = tuple((r.learning_rate, v.balanced_accuracy) for r, v in zip(tried, results, strict=True))
                best = choose(tried, results)
                predictions = [predict_once(replace(best, seed=seed), folder, side) for seed in range(study.seeds)]
                for run in tried:
                    if run != best:  # only what was predicted with is kept
                        shutil.rmtree(folder / run.folder / "checkpoints", ignore_errors=True)
                cells.append(Cell(arm.name, task, budget, best.learning_rate, found, tuple(predictions)))
                done += 1
                said = ", ".join(f"{rate:g}: {100 * value:.1f} %" for rate, value in found)
                chosen = f"rate {best.learning_rate:g} of {said} on validation"
                say(f"{done}/{total} {task}, {arm.name}, {budget} labels: {chosen}")
    forget()
    return cells


def with_lengths(study: Study) -> Study:
    """The study with one table of lengths an arm, fitted to the whole archive: runs then share their programs, which a
    table fitted to each run's few labelled images would not allow."""
    return replace(study, arms=tuple(replace(arm, base=_with_lengths(arm.base)) for arm in study.arms))


def _with_lengths(config: Config) -> Config:
    if config.bins.policy != "tokens" or config.bins.lengths:
        return config
    manifest = open_archive(replace(config, task=Task())).manifest
    table = make_table(config.bins, config.model.patch, manifest.heights, manifest.widths)
    return replace(config, bins=replace(config.bins, lengths=table.lengths))


def choose(runs: list[Run], results: list[Result]) -> Run:
    """The run of the best validation balanced accuracy; of equal ones that of the smaller loss there."""
    order = sorted(range(len(runs)), key=lambda n: (-results[n].balanced_accuracy, results[n].loss))
    return runs[order[0]]


def train_once(run: Run, folder: Path) -> Result:
    """Trains a run, or reads what it came to."""
    where, config = folder / run.folder, run.config()
    path = where / _RESULT
    if path.exists():
        stored = json.loads(path.read_text())
        kept = from_dict(type(config), stored.pop("asked"))
        changed = differences(kept, config)
        if changed:
            raise ValueError(f"{run.folder} was made with other settings ({changed[0]}): use another --workdir")
        return Result(**stored)
    outcome = train_run(config, where, quiet=True)
    if outcome.interrupted:
        raise Interrupted(f"stopped in {run.folder}, step {outcome.step} of {outcome.total_steps}")
    lines = [json.loads(line) for line in (where / "metrics.jsonl").read_text().splitlines()]
    judged = [line for line in lines if "validation" in line]
    if not judged:
        raise ValueError(
            f"{run.folder} was never evaluated: config.train.evaluate_every is {config.train.evaluate_every}"
        )
    best = max(judged, key=lambda line: line["validation"]["balanced_accuracy"] or 0.0)
    figures = best["validation"]
    result = Result(figures["balanced_accuracy"], figures["loss"], best["step"], outcome.step, outcome.seconds)
    path.write_text(to_json(asdict(result) | {"asked": to_dict(config)}) + "\n")
    return result


def predict_once(run: Run, folder: Path, side: str) -> Predictions:
    """A run's predictions with its best checkpoint, trained before if need be."""
    where = folder / run.folder
    train_once(run, folder)
    path = where / FOLDER / f"{side}.parquet"
    if not path.exists():
        evaluate([where], side)
    return read_predictions(path, read_json(where / "config.json"))[0]
