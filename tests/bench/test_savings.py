"""What each policy computes: figures by hand, the poster's, and any list of sizes through the command."""

import csv
import gzip
import json
from importlib.resources import files

import numpy as np
import pytest

from radmae_jax.bench.poster import poster_table
from radmae_jax.bench.savings import savings
from radmae_jax.cli import main
from radmae_jax.config import Model
from radmae_jax.data.sizes import poster_sizes
from radmae_jax.model.flops import training_flops

KEYS = [
    "name", "shapes", "programs", "tokens", "tokens_pct", "poster_compute_pct", "squared_pct", "flops_pct",
    "seconds_pct", "saving_vs_fixed", "lengths",
]  # fmt: skip


def _sizes(*rows):
    return tuple(np.array(column, np.int64) for column in zip(*rows, strict=True))


def test_by_hand():
    """Three images of 1 x 1 patches, one of 2 x 3 and one of 4 x 1, of 48 pixels."""
    model = Model()
    found = savings(_sizes((48, 40, 3), (90, 144, 1), (192, 30, 1)), model, shapes=(1, 2))
    names = ["padded_to_patch", "fixed", "poster_dbb", "grid_1", "grid_2", "tokens_1", "tokens_2"]
    assert [policy.name for policy in found.policies] == names
    by_name = {policy.name: policy for policy in found.policies}
    # 3 x 1 + 6 + 4; five of 4 x 4; five of 24 x 24; five of 4 x 3; rows at 1 and 4: 3 x 3 + 2 x 12; 3 x 1 + 2 x 6.
    tokens = {"padded_to_patch": 13, "fixed": 80, "poster_dbb": 2880, "grid_1": 60, "tokens_1": 30, "tokens_2": 15}
    assert {name: by_name[name].tokens for name in tokens} == tokens
    # Two shapes: bands of 1 and 4 rows 3 columns wide (3 x 3 + 2 x 12), or of 1 and 3 columns 4 rows high
    # (3 x 4 + 4 + 12): the second is 28.
    assert by_name["grid_2"].tokens == 28 and found.edges["grid_2"] == ((192,), (48, 144))
    assert (by_name["padded_to_patch"].shapes, by_name["padded_to_patch"].programs) == (3, 3)
    assert by_name["tokens_2"].lengths == (1, 6)
    two = by_name["tokens_2"]
    assert two.tokens_pct == pytest.approx(100 * 15 / 13)
    assert two.poster_compute_pct == pytest.approx(100 * (15 / 13) ** 2)
    assert two.squared_pct == pytest.approx(100 * (3 + 2 * 36) / (3 + 36 + 16))
    one, four, six = (float(training_flops(n, model)) for n in (1, 4, 6))
    assert two.flops_pct == pytest.approx(100 * (3 * one + 2 * six) / (3 * one + six + four))
    assert two.saving_vs_fixed.poster == pytest.approx(100 * (1 - (15 / 80) ** 2))
    fixed = 5 * float(training_flops(16, model))
    assert two.saving_vs_fixed.flops == pytest.approx(100 * (1 - (3 * one + 2 * six) / fixed))
    assert two.seconds_pct is None and two.saving_vs_fixed.seconds is None


def test_the_poster_as_printed():
    table = poster_table(poster_sizes())
    assert [round(row.tokens_pct) for row in table.rows] == [100, 284, 119]
    assert [round(row.poster_compute_pct) for row in table.rows] == [100, 807, 142]
    assert [float(f"{row.tokens:.3g}") for row in table.rows] == pytest.approx([9.22e8, 2.62e9, 1.10e9], rel=0.002)
    assert round(table.saving_pct) == 82
    assert table.flops_saving_pct == pytest.approx(66.82, abs=0.01)
    for row in table.rows:
        assert (round(row.tokens_pct), round(row.poster_compute_pct)) == (
            row.published_tokens_pct,
            row.published_compute_pct,
        )


