"""Labels find their images by any key, near misses are proposed, and nothing is guessed."""

import json

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest
from pydicom import dcmread

from radmae_jax.cli import main
from radmae_jax.data.identity import Identity, instance_key, patient_key, placeholder_keys, study_key
from radmae_jax.data.images import inspect
from radmae_jax.data.index import index
from radmae_jax.data.index_summary import lines_of
from radmae_jax.data.label_file import image_keys, join_labels, near_misses, read_labels
from radmae_jax.data.label_keys import KEYS, LabelKey, key_of_cell, key_of_image, parse_key
from radmae_jax.data.manifest import read_manifest
from radmae_jax.data.patient_fit import Fit, compare

SALT = bytes(range(32))
PATHS = ("p1/s1/1.dcm", "p1/s1/2.dcm", "p2/s2/1.2.840.7", "p2/s3/a.png", "p2/s3/b.png")


def labels_of(tmp_path, text, key="path"):
    path = tmp_path / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_labels(path, SALT, parse_key(key))


def joined(tmp_path, text, key, paths=PATHS, **more):
    labels = labels_of(tmp_path, text, key)
    return join_labels(labels, image_keys(labels.kind, paths, **more)).columns["a"]


@pytest.mark.parametrize(
    ("key", "text", "values"),
    [
        ("path", "path,a\np1\\s1\\1.dcm,x\n./p2/s3/a.png,y\n", ["x", None, None, "y", None]),
        ("path", "Image Path;a\np1/s1/1.dcm;x\n", ["x", None, None, None, None]),
        ("path=where", "where,path,a\np2/s3/b.png,z,x\n", [None, None, None, None, "x"]),
        ("name", "Image Index,a\n2.dcm,x\nsome/where/b.png,y\n", [None, "x", None, None, "y"]),
        ("name", "a\tFILENAME\nx\tC:\\old\\a.png\n", [None, None, None, "x", None]),
        ("stem", "image_id,a\n2,x\nb,y\n1.2.840.7,z\n", [None, "x", "z", None, "y"]),
        ("stem", "dicom_id,a\nold/2.jpg,x\nB.PNG,y\n", [None, "x", None, None, None]),
        ("stem=id", "id,a\na.dcm,x\n", [None, None, None, "x", None]),
    ],
)
def test_rows_find_images_by_path_name_and_stem(key, text, values, tmp_path):
    assert joined(tmp_path, text, key) == values


