"""Proves from what a model has seen, and a split, that the test split is new to it, or refuses the model.

Without patient numbers nothing is proven of patients: what stands for one, a study or a file, may be one of several.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from radmae_jax.data.manifest import PIXEL_HASH, Manifest, read_with_facts, write_atomically
from radmae_jax.data.patient_keys import compare_keys
from radmae_jax.data.separation import patient_numbers, separation
from radmae_jax.data.splits import LeakageError, Split
from radmae_jax.data.wording import counted

FILE = "trained_on.parquet"  # in a work directory
_SCHEMA = pa.schema([("patient", pa.string()), ("pixel_hash", pa.string())])


@dataclass(frozen=True)
class Seen:
    """Patients and images that a model was trained with or chosen by, all runs that it came from included."""

    patients: frozenset[str]  # keyed hashes
    images: frozenset[str]  # pixel hashes
    keys: frozenset[str]  # how patients are keyed, see `_key`
    hashed: bool = True  # whether the pixels of every image are known; not where only headers were indexed


@dataclass(frozen=True)
class Leakage:
    """How far it is known that no test patient and no test image was trained on; the keys of its JSON report."""

    patients_on_two_sides: int | None  # None where no image has a patient number
    images_on_two_sides: int | None  # by their pixels; None where some were indexed without
    # none: it began fresh | proven: nothing shared | unproven: not known what it was trained on, or of which patients
    pretraining: str
    seen_patients: int | None  # that it was trained with or chosen by; None where no image has a patient number
    shared_patients: int | None  # of them on the test side; likewise
    shared_images: int | None  # likewise, by their pixels; None where those of some are not known
    said: str
    # Of the manifest, images whose patient may have another key elsewhere, see separation.PatientNumbers: without a
    # number, or with one of another origin.
    images_without_number: int = 0
    test_images_without_number: int = 0

    @property
    def patients_known(self) -> bool:
        """Whether the patients of all images can be compared, so that what is said of patients is said of all."""
        return self.patients_on_two_sides is not None and not self.images_without_number


def seen_of(manifest: Manifest, records: np.ndarray, before: Seen | None = None) -> Seen:
    """The patients and images of some records, and those that were seen before."""
    patients = frozenset(manifest.patients[r] for r in records.tolist())
    hashes = [manifest.pixel_hashes[r] for r in records.tolist()]
    images, hashed = frozenset(h for h in hashes if h is not None), None not in hashes
    keys = frozenset([_key(manifest)])
    if before is None:
        return Seen(patients, images, keys, hashed)
    return Seen(patients | before.patients, images | before.images, keys | before.keys, hashed and before.hashed)


def write_seen(seen: Seen, workdir: Path) -> None:
    """WORKDIR/trained_on.parquet: keyed hashes and pixel hashes, no path and no order that pairs them."""
    patients, images = sorted(seen.patients), sorted(seen.images)
    rows = max(len(patients), len(images))
    columns = [values + [None] * (rows - len(values)) for values in (patients, images)]
    table = pa.table(columns, schema=_SCHEMA)
    facts = {"radmae": json.dumps({"keys": sorted(seen.keys), "hashed": seen.hashed, "pixel_hash": PIXEL_HASH})}
    write_atomically(table.replace_schema_metadata(facts), workdir / FILE)


def read_seen(workdir: Path) -> Seen | None:
    """What `write_seen` wrote; None where there is no such file. Errors: ValueError for another file."""
    path = workdir / FILE
    if not path.exists():
        return None
    table, facts = read_with_facts(path)
    if table.column_names != _SCHEMA.names or not {"keys", "hashed"} <= facts.keys():
        raise ValueError(f"{path} does not say what a run was trained on")
    patients, images = (frozenset(v for v in table[name].to_pylist() if v is not None) for name in _SCHEMA.names)
    if facts.get("pixel_hash") != PIXEL_HASH:  # equal pixels had other hashes: of images nothing is known
        return Seen(patients, frozenset(), frozenset(facts["keys"]), hashed=False)
    return Seen(patients, images, frozenset(facts["keys"]), bool(facts["hashed"]))


def prove(manifest: Manifest, split: Split, seen: Seen | None, *, given: bool) -> Leakage:
    """That nothing of the test side was trained on.

    Args:
      split: of this manifest; reading it has refused patients and images on two sides.
      seen: what the model has seen, the runs that it began with included; None where that is not known.
      given: whether it began with given weights.

    Raises LeakageError where it has seen test patients, or images with the same pixels as test images.
    """
    test = split.records("test").tolist()
    numbers = patient_numbers(manifest, split)
    hashed_all = None not in manifest.pixel_hashes
    sides = separation(numbers, hashed_all)

    counts = numbers.unknown, numbers.test_unknown

    def found(pretraining: str, patients: int | None, shared: int | None, images: int | None, said: str) -> Leakage:
        straddling = 0 if hashed_all else None
        if numbers.none:  # keys of studies or files are no patients
            return Leakage(None, straddling, pretraining, None, None, images, said, *counts)
        return Leakage(0, straddling, pretraining, patients, shared, images, said, *counts)

    if seen is None and not given:
        return found("none", None, None, None, f"{sides}; training began with fresh weights")
    if seen is None:
        said = f"{sides}; what the given weights were trained on is not known: test images may have been among it"
        return found("unproven", None, None, None, said)
    patients = {manifest.patients[r] for r in test} & seen.patients
    images = {h for h in (manifest.pixel_hashes[r] for r in test) if h is not None} & seen.images
    if patients or images:
        raise LeakageError(
            f"{counted(len(patients), 'patient')} and {counted(len(images), 'image')} of the test split of "
            f"{manifest.path.name} were trained on already, by the pixels or the patients' keys: pre-train on the "
            "split that is tested on (config.data.split)"
        )
    hashed = seen.hashed and all(manifest.pixel_hashes[r] is not None for r in test)
    shared = 0 if hashed else None
    no_image = f"none of the {len(seen.images):,} images seen has the pixels of a test image"
    images_too = "" if hashed else "; the pixels of some images are not known"
    trained = "trained with or chosen by, pre-training included" if given else "trained with or chosen by"
    if numbers.none:
        said = f"{sides}; whether a patient that was {trained} is a test patient is unknown too; {no_image}{images_too}"
        return found("unproven" if given else "none", None, None, shared, said)
    compared = compare_keys(_key(manifest), seen.keys)
    if not compared.numbers:
        why = "identifiers" if compared.salt else "a salt, or identifiers,"
        said = (
            f"{sides}; patients of pre-training are keyed by {why} other than those of this manifest and cannot be "
            f"compared; {no_image}{images_too}"
        )
        return found("unproven", len(seen.patients), None, shared, said)
    images_too = "" if hashed else " (some images were indexed without pixels, so only patients were compared)"
    stand_in = " (studies and files that stand for one included)" if numbers.without else ""
    were = counted(len(seen.patients), f"patient{stand_in} was", f"patients{stand_in} were")
    said = f"{sides}. {were} {trained}. None of them is a test patient{images_too}"
    if compared.unseen or compared.extra:
        uncompared = [source in compared.unseen for source in manifest.patient_sources]
        of_test = sum(uncompared[record] for record in test)
        counts = max(counts[0], sum(uncompared)), max(counts[1], of_test)
        if compared.unseen:
            said += (
                f". For {of_test:,} of {len(test):,} test images that is unknown, as what stands for their patient "
                f"({', '.join(sorted(compared.unseen))}) stands for none of those"
            )
        if compared.extra:
            said += (
                f". It is unknown of images seen for whose patient {' or '.join(sorted(compared.extra))} stands, as "
                "none here is keyed so"
            )
    proven = "proven" if not compared.extra or counts[0] else "unproven"
    return found(proven if given else "none", len(seen.patients), 0, shared, said)


def _key(manifest: Manifest) -> str:
    """What must be equal for patients of two manifests to be comparable: how they are keyed, or, where a manifest from
    before it was stored does not know it, the manifest itself."""
    return manifest.key or manifest.hash
