"""A folder to a manifest: complete, private, resumable, the same with any number of workers."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest

from radmae_jax.data import index as index_module
from radmae_jax.data.identity import Identity, keys, load_salt
from radmae_jax.data.index import examine, find_files, index
from radmae_jax.data.isolate import Outcome, run_isolated
from radmae_jax.data.journal import Journal
from radmae_jax.data.manifest import COLUMNS, quarantine_path, read_manifest, write_manifest

FAMILY = "1.2.840.10008.1.2.4."
SECRETS = ("DOE^JANE", "PID-4711", "19700102", "Sesame Street")


@pytest.fixture
def source(tmp_path, radiograph, write_dicom):
    """Eight good images of four people in DICOM and PNG, six bad files, and some that are no images."""
    root = tmp_path / "source"
    (root / "sub").mkdir(parents=True)
    for i in range(6):
        tags = {
            "PatientID": f"PID-471{i // 2}",
            "PatientName": SECRETS[0],
            "PatientBirthDate": SECRETS[2],
            "PatientAddress": SECRETS[3],
            "IssuerOfPatientID": "Hospital",
            "BodyPartExamined": ("HAND", "KNEE", "HAND")[i % 3],
            "StudyInstanceUID": f"1.2.3.{i // 2}",
        }
        if i == 5:
            del tags["PatientID"]
        write_dicom(root / "sub" / f"{i}.dcm", radiograph(i), tags=tags, syntax=FAMILY + ("70", "201", "80")[i % 3])
    (root / "a.png").write_bytes(imagecodecs.png_encode(radiograph(9, bits=8)))
    (root / "same").write_bytes(imagecodecs.png_encode(radiograph(0)))  # the pixels of sub/0.dcm
    whole = (root / "sub" / "0.dcm").read_bytes()
    (root / "bad1.dcm").write_bytes(whole[:-200])
    (root / "bad2.dcm").write_bytes(b"nothing of the kind")
    write_dicom(root / "bad3.dcm", np.zeros((40, 40), np.uint16))
    write_dicom(root / "bad4.dcm", radiograph(), tags={"Rows": 60_000, "Columns": 60_000})
    write_dicom(root / "bad5.dcm", radiograph(), without=("PixelData",))
    (root / "bad6.dcm").symlink_to(root / "gone.dcm")
    (root / "README.md").write_text("no image")
    (root / "DICOMDIR").write_bytes(whole)
    (root / ".hidden").write_bytes(whole)
    (root / ".git").mkdir()
    (root / ".git" / "x.dcm").write_bytes(whole)
    return root


def run(source, manifest, **options):
    return index(source, manifest, **({"workers": 2, "show_progress": False} | options))


def test_rows_reasons_and_counts(source, tmp_path):
    out = tmp_path / "out" / "m.parquet"
    summary = run(source, out)
    assert (summary.images, summary.bad, summary.ignored, summary.duplicates) == (8, 6, 3, 1)
    assert summary.reasons == {
        r: 1 for r in ("truncated", "not_dicom", "constant", "too_large", "no_pixels", "unreadable")
    }
    # 3 people with an ID, then: the study of 5.dcm, a.png, same
    assert (summary.patients, summary.without_patient_id) == (6, 3)
    assert summary.largest_patient == 2 and summary.studies == 5
    assert summary.bad_share == 6 / 14 and not summary.over_limit and summary.resumed == 0
    manifest = read_manifest(out)
    assert manifest.paths == ["a.png", "same", *(f"sub/{i}.dcm" for i in range(6))]
    assert manifest.source == source and len(manifest) == 8
    assert manifest.heights.dtype == manifest.widths.dtype == np.int32
    assert set(zip(manifest.heights.tolist(), manifest.widths.tolist(), strict=True)) == {(48, 53)}
    assert manifest.patients[2] == manifest.patients[3] != manifest.patients[4] == manifest.patients[5]
    assert manifest.pixel_hashes[1] == manifest.pixel_hashes[2]
    assert manifest.label_names("region") == ("HAND", "KNEE")
    assert manifest.labels("region").tolist() == [-1, -1, 0, 1, 0, 0, 1, 0]
    assert manifest.file(3).read_bytes() == (source / "sub/1.dcm").read_bytes()
    assert set(manifest.table["lossy"].to_pylist()[2:]) == {False}
    bad = pq.read_table(quarantine_path(out)).to_pylist()
    assert [(row["path"], row["reason"]) for row in bad] == [
        ("bad1.dcm", "truncated"),
        ("bad2.dcm", "not_dicom"),
        ("bad3.dcm", "constant"),
        ("bad4.dcm", "too_large"),
        ("bad5.dcm", "no_pixels"),
        ("bad6.dcm", "unreadable"),
    ]
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "m.parquet", "m.parquet.quarantine.parquet", "m.parquet.salt",
    ]  # fmt: skip
    assert stat.S_IMODE((out.parent / "m.parquet.salt").stat().st_mode) == 0o600


def test_number_of_workers_and_place_of_the_manifest_change_nothing(source, tmp_path):
    salt = tmp_path / "salt"
    salt.write_bytes(bytes(range(32)))
    inside = source / "m.parquet"  # inside the source: not indexed itself
    files = []
    for out, workers in ((tmp_path / "a.parquet", 1), (tmp_path / "b.parquet", 3), (inside, 2), (inside, 1)):
        run(source, out, workers=workers, salt_file=salt)
        files.append((out.read_bytes(), quarantine_path(out).read_bytes()))
        assert not out.with_name(out.name + ".salt").exists()
    assert len(set(files)) == 1


def test_headers_only(source, tmp_path):
    out = tmp_path / "m.parquet"
    summary = run(source, out, headers_only=True)
    assert summary.images == 9 and "constant" not in summary.reasons  # what only pixels can tell
    assert set(read_manifest(out).pixel_hashes) == {None}


def test_nothing_of_a_patient_is_written_or_logged(source, tmp_path, caplog, capfd):
    out = tmp_path / "m.parquet"
    kept = []

    class Keeping(Journal):
        def remove(self):
            kept.append(self.path.read_bytes())
            kept.append(oct(stat.S_IMODE(self.path.stat().st_mode)).encode())
            super().remove()

    with pytest.MonkeyPatch.context() as patch, caplog.at_level("DEBUG"):
        patch.setattr(index_module, "Journal", Keeping)
        run(source, out, show_progress=True)
    assert kept[1] == b"0o600" and b"sub/0.dcm" in kept[0]
    tables = [pq.read_table(path) for path in (out, quarantine_path(out))]
    texts = [
        *(json.dumps(table.to_pylist()) + str(table.schema.metadata) for table in tables),
        kept[0].decode(),
        caplog.text,
        *capfd.readouterr(),
    ]
    for secret in (*SECRETS, "Hospital", "4711", "1.2.3.0"):
        assert not any(secret in text for text in texts), secret
        assert secret.encode() not in out.read_bytes() + quarantine_path(out).read_bytes()
    assert "sub/" not in caplog.text  # nor a path in a log
    assert "indexed 8 images, 6 bad files" in caplog.text


def test_labels_join_by_path(source, tmp_path, caplog):
    labels = source / "labels.csv"
    rows = [
        "path,implant,region,height,patient,score",
        "a.png,yes,Foot,9,PID-4710,10",
        "sub/0.dcm,no,,9,,9",
        "sub/1.dcm,,Knee,9,,",
        "missing.dcm,no,,9,,1",
    ]
    labels.write_text("\n".join(rows) + "\n")
    out = tmp_path / "m.parquet"
    summary = run(source, out, labels=labels, allow_missing_patients=True)
    assert (summary.label_rows_unmatched, summary.images_without_labels) == (1, 5)
    assert summary.label_columns == ("implant", "score") and summary.label_columns_ignored == ("height",)
    assert summary.without_patient_id == 2
    manifest = read_manifest(out)
    assert manifest.label_columns == ("implant", "score")
    assert manifest.labels("implant").tolist() == [1, -1, 0, -1, -1, -1, -1, -1]
    assert manifest.label_names("score") == ("9", "10")  # by size, not by text
    assert manifest.table["region"].to_pylist()[:4] == ["Foot", None, "HAND", "Knee"]
    assert manifest.heights.tolist() == [48] * 8
    assert len(manifest.patients[0]) == 32 and "PID" not in manifest.patients[0]
    with pytest.raises(ValueError, match="no label column 'colour'; there are implant, score, region"):
        manifest.labels("colour")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,region\n", "line 1: no column named path"),
        ("path,a,a\n", "line 1: column names are empty or not distinct"),
        ("path,a\nx,1\ny\n", "line 3: 1 cells, expected 2"),
        ("path,a\nx,1\nx,2\n", "line 3: its path was given before"),
    ],
)
def test_malformed_labels_stop_before_decoding(text, message, source, tmp_path):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        run(source, tmp_path / "m.parquet", labels=tmp_path / "labels.csv")
    assert not (tmp_path / "m.parquet.journal").exists()


def test_sources_that_cannot_be(tmp_path, source):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match="no image files among 1 files"):
        run(tmp_path / "empty", tmp_path / "m.parquet")
    with pytest.raises(NotADirectoryError):
        run(tmp_path / "nowhere", tmp_path / "m.parquet")
    with pytest.raises(FileNotFoundError):
        run(source, tmp_path / "m.parquet", salt_file=tmp_path / "none")


def test_mostly_bad_archives_are_written_and_reported(tmp_path, radiograph):
    root = tmp_path / "source"
    root.mkdir()
    for i in range(3):
        (root / f"{i}.dcm").write_bytes(b"no")
    summary = run(root, tmp_path / "m.parquet")
    assert summary.over_limit and summary.images == 0 and summary.bad_share == 1.0
    assert len(read_manifest(tmp_path / "m.parquet")) == 0
    (root / "a.png").write_bytes(imagecodecs.png_encode(radiograph()))
    assert run(root, tmp_path / "m.parquet").over_limit
    assert not run(root, tmp_path / "m.parquet", max_bad=0.75).over_limit


def test_a_killed_index_goes_on_and_equals_an_unbroken_one(source, tmp_path, radiograph, write_dicom):
    for i in range(24):
        write_dicom(source / f"more{i}.dcm", radiograph(i, shape=(300, 400)), syntax=FAMILY + "90")
    salt = tmp_path / "salt"
    salt.write_bytes(bytes(32))
    whole, broken = tmp_path / "whole.parquet", tmp_path / "broken.parquet"
    run(source, whole, salt_file=salt)
    journal = tmp_path / "broken.parquet.journal"
    code = (
        "import sys; from pathlib import Path; from radmae_jax.data.index import index\n"
        "if __name__ == '__main__':\n"
        "    a = [Path(p) for p in sys.argv[1:]]\n"
        "    index(a[0], a[1], salt_file=a[2], workers=1, show_progress=False)\n"
    )
    (tmp_path / "run.py").write_text(code)
    process = subprocess.Popen([sys.executable, tmp_path / "run.py", source, broken, salt])
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.read_bytes().count(b"\n") < 12:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not broken.exists() and stat.S_IMODE(journal.stat().st_mode) == 0o600
    with journal.open("ab") as file:  # and a line cut short
        file.write(b'{"file": ["sub/5.d')
    summary = run(source, broken, salt_file=salt)
    assert 11 <= summary.resumed < 38
    assert broken.read_bytes() == whole.read_bytes()
    assert quarantine_path(broken).read_bytes() == quarantine_path(whole).read_bytes()
    assert not journal.exists()


def test_a_journal_of_another_index_or_a_changed_file_is_not_believed(tmp_path):
    path = tmp_path / "j"
    journal = Journal(path, {"source": "a"})
    journal.add(("x", 1, 2), {"bad": ["truncated", ""]})
    journal.close()
    again = Journal(path, {"source": "a"})
    assert again.done == {("x", 1, 2): {"bad": ["truncated", ""]}}
    again.add(("y", 1, 2), {})
    again.close()
    third = Journal(path, {"source": "a"})
    assert len(third.done) == 2
    third.close()
    other = Journal(path, {"source": "b"})
    assert not other.done
    other.remove()
    assert not path.exists()


def test_a_worker_that_dies_or_hangs_takes_only_its_item_along():
    # eval is a task that any process can import
    items = ["{'v': 1}", "__import__('os')._exit(7)", "{'v': 2}", "__import__('time').sleep(60)", "{'v': 3}"]
    items += [f"{{'v': {i}}}" for i in range(4, 12)]
    began = time.monotonic()
    outcomes = list(run_isolated(eval, {}, items, workers=2, timeout=1.5))
    assert time.monotonic() - began < 20
    by_item = {outcome.item: outcome for outcome in outcomes}
    assert len(outcomes) == len(items) == len(by_item)
    assert by_item[items[1]] == Outcome(items[1], None, "crashed", "exit code 7")
    assert by_item[items[3]] == Outcome(items[3], None, "timeout", "more than 1.5 s")
    assert {o.value["v"] for o in outcomes if o.value is not None} == set(range(1, 12))


def test_a_segmentation_fault_and_a_defect_are_told_apart():
    segfault = "__import__('ctypes').string_at(0)"
    (outcome,) = run_isolated(eval, {}, [segfault], workers=1, timeout=30)
    assert (outcome.failure, outcome.detail) == ("crashed", f"exit code {-signal.SIGSEGV}")
    with pytest.raises(RuntimeError, match="a worker process failed: ZeroDivisionError"):
        list(run_isolated(eval, {}, ["1 / 0"], workers=1, timeout=30))
    assert list(run_isolated(eval, {}, [], workers=2, timeout=30)) == []


def test_crashes_and_timeouts_reach_the_quarantine(source, tmp_path, monkeypatch):
    def stub(task, context, items, *, workers, timeout):
        for item in items:
            failure = {"sub/2.dcm": "crashed", "a.png": "timeout"}.get(item)
            yield Outcome(item, None, failure, "x") if failure else Outcome(item, task(item, context))

    monkeypatch.setattr(index_module, "run_isolated", stub)
    out = tmp_path / "m.parquet"
    assert run(source, out).reasons["crashed"] == 1
    bad = {row["path"]: row["reason"] for row in pq.read_table(quarantine_path(out)).to_pylist()}
    assert bad["sub/2.dcm"] == "crashed" and bad["a.png"] == "timeout" and len(bad) == 8


def test_names_that_are_not_utf8_are_quarantined(source, tmp_path):
    (source / os.fsdecode(b"\xff\xfe.dcm")).write_bytes(b"x")
    out = tmp_path / "m.parquet"
    assert run(source, out).bad == 7
    assert r"\udcff\udcfe.dcm" in pq.read_table(quarantine_path(out))["path"].to_pylist()


def test_walk_is_sorted_and_leaves_out_what_it_is_told(source):
    listing = find_files(source, {source / "a.png"})
    names = [file.path for file in listing.found]
    assert names == sorted(names) and "a.png" not in names
    assert listing.skipped == dict.fromkeys(
        ("files of the index", "hidden files", "hidden folders", ".md files", "DICOMDIR"), 1
    )


def test_keys_depend_on_issuer_salt_and_kind():
    salt = bytes(32)
    both = keys(Identity("A", "1", "9.9"), "x", salt)
    assert both.source == "issuer" and len(both.patient) == len(both.study) == 32
    assert keys(Identity("B", "1", "9.9"), "x", salt).patient != both.patient
    assert keys(Identity("A1", "", "9.9"), "x", salt).patient not in (both.patient, None)
    assert keys(Identity("", "A1", ""), "x", salt).patient != both.patient
    assert keys(Identity("A", "1", "9.9"), "y", b"another salt, 19 by").patient != both.patient
    assert keys(Identity("A", "1", "9.9"), "y", salt) == both
    study = keys(Identity("", "", "9.9"), "x", salt)
    assert study.source == "study" and study.patient == study.study == both.study
    assert keys(Identity(), "x", salt).patient != keys(Identity(), "y", salt).patient
    assert "1" not in repr(Identity("A", "1", "9.9"))


def test_salt_is_kept_and_must_be_long_enough(tmp_path):
    first = load_salt(tmp_path / "m.parquet")
    assert load_salt(tmp_path / "m.parquet") == first and len(first) == 32
    (tmp_path / "short").write_bytes(b"abc")
    with pytest.raises(ValueError, match="3 bytes, at least 16"):
        load_salt(tmp_path / "m.parquet", tmp_path / "short")


def test_manifest_hash_and_its_refusals(source, tmp_path):
    out = tmp_path / "m.parquet"
    run(source, out)
    manifest = read_manifest(out)
    table = manifest.table
    places = table.column_names.index("region")
    relabelled = table.set_column(places, "region", table["path"])
    assert write_manifest(relabelled, tmp_path / "b.parquet", source).hash == manifest.hash
    assert write_manifest(table.slice(1), tmp_path / "c.parquet", source).hash != manifest.hash
    metadata = table.schema.metadata
    pq.write_table(table.slice(1).replace_schema_metadata(metadata), tmp_path / "d.parquet")
    with pytest.raises(ValueError, match="it was changed"):
        read_manifest(tmp_path / "d.parquet")
    pq.write_table(table.replace_schema_metadata({}), tmp_path / "e.parquet")
    with pytest.raises(ValueError, match="manifest version None, expected 2"):
        read_manifest(tmp_path / "e.parquet")
    (tmp_path / "f.parquet").write_text("x")
    with pytest.raises(ValueError, match="not a Parquet file"):
        read_manifest(tmp_path / "f.parquet")
    with pytest.raises(FileNotFoundError, match="radmae index"):
        read_manifest(tmp_path / "g.parquet")
    assert read_manifest(out, source=tmp_path).file(0) == tmp_path / "a.png"
    assert replace(manifest, source=tmp_path).file(0) == tmp_path / "a.png"


def test_examine_answers_in_plain_values(source):
    context = {"source": str(source), "salt": bytes(32).hex(), "headers_only": False}
    answer = examine("sub/0.dcm", context)
    assert json.loads(json.dumps(answer)) == answer
    row = dict(zip(COLUMNS.names, answer["row"], strict=True))
    assert (row["path"], row["patient_source"], row["pixel_aspect"], row["flags"]) == ("sub/0.dcm", "issuer", 1.0, None)
    assert examine("bad2.dcm", context) == {"bad": ["not_dicom", "no DICOM element"]}
    assert examine("bad6.dcm", context) == {"bad": ["unreadable", "FileNotFoundError: No such file or directory"]}