def test_rows_find_images_by_instance_and_study(tmp_path):
    instances = [instance_key(uid, SALT) for uid in ("1.1", "1.2", "1.2")] + [None, None]
    studies = [study_key(uid, SALT) for uid in ("9.1", "9.1", "9.2")] + ["of a file", "of another"]
    text = "SOPInstanceUID,a\n1.2,x\n1.3,y\n"
    assert joined(tmp_path, text, "sop_uid", instances=instances) == [None, "x", "x", None, None]
    assert joined(tmp_path, "study_uid,a\n9.1,x\n", "study", studies=studies) == ["x", "x", None, None, None]
    labels = labels_of(tmp_path, text, "sop_uid=SOPInstanceUID")
    assert "1.2" not in repr(labels) and labels.columns == ("a",) and labels.remarks == ()


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        (
            "path",
            "file,filename,a\nx,y,1\n",
            "line 1: 2 columns may hold the path: file, filename, of file, filename, a",
        ),
        (
            "stem",
            "patient,a\nx,1\n",
            "line 1: no column named stem .* among 2 columns: patient, a; --label-key stem=COL",
        ),
        ("stem=who", "stem,a\nx,1\n", "line 1: no column named who; the columns are stem, a"),
        ("path", "path,a\nx,1\n,2\n", "line 3: column 'path' is '', which names no image"),
        ("stem", "stem,a\nNaN,1\n", "line 2: column 'stem' is 'NaN', which names no image"),
        ("path", "path,a\nx,1\n\n./x,2\n", "line 4: its path was given before, on line 2"),
        ("name", "name,a\nu/x,1\nv/x,2\n", "line 3: its name was given before, on line 2"),
        (
            "path",
            "path,a\nx,0\ny,1\nz,0.0\n",
            r"column 'a' has '0' \(line 2\) and '0.0' \(line 4\), two texts of one num",
        ),
        ("path", "path,a\nx,1e0\ny,1\n", "two texts of one number"),
        ("path", "path,a\nx,01\ny,1\n", "two texts of one number"),
        ("path", "path,region\nx,1.50\ny,1.5\n", "column 'region' has '1.50'"),
        ("path", "path;a\nx;0,5\ny;0.5\n", "two texts of one number"),
        (
            "path",
            "path,patient\nx,123\ny,9\nz,123.0\n",
            "column 'patient' has a whole number on line 2 and .* on line 4",
        ),
        ("path", "path,patient\nx,1.23457E+11\n", "line 2: column 'patient' has a number that a spreadsheet rounded"),
        ("path", "path;patient\nx;7\ny;7,0\n", "column 'patient' has a whole number on line 2 and .* on line 3"),
        ("path", 'path,patient\nx,7\ny,"7,0"\n', "column 'patient' has a whole number on line 2"),
        ("path", "path;patient\nx;1,23457E+11\n", "line 2: column 'patient' has a number that a spreadsheet rounded"),
        ("path", 'path,a\nx,0\ny,"0,0"\n', "two texts of one number"),
        ("path", "path;a\nx;1,5E+1\ny;15\n", "two texts of one number"),
        ("path", "path,Patient,patient\nx,1,1\n", "columns Patient, patient would all be the patient"),
    ],
)
def test_what_is_wrong_with_a_labels_file_is_named(key, text, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        labels_of(tmp_path, text, key)
    assert "123" not in str(error.value)  # no identifier in a message


def test_a_key_that_does_not_exist():
    for wrong in ("uid", "stem=", "Path"):
        with pytest.raises(ValueError, match=f"--label-key {wrong}: "):
            parse_key(wrong)
    assert parse_key("sop_uid=dicom id") == LabelKey("sop_uid", "dicom id") and set(KEYS) >= {"path", "study"}


def test_identifiers_are_hashed_and_numbers_of_patients_are_texts(tmp_path):
    labels = labels_of(tmp_path, "path,Patient,study,a\nw,01,9.1,\nx,1,nan,NA\ny,nan,?,None\nz,None,-,none\n")
    assert labels.columns == ("patient", "study", "a")
    patients = [row["patient"] for row in labels.rows]
    assert len(set(patients[:2])) == 2 and all(len(key) == 32 for key in patients[:2]) and patients[2:] == ["", ""]
    assert [bool(row["study"]) for row in labels.rows] == [True, False, False, False]
    assert [row["a"] for row in labels.rows] == ["", "", "", "none"]  # `none` is a class, None is Python's


def test_identifiers_under_other_names_become_no_labels(tmp_path):
    labels = labels_of(tmp_path, "path,Patient ID,study_id,SOPInstanceUID,height,Unnamed: 3,a\nx,P1,S1,1.2,9,0,1\n")
    assert labels.columns == ("a",) and "P1" not in repr(labels.rows)
    assert labels.ignored == ("Unnamed: 3", "Patient ID", "study_id", "SOPInstanceUID", "height")
    assert (
        "column 'Patient ID' identifies people or images and becomes no label; name it 'patient'" in labels.remarks[0]
    )


IDENTIFYING = (
    "PatientBirth,PatientBirthYear,PatID,pat_id,PatientsName,Patient's Name,Name,patient.id,patient/id,PatientKey,"
    "Patient (hash),person_id,case_id,anon_id,mrn_number,accession,Patientennummer,Geburtsdatum,StudyDate,series_uid,"
    "SeriesUID,image_uid,Accession Number,MRN,pid,DOB,Date of Birth,Last Name,Study Instance UID,exam_no,date,SOP UID"
)
LABELS = (
    "patient_age,patient_sex,patient_position,Patient Age,Patient Gender,pleural_fluid,birth_weight,pathology,case,"
    "Follow-up #,Finding Labels,patella,class_name,dose,label_id,up_to_date,image,PatientSize"
)


def test_columns_that_identify_are_found_by_any_spelling_and_labels_stay(tmp_path):
    labels = labels_of(tmp_path, f"path,{IDENTIFYING},{LABELS}\nx{',1' * 50}\n")
    assert labels.ignored == tuple(IDENTIFYING.split(",")) and labels.columns == tuple(LABELS.split(","))
    assert len(labels.remarks) == 32 and "column 'PatID' identifies people or images" in "\n".join(labels.remarks)
    labels = labels_of(tmp_path, "name,path,a\nx,u/x,1\n", "name")
    assert labels.columns == ("a",)


def test_values_that_identify_are_found(tmp_path):
    uids = labels_of(tmp_path, "path,where,version,a\nx,1.2.840.10008.1,1.2.3,1\ny,?,1.2.4,2\n")
    assert uids.ignored == ("where",) and uids.remarks == (
        "column 'where' has UIDs, as DICOM has, and becomes no label",
    )
    rows = "".join(f"{n},P{n},{n / 7},{n % 3},{n if n < 30 else 0}a\n" for n in range(40))
    labels = labels_of(tmp_path, f"path,a,measured,class,b\n{rows}")
    assert labels.remarks == (
        "column 'a' has 40 values in 40 rows: it may identify images or people, and enters the manifest as it is",
    )
    few = labels_of(tmp_path, "path,a\n" + "".join(f"{n},P{n}\n" for n in range(20)))
    assert few.remarks == ()


def test_leading_zeros_of_patients_are_remarked_on(tmp_path):
    labels = labels_of(tmp_path, "path,patient\nx,1\ny,001\nz,12\n")
    assert labels.remarks == (
        "column 'patient': 2 identifiers differ only in leading zeros from another one, and stay different patients",
    )
    assert len({row["patient"] for row in labels.rows}) == 3


def test_spellings_are_remarked_on_and_kept(tmp_path):
    labels = labels_of(tmp_path, "path,a,patient\n1,yes,x\n2,Yes,X\n3,yes,y\n4,lower leg,z\n5,lower  leg,9.0\n")
    remarks = "\n".join(labels.remarks)
    assert "'Yes' (1 row) and 'yes' (2 rows); 'lower  leg' (1 row) and 'lower leg' (1 row)" in remarks
    assert "column 'patient': 2 identifiers differ only in case" in remarks
    assert "column 'patient': 1 of 5 identifiers end with .0 or ,0" in remarks and "X" not in remarks
    assert [row["a"] for row in labels.rows][:2] == ["yes", "Yes"]


def test_bare_names_are_one_proposal(tmp_path):
    paths = [f"p{n}/image{n:07d}.png" for n in range(30)]
    rows = "".join(f"image{n:07d}.png,1\n" for n in range(20)) + "".join(
        f"p{n}/image{n}.png,1\n" for n in range(20, 30)
    )
    found = near_misses(labels_of(tmp_path, f"path,a\n{rows}"), range(30), paths)
    assert [text.split(",")[0] for text in found] == [
        "20 rows would match by their file name alone", "10 rows would match with other zeros before numbers",
    ]  # fmt: skip


def test_rows_of_one_study_may_agree(tmp_path):
    labels = labels_of(tmp_path, "study_uid,dicom_uid,a\n9.1,1.1,x\n9.2,1.2,y\n9.1,1.3,x\n", "study")
    assert [row["a"] for row in labels.rows] == ["x", "y"] and labels.lines == [2, 3]
    assert "1 row repeats the study and labels of another" in labels.remarks
    with pytest.raises(
        ValueError, match=r"line 4: its study was .* on line 2, with another value in column 'a'. One row"
    ):
        labels_of(tmp_path, "study_uid,a\n9.1,x\n9.2,y\n9.1,z\n", "study")


def test_a_name_of_two_images_is_never_guessed(tmp_path):
    paths = ["a/1.png", "b/1.png", "b/2.png", "c/1.png", "c/3.png", "d/3.png"]
    labels = labels_of(tmp_path, "name,a\n2.png,x\n1.png,y\n3.png,z\n", "name")
    with pytest.raises(ValueError, match=r"line 3: 3 images have the name '1.png'; 2 rows .* could mean 5 images"):
        join_labels(labels, image_keys("name", paths))
    fine = labels_of(tmp_path, "name,a\n2.png,x\n", "name")  # two images of one name that no row names
    assert join_labels(fine, image_keys("name", paths)).columns["a"] == [None, None, "x", None, None, None]


def test_stems_of_cells_and_of_files():
    for cell, stem in (("a.b", "a.b"), ("a.b.DCM", "a.b"), ("1.2.3", "1.2.3"), (".png", ".png"), ("u/v.jpeg", "v")):
        assert key_of_cell("stem", cell) == stem
    for path, stem in (("u/1.2.3", "1.2.3"), ("u/1.2.3.dcm", "1.2.3"), ("x.foo", "x"), ("IM.1", "IM.1")):
        assert key_of_image("stem", path) == stem


@pytest.mark.parametrize(
    ("key", "cell", "proposal"),
    [
        ("path", "p2/s3/a.jpg", "with another extension"),
        ("path", "p2/s3/a", "with another extension"),
        ("path", "P2/S3/A.png", "without regard to case"),
        ("path", "data/raw/p2/s3/a.png", "without a prefix, .*: remove 'data/raw/'"),
        ("path", "/p2/s3/a.png", "without a prefix, .*: remove '/'"),
        ("path", "s3/a.png", "with a prefix, .*: put 'p2/'"),
        ("path", "p2//s3/a.png", "with //, /./ and .. resolved"),
        ("path", "p2/./s3/a.png", "with //, /./ and .. resolved"),
        ("path", "p2\\s3\\\\a.png", "with //, /./ and .. resolved"),
        ("path", "/archive/p2/s3/a.png", "as absolute paths below the source, .*: remove '/archive/'"),
        ("path", "file:///archive/p2/s3/a.png", "as absolute paths below the source"),
        ("path", "p2%2Fs3/a.png", "with %20 and the like decoded"),
        ("path", "p2 /s3/ a.png", "without regard to spaces"),
        ("path", "other/a.png", "by their file name alone, .*: --label-key name"),
        ("path", "other/a.jpg", "by their file name without its extension alone, .*: --label-key stem"),
        ("path", "X:/Other/A%2Ejpg", "if several of these were corrected at once"),
        ("name", "a.jpg", "with another extension, .*: .*--label-key stem"),
        ("name", "A.PNG", "without regard to case"),
        ("name", "a%2Epng", "with %20 and the like decoded"),
        ("name", "cxr_a.png", "without a prefix, .*: remove 'cxr_'"),
        ("stem", "A", "without regard to case"),
        ("stem", "view_7", "with a prefix, .*: put 'left_'"),
        ("stem", "7", "with a prefix"),
        ("path", "a.png", "by their file name alone, .*: --label-key name"),
        ("path", "'p2/s3/a.png'", "without quotes, .*: remove the quotes"),
        ("path", "p2/s3/a.dcm.gz", "with another extension"),
        ("stem", "a.dcm.gz", "without an extension"),
        ("stem", "left_view_007", "with other zeros before numbers"),
        ("path", "p09/c.png", "with other zeros before numbers"),
        ("stem", "5", "without leading zeros or a .0"),
        ("stem", "0005.0", "without leading zeros or a .0"),
    ],
)
def test_near_misses_are_proposed(key, cell, proposal, tmp_path):
    import re

    paths = ["p2/s3/a.png", "p2/s3/b.png", "p9/c.png", "left_view_7.dcm", "005.dcm"]
    labels = labels_of(tmp_path, f"{key},a\n{cell},1\n", key)
    assert join_labels(labels, image_keys(key, paths)).unmatched == [0]
    found = near_misses(labels, [0], paths, ["/archive"])
    assert any(re.search(f"^1 row would match {proposal}", text) for text in found), found


def test_near_misses_are_counted_the_commonest_first(tmp_path):
    paths = [f"train/{n}.png" for n in range(50)]
    rows = [*(f"x/train/{n}.png,1" for n in range(30)), *(f"train/{n}.jpg,1" for n in range(30, 40)), "gone.png,1"]
    labels = labels_of(tmp_path, "path,a\n" + "\n".join(rows) + "\n")
    found = near_misses(labels, range(41), paths)
    assert [text.split(",")[0] for text in found] == [
        "30 rows would match without a prefix", "10 rows would match with another extension",
    ]  # fmt: skip
    assert "such as 'x/train/0.png' for 'train/0.png': remove 'x/'" in found[0]


@pytest.fixture(scope="module")
def indexed(tmp_path_factory, write_dicom):
    """A folder with a source and what an index leaves that read all of it and then stopped: a journal and a salt.

    The source has four DICOM files of two studies of one person, a PNG and a damaged file."""
    folder = tmp_path_factory.mktemp("indexed")
    source = folder / "source"
    source.mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 4096, (40, 41)).astype(np.uint16)
        tags = {"PatientID": "P-77", "StudyInstanceUID": f"1.2.{number // 2}", "SOPInstanceUID": f"1.9.{number}"}
        write_dicom(source / f"{number}.dcm", pixels, tags=tags)
    noise = np.random.default_rng(9).integers(0, 256, (40, 41)).astype(np.uint8)
    (source / "e.png").write_bytes(imagecodecs.png_encode(noise))
    (source / "bad.dcm").write_bytes(b"nothing")
    (folder / "labels.csv").write_text("sop_uid,a\n0,x\n")
    with pytest.raises(ValueError, match="none of 1 rows matches one of 5 images by sop_uid"):
        index(source, folder / "m.parquet", labels=folder / "labels.csv", label_key="sop_uid", show_progress=False)
    return folder


