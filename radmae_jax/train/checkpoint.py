"""Training state to disk and back, on any mesh, refused where a bit or a premise of the run has changed."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers

from radmae_jax.plain import short
from radmae_jax.train import hosts
from radmae_jax.train.bits import bit_sums, digest_of, named_leaves
from radmae_jax.train.premises import NOT_COMPARED, SETTINGS, Premises, completed, plain
from radmae_jax.train.state import State
from radmae_jax.train.watch import Tally

# How errors of storage begin, other than those of what is stored (absl's status codes).
_AWAY = re.compile(
    r"UNAVAILABLE|DEADLINE_EXCEEDED|PERMISSION_DENIED|UNAUTHENTICATED|RESOURCE_EXHAUSTED|ABORTED|CANCELLED"
)
_UNFINISHED = re.compile(r"\d+\.orbax-checkpoint-tmp.*")
_T = TypeVar("_T")
Goodness = Callable[[dict[str, float]], float]  # of a validation's figures, see `Objective.goodness`


class CheckpointError(ValueError):
    """A checkpoint that must not be resumed from; the message names the field or tensor."""


class Damaged(CheckpointError):
    """A checkpoint whose files are missing, cannot be read, or hold other bits than were saved."""


@dataclasses.dataclass(frozen=True)
class Resumed:
    """What a run goes on from."""

    step: int
    state: State
    tally: Tally
    passed_over: tuple[str, ...]  # why newer checkpoints were not taken
    premises: dict[str, Any]  # of the run that saved it, by the fields of Premises
    bit_sums: dict[str, int]


def directory_of(workdir: Path, given: str = "") -> epath.Path:
    """Where a run's checkpoints are: WORKDIR/checkpoints, or the path or URL that config.train.checkpoints gives."""
    if "://" in given:
        return epath.Path(given)
    return epath.Path((Path(given) if given else workdir / "checkpoints").absolute())


def open_manager(directory: epath.Path, keep: int, goodness: Goodness, every: int = 0) -> ocp.CheckpointManager:
    """The manager of a run's checkpoints: the newest `keep`, the one of the most goodness, and those of multiples of
    `every` steps are kept.

    Every save is asked for by the loop; orbax writes it in the background and renames it when whole.
    """
    policies = [
        checkpoint_managers.LatestN(max(keep, 1)),
        checkpoint_managers.BestN(get_metric_fn=goodness, n=1, keep_checkpoints_without_metrics=False),
        *([checkpoint_managers.EveryNSteps(every)] if every else []),
    ]
    policy = checkpoint_managers.AnyPreservationPolicy(policies)
    options = ocp.CheckpointManagerOptions(
        preservation_policy=policy,
        # In the background; a new place has nothing to clean up, and is removed where the run is refused.
        cleanup_tmp_directories=directory.is_dir(),
        best_fn=goodness,
        best_mode="max",
    )
    return ocp.CheckpointManager(directory, options=options)


def open_reader(directory: epath.Path, goodness: Goodness) -> ocp.CheckpointManager:
    """A manager that only reads: a run may be writing to the same directory.

    It is of this process alone, and waits for no other: one that cannot read would leave them waiting.
    """
    if not directory.is_dir():
        raise CheckpointError(f"{directory.parent} has no checkpoints")
    own = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"reader{own}"
    )
    options = ocp.CheckpointManagerOptions(
        read_only=True, best_fn=goodness, best_mode="max", multiprocessing_options=alone
    )
    return ocp.CheckpointManager(directory, options=options)


def save(
    manager: ocp.CheckpointManager, state: State, premises: Premises, tally: Tally, step: int,
    validation: dict[str, float] | None,
) -> None:  # fmt: skip
    """Starts an asynchronous save of the state after `step` steps, in place of one that is there.

    Args:
      tally: what the run's limits have counted so far.
      validation: figures of an evaluation at this very step, or None; where one is not finite it makes no best
        checkpoint.
    """
    meta = {
        "step": step,
        "premises": plain(premises),
        "tally": dataclasses.asdict(tally),
        "bit_sums": bit_sums(named_leaves(state)),
    }
    if validation is not None and not all(math.isfinite(figure) for figure in validation.values()):
        validation = None
    if step in manager.all_steps():
        manager.delete(step)
    manager.save(
        step,
        args=ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)),
        metrics=validation,
        force=True,
    )


