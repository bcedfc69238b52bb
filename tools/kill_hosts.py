"""Kills processes of a run with SIGKILL at random steps, resumes on other numbers of them, and compares the curve.

    python tools/kill_hosts.py --config FILE[:variant] [--config.key=value ...] --kills 20 --out runs/kill_hosts

Runs the configuration (float32, at most 50 steps, on CPU) unbroken in one process, then again on 1, 2 or 4 processes,
one of which is killed at a random step, until there were so many kills; the rest must end within a minute. What is
left is trained to the end. On phantoms, about twenty minutes of two cores:

    radmae phantom /tmp/p --images 160 --scale 0.1 --seed 1 && radmae index /tmp/p /tmp/p.parquet
    python tools/kill_hosts.py --config configs/demo.py --config.data.manifest=/tmp/p.parquet --config.train.epochs=5 \
      --config.train.checkpoint_every=4 --config.train.evaluate_every=0 --config.train.panels_every=0

Exits 1 where losses differ by more than 1e-5 of themselves, the parameters' distance is more than 1e-5 of their norm,
or processes had not ended within a minute.
"""

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
from absl import logging

import radmae_jax

_COUNTS = (1, 2, 4)
_TOLERANCE = 1e-5
_ENDED_SECONDS = 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/kill_hosts"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    options, config = parser.parse_known_args()
    logging.set_verbosity(logging.ERROR)
    jax.config.update("jax_platforms", "cpu")
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    began, choices = time.monotonic(), random.Random(options.seed)
    _ended(_start(config, options.out / "unbroken", 1, options.out / "cache"), None)
    wanted = _losses(options.out / "unbroken")
    print(f"unbroken: {len(wanted)} steps in {time.monotonic() - began:.0f} s", flush=True)

    kills, rounds = [], 0
    while len(kills) < options.kills:
        rounds += 1
        workdir = options.out / f"round{rounds}"
        while True:
            count = choices.choice(_COUNTS)
            processes = _start(config, workdir, count, options.out / "cache")
            done = max(_losses(workdir), default=0)
            # Steps of a tenth of a run apart, so that a round sees several kills.
            step = done + choices.randint(1, max(2, len(wanted) // 5))
            if len(kills) == options.kills or step >= len(wanted):
                _ended(processes, None)
                break
            _wait_for_step(processes, workdir, step)
            victim = choices.randrange(count)
            processes[victim].kill()
            seconds = _ended(processes, victim)
            kills.append({"processes": count, "killed": victim, "step": step, "seconds": seconds})
            print(
                f"kill {len(kills)}: process {victim} of {count} at step {step}; all ended {seconds:.0f} s later",
                flush=True,
            )
        found = _losses(workdir)
        loss = max(abs(found[at] - value) / abs(value) for at, value in wanted.items())
        distance = _distance(*(radmae_jax.load(path).params for path in (workdir, options.out / "unbroken")))
        print(f"round {rounds}: losses within {loss:.1e} of themselves, parameters within {distance:.1e}", flush=True)
        if found.keys() != wanted.keys() or loss > _TOLERANCE or distance > _TOLERANCE:
            print(f"round {rounds} is another curve", file=sys.stderr)
            return 1
    slowest = max(kill["seconds"] for kill in kills)
    print(
        f"{len(kills)} kills in {rounds} rounds and {time.monotonic() - began:.0f} s; all ended within {slowest:.0f} s"
    )
    if options.json:
        options.json.write_text(json.dumps({"kills": kills, "rounds": rounds, "seconds": time.monotonic() - began}))
    return int(slowest > _ENDED_SECONDS)


def _start(config: list[str], workdir: Path, count: int, cache: Path) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "JAX_COMPILATION_CACHE_DIR": str(cache.absolute()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }  # fmt: skip
    command = [sys.executable, "-m", "radmae_jax.cli", "pretrain", *config, "--workdir", str(workdir)]
    hosts = [["--hosts", f"{address},{count},{index}"] if count > 1 else [] for index in range(count)]
    null = subprocess.DEVNULL
    return [subprocess.Popen([*command, *each], env=environment, stdout=null, stderr=null) for each in hosts]


def _ended(processes: list[subprocess.Popen], victim: int | None) -> float:
    """Waits for all; those that are not killed, or lose nobody, must end well. Returns seconds."""
    began = time.monotonic()
    for process in processes:
        code = process.wait(timeout=None if victim is None else 3 * _ENDED_SECONDS)
        if victim is None and code:
            raise SystemExit(f"a process ended with {code}")
    return time.monotonic() - began


def _wait_for_step(processes: list[subprocess.Popen], workdir: Path, step: int) -> None:
    while max(_losses(workdir), default=0) < step:
        if any(process.poll() is not None for process in processes):
            raise SystemExit(f"a process ended before step {step}")
        time.sleep(0.02)


def _losses(workdir: Path) -> dict[int, float]:
    path = workdir / "metrics.jsonl"
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def _distance(a: dict, b: dict) -> float:
    """||a - b|| / ||b|| over all leaves, in float64."""
    pairs = [
        (np.asarray(x, np.float64), np.asarray(y, np.float64))
        for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    ]
    return float(np.sqrt(sum(np.sum((x - y) ** 2) for x, y in pairs) / sum(np.sum(y**2) for _, y in pairs)))


if __name__ == "__main__":
    sys.exit(main())
