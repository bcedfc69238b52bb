"""Counts what an index found, and words the counts for people."""

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radmae_jax.data.flags import FLAGS
from radmae_jax.data.identity import NO_NUMBER, PATIENT_SOURCES
from radmae_jax.data.index_labels import LabelCounts
from radmae_jax.data.label_file import Labels
from radmae_jax.data.manifest import COLUMNS
from radmae_jax.data.manifest_changes import Changes, line_of_move, lines_of_changes
from radmae_jax.data.separation import numbers_of, stand_ins, unknown_of
from radmae_jax.data.wording import counted

_MANY, _LARGE = 0.1, 20  # share of the images and number of them above which one patient may be a placeholder
# Paths: they go to the terminal of the user whose files they are, and not into JSON, which is passed on.
_TERMINAL = (
    "first_row_text",
    "first_image_text",
    "proposals",
    "first_added",
    "first_removed",
    "first_changed",
    "moved_from",
    "moved_to",
)
_SOURCES = {
    "issuer": "PatientID and its issuer",
    "id": "PatientID",
    "labels": "the labels file",
    "study": "the study",
    "file": "the file",
}


@dataclass(frozen=True)
class IndexSummary:
    """Counts of one index; `lines_of` has all of them in words."""

    images: int
    bad: int
    reasons: dict[str, int]  # of the bad, commonest first
    patients: int
    studies: int
    largest_patient: int  # images of the patient who has most: near all of them where IDs are placeholders
    without_patient_id: int  # images whose study, or file, stands for the patient
    patient_sources: dict[str, int]  # images by what stands for their patient, see identity.PATIENT_SOURCES
    duplicates: int  # images whose pixels another image has too, the first of them excepted
    shared_by_patients: int  # images whose pixels an image of another patient has too
    sharing_patients: int  # who have such an image
    without_pixels: int  # images of which only the header was read: nothing is known of their duplicates
    flags: dict[str, int]  # images by what is odd about them, see flags.FLAGS; commonest first
    skipped: dict[str, int]  # files and folders that are no images, by what they are; commonest first
    resumed: int  # files taken from the journal of an index that was stopped
    label_rows_unmatched: int  # rows of the labels file without an image
    images_without_labels: int  # images without a row; 0 where there is no labels file
    label_columns: tuple[str, ...]
    label_columns_ignored: tuple[str, ...]  # measured by the index, identifiers, and columns without a name
    label_remarks: tuple[str, ...]  # on how the labels file was read
    labels: LabelCounts
    changes: Changes  # of the manifest that was there; empty where there was none, or an equal one
    bad_share: float
    over_limit: bool  # bad_share > max_bad
    seconds: float

    @property
    def ignored(self) -> int:
        """Files that were skipped."""
        return sum(count for what, count in self.skipped.items() if what != "hidden folders")

    def to_json(self) -> dict[str, Any]:
        """The counts without paths."""
        plain = asdict(self)
        for part in ("labels", "changes"):
            plain[part] = {name: value for name, value in plain[part].items() if name not in _TERMINAL}
        return plain


def summarize(
    columns: dict[str, list[Any]],
    reasons: list[str],
    labels: Labels | None,
    counts: LabelCounts,
    changes: Changes,
    *,
    skipped: dict[str, int],
    resumed: int,
    max_bad: float,
    seconds: float,
) -> IndexSummary:
    """Counts the columns of a manifest and what an index did to make them. `reasons`: one a bad file."""
    images, extra = len(columns["path"]), [name for name in columns if name not in COLUMNS.names]
    sources = Counter(columns["patient_source"])
    hashes = Counter(value for value in columns["pixel_hash"] if value is not None)
    share = len(reasons) / (images + len(reasons)) if images or reasons else 0.0
    shared, sharing = _shared(columns["patient"], columns["pixel_hash"])
    return IndexSummary(
        images=images,
        bad=len(reasons),
        reasons=dict(Counter(reasons).most_common()),
        patients=len(set(columns["patient"])),
        studies=len(set(columns["study"])),
        largest_patient=max(Counter(columns["patient"]).values(), default=0),
        without_patient_id=sum(sources[name] for name in NO_NUMBER),
        patient_sources={name: sources[name] for name in PATIENT_SOURCES if sources[name]},
        duplicates=sum(count - 1 for count in hashes.values()),
        shared_by_patients=shared,
        sharing_patients=sharing,
        without_pixels=sum(value is None for value in columns["pixel_hash"]),
        flags=dict(Counter(flag for flags in columns["flags"] if flags for flag in flags.split(",")).most_common()),
        skipped=skipped,
        resumed=resumed,
        label_rows_unmatched=counts.rows_unmatched,
        images_without_labels=counts.without,
        label_columns=tuple(extra),
        label_columns_ignored=labels.ignored if labels else (),
        label_remarks=labels.remarks if labels else (),
        labels=counts,
        changes=changes,
        bad_share=share,
        over_limit=share > max_bad,
        seconds=seconds,
    )