@pytest.fixture
def run(indexed, tmp_path, capsys):
    """run(labels, *options): exit code and what is printed of `radmae index` beside that journal."""
    for name in ("m.parquet.journal", "m.parquet.salt"):
        (tmp_path / name).write_bytes((indexed / name).read_bytes())

    def command(labels, *options):
        (tmp_path / "labels.csv").write_text(labels)
        paths = [
            "index",
            str(indexed / "source"),
            str(tmp_path / "m.parquet"),
            "--labels",
            str(tmp_path / "labels.csv"),
        ]
        return main([*paths, "--json", str(tmp_path / "i.json"), *options]), capsys.readouterr()

    return command


def test_index_joins_prints_and_keeps_its_journal(run, tmp_path):
    manifest, journal = tmp_path / "m.parquet", tmp_path / "m.parquet.journal"
    read = journal.read_bytes()

    # No match at all, by a key that is known before decoding: an error at once, with proposals.
    code, said = run("path,a\n0.png,x\ndata/1.dcm,y\n")
    assert code == 2 and not manifest.exists() and journal.read_bytes() == read
    assert "labels.csv: none of 2 rows matches one of 6 files by path; line 2 has '0.png'" in said.err
    assert "1 row would match with another extension, such as '0.png' for '0.dcm'" in said.err
    code, said = run("stem,a\n1.9.0.77,x\n", "--label-key", "stem")
    assert code == 2 and "--label-key sop_uid or --label-key study" in said.err

    # No match by a key that decoding brings: the journal is kept.
    code, said = run("sop_uid,a\n0,x\n1,y\n", "--label-key", "sop_uid")
    assert code == 2 and not manifest.exists() and journal.read_bytes() == read
    assert "none of 2 rows matches one of 5 images by sop_uid, 1 of which have none" in said.err
    assert "2 rows would match by another key: --label-key stem=COLUMN" in said.err
    assert b"1.9.0" not in journal.read_bytes()

    # A patient column that covers some images.
    rows = "path,patient,a\n0.dcm,9,x\n1.dcm,nan,x\n2.dcm,9,Y\n3.dcm,9,y\ngone.dcm,8,y\nbad.dcm,8,y\n"
    code, said = run(rows)
    assert code == 2 and not manifest.exists() and journal.read_bytes() == read
    assert "column patient covers 3 of 5 images; 2 have none, the first is '1.dcm'" in said.err
    assert "--allow-missing-patients" in said.err
    code, said = run(rows, "--allow-missing-patients")
    assert code == 0 and not journal.exists()
    assert read_manifest(manifest).patient_sources == ["labels"] * 4 + ["file"]  # all of P-77
    for line in (
        "5 images of 2 patients",
        "6 files from the journal, read before",
        "images by what stands for their patient: the labels file 4, the file 1",
        "warning: 1 of 5 images have no patient number; what stands for it: the file of 1; for 1 of 5 images",
        "the patient with the most images has 4",
        "no two images have equal pixels",
        "labels: a; replaces patient; 6 rows",
        "  a: 3 values, known for 4 of 5 images",
        "  patient: 1 value, known for 4 of 5 images",
        "warning: column 'a' has values that differ only in case or spaces and stay different: 'Y' (1 row) and 'y' (3",
        "2 rows found no image (1 of them name files of the quarantine); the first is on line 6: 'gone.dcm'",
        "1 of 5 images found no row; the first is record 4: 'e.png'",
        "warning: 2 images have no patient in the labels file (--allow-missing-patients)",
        "1 of them have a PatientID that the labels file puts with one of its patients elsewhere",
    ):
        assert line in said.out, line
    figures = json.loads((tmp_path / "i.json").read_text())
    assert (figures["label_rows_unmatched"], figures["images_without_labels"]) == (2, 1)
    assert figures["labels"]["columns"] == [["patient", 1, 4], ["a", 3, 4]]
    assert figures["labels"]["replaced"] == ["patient"]
    assert figures["labels"]["first_row"] == 6 and figures["labels"]["patients_missing"] == 2
    assert not any(text in json.dumps(figures) for text in (".dcm", ".png", "P-77"))


