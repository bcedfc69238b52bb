"""What a process that trains does when it is asked to stop.

Without imports beyond Python's own: the command listens before it imports JAX, which takes seconds.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

AGAIN = 75  # exit code, EX_TEMPFAIL of sysexits.h: a scheduler may start the same command again


@contextmanager
def leaving_when_asked() -> Iterator[None]:
    """Before training walks and after it, when nothing is to be saved, SIGTERM ends the process at once with AGAIN.

    Python's own handlers wait until a call into C++ returns, which compiling and meeting other processes take minutes
    for: a thread of its own waits for the signal.
    """

    def leave(_number: int, _frame: object) -> None:
        """Its being the handler is what the thread looks for; while training walks, `stop_signals` has another."""

    def watch() -> None:
        while number := os.read(heard, 1):
            if number[0] == signal.SIGTERM and signal.getsignal(signal.SIGTERM) is leave:
                print("radmae: asked to stop while nothing was to be saved", file=sys.stderr, flush=True)
                os._exit(AGAIN)  # the ordinary way out waits for processes that may be gone too

    heard, told = os.pipe()
    os.set_blocking(told, False)
    before = signal.set_wakeup_fd(told), signal.signal(signal.SIGTERM, leave) or signal.SIG_DFL
    thread = threading.Thread(target=watch, name="leaving", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before[0])
        signal.signal(signal.SIGTERM, before[1])
        os.close(told)  # ends the thread
        thread.join()
        os.close(heard)


@contextmanager
def stop_signals() -> Iterator[list[str]]:
    """A list that holds the name of the signal once SIGTERM or SIGINT came; a second one acts at once."""
    received: list[str] = []
    previous = {}

    def note(number: int, _frame: object) -> None:
        received.append(signal.Signals(number).name)
        # Not the handler before: `leaving_when_asked` would take the signal for one that comes while nothing is saved.
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        previous[number] = signal.signal(number, note) or signal.SIG_DFL
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
