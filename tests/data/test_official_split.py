"""A published split is taken as it is, its values mapped, and refused where a patient or an image is in two splits."""

import json

import pyarrow as pa
import pytest

from radmae_jax.cli import main
from radmae_jax.data.identity import patient_key, study_key
from radmae_jax.data.manifest import COLUMNS, read_manifest, write_manifest
from radmae_jax.data.official_split import VALUES, parse_map
from radmae_jax.data.splits import SIDES, read_split

SALT = bytes(range(32))


@pytest.fixture
def made(tmp_path):
    """made(patients, values, ...): a manifest with a label column `fold`; lists by image."""

    def make(patients, values, hashes=None, sources="labels"):
        count = len(patients)
        columns = {column: [None] * count for column in COLUMNS.names}
        columns |= {
            "path": [f"d/{n:02d}.png" for n in range(count)], "height": [100] * count, "width": [100] * count,
            "patient": [patient_key("", str(p), SALT) for p in patients], "fold": values,
            "study": [study_key(f"S{p}", SALT) for p in patients],
            "patient_source": [sources] * count if isinstance(sources, str) else sources,
            "pixel_hash": [f"h{n}" for n in range(count)] if hashes is None else hashes,
        }  # fmt: skip
        table = pa.Table.from_pydict(columns, schema=COLUMNS.append(pa.field("fold", pa.string())))
        (tmp_path / "m.parquet.salt").write_bytes(SALT)
        return write_manifest(table, tmp_path / "m.parquet", tmp_path)

    return make


@pytest.fixture
def split(tmp_path, capsys):
    """split(*options): exit code and what is printed; a split that was made is read back and removed."""

    def command(*options):
        out = tmp_path / "s.parquet"
        figures = tmp_path / "s.json"
        code = main(["split", str(tmp_path / "m.parquet"), str(out), "--json", str(figures), *map(str, options)])
        said = capsys.readouterr()
        if code:
            assert not out.exists()
            return code, said.err, None
        read = read_split(out, read_manifest(tmp_path / "m.parquet"))
        assert json.loads(figures.read_text())["separation"] in said.out
        out.unlink()
        return code, said.out, read

    return command


def test_every_documented_value_names_its_split(made, split):
    values = [(value, side) for side, names in VALUES.items() for value in names]
    written = [value.upper() if n % 2 else f" {value} " for n, (value, _) in enumerate(values)]
    made(range(len(values)), written)
    _, text, read = split("--from-column", "fold")
    assert [SIDES[side] for side in read.sides] == [side for _, side in values]
    assert read.origin == "column fold" and "taken from column fold" in text
    assert "separation: proven by patient keys and pixels: no patient and no image is in two splits" in text


def test_other_values_are_mapped_or_listed(made, split):
    made(range(5), ["0", "0", "1", "2", "Holdout A"])
    code, text, _ = split("--from-column", "fold")
    assert code == 2 and "4 values name no split: '0' (2 images), '1' (1 image)" in text and "--map VALUE=SPLIT" in text
    code, text, read = split(
        "--from-column", "fold", "--map", "0=train", "1=val", "2=TEST", "holdout a=test", "x=y=val"
    )
    assert [SIDES[side] for side in read.sides] == ["train", "train", "validation", "test", "test"]
    assert "--map: no image has the value 'x=y'" in text
    for wrong in ("0", "=train", "0=nothing"):
        with pytest.raises(ValueError, match=f"--map {wrong}: expected VALUE=SPLIT"):
            parse_map([wrong])
    with pytest.raises(ValueError, match="'a' is mapped to train before"):
        parse_map(["a=train", "A=test"])


