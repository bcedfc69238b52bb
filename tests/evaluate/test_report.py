"""A work directory to its page: what it says, what it must not, and what is said of pieces that are missing."""

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from radmae_jax.config import Config, Data, Task, Train
from radmae_jax.data.dataset import open_archive
from radmae_jax.data.manifest import read_manifest
from radmae_jax.data.splits import read_split
from radmae_jax.evaluate.report.gather import gather
from radmae_jax.evaluate.report.page import make_page
from radmae_jax.evaluate.report.report_commands import add_report
from radmae_jax.plain import to_dict

_EVIL = "<script>alert(1)</script>"


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def _pretraining(folder: Path, config: Config) -> Path:
    """A pre-training run as it lies on disk, of four steps, the last cut off."""
    _write(folder / "config.json", to_dict(config))
    lines = [
        {"step": n, "epoch": n // 3, "loss": 0.8 / n, "learning_rate": 1e-3 * n, "images_per_second": 10.0 * n,
         "data_wait_share": 0.02, "images": 16, "unreadable": 0, "applied": True,
         "bucket_loss": {"30": 0.9 / n, "12": 0.7 / n}}
        for n in (1, 2, 3)
    ]  # fmt: skip
    lines.insert(2, {"step": 2, "validation": {"masked_valid": 0.4321, "poster": None, "images": 12.0}})
    lines.append({"step": 3, "validation": {"masked_valid": 0.1234, "poster": 0.2, "images": 12.0}})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"step": 4, "loss": 0.')
    for step in (1, 2, 3):
        (folder / "panels").mkdir(exist_ok=True)
        Image.new("RGB", (900, 60), (step, 0, 0)).save(folder / "panels" / f"{step:07d}.png")
    return folder


def _interval(value: float | None, low: float | None = None, high: float | None = None) -> dict:
    return {"value": value, "low": low, "high": high}


def _evaluation(label: str = "texture", classes: tuple[str, ...] = ("fine", "rough")) -> dict:
    """evaluation/test.json of one label, written by hand."""
    score = _interval(0.8123, 0.7604, 0.8587)
    figures = {
        "label": label, "classes": list(classes), "images": 40, "patients": 31, "unknown": 5,
        "balanced_accuracy": score, "accuracy": _interval(0.8333), "auroc": _interval(0.9314, 0.902, 0.9553),
        "recall": [{"class": name, "images": 20, **_interval(0.8, 0.7, 0.9)} for name in classes],
        "auroc_of_class": [{"class": name, **_interval(None)} for name in classes],
        "confusion": (np.eye(len(classes), dtype=int) * 16 + 2).tolist(),
        "calibration": {"ece": 0.0567, "brier": 0.21, "nll": None,
                        "bins": [{"low": 0.9, "high": 1.0, "images": 9, "confidence": 0.97, "accuracy": 0.8}]},
        "per_seed": [0.8123], "strata": [{"name": "view", "value": "AP", "images": 12, "patients": 9,
                                          "balanced_accuracy": _interval(0.61, 0.5, 0.7)}],
        "metadata_alone": [{"name": "view", "balanced_accuracy": _interval(0.7, 0.6, 0.8)}],
    }  # fmt: skip
    leakage = {
        "patients_on_two_sides": 0, "images_on_two_sides": 0, "pretraining": "unproven", "seen_patients": None,
        "shared_patients": None, "shared_images": None, "said": "what it was trained on is not known",
    }  # fmt: skip
    return {
        "side": "test", "step": 120, "images": 45, "patients": 33, "level": 0.95, "resamples": 2000, "seeds": 1,
        "leakage": leakage, "labels": [figures],
    }  # fmt: skip


