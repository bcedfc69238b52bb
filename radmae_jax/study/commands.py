"""`radmae study`: its arguments, and what is said."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from radmae_jax.command import add_command, write_figures

_STOPPED = 4


def add_study(commands: Any) -> None:
    """Adds the subcommand."""
    study = add_command(
        commands, "study", _study, "arms x label budgets x tasks x seeds, and curves; stopped, it goes on where it was"
    )
    study.add_argument("file", metavar="FILE[:variant]", help="a study file, such as configs/phantom_study.py")
    study.add_argument("--workdir", type=Path, required=True)
    study.add_argument("--manifest", required=True, help="with the labels, and its split beside it")
    study.add_argument("--mae", default="", metavar="RUN", help="the pre-training run")
    study.add_argument(
        "--imagenet", default="", metavar="FILE", help="weights of another program; no file, no such arm"
    )
    study.add_argument("--fewer", nargs="+", default=(), metavar="RUN", help="pre-training runs on fewer images")
    study.add_argument("--side", choices=("validation", "test"), default="validation", help="that is scored")
    study.add_argument("--tasks", nargs="+", default=(), help="of the study's (default: all)")
    study.add_argument("--arms", nargs="+", default=(), help="of the study's (default: all)")
    study.add_argument("--budgets", nargs="+", type=int, default=(), help="instead of the study's")
    study.add_argument("--rates", nargs="+", type=float, default=(), help="instead of the study's learning rates")
    study.add_argument("--seeds", type=int, default=0, help="instead of the study's number")
    study.add_argument("--curve", action="store_true", help="also the curve over pre-training")
    study.add_argument(
        "--jobs", type=int, default=1, help="cells at a time, each on its share of the cores; for CPUs (default 1)"
    )


def _study(options: argparse.Namespace, rest: list[str]) -> int:
    from radmae_jax.evaluate.evaluate_commands import percent
    from radmae_jax.evaluate.resampling import Interval
    from radmae_jax.study.conduct import FILE, conduct
    from radmae_jax.study.execute import Interrupted
    from radmae_jax.study.plan import Given, read_study
    from radmae_jax.train.watch import RunStopped

    study = read_study(options.file, Given(options.manifest, options.mae, options.imagenet, tuple(options.fewer)))
    study = replace(
        study,
        tasks=_chosen("--tasks", study.tasks, [name for name, _ in study.tasks], options.tasks),
        arms=_chosen("--arms", study.arms, [arm.name for arm in study.arms], options.arms),
        budgets=tuple(options.budgets) or study.budgets,
        learning_rates=tuple(options.rates) or study.learning_rates,
        seeds=options.seeds or study.seeds,
    )
    folder = options.workdir
    try:
        table = conduct(
            study, folder, options.side, curve=options.curve, jobs=options.jobs,
            say=lambda text: print(text, flush=True),
        )  # fmt: skip
    except (Interrupted, RunStopped) as stopped:
        print(f"radmae study: {stopped}; the same command goes on from here")
        return _STOPPED
    write_figures(options.json, table)
    for cell in table["cells"]:
        found = percent(Interval(**cell["balanced_accuracy"]))
        print(f"{cell['task']}, {cell['budget']} labels, {cell['arm']}: {found}")
    for arm in table["arms"]:
        print(f"leakage, {arm['name']}: {arm['leakage']['said']}")
    for note in table["notes"]:
        print(note)
    print(f"{folder / FILE}; `radmae report {folder}` makes a page of it")
    return 0


def _chosen(option: str, parts: tuple, names: list[str], asked: list[str]) -> tuple:
    """The parts whose names are asked for; all without any."""
    strange = [name for name in asked if name not in names]
    if strange:
        raise ValueError(f"{option} {strange[0]}: the study has {', '.join(names)}")
    return tuple(part for part, name in zip(parts, names, strict=True) if not asked or name in asked)
