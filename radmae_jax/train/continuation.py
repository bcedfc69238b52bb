"""Takes over the complete state of another run, finds where it goes on, and stores what changed.

Optimizer state, running mean and step go on as they are; the data schedule and the learning rates are the new run's
own, from a position on that `Origin` keeps. Once the first checkpoint is written the other run is not needed any more.
"""

import json
import math
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from etils import epath

from radmae_jax.config import Config
from radmae_jax.config_checks import read_json
from radmae_jax.data.dataset import Dataset
from radmae_jax.data.splits import LeakageError
from radmae_jax.plain import to_dict
from radmae_jax.train import checkpoint, hosts
from radmae_jax.train.bits import digest_of
from radmae_jax.train.blueprint import Blueprint
from radmae_jax.train.checkpoint import CheckpointError, Resumed
from radmae_jax.train.origin import Origin
from radmae_jax.train.premises import Premises, origin_of, plain
from radmae_jax.train.run_changes import Change, changes_between, check_same_model, same_schedule
from radmae_jax.train.saved import checkpoints_of, is_run, resolve, workdir_of
from radmae_jax.train.session import forget_start, read_continued, read_start_lines, write_continued, write_start
from radmae_jax.train.start import keep_seen, prove_start
from radmae_jax.train.state import State


@dataclass(frozen=True)
class Continued:
    """What a run takes over from another."""

    origin: Origin
    state: State
    record: dict[str, Any]  # as WORKDIR/continued.json has it
    lines: tuple[str, ...]  # for people

    @property
    def events(self) -> list[dict[str, Any]]:
        """The same for metrics.jsonl: one object for where it goes on, and one for each change."""
        left_out = ("changes", "summary", "earlier")
        where = {name: value for name, value in self.record.items() if name not in left_out}
        changes = [{"changed": c["field"], "before": c["before"], "after": c["after"]} for c in self.record["changes"]]
        return [{"continued": where}, *changes]


def check_other_run(config: Config, workdir: Path, directory: epath.Path) -> None:
    """Raises ValueError where config.train.continue_from is the run in `workdir` itself.

    Args:
      directory: where the checkpoints of `workdir` are.
    """
    path = config.train.continue_from
    if not path:
        return
    if workdir_of(path).resolve() == workdir.resolve():
        raise ValueError(
            f"config.train.continue_from is {path!r}, which is --workdir {workdir} itself: leave it out to resume that "
            "run, or name another --workdir"
        )
    if checkpoints_of(workdir_of(path)) == directory:
        raise ValueError(
            f"config.train.continue_from is {path!r}, whose checkpoints are in {directory}, where "
            "config.train.checkpoints puts those of this run too: name another place"
        )


def continues_another(config: Config) -> bool:
    """Whether a fresh run takes over another one's state; HostsDisagree where some processes only are asked to."""
    asked = bool(config.train.continue_from)
    hosts.agree({"config.train.continue_from is set": asked})
    return asked


def keep_continuation(workdir: Path, config: Config, origin: Origin) -> tuple[Config, list[str]]:
    """The configuration of a resumed run with the run that it continues, and lines for people where another is named.

    Raises CheckpointError where a run is named and the one in `workdir` continues none.
    """
    asked = config.train.continue_from
    if asked and not origin.state:
        raise CheckpointError(
            f"config.train.continue_from is {asked!r}, and {workdir} has checkpoints of a run that continues no other: "
            "use another --workdir, or leave --continue-from out to resume it"
        )
    try:
        began = read_json(workdir / "config.json").train.continue_from
    except (OSError, ValueError):  # gone, cut off, or of another version
        return config, []
    lines = []
    if asked and not _same_start(asked, began, origin.step):
        lines.append(
            f"the run goes on: it continues {began} after step {origin.step}, and --continue-from {asked} has no effect"
        )
    return replace(config, train=replace(config.train, continue_from=began)), lines


