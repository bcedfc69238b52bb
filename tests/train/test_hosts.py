"""Several processes of one run: the curve of one, whoever is killed or asked to stop; disagreement is refused."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import pytest

import radmae_jax
from radmae_jax.data.index import index
from radmae_jax.plain import to_dict
from radmae_jax.train.hosts import Hosts, HostsDisagree, agree, gather, join, read_hosts
from radmae_jax.train.loop import train_run
from radmae_jax.train.presence import BEHIND_SECONDS, SILENT_SECONDS, Roll

_STEPS = 27
_RUN = """
import json, sys
from pathlib import Path
from radmae_jax.config_checks import read_json
from radmae_jax.train.hosts import HostsDisagree, join, read_hosts
from radmae_jax.train.loop import train_run

if __name__ == "__main__":
    join(read_hosts(sys.argv[1]))
    own = {}  # what is asked of each configuration
    for path in map(Path, sys.argv[2].split(",")):
        try:
            own[path.stem] = train_run(read_json(path), path.with_suffix(""), quiet=True).step
        except HostsDisagree as error:
            own[path.stem] = str(error)
    print(json.dumps(own))
"""

_CONFIG = """
from pathlib import Path
from radmae_jax.config import editable
from radmae_jax.config_checks import read_json

def get_config(variant=""):
    return editable(read_json(Path({!r})))
"""


class Job:
    """Processes of one command, on one CPU device each."""

    def __init__(self, folder: Path, address: str, commands: list[list[str]]):
        self._address = address
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }  # fmt: skip
        self.processes = [
            subprocess.Popen(c, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for c in commands
        ]

    def wait_for_step(self, workdir: Path, step: int) -> None:
        """Until the metrics have a step's loss."""
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            if (workdir / "metrics.jsonl").exists() and f'"step": {step},' in (workdir / "metrics.jsonl").read_text():
                return
            for process in self.processes:
                assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
        raise AssertionError(f"step {step} was not reached in 180 s")

    def wait_for_meeting(self) -> None:
        """Until process 0 waits for the others: something listens at its address."""
        host, port = self._address.split(":")
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            with socket.socket() as asking:
                if asking.connect_ex((host, int(port))) == 0:
                    return
            assert self.processes[0].poll() is None, self.processes[0].communicate()[1]
            time.sleep(0.1)
        raise AssertionError("process 0 did not wait for the others in 180 s")

    def ended(self, seconds: float = 180) -> list[tuple[int, str, str]]:
        """Return code, output and errors of each."""
        said = [process.communicate(timeout=seconds) for process in self.processes]
        return [(p.returncode, out, error) for p, (out, error) in zip(self.processes, said, strict=True)]


def _address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def long_config(run_config):
    """27 steps, a checkpoint after each second, over up to 8 devices; fsdp where there are as many."""
    train = replace(run_config.train, epochs=9, checkpoint_every=2)
    return replace(run_config, train=train)


@pytest.fixture
def start(long_config, tmp_path):
    """start(count): `radmae pretrain` of the long run in so many processes."""
    values, config = tmp_path / "config.json", tmp_path / "run.py"
    values.write_text(json.dumps(to_dict(long_config)))
    config.write_text(_CONFIG.format(str(values)))

    def begin(count: int) -> Job:
        address = _address()
        command = [sys.executable, "-m", "radmae_jax.cli", "pretrain", "--config", str(config), "--workdir"]
        command.append(str(tmp_path / "run"))
        return Job(tmp_path, address, [[*command, "--hosts", f"{address},{count},{index}"] for index in range(count)])

    return begin


