"""The path of a run, or of one of its checkpoints, to the model it trained, without the optimizer's state."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from radmae_jax.config import Config
from radmae_jax.config_checks import read_json
from radmae_jax.train import checkpoint, sharding
from radmae_jax.train.session import read_continued, read_start_lines
from radmae_jax.train.task import objective_of


@dataclass(frozen=True)
class Saved:
    """A run's model after some step, float32, on one device."""

    config: Config  # classes resolved
    step: int
    params: dict[str, Any]  # their running mean where config.optim.ema asks for one
    tables: dict[str, Any]  # {} of a classifier
    premises: dict[str, Any]  # by the fields of Premises: hashes of manifest and split, bucket table and so on
    start: tuple[str, ...] = ()  # what it began with, if given weights
    continued: dict[str, Any] = field(default_factory=dict)  # of a run that continues another: its continued.json


def is_run(path: str | Path) -> bool:
    """Whether a path is what `read_run` reads, rather than other weights beside a config.json."""
    workdir, _ = resolve(Path(path))
    return (workdir / "config.json").exists() and checkpoints_of(workdir).is_dir()


def checkpoints_of(workdir: Path) -> epath.Path:
    """Where the checkpoints of a work directory are, as its config.json says."""
    try:
        given = json.loads((workdir / "config.json").read_text())["train"]["checkpoints"]
    except (OSError, ValueError, KeyError, TypeError):  # none yet, cut off, or of a version without the setting
        given = ""
    return checkpoint.directory_of(workdir, given)


def workdir_of(path: str | Path) -> Path:
    """The work directory of a run's path."""
    return resolve(Path(path))[0]


def read_run(path: str | Path, step: int | str = "latest") -> Saved:
    """The model of a run, every tensor's bits checked.

    Args:
      path: a work directory, its folder `checkpoints`, or the folder of one step in there.
      step: a saved step, "latest", or "best" by validation; must be "latest" or the same where the path names one.

    Raises FileNotFoundError where there is no work directory, CheckpointError where there is no such checkpoint or its
    bits have changed.
    """
    workdir, named = resolve(Path(path))
    if not (workdir / "config.json").exists():
        raise FileNotFoundError(
            f"{path} is no work directory of `radmae pretrain` or `radmae finetune`: it has no config.json"
        )
    if named is not None and step not in ("latest", named):
        raise ValueError(f"step {step} is asked for, and {path} names another")
    config = read_json(workdir / "config.json")
    objective = objective_of(config)
    one = sharding.replicated(sharding.make_mesh(devices=jax.local_devices()[:1]))
    shapes = {"tables": {}} | jax.eval_shape(lambda: objective.init(jax.random.key(0)))
    used = "average" if config.optim.ema else "params"
    shapes[used] = shapes.pop("params")
    abstract = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=one), shapes)
    with checkpoint.open_reader(checkpoints_of(workdir), objective.goodness) as manager:
        chosen = _step(manager, step if named is None else named, workdir)
        model = checkpoint.restore_model(manager, abstract, chosen)
        premises = checkpoint.read_premises(manager, chosen)
    return Saved(
        config, chosen, model[used], model["tables"], premises, read_start_lines(workdir), read_continued(workdir)
    )


def chosen_step(path: str | Path, step: int | str = "latest") -> int:
    """The step that `read_run` would read; errors likewise."""
    workdir, named = resolve(Path(path))
    objective = objective_of(read_json(workdir / "config.json"))
    with checkpoint.open_reader(checkpoints_of(workdir), objective.goodness) as manager:
        return _step(manager, step if named is None else named, workdir)


def resolve(path: Path) -> tuple[Path, int | None]:
    """The work directory of a path, and the step that the path names."""
    if (path / "config.json").exists():
        return path, None
    whole = path.absolute()
    if whole.name == "checkpoints":
        return whole.parent, None
    if whole.parent.name == "checkpoints" and whole.name.isdigit():
        return whole.parent.parent, int(whole.name)
    return path, None


def _step(manager: ocp.CheckpointManager, step: int | str, workdir: Path) -> int:
    steps = manager.all_steps()
    if not steps:
        raise checkpoint.CheckpointError(f"{workdir} has no complete checkpoint")
    if step == "latest":
        return max(steps)
    if step == "best":
        best = manager.best_step()
        if best is None:
            raise checkpoint.CheckpointError(f"{workdir} has no checkpoint with a validation loss")
        return best
    if step not in steps:
        raise checkpoint.CheckpointError(f"{workdir} has no checkpoint of step {step}; it has {sorted(steps)}")
    return int(step)
