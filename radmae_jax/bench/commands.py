"""The `radmae bench` subcommands: arguments to one call each, figures to the screen and to files."""

import argparse
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from radmae_jax.bench.savings import COSTS, SHAPES, savings, with_seconds, within
from radmae_jax.command import add_command, optional_config, write_figures
from radmae_jax.config import Config
from radmae_jax.config_checks import validate
from radmae_jax.data.binning import token_grids
from radmae_jax.data.sizes import Sizes, sizes_named
from radmae_jax.model.flops import training_flops

_WIDTH = 138  # characters of the widest table; a pipe has no width of its own
_ANCHORS = 8  # lengths timed to know the seconds that a table is to be optimal in


def add_bench(commands: Any) -> None:
    """Adds `bench` and its subcommands."""
    text = "what binning saves, and how fast parts run"
    bench = commands.add_parser("bench", help=text, description=text)
    benchmarks = bench.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")

    saving = add_command(
        benchmarks, "savings", _savings, "what each binning policy computes for an archive's sizes", config=True
    )
    saving.add_argument(
        "--sizes", required=True, help="a manifest, a CSV with columns of heights and widths, or `poster`"
    )
    saving.add_argument("--patch", type=int, help="pixels a side (default: the config's, 48)")
    saving.add_argument("--variant", help="ViT whose FLOPs and seconds are counted (default: the config's, B)")
    saving.add_argument(
        "--max-side",
        type=int,
        metavar="N",
        help="leave out, and count, images with a side above N pixels; `fixed` is then N x N",
    )
    saving.add_argument(
        "--shapes",
        type=int,
        nargs="+",
        action="extend",
        metavar="K",
        help=f"numbers of lengths and bins to compare (default: {' '.join(map(str, SHAPES))})",
    )
    saving.add_argument(
        "--cost",
        choices=COSTS,
        default="tokens",
        help="what grid_K and tokens_K cost the least of (default: tokens); seconds are measured here",
    )
    saving.add_argument("--quantum", type=int, default=1, help="lengths of tokens_K are multiples of it (default: 1)")
    saving.add_argument(
        "--measure", nargs="*", metavar="POLICY",
        help="time the programs of these policies here (default: fixed, poster_dbb and tokens_16, or the largest K)",
    )  # fmt: skip
    saving.add_argument("--repeats", type=int, default=5, help="how often each program is timed (default: 5)")
    saving.add_argument(
        "--rows", type=int, default=0, help="images a timed call (default: 1 a device on CPU, else as training chooses)"
    )
    saving.add_argument("--markdown", type=Path, metavar="FILE", help="write table and notes as Markdown")
    saving.add_argument("--plots", type=Path, metavar="DIR", help="draw sizes.png and waste.png")

    poster = add_command(benchmarks, "poster", _poster, "the poster's table, from the sizes that come with the package")
    poster.add_argument("--sizes", help="another list of sizes")


def _savings(options: argparse.Namespace, rest: list[str]) -> int:
    from radmae_jax.bench import savings_report as report
    from radmae_jax.bench.plan import in_words, propose

    config, sizes = _config_of(options, rest), sizes_named(options.sizes, print)
    cost = _cost_of(options, config, sizes)
    shapes = tuple(sorted(set(options.shapes or SHAPES)))
    found = savings(sizes, config.model, options.max_side, shapes, cost, options.quantum)
    times, measured, compared = None, None, []
    if options.measure is not None or options.cost == "seconds":
        from radmae_jax.bench.step_times import epoch_seconds, ratios, to_figures

        names = options.measure or ["fixed", "poster_dbb", f"tokens_{16 if 16 in shapes else shapes[-1]}"]
        times = _time(config, sorted({n for name in names for n in found.named(name).lengths}), options)
        found = with_seconds(found, *epoch_seconds(found, times))
        compared = ratios(found, times)
        measured = to_figures(found, times)
    console = Console(width=max(Console().width, _WIDTH))
    exact = found.named("padded_to_patch")
    proposal = propose(np.array(exact.lengths), found.images[exact.name], options.quantum)
    console.print(report.table_of(found))
    print("\n".join(report.notes_of(found)))
    print(in_words(proposal))
    if times is not None:
        console.print(report.programs_of(times))
        print("\n".join(map(report.in_words, compared)))
    if options.markdown:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(report.markdown_of(found, times, compared))
    if options.plots:
        report.draw_sizes(found, within(sizes, options.max_side)[:3], options.plots / "sizes.png")
        report.draw_waste(found, options.plots / "waste.png")
    chosen = {"cost": options.cost, "quantum": options.quantum}
    more = {"optimal_in": chosen, "proposal": asdict(proposal), "measured": measured}
    write_figures(options.json, {**found.to_json(), **more})
    return 0


def _config_of(options: argparse.Namespace, rest: list[str]) -> Config:
    for name, low in (("max_side", 1), ("quantum", 1), ("repeats", 1), ("rows", 0), ("shapes", 1)):
        values = getattr(options, name)
        for value in values if isinstance(values, list) else [values]:
            if value is not None and value < low:
                raise ValueError(f"--{name.replace('_', '-')} is {value}; it must be {low} or more")
    config = optional_config(rest)
    model = config.model
    if options.patch is not None:
        model = replace(model, patch=options.patch)
    if options.variant is not None:
        model = replace(model, variant=options.variant, width=0, layers=0, heads=0)
    # Only the model and how it is run are used here: the bins are the policies'.
    return validate(replace(config, model=model, bins=replace(Config().bins, group=config.bins.group)))


def _cost_of(options: argparse.Namespace, config: Config, sizes: Sizes) -> Any:
    """What optimal tables are optimal in, as a function of tokens; None for the tokens themselves."""
    if options.cost == "tokens":
        return None
    if options.cost == "flops":
        return lambda tokens: training_flops(tokens, config.model)
    heights, widths, *_ = within(sizes, options.max_side)
    grids = token_grids(heights, widths, config.model.patch)
    tokens = grids.prod(axis=1, dtype=np.int64)
    anchors = np.unique(np.round(np.geomspace(tokens.min(), tokens.max(), _ANCHORS)).astype(int))
    return _time(config, anchors.tolist(), options).price(config.model, int(grids.max()) ** 2 + options.quantum)


def _time(config: Config, lengths: list[int], options: argparse.Namespace) -> Any:
    from radmae_jax.bench.step_times import time_programs
    from radmae_jax.progress import advancing

    print(f"timing {len(lengths)} programs of {lengths[0]:,} to {lengths[-1]:,} tokens, {options.repeats} repeats")
    began, done = time.perf_counter(), 0
    with advancing("programs", len(lengths) * (1 + options.repeats)) as advance:

        def told(more: int) -> None:
            nonlocal done
            advance(more)
            done += more
            turn, part = divmod(done, len(lengths))
            if more and part == 0:
                what = "compiled" if turn == 1 else f"repeat {turn - 1}"
                print(f"{what}: {time.perf_counter() - began:.0f} s", flush=True)

        return time_programs(config, lengths, options.repeats, options.rows, told)


def _poster(options: argparse.Namespace, rest: list[str]) -> int:
    from radmae_jax.bench.poster import poster_table, summary_of, table_of

    table = poster_table(sizes_named(options.sizes or "poster", print))
    Console().print(table_of(table))
    print(summary_of(table))
    write_figures(options.json, table.to_json())
    return 0