def test_a_person_of_dicom_is_never_taken_apart(run, tmp_path):
    rows = "path,patient\n0.dcm,9\n1.dcm,9\n2.dcm,8\n3.dcm,9\ne.png,7\n"
    for options in ((), ("--allow-missing-patients",)):
        code, said = run(rows, *options)
        assert code == 2 and not (tmp_path / "m.parquet").exists()
        assert "column patient takes 1 DICOM patient apart" in said.err and "P-77" not in said.err
        assert "the first is record 2, '2.dcm', line 4. One person would look like several" in said.err


def test_a_file_of_replaced_columns_alone_says_what_it_replaces(run):
    code, said = run(
        "path,patient,region\n" + "".join(f"{n},5,hand\n" for n in ("0.dcm", "1.dcm", "2.dcm", "3.dcm", "e.png"))
    )
    assert code == 0 and "labels: no new column; replaces patient, region; 5 rows" in said.out
    assert "  region: 1 value, known for 5 of 5 images" in said.out


def test_an_option_whose_file_is_missing_is_named(run, tmp_path):
    code, said = run("path,a\n0.dcm,x\n", "--salt-file", str(tmp_path / "none"))
    assert code == 2 and f"--salt-file {tmp_path / 'none'}: there is no such file" in said.err
    code, said = run("path,a\n0.dcm,x\n", "--labels", str(tmp_path))
    assert code == 2 and f"--labels {tmp_path} is a folder, expected a file" in said.err


