"""What a session of a run does besides training: the profiler, and the work directory's config.json."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath

from radmae_jax.config import Config
from radmae_jax.config_checks import read_json
from radmae_jax.data.dataset import Dataset
from radmae_jax.figures import to_json
from radmae_jax.plain import differences, to_dict

_START = "start.json"
_CONTINUED = "continued.json"


class Profile:
    """A trace of some steps to WORKDIR/profile, ended whatever ends the run."""

    def __init__(self, workdir: Path, wanted: bool):
        self._folder, self._wanted, self._running = workdir / "profile", wanted, False

    def step(self, number: int, steps: int) -> None:
        """Told before the number-th step of a session, counted from 1; the first, still warming up, is left out."""
        if self._running and number > 1 + steps:
            self._stop()
        elif self._wanted and number == 2:
            jax.profiler.start_trace(str(self._folder))
            self._running, self._wanted = True, False

    def _stop(self) -> None:
        jax.profiler.stop_trace()
        self._running = False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *unused: object) -> None:
        if self._running:
            self._stop()


@contextlib.contextmanager
def made_place(workdir: Path, directory: epath.Path) -> Iterator[None]:
    """Makes a work directory; where an error ends the session before anything is logged, new empty folders are removed.

    Args:
      directory: where the checkpoints are, which others make.
    """
    places = [Path(directory)] if "://" not in str(directory) else []
    new = [path for path in (*places, workdir, *workdir.parents) if not path.exists()]
    workdir.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if not (workdir / "metrics.jsonl").exists():
            for path in new:
                with contextlib.suppress(OSError):  # not empty, or of another process
                    path.rmdir()
        raise


def changes(workdir: Path, config: Config) -> list[str]:
    """A line for each setting that differs from the one this work directory was last run with."""
    path = workdir / "config.json"
    if not path.exists():
        return []
    try:
        found = differences(read_json(path), config)
    except ValueError as error:  # cut off, or of another version: no reason not to go on, the premises are checked
        found = [f"config.json cannot be compared: {error}"]
    return [f"changed since the last session: {line}" for line in found]


def keep_start(workdir: Path, config: Config) -> tuple[Config, list[str]]:
    """The configuration with the start that a run, which goes on, began with; and what is to be said of another."""
    try:
        began = read_json(workdir / "config.json").train
    except (OSError, ValueError):  # gone, cut off, or of another version
        return config, []
    asked, kept = config.train.start, replace(config.train, start=began.start, arm=began.arm)
    said = []
    if asked not in ("", began.start):
        start = began.start or began.continue_from or "fresh weights"
        said.append(f"the run goes on: it began with {start}, and --init {asked} has no effect")
    if config.train.arm != began.arm:
        said.append(f"the run goes on: its config.train.arm stays {began.arm!r}; {config.train.arm!r} has no effect")
    return replace(config, train=kept), said


def write_start(workdir: Path, lines: tuple[str, ...]) -> None:
    """WORKDIR/start.json: what was taken of given weights, for the model card."""
    (workdir / _START).write_text(json.dumps(lines, indent=2) + "\n", encoding="utf-8")


def forget_start(workdir: Path) -> None:
    """Removes what `write_start` wrote."""
    (workdir / _START).unlink(missing_ok=True)


def read_start_lines(workdir: Path) -> tuple[str, ...]:
    """What `write_start` wrote; () for a run that began fresh."""
    path = workdir / _START
    return tuple(map(str, json.loads(path.read_text(encoding="utf-8")))) if path.exists() else ()


def write_continued(workdir: Path, record: dict[str, Any]) -> None:
    """WORKDIR/continued.json: where a run took another one's state over, and what changed."""
    temporary = workdir / f".{_CONTINUED}"
    temporary.write_text(to_json(record, indent=2) + "\n", encoding="utf-8")
    temporary.replace(workdir / _CONTINUED)


def forget_continued(workdir: Path) -> None:
    """Removes what `write_continued` wrote."""
    (workdir / _CONTINUED).unlink(missing_ok=True)


def read_continued(workdir: Path) -> dict[str, Any]:
    """What `write_continued` wrote; {} for a run that continues no other."""
    path = workdir / _CONTINUED
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_config(workdir: Path, config: Config) -> None:
    """WORKDIR/config.json, whole or not at all."""
    temporary = workdir / ".config.json"
    temporary.write_text(json.dumps(to_dict(config), indent=2) + "\n")
    temporary.replace(workdir / "config.json")


def about(dataset: Dataset, config: Config) -> list[str]:
    """What people should know of the data before it is trained on."""
    told = []
    train, validation = (dataset.labels[dataset.records(side)] for side in ("train", "validation"))
    for at, (label, classes) in enumerate(zip(config.task.labels, dataset.classes, strict=True)):
        told.append(
            f"{label}: {len(classes)} classes, {', '.join(classes)}; known of {np.sum(train[:, at] >= 0):,} train and "
            f"{np.sum(validation[:, at] >= 0):,} validation images"
        )
    out = [f"{dataset.left_out(side):,} {side}" for side in ("train", "validation") if dataset.left_out(side)]
    if out:
        why = "beyond config.data.train_images or without a label that is asked for"
        told.append(f"left out, {why}: {' and '.join(out)} images")
    if dataset.beyond:
        treated = {"downscale": "made smaller to fit it", "extra": "in buckets of their own"}
        told.append(f"{dataset.beyond:,} images are beyond the largest bucket and {treated[config.bins.beyond]}")
    return told
