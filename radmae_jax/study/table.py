"""A study's cells to its table: scores with intervals, paired comparisons, and the curve over pre-training."""

import itertools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radmae_jax.data.dataset import open_archive
from radmae_jax.evaluate.evaluation import prove_run
from radmae_jax.evaluate.statistics import Scores, compare, score
from radmae_jax.study.execute import Cell, predict_once
from radmae_jax.study.plan import Arm, Run, Study
from radmae_jax.train.saved import is_run, read_run, workdir_of

LEVEL = 0.95


@dataclass(frozen=True)
class Pretraining:
    """What an arm's pre-training run had seen when its weights were taken."""

    steps: int
    images_seen: int  # with repetitions
    images: int | None  # different ones; None where the archive is gone


@dataclass(frozen=True)
class Point:
    """One point of the curve over pre-training."""

    arm: str
    task: str
    budget: int
    pretraining: Pretraining
    scores: Scores


def pretraining_of(path: str) -> Pretraining | None:
    """How far the run at a path was trained; None of other weights."""
    if not path or not is_run(path):
        return None
    saved = read_run(path)
    config = saved.config
    try:
        images = len(open_archive(config).records("train"))
    except (OSError, ValueError):
        return Pretraining(saved.step, saved.step * config.train.images_per_step, None)
    an_epoch = images / saved.premises["steps_per_epoch"]
    return Pretraining(saved.step, round(saved.step * an_epoch), images)


def curve(study: Study, cells: list[Cell], folder: Path, side: str) -> list[Point]:
    """The first arm of kind mae begun from each of its run's saved steps, and from runs on fewer images, at the largest
    budget, with the learning rate that was chosen for the arm: it is not searched for again."""
    if not study.curve_tasks:
        return []
    whole = next((arm for arm in study.arms if arm.kind == "mae"), None)
    if whole is None:
        raise ValueError(f"study {study.name}: curve_tasks needs an arm of kind mae")
    budget, labels, points = study.budgets[-1], dict(study.tasks), []
    arms = [_from(whole, path) for path in [*_saved_steps(whole.start), *study.fewer]]
    for task in study.curve_tasks:
        cell = next(c for c in cells if (c.arm, c.task, c.budget) == (whole.name, task, budget))
        for arm in arms:
            runs = [Run(arm, task, labels[task], budget, seed, cell.learning_rate) for seed in range(study.seeds)]
            scores = score([predict_once(run, folder, side) for run in runs], level=LEVEL)
            seen = pretraining_of(arm.start)
            assert seen is not None
            points.append(Point(arm.name, task, budget, seen, scores))
    return points


def table_of(study: Study, cells: list[Cell], points: list[Point], folder: Path, side: str) -> dict[str, Any]:
    """The study as study.json has it."""
    scores = {(c.arm, c.task, c.budget): score(list(c.predictions), level=LEVEL) for c in cells}
    by_place = {(c.arm, c.task, c.budget): c for c in cells}
    comparisons = []
    for (task, _), budget in itertools.product(study.tasks, study.budgets):
        for b, a in itertools.combinations([arm.name for arm in study.arms], 2):
            found = compare(
                list(by_place[a, task, budget].predictions), list(by_place[b, task, budget].predictions), level=LEVEL
            )
            comparisons.append(
                {"task": task, "budget": budget, "a": a, "b": b, "difference": asdict(found.difference),
                 "p_value": found.p_value}
            )  # fmt: skip
    started = [cell for cell in cells if next(a for a in study.arms if a.name == cell.arm).start] or cells
    leakage = prove_run(folder / _first_run(study, started[0]).folder)
    return {
        "name": study.name, "side": side, "level": LEVEL,
        "tasks": [
            {"name": name, "label": label, "classes": list(scores[study.arms[0].name, name, study.budgets[0]].classes)}
            for name, label in study.tasks
        ],
        "budgets": list(study.budgets), "seeds": list(range(study.seeds)), "learning_rates": list(study.learning_rates),
        "arms": [
            {"name": arm.name, "kind": arm.kind, "matched": arm.matched, "said": arm.said,
             "pretraining": None if (seen := pretraining_of(arm.start)) is None else asdict(seen)}
            for arm in study.arms
        ],
        "cells": [_cell(cell, scores[cell.arm, cell.task, cell.budget]) for cell in cells],
        "comparisons": comparisons,
        "curve": [
            {"arm": p.arm, "task": p.task, "budget": p.budget, **asdict(p.pretraining),
             "balanced_accuracy": asdict(p.scores.balanced_accuracy), "per_seed": list(p.scores.per_seed)}
            for p in points
        ],
        "leakage": asdict(leakage),
        "notes": [*_notes(study, cells, scores, side), *_power(study, scores, comparisons)],
    }  # fmt: skip


