"""The `radmae` command: arguments to one call each, figures to the screen and to --json."""

import argparse
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from absl import logging
from rich.console import Console

from radmae_jax import __version__
from radmae_jax.bench.commands import add_bench
from radmae_jax.command import HOSTS, TOO_LARGE, add_command, optional_config, step_of, write_figures
from radmae_jax.config_checks import validate
from radmae_jax.config_file import from_arguments
from radmae_jax.data.commands import add_index, add_split
from radmae_jax.doctor.commands import add_doctor
from radmae_jax.evaluate.commands import add_convert
from radmae_jax.evaluate.evaluate_commands import add_evaluate
from radmae_jax.evaluate.feature_commands import add_features
from radmae_jax.evaluate.report.report_commands import add_report
from radmae_jax.sizing.commands import add_compile
from radmae_jax.study.commands import add_study
from radmae_jax.train.signals import AGAIN, leaving_when_asked

if TYPE_CHECKING:
    from radmae_jax.train.goodput import Goodput

_STOPPED = 4
_TASKS = {"pretrain": "reconstruct", "finetune": "classify"}  # command to the config.task.kind it trains


def main(arguments: list[str] | None = None) -> int:
    """Runs one subcommand.

    Returns 0 for success, 2 for bad input, 3 for too many bad files, 4 for a run that stopped, 5 for weights that
    compute something else than they did, 6 where the doctor found what must be mended first, 7 where
    a program does not fit, 75 where a run was asked
    to stop: it saved, and the same command goes on.
    """
    parser = _parser()
    arguments = sys.argv[1:] if arguments is None else arguments
    own, rest = _without_config(arguments)
    options, stray = parser.parse_known_args(own)
    logging.set_verbosity(logging.ERROR)  # orbax explains each of its options as a warning
    if stray or (rest and not options.takes_config):
        parser.error(f"not understood: {' '.join(stray or rest)}")
    try:
        return options.run(options, rest)
    except (ValueError, OSError) as error:
        print(f"radmae {options.command}: {error}", file=sys.stderr)
        return 2


