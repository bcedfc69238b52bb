"""Kills a run with SIGKILL at random moments, resumes it each time, and compares its parameters bit by bit.

    python tools/kill_and_resume.py --config FILE[:variant] [--config.key=value ...] --kills 20 --out runs/kills

Runs the configuration once unbroken, then again with kills at random times, from start-up through compiling to the
middle of a checkpoint; exits 1 where the end differs.
"""

import argparse
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
from absl import logging

import radmae_jax
from radmae_jax.train.bits import fingerprint


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/kills"))
    options, config = parser.parse_known_args()
    logging.set_verbosity(logging.ERROR)
    command = [sys.executable, "-m", "radmae_jax.cli", "pretrain", *config, "--workdir"]
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)

    began = time.monotonic()
    subprocess.run([*command, str(options.out / "unbroken")], check=True, stderr=subprocess.DEVNULL)
    whole = time.monotonic() - began
    print(f"unbroken: {whole:.0f} s", flush=True)

    wanted = _fingerprint(options.out / "unbroken")
    moments = random.Random(options.seed)
    killed, rounds = 0, 0
    while killed < options.kills:
        rounds += 1
        workdir = options.out / f"killed{rounds}"
        while True:
            process = subprocess.Popen([*command, str(workdir)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            # The last run of the last round is left alone; the others get from moments to most of a whole run.
            delay = moments.uniform(0.05, 0.8) * whole if killed < options.kills else None
            try:
                if process.wait(timeout=delay):
                    print(f"a resumed run failed with {process.returncode}", file=sys.stderr)
                    return 1
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                killed += 1
                names = [path.name for path in (workdir / "checkpoints").glob("*")]
                saved = sorted(int(name) for name in names if name.isdigit())
                partial = [name for name in names if not name.isdigit()]
                print(f"kill {killed} after {delay:.1f} s; checkpoints {saved}, unfinished {partial}", flush=True)
        if _fingerprint(workdir) != wanted:
            print(f"round {rounds}: parameters are DIFFERENT", file=sys.stderr)
            return 1
        print(f"round {rounds}: complete, parameters are bitwise those of the unbroken run", flush=True)
    print(f"{killed} kills in {rounds} rounds")
    return 0


def _fingerprint(workdir: Path) -> str:
    return fingerprint(jax.device_get(radmae_jax.load(workdir).params))


if __name__ == "__main__":
    sys.exit(main())
