"""A run's loader and programs to images per second of each, and to how long the device would wait."""

import math
import os
import time
from dataclasses import dataclass

import jax
import numpy as np

from radmae_jax.bench.step_times import StepTimes, Timed
from radmae_jax.data.loader import stream
from radmae_jax.doctor.finding import Finding
from radmae_jax.doctor.prepared import Prepared, peak_flops
from radmae_jax.model.flops import training_flops
from radmae_jax.train import sharding
from radmae_jax.train.validation import largest_bytes

_REPEATS = 5  # calls of a program that are timed, where there is time
_SMALL = 0.05  # a share of waiting that is let pass
_SPARE = 1.2  # the loader should be faster than the device by this, since its speed varies
_HOPELESS = 5.0  # a call that takes so many times the seconds that are given is not begun


@dataclass(frozen=True)
class Input:
    """What the loader gave in some seconds, its start not counted."""

    seconds: float
    images: int
    pixel_bytes: int  # decoded, padding not counted
    file_bytes: int
    calls: tuple[int, ...]  # how many of each bucket
    unreadable: int

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds


@dataclass(frozen=True)
class Steps:
    """Training's programs, timed on training images, and the loss of the untrained model on these."""

    times: StepTimes
    apply_seconds: float
    untrained: float | None  # None where none of these could be read

    def seconds_of(self, calls: tuple[int, ...], prepared: Prepared) -> float:
        """Of so many calls of each bucket, the optimizer's share included."""
        lengths = np.array(prepared.calls.schedule.lengths)
        each = self.times.price(prepared.config.model, int(lengths[-1]))(lengths) * np.array(prepared.calls.rows)
        per_step = prepared.calls.per_epoch / prepared.calls.schedule.steps_per_epoch
        return float(np.array(calls) @ each) + self.apply_seconds * sum(calls) / per_step


def measure_input(prepared: Prepared, seconds: float) -> Input:
    """Runs the loader of training for some seconds, or through its first epoch: later ones may come from its cache."""
    data, calls = prepared.config.data, prepared.calls
    source = prepared.dataset.source
    item = np.dtype(source.dtype).itemsize
    images = pixel_bytes = file_bytes = unreadable = 0
    counts = np.zeros(len(calls.rows), np.int64)
    largest = largest_bytes(calls, prepared.dataset)
    with stream(
        prepared.load, 0, max(calls.per_epoch, 2), workers=data.workers, threads=data.threads,
        prefetch_bytes=data.prefetch_mib << 20, largest_bytes=largest,
    ) as elements:  # fmt: skip
        next(elements)  # processes start
        began = time.perf_counter()
        for loaded in elements:
            read = np.flatnonzero(loaded.batch.weight)
            images += len(read)
            pixel_bytes += int(loaded.batch.extent[read].prod(axis=1, dtype=np.int64).sum()) * item
            counts[loaded.bucket] += 1
            unreadable += len(loaded.problems)
            for record in loaded.batch.record[read].tolist():
                file_bytes += (source.root / source.paths[record]).stat().st_size
            if time.perf_counter() - began > seconds:
                break
        took = time.perf_counter() - began
    return Input(took, images, pixel_bytes, file_bytes, tuple(counts.tolist()), unreadable)


