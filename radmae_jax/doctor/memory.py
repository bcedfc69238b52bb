"""Compiled programs to the memory that a run needs of each device, and to the rows that would fit."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from radmae_jax.config import Config
from radmae_jax.doctor.finding import Finding
from radmae_jax.train import fit
from radmae_jax.train.programs import Programs

_TIGHT = 0.9  # of a device; beyond it fragments, and what libraries keep for themselves, may be missing


@dataclass(frozen=True)
class Memory:
    """What a run needs of one device, in bytes."""

    tokens: int  # of the bucket whose program needs the most
    rows: int  # a call, over all devices
    devices: int
    program_bytes: int  # of its accumulate program, with parameters, gradients and batch
    apply_bytes: int  # of the optimizer's program, with the whole state
    resident_bytes: int  # optimizer moments and a mean of parameters, which lie beside accumulate
    batch_bytes: int  # the next call's pixels, already on their way
    fixed_bytes: int  # of program_bytes: what does not grow with the rows
    device: str
    device_bytes: int | None  # None where it is not known
    source: str  # of device_bytes: device | RAM | given

    @property
    def total_bytes(self) -> int:
        """The most that is in use at a time."""
        return max(self.program_bytes + self.resident_bytes, self.apply_bytes) + self.batch_bytes

    @property
    def fitting_rows(self) -> int:
        """Rows of a call, over all devices, that would fill 90 % of each device; 0 where not even one a device fits.

        Programs grow by the same bytes a row: measured from 1 to 8 rows of a ViT-B, within 8 % at 1,000 tokens and
        3 % at 4,096.
        """
        assert self.device_bytes is not None
        each = self.rows // self.devices
        row = max(1.0, (self.program_bytes - self.fixed_bytes + self.batch_bytes) / each)
        room = _TIGHT * self.device_bytes
        if self.apply_bytes > room:
            return 0
        return max(0, int((room - self.fixed_bytes - self.resident_bytes) // row)) * self.devices


def measure_memory(
    config: Config, programs: Programs, devices: list[Any], device_bytes: int | None = None
) -> Memory | None:
    """Memory of the accumulate program that needs the most, and of what lies beside it; None where the compiler does
    not say.

    device_bytes: of the device that will train, where it is another than the present one.
    """
    largest = max(programs.accumulate.values(), key=lambda p: (p.memory_bytes, p.tokens))
    if not largest.memory_bytes:
        return None
    state = programs.abstract
    model = fit.bytes_of((state.params, state.tables))
    values = config.model.patch**2 * config.model.channels * np.dtype(config.data.dtype).itemsize
    # Parameters and tables, the gradients so far, and those of the call; sharded gradients are less.
    fixed = min(model + 2 * fit.bytes_of(state.params), largest.memory_bytes)
    found, source = _available(devices) if device_bytes is None else (device_bytes, "given")
    return Memory(
        largest.tokens, largest.rows, len(devices), largest.memory_bytes, programs.apply.memory_bytes,
        resident_bytes=fit.bytes_of(state) - model, batch_bytes=largest.rows // len(devices) * largest.tokens * values,
        fixed_bytes=fixed, device=devices[0].device_kind, device_bytes=found, source=source,
    )  # fmt: skip


def check_memory(memory: Memory | None, config: Config, group: int) -> Finding:
    """Whether the largest bucket fits, and which config.train.rows or tokens_per_device would."""
    if memory is None:
        return Finding("memory", "skipped", "the compiler of this device does not say what programs need")
    need = memory.total_bytes
    each = f"each of {memory.devices} devices" if memory.devices > 1 else "the device"
    said = f"the heaviest bucket, {memory.rows} rows of {memory.tokens:,} tokens a call, needs {_gib(need)} of {each}"
    parts = (
        f"{_gib(memory.program_bytes)} its program, {_gib(memory.resident_bytes)} optimizer moments, "
        f"{_gib(memory.batch_bytes)} the next batch; {_gib(memory.apply_bytes)} the optimizer's own program",
    )
    if memory.device_bytes is None:
        return Finding("memory", "look", f"{said}; what {memory.device} has is not known", parts)
    has = {
        "device": f"{memory.device} has",
        "RAM": f"{memory.device} has, as a share of the RAM,",
        "given": "it would have",
    }
    said += f"; {has[memory.source]} {_gib(memory.device_bytes)}"
    fits = [n for n in range(memory.devices, group + 1, memory.devices) if group % n == 0 and n <= memory.fitting_rows]
    if fits:
        tokens = max(fits) // memory.devices * memory.tokens
        advice = f"about {max(fits)} rows fit: config.train.rows={max(fits)} or tokens_per_device={tokens}"
    else:
        advice = "not even one row a device fits: " + (
            "shard parameters (config.train.fsdp), take a smaller model or larger patches"
            if config.model.remat
            else "set config.model.remat, or take a smaller model or larger patches"
        )
    if need > memory.device_bytes:
        return Finding("memory", "stop", f"{said}; {advice}", parts)
    if need > _TIGHT * memory.device_bytes:
        return Finding("memory", "look", f"{said}, which is tight; {advice}", parts)
    return Finding("memory", "ok", said, (*parts, advice) if max(fits) > memory.rows else parts)


def _available(devices: list[Any]) -> tuple[int | None, str]:
    found = fit.device_bytes(devices[0])
    if found:
        return found, "device"
    if devices[0].platform != "cpu":
        return None, "device"
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // len(devices), "RAM"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.0f} MiB"
