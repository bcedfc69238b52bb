"""Finds what keeps rows of a labels file from the images that they mean, and proposes how to correct it."""

import posixpath
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from radmae_jax.data.label_keys import key_of_cell, key_of_image, without_end

_STEPS = {"path": re.compile("/"), "name": re.compile(r"[_\- ]"), "stem": re.compile(r"[_\- ]")}  # where a prefix ends


@dataclass(frozen=True)
class Proposal:
    """One way in which rows miss their images. Nothing of it is applied."""

    rows: int  # that would find an image
    how: str  # they would
    cell: str  # an example
    image: str  # that it would find, by its key
    advice: str

    def __str__(self) -> str:
        count = f"{self.rows:,} row{'s' if self.rows > 1 else ''}"
        return f"{count} would match {self.how}, such as {self.cell!r} for {self.image!r}: {self.advice}"


def propose(kind: str, cells: Sequence[str], paths: Sequence[str], sources: Sequence[str] = ()) -> list[Proposal]:
    """Proposals for cells that match no image, those that would match the most rows first.

    Args:
      kind: of the key: path, name or stem.
      cells: of the rows that match no image.
      paths: of all images, below the source.
      sources: the folder that was indexed, under all of its names.
    """
    keys = [key_of_cell(kind, cell) for cell in cells]
    images = [key_of_image(kind, path) for path in paths]
    found: list[tuple[str, str, dict[int, str]]] = []  # how, advice, and the image's key by row
    if kind == "path":
        found += [_absolute(keys, images, source) for source in dict.fromkeys(sources)]
        bare = [(row, key) for row, key in enumerate(keys) if "/" not in key]
        names = [key_of_image("name", path) for path in paths]
        found.append(("by their file name alone", "--label-key name", _unique(bare, names, images)))
    done = {row for _, _, hits in found for row in hits}
    for how, advice, change in _changes(kind):
        found.append((how, advice, _by(change, keys, images)))
    found += _prefixes(keys, images, _STEPS[kind], done)
    done = {row for _, _, hits in found for row in hits}
    for other in {"path": ("name", "stem"), "name": ("stem",), "stem": ()}[kind]:
        unmatched = [(row, key_of_cell(other, cell)) for row, cell in enumerate(cells) if row not in done]
        hits = _unique(unmatched, [key_of_image(other, path) for path in paths], images)
        how = f"by their {'file name' if other == 'name' else 'file name without its extension'} alone"
        found.append((how, f"--label-key {other}", hits))
        done |= hits.keys()
    rest = [(row, _all_changes(key)) for row, key in enumerate(keys) if row not in done]
    hits = _unique(rest, [_all_changes(image) for image in images], images)
    found.append(
        ("if several of these were corrected at once", "write the names in the file as the files have them", hits)
    )
    proposals = [
        Proposal(len(hits), how, cells[min(hits)], hits[min(hits)], advice) for how, advice, hits in found if hits
    ]
    return sorted(proposals, key=lambda proposal: -proposal.rows)


def _changes(kind: str) -> list[tuple[str, str, Callable[[str], str]]]:
    """Ways in which two spellings of one key differ: in words, what to do, and what makes them equal."""
    as_files = "write them as the files have them"
    changes: list[tuple[str, str, Callable[[str], str]]] = [
        ("without regard to case", as_files, str.casefold),
        ("with %20 and the like decoded", "decode them in the file (urllib.parse.unquote)", unquote),
        ("without regard to spaces", as_files, _spaces),
        ("without quotes", "remove the quotes", lambda text: text.strip("'\"`")),
        ("with other zeros before numbers", as_files, _padding),
        ("with accents composed alike (Unicode NFC)", as_files, lambda text: unicodedata.normalize("NFC", text)),
    ]
    if kind == "path":
        changes.append(("with //, /./ and .. resolved", "write each path with single slashes", _separators))
    if kind == "stem":
        changes.append(
            ("without leading zeros or a .0", "a spreadsheet made numbers of them; export the column as text", _zeros)
        )
        changes.append(("without an extension", "remove it from the cells", _without_ends))
    else:
        advice = "correct the extension, or --label-key stem" if kind == "name" else "correct the extension"
        changes.append(("with another extension", advice, _without_ends))
    return changes


