"""`radmae evaluate`: its arguments, and what is said."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from radmae_jax.command import add_command, step_of, write_figures
from radmae_jax.evaluate.resampling import LEVEL, RESAMPLES, Interval


def add_evaluate(commands: Any) -> None:
    """Adds the subcommand."""
    evaluate = add_command(
        commands, "evaluate", _evaluate, "what fine-tuned runs score, with intervals by patient; several runs are seeds"
    )
    evaluate.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    evaluate.add_argument(
        "--side", choices=("validation", "test"), default="validation",
        help="test only where everything is decided: what is chosen by it is no longer measured by it",
    )  # fmt: skip
    evaluate.add_argument("--against", nargs="+", type=Path, metavar="RUN", help="as many runs to compare with, paired")
    evaluate.add_argument("--step", default="best", help="a saved step, latest or best")
    evaluate.add_argument("--level", type=float, default=LEVEL, help=f"of intervals (default {LEVEL})")
    evaluate.add_argument("--resamples", type=int, default=RESAMPLES, help=f"of the bootstrap (default {RESAMPLES})")


def _evaluate(options: argparse.Namespace, rest: list[str]) -> int:
    from radmae_jax.evaluate.evaluation import compare_arms, evaluate

    step = step_of(options.step)
    figures = {"level": options.level, "resamples": options.resamples}
    done, predicted = evaluate(options.runs, options.side, step, **figures)
    report = done.to_json()
    known = done.leakage.patients_on_two_sides is not None
    people = f"{done.patients:,} patients" if known else f"unknown patients ({done.patients:,} studies or files)"
    print(f"{options.side} side, {done.images:,} images of {people}; {done.leakage.said}")
    if len(done.unreadable):
        print(
            f"{len(done.unreadable)} images could not be read; record {done.unreadable[0][0]}: {done.unreadable[0][1]}"
        )
    if done.left_out:
        print(f"{done.left_out:,} images of the side take no part: no label of a class that the runs know")
    for scores in done.labels:
        print(f"{scores.label}, {len(scores.classes)} classes, {scores.images:,} images, mean of {done.seeds} runs:")
        print(f"  balanced accuracy {percent(scores.balanced_accuracy)}, AUROC {percent(scores.auroc)}")
        for name, count, interval in zip(scores.classes, scores.images_of_class, scores.recall, strict=True):
            print(f"  recall of {name}: {percent(interval)} ({count:,} images)")
        for alone in scores.metadata_alone:
            print(f"  {alone.name} alone, without a pixel: {percent(alone.balanced_accuracy)}")
    if options.against:
        against, others = evaluate(options.against, options.side, step, **figures)
        print(f"against: {against.leakage.said}")
        comparisons = compare_arms(predicted, others, **figures)
        report["comparisons"] = [asdict(comparison) for comparison in comparisons]
        for found in comparisons:
            p_value = "" if found.p_value is None else f", p = {found.p_value:.4f} (permutation by patient)"
            print(f"{found.label}: {percent(found.difference, sign=True)} ahead{p_value}")
    write_figures(options.json, report)
    for run in [*options.runs, *(options.against or [])]:
        print(f"{run / 'evaluation' / options.side}.json")
    return 0


def percent(interval: Interval, sign: bool = False) -> str:
    """A share and its interval in per cent."""
    if interval.value is None:
        return "not defined"
    form = "+.1f" if sign else ".1f"
    value = f"{100 * interval.value:{form}} %"
    if interval.low is None or interval.high is None:
        return value
    return f"{value} ({100 * interval.low:{form}} to {100 * interval.high:{form}})"
