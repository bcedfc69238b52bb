"""Headers as other people's files have them: the right grey scale, or a refusal that names element and value."""

import struct

import numpy as np
import pytest
from pydicom.dataset import Dataset

from radmae_jax.data.dicom import load
from radmae_jax.data.image_error import ImageError
from radmae_jax.data.images import inspect, read_image
from radmae_jax.data.intensity import to_grey

XA, XRF, BIPLANE = (f"1.2.840.10008.5.1.4.1.1.12.{n}" for n in (1, 2, 3))
ENHANCED_XA, DX = "1.2.840.10008.5.1.4.1.1.12.1.1", "1.2.840.10008.5.1.4.1.1.1.1"
FAMILY = "1.2.840.10008.1.2.4."


def element(group, number, vr, value, order="<"):
    """One element under explicit encoding; a representation of two letters that nobody knows gets 32 bits of length."""
    value += b"\0" * (len(value) % 2)
    short = vr in ("AE", "AS", "CS", "DA", "DS", "IS", "LO", "PN", "SH", "SS", "UI", "US", "UL")
    head = struct.pack(f"{order}HH", group, number) + vr.encode()
    return head + (struct.pack(f"{order}H", len(value)) if short else struct.pack(f"{order}HI", 0, len(value))) + value


def implicit(group, number, value):
    return struct.pack("<HHI", group, number, len(value)) + value


def item(content):
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content)) + content


def file_of(path, pixels, extra, bits=None):
    """A DICOM file put together byte by byte: `extra` are further elements, by (group, number)."""
    bits = bits or pixels.dtype.itemsize * 8
    signed = pixels.dtype.kind == "i"
    allocated = pixels.dtype.itemsize * 8
    elements = {
        (0x0008, 0x0016): element(0x0008, 0x0016, "UI", DX.encode()),
        (0x0008, 0x0060): element(0x0008, 0x0060, "CS", b"DX"),
        (0x0020, 0x000D): element(0x0020, 0x000D, "UI", b"1.2.3"),
        (0x0028, 0x0004): element(0x0028, 0x0004, "CS", b"MONOCHROME2"),
    }
    for number, value in (
        (0x0010, pixels.shape[0]), (0x0011, pixels.shape[1]), (0x0100, allocated), (0x0101, bits),
        (0x0102, bits - 1), (0x0103, int(signed)),
    ):  # fmt: skip
        elements[0x0028, number] = element(0x0028, number, "US", struct.pack("<H", value))
    elements |= extra
    meta = element(0x0002, 0x0010, "UI", b"1.2.840.10008.1.2.1")
    body = b"".join(value for _, value in sorted(elements.items()))
    data = element(0x7FE0, 0x0010, "OW", pixels.tobytes())
    path.write_bytes(bytes(128) + b"DICM" + meta + body + data)
    return path


def lut_item(descriptor, data, data_vr="OW"):
    dataset = Dataset()
    dataset.LUTDescriptor = descriptor
    dataset["LUTDescriptor"].VR = "SS" if min(descriptor) < 0 else "US"
    dataset.LUTData = data
    dataset["LUTData"].VR = data_vr
    return dataset


def words(values):
    return np.asarray(values, "<u2").tobytes()


def flags_of(path):
    return set(filter(None, load(path, pixels=False).header.facts.flags.split(",")))


# Modality LUT of XA and XRF


