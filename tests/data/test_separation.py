"""Without patient numbers no statement on separation says proven; with some, it says for how many it is unknown."""

from dataclasses import replace

import pyarrow as pa
import pytest

from radmae_jax.cli import main
from radmae_jax.data.leakage import prove, seen_of
from radmae_jax.data.manifest import COLUMNS, Manifest, write_manifest
from radmae_jax.data.separation import PatientNumbers, numbers_of, patient_numbers, separation, unknown_of
from radmae_jax.data.splits import LeakageError, make_split


@pytest.fixture
def manifest(tmp_path):
    """manifest(sources, pixels=True): ten images of ten patients, keyed by what `sources` says of each."""

    def make(sources, pixels=True) -> Manifest:
        columns = {column: [None] * 10 for column in COLUMNS.names}
        columns |= {"path": [str(n) for n in range(10)], "height": [50] * 10, "width": [50] * 10}
        columns |= {"patient": [f"k{n}" for n in range(10)], "patient_source": sources}
        columns |= {"pixel_hash": [f"h{n}" for n in range(10)] if pixels else [None] * 10}
        table = pa.Table.from_pydict(columns, schema=COLUMNS)
        return write_manifest(table, tmp_path / "m.parquet", tmp_path, "salt")

    return make


@pytest.mark.parametrize("sources", [["file"] * 10, ["study"] * 10, ["study", "file"] * 5])
def test_no_number_at_all_is_unknown_in_every_statement(sources, manifest):
    images = manifest(sources)
    split = make_split(images, fractions=(0.6, 0.2, 0.2))
    seen = seen_of(images, split.records("train"))
    for given, held, word in (
        (False, None, "none"),
        (False, seen, "none"),
        (True, None, "unproven"),
        (True, seen, "unproven"),
    ):
        found = prove(images, split, held, given=given)
        assert found.pretraining == word and found.patients_on_two_sides is None and not found.patients_known
        assert found.seen_patients is None and found.shared_patients is None and found.images_on_two_sides == 0
        assert (found.images_without_number, found.test_images_without_number) == (10, 2)
        assert found.said.startswith(
            "it is unknown whether a patient is in two splits, as no image has a patient number"
        )
        assert "no patient " not in found.said and "none of the 6 patients" not in found.said
    assert "none of the 6 images seen has the pixels of a test image" in prove(images, split, seen, given=True).said
    assert prove(images, split, seen, given=True).shared_images == 0
    blind = prove(manifest(sources, pixels=False), split, None, given=False)
    assert blind.images_on_two_sides is None and "of images nobody knows either" in blind.said
    # What is known to be shared is refused all the same.
    with pytest.raises(LeakageError, match="1 patient and 1 image of"):
        prove(images, split, seen_of(images, split.records("test")[:1]), given=True)


def test_some_without_a_number_are_counted(manifest):
    images = manifest(["id"] * 7 + ["file"] * 3)
    split = make_split(images, fractions=(0.6, 0.2, 0.2))
    test = sum(record >= 7 for record in split.records("test").tolist())
    found = prove(images, split, seen_of(images, split.records("train")), given=True)
    assert (found.patients_on_two_sides, found.pretraining, found.patients_known) == (0, "proven", False)
    assert (found.images_without_number, found.test_images_without_number) == (3, test)
    assert f"for 3 of 10 images ({test} of 2 test images) it is unknown whether their patient is in two" in found.said
    assert "(studies and files that stand for one included)" in found.said


def test_all_with_a_number_is_as_before(manifest):
    images = manifest(["id", "id", "issuer", "id", "id"] * 2)
    split = make_split(images, fractions=(0.6, 0.2, 0.2))
    found = prove(images, split, seen_of(images, split.records("train")), given=True)
    assert found.pretraining == "proven" and found.patients_known and found.images_without_number == 0
    assert found.said.startswith("no patient and no image is in two splits. 6 patients were trained")
    assert patient_numbers(images) == PatientNumbers(10, 0) and unknown_of(PatientNumbers(10, 0)) == ""
    assert "some were indexed without pixels" in separation(PatientNumbers(10, 0), pixels_known=False)
    assert not replace(PatientNumbers(0, 0)).none  # of no image nothing is unknown


@pytest.mark.parametrize("sources", [["labels"] * 6 + ["id"] * 3 + ["issuer"], ["id"] * 6 + ["labels"] * 4])
def test_numbers_of_a_labels_file_and_of_dicom_cannot_be_compared(sources, manifest, capsys):
    """One person may have a key by each: nothing says proven of all images."""
    images = manifest(sources)
    split = make_split(images, fractions=(0.6, 0.2, 0.2))
    test = sum(record >= 6 for record in split.records("test").tolist())
    found = prove(images, split, seen_of(images, split.records("train")), given=True)
    assert not found.patients_known and (found.images_without_number, found.test_images_without_number) == (4, test)
    assert found.said.startswith(f"for 4 of 10 images ({test} of 2 test images) it is unknown whether their patient is")
    assert "which cannot be compared; among all others no patient and no image is in two splits" in found.said
    assert main(["split", str(images.path)]) == 0
    said = capsys.readouterr().out
    assert "separation: for 4 of 10 images" in said and "proven" not in said
    partly = numbers_of(["file", *sources])
    assert (partly.without, partly.mixed, partly.unknown) == (1, 4, 5)
    assert "as 1 have no patient number and 4 have their patient number from" in unknown_of(partly)