def _without_config(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Arguments without, and those of, --config and its overrides; argparse would take their values for its own."""
    own, config = [], []
    at = iter(arguments)
    for argument in at:
        if argument == "--config" or argument.startswith(("--config=", "--config.")):
            config += [argument] if "=" in argument else [argument, next(at, "")]
        else:
            own.append(argument)
    return own, config


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="radmae", description="Pre-trains and fine-tunes ViTs on radiographs of any size. Not a medical device."
    )
    parser.add_argument("--version", action="version", version=f"radmae_jax {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    add_index(commands)
    add_split(commands)
    plan = add_command(
        commands, "plan", _plan, "what an epoch will compute: buckets, waste, groups, steps", config=True
    )
    plan.add_argument("sizes", nargs="?", help="a manifest, a CSV of sizes, or `poster`; default: the config's data")
    plan.add_argument("--draw", type=Path, metavar="PNG", help="draw sizes and buckets")

    phantom = add_command(commands, "phantom", _phantom, "synthetic radiographs as DICOM files")
    phantom.add_argument("out", type=Path)
    phantom.add_argument("--images", type=int, default=300)
    phantom.add_argument("--seed", type=int, default=0)
    phantom.add_argument("--scale", type=float, default=1.0, help="of the poster's sizes, a side")
    phantom.add_argument("--broken", type=float, default=0.0, help="share of files broken in six ways")
    phantom.add_argument("--workers", type=int, default=2)

    for name, trained in (("pretrain", "a masked autoencoder"), ("finetune", "a classifier of labelled images")):
        train = add_command(commands, name, _train, f"train {trained}, or go on training", config=True)
        train.add_argument("--workdir", type=Path, required=True)
        train.add_argument(
            "--hosts", default=os.environ.get(HOSTS, ""), metavar="HOSTS",
            help=f"auto (TPU pod, SLURM, Open MPI) or ADDRESS:PORT,COUNT,INDEX of this process (default: ${HOSTS})",
        )  # fmt: skip
        train.add_argument("--profile", action="store_true", help="write a trace of a few steps to WORKDIR/profile")
        train.add_argument(
            "--init", metavar="WEIGHTS",
            help="what a fresh run begins with: a run, an exported or Hugging Face directory, .safetensors, .npz, .pth",
        )  # fmt: skip
        train.add_argument(
            "--continue-from", metavar="RUN",
            help="a run, or RUN/checkpoints/STEP, that a fresh run goes on from with its complete state: for more "
            "epochs, an archive that grew, other rates",
        )  # fmt: skip

    reconstruct = add_command(
        commands, "reconstruct", _reconstruct, "pictures of what a trained model makes of image files"
    )
    reconstruct.add_argument("workdir", type=Path)
    reconstruct.add_argument("files", nargs="+", type=Path)
    reconstruct.add_argument("--out", type=Path, default=Path("reconstruction.png"))
    reconstruct.add_argument("--step", default="latest", help="a saved step, latest or best")

    demo = add_command(commands, "demo", _demo, "the whole way on synthetic radiographs, in about eight minutes")
    demo.add_argument("--workdir", type=Path, default=Path("runs/demo"))
    add_doctor(commands)
    add_bench(commands)
    add_compile(commands)
    add_convert(commands)
    add_evaluate(commands)
    add_features(commands)
    add_report(commands)
    add_study(commands)
    return parser


def _plan(options: argparse.Namespace, rest: list[str]) -> int:
    from radmae_jax.bench.plan import draw_plan, make_plan, summary_of, table_of
    from radmae_jax.data.dataset import sizes_of

    config = optional_config(rest)
    heights, widths, counts = sizes_of(options.sizes, config, print)
    plan = make_plan(config, heights, widths, counts)
    Console().print(table_of(plan))
    print(summary_of(plan))
    if options.draw:
        draw_plan(plan, options.draw)
        print(f"drawn in {options.draw}")
    write_figures(options.json, plan.to_json())
    return 0


def _phantom(options: argparse.Namespace, rest: list[str]) -> int:
    from radmae_jax.data.phantom import make_phantoms
    from radmae_jax.progress import advancing

    with advancing("phantoms", options.images) as advance:
        summary = make_phantoms(
            options.out, options.images, options.seed, options.scale, options.broken, options.workers, advance
        )
    write_figures(options.json, asdict(summary))
    print(
        f"{summary.images:,} files of {summary.patients:,} patients in {options.out}, {summary.broken:,} of them "
        f"broken; labels in {options.out / 'labels.csv'} ({summary.seconds:.1f} s)"
    )
    return 0


@leaving_when_asked()
def _train(options: argparse.Namespace, rest: list[str]) -> int:
    from radmae_jax.train.goodput import goodput_of
    from radmae_jax.train.hosts import is_first, join, read_hosts
    from radmae_jax.train.loop import train_run
    from radmae_jax.train.watch import RunStopped

    config = from_arguments(rest)
    if options.init or options.continue_from:
        start, run = options.init or config.train.start, options.continue_from or config.train.continue_from
        config = validate(replace(config, train=replace(config.train, start=start, continue_from=run)))
    kind = _TASKS[options.command]
    if config.task.kind != kind:
        raise ValueError(f"config.task.kind is {config.task.kind!r}; `radmae {options.command}` trains {kind!r}")
    try:
        join(read_hosts(options.hosts))
        outcome = train_run(config, options.workdir, profile=options.profile)
    except RunStopped as stopped:
        print(f"radmae {options.command}: {stopped}", file=sys.stderr)
        return _STOPPED
    except RuntimeError as error:  # of the compiler or the device
        if not str(error).startswith("RESOURCE_EXHAUSTED"):
            raise
        print(
            f"radmae {options.command}: a program does not fit the device: {str(error).splitlines()[0]}; smaller "
            "config.train.tokens_per_device, config.model.remat or a larger config.train.fsdp make it",
            file=sys.stderr,
        )
        return TOO_LARGE
    if not is_first():
        return AGAIN if outcome.interrupted else 0
    goodput = goodput_of(options.workdir / "metrics.jsonl")
    write_figures(options.json, asdict(outcome) | {"goodput": asdict(goodput)})
    print(
        f"step {outcome.step:,} of {outcome.total_steps:,}, "
        f"{'nothing left to do' if outcome.loss is None else f'loss {outcome.loss:.5f}'}, {outcome.images:,} images in "
        f"{outcome.seconds:.0f} s ({outcome.compile_seconds:.0f} s compiling); {options.workdir}"
    )
    print(_spent(goodput))
    return AGAIN if outcome.interrupted else 0


def _spent(goodput: "Goodput") -> str:
    """Where the time of all sessions went, the largest parts first."""
    total = max(sum(goodput.seconds.values()) + goodput.lost, 1e-9)
    parts = sorted((goodput.seconds | {"lost to restarts": goodput.lost}).items(), key=lambda part: -part[1])
    named = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in parts if seconds / total >= 0.005)
    return f"of {total:,.0f} s in {goodput.sessions} session{'s' * (goodput.sessions > 1)}: {named}"


def _reconstruct(options: argparse.Namespace, rest: list[str]) -> int:
    from radmae_jax.evaluate.reconstruct import reconstruct

    done = reconstruct(options.workdir, options.files, options.out, step_of(options.step))
    for number, path in enumerate(done.files, 1):
        print(f"image {number}: {path}")
    for path, reason in done.unreadable.items():
        print(f"{path}: {reason}", file=sys.stderr)
    write_figures(options.json, asdict(done))
    print(f"{len(done.errors)} images reconstructed in {done.path} (step {done.step:,})")
    return 0


def _demo(options: argparse.Namespace, rest: list[str]) -> int:
    from radmae_jax.demo import demo

    write_figures(options.json, asdict(demo(options.workdir)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
