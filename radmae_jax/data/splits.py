"""Turns a manifest into train, validation and test records, by patient, and keeps that decision in a file.

Patients who share an image (equal stored pixels) are one unit: nothing of theirs straddles sides.
"""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from radmae_jax.data.manifest import Manifest, read_with_facts, write_atomically

SIDES = ("train", "validation", "test")
FRACTIONS = (0.80, 0.05, 0.15)
MAX_CLASSES = 64
_PATIENTS = 0x9A71E  # seeds the order in which patients make up a part of the training side
SCHEMA = pa.schema([("patient", pa.string()), ("side", pa.string())])


class LeakageError(ValueError):
    """A split that puts one patient, or one image, on two sides."""


@dataclass(frozen=True)
class Assignment:
    """What a split file holds: the split of each patient, also of those who are in no manifest any more."""

    patients: dict[str, str]  # patient key -> split
    seed: int
    fractions: tuple[float, ...]
    manifest_hash: str
    hash: str
    origin: str


@dataclass(frozen=True, eq=False)
class Split:
    """Which side each record is on."""

    sides: np.ndarray  # int8 [N]: index into SIDES of every record
    patients: dict[str, str]  # patient key -> side
    seed: int
    fractions: tuple[float, ...]
    manifest_hash: str  # of the manifest that it was made from
    hash: str
    origin: str = ""  # where it was taken from: "column NAME", "file, column NAME", "keep HASH"; "" where it was dealt

    def records(self, side: str) -> np.ndarray:
        """int32, ascending: the records of one side."""
        if side not in SIDES:
            raise ValueError(f"side {side!r}: expected one of {', '.join(SIDES)}")
        return np.flatnonzero(self.sides == SIDES.index(side)).astype(np.int32)


def make_split(
    manifest: Manifest,
    *,
    fractions: tuple[float, float, float] = FRACTIONS,
    seed: int = 0,
    stratify: tuple[str, ...] | None = None,
) -> Split:
    """Deals patients to the three sides, shares exact to rounding, alike in every stratum as far as it goes.

    A unit's stratum is its rarest label over the columns `stratify` (None: region and the label columns of at most
    MAX_CLASSES values; a measurement is no stratum). Units are walked through stratum by stratum, shuffled by `seed`
    within each, and each goes to the side that is furthest behind its share: so strata of one member are dealt out
    too. Shares count patients.
    Errors: ValueError for fractions that do not sum to 1, an empty manifest, or an empty training side.
    """
    check_fractions(manifest, fractions)
    units = units_of(manifest)  # int [N], unit of every record
    strata = strata_of(manifest, units, stratify)
    unit_of = dict(zip(manifest.patients, units.tolist(), strict=True))
    sizes = np.bincount(list(unit_of.values()), minlength=len(strata))  # patients of each unit
    shuffled = np.random.default_rng(seed).permutation(len(strata))
    order = shuffled[np.argsort(np.array(strata, np.int64)[shuffled], kind="stable")]
    side_of_unit = deal(order, sizes, fractions)
    side_of_patient = {patient: SIDES[side_of_unit[unit]] for patient, unit in unit_of.items()}
    if "train" not in side_of_patient.values():
        raise ValueError(f"{len(unit_of)} patients under {fractions} leave the training side empty")
    digest = split_hash(side_of_patient, seed, fractions)
    return Split(side_of_unit[units].astype(np.int8), side_of_patient, seed, fractions, manifest.hash, digest)


def check_fractions(manifest: Manifest, fractions: tuple[float, ...]) -> None:
    """Raises ValueError for fractions that do not sum to 1 and for a manifest without images."""
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions {fractions}: expected three, none negative, that sum to 1")
    if len(manifest) == 0:
        raise ValueError("the manifest has no images, nothing to split")


