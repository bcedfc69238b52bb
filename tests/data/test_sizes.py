"""Lists of sizes, and the poster's totals from the shipped one."""

import gzip

import numpy as np
import pyarrow as pa
import pytest

from radmae_jax.cli import main
from radmae_jax.data.manifest import COLUMNS, write_manifest
from radmae_jax.data.sizes import poster_sizes, read_size_list, read_sizes, sizes_named


def test_poster_sizes_give_the_published_totals():
    heights, widths, counts = poster_sizes()
    assert counts.sum() == 639_877
    assert (heights % 16 == 0).all() and max(heights.max(), widths.max()) <= 3072
    tokens = -(-heights // 48) * -(-widths // 48)
    assert (tokens * counts).sum() == pytest.approx(9.227e8, rel=1e-3)


@pytest.mark.parametrize("compress", [False, True])
def test_csv_forms(compress, tmp_path):
    def parse(text):
        path = tmp_path / ("s.csv.gz" if compress else "s.csv")
        path.write_bytes(gzip.compress(text.encode()) if compress else text.encode())
        return [column.tolist() for column in read_sizes(path)]

    assert parse("height,width\n10,20\n30,40\n") == [[10, 30], [20, 40], [1, 1]]
    assert parse("height,width,count\r\n10,20,5\r\n\r\n") == [[10], [20], [5]]
    assert parse("rows16,cols16,count\n2,3,4\n") == [[32], [48], [4]]


@pytest.mark.parametrize(
    ("text", "sizes", "ignored"),
    [
        ("Rows,Columns\n10,20\n", ([10], [20], [1]), ""),
        (",SOPInstanceUID,Columns,Rows,Modality\n0,1.2,20,10.0,CR\n", ([10], [20], [1]), "(no name), SOPIn"),
        ("id;Breite;Höhe;image_width;Image Height\n1;x;y;2048,0;1.5e3\n", ([1500], [2048], [1]), "id, Breite, Höhe"),
        ("width\theight\tcount\n20\t10\t3\n", ([10], [20], [3]), ""),
        ("COUNT|IMG_WIDTH|IMG_HEIGHT\n3.0|20|10\n", ([10], [20], [3]), ""),
        ("cols,rows\n20,10\n,\n\n30,40\n", ([10, 40], [20, 30], [1, 1]), ""),
        ("cols16,rows16\n3,2\n", ([32], [48], [1]), ""),
        (
            "Image Index,OriginalImage[Width,Height],View\na.png,2682,2749,PA\n",
            ([2749], [2682], [1]),
            "Image Index, View",
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_sizes_as_people_export_them(text, sizes, ignored, encoding, tmp_path, capsys):
    path = tmp_path / "s.csv"
    path.write_bytes(text.encode(encoding))
    read = read_size_list(path)
    assert tuple(column.tolist() for column in read.sizes) == sizes
    assert [column.tolist() for column in sizes_named(str(path))] == list(sizes) and capsys.readouterr().out == ""
    lines = "\n".join(read.lines())
    used = ", ".join(read.used).replace("Height], OriginalImage[Width", "OriginalImage[Width,Height]")
    assert f"sizes from columns {used}" in lines
    assert f"ignored columns: {ignored}" in lines if ignored else "ignored" not in lines
    assert ("is read as Latin-1" in lines) == (encoding == "cp1252" and not text.isascii())


def test_plan_and_savings_print_what_they_read(tmp_path, capsys):
    path = tmp_path / "s.csv"
    path.write_text("Patient;Columns;Rows\n" + "".join(f"{n};{500 + 16 * n};{700 + 16 * n}\n" for n in range(64)))
    wanted = "sizes from columns Rows, Columns; ignored columns: Patient"
    assert main(["plan", str(path), "--config=demo", "--config.bins.group=4"]) == 0
    assert wanted in capsys.readouterr().out
    assert main(["bench", "savings", "--sizes", str(path), "--shapes", "2"]) == 0
    assert wanted in capsys.readouterr().out
    path.write_bytes(b"PAR1")
    assert main(["plan", str(path)]) == 2 and "s.csv is a Parquet file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("height,Rows,width\n1,2,3\n", "line 1: .*: 2 columns may be the height: height, Rows; keep one"),
        ("rows16,height,cols16\n1,2,3\n", "2 columns may be the height: rows16, height"),
        ("rows16,width\n1,2\n", "rows16 and width are in different units; rows16 goes with cols16"),
        ("height,width,count,n_images\n1,2,3,4\n", "2 columns may be the count: count, n_images"),
        ("Rows,Columns\n1,2\n3,\n", "line 3: Columns is '', expected a whole number"),
        ("Rows,Columns\n1,2\n12.5,3\n", "line 3: Rows is '12.5', expected a whole number"),
        ("Rows,Columns\n1,2\nNaN,3\n", "line 3: Rows is 'NaN', expected a whole number"),
        ("Rows,Columns\n1_0,2\n", "line 2: Rows is '1_0'"),
        ("deep,wide\n1,2\n", "line 1: columns 'deep,wide', expected height,width"),
        ("height,width\n1,2\n3\n", "line 3: 1 values, expected 2"),
        ("height,width\n1,2\nx,3\n", "line 3: height is 'x', expected a whole number"),
        ("height,width\n1,0\n", "line 2: width is 0, expected 1 to 1000000"),
        ("rows16,cols16,count\n1,62501,1\n", "line 2: cols16 is 62501, expected 1 to 62500"),
        ("height,width,count\n1,1,-3\n", "line 2: count is -3"),
        ("deep,wide\n1,2\n", r"none is the height \(height, .*, OriginalImage\[Width,Height\]\)"),
        ("OriginalImage[Width,Height],h\n1,2,3\n", r"may be the height: OriginalImage\[Width,Height\], h; keep one"),
        ("height,width\n", "no sizes below the header"),
    ],
)
def test_bad_rows_are_named(text, message, tmp_path):
    path = tmp_path / "s.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_sizes(path)


def test_a_damaged_file_is_named(tmp_path):
    whole = gzip.compress(b"height,width\n" + b"100,200\n" * 1000)
    (tmp_path / "s.csv.gz").write_bytes(whole[:-20])
    with pytest.raises(ValueError, match=r"s\.csv\.gz cannot be read as CSV or CSV\.gz"):
        read_sizes(tmp_path / "s.csv.gz")
    (tmp_path / "t.csv").write_bytes(b"height,width\n" + b"1" * 200_000 + b",1\n")
    with pytest.raises(ValueError, match=r"t\.csv line 2: field larger than"):
        read_sizes(tmp_path / "t.csv")


def test_sizes_of_a_manifest(tmp_path):
    rows = [
        {"path": str(i), "height": h, "width": w, "patient": "p"} for i, (h, w) in enumerate([(5, 6), (7, 6), (5, 6)])
    ]
    write_manifest(pa.Table.from_pylist(rows, schema=COLUMNS), tmp_path / "m.parquet", tmp_path)
    heights, widths, counts = read_sizes(tmp_path / "m.parquet")
    assert (heights.tolist(), widths.tolist(), counts.tolist()) == ([5, 7], [6, 6], [2, 1])
    assert heights.dtype == counts.dtype == np.int64
