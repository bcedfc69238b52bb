"""What a run has seen against what it is tested on: planted leaks are found, honest archives are proven."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from radmae_jax.data.identity import fingerprint
from radmae_jax.data.index import index
from radmae_jax.data.leakage import FILE, Seen, prove, read_seen, seen_of, write_seen
from radmae_jax.data.manifest import Manifest, read_manifest
from radmae_jax.data.patient_keys import Compared, compare_keys, salt_differs
from radmae_jax.data.splits import LeakageError, Split, first_patients, make_split, read_split, write_split


@pytest.fixture(scope="module")
def indexed(tmp_path_factory) -> Manifest:
    """30 images of 15 patients; images 28 and 29 have the same pixels under two names, of two patients."""
    folder = tmp_path_factory.mktemp("patients")
    (folder / "images").mkdir()
    rows = ["path,patient"]
    for number in range(30):
        pixels = np.random.default_rng(min(number, 28)).integers(0, 65536, (40, 40)).astype(np.uint16)
        Image.fromarray(pixels).save(folder / "images" / f"{number:02d}.png")
        rows.append(f"{number:02d}.png,patient {number % 15 if number < 28 else number}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    path = folder / "manifest.parquet"
    index(folder / "images", path, labels=folder / "labels.csv", workers=1, show_progress=False)
    return read_manifest(path)


@pytest.fixture(scope="module")
def split(indexed) -> Split:
    return make_split(indexed, fractions=(0.6, 0.2, 0.2))


def _seen(manifest: Manifest, split: Split, *sides: str) -> Seen:
    return seen_of(manifest, np.concatenate([split.records(side) for side in sides]))


def test_what_was_seen_is_written_without_paths_and_read_back(indexed, split, tmp_path):
    seen = _seen(indexed, split, "train", "validation")
    before = Seen(frozenset(["another"]), frozenset(["pixels"]), frozenset(["key"]))
    both = seen_of(indexed, split.records("train"), before)
    assert {"another"} < both.patients and {"pixels"} < both.images and both.keys == {"key", indexed.key}
    write_seen(seen, tmp_path)
    assert read_seen(tmp_path) == seen and read_seen(tmp_path / "nothing") is None
    assert not any(path.encode() in (tmp_path / FILE).read_bytes() for path in indexed.paths)
    indexed.path.with_name("other.parquet").write_bytes(indexed.path.read_bytes())
    (tmp_path / FILE).write_bytes(indexed.path.read_bytes())
    with pytest.raises(ValueError, match="does not say what a run was trained on"):
        read_seen(tmp_path)


def test_an_honest_split_is_proven(indexed, split):
    seen = _seen(indexed, split, "train", "validation")
    proof = prove(indexed, split, seen, given=True)
    assert (proof.pretraining, proof.seen_patients, proof.shared_patients) == ("proven", len(seen.patients), 0)
    said = (
        f"{len(seen.patients)} patients were trained with or chosen by, pre-training included. None of them is a test"
    )
    assert said in proof.said
    assert prove(indexed, split, None, given=False).pretraining == "none"
    unknown = prove(indexed, split, None, given=True)
    assert unknown.pretraining == "unproven" and "not known" in unknown.said


@pytest.mark.parametrize("what", ["patients", "images"])
def test_a_test_patient_in_pretraining_is_refused(indexed, split, what):
    seen, leaked = _seen(indexed, split, "train"), _seen(indexed, split, "test")
    planted = replace(seen, **{what: getattr(seen, what) | {next(iter(getattr(leaked, what)))}})
    with pytest.raises(LeakageError, match="1 patient and 0" if what == "patients" else "0 patients and 1 image of"):
        prove(indexed, split, planted, given=True)


def test_patients_under_another_key_are_not_called_proven(indexed, split):
    seen = replace(_seen(indexed, split, "train"), keys=frozenset(["another"]))
    proof = prove(indexed, split, seen, given=True)
    assert (proof.pretraining, proof.shared_patients, proof.shared_images) == ("unproven", None, 0)


def test_one_patient_or_one_picture_on_two_sides_is_refused(indexed, split, tmp_path):
    """Splits that someone wrote: the same patient twice, and the same pixels under two names."""
    train, test = (split.records(side)[0] for side in ("train", "test"))
    twins = [indexed.patients[n] for n, path in enumerate(indexed.paths) if path in ("28.png", "29.png")]
    assert split.patients[twins[0]] == split.patients[twins[1]] and twins[0] != twins[1]
    assert indexed.patients[train] != indexed.patients[test]
    sides = split.patients | {twins[0]: "train", twins[1]: "test"}
    write_split(replace(split, patients=sides), tmp_path / "pixels.parquet")
    with pytest.raises(LeakageError, match="1 images lie on several sides"):
        read_split(tmp_path / "pixels.parquet", indexed)


def test_fewer_training_images_are_whole_patients_and_nested(indexed, split):
    records = split.records("train")
    patients = np.asarray(indexed.patients)
    few, more = first_patients(indexed, records, 5), first_patients(indexed, records, 11)
    assert set(few) < set(more) < set(records) and len(few) <= 5 and len(more) <= 11
    for chosen in (few, more):
        taken = set(patients[chosen])
        assert [r for r in records if patients[r] in taken] == chosen.tolist()
    assert first_patients(indexed, records, 10**6).tolist() == records.tolist()
    with pytest.raises(ValueError, match="1 training images are asked for; the first patient has 2"):
        first_patients(indexed, records[[0, *np.flatnonzero(patients[records] == patients[records[0]])[1:]]], 1)


def test_the_fingerprint_tells_keys_apart_and_nothing_else(indexed, tmp_path):
    path = tmp_path / "again.parquet"
    index(indexed.source, path, workers=1, show_progress=False)
    other = read_manifest(path)
    (ours, sources), (theirs, other_sources) = indexed.key.split(":"), other.key.split(":")
    assert sources == "labels" and len(ours) == 16 and ours != theirs
    assert other_sources.partition("@")[0] == "file" and len(other_sources) == 21
    salt = Path(f"{path}.salt").read_bytes()
    assert theirs.encode() not in salt and theirs not in salt.hex()


def test_patients_are_compared_where_they_are_keyed_alike_only():
    """One salt: a person has another key by PatientID, with an issuer, by a labels file, and by a file's path."""
    salt = bytes(range(32))
    ways = [["id"], ["issuer"], ["labels"], ["study"], ["file"], ["id", "study"]]
    assert len({fingerprint(salt, sources, "a") for sources in ways}) == len(ways)
    assert fingerprint(salt, ["study", "id", "id"], "a") == fingerprint(salt, ["id", "study"], "b")
    assert fingerprint(salt, ["file"], "a") != fingerprint(salt, ["file"], "b")


