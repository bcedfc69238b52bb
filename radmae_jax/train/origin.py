"""Maps the steps of a run to positions in its data schedule, also where the run continues another."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Origin:
    """Where a run's steps begin: at step 0 and position 0, unless the run continues another.

    Steps count the optimizer steps of all runs in a row, as the state does. A position counts optimizer steps of the
    run's own data schedule: epoch = position // steps_per_epoch. Learning rates are a function of the position.
    """

    step: int = 0  # optimizer steps done by the runs before
    position: int = 0  # steps of this run's schedule that count as done then
    state: str = ""  # hash of the state that was taken over; empty: the run continues no other

    def position_of(self, step: int) -> int:
        """The position after `step` steps."""
        return self.position + step - self.step

    def total_steps(self, steps_per_epoch: int, epochs: int) -> int:
        """The last step of the run, all runs before it counted."""
        return self.step + steps_per_epoch * epochs - self.position

    def rates(self, by_position: np.ndarray) -> np.ndarray:
        """Learning rates by position as rates by step, which programs look up; steps of the runs before have 0.

        Args:
          by_position: float32 [steps_per_epoch * epochs].
        """
        return np.concatenate([np.zeros(self.step, by_position.dtype), by_position[self.position :]])


@dataclass(frozen=True)
class Interval:
    """How often something is done."""

    steps: int  # 0: never
    shift: int = 0  # added to a step before it is divided

    def ends(self, step: int) -> bool:
        """Whether an interval ends after this step."""
        return self.steps > 0 and (step + self.shift) % self.steps == 0

    def due(self, step: int, last: int) -> bool:
        """Whether something done at the end of each interval, and after the last step, is due."""
        return self.steps > 0 and (step == last or self.ends(step))


def words_after_name(record: dict[str, Any]) -> str:
    """What continued.json says, without the words "continues another run", which its readers have as a name."""
    return "; ".join(map(str, record.get("summary", ()))).removeprefix("continues another run ")


def evaluation_interval(every: int, steps_per_epoch: int, origin: Origin) -> Interval:
    """config.train.evaluate_every as an interval: multiples of so many steps, or ends of the schedule's epochs."""
    if every >= 0:
        return Interval(every)
    return Interval(-every * steps_per_epoch, origin.position - origin.step)
