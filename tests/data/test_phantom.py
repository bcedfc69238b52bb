"""Synthetic radiographs: the same bytes from any number of workers, lossless syntaxes, honest labels, marginals."""

import csv
import hashlib
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames

from radmae_jax.data.phantom import REGIONS, PhantomSummary, frame, make_phantoms, render_phantom
from radmae_jax.data.phantom.dicom_write import bits_stored, dicom_bytes, stored_pixels
from radmae_jax.data.phantom.plan import BROKEN_KINDS, SCANNERS, SYNTAXES, plan_images
from radmae_jax.data.phantom.raster import Grid
from radmae_jax.data.phantom.render import VIEWS, Phantom, draw_habit, render
from radmae_jax.data.phantom.solids import MU_STEEL, Part, points
from radmae_jax.data.phantom.visible import Scene, metal_share
from radmae_jax.data.sizes import poster_sizes

IMAGES, SEED, SCALE, BROKEN = 12, 5, 0.06, 0.5
DECODERS = {
    "jpeg_lossless_sv1": imagecodecs.jpeg8_decode,
    "jpeg_ls": imagecodecs.jpegls_decode,
    "jpeg2000": imagecodecs.jpeg2k_decode,
    "htj2k": imagecodecs.htj2k_decode,
}


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PhantomSummary, list[int]]:
    out = tmp_path_factory.mktemp("phantoms") / "one"
    seen: list[int] = []
    return out, make_phantoms(out, IMAGES, SEED, SCALE, BROKEN, workers=1, progress=seen.append), seen


def test_any_number_of_workers_writes_the_same_bytes(
    written: tuple[Path, PhantomSummary, list[int]], tmp_path: Path
) -> None:
    out, summary, _ = written
    again = make_phantoms(tmp_path / "two", IMAGES, SEED, SCALE, BROKEN, workers=2)
    assert _digests(tmp_path / "two") == _digests(out)
    assert replace(again, seconds=0.0) == replace(summary, seconds=0.0)
    make_phantoms(tmp_path / "other", 2, SEED + 1, SCALE, workers=1)
    assert not set(_digests(tmp_path / "other").values()) & set(_digests(out).values())


def test_summary_counts_what_was_written(written: tuple[Path, PhantomSummary, list[int]]) -> None:
    out, summary, seen = written
    files = list(out.rglob("*.dcm"))
    assert summary.images == IMAGES == len(files) == seen[-1]
    assert summary.bytes == sum(p.stat().st_size for p in files)
    assert summary.broken == 6 and summary.broken_kinds == dict.fromkeys(BROKEN_KINDS, 1)
    assert sum(summary.regions.values()) == sum(summary.syntaxes.values()) == IMAGES
    assert list(summary.regions) == list(REGIONS) and list(summary.syntaxes) == list(SYNTAXES)


def test_labels_name_exactly_the_intact_files(written: tuple[Path, PhantomSummary, list[int]]) -> None:
    out, _, _ = written
    with (out / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "region", "view", "foreign_material", "fracture"]
    assert len(rows) == IMAGES - 6
    for row in rows:
        ds = pydicom.dcmread(out / row["path"])
        pixels = ds.pixel_array
        assert pixels.dtype == np.uint16 and pixels.max() > 1000 and pixels.mean() > 100
        assert row["view"] in VIEWS[row["region"]] and {row["foreign_material"], row["fracture"]} <= {"0", "1"}
        assert ds.Modality in ("DX", "CR", "RG") and str(ds.PatientName).startswith("Phantom^")
        inverted = ds.PhotometricInterpretation == "MONOCHROME1"
        assert ds.PresentationLUTShape == ("INVERSE" if inverted else "IDENTITY")


def test_every_broken_kind_is_broken_in_its_way(written: tuple[Path, PhantomSummary, list[int]]) -> None:
    out, _, _ = written
    for plan in plan_images(IMAGES, SEED, SCALE, BROKEN):
        if not plan.broken:
            continue
        path = next(out.rglob(f"image{plan.index:07d}.dcm"))
        if plan.broken == "not_dicom":
            with pytest.raises(pydicom.errors.InvalidDicomError):
                pydicom.dcmread(path)
            continue
        if plan.broken == "truncated":
            with pytest.raises(Exception):  # noqa: B017 - which error depends on where the cut falls
                _ = pydicom.dcmread(path).pixel_array
            continue
        ds = pydicom.dcmread(path)
        if plan.broken == "no_pixels":
            assert "PixelData" not in ds and ds.Rows == plan.height
        elif plan.broken == "all_zero":
            assert not ds.pixel_array.any()
        elif plan.broken == "absurd_size":
            assert (ds.Rows, ds.Columns) == (60_000, 60_000)
        else:
            assert ds.file_meta.TransferSyntaxUID not in {uid for uid, _ in SYNTAXES.values()}
            with pytest.raises(NotImplementedError):
                _ = ds.pixel_array