def units_of(manifest: Manifest) -> np.ndarray:
    """int [N]: patients linked by an equal pixel hash are one unit (union-find), numbered by first appearance."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for patient, pixels in zip(manifest.patients, manifest.pixel_hashes, strict=True):
        key = root("p" + patient)
        if pixels is not None:
            parent[root("h" + pixels)] = key
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(root("p" + p), len(numbers)) for p in manifest.patients])


def strata_of(manifest: Manifest, units: np.ndarray, columns: tuple[str, ...] | None) -> list[int]:
    """The stratum of every unit, numbered from the rarest label (in images) to the commonest; without a known
    label, last. `columns`: None for region and the label columns of at most MAX_CLASSES values."""
    if columns is None:
        columns = tuple(
            name for name in ("region", *manifest.label_columns) if len(manifest.label_names(name)) <= MAX_CLASSES
        )
    labelled: list[tuple[np.ndarray, str]] = [(manifest.labels(column), column) for column in columns]
    counts = Counter((column, int(code)) for codes, column in labelled for code in codes[codes >= 0].tolist())
    ranked = sorted(counts, key=lambda label: (counts[label], label))
    rank = {label: place for place, label in enumerate(ranked)}
    strata = np.full(int(units.max()) + 1, len(ranked))
    for codes, column in labelled:
        ranks = np.array([rank.get((column, code), len(ranked)) for code in range(-1, int(codes.max()) + 1)])
        np.minimum.at(strata, units, ranks[codes + 1])
    return strata.tolist()


def deal(order: np.ndarray, sizes: np.ndarray, fractions: tuple[float, ...]) -> np.ndarray:
    """int [units]: sides, by the largest deficit; no side takes more than its rounded share while another has room."""
    total = int(sizes.sum())
    room = _rounded_shares(total, fractions)
    given = np.zeros(3, np.int64)
    sides = np.zeros(len(sizes), np.int64)
    seen = 0
    share = np.array(fractions)
    for unit in order.tolist():
        size = int(sizes[unit])
        seen += size
        deficit = share * seen - given
        fits = given + size <= room
        deficit[~fits if fits.any() else share == 0] = -np.inf
        side = int(np.argmax(deficit))
        sides[unit] = side
        given[side] += size
    return sides


def _rounded_shares(total: int, fractions: tuple[float, ...]) -> np.ndarray:
    """Whole numbers that sum to `total`, by largest remainder."""
    exact = np.array(fractions) * total
    shares = np.floor(exact + 1e-9).astype(np.int64)
    remainder = np.argsort(-(exact - shares), kind="stable")
    shares[remainder[: total - int(shares.sum())]] += 1
    return shares


def split_hash(side_of_patient: dict[str, str], seed: int, fractions: tuple[float, ...], origin: str = "") -> str:
    """SHA-256 of everything that a split file says, the manifest that it was made from excepted."""
    rows = [f"{patient} {side}" for patient, side in sorted(side_of_patient.items())]
    facts = {"seed": seed, "fractions": list(fractions)} | ({"from": origin} if origin else {})
    return hashlib.sha256("\n".join([json.dumps(facts), *rows]).encode()).hexdigest()


def write_split(split: Split, path: Path) -> None:
    """Parquet, one row a patient: patient, side. Seed, fractions, hashes and where it is from go into its metadata."""
    rows = [{"patient": patient, "side": side} for patient, side in sorted(split.patients.items())]
    facts = {"seed": split.seed, "fractions": split.fractions, "manifest": split.manifest_hash, "hash": split.hash}
    facts |= {"from": split.origin} if split.origin else {}
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    write_atomically(table.replace_schema_metadata({"radmae": json.dumps(facts)}), path)


def read_assignment(path: Path) -> Assignment:
    """What a split file says, without a manifest.

    Errors: FileNotFoundError; ValueError where it is no split file or was changed; LeakageError where a patient has two
    sides.
    """
    read, stored = _parse(path)
    _check_hash(path, read, stored)
    return read


def _parse(path: Path) -> tuple[Assignment, str]:
    """What a split file says, and the hash that it says it has."""
    if not path.exists():
        raise FileNotFoundError(f"no split {path}; `radmae split` makes one")
    table, facts = read_with_facts(path)
    if not {"seed", "fractions", "manifest", "hash"} <= set(facts) or table.column_names != SCHEMA.names:
        raise ValueError(f"{path} is not a split file")
    patients, named = table["patient"].to_pylist(), table["side"].to_pylist()
    strange = sorted({str(side) for side in named} - set(SIDES))
    if strange:
        raise ValueError(f"{path}: side {strange[0]!r}, expected one of {', '.join(SIDES)}")
    twice = len(set(zip(patients, named, strict=True))) - len(set(patients))
    if twice:
        raise LeakageError(f"{path}: field patient: {twice} of {len(set(patients))} patients are on several sides")
    side_of_patient = dict(zip(patients, named, strict=True))
    fractions, origin = tuple(facts["fractions"]), facts.get("from", "")
    digest = split_hash(side_of_patient, facts["seed"], fractions, origin)
    return Assignment(side_of_patient, facts["seed"], fractions, facts["manifest"], digest, origin), facts["hash"]


def _check_hash(path: Path, read: Assignment, stored: str) -> None:
    if read.hash != stored:
        raise ValueError(f"{path}: field hash: {read.hash[:12]}, the file says {stored[:12]}: it was changed")


def read_split(path: Path, manifest: Manifest) -> Split:
    """The split in a file, for this manifest: the one it was made from, or any other whose patients it knows.

    Errors: FileNotFoundError; ValueError where the file was changed or lacks patients of the manifest;
    LeakageError where a patient has two sides, or equal pixels lie on two.
    """
    read, stored = _parse(path)
    missing = len(set(manifest.patients) - read.patients.keys())
    if missing:
        raise ValueError(
            f"{path}: field patient: {missing} of {len(set(manifest.patients))} have no side; where the archive grew, "
            "`radmae split MANIFEST NEW --keep OLD` deals them"
        )
    sides = np.array([SIDES.index(read.patients[p]) for p in manifest.patients], np.int8).reshape(-1)
    refuse_shared_pixels(sides, manifest, str(path))
    _check_hash(path, read, stored)
    return Split(sides, read.patients, read.seed, read.fractions, read.manifest_hash, read.hash, read.origin)


def refuse_shared_pixels(sides: np.ndarray, manifest: Manifest, where: str) -> None:
    """Raises LeakageError where images of equal pixels lie on several sides."""
    seen: dict[str, int] = {}
    straddling = set()
    for pixels, side in zip(manifest.pixel_hashes, sides.tolist(), strict=True):
        if pixels is not None and seen.setdefault(pixels, side) != side:
            straddling.add(pixels)
    if straddling:
        raise LeakageError(f"{where}: field pixel_hash: {len(straddling)} images lie on several sides")


def first_patients(manifest: Manifest, records: np.ndarray, images: int) -> np.ndarray:
    """Of some records, int32 ascending, at most `images`: all of theirs of the first patients in one shuffled order.

    A smaller number gives part of what a larger one gives. Errors: ValueError where the first patient has more images.
    """
    patients = np.asarray(manifest.patients)[records]
    names, of = np.unique(patients, return_inverse=True)
    order = np.random.default_rng(_PATIENTS).permutation(len(names))
    running = np.cumsum(np.bincount(of, minlength=len(names))[order])
    taken = order[: int(np.searchsorted(running, images, side="right"))]
    if not len(taken):
        raise ValueError(f"{images} training images are asked for; the first patient has {running[0]}")
    return records[np.isin(of, taken)]


def label_budget(manifest: Manifest, records: np.ndarray, label: str, n: int, seed: int) -> np.ndarray:
    """int32 [n], ascending: those of some training records with a known `label`, about equally many of every class.

    Budgets are nested: a smaller n is a subset of a larger one under the same seed. Classes are shuffled by `seed`
    and take turns; one that runs out drops out. Errors: ValueError where n exceeds what is there.
    """
    codes = manifest.labels(label)
    known = records[codes[records] >= 0]
    if not 1 <= n <= len(known):
        raise ValueError(f"budget of {n} images: {len(known)} of {len(records)} training images have a known {label}")
    shuffled = np.random.default_rng(seed).permutation(known)
    turn = np.zeros(len(shuffled), np.int64)  # how many of its class come before
    for code in np.unique(codes[shuffled]).tolist():
        of_class = codes[shuffled] == code
        turn[of_class] = np.arange(int(of_class.sum()))
    return np.sort(shuffled[np.argsort(turn, kind="stable")][:n]).astype(np.int32)