def lines_of(summary: IndexSummary, manifest: Path) -> list[str]:
    """What `radmae index` prints."""
    s = summary
    bad = f" in {manifest}.quarantine.parquet" if s.bad else ""
    none = numbers_of(_sources(s)).none
    people = f"unknown patients ({s.patients:,} studies or files)" if none else counted(s.patients, "patient")
    lines = [
        f"{counted(s.images, 'image')} of {people} in {manifest}; {counted(s.bad, 'bad file')}{bad} ({s.seconds:.1f} s)"
    ]
    lines += [f"  {reason}: {count:,}" for reason, count in sorted(s.reasons.items())]
    if s.skipped:
        lines.append(f"  skipped: {', '.join(f'{what} {count:,}' for what, count in s.skipped.items())}")
    lines += [f"  {counted(s.resumed, 'file')} from the journal, read before"] if s.resumed else []
    lines += [f"  flagged {name}, {FLAGS[name]}: {count:,}" for name, count in s.flags.items()]
    lines += [*_patients(s), *_duplicates(s), *_labels(s)]
    if s.changes:
        lines += ["replaced the manifest that was there:", *(f"  {line}" for line in lines_of_changes(s.changes))]
    elif s.changes.moved_from:
        lines.append(line_of_move(s.changes))
    return lines


def _patients(s: IndexSummary) -> list[str]:
    if not s.images:
        return []
    by = ", ".join(f"{_SOURCES[name]} {count:,}" for name, count in s.patient_sources.items())
    lines = [f"{counted(s.studies, 'study', 'studies')}; images by what stands for their patient: {by}"]
    numbers = numbers_of(_sources(s))
    if s.without_patient_id:
        lines.append(
            f"warning: {s.without_patient_id:,} of {counted(s.images, 'image')} have no patient number; what "
            f"stands for it: {stand_ins(_sources(s))}; {unknown_of(numbers)}"
        )
    elif numbers.mixed:
        lines.append(f"warning: {unknown_of(numbers)}")
    if numbers.none:
        return lines
    lines.append(f"the patient with the most images has {s.largest_patient:,}")
    if s.largest_patient > max(_LARGE, _MANY * s.images):
        lines.append(
            f"warning: one patient has {s.largest_patient:,} of {s.images:,} images: its number may be a placeholder, "
            "such as ANONYMOUS, for many people"
        )
    return lines


def _sources(s: IndexSummary) -> list[str]:
    """What stands for the patient, of every image."""
    return list(Counter(s.patient_sources).elements())


def _duplicates(s: IndexSummary) -> list[str]:
    lines = []
    if s.duplicates:
        text = f"{counted(s.duplicates, 'image has', 'images have')} the pixels of another image"
        if s.shared_by_patients:
            text += (
                f"; {s.shared_by_patients:,} images share theirs across {s.sharing_patients:,} patients, who stay "
                "together in every split"
            )
        lines.append(text)
    elif s.images > s.without_pixels:
        lines.append("no two images have equal pixels")
    if s.without_pixels:
        lines.append(
            f"warning: {counted(s.without_pixels, 'image was', 'images were')} indexed without "
            "pixels: nothing is known of duplicates"
        )
    return lines


def _labels(s: IndexSummary) -> list[str]:
    counts = s.labels
    if not counts.rows:
        return []
    replaced = f"; replaces {', '.join(counts.replaced)}" if counts.replaced else ""
    lines = [f"labels: {', '.join(s.label_columns) or 'no new column'}{replaced}; {counted(counts.rows, 'row')}"]
    lines += [
        f"  {name}: {counted(values, 'value')}, known for {known:,} of {counted(s.images, 'image')}"
        for name, values, known in counts.columns
    ]
    if s.label_columns_ignored:
        lines.append(f"  ignored columns: {', '.join(s.label_columns_ignored)}")
    lines += [f"  warning: {remark}" for remark in s.label_remarks]
    if counts.rows_unmatched:
        first = f": {counts.first_row_text!r}" if counts.first_row_text else ""
        bad = f" ({counts.rows_of_bad:,} of them name files of the quarantine)" if counts.rows_of_bad else ""
        lines.append(
            f"  {counted(counts.rows_unmatched, 'row')} found no image{bad}; the first is on line "
            f"{counts.first_row}{first}"
        )
    else:
        lines.append("  every row found an image")
    if counts.without:
        lines.append(
            f"  {counts.without:,} of {s.images:,} images found no row; the first is record {counts.first_image}: "
            f"{counts.first_image_text!r}"
        )
    else:
        lines.append("  every image found a row")
    lines += [f"  {text}" for text in counts.proposals]
    if counts.patients_missing:
        own = "" if counts.united else " and keep an identity of their own"
        lines.append(
            f"  warning: {counted(counts.patients_missing, 'image has', 'images have')} no patient in the labels "
            f"file{own} (--allow-missing-patients)"
        )
    if counts.united:
        lines.append(
            f"  {counts.united:,} of them have a PatientID that the labels file puts with one of its patients "
            "elsewhere, and take that patient"
        )
    if counts.merged:
        lines.append(
            f"  warning: {counted(counts.merged, 'DICOM patient')} are merged into "
            f"{counted(counts.merged_into, 'patient')} of the labels file"
        )
    if counts.placeholders:
        lines.append(
            f"  warning: {counted(counts.placeholders, 'DICOM patient stands', 'DICOM patients stand')} for many "
            "people, whom the labels file tells apart"
        )
    return lines


def _shared(patients: list[str], hashes: list[str | None]) -> tuple[int, int]:
    """Images whose pixels an image of another patient has, and those patients."""
    who: dict[str, set[str]] = defaultdict(set)
    for patient, pixels in zip(patients, hashes, strict=True):
        if pixels is not None:
            who[pixels].add(patient)
    shared = {pixels: people for pixels, people in who.items() if len(people) > 1}
    return sum(pixels in shared for pixels in hashes), len(set().union(*shared.values()))