def test_broken_files_are_counted_exactly_and_dealt_evenly() -> None:
    for images, share in ((200, 0.13), (50, 1.0), (31, 0.0)):
        kinds = [plan.broken for plan in plan_images(images, 1, 0.1, share) if plan.broken]
        assert len(kinds) == round(images * share)
        counts = [kinds.count(kind) for kind in BROKEN_KINDS]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("scanner", [SCANNERS[0], SCANNERS[2], SCANNERS[4]], ids=["12", "10", "16"])
def test_every_syntax_gives_back_the_stored_pixels(syntax: str, scanner: object) -> None:
    for monochrome1 in (False, True):
        plan = replace(
            plan_images(1, 3, 0.1, 0.0)[0], syntax=syntax, scanner=scanner, monochrome1=monochrome1, height=61, width=47
        )
        ramp = np.linspace(0, 1, 61 * 47, dtype=np.float32).reshape(61, 47)
        noise = np.random.default_rng(0).normal(0, 0.05, ramp.shape).astype(np.float32)
        phantom = Phantom(np.clip(ramp + noise, 0, 1), plan.region, plan.view, plan.side, False, False, 0.5)
        expected = stored_pixels(plan, phantom.image)
        ds = pydicom.dcmread(pydicom.filebase.DicomBytesIO(dicom_bytes(plan, phantom)))
        assert ds.file_meta.TransferSyntaxUID == SYNTAXES[syntax][0]
        assert ds.BitsStored == bits_stored(plan) and int(expected.max()) < 2**ds.BitsStored
        if syntax in DECODERS:
            frame = next(generate_frames(ds.PixelData, number_of_frames=1))
            pixels = np.asarray(DECODERS[syntax](frame))
        else:
            pixels = ds.pixel_array
        np.testing.assert_array_equal(pixels, expected)
        dense_is_bright = np.corrcoef(pixels.ravel(), ramp.ravel())[0, 1] > 0.9
        assert dense_is_bright != monochrome1


def test_marginals_follow_the_poster() -> None:
    scale, plans = 0.5, plan_images(3000, 11, 0.5, 0.0)
    share = np.mean([plan.monochrome1 for plan in plans])
    assert abs(share - 0.129) < 0.02
    assert abs(np.mean([plan.foreign for plan in plans]) - 0.20) < 0.03
    assert abs(np.mean([plan.fracture for plan in plans]) - 0.17) < 0.03
    heights, widths, counts = poster_sizes()
    for sizes, drawn in ((heights, [p.height for p in plans]), (widths, [p.width for p in plans])):
        order = np.argsort(sizes)
        total = np.cumsum(counts[order]) / counts.sum()
        for q in (0.1, 0.25, 0.5, 0.75, 0.9):
            expected = sizes[order][np.searchsorted(total, q)] * scale
            assert np.quantile(drawn, q) == pytest.approx(expected, rel=0.05, abs=16)


def test_sizes_do_not_tell_the_region() -> None:
    plans = plan_images(3000, 11, 0.5, 0.0)
    ratios = np.log([plan.height / plan.width for plan in plans])
    names = np.array([plan.region for plan in plans])
    assert set(names) == set(REGIONS)
    for region in REGIONS:
        assert abs(ratios[names == region].mean() - ratios.mean()) < 0.12


def test_patients_have_one_to_six_images_of_at_most_two_regions() -> None:
    by_patient: dict[int, list[tuple[str, int]]] = {}
    for plan in plan_images(600, 2, 0.1, 0.0):
        by_patient.setdefault(plan.patient.number, []).append((plan.region, plan.study))
    lengths = {len(images) for images in by_patient.values()}
    assert lengths == {1, 2, 3, 4, 5, 6}
    assert max(len({region for region, _ in images}) for images in by_patient.values()) == 2
    assert max(len({study for _, study in images}) for images in by_patient.values()) == 2


@pytest.mark.parametrize("region", REGIONS)
def test_every_region_renders_with_contrast_and_repeats(region: str) -> None:
    one, same, other = (render_phantom(region, 120, 90, seed) for seed in ([4, 1], [4, 1], [4, 2]))
    assert one.image.shape == (120, 90) and one.image.dtype == np.float32
    assert one.region == region and one.view in VIEWS[region] and one.mm_per_pixel > 0
    assert one.image.std() > 0.03 and one.image.min() >= 0 and one.image.max() <= 1
    np.testing.assert_array_equal(one.image, same.image)
    assert not np.array_equal(one.image, other.image)