def _cell(cell: Cell, scores: Scores) -> dict[str, Any]:
    return {
        "arm": cell.arm, "task": cell.task, "budget": cell.budget, "learning_rate": cell.learning_rate,
        "test_images": scores.images, "test_patients": scores.patients,
        "balanced_accuracy": asdict(scores.balanced_accuracy), "auroc": asdict(scores.auroc),
        "per_seed": list(scores.per_seed),
        "search": [{"learning_rate": rate, "validation_balanced_accuracy": value} for rate, value in cell.search],
    }  # fmt: skip


def _notes(study: Study, cells: list[Cell], scores: dict[tuple[str, str, int], Scores], side: str) -> list[str]:
    """What a reader must know to read the table rightly."""
    first = next(iter(scores.values()))
    widths = [
        50 * (s.balanced_accuracy.high - s.balanced_accuracy.low)
        for s in scores.values()
        if s.balanced_accuracy.low is not None and s.balanced_accuracy.high is not None
    ]
    reach = f"; an interval reaches about {np.median(widths):.1f} points to either side" if widths else ""
    edges = [
        f"{c.arm}, {c.task}, {c.budget} labels"
        for c in cells
        if len(study.learning_rates) > 1 and c.learning_rate in (study.learning_rates[0], study.learning_rates[-1])
    ]
    notes = [
        f"Each score is the mean of {study.seeds} runs that differ in seed and in which images are labelled, on "
        f"{first.images:,} images of {first.patients:,} patients{reach}.",
        "Intervals are of a bootstrap by patient and p-values of a permutation by patient: they speak of other "
        "patients, not of other pre-trainings. They are not corrected for the number of comparisons, "
        f"{len(study.tasks) * len(study.budgets)} for each pair of arms.",
        f"All arms had the same {len(study.learning_rates)} learning rates, tried with seed 0 and chosen on "
        "validation, and the same epochs. Validation has more labels than the budgets: it steadies the choice for all "
        "arms alike.",
    ]
    if edges:
        notes.append(
            f"The chosen learning rate is at an end of those tried for {len(edges)} of {len(cells)} cells: "
            f"{'; '.join(edges)}."
        )
    if side == "validation":
        notes.append(
            "Scored on the validation side, by which learning rates and steps were chosen: scores flatter all arms."
        )
    if any(not arm.matched for arm in study.arms):
        notes.append("Arms that are not matched differ in more than what they begin with: see their descriptions.")
    return notes


def _power(study: Study, scores: dict[tuple[str, str, int], Scores], comparisons: list[dict[str, Any]]) -> list[str]:
    """What so many test images can and cannot show."""
    notes = []
    for task, _ in study.tasks:
        of_task = scores[study.arms[0].name, task, study.budgets[0]]
        rarest = min((n, name) for n, name in zip(of_task.images_of_class, of_task.classes, strict=True) if n)
        present = sum(n > 0 for n in of_task.images_of_class)
        notes.append(
            f"{task}: the rarest class, {rarest[1]}, has {rarest[0]} images to be scored on; one of them more or less "
            f"right moves balanced accuracy by {100 / present / rarest[0]:.1f} points."
        )
        if present < len(of_task.classes):
            notes.append(f"{task}: {len(of_task.classes) - present} classes have no image to be scored on at all.")
    apart = [c for c in comparisons if c["difference"]["low"] is not None and _excludes_zero(c["difference"])]
    if comparisons:
        shown = "; ".join(f"{c['task']} at {c['budget']} labels, {c['a']} against {c['b']}" for c in apart)
        notes.append(
            f"Of {len(comparisons)} differences between arms {len(apart)} have an interval without 0"
            + (f": {shown}." if apart else ": these images cannot tell the arms apart.")
        )
    return notes


def _excludes_zero(interval: dict[str, float]) -> bool:
    return interval["low"] > 0 or interval["high"] < 0


def _first_run(study: Study, cell: Cell) -> Run:
    arm = next(arm for arm in study.arms if arm.name == cell.arm)
    return Run(arm, cell.task, dict(study.tasks)[cell.task], cell.budget, 0, cell.learning_rate)


def _saved_steps(start: str) -> list[str]:
    """The checkpoints of a run, ascending, without the last, which is the arm's own."""
    folder = workdir_of(start) / "checkpoints"
    steps = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    return [str(folder / str(step)) for step in steps[:-1]]


def _from(arm: Arm, path: str) -> Arm:
    """The arm, begun from another run or step."""
    work = workdir_of(path)
    name = f"{arm.name}@{Path(path).name}" if work == workdir_of(arm.start) else f"{arm.name}-{work.name}"
    return Arm(name, arm.kind, path, arm.base, arm.matched, arm.said)
