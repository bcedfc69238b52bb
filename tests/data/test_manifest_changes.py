"""A manifest is never replaced unnoticed: what would change is listed, nothing is written, and the journal is kept."""

import json

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest

from radmae_jax.cli import main
from radmae_jax.data.index import index
from radmae_jax.data.manifest import quarantine_path, read_manifest


@pytest.fixture
def source(tmp_path):
    """Four PNG images with labels and patients; `run(*options)` indexes them as a user does."""
    (tmp_path / "source").mkdir()
    for number in range(4):
        _write(tmp_path / "source" / f"{number}.png", number)
    (tmp_path / "salt").write_bytes(bytes(32))
    _label(tmp_path, "x")
    return tmp_path / "source"


def _write(path, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (40, 41)).astype(np.uint8)
    path.write_bytes(imagecodecs.png_encode(noise))


def _label(folder, value, column="a", rows=4):
    lines = [f"{n}.png,{value if n == 1 else 'x'},P{n // 2}" for n in range(rows)]
    (folder / "l.csv").write_text("\n".join([f"path,{column},patient", *lines]) + "\n")


@pytest.fixture
def run(source, capsys):
    """run(*options): exit code and what is printed. Files are decoded once a test: the journal that an error leaves is
    put back before each call."""
    kept = {}

    def command(*options):
        journal = source.parent / "m.parquet.journal"
        if not journal.exists() and not (source.parent / "m.parquet").exists():
            key = ["--labels", source.parent / "l.csv", "--label-key", "sop_uid=path"]
            assert call(*key) == 2  # PNG has no SOP instance: an error after decoding
            capsys.readouterr()
            kept["journal"] = journal.read_bytes()
        elif not journal.exists():
            journal.write_bytes(kept["journal"])
        return call("--labels", source.parent / "l.csv", *options), capsys.readouterr()

    def call(*options):
        folder = source.parent
        given = ["--salt-file", folder / "salt", "--workers", 1]
        return main(list(map(str, ["index", source, folder / "m.parquet", *given, *options])))

    return command


def test_rows_labels_and_patients_that_would_change_are_listed_and_nothing_is_written(source, run):
    folder = source.parent
    manifest, journal = folder / "m.parquet", folder / "m.parquet.journal"
    assert run()[0] == 0
    first = manifest.read_bytes(), quarantine_path(manifest).read_bytes()
    assert run()[0] == 0  # the same again: nothing changes
    assert (manifest.read_bytes(), quarantine_path(manifest).read_bytes()) == first

    _label(folder, "other")
    code, said = run()
    assert code == 2 and "m.parquet exists and would change:" in said.err and "--replace" in said.err
    assert "1 row changed, the first is '1.png'; by column: a (1)" in said.err

    _label(folder, "x", column="b", rows=5)
    (source / "0.png").unlink()
    _write(source / "4.png", 4)
    _write(source / "1.png", 11)
    (source / "bad.png").write_bytes(b"no")
    code, said = run()
    assert code == 2
    for line in (
        "1 row added, the first is '4.png'",
        "1 row removed, the first is '0.png'",
        "1 row changed, the first is '1.png'; by column: pixel_hash (1)",
        "label column added: b",
        "label column removed: a",
    ):
        assert line in said.err, line
    assert (manifest.read_bytes(), quarantine_path(manifest).read_bytes()) == first
    assert journal.exists()

    (folder / "m.parquet.split.parquet").write_bytes(b"of the old one")
    (folder / "salt").write_bytes(bytes(31) + b"!")
    code, said = run()
    assert code == 2 and f"m.parquet is keyed by another salt than {folder / 'salt'}. With another salt" in said.err
    code, said = run("--replace", "--json", folder / "i.json")
    assert "3 rows changed, the first is '1.png'; by column: patient (3), study (3), pixel_hash (1)" in said.out
    assert "2 patients get another key" in said.out and "it fits no more, split anew" in said.out
    assert code == 0 and "replaced the manifest that was there:\n  1 row added" in said.out
    assert "--keep" not in said.out and not journal.exists()
    assert read_manifest(manifest).paths == ["1.png", "2.png", "3.png", "4.png"]
    assert len(pq.read_table(quarantine_path(manifest))) == 1
    figures = json.loads((folder / "i.json").read_text())
    assert figures["changes"]["added"] == 1 and ".png" not in json.dumps(figures)