@pytest.mark.parametrize(
    ("sop_class", "modality", "relationship", "applied"),
    [
        (XA, "XA", "LOG", False),
        (XA, "XA", "DISP", False),
        (XA, "XA", "LIN", True),
        (XA, "XA", None, True),
        (XRF, "RF", "LOG", False),
        (XRF, "OT", "LOG", False),
        (BIPLANE, "XA", "DISP", False),
        (DX, "XA", "LOG", True),  # by SOP class, not by modality
        (DX, "DX", "LOG", True),
    ],
)
def test_the_modality_lut_of_angiography_is_no_part_of_display(
    sop_class, modality, relationship, applied, tmp_path, radiograph, write_dicom
):
    table = np.linspace(4095, 0, 4096).astype(int)
    tags = {
        "SOPClassUID": sop_class, "Modality": modality, "WindowCenter": 2048, "WindowWidth": 4096,
        "ModalityLUTSequence": [lut_item([4096, 0, 16], words(table))],
    }  # fmt: skip
    if relationship:
        tags["PixelIntensityRelationship"] = relationship
    pixels = radiograph()
    image = read_image(write_dicom(tmp_path / "a.dcm", pixels, tags=tags))
    shown = table[pixels] if applied else pixels
    expected = np.clip((shown - 2047.5) / 4095 + 0.5, 0, 1) * 65535
    assert np.abs(image - expected).max() <= 0.5 + 1e-6


def test_rescale_and_functional_groups_of_angiography(tmp_path, radiograph, write_dicom):
    pixels = radiograph()
    tags = {"WindowCenter": 2048, "WindowWidth": 4096, "RescaleSlope": 0.5, "RescaleIntercept": 100}
    plain = read_image(write_dicom(tmp_path / "a.dcm", pixels, tags=tags | {"SOPClassUID": XA}))
    log = {"SOPClassUID": XA, "PixelIntensityRelationship": "LOG"}
    skipped = read_image(write_dicom(tmp_path / "b.dcm", pixels, tags=tags | log))
    assert plain.mean() < 0.6 * skipped.mean()
    properties, group = Dataset(), Dataset()
    properties.PixelIntensityRelationship = "DISP"
    group.FramePixelDataPropertiesSequence = [properties]
    enhanced = tags | {"SOPClassUID": ENHANCED_XA, "PerFrameFunctionalGroupsSequence": [group]}
    np.testing.assert_array_equal(read_image(write_dicom(tmp_path / "c.dcm", pixels, tags=enhanced)), skipped)
    # the class that the file meta information names, where the data set names none
    path = write_dicom(tmp_path / "d.dcm", pixels, tags=tags | {"PixelIntensityRelationship": "LOG"})
    data = path.read_bytes()
    cr = b"UI\x1a\x001.2.840.10008.5.1.4.1.1.1\0"
    assert data.count(cr) == 2
    at = data.rindex(cr) - 4
    path.write_bytes((data[:at] + data[at + len(cr) + 4 :]).replace(cr, element(2, 2, "UI", XA.encode())[4:], 1))
    np.testing.assert_array_equal(read_image(path), skipped)


def test_windows_and_rescale_in_functional_groups(tmp_path, radiograph, write_dicom):
    pixels = radiograph()
    rescale, window, frame, shared = Dataset(), Dataset(), Dataset(), Dataset()
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = "2", "-100", "US"
    window.WindowCenter, window.WindowWidth, window.VOILUTFunction = "3000", "2000", "LINEAR_EXACT"
    frame.FrameVOILUTSequence = [window]
    shared.PixelValueTransformationSequence = [rescale]
    tags = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": [frame]}
    image = read_image(write_dicom(tmp_path / "a.dcm", pixels, tags=tags))
    expected = np.clip((pixels * 2.0 - 100 - 3000) / 2000 + 0.5, 0, 1) * 65535
    assert np.abs(image - expected).max() <= 0.5 + 1e-6
    tags = {"SharedFunctionalGroupsSequence": [frame], "WindowCenter": "1000", "WindowWidth": "500"}
    grey = load(write_dicom(tmp_path / "b.dcm", pixels, tags=tags)).header.grey
    assert (grey.center, grey.width) == (1000, 500)  # the data set's own comes first
    # what has no window hides none: an empty item, a centre without a width
    empty, hollow = Dataset(), Dataset()
    hollow.FrameVOILUTSequence = [empty]
    tags = {
        "SharedFunctionalGroupsSequence": [frame],
        "PerFrameFunctionalGroupsSequence": [hollow],
        "WindowCenter": "9",
    }
    grey = load(write_dicom(tmp_path / "c.dcm", pixels, tags=tags)).header.grey
    assert (grey.center, grey.width, grey.function) == (3000, 2000, "LINEAR_EXACT")


