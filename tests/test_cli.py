"""The main job as a user runs it: 300 phantoms, 60 of them broken, to a manifest, a plan, a model and pictures."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from radmae_jax.cli import main
from radmae_jax.figures import to_json

SMALL = [
    "--config=demo", "--config.model.width=32", "--config.model.layers=1", "--config.model.heads=2",
    "--config.model.decoder_width=16", "--config.model.decoder_layers=1", "--config.model.decoder_heads=2",
    "--config.bins.shapes=2", "--config.train.evaluate_every=0", "--config.train.panels_every=0",
    "--config.train.epochs=1", "--config.optim.warmup_epochs=0.5", "--config.bins.group=16",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("main_job")
    arguments = [
        "--images",
        "300",
        "--scale",
        "0.09",
        "--broken",
        "0.2",
        "--seed",
        "5",
        "--json",
        str(out / "made.json"),
    ]
    assert main(["phantom", str(out / "dicom"), *arguments]) == 0
    code = main(
        ["index", str(out / "dicom"), str(out / "m.parquet"), "--labels", str(out / "dicom" / "labels.csv"),
         "--json", str(out / "index.json")]
    )  # fmt: skip
    assert code == 0
    return out


def test_broken_files_are_quarantined_with_their_reasons(folder):
    made, indexed = (json.loads((folder / name).read_text()) for name in ("made.json", "index.json"))
    assert made["broken"] == 60 and set(made["broken_kinds"].values()) == {10}
    assert (indexed["images"], indexed["bad"]) == (240, 60)
    wanted = {"truncated", "no_pixels", "constant", "too_large", "unsupported_syntax", "not_dicom"}
    assert indexed["reasons"] == dict.fromkeys(indexed["reasons"], 10) and set(indexed["reasons"]) == wanted
    assert pq.read_table(folder / "m.parquet").num_rows == 240
    quarantine = pq.read_table(folder / "m.parquet.quarantine.parquet")
    assert quarantine.num_rows == 60 and set(quarantine["reason"].to_pylist()) == wanted


def test_trains_and_reconstructs_also_with_a_file_deleted_since(folder, capsys):
    data = f"--config.data.manifest={folder / 'm.parquet'}"
    assert main(["plan", *SMALL, data, "--json", str(folder / "plan.json"), "--draw", str(folder / "plan.png")]) == 0
    plan = json.loads((folder / "plan.json").read_text())

    split = pq.read_table(f"{folder / 'm.parquet'}.split.parquet")
    side = dict(zip(split["patient"].to_pylist(), split["side"].to_pylist(), strict=True))
    table = pq.read_table(folder / "m.parquet").to_pydict()
    train = [n for n, patient in enumerate(table["patient"]) if side[patient] == "train"]
    assert plan["images"] == len(train)
    capsys.readouterr()
    assert main(["index", str(folder / "m.parquet"), "--show", str(train[3])]) == 0
    shown = Path(capsys.readouterr().out.strip())
    assert shown == folder / "dicom" / table["path"][train[3]]
    shown.unlink()

    run = folder / "run"
    assert main(["pretrain", *SMALL, data, "--workdir", str(run), "--json", str(folder / "run.json")]) == 0
    outcome = json.loads((folder / "run.json").read_text())
    assert outcome["step"] == outcome["total_steps"] == plan["steps"]
    # What training computed is what the plan said, to the token; the deleted image is missing from what it saw.
    assert outcome["padded_tokens"] == plan["scheduled_tokens"]
    assert outcome["unreadable"] == 1 and outcome["images"] == plan["images"] - 1
    assert {path.name for path in run.iterdir()} >= {"config.json", "checkpoints", "metrics.jsonl", "tensorboard"}

    files = [str(folder / "dicom" / table["path"][n]) for n in train[:2]]
    pictured = ["--out", str(folder / "out.png"), "--json", str(folder / "out.json")]
    assert main(["reconstruct", str(run), *files, *pictured]) == 0
    done = json.loads((folder / "out.json").read_text())
    assert done["files"] == files and len(done["errors"]) == len(done["errors_of_mean"]) == 2
    assert (folder / "out.png").exists()


def test_a_config_may_stand_before_or_after_the_sizes(capsys):
    for arguments in (["--config", "demo", "poster"], ["poster", "--config=demo"], ["poster", "--config", "demo"]):
        assert main(["plan", *arguments, "--config.model.patch=48", "--config.bins.group", "64"]) == 0
        assert "639,877 images" in capsys.readouterr().out


def test_no_patient_in_what_is_written(folder):
    """Phantom names and dates are in the DICOM files and nowhere else."""
    assert any(b"Phantom^" in path.read_bytes() for path in (folder / "dicom").rglob("*.dcm"))
    for path in folder.rglob("*"):
        if path.is_file() and "dicom" not in path.relative_to(folder).parts:
            assert b"Phantom^" not in path.read_bytes(), path


def test_figures_are_strict_json():
    text = to_json({"loss": float("nan"), "paths": (Path("a"), float("inf")), "steps": 3})
    assert json.loads(text, parse_constant=pytest.fail) == {"loss": None, "paths": ["a", None], "steps": 3}


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["pretrain", "--config=demo", "--workdir", "WD"], 2, "config.data.manifest is empty"),
        (["pretrain", "--config=demo", "--config.data.manifest=none.parquet", "--workdir", "WD"], 2, "none.parquet"),
        (["index", "none", "m.parquet"], 2, "none"),
        (["reconstruct", "none", "x.png"], 2, "none is no work directory"),
        (["plan", "none.csv"], 2, "none.csv"),
    ],
)
def test_errors_name_what_is_wrong(arguments, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    assert message in capsys.readouterr().err


def test_more_bad_files_than_allowed_exit_3_with_a_manifest(folder, tmp_path):
    arguments = ["index", str(folder / "dicom"), str(tmp_path / "m.parquet"), "--max-bad", "0.1", "--headers-only"]
    assert main(arguments) == 3
    assert pq.read_table(tmp_path / "m.parquet").num_rows > 200
