"""Compressed data that are cut or have gaps are refused, also with an end marker behind; padding changes nothing."""

import io

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from radmae_jax.data import codecs
from radmae_jax.data.codecs import ImageError, Layout
from radmae_jax.data.dicom import load
from radmae_jax.data.images import inspect, read_image
from radmae_jax.data.jpeg import decode_jpeg
from radmae_jax.data.jpeg2000_stream import check_codestream
from radmae_jax.data.jpeg_stream import read_stream

FAMILY = "1.2.840.10008.1.2.4."
END = b"\xff\xd9"
# (transfer syntax, bits): every process that decoders fill in silence, and those that refuse by themselves
CODECS = [("50", 8), ("51", 12), ("57", 12), ("70", 16), ("70", 8), ("80", 12), ("90", 12), ("91", 16), ("201", 12)]


def encoded(end, bits, pixels, encode):
    if end == "50":
        return bytes(imagecodecs.jpeg8_encode(pixels, level=90))
    if end == "51":
        return bytes(imagecodecs.jpeg8_encode(pixels, level=95, bitspersample=12))
    return bytes(encode(pixels, FAMILY + end, bits))


def layout_of(pixels, bits):
    return Layout(*pixels.shape, pixels.dtype.itemsize * 8, bits, bits - 1, False)


@pytest.fixture(scope="module", params=CODECS, ids=lambda codec: f"{codec[0]}-{codec[1]}")
def stream(request, encode):
    """(transfer syntax, layout, frame, decoded): a noisy image with a black border, as collimation leaves it."""
    end, bits = request.param
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:240, :230]
    image = (np.sin(rows / 40) + np.cos(columns / 30) + 2) / 4 + rng.normal(0, 0.02, rows.shape)
    image[-60:] = 0
    pixels = np.rint(np.clip(image, 0, 1) * ((1 << bits) - 1)).astype("u1" if bits <= 8 else "u2")
    frame = encoded(end, bits, pixels, encode)
    layout = layout_of(pixels, bits)
    return FAMILY + end, layout, frame, codecs.decode_frame(frame, FAMILY + end, layout)


def refused(frame, syntax, layout, pixels):
    """Whether a frame is refused; one whose gap was filled with what stood there is as good as new."""
    try:
        return np.array_equal(codecs.decode_frame(frame, syntax, layout), pixels)
    except ImageError as error:
        return error.reason in ("truncated", "damaged", "decode_failed")


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_cut_scan_is_refused_whatever_stands_behind(stream, share):
    syntax, layout, frame, pixels = stream
    cut = frame[: int(len(frame) * share)]
    missing = len(frame) - len(cut)
    for tail in (b"", END, bytes(missing), bytes(missing - 2) + END, END + bytes(9), b"\xff" * (missing - 2) + END):
        assert refused(cut + tail, syntax, layout, pixels)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.6])
