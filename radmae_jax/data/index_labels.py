"""Puts the columns of a labels file into those of an index, and refuses what would make one person look like two."""

from dataclasses import dataclass
from typing import Any

from radmae_jax.data.identity import NO_NUMBER, placeholder_keys
from radmae_jax.data.label_file import Labels, image_keys, join_labels, near_misses, other_keys, refuse_no_match
from radmae_jax.data.manifest import COLUMNS
from radmae_jax.data.patient_fit import Fit, compare
from radmae_jax.data.wording import counted


@dataclass(frozen=True)
class LabelCounts:
    """How the rows of a labels file and the images of an index found each other. Texts are for a terminal: they name
    files."""

    rows: int = 0  # of the labels file
    columns: tuple[tuple[str, int, int], ...] = ()  # each with its different values and the images that have one
    replaced: tuple[str, ...] = ()  # of them, those that the manifest has anyway
    rows_unmatched: int = 0  # without an image
    first_row: int = 0  # the line of the first of them
    first_row_text: str = ""  # its key, where that names a file and no person
    rows_of_bad: int = 0  # of them, those that name a file of the quarantine
    without: int = 0  # images without a row
    first_image: int = 0  # the record of the first of them
    first_image_text: str = ""  # its path
    patients_missing: int = 0  # images without a patient in a labels file that has them for others
    united: int = 0  # of patients_missing, those who take the labels' patient of their PatientID's other images
    merged: int = 0  # DICOM patients who share a patient of the labels file
    merged_into: int = 0  # those patients
    placeholders: int = 0  # DICOM patients whom the labels file takes apart into so many that none is one person
    proposals: tuple[str, ...] = ()  # for rows that match no image


def apply_labels(
    labels: Labels,
    columns: dict[str, list[Any]],
    instances: list[str | None],
    bad: list[str],
    *,
    salt: bytes,
    sources: tuple[str, ...],
    allow_missing_patients: bool,
) -> LabelCounts:
    """Replaces and adds columns of an index in place.

    A labels file's `patient` replaces the one of the header; where it only has a `study` and the image has no number
    of a patient, that study stands for the patient.

    Args:
      columns: of the manifest, by name; rows in the order of their paths.
      instances: keyed hashes of the images' SOP instances, None for those that have none.
      bad: paths of the quarantine.
      sources: the folder that was indexed, under all of its names.

    Raises:
      ValueError: where no row matches an image, as `join_labels`, and for a `patient` column that covers some images
        and not others, unless `allow_missing_patients`, or that takes DICOM patients apart.
    """
    paths = columns["path"]
    images = image_keys(labels.kind, paths, columns["study"], instances)
    joined = join_labels(labels, images)
    if paths and len(joined.unmatched) == len(labels.keys):
        refuse_no_match(labels, paths, sources)
        none = f", {images.count(None):,} of which have none, as PNG and JPEG do" if None in images else ""
        others = other_keys(labels, paths, columns["study"], instances, salt)
        raise ValueError(
            f"{labels.name}: none of {len(labels.keys):,} rows matches one of {len(paths):,} images by {labels.kind}"
            f"{none}; the first row is on line {labels.lines[0]}" + "".join(f"\n  {text}" for text in others)
        )
    patients = joined.columns.get("patient", [])
    missing = [record for record, patient in enumerate(patients) if patient is None]
    if len(missing) == len(patients):
        missing = []
    if missing and not allow_missing_patients:
        raise ValueError(
            f"{labels.name}: column patient covers {len(paths) - len(missing):,} of {len(paths):,} images; "
            f"{len(missing):,} have none, the first is {paths[missing[0]]!r}: they would keep an identity of their own "
            "and one person could look like two. Complete the column, or --allow-missing-patients"
        )
    fit = compare(columns, patients, placeholder_keys(salt)) if patients else Fit()
    if fit.torn:
        row = labels.keys.index(images[fit.first_torn] or "")
        raise ValueError(
            f"{labels.name}: column patient takes {counted(fit.torn, 'DICOM patient')} apart, as images of one "
            "PatientID have several patients there; the first is record "
            f"{fit.first_torn}, {paths[fit.first_torn]!r}, line "
            f"{labels.lines[row]}. One person would look like several: correct the column, or remove it"
        )
    if fit.united:
        joined.columns["patient"] = [fit.united.get(record, patient) for record, patient in enumerate(patients)]
    _replace(columns, joined.columns)
    refused = set(image_keys(labels.kind, bad)) if bad and labels.kind in ("path", "name", "stem") else set()
    named = labels.kind in ("path", "name", "stem") and bool(joined.unmatched)
    lost = [row for row in joined.unmatched if labels.keys[row] not in refused]
    return LabelCounts(
        rows=len(labels.keys),
        columns=tuple(
            (name, len(set(values) - {None}), len(values) - values.count(None))
            for name, values in joined.columns.items()
        ),
        replaced=tuple(name for name in joined.columns if name in COLUMNS.names),
        rows_unmatched=len(joined.unmatched),
        first_row=labels.lines[joined.unmatched[0]] if joined.unmatched else 0,
        first_row_text=labels.cells[joined.unmatched[0]] if named else "",
        rows_of_bad=len(joined.unmatched) - len(lost),
        without=len(joined.without),
        first_image=joined.without[0] if joined.without else 0,
        first_image_text=paths[joined.without[0]] if joined.without else "",
        patients_missing=len(missing),
        united=len(fit.united),
        merged=fit.merged,
        merged_into=fit.merged_into,
        placeholders=fit.placeholders,
        proposals=tuple(near_misses(labels, lost, paths, sources)),
    )


def _replace(columns: dict[str, list[Any]], labels: dict[str, list[str | None]]) -> None:
    count = len(columns["path"])
    for name, values in labels.items():
        own = columns.get(name, [None] * count)
        columns[name] = [new if new is not None else old for new, old in zip(values, own, strict=True)]
    patients, studies = labels.get("patient", [None] * count), labels.get("study", [None] * count)
    for record in range(count):
        if patients[record] is not None:
            columns["patient_source"][record] = "labels"
        elif studies[record] is not None and columns["patient_source"][record] in NO_NUMBER:
            columns["patient"][record], columns["patient_source"][record] = studies[record], "study"