def _study() -> dict:
    arms = [
        {"name": "random", "kind": "random", "matched": True, "said": "begins fresh", "pretraining": None},
        {"name": "mae", "kind": "mae", "matched": True, "said": "begins pre-trained",
         "pretraining": {"steps": 2000, "images_seen": 32000, "images": None}},
    ]  # fmt: skip
    cells = [
        {"arm": arm, "task": "arc", "budget": budget, "learning_rate": 1e-3, "test_images": 1400,
         "per_seed": [0.5, 0.6], "balanced_accuracy": _interval(value, value - 0.03, value + 0.03),
         "auroc": _interval(0.9), "search": []}
        for budget, values in ((50, (0.31, 0.42)), (200, (0.5512, 0.7345)))
        for arm, value in zip(("random", "mae"), values, strict=True)
    ]  # fmt: skip
    comparisons = [
        {"task": "arc", "budget": budget, "a": "mae", "b": "random", "difference": difference, "p_value": p}
        for budget, difference, p in ((50, _interval(-0.02, -0.05, 0.01), 0.2), (200, _interval(0.1833, 0.12, 0.25), 0))
    ]
    curve = [
        {"arm": f"mae@{steps}", "task": "arc", "budget": 200, "steps": steps, "images_seen": 16 * steps, "images": None,
         "balanced_accuracy": _interval(0.6)}
        for steps in (500, 1000)
    ]  # fmt: skip
    return {
        "name": "phantoms", "side": "test", "level": 0.95, "budgets": [50, 200], "seeds": [0, 1],
        "learning_rates": [1e-3],
        "tasks": [{"name": "arc", "label": "region", "classes": ["hand", "foot", "hip", "jaw"], "classes_present": 3}],
        "arms": arms, "cells": cells,
        "comparisons": comparisons, "curve": curve, "leakage": None, "notes": [f"a note of {_EVIL}"],
    }  # fmt: skip


def test_a_pretraining_run_is_told_with_its_figures(run_config, archive, labelled, tmp_path, read_page):
    config = replace(run_config, data=Data(manifest=str(labelled), workers=0))
    page = read_page(_pretraining(tmp_path / "run", config), str(labelled.parent), str(archive.parent))
    for said in (
        "60 radiographs from", "fit each", "3 steps", "48 (each as often", "20.0 images a second",
        "from 0.4321 to 0.1234",         "12 tokens 30 tokens", "At first: after 1 step.",
        "Midway: after 2 steps.", "At last: after 3 steps.",
        "No file was refused.", "Not a medical device.", read_manifest(labelled).hash, "rough",
        "Nothing has been evaluated", "No study is here", "No proof was written", "No predictions",
        "No body region is known",
    ):  # fmt: skip
        assert said in page.text, said
    assert sum(address.startswith("data:image/jpeg") for address in page.addresses) == 3
    split = read_split(labelled.with_name("manifest.parquet.split.parquet"), read_manifest(labelled))
    assert re.search(rf"train {len(split.records('train'))} \d+\.\d %", page.text) and split.hash in page.text
    without = read_page(tmp_path / "run", images=False)
    assert "asked to show no radiographs" in without.text
    assert not any(address.startswith("data:image/jpeg") for address in without.addresses)


def test_a_run_whose_manifest_is_gone_is_still_told(tmp_path, read_page):
    config = Config(data=Data(manifest="/secret/Doe_John/archive.parquet", root="/secret/Doe_John"))
    page = read_page(_pretraining(tmp_path / "run", config), "/secret")
    assert "The manifest archive.parquet, which a run names, is not there any more" in page.text
    assert "from 0.4321 to 0.1234" in page.text and "Nothing can be planned" in page.text
    assert '"root": "Doe_John"' in page.text and "--config.data.manifest=archive.parquet" in page.text


def test_figures_of_an_evaluation_are_written_with_intervals(tmp_path, read_page):
    _write(tmp_path / "tuned" / "config.json", to_dict(Config(task=Task("classify", ("texture",)))))
    _write(tmp_path / "tuned" / "evaluation" / "test.json", _evaluation())
    page = read_page(tmp_path)
    for said in (
        "On 45 test images of 33 patients whom fine-tuning never saw, balanced accuracy was 81.2 % (76.0 to 85.9) for "
        "texture (2 classes, chance 50.0 %).",
        "For texture metadata alone, without any pixel, would score within the model's interval.",
        "0.931 (0.902 to 0.955)", "83.3 %", "80.0 % (70.0 to 90.0)", "ECE 0.057", "log loss not defined nats",
        "5 images of unknown label are left out", "AP (few) 12 9 61.0 % (50.0 to 70.0)", "70.0 % (60.0 to 80.0)",
        "The intervals overlap", "What it was trained on is not known.", "separation is not proven",
        "fine 18 2 rough 2 18",
    ):  # fmt: skip
        assert said in page.text, said


