"""Where the time of a run goes: seconds by part within a session, and over all sessions what of them trained."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radmae_jax.data.dataset import Dataset
from radmae_jax.model.flops import TRAINING_FACTOR
from radmae_jax.train.objective import Objective

# Every second of a session is in one of them. step: dispatching program calls and waiting for their results.
PARTS = ("start", "compile", "restore", "data", "step", "evaluate", "checkpoint", "pictures")

# bfloat16 FLOP/s that vendors publish, by JAX's device_kind; dense. TPUs: cloud.google.com/tpu/docs; GPUs: data sheets
# of NVIDIA (A100, H100 SXM, H200).
_PEAKS = {
    "TPU v4": 275e12, "TPU v5 lite": 197e12, "TPU v5": 459e12, "TPU v5p": 459e12, "TPU v6 lite": 918e12,
    "NVIDIA A100-SXM4-40GB": 312e12, "NVIDIA A100-SXM4-80GB": 312e12, "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
}  # fmt: skip


class Ledger:
    """Seconds of a session by part; it is always in exactly one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self._part, self._since = "start", time.perf_counter()

    @contextmanager
    def during(self, part: str) -> Iterator[None]:
        """What happens within belongs to this part."""
        before = self._switch(part)
        try:
            yield
        finally:
            self._switch(before)

    def spent(self) -> dict[str, float]:
        """Seconds by part until now."""
        self._switch(self._part)
        return {part: round(seconds, 3) for part, seconds in self.seconds.items()}

    def _switch(self, part: str) -> str:
        now, before = time.perf_counter(), self._part
        self.seconds[before] += now - self._since
        self._part, self._since = part, now
        return before


@dataclass(frozen=True)
class Goodput:
    """Where the time of all sessions of a run went, as far as metrics.jsonl tells.

    A session that was killed has told of itself until its last checkpoint; the steps after it are `lost`.
    """

    sessions: int
    seconds: dict[str, float]  # by part
    lost: float  # seconds of steps that had to be replayed
    share: float  # of all seconds, those of steps that count: 0 to 1


def goodput_of(metrics: Path) -> Goodput:
    """The goodput of a run, from its metrics.jsonl."""
    sessions: dict[int, dict[str, float]] = {}
    lost = 0.0
    for line in metrics.read_text().splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # cut off by a full disk
            continue
        if "spent" in record:
            sessions[record["session"]] = record["spent"]
        lost += record.get("lost_seconds", 0.0)
    seconds = {part: sum(spent.get(part, 0.0) for spent in sessions.values()) for part in PARTS}
    # Seconds of steps after the last word of a killed session are in no session's parts.
    total = sum(seconds.values()) + lost
    return Goodput(len(sessions), seconds, lost, seconds["step"] / total if total else 0.0)


def record_flops(dataset: Dataset, objective: Objective) -> np.ndarray:
    """Training FLOPs of each record of an archive at its own number of tokens, padding left out, float64 [N]."""
    tokens = dataset.source.grids.prod(axis=1)
    distinct, place = np.unique(tokens, return_inverse=True)
    return np.array([TRAINING_FACTOR * float(objective.forward_flops(int(n))) for n in distinct])[place]


def peak_of(devices: list[Any]) -> float | None:
    """FLOP/s of all devices at their vendor's peak; None where it is not known."""
    peaks = [_PEAKS.get(device.device_kind) for device in devices]
    return None if None in peaks else float(sum(peak for peak in peaks if peak))
