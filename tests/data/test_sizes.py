"""Lists of sizes, and the poster's totals from the shipped one."""

import gzip

import numpy as np
import pyarrow as pa
import pytest

from radmae_jax.data.manifest import COLUMNS, write_manifest
from radmae_jax.data.sizes import poster_sizes, read_sizes


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
    ("text", "message"),
    [
        ("deep,wide\n1,2\n", "line 1: columns 'deep,wide', expected height,width"),
        ("height,width\n1,2\n3\n", "line 3: 1 values, expected 2"),
        ("height,width\n1,2\nx,3\n", "line 3: height is 'x', expected a whole number"),
        ("height,width\n1,0\n", "line 2: width is 0, expected 1 to 1000000"),
        ("rows16,cols16,count\n1,62501,1\n", "line 2: cols16 is 62501, expected 1 to 62500"),
        ("height,width,count\n1,1,-3\n", "line 2: count is -3"),
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