def test_without_patient_numbers_a_page_claims_nothing_of_patients(archive, run_config, tmp_path, read_page):
    """The archive's PNG images have none; then a proof in which some images have none."""
    _pretraining(tmp_path / "run", replace(run_config, data=Data(manifest=str(archive), workers=0)))
    open_archive(Config(data=Data(manifest=str(archive))))  # makes the split, if no other test has
    _write(tmp_path / "tuned" / "config.json", to_dict(Config(task=Task("classify", ("texture",)))))
    evaluation = _evaluation()
    evaluation["leakage"] |= {"patients_on_two_sides": None, "images_without_number": 45, "pretraining": "none"}
    evaluation["leakage"]["said"] = "it is unknown whether a patient is in two splits"
    _write(tmp_path / "tuned" / "evaluation" / "test.json", evaluation)
    text = read_page(tmp_path).text
    for said in (
        "60 radiographs from patients that are not known (60 studies or files)",
        "It is unknown whether a patient is in two splits, as no image has a patient number.",
        "The archive is split once, by study or file: no image has a patient number",
        "On 45 test images of patients that are not known (33 studies or files), balanced accuracy was",
        "intervals from resampling patients or, without their numbers, studies or files",
        "Patients on two sides not known", "Verdict separation of patients is unknown, not proven",
        "Split by study or file",
    ):  # fmt: skip
        assert said in text, said
    for claim in ("never saw", "separation is proven", "The archive is split by patient", "judged by test patients"):
        assert claim not in text, claim
    evaluation["leakage"] |= {
        "patients_on_two_sides": 0, "pretraining": "proven", "images_without_number": 7, "test_images_without_number": 2
    }  # fmt: skip
    _write(tmp_path / "tuned" / "evaluation" / "test.json", evaluation)
    text = read_page(tmp_path).text
    assert "separation is proven by patient numbers, and unknown for 7 images" in text and "never saw" not in text
    assert "Images without a patient number, of which it is not known 7, 2 of them test images" in text


def test_labels_cannot_become_html(tmp_path, read_page):
    _write(tmp_path / "tuned" / "config.json", to_dict(Config(task=Task("classify", (_EVIL,)))))
    _write(tmp_path / "tuned" / "evaluation" / "test.json", _evaluation(_EVIL, (_EVIL, '"><img src=x>')))
    study = _study()
    study["arms"][0]["name"] = study["cells"][0]["arm"] = study["tasks"][0]["name"] = _EVIL
    _write(tmp_path / "study" / "study.json", study)
    page = read_page(tmp_path)  # which asserts that there is no script element and no address x
    assert page.text.count(_EVIL) > 10 and '"><img src=x>' in page.text


def test_a_study_is_told_with_its_comparisons_and_curves(tmp_path, read_page):
    _write(tmp_path / "study.json", _study())
    page = read_page(tmp_path)
    for said in (
        "With 200 labelled images for arc, balanced accuracy was 73.5 % (70.5 to 76.5) with pre-training and 55.1 % "
        "(52.1 to 58.1) without, a difference of +18.3 points (+12.0 to +25.0), p < 0.001.",
        "mae was better than random in 1 of 2 comparisons and worse in none",
        "arc 50 mae \u2212 random \u22122.0 points (\u22125.0 to +1.0) p = 0.200 apart no difference shown",
        "arc: region, chance 33.3 %", "scored on 1,400 test images", "pre-trained for 2,000 steps, 32,000 images seen",
        "arc 200 0 0 0 55.1 %", "arc 200 1,000 16,000 0 60.0 %", f"a note of {_EVIL}", "No pre-training run is here.",
        "No manifest is named or found here",
    ):  # fmt: skip
        assert said in page.text, said


