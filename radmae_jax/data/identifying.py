"""Decides by its name, and by its values, whether a column of a labels file identifies people or images."""

import re
from collections.abc import Sequence

# The usual names of columns that hold numbers of patients and of studies.
PATIENT_NAMES = ("patient_id", "subject_id", "subject", "pid", "mrn", "patient_name", "patient_number")
STUDY_NAMES = ("study_id", "study_uid", "StudyInstanceUID", "accession_number")

# Names are compared by their letters and digits alone, in lower case. Patient Age, Sex and Position are labels.
_NUMBER_OF = r"(ids?|no|nr|num|numbers?|nummer|key|hash|code|index|uids?|identifiers?|pseudonym)"
_PERSON = r"(patients?|patienten|pat|subjects?|persons?|participants?|probands?|individuals?|cases?|anon|pseudo)"
_PATIENT = re.compile(
    rf"{_PERSON}{_NUMBER_OF}$|patients?$|subjects?$|person$|participant$|pid$|mrn|medicalrecord|pseudonym"
    rf"|.*(patient|patients|patienten|pat|person|subject)(name|initials)s?$|.*patients?ids?$"
)
_STUDY = re.compile(rf"(study|exam|examination|order){_NUMBER_OF}$|study(instance)?i?uids?$|accession|study$")
_OTHER = re.compile(
    r".*(?<!fl)(?<!liq)(?<!sq)uids?$"  # pleural fluid is a finding
    r"|.*(birth|geburt)(?!weight|sgewicht|gewicht|length|order)|dob$|.*geboren"
    r"|(.*(study|exam|examination|acquisition|series|content|image|scan|visit|admission|report))?(date|datetime)$"
    r"|(study|exam|acquisition|series|content|scan)time$|datum$|timestamp$|.*(untersuchungs|aufnahme)datum$"
    r"|(full|first|last|given|family|sur|vor|nach)?name$|ssn$|socialsecurity|.*(address|phone|telephone|email)$"
)
_UID = re.compile(r"[0-9]+(\.[0-9]+){4,}$|2\.25\.[0-9]+$")
_NUMERIC = re.compile(r"[+-]?[0-9]*[.,]?[0-9]*([eE][+-]?[0-9]+)?$")
_ROWS, _SHARE = 20, 0.9  # more rows, and a larger share of distinct values, than a class label has


def identifies(column: str) -> str | None:
    """What a column identifies by its name: patient, study, "" for images, days and the like; None for a label."""
    name = "".join(letter for letter in column.casefold() if letter.isalnum())
    for what, pattern in (("patient", _PATIENT), ("study", _STUDY), ("", _OTHER)):
        if pattern.match(name):
            return what
    return None


def holds_uids(values: Sequence[str]) -> bool:
    """Whether any value looks like a UID of DICOM."""
    return any(_UID.match(value) for value in values)


def mostly_distinct(values: Sequence[str]) -> bool:
    """Whether nearly every row has a value of its own, and not all are numbers: names of something, and no classes."""
    known = [value for value in values if value]
    if len(known) <= _ROWS or len(set(known)) <= _SHARE * len(known):
        return False
    return not all(_NUMERIC.match(value) for value in known)
