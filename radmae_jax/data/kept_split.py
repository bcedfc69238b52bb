"""Extends a split to an archive that grew: patients who have a split keep it, new ones are dealt."""

from dataclasses import dataclass

import numpy as np

from radmae_jax.data.identity import NO_NUMBER
from radmae_jax.data.manifest import Manifest
from radmae_jax.data.separation import patient_numbers
from radmae_jax.data.splits import (
    SIDES,
    Assignment,
    LeakageError,
    Split,
    check_fractions,
    deal,
    split_hash,
    strata_of,
    units_of,
)


@dataclass(frozen=True)
class Kept:
    """Counts of patients, or of what stands for them."""

    kept: int  # of the manifest, in the split that they had
    joined: int  # new, and in the split of a kept patient with whom they share an image
    dealt: int  # new, the others
    gone: int  # of the old split, in the manifest no more; their split stays recorded
    new: dict[str, int]  # of each split, those who joined and those who were dealt
    unnumbered: int = 0  # of those who joined and those who were dealt, those for whom a study or a file stands


def keep_split(
    manifest: Manifest,
    old: Assignment,
    *,
    fractions: tuple[float, ...] | None = None,
    seed: int | None = None,
    stratify: tuple[str, ...] | None = None,
) -> tuple[Split, Kept]:
    """Deals the patients of `manifest` who have no split yet.

    New patients who share an image with a kept one, directly or through others, join that one's split. All others are
    dealt as `make_split` deals, to what the fractions of all patients of the manifest leave room for: the shares move
    toward the fractions, and no kept patient moves. The order of the rows does not matter.

    Args:
      fractions, seed: None for those of the old split.
      stratify: as of `make_split`.

    Raises:
      LeakageError: where equal pixels link kept patients of different splits.
      ValueError: for fractions that do not sum to 1, a manifest without images, no training patient, no patient that
        the old split knows, and where no image has a patient number and studies or files are gone and new at once.
    """
    fractions = old.fractions if fractions is None else fractions
    seed = old.seed if seed is None else seed
    check_fractions(manifest, fractions)
    known = set(manifest.patients) & old.patients.keys()
    if not known:
        raise ValueError(
            f"none of the {len(set(manifest.patients)):,} patients of {manifest.path.name} is among the "
            f"{len(old.patients):,} of the split to keep: it is of another archive, or patients are keyed otherwise "
            "(--salt-file of `radmae index`)"
        )
    _refuse_renamed(manifest, old, known)
    units, members = _ordered_units(manifest)
    side = np.full(len(members), -1)
    for unit, patients in enumerate(members):
        sides = {old.patients[patient] for patient in patients if patient in known}
        if len(sides) == 1:
            side[unit] = SIDES.index(sides.pop())
    _refuse_linked(manifest, units, members, old)
    sizes = np.array([len(patients) for patients in members])
    free = np.flatnonzero(side < 0)
    had = np.array([int(sizes[side == at].sum()) for at in range(len(SIDES))])
    if len(free):
        room = _room(had, int(sizes[free].sum()), fractions)
        strata = np.array(strata_of(manifest, units, stratify), np.int64)[free]
        shuffled = np.random.default_rng(seed).permutation(len(free))
        order = shuffled[np.argsort(strata[shuffled], kind="stable")]
        side[free] = deal(order, sizes[free], tuple((room / room.sum()).tolist()))
    assigned = {patient: SIDES[side[unit]] for unit, patients in enumerate(members) for patient in patients}
    if "train" not in assigned.values():
        raise ValueError(f"{len(assigned):,} patients under {fractions} leave the training split empty")
    patients = old.patients | assigned
    origin = f"keep {old.hash[:16]}"
    digest = split_hash(patients, seed, fractions, origin)
    new = {name: sum(1 for p, s in assigned.items() if s == name and p not in known) for name in SIDES}
    dealt = int(sizes[free].sum())
    sources = zip(manifest.patients, manifest.patient_sources, strict=True)
    unnumbered = len({patient for patient, source in sources if source in NO_NUMBER and patient not in known})
    gone = len(old.patients.keys() - assigned.keys())
    counts = Kept(len(known), len(assigned) - len(known) - dealt, dealt, gone, new, unnumbered)
    return Split(side[units].astype(np.int8), patients, seed, fractions, manifest.hash, digest, origin), counts


def _refuse_renamed(manifest: Manifest, old: Assignment, known: set[str]) -> None:
    gone, new = len(old.patients.keys() - known), len(set(manifest.patients) - known)
    numbers = patient_numbers(manifest)
    if numbers.none and gone and new:
        raise ValueError(
            f"no image of {manifest.path.name} has a patient number: studies or files stand for patients. {gone:,} of "
            f"the split to keep are gone and {new:,} are new at once, which cannot be told from renamed or moved "
            "files: their images might move between splits. Index with a column `patient` (--labels), or split anew"
        )


def _ordered_units(manifest: Manifest) -> tuple[np.ndarray, list[list[str]]]:
    """The unit of every record, and the patients of each unit, numbered by their first patient: not by row."""
    found = units_of(manifest)
    by_unit: dict[int, set[str]] = {}
    for patient, unit in zip(manifest.patients, found.tolist(), strict=True):
        by_unit.setdefault(unit, set()).add(patient)
    order = sorted(by_unit, key=lambda unit: min(by_unit[unit]))
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return number[found], [sorted(by_unit[unit]) for unit in order]


def _refuse_linked(manifest: Manifest, units: np.ndarray, members: list[list[str]], old: Assignment) -> None:
    linked = {
        unit
        for unit, patients in enumerate(members)
        if len({old.patients[patient] for patient in patients if patient in old.patients}) > 1
    }
    if linked:
        kept = sum(patient in old.patients for unit in linked for patient in members[unit])
        images = int(np.isin(units, list(linked)).sum())
        raise LeakageError(
            f"equal pixels link {kept:,} kept patients of different splits, with {images:,} images in "
            f"{manifest.path.name}: one image would be in two splits. Remove its copies from the archive, or split anew"
        )


def _room(had: np.ndarray, new: int, fractions: tuple[float, ...]) -> np.ndarray:
    """What each split lacks, float [3]: of the shares of all patients, what the kept ones do not fill yet."""
    lacking = np.maximum(np.array(fractions) * (int(had.sum()) + new) - had, 0.0)
    return lacking if lacking.sum() > 0 else np.array(fractions)
