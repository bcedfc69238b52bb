"""Tables as people export them: every encoding and delimiter read alike, every other file named for what it is."""

import gzip
import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radmae_jax.data.tables import is_no_identifier, is_unknown, read_table

TEXT = "path,Größe\na.png,groß\nb.png,klein\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"]
)
def test_every_encoding_delimiter_and_line_end_reads_alike(encoding, delimiter, end):
    text = TEXT.replace(",", delimiter).replace("\n", end)
    for data in (text.encode(encoding), gzip.compress(text.encode(encoding))):
        table = read_table(data, "t.csv")
        assert table.columns == ("path", "Größe") and table.column("Größe") == ["groß", "klein"]
        assert table.lines == [2, 3] and table.delimiter == delimiter
        foreign = encoding in ("cp1252", "latin-1")
        assert table.remarks == (
            ("t.csv is not UTF-8 (line 1) and is read as Latin-1: check accents and umlauts",) if foreign else ()
        )


def test_big_endian_with_a_mark_and_windows_letters():
    assert read_table(b"\xfe\xff" + TEXT.encode("utf-16-be"), "t").column("path") == ["a.png", "b.png"]
    assert read_table("path,a\nx,\u201equoted\u201c\n".encode("cp1252"), "t").column("a") == ["\u201equoted\u201c"]
    assert read_table(b"path,a\nx,\x81\n", "t").column("a") == ["\x81"]  # not even Windows has this one


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(
        st.lists(st.text("ab \n\"',;|\täß\u4e2d", max_size=6), min_size=2, max_size=2), min_size=1, max_size=6
    ),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)  # fmt: skip
def test_what_csv_writes_is_read(cells, delimiter, encoding):
    import csv

    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["one", "two"], *cells])
    data = file.getvalue().encode(encoding)
    stripped = [[cell.strip() for cell in row] for row in cells]
    assert read_table(data, "t").rows == [row for row in stripped if any(row)]


def test_lines_are_those_of_the_file():
    table = read_table(b'path,note\n\n"a","two\nlines"\n  \n,\nb,x\n', "t")
    assert table.rows == [["a", "two\nlines"], ["b", "x"]] and table.lines == [3, 7]
    assert table.where(1) == "t line 7"


def test_the_delimiter_is_the_one_that_the_rows_agree_on():
    assert read_table(b"path,finding|side\na.png,x\nb.png,y\n", "t").columns == ("path", "finding|side")
    assert read_table(b"path;finding, side\na.png;x\n", "t").columns == ("path", "finding, side")
    assert read_table(b'"path,name";score\na.png;0,5\n', "t").rows == [["a.png", "0,5"]]
    assert read_table(b"Image Index,Finding Labels\na.png,Mass|Nodule\n", "t").rows == [["a.png", "Mass|Nodule"]]
    assert read_table(b"path\na.png\n", "t").rows == [["a.png"]]
    excel = read_table(b"sep=;\npath;a,b\nx;1\n", "t")
    assert excel.columns == ("path", "a,b") and excel.lines == [3]
    with pytest.raises(
        ValueError, match=r"t line 1: the header has comma \(1\) and semicolon \(1\) and its rows do not"
    ):
        read_table(b"path,a;b\nx,1;2\n", "t")


@pytest.mark.parametrize(
    "header", [b",path,a", b"Unnamed: 0,path,a", b'"",path,a', b"Unnamed: 0.1,path,a", b"path,Unnamed: 0,a"]
)
def test_the_index_column_of_pandas_is_ignored(header):
    table = read_table(header + b"\n" + (b"x,0,1\n" if header.startswith(b"path") else b"0,x,1\n"), "t")
    assert table.columns == ("path", "a") and table.rows == [["x", "1"]]
    assert table.ignored in (("(no name)",), ("Unnamed: 0",), ("Unnamed: 0.1",))


