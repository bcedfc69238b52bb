"""Runs of several processes, and what runs wrote."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest


class Job:
    """Processes of one command, on one CPU device each, which compile as the tests do: all but the first each time, as
    JAX keeps the first one's programs only, and on CPU their keys differ by process."""

    def __init__(self, folder: Path, address: str, commands: list[list[str]]):
        self._address = address
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
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


@pytest.fixture
def start_processes(tmp_path):
    """start_processes(count, command_of): a Job of `command_of(index, hosts)`, hosts being what --hosts takes."""
    jobs: list[Job] = []

    def start(count: int, command_of: Callable[[int, str], list[str]]) -> Job:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        commands = [command_of(index, f"{address},{count},{index}") for index in range(count)]
        jobs.append(Job(tmp_path, address, commands))
        return jobs[-1]

    yield start
    for process in [process for job in jobs for process in job.processes]:
        process.kill()  # of a test that failed
        process.communicate()


@pytest.fixture(scope="session")
def losses():
    """losses(workdir): the loss of each step, each written once and in order."""

    def of(workdir: Path) -> dict[int, float]:
        lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        steps = [line for line in lines if "loss" in line]
        assert [line["step"] for line in steps] == list(range(1, len(steps) + 1))
        return {line["step"]: line["loss"] for line in steps}

    return of
