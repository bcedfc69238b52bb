"""States to checkpoints while training goes on, also where storage refuses some of them."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import orbax.checkpoint as ocp
from etils import epath

from radmae_jax.train import checkpoint, hosts
from radmae_jax.train.premises import Premises
from radmae_jax.train.state import State
from radmae_jax.train.watch import RunStopped, Tally

# Checkpoints in a row that may fail before the run stops: what was trained since the last whole one is at stake.
_MOST_FAILURES = 3
_COMMITTED = "commit_success.txt"  # orbax writes it when a checkpoint is complete, and asks only whether it is there


def leave_no_path(step: epath.Path) -> None:
    """Takes the absolute path, which may name patients, out of what orbax writes when a checkpoint is complete.

    Args:
      step: the folder of a complete checkpoint.
    """
    with contextlib.suppress(OSError):  # deleted since, or storage is away: the checkpoint is as good without this
        for file in (*step.glob(_COMMITTED), *step.glob(f"*/{_COMMITTED}")):
            text = file.read_text()
            if " to " in text:
                file.write_text(text.partition(" to ")[0])


@dataclass
class Saver:
    """Writes one checkpoint at a time in the background.

    One that cannot be written, because storage is full or away, is said and left out, and training goes on; after three
    in a row, or where the last one failed, the run stops. With several processes a failure ends the job: one process
    cannot know what the others wrote.
    """

    manager: ocp.CheckpointManager
    premises: Premises
    say: Callable[[str], None]
    whole: int  # step of the newest checkpoint that is known to be whole; 0: none
    _writing: int | None = None
    _failures: list[str] = field(default_factory=list)  # in a row

    def __post_init__(self) -> None:
        if hosts.is_first():  # of a session that ended before it could
            for step in self.manager.all_steps():
                leave_no_path(self.manager.directory / str(step))

    def save(self, state: State, tally: Tally, step: int, figures: dict[str, float] | None) -> None:
        """Begins a checkpoint after `step` steps, once the one before is done; see `checkpoint.save`.

        RunStopped after too many failures.
        """
        self.settle()
        if step == self.whole:  # is replaced
            self.whole = max((other for other in self.manager.all_steps() if other != step), default=0)
        self._writing = step
        try:
            checkpoint.save(self.manager, state, self.premises, tally, step, figures)
        except Exception as error:  # orbax passes on whatever its storage raises
            self._failed(error)

    def settle(self) -> None:
        """Waits for the checkpoint that is being written; RunStopped after too many failures."""
        if self._writing is None:
            return
        try:
            self.manager.wait_until_finished()
        except Exception as error:
            self._failed(error)
        else:
            self.whole, self._writing = self._writing, None
            self._failures.clear()
            if hosts.is_first():
                leave_no_path(self.manager.directory / str(self.whole))

    def finish(self) -> None:
        """Waits; RunStopped where the newest state could not be written."""
        self.settle()
        if self._failures:
            raise RunStopped(self._lost())

    def _failed(self, error: Exception) -> None:
        step, self._writing = self._writing, None
        if hosts.several():
            raise error
        reason = (str(error) or type(error).__name__).splitlines()[0]
        self._failures.append(f"the checkpoint after step {step} could not be written: {reason}")
        checkpoint.remove_unfinished(self.manager)  # what was written of it takes the room of the next
        self.say(self._failures[-1])
        if len(self._failures) >= _MOST_FAILURES:
            raise RunStopped(self._lost())

    def _lost(self) -> str:
        kept = f"the newest whole one is after step {self.whole}" if self.whole else "there is no whole one"
        return f"{self._failures[-1]}; {len(self._failures)} in a row failed, {kept}"
