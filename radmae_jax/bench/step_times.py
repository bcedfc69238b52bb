"""Token lengths to measured seconds: the programs that training runs, timed one by one on the present device."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np

from radmae_jax.bench.savings import Cost, Policy, Savings
from radmae_jax.config import Config, Model, Train
from radmae_jax.data.batch import Batch, empty_batch
from radmae_jax.data.schedule import choose_rows
from radmae_jax.model.flops import training_flops
from radmae_jax.train import sharding
from radmae_jax.train.blueprint import make_blueprint
from radmae_jax.train.programs import compile_programs
from radmae_jax.train.reconstruction import reconstruction

_KNOTS = 4096  # points of a price between lengths
_SECONDS = 0.2  # a measurement takes at least this long, so that a call's launch does not show
_LONG = 1.0  # seconds of a call beside which warming up does not show


@dataclass(frozen=True)
class Timed:
    """One accumulate program: forward, backward and the sum of gradients for `rows` images of `tokens` tokens."""

    tokens: int
    rows: int
    compile_seconds: float
    seconds: tuple[float, ...]  # of one image, a repeat each
    flops: float  # of one image, analytic

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class StepTimes:
    """Measured programs, ascending by length, and what they ran on."""

    device: str
    dtype: str
    attention: str
    programs: tuple[Timed, ...]

    @property
    def repeats(self) -> int:
        return len(self.programs[0].seconds)

    def price(self, model: Model, most: int) -> Cost:
        """Seconds of one image by its tokens, up to `most`: its FLOPs at a rate between those measured at the
        neighbouring lengths, or the nearest; made not to fall with the length."""
        lengths = np.array([p.tokens for p in self.programs])
        seconds_per_flop = np.array([p.median / p.flops for p in self.programs])
        knots = np.unique(np.round(np.geomspace(1, max(most, 2), _KNOTS)))
        seconds = np.maximum.accumulate(training_flops(knots, model) * np.interp(knots, lengths, seconds_per_flop))
        return lambda tokens: np.interp(tokens, knots, seconds)

    def of_epoch(self, policy: Policy, images: np.ndarray) -> tuple[float, ...] | None:
        """Seconds an epoch of a policy takes, a repeat each; None where one of its programs was not measured."""
        known = {p.tokens: p.seconds for p in self.programs}
        if any(length not in known for length in policy.lengths):
            return None
        each = np.array([known[length] for length in policy.lengths])  # [lengths, repeats]
        return tuple((images.astype(np.float64) @ each).tolist())


def time_programs(
    config: Config,
    lengths: list[int],
    repeats: int,
    rows: int = 0,
    told: Callable[[int], None] = lambda done: None,
) -> StepTimes:
    """Compiles and times the accumulate program of each length.

    Programs whose call takes less than a second are called once unmeasured, to warm up and to see how many calls make
    a measurement. Then come `repeats` rounds, each over all programs in another random order, so that a device that
    slows down slows all alike.

    Args:
      rows: images a call; 0: one a device on CPU, elsewhere as training chooses (config.train.rows and
        tokens_per_device).
      told: told 1 after each compilation and each measurement: len(lengths) * (1 + repeats) in all.
    """
    mesh = sharding.make_mesh(config.train.fsdp)
    devices = mesh.size
    on_cpu = jax.devices()[0].platform == "cpu"
    wanted = rows or config.train.rows or (devices if on_cpu else 0)
    ascending = tuple(sorted(lengths))
    bound = config.train.tokens_per_device or Train.tokens_per_device  # 0, what fits, is training's
    each = choose_rows(ascending, config.bins.group, devices, wanted, bound)
    plan = make_blueprint(config, reconstruction(config), mesh, ascending, each, steps_per_epoch=1)
    everything = set(range(len(ascending)))
    programs = compile_programs(plan, everything, set(), told=lambda program: told(int(program.tokens > 0)))
    state, gathered = programs.init(), programs.empty()
    by_rows = sharding.rows(mesh)
    rng = np.random.default_rng(0)
    measured: list[list[float]] = [[] for _ in ascending]
    calls = [1] * len(ascending)

    def seconds_of(at: int) -> float:
        """Of one call, the mean over calls[at]."""
        nonlocal gathered
        batch = sharding.to_global(_batch(config, each[at], ascending[at], rng), by_rows)
        jax.block_until_ready((batch, gathered))
        began = time.perf_counter()
        for _ in range(calls[at]):
            gathered = programs.accumulate[at].call(state.params, state.tables, gathered, batch)
        jax.block_until_ready(gathered)
        return (time.perf_counter() - began) / calls[at]

    for at in range(len(ascending)):
        first = seconds_of(at)
        if first > _LONG:
            break  # longer ones take longer
        calls[at] = max(1, round(_SECONDS / seconds_of(at)))
    for _ in range(repeats):
        for at in rng.permutation(len(ascending)).tolist():
            measured[at].append(seconds_of(at) / each[at])
            told(1)
    if not np.isfinite(np.asarray(gathered.numerator)).all():
        raise ValueError("the timed programs gave losses that are not finite: the timings mean nothing")
    timed = [
        Timed(
            n, each[at], programs.accumulate[at].compile_seconds, tuple(measured[at]),
            float(training_flops(n, config.model)),
        )
        for at, n in enumerate(ascending)
    ]  # fmt: skip
    kind = f"{devices} x {jax.devices()[0].device_kind}"
    return StepTimes(kind, config.model.dtype, config.model.attention, tuple(timed))


def _batch(config: Config, rows: int, length: int, rng: np.random.Generator) -> Batch:
    """Full rows of noise: time does not depend on the pixels."""
    patch = config.model.patch
    batch = empty_batch(rows, length, patch, config.model.channels, config.data.dtype)
    batch.patches[:] = rng.integers(0, np.iinfo(batch.patches.dtype).max, batch.patches.shape, batch.patches.dtype)
    batch.grid[:] = 1, length
    batch.extent[:] = patch, length * patch
    batch.weight[:] = 1.0
    batch.record[:] = np.arange(rows)
    return batch


@dataclass(frozen=True)
class Ratio:
    """How many times as long a policy's epoch takes as another's: a repeat each, and as the FLOPs predict."""

    slower: str
    faster: str
    predicted: float
    repeats: tuple[float, ...]
    median: float
    least: float
    most: float


def _epochs(found: Savings, times: StepTimes) -> dict[str, tuple[float, ...]]:
    """Seconds an epoch, a repeat each, of the policies whose programs were all measured."""
    epochs = {p.name: times.of_epoch(p, found.images[p.name]) for p in found.policies}
    return {name: seconds for name, seconds in epochs.items() if seconds is not None}


def ratios(found: Savings, times: StepTimes) -> list[Ratio]:
    """Of `fixed` and `poster_dbb` to each other measured policy."""
    measured = _epochs(found, times)
    listed = []
    for slower in ("fixed", "poster_dbb"):
        for faster in measured:
            if slower not in measured or faster in ("fixed", slower):
                continue
            each = tuple(a / b for a, b in zip(measured[slower], measured[faster], strict=True))
            predicted = found.named(slower).flops_pct / found.named(faster).flops_pct
            listed.append(Ratio(slower, faster, predicted, each, statistics.median(each), min(each), max(each)))
    return listed


def epoch_seconds(found: Savings, times: StepTimes) -> tuple[dict[str, float], float]:
    """Median seconds an epoch by policy, of those whose programs were all measured; and those of `padded_to_patch`,
    which has too many programs to measure, by the rates of the measured ones."""
    known = {name: statistics.median(seconds) for name, seconds in _epochs(found, times).items()}
    exact = found.named("padded_to_patch")
    each = times.price(found.model, exact.lengths[-1])(np.array(exact.lengths))
    return known, known.get("padded_to_patch", float(found.images["padded_to_patch"] @ each))


def to_figures(found: Savings, times: StepTimes) -> dict[str, Any]:
    """What was measured, for JSON: programs, seconds an epoch and their ratios, spread included."""
    programs = [
        {
            "tokens": p.tokens, "rows": p.rows, "compile_seconds": p.compile_seconds, "seconds_per_image": p.seconds,
            "median": p.median, "gflop_per_image": p.flops / 1e9, "gflop_per_second": p.flops / p.median / 1e9,
        }
        for p in times.programs
    ]  # fmt: skip
    known, whole = epoch_seconds(found, times)
    return {
        "device": times.device, "dtype": times.dtype, "attention": times.attention, "repeats": times.repeats,
        "epoch_seconds": known, "padded_to_patch_seconds_estimated": whole,
        "ratios": [asdict(ratio) for ratio in ratios(found, times)], "programs": programs,
    }  # fmt: skip