# LUTs


def test_a_lut_without_a_table_is_none(tmp_path, radiograph, write_dicom):
    pixels, empty, half = radiograph(), Dataset(), Dataset()
    empty.LUTDescriptor, empty.ModalityLUTType, empty.LUTData = None, "", None
    empty["LUTDescriptor"].VR, empty["LUTData"].VR = "US", "OW"
    half.LUTDescriptor = [4096, 0, 16]
    half["LUTDescriptor"].VR = "US"
    expected = read_image(write_dicom(tmp_path / "a.dcm", pixels))
    for number, items in enumerate(([empty], [half], [Dataset()], [])):
        for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
            path = write_dicom(tmp_path / f"{number}.dcm", pixels, tags={keyword: items})
            np.testing.assert_array_equal(read_image(path), expected)
            assert flags_of(path) == ({"empty_lut"} if items else set())
    # an empty item before the table
    table = lut_item([4096, 0, 12], words(np.arange(4095, -1, -1)))
    image = read_image(write_dicom(tmp_path / "b.dcm", pixels, tags={"VOILUTSequence": [empty, table]}))
    np.testing.assert_array_equal(image, np.rint((4095 - pixels) / 4095 * 65535))


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("entries", [100, 4096, 32767, 40000, 65536])
def test_lut_sequences_written_as_un_of_any_length(keyword, undefined, entries, tmp_path):
    """PS3.5 6.2.2: implicit little endian inside, whatever is around."""
    rng = np.random.default_rng(entries)
    pixels = rng.integers(0, 1 << 16, (40, 50)).astype("<u2")
    table = np.sort(rng.integers(0, 1 << 16, entries)).astype("<u2")
    table[-1] = 65535
    content = implicit(0x0028, 0x3002, struct.pack("<3H", entries & 0xFFFF, 0, 16)) + implicit(
        0x0028, 0x3006, table.tobytes()
    )
    number = 0x3010 if keyword == "VOILUTSequence" else 0x3000
    value = item(content)
    if undefined:
        value = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + content + b"\xfe\xff\x0d\xe0\0\0\0\0"
        head = struct.pack("<HH2sHI", 0x0028, number, b"UN", 0, 0xFFFFFFFF)
        raw = head + value + b"\xfe\xff\xdd\xe0\0\0\0\0"
    else:
        raw = element(0x0028, number, "UN", value)
    path = file_of(tmp_path / "a.dcm", pixels, {(0x0028, number): raw})
    image = load(path)
    looked_up = table[np.minimum(pixels, entries - 1)]
    if keyword == "VOILUTSequence":
        np.testing.assert_array_equal(read_image(path), looked_up)
    else:
        assert image.header.grey.modality_lut is not None
        np.testing.assert_array_equal(image.header.grey.modality_lut.apply(pixels.astype(float)), looked_up)


def test_a_un_sequence_that_is_explicit_inside_is_read_too(tmp_path):
    pixels = np.arange(2000, dtype="<u2").reshape(40, 50)
    inside = element(0x0028, 0x3002, "US", struct.pack("<3H", 2000, 0, 12)) + element(
        0x0028, 0x3006, "OW", words(np.arange(2000)[::-1])
    )
    raw = element(0x0028, 0x3010, "UN", item(inside))
    image = load(file_of(tmp_path / "a.dcm", pixels, {(0x0028, 0x3010): raw}, bits=12))
    assert image.header.grey.voi_lut is not None
    np.testing.assert_array_equal(image.header.grey.voi_lut.entries, np.arange(2000)[::-1])