def _spaces(text: str) -> str:
    return "/".join("".join(part.split()) for part in text.split("/"))


def _separators(text: str) -> str:
    return posixpath.normpath(re.sub("/+", "/", text))


def _padding(text: str) -> str:
    return text if text.isdecimal() else re.sub("(?<![0-9])0+(?=[0-9])", "", text)


def _without_ends(text: str) -> str:
    """Without an extension, also where that of a compressed file follows it."""
    return without_end(re.sub(r"\.(gz|bz2|xz|zst|zip)$", "", text, flags=re.IGNORECASE))


def _zeros(text: str) -> str:
    found = re.fullmatch(r"0*([0-9]+?)(\.0*)?", text)
    return found.group(1) if found else text


def _all_changes(text: str) -> str:
    name = unicodedata.normalize("NFC", unquote(_separators(text))).casefold().rstrip("/").rpartition("/")[2]
    return without_end(_spaces(name))


def _by(change: Callable[[str], str], keys: Sequence[str], images: Sequence[str]) -> dict[int, str]:
    changed = [(row, change(key)) for row, key in enumerate(keys)]
    return _unique(changed, [change(image) for image in images], images)


def _unique(rows: Iterable[tuple[int, str]], changed: Sequence[str], images: Sequence[str]) -> dict[int, str]:
    """Rows whose changed key is that of one image, not of several, with the image's own key."""
    where: dict[str, str | None] = {}
    for key, image in zip(changed, images, strict=True):
        where[key] = image if where.get(key, image) == image else None
    hits = {row: where.get(key) for row, key in rows if key}
    return {row: image for row, image in hits.items() if image is not None}


def _absolute(keys: Sequence[str], images: Sequence[str], source: str) -> tuple[str, str, dict[int, str]]:
    root = f"{source.rstrip('/')}/"
    there = set(images)
    rests = [(row, re.sub("/+", "/", key.removeprefix("file://"))) for row, key in enumerate(keys)]
    hits = {row: key.removeprefix(root) for row, key in rests if key.startswith(root)}
    hits = {row: rest for row, rest in hits.items() if rest in there}
    return "as absolute paths below the source", f"remove {root!r} from them", hits


def _prefixes(
    keys: Sequence[str], images: Sequence[str], step: re.Pattern[str], done: set[int]
) -> list[tuple[str, str, dict[int, str]]]:
    """Rows that match without their beginning, and with one more."""
    there = set(images)
    removed: dict[int, str] = {}
    for row, key in enumerate(keys):
        if row not in done:
            tails = (key[mark.end() :] for mark in step.finditer(key))
            tail = next((tail for tail in tails if tail in there), None)
            if tail is not None:
                removed[row] = tail
    wanted = set(keys)
    of_tail: dict[str, list[str]] = defaultdict(list)
    for image in there:
        for mark in step.finditer(image):
            if image[mark.end() :] in wanted:
                of_tail[image[mark.end() :]].append(image)
    added = {row: of_tail[key] for row, key in enumerate(keys) if key in of_tail and row not in done}
    prefixes = Counter(image[: len(image) - len(keys[row])] for row, ends in added.items() for image in ends)
    best = max(prefixes, key=lambda prefix: (prefixes[prefix], prefix), default="")
    with_best = {row: f"{best}{keys[row]}" for row, ends in added.items() if f"{best}{keys[row]}" in ends}
    found = []
    if removed:
        cut = Counter(keys[row][: len(keys[row]) - len(tail)] for row, tail in removed.items())
        often, rows = min(cut.items(), key=lambda item: (-item[1], item[0]))
        named = f"{often!r}" if len(cut) == 1 else f"{often!r} ({rows:,} rows) and {len(cut) - 1:,} other prefixes"
        found.append(("without a prefix", f"remove {named} from them", removed))
    if with_best:
        found.append(("with a prefix", f"put {best!r} before them", with_best))
    return found
