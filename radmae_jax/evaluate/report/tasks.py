"""Evaluations of classifiers to what a page shows of each label."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from radmae_jax.evaluate.report.charts import reliability
from radmae_jax.evaluate.report.gather import Found, Run
from radmae_jax.evaluate.report.words import apart, percent, share

_FEW = 20  # patients below which a stratum is marked: its interval is wide and its coverage poor
_COLUMNS = {"view": "view", "scanner": "scanner", "bits": "bits stored", "size": "image size", "site": "site"}


@dataclass(frozen=True)
class Task:
    """One label of one run on one side."""

    run: str
    side: str
    evaluation: dict[str, Any]
    figures: dict[str, Any]  # an entry of `labels`
    anchor: str

    @property
    def label(self) -> str:
        return str(self.figures["label"])

    @property
    def patients_known(self) -> bool:
        """Whether the patients that are counted are people: not where no image has a patient number."""
        return self.evaluation["leakage"].get("patients_on_two_sides") is not None

    @property
    def patients_proven(self) -> bool:
        """Whether it is known of every image that its patient is in one split alone."""
        return self.patients_known and not self.evaluation["leakage"].get("images_without_number")

    @property
    def chance(self) -> float | None:
        """The balanced accuracy of guessing: 1 / classes that any image has."""
        present = sum(1 for recall in self.figures["recall"] if recall["images"])
        return 1.0 / present if present else None

    @property
    def above_chance(self) -> bool:
        low = self.figures["balanced_accuracy"].get("low")
        return low is not None and self.chance is not None and low > self.chance

    @property
    def certain(self) -> bool:
        """Whether the interval of any class is but a point."""
        return any(r.get("low") is not None and r["low"] == r.get("high") for r in self.figures["recall"])

    @property
    def auroc_of_class(self) -> dict[str, dict[str, Any]]:
        return {entry["class"]: entry for entry in self.figures["auroc_of_class"]}

    @property
    def confusion(self) -> list[tuple[str, int, list[tuple[int, float]]]]:
        """Rows: true class, its images, and counts with their shares of the row."""
        rows = []
        for name, counts in zip(self.figures["classes"], self.figures["confusion"], strict=True):
            total = sum(counts)
            rows.append((name, total, [(number, number / total if total else 0.0) for number in counts]))
        return rows

    @property
    def strata(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """Strata by the column they are of, in their order; `few` marks small ones."""
        columns: dict[str, list[dict[str, Any]]] = {}
        for stratum in self.figures["strata"]:
            few = (stratum.get("patients") or 0) < _FEW
            columns.setdefault(str(stratum["name"]), []).append({**stratum, "few": few})
        return list(columns.items())

    @property
    def calibration_picture(self) -> Markup:
        title = f"{self.label}: how often the model was right, by how sure it was"
        return reliability(self.figures["calibration"]["bins"], title)


def tasks_of(found: Found) -> list[Task]:
    """Every label of every evaluation: of each run its test side, or validation where test was not opened."""
    tasks = []
    for run in found.finetuning:
        side = main_side(run)
        if side is not None:
            evaluation = run.evaluations[side]
            for figures in evaluation["labels"]:
                tasks.append(Task(run.name, side, evaluation, figures, f"task-{len(tasks) + 1}"))
    return tasks


def main_side(run: Run) -> str | None:
    """The side whose figures count: test, else validation; None where nothing was evaluated."""
    return next((side for side in ("test", "validation", "train") if side in run.evaluations), None)


def column_name(name: str) -> str:
    """A column of metadata in words."""
    return _COLUMNS.get(name, name)


def confounder_words(task: Task) -> str:
    """What metadata alone would score against the model, in a sentence."""
    alone = [entry for entry in task.figures["metadata_alone"] if entry["balanced_accuracy"].get("value") is not None]
    if not alone:
        return ""
    best = max(alone, key=lambda entry: entry["balanced_accuracy"]["value"])
    own = task.figures["balanced_accuracy"]
    said = (
        f"The most telling column, {column_name(str(best['name']))}, would score {percent(best['balanced_accuracy'])} "
        f"without looking at any pixel; guessing scores {share(task.chance)}, the model {percent(own)}. "
    )
    if own.get("value") is None:
        return said
    if apart(own, best["balanced_accuracy"]) and own["value"] > best["balanced_accuracy"]["value"]:
        return said + "The intervals are apart: this column alone does not explain the model's score."
    return said + "The intervals overlap: the model's score could come from this column alone."
