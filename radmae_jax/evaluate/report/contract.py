"""The fields a page reads of evaluation/SIDE.json and study.json, so that one of another version is named."""

from dataclasses import MISSING, fields
from typing import Any

from radmae_jax.data.leakage import Leakage

_EVALUATION = ("side", "step", "images", "patients", "level", "resamples", "seeds", "leakage", "labels")
_LABEL = (
    "label", "classes", "images", "patients", "unknown", "balanced_accuracy", "accuracy", "auroc", "recall",
    "auroc_of_class", "confusion", "calibration", "per_seed", "strata", "metadata_alone",
)  # fmt: skip
_CALIBRATION = ("ece", "brier", "nll", "bins")
_LEAKAGE = tuple(field.name for field in fields(Leakage) if field.default is MISSING)  # others may be missing
_STUDY = ("name", "side", "level", "tasks", "budgets", "seeds", "arms", "cells", "comparisons", "curve", "notes")
_PARTS = {
    "tasks": ("name", "label", "classes", "classes_present"),
    "arms": ("name", "kind", "matched", "said", "pretraining"),
    "cells": ("arm", "task", "budget", "learning_rate", "test_images", "balanced_accuracy", "auroc", "per_seed"),
    "comparisons": ("task", "budget", "a", "b", "difference", "p_value"),
    "curve": ("arm", "task", "budget", "steps", "images_seen", "images", "balanced_accuracy"),
}


def missing_of_evaluation(figures: dict[str, Any]) -> list[str]:
    """Fields that evaluation/SIDE.json should have and has not."""
    labels = figures.get("labels")
    found = _missing(figures, _EVALUATION, "") + _missing(figures.get("leakage"), _LEAKAGE, "leakage.")
    for at, label in enumerate(labels if isinstance(labels, list) else []):
        found += _missing(label, _LABEL, f"labels[{at}].")
        found += [] if found else _missing(label["calibration"], _CALIBRATION, f"labels[{at}].calibration.")
    return found


def missing_of_study(figures: dict[str, Any]) -> list[str]:
    """Fields that study.json should have and has not."""
    found = _missing(figures, _STUDY, "")
    if figures.get("leakage"):
        found += _missing(figures["leakage"], _LEAKAGE, "leakage.")
    for part, names in _PARTS.items():
        items = figures.get(part)
        for at, item in enumerate(items if isinstance(items, list) else []):
            found += _missing(item, names, f"{part}[{at}].")
    return found


def _missing(figures: Any, names: tuple[str, ...], where: str) -> list[str]:
    if not isinstance(figures, dict):
        return [f"{where.rstrip('.')} is no object"]
    return [f"{where}{name}" for name in names if name not in figures]
