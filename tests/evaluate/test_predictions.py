"""Hosts and filler rows change nothing; what is no prediction of the same images is refused by record."""

from dataclasses import replace

import numpy as np
import pytest

from radmae_jax.evaluate.predictions import Predictions, merge, outcomes_of


def run_of(count=12, classes=("a", "b", "c"), seed=0):
    """Random predictions of `count` images of `count` / 2 patients; records 0, 10, 20, ..."""
    rng = np.random.default_rng(seed)
    return Predictions(
        "region", classes, 10 * np.arange(count, dtype=np.int32), np.array([f"p{i // 2:02d}" for i in range(count)]),
        np.arange(count, dtype=np.int32) % len(classes),
        rng.dirichlet(np.ones(len(classes)), count).astype(np.float32),
    )  # fmt: skip


def rows_of(run, rows):
    return replace(
        run, records=run.records[rows], patients=run.patients[rows], truth=run.truth[rows],
        probabilities=run.probabilities[rows],
    )  # fmt: skip


def fillers(run, count):
    """Rows as a last batch is filled with: record -1, whatever a model makes of nothing."""
    rows = rows_of(run, np.zeros(count, int))
    nothing = np.full_like(rows.probabilities, np.nan)
    return replace(rows, records=np.full(count, -1, np.int32), probabilities=nothing)


def changed(run, field, row, value):
    values = getattr(run, field).copy()
    values[row] = value
    return replace(run, **{field: values})


def assert_same(a, b):
    for field in ("records", "patients", "truth", "probabilities"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


def test_parts_of_any_hosts_with_fillers_merge_to_the_same():
    run = run_of()
    for hosts in (1, 2, 3, 5):
        order = np.random.default_rng(hosts).permutation(12)
        parts = [rows_of(run, order[host::hosts]) for host in range(hosts)]
        parts = [merge([part, fillers(run, host)]) for host, part in enumerate(parts)] + [fillers(run, 2)]
        parts.append(rows_of(run, [3, 7]))  # two records evaluated twice
        assert_same(merge(parts), run)


def test_outcomes_are_of_known_images_by_record_whatever_the_order_of_rows():
    runs = [changed(run_of(seed=seed), "truth", 4, -1) for seed in range(2)]
    outcomes = outcomes_of([rows_of(runs[0], np.arange(12)[::-1]), merge([runs[1], fillers(runs[1], 3)])])
    known = [i for i in range(12) if i != 4]
    assert (outcomes.unknown, outcomes.patients) == (1, 6)
    assert outcomes.records.tolist() == [10 * i for i in known]
    assert outcomes.patient.tolist() == [i // 2 for i in known]
    assert outcomes.truth.tolist() == [i % 3 for i in known]
    np.testing.assert_array_equal(outcomes.probabilities, [run.probabilities[known] for run in runs])


def test_a_patient_of_unknown_images_only_does_not_count():
    run = changed(run_of(), "truth", slice(0, 2), -1)
    outcomes = outcomes_of([run])
    assert (outcomes.patients, outcomes.unknown, outcomes.patient.min(), outcomes.patient.max()) == (5, 2, 0, 4)


def test_equally_likely_classes_are_told_as_the_first():
    run = changed(run_of(3), "probabilities", slice(None), [[0.2, 0.4, 0.4], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]])
    assert outcomes_of([run]).predicted.tolist() == [[1, 0, 0]]


@pytest.mark.parametrize(
    "field, value, said",
    [
        ("truth", 2, "record 30 has two truth: 0 and 2"),
        ("probabilities", [0.5, 0.5, 0.0], "record 30 has two probabilities"),
        ("patients", "p09", "record 30 has two patients$"),
    ],
)
def test_a_record_with_two_rows_is_refused_by_number(field, value, said):
    run = run_of()
    with pytest.raises(ValueError, match=said):
        merge([run, changed(rows_of(run, [3]), field, 0, value)])


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 0.9])
def test_what_is_no_probability_is_refused_by_record(value):
    run = changed(run_of(), "probabilities", (5, 1), value)
    with pytest.raises(ValueError, match=r"label region, run 2 of 2: record 50: probabilities .*1 records are like"):
        outcomes_of([run_of(), run])
    for row in ([np.inf, -np.inf, 1], [1.1, -0.1, 0]):
        with pytest.raises(ValueError, match="record 50"):
            outcomes_of([changed(run, "probabilities", (5, slice(None)), row)])


def test_runs_of_other_images_are_refused_by_what_differs():
    run = run_of()
    for other, said in (
        (rows_of(run, slice(11)), "run 2 of 2: field records: 11 images, run 1 has 12; record 110 is in one"),
        (changed(run, "records", 3, 31), "record 30 is in one of them only"),
        (changed(run, "truth", 3, 1), r"record 30: truth 1, in run 1 0 \(1 differ\)"),
        (changed(run, "patients", 3, "p08"), r"record 30: patients differ from run 1 \(1 differ\)"),
        (replace(run, label="implant"), "label region: field label: implant, elsewhere region"),
        (replace(run, classes=("a", "c", "b")), "field classes: "),
        (changed(run, "truth", 3, 3), "record 30: truth 3, expected -1 to 2"),
        (changed(run, "truth", 3, -2), "record 30: truth -2"),
        (replace(run, truth=run.truth[1:]), r"truth are \(11,\), expected \(12,\)"),
        (replace(run, probabilities=run.probabilities[:, :2]), r"probabilities are \(12, 2\), expected \(12, 3\)"),
    ):
        with pytest.raises(ValueError, match=said):
            outcomes_of([run, other])
    for nothing in (merge, outcomes_of):
        with pytest.raises(ValueError, match=r"^no "):
            nothing([])
