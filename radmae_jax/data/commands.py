"""`radmae index` and `radmae split`: their arguments, and what they print."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from radmae_jax.command import add_command, write_figures

_TOO_MANY_BAD = 3
_LABEL_KEYS = "path, name, stem, sop_uid or study"


def add_index(commands: Any) -> None:
    """Adds `radmae index`."""
    index = add_command(
        commands, "index", _index, "a folder of radiographs to a manifest: `radmae index SRC MANIFEST.parquet`"
    )
    index.add_argument("paths", nargs="+", type=Path, metavar="SRC MANIFEST", help="with --show: MANIFEST alone")
    index.add_argument(
        "--labels", type=Path, help="CSV with a column that names the images; its other columns are labels"
    )
    index.add_argument(
        "--label-key",
        metavar="KEY[=COLUMN]",
        help=f"what names them: {_LABEL_KEYS}, and the column that holds it (default: path)",
    )
    index.add_argument(
        "--allow-missing-patients",
        action="store_true",
        help="let images that have no `patient` in the labels file keep their own",
    )
    index.add_argument("--replace", action="store_true", help="replace a manifest whose rows or labels change")
    index.add_argument("--headers-only", action="store_true", help="do not decode pixels")
    index.add_argument("--workers", type=int, help="processes (default: one a core)")
    index.add_argument("--max-bad", type=float, default=0.5, help="share of bad files above which it exits 3")
    index.add_argument("--salt-file", type=Path, help="key of the patient hashes (default: made beside the manifest)")
    index.add_argument("--timeout", type=float, default=120.0, help="seconds a file may take to decode")
    index.add_argument("--show", type=int, metavar="RECORD", help="print the path of a record of MANIFEST")


def add_split(commands: Any) -> None:
    """Adds `radmae split`."""
    split = add_command(commands, "split", _split, "a manifest to train, validation and test patients")
    split.add_argument("manifest", type=Path)
    split.add_argument("split", type=Path, nargs="?", help="default: MANIFEST.split.parquet")
    split.add_argument(
        "--fractions", type=float, nargs=3, metavar=("TRAIN", "VAL", "TEST"), help="default: 0.8 0.05 0.15, or OLD's"
    )
    split.add_argument("--seed", type=int, help="default: 0, or OLD's")
    split.add_argument("--keep", type=Path, metavar="OLD", help="a split file: its patients stay, new ones are dealt")
    split.add_argument(
        "--from-column", metavar="NAME", help="take the split of this label column (of --from-file's CSV)"
    )
    split.add_argument("--from-file", type=Path, metavar="CSV", help="take the split of this file's column `split`")
    split.add_argument(
        "--map",
        nargs="+",
        default=[],
        action="extend",
        metavar="VALUE=SPLIT",
        help="what values mean: --map 0=train 1=test",
    )
    split.add_argument(
        "--label-key",
        metavar="KEY[=COLUMN]",
        help="what names the images of --from-file: path, name, stem, patient or study (default: path)",
    )
    split.add_argument("--salt-file", type=Path, help="key of the patient hashes (default: MANIFEST.salt)")


def _index(options: argparse.Namespace, rest: list[str]) -> int:
    from radmae_jax.data.index import index
    from radmae_jax.data.index_summary import lines_of
    from radmae_jax.data.manifest import read_manifest

    if options.show is not None:
        manifest = read_manifest(options.paths[-1])
        if not 0 <= options.show < len(manifest.paths):
            raise ValueError(f"--show {options.show}: the manifest has records 0 to {len(manifest.paths) - 1}")
        print(manifest.source / manifest.paths[options.show])
        return 0
    if len(options.paths) != 2:
        raise ValueError(f"takes SRC and MANIFEST, got {len(options.paths)} paths")
    if options.labels is None:
        for name, value in (
            ("--label-key", options.label_key),
            ("--allow-missing-patients", options.allow_missing_patients),
        ):
            if value:
                raise ValueError(f"{name} has no effect without --labels")
    _refuse_missing({"--labels": options.labels, "--salt-file": options.salt_file})
    source, target = options.paths
    summary = index(
        source,
        target,
        labels=options.labels,
        label_key=options.label_key or "path",
        allow_missing_patients=options.allow_missing_patients,
        replace=options.replace,
        headers_only=options.headers_only,
        workers=options.workers,
        max_bad=options.max_bad,
        salt_file=options.salt_file,
        timeout=options.timeout,
    )
    write_figures(options.json, summary.to_json())
    print("\n".join(lines_of(summary, target)))
    old = _default_split(target)
    if summary.changes and old.exists() and summary.changes.all_patients:
        print(f"{old} is of the manifest before, whose patients had other keys: it fits no more, split anew")
    elif summary.changes and old.exists():
        print(f"{old} is of the manifest before; `radmae split {target} NEW --keep {old}` deals its new patients")
    if summary.over_limit:
        print(f"bad files are {summary.bad_share:.1%} of all, above --max-bad {options.max_bad:.1%}", file=sys.stderr)
        return _TOO_MANY_BAD
    return 0


def _split(options: argparse.Namespace, rest: list[str]) -> int:
    from radmae_jax.data.manifest import read_manifest
    from radmae_jax.data.separation import claim, empty_splits, patient_numbers
    from radmae_jax.data.splits import FRACTIONS, SIDES, make_split, read_split, write_split

    _check_together(options)
    if options.seed is not None and options.seed < 0:
        raise ValueError(f"--seed {options.seed}: expected 0 or more")
    _refuse_missing({"--from-file": options.from_file, "--salt-file": options.salt_file})
    path = options.split or _default_split(options.manifest)
    if options.keep and path.resolve() == options.keep.resolve():
        raise ValueError(f"--keep {options.keep} is the split file to write; name another one for it")
    if path.exists():
        raise ValueError(f"{path} exists; a split in use must not change, remove it or name another")
    manifest = read_manifest(options.manifest)
    fractions = None if options.fractions is None else tuple(options.fractions)
    lines: list[str] = []
    more: dict[str, Any] = {}
    if options.keep:
        split, lines, more = _kept(options, manifest, fractions)
    elif options.from_column or options.from_file:
        split, lines, more = _official(options, manifest)
    else:
        split = make_split(manifest, fractions=fractions or FRACTIONS, seed=options.seed or 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_split(split, path)
    split = read_split(path, manifest)  # as every run reads it: keys and pixels in two splits are refused
    records = {side: split.records(side) for side in SIDES}
    images = {side: len(found) for side, found in records.items()}
    patients = {side: len({manifest.patients[r] for r in found.tolist()}) for side, found in records.items()}
    numbers = patient_numbers(manifest, split)
    known, empty = claim(manifest, split), empty_splits(split)
    figures = {"split": str(path), "hash": split.hash, "images": images, "patients": patients}
    figures |= {"from": split.origin, "separation": known, "without_patient_number": numbers.without}
    figures |= {"unknown_images": numbers.unknown, "empty": empty}
    write_figures(options.json, figures | more)
    print(f"{path}: " + ", ".join(f"{side} {count:,}" for side, count in images.items()) + " images")
    what = "studies or files (no image has a patient number)" if numbers.none else "patients"
    print(f"of {what}: " + ", ".join(f"{side} {count:,}" for side, count in patients.items()))
    for line in lines:
        print(line)
    if empty:
        print(f"warning: no image is in the {' and the '.join(empty)} split")
    print(f"separation: {known}")
    return 0


def _check_together(options: argparse.Namespace) -> None:
    """Raises ValueError for options that contradict each other or have no effect."""
    official = "--from-file" if options.from_file else "--from-column" if options.from_column else ""
    if options.keep and official:
        raise ValueError(
            f"--keep deals new patients and {official} takes every patient's split from elsewhere: use one"
        )
    for name, there in (("--fractions", options.fractions is not None), ("--seed", options.seed is not None)):
        if there and official:
            raise ValueError(f"{name} has no effect with {official}: nothing is dealt")
    for name, there in (("--label-key", options.label_key), ("--salt-file", options.salt_file)):
        if there and not options.from_file:
            raise ValueError(f"{name} has no effect without --from-file")
    if options.map and not official:
        raise ValueError("--map has no effect without --from-column or --from-file")


def _kept(options: argparse.Namespace, manifest: Any, fractions: Any) -> tuple[Any, list[str], dict[str, Any]]:
    from radmae_jax.data.kept_split import keep_split
    from radmae_jax.data.separation import patient_numbers
    from radmae_jax.data.splits import read_assignment
    from radmae_jax.data.wording import counted

    split, kept = keep_split(manifest, read_assignment(options.keep), fractions=fractions, seed=options.seed)
    new = ", ".join(f"{side} {count:,}" for side, count in kept.new.items())
    none = patient_numbers(manifest).none
    one, many = ("study or file", "studies or files") if none else ("patient", "patients")
    lines = [f"kept: {counted(kept.kept, one, many)}, in the split of before"]
    lines.append(f"new: {counted(kept.joined + kept.dealt, one, many)} ({new})")
    if kept.joined:
        lines.append(f"  {kept.joined:,} of them share an image with kept {many} and are in the same split")
    lines.append(
        f"gone: {counted(kept.gone, one, many)} of {options.keep.name}, not in the manifest; the new split file keeps "
        "their split"
    )
    if kept.gone and kept.unnumbered:
        lines.append(
            f"warning: {kept.unnumbered:,} of the new are studies or files, as their images have no patient number: "
            "renamed or moved files are gone and new at once, and may have changed their split"
        )
    if kept.gone and kept.joined + kept.dealt > kept.unnumbered:
        lines.append(
            "warning: where a labels file or a salt gave patients other keys, the same people are gone and new at once "
            "and may have changed their split"
        )
    return split, lines, {"keep": asdict(kept)}


def _official(options: argparse.Namespace, manifest: Any) -> tuple[Any, list[str], dict[str, Any]]:
    from radmae_jax.data.identity import read_salt
    from radmae_jax.data.label_keys import parse_key
    from radmae_jax.data.official_split import FILE_KEYS, from_column, from_file, official_split, parse_map
    from radmae_jax.data.wording import counted

    mapped = parse_map(options.map)
    if options.from_file:
        key = parse_key(options.label_key or "path", FILE_KEYS)
        salt = read_salt(options.manifest, options.salt_file) if key.kind in ("patient", "study") else None
        found = from_file(manifest, options.from_file, key, options.from_column or "", salt)
    else:
        found = from_column(manifest, options.from_column)
    split, taken = official_split(manifest, found, mapped)
    lines = [f"taken from {split.origin}: {taken.images:,} images have a value"]
    if taken.by_patient:
        lines.append(f"{taken.by_patient:,} images have none and are in the split of their patient's other images")
    if taken.unmatched_rows:
        lines.append(
            f"{counted(taken.unmatched_rows, 'row')} found no image; the first is on line {taken.first_unmatched}"
        )
    lines += [f"  {text}" for text in taken.proposals]
    lines += [f"--map: no image has the value {value!r}" for value in taken.unused]
    lines += [f"warning: {remark}" for remark in taken.remarks]
    figures = {name: value for name, value in asdict(taken).items() if name != "proposals"}  # these name files
    return split, lines, {"official": figures}


def _refuse_missing(files: dict[str, Path | None]) -> None:
    """Raises FileNotFoundError that names the option of a file that is not there, IsADirectoryError for a folder."""
    for name, file in files.items():
        if file is not None and not file.exists():
            raise FileNotFoundError(f"{name} {file}: there is no such file")
        if file is not None and file.is_dir():
            raise IsADirectoryError(f"{name} {file} is a folder, expected a file")


def _default_split(manifest: Path) -> Path:
    return Path(f"{manifest}.split.parquet")