def test_patients_of_the_kinds_that_both_have_are_compared():
    """One PNG more in a grown archive makes nothing incomparable."""
    salt, others = bytes(range(32)), bytes(32)
    ids, grown, moved = (
        fingerprint(salt, kinds, root) for kinds, root in ((["id"], "a"), (["id", "file"], "a"), (["id", "file"], "b"))
    )
    labels, old = fingerprint(salt, ["labels"], "a"), fingerprint(salt, ["id", "file"], "a", rooted=True)
    assert compare_keys(grown, {ids, grown}) == Compared(True, frozenset({"id", "file"}), frozenset(), frozenset())
    assert compare_keys(grown, {ids}) == Compared(True, frozenset({"id"}), frozenset({"file"}), frozenset())
    assert compare_keys(ids, {grown}) == Compared(True, frozenset({"id"}), frozenset(), frozenset({"file"}))
    assert compare_keys(moved, {grown}).numbers and compare_keys(moved, {grown}).extra == {"file"}
    assert not compare_keys(labels, {ids}).numbers and not compare_keys(ids, {ids, labels}).numbers
    assert compare_keys(ids, {fingerprint(others, ["id"], "a")}) == Compared(False, *[frozenset()] * 3)
    assert compare_keys(old, {old}).numbers and compare_keys("hash", {"hash"}).numbers
    assert not compare_keys(old, {old, grown}).salt and not compare_keys("hash", {ids}).salt
    for key, root in ((ids, "b"), (grown, "b"), (old, "a"), ("hash", "a")):
        assert not salt_differs(key, salt, root) and salt_differs(key, others, root) == (key != "hash")


@pytest.mark.parametrize(
    ("ours", "theirs", "word", "counted"),
    [
        (["labels", "file"], ["labels"], "proven", True),
        (["labels"], ["labels", "file"], "unproven", False),
        (["labels", "id"], ["labels"], "proven", True),
        (["id"], ["labels"], "unproven", False),
    ],
)
def test_what_is_keyed_otherwise_is_counted_and_the_rest_compared(indexed, split, ours, theirs, word, counted):
    salt = bytes(32)
    test = split.records("test").tolist()
    sources = [ours[-1] if record == test[0] else ours[0] for record in range(len(indexed))]
    place = indexed.table.column_names.index("patient_source")
    table = indexed.table.set_column(place, "patient_source", pa.array(sources, pa.string()))
    manifest = replace(indexed, table=table, key=fingerprint(salt, ours, "a"))
    seen = replace(_seen(indexed, split, "train"), keys=frozenset([fingerprint(salt, theirs, "a")]))
    proof = prove(manifest, split, seen, given=True)
    assert proof.pretraining == word
    assert (proof.images_without_number, proof.test_images_without_number) == ((1, 1) if counted else (0, 0))
    assert (f"For 1 of {len(test)} test images that is unknown" in proof.said) == counted
    assert ("It is unknown of images seen for whose patient file stands" in proof.said) == ("file" in theirs)
    assert ("keyed by identifiers other than those of this manifest" in proof.said) == (ours == ["id"])


def test_images_without_pixel_hashes_are_not_called_compared(indexed, split):
    place = indexed.table.column_names.index("pixel_hash")
    unknown = pa.array([None] * len(indexed), pa.string())
    blind = replace(indexed, table=indexed.table.set_column(place, "pixel_hash", unknown))
    for manifest, seen_with in ((blind, blind), (blind, indexed), (indexed, blind)):
        proof = prove(manifest, split, _seen(seen_with, split, "train"), given=True)
        assert (proof.pretraining, proof.shared_patients, proof.shared_images) == ("proven", 0, None)
        assert proof.images_on_two_sides == (None if manifest is blind else 0) and "only patients" in proof.said
    assert "of images nobody knows" in prove(blind, split, None, given=False).said


def test_pixels_that_were_hashed_otherwise_are_not_compared(indexed, split, tmp_path):
    """A hash of another version says nothing of equal pixels: unknown, not none."""
    seen = _seen(indexed, split, "train")
    write_seen(seen, tmp_path)
    assert read_seen(tmp_path) == seen and seen.hashed
    table = pq.read_table(tmp_path / FILE)
    facts = json.loads(table.schema.metadata[b"radmae"])
    del facts["pixel_hash"]
    pq.write_table(table.replace_schema_metadata({"radmae": json.dumps(facts)}), tmp_path / FILE)
    before = read_seen(tmp_path)
    assert before is not None and before.patients == seen.patients
    assert not before.hashed and not before.images
    assert prove(indexed, split, before, given=True).shared_images is None
