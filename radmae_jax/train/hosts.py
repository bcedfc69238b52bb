"""Processes of one run, on one machine or many: how they join, what they must agree on, and what they tell each other.

Nothing here does anything where there is one process only.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

# A process that has not been heard of for so long ends the job: the coordination service names it.
_SILENT_SECONDS = 20
# How long one that has failed waits for the others before it leaves.
_LEAVING_SECONDS = 20
_NAMED = 5  # differing fields in an error
_SPELLED = re.compile(r"(?P<address>[^,\s]+:\d+),(?P<count>\d+),(?P<index>\d+)")


class HostsDisagree(ValueError):
    """Processes of one run that would train different things; the message names the fields."""


@dataclass(frozen=True)
class Hosts:
    """Where the processes of a run meet; all None where the cluster itself says it (TPU pods, SLURM, Open MPI)."""

    coordinator: str | None = None  # ADDRESS:PORT of process 0
    count: int | None = None
    index: int | None = None


def read_hosts(text: str) -> Hosts | None:
    """`auto`, or ADDRESS:PORT,COUNT,INDEX of the process; "" is one process on its own. Else ValueError."""
    if not text:
        return None
    if text == "auto":
        return Hosts()
    match = _SPELLED.fullmatch(text)
    if match is None:
        raise ValueError(f"--hosts {text!r}: must be auto, or ADDRESS:PORT,COUNT,INDEX such as 10.0.0.1:1234,4,0")
    count, index = int(match["count"]), int(match["index"])
    if not 0 <= index < count:
        raise ValueError(f"--hosts {text!r}: the index is from 0 to COUNT - 1 = {count - 1}")
    return Hosts(match["address"], count, index)


def join(hosts: Hosts | None) -> None:
    """Meets the other processes; before anything else asks JAX for devices.

    JAX's own notice of preemption is switched off: it would swallow a SIGTERM that comes before the first step, and
    the loop passes the signal on itself (see `Walk`).
    """
    if hosts is None:
        return
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            hosts.coordinator,
            hosts.count,
            hosts.index,
            heartbeat_timeout_seconds=_SILENT_SECONDS,
            shutdown_timeout_seconds=_LEAVING_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        if hosts.coordinator is None:
            raise ValueError(
                f"--hosts auto: no TPU pod, SLURM or Open MPI job says who the processes are ({error}); "
                "ADDRESS:PORT,COUNT,INDEX says it"
            ) from error
        raise


def several() -> bool:
    """Whether this run has more than one process."""
    return jax.process_count() > 1


def is_first() -> bool:
    """Whether this process writes logs, pictures and configurations."""
    return jax.process_index() == 0


def gather(value: Any) -> list[Any]:
    """A JSON value of every process, by its index; all of them must call this, in the same order."""
    if not several():
        return [value]
    own = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(own)))
    room = 1 << int(sizes.max() - 1).bit_length()  # powers of two: few programs
    rows = multihost_utils.process_allgather(np.pad(own, (0, room - len(own))))
    return [json.loads(bytes(row[:size])) for row, size in zip(rows, sizes.tolist(), strict=True)]


def agree(fields: dict[str, Any]) -> None:
    """HostsDisagree on all processes where a field is not the same on each; values are compared as JSON."""
    everyone = gather(fields)
    first, said = everyone[0], []
    for index, other in enumerate(everyone[1:], 1):
        for name in [*first, *(name for name in other if name not in first)]:
            if first.get(name) != other.get(name):
                said.append(f"{name} is {_short(other.get(name))} on host {index}, {_short(first.get(name))} on host 0")
    if said:
        more = f" and {len(said) - _NAMED} more" if len(said) > _NAMED else ""
        raise HostsDisagree(f"the hosts disagree: {'; '.join(said[:_NAMED])}{more}")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
