"""Turns a list of items into results through worker processes, any of which may crash or hang without harm.

A process pool cannot say which of its tasks killed a worker. Here every worker has its own pipe and one task at a
time, so the item is known. Messages are JSON, never pickle: what comes back was made from untrusted files.
"""

import contextlib
import json
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

START_SECONDS = 120  # a worker's imports, on a busy machine
Task = Callable[[str, Any], dict[str, Any]]  # importable by name; (item, context) -> a dict of JSON values


@dataclass(frozen=True)
class Outcome:
    """What became of one item: `value`, or `failure`: "crashed" or "timeout", with a detail that may be logged."""

    item: str
    value: dict[str, Any] | None
    failure: str = ""
    detail: str = ""


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    pipe: Connection
    deadline: float  # time.monotonic() by which it must have said something, while it starts or has an item
    ready: bool = False
    item: str | None = None


def run_isolated(task: Task, context: Any, items: Sequence[str], *, workers: int, timeout: float) -> Iterator[Outcome]:
    """Outcomes of `task(item, context)` in order of completion, one for every item.

    A worker that dies is replaced, and its item runs once more at the end, alone, before it counts as crashed: it
    may have died of its neighbours' memory. An item that takes more than `timeout` seconds is stopped and not tried
    again. `task` must catch what it expects; what it raises is a defect and ends the run with RuntimeError.
    """
    again: list[str] = []
    for outcome in _run(task, context, items, workers, timeout):
        if outcome.failure == "crashed":
            again.append(outcome.item)
        else:
            yield outcome
    for item in again:
        yield from _run(task, context, [item], 1, timeout)


def _run(task: Task, context: Any, items: Sequence[str], workers: int, timeout: float) -> Iterator[Outcome]:
    pending = deque(items)
    crew: list[_Worker] = []
    done = 0
    try:
        while done < len(items):
            while len(crew) < min(workers, len(items) - done):
                crew.append(_start(task, context))
            for worker in crew:
                if worker.ready and worker.item is None and pending:
                    _give(worker, pending.popleft(), timeout)
            awaited = [worker for worker in crew if worker.item is not None or not worker.ready]
            patience = max(0.0, min(worker.deadline for worker in awaited) - time.monotonic())
            spoken = wait([worker.pipe for worker in awaited], timeout=patience)
            for worker in awaited:
                late = time.monotonic() >= worker.deadline
                if worker.pipe not in spoken and not late:
                    continue
                if worker.item is None:
                    _greet(worker, worker.pipe in spoken)
                    continue
                outcome = _collect(worker, worker.item) if worker.pipe in spoken else None
                if outcome is None:
                    outcome = Outcome(worker.item, None, "timeout", f"more than {timeout:g} s")
                worker.item = None
                if outcome.failure:
                    crew.remove(worker)
                    _stop(worker)
                done += 1
                yield outcome
    finally:
        for worker in crew:
            _stop(worker)


def _start(task: Task, context: Any) -> _Worker:
    # spawn: a fork of a process with threads (JAX, the progress bar) may deadlock
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs, task, context), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours, time.monotonic() + START_SECONDS)


def _greet(worker: _Worker, spoken: bool) -> None:
    try:
        worker.ready = spoken and worker.pipe.recv_bytes() == b"ready"
    except (EOFError, OSError):
        worker.ready = False
    if not worker.ready:
        worker.process.join(1)
        code = worker.process.exitcode
        how = f"did not start within {START_SECONDS} s" if code is None else f"ended with {code} before it was ready"
        raise RuntimeError(f"a worker process {how}; a script that starts work needs `if __name__ == '__main__':`")


def _give(worker: _Worker, item: str, timeout: float) -> None:
    worker.item = item
    worker.deadline = time.monotonic() + timeout
    with contextlib.suppress(OSError):  # it died while idle: found out when its pipe is read
        worker.pipe.send_bytes(json.dumps(item).encode())


def _collect(worker: _Worker, item: str) -> Outcome:
    try:
        reply = json.loads(worker.pipe.recv_bytes())
    except (EOFError, OSError):
        worker.process.join(5)
        return Outcome(item, None, "crashed", f"exit code {worker.process.exitcode}")
    if "defect" in reply:
        raise RuntimeError(f"a worker process failed: {reply['defect']}")
    return Outcome(item, reply["value"])


def _stop(worker: _Worker) -> None:
    worker.pipe.close()
    if worker.process.is_alive():
        worker.process.kill()
    worker.process.join()


def _serve(pipe: Connection, task: Task, context: Any) -> None:
    """The worker: items in, results out, until the pipe closes (the parent ended, however it ended)."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)  # decoders print to stderr, through the progress bar
    pipe.send_bytes(b"ready")
    while True:
        try:
            item = json.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            reply = {"value": task(item, context)}
        except Exception as error:  # only its class: the text may quote the file
            reply = {"defect": type(error).__name__}
        pipe.send_bytes(json.dumps(reply).encode())