@pytest.mark.parametrize("vr", ["US", "SS"])
@pytest.mark.parametrize(
    ("dtype", "intercept", "first"),
    [("<u2", 0, 40000), ("<u2", 0, 32768), ("<i2", 0, -300), ("<u2", -1024, -1024), ("<u2", -1024, 40000)],
)
def test_the_first_mapped_value_has_the_sign_of_the_pixels(vr, dtype, intercept, first, tmp_path):
    rng = np.random.default_rng(1)
    low = -32768 if dtype == "<i2" else 0
    pixels = rng.integers(low, low + 65536, (40, 50)).astype(dtype)
    table = np.linspace(0, 65535, 20000).astype("<u2")
    raw = item(
        element(0x0028, 0x3002, vr, struct.pack("<H", 20000) + struct.pack("<H", first & 0xFFFF) + b"\x10\0")
        + element(0x0028, 0x3006, "OW", table.tobytes())
    )
    extra = {(0x0028, 0x3010): element(0x0028, 0x3010, "SQ", raw)}
    if intercept:
        extra[0x0028, 0x1052] = element(0x0028, 0x1052, "DS", str(intercept).encode())
        extra[0x0028, 0x1053] = element(0x0028, 0x1053, "DS", b"1")
    path = file_of(tmp_path / "a.dcm", pixels, extra)
    index = np.clip(pixels.astype(int) + intercept - first, 0, 19999)
    np.testing.assert_array_equal(read_image(path), table[index])
    wrong = (vr == "SS" and first > 32767) or (vr == "US" and first < 0)
    assert flags_of(path) == ({"lut_first"} if wrong else set())


@pytest.mark.parametrize(
    ("declared", "used", "trusted"),
    [
        (16, 12, False),  # as deep as the pixels
        (16, 8, False),
        (14, 10, False),
        (15, 12, False),
        (8, 12, False),  # deeper than declared
        (0, 12, False),
        (40, 12, False),
        (12, 12, True),
        (16, 15, True),  # dim, as it may be meant
        (16, 14, True),
        (12, 10, True),
    ],
)
def test_a_voi_lut_that_would_be_black_is_scaled_by_its_entries(
    declared, used, trusted, tmp_path, radiograph, write_dicom
):
    pixels, top = radiograph(), (1 << (declared if trusted else used)) - 1
    table = np.rint(np.linspace(3, (1 << used) - 1, 4096)).astype(int)
    path = write_dicom(
        tmp_path / "a.dcm", pixels, tags={"VOILUTSequence": [lut_item([4096, 0, declared], words(table))]}
    )
    np.testing.assert_array_equal(read_image(path), np.rint(table[pixels] / top * 65535))
    assert flags_of(path) == (set() if trusted else {"lut_bits"})


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
def test_descriptors_that_disagree_with_the_data(keyword, tmp_path, radiograph, write_dicom):
    pixels = radiograph()
    table = np.arange(4095, -1, -1)

    def entries(descriptor, data):
        tags = {keyword: [lut_item(descriptor, data)]}
        grey = load(write_dicom(tmp_path / "a.dcm", pixels, tags=tags)).header.grey
        lut = grey.voi_lut if keyword == "VOILUTSequence" else grey.modality_lut
        assert lut is not None
        return lut.entries

    # fewer entries than declared (0 is 65,536): what is there, the last value going on; more: as declared
    for declared in (0, 5000, 4097):
        np.testing.assert_array_equal(entries([declared, 0, 12], words(table)), table)
        assert "lut_entries" in flags_of(tmp_path / "a.dcm")
    np.testing.assert_array_equal(entries([4000, 0, 12], words(table)), table[:4000])
    assert "lut_entries" in flags_of(tmp_path / "a.dcm")
    # a byte an entry, whatever the descriptor says of bits
    narrow = (table >> 4).astype(np.uint8)
    for bits in (8, 16):
        np.testing.assert_array_equal(entries([4096, 0, bits], narrow.tobytes()), narrow)
        assert "lut_entries" not in flags_of(tmp_path / "a.dcm")
    odd = np.arange(255, dtype=np.uint8)
    np.testing.assert_array_equal(entries([255, 0, 8], odd.tobytes() + b"\0"), odd)
    assert "lut_entries" not in flags_of(tmp_path / "a.dcm")


