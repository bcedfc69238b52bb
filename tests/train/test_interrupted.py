"""Runs in processes of their own: killed and resumed, and asked to stop."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import pytest

import radmae_jax
from radmae_jax.config import Config
from radmae_jax.train import bits

_RUN = """
import sys
import time
from radmae_jax.config_checks import read_json
from radmae_jax.train import walk
from radmae_jax.train.loop import train_run
from radmae_jax.train.signals import leaving_when_asked
from pathlib import Path

if __name__ == "__main__":
    # Most of the time is spent waiting in Python, as for data: there a signal's handler runs at once.
    walk.report_unreadable = lambda *problems: time.sleep(0.03)
    with leaving_when_asked():
        outcome = train_run(read_json(Path(sys.argv[1])), Path(sys.argv[2]))
    print("interrupted" if outcome.interrupted else "complete", outcome.step)
"""


@pytest.fixture
def start(run_config, tmp_path):
    """Starts a run of 27 steps that saves at every second one."""
    config = replace(
        run_config,
        data=replace(run_config.data, workers=1),
        train=replace(run_config.train, epochs=9, checkpoint_every=2),
    )
    script = tmp_path / "run.py"
    script.write_text(_RUN)
    (tmp_path / "config.json").write_text(json.dumps(_plain(config)))
    # The same executables for every process, and seconds saved: compiled programs are kept between them.
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }  # fmt: skip

    def begin(workdir: Path) -> subprocess.Popen:
        command = [sys.executable, str(script), str(tmp_path / "config.json"), str(workdir)]
        return subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return begin


def _plain(config: Config) -> dict:
    from radmae_jax.plain import to_dict

    return to_dict(config)


def _wait_for_step(process: subprocess.Popen, workdir: Path, step: int) -> None:
    metrics = workdir / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if metrics.exists() and metrics.read_text().count('"loss"') >= step:
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    raise AssertionError(f"step {step} was not reached in 120 s")


def _wait_for_nobody(group: int) -> None:
    """The loader's processes end by themselves when the trainer is killed."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("a loader process outlived the trainer by 30 s")


def _finish(process: subprocess.Popen) -> str:
    out, error = process.communicate(timeout=180)
    assert process.returncode == 0, error
    return out.strip()


def _fingerprint(workdir: Path) -> str:
    return bits.fingerprint(jax.device_get(radmae_jax.load(workdir).params))


def test_killed_anywhere_and_stopped_politely_then_resumed_is_bitwise_the_same(start, tmp_path):
    assert _finish(start(tmp_path / "unbroken")) == "complete 27"

    workdir = tmp_path / "killed"
    for step in (3, 10):
        process = start(workdir)
        _wait_for_step(process, workdir, step)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        _wait_for_nobody(process.pid)

    # To the whole group, as a terminal or a scheduler sends it: the loader's processes get it too.
    process = start(workdir)
    _wait_for_step(process, workdir, 15)
    os.killpg(process.pid, signal.SIGTERM)
    state, step = _finish(process).split()
    assert state == "interrupted" and 15 <= int(step) < 27
    assert radmae_jax.load(workdir).step == int(step)

    assert _finish(start(workdir)) == "complete 27"
    assert _fingerprint(workdir) == _fingerprint(tmp_path / "unbroken")
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 28))