def measure_steps(prepared: Prepared, seconds: float) -> Steps | str:
    """Times the compiled programs one by one, the shortest first, as far as the seconds reach; or why it did not.

    Each is first called once unmeasured, which also gives the untrained loss.
    """
    programs = prepared.programs
    rate = peak_flops(prepared.config.model.dtype) * prepared.mesh.size
    ordered = sorted(programs.accumulate.items(), key=lambda item: item[1].flops)
    least = ordered[0][1].flops / rate
    if least > _HOPELESS * seconds:
        return (
            f"one call of the smallest bucket takes at least {least:.0f} s on this device ({rate / 1e9:,.0f} GFLOP/s)"
        )
    state, gathered = programs.init(), programs.empty()
    by_rows = sharding.rows(prepared.mesh)
    numbers = _first_calls(prepared)
    began, timed, sums = time.perf_counter(), [], np.zeros(2)
    for bucket, program in ordered:
        if timed and time.perf_counter() - began + timed[-1].seconds[-1] * program.rows > seconds:
            break
        batch = sharding.to_global(prepared.load(numbers[bucket]).batch, by_rows)
        took = []
        for repeat in range(1 + _REPEATS):
            called = time.perf_counter()
            gathered = program.call(state.params, state.tables, gathered, batch)
            jax.block_until_ready(gathered)
            took.append((time.perf_counter() - called) / program.rows)
            if repeat == 0:
                sums += float(gathered.numerator[bucket]), float(gathered.denominator[bucket])
            if repeat and time.perf_counter() - began + took[-1] * program.rows > seconds:
                break
        flops = float(training_flops(program.tokens, prepared.config.model))
        timed.append(Timed(program.tokens, program.rows, program.compile_seconds, tuple(took[1:]), flops))
    apply_seconds = math.inf
    for _ in range(2):
        called = time.perf_counter()
        state, gathered, report = programs.apply.call(state, gathered)
        jax.block_until_ready(report)
        apply_seconds = min(apply_seconds, time.perf_counter() - called)
    model = prepared.config.model
    kind = f"{prepared.mesh.size} x {prepared.devices[0].device_kind}"
    ascending = tuple(sorted(timed, key=lambda t: t.tokens))
    untrained = float(sums[0] / sums[1]) if sums[1] else None
    return Steps(StepTimes(kind, model.dtype, model.attention, ascending), apply_seconds, untrained)


def waiting(input_rate: float, step_rate: float) -> float:
    """The share of its time, from 0 to 1, that a device waits for its input; rates in images a second."""
    return max(0.0, 1.0 - input_rate / step_rate)


def advise(input_rate: float, step_rate: float, workers: int, cores: int) -> str:
    """How many loader processes would keep up, if each were as fast as those are now."""
    each = input_rate / max(1, workers)
    wanted = math.ceil(_SPARE * step_rate / each)
    if wanted <= cores:
        return f"try config.data.workers={wanted}"
    share = min(1.0, cores * each / step_rate)
    return (
        f"try config.data.workers={cores}, all cores of this machine, which would reach about {share:.0%} of what the "
        "device can take; for the rest more cores, faster storage, or images stored in a form that decodes faster"
    )


def check_rates(prepared: Prepared, read: Input, steps: Steps | str, cores: int | None = None) -> Finding:
    """Whether the device would wait for images."""
    if not read.images:
        return Finding("input rate", "skipped", "the loader gave no image that could be read")
    workers = prepared.config.data.workers
    megabytes = (read.pixel_bytes / read.seconds / 1e6, read.file_bytes / read.seconds / 1e6)
    loader = (
        f"the loader (workers={workers}, threads={prepared.config.data.threads}) gives {_number(read.rate)} images/s, "
        f"{_number(megabytes[0])} MB/s of pixels from {_number(megabytes[1])} MB/s of files"
    )
    cached = "files that the system holds in memory are read faster here than in a long run"
    if prepared.config.data.cache_mib:
        cached += "; what fits config.data.cache_mib is not read again in later epochs"
    if isinstance(steps, str):
        return Finding("input rate", "skipped", f"{loader}; training was not timed: {steps}", (cached,))
    # Both over the same calls.
    rate = read.images / steps.seconds_of(read.calls, prepared)
    lengths = ", ".join(f"{t.rows} x {t.tokens:,} tokens {t.median * t.rows:.3g} s" for t in steps.times.programs)
    notes = [f"on {steps.times.device}: {lengths}, the optimizer {steps.apply_seconds:.3g} s a step", cached]
    if prepared.devices[0].platform == "cpu":
        both = 1 / (1 / rate + 1 / read.rate)
        notes.append(f"on a CPU the two share the cores: down to {_number(both)} images/s in all")
    share = waiting(read.rate, rate)
    said = f"{loader}; training takes {_number(rate)} images/s"
    if share <= _SMALL:
        return Finding("input rate", "ok", f"{said}: the device is kept busy", tuple(notes))
    advice = advise(read.rate, rate, workers, cores or os.cpu_count() or 1)
    text = f"{said}: input-bound, the device would wait {share:.0%} of the time; {advice}"
    return Finding("input rate", "look", text, tuple(notes))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _first_calls(prepared: Prepared) -> dict[int, int]:
    """The number of the first call of each bucket."""
    found: dict[int, int] = {}
    for number in range(prepared.calls.per_epoch):
        found.setdefault(prepared.calls.call(number).bucket, number)
    return found