def test_a_lut_that_cannot_be_read_costs_the_file_only_where_it_is_needed(tmp_path, radiograph, write_dicom):
    pixels = radiograph()
    expected = read_image(write_dicom(tmp_path / "a.dcm", pixels))
    short = Dataset()
    short.LUTDescriptor, short.LUTData = [4096, 0], words(range(4096))
    short["LUTDescriptor"].VR, short["LUTData"].VR = "US", "OW"
    path = write_dicom(tmp_path / "b.dcm", pixels, tags={"VOILUTSequence": [short]})
    np.testing.assert_array_equal(read_image(path), expected)
    assert flags_of(path) == {"voi_lut"}
    message = r"LUTDescriptor \(0028,3002\) of ModalityLUTSequence is '4096\\0', expected three numbers"
    with pytest.raises(ImageError, match=message):
        read_image(write_dicom(tmp_path / "c.dcm", pixels, tags={"ModalityLUTSequence": [short]}))
    rubbish = {(0x0028, 0x3000): element(0x0028, 0x3000, "SQ", b"rubbish of bytes")}
    with pytest.raises(ImageError, match=r"ModalityLUTSequence \(0028,3000\) has 16 bytes and no item"):
        load(file_of(tmp_path / "d.dcm", pixels, rubbish, bits=12))


# Elements that are not needed


@pytest.mark.parametrize(
    ("values", "circle"),
    [
        ((b"100.0\\80.0", b"70"), (100, 80, 70)),
        ((b" 20 \\22", b"15.0 "), (20, 22, 15)),
        ((b"", b"70"), None),
        ((b"100\\80", b""), None),
        ((b"100", b"70"), None),
        ((b"100\\80\\3", b"70"), None),
        ((b"abc\\80", b"70"), None),
        ((b"1e300\\80", b"70"), None),
        ((b"\\", b"70"), None),
    ],
)
def test_shutters_are_read_or_left_out(values, circle, tmp_path, radiograph):
    extra = {
        (0x0018, 0x1600): element(0x0018, 0x1600, "CS", b"CIRCULAR"),
        (0x0018, 0x1610): element(0x0018, 0x1610, "IS", values[0]),
        (0x0018, 0x1612): element(0x0018, 0x1612, "IS", values[1]),
    }
    path = file_of(tmp_path / "a.dcm", radiograph(), extra, bits=12)
    shutter = load(path).header.grey.shutter
    assert (shutter.circle if shutter else None) == circle
    assert ("shutter" in flags_of(path)) == (circle is None)
    assert read_image(path).shape == (48, 53)


def test_one_odd_shutter_shape_leaves_the_others(tmp_path, radiograph):
    edges = {(0x0018, 0x1602 + 2 * i): element(0x0018, 0x1602 + 2 * i, "IS", v) for i, v in enumerate(
        (b"3.0", b"40", b"2", b"44.4")
    )}  # fmt: skip
    extra = edges | {
        (0x0018, 0x1600): element(0x0018, 0x1600, "CS", b"RECTANGULAR\\polygonal\\BITMAP"),
        (0x0018, 0x1620): element(0x0018, 0x1620, "IS", b"1\\1\\1\\40\\40"),
    }
    path = file_of(tmp_path / "a.dcm", radiograph(), extra, bits=12)
    shutter = load(path).header.grey.shutter
    assert shutter is not None and shutter.rectangle == (3, 40, 2, 44) and not shutter.polygon
    assert flags_of(path) == {"shutter"}


