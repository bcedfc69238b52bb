"""Compares the patients of a labels file with those of DICOM: whom it takes apart, and whom it merges."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MANY = 20  # a PatientID that a labels file takes apart into more patients than this is a placeholder, and no person


@dataclass(frozen=True)
class Fit:
    """Counts of DICOM patients, who have a PatientID."""

    torn: int = 0  # images of whom have several patients in the labels file
    first_torn: int = 0  # the record of the first image that has another patient than one before it
    placeholders: int = 0  # the same of PatientIDs that name nobody
    merged: int = 0  # who share a patient of the labels file with another one
    merged_into: int = 0  # those patients
    united: dict[int, str] = field(default_factory=dict, repr=False)  # patients of records that the file leaves out


def compare(columns: dict[str, list[Any]], patients: Sequence[str | None], placeholders: frozenset[str]) -> Fit:
    """Both identities of each image that has both.

    An image without a patient in the labels file takes the one that the file gives the other images of its PatientID:
    otherwise one person would have two keys.

    Args:
      columns: of the manifest, with the identities of DICOM.
      patients: of the labels file, by image, None where it has none.
      placeholders: keys of PatientIDs that stand for many people.
    """
    of_header: dict[str, set[str]] = defaultdict(set)
    of_labels: dict[str, set[str]] = defaultdict(set)
    first: dict[str, int] = {}
    both = zip(columns["patient"], columns["patient_source"], patients, strict=True)
    numbered = [(record, own, given) for record, (own, source, given) in enumerate(both) if source in ("issuer", "id")]
    for record, own, given in numbered:
        if given is not None:
            if of_header[own] and given not in of_header[own]:
                first.setdefault(own, record)
            of_header[own].add(given)
            of_labels[given].add(own)
    nobody = {own for own in of_header if own in placeholders or len(of_header[own]) > MANY}
    torn = sorted(record for own, record in first.items() if own not in nobody)
    merged = [owners - nobody for owners in of_labels.values() if len(owners - nobody) > 1]
    united = {
        record: min(of_header[own])
        for record, own, given in numbered
        if given is None and own not in nobody and len(of_header.get(own, ())) == 1
    }
    return Fit(
        len(torn), torn[0] if torn else 0, sum(own in nobody for own in first), len(set().union(*merged)), len(merged),
        united,
    )  # fmt: skip
