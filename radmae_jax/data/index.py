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
from radmae_jax.data.identity import fingerprint, keys, load_salt
from radmae_jax.data.images import inspect
from radmae_jax.data.index_summary import IndexSummary
from radmae_jax.data.isolate import run_isolated
from radmae_jax.data.journal import Journal
from radmae_jax.data.label_file import join_labels, read_labels
from radmae_jax.data.listing import Found, find_files
from radmae_jax.data.manifest import COLUMNS, quarantine_path, write_manifest, write_quarantine

ROW = tuple(COLUMNS.names)
log = logging.getLogger(__name__)


def index(
    source: Path,
    manifest: Path,
    *,
    labels: Path | None = None,
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
    files above `max_bad` is reported (`over_limit`), not raised. See label_file.read_labels for `labels` and
    identity.load_salt for `salt_file`.
    Errors: FileNotFoundError, NotADirectoryError; ValueError for a source without files or a malformed labels file.
    """
    began = time.monotonic()
    source = source.resolve()
    if not source.is_dir():
        raise NotADirectoryError(f"source {source} is not a folder")
    manifest.parent.mkdir(parents=True, exist_ok=True)
    own = {manifest.with_name(manifest.name + end) for end in ("", ".salt", ".journal", ".split.parquet")}
    own |= {quarantine_path(manifest), *(file for file in (labels, salt_file) if file is not None)}
    listing = find_files(source, {file.resolve() for file in own})
    found = listing.found
    if not found:
        closed = Counter(f"{reason} files or folders" for _, reason, _ in listing.closed)
        there = ", ".join(f"{count} {what}" for what, count in (*closed.items(), *listing.skipped.items()))
        among = sum(listing.skipped.values()) + len(listing.closed)
        raise ValueError(f"source {source}: no image files among {among} files{there and f': {there}'}")
    salt = load_salt(manifest, salt_file)
    read = None if labels is None else read_labels(labels, salt)  # a malformed one fails before hours of decoding
    head = {
        "source": str(source),
        "headers_only": headers_only,
        "row": list(ROW),
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
        columns, bad = _sort_out(results, listing.closed)
        joined = None
        if read is not None:
            joined = join_labels(read, columns["path"])
            for name, values in joined.columns.items():
                own_values = columns.get(name, [None] * len(columns["path"]))
                columns[name] = [new if new is not None else old for new, old in zip(values, own_values, strict=True)]
        given = joined.columns.get("patient") if joined else None
        if given is not None:
            sources = zip(given, columns["patient_source"], strict=True)
            columns["patient_source"] = ["labels" if new is not None else old for new, old in sources]
        extra = [pa.field(name, pa.string()) for name in columns if name not in COLUMNS.names]
        table = pa.Table.from_pydict(columns, schema=pa.schema([*COLUMNS, *extra]))
        write_quarantine(bad, manifest)
        write_manifest(table, manifest, source, fingerprint(salt, columns["patient_source"], str(source)))
        journal.remove()
    finally:
        journal.close()
    hashes = Counter(value for value in columns["pixel_hash"] if value is not None)
    share = len(bad) / (len(columns["path"]) + len(bad))
    summary = IndexSummary(
        images=len(columns["path"]),
        bad=len(bad),
        reasons=dict(Counter(reason for _, reason, _ in bad).most_common()),
        patients=len(set(columns["patient"])),
        studies=len(set(columns["study"])),
        largest_patient=max(Counter(columns["patient"]).values(), default=0),
        without_patient_id=sum(what in ("study", "file") for what in columns["patient_source"]),
        duplicates=sum(count - 1 for count in hashes.values()),
        flags=dict(Counter(flag for flags in columns["flags"] if flags for flag in flags.split(",")).most_common()),
        skipped=listing.skipped,
        resumed=resumed,
        label_rows_unmatched=joined.rows_unmatched if joined else 0,
        images_without_labels=joined.images_without if joined else 0,
        label_columns=tuple(field.name for field in extra),
        label_columns_ignored=read.ignored if read else (),
        bad_share=share,
        over_limit=share > max_bad,
        seconds=time.monotonic() - began,
    )
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


def examine(path: str, context: dict[str, Any]) -> dict[str, list[Any]]:
    """One file in a worker: {"row": values in the order of ROW} or {"bad": [reason, detail]}. Identifiers stay
    here; only their keys leave."""
    try:
        path.encode()
        seen = inspect(Path(context["source"], path), headers_only=context["headers_only"])
    except ImageError as error:
        return {"bad": [error.reason, error.detail]}
    except MemoryError:
        return {"bad": ["too_large", "out of memory"]}
    except UnicodeEncodeError:
        return {"bad": ["unreadable", "the file name is not UTF-8"]}
    except Exception as error:  # whatever a damaged file makes of the parser; its text may quote the file
        return {"bad": ["unreadable", type(error).__name__]}
    key = keys(seen.identity, path, bytes.fromhex(context["salt"]))
    values = asdict(seen.facts) | {
        "path": path,
        "patient": key.patient,
        "study": key.study,
        "patient_source": key.source,
        "pixel_hash": seen.pixel_hash,
    }
    return {"row": [None if values[name] == "" else values[name] for name in ROW]}


def _sort_out(
    results: dict[str, dict[str, list[Any]]], closed: list[tuple[str, str, str]]
) -> tuple[dict[str, list[Any]], list[tuple[str, str, str]]]:
    """Columns by name, sorted by path, and (path, reason, detail) of the bad; a name that is not UTF-8 is escaped."""
    ordered = sorted(results.items())
    rows = [result["row"] for _, result in ordered if "row" in result]
    columns = {name: [row[place] for row in rows] for place, name in enumerate(ROW)}
    bad = [(path, *result["bad"]) for path, result in ordered if "bad" in result] + closed
    return columns, sorted((path.encode("utf-8", "backslashreplace").decode(), why, what) for path, why, what in bad)
