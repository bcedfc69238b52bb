"""What a classifier said of each image to the few that a page shows: surely right and surely wrong ones."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

_EACH = 3  # of right ones, and of wrong ones, a label


@dataclass(frozen=True)
class Choice:
    """An image to show."""

    record: int
    truth: str
    predicted: str
    probability: float  # of what was predicted
    probability_of_truth: float

    @property
    def right(self) -> bool:
        return self.truth == self.predicted


def choose(path: Path, label: str, classes: list[str], each: int = _EACH) -> tuple[list[Choice], list[Choice]]:
    """The images a classifier was surest of, right ones and wrong ones, of evaluation/SIDE.parquet.

    Of right ones the surest of each class in turn, of wrong ones the surest of all; no patient is shown twice in
    either. Errors: ValueError for a file without this label, or of other classes.
    """
    table = pq.read_table(path)
    wanted = ("record", "patient", f"true:{label}", f"probability:{label}")
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise ValueError(f"{path.name}: no column {missing[0]!r}")
    records, patients, truth, listed = (table[name].to_pylist() for name in wanted)
    known = [row for row, code in enumerate(truth) if code is not None and 0 <= code < len(classes)]
    if any(len(listed[row]) != len(classes) for row in known):
        raise ValueError(f"{path.name}: probabilities of {label!r} are not of {len(classes)} classes")
    sure = sorted(known, key=lambda row: (-max(listed[row]), records[row]))
    taken: dict[bool, list[int]] = {True: [], False: []}
    rounds = {row: 0 for row in sure}  # a right one's place among those of its class
    for code in range(len(classes)):
        of_class = [row for row in sure if truth[row] == code == int(np.argmax(listed[row]))]
        rounds |= {row: place for place, row in enumerate(of_class)}
    for right, rows in taken.items():
        of_kind = [row for row in sure if (truth[row] == int(np.argmax(listed[row]))) is right]
        shown: set[str] = set()
        for row in sorted(of_kind, key=lambda row: rounds[row]) if right else of_kind:
            if patients[row] not in shown and len(rows) < each:
                shown.add(patients[row])
                rows.append(row)

    def choice(row: int) -> Choice:
        said = int(np.argmax(listed[row]))
        of_truth = float(listed[row][truth[row]])
        return Choice(int(records[row]), classes[truth[row]], classes[said], float(listed[row][said]), of_truth)

    return [choice(row) for row in taken[True]], [choice(row) for row in taken[False]]
