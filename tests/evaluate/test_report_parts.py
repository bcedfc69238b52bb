"""The parts of a page: which examples it shows, attention as colours, figures in words, axes and their ticks."""

import base64
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from radmae_jax.evaluate.report import words
from radmae_jax.evaluate.report.axes import spanning, tick_text
from radmae_jax.evaluate.report.choices import choose
from radmae_jax.evaluate.report.pictures import overlaid


def _interval(value: float | None, low: float | None = None, high: float | None = None) -> dict:
    return {"value": value, "low": low, "high": high}


def test_surest_images_are_chosen_by_class_and_patient(tmp_path):
    """Five right ones of two classes, three wrong ones; record 3 is of the patient of record 1."""
    rows = [  # record, patient, truth, probabilities
        (0, "a", 0, (0.90, 0.10)), (1, "b", 0, (0.99, 0.01)), (2, "c", 0, (0.95, 0.05)), (3, "b", 1, (0.20, 0.80)),
        (4, "d", 1, (0.40, 0.60)), (5, "e", 1, (0.70, 0.30)), (6, "e", 1, (0.80, 0.20)), (7, "f", 0, (0.45, 0.55)),
        (8, "g", -1, (0.00, 1.00)),
    ]  # fmt: skip
    columns = dict(
        zip(("record", "patient", "true:x", "probability:x"), map(list, zip(*rows, strict=True)), strict=True)
    )
    pq.write_table(pa.table(columns), tmp_path / "test.parquet")
    right, wrong = choose(tmp_path / "test.parquet", "x", ["no", "yes"], each=3)
    # Surest of `no`: 1; of `yes`: 3, whose patient has been shown; then the second of each: 2 and 4.
    assert [choice.record for choice in right] == [1, 2, 4]
    assert [(c.record, c.truth, c.predicted, c.probability) for c in wrong] == [
        (6, "yes", "no", 0.8),
        (7, "no", "yes", 0.55),
    ]
    with pytest.raises(ValueError, match="no column 'true:y'"):
        choose(tmp_path / "test.parquet", "y", ["no", "yes"])
    with pytest.raises(ValueError, match="not of 3 classes"):
        choose(tmp_path / "test.parquet", "x", ["no", "yes", "maybe"])


def test_attention_is_brightest_where_it_is_most():
    heat = np.zeros((40, 80), np.float32)
    heat[:, 60:] = 0.02
    data = overlaid(np.full((40, 80), 20000, np.uint16), heat).partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        pixels = np.asarray(picture, np.float32)
    assert pixels.shape == (160, 320, 3)
    assert pixels[:, 280:].mean() > pixels[:, :200].mean() + 80
    flat = overlaid(np.full((8, 8), 7, np.uint8), np.full((8, 8), 0.5, np.float32))  # nothing to tell apart
    assert flat.startswith("data:image/jpeg;base64,")


def test_figures_in_words():
    assert words.percent(_interval(0.8123, 0.7604, 0.8587)) == "81.2 % (76.0 to 85.9)"
    assert words.percent(_interval(1.0)) == "100.0 %" and words.percent(_interval(None)) == "not defined"
    assert words.points(_interval(-0.0004, -0.01, 0.02)) == "0.0 points (\u22121.0 to +2.0)"
    assert [words.probability(p) for p in (0.00099, 0.001, 0.5, None)] == [
        "p < 0.001", "p = 0.001", "p = 0.500", "p not defined",
    ]  # fmt: skip
    assert words.listed([]) == "" and words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.count(1, "study", "studies") == "1 study" and words.count(1204, "study", "studies") == "1,204 studies"
    assert words.scientific(8.74e11) == '<span class="n">8.7 \u00d7 10<sup>11</sup></span>'
    assert words.whole("<b> 1.5 % (1.0 to 2.0)") == '&lt;b&gt; <span class="n">1.5 % (1.0 to 2.0)</span>'


@pytest.mark.parametrize(
    "values, log",
    [([0.0, 1.0], False), ([3.0], False), ([], True), ([0.05, 0.94], True), ([1e-9, 1e9], True), ([-2.0, -2.0], False),
     ([0.9, 1.5], True), ([0.0, 5.0, float("nan")], True)],
)  # fmt: skip
def test_axes_hold_all_values_and_have_ticks(values, log):
    axis = spanning(values, 0.0, 100.0, log)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 22 and all(-1e-6 <= axis.at(tick) <= 100 + 1e-6 for tick in ticks)
    drawn = [value for value in values if value == value and (value > 0 or not log)]
    assert all(0 <= axis.at(value) <= 100 for value in drawn)


def test_ticks_are_short_and_exact():
    values = (0, 0.00075, 0.0005, 0.05, 1, 1000, 2500, 32000, 1.5e6, -0.2)
    assert [tick_text(v) for v in values] == [
        "0", "7.5e-4", "5e-4", "0.05", "1", "1,000", "2,500", "32k", "1.5M", "-0.2",
    ]  # fmt: skip


def test_every_reason_of_the_quarantine_has_words():
    from radmae_jax.data import image_error
    from radmae_jax.evaluate.report import data

    assert data.REASONS.keys() == set(image_error.REASONS)