@pytest.mark.parametrize("size", [512, 4096])
def test_a_scan_with_a_gap_is_refused(stream, share, size):
    syntax, layout, frame, pixels = stream
    at = int(len(frame) * share)
    size = min(size, (len(frame) - at) // 2)
    for gap in (b"", bytes(size), b"\xff" * size):
        assert refused(frame[:at] + gap + frame[at + size :], syntax, layout, pixels)


@pytest.mark.parametrize(
    "padding", [b"\0", bytes(7), bytes(5000), b"\xff" * 999, bytes(4096) + END, b"any bytes " * 800]
)
def test_complete_frames_are_read_with_any_padding_behind(stream, padding):
    syntax, layout, frame, pixels = stream
    np.testing.assert_array_equal(codecs.decode_frame(frame + padding, syntax, layout), pixels)


def test_a_second_codestream_is_another_frame(stream):
    syntax, layout, frame, _ = stream
    for between in (b"", b"\0", bytes(100)):
        with pytest.raises(ImageError, match="multi_frame: a second codestream"):
            codecs.decode_frame(frame + between + frame, syntax, layout)


def test_rle_that_is_cut_and_filled_up_is_refused(radiograph, encode):
    pixels = radiograph(shape=(120, 130))
    frame = encode(pixels, codecs.RLE, 12)
    layout = layout_of(pixels, 12)
    for share in (0.2, 0.5, 0.9):
        cut = frame[: int(len(frame) * share)]
        for tail in (b"", bytes(len(frame) - len(cut))):
            with pytest.raises(ImageError) as caught:
                codecs.decode_frame(cut + tail, codecs.RLE, layout)
            assert caught.value.reason in ("truncated", "decode_failed")


def test_rle_segments_give_exactly_one_byte_a_pixel(radiograph, encode):
    pixels = radiograph(bits=8, shape=(120, 130))
    frame = encode(pixels, codecs.RLE, 8)
    layout = layout_of(pixels, 8)
    for padding in (b"\0", bytes(2), bytes(5000)):
        np.testing.assert_array_equal(codecs.decode_frame(frame + padding, codecs.RLE, layout), pixels)
    middle = len(frame) // 2
    for broken in (
        frame[:middle] + frame[middle - 200 :],
        frame + frame,
        frame[:middle] + bytes(800) + frame[middle + 800 :],
    ):
        with pytest.raises(ImageError) as caught:
            codecs.decode_frame(broken, codecs.RLE, layout)
        assert caught.value.reason in ("truncated", "damaged", "decode_failed")


def jpeg(image, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", **({"quality": 90} | options))
    return buffer.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_rows": 2}])
@pytest.mark.parametrize("colour", [False, True])
def test_plain_jpeg_files(options, colour, tmp_path, radiograph):
    grey = radiograph(bits=8, shape=(160, 200))
    data = jpeg(np.stack([grey] * 3, -1) if colour else grey, **options)
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    whole = read_image(path)
    for padding in (bytes(1), bytes(5000), b"\xff\xd8\xff\xe0 a second picture, as phones put it there" * 200):
        path.write_bytes(data + padding)
        np.testing.assert_array_equal(read_image(path), whole)
    for share in (0.3, 0.5, 0.8):
        cut = data[: int(len(data) * share)]
        for tail in (b"", END, bytes(len(data) - len(cut) - 2) + END):
            path.write_bytes(cut + tail)
            with pytest.raises(ImageError) as caught:
                inspect(path)
            assert caught.value.reason in ("truncated", "damaged")


def test_the_end_marker_of_a_thumbnail_is_not_the_images(tmp_path, radiograph):
    grey = radiograph(bits=8, shape=(160, 200))
    exif = b"Exif\0\0" + jpeg(radiograph(3, bits=8))
    data = jpeg(grey, exif=exif)
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    assert read_image(path).shape == (160, 200)
    at = data.index(exif) + len(exif)
    for cut in (at + 300, at + 1000, at + 3000):
        path.write_bytes(data[:cut])
        assert END in path.read_bytes()[-4096:]
        with pytest.raises(ImageError, match="truncated: no end marker"):
            inspect(path)
        with pytest.raises(ImageError, match="truncated: no end marker"):
            inspect(path, headers_only=True)


def test_warnings_of_a_header_hide_none_of_a_scan(tmp_path, radiograph):
    """An odd JFIF version, a bad colour profile and scan parameters that nobody reads are harmless, and only those."""
    grey = radiograph(bits=8, shape=(160, 200))
    data = jpeg(grey)
    start = data.index(b"\xff\xda")
    profile = b"\xff\xe2\0\x20ICC_PROFILE\0\x05\x02" + bytes(16)
    odd = {
        "version": data[:11] + b"\x02\x01" + data[13:],
        "profile": data[:20] + profile + data[20:],
        "parameters": data[: start + 7] + b"\0\0\x11" + data[start + 10 :],
        "zeros": data[:20] + bytes(2) + data[20:],
    }
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    expected = read_image(path)
    for stream in odd.values():
        path.write_bytes(stream)
        np.testing.assert_array_equal(read_image(path), expected)
        for cut in (len(stream) // 2, len(stream) * 3 // 4):
            path.write_bytes(stream[:cut] + END)
            with pytest.raises(ImageError, match="damaged"):
                inspect(path)


def test_progressive_streams_need_all_their_scans(tmp_path, radiograph):
    data = jpeg(np.stack([radiograph(bits=8, shape=(160, 200))] * 3, -1), progressive=True)
    scans = read_stream(data).scans
    assert len(scans) > 5
    path = tmp_path / "a.jpg"
    for number in range(len(scans) - 1):
        path.write_bytes(data[: scans[number].stop] + END)
        with pytest.raises(ImageError, match="damaged: the scans of"):
            inspect(path)
    for number in range(len(scans)):
        before = scans[number - 1].stop if number else data.index(b"\xff\xda")
        path.write_bytes(data[:before] + data[scans[number].stop :])
        with pytest.raises(ImageError, match="damaged"):
            inspect(path)


def test_other_processes_are_refused(radiograph):
    data = jpeg(radiograph(bits=8))
    at = data.index(b"\xff\xc0")
    arithmetic = data[: at + 1] + b"\xc9" + data[at + 2 :]
    with pytest.raises(ImageError, match="unsupported_syntax: JPEG process C9"):
        decode_jpeg(arithmetic, read_stream(arithmetic))


def test_regular_patterns_in_jpeg_2000_and_lossless_jpeg_are_no_gaps(encode):
    """Their data hold long runs of zeros; so do bypassed bits and empty packets."""
    row, column = np.indices((256, 512))
    patterns = [(((column // n + row // n) % 2) * 3000 + 10).astype(np.uint16) for n in (1, 2, 4, 8, 16, 64)]
    patterns += [(4000 - column).astype(np.uint16), (row * 7).astype(np.uint16), (column % 32 == 0) * np.uint16(900)]
    for pixels in patterns:
        for end in ("57", "70", "90", "201"):
            frame = bytes(encode(pixels, FAMILY + end, 12))
            np.testing.assert_array_equal(codecs.decode_frame(frame, FAMILY + end, layout_of(pixels, 12)), pixels)


def test_jpeg_2000_markers_within_tile_parts_are_no_damage(radiograph, encode):
    """SOP segments count packets, and their last byte may be FF; a comment may hold anything."""
    pixels = radiograph(shape=(200, 220))
    frame = bytes(encode(pixels, FAMILY + "90", 12))
    at = frame.index(b"\xff\x90")
    length = int.from_bytes(frame[at + 6 : at + 10], "big")
    comment = b"\xff\x64\0\x08\0\1\xff\x93\xff\xd9"
    commented = frame[: at + 6] + (length + len(comment)).to_bytes(4, "big") + frame[at + 10 : at + 12] + comment
    commented += frame[at + 12 :]
    layout = layout_of(pixels, 12)
    np.testing.assert_array_equal(codecs.decode_frame(commented, FAMILY + "90", layout), pixels)
    unsized = frame[: at + 6] + bytes(4) + frame[at + 10 :]  # up to the end marker
    for padding in (b"", bytes(9), END * 2):
        np.testing.assert_array_equal(codecs.decode_frame(unsized + padding, FAMILY + "90", layout), pixels)
    start = frame.index(b"\xff\x93") + 2
    sop = b"\xff\x91\x00\x04\x00\xff\xfe"  # packet 255, and a header that begins with FE
    check_codestream(frame[: at + 6] + (length + 7).to_bytes(4, "big") + frame[at + 10 : start] + sop + frame[start:])


def test_png_files_with_padding_and_gaps(tmp_path, radiograph):
    pixels = radiograph(bits=16, shape=(160, 200))
    data = imagecodecs.png_encode(pixels)
    end = data[-12:]
    path = tmp_path / "a.png"
    for padding in (bytes(1), bytes(5000), b"IEND" * 3000):
        path.write_bytes(data + padding)
        np.testing.assert_array_equal(read_image(path), pixels)
    for broken in (data[:5000], data[:5000] + end, data[:5000] + bytes(4000) + data[9000:], data[:-12], data[:-6]):
        path.write_bytes(broken)
        with pytest.raises(ImageError) as caught:
            inspect(path)
        assert caught.value.reason in ("truncated", "decode_failed")


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_jpeg_takes_the_bytes_that_its_values_need(predictor, bits, radiograph):
    """The count of bits is exact: one byte less is missed in every predictor."""
    pixels = radiograph(bits=bits, shape=(60, 70))
    frame = bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=predictor, bitspersample=bits))
    layout = layout_of(pixels, bits)
    np.testing.assert_array_equal(codecs.decode_frame(frame, FAMILY + "57", layout), pixels)
    found = read_stream(frame)
    scan = found.scans[0]
    for shorter in (frame[: scan.stop - 8] + frame[scan.stop :], frame[: scan.stop] + bytes(9) + frame[scan.stop :]):
        with pytest.raises(ImageError, match=r"damaged: .* bytes of entropy-coded data; the decoded frame takes"):
            codecs.decode_frame(shorter, FAMILY + "57", layout)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(["flat", "ramp", "checks", "noise", "constant"]),
    quality=st.integers(1, 100),
    options=st.fixed_dictionaries({"optimize": st.booleans(), "progressive": st.booleans()}),
    rows=st.integers(0, 3),
)
def test_what_encoders_write_is_never_refused(seed, kind, quality, options, rows, encode):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(33, 150, 2))
    row, column = np.indices(shape)
    pixels = {
        "flat": np.where((row // 17 + column // 13) % 2, 60, 61),
        "ramp": column * 255 // shape[1],
        "checks": (row + column) % 2 * 255,
        "noise": rng.integers(0, 256, shape),
        "constant": (row + column == 0) * 9,
    }[kind].astype(np.uint8)
    data = jpeg(pixels, quality=quality, **options, **({"restart_marker_rows": rows} if rows else {}))
    assert decode_jpeg(data, read_stream(data)).shape == shape
    for end in ("57", "70", "90", "201"):
        frame = bytes(encode(pixels, FAMILY + end, 8))
        np.testing.assert_array_equal(codecs.decode_frame(frame, FAMILY + end, layout_of(pixels, 8)), pixels)
    layered = io.BytesIO()
    Image.fromarray(pixels).save(
        layered, "JPEG2000", no_jp2=True, quality_mode="rates", quality_layers=[60, 20, 5, 1], tile_size=(64, 64),
        precinct_size=(32, 32), codeblock_size=(16, 16),
    )  # fmt: skip
    assert codecs.decode_frame(layered.getvalue(), FAMILY + "91", layout_of(pixels, 8)).shape == shape


# More pixel data than the header says


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"])
@pytest.mark.parametrize("times", [2, 3, 10])
@pytest.mark.parametrize("shape", [(48, 53), (33, 35)])
def test_pixel_data_of_several_images_are_refused(syntax, times, shape, tmp_path, radiograph, write_dicom):
    pixels = radiograph(bits=8, shape=shape)
    data = pixels.tobytes() * times
    path = write_dicom(
        tmp_path / "a.dcm", pixels, bits=8, syntax=syntax, tags={"PixelData": data + b"\0" * (len(data) % 2)}
    )
    for headers_only in (True, False):
        with pytest.raises(
            ImageError, match=rf"unsupported_pixels: .* bytes of pixels, {times} times the {pixels.size} of"
        ):
            inspect(path, headers_only=headers_only)


def test_rle_segments_of_several_images_are_refused(radiograph, encode):
    pixels = radiograph()
    frame = encode(np.concatenate([pixels] * 2), codecs.RLE, 12)
    with pytest.raises(ImageError, match="unsupported_pixels: 5088 bytes of pixels, 2 times the 2544 of one image"):
        codecs.decode_frame(frame, codecs.RLE, layout_of(pixels, 12))


def test_padding_that_makes_no_image_is_flagged(tmp_path, radiograph, write_dicom):
    pixels = radiograph()
    for extra, flags in ((0, ""), (2, "extra_pixel_data"), (1000, "extra_pixel_data")):
        path = write_dicom(tmp_path / "a.dcm", pixels, tags={"PixelData": pixels.tobytes() + bytes(extra)})
        image = load(path)
        np.testing.assert_array_equal(image.stored, pixels)
        assert image.header.facts.flags == flags


# Codestreams that are deeper than BitsStored


@pytest.mark.parametrize("end", ["51", "57", "70", "80", "81", "90", "91", "201", "202", "203"])
def test_a_deeper_codestream_is_trusted(end, tmp_path, radiograph, write_dicom, encode):
    """One rule for all codecs: neither modulo 2^BitsStored nor clipped."""
    bits, stored = (12, 10) if end == "51" else (14, 12)
    pixels = radiograph(bits=bits)
    frame = encoded(end, bits, pixels, encode)
    path = write_dicom(tmp_path / "a.dcm", pixels, syntax=FAMILY + end, bits=stored, frame=frame)
    image = load(path)
    assert image.stored is not None
    if end == "51":
        assert np.abs(image.stored.astype(int) - pixels).max() < 100
    else:
        np.testing.assert_array_equal(image.stored, pixels)
    assert (image.header.facts.bits, image.header.grey.bits) == (bits, bits)
    assert image.header.facts.flags == "deep_codestream"
    shown = read_image(path, intensity="full_range")
    assert np.abs(shown - image.stored / ((1 << bits) - 1) * 65535.0).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("end", ["70", "80", "90", "201"])
@pytest.mark.parametrize("signed", [False, True])
def test_a_codestream_with_room_to_spare_keeps_bits_stored(end, signed, tmp_path, radiograph, write_dicom, encode):
    """16 bits of precision, values of 12: common, and nothing odd."""
    pixels = radiograph(bits=12, signed=signed)
    frame = encode(pixels, FAMILY + end, 16)
    image = load(write_dicom(tmp_path / "a.dcm", pixels, syntax=FAMILY + end, bits=12, frame=frame))
    np.testing.assert_array_equal(image.stored, pixels)
    assert (image.header.facts.bits, image.header.facts.flags) == (12, "")


@pytest.mark.parametrize("end", ["70", "80", "90"])
def test_signed_values_that_exceed_bits_stored_keep_their_sign(end, tmp_path, radiograph, write_dicom, encode):
    pixels = radiograph(bits=14, signed=True)
    frame = encode(pixels, FAMILY + end, 16)
    image = load(write_dicom(tmp_path / "a.dcm", pixels, syntax=FAMILY + end, bits=12, frame=frame))
    np.testing.assert_array_equal(image.stored, pixels)
    assert (image.header.facts.bits, image.header.facts.flags) == (14, "deep_codestream")


def test_eight_bits_declared_and_twelve_there(tmp_path, radiograph, write_dicom, encode):
    pixels = radiograph(bits=12)
    path = write_dicom(
        tmp_path / "a.dcm", pixels.astype("u1"), syntax=FAMILY + "90", bits=8, frame=encode(pixels, FAMILY + "90", 12)
    )
    np.testing.assert_array_equal(load(path).stored, pixels)
    assert read_image(path).dtype == np.uint16


def test_overlays_in_a_codestream_are_cleared_where_the_header_declares_them(tmp_path, radiograph, write_dicom, encode):
    pixels = radiograph(bits=12)
    drawn = (pixels | ((pixels % 3 == 0).astype(np.uint16) << 12)).astype(np.uint16)
    frame = encode(drawn, FAMILY + "70", 16)
    tags = {"OverlayBitPosition": 12}
    path = write_dicom(tmp_path / "a.dcm", pixels, syntax=FAMILY + "70", frame=frame)
    assert load(path).header.facts.flags == "deep_codestream"
    from pydicom import dcmread

    dataset = dcmread(path)
    dataset.add_new(0x60000102, "US", tags["OverlayBitPosition"])
    dataset.save_as(path)
    image = load(path)
    np.testing.assert_array_equal(image.stored, pixels)
    assert image.header.facts.flags == ""


def test_lossy_overshoot_is_clipped_and_flagged(radiograph):
    layout = Layout(1, 4, 16, 10, 9, False)
    flags: set[str] = set()
    header = codecs.Codestream(1, 4, 16, False, 1)
    from radmae_jax.data.stored_bits import fit_codestream

    over = np.array([[0, 1023, 1024, 1060]], np.uint16)
    assert fit_codestream(over, layout, header, lossy=True, flags=flags).tolist() == [[0, 1023, 1023, 1023]]
    assert flags == {"overshoot"}
    flags.clear()
    assert fit_codestream(over, layout, header, lossy=False, flags=flags).tolist() == over.tolist()
    assert flags == {"deep_codestream"}


def test_bits_outside_bits_stored_are_cleared_and_flagged(tmp_path, radiograph, write_dicom):
    pixels = radiograph(bits=12)
    dirty = (pixels | 1 << 14).astype(np.uint16)
    image = load(write_dicom(tmp_path / "a.dcm", dirty))
    np.testing.assert_array_equal(image.stored, pixels)
    assert image.header.facts.flags == "unused_bits"
    signed = radiograph(bits=12, signed=True)  # bits that repeat the sign are no rubbish
    image = load(write_dicom(tmp_path / "b.dcm", signed))
    np.testing.assert_array_equal(image.stored, signed)
    assert image.header.facts.flags == ""
