"""Step reports to metrics.jsonl, TensorBoard, a progress bar and plain log lines."""

import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter

from radmae_jax.figures import to_json
from radmae_jax.train.steps import StepReport

_PLAIN_LINE_SECONDS = 30.0


class Rates(NamedTuple):
    """Speeds over the last few steps."""

    images_per_second: float
    tokens_per_second: float
    data_wait_share: float  # of the time, from 0 to 1
    mfu: float  # FLOPs of the images' own tokens over the devices' peak; NaN where that is not known


class MetricsFile:
    """WORKDIR/metrics.jsonl, one JSON object a line; figures that are not finite are written as null."""

    def __init__(self, path: Path, resumed_step: int):
        """Opens for appending, without the lines of steps that a resumed run replays."""
        self.session, self.lost_seconds = 1, 0.0  # the number of this session; of the steps that are replayed
        if path.exists():
            lines = path.read_text().splitlines()
            kept = [line for line in lines if _step_of(line) <= resumed_step]
            self.session += max((json.loads(line).get("session", 0) for line in kept), default=0)
            self.lost_seconds = sum(map(_seconds_of, lines)) - sum(map(_seconds_of, kept))
            replacement = path.with_suffix(".jsonl.new")
            replacement.write_text("".join(f"{line}\n" for line in kept))
            replacement.replace(path)
        self._file = path.open("ab", buffering=0)
        self._waiting = b""

    def write(self, record: dict[str, Any]) -> None:
        """OSError where storage takes no more; what it did not take is written before the next line."""
        self._waiting += (to_json(record) + "\n").encode()
        while self._waiting:
            self._waiting = self._waiting[self._file.write(self._waiting) :]

    def close(self) -> None:
        self._file.close()


class Writer:
    """Figures of a run to every place they are read, from the first process only.

    On other processes nothing is written or said; what only they can have seen, such as files that they could not read,
    is held until the first one asks for it.
    """

    def __init__(
        self, workdir: Path, resumed_step: int, total_steps: int, lengths: tuple[int, ...], quiet: bool,
        first: bool = True, kept_step: int | None = None,
    ):  # fmt: skip
        """Args:
        resumed_step: steps done before this session.
        kept_step: the lines of an earlier session that are kept, by their last step; None: resumed_step.
        """
        quiet = quiet or not first
        self.console = Console(stderr=True, quiet=quiet)
        self._lengths = lengths
        kept_step = resumed_step if kept_step is None else kept_step
        self._metrics = MetricsFile(workdir / "metrics.jsonl", kept_step) if first else None
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=resumed_step + 1) if first else None
        self._held: list[dict[str, Any]] = []
        self._progress = Progress(
            # What fits a terminal of 80 columns; the rest is in metrics.jsonl and TensorBoard.
            TextColumn("step"), MofNCompleteColumn(), BarColumn(bar_width=8), TextColumn("ETA"),
            TimeRemainingColumn(compact=True), TextColumn("{task.fields[figures]}"),
            console=self.console, disable=not self.console.is_terminal or quiet,
        )  # fmt: skip
        self._task = self._progress.add_task("", total=total_steps, completed=resumed_step, figures="")
        self._progress.start()
        self._last_line = 0.0
        self._total = total_steps

    def step(
        self, step: int, epoch: int, report: StepReport, rates: Rates, padded_tokens: int, seconds: float
    ) -> float:
        """Writes one optimizer step (the step-th, counted from 1); returns its loss.

        Args:
          padded_tokens: tokens computed, padding included.
          seconds: that it took.
        """
        denominator = float(np.sum(report.denominator))
        loss = float(np.sum(report.numerator)) / denominator if denominator else math.nan
        by_bucket = {
            str(length): float(n / d)
            for length, n, d in zip(self._lengths, report.numerator, report.denominator, strict=True)
            if d > 0
        }
        figures = {
            "loss": loss,
            "gradient_norm": float(report.gradient_norm),
            "learning_rate": float(report.learning_rate),
            **rates._asdict(),
        }
        images, tokens = int(np.sum(report.images)), int(np.sum(report.tokens))
        self._write(
            {
                "step": step, "epoch": epoch, **figures, "images": images, "tokens": tokens,
                "padded_tokens": padded_tokens, "unreadable": int(report.unreadable),
                "applied": bool(report.applied), "bucket_loss": by_bucket, "seconds": round(seconds, 4),
            }
        )  # fmt: skip
        self._plot("train", figures, step)
        self._plot("train_bucket_loss", by_bucket, step)
        text = f"loss {loss:.4f} {rates.images_per_second:,.1f} images/s {rates.tokens_per_second:,.0f} tokens/s"
        self._progress.update(self._task, completed=step, figures=text)
        now = time.monotonic()
        if self._progress.disable and (now - self._last_line > _PLAIN_LINE_SECONDS or step == self._total):
            self.say(f"step {step}/{self._total}  {text}, waiting for data {100 * rates.data_wait_share:.0f} %")
            self._last_line = now
        return loss

    def validation(self, step: int, figures: dict[str, float], text: str) -> None:
        """Writes the figures of an evaluation and says them, in words `text`."""
        self._write({"step": step, "validation": figures})
        self._plot("validation", figures, step)
        self.say(f"step {step}: {text}")

    def event(self, step: int, record: dict[str, Any], text: str) -> None:
        """Writes something that happened at a step and says it."""
        if self._metrics is None:
            self._held.append({"step": step, "record": record, "text": text})
        self._write({"step": step, **record})
        self.say(text)

    def record(self, step: int, record: dict[str, Any]) -> None:
        """Writes something that happened at a step; people are told elsewhere."""
        self._write({"step": step, **record})

    def spent(self, step: int, seconds: dict[str, float]) -> None:
        """Writes what this session's time went to so far, by part."""
        if self._metrics is not None:
            self._write({"step": step, "session": self._metrics.session, "spent": seconds})

    @property
    def lost_seconds(self) -> float:
        """Seconds of steps that this session replays."""
        return self._metrics.lost_seconds if self._metrics is not None else 0.0

    def take_held(self) -> list[dict[str, Any]]:
        """What other processes than the first have seen since this was asked last: arguments of `event`."""
        held, self._held = self._held, []
        return held

    def _write(self, record: dict[str, Any]) -> None:
        if self._metrics is None:
            return
        try:
            self._metrics.write(record)
        except OSError as error:
            if self._board is not None:
                self.say(f"figures wait until they can be written, TensorBoard's end here: {error.strerror}")
            self._board = None  # its thread ends at the first error, and its queue would then block

    def _plot(self, group: str, figures: dict[str, float], step: int) -> None:
        for name, value in figures.items():
            if self._board is not None and math.isfinite(value):  # a gap in the curve; metrics.jsonl says null
                self._board.add_scalar(f"{group}/{name}", value, step)

    def say(self, text: str) -> None:
        """A line for people, above the progress bar."""
        self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()
        if self._metrics is not None:
            self._metrics.close()
        if self._board is not None:
            self._board.close()


def _seconds_of(line: str) -> float:
    """Of a step's line; 0 of any other."""
    try:
        return float(json.loads(line).get("seconds", 0.0))
    except ValueError:
        return 0.0


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 2**62  # a line cut off by a kill; the run writes that step again