def test_both_identities_of_each_image_are_compared():
    def fit(own, given, placeholders=(), source="id"):
        columns = {"patient": list(own), "patient_source": [source] * len(own)}
        return compare(columns, [None if key == "-" else key for key in given], frozenset(placeholders))

    assert fit("aabb", "xxyy") == Fit()
    assert fit("aabb", "xyzz") == Fit(torn=1, first_torn=1) and fit("aabb", "xyzz", source="file") == Fit()
    assert fit("aabbc", "xxxxz") == Fit(merged=2, merged_into=1)
    assert fit("aaab", "x-xy") == Fit(united={1: "x"})
    # A PatientID for many people is no person: by its name, or by how many the labels file finds there.
    assert fit("aaab", "xy-z", ["a"]) == Fit(placeholders=1)
    assert fit("a" * 21, "abcdefghijklmnopqrstu") == Fit(placeholders=1)
    assert fit("a" * 20, "abcdefghijklmnopqrst") == Fit(torn=1, first_torn=1)
    assert patient_key("", "ANONYMOUS", SALT) in placeholder_keys(SALT)


@pytest.mark.parametrize(
    ("key", "labels", "values"),
    [
        ("sop_uid", "SOPInstanceUID,a\n1.9.1,x\n1.9.3,y\n1.9.8,z\n", [None, "x", None, "y", None]),
        ("sop_uid=dicom_id", "dicom_id,a\n1.9.0,x\n", ["x", None, None, None, None]),
        ("study", "StudyInstanceUID,a\n1.2.1,x\n1.2.9,y\n", [None, None, "x", "x", None]),
        ("stem", "image_id,a,patient\n0,x,1\n1,x,1\n2,,1\n3,x,1\ne,y,3\n", ["x", "x", None, "x", "y"]),
    ],
)
def test_index_joins_by_each_key(key, labels, values, run, tmp_path):
    code, said = run(labels, "--label-key", key)
    assert code == 0
    table = pq.read_table(tmp_path / "m.parquet")
    assert table["a"].to_pylist() == values and "instance" not in table.column_names
    unmatched = (key.startswith("s") and "1.9.8" in labels) or "1.2.9" in labels
    assert ("1 row found no image; the first is on line" in said.out) == unmatched
    assert "1.9.8" not in said.out and "1.2.9" not in said.out  # identifiers are named by their line only
    assert b"1.9." not in (tmp_path / "m.parquet").read_bytes()