@pytest.mark.parametrize("vr", ["ZZ", "QQ", "O9"])
@pytest.mark.parametrize("long", [True, False])
@pytest.mark.parametrize("place", [(0x0009, 0x1011), (0x0029, 0x1011), (0x7FDF, 0x1001)])
def test_unknown_value_representations_are_skipped(vr, long, place, tmp_path, radiograph):
    """PS3.5 6.2: representations to come have 32 bits of length; some private ones of old have 16."""
    value = b"some twelve!"
    head = struct.pack("<HH2s", *place, vr.encode())
    raw = head + (struct.pack("<HI", 0, len(value)) if long else struct.pack("<H", len(value))) + value
    path = file_of(tmp_path / "a.dcm", radiograph(), {place: raw}, bits=12)
    np.testing.assert_array_equal(load(path).stored, radiograph())
    # within a sequence too, and as a sequence of undefined length
    content = raw + element(0x0040, 0x0009, "SH", b"x")
    nested = element(
        *place, "SQ", item(content) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + raw + b"\xfe\xff\x0d\xe0\0\0\0\0"
    )
    unending = struct.pack("<HH2sHI", *place, vr.encode(), 0, 0xFFFFFFFF) + item(b"") + b"\xfe\xff\xdd\xe0\0\0\0\0"
    for raw in (nested, unending):
        path = file_of(tmp_path / "a.dcm", radiograph(), {place: raw}, bits=12)
        np.testing.assert_array_equal(load(path).stored, radiograph())


@pytest.mark.parametrize("vr", [b"??", b"  ", b"\0\0", b"-1", b"XX"])
@pytest.mark.parametrize("value", [b"", b"ab", b"\1\0\2\0", bytes(8), b"some text of 22 bytes."])
def test_illegal_representations_of_16_bits_are_skipped_in_large_files_too(vr, value, tmp_path, radiograph):
    """Random pixels behind the header lead nowhere, whatever a wrong length points at."""
    raw = struct.pack("<HH2sH", 0x0011, 0x1001, vr, len(value)) + value
    pixels = np.random.default_rng(0).integers(0, 65536, (900, 800)).astype("<u2")
    path = file_of(tmp_path / "a.dcm", pixels, {(0x0011, 0x1001): raw})
    np.testing.assert_array_equal(load(path).stored, pixels)


def test_an_unknown_representation_before_a_lower_tag_is_skipped(tmp_path, radiograph):
    raw = element(0x0029, 0x1011, "ZZ", b"some value") + element(0x0029, 0x1001, "LO", b"lower")
    path = file_of(tmp_path / "a.dcm", radiograph(), {(0x0029, 0x1011): raw}, bits=12)
    np.testing.assert_array_equal(load(path).stored, radiograph())


@pytest.mark.parametrize("inside", [implicit, lambda group, number, value: element(group, number, "LO", value)])
@pytest.mark.parametrize("item_undefined", [False, True])
def test_un_of_undefined_length_is_skipped_however_it_is_written_inside(inside, item_undefined, tmp_path, radiograph):
    content = inside(0x0009, 0x0010, b"private!") + inside(0x0009, 0x1001, b"value")
    held = (
        b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + content + b"\xfe\xff\x0d\xe0\0\0\0\0" if item_undefined else item(content)
    )
    raw = struct.pack("<HH2sHI", 0x0029, 0x1001, b"UN", 0, 0xFFFFFFFF) + held + b"\xfe\xff\xdd\xe0\0\0\0\0"
    path = file_of(tmp_path / "a.dcm", radiograph(), {(0x0029, 0x1001): raw}, bits=12)
    np.testing.assert_array_equal(load(path).stored, radiograph())


