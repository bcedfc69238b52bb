"""`radmae compile`: arguments to one call, figures to the screen and to --json."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from radmae_jax.command import TOO_LARGE, add_command, optional_config, write_figures
from radmae_jax.config import Config

if TYPE_CHECKING:
    from radmae_jax.sizing.size import Sizing

_CACHE = Path("~/.cache/radmae_jax/compiled")


def add_compile(commands: Any) -> None:
    """Adds `compile`."""
    text = "every training program through the compiler of a TPU slice that need not be there: memory, bounds on speed"
    command = add_command(commands, "compile", _compile, text, config=True)
    command.add_argument(
        "sizes", nargs="?", help="a manifest, a CSV of sizes, or `poster`; default: the config's data, else poster"
    )
    command.add_argument(
        "--topology", default="here", metavar="NAME", help="v5e:4x4, v5p:4x4x4, v6e:16x16, ... or here"
    )
    command.add_argument("--longest", action="store_true", help="only the longest bucket and the optimizer step")
    command.add_argument("--price", type=float, metavar="P", help="of one chip for an hour: what a pre-training costs")
    command.add_argument(
        "--cache", type=Path, default=_CACHE, metavar="DIR",
        help="figures of earlier compilations and, in DIR/executables, the programs: with JAX_COMPILATION_CACHE_DIR "
        f"set to (a copy of) it, training on the topology finds them compiled (default: {_CACHE})",
    )  # fmt: skip


def _compile(options: argparse.Namespace, rest: list[str]) -> int:
    import jax

    cache = options.cache.expanduser()
    if options.topology != "here":
        jax.config.update("jax_platforms", "cpu")  # nothing runs
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache.absolute() / "executables"))
    from radmae_jax.bench.plan import make_plan
    from radmae_jax.data.dataset import sizes_of
    from radmae_jax.sizing.size import Need, size

    config = optional_config(rest)
    sizes = options.sizes or (None if config.data.manifest else "poster")
    plan = make_plan(config, *sizes_of(sizes, config, print))
    console = Console()

    def told(need: Need) -> None:
        what = f"{need.tokens:,} tokens x {need.rows} rows a chip" if need.tokens else "optimizer step"
        how = "kept from earlier" if need.kept else f"compiled in {need.compile_seconds:.0f} s"
        verdict = "fits" if need.fits else "does NOT fit"
        console.print(f"{what}: {verdict}, {need.hbm_bytes / 2**30:.2f} GiB ({how})", highlight=False)

    found = size(config, options.topology, plan, longest_only=options.longest, cache=cache, told=told)
    figures = found.to_json() | {"sizes": sizes or config.data.manifest, "price": options.price, "cost": None}
    if options.price is not None and found.hours is not None:
        figures["cost"] = options.price * found.chips * found.hours
    write_figures(options.json, figures)
    console.print(_table(found))
    console.print(_said(found, config, figures["cost"]), highlight=False, soft_wrap=True)
    return 0 if found.fits else TOO_LARGE


def _table(found: "Sizing") -> Table:
    table = Table(title=f"{found.chips} x {found.chip} ({found.topology})", title_justify="left")
    for name in ("tokens", "rows", "fits", "GiB", "temp GiB", "TFLOP", "MiB in", "least ms", "by"):
        table.add_column(name, justify="left" if name == "by" else "right")
    for need in (*found.buckets, found.apply):
        least = "" if need.roofline_seconds is None else f"{1e3 * need.roofline_seconds:.2f}"
        table.add_row(
            f"{need.tokens:,}" if need.tokens else "apply", str(need.rows or ""), "yes" if need.fits else "NO",
            f"{need.hbm_bytes / 2**30:.2f}", f"{need.temporary_bytes / 2**30:.2f}", f"{need.flops / 1e12:.2f}",
            f"{need.collective_bytes / 2**20:,.0f}", least, need.bound,
        )  # fmt: skip
    return table


def _said(found: "Sizing", config: Config, cost: float | None) -> str:
    kept = ", ".join(f"{name} {size / 2**20:,.0f}" for name, size in found.resident_bytes.items())
    lines = [f"kept on each chip, MiB: {kept}; attention: {found.attention}; figures are of one chip and call"]
    if found.images_per_second is not None:
        lines.append(
            f"at most {found.images_per_second:,.0f} images/s at {found.mfu:.0%} of the chips' peak, at least "
            f"{found.hours:.2f} hours for {config.train.epochs} epochs: a roofline, not a forecast; reading images, "
            "evaluations and checkpoints are not in it"
        )
    if cost is not None:
        lines.append(f"at least {cost:,.0f} at the price that was given")
    return "\n".join(lines)
