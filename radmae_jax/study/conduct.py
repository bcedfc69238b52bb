"""A study from its plan to study.json: checked first, then its cells, then the curve over pre-training."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from radmae_jax.figures import to_json
from radmae_jax.study.check import check_study, with_lengths
from radmae_jax.study.execute import Place, run_study
from radmae_jax.study.parallel import run_apart
from radmae_jax.study.plan import Study
from radmae_jax.study.table import curve_of, curve_runs, table_of

FILE = "study.json"


def conduct(
    study: Study, folder: Path, side: str, *, curve: bool = False, jobs: int = 1, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Carries a study out, or goes on with it; returns what it writes to FOLDER/study.json.

    Args:
      side: that is scored, validation or test.
      curve: also over pre-training, of the study's curve_tasks.
      jobs: cells worked on at a time, each by a process on its share of the cores; for CPUs.

    Errors: as of `check_study` and `run_study`.
    """
    if curve:
        study = replace(study, curve_tasks=tuple(n for n in study.curve_tasks if n in dict(study.tasks)))
        if not study.curve_tasks:
            raise ValueError(f"study {study.name}: the curve over pre-training has no task among those chosen")
    study = with_lengths(study)
    grounds, starts = check_study(study, side, curve)
    folder.mkdir(parents=True, exist_ok=True)
    share_programs(folder)
    place = Place(folder, side, grounds, starts, say)
    if jobs > 1:  # what is finished is then read
        run_apart(
            study, [(a, *t, n) for a, t, n in itertools.product(study.arms, study.tasks, study.budgets)], place, jobs
        )
    cells = run_study(study, place)
    table = table_of(study, cells, [], place)
    _write(table, folder)
    if curve:
        if jobs > 1:
            run_apart(study, [run for _, runs in curve_runs(study, cells) for run in runs], place, jobs)
        table = table_of(study, cells, curve_of(study, cells, place), place)
        _write(table, folder)
    return table


def share_programs(folder: Path) -> None:
    """Runs of one shape compile the same programs: each is compiled once a study."""
    jax.config.update("jax_compilation_cache_dir", str((folder / "compiled").absolute()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _write(table: dict[str, Any], folder: Path) -> None:
    (folder / FILE).write_text(to_json(table, indent=1) + "\n")
