"""What a model has seen, and a split, to a proof that the test side is new to it, or to a refusal."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from radmae_jax.data.manifest import Manifest, read_with_facts, write_atomically
from radmae_jax.data.splits import LeakageError, Split

FILE = "trained_on.parquet"  # in a work directory
_SCHEMA = pa.schema([("patient", pa.string()), ("pixel_hash", pa.string())])


@dataclass(frozen=True)
class Seen:
    """Patients and images that a model was trained with or chosen by, all runs that it came from included."""

    patients: frozenset[str]  # keyed hashes
    images: frozenset[str]  # pixel hashes
    keys: frozenset[str]  # fingerprints of the keys that patients are hashed with, see `_key`


@dataclass(frozen=True)
class Leakage:
    """How far it is known that no test patient and no test image was trained on; the keys of its JSON report."""

    patients_on_two_sides: int
    images_on_two_sides: int
    pretraining: str  # none: it began fresh | proven: nothing shared | unproven: not known what it was trained on
    seen_patients: int | None  # that it was trained with or chosen by
    shared_patients: int | None  # of them on the test side
    shared_images: int | None  # likewise, by their pixels
    said: str


def seen_of(manifest: Manifest, records: np.ndarray, before: Seen | None = None) -> Seen:
    """The patients and images of some records, and those that were seen before."""
    patients, hashes = manifest.patients, manifest.pixel_hashes
    images = frozenset(h for h in (hashes[r] for r in records.tolist()) if h is not None)
    seen = Seen(frozenset(patients[r] for r in records.tolist()), images, frozenset([_key(manifest)]))
    if before is None:
        return seen
    return Seen(seen.patients | before.patients, seen.images | before.images, seen.keys | before.keys)


def write_seen(seen: Seen, workdir: Path) -> None:
    """WORKDIR/trained_on.parquet: keyed hashes and pixel hashes, no path and no order that pairs them."""
    patients, images = sorted(seen.patients), sorted(seen.images)
    rows = max(len(patients), len(images))
    columns = [values + [None] * (rows - len(values)) for values in (patients, images)]
    table = pa.table(columns, schema=_SCHEMA)
    facts = {"radmae": json.dumps({"keys": sorted(seen.keys)})}
    write_atomically(table.replace_schema_metadata(facts), workdir / FILE)


def read_seen(workdir: Path) -> Seen | None:
    """What `write_seen` wrote; None where there is no such file. Errors: ValueError for another file."""
    path = workdir / FILE
    if not path.exists():
        return None
    table, facts = read_with_facts(path)
    if table.column_names != _SCHEMA.names or "keys" not in facts:
        raise ValueError(f"{path} does not say what a run was trained on")
    patients, images = (frozenset(v for v in table[name].to_pylist() if v is not None) for name in _SCHEMA.names)
    return Seen(patients, images, frozenset(facts["keys"]))


def prove(manifest: Manifest, split: Split, seen: Seen | None, *, given: bool) -> Leakage:
    """That nothing of the test side was trained on.

    Args:
      split: of this manifest; reading it has refused patients and images on two sides.
      seen: what the model has seen, the runs that it began with included; None where that is not known.
      given: whether it began with given weights.

    Raises LeakageError where it has seen test patients, or images with the same pixels as test images.
    """
    test = split.records("test").tolist()
    sides = "no patient and no image is on two sides of the split"
    if seen is None and not given:
        return Leakage(0, 0, "none", None, None, None, f"{sides}; training began with fresh weights")
    if seen is None:
        said = f"{sides}; what the given weights were trained on is not known: test images may have been among it"
        return Leakage(0, 0, "unproven", None, None, None, said)
    patients = {manifest.patients[r] for r in test} & seen.patients
    images = {h for h in (manifest.pixel_hashes[r] for r in test) if h is not None} & seen.images
    if patients or images:
        raise LeakageError(
            f"{len(patients)} patients and {len(images)} images of the test side of {manifest.path.name} were trained "
            "on already, by the pixels or the patients' keys: pre-train on the split that is tested on "
            "(config.data.split)"
        )
    comparable = seen.keys == {_key(manifest)}
    hashed = all(manifest.pixel_hashes[r] is not None for r in test)
    if comparable:
        images_too = "" if hashed else " (images were indexed without pixels, so only patients were compared)"
        whole = "trained with or chosen by, pre-training included," if given else "trained with or chosen by"
        said = f"{sides}; none of the {len(seen.patients):,} patients that were {whole} is a test patient{images_too}"
        return Leakage(0, 0, "proven" if given else "none", len(seen.patients), 0, 0, said)
    said = (
        f"{sides}; patients of pre-training are hashed with another key and cannot be compared; none of the "
        f"{len(seen.images):,} images seen has the pixels of a test image"
    )
    return Leakage(0, 0, "unproven", len(seen.patients), None, 0, said)


def _key(manifest: Manifest) -> str:
    """What must be equal for patients of two manifests to be comparable: the key's fingerprint, or, where a manifest
    from before it was stored does not know it, the manifest itself."""
    return manifest.key or manifest.hash
