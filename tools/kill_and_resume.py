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

import radmae_jax
from radmae_jax.train.checkpoint import fingerprint


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/kills"))
    options, config = parser.parse_known_args()
    command = [sys.executable, "-m", "radmae_jax.cli", "pretrain", *config, "--workdir"]
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)

    began = time.monotonic()
    subprocess.run([*command, str(options.out / "unbroken")], check=True, stderr=subprocess.DEVNULL)
    whole = time.monotonic() - began
    print(f"unbroken: {whole:.0f} s", flush=True)

    moments = random.Random(options.seed)
    killed = 0
    while killed < options.kills:
        process = subprocess.Popen([*command, str(options.out / "killed")], stderr=subprocess.DEVNULL)
        delay = moments.uniform(0.05, 1.0) * whole
        try:
            process.wait(timeout=delay)
            if process.returncode:
                print(f"a resumed run failed with {process.returncode}", file=sys.stderr)
                return 1
            print(f"complete after {killed} kills", flush=True)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
            saved = sorted(
                int(p.name) for p in (options.out / "killed" / "checkpoints").glob("[0-9]*") if p.name.isdigit()
            )
            print(f"kill {killed} after {delay:.1f} s; checkpoints {saved}", flush=True)
    subprocess.run([*command, str(options.out / "killed")], check=True, stderr=subprocess.DEVNULL)
    ends = [fingerprint(jax.device_get(radmae_jax.load(options.out / name).params)) for name in ("unbroken", "killed")]
    same = ends[0] == ends[1]
    print(f"{killed} kills: parameters are {'bitwise the same' if same else 'DIFFERENT'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