def restore_model(manager: ocp.CheckpointManager, abstract: dict[str, Any], step: int) -> dict[str, Any]:
    """The model's part of a state as it was saved, placed by the shardings of `abstract`; no moment is read.

    Args:
      abstract: {"params": ..., "tables": ...}, or {"average": ..., "tables": ...}.

    CheckpointError names a changed tensor, and one that only the checkpoint or only `abstract` has.
    """
    saved = _read_meta(manager, step)["bit_sums"]
    saved = {name: bits for name, bits in saved.items() if name.startswith(tuple(f".{part}[" for part in abstract))}
    for name in sorted(named_leaves(abstract).keys() ^ saved.keys()):
        raise CheckpointError(f"checkpoint {step}: {'the model' if name in saved else 'it'} has no {name}")
    wanted = {part: tree for part, tree in abstract.items() if tree}
    arguments = ocp.args.PyTreeRestore(
        wanted, restore_args=ocp.checkpoint_utils.construct_restore_args(wanted), partial_restore=True
    )
    with _reading(step):
        found = manager.restore(step, args=ocp.args.Composite(state=arguments))["state"]
    _check_bits(saved, bit_sums(named_leaves(found)), step)
    return abstract | found


def resume(reader: ocp.CheckpointManager, abstract: State, premises: Premises) -> Resumed | None:
    """The newest sound checkpoint of this very run; see `newest_sound`. CheckpointError where a premise differs."""
    return newest_sound(reader, abstract, lambda found, step: _check_premises(found, premises, step))


def newest_sound(
    reader: ocp.CheckpointManager, abstract: State, check: Callable[[dict[str, Any], int], None],
    step: int | None = None,
) -> Resumed | None:  # fmt: skip
    """The newest checkpoint whose bits are those that were saved, placed by the shardings of `abstract`.

    None where there is no checkpoint. Raises CheckpointError where `check` does and where storage does not answer, and
    Damaged where no checkpoint is sound. Several processes pass over the same ones, and end alike where one must.

    Args:
      reader: see `open_reader`.
      check: called with a checkpoint's premises, completed, and its step, before its state is read.
      step: the only one to take; None: any.
    """
    steps = sorted(reader.all_steps(), reverse=True)
    hosts.agree({"the steps of checkpoints (in storage that all hosts must share)": steps, "the step to read": step})
    if step is not None and step not in steps:
        raise CheckpointError(f"there is no checkpoint of step {step}; there are {sorted(steps)}")
    passed_over: list[str] = []
    for at in steps if step is None else [step]:
        try:
            meta = everywhere(partial(_checked_meta, reader, check, at))
            hosts.agree({f"the bits of checkpoint {at}": digest_of(meta["bit_sums"])})
            state = everywhere(partial(_read_state, reader, abstract, at))
            found = bit_sums(named_leaves(state))  # by all processes together
            everywhere(partial(_check_bits, meta["bit_sums"], found, at))
        except Damaged as error:
            passed_over.append(str(error))
            continue
        said = tuple(f"{reason}; the one before is taken" for reason in passed_over)
        return Resumed(at, state, Tally(**meta["tally"]), said, meta["premises"], meta["bit_sums"])
    if passed_over:
        raise Damaged(f"no checkpoint is sound: {passed_over[0]}")
    return None


