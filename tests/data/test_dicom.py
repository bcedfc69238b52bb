"""Whole DICOM files: real encodings agree with other decoders, damaged ones are refused with the right reason."""

import logging
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from radmae_jax.data import dicom, header
from radmae_jax.data.codecs import ImageError
from radmae_jax.data.dicom import load
from radmae_jax.data.intensity import to_grey

FAMILY = "1.2.840.10008.1.2.4."
EXPLICIT, IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"


def real(name):
    """A file of pydicom or pydicom-data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Path(get_testdata_file(name, download=False))


def reason_of(path):
    with pytest.raises(ImageError) as caught:
        load(path)
    return caught.value.reason


@pytest.mark.parametrize("name", ["RG1", "RG3"])
def test_real_radiographs_read_alike_in_every_lossless_encoding(name):
    plain = load(real(f"{name}_UNCR.dcm"))
    packed = load(real(f"{name}_J2KR.dcm"))
    np.testing.assert_array_equal(plain.stored, packed.stored)
    # UNCI and J2KI are one lossy encoding, decoded by the maker and as it came
    np.testing.assert_array_equal(load(real(f"{name}_UNCI.dcm")).stored, load(real(f"{name}_J2KI.dcm")).stored)
    facts = plain.header.facts
    assert (facts.photometric, facts.modality, facts.bits) == ("MONOCHROME1", "CR", 15 if name == "RG1" else 10)
    assert (facts.region, facts.view) == (("CHEST", "PA") if name == "RG1" else ("EXTREMITY", "AP"))
    assert facts.spacing_row is None  # 0.000 in the file


def test_real_chest_is_shown_with_dark_lungs_and_bright_spine():
    image = load(real("RG1_UNCR.dcm"))
    grey = to_grey(image.stored, image.header.grey, "voi").astype(float)
    height, width = grey.shape
    spine = grey[int(0.5 * height) : int(0.7 * height), int(0.45 * width) : int(0.5 * width)].mean()
    lung = grey[int(0.3 * height) : int(0.45 * height), int(0.62 * width) : int(0.75 * width)].mean()
    assert spine > lung + 10_000


FILES = [
    "693_J2KI.dcm 693_J2KR.dcm 693_UNCI.dcm 693_UNCR.dcm CT_small.dcm J2K_pixelrep_mismatch.dcm JPEG-LL.dcm",
    "JPEG2000.dcm JPGLosslessP14SV1_1s_1f_8b.dcm MR2_J2KI.dcm MR2_J2KR.dcm MR_small.dcm MR_small_RLE.dcm",
    "MR_small_bigendian.dcm MR_small_expb.dcm MR_small_implicit.dcm MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm MR_small_padded.dcm MR-SIEMENS-DICOM-WithOverlays.dcm RG3_J2KI.dcm",
    "bad_sequence.dcm examples_overlay.dcm explicit_VR-UN.dcm image_dfl.dcm mlut_18.dcm vlut_04.dcm",
]


@pytest.mark.parametrize("name", " ".join(FILES).split())
def test_stored_values_agree_with_other_decoders(name):
    path = real(name)
    with warnings.catch_warnings():  # gdcm, pyjpegls and openjpeg warn of what they mend
        warnings.simplefilter("ignore")
        expected = pydicom.dcmread(path).pixel_array
    stored = load(path).stored
    assert stored is not None
    np.testing.assert_array_equal(stored, expected)


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_extended_jpeg_of_12_bits_is_the_image_that_the_lossless_file_has(name):
    lossless = load(real("JPEG-LL.dcm")).stored
    lossy = load(real(name))
    assert lossless is not None and lossy.stored is not None
    assert np.corrcoef(lossless.ravel(), lossy.stored.ravel())[0, 1] > 0.95
    assert lossy.header.facts.lossy


@pytest.mark.parametrize("name", ["mlut_18.dcm", "vlut_04.dcm"])
def test_real_luts_agree_with_pydicom(name):
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    image = load(real(name))
    reference = pydicom.dcmread(real(name))
    values = apply_voi_lut(apply_modality_lut(reference.pixel_array, reference), reference).astype(float)
    grey = to_grey(image.stored, image.header.grey, "voi" if name == "vlut_04.dcm" else "full_range")
    top = np.iinfo(grey.dtype).max
    assert np.abs(grey - values / 65535 * top).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED, RLE, FAMILY + "70", FAMILY + "201"])
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (8, True), (12, False), (16, True)])
def test_written_files_read_back(syntax, bits, signed, tmp_path, radiograph, write_dicom):
    pixels = radiograph(bits, shape=(41, 33), bits=bits, signed=signed)
    image = load(write_dicom(tmp_path / "a.dcm", pixels, syntax=syntax, bits=bits))
    np.testing.assert_array_equal(image.stored, pixels)
    assert image.header.syntax == syntax and image.header.facts.height == 41
    assert load(tmp_path / "a.dcm", pixels=False).stored is None


@pytest.mark.parametrize("end", ["57", "70", "80", "90", "201"])
@pytest.mark.parametrize("signed", [False, True])
def test_other_decoders_read_what_was_written(end, signed, tmp_path, radiograph, write_dicom):
    """gdcm, pyjpegls and openjpeg by way of pydicom, so that encoder and decoder are not of one house."""
    bits = 16 if signed else 12  # gdcm does not extend a sign below the container's
    path = write_dicom(tmp_path / "a.dcm", radiograph(bits=bits, signed=signed), syntax=FAMILY + end, bits=bits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = pydicom.dcmread(path).pixel_array
    np.testing.assert_array_equal(load(path).stored, expected)


def test_big_endian_bytes_in_words(tmp_path, radiograph, write_dicom):
    pixels = radiograph(bits=8, shape=(33, 35))
    path = write_dicom(tmp_path / "a.dcm", pixels, syntax=BIG_ENDIAN, bits=8)
    np.testing.assert_array_equal(load(path).stored, pixels)
    np.testing.assert_array_equal(pydicom.dcmread(path).pixel_array, pixels)


def test_overlay_bits_are_cleared(tmp_path, radiograph, write_dicom):
    pixels = radiograph(bits=12)
    flagged = pixels | np.uint16(1 << 12) * (np.arange(pixels.size).reshape(pixels.shape) % 3 == 0)
    np.testing.assert_array_equal(load(write_dicom(tmp_path / "a.dcm", flagged.astype(np.uint16))).stored, pixels)


def test_facts_and_grey_come_from_the_header(tmp_path, radiograph, write_dicom):
    voi_lut = Dataset()
    voi_lut.LUTDescriptor = [4, 0, 8]
    voi_lut.LUTData = b"\x00\x10\x20\xff"
    voi_lut["LUTData"].VR = "OW"
    tags = {
        "BodyPartExamined": "KNEE",
        "ViewPosition": "LL",
        "ImageLaterality": "L",
        "ImagerPixelSpacing": [0.2, 0.1],
        "PixelSpacing": [0.19, 0.095],
        "Manufacturer": "Maker",
        "ManufacturerModelName": "Model 1",
        "PixelIntensityRelationship": "LOG",
        "PixelIntensityRelationshipSign": -1,
        "LossyImageCompression": "01",
        "WindowCenter": [100, 200],
        "WindowWidth": [50, 70],
        "VOILUTFunction": "SIGMOID",
        "PresentationLUTShape": "INVERSE",
        "PixelPaddingValue": 4095,
        "PixelPaddingRangeLimit": 4000,
        "ShutterShape": ["RECTANGULAR", "CIRCULAR", "POLYGONAL"],
        "ShutterLeftVerticalEdge": 2,
        "ShutterRightVerticalEdge": 40,
        "ShutterUpperHorizontalEdge": 3,
        "ShutterLowerHorizontalEdge": 41,
        "CenterOfCircularShutter": [20, 22],
        "RadiusOfCircularShutter": 15,
        "VerticesOfThePolygonalShutter": [1, 1, 1, 40, 40, 40],
        "VOILUTSequence": [voi_lut],
    }
    loaded = load(write_dicom(tmp_path / "a.dcm", radiograph(), tags=tags)).header
    facts, grey = loaded.facts, loaded.grey
    assert (facts.region, facts.view, facts.laterality, facts.scanner) == ("KNEE", "LL", "L", "Maker Model 1")
    assert (facts.spacing_row, facts.spacing_column) == (0.19, 0.095)
    assert (facts.intensity_relationship, facts.intensity_sign, facts.lossy) == ("LOG", -1, True)
    assert (grey.center, grey.width, grey.function, grey.inverse, grey.monochrome1) == (100, 50, "SIGMOID", True, False)
    assert grey.padding == (4000, 4095)
    assert grey.shutter is not None and grey.shutter.rectangle == (2, 40, 3, 41)
    assert grey.shutter.circle == (20, 22, 15) and grey.shutter.polygon == ((1, 1), (1, 40), (40, 40))
    assert grey.voi_lut is not None and grey.voi_lut.entries.tolist() == [0, 16, 32, 255]


def test_padding_value_in_the_wrong_sign(tmp_path, radiograph, write_dicom):
    path = write_dicom(tmp_path / "a.dcm", radiograph(bits=16, signed=True), bits=16, tags={"PixelPaddingValue": -7})
    assert load(path).header.grey.padding == (-7, -7)
    data = path.read_bytes().replace(b"\x28\x00\x20\x01SS", b"\x28\x00\x20\x01US")
    path.write_bytes(data)
    assert load(path).header.grey.padding == (-7, -7)


def test_missing_prefix_and_missing_transfer_syntax_are_forgiven(tmp_path, radiograph, write_dicom):
    pixels = radiograph()
    path = write_dicom(tmp_path / "a.dcm", pixels)
    data = path.read_bytes()
    meta = 144 + struct.unpack("<I", data[140:144])[0]
    path.write_bytes(data[meta:])  # bare explicit data set
    np.testing.assert_array_equal(load(path).stored, pixels)
    implicit = write_dicom(tmp_path / "b.dcm", pixels, syntax=IMPLICIT).read_bytes()
    path.write_bytes(implicit[144 + struct.unpack("<I", implicit[140:144])[0] :])
    np.testing.assert_array_equal(load(path).stored, pixels)


@pytest.mark.parametrize("syntax", [FAMILY + "70", FAMILY + "80", FAMILY + "90", FAMILY + "201", RLE])
def test_fragments_and_missing_delimiter(syntax, tmp_path, radiograph, write_dicom, encode):
    pixels = radiograph()
    frame = encode(pixels, syntax, 12)
    path = write_dicom(tmp_path / "a.dcm", pixels, syntax=syntax, frame=frame)
    data = path.read_bytes()
    assert data.endswith(b"\xfe\xff\xdd\xe0\0\0\0\0")
    path.write_bytes(data[:-8])
    np.testing.assert_array_equal(load(path).stored, pixels)
    start = data.rindex(frame[:40]) - 8
    cut = len(frame) // 4 * 2
    pieces = [frame[:cut], frame[cut:] + b"\0" * (len(frame) % 2)]
    items = b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<I", len(piece)) + piece for piece in pieces)
    path.write_bytes(data[:start] + items + data[-8:])
    np.testing.assert_array_equal(load(path).stored, pixels)
    path.write_bytes((data[:start] + items)[:-20])
    assert reason_of(path) == "truncated"
    path.write_bytes((data[:start] + items)[: -len(pieces[1]) - 8])  # whole items, half a frame
    assert reason_of(path) in ("truncated", "decode_failed")


def test_refusals_have_their_reason(tmp_path, radiograph, write_dicom):
    pixels = radiograph()
    path = tmp_path / "a.dcm"
    whole = write_dicom(path, pixels).read_bytes()

    path.write_bytes(whole[:-100])
    assert reason_of(path) == "truncated"
    path.write_bytes(whole[:300])
    assert reason_of(path) == "truncated"  # in the middle of the header
    write_dicom(path, pixels, tags={"PixelData": pixels.tobytes()[:-2]})
    assert reason_of(path) == "truncated"
    write_dicom(path, pixels, without=("PixelData",))
    assert reason_of(path) == "no_pixels"
    write_dicom(path, pixels, tags={"PixelData": b""})
    assert reason_of(path) == "no_pixels"
    write_dicom(path, np.zeros_like(pixels))
    assert reason_of(path) == "constant"
    write_dicom(path, pixels, tags={"Rows": 60_000, "Columns": 60_000})
    assert reason_of(path) == "too_large"
    write_dicom(path, pixels, tags={"Rows": 19_000, "Columns": 19_000})
    assert reason_of(path) == "too_large"  # 361 million pixels
    write_dicom(path, radiograph(shape=(31, 50)))
    assert reason_of(path) == "too_small"
    write_dicom(path, pixels, tags={"NumberOfFrames": 3})
    assert reason_of(path) == "multi_frame"
    write_dicom(path, pixels, tags={"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"})
    assert reason_of(path) == "colour"
    write_dicom(path, pixels, tags={"PhotometricInterpretation": "PALETTE COLOR"})
    assert reason_of(path) == "colour"
    write_dicom(path, pixels, tags={"BitsAllocated": 32})
    assert reason_of(path) == "unsupported_pixels"
    write_dicom(path, pixels, tags={"BitsStored": 17})
    assert reason_of(path) == "unsupported_pixels"
    for content in (b"", b"hello", b"\0" * 5000, bytes(range(256)) * 40, b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" * 9):
        path.write_bytes(content)
        assert reason_of(path) == "not_dicom"
    path.write_bytes(bytes(128) + b"DICM")
    assert reason_of(path) == "truncated"


@pytest.mark.parametrize("syntax", ["1.2.3.4.5", FAMILY + "102", "1.2.840.10008.1.2.4.7", FAMILY + "70.9"])
def test_unknown_transfer_syntaxes_are_refused(syntax, tmp_path, radiograph, write_dicom):
    data = write_dicom(tmp_path / "a.dcm", radiograph(), syntax=FAMILY + "70").read_bytes()
    old, new = (FAMILY + "70").encode(), syntax.encode()
    new += b"\0" * (len(new) % 2)
    at = data.index(old)
    data = data[: at - 2] + struct.pack("<H", len(new)) + new + data[at + len(old) :]
    (tmp_path / "a.dcm").write_bytes(data)
    assert reason_of(tmp_path / "a.dcm") == "unsupported_syntax"


def test_size_is_refused_before_pixels_are_read(tmp_path, radiograph, write_dicom, monkeypatch):
    path = write_dicom(tmp_path / "a.dcm", radiograph(), tags={"Rows": 20_001})
    monkeypatch.setattr(dicom, "_read_pixels", None)
    assert reason_of(path) == "too_large"
    monkeypatch.setattr(header, "MAX_SIDE", 30_000)
    assert reason_of(path) == "truncated"


def test_a_deflated_bomb_is_refused(tmp_path, radiograph, write_dicom, monkeypatch):
    path = write_dicom(tmp_path / "a.dcm", radiograph(), syntax=DEFLATED)
    data = path.read_bytes()
    meta = 144 + struct.unpack("<I", data[140:144])[0]
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(data[:meta] + deflater.compress(bytes(2_000_000)) + deflater.flush())
    monkeypatch.setattr(dicom, "MAX_FILE", 1_000_000)
    assert reason_of(path) == "too_large"
    path.write_bytes(data[:meta] + b"\xff\xff\xff\xff" * 50)
    assert reason_of(path) == "decode_failed"


def test_nothing_of_a_header_reaches_warnings_logs_or_errors(tmp_path, radiograph, write_dicom, caplog, recwarn):
    secret = "DOE^JANE"
    path = write_dicom(tmp_path / "a.dcm", radiograph(), tags={"PatientID": secret, "BodyPartExamined": "KNEE"})
    data = path.read_bytes()
    with caplog.at_level(logging.DEBUG):
        # names where numbers belong: values pydicom complains about
        for keyword in ("NumberOfFrames", "WindowCenter", "PixelSpacing", "PixelIntensityRelationshipSign"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                element = {"NumberOfFrames": 3, "WindowCenter": "11.5", "PixelSpacing": [1.5, 1.5]}.get(keyword, 1)
                write_dicom(path, radiograph(), tags={keyword: element, "PatientID": secret})
            broken = path.read_bytes().replace(b"11.5", b"DOE^").replace(b"1.5\\1.5 ", b"DOE^JANE")
            broken = broken.replace(b"IS\x02\x003 ", b"IS\x02\x00DJ")
            path.write_bytes(broken)
            try:
                message = repr(load(path))
            except ImageError as error:
                message = str(error) + repr(error.__cause__)
            assert "DOE" not in message and "JANE" not in message
        path.write_bytes(data[:400])
        with pytest.raises(ImageError) as caught:
            load(path)
        assert "DOE" not in str(caught.value)
    assert not recwarn.list
    assert "DOE" not in caplog.text


def test_threads_leave_the_warning_filters_alone(tmp_path, radiograph, write_dicom):
    from concurrent.futures import ThreadPoolExecutor

    path = write_dicom(tmp_path / "a.dcm", radiograph())
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        assert all(image.stored is not None for image in pool.map(load, [path] * 60))
    assert warnings.filters == before
    assert not logging.getLogger("pydicom").disabled
