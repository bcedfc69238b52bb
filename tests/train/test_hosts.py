"""Several processes of one run: the curve of one, whoever is killed or asked to stop."""

import json
import signal
import sys
import time
from dataclasses import replace

import jax
import pytest

import radmae_jax
from radmae_jax.plain import to_dict
from radmae_jax.train.loop import train_run

_STEPS = 27
_CONFIG = """
from pathlib import Path
from radmae_jax.config import editable
from radmae_jax.config_checks import read_json

def get_config(variant=""):
    return editable(read_json(Path({!r})))
"""


@pytest.fixture
def long_config(run_config):
    """27 steps, a checkpoint after each second, over up to 8 devices; fsdp where there are as many."""
    train = replace(run_config.train, epochs=9, checkpoint_every=2)
    return replace(run_config, train=train)


@pytest.fixture
def start(long_config, tmp_path, start_processes):
    """start(count): `radmae pretrain` of the long run in so many processes."""
    values, config = tmp_path / "config.json", tmp_path / "run.py"
    values.write_text(json.dumps(to_dict(long_config)))
    config.write_text(_CONFIG.format(str(values)))

    command = [sys.executable, "-m", "radmae_jax.cli", "pretrain", "--config", str(config)]
    command += ["--workdir", str(tmp_path / "run"), "--hosts"]
    return lambda count: start_processes(count, lambda _, hosts: [*command, hosts])


def test_killed_and_stopped_on_two_and_four_processes_it_is_the_curve_of_one(
    start, long_config, tmp_path, losses, tree_distance
):
    workdir = tmp_path / "run"
    job = start(2)
    job.wait_for_step(workdir, 5)
    began = time.monotonic()
    job.processes[1].send_signal(signal.SIGKILL)
    (code, _, said), _ = job.ended(60)
    assert time.monotonic() - began < 60
    assert code != 0 and "host 1 has not been heard of for" in said

    job = start(4)
    job.wait_for_step(workdir, 11)
    job.processes[3].send_signal(signal.SIGTERM)
    ended = job.ended()
    assert [code for code, _, _ in ended] == [75] * 4, ended
    stopped = radmae_jax.load(workdir).step
    assert 11 <= stopped < _STEPS and f"saved after step {stopped}" in ended[0][2]

    job = start(2)
    job.wait_for_step(workdir, 19)
    job.processes[0].send_signal(signal.SIGKILL)  # whom the others meet at
    _, (code, _, said) = job.ended(60)
    assert code != 0 and "the leader task" in said

    assert train_run(long_config, workdir, devices=jax.devices()[:1], quiet=True).step == _STEPS
    train_run(long_config, tmp_path / "one", devices=jax.devices()[:1], quiet=True)
    found, wanted = losses(workdir), losses(tmp_path / "one")
    assert list(found) == list(wanted) == list(range(1, _STEPS + 1))
    assert max(abs(found[step] - loss) / loss for step, loss in wanted.items()) < 1e-5
    params = [radmae_jax.load(path).params for path in (workdir, tmp_path / "one")]
    assert tree_distance(*map(jax.device_get, params)) < 1e-5


def test_asked_before_the_first_step_it_leaves_at_once(start, tmp_path):
    """While it waits for a process that does not come."""
    job = start(2)
    job.processes[1].kill()
    job.wait_for_meeting()
    job.processes[0].send_signal(signal.SIGTERM)
    (code, _, said), _ = job.ended(30)
    assert code == 75 and "asked to stop while nothing was to be saved" in said
