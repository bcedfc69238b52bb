"""Indexes a folder of radiographs: a manifest, and a quarantine table of what could not be read, with reasons."""

import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from radmae_jax.data.codecs import ImageError
from radmae_jax.data.identity import fingerprint, instance_key, keys, load_salt
from radmae_jax.data.images import inspect
from radmae_jax.data.index_labels import LabelCounts, apply_labels
from radmae_jax.data.index_summary import IndexSummary, summarize
from radmae_jax.data.isolate import run_isolated
from radmae_jax.data.journal import Journal
from radmae_jax.data.label_file import read_labels, refuse_no_match
from radmae_jax.data.label_keys import parse_key
from radmae_jax.data.listing import Found, find_files
from radmae_jax.data.manifest import COLUMNS, quarantine_path, write_manifest, write_quarantine
from radmae_jax.data.manifest_changes import changes_of, is_same, old_manifest, refuse_changes, refuse_other_salt

ROW = tuple(COLUMNS.names)
log = logging.getLogger(__name__)


def index(
    source: Path,
    manifest: Path,
    *,
    labels: Path | None = None,
    label_key: str = "path",
    allow_missing_patients: bool = False,
    replace: bool = False,
    headers_only: bool = False,
    workers: int | None = None,
    max_bad: float = 0.5,
    salt_file: Path | None = None,
    timeout: float = 120.0,
    show_progress: bool = True,
) -> IndexSummary:
    """Writes `manifest` and its quarantine from every image file under `source`.

    Every image is decoded once, unless `headers_only`; each in a worker process (`workers`, None: one a core) that
    may crash or take more than `timeout` seconds without harm to the others. The result does not depend on the
    number of workers. Stopped and called again with the same arguments, it goes on from its journal. A share of bad
    files above `max_bad` is reported (`over_limit`), not raised. See label_file.read_labels for `labels`,
    label_keys.parse_key for `label_key`, and identity.load_salt for `salt_file`.

    Args:
      allow_missing_patients: whether the labels' column `patient` may cover some images and not others.
      replace: whether a manifest that is there may be replaced where its rows or labels change, or by one it cannot be
        compared with. A manifest without rows may always be.

    Raises:
      FileNotFoundError, NotADirectoryError: for the source and the files that are named.
      ValueError: for a source without files; a labels file that is malformed or matches nothing, and patients that it
        has for some images only, see `apply_labels`; a manifest that would change, without `replace`.
    """
    began = time.monotonic()
    sources = tuple(dict.fromkeys((str(source.resolve()), str(source.absolute()))))
    source = source.resolve()
    if not source.is_dir():
        raise NotADirectoryError(f"source {source} is not a folder")
    manifest.parent.mkdir(parents=True, exist_ok=True)
    old, unreadable = old_manifest(manifest)
    if not replace:
        refuse_changes(unreadable, manifest)
    own = {manifest.with_name(manifest.name + end) for end in ("", ".salt", ".journal", ".split.parquet")}
    own |= {quarantine_path(manifest), *(file for file in (labels, salt_file) if file is not None)}
    listing = find_files(source, {file.resolve() for file in own})
    found = listing.found
    if not found:
        closed = Counter(f"{reason} files or folders" for _, reason, _ in listing.closed)
        there = ", ".join(f"{count} {what}" for what, count in (*closed.items(), *listing.skipped.items()))
        among = sum(listing.skipped.values()) + len(listing.closed)
        raise ValueError(f"source {source}: no image files among {among} files{there and f': {there}'}")
    if not replace:
        refuse_other_salt(old, manifest, salt_file)
    salt = load_salt(manifest, salt_file)
    read = None
    if labels is not None:  # what is wrong with it is raised before hours of decoding
        read = read_labels(labels, salt, parse_key(label_key))
        refuse_no_match(read, [file.path for file in found], sources, of="files")
    head = {
        "source": str(source),
        "headers_only": headers_only,
        "row": [*ROW, "instance"],
        "salt": hashlib.sha256(b"journal" + salt).hexdigest()[:16],
    }
    journal = Journal(manifest.with_name(manifest.name + ".journal"), head)
    try:
        results = {file.path: journal.done[file.key] for file in found if file.key in journal.done}
        resumed = len(results)
        todo = [file for file in found if file.key not in journal.done]
        context = {"source": str(source), "salt": salt.hex(), "headers_only": headers_only}
        for file, result in _examine_all(todo, context, workers or _cores(), timeout, show_progress):
            journal.add(file.key, result)
            results[file.path] = result
        columns, instances, bad = _sort_out(results, listing.closed)
        counts = LabelCounts()
        if read is not None:
            counts = apply_labels(
                read, columns, instances, [path for path, _, _ in bad],
                salt=salt, sources=sources, allow_missing_patients=allow_missing_patients,
            )  # fmt: skip
        extra = [pa.field(name, pa.string()) for name in columns if name not in COLUMNS.names]
        table = pa.Table.from_pydict(columns, schema=pa.schema([*COLUMNS, *extra]))
        changes = changes_of(old, table, source)
        if not replace:
            refuse_changes(changes, manifest)
        write_quarantine(bad, manifest)
        key = fingerprint(salt, columns["patient_source"], str(source))
        if old is None or not is_same(old, table, changes, source, key):
            write_manifest(table, manifest, source, key)
        journal.remove()
    finally:
        journal.close()
    summary = summarize(
        columns, [reason for _, reason, _ in bad], read, counts, unreadable or changes,
        skipped=listing.skipped, resumed=resumed, max_bad=max_bad, seconds=time.monotonic() - began,
    )  # fmt: skip
    log.info("indexed %d images, %d bad files in %.1f s", summary.images, summary.bad, summary.seconds)
    return summary


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _examine_all(
    todo: list[Found], context: dict[str, Any], workers: int, timeout: float, show_progress: bool
) -> Iterator[tuple[Found, dict[str, Any]]]:
    """Each file with its result, a row or a reason, in order of completion."""
    by_path = {file.path: file for file in todo}
    columns = (
        TextColumn("index"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[bad]} bad"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not show_progress) as progress:
        bar = progress.add_task("index", total=len(todo), bad=0)
        bad = 0
        for outcome in run_isolated(examine, context, list(by_path), workers=workers, timeout=timeout):
            result = outcome.value or {"bad": [outcome.failure, outcome.detail]}
            bad += "bad" in result
            progress.update(bar, advance=1, bad=bad)
            yield by_path[outcome.item], result


def examine(path: str, context: dict[str, Any]) -> dict[str, Any]:
    """One file in a worker: {"row": values in the order of ROW, "instance": key of its SOP instance, if it has one} or
    {"bad": [reason, detail]}. Identifiers stay here; only their keys leave."""
    try:
        path.encode()
        seen = inspect(Path(context["source"], path), headers_only=context["headers_only"])
    except ImageError as error:
        return {"bad": [error.reason, error.detail]}
    except MemoryError:
        return {"bad": ["too_large", "out of memory"]}
    except UnicodeEncodeError:
        return {"bad": ["unreadable", "the file name is not UTF-8"]}
    except OSError as error:
        return {"bad": ["unreadable", f"{type(error).__name__}: {error.strerror or 'no reason'}"]}
    except Exception as error:  # whatever a damaged file makes of the parser; its text may quote the file
        return {"bad": ["unreadable", type(error).__name__]}
    salt = bytes.fromhex(context["salt"])
    key = keys(seen.identity, path, salt)
    values = asdict(seen.facts) | {
        "path": path,
        "patient": key.patient,
        "study": key.study,
        "patient_source": key.source,
        "pixel_hash": seen.pixel_hash,
    }
    row = [None if values[name] == "" else values[name] for name in ROW]
    instance = seen.identity.sop_uid
    return {"row": row, "instance": instance_key(instance, salt)} if instance else {"row": row}


def _sort_out(
    results: dict[str, dict[str, Any]], closed: list[tuple[str, str, str]]
) -> tuple[dict[str, list[Any]], list[str | None], list[tuple[str, str, str]]]:
    """Columns by name and keys of SOP instances, sorted by path, and (path, reason, detail) of the bad; a name that is
    not UTF-8 is escaped."""
    ordered = sorted(results.items())
    good = [result for _, result in ordered if "row" in result]
    columns = {name: [result["row"][place] for result in good] for place, name in enumerate(ROW)}
    bad = [(path, *result["bad"]) for path, result in ordered if "bad" in result] + closed
    escaped = sorted((path.encode("utf-8", "backslashreplace").decode(), why, what) for path, why, what in bad)
    return columns, [result.get("instance") for result in good], escaped