def test_other_sizes_move_every_figure_of_the_poster(tmp_path, capsys):
    """Nothing is written down: one image in ten made smaller changes all but the 100 %."""
    shipped = gzip.decompress(files("radmae_jax.data").joinpath("poster_sizes_16px.csv.gz").read_bytes()).decode()
    header, *rows = list(csv.reader(shipped.splitlines()))
    changed = [[str(max(1, int(r) // 2)), c, n] if at % 10 == 0 else [r, c, n] for at, (r, c, n) in enumerate(rows)]
    (tmp_path / "s.csv.gz").write_bytes(gzip.compress("\n".join(map(",".join, [header, *changed])).encode()))
    assert main(["bench", "poster", "--json", str(tmp_path / "a.json")]) == 0
    arguments = ["bench", "poster", "--sizes", str(tmp_path / "s.csv.gz"), "--json", str(tmp_path / "b.json")]
    assert main(arguments) == 0
    assert "in brackets: as printed" in capsys.readouterr().out
    a, b = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    for name in ("saving_pct", "tokens_saving_pct", "flops_saving_pct"):
        assert abs(a[name] - b[name]) > 0.01
    for old, new in zip(a["rows"], b["rows"], strict=True):
        if old["name"] != "padded_to_patch":
            assert abs(old["tokens_pct"] - new["tokens_pct"]) > 1 and old["name"] == new["name"]
            assert abs(old["poster_compute_pct"] - new["poster_compute_pct"]) > 1
        if old["name"] != "fixed":  # as many images at 3,072 x 3,072 as before
            assert old["tokens"] != new["tokens"]


def test_the_posters_archive_at_its_optimum():
    found = savings(poster_sizes(), Model())
    assert (found.sizes.images, found.sizes.patch, found.sizes.left_out) == (639_877, 48, 0)
    tokens = {k: found.named(f"tokens_{k}").tokens_pct for k in (16, 24, 36)}
    assert tokens[16] <= 106.0 and tokens[24] <= 103.9 and tokens[36] <= 102.4
    assert found.named("tokens_16").saving_vs_fixed.flops >= 70.9
    assert found.named("poster_dbb").saving_vs_fixed.flops == pytest.approx(66.82, abs=0.01)
    assert found.named("padded_to_patch").saving_vs_fixed.flops == pytest.approx(73.00, abs=0.01)
    dbb = found.named("poster_dbb")
    assert (dbb.shapes, dbb.programs) == (36, 20)
    # At equal shapes: the poster's bins, the best bins a side, the best lengths.
    assert dbb.tokens_pct > found.named("grid_36").tokens_pct > tokens[36]


def test_tables_are_optimal_in_what_is_asked_for():
    sizes = poster_sizes()
    model = Model()
    by_tokens, by_flops = (
        savings(sizes, model, shapes=(8,), cost=cost) for cost in (None, lambda n: training_flops(n, model))
    )
    a, b = by_tokens.named("tokens_8"), by_flops.named("tokens_8")
    assert a.tokens_pct < b.tokens_pct and a.flops_pct > b.flops_pct
    a, b = by_tokens.named("grid_8"), by_flops.named("grid_8")
    assert a.tokens_pct <= b.tokens_pct and a.flops_pct >= b.flops_pct
    quantum = savings(sizes, model, shapes=(16,), quantum=128)
    assert all(n % 128 == 0 for n in quantum.named("tokens_16").lengths)
    assert quantum.named("tokens_16").tokens_pct == pytest.approx(106.7, abs=0.05)


def _run(tmp_path, rows, *arguments):
    (tmp_path / "s.csv").write_text("height,width,count\n" + "\n".join(rows) + "\n")
    code = main(
        ["bench", "savings", "--sizes", str(tmp_path / "s.csv"), "--json", str(tmp_path / "o.json"), *arguments]
    )
    return json.loads((tmp_path / "o.json").read_text()) if code == 0 else code


@pytest.mark.parametrize(
    ("rows", "images", "unique"),
    [
        (["500,700,1"], 1, 1),
        (["500,700,400"], 400, 1),
        (["100,2000,3", "2000,100,2", "3000,150,1", "40,2,1"], 7, 4),  # aspects 0.05 to 20
        (["20000,300,1", "20000,20000,1", "48,48,5"], 7, 3),
    ],
)
def test_any_sizes_work(rows, images, unique, tmp_path):
    figures = _run(tmp_path, rows, "--plots", str(tmp_path / "plots"), "--markdown", str(tmp_path / "page.md"))
    assert figures["sizes"] == {"images": images, "unique": unique, "patch": 48, "left_out": 0}
    names = [policy["name"] for policy in figures["policies"]]
    kinds = [f"{kind}_{k}" for kind in ("grid", "tokens") for k in (6, 8, 12, 16, 24, 36)]
    assert names == ["padded_to_patch", "fixed", "poster_dbb", *kinds]
    for policy in figures["policies"]:
        assert list(policy) == KEYS and list(policy["saving_vs_fixed"]) == ["poster", "flops", "seconds"]
        assert policy["tokens_pct"] >= 100 and policy["flops_pct"] >= 100 - 1e-9 and policy["squared_pct"] >= 100
        assert policy["seconds_pct"] is None and policy["programs"] == len(policy["lengths"])
    for k in (6, 36):
        assert figures["policies"][names.index(f"tokens_{k}")]["programs"] <= min(k, unique)
    exact, fixed = figures["policies"][:2]
    if unique == 1:
        tokens_6 = figures["policies"][names.index("tokens_6")]
        assert exact["tokens"] == tokens_6["tokens"] == images * 11 * 15
        assert fixed["tokens"] == images * 15 * 15
    page = (tmp_path / "page.md").read_text()
    assert page.startswith(f"# {images:,} images of {unique} sizes") and page.count("\n| tokens_") == 6
    for name in ("sizes.png", "waste.png"):
        assert (tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG")


def test_the_posters_table_says_what_it_leaves_out(tmp_path, capsys):
    (tmp_path / "s.csv").write_text("height,width,count\n1000,1000,1\n4000,4000,9\n")
    assert main(["bench", "poster", "--sizes", str(tmp_path / "s.csv"), "--json", str(tmp_path / "o.json")]) == 0
    assert json.loads((tmp_path / "o.json").read_text())["left_out"] == 9
    assert "9 images with a side beyond 3,072 pixels are left out" in capsys.readouterr().out


def test_flops_as_cost_through_the_command(tmp_path, capsys):
    rows = [f"{side},{side},{1000 - side // 4}" for side in range(100, 3100, 100)]
    by = {
        cost: _run(tmp_path, [*rows, "9000,9000,1"], "--cost", cost, "--shapes", "4", "--max-side", "3072")
        for cost in ("tokens", "flops")
    }
    a, b = (figures["policies"][-1] for figures in by.values())
    assert a["tokens_pct"] < b["tokens_pct"] and a["flops_pct"] > b["flops_pct"]
    assert by["flops"]["optimal_in"] == {"cost": "flops", "quantum": 1}
    assert {"shapes", "group", "ideal_pct", "scheduled_pct"} <= set(by["flops"]["proposal"])
    assert "proposed for training: --config.bins.shapes=" in capsys.readouterr().out
    _run(tmp_path, [*rows, "9000,9000,1"])
    assert "99 % have sides up to 3,000 pixels" in capsys.readouterr().out


def test_longer_images_are_left_out_and_counted(tmp_path):
    rows = ["1000,1000,5", "3073,10,2", "10,9000,3"]
    figures = _run(tmp_path, rows, "--max-side", "3072", "--patch", "16", "--shapes", "3")
    assert figures["sizes"] == {"images": 5, "unique": 1, "patch": 16, "left_out": 5}
    by_name = {policy["name"]: policy for policy in figures["policies"]}
    assert list(by_name) == ["padded_to_patch", "fixed", "poster_dbb", "grid_3", "tokens_3"]
    assert by_name["fixed"]["lengths"] == [192 * 192]  # the side that was asked for
    whole = _run(tmp_path, rows, "--shapes", "3")
    by_name = {policy["name"]: policy for policy in whole["policies"]}
    assert by_name["fixed"]["lengths"] == [188 * 188]  # 9,000 pixels in patches of 48
    # 1,000 x 1,000 in the smallest bin; an extra bin of 65 patches for 3,073 pixels, of 188 for 9,000.
    assert by_name["poster_dbb"]["lengths"] == [24 * 24, 65 * 24, 188 * 24]


@pytest.mark.parametrize(
    ("rows", "arguments", "message"),
    [
        (["500,700,1", "500,0,1"], [], "s.csv line 3: width is 0, expected 1 to 1000000"),
        (["500,seven,1"], [], "s.csv line 2: width is 'seven', expected a whole number"),
        (["500,700,1"], ["--max-side", "400"], "all 1 images have a side beyond 400 pixels"),
        (["500,700,1"], ["--shapes", "0"], "--shapes is 0; it must be 1 or more"),
        (["500,700,1"], ["--patch", "4"], "model.patch is 4"),
        (["500,700,1"], ["--measure", "tokens_5"], "policy 'tokens_5'; there are padded_to_patch, fixed"),
    ],
)
def test_bad_input_is_named(rows, arguments, message, tmp_path, capsys):
    assert _run(tmp_path, rows, *arguments) == 2
    assert message in capsys.readouterr().err
