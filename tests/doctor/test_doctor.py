"""The whole command on a small archive, and the arithmetic of its measurements by hand."""

import argparse
import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from radmae_jax.command import write_figures
from radmae_jax.config import Config, Model
from radmae_jax.config_file import find_config
from radmae_jax.data.manifest import read_manifest
from radmae_jax.data.splits import read_split
from radmae_jax.doctor import prepared
from radmae_jax.doctor.commands import add_doctor
from radmae_jax.doctor.memory import Memory, check_memory
from radmae_jax.doctor.overfit import Overfit, check_overfit
from radmae_jax.doctor.rates import advise, waiting

CHECKS = ["settings", "reading", "polarity", "grey values", "memory", "input rate", "over-fit", "expected loss"]
SMALL = [
    "--config=demo", "--config.bins.shapes=1", "--config.model.patch=8", "--config.model.width=32",
    "--config.model.layers=2", "--config.model.decoder_width=16", "--config.model.decoder_layers=1",
    "--config.model.decoder_heads=2", "--config.model.table_side=6", "--config.optim.learning_rate=5e-3",
]  # fmt: skip


def _doctor(archive, out, *options: str, config: tuple[str, ...] = ()) -> tuple[int, dict]:
    """The exit code, and the figures by --json."""
    parser = argparse.ArgumentParser()
    add_doctor(parser.add_subparsers())
    arguments = ["doctor", str(archive), "--out", str(out), "--json", str(out / "o.json"), *options]
    parsed = parser.parse_args(arguments)
    code = parsed.run(parsed, [*SMALL, *config])
    return code, json.loads((out / "o.json").read_text())


def _of(figures: dict, check: str) -> dict:
    (finding,) = [finding for finding in figures["findings"] if finding["check"] == check]
    return finding


def test_a_sound_archive(archive, tmp_path, capsys):
    code, figures = _doctor(archive, tmp_path, "--images", "12", "--seconds", "0.5", "--overfit-steps", "30")
    assert code == 0 and [finding["check"] for finding in figures["findings"]] == CHECKS
    assert set(figures) == {
        "verdict", "findings", "manifest", "unreadable", "sample", "polarity", "grey_values", "memory", "rates",
        "overfit", "expected_loss",
    }  # fmt: skip
    assert (tmp_path / "contact_sheet.png").exists() and (tmp_path / "histograms.png").exists()
    said = capsys.readouterr().out
    assert all(f" {check}: " in said for check in CHECKS) and str(archive.parent / "images") not in json.dumps(figures)

    # Sixty images of waves: nothing is wrong with them but that no person would call them radiographs.
    for check in ("settings", "reading", "grey values", "memory", "expected loss"):
        assert _of(figures, check)["verdict"] == "ok", _of(figures, check)
    assert len(figures["sample"]) == 12 and figures["unreadable"] == []

    memory = figures["memory"]
    assert 0 < memory["fixed_bytes"] < memory["program_bytes"] < memory["total_bytes"] < memory["device_bytes"]
    assert memory["batch_bytes"] == memory["tokens"] * 8 * 8 * 2  # a row of 16-bit patches on each of 8 devices
    rates = figures["rates"]
    training = rates["training"]
    assert rates["images"] > 0 and rates["images_per_second"] == pytest.approx(rates["images"] / rates["seconds"])
    assert [program["rows"] for program in training["programs"]] == [8]
    expected = max(0.0, 1 - rates["images_per_second"] / training["images_per_second"])
    assert training["waiting"] == pytest.approx(expected)

    learnt = figures["overfit"]
    assert learnt["steps"] == 30 and len(learnt["records"]) == 8 and learnt["losses"][-1] < learnt["losses"][0]
    # The untrained loss, over a whole call, is near that of these eight images.
    assert figures["expected_loss"]["untrained"] == pytest.approx(learnt["losses"][0], rel=0.5)
    assert learnt["baseline"] == pytest.approx(figures["expected_loss"]["levels"]["image_mean"], rel=0.5)


def test_a_device_that_is_too_small_is_a_stop(archive, tmp_path):
    options = ("--images", "2", "--seconds", "0.1", "--overfit-steps", "0", "--device-gib", "0.0001")
    code, figures = _doctor(archive, tmp_path, *options)
    memory = _of(figures, "memory")
    assert code == 6 and memory["verdict"] == figures["verdict"] == "stop" and "not even one row" in memory["text"]
    assert figures["memory"]["total_bytes"] > figures["memory"]["device_bytes"] == round(0.0001 * 2**30)
    assert _of(figures, "over-fit")["verdict"] == "skipped" and "--overfit-steps 0" in _of(figures, "over-fit")["text"]


