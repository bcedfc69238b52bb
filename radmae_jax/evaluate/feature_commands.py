"""`radmae embed` and `radmae probe`: their arguments, and what is said."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from radmae_jax.command import add_command, step_of, write_figures

_TOO_MANY_BAD = 3


def add_features(commands: Any) -> None:
    """Adds the subcommands."""
    embed = add_command(commands, "embed", _embed, "features of a frozen encoder, one vector an image, to Parquet")
    _add_common(embed)
    embed.add_argument("out", type=Path, metavar="OUT.parquet")
    embed.add_argument(
        "--side", choices=("all", "train", "validation", "test"), default="all",
        help="of the split (default: all images; no label is read)",
    )  # fmt: skip

    probe = add_command(commands, "probe", _probe, "how well neighbours and a line read a label off frozen features")
    _add_common(probe)
    probe.add_argument("--label", required=True, help="a label column, or region, view, laterality and so on")
    probe.add_argument(
        "--side", choices=("validation", "test"), default="validation",
        help="that is scored; k and C are chosen on validation (default)",
    )  # fmt: skip
    probe.add_argument("--budget", type=int, default=0, metavar="N", help="training images (default: all)")
    probe.add_argument("--seed", type=int, default=0, help="of the budget (default: 0)")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "weights", type=Path,
        help="a run (WORKDIR, its checkpoints/ or one step), an exported or Hugging Face directory, or a file",
    )  # fmt: skip
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--pool", choices=("class", "mean"), default="", help="tokens (default: as the weights do)")
    parser.add_argument("--step", default="latest", help="of a run: a saved step, latest or best")
    parser.add_argument("--split", default="", help="default: MANIFEST.split.parquet")
    parser.add_argument("--root", default="", help="where the images are (default: where they were indexed)")
    parser.add_argument(
        "--max-unreadable", type=float, default=0.01, metavar="SHARE",
        help="of the images above which it exits 3 (default: 0.01)",
    )  # fmt: skip


def _embed(options: argparse.Namespace, rest: list[str]) -> int:
    from radmae_jax.evaluate.features import embed, read_features, records_of
    from radmae_jax.evaluate.passes import TooManyUnreadable
    from radmae_jax.progress import advancing

    manifest, records = records_of(options.manifest, options.side, options.split)
    features = read_features(options.weights, options.pool, step_of(options.step))
    try:
        with advancing("images", len(records)) as advance:
            done = embed(
                features, manifest, records, options.out, options.side, options.root, options.max_unreadable, advance
            )
    except TooManyUnreadable as error:
        return _refuse(options, error)
    write_figures(options.json, asdict(done))
    print(
        f"{done.images:,} images x {done.width} features ({features.pool}) of weights {features.sha256[:12]} "
        f"in {done.path}; {len(done.unreadable):,} could not be read ({done.seconds:.1f} s)"
    )
    return 0


def _probe(options: argparse.Namespace, rest: list[str]) -> int:
    from radmae_jax.data.separation import patient_numbers, separation
    from radmae_jax.evaluate.features import read_features
    from radmae_jax.evaluate.passes import TooManyUnreadable
    from radmae_jax.evaluate.probe import open_cases, probe
    from radmae_jax.progress import advancing

    cases = open_cases(options.manifest, options.label, options.side, options.budget, options.seed, options.split)
    features = read_features(options.weights, options.pool, step_of(options.step))
    try:
        with advancing("images", cases.images) as advance:
            found = probe(options.weights, features, cases, options.root, options.max_unreadable, advance).report
    except TooManyUnreadable as error:
        return _refuse(options, error)
    write_figures(options.json, asdict(found))
    print(
        f"{found.label}, {len(found.classes)} classes: {found.images:,} images of {found.side}, trained on "
        f"{found.train_images:,}; features of weights {features.sha256[:12]}, pool {found.pool}"
    )
    for name, setting, figures in (("neighbours", "k", found.knn), ("linear", "c", found.linear)):
        tried = ", ".join(f"{value} {100 * reached:.1f}" for value, reached in figures["on_validation"].items())
        interval = figures["scores"]["balanced_accuracy"]
        print(
            f"  {name:10s} balanced accuracy {_percent(figures['balanced_accuracy'])} %, 95 % of resampled patients "
            f"{_percent(interval['low'])} to {_percent(interval['high'])} ({setting} {figures[setting]:g}; on "
            f"validation: {tried})"
        )
    if found.side == "validation":
        print("  the better settings were chosen on these images: the test side will give less")
    if found.leakage:
        print(f"  leakage: {found.leakage}")
    else:
        known = None not in cases.manifest.pixel_hashes
        print(f"  leakage: {separation(patient_numbers(cases.manifest, cases.split), known)}")
    return 0


def _refuse(options: argparse.Namespace, error: Any) -> int:
    write_figures(options.json, {"unreadable": {str(record): reason for record, reason in error.problems}})
    print(f"radmae {options.command}: {error}", file=sys.stderr)
    return _TOO_MANY_BAD


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.1f}"
