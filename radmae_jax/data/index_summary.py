"""Counts what an index found, and words the counts for people."""

from dataclasses import dataclass
from pathlib import Path

from radmae_jax.data.flags import FLAGS


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
    duplicates: int  # images whose pixels another image has too, beyond the first
    flags: dict[str, int]  # images by what is odd about them, see flags.FLAGS; commonest first
    skipped: dict[str, int]  # files and folders that are no images, by what they are; commonest first
    resumed: int  # files taken from the journal of an index that was stopped
    label_rows_unmatched: int  # rows of the labels file without an image
    images_without_labels: int  # images without a row; 0 where there is no labels file
    label_columns: tuple[str, ...]
    label_columns_ignored: tuple[str, ...]  # named like the manifest's own columns
    bad_share: float
    over_limit: bool  # bad_share > max_bad
    seconds: float

    @property
    def ignored(self) -> int:
        """Files that were skipped."""
        return sum(count for what, count in self.skipped.items() if what != "hidden folders")


def lines_of(summary: IndexSummary, manifest: Path) -> list[str]:
    """What `radmae index` prints."""
    bad = f" in {manifest}.quarantine.parquet" if summary.bad else ""
    lines = [
        f"{summary.images:,} images of {summary.patients:,} patients in {manifest}; {summary.bad:,} bad files{bad} "
        f"({summary.seconds:.1f} s)"
    ]
    lines += [f"  {reason}: {count:,}" for reason, count in sorted(summary.reasons.items())]
    lines += [f"  flagged {flag}, {FLAGS[flag]}: {count:,}" for flag, count in summary.flags.items()]
    if summary.skipped:
        named = ", ".join(f"{what} {count:,}" for what, count in summary.skipped.items())
        lines.append(f"  skipped: {named}")
    return lines