def _asked(region: str, foreign: bool, fracture: bool, seed: list[int]) -> Phantom:
    rng = np.random.default_rng(seed)
    return render(region, VIEWS[region][0], "L", 130, 110, draw_habit(rng), foreign, fracture, rng)


def _changed(one: Phantom, other: Phantom) -> int:
    """Pixels that differ by more than a twentieth of the grey scale, beyond a shift of all greys."""
    change = one.image - other.image
    return int((np.abs(change - np.median(change)) > 0.05).sum())


@pytest.mark.parametrize("region", REGIONS)
def test_a_label_is_seen_in_the_image_and_no_label_is_no_change(region: str) -> None:
    labelled = 0
    for k in range(2):
        plain, metal, broken = (_asked(region, a, b, [6, k]) for a, b in ((False, False), (True, False), (False, True)))
        assert (plain.foreign_material, plain.fracture) == (metal.fracture, broken.foreign_material) == (False, False)
        for asked, label in ((metal, metal.foreign_material), (broken, broken.fracture)):
            if label:
                assert _changed(asked, plain) >= 8
            else:
                np.testing.assert_array_equal(asked.image, plain.image)
            labelled += label
    # Twice metal and twice a fracture were asked for, of which some may find no place to show.
    assert labelled >= 2


@pytest.mark.parametrize("blackened", [True, False])
def test_what_the_collimator_hides_is_labelled_0(monkeypatch: pytest.MonkeyPatch, blackened: bool) -> None:
    # A slit that is open for less than half of anything drawn, against the same image without a collimator.
    hidden = frame.Shutter((0.5, 0.5), (0.5, 0.004), 0.0, blackened)
    for region in ("hand", "pelvis"):
        monkeypatch.setattr(frame, "draw_shutter", lambda _: None)
        seen = _asked(region, True, True, [8, 1])
        assert seen.foreign_material and seen.fracture
        monkeypatch.setattr(frame, "draw_shutter", lambda _: hidden)
        unseen, plain = _asked(region, True, True, [8, 1]), _asked(region, False, False, [8, 1])
        assert not unseen.foreign_material and not unseen.fracture
        np.testing.assert_array_equal(unseen.image, plain.image)


def test_the_share_of_metal_in_frame_and_field_is_that_of_its_area() -> None:
    grid = Grid(100, 100, np.eye(2), np.zeros(2), 1.0)
    bar = [Part(points("-60 40  40 40  40 60  -60 60"), MU_STEEL, 3)]
    assert metal_share(bar, Scene(grid, np.asarray, None, 1.0)) == pytest.approx(0.4, abs=0.02)
    # Open from x = 20 to 80: a fifth of the bar's 100 mm is left.
    shutter = frame.Shutter((0.5, 0.5), (0.3, 0.5), 0.0, True)
    assert metal_share(bar, Scene(grid, np.asarray, shutter, 1.0)) == pytest.approx(0.2, abs=0.03)
    away = [Part(points("-60 40  -10 40  -10 60  -60 60"), MU_STEEL, 3)]
    assert metal_share(away, Scene(grid, np.asarray, None, 1.0)) == 0.0


def test_a_large_image_has_its_full_size() -> None:
    big = render_phantom("hand", 1700, 1400, 8)
    assert big.image.shape == (1700, 1400) and np.isfinite(big.image).all()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"images": 0}, "images 0.*smallest allowed is 1"),
        ({"scale": 0.02}, r"scale 0\.02.*over 0\.02"),
        ({"scale": 1.5}, r"scale 1\.5.*up to 1"),
        ({"broken": -0.1}, r"broken -0\.1.*0 to 1"),
        ({"broken": 1.1}, r"broken 1\.1.*0 to 1"),
        ({"workers": 0}, "workers 0.*smallest allowed is 1"),
    ],
)
def test_bad_arguments_are_refused_by_value_and_limit(tmp_path: Path, changed: dict[str, float], words: str) -> None:
    arguments = {"images": 1, "scale": 0.1, "broken": 0.0, "workers": 1} | changed
    with pytest.raises(ValueError, match=words):
        make_phantoms(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_files_and_unknown_regions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something already"):
        make_phantoms(tmp_path, 1, workers=1)
    with pytest.raises(ValueError, match="'spleen' is not one of"):
        render_phantom("spleen", 64, 64, 0)
    with pytest.raises(ValueError, match="smallest side allowed is 16"):
        render_phantom("hand", 8, 64, 0)