def test_images_without_a_value_follow_their_patient_or_are_an_error(made, split):
    made([1, 1, 2, 3], ["train", None, "test", "n/a"])
    code, text, _ = split("--from-column", "fold")
    assert code == 2 and "column fold: 1 of 4 images have no value" in text and "the first is record 3" in text
    made([1, 1, 2, 2], ["train", None, "test", ""])
    _, text, read = split("--from-column", "fold")
    assert read.sides.tolist() == [0, 0, 2, 2]
    assert "2 images have none and are in the split of their patient's other images" in text
    made([1, 2], ["test", "val"])
    assert "no image is in the training split" in split("--from-column", "fold")[1]


def test_leaks_are_refused_with_their_counts(made, split):
    made([1, 1, 2, 3, 3], ["train", "test", "val", "train", "test"])
    code, text, _ = split("--from-column", "fold")
    assert code == 2 and "column fold: 2 of 3 patients are in two splits, with 4 images" in text
    made([1, 2, 3], ["train", "test", "train"], ["a", "a", None])
    code, text, _ = split("--from-column", "fold")
    assert code == 2 and "1 image has copies with equal pixels in two splits: 2 images of 2 patients" in text
    assert "the first is record 0" in text and "unknown" not in text
    made([1, 2, 3], ["train", "test", "train"], ["a", "a", None], sources="file")
    assert "besides, it is unknown whether a patient is in two splits" in split("--from-column", "fold")[1]


def test_without_patient_numbers_separation_is_unknown(made, split):
    made(range(4), ["train", "train", "val", "test"], sources="file")
    for options in (["--from-column", "fold"], ["--seed", 1, "--fractions", 0.5, 0.25, 0.25]):
        _, text, _ = split(*options)
        assert (
            "separation: unknown: it is unknown whether a patient is in two splits, as no image has a patient number"
            in text
        )
        assert "no image, by its pixels, is in two splits" in text and "no patient" not in text
        assert "of studies or files (no image has a patient number): train 2" in text
    made(range(4), ["train", "train", "val", "test"], sources=["id", "file", "id", "study"])
    _, text, _ = split("--from-column", "fold")
    assert "for 2 of 4 images (1 of 1 test images) it is unknown whether their patient is in two splits" in text


@pytest.mark.parametrize(
    ("key", "csv"),
    [
        (None, "path,split\nd/00.png,train\nd/01.png,TRAIN\nd/02.png,val\nd/03.png,test\nd/99.png,test\n"),
        ("name", "Image Index;Split\n00.png;train\n01.png;train\nx/02.png;valid\n03.png;test\n99.png;dev\n"),
        ("stem", "dicom_id\tsplit\n00\ttrain\n01\ttrain\n02\tdev\n03\ttest\n99\ttest\n"),
        ("patient", "subject_id,split\n1,train\n1,train\n2,val\n3,test\n99,test\n"),
        ("patient=who", "who,subject_id,split\n1,0,train\n2,0,val\n3,0,test\n99,0,test\n"),
        ("study", "study_id,split\nS1,train\nS2,val\nS3,test\nS99,test\n"),
    ],
)
def test_a_file_names_images_or_patients(key, csv, made, split, tmp_path):
    manifest = made([1, 1, 2, 3], [None] * 4)
    (tmp_path / "official.csv").write_text(csv)
    options = ["--from-file", tmp_path / "official.csv", *(["--label-key", key] if key else [])]
    _, text, read = split(*options)
    assert read.sides.tolist() == [0, 0, 1, 2] and read.origin.lower() == "file, column split"
    line = len(csv.splitlines())
    assert f"1 row found no image; the first is on line {line}" in text and len(manifest) == 4


