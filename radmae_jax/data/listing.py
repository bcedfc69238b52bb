"""Lists everything below a source folder: files that may be images, what cannot be looked into, and what is skipped."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

# fmt: off
NOT_IMAGES = frozenset((
    ".csv", ".db", ".doc", ".docx", ".html", ".ini", ".json", ".jsonl", ".log", ".md", ".npy", ".npz", ".parquet",
    ".pdf", ".py", ".toml", ".tsv", ".txt", ".xls", ".xlsx", ".xml", ".yaml", ".yml",
))
ARCHIVES = frozenset((
    ".7z", ".bz2", ".gz", ".rar", ".tar", ".tbz2", ".tgz", ".txz", ".xz", ".z", ".zip", ".zst",
))
# fmt: on


@dataclass(frozen=True)
class Found:
    """A file of the source that may be an image."""

    path: str  # relative, with forward slashes
    size: int  # bytes
    changed: int  # ns

    @property
    def key(self) -> tuple[str, int, int]:
        return self.path, self.size, self.changed


@dataclass(frozen=True)
class Listing:
    """Every entry below a source is in exactly one of the three."""

    found: list[Found]  # sorted by path
    closed: list[tuple[str, str, str]]  # path, reason, detail of what may hold images and is not looked into
    skipped: dict[str, int]  # how many entries are no images, by what they are; commonest first


def find_files(source: Path, leave_out: set[Path]) -> Listing:
    """Lists a source.

    Links to files are followed. Links to folders are not: they may lead in circles, or to the same images twice.

    Args:
      leave_out: files of the index itself.

    Raises:
      OSError where the source itself cannot be listed.
    """
    found: list[Found] = []
    closed: list[tuple[str, str, str]] = []
    skipped: Counter[str] = Counter()

    def refuse(error: OSError) -> None:
        path = Path(error.filename)
        if path == source:
            raise error
        closed.append(
            (f"{_relative(path, source)}/", "unreadable", f"a folder that cannot be listed: {error.strerror}")
        )

    for folder, folders, files in os.walk(source, onerror=refuse):
        for name in list(folders):
            path = Path(folder, name)
            if name.startswith("."):
                skipped["hidden folders"] += 1
                folders.remove(name)
            elif _is_link(path):
                closed.append((f"{_relative(path, source)}/", "link", "a link to a folder; index what it leads to"))
                folders.remove(name)
        folders.sort()
        for name in files:
            path = Path(folder, name)
            why = _skipped_by_name(path) if path not in leave_out else "files of the index"
            if why:
                skipped[why] += 1
            elif path.suffix.lower() in ARCHIVES:
                closed.append((_relative(path, source), "archive", f"{path.suffix.lower()} by name; unpack it"))
            else:
                found.append(_found(path, source))
    return Listing(sorted(found, key=lambda file: file.path), sorted(closed), dict(skipped.most_common()))


def _skipped_by_name(path: Path) -> str:
    """What a file is that is no image by its name; "" for one that may be."""
    if path.name.startswith("."):
        return "hidden files"
    if path.name.upper() == "DICOMDIR":
        return "DICOMDIR"
    ends = [suffix.lower() for suffix in path.suffixes[-2:]]
    if len(ends) == 2 and ends[1] in ARCHIVES:  # labels.csv.gz
        ends.pop()
    return f"{ends[-1]} files" if ends and ends[-1] in NOT_IMAGES else ""


def _found(path: Path, source: Path) -> Found:
    try:
        status = path.stat()
        size, changed = status.st_size, status.st_mtime_ns
    except OSError:  # a dangling link: examined all the same, so that it is named in the quarantine
        size, changed = -1, 0
    return Found(_relative(path, source), size, changed)


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:  # in a folder that may not be searched; listing this one fails then, and is named
        return False


def _relative(path: Path, source: Path) -> str:
    return path.relative_to(source).as_posix()