def test_of_a_study_one_run_stands_for_all_and_not_by_its_score(tmp_path):
    _write(tmp_path / "study.json", _study())
    begun = _pretraining(tmp_path.parent / f"{tmp_path.name}-begun", Config())
    for arm, budget, seed, score in (
        ("random", 200, 0, 0.99),
        ("mae", 50, 0, 0.9),
        ("mae", 200, 1, 0.8),
        ("mae", 200, 0, 0.1),
    ):
        run = tmp_path / "runs" / "arc" / arm / f"n{budget}" / f"seed{seed}-lr0.001"
        start = str(begun / "checkpoints" / "100") if arm == "mae" else ""
        config = Config(task=Task("classify", ("region",), budget=budget), train=Train(seed=seed, arm=arm, start=start))
        _write(run / "config.json", to_dict(config))
        figures = _evaluation("region")
        figures["labels"][0]["balanced_accuracy"] = _interval(score)
        _write(run / "evaluation" / "test.json", figures)
    # A run that the table does not show: another rate was chosen.
    _write(tmp_path / "runs/arc/mae/n200/seed0-lr0.0001/config.json", to_dict(config))
    found = gather(tmp_path)
    assert [run.name for run in found.finetuning] == ["arc/mae/n200/seed0-lr0.001"] and found.left_out == 3
    assert [run.folder for run in found.pretraining] == [begun.resolve()]  # followed from where the runs began


def test_what_cannot_be_read_is_said(tmp_path, read_page):
    run = _pretraining(tmp_path / "run", Config())
    (run / "config.json").write_text('{"data": {"manifest": "/secret/m.parquet", "no_such": 1}, "train": {"seed": 41}}')
    _write(run / "evaluation" / "validation.json", {"side": "validation", "step": 1})
    (run / "evaluation" / "test.json").write_text("{")
    (tmp_path / "study").mkdir()
    _write(tmp_path / "study" / "study.json", [1, 2])
    (tmp_path / "manifest.parquet").write_bytes(b"no parquet")
    page = read_page(tmp_path, "/secret")
    for said in (
        "run/config.json is not of this version: see config.data.no_such",
        "evaluation/validation.json is of another version: it has no images", "evaluation/test.json cannot be read",
        "study/study.json is not a JSON object", "manifest.parquet is not a Parquet file", "Seed 41",
        "from 0.4321 to 0.1234",
    ):  # fmt: skip
        assert said in page.text, said


def test_a_split_with_a_leak_is_said_without_its_path(labelled, tmp_path, read_page):
    split = pq.read_table(labelled.with_name("manifest.parquet.split.parquet"))
    rows = split.to_pylist()
    rows.append({"patient": rows[0]["patient"], "side": "test" if rows[0]["side"] != "test" else "train"})
    leaking = pa.Table.from_pylist(rows, schema=split.schema)
    pq.write_table(leaking, tmp_path / "manifest.parquet.split.parquet")
    (tmp_path / "manifest.parquet").write_bytes(labelled.read_bytes())
    page = read_page(tmp_path)
    assert "manifest.parquet.split.parquet: field patient: 1 of 60 patients are on several sides" in page.text


def test_the_command_writes_the_page_and_says_where(tmp_path, capsys):
    _write(tmp_path / "study.json", _study())
    parser = argparse.ArgumentParser()
    add_report(parser.add_subparsers())
    options = parser.parse_args(["report", str(tmp_path), "--json", str(tmp_path / "figures.json")])
    assert options.run(options, []) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    written = (tmp_path / "report.html").read_bytes()
    assert str(tmp_path / "report.html") in capsys.readouterr().out
    assert (figures["studies"], figures["bytes"]) == (1, len(written)) and written.startswith(b"<!doctype html>")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="nothing to report"):
        make_page(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="no work directory"):
        make_page(tmp_path / "none")


@pytest.mark.parametrize(
    "path, said",
    [(("level",), "it has no level"), (("leakage", "shared_images"), "it has no leakage.shared_images"),
     (("labels", 0, "strata"), "it has no labels[0].strata"),
     (("labels", 0, "calibration", "ece"), "it has no labels[0].calibration.ece")],
)  # fmt: skip
def test_an_evaluation_of_another_version_is_named_by_what_it_lacks(path, said, tmp_path, read_page):
    figures = _evaluation()
    *way, last = path
    part = figures
    for step in way:
        part = part[step]
    del part[last]
    _write(tmp_path / "config.json", to_dict(Config(task=Task("classify", ("texture",)))))
    _write(tmp_path / "evaluation" / "test.json", figures)
    assert said in read_page(tmp_path).text