def everywhere(read: Callable[[], _T]) -> _T:
    """What `read` gives; where it raises in one process of several, all of them raise, and none is left waiting.

    Damaged where every error is, else CheckpointError: a process whose storage does not answer says nothing of files.
    """
    value, own = None, None
    try:
        value = read()
    except CheckpointError as error:
        own = error
    everyone = hosts.gather(None if own is None else [isinstance(own, Damaged), str(own)])
    worst = min((said for said in everyone if said), default=None)  # False, of CheckpointError, is the smaller
    if worst is None:
        return cast(_T, value)
    if own is not None and isinstance(own, Damaged) == worst[0]:
        raise own
    raise (Damaged if worst[0] else CheckpointError)(f"host {everyone.index(worst)}: {worst[1]}")


def check_place(directory: epath.Path, before: epath.Path) -> None:
    """Refuses to begin a run anew where its checkpoints are at another place, which config.train.checkpoints no longer
    names.

    Args:
      before: where the work directory's last session kept them.
    """
    if directory != before and _steps(before) and not _steps(directory):
        raise CheckpointError(
            f"this work directory's checkpoints are in {before}, and config.train.checkpoints says {directory}, where "
            "there are none: set it as before, or use another --workdir"
        )


def _steps(directory: epath.Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.name.isdigit()] if directory.is_dir() else []


def unfinished(directory: epath.Path) -> list[int]:
    """Steps whose checkpoints were being written when a session ended."""
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    return sorted(int(name.split(".")[0]) for name in names if _UNFINISHED.fullmatch(name))


def remove_unfinished(manager: ocp.CheckpointManager) -> None:
    """Removes what was written of checkpoints that failed."""
    for path in manager.directory.iterdir():
        if _UNFINISHED.fullmatch(path.name):
            path.rmtree(missing_ok=True)


def _check_bits(saved: dict[str, int], found: dict[str, int], step: int) -> None:
    for name in sorted(found.keys() | saved.keys()):
        if found.get(name) != saved.get(name):
            raise Damaged(f"checkpoint {step}: the bits of {name} are not those that were saved")


def read_premises(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    """What a checkpoint's run was based on, by the fields of Premises."""
    return _read_meta(manager, step)["premises"]


def read_bit_sums(manager: ocp.CheckpointManager, step: int) -> dict[str, int]:
    """The bit sum of every tensor of a checkpoint, by name: equal for the same state."""
    return _read_meta(manager, step)["bit_sums"]


def _checked_meta(
    reader: ocp.CheckpointManager, check: Callable[[dict[str, Any], int], None], step: int
) -> dict[str, Any]:
    meta = _read_meta(reader, step)
    meta["premises"] = completed(meta["premises"])
    check(meta["premises"], step)
    return meta


def _read_state(reader: ocp.CheckpointManager, abstract: State, step: int) -> State:
    with _reading(step):
        return reader.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))["state"]


def _check_premises(saved: dict[str, Any], premises: Premises, step: int) -> None:
    """Raises CheckpointError naming the field and both values where a premise of a checkpoint differs."""
    for field, asked in plain(premises).items():
        if field not in NOT_COMPARED and saved.get(field) != asked:
            meaning = f" ({SETTINGS[field]})" if field in SETTINGS else ""
            raise CheckpointError(
                f"checkpoint {step} was made with {field}{meaning} = {short(saved.get(field))}, this run has "
                f"{short(asked)}; use the old setting, or another --workdir, where --continue-from goes on from here"
            )


def _read_meta(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    with _reading(step):
        meta = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
    if not isinstance(meta, dict) or not {"premises", "tally", "bit_sums"} <= meta.keys():
        raise Damaged(f"checkpoint {step}: its JSON part lacks what a run needs")
    return meta


@contextmanager
def _reading(step: int) -> Iterator[None]:
    """What orbax raises where files are missing or cut off, as Damaged; as CheckpointError where the checkpoint may be
    sound, and storage or the device's memory fails: an older one is not to be taken for it."""
    try:
        yield
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        said = f"checkpoint {step}: cannot be read: {reason}"
        gone = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
        raise (CheckpointError if gone or _AWAY.match(reason) else Damaged)(said) from error
