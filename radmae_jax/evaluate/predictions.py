"""Parts of what runs predict, as hosts write them, to one checked table of outcomes that figures are made from."""

from dataclasses import dataclass, replace

import numpy as np

_SUM_TOLERANCE = 1e-3  # a float32 softmax of 64 classes sums to 1 within 1e-5; logits given by mistake do not


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one run says of one label of some images."""

    label: str
    classes: tuple[str, ...]
    records: np.ndarray  # int32 [N]; -1 is a filler row
    patients: np.ndarray  # str [N], keyed hashes
    truth: np.ndarray  # int32 [N]: index into classes; -1 unknown
    probabilities: np.ndarray  # float [N, C], each row sums to 1


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What R runs say of the same N images whose truth is known, ascending by record."""

    label: str
    classes: tuple[str, ...]
    records: np.ndarray  # int32 [N]
    patient: np.ndarray  # int [N]: number of each image's patient, 0 to patients - 1, by sorted key
    patients: int
    truth: np.ndarray  # int [N]: index into classes
    probabilities: np.ndarray  # float64 [R, N, C]
    unknown: int  # images left out, as their truth is unknown

    @property
    def predicted(self) -> np.ndarray:
        """int [R, N]: the likeliest class; of equally likely ones the first."""
        return self.probabilities.argmax(axis=2)

    def where(self, rows: np.ndarray) -> "Outcomes":
        """Those of some images (bool [N]) and of their patients only."""
        numbers, patient = np.unique(self.patient[rows], return_inverse=True)
        return replace(
            self, records=self.records[rows], patient=patient, patients=len(numbers), truth=self.truth[rows],
            probabilities=self.probabilities[:, rows],
        )  # fmt: skip


def merge(parts: list[Predictions]) -> Predictions:
    """One run's parts, as its hosts made them, as one: ascending by record, without filler rows.

    A record found several times with the same row is kept once. So neither the number of hosts nor what fills their
    last batches changes a figure. Errors: ValueError for parts of different labels or classes, for arrays of
    different lengths, and for a record with two different rows.
    """
    if not parts:
        raise ValueError("no predictions to merge")
    first = parts[0]
    for part in parts:
        _refuse_other_label(part, first)
        _refuse_lengths(part)
    joined = replace(
        first,
        records=np.concatenate([part.records for part in parts]),
        patients=np.concatenate([part.patients for part in parts]),
        truth=np.concatenate([part.truth for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
    )
    order = np.argsort(joined.records, kind="stable")
    joined = take(joined, order[joined.records[order] >= 0])
    again = np.zeros(len(joined.records), bool)  # rows whose record is that of the row before
    again[1:] = joined.records[1:] == joined.records[:-1]
    for row in np.flatnonzero(again).tolist():
        for field in ("truth", "patients", "probabilities"):
            rows = getattr(joined, field)
            if not np.array_equal(rows[row], rows[row - 1]):
                said = "" if field == "patients" else f": {rows[row - 1]} and {rows[row]}"
                raise ValueError(f"label {first.label}: record {joined.records[row]} has two {field}{said}")
    return take(joined, ~again)


def outcomes_of(runs: list[Predictions]) -> Outcomes:
    """The images of known truth that all runs predict; each run is merged first, so rows may come in any order.

    Errors: ValueError for runs of different records, patients, truth, label or classes, and for rows that are no
    probabilities (not finite, below 0, not summing to 1) or whose truth is no class; it names run and record.
    """
    if not runs:
        raise ValueError("no runs to score")
    merged = [merge([run]) for run in runs]
    first = merged[0]
    for number, run in enumerate(merged):
        where = f"label {first.label}, run {number + 1} of {len(merged)}"
        _refuse_other_label(run, first)
        _refuse_rows(run, where)
        _refuse_other_images(run, first, where)
    known = first.truth >= 0
    keys, patient = np.unique(first.patients[known], return_inverse=True)
    return Outcomes(
        first.label, first.classes, first.records[known], patient, len(keys), first.truth[known].astype(np.int64),
        np.stack([run.probabilities[known].astype(np.float64) for run in merged]), int((~known).sum()),
    )  # fmt: skip


def take(predictions: Predictions, rows: np.ndarray) -> Predictions:
    """Those of some rows: their numbers, or bool [N]."""
    return replace(
        predictions, records=predictions.records[rows], patients=predictions.patients[rows],
        truth=predictions.truth[rows], probabilities=predictions.probabilities[rows],
    )  # fmt: skip


def _refuse_lengths(part: Predictions) -> None:
    shape = (len(part.records), len(part.classes))
    if part.probabilities.shape != shape:
        raise ValueError(f"label {part.label}: probabilities are {part.probabilities.shape}, expected {shape}")
    for field in ("patients", "truth"):
        if getattr(part, field).shape != shape[:1]:
            raise ValueError(f"label {part.label}: {field} are {getattr(part, field).shape}, expected {shape[:1]}")


def _refuse_other_label(run: Predictions, first: Predictions) -> None:
    for field in ("label", "classes"):
        if getattr(run, field) != getattr(first, field):
            raise ValueError(
                f"label {first.label}: field {field}: {getattr(run, field)}, elsewhere {getattr(first, field)}"
            )


def _refuse_rows(run: Predictions, where: str) -> None:
    odd = (run.truth < -1) | (run.truth >= len(run.classes))
    if odd.any():
        row = int(odd.argmax())
        raise ValueError(
            f"{where}: record {run.records[row]}: truth {run.truth[row]}, expected -1 to {len(run.classes) - 1}"
        )
    with np.errstate(invalid="ignore"):  # infinities of both signs in one row
        sums = run.probabilities.sum(axis=1, dtype=np.float64)
    odd = ~((run.probabilities >= 0).all(axis=1) & (np.abs(sums - 1) <= _SUM_TOLERANCE))  # true for NaN too
    if odd.any():
        row = int(odd.argmax())
        raise ValueError(
            f"{where}: record {run.records[row]}: probabilities {run.probabilities[row]} sum to {sums[row]:g}; "
            f"expected none below 0 and 1 within {_SUM_TOLERANCE:g} ({int(odd.sum())} records are like this)"
        )


def _refuse_other_images(run: Predictions, first: Predictions, where: str) -> None:
    if not np.array_equal(run.records, first.records):
        strange = np.setxor1d(run.records, first.records)
        raise ValueError(
            f"{where}: field records: {len(run.records)} images, run 1 has {len(first.records)}; "
            f"record {strange[0]} is in one of them only"
        )
    for field in ("patients", "truth"):
        differs = getattr(run, field) != getattr(first, field)
        if differs.any():
            row = int(differs.argmax())
            said = f" {run.truth[row]}, in run 1 {first.truth[row]}" if field == "truth" else " differ from run 1"
            raise ValueError(f"{where}: record {run.records[row]}: {field}{said} ({int(differs.sum())} differ)")
