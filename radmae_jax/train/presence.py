"""Which step each process of a run is at, so that a hang has a name: who fell silent, or who is behind."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import jax
from jax._src import distributed  # its key-value store has no public door; orbax uses this one too

_BEAT_SECONDS = 2.0
SILENT_SECONDS = 10.0
BEHIND_SECONDS = 60.0
_KEY = "radmae_jax/presence"


@dataclass
class _Seen:
    """What was last heard of a process, and when that changed."""

    beat: int = -1
    step: int = 0
    heard: float = 0.0  # time.monotonic()
    behind_since: float | None = None
    front: int = 0  # the step that the others were at then
    told: str = ""  # silent | behind: each is said once


class Roll:
    """What is known of every process's beats and steps; beats come in, sentences come out."""

    def __init__(self, count: int, own: int, now: float):
        self._own = own
        self._seen = {index: _Seen(heard=now) for index in range(count)}

    def take(self, index: int, beat: int, step: int, now: float) -> None:
        """A process's newest beat, as read at a time."""
        seen = self._seen[index]
        if beat != seen.beat:
            if seen.told == "silent":
                seen.told = ""
            seen.beat, seen.step, seen.heard = beat, step, now

    def sentences(self, now: float) -> list[str]:
        """What is new to be said, of other processes and of this one where it is behind."""
        said, front = [], max(seen.step for seen in self._seen.values())
        for index, seen in self._seen.items():
            if index != self._own and now - seen.heard > SILENT_SECONDS:
                if seen.told != "silent":
                    seen.told = "silent"
                    said.append(
                        f"host {index} has not been heard of for {now - seen.heard:.0f} s, after step {seen.step}"
                    )
                continue
            if seen.step >= seen.front:  # has caught up: steps are heard of seconds late, so all seem a little behind
                seen.behind_since, seen.told = None, ""
            if seen.step < front and seen.behind_since is None:
                seen.behind_since, seen.front = now, front
            if seen.behind_since is not None and now - seen.behind_since > BEHIND_SECONDS and seen.told != "behind":
                seen.told = "behind"
                said.append(
                    f"host {index} is behind for {now - seen.behind_since:.0f} s: at step {seen.step} of {front}"
                )
        return said


class Presence:
    """A thread that tells the other processes this one's step and says whom it misses; none where there is one only.

    Every process says it, on its own stderr: the first may be the one that is gone.
    """

    def __init__(self, say: Callable[[str], None]):
        self._say, self._step = say, 0
        self._over = threading.Event()
        self._client = distributed.global_state.client if jax.process_count() > 1 else None
        self._thread = threading.Thread(target=self._watch, name="presence", daemon=True)

    def at(self, step: int) -> None:
        """This process begins a step."""
        self._step = step

    def __enter__(self) -> "Presence":
        if self._client is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # After an error the thread lives on until the process ends: only it can name the process that is gone.
        if error is None:
            self._over.set()
            if self._client is not None:
                self._thread.join()

    def _watch(self) -> None:
        client, own = self._client, jax.process_index()
        assert client is not None
        roll, beat = Roll(jax.process_count(), own, time.monotonic()), 0
        while not self._over.wait(_BEAT_SECONDS):
            beat += 1
            try:
                client.key_value_set(f"{_KEY}/{own}", json.dumps([beat, self._step]), allow_overwrite=True)
                found = client.key_value_dir_get(f"{_KEY}/")
            except RuntimeError:  # the store is process 0's: not to be reached is not to be heard of
                found = []
            for key, value in found:
                roll.take(int(key.rsplit("/", 1)[1]), *json.loads(value), now=time.monotonic())
            for sentence in roll.sentences(time.monotonic()):
                self._say(sentence)