@pytest.mark.parametrize(
    "meta",
    [element(2, 0x0099, "UC", b"x" * 20), element(2, 0x0099, "ZZ", b"x" * 20), element(2, 0x0102, "OB", bytes(90_000))],
)
def test_deflated_files_with_any_meta_information(meta, tmp_path, radiograph, write_dicom):
    path = write_dicom(tmp_path / "a.dcm", radiograph(), syntax="1.2.840.10008.1.2.1.99")
    data = path.read_bytes()
    end = 144 + struct.unpack("<I", data[140:144])[0]
    path.write_bytes(data[:end] + meta + data[end:])
    image = load(path)
    np.testing.assert_array_equal(image.stored, radiograph())
    assert image.header.syntax == "1.2.840.10008.1.2.1.99"


def test_an_element_of_an_unknown_representation_that_is_needed_is_read(tmp_path, radiograph):
    pixels = radiograph()
    rows = element(0x0028, 0x0010, "ZZ", struct.pack("<H", 48))
    mixed = implicit(0x0028, 0x0011, struct.pack("<H", 53))  # implicit in the middle of explicit ones
    path = file_of(tmp_path / "a.dcm", pixels, {(0x0028, 0x0010): rows, (0x0028, 0x0011): mixed}, bits=12)
    np.testing.assert_array_equal(load(path).stored, pixels)


@pytest.mark.parametrize(
    ("place", "vr", "value"),
    [
        ((0x0028, 0x0008), "IS", b"abc"),
        ((0x0028, 0x0008), "IS", b"0"),
        ((0x0028, 0x0102), "US", b""),
        ((0x0028, 0x0120), "US", b"\1"),
        ((0x0028, 0x1050), "DS", b"a\\b"),
        ((0x0028, 0x1052), "DS", b"zero"),  # nothing is in its units
        ((0x0018, 0x1164), "DS", b"0,143\\0,143"),
        ((0x0028, 0x0034), "IS", b"none"),
        ((0x0028, 0x1041), "SS", b"\x07\0"),
        ((0x0008, 0x0005), "CS", b"ISO_IR 999"),
        ((0x0028, 0x3010), "SQ", b"\xfe\xff\x00\xe0\x08\0\0\0rubbish!"),
    ],
)
def test_an_element_that_is_not_needed_never_costs_the_file(place, vr, value, tmp_path, radiograph):
    path = file_of(tmp_path / "a.dcm", radiograph(), {place: element(*place, vr, value)}, bits=12)
    np.testing.assert_array_equal(load(path).stored, radiograph())
    np.testing.assert_array_equal(read_image(path), read_image(file_of(tmp_path / "b.dcm", radiograph(), {}, bits=12)))


@pytest.mark.parametrize(
    ("place", "vr", "value", "message"),
    [
        ((0x0028, 0x0010), "US", b"", r"Rows \(0028,0010\) is empty, expected a whole number"),
        ((0x0028, 0x0011), "DS", b"53.5", r"Columns \(0028,0011\) is '53\.5', expected a whole number"),
        ((0x0028, 0x0100), "CS", b"DOE^JANE", r"BitsAllocated \(0028,0100\) is a text of 8 characters"),
        ((0x0028, 0x0101), "US", b"\x11\0", r"BitsStored \(0028,0101\) is 17, BitsAllocated \(0028,0100\) 16"),
        ((0x0028, 0x0008), "IS", b"3", r"NumberOfFrames \(0028,0008\) is 3, limit 1"),
        ((0x0028, 0x0002), "US", b"\3\0", r"SamplesPerPixel \(0028,0002\) is 3"),
        ((0x0028, 0x0103), "CS", b"signed", r"PixelRepresentation \(0028,0103\) is a text of 6 characters"),
        ((0x0028, 0x0010), "US", b"\0\0", r"Rows \(0028,0010\) x Columns \(0028,0011\) are 0 x 53 pixels, at least 32"),
        ((0x0028, 0x0011), "US", b"\xff\xff", r"Columns \(0028,0011\) are 48 x 65535 pixels, limit 20000 a side"),
    ],
)
def test_errors_name_element_and_value(place, vr, value, message, tmp_path, radiograph):
    path = file_of(tmp_path / "a.dcm", radiograph(), {place: element(*place, vr, value)}, bits=12)
    with pytest.raises(ImageError, match=message):
        load(path)