def test_a_file_that_does_not_fit_is_named(made, split, tmp_path):
    made([1, 1, 2, 3], [None] * 4)
    file = tmp_path / "official.csv"

    def error(text, *options):
        file.write_text(text)
        code, said, _ = split("--from-file", file, *options)
        assert code == 2
        return said

    said = error("path,split\n00.png,train\n01.png,test\n")
    assert "none of 2 rows matches one of 4 images by path" in said and "--label-key name" in said
    assert "line 3: split 'test', and line 2 has 'train' for the same patient" in error(
        "patient,split\n1,train\n1,test\n", "--label-key", "patient"
    )
    assert "line 3: split 'val', and line 2 has 'train' for the same path" in error(
        "path,split\nd/00.png,train\nd/00.png,val\n"
    )
    assert "no column named fold; the columns are path, split" in error(
        "path,split\nd/00.png,train\n", "--from-column", "fold"
    )
    assert "line 2: column 'path' is '', which names no image" in error("path,split\n,train\n")
    assert "--label-key sop_uid: expected one of path, name, stem, patient, study" in error(
        "path,split\nd/00.png,train\n", "--label-key", "sop_uid"
    )
    assert "is an HTML page" in error("<html>")
    said = error("patient,split\nP-1,train\n", "--label-key", "patient")
    assert "patients are keyed by the salt" in said and "P-1" not in said
    (tmp_path / "m.parquet.salt").unlink()
    assert "--salt-file names it" in error("patient,split\n1,train\n", "--label-key", "patient")
    assert not (tmp_path / "m.parquet.salt").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--from-column", "fold", "--seed", "1"], "--seed has no effect with --from-column"),
        (["--from-file", "x.csv", "--fractions", "1", "0", "0"], "--fractions has no effect with --from-file"),
        (["--map", "0=train"], "--map has no effect without --from-column"),
        (["--label-key", "name"], "--label-key has no effect without --from-file"),
        (["--from-column", "fold", "--salt-file", "x"], "--salt-file has no effect without --from-file"),
        (["--keep", "x", "--from-file", "y"], "use one"),
        (["--from-column", "nothing"], "no label column 'nothing'; there are fold"),
    ],
)
def test_options_that_make_no_sense_together(options, message, made, split):
    made([1, 2], ["train", "test"])
    code, text, _ = split(*options)
    assert code == 2 and message in text


def test_errors_name_the_file_the_line_and_the_option(made, split, tmp_path):
    made([0, 0, 1], ["train", "test", "other"])
    for text, options, message in (
        (
            "path,fold\nd/00.png,train\n",
            (),
            "l.csv line 1: no column named split; the columns are path, fold; --from-co",
        ),
        ("path,split\nd/00.png,train\n", ("--from-column", "set"), "--from-column set: l.csv line 1: no column named"),
        (
            "path,split\nd/00.png,train\n\nd/01.png,test\nd/02.png,test\n",
            (),
            "l.csv, column split: 1 of 2 patients are",
        ),
        ("path,split\nd/00.png,train\n\nd/01.png,test\nd/02.png,test\n", (), "with 2 images, the first is line 2"),
        ("path,split\nd/00.png,train\n\nd/02.png,strange\n", (), "l.csv, column split line 4: 1 value names no split"),
        ("path,split\nd/00.png,train\n", (), "l.csv, column split: 1 of 3 images have no value"),
    ):
        (tmp_path / "l.csv").write_text(text)
        code, said, _ = split("--from-file", tmp_path / "l.csv", *options)
        assert code == 2 and message in said, said
    for options, message in (
        (("--from-column", "fold"), "column fold, record 2: 1 value names no split"),
        (("--from-column", "fold", "--map", "other=test"), "with 2 images, the first is record 0"),
        (("--from-file", tmp_path / "no"), f"--from-file {tmp_path / 'no'}: there is no such file"),
        (("--seed", -1), "--seed -1: expected 0 or more"),
    ):
        code, said, _ = split(*options)
        assert code == 2 and message in said, said


def test_a_folder_that_is_missing_is_made_and_a_split_is_no_manifest(made, tmp_path, capsys):
    new = tmp_path / "new" / "s.parquet"
    assert main(["split", str(made(range(10), ["x"] * 10).path), str(new)]) == 0 and new.exists()
    assert main(["split", str(new), str(tmp_path / "t")]) == 2
    assert "s.parquet is a split file and no manifest" in capsys.readouterr().err
