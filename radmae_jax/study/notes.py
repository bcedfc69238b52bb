"""A study's figures to sentences: what a reader must know to read its table rightly, and what it cannot show."""

from typing import Any

import numpy as np

from radmae_jax.data.dataset import open_archive
from radmae_jax.evaluate.statistics import Scores
from radmae_jax.study.execute import Cell, Place
from radmae_jax.study.plan import Run, Study

Scored = dict[tuple[str, str, int], Scores]  # by arm, task and budget


def notes_of(
    study: Study, cells: list[Cell], scores: Scored, comparisons: list[dict[str, Any]], common: dict[str, np.ndarray],
    place: Place,
) -> list[str]:  # fmt: skip
    """The notes of study.json. common: the records of each task that all its runs predict."""
    return [
        *_scores(study, scores),
        *_search(study, cells, place),
        *_images(study, cells, common),
        *_power(study, scores),
        *_differences(comparisons),
        *_arms(study),
        *study.notes,
    ]


def _scores(study: Study, scores: Scored) -> list[str]:
    of_task = [scores[study.arms[0].name, task, study.budgets[0]] for task, _ in study.tasks]
    sizes = "; ".join(
        f"{task}: {found.images:,} images of {found.patients:,} patients"
        for (task, _), found in zip(study.tasks, of_task, strict=True)
    )
    widths = [
        50 * (s.balanced_accuracy.high - s.balanced_accuracy.low)
        for s in scores.values()
        if s.balanced_accuracy.low is not None and s.balanced_accuracy.high is not None
    ]
    reach = f". An interval reaches about {np.median(widths):.1f} points to either side" if widths else ""
    return [
        f"Each score is the mean of {study.seeds} runs that differ in seed and in which images are labelled. "
        f"{sizes}{reach}.",
        "Intervals are of a bootstrap by patient and p-values of a permutation by patient: they speak of other "
        "patients, not of other pre-trainings. They are not corrected for the number of comparisons, "
        f"{len(study.tasks) * len(study.budgets)} for each pair of arms.",
    ]


def _search(study: Study, cells: list[Cell], place: Place) -> list[str]:
    """How learning rates were chosen, and by how many labels."""
    epochs = sorted({arm.base.train.epochs for arm in study.arms})
    patience = any(arm.base.train.patience for arm in study.arms)
    length = f"{' or '.join(map(str, epochs))} epochs" + (" at most, fewer where patience ran out" if patience else "")
    judged = []
    for task, label in study.tasks:
        run = Run(study.arms[0], task, label, study.budgets[0], 0, study.learning_rates[0])
        archive = open_archive(run.config())
        count = min(len(archive.records("validation")), run.arm.base.train.evaluate_images)
        judged.append(f"{task} {count:,}")
    notes = [
        f"All arms had the same {len(study.learning_rates)} learning rates, tried with seed 0 and chosen on "
        f"validation, and {length}. Labelled validation images that choose: {', '.join(judged)}; they are labels "
        "beyond the budgets, the same for all arms."
    ]
    rates = study.learning_rates
    edges = [cell for cell in cells if len(rates) > 1 and cell.learning_rate in (min(rates), max(rates))]
    if edges:
        named = "; ".join(f"{c.arm}, {c.task}, {c.budget} labels" for c in edges)
        notes.append(
            f"The chosen learning rate is at an end of those tried for {len(edges)} of {len(cells)} cells: {named}."
        )
    failed = [f"{c.arm}, {c.task}, {c.budget} labels at {rate:g}" for c in cells for rate, v in c.search if v is None]
    if failed:
        notes.append(f"Learning rates at which training diverged, none of them chosen: {'; '.join(failed)}.")
    if place.side == "validation":
        notes.append(
            "Scored on the validation side, by which learning rates and steps were chosen: scores flatter all arms."
        )
    return notes


def _images(study: Study, cells: list[Cell], common: dict[str, np.ndarray]) -> list[str]:
    """Images that some run could not read are scored in none."""
    notes = []
    for task, _ in study.tasks:
        predicted = {
            record
            for c in cells
            if c.task == task
            for kept in c.kept
            for record in kept.predictions[0].records.tolist()
        }
        unreadable = {record for c in cells if c.task == task for kept in c.kept for record, _ in kept.problems}
        left = len((predicted | unreadable) - set(common[task].tolist()))
        if left:
            notes.append(f"{task}: {left:,} images could not be read by some run and are scored in none.")
    return notes


def _power(study: Study, scores: Scored) -> list[str]:
    """What so many test images can and cannot show."""
    notes = []
    for task, _ in study.tasks:
        of_task = scores[study.arms[0].name, task, study.budgets[0]]
        there = [(n, name) for n, name in zip(of_task.images_of_class, of_task.classes, strict=True) if n]
        if not there:
            notes.append(f"{task}: no image of a known class is there to be scored on.")
            continue
        images, rarest = min(there)
        notes.append(
            f"{task}: the rarest class, {rarest}, has {images} images to be scored on; one of them more or less right "
            f"moves balanced accuracy by {100 / len(there) / images:.1f} points."
        )
        if len(there) < len(of_task.classes):
            notes.append(f"{task}: {len(of_task.classes) - len(there)} classes have no image to be scored on at all.")
    return notes


def _differences(comparisons: list[dict[str, Any]]) -> list[str]:
    if not comparisons:
        return []
    apart = [c for c in comparisons if c["difference"]["low"] is not None and _excludes_zero(c["difference"])]
    shown = "; ".join(f"{c['task']} at {c['budget']} labels, {c['a']} against {c['b']}" for c in apart)
    said = f": {shown}." if apart else ": these images cannot tell the arms apart."
    return [f"Of {len(comparisons)} differences between arms {len(apart)} have an interval without 0{said}"]


def _excludes_zero(interval: dict[str, float]) -> bool:
    return interval["low"] > 0 or interval["high"] < 0


def _arms(study: Study) -> list[str]:
    if all(arm.matched for arm in study.arms):
        return []
    return ["Arms that are not matched differ in more than what they begin with: see their descriptions."]