def test_what_is_no_manifest_of_this_version_is_not_replaced_either(source, run):
    manifest = source.parent / "m.parquet"
    assert run("--headers-only")[0] == 0
    good, table = manifest.read_bytes(), pq.read_table(manifest)
    facts = json.loads(table.schema.metadata[b"radmae"])
    for rows, other in ((table, {}), (table, facts | {"version": 1}), (table.slice(1), facts), (None, {})):
        if rows is None:
            manifest.write_text("someone's notes")
        else:
            pq.write_table(rows.replace_schema_metadata({"radmae": json.dumps(other)}), manifest)
        before = manifest.read_bytes()
        code, said = run()
        assert code == 2 and "what is there is no manifest that can be compared: m.parquet" in said.err
        assert manifest.read_bytes() == before
    code, said = run("--replace", "--headers-only")
    assert code == 0 and "what is there is no manifest" in said.out and manifest.read_bytes() == good
    code, said = run()  # pixels that are read now, and were not before, are a change
    assert code == 2 and "4 rows changed, the first is '0.png'; by column: pixel_hash (4)" in said.err


def test_a_folder_and_an_empty_manifest(source, tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder"):
        index(source, tmp_path, replace=True)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.png").write_bytes(b"no")
    index(tmp_path / "none", tmp_path / "e.parquet", workers=1, show_progress=False)
    _write(tmp_path / "none" / "a.png", 1)  # a manifest without rows has nothing to lose
    assert index(tmp_path / "none", tmp_path / "e.parquet", workers=1, show_progress=False).images == 1


def test_an_archive_that_moved_is_the_same(source, run):
    assert run()[0] == 0
    before = read_manifest(source.parent / "m.parquet")
    source.rename(source.parent / "moved")
    (source.parent / "source").symlink_to(source.parent / "moved")
    code, said = run()
    assert code == 0
    after = read_manifest(source.parent / "m.parquet")
    assert after.hash == before.hash and after.source == source.parent / "moved"
    assert f"the source was {source} and is now {source.parent / 'moved'}; patients keep their keys" in said.out


def test_a_source_that_moved_needs_replace_where_files_stand_for_patients(source, capsys):
    manifest, moved = source.parent / "m.parquet", source.parent / "moved"
    options = ["--workers", "1", "--headers-only"]
    assert main(["index", str(source), str(manifest), *options]) == 0
    before = manifest.read_bytes()
    source.rename(moved)
    assert main(["index", str(moved), str(manifest), *options]) == 2
    said = capsys.readouterr().err
    assert f"the source was {source} and is now {moved}; for 4 images the file stands for the patient" in said
    assert manifest.read_bytes() == before
    assert main(["index", str(moved), str(manifest), *options, "--replace"]) == 0
    assert f"the source was {source} and is now {moved}" in capsys.readouterr().out
    assert read_manifest(manifest).source == moved


def test_a_salt_that_is_gone_is_never_made_anew(source, capsys):
    manifest, salt = source.parent / "m.parquet", source.parent / "m.parquet.salt"
    command = ["index", str(source), str(manifest), "--workers", "1", "--headers-only"]
    assert main(command) == 0
    before, key = manifest.read_bytes(), salt.read_bytes()
    salt.unlink()
    assert main(command) == 2
    said = capsys.readouterr().err
    assert f"m.parquet exists and its salt {salt} does not: put it back, or name it by --salt-file" in said
    assert not salt.exists() and manifest.read_bytes() == before
    salt.write_bytes(bytes(32))
    assert main(command) == 2
    assert f"is keyed by another salt than {salt}; --salt-file names the right one" in capsys.readouterr().err
    assert main([*command, "--salt-file", str(source.parent / "none")]) == 2
    assert "there is no such file" in capsys.readouterr().err
    (source.parent / "kept").write_bytes(key)
    assert main([*command, "--salt-file", str(source.parent / "kept")]) == 0
    assert manifest.read_bytes() == before
    salt.unlink()
    assert main([*command, "--replace"]) == 0
    assert "4 patients get another key" in capsys.readouterr().out and salt.exists()
