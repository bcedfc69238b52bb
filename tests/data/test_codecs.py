"""Every transfer syntax gives back the stored values, and damage gives a reason."""

import contextlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radmae_jax.data import codecs
from radmae_jax.data.codecs import ImageError, Layout

FAMILY = "1.2.840.10008.1.2.4."
LOSSLESS = [FAMILY + end for end in ("57", "70", "80", "81", "90", "91", "201", "202", "203")] + [codecs.RLE]


def layout_of(pixels, bits, **changes):
    fields = {
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "allocated": pixels.dtype.itemsize * 8,
        "stored": bits,
        "high_bit": bits - 1,
        "signed": pixels.dtype.kind == "i",
    }
    return Layout(**(fields | changes))


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("bits", [8, 10, 12, 15, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_syntaxes_give_back_the_stored_values(syntax, bits, signed, radiograph, encode):
    pixels = radiograph(bits, bits=bits, signed=signed)
    decoded = codecs.decode_frame(encode(pixels, syntax, bits), syntax, layout_of(pixels, bits))
    assert decoded.dtype == pixels.dtype
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize("predictor", range(1, 8))
def test_all_predictors_of_lossless_jpeg(predictor, radiograph):
    import imagecodecs

    pixels = radiograph(bits=12)
    frame = imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=predictor, bitspersample=12)
    np.testing.assert_array_equal(codecs.decode_frame(frame, FAMILY + "57", layout_of(pixels, 12)), pixels)


@pytest.mark.parametrize(("end", "bits"), [("50", 8), ("51", 8), ("51", 12)])
def test_lossy_jpeg_is_close(end, bits, radiograph):
    import imagecodecs

    pixels = radiograph(bits=bits)
    frame = imagecodecs.jpeg8_encode(pixels, level=98, bitspersample=bits)
    decoded = codecs.decode_frame(frame, FAMILY + end, layout_of(pixels, bits))
    assert np.abs(decoded.astype(int) - pixels).max() <= (1 << bits) / 50


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("big", [False, True])
def test_native_pixels_with_flags_above_and_below_keep_only_their_bits(signed, big):
    # 10 bits at 2..11: overlay bits above, rubbish below
    values = np.array([[-512, -1, 0], [1, 300, 511]]) if signed else np.array([[0, 1, 2], [300, 512, 1023]])
    container = ((values & 0x3FF) << 2 | 0b11 | 0b1010 << 12).astype(">u2" if big else "<u2")
    layout = Layout(2, 3, 16, 10, 11, signed)
    decoded = codecs.decode_native(container.tobytes(), layout, big_endian=big)
    np.testing.assert_array_equal(decoded, values)
    assert decoded.dtype == (np.int16 if signed else np.uint16)


def test_native_bytes_in_big_endian_words_are_swapped():
    layout = Layout(1, 3, 8, 8, 7, False)
    assert codecs.decode_native(bytes([2, 1, 0, 3]), layout, big_endian=True, words=True).tolist() == [[1, 2, 3]]
    assert codecs.decode_native(bytes([1, 2, 3, 0]), layout, big_endian=True).tolist() == [[1, 2, 3]]
    assert codecs.decode_native(bytes([1, 2, 3, 0, 9, 9]), layout).tolist() == [[1, 2, 3]]
    with pytest.raises(ImageError, match="truncated: 2 bytes of pixels, expected 3"):
        codecs.decode_native(bytes([1, 2]), layout)


def test_sign_of_codestream_and_header_may_differ():
    layout = Layout(1, 3, 16, 13, 12, True)
    unsigned = np.array([[6192, 0, 4095]], np.uint16)  # -2000 as 13 bits without sign (pydicom's own example)
    assert codecs.settle(unsigned, layout, 13, False, lossy=False).tolist() == [[-2000, 0, 4095]]
    signed = np.array([[-2000, 0, 4095]], np.int16)
    as_unsigned = codecs.settle(signed, Layout(1, 3, 16, 13, 12, False), 13, True, lossy=False)
    assert as_unsigned.tolist() == [[6192, 0, 4095]]


def test_lossy_overshoot_is_clipped_and_lossless_flags_are_cleared():
    values = np.array([[1023, 1024, 1030]], np.uint16)
    layout = Layout(1, 3, 16, 10, 9, False)
    assert codecs.settle(values, layout, 16, False, lossy=True).tolist() == [[1023, 1023, 1023]]
    assert codecs.settle(values, layout, 16, False, lossy=False).tolist() == [[1023, 0, 6]]
    deep = np.array([[-600, 600]], np.int16)
    assert codecs.settle(deep, Layout(1, 2, 16, 10, 9, True), 16, True, lossy=True).tolist() == [[-512, 511]]


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_half_a_frame_is_refused(syntax, radiograph, encode):
    pixels = radiograph()
    frame = encode(pixels, syntax, 12)
    with pytest.raises(ImageError) as caught:
        codecs.decode_frame(frame[: len(frame) // 2], syntax, layout_of(pixels, 12))
    assert caught.value.reason in ("truncated", "decode_failed")


def test_a_damaged_htj2k_frame_is_never_half_an_image(radiograph, encode):
    # imagecodecs.htj2k_decode gives an array back for most of these, and only prints that it failed
    pixels = radiograph(shape=(300, 300))
    frame = encode(pixels, FAMILY + "201", 12)
    refused = 0
    for place in range(200, len(frame) - 2, len(frame) // 25):
        damaged = frame[:place] + bytes([frame[place] ^ 0xFF, frame[place + 1] ^ 0xFF]) + frame[place + 2 :]
        try:
            codecs.decode_frame(damaged, FAMILY + "201", layout_of(pixels, 12))
        except ImageError:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize("syntax", LOSSLESS[:-1])
def test_a_codestream_of_another_size_is_refused_before_decoding(syntax, radiograph, encode, monkeypatch):
    pixels = radiograph()
    frame = encode(pixels, syntax, 12)
    for name in ("jpeg8_decode", "jpegls_decode", "jpeg2k_decode"):
        monkeypatch.setattr(codecs.imagecodecs, name, None)
    with pytest.raises(ImageError, match="decode_failed: codestream of 48 x 53, header says 48 x 54"):
        codecs.decode_frame(frame, syntax, layout_of(pixels, 12, width=54))


def test_colour_codestreams_and_unknown_syntaxes_are_refused():
    import imagecodecs

    frame = imagecodecs.jpeg8_encode(np.zeros((40, 40, 3), np.uint8))
    layout = Layout(40, 40, 8, 8, 7, False)
    with pytest.raises(ImageError, match="colour: 3 components"):
        codecs.decode_frame(frame, FAMILY + "50", layout)
    with pytest.raises(ImageError, match=r"unsupported_syntax: 1\.2\.3"):
        codecs.decode_frame(frame, "1.2.3", layout)
    with pytest.raises(ImageError, match="multi_frame: 2 frames"):
        codecs.join_fragments([b"a", b"b"], bytes(8))
    with pytest.raises(ValueError, match="reason 'odd'"):
        ImageError("odd", "")


@pytest.mark.parametrize("syntax", [codecs.RLE, FAMILY + "70", FAMILY + "80", FAMILY + "90", FAMILY + "201"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 255)), min_size=1, max_size=5))
def test_damaged_frames_give_an_image_or_a_reason(syntax, places, radiograph, encode):
    pixels = radiograph()
    frame = bytearray(encode(pixels, syntax, 12))
    for place, value in places:
        frame[place % len(frame)] = value
    with contextlib.suppress(ImageError):
        assert codecs.decode_frame(bytes(frame), syntax, layout_of(pixels, 12)).shape == pixels.shape
