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
    study.add_argument("file", help="a study file, such as configs/phantom_study.py")
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


def _study(options: argparse.Namespace, rest: list[str]) -> int:
    import jax

    from radmae_jax.figures import to_json
    from radmae_jax.study.execute import Interrupted, run_study, with_lengths
    from radmae_jax.study.plan import Given, read_study
    from radmae_jax.study.table import curve, table_of
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
    study = with_lengths(study)
    folder = options.workdir
    folder.mkdir(parents=True, exist_ok=True)
    # Runs of one shape compile the same programs: each is compiled once a study.
    jax.config.update("jax_compilation_cache_dir", str((folder / "compiled").absolute()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    try:
        cells = run_study(study, folder, options.side, lambda text: print(text, flush=True))
        points = curve(study, cells, folder, options.side) if options.curve else []
    except (Interrupted, RunStopped) as stopped:
        print(f"radmae study: {stopped}; the same command goes on from here")
        return _STOPPED
    table = table_of(study, cells, points, folder, options.side)
    (folder / "study.json").write_text(to_json(table, indent=1) + "\n")
    write_figures(options.json, table)
    for cell in table["cells"]:
        found = cell["balanced_accuracy"]
        interval = "" if found["low"] is None else f" ({100 * found['low']:.1f} to {100 * found['high']:.1f})"
        print(f"{cell['task']}, {cell['budget']} labels, {cell['arm']}: {100 * found['value']:.1f} %{interval}")
    for note in table["notes"]:
        print(note)
    print(f"{folder / 'study.json'}; `radmae report {folder}` makes a page of it")
    return 0


def _chosen(option: str, parts: tuple, names: list[str], asked: list[str]) -> tuple:
    """The parts whose names are asked for; all without any."""
    strange = [name for name in asked if name not in names]
    if strange:
        raise ValueError(f"{option} {strange[0]}: the study has {', '.join(names)}")
    return tuple(part for part, name in zip(parts, names, strict=True) if not asked or name in asked)
