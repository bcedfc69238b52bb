"""Every file that pydicom tests with is a row or a reason, also when cut; first bytes tell what a foreign file is."""

import io
import os
import socket
import struct
import subprocess
import sys
import tempfile
import warnings
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file

from radmae_jax.cli import main
from radmae_jax.data import header as header_module
from radmae_jax.data.dicom import load
from radmae_jax.data.flags import joined
from radmae_jax.data.foreign import refuse_foreign
from radmae_jax.data.header import TAGS
from radmae_jax.data.image_error import ImageError
from radmae_jax.data.images import hash_pixels, inspect, read_image
from radmae_jax.data.index import index
from radmae_jax.data.manifest import quarantine_path, read_manifest
from radmae_jax.data.parser import EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding, NeedMore, parse
from radmae_jax.data.tags import DataSet


def package_files():
    """All files of pydicom's and pydicom-data's test sets."""
    roots = [Path(pydicom.__file__).parent / "data"]
    for name in ("data_store", "pydicom_data"):
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            roots.append(Path(spec.origin).parent)
    return sorted(path for root in roots for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc")


FILES = package_files()


@pytest.fixture
def any_size(monkeypatch):
    """Test sets shrink their images."""
    monkeypatch.setattr(header_module, "MIN_SIDE", 1)


def test_every_file_is_a_row_or_a_reason(any_size):
    assert len(FILES) > 250
    rows, agreed = 0, 0
    for path in FILES:
        try:
            stored = load(path).stored
        except ImageError:
            continue
        rows += 1
        with warnings.catch_warnings():  # of what pydicom mends
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, force=True)
            if dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.51":
                continue  # lossy at 12 bits: none of pydicom's decoders takes it
            np.testing.assert_array_equal(stored, dataset.pixel_array, str(path.name))
        agreed += 1
    assert rows >= 84 and agreed >= 82


