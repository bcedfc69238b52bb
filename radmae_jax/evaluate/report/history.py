"""metrics.jsonl of a run to the curves of its training, as arrays."""

import json
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_POINTS = 200  # of a curve on a page; more cannot be told apart


@dataclass(frozen=True, eq=False)
class Curve:
    """Values after steps; both of one length, only finite values."""

    steps: np.ndarray  # float64
    values: np.ndarray  # float64

    def __len__(self) -> int:
        return len(self.steps)

    def thinned(self, points: int = _POINTS) -> "Curve":
        """At most so many points: the means of equal stretches."""
        if len(self) <= points:
            return self
        parts = [np.array_split(part, points) for part in (self.steps, self.values)]
        return Curve(*(np.array([part.mean() for part in split]) for split in parts))


@dataclass(frozen=True, eq=False)
class History:
    """What metrics.jsonl tells of a run."""

    loss: Curve
    learning_rate: Curve
    buckets: dict[int, Curve]  # loss by tokens of the bucket, ascending
    validation: dict[str, Curve]  # by the figure's name
    validation_images: int
    images: int  # seen, each as often as it was
    epochs: int
    images_per_second: float  # median; nan where there are no steps
    waiting: float  # median share of the time that training waited for data
    not_applied: int  # steps whose gradients were not finite
    unreadable: int  # images that could not be read, each time it was tried
    failed: tuple[int, ...]  # records that could not be read; why is in metrics.jsonl, where it may hold a path

    @property
    def steps(self) -> int:
        return int(self.loss.steps[-1]) if len(self.loss) else 0


def read_history(path: Path) -> History:
    """The whole file; lines that a kill cut off are left out, a file that is not there is an empty history."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    steps = [line for text in lines if (line := _line(text)) is not None]
    trained = [line for line in steps if "loss" in line]
    evaluated = [line for line in steps if isinstance(line.get("validation"), dict)]
    buckets: dict[int, list[tuple[float, Any]]] = defaultdict(list)
    for line in trained:
        for tokens, loss in (line.get("bucket_loss") or {}).items():
            buckets[int(tokens)].append((line["step"], loss))
    figures: dict[str, list[tuple[float, Any]]] = defaultdict(list)
    for line in evaluated:
        for name, value in line["validation"].items():
            figures[name].append((line["step"], value))
    images = figures.pop("images", [])
    failed = [line for line in steps if "unreadable" in line and "loss" not in line]
    return History(
        loss=_curve([(line["step"], line["loss"]) for line in trained]),
        learning_rate=_curve([(line["step"], line.get("learning_rate")) for line in trained]),
        buckets={tokens: _curve(buckets[tokens]) for tokens in sorted(buckets)},
        validation={name: _curve(pairs) for name, pairs in figures.items()},
        validation_images=int(images[-1][1]) if images and images[-1][1] else 0,
        images=sum(int(line.get("images") or 0) for line in trained),
        epochs=1 + max((int(line.get("epoch") or 0) for line in trained), default=-1),
        images_per_second=_median([line.get("images_per_second") for line in trained]),
        waiting=_median([line.get("data_wait_share") for line in trained]),
        not_applied=sum(line.get("applied") is False for line in trained),
        unreadable=sum(int(line.get("unreadable") or 0) for line in trained),
        failed=tuple(sorted({int(line["unreadable"]) for line in failed})),
    )


def _line(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("step"), int) else None


def _curve(pairs: list[tuple[float, Any]]) -> Curve:
    kept = [(step, value) for step, value in pairs if isinstance(value, int | float) and math.isfinite(value)]
    steps, values = np.array(kept, np.float64).reshape(-1, 2).T
    return Curve(steps, values)


def _median(values: list[Any]) -> float:
    kept = [value for value in values if isinstance(value, int | float)]
    return float(np.median(kept)) if kept else math.nan
