"""An archive that grows on the command line: 20 phantoms, two epochs, 10 more phantoms, two more epochs."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from radmae_jax.cli import main
from radmae_jax.config_checks import read_json
from radmae_jax.data.dataset import open_dataset
from radmae_jax.data.leakage import read_seen
from radmae_jax.evaluate.report.archive import read_facts
from radmae_jax.evaluate.report.gather import gather
from radmae_jax.evaluate.report.page import make_page
from radmae_jax.evaluate.report.provenance import origin_of
from radmae_jax.evaluate.report.summary import sentences, tiles
from radmae_jax.evaluate.report.training import charts_of, facts_of
from radmae_jax.study.pretraining import pretraining_of
from radmae_jax.train import checkpoint, sharding
from radmae_jax.train.optim import learning_rates
from radmae_jax.train.saved import read_run
from radmae_jax.train.session import read_continued
from radmae_jax.train.start import weights_of

_SMALL = [
    "--config=demo", "--config.model.width=32", "--config.model.layers=1", "--config.model.heads=2",
    "--config.model.decoder_width=16", "--config.model.decoder_layers=1", "--config.model.decoder_heads=2",
    "--config.bins.shapes=1", "--config.bins.group=8", "--config.data.workers=0", "--config.train.images_per_step=8",
    "--config.train.panels_every=0", "--config.train.evaluate_every=0", "--config.train.keep_checkpoints=9",
    "--config.optim.warmup_epochs=0.5",
]  # fmt: skip


def _bits(workdir: Path, step: int) -> dict[str, int]:
    with checkpoint.open_reader(checkpoint.directory_of(workdir), lambda figures: 0.0) as reader:
        return checkpoint.read_bit_sums(reader, step)


def _lines(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module", autouse=True)
def one_device():
    """Commands train on one device, which compiles and saves faster than eight."""
    real = sharding.make_mesh
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharding, "make_mesh", lambda fsdp=1, devices=None: real(fsdp, devices or jax.devices()[:1]))
        yield


@pytest.fixture(scope="module")
def grown(tmp_path_factory) -> Path:
    """A folder with two manifests, of 20 phantoms and of these and 10 more, and a split of the second that keeps the
    sides of the first."""
    folder = tmp_path_factory.mktemp("grown")
    files = folder / "dicom"
    assert main(["phantom", str(files), "--images", "30", "--scale", "0.08", "--seed", "3", "--workers", "1"]) == 0
    later = sorted(files.rglob("*.dcm"), key=lambda file: file.name)[20:]
    for file in later:
        file.rename(folder / file.name)
    assert main(["index", str(files), str(folder / "first.parquet"), "--workers", "1"]) == 0
    assert main(["split", str(folder / "first.parquet"), "--fractions", "0.6", "0.2", "0.2"]) == 0
    for file in later:
        file.parent.mkdir(exist_ok=True)
        (folder / file.name).rename(file)
    salt = ["--salt-file", str(folder / "first.parquet.salt"), "--workers", "1"]
    assert main(["index", str(files), str(folder / "grown.parquet"), *salt]) == 0

    kept = ["--keep", str(folder / "first.parquet.split.parquet")]
    assert main(["split", str(folder / "grown.parquet"), str(folder / "grown.parquet.split.parquet"), *kept]) == 0
    return folder


@pytest.fixture(scope="module")
def first(grown) -> Path:
    """Two epochs of the 20 phantoms."""
    assert _pretrain(grown, "first", "first", "--config.train.epochs=2") == 0
    return grown / "first"


@pytest.fixture(scope="module")
def new(grown, first) -> Path:
    """The first run continued to four epochs on all 30 phantoms."""
    asked = ["--config.train.epochs=4", "--config.train.evaluate_every=-1", "--continue-from", str(first)]
    assert _pretrain(grown, "grown", "new", *asked, "--json", str(grown / "new.json")) == 0
    return grown / "new"


def _pretrain(folder: Path, manifest: str, name: str, *arguments: str) -> int:
    data = f"--config.data.manifest={folder / manifest}.parquet"
    return main(["pretrain", *_SMALL, data, *arguments, "--workdir", str(folder / name)])


def test_the_grown_archive_is_trained_on_from_the_state_of_the_first_run(grown, first, new):
    before, after = (open_dataset(read_json(run / "config.json")) for run in (first, new))
    assert len(before.manifest) == 20 and len(after.manifest) == 30
    assert len(after.records("train")) > len(before.records("train"))
    config = read_run(new).config
    begun, steps = read_run(first).step, after.schedule(config).steps_per_epoch
    assert begun == 2 * before.schedule(config).steps_per_epoch

    # The complete state: parameters, moments and step are those of the first run.
    assert _bits(new, begun) == _bits(first, begun)
    # Two epochs of the grown archive, every image once each; scored at their ends.
    lines = [line for line in _lines(new) if "loss" in line]
    outcome = json.loads((grown / "new.json").read_text())
    assert outcome["total_steps"] == outcome["step"] == begun + 2 * steps
    assert [(line["step"], line["epoch"]) for line in lines] == [
        (begun + n + 1, 2 + n // steps) for n in range(2 * steps)
    ]
    tokens = after.source.grids[after.records("train")].prod(axis=1).sum()
    for epoch in (2, 3):
        of_epoch = [line for line in lines if line["epoch"] == epoch]
        assert sum(line["images"] for line in of_epoch) == len(after.records("train"))
        assert sum(line["tokens"] for line in of_epoch) == tokens
    evaluated = [line["step"] for line in _lines(new) if "validation" in line]
    assert evaluated == [begun + steps, begun + 2 * steps]
    rates = learning_rates(config.optim, steps, 4)[2 * steps :]
    np.testing.assert_array_equal(np.float32([line["learning_rate"] for line in lines]), rates)

    record = read_continued(new)
    changes = {change["field"]: (change["before"], change["after"]) for change in record["changes"]}
    assert changes["images of the manifest"] == (20, 30)
    assert changes["training images"] == (len(before.records("train")), len(after.records("train")))
    assert changes["manifest"] == (before.manifest.hash, after.manifest.hash)
    assert changes["split"] == (before.split.hash, after.split.hash)
    assert changes["config.train.epochs"] == (2, 4)
    assert record["learning_rate"]["after"] == pytest.approx(float(rates[0]))
    summary = "\n".join(record["summary"])
    assert "images of the manifest: 20 -> 30" in summary and "goes on at epoch 3 of 4" in summary
    for text in (json.dumps(record), (new / "metrics.jsonl").read_text()):
        assert str(grown) not in text and ".dcm" not in text
    seen, earlier = read_seen(new), read_seen(first)
    records = np.concatenate([after.records("train"), after.records("validation")])
    assert seen is not None and earlier is not None
    assert seen.patients == {after.manifest.patients[record] for record in records} > earlier.patients


def test_stopped_in_the_middle_it_resumes_bitwise_also_without_the_first_run(grown, first, new):
    asked = ["--config.train.epochs=4", "--continue-from"]
    begun, last = read_run(first).step, read_run(new).step
    first.rename(grown / "moved")
    try:
        stop = f"--config.train.max_steps={begun + 2}"
        assert _pretrain(grown, "grown", "stopped", *asked, str(grown / "moved"), stop) == 0
        (grown / "moved").rename(grown / "gone")
        assert _pretrain(grown, "grown", "stopped", *asked, str(grown / "moved")) == 0
    finally:
        (grown / "gone").rename(first)
    assert _bits(grown / "stopped", last) == _bits(new, last)
    assert [line["step"] for line in _lines(grown / "stopped") if "loss" in line] == list(range(begun + 1, last + 1))
    assert sum("continued" in line for line in _lines(grown / "stopped")) == 1


def test_the_report_and_the_model_card_say_so(grown, first, new):
    found = gather(new)
    assert [run.name for run in found.runs] == ["new", "first"]  # what it continues is shown too
    shown = next(run for run in found.runs if run.name == "new")
    facts = dict(facts_of(shown))
    begun = read_run(first).step
    assert facts["Continues"].startswith(f"another run after step {begun} with its complete state: goes on at epoch 3")
    assert facts["Trained for"].endswith("4 epochs in all, those of the run that it continues counted")
    assert charts_of(shown) and str(grown) not in origin_of(shown).settings
    recipe = weights_of(read_run(new)).recipe
    assert (
        f"another run {recipe['continues another run']}" == facts["Continues"]
        and "began with given weights" not in recipe
    )
    seen = pretraining_of(str(new))
    images = [len(open_dataset(read_json(run / "config.json")).records("train")) for run in (first, new)]
    assert seen is not None and seen.images_seen == 2 * sum(images)
    assert read_continued(new)["images_seen"] == 2 * images[0]


def test_the_report_counts_the_images_of_a_grown_archive_once(grown, new):
    found = gather(new)
    facts = [read_facts(*paths) for paths in found.archives]
    assert [len(one.manifest) for one in facts] == [30, 20]
    images = {pixels for one in facts for pixels in one.manifest.pixel_hashes}
    patients = [len(set(one.manifest.patients)) for one in facts]
    assert len(images) == 30 and patients[0] > patients[1]
    assert tiles(facts, [], [])[0] == ("Images", "30", f"of {patients[0]} patients")
    said = " ".join(sentences(found, facts, [], []))
    assert said.count("The archive holds") == 1 and "The archive holds 30 radiographs" in said
    assert f" It grew from 20 radiographs of {patients[1]} patients (first.parquet)." in said
    html = make_page(new, images=False).html
    assert html.count("All of them are in grown.parquet too.") == 1


def test_both_options_or_a_run_of_another_kind_are_errors(grown, first, capfd):
    both = ["--init", str(first), "--continue-from", str(first)]
    assert _pretrain(grown, "grown", "other", *both) == 2
    assert "leave one of them empty" in capfd.readouterr().err
    manifest = f"--config.data.manifest={grown / 'grown.parquet'}"
    labels = ["--config.task.kind=classify", "--config.task.labels=view", "--continue-from", str(first)]
    assert main(["finetune", *_SMALL, manifest, *labels, "--workdir", str(grown / "other")]) == 2
    assert 'config.task.kind is "classify", the run that is continued has "reconstruct"' in capfd.readouterr().err