def test_a_rescale_that_cannot_be_read_is_refused_where_a_window_is_in_its_units(tmp_path, radiograph):
    extra = {(0x0028, 0x1053): element(0x0028, 0x1053, "DS", b"1,5")}
    assert load(file_of(tmp_path / "a.dcm", radiograph(), extra, bits=12)).header.facts.flags == "element"
    for number, value in ((0x1050, b"2000"), (0x1051, b"3000")):
        extra[0x0028, number] = element(0x0028, number, "DS", value)
    with pytest.raises(ImageError, match=r"RescaleSlope \(0028,1053\) is '1,5', expected a number"):
        load(file_of(tmp_path / "a.dcm", radiograph(), extra, bits=12))


def test_the_second_window_stands_in_for_a_first_that_is_empty(tmp_path, radiograph):
    extra = {(0x0028, n): element(0x0028, n, "DS", v) for n, v in ((0x1050, b"\\2000"), (0x1051, b"\\900"))}
    grey = load(file_of(tmp_path / "a.dcm", radiograph(), extra, bits=12)).header.grey
    assert (grey.center, grey.width) == (2000, 900)


# Pixels that are not square


@pytest.mark.parametrize(
    ("place", "value", "aspect", "shape"),
    [
        ((0x0028, 0x0034), b"2\\1", 2.0, (96, 53)),
        ((0x0028, 0x0034), b"1\\2", 0.5, (48, 106)),
        ((0x0028, 0x0034), b"1.5\\1.0", 1.5, (72, 53)),
        ((0x0018, 0x1164), b"0.2\\0.1", 2.0, (96, 53)),
        ((0x0028, 0x0034), b"1\\1", 1.0, (48, 53)),
        ((0x0018, 0x1164), b"0.143\\0.1435", 1.0, (48, 53)),
        ((0x0028, 0x0034), b"0\\1", 1.0, (48, 53)),
        ((0x0028, 0x0034), b"200\\1", 1.0, (48, 53)),
    ],
)
def test_pixels_that_are_not_square_are_squared_or_refused(place, value, aspect, shape, tmp_path):
    rows, columns = np.mgrid[:48, :53]
    pixels = (rows * 60 + columns * 20).astype("<u2")
    path = file_of(tmp_path / "a.dcm", pixels, {place: element(*place, "DS", value)}, bits=12)
    facts = inspect(path).facts
    assert (facts.pixel_aspect, facts.height, facts.width) == (aspect, *shape)
    image = read_image(path)
    assert image.shape == shape and ("non_square" in facts.flags) == (aspect != 1.0)
    plain = to_grey(pixels, load(path).header.grey, "voi").astype(float)
    # a ramp stays a ramp: the middle of the image is where it was
    assert image[shape[0] // 2, shape[1] // 2] == pytest.approx(plain[24, 26], rel=0.05)
    if aspect == 1.0:
        assert read_image(path, pixel_aspect="refuse").shape == shape
    else:
        with pytest.raises(ImageError, match=f"pixels {aspect:.4g} times as high as wide, expected square"):
            read_image(path, pixel_aspect="refuse")


def test_spacing_says_more_than_the_aspect_ratio(tmp_path, radiograph, write_dicom):
    tags = {"PixelSpacing": [0.2, 0.2], "PixelAspectRatio": [3, 1]}
    assert inspect(write_dicom(tmp_path / "a.dcm", radiograph(), tags=tags)).facts.pixel_aspect == 1.0
    with pytest.raises(ValueError, match="pixel_aspect 'stretch': expected one of square, refuse"):
        read_image(tmp_path / "a.dcm", pixel_aspect="stretch")