def test_cut_at_twenty_places_every_file_is_a_reason_or_the_same_image(any_size, tmp_path):
    cut = tmp_path / "cut"
    for path in FILES:
        if not 0 < path.stat().st_size < 100_000:
            continue
        data = path.read_bytes()
        try:
            complete = load(path).stored
        except ImageError:
            complete = None
        for place in range(20):
            cut.write_bytes(data[: len(data) * place // 20])
            try:
                stored = load(cut).stored
            except ImageError:
                continue
            assert complete is not None
            np.testing.assert_array_equal(stored, complete, path.name)  # what was cut off stands behind the pixels


def test_headers_read_as_pydicom_reads_them(any_size):
    """Texts and numbers of all elements that are wanted, in all encodings, character sets and representations."""
    compared = 0
    for path in FILES:
        data = path.read_bytes()
        if data[128:132] != b"DICM" or b"1.2.840.10008.1.2.1.99" in data[:400]:
            continue
        syntaxes = {"1.2.840.10008.1.2": IMPLICIT_LITTLE, "1.2.840.10008.1.2.2": Encoding(False, False)}
        ours = DataSet(parse(data, len(data), TAGS, syntaxes).elements)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            for keyword in ("Rows", "BitsStored", "WindowCenter", "RescaleSlope", "PixelSpacing", "PixelPaddingValue"):
                value = theirs.get(keyword)
                if value not in (None, "") and keyword in theirs:
                    listed = list(value) if isinstance(value, pydicom.multival.MultiValue) else [value]
                    assert ours.numbers(keyword) == [pytest.approx(float(v)) for v in listed], (path.name, keyword)
                    compared += 1
            for keyword in ("PatientID", "StudyInstanceUID", "BodyPartExamined", "Manufacturer", "Modality"):
                value = str(theirs.get(keyword) or "").strip()
                if "\\" not in value and not value.startswith("["):
                    assert ours.text(keyword, 0) == " ".join(value.split()), (path.name, keyword)
                    compared += bool(value)
    assert compared > 600


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(
        ["MR_small.dcm", "MR_small_implicit.dcm", "mlut_18.dcm", "UN_sequence.dcm", "bad_sequence.dcm"]
    ),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_a_damaged_header_is_parsed_or_ended_and_never_loops(name, changes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = bytearray(Path(get_testdata_file(name, download=False)).read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    size = len(data)
    for have in (300, 3000, size):
        try:
            parsed = parse(bytes(data[:have]), size, TAGS, {"1.2.840.10008.1.2": IMPLICIT_LITTLE})
        except NeedMore as more:
            assert have < more.size
        else:
            assert all(isinstance(tag, int) for tag in parsed.elements)
            assert parsed.encoding in (EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding(False, False))


def test_patient_ids_of_any_character_set_are_told_apart(tmp_path, radiograph, write_dicom):
    from radmae_jax.data.identity import keys

    texts = [
        ("ISO_IR 100", "Müller"),
        ("ISO_IR 192", "Müller"),
        ("ISO_IR 192", "山田"),
        ("", "Mueller"),
        ("ISO_IR 101", "Łódź"),
    ]
    found = []
    for charset, text in texts:
        path = write_dicom(tmp_path / "a.dcm", radiograph(), tags={"SpecificCharacterSet": charset, "PatientID": text})
        identity = load(path, pixels=False).header.identity
        assert identity.patient_id == text
        found.append(keys(identity, "x", bytes(32)).patient)
    assert found[0] == found[1] and len(set(found)) == 4  # one person, in whatever character set


# Foreign files


def tiff(fmt="TIFF"):
    buffer = io.BytesIO()
    Image.new("L", (40, 40)).save(buffer, fmt)
    return buffer.getvalue()


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.dcm", b"x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason", "kind"),
    [
        (tiff(), "not_dicom", "a TIFF image"),
        (tiff("GIF"), "not_dicom", "a GIF image"),
        (tiff("BMP"), "not_dicom", "a BMP image"),
        (tiff("WEBP"), "not_dicom", "a WebP image"),
        (tiff("JPEG2000"), "not_dicom", "a JP2 image"),
        (tiff("PPM"), "not_dicom", "a PGM image"),
        (b"MM\0+" + bytes(40), "not_dicom", "a BigTIFF image"),
        (b"\n<!DOCTYPE html><html>login</html>", "not_dicom", "an HTML page"),
        (b"<HTML>gone</HTML>", "not_dicom", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "not_dicom", "a Git LFS pointer"),
        (b"/annex/objects/MD5E-s1--0.dcm\n", "not_dicom", "a git-annex pointer"),
        (struct.pack("<i", 348) + bytes(340) + b"n+1\0" + bytes(900), "not_dicom", "a NIfTI volume"),
        (struct.pack("<i", 348) + bytes(900), "not_dicom", "an Analyze header"),
        (b"\xff\x4f\xff\x51\0\x2f" + bytes(90), "not_dicom", "a bare JPEG 2000 codestream"),
        (b'{"00080018": {}}', "not_dicom", "JSON text"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", "not_dicom", "an XML document"),
        (b"%PDF-1.7", "not_dicom", "a PDF document"),
        (b"\x93NUMPY\1\0", "not_dicom", "a NumPy array"),
        (bytes(5000), "not_dicom", "nothing but zeros"),
        (zipped(), "archive", "a zip archive; unpack it"),
        (b"\x1f\x8b\x08" + bytes(99), "archive", "a gzip file"),
        (b"a.dcm" + bytes(252) + b"ustar\0" + bytes(900), "archive", "a tar archive"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(50), "archive", "a 7-Zip archive"),
    ],
)
def test_foreign_files_are_named_by_their_first_bytes(content, reason, kind, tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        inspect(path)
    assert caught.value.reason == reason and kind in caught.value.detail


def test_a_radiograph_is_never_taken_for_a_foreign_file(tmp_path, radiograph, write_dicom):
    path = write_dicom(tmp_path / "a.dcm", radiograph())
    data = path.read_bytes()
    path.write_bytes(b"II*\0" + data[4:])  # a preamble may be that of a TIFF file (PS3.10 7.1)
    np.testing.assert_array_equal(load(path).stored, radiograph())
    refuse_foreign(data[144:])
    with pytest.raises(ValueError, match="flags \\['odd'\\] are not among deep_codestream"):
        joined({"odd"})


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo.dcm")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        for name, kind in (
            ("fifo.dcm", "a FIFO"),
            ("s", "a socket"),
            ("", "a folder"),
            ("/dev/null", "a character dev"),
        ):
            for read in (inspect, read_image, load):
                with pytest.raises(ImageError, match=f"unreadable: {kind}"):
                    read(tmp_path / name)


# Every entry below a source


@pytest.fixture
def source(tmp_path, radiograph, write_dicom):
    root = tmp_path / "source"
    (root / "sub" / "deeper").mkdir(parents=True)
    write_dicom(root / "sub" / "a.dcm", radiograph())
    write_dicom(root / "sub" / "deeper" / "b", radiograph(1))
    return root


def quarantine(manifest):
    return {row["path"]: (row["reason"], row["detail"]) for row in pq.read_table(quarantine_path(manifest)).to_pylist()}


def test_every_entry_is_a_row_a_reason_or_a_printed_count(source, tmp_path, capsys):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "c.dcm").write_bytes((source / "sub" / "a.dcm").read_bytes())
    (source / "linked").symlink_to(elsewhere)
    (source / "loop").symlink_to(source)
    (source / "file link.dcm").symlink_to(elsewhere / "c.dcm")
    (source / "dangling.dcm").symlink_to(tmp_path / "gone")
    for name in ("one.zip", "sub/two.dcm.gz", "three.TAR", "four.dcm.ZIP", "five.tgz"):
        (source / name).write_bytes(zipped())
    (source / "a zip.dcm").write_bytes(zipped())
    os.mkfifo(source / "pipe.dcm")
    for name in ("labels.csv", "labels.csv.gz", "notes.txt", "NOTES.TXT", "dicomdir", "sub/DICOMDIR", ".DS_Store"):
        (source / name).write_bytes(b"x")
    (source / ".cache").mkdir()
    assert main(["index", str(source), str(tmp_path / "m.parquet")]) == 3  # more bad files than good ones
    text = capsys.readouterr().out
    assert read_manifest(tmp_path / "m.parquet").paths == ["file link.dcm", "sub/a.dcm", "sub/deeper/b"]
    found = quarantine(tmp_path / "m.parquet")
    assert {path: reason for path, (reason, _) in found.items()} == {
        "linked/": "link", "loop/": "link", "dangling.dcm": "unreadable", "one.zip": "archive",
        "sub/two.dcm.gz": "archive", "three.TAR": "archive", "four.dcm.ZIP": "archive", "five.tgz": "archive",
        "a zip.dcm": "archive", "pipe.dcm": "unreadable",
    }  # fmt: skip
    assert found["pipe.dcm"][1] == "a FIFO, not a file"
    assert "10 bad files" in text and "archive: 6" in text and "link: 2" in text
    (skipped,) = [line for line in text.splitlines() if "skipped" in line]
    for count in (".csv files 2", ".txt files 2", "DICOMDIR 2", "hidden files 1", "hidden folders 1"):
        assert count in skipped


def test_a_folder_that_cannot_be_listed_is_in_the_quarantine():
    """As a user without permission: root may list everything."""
    code = (
        "import os, sys; from pathlib import Path\n"
        "from radmae_jax.data.listing import find_files\n"
        "os.getuid() == 0 and os.setuid(65534)\n"
        "listing = find_files(Path(sys.argv[1]), set())\n"
        "print([f.path for f in listing.found], listing.closed)\n"
        "try:\n    find_files(Path(sys.argv[1], 'locked'), set())\n"
        "except PermissionError:\n    print('refused')\n"
    )
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        root, locked = Path(folder), Path(folder, "locked")
        root.chmod(0o755)
        locked.mkdir()
        (root / "a.dcm").write_bytes(b"x")
        locked.chmod(0)
        done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)
        locked.chmod(0o755)
    listed = "['a.dcm'] [('locked/', 'unreadable', 'a folder that cannot be listed: Permission denied')]"
    assert done.stdout.splitlines() == [listed, "refused"], done.stderr


def test_a_source_of_archives_says_so(tmp_path):
    (tmp_path / "s").mkdir()
    for name in ("a.zip", "b.zip", "c.txt"):
        (tmp_path / "s" / name).write_bytes(zipped())
    with pytest.raises(ValueError, match=r"no image files among 3 files: 2 archive files or folders, 1 \.txt files"):
        index(tmp_path / "s", tmp_path / "m.parquet", show_progress=False)


def test_flags_and_aspects_are_in_the_manifest_and_counted(source, tmp_path, radiograph, write_dicom, capsys):
    write_dicom(source / "c.dcm", radiograph(2), tags={"PixelAspectRatio": [2, 1], "ShutterShape": "CIRCULAR"})
    assert main(["index", str(source), str(tmp_path / "m.parquet")]) == 0
    table = read_manifest(tmp_path / "m.parquet").table
    assert table["flags"].to_pylist() == ["non_square,shutter", None, None]
    assert table["pixel_aspect"].to_pylist() == [2.0, 1.0, 1.0]
    assert (table["height"][0].as_py(), table["width"][0].as_py()) == (96, 53)
    text = capsys.readouterr().out
    assert "flagged non_square, the file's pixels are not square; resampled to square ones: 1" in text
    assert "flagged shutter, a shutter shape cannot be read; left out: 1" in text


# The pixel hash


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(-32768, 65535), min_size=6, max_size=6),
    dtypes=st.lists(st.sampled_from(["u1", "i1", "<u2", ">u2", "<i2", ">i2", "<i4", "<i8"]), min_size=2, max_size=4),
)
def test_equal_values_hash_alike_in_any_dtype(values, dtypes):
    array = np.array(values).reshape(2, 3)
    fitting = [d for d in dtypes if np.iinfo(d).min <= array.min() and array.max() <= np.iinfo(d).max]
    hashes = {hash_pixels(array.astype(dtype)) for dtype in [*fitting, "<i8"]}
    assert len(hashes) == 1
    other = array.copy()
    other[1, 1] += 1 if other[1, 1] < 65535 else -1
    assert hash_pixels(other) not in hashes and hash_pixels(array.T) not in hashes


def test_different_values_of_equal_bytes_hash_differently():
    signed = np.array([[-1, 5], [7, 9]], "<i2")
    assert hash_pixels(signed) != hash_pixels(signed.view("<u2"))
    narrow = np.array([[1, 0, 2, 0]], "u1")
    assert hash_pixels(narrow) != hash_pixels(narrow.view("<u2"))