def test_a_study_of_the_labels_stands_for_a_patient_without_a_number(tmp_path):
    (tmp_path / "source").mkdir()
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 256, (40, 41)).astype(np.uint8)
        (tmp_path / "source" / f"{number}.png").write_bytes(imagecodecs.png_encode(noise))
    (tmp_path / "l.csv").write_text("name,study\n0.png,A\n1.png,A\n2.png,B\n")
    options = {"labels": tmp_path / "l.csv", "label_key": "name", "workers": 1, "show_progress": False}
    summary = index(tmp_path / "source", tmp_path / "m.parquet", **options)
    manifest = read_manifest(tmp_path / "m.parquet")
    assert manifest.patient_sources == ["study", "study", "study", "file"]
    assert manifest.patients[0] == manifest.patients[1] == manifest.table["study"][0].as_py() != manifest.patients[2]
    text = "\n".join(lines_of(summary, tmp_path / "m.parquet"))
    assert "warning: 4 of 4 images have no patient number; what stands for it: the study of 3, the file of 1" in text
    assert "it is unknown whether a patient is in two splits, as no image has a patient number" in text


def test_many_images_of_one_patient_are_a_warning(tmp_path):
    from radmae_jax.data.index_labels import LabelCounts
    from radmae_jax.data.index_summary import summarize
    from radmae_jax.data.manifest_changes import Changes

    def lines(count: int, hashes: list[str]) -> str:
        columns = {
            "path": [str(n) for n in range(100)],
            "patient": ["p"] * count + [str(n) for n in range(100 - count)],
        }
        columns |= {"study": ["s"] * 100, "patient_source": ["id"] * 100, "flags": [None] * 99 + ["non_square"]}
        columns |= {"pixel_hash": hashes}
        summary = summarize(
            columns,
            [],
            None,
            LabelCounts(),
            Changes(),
            skipped={"hidden files": 3},
            resumed=0,
            max_bad=0.5,
            seconds=0.0,
        )
        return "\n".join(lines_of(summary, tmp_path / "m"))

    many = lines(40, ["h"] * 2 + ["i"] * 2 + [f"{n}" for n in range(96)])
    assert "warning: one patient has 40 of 100 images: its number may be a placeholder" in many
    assert "2 images have the pixels of another image" in many and "across" not in many
    assert "flagged non_square, " in many and "skipped: hidden files 3" in many
    few = lines(10, [f"{n}" for n in range(98)] + ["same"] * 2)
    assert "placeholder" not in few and "the patient with the most images has 10" in few
    assert "1 image has the pixels of another image; 2 images share theirs across 2 patients" in few


def test_identity_hides_the_instance():
    assert "1.9" not in repr(Identity("A", "1", "2", "1.9"))


def test_the_instance_of_the_file_meta_stands_in_for_a_missing_one(tmp_path, write_dicom, radiograph):
    both = write_dicom(tmp_path / "both.dcm", radiograph(), tags={"SOPInstanceUID": "1.9.5"})
    meta = write_dicom(tmp_path / "meta.dcm", radiograph(), without=("SOPInstanceUID",))
    assert inspect(both, headers_only=True).identity.sop_uid == "1.9.5"
    assert inspect(meta, headers_only=True).identity.sop_uid == dcmread(meta).file_meta.MediaStorageSOPInstanceUID