def _losses(workdir: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def test_killed_and_stopped_on_two_and_four_processes_it_is_the_curve_of_one(
    start, long_config, tmp_path, tree_distance
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
    found, wanted = _losses(workdir), _losses(tmp_path / "one")
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


def test_a_host_that_would_train_something_else_is_refused_by_name(run_config, archive, tmp_path):
    (tmp_path / "fewer").mkdir()
    for image in sorted((archive.parent / "images").iterdir())[:-1]:
        (tmp_path / "fewer" / image.name).symlink_to(image)
    other = tmp_path / "other.parquet"
    index(tmp_path / "fewer", other, workers=1, show_progress=False)
    cases = {
        "lengths": replace(run_config, bins=replace(run_config.bins, lengths=(20, 36))),
        "seed": replace(run_config, train=replace(run_config.train, seed=1)),
        "manifest": replace(run_config, data=replace(run_config.data, manifest=str(other))),
        "config.optim.learning_rate": replace(run_config, optim=replace(run_config.optim, learning_rate=2e-3)),
    }
    script = tmp_path / "run.py"
    script.write_text(_RUN)
    paths = {0: [], 1: []}
    for host, config in ((0, dict.fromkeys(cases, run_config)), (1, cases)):
        for name, asked in config.items():
            path = tmp_path / f"{host}" / f"{name}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(to_dict(asked)))
            paths[host].append(str(path))
    address = _address()
    job = Job(
        tmp_path,
        address,
        [[sys.executable, str(script), f"{address},2,{host}", ",".join(paths[host])] for host in (0, 1)],
    )
    ended = job.ended()
    for code, out, _ in ended:
        assert code == 0, ended
        said = json.loads(out.splitlines()[-1])
        for name in cases:
            assert f"disagree: {name} is " in said[name], said[name]


def test_hosts_are_spelled(monkeypatch):
    assert read_hosts("") is None
    assert read_hosts("auto") == Hosts()
    assert read_hosts("10.0.0.1:1234,4,3") == Hosts("10.0.0.1:1234", 4, 3)
    with pytest.raises(ValueError, match="must be auto, or ADDRESS:PORT,COUNT,INDEX"):
        read_hosts("10.0.0.1")
    with pytest.raises(ValueError, match="the index is from 0 to COUNT - 1 = 3"):
        read_hosts("10.0.0.1:1234,4,4")
    join(None)


def test_one_process_agrees_with_itself():
    assert gather({"a": 1}) == [{"a": 1}]
    agree({"a": [1, 2]})


def test_disagreement_names_fields_hosts_and_values(monkeypatch):
    everyone = [
        {"seed": 0, "lengths": [1, 2]},
        {"seed": 0, "lengths": [1, 3]},
        {"seed": 7, "lengths": [1, 2], "new": 1},
    ]
    monkeypatch.setattr("radmae_jax.train.hosts.gather", lambda value: everyone)
    with pytest.raises(HostsDisagree) as raised:
        agree(everyone[0])
    assert str(raised.value) == (
        "the hosts disagree: lengths is [1, 3] on host 1, [1, 2] on host 0; seed is 7 on host 2, 0 on host 0; "
        "new is 1 on host 2, null on host 0"
    )


def test_presence_names_the_silent_and_those_behind_once():
    roll = Roll(3, own=0, now=0.0)
    for now in range(1, 200):
        roll.take(0, now, now, now)
        roll.take(1, now, min(now, 20), now)  # beats, but stays at step 20
        if now < 50:
            roll.take(2, now, now, now)
        said = roll.sentences(now)
        if now == 49 + SILENT_SECONDS + 1:
            assert said == ["host 2 has not been heard of for 11 s, after step 49"]
        elif now == 21 + BEHIND_SECONDS + 1:
            assert said == [f"host 1 is behind for 61 s: at step 20 of {now}"]
        else:
            assert said == [], now
    # Steps of the others are heard of seconds late: nobody is behind.
    even = Roll(2, own=0, now=0.0)
    for now in range(1, 200):
        even.take(0, now, 3 * now, now)
        even.take(1, now, 3 * now - 2, now)
        assert even.sentences(now) == []
    roll.take(2, 200, 200, 200)
    assert roll.sentences(200) == [] and roll.sentences(200 + SILENT_SECONDS + 1)[-1].startswith("host 2 has not")


def test_every_field_of_a_run_is_compared(run_config, archive):
    from radmae_jax.data.dataset import open_dataset
    from radmae_jax.train.premises import common, premises_of

    dataset = open_dataset(run_config)
    fields = common(run_config, premises_of(run_config, dataset, 3))
    assert {"lengths", "seed", "manifest", "split", "config.optim.learning_rate", "jax"} <= fields.keys()
    own = {f"config.data.{name}" for name in ("manifest", "root", "workers", "threads", "prefetch_mib", "cache_mib")}
    settings = {f"config.{s.name}.{f.name}" for s in dataclasses.fields(run_config) for f in dataclasses.fields(s.type)}
    assert settings - fields.keys() == own | {"config.data.split", "config.train.start"}
    json.dumps(fields)