def test_a_compiler_that_refuses_every_program_is_a_stop(archive, tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Used 31.5G of 15.5G hbm.\nAnd much more.")

    monkeypatch.setattr(prepared, "compile_programs", refuse)
    code, figures = _doctor(archive, tmp_path, "--images", "2")
    assert code == 6 and figures["rates"] is None
    assert _of(figures, "memory")["text"].endswith("for this device: RESOURCE_EXHAUSTED: Used 31.5G of 15.5G hbm.")


def test_test_images_are_not_looked_at_and_no_folder_is_named(archive, tmp_path):
    _, figures = _doctor(archive, tmp_path, "--images", "99", config=("--config.bins.lengths=(1,)",))
    split = read_split(archive.with_name(f"{archive.name}.split.parquet"), read_manifest(archive))
    looked_at = {image["record"] for image in figures["sample"]}
    assert looked_at == set(range(60)) - set(split.records("test").tolist())
    config = (f"--config.data.split={tmp_path / 'none.parquet'}",)
    _, figures = _doctor(archive, tmp_path, "--images", "2", config=config)
    assert "config.data.split is none.parquet" in _of(figures, "settings")["text"]


def test_a_configuration_that_is_refused_is_a_stop_and_images_are_looked_at(archive, tmp_path):
    code, figures = _doctor(archive, tmp_path, "--images", "4", config=("--config.bins.lengths=(1,)",))
    assert code == 6 and "beyond the largest bucket" in _of(figures, "settings")["text"]
    assert len(figures["sample"]) == 4 and (tmp_path / "contact_sheet.png").exists()
    assert figures["memory"] is None and figures["rates"] is None
    assert figures["expected_loss"]["levels"]["image_mean"] > 0


def test_wrong_options_are_named(archive, tmp_path):
    with pytest.raises(ValueError, match="--images 0: at least 1"):
        _doctor(archive, tmp_path, "--images", "0")
    with pytest.raises(FileNotFoundError, match="no manifest"):
        _doctor(tmp_path / "none.parquet", tmp_path)


def test_waiting_by_hand():
    assert waiting(25.0, 100.0) == 0.75 and waiting(300.0, 100.0) == 0.0
    # 2 workers give 12.5 images/s each; 100 and a fifth more are wanted.
    assert advise(25.0, 100.0, workers=2, cores=16) == "try config.data.workers=10"
    assert advise(25.0, 100.0, workers=0, cores=16) == "try config.data.workers=5"
    short = advise(25.0, 100.0, workers=2, cores=4)
    assert short.startswith("try config.data.workers=4, all cores") and "about 50%" in short


def _memory(device: int | None, program: int = 40, apply: int = 30) -> Memory:
    """Two devices, 8 rows; 12 of 40 bytes do not grow, 4 a row do, and 1 a row is the next batch."""
    return Memory(
        tokens=100, rows=14, devices=2, program_bytes=program, apply_bytes=apply, resident_bytes=8, batch_bytes=7,
        fixed_bytes=12, device="toy", device_bytes=device, source="device",
    )  # fmt: skip


def test_memory_by_hand():
    config = Config(model=Model(remat=True))
    assert _memory(100).total_bytes == 40 + 8 + 7
    # 90 % of 100 less 12 and 8: 70, at 4 + 1 a row 14 rows on each of the two devices.
    assert _memory(100).fitting_rows == 28
    fits = check_memory(_memory(100), config, group=16)
    assert fits.verdict == "ok" and "about 16 rows fit: config.train.rows=16 or tokens_per_device=800" in fits.notes[-1]
    tight = check_memory(_memory(60), config, group=16)
    assert tight.verdict == "look" and _memory(60).fitting_rows == 12
    assert "config.train.rows=8 or tokens_per_device=400" in tight.text
    small = check_memory(_memory(54), config, group=16)
    assert small.verdict == "stop" and "train.rows=8" in small.text
    assert "not even one row a device fits: shard" in check_memory(_memory(27), config, 16).text
    assert "set config.model.remat" in check_memory(_memory(27), replace(config, model=Model()), 16).text
    assert _memory(100, apply=95).fitting_rows == 0
    assert check_memory(_memory(None), config, 16).verdict == "look"
    assert check_memory(None, config, 16).verdict == "skipped"


def _overfit(losses: list[float], wanted: int) -> Overfit:
    return Overfit(tuple(range(8)), 64, len(losses), wanted, 1e-3, 0.1, "their means score", tuple(losses), 1.0)


def test_verdicts_of_the_over_fit_check():
    falling = np.linspace(0.3, 0.02, 300).tolist()
    assert _overfit([*falling, *[0.02] * 5], 305).share == pytest.approx(0.2)
    assert check_overfit(_overfit([*falling, *[0.02] * 5], 305)).verdict == "ok"
    assert check_overfit(_overfit([0.3] * 250 + [0.05] * 50, 300)).verdict == "look"
    assert check_overfit(_overfit([0.3] * 300, 300)).verdict == "stop"
    assert check_overfit(_overfit([0.3] * 20, 300)).verdict == "skipped"
    assert check_overfit(_overfit([0.3, float("nan")], 300)).verdict == "stop"
    assert check_overfit("too slow").text == "too slow"


def test_without_a_config_it_is_the_posters():
    from radmae_jax.doctor.commands import _config

    config = _config([], find_config("demo"))
    assert config.model.variant == "B" and config.model.patch == 48 and config.data.manifest.endswith("demo.py")


def test_figures_that_are_not_finite_are_null(tmp_path):
    write_figures(tmp_path / "o.json", {"a": float("nan")})
    assert json.loads((tmp_path / "o.json").read_text()) == {"a": None}
