"""Savings and step times to a table for the terminal, a page of Markdown, and pictures."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from radmae_jax.bench.savings import Policy, Savings
from radmae_jax.data.sizes import Sizes

if TYPE_CHECKING:  # it imports jax, which counting does not need
    from radmae_jax.bench.step_times import Ratio, StepTimes

_COLUMNS = (
    "policy", "shapes", "programs", "tokens", "tokens %", "poster compute %", "squared %", "FLOPs %", "seconds %",
    "saved tokens %", "saved poster compute %", "saved FLOPs %", "saved seconds %",
)  # fmt: skip
_BLUE, _RED, _GREEN, _GREY = "#2f6db3", "#c44e52", "#4f9a5b", "#6b7280"
_MOST_IN_PICTURE = 16  # lengths; more contours cannot be told apart


def table_of(found: Savings) -> Table:
    """The policies, a row each."""
    table = Table(title=_title(found), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    measured = any(policy.seconds_pct is not None for policy in found.policies)
    shown = [at for at, name in enumerate(_COLUMNS) if measured or "seconds" not in name]
    for at in shown:
        justify = "left" if at == 0 else "right"
        table.add_column(_COLUMNS[at].replace(" ", "\n"), justify=justify, vertical="bottom", no_wrap=True)
    for policy in found.policies:
        cells = _cells(found, policy)
        table.add_row(*(cells[at] for at in shown))
    return table


def programs_of(times: "StepTimes") -> Table:
    """The measured programs, a row each: seconds beside the FLOPs that predict them."""
    table = Table(title=f"Measured on {times.device}, {times.dtype}, {times.repeats} repeats", title_justify="left")
    for name in ("tokens", "rows", "compile s", "s an image", "least", "most", "GFLOP", "GFLOP/s"):
        table.add_column(name, justify="right")
    for p in times.programs:
        table.add_row(
            f"{p.tokens:,}", str(p.rows), f"{p.compile_seconds:.1f}", f"{p.median:.4g}", f"{min(p.seconds):.4g}",
            f"{max(p.seconds):.4g}", f"{p.flops / 1e9:.4g}", f"{p.flops / p.median / 1e9:.4g}",
        )  # fmt: skip
    return table


def in_words(ratio: "Ratio") -> str:
    """How much faster a measured policy is, measured and predicted, with the spread of the repeats."""
    return (
        f"{ratio.faster} is {ratio.median:.3f} times as fast as {ratio.slower} ({ratio.least:.3f} to {ratio.most:.3f} "
        f"over {len(ratio.repeats)} repeats); the FLOPs predict {ratio.predicted:.3f}"
    )


def notes_of(found: Savings) -> list[str]:
    """What the columns are."""
    side = int(found.edges["fixed"][0][0])
    lines = [
        "Percentages are of all images padded to whole patches and no further; savings are against `fixed`, every "
        f"image at {side:,} x {side:,} pixels.",
        "poster compute %: the square of tokens %, which the poster calls total compute. squared %: the sum of each "
        "image's squared length, as attention's scores cost.",
        f"FLOPs %: training FLOPs of a ViT-MAE {found.model.variant} with a decoder of {found.model.decoder_layers} x "
        f"{found.model.decoder_width}, mask ratio {found.model.mask_ratio}.",
        "Every image at its bucket's length; groups that do not fill are not in these figures: `radmae plan` has them.",
    ]
    if found.common_side < side / 2:
        lines.append(
            f"Few images set the size of `fixed`: 99 % have sides up to {found.common_side:,} pixels. --max-side "
            "leaves longer images out and says how many."
        )
    if len(found.edges["poster_dbb"][0]) > 6 or len(found.edges["poster_dbb"][1]) > 6:
        lines.append("poster_dbb has a bin more a side, for images beyond the poster's 3,072 pixels.")
    if any(policy.seconds_pct is not None for policy in found.policies):
        lines.append(
            "seconds %: images times the median seconds of their program (forward, backward, summing gradients; full "
            "rows). Reading, the optimizer, empty rows and compiling are not included; padded_to_patch is not measured "
            "but follows its FLOPs at the rates of the measured lengths."
        )
    if found.sizes.left_out:
        lines.append(f"{found.sizes.left_out:,} images with a side beyond --max-side are left out.")
    return lines


def markdown_of(found: Savings, times: "StepTimes | None", compared: "list[Ratio]") -> str:
    """A page: the table, its notes, and the measured programs."""
    lines = [f"# {_title(found)}", "", *_markdown_table(_COLUMNS, [_cells(found, p) for p in found.policies]), ""]
    lines += [line for note in notes_of(found) for line in (note, "")]
    if times is not None:
        table = programs_of(times)
        cells = [list(map(str, column.cells)) for column in table.columns]
        lines += [f"## {table.title}", "", *(f"- {in_words(ratio)}" for ratio in compared), ""]
        lines += _markdown_table([str(c.header) for c in table.columns], list(zip(*cells, strict=True)))
    return "\n".join(lines).rstrip() + "\n"


def draw_sizes(found: Savings, sizes: Sizes, path: Path) -> None:
    """A PNG: the archive's sizes twice, under the poster's bins and under the lengths of an optimal table."""
    heights, widths, counts = sizes
    figure = Figure(figsize=(12.5, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    patch = found.sizes.patch
    limit = max(int(heights.max()), int(widths.max())) * 1.02
    step = 16 * max(1, round(limit / 100 / 16))  # sizes often lie on such a grid; others would show as stripes
    bins = np.arange(0, limit + step, step)
    image = None
    for axes in (left, right):
        *_, image = axes.hist2d(widths, heights, bins=[bins, bins], weights=counts, cmap="Blues", norm=LogNorm())
        axes.set_xlabel("width, pixels")
        axes.set_xlim(0, limit)
        axes.set_ylim(0, limit)
        axes.set_aspect("equal")
    left.set_ylabel("height, pixels")
    dbb, table = found.named("poster_dbb"), _shown_table(found)
    for edges, line in zip(found.edges["poster_dbb"], (left.axhline, left.axvline), strict=True):
        for edge in edges:
            line(edge, color=_RED, linewidth=1.0)
    left.set_title(f"poster DBB: {dbb.shapes} shapes, {dbb.programs} programs, {dbb.tokens_pct:.1f} % of the tokens")
    across = np.linspace(patch, limit, 400)
    for length in table.lengths:
        right.plot(across, length * patch * patch / across, color=_RED, linewidth=1.0)
    right.set_title(f"{table.name}: {table.programs} programs, {table.tokens_pct:.1f} % of the tokens")
    if image is not None:
        figure.colorbar(image, ax=[left, right], label=f"images a square of {step} pixels", shrink=0.85)
    figure.suptitle(_title(found), fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def draw_waste(found: Savings, path: Path) -> None:
    """A PNG: tokens computed beyond the images' own against compiled programs, a curve a policy."""
    figure = Figure(figsize=(8.6, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for prefix, colour, label in (
        ("grid_", _GREEN, "grid_K: best bins a side"),
        ("tokens_", _BLUE, "tokens_K: best lengths"),
    ):
        curve = [p for p in found.policies if p.name.startswith(prefix)]
        places = [(p.programs, max(p.tokens_pct - 100, 0.01)) for p in curve]
        axes.plot(*np.array(places).T, "o-", color=colour, label=label, markersize=5)
        for policy, place in zip(curve, places, strict=True):
            axes.annotate(
                f"K={policy.name.removeprefix(prefix)}", place, textcoords="offset points", xytext=(4, 6), fontsize=8,
                color=colour,
            )  # fmt: skip
    for name, colour, label in (("poster_dbb", _RED, "the poster's DBB"), ("fixed", _GREY, "one fixed size")):
        policy = found.named(name)
        axes.plot(policy.programs, max(policy.tokens_pct - 100, 0.01), "s", color=colour, label=label, markersize=7)
    axes.set_yscale("log")
    axes.set_xlim(0, 1.08 * max(p.programs for p in found.policies if p.name != "padded_to_patch"))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.set_xlabel("compiled programs")
    axes.set_ylabel("tokens computed beyond the images' own")
    axes.grid(alpha=0.25, which="both")
    axes.legend(frameon=False)
    axes.set_title(_title(found), fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _shown_table(found: Savings) -> Policy:
    """The largest optimal table whose contours can be told apart; the smallest where all have more."""
    tables = [p for p in found.policies if p.name.startswith("tokens_")]
    return max((p for p in tables if p.programs <= _MOST_IN_PICTURE), key=lambda p: p.programs, default=tables[0])


def _title(found: Savings) -> str:
    sizes = found.sizes
    return f"{sizes.images:,} images of {sizes.unique:,} sizes in patches of {sizes.patch} pixels"


def _cells(found: Savings, policy: Policy) -> list[str]:
    saved = policy.saving_vs_fixed
    saved_tokens = 100.0 * (1 - policy.tokens / found.named("fixed").tokens)
    percent = (
        policy.tokens_pct, policy.poster_compute_pct, policy.squared_pct, policy.flops_pct, policy.seconds_pct,
        saved_tokens, saved.poster, saved.flops, saved.seconds,
    )  # fmt: skip
    return [
        policy.name, f"{policy.shapes:,}", f"{policy.programs:,}", f"{policy.tokens:,}",
        *("" if value is None else f"{value:.1f}" if abs(value) < 1e4 else f"{value:.2g}" for value in percent),
    ]  # fmt: skip


def _markdown_table(header: list[str] | tuple[str, ...], rows: list) -> list[str]:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return ["| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)]
