"""Splits by patient: complete, leak-free, in the asked shares; budgets are nested."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radmae_jax.data.manifest import COLUMNS, Manifest, manifest_hash
from radmae_jax.data.splits import (
    SIDES,
    LeakageError,
    _rounded_shares,
    label_budget,
    make_split,
    read_split,
    write_split,
)


def manifest_of(patients, hashes=None, regions=None, labels=None):
    """A manifest in memory; lists by image."""
    n = len(patients)
    columns = {name: [None] * n for name in COLUMNS.names}
    columns |= {
        "path": [f"{i:05d}" for i in range(n)],
        "height": [100] * n,
        "width": [100] * n,
        "patient": [str(p) for p in patients],
        "pixel_hash": [f"h{i}" for i in range(n)] if hashes is None else hashes,
        "region": [None] * n if regions is None else regions,
    }
    schema = COLUMNS
    for name, values in (labels or {}).items():
        columns[name] = values
        schema = schema.append(pa.field(name, pa.string()))
    table = pa.Table.from_pydict(columns, schema=schema)
    return Manifest(table, Path("m"), Path("s"), manifest_hash(table))


people = st.lists(st.integers(0, 60), min_size=1, max_size=150)
fractions = st.sampled_from(
    [(0.8, 0.05, 0.15), (0.6, 0.2, 0.2), (1.0, 0.0, 0.0), (0.5, 0.5, 0.0), (1 / 3, 1 / 3, 1 / 3)]
)
relaxed = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@relaxed
@given(patients=people, shares=fractions, seed=st.integers(0, 9), data=st.data())
def test_every_patient_is_on_one_side_in_the_asked_shares(patients, shares, seed, data):
    regions = [data.draw(st.sampled_from(["a", "b", "c", None])) for _ in patients]
    manifest = manifest_of(patients, regions=regions)
    split = make_split(manifest, fractions=shares, seed=seed)
    records = [split.records(side) for side in SIDES]
    assert sorted(np.concatenate(records).tolist()) == list(range(len(patients)))
    assert all(r.dtype == np.int32 and (np.diff(r) > 0).all() for r in records)
    sides = [{patients[i] for i in r.tolist()} for r in records]
    assert sum(len(side) for side in sides) == len(set(patients))
    for side, share in zip(sides, shares, strict=True):
        assert abs(len(side) - share * len(set(patients))) < 1
    assert make_split(manifest, fractions=shares, seed=seed).hash == split.hash


@relaxed
@given(patients=people, seed=st.integers(0, 9), data=st.data())
def test_people_who_share_pixels_stay_together(patients, seed, data):
    hashes = [data.draw(st.sampled_from([None, *"abcdefghijklmnop"])) for _ in patients]
    manifest = manifest_of(patients, hashes)
    try:
        split = make_split(manifest, seed=seed)
    except ValueError as error:
        assert "leave the training side empty" in str(error)
        return
    for key in (patients, hashes):
        for value in set(key) - {None}:
            assert len({split.sides[i] for i, other in enumerate(key) if other == value}) == 1


def test_strata_are_dealt_alike_also_those_of_one():
    regions = ["common"] * 400 + ["rare"] * 40 + [f"single{i}" for i in range(100)]
    patients = list(range(540))
    split = make_split(manifest_of(patients, regions=regions), seed=5, stratify=("region",))
    sides = split.sides
    for start, stop in ((0, 400), (400, 440), (440, 540)):
        share = [(sides[start:stop] == side).mean() for side in range(3)]
        np.testing.assert_allclose(share, (0.8, 0.05, 0.15), atol=0.03)


def test_the_rarest_label_decides():
    # each patient has a common image; 20 have a fracture besides
    patients = [p for p in range(200) for _ in range(2)]
    fracture = ["1" if i % 2 and i // 2 < 20 else "0" for i in range(400)]
    manifest = manifest_of(patients, regions=["hand"] * 400, labels={"fracture": fracture})
    for seed in range(5):
        split = make_split(manifest, seed=seed)
        broken = [int(split.sides[2 * p]) for p in range(20)]
        assert [broken.count(side) for side in range(3)] == [16, 1, 3]
        assert make_split(manifest, seed=seed, stratify=("region",)).hash != split.hash


def test_a_measurement_is_no_stratum_unless_asked_for():
    manifest = manifest_of(range(100), regions=["hand", "knee"] * 50, labels={"score": [str(i) for i in range(100)]})
    assert make_split(manifest).hash == make_split(manifest, stratify=("region",)).hash
    assert make_split(manifest).hash != make_split(manifest, stratify=("region", "score")).hash


def test_rounded_shares():
    assert _rounded_shares(100, (0.8, 0.05, 0.15)).tolist() == [80, 5, 15]
    assert _rounded_shares(6, (0.8, 0.05, 0.15)).tolist() == [5, 0, 1]
    assert _rounded_shares(1, (0.8, 0.05, 0.15)).tolist() == [1, 0, 0]


def test_refusals():
    manifest = manifest_of([1, 2, 3])
    for wrong in ((0.5, 0.2, 0.2), (1.2, -0.1, -0.1), (0.5, 0.5)):
        with pytest.raises(ValueError, match="expected three, none negative, that sum to 1"):
            make_split(manifest, fractions=wrong)
    with pytest.raises(ValueError, match="leave the training side empty"):
        make_split(manifest, fractions=(0.0, 0.5, 0.5))
    with pytest.raises(ValueError, match="no images"):
        make_split(manifest_of([]))
    with pytest.raises(ValueError, match="side 'val': expected one of train"):
        make_split(manifest).records("val")


def test_files_read_back(tmp_path):
    manifest = manifest_of([i // 2 for i in range(60)])
    split = make_split(manifest, seed=3)
    write_split(split, tmp_path / "s.parquet")
    again = read_split(tmp_path / "s.parquet", manifest)
    assert (again.hash, again.seed, again.fractions, again.manifest_hash) == (
        split.hash,
        3,
        (0.8, 0.05, 0.15),
        manifest.hash,
    )
    np.testing.assert_array_equal(again.sides, split.sides)
    part = manifest_of([0, 5, 5])  # another manifest of known patients
    assert read_split(tmp_path / "s.parquet", part).sides.tolist() == split.sides[[0, 10, 10]].tolist()


def rewrite(path, change):
    table = pq.read_table(path)
    rows = change(table.to_pylist())
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def test_changed_files_and_leaks_are_refused(tmp_path):
    manifest = manifest_of(list(range(40)))
    split = make_split(manifest)
    path = tmp_path / "s.parquet"

    def fresh():
        write_split(split, path)
        return path

    def swap(rows):
        for row in rows:
            if row["side"] == "test":
                return [*(r for r in rows if r is not row), row | {"side": "train"}]
        raise AssertionError

    rewrite(fresh(), swap)
    with pytest.raises(ValueError, match=r"field hash: .* it was changed"):
        read_split(path, manifest)
    rewrite(fresh(), lambda rows: [*rows, rows[0] | {"side": "test" if rows[0]["side"] == "train" else "train"}])
    with pytest.raises(LeakageError, match="field patient: 1 of 40 patients are on several sides"):
        read_split(path, manifest)
    rewrite(fresh(), lambda rows: rows[2:])
    with pytest.raises(ValueError, match="field patient: 2 of 40 have no side"):
        read_split(path, manifest)
    rewrite(fresh(), lambda rows: [rows[0] | {"side": "holdout"}, *rows[1:]])
    with pytest.raises(ValueError, match="side 'holdout', expected one of"):
        read_split(path, manifest)
    train, test = split.records("train")[0], split.records("test")[0]
    hashes = [f"h{i}" for i in range(40)]
    hashes[test] = hashes[train]  # a planted leak: the same image in a test patient
    with pytest.raises(LeakageError, match="field pixel_hash: 1 images lie on several sides"):
        read_split(fresh(), manifest_of(list(range(40)), hashes))
    table = pq.read_table(fresh())
    facts = json.loads(table.schema.metadata[b"radmae"])
    for wrong in ({}, {"radmae": json.dumps(facts | {"seed": 9})}):
        pq.write_table(table.replace_schema_metadata(wrong), path)
        with pytest.raises(ValueError, match=r"not a split file|it was changed"):
            read_split(path, manifest)
    path.write_text("x")
    with pytest.raises(ValueError, match="not a Parquet file"):
        read_split(path, manifest)
    with pytest.raises(FileNotFoundError, match="radmae split"):
        read_split(tmp_path / "none", manifest)


@relaxed
@given(
    labels=st.lists(st.sampled_from(["0", "1", "2", None]), min_size=5, max_size=120),
    seed=st.integers(0, 5),
)
def test_budgets_are_nested_and_balanced(labels, seed):
    manifest = manifest_of(list(range(len(labels))), labels={"kind": labels})
    split = make_split(manifest)
    codes = manifest.labels("kind")
    train = split.records("train")
    known = train[codes[train] >= 0]
    before: set[int] = set()
    for n in range(1, len(known) + 1):
        budget = label_budget(manifest, train, "kind", n, seed)
        assert budget.dtype == np.int32 and len(set(budget.tolist())) == n
        assert before <= set(budget.tolist()) <= set(known.tolist())
        before = set(budget.tolist())
        taken = np.bincount(codes[budget], minlength=3)
        there = np.bincount(codes[known], minlength=3)
        short = taken < there[: len(taken)]
        if short.any():  # a class with images left is at most one behind
            assert taken.max() - taken[short].min() <= 1
    for n in (0, len(known) + 1):
        with pytest.raises(ValueError, match=f"budget of {n} images: {len(known)} of {len(train)} training images"):
            label_budget(manifest, train, "kind", n, seed)
