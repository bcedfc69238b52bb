"""`radmae doctor`: its arguments, and one line a check."""

import argparse
import shutil
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

from radmae_jax.command import add_command, write_figures
from radmae_jax.config import Config
from radmae_jax.doctor.finding import Finding

FIX_FIRST = 6  # exit code: something would make a run fail or teach it nothing
_WIDTH = 120  # characters of a line at most; a pipe has no width of its own
_INDENT = 9  # of what is said, behind the verdict


def add_doctor(commands: Any) -> None:
    """Adds the subcommand."""
    doctor = add_command(
        commands,
        "doctor",
        _doctor,
        "before a long run: pictures of the data, rates, memory, can it learn?",
        config=True,
    )
    doctor.add_argument("manifest", type=Path, help="a Parquet file that `radmae index` wrote")
    doctor.add_argument("--out", type=Path, default=Path("doctor"), help="folder of the pictures (default: doctor)")
    doctor.add_argument("--images", type=int, default=48, help="images sampled (default: 48)")
    doctor.add_argument("--seed", type=int, default=0, help="of the sample")
    doctor.add_argument("--seconds", type=float, default=20.0, help="the loader and training are timed (default: 20)")
    doctor.add_argument("--overfit-steps", type=int, default=300, help="steps on eight images; 0: none (default: 300)")
    doctor.add_argument("--overfit-seconds", type=float, default=120.0, help="they may take (default: 120)")
    doctor.add_argument(
        "--device-gib", type=float, help="memory of the device that will train (default: of this machine's)"
    )


def _doctor(options: argparse.Namespace, rest: list[str]) -> int:
    from radmae_jax.doctor.diagnosis import HISTOGRAMS, SHEET, Limits, diagnose

    for name, value, least in (
        ("--images", options.images, 1), ("--overfit-steps", options.overfit_steps, 0), ("--seed", options.seed, 0)
    ):  # fmt: skip
        if value < least:
            raise ValueError(f"{name} {value}: at least {least}")
    gib = options.device_gib
    limits = Limits(
        options.images, options.seconds, options.overfit_steps, options.overfit_seconds,
        None if gib is None else round(gib * 2**30), options.seed,
    )  # fmt: skip
    diagnosis = diagnose(_config(rest, options.manifest), options.out, limits, _say)
    write_figures(options.json, diagnosis.figures)
    if (options.out / SHEET).exists():
        print(f"pictures: {options.out / SHEET} and {options.out / HISTOGRAMS}")
    counts = [(word, sum(f.verdict == word for f in diagnosis.findings)) for word in ("stop", "look", "ok", "skipped")]
    print(", ".join(f"{count} {word}" for word, count in counts if count))
    return FIX_FIRST if diagnosis.verdict == "stop" else 0


def _config(rest: list[str], manifest: Path) -> Config:
    """Of the --config arguments, the poster's pre-training without any, on this manifest."""
    from radmae_jax.config_file import from_arguments

    config = from_arguments(rest or ["--config", "poster_pretrain"])
    return replace(config, data=replace(config.data, manifest=str(manifest)))


def _say(finding: Finding) -> None:
    """The verdict, the check and why, with longer lines wrapped under the check."""
    width = min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns)
    lines = textwrap.wrap(f"{finding.check}: {finding.text}", max(40, width - _INDENT))
    for note in finding.notes:
        lines += textwrap.wrap(note, max(40, width - _INDENT), initial_indent="  ", subsequent_indent="    ")
    print(f"{finding.verdict:{_INDENT}s}" + f"\n{'':{_INDENT}s}".join(lines), flush=True)