def continue_run(
    config: Config, dataset: Dataset, workdir: Path, premises: Premises, blueprint: Blueprint
) -> Continued:
    """The state of config.train.continue_from, and where it goes on; WORKDIR gets what is known of the run before.

    Args:
      premises: of the run that goes on, without an origin.
      blueprint: its rates are by position.

    Raises CheckpointError where there is no such run, checkpoint or step, where no checkpoint is sound, and where it is
    of another model, task or kind of state; LeakageError where the run before has seen test patients or images;
    ValueError where nothing is left to do. With several processes all of them raise.
    """
    path = config.train.continue_from
    checkpoint.everywhere(partial(_check_is_run, path))
    run, step = resolve(Path(path))
    try:
        leakage, seen = prove_start(path, dataset)
    except LeakageError as error:
        raise LeakageError(
            f"config.train.continue_from is {path!r}: {error}; the split of an archive that grew must keep the side of "
            "every patient that was known before"
        ) from None
    now = plain(premises)
    try:
        with checkpoint.open_reader(checkpoints_of(run), blueprint.objective.goodness) as reader:
            found = checkpoint.newest_sound(
                reader, blueprint.state, lambda before, _: check_same_model(before, now, config), step
            )
    except CheckpointError as error:
        raise type(error)(f"config.train.continue_from is {path!r}: {error}") from error
    if found is None:
        raise CheckpointError(f"config.train.continue_from is {path!r}: this run has no complete checkpoint")
    origin = _origin(found, now)
    _check_left(config, found, now, origin)
    record = _record(run, found, now, config, origin, blueprint)
    if hosts.is_first():
        keep_seen(path, dataset, seen, workdir)
        write_continued(workdir, record)
        if start := read_start_lines(run):  # the weights that the first of the runs began with
            write_start(workdir, start)
        else:
            forget_start(workdir)
    lines = (*found.passed_over, *record["summary"], f"leakage: {leakage.said}")
    return Continued(origin, found.state, record, lines)


def _same_start(asked: str, began: str, step: int) -> bool:
    """Whether a path names the run, and the checkpoint, that a resumed run continues."""
    run, named = resolve(Path(asked))
    return run.resolve() == workdir_of(began).resolve() and named in (None, step)


def _check_is_run(path: str) -> None:
    if not is_run(path):
        raise CheckpointError(
            f"config.train.continue_from is {path!r}: no work directory of a run with checkpoints, nor one of them; "
            "weights of other kinds are taken by --init"
        )


def _origin(found: Resumed, now: dict[str, Any]) -> Origin:
    """Where the new run's steps begin.

    The position stays the same where the data schedule does; else the epoch that was begun is trained anew.
    """
    position = origin_of(found.premises).position_of(found.step)
    if not same_schedule(found.premises, now):
        position = position // found.premises["steps_per_epoch"] * now["steps_per_epoch"]
    return Origin(found.step, position, digest_of(found.bit_sums))


def _check_left(config: Config, found: Resumed, now: dict[str, Any], origin: Origin) -> None:
    """Raises ValueError where nothing is left to do."""
    train, per_epoch = config.train, now["steps_per_epoch"]
    if origin.position >= train.epochs * per_epoch:
        done = f"{origin.position / per_epoch:.4g}"
        raise ValueError(
            f"config.train.epochs is {train.epochs}, and {done} epochs are done at step {found.step} of "
            f"config.train.continue_from {train.continue_from!r}: epochs are counted over all runs, set more"
        )
    if 0 < train.max_steps <= found.step:
        raise ValueError(
            f"config.train.max_steps is {train.max_steps}, and {found.step} steps are done in "
            f"config.train.continue_from {train.continue_from!r}: steps are counted over all runs, set more or 0"
        )


