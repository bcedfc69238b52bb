"""Turns finished work of an index into lines on disk, so that one that was killed goes on where it stopped."""

import json
import os
from pathlib import Path
from typing import Any, TextIO

VERSION = 1


class Journal:
    """JSON lines beside the manifest, readable by the owner alone: a head that says what the index is of, then one
    line a file, known again by path, size and time of change. A last line cut short by a kill is dropped."""

    def __init__(self, path: Path, head: dict[str, Any]):
        """Opens `path`; what it holds is kept only where its head is the same as `head` (source, options, salt)."""
        self.path = path
        self.done: dict[tuple[str, int, int], dict[str, Any]] = {}  # (path, size, mtime_ns) -> result
        head = {"version": VERSION, **head}
        whole = self._load(head)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.ftruncate(handle, whole)
        self._file: TextIO = os.fdopen(handle, "a", encoding="ascii")
        if not whole:
            self._write(head)

    def _load(self, head: dict[str, Any]) -> int:
        """Reads what can be kept; returns its length in bytes."""
        if not self.path.exists():
            return 0
        whole = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break
                try:
                    row = json.loads(line)
                    if number == 0 and row != head:
                        return 0
                    if number > 0:
                        path, size, changed = row["file"]
                        self.done[path, size, changed] = row["result"]
                except (ValueError, KeyError, TypeError):
                    break
                whole += len(line)
        return whole

    def add(self, file: tuple[str, int, int], result: dict[str, Any]) -> None:
        self._write({"file": file, "result": result})

    def _write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()  # to the kernel: survives a kill of this process

    def close(self) -> None:
        self._file.close()

    def remove(self) -> None:
        """When the manifest is written."""
        self.close()
        self.path.unlink(missing_ok=True)
