"""Examples of a real run in its report, and where they are left out."""

import json
import re
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest

from radmae_jax.config import Bins, Config, Data, Task, Train
from radmae_jax.data.dataset import open_dataset
from radmae_jax.evaluate.evaluation import evaluate
from radmae_jax.evaluate.report import words
from radmae_jax.evaluate.report.page import make_page
from radmae_jax.train import checkpoint
from radmae_jax.train.premises import premises_of
from radmae_jax.train.session import write_config
from radmae_jax.train.state import State
from radmae_jax.train.task import objective_of
from radmae_jax.train.watch import Tally


@pytest.fixture(scope="module")
def evaluated(labelled, small_model, tmp_path_factory) -> Path:
    """A classifier with random weights as a checkpoint, and what `radmae evaluate` writes of its validation side."""
    run = tmp_path_factory.mktemp("evaluated") / "run"
    run.mkdir()
    config = Config(
        data=Data(manifest=str(labelled), threads=2), bins=Bins(shapes=1, group=8), model=small_model,
        task=Task("classify", ("texture",)), train=Train(images_per_step=8),
    )  # fmt: skip
    dataset = open_dataset(config)
    config = replace(config, task=replace(config.task, classes=dataset.classes))
    write_config(run, config)
    objective = objective_of(config)
    state = State(jnp.int32(7), jax.jit(objective.init)(jax.random.key(0))["params"], {}, {}, {})
    premises = premises_of(config, dataset, dataset.schedule(config).steps_per_epoch)
    with checkpoint.open_manager(checkpoint.directory_of(run), 1, objective.goodness) as manager:
        checkpoint.save(manager, state, premises, Tally(), 7, None)
    evaluate([run], "validation", 7, resamples=50)
    return run


def test_examples_are_shown_of_a_real_run(evaluated, labelled, archive, read_page):
    page = make_page(evaluated)
    table = pq.read_table(evaluated / "evaluation" / "validation.parquet").to_pydict()
    guessed = np.argmax(table["probability:texture"], axis=1)
    right = int((guessed == np.array(table["true:texture"])).sum())
    assert page.problems == [] and page.tasks == 1
    assert page.examples == min(right, 3) + min(len(guessed) - right, 3)
    read = read_page(evaluated, str(labelled.parent), str(archive.parent))
    assert sum(address.startswith("data:image/jpeg") for address in read.addresses) == 2 * page.examples
    shown = set(map(int, re.findall(r"Record (\d+),", read.text)))
    assert shown <= set(table["record"]) and len(shown) == page.examples
    figures = json.loads((evaluated / "evaluation" / "validation.json").read_text())
    assert words.percent(figures["labels"][0]["balanced_accuracy"]) in read.text
    assert "The test side was not opened" in read.text and "(the one above)" in read.text


def test_images_of_another_manifest_are_not_shown(evaluated, archive, tmp_path):
    """Records would be other images."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for part in ("checkpoints", "evaluation", "metrics.jsonl"):
        (copy / part).symlink_to(evaluated / part)
    settings = json.loads((evaluated / "config.json").read_text())
    settings["data"]["manifest"] = str(archive)
    (copy / "config.json").write_text(json.dumps(settings))
    page = make_page(copy)
    assert page.examples == 0
    assert "manifest.parquet has changed since training: its records are other images" in page.problems[-1]
    assert "(another than above: the manifest has changed)" in page.html