def _record(
    run: Path, found: Resumed, now: dict[str, Any], config: Config, origin: Origin, blueprint: Blueprint
) -> dict[str, Any]:
    """continued.json: where the run goes on and what changed; no path."""
    earlier, per_epoch, before = read_continued(run), now["steps_per_epoch"], found.premises
    try:
        settings = to_dict(read_json(run / "config.json"))
    except (OSError, ValueError):  # of another version: premises are compared all the same
        settings = None
    rate, images_seen = _trained(run / "metrics.jsonl", found.step, earlier)
    changes = changes_between(before, now, settings, config)
    same = same_schedule(before, now)
    repeated = 0 if same else origin_of(before).position_of(found.step) % before["steps_per_epoch"]
    record = {
        "step": found.step,  # of all runs before
        "total_steps": origin.total_steps(per_epoch, config.train.epochs),
        "position": origin.position,  # in this run's own schedule
        "epoch": origin.position // per_epoch,  # counted from 0, as in metrics.jsonl
        "epochs": config.train.epochs,
        "same_schedule": same,
        "repeated_steps": repeated,  # of an epoch that was begun and is trained anew
        "images_seen": images_seen,  # each as often as it was; None where that is not known
        "learning_rate": {"before": rate, "after": float(blueprint.rates[origin.position])},
        "state": origin.state,
        "changes": [asdict(change) for change in changes],
    }
    usual = float(blueprint.rates[origin.position - 1]) if origin.position else None
    return record | {"summary": _summary(record, changes, config, usual)} | ({"earlier": earlier} if earlier else {})


def _summary(record: dict[str, Any], changes: tuple[Change, ...], config: Config, usual: float | None) -> list[str]:
    """Lines for people.

    Args:
      usual: the rate that the new schedule has for the step before; None before its first step.
    """
    step, epochs, rates = record["step"], record["epochs"], record["learning_rate"]
    limit = config.train.max_steps
    left = min(record["total_steps"], limit or record["total_steps"]) - step
    limited = f", as config.train.max_steps is {limit}" if 0 < limit < record["total_steps"] else ""
    lines = [
        f"continues another run after step {step} with its complete state: goes on at epoch {record['epoch'] + 1} of "
        f"{epochs}, {_steps(left)} {'is' if left == 1 else 'are'} left{limited}"
    ]
    if record["repeated_steps"]:
        lines.append(
            f"the data schedule changed: the epoch that was begun, {_steps(record['repeated_steps'])}, is trained anew"
        )
    before = "not known" if rates["before"] is None else f"{rates['before']:g}"
    lines.append(f"learning rate: {before} at step {step}, {rates['after']:g} at step {step + 1}")
    lines += rise_of(rates["before"], rates["after"], usual)
    return lines + [f"changed: {change}" for change in changes]


def rise_of(before: float | None, after: float, usual: float | None) -> list[str]:
    """A line where the learning rate rises by more than half, other than as the new schedule itself does.

    Args:
      before: of the last step of the run before; None where that is not known.
      after: of the first step.
      usual: of the step before it in the new schedule; None where there is none.
    """
    if before is None or after <= 1.5 * before or (usual is not None and math.isclose(before, usual, rel_tol=1e-3)):
        return []
    much = f"{after / before:.3g}-fold" if before > 0 else f"from 0 to {after:g}"
    return [
        f"the learning rate rises {much} here because of the new schedule: docs/continue_a_run.md says how to avoid it"
    ]


def _steps(number: int) -> str:
    return f"{number} step" if number == 1 else f"{number} steps"


def _trained(metrics: Path, step: int, earlier: dict[str, Any]) -> tuple[float | None, int | None]:
    """The learning rate of a step, and the images seen until then, from a run's metrics.jsonl; None where it is gone.

    Args:
      earlier: continued.json of the run.
    """
    rate, images = None, earlier.get("images_seen") if earlier else 0
    try:
        with metrics.open(encoding="utf-8") as lines:
            for line in lines:
                values = _step_line(line)
                if values is None or values["step"] > step:
                    continue
                images = None if images is None else images + int(values["images"])
                rate = values["learning_rate"] if values["step"] == step else rate
    except OSError:
        return None, None
    return rate, images


def _step_line(line: str) -> dict[str, Any] | None:
    """The values of a step's line; None for other lines, and for one that a kill cut off."""
    if '"learning_rate"' not in line:
        return None
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) and {"step", "loss", "images", "learning_rate"} <= values.keys() else None
