"""Compares the manifest that an index would write with the one that is there, so that none is replaced unnoticed."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from radmae_jax.data.identity import read_salt, salt_of
from radmae_jax.data.manifest import COLUMNS, Manifest, read_manifest
from radmae_jax.data.patient_keys import salt_differs


@dataclass(frozen=True)
class Changes:
    """What replacing a manifest changes. Counts are of rows, that is of images, where nothing else is named."""

    unreadable: str = ""  # why what is there is no manifest of this version; the rest is then empty
    added: int = 0
    removed: int = 0
    columns: tuple[tuple[str, int], ...] = ()  # changed values: column and rows, most rows first
    changed: int = 0  # rows that are in both and differ in some column
    labels_added: tuple[str, ...] = ()
    labels_removed: tuple[str, ...] = ()
    patients: int = 0  # whose key changed
    all_patients: bool = False  # whether none of them kept it
    moved_from: str = ""  # the source that was indexed before, for a terminal; empty where it is the same
    moved_to: str = ""
    by_files: int = 0  # images of a moved source whose file stands for their patient: their keys are another kind
    first_added: str = ""  # paths, for a terminal
    first_removed: str = ""
    first_changed: str = ""

    def __bool__(self) -> bool:
        counted = self.added or self.removed or self.changed or self.by_files
        return bool(self.unreadable or counted or self.labels_added or self.labels_removed)


def old_manifest(path: Path) -> tuple[Manifest | None, Changes]:
    """The manifest that is there, if any, and what is wrong with it.

    Raises:
      IsADirectoryError: for a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(f"manifest {path} is a folder; name a file in it")
    if not path.exists():
        return None, Changes()
    try:
        return read_manifest(path), Changes()
    except (ValueError, OSError, KeyError, TypeError, pa.ArrowException) as error:
        return None, Changes(unreadable=str(error).replace(str(path), path.name) or type(error).__name__)


def changes_of(old: Manifest | None, new: pa.Table, source: Path) -> Changes:
    """What `new`, sorted or not, of a source, changes of an earlier manifest. One without rows has nothing to lose."""
    if old is None or len(old) == 0:
        return Changes()
    before = {path: row for row, path in enumerate(old.paths)}
    paths = new["path"].to_pylist()
    after = {path: row for row, path in enumerate(paths)}
    added = sorted(path for path in paths if path not in before)
    removed = [path for path in old.paths if path not in after]
    common = [path for path in old.paths if path in after]
    old_rows, new_rows = [before[path] for path in common], [after[path] for path in common]
    counts: Counter[str] = Counter()
    changed: set[int] = set()
    rekeyed: set[str] = set()
    moved = old.source != source
    for name in [name for name in old.table.column_names if name in new.column_names]:
        ours, theirs = (
            table[name].combine_chunks().take(pa.array(rows, pa.int64())).to_pylist()
            for table, rows in ((old.table, old_rows), (new, new_rows))
        )
        different = [at for at, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
        changed.update(different)
        if different:
            counts[name] = len(different)
        if name == "patient":
            rekeyed = {ours[at] for at in different}
    labels = [[n for n in names if n not in COLUMNS.names] for names in (new.column_names, old.table.column_names)]
    return Changes(
        added=len(added),
        removed=len(removed),
        columns=tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        changed=len(changed),
        labels_added=tuple(name for name in labels[0] if name not in labels[1]),
        labels_removed=tuple(name for name in labels[1] if name not in labels[0]),
        patients=len(rekeyed),
        all_patients=bool(rekeyed) and len(rekeyed) == len({old.patients[row] for row in old_rows}),
        moved_from=str(old.source) if moved else "",
        moved_to=str(source) if moved else "",
        by_files=new["patient_source"].to_pylist().count("file") if moved else 0,
        first_added=added[0] if added else "",
        first_removed=removed[0] if removed else "",
        first_changed=common[min(changed)] if changed else "",
    )


def is_same(old: Manifest, new: pa.Table, changes: Changes, source: Path, key: str) -> bool:
    """Whether the file that is there need not be written again: not even its bytes change."""
    return len(old) == new.num_rows and not changes and old.source == source and old.key == key


def lines_of_changes(changes: Changes) -> list[str]:
    """The changes in words, one line each."""
    if changes.unreadable:
        return [f"what is there is no manifest that can be compared: {changes.unreadable}"]
    lines = [line_of_move(changes)] if changes.moved_from else []
    for count, what, first in (
        (changes.added, "added", changes.first_added),
        (changes.removed, "removed", changes.first_removed),
    ):
        if count:
            lines.append(f"{_rows(count)} {what}, the first is {first!r}")
    if changes.changed:
        by = ", ".join(f"{name} ({rows:,})" for name, rows in changes.columns)
        lines.append(f"{_rows(changes.changed)} changed, the first is {changes.first_changed!r}; by column: {by}")
    if changes.patients:
        lines.append(f"{changes.patients:,} patient{'s' * (changes.patients > 1)} get another key")
    for names, what in ((changes.labels_added, "added"), (changes.labels_removed, "removed")):
        if names:
            lines.append(f"label column{'s' * (len(names) > 1)} {what}: {', '.join(names)}")
    return lines


def line_of_move(changes: Changes) -> str:
    """Where a source has moved, and what that costs."""
    cost = (
        f"for {changes.by_files:,} images the file stands for the patient: what earlier runs have seen of them can no "
        "longer be compared with them by patient"
        if changes.by_files
        else "patients keep their keys"
    )
    return f"the source was {changes.moved_from} and is now {changes.moved_to}; {cost}"


def refuse_other_salt(old: Manifest | None, manifest: Path, salt_file: Path | None) -> None:
    """Raises ValueError where the salt of a manifest with rows is gone, or is another than it is keyed by."""
    if not old:
        return
    own = salt_of(manifest)
    costs = "With another salt all patients get other keys: splits and runs of the manifest fit it no more (--replace)"
    if salt_file is None and not own.exists():
        raise ValueError(
            f"{manifest} exists and its salt {own} does not: put it back, or name it by --salt-file. {costs}"
        )
    if salt_differs(old.key, read_salt(manifest, salt_file), str(old.source)):
        used = "" if salt_file is not None else "; --salt-file names the right one"
        raise ValueError(f"{manifest} is keyed by another salt than {salt_file or own}{used}. {costs}")


def refuse_changes(changes: Changes, manifest: Path) -> None:
    """Raises ValueError that lists the changes and names --replace, where there are any."""
    if changes:
        listed = "".join(f"\n  {line}" for line in lines_of_changes(changes))
        raise ValueError(
            f"{manifest} exists and would change:{listed}\nNothing was written. --replace writes the new manifest, in "
            "seconds, as files that were read are not read again; runs and splits of the old one may not fit it"
        )


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count > 1)}"
