"""An archive that grew: kept patients never move, new ones fill the shares, whatever the order of the rows."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radmae_jax.cli import main
from radmae_jax.data.kept_split import keep_split
from radmae_jax.data.manifest import COLUMNS, read_manifest, write_manifest
from radmae_jax.data.splits import SIDES, LeakageError, make_split, read_assignment, read_split, write_split


def manifest_of(folder, patients, hashes=None, regions=None, name="m", sources="id"):
    """A manifest on disk; lists by image."""
    count = len(patients)
    columns = {column: [None] * count for column in COLUMNS.names}
    columns |= {
        "path": [f"{n:05d}" for n in range(count)], "height": [100] * count, "width": [100] * count,
        "patient": [f"{p:04d}" for p in patients], "patient_source": [sources] * count,
        "pixel_hash": [f"h{n}" for n in range(count)] if hashes is None else hashes,
        "region": [None] * count if regions is None else regions,
    }  # fmt: skip
    return write_manifest(pa.Table.from_pydict(columns, schema=COLUMNS), folder / f"{name}.parquet", folder)


def kept_of(folder, before, after, **options):
    write_split(make_split(before, fractions=(0.6, 0.2, 0.2)), folder / "old.parquet")
    old = read_assignment(folder / "old.parquet")
    (folder / "old.parquet").unlink()
    return old, *keep_split(after, old, **options)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 5))
def test_kept_patients_never_move_and_row_order_changes_nothing(tmp_path_factory, data, seed):
    folder = tmp_path_factory.mktemp("kept")
    before = data.draw(st.lists(st.integers(0, 30), min_size=5, max_size=40))
    after = [*data.draw(st.lists(st.sampled_from(before), min_size=1)), *data.draw(st.lists(st.integers(0, 60)))]
    regions = [data.draw(st.sampled_from(["hand", "knee", None])) for _ in after]
    grown = manifest_of(folder, after, None, regions, "grown")
    try:
        old, split, kept = kept_of(folder, manifest_of(folder, before), grown, seed=seed)
    except ValueError as error:
        assert "leave the training split empty" in str(error)
        return
    assert all(split.patients[patient] == side for patient, side in old.patients.items())
    new = {f"{p:04d}" for p in after} - old.patients.keys()
    assert (kept.kept, kept.dealt, kept.joined) == (len({f"{p:04d}" for p in after} - new), len(new), 0)
    assert kept.gone == len(old.patients) - kept.kept and sum(kept.new.values()) == len(new)
    order = data.draw(st.permutations(range(len(after))))
    shuffled = manifest_of(folder, [after[n] for n in order], None, [regions[n] for n in order], "shuffled")
    assert keep_split(shuffled, old, seed=seed)[0].patients == split.patients
    # No split grows over its share of all while another has room for it.
    total = len(set(after))
    for side, share in zip(SIDES, (0.6, 0.2, 0.2), strict=True):
        had = sum(old.patients.get(f"{p:04d}") == side for p in set(after))
        assert kept.new[side] == 0 or had + kept.new[side] < share * total + 1


def test_shares_move_toward_the_fractions(tmp_path):
    before, after = manifest_of(tmp_path, range(100)), manifest_of(tmp_path, range(50, 300), name="n")
    old, split, kept = kept_of(tmp_path, before, after)
    counts = {side: len(split.records(side)) for side in SIDES}
    assert counts == {"train": 150, "validation": 50, "test": 50} and split.fractions == old.fractions
    assert (kept.kept, kept.dealt, kept.gone) == (50, 200, 50)
    _, other, _ = kept_of(tmp_path, before, after, fractions=(0.2, 0.4, 0.4), seed=3)
    counts = [len(other.records(side)) for side in SIDES]
    assert abs(counts[1] - 100) <= 1 and abs(counts[2] - 100) <= 1 and other.fractions == (0.2, 0.4, 0.4)
    regions = ["rare" if n % 10 == 0 else "common" for n in range(250)]
    _, dealt, _ = kept_of(tmp_path, before, manifest_of(tmp_path, range(50, 300), None, regions, "r"))
    rare = np.array([region == "rare" for region in regions])
    assert [int(rare[dealt.records(side)].sum()) for side in SIDES] == pytest.approx([15, 5, 5], abs=3)


def test_patients_who_share_an_image_with_a_kept_one_join_it(tmp_path):
    before = manifest_of(tmp_path, range(20), [f"h{n}" for n in range(20)])
    split = make_split(before, fractions=(0.6, 0.2, 0.2))
    test = int(split.records("test")[0])
    # 20 has a test patient's image, 21 has one of 20's, 22 none.
    after = manifest_of(
        tmp_path,
        [*range(20), 20, 20, 21, 22],
        [*(f"h{n}" for n in range(20)), f"h{test}", "new", "new", "own"],
        name="n",
    )
    _, found, kept = kept_of(tmp_path, before, after)
    assert found.patients["0020"] == found.patients["0021"] == "test"
    assert (kept.kept, kept.joined, kept.dealt) == (20, 2, 1) and kept.new["test"] >= 2
    train = int(split.records("train")[0])
    linked = [f"h{n}" for n in range(20)]
    linked[train] = f"h{test}"
    with pytest.raises(LeakageError, match="link 2 kept patients of different splits, with 2 images in n"):
        kept_of(tmp_path, before, manifest_of(tmp_path, range(20), linked, name="n"))
    through = [*(f"h{n}" for n in range(20)), f"h{test}", f"h{train}"]  # a new patient links two kept ones
    with pytest.raises(LeakageError, match="link 2 kept patients of different splits, with 4 images"):
        kept_of(tmp_path, before, manifest_of(tmp_path, [*range(20), 20, 20], through, name="n"))


def test_the_command(tmp_path, capsys):
    before, after = manifest_of(tmp_path, range(40)), manifest_of(tmp_path, range(10, 60), name="n")
    old, new = tmp_path / "old.parquet", tmp_path / "new.parquet"
    first = ["split", str(before.path), str(old), "--fractions", "0.5", "0.25", "0.25", "--seed", "4"]
    assert main(first) == 0
    text = capsys.readouterr().out
    assert "train 20, validation 10, test 10 images" in text and "of patients: train 20, validation 10, test 10" in text
    assert "separation: proven by patient keys and pixels: no patient and no image is in two splits" in text
    arguments = ["split", str(after.path), str(new), "--keep", str(old)]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "kept: 30 patients" in text and "new: 20 patients (train " in text
    assert "warning: where a labels file or a salt gave patients other keys" in text
    assert "gone: 10 patients of old.parquet, not in the manifest; the new split file keeps their split" in text
    one, two = read_assignment(old), read_split(new, after)
    assert two.patients.items() >= one.patients.items() and len(two.patients) == 60
    assert (two.seed, two.fractions, two.origin) == (4, (0.5, 0.25, 0.25), f"keep {one.hash[:16]}")
    for wrong, message in (
        (arguments, "exists; a split in use must not change"),
        ([*arguments[:2], str(old), "--keep", str(old)], "is the split file to write"),
        (["split", str(after.path), "x.parquet", "--keep", str(tmp_path / "none")], "no split"),
        (["split", str(after.path), "x.parquet", "--keep", str(before.path)], "is not a split file"),
        ([*arguments[:2], "x.parquet", *arguments[3:], "--from-column", "a"], "use one"),
    ):
        assert main(wrong) == 2
        assert message in capsys.readouterr().err
    strangers = manifest_of(tmp_path, range(100, 120), name="s")
    assert main(["split", str(strangers.path), "--keep", str(old)]) == 2
    assert "none of the 20 patients of s.parquet is among the 40 of the split to keep" in capsys.readouterr().err
    assert (
        main(["split", str(read_manifest(after.path).path), str(tmp_path / "o"), "--keep", str(old), "--seed", "9"])
        == 0
    )
    assert read_split(tmp_path / "o", after).seed == 9


def test_a_split_that_lacks_new_patients_says_what_to_do(tmp_path):
    before, after = manifest_of(tmp_path, range(40)), manifest_of(tmp_path, range(41), name="n")
    write_split(make_split(before), tmp_path / "old.parquet")
    with pytest.raises(
        ValueError, match="1 of 41 have no side; where the archive grew, `radmae split MANIFEST NEW --keep"
    ):
        read_split(tmp_path / "old.parquet", after)


def test_renamed_files_that_stand_for_patients_are_no_new_patients(tmp_path, capsys):
    """No number: a renamed folder would move images between splits. Some numbers: the cause is named."""
    old, new = tmp_path / "old.parquet", str(tmp_path / "new.parquet")
    before = manifest_of(tmp_path, range(20), sources="file")
    write_split(make_split(before, fractions=(0.6, 0.2, 0.2)), old)
    renamed = manifest_of(tmp_path, range(5, 25), name="n", sources="file")
    assert main(["split", str(renamed.path), new, "--keep", str(old)]) == 2
    said = capsys.readouterr().err
    assert "5 of the split to keep are gone and 5 are new at once, which cannot be told from renamed or moved" in said
    grown = manifest_of(tmp_path, range(25), name="g", sources="file")
    assert main(["split", str(grown.path), new, "--keep", str(old)]) == 0
    said = capsys.readouterr().out
    assert "kept: 20 studies or files, in the split of before" in said and "new: 5 studies or files (train" in said
    assert "share an image" not in said and "warning" not in said
    place = renamed.table.column_names.index("patient_source")
    sources = pa.array(["id"] * 19 + ["file"], pa.string())
    some = write_manifest(renamed.table.set_column(place, COLUMNS.field(place), sources), tmp_path / "s", tmp_path)
    assert main(["split", str(some.path), f"{new}2", "--keep", str(old)]) == 0
    said = capsys.readouterr().out
    assert "warning: 1 of the new are studies or files" in said and "renamed or moved files" in said
    assert "warning: where a labels file or a salt" in said


@pytest.mark.parametrize(
    ("fractions", "warning", "claim"),
    [
        (("1", "0", "0"), "no image is in the validation and the test split", "nothing to separate, as all images"),
        (("0.5", "0", "0.5"), "no image is in the validation split", "proven by patient keys"),
    ],
)
def test_an_empty_split_is_warned_of(tmp_path, capsys, fractions, warning, claim):
    path = str(manifest_of(tmp_path, range(10)).path)
    assert main(["split", path, str(tmp_path / "s"), "--fractions", *fractions]) == 0
    said = capsys.readouterr().out
    assert f"warning: {warning}\nseparation: {claim}" in said
