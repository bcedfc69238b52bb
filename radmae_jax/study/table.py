"""A study's cells to its table: scores with intervals, paired comparisons, and the curve over pre-training."""

import itertools
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from radmae_jax.data.dataset import open_archive
from radmae_jax.data.leakage import Leakage
from radmae_jax.evaluate.evaluation import prove_run, weakest
from radmae_jax.evaluate.predictions import Predictions, take
from radmae_jax.evaluate.statistics import Scores, compare, score
from radmae_jax.study.execute import Cell, Place, predict_once
from radmae_jax.study.notes import notes_of
from radmae_jax.study.plan import Arm, Run, Study
from radmae_jax.study.pretraining import Pretraining, curve_arms, pretrained_arm, pretraining_of

LEVEL = 0.95


@dataclass(frozen=True)
class Point:
    """One point of the curve over pre-training."""

    cell: Cell
    pretraining: Pretraining


def curve_runs(study: Study, cells: list[Cell]) -> list[tuple[Cell, list[Run]]]:
    """The pre-trained arm begun from each earlier checkpoint of its run, and from runs on fewer images, at the largest
    budget, with the learning rate that was chosen for the arm: it is not searched for again. Each point's seeds, with
    the cell of the arm."""
    whole, budget, labels = pretrained_arm(study), study.budgets[-1], dict(study.tasks)
    of_task = {cell.task: cell for cell in cells if (cell.arm, cell.budget) == (whole.name, budget)}
    return [
        (
            of_task[task],
            [Run(arm, task, labels[task], budget, seed, of_task[task].learning_rate) for seed in range(study.seeds)],
        )
        for task in study.curve_tasks
        for arm in curve_arms(study)
    ]


def curve_of(study: Study, cells: list[Cell], place: Place) -> list[Point]:
    """The points of `curve_runs`, and of each task the arm itself, which began at the end of its pre-training."""
    points = []
    for cell, runs in curve_runs(study, cells):
        kept, arm = tuple(predict_once(run, place) for run in runs), runs[0].arm
        points.append(Point(replace(cell, arm=arm.name, search=(), kept=kept), _seen(arm)))
        seen = points[-1].pretraining
        place.say(f"curve: {cell.task}, {seen.steps:,} steps on {seen.images or 'unknown'} images")
    whole = pretrained_arm(study)
    ends = [
        cell
        for cell in cells
        if (cell.arm, cell.budget) == (whole.name, study.budgets[-1]) and cell.task in study.curve_tasks
    ]
    return points + [Point(cell, _seen(whole)) for cell in ends]


def _seen(arm: Arm) -> Pretraining:
    seen = pretraining_of(arm.start)
    assert seen is not None  # arms of the curve begin with runs
    return seen


def table_of(study: Study, cells: list[Cell], points: list[Point], place: Place) -> dict[str, Any]:
    """The study as study.json has it."""
    all_cells = [*cells, *(point.cell for point in points)]
    common = {task: _common_records([c for c in all_cells if c.task == task]) for task, _ in study.tasks}
    runs = {_key(cell): [_only(kept.predictions[0], common[cell.task]) for kept in cell.kept] for cell in all_cells}
    scores = {place_: score(of_cell, level=LEVEL) for place_, of_cell in runs.items()}
    comparisons = []
    for (task, _), budget in itertools.product(study.tasks, study.budgets):
        for b, a in itertools.combinations([arm.name for arm in study.arms], 2):
            found = compare(runs[a, task, budget], runs[b, task, budget], level=LEVEL)
            comparisons.append(
                {"task": task, "budget": budget, "a": a, "b": b, "difference": asdict(found.difference),
                 "p_value": found.p_value}
            )  # fmt: skip
    proofs = {arm.name: _proof(study, cells, arm.name, place) for arm in study.arms}
    weakest_proof = weakest(list(proofs.values()))
    tasks = []
    for name, label in study.tasks:
        of_task = scores[study.arms[0].name, name, study.budgets[0]]
        present = sum(images > 0 for images in of_task.images_of_class)
        tasks.append({"name": name, "label": label, "classes": list(of_task.classes), "classes_present": present})
    return {
        "name": study.name, "side": place.side, "level": LEVEL, "tasks": tasks,
        "budgets": list(study.budgets), "seeds": list(range(study.seeds)), "learning_rates": list(study.learning_rates),
        "arms": [
            {"name": arm.name, "kind": arm.kind, "matched": arm.matched, "said": arm.said,
             "pretraining": None if (seen := pretraining_of(arm.start)) is None else asdict(seen),
             "leakage": asdict(proofs[arm.name])}
            for arm in study.arms
        ],
        "cells": [_cell(cell, scores[_key(cell)]) for cell in cells],
        "comparisons": comparisons,
        "curve": [
            {"arm": p.cell.arm, "task": p.cell.task, "budget": p.cell.budget, **asdict(p.pretraining),
             "balanced_accuracy": asdict(scores[_key(p.cell)].balanced_accuracy),
             "per_seed": list(scores[_key(p.cell)].per_seed)}
            for p in points
        ],
        "leakage": asdict(weakest_proof),
        "notes": [*notes_of(study, cells, scores, comparisons, common, place), *unknown_patients(weakest_proof)],
    }  # fmt: skip


def _key(cell: Cell) -> tuple[str, str, int]:
    return (cell.arm, cell.task, cell.budget)


def _common_records(cells: list[Cell]) -> np.ndarray:
    """Records that every run of one task predicts: arms are compared on the same images."""
    common = cells[0].kept[0].predictions[0].records
    for kept in (kept for cell in cells for kept in cell.kept):
        common = np.intersect1d(common, kept.predictions[0].records)
    return common


def _only(predictions: Predictions, records: np.ndarray) -> Predictions:
    return take(predictions, np.isin(predictions.records, records))


def _proof(study: Study, cells: list[Cell], name: str, place: Place) -> Leakage:
    """Of an arm's first run; all of its runs begin alike and train on the same side."""
    arm = next(arm for arm in study.arms if arm.name == name)
    cell = next(cell for cell in cells if cell.arm == name)
    run = Run(arm, cell.task, dict(study.tasks)[cell.task], cell.budget, 0, cell.learning_rate)
    return prove_run(place.folder / run.folder, open_archive(run.config()))


def unknown_patients(proof: Leakage) -> list[str]:
    """What figures that count patients rest on, where patients are not known."""
    if proof.patients_on_two_sides is None:
        return [
            "No image has a patient number: studies or files are counted as patients, also in intervals and p-values, "
            "and it is unknown whether a patient is in two splits."
        ]
    if proof.images_without_number:
        return [
            f"{proof.images_without_number:,} images ({proof.test_images_without_number:,} of them test images) have "
            "no patient number, or one that cannot be compared: it is unknown whether their patients are in two splits."
        ]
    return []


def _cell(cell: Cell, scores: Scores) -> dict[str, Any]:
    return {
        "arm": cell.arm, "task": cell.task, "budget": cell.budget, "learning_rate": cell.learning_rate,
        "test_images": scores.images, "test_patients": scores.patients,
        "balanced_accuracy": asdict(scores.balanced_accuracy), "auroc": asdict(scores.auroc),
        "per_seed": list(scores.per_seed),
        "search": [{"learning_rate": rate, "validation_balanced_accuracy": value} for rate, value in cell.search],
        "unreadable": len({record for kept in cell.kept for record, _ in kept.problems}),
    }  # fmt: skip