def _zip(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "t.csv is empty"),
        (b"\xef\xbb\xbf \n\n", "t.csv is empty"),
        (_zip("[Content_Types].xml", "xl/workbook.xml"), r"t.csv is an Excel workbook \(.xlsx\)"),
        (_zip("a.csv"), "t.csv is a zip archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), r"t.csv is an Excel workbook \(.xls\)"),
        (b"PAR1" + bytes(40) + b"PAR1", "t.csv is a Parquet file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "t.csv is a Git LFS pointer"),
        (b"\n <!DOCTYPE html><html></html>", "t.csv is an HTML page"),
        (b"<?xml version='1.0'?><a/>", "t.csv is an XML file"),
        (b'[{"path": "a.png", "a": 1}]', "t.csv is a JSON file"),
        (b'{\n "path": {"0": "a"}}', "t.csv is a JSON file"),
        (b"%PDF-1.7\n", "t.csv is a PDF document"),
        (b"SQLite format 3\0", "t.csv is an SQLite database"),
        (bytes(128) + b"DICM" + bytes(9), "t.csv is a DICOM file"),
        (bytes(range(256)) * 9, "t.csv line 1: a NUL character; the file is binary"),
        (b"path,a\nx,1\ny,\0\n", "t.csv line 3: a NUL character"),
        (b"path,a\nx,\x07\n", "t.csv line 2: control character 0x07"),
        (b"\xff\xfe" + "path,a\nx,1".encode("utf-16-le")[:-1], "t.csv is UTF-16 by its first bytes and damaged"),
        (b"\x1f\x8bxx", "t.csv cannot be read as CSV or CSV.gz"),
        (b'path,a\nx,1\ny,"2\nz,3\n', "t.csv line 3: a quote is opened there and never closed"),
        (b'path,a\nx,"1" 2\n', "t.csv line 2: ',' expected after"),
        (b"path,a,a\nx,1,2\n", "t.csv line 1: column names are empty or not distinct: 'a' occurs 2 times"),
        (b"path,a,\nx,1,2\n", "t.csv line 1: column names are empty or not distinct: column 3 of 3 has no name"),
        (b"path,a\nx,1\ny\n", "t.csv line 3: 1 cells, expected 2"),
        (b"path,a\nx,1,2\n", "t.csv line 2: 3 cells, expected 2"),
    ],
)  # fmt: skip
def test_other_files_and_malformed_ones_are_named(data, message):
    with pytest.raises(ValueError, match=message):
        read_table(data, "t.csv")


def test_an_empty_last_column_is_ignored_and_a_header_of_r_is_named():
    for text in (b"path,a,\nx,1,\ny,2,\n", b"path,a\nx,1,\ny,2,\n"):
        table = read_table(text, "t.csv")
        assert table.columns == ("path", "a") and table.rows == [["x", "1"], ["y", "2"]]
        assert table.ignored == ("(no name)",)
    with pytest.raises(ValueError, match="column 3 of 3 has no name"):
        read_table(b"path,a,\nx,1,\ny,2,3\n", "t.csv")
    with pytest.raises(ValueError, match=r"line 1: the header has 2 names and every row 3 cells, as R's write\.table"):
        read_table(b'"path" "a"\n'.replace(b" ", b",") + b'"1","x",2\n"2","y",3\n', "t.csv")
    with pytest.raises(ValueError, match="line 3: 3 cells, expected 2"):
        read_table(b"path,a\nx,1\ny,2,3\n", "t.csv")


def test_a_table_without_rows_is_named():
    table = read_table(b"path,a\n", "t.csv")
    with pytest.raises(ValueError, match=r"t\.csv: no rows below the header"):
        table.refuse_empty()


def test_values_for_unknown():
    for text in ("", " ", "NA", "n/a", "NaN", "nan", "NULL", "None", "Unknown", "?", "-", ".", "<NA>", "#N/A", " na "):
        assert is_unknown(text) and is_no_identifier(text), text
    for text in ("#NULL!", "NaT", "n.a.", "#N/A N/A", "1.#IND", "-1.#IND", "#VALUE!", "#REF!"):
        assert is_unknown(text) and is_no_identifier(text), text
    for text in ("0", "no", "none", "normal", "nano", "--x", "N", "negative"):
        assert not is_unknown(text), text
    assert is_no_identifier("none") and is_no_identifier("NONE") and not is_no_identifier("0")
