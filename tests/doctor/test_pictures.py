"""An archive with an inverted, a saturated, a flat and a missing image: each is named by its record."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from radmae_jax.data.index import index
from radmae_jax.data.manifest import read_manifest
from radmae_jax.data.phantom import REGIONS, render_phantom
from radmae_jax.doctor.histograms import check_histograms, draw_histograms, spreads_of
from radmae_jax.doctor.polarity import Polarity, check_polarity
from radmae_jax.doctor.sample import Layout, check_reading, choose_records, read_sample
from radmae_jax.doctor.sheet import draw_sheet

INVERTED, SATURATED, FLAT, MISSING = 2, 5, 7, 9


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "images").mkdir()
    for number in range(12):
        grey = render_phantom(REGIONS[0], 90, 120 - number, number).image
        if number == INVERTED:
            grey = 1 - grey
        if number == SATURATED:
            grey = np.clip(3 * grey, 0, 1)
        if number == FLAT:
            grey = 0.6 + 0.05 * grey
        Image.fromarray((grey * 65535).astype(np.uint16)).save(folder / "images" / f"{number:02d}.png")
    index(folder / "images", folder / "m.parquet", workers=1, show_progress=False)
    (folder / "images" / f"{MISSING:02d}.png").unlink()
    return read_manifest(folder / "m.parquet")


@pytest.fixture(scope="module")
def layout(manifest):
    sizes = np.stack([manifest.heights, manifest.widths], axis=1)
    return Layout(16, "voi", "uint16", 0.75, 1e-4, manifest.source, sizes, -(-sizes // 16))


@pytest.fixture(scope="module")
def sample(manifest, layout):
    return read_sample(manifest, choose_records(manifest, np.arange(len(manifest)), 12), layout)


def test_the_inverted_image_is_named(sample):
    signs = {image.record: image.polarity for image in sample.seen}
    finding = check_polarity(list(signs), [image.photometric for image in sample.seen], list(signs.values()))
    assert finding.verdict == "look" and finding.records == (INVERTED,)
    assert f"record {INVERTED};" in finding.text
    assert signs[INVERTED].border > 0 > signs[0].border


def test_a_photometric_group_that_is_read_wrongly_is_named():
    right, wrong = Polarity(-0.3, -0.2), Polarity(0.3, -0.2)  # each alone is not suspect
    kinds = ["MONOCHROME1"] * 5 + ["MONOCHROME2"] * 5
    finding = check_polarity(list(range(10)), kinds, [wrong] * 5 + [right] * 5)
    assert finding.verdict == "look" and "most MONOCHROME1 images look inverted" in finding.text
    assert check_polarity(list(range(10)), kinds, [right] * 10).verdict == "ok"


def test_saturated_and_flat_images_are_named(sample):
    finding = check_histograms(sample.seen)
    assert finding.verdict == "look" and finding.records == (SATURATED, FLAT)
    assert any(f"record {SATURATED}: more than 10% of the pixels at full range" in note for note in finding.notes)
    assert any(f"record {FLAT}: less than 10% of the range" in note for note in finding.notes)
    alone = tuple(image for image in sample.seen if image.record == SATURATED)
    assert check_histograms(alone).verdict == "stop"
    assert check_histograms(tuple(i for i in sample.seen if i.record not in (SATURATED, FLAT))).verdict == "ok"


def test_figures_are_those_of_the_pixels(sample, manifest):
    from radmae_jax.data.images import read_image

    seen = sample.seen[0]
    pixels = read_image(manifest.file(seen.record))
    assert seen.zero == np.mean(pixels == 0) and seen.full == np.mean(pixels == 65535)
    for share, value in ((0.5, seen.low), (50, seen.median), (99.5, seen.high)):
        assert value == np.percentile(pixels, share, method="inverted_cdf") / 65535
    assert seen.histogram[100] == pytest.approx(np.mean(pixels >> 8 == 100))
    everything = spreads_of(sample.seen)[0]
    assert everything.images == 11 and sum(everything.histogram) == pytest.approx(1)


def test_what_cannot_be_read_is_counted_and_named(sample):
    assert list(sample.unreadable) == [MISSING] and len(sample.seen) == 11
    finding = check_reading(sample, most=0.01)
    assert finding.verdict == "look" and finding.records == (MISSING,)
    assert finding.notes == (f"record {MISSING}: No such file or directory",)
    assert check_reading(sample, most=0.001).verdict == "stop"  # one in twelve, of one in a thousand allowed


def test_a_file_that_changed_is_unreadable(manifest, layout):
    other = Layout(**{**layout.__dict__, "root": manifest.source})
    path = manifest.file(0)
    kept = path.read_bytes()
    try:
        Image.fromarray(np.arange(40 * 40, dtype=np.uint16).reshape(40, 40)).save(path)
        sample = read_sample(manifest, np.array([0, 1]), other)
    finally:
        path.write_bytes(kept)
    assert sample.unreadable == {0: "is 40 x 40, the manifest says 90 x 120"} and sample.seen[0].record == 1


def _pixels(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


def test_pictures_show_what_was_seen(sample, tmp_path):
    draw_sheet(sample.seen, {INVERTED: "inverted?"}, tmp_path / "deep" / "sheet.png", "voi")
    sheet = _pixels(tmp_path / "deep" / "sheet.png")
    assert np.any(np.all(sheet == (255, 176, 32), axis=2))  # the frame
    draw_sheet(sample.seen, {}, tmp_path / "plain.png", "voi")
    plain = _pixels(tmp_path / "plain.png")
    assert plain.shape == sheet.shape and not np.any(np.all(plain == (255, 176, 32), axis=2))
    draw_histograms(spreads_of(sample.seen), tmp_path / "histograms.png", "voi")
    with Image.open(tmp_path / "histograms.png") as drawn:
        assert drawn.size[0] == 1300


def test_the_sample_is_spread_over_kinds(manifest):
    """Photometric interpretations alike as far as they go, then scanners, then regions."""
    import pyarrow as pa

    table = manifest.table
    kinds = {"photometric": [], "scanner": [], "region": []}
    for number in range(12):  # two MONOCHROME1 of one scanner; ten MONOCHROME2, one of them of another scanner
        kinds["photometric"].append("MONOCHROME1" if number < 2 else "MONOCHROME2")
        kinds["scanner"].append("B" if number == 11 else "A")
        kinds["region"].append("hand" if number % 2 else "knee")
    for name, values in kinds.items():
        at = table.column_names.index(name)
        table = table.set_column(at, name, pa.array(values))
    mixed = type(manifest)(table, manifest.path, manifest.source, manifest.hash)
    all_of_them = np.arange(12)
    for seed in range(5):
        chosen = choose_records(mixed, all_of_them, 6, seed)
        assert np.all(np.diff(chosen) > 0) and {0, 1, 11} <= set(chosen.tolist())
        others = [n for n in chosen.tolist() if n not in (0, 1, 11)]
        assert {n % 2 for n in others} == {0, 1}
    assert not np.array_equal(choose_records(mixed, all_of_them, 6, 0), choose_records(mixed, all_of_them, 6, 1))
    assert choose_records(mixed, all_of_them, 99).tolist() == list(range(12))
    assert choose_records(mixed, np.array([7, 2, 5]), 99).tolist() == [2, 5, 7]


def test_pictures_need_no_jax():
    names = [f"radmae_jax.doctor.{n}" for n in ("finding", "sample", "polarity", "sheet", "histograms", "expected")]
    names.append("radmae_jax.doctor.commands")
    code = f"import sys, {', '.join(names)}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
