"""Files of every kind to one dtype, and the hash of their pixels."""

import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from radmae_jax.data.codecs import ImageError
from radmae_jax.data.images import hash_pixels, inspect, read_image

FAMILY = "1.2.840.10008.1.2.4."


def png(path, pixels):
    path.write_bytes(imagecodecs.png_encode(pixels))
    return path


def jpeg(path, image, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=98, **options)
    path.write_bytes(buffer.getvalue())
    return path


def test_png_keeps_its_values(tmp_path, radiograph):
    small, deep = radiograph(bits=8), radiograph(bits=16)
    np.testing.assert_array_equal(read_image(png(tmp_path / "a.png", small), dtype="uint8"), small)
    wide = read_image(tmp_path / "a.png")
    assert wide.dtype == np.uint16
    np.testing.assert_array_equal(wide, small.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(png(tmp_path / "b.png", deep)), deep)
    np.testing.assert_array_equal(read_image(tmp_path / "b.png", dtype="uint8"), deep >> 8)
    np.testing.assert_array_equal(read_image(tmp_path / "b.png", intensity="full_range"), deep)


def test_colour_becomes_luminance_and_transparency_is_dropped(tmp_path, radiograph):
    grey = radiograph(bits=8)
    for channels in (1, 2, 3, 4):
        stack = np.stack([grey] * channels, -1)
        if channels in (2, 4):
            stack[..., -1] = 9
        np.testing.assert_array_equal(read_image(png(tmp_path / "a.png", stack.squeeze()), dtype="uint8"), grey)
    colour = np.zeros((40, 40, 3), np.uint16)
    colour[:20, :, 1] = 10_000
    colour[20:, :, 2] = 10_000
    assert read_image(png(tmp_path / "c.png", colour))[[0, 30], 0].tolist() == [5870, 1140]
    Image.fromarray(grey).convert("P").save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_image(tmp_path / "p.png", dtype="uint8"), grey)


def test_jpeg_grey_and_colour(tmp_path, radiograph):
    grey = radiograph(bits=8)
    for image in (grey, np.stack([grey] * 3, -1)):
        for options in ({}, {"progressive": True}):
            decoded = read_image(jpeg(tmp_path / "a.jpg", image, **options), dtype="uint8")
            assert np.abs(decoded.astype(int) - grey).max() <= 12
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees: ignored
    assert read_image(jpeg(tmp_path / "b.jpg", grey, exif=exif)).shape == grey.shape
    facts = inspect(tmp_path / "b.jpg", headers_only=True).facts
    assert (facts.height, facts.width, facts.bits, facts.syntax, facts.lossy) == (*grey.shape, 8, "jpeg", True)


def test_content_decides_not_the_name(tmp_path, radiograph, write_dicom):
    pixels = radiograph(bits=16)
    png(tmp_path / "a.dcm", pixels)
    write_dicom(tmp_path / "b.png", pixels, bits=16)
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm"), pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "b.png", intensity="full_range"), pixels)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_dtypes_of_dicom(bits, tmp_path, radiograph, write_dicom):
    path = write_dicom(tmp_path / "a.dcm", radiograph(bits=bits), bits=bits)
    for intensity in ("voi", "percentile", "full_range", "poster"):
        wide = read_image(path, intensity=intensity)
        narrow = read_image(path, intensity=intensity, dtype="uint8")
        assert (wide.dtype, narrow.dtype) == (np.uint16, np.uint8)
        assert wide.min() == narrow.min() == 0
        assert (wide.max(), narrow.max()) == (65535, 255)
        np.testing.assert_array_equal(wide >> 8, narrow)


def test_policies_of_png(tmp_path):
    pixels = np.full((50, 50), 100, np.uint8)
    pixels[:25], pixels[30] = 50, 20
    path = png(tmp_path / "a.png", pixels)
    assert read_image(path, dtype="uint8").max() == 100
    assert read_image(path, intensity="percentile", dtype="uint8").max() == 255
    assert read_image(path, intensity="poster", dtype="uint8")[[0, 49], 0].tolist() == [128, 255]
    with pytest.raises(ValueError, match="intensity 'best'"):
        read_image(path, intensity="best")
    with pytest.raises(ValueError, match="dtype 'float32': expected uint8 or uint16"):
        read_image(path, dtype="float32")


def test_the_hash_is_of_values_not_of_their_encoding(tmp_path, radiograph, write_dicom):
    pixels = radiograph()
    hashes = {
        inspect(write_dicom(tmp_path / "a.dcm", pixels, syntax=syntax)).pixel_hash
        for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5", FAMILY + "70", FAMILY + "201")
    }
    hashes.add(inspect(write_dicom(tmp_path / "b.dcm", pixels.astype(np.int16), bits=16)).pixel_hash)
    hashes.add(inspect(png(tmp_path / "c.png", pixels)).pixel_hash)
    assert len(hashes) == 1
    assert hash_pixels(pixels.reshape(53, 48)) not in hashes
    assert hash_pixels(pixels + np.uint16(1)) not in hashes
    assert inspect(tmp_path / "a.dcm", headers_only=True).pixel_hash is None


def test_damaged_png_and_jpeg_have_their_reason(tmp_path, radiograph):
    grey = radiograph(bits=8)

    def reason(path, content):
        path.write_bytes(content)
        with pytest.raises(ImageError) as caught:
            inspect(path)
        return caught.value.reason

    whole = imagecodecs.png_encode(grey)
    path = tmp_path / "a"
    assert reason(path, whole[: len(whole) // 2]) == "truncated"
    assert reason(path, whole[:100] + bytes(200) + whole[300:]) == "decode_failed"
    assert reason(path, whole[:16] + (70_000).to_bytes(4, "big") + whole[20:]) == "too_large"
    assert reason(path, imagecodecs.png_encode(np.zeros((40, 40), np.uint8))) == "constant"
    assert reason(path, imagecodecs.png_encode(grey[:20])) == "too_small"
    whole = jpeg(path, grey).read_bytes()
    assert reason(path, whole[: len(whole) // 2]) == "truncated"
    assert reason(path, whole[:3]) == "decode_failed"
    buffer = io.BytesIO()
    Image.fromarray(grey).convert("CMYK").save(buffer, "JPEG")
    assert reason(path, buffer.getvalue()) == "colour"


def test_an_image_of_padding_and_one_value_is_refused_by_the_index_too(tmp_path, write_dicom):
    pixels = np.zeros((40, 40), np.uint16)
    pixels[:10] = 500
    path = write_dicom(tmp_path / "a.dcm", pixels, tags={"PixelPaddingValue": 0})
    with pytest.raises(ImageError, match="constant: 1 distinct"):
        inspect(path)
    with pytest.raises(ImageError, match="constant: 1 distinct"):
        read_image(path)
